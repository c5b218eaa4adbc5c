//! Data of which no birth was seen, until it comes: with `mqtt.sparkplug.unknown=buffer`.
//!
//! What follows of its node waits behind it, so that order stays; births go through. Nothing that waits counts as handed over:
//! it is not acknowledged, and keeps its part of the task's memory. So it is let go as it is, without names, when the birth
//! has not come in time, when the node dies, or when too much waits. `mod.rs` calls it. Read next: `mod.rs`.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::topic::Place;
use crate::budget::Held;
use crate::client::Message;

/// A message on its way, under its number.
#[derive(Debug)]
pub(crate) struct Numbered {
    pub(crate) message: Message,
    pub(crate) number: u64,
    /// Whether messages before it are missing, if it was looked at when it came.
    pub(crate) has_gap: Option<bool>,
}

/// What waits, node by node.
#[derive(Debug)]
pub(super) struct Waiting {
    queues: HashMap<String, Queue>,
    patience: Duration,
    limit: Held,
    held: Held,
    /// What waits no more.
    ready: Vec<Numbered>,
}

#[derive(Debug)]
struct Queue {
    since: Instant,
    messages: VecDeque<Numbered>,
}

impl Waiting {
    pub(super) fn new(patience: Duration, limit: Held) -> Self {
        Self { queues: HashMap::new(), patience, limit, held: Held::default(), ready: Vec::new() }
    }

    /// Whether something of the node waits.
    pub(super) fn has(&self, place: &Place<'_>) -> bool {
        self.queues.contains_key(&place.node_name())
    }

    /// Has a message wait.
    pub(super) fn hold(&mut self, place: &Place<'_>, message: Numbered, now: Instant) {
        self.held += Held { bytes: message.message.size(), records: 1 };
        // A copy: it is a piece of what was read from the socket at once.
        let Numbered { message: Message { topic, payload, .. }, .. } = &message;
        let (topic, payload) = (Bytes::copy_from_slice(topic), Bytes::copy_from_slice(payload));
        let message = Numbered { message: Message { topic, payload, ..message.message }, ..message };
        let queue = self.queues.entry(place.node_name());
        queue.or_insert_with(|| Queue { since: now, messages: VecDeque::new() }).messages.push_back(message);
        while self.held.bytes > self.limit.bytes || self.held.records > self.limit.records {
            let Some(oldest) = self.oldest() else { break };
            self.let_go(&oldest);
        }
    }

    /// Lets go what has waited in front of the node's queue for as long as it is known.
    pub(super) fn born(&mut self, place: &Place<'_>, mut is_known: impl FnMut(&Message) -> bool) {
        let name = place.node_name();
        let Some(queue) = self.queues.get_mut(&name) else { return };
        while let Some(first) = queue.messages.pop_front_if(|first| is_known(&first.message)) {
            self.held.bytes -= first.message.size();
            self.held.records -= 1;
            self.ready.push(first);
        }
        if queue.messages.is_empty() {
            self.queues.remove(&name);
        }
    }

    /// Lets all of a node go.
    pub(super) fn died(&mut self, place: &Place<'_>) {
        self.let_go(&place.node_name());
    }

    /// Lets go what has waited for too long.
    pub(super) fn overdue(&mut self, now: Instant) {
        while let Some(name) = self.oldest().filter(|name| self.queues[name].since + self.patience <= now) {
            self.let_go(&name);
        }
    }

    /// When something will have waited for too long.
    pub(super) fn until(&self) -> Option<Instant> {
        self.queues.values().map(|queue| queue.since + self.patience).min()
    }

    pub(super) fn take_ready(&mut self) -> Vec<Numbered> {
        std::mem::take(&mut self.ready)
    }

    fn oldest(&self) -> Option<String> {
        self.queues.iter().min_by_key(|(_, queue)| queue.since).map(|(name, _)| name.clone())
    }

    fn let_go(&mut self, name: &str) {
        for message in self.queues.remove(name).into_iter().flat_map(|queue| queue.messages) {
            self.held.bytes -= message.message.size();
            self.held.records -= 1;
            self.ready.push(message);
        }
    }
}
