//! What may be held of messages that are received and not acknowledged, in bytes and in number.
//!
//! The pump of a connection waits for room before it reads on, so that a slow Kafka is felt by the broker and not by our
//! memory; the source gives back what Kafka has. A broker's own limit (Receive Maximum) is not relied upon: Mosquitto 2.0
//! does not keep to it. Read next: `client/pump.rs`, `window.rs`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pipette_api::Metric;
use tokio::sync::Notify;

use crate::client::Qos;

/// Between two times that it is said that messages are dropped.
const SAY_AGAIN: Duration = Duration::from_mins(1);

/// Shared by the connection, which takes, and the task, which gives back.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: Held,
    overflow: Overflow,
    bytes: AtomicUsize,
    records: AtomicUsize,
    /// What is told of it at any time: a source that is not polled tells nothing.
    shown: Shown,
    /// When it was last said that messages are dropped.
    said: Mutex<Option<Instant>>,
    given_back: Notify,
}

/// Metrics of what is held and dropped.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    pub(crate) bytes: Metric,
    pub(crate) dropped: Metric,
}

/// What becomes of messages without acknowledgement above the limit. When they are dropped, the others flow on up to its
/// double: what is to be dropped must be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overflow {
    Block,
    DropOldest,
    DropNewest,
}

/// What becomes of a message that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is counted.
    In,
    /// There is no room for it.
    Dropped,
    /// There is room once an older one is dropped; then it is to be asked for again.
    InPlaceOfAnOlder,
}

/// An amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Held {
    pub(crate) bytes: usize,
    pub(crate) records: usize,
}

impl Budget {
    pub(crate) fn new(limit: Held, overflow: Overflow) -> Self {
        Self {
            limit,
            overflow,
            bytes: AtomicUsize::new(0),
            records: AtomicUsize::new(0),
            shown: Shown::default(),
            said: Mutex::default(),
            given_back: Notify::new(),
        }
    }

    /// The same, shown to others.
    pub(crate) fn shown(self, shown: Shown) -> Self {
        shown.bytes.set(0);
        Self { shown, ..self }
    }

    /// What is held now.
    pub(crate) fn held(&self) -> Held {
        Held { bytes: self.bytes.load(Ordering::Relaxed), records: self.records.load(Ordering::Relaxed) }
    }

    fn has_room(&self) -> bool {
        let (held, times) = (self.held(), if self.overflow == Overflow::Block { 1 } else { 2 });
        held.bytes < self.limit.bytes.saturating_mul(times) && held.records < self.limit.records.saturating_mul(times)
    }

    /// Takes a message in, or answers what is to be dropped. The last one may exceed the limit: what is read from a socket
    /// cannot be put back.
    pub(crate) fn take(&self, bytes: usize, qos: Qos) -> Taken {
        let held = self.held();
        let full = held.bytes >= self.limit.bytes || held.records >= self.limit.records;
        if full && qos == Qos::AtMostOnce {
            match self.overflow {
                Overflow::Block => {}
                Overflow::DropOldest => return Taken::InPlaceOfAnOlder,
                Overflow::DropNewest => return Taken::Dropped,
            }
        }
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.records.fetch_add(1, Ordering::Relaxed);
        self.show(bytes);
        Taken::In
    }

    /// A message of this topic was dropped. It is counted, and said once a minute.
    pub(crate) fn dropped(&self, topic: &[u8]) {
        self.shown.dropped.add(1);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_none_or(|said| said.elapsed() > SAY_AGAIN) {
            *said = Some(Instant::now());
            tracing::warn!(
                topic = %String::from_utf8_lossy(topic),
                dropped = self.shown.dropped.get(),
                held_bytes = self.held().bytes,
                "Messages of quality 0 are dropped, because memory is full: see mqtt.qos0.overflow and mqtt.buffer.max.bytes"
            );
        }
    }

    fn show(&self, bytes: usize) {
        self.shown.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub(crate) fn give_back(&self, held: Held) {
        if held != Held::default() {
            let before = self.bytes.fetch_sub(held.bytes, Ordering::Relaxed);
            self.show(before - held.bytes);
            self.records.fetch_sub(held.records, Ordering::Relaxed);
            self.given_back.notify_one();
        }
    }

    /// Resolves when there is room. One waiter at a time: there is one connection.
    pub(crate) async fn room(&self) {
        while !self.has_room() {
            self.given_back.notified().await;
        }
    }
}

impl std::ops::AddAssign for Held {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.records += other.records;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_limit_holds_the_reader_back() {
        let budget = Budget::new(Held { bytes: 100, records: 2 }, Overflow::Block);
        assert_eq!(budget.take(10, Qos::AtLeastOnce), Taken::In);
        assert!(budget.has_room());
        budget.take(10, Qos::AtMostOnce);
        assert!(!budget.has_room(), "two records");
        budget.give_back(Held { bytes: 20, records: 2 });
        budget.take(100, Qos::AtLeastOnce);
        assert!(!budget.has_room(), "a hundred bytes");
        budget.give_back(Held { bytes: 100, records: 1 });
        assert_eq!(budget.held(), Held::default());
    }

    #[test]
    fn messages_without_acknowledgement_give_way() {
        for (overflow, expected) in
            [(Overflow::DropNewest, Taken::Dropped), (Overflow::DropOldest, Taken::InPlaceOfAnOlder)]
        {
            let budget = Budget::new(Held { bytes: 100, records: 100 }, overflow);
            assert_eq!(budget.take(100, Qos::AtMostOnce), Taken::In);
            assert_eq!(budget.take(10, Qos::AtMostOnce), expected);
            assert_eq!((budget.take(10, Qos::AtLeastOnce), budget.held().bytes), (Taken::In, 110));
            assert!(budget.has_room());
            budget.take(90, Qos::AtLeastOnce);
            assert!(!budget.has_room(), "the double is the end");
        }
    }

    #[tokio::test]
    async fn a_waiter_is_woken_by_what_is_given_back() {
        let budget = Budget::new(Held { bytes: 10, records: 10 }, Overflow::Block);
        budget.take(10, Qos::AtLeastOnce);
        let waited = tokio::join!(budget.room(), async { budget.give_back(Held { bytes: 10, records: 1 }) });
        assert_eq!(waited, ((), ()));
    }
}
