//! The pump of a connection: a task of its own that reads and writes, because a client that is not polled does neither.
//!
//! It waits for room in the budget before it reads on. [`Link`] is the connection in the hands of a task: dropped, the
//! connection is cut where it stands, which acknowledges nothing. Read next: `v5.rs`, one of the clients.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::queue::{Inlet, Queue};
use super::socket::Socket;
use super::{Event, Fault, Message, Outgoing, Packet, Receipt, Requests, SubscribeOptions, Welcome, Wire};
use crate::budget::{Budget, Held, Taken};
use crate::filter::Subscription;

/// How long a broker may take to end a connection that we are done with.
const FAREWELL: Duration = Duration::from_secs(2);

/// A connection.
pub(crate) struct Link {
    pub(crate) welcome: Welcome,
    requests: Box<dyn Requests>,
    events: Arc<Queue>,
    closing: watch::Sender<bool>,
    budget: Arc<Budget>,
    socket: Socket,
    pump: JoinHandle<()>,
}

impl Link {
    pub(super) fn new(
        welcome: Welcome,
        requests: Box<dyn Requests>,
        (wire, socket): (impl Wire, Socket),
        budget: Arc<Budget>,
    ) -> Self {
        let events = Arc::new(Queue::default());
        let (closing, closed) = watch::channel(false);
        let pump = tokio::spawn(pump(wire, Arc::clone(&budget), Inlet(Arc::clone(&events)), closed));
        Self { welcome, requests, events, closing, budget, socket, pump }
    }

    /// What happened next; the fault is the end of the connection. May be dropped at any await.
    pub(crate) async fn next(&mut self) -> Result<Event, Fault> {
        self.events.next().await.unwrap_or_else(|| Err(Fault::away("the connection has ended")))
    }

    /// What has happened already.
    pub(crate) fn try_next(&mut self) -> Option<Result<Event, Fault>> {
        self.events.pop()
    }

    pub(crate) fn subscribe(&self, subscriptions: &[Subscription], options: SubscribeOptions) -> Result<(), Fault> {
        self.requests.subscribe(subscriptions, options)
    }

    pub(crate) fn unsubscribe(&self, filters: &[String]) -> Result<(), Fault> {
        self.requests.unsubscribe(filters)
    }

    pub(crate) fn ack(&self, packet: Packet) -> Result<(), Fault> {
        self.requests.ack(packet)
    }

    pub(crate) fn publish(&self, message: Outgoing) -> Result<Receipt, Fault> {
        self.requests.publish(message)
    }

    /// Writes what was asked for, says good-bye and waits for the end, within limits.
    pub(crate) async fn close(mut self) {
        self.closing.send_replace(true);
        if self.requests.disconnect().is_err() {
            return;
        }
        let farewell = async {
            let _ = (&mut self.pump).await;
            let _ = self.socket.finish().await;
        };
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
}

impl Drop for Link {
    /// What arrived and was not looked at comes again, and holds no memory until then.
    fn drop(&mut self) {
        self.pump.abort();
        while let Some(event) = self.events.pop() {
            if let Ok(Event::Message(message)) = event {
                self.budget.give_back(held(&message));
            }
        }
    }
}

async fn pump(mut wire: impl Wire, budget: Arc<Budget>, events: Inlet, mut closing: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            biased;
            () = budget.room() => {}
            // Acknowledgements of the last moment are written however full memory is; what comes in now is not counted
            // nor kept, and comes again.
            closed = closing.wait_for(|closing| *closing) => if closed.is_err() { return },
        }
        let turn = wire.turn().await;
        match turn {
            Ok(None) => {}
            Ok(Some(Event::Message(message))) => take_in(message, &budget, &events.0),
            Ok(Some(event)) => events.0.push(Ok(event)),
            Err(fault) => {
                events.0.push(Err(fault));
                return;
            }
        }
    }
}

/// Queues a message, or drops it or older ones as the budget says.
fn take_in(message: Message, budget: &Budget, events: &Queue) {
    loop {
        match budget.take(message.size(), message.packet.qos) {
            Taken::In => return events.push(Ok(Event::Message(message))),
            Taken::Dropped => return budget.dropped(&message.topic),
            Taken::InPlaceOfAnOlder => match events.shed() {
                Some(older) => {
                    budget.give_back(held(&older));
                    budget.dropped(&older.topic);
                }
                // The task has what came before.
                None => return budget.dropped(&message.topic),
            },
        }
    }
}

fn held(message: &Message) -> Held {
    Held { bytes: message.size(), records: 1 }
}
