//! What a connection has brought and its task has not looked at yet, in the order of receipt.
//!
//! Messages without acknowledgement stand in a line of their own, so that the oldest of them can give way to a new one
//! whatever waits before it. The budget bounds both. The pump fills it, [`super::Link`] empties it. Read next: `pump.rs`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::{Event, Fault, Message, Qos};

type Outcome = Result<Event, Fault>;

/// See the head of this module.
#[derive(Default)]
pub(super) struct Queue {
    lines: Mutex<Lines>,
    /// One waiter at a time: a connection has one task.
    changed: Notify,
}

#[derive(Default)]
struct Lines {
    /// The next number, which tells the order between the lines.
    next: u64,
    fleeting: VecDeque<(u64, Message)>,
    others: VecDeque<(u64, Outcome)>,
    ended: bool,
}

impl Queue {
    pub(super) fn push(&self, outcome: Outcome) {
        let mut lines = self.lines();
        let number = lines.next;
        lines.next += 1;
        match outcome {
            Ok(Event::Message(message)) if message.packet.qos == Qos::AtMostOnce => {
                lines.fleeting.push_back((number, message));
            }
            other => lines.others.push_back((number, other)),
        }
        drop(lines);
        self.changed.notify_one();
    }

    /// Takes the oldest away.
    pub(super) fn pop(&self) -> Option<Outcome> {
        let mut lines = self.lines();
        let fleeting = lines.fleeting.front().map(|(number, _)| *number);
        let other = lines.others.front().map(|(number, _)| *number);
        if fleeting.is_some_and(|fleeting| other.is_none_or(|other| fleeting < other)) {
            return lines.fleeting.pop_front().map(|(_, message)| Ok(Event::Message(message)));
        }
        lines.others.pop_front().map(|(_, outcome)| outcome)
    }

    /// Takes the oldest message without acknowledgement away.
    pub(super) fn shed(&self) -> Option<Message> {
        self.lines().fleeting.pop_front().map(|(_, message)| message)
    }

    /// The oldest, once there is one; `None` when nothing follows. May be dropped at any await.
    pub(super) async fn next(&self) -> Option<Outcome> {
        loop {
            let ended = self.lines().ended;
            if let Some(outcome) = self.pop() {
                return Some(outcome);
            }
            if ended {
                return None;
            }
            self.changed.notified().await;
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The filling end: dropped, it says that nothing follows.
pub(super) struct Inlet(pub(super) Arc<Queue>);

impl Drop for Inlet {
    fn drop(&mut self) {
        self.0.lines().ended = true;
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::Packet;
    use super::*;

    fn message(qos: Qos, payload: &'static str) -> Event {
        Event::Message(Message {
            packet: Packet { id: 1, qos },
            topic: Bytes::from_static(b"lab/a"),
            payload: Bytes::from_static(payload.as_bytes()),
            dup: false,
            retained: false,
            properties: None,
        })
    }

    fn payload(outcome: Option<Outcome>) -> Option<Bytes> {
        match outcome {
            Some(Ok(Event::Message(message))) => Some(message.payload),
            _ => None,
        }
    }

    #[tokio::test]
    async fn the_order_of_receipt_stays_when_the_oldest_gives_way() {
        let queue = Arc::new(Queue::default());
        let inlet = Inlet(Arc::clone(&queue));
        for (qos, text) in
            [(Qos::AtLeastOnce, "a"), (Qos::AtMostOnce, "b"), (Qos::AtMostOnce, "c"), (Qos::ExactlyOnce, "d")]
        {
            inlet.0.push(Ok(message(qos, text)));
        }
        assert_eq!(queue.shed().map(|message| message.payload).as_deref(), Some(&b"b"[..]));
        drop(inlet);
        for expected in ["a", "c", "d"] {
            assert_eq!(payload(queue.next().await).as_deref(), Some(expected.as_bytes()));
        }
        assert!(queue.next().await.is_none() && queue.shed().is_none(), "nothing follows");
    }

    #[tokio::test]
    async fn a_waiter_is_woken_by_what_comes_and_by_the_end() {
        let queue = Arc::new(Queue::default());
        let inlet = Inlet(Arc::clone(&queue));
        let (came, ()) = tokio::join!(queue.next(), async { inlet.0.push(Ok(message(Qos::AtMostOnce, "a"))) });
        assert_eq!(payload(came).as_deref(), Some(&b"a"[..]));
        let (end, ()) = tokio::join!(queue.next(), async { drop(inlet) });
        assert!(end.is_none());
    }
}
