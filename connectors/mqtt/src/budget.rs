//! What may be held of messages that are received and not acknowledged, in bytes and in number.
//!
//! The pump of a connection waits for room before it reads on, so that a slow Kafka is felt by the broker and not by our
//! memory; the source gives back what Kafka has. A broker's own limit (Receive Maximum) is not relied upon: Mosquitto 2.0
//! does not keep to it. Read next: `client/pump.rs`, `window.rs`.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::client::Qos;

/// Shared by the connection, which takes, and the task, which gives back.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: Held,
    /// Whether messages without acknowledgement are dropped above the limit, so that the others flow on up to its double.
    drops: bool,
    bytes: AtomicUsize,
    records: AtomicUsize,
    dropped: AtomicUsize,
    given_back: Notify,
}

/// An amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Held {
    pub(crate) bytes: usize,
    pub(crate) records: usize,
}

impl Budget {
    pub(crate) fn new(limit: Held) -> Self {
        let (bytes, records, dropped) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        Self { limit, drops: false, bytes, records, dropped, given_back: Notify::new() }
    }

    /// The same with messages of quality 0 dropped above the limit.
    pub(crate) fn dropping(limit: Held) -> Self {
        Self { drops: true, ..Self::new(limit) }
    }

    /// What is held now.
    pub(crate) fn held(&self) -> Held {
        Held { bytes: self.bytes.load(Ordering::Relaxed), records: self.records.load(Ordering::Relaxed) }
    }

    fn has_room(&self) -> bool {
        let (held, times) = (self.held(), if self.drops { 2 } else { 1 });
        held.bytes < self.limit.bytes.saturating_mul(times) && held.records < self.limit.records.saturating_mul(times)
    }

    /// Takes a message in, or answers false when it is to be dropped. The last one may exceed the limit: what is read
    /// from a socket cannot be put back.
    pub(crate) fn take(&self, bytes: usize, qos: Qos) -> bool {
        let held = self.held();
        let full = held.bytes >= self.limit.bytes || held.records >= self.limit.records;
        if self.drops && full && qos == Qos::AtMostOnce {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.records.fetch_add(1, Ordering::Relaxed);
        true
    }

    /// How many messages were dropped since this was last asked.
    pub(crate) fn take_dropped(&self) -> usize {
        self.dropped.swap(0, Ordering::Relaxed)
    }

    pub(crate) fn give_back(&self, held: Held) {
        if held != Held::default() {
            self.bytes.fetch_sub(held.bytes, Ordering::Relaxed);
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
        let budget = Budget::new(Held { bytes: 100, records: 2 });
        assert!(budget.take(10, Qos::AtLeastOnce));
        assert!(budget.has_room());
        budget.take(10, Qos::AtMostOnce);
        assert!(!budget.has_room(), "two records");
        budget.give_back(Held { bytes: 20, records: 2 });
        budget.take(100, Qos::AtLeastOnce);
        assert!(!budget.has_room(), "a hundred bytes");
        budget.give_back(Held { bytes: 100, records: 1 });
        assert_eq!((budget.held(), budget.take_dropped()), (Held::default(), 0));
    }

    #[test]
    fn messages_without_acknowledgement_give_way() {
        let budget = Budget::dropping(Held { bytes: 100, records: 100 });
        assert!(budget.take(100, Qos::AtMostOnce));
        assert!(!budget.take(10, Qos::AtMostOnce) && budget.take(10, Qos::AtLeastOnce) && budget.has_room());
        assert_eq!((budget.take_dropped(), budget.take_dropped(), budget.held().bytes), (1, 0, 110));
        budget.take(90, Qos::AtLeastOnce);
        assert!(!budget.has_room(), "the double is the end");
    }

    #[tokio::test]
    async fn a_waiter_is_woken_by_what_is_given_back() {
        let budget = Budget::new(Held { bytes: 10, records: 10 });
        budget.take(10, Qos::AtLeastOnce);
        let waited = tokio::join!(budget.room(), async { budget.give_back(Held { bytes: 10, records: 1 }) });
        assert_eq!(waited, ((), ()));
    }
}
