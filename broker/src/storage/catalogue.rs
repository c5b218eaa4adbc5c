//! Everything durable besides records: topics, committed offsets, transactional ids, where producer ids go on, the
//! cluster's id.
//!
//! A pure value that changes only by events, so that replaying the journal gives what was there before.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::marker::Outcome;
use super::transactions::{Identity, Pending, State, Transaction};

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Catalogue {
    pub cluster: Option<Uuid>,
    /// Producer ids from here on have never been given out.
    pub next_producer_id: i64,
    pub topics: BTreeMap<String, Topic>,
    pub offsets: BTreeMap<String, Offsets>,
    pub transactions: BTreeMap<String, Transaction>,
}

/// A group's committed offsets by topic and partition.
pub(crate) type Offsets = BTreeMap<(String, i32), Committed>;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Topic {
    pub id: Uuid,
    pub partitions: i32,
    pub configs: BTreeMap<String, String>,
    /// First offset by partition, where records were deleted.
    pub starts: BTreeMap<i32, i64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Committed {
    pub offset: i64,
    pub metadata: String,
}

/// One change. Stored as JSON: fields may be added later, and are read as their default from older journals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    Cluster {
        id: Uuid,
    },
    /// Ids below this may have been given out.
    ProducerIds {
        below: i64,
    },
    /// Creates a topic, or changes its partitions or configuration.
    Topic {
        name: String,
        id: Uuid,
        partitions: i32,
        configs: BTreeMap<String, String>,
    },
    TopicDeleted {
        name: String,
    },
    RecordsDeleted {
        topic: String,
        partition: i32,
        before: i64,
    },
    OffsetsCommitted {
        group: String,
        offsets: Vec<(String, i32, Committed)>,
    },
    OffsetsDeleted {
        group: String,
        partitions: Vec<(String, i32)>,
    },
    GroupDeleted {
        group: String,
    },
    /// A producer takes a transactional id; nothing is open.
    TransactionalId {
        id: String,
        owner: Identity,
        before: Option<Identity>,
        timeout_ms: i32,
        used_ms: i64,
        /// How its last transaction ended, if the owner has had one.
        ended: Option<Outcome>,
    },
    /// A transaction is begun, or reaches further.
    TransactionGrew {
        id: String,
        since_ms: i64,
        partitions: Vec<(String, i32)>,
        offsets: Vec<Pending>,
    },
    /// The decision: from here on a transaction ends like that, also after a crash.
    TransactionEnding {
        id: String,
        epoch: i16,
        outcome: Outcome,
    },
    /// All markers are written. Commits the offsets that waited, if that was the decision.
    TransactionEnded {
        id: String,
        at_ms: i64,
    },
    TransactionalIdForgotten {
        id: String,
    },
}

impl Catalogue {
    pub(crate) fn apply(&mut self, event: Event) {
        match event {
            Event::Cluster { id } => self.cluster = Some(id),
            Event::ProducerIds { below } => self.next_producer_id = self.next_producer_id.max(below),
            Event::Topic { name, id, partitions, configs } => {
                let known = self.topics.remove(&name).filter(|topic| topic.id == id);
                let starts = known.map(|topic| topic.starts).unwrap_or_default();
                self.topics.insert(name, Topic { id, partitions, configs, starts });
            }
            Event::TopicDeleted { name } => {
                self.topics.remove(&name);
                for offsets in self.offsets.values_mut() {
                    offsets.retain(|(topic, _), _| *topic != name);
                }
                for work in self.transactions.values_mut().filter_map(Transaction::work_mut) {
                    work.forget_topic(&name);
                }
            }
            Event::RecordsDeleted { topic, partition, before } => {
                if let Some(topic) = self.topics.get_mut(&topic) {
                    topic.starts.insert(partition, before);
                }
            }
            Event::OffsetsCommitted { group, offsets } => {
                let known = self.offsets.entry(group).or_default();
                known.extend(offsets.into_iter().map(|(topic, partition, at)| ((topic, partition), at)));
            }
            Event::OffsetsDeleted { group, partitions } => {
                if let Some(known) = self.offsets.get_mut(&group) {
                    known.retain(|key, _| !partitions.contains(key));
                }
            }
            Event::GroupDeleted { group } => {
                self.offsets.remove(&group);
            }
            Event::TransactionalId { id, owner, before, timeout_ms, used_ms, ended } => {
                let state = ended.map_or(State::Idle, State::Ended);
                self.transactions.insert(id, Transaction { owner, before, timeout_ms, used_ms, state });
            }
            Event::TransactionGrew { id, since_ms, partitions, offsets } => {
                if let Some(transaction) = self.transactions.get_mut(&id) {
                    transaction.grow(since_ms, partitions, offsets);
                }
            }
            Event::TransactionEnding { id, epoch, outcome } => {
                if let Some(transaction) = self.transactions.get_mut(&id) {
                    transaction.begin_end(epoch, outcome);
                }
            }
            Event::TransactionEnded { id, at_ms } => {
                let committed = self.transactions.get_mut(&id).map(|transaction| transaction.end(at_ms));
                for (group, offsets) in committed.unwrap_or_default() {
                    self.offsets.entry(group).or_default().extend(offsets);
                }
            }
            Event::TransactionalIdForgotten { id } => {
                self.transactions.remove(&id);
            }
        }
    }

    /// The fewest events that give this catalogue: what a compacted journal holds.
    pub(crate) fn events(&self) -> impl Iterator<Item = Event> {
        let cluster = self.cluster.map(|id| Event::Cluster { id });
        let producers = Event::ProducerIds { below: self.next_producer_id };
        let topics = self.topics.iter().flat_map(|(name, topic)| {
            let created = Event::Topic {
                name: name.clone(),
                id: topic.id,
                partitions: topic.partitions,
                configs: topic.configs.clone(),
            };
            let deleted = topic.starts.iter().map(|(partition, before)| Event::RecordsDeleted {
                topic: name.clone(),
                partition: *partition,
                before: *before,
            });
            std::iter::once(created).chain(deleted)
        });
        let offsets = self.offsets.iter().map(|(group, offsets)| Event::OffsetsCommitted {
            group: group.clone(),
            offsets: offsets.iter().map(|((topic, partition), at)| (topic.clone(), *partition, at.clone())).collect(),
        });
        let transactions = self.transactions.iter().flat_map(|(id, transaction)| events_of(id, transaction));
        cluster.into_iter().chain([producers]).chain(topics).chain(offsets).chain(transactions)
    }
}

/// The fewest events that give this transactional id.
fn events_of(id: &str, transaction: &Transaction) -> impl Iterator<Item = Event> + use<> {
    let Transaction { owner, before, timeout_ms, used_ms, state } = transaction;
    let ended = if let State::Ended(outcome) = state { Some(*outcome) } else { None };
    let known = Event::TransactionalId {
        id: id.to_owned(),
        owner: *owner,
        before: *before,
        timeout_ms: *timeout_ms,
        used_ms: *used_ms,
        ended,
    };
    let grew = transaction.work().map(|work| Event::TransactionGrew {
        id: id.to_owned(),
        since_ms: work.since_ms,
        partitions: work.partitions.iter().cloned().collect(),
        offsets: work.pending(),
    });
    let ending = if let State::Ending(_, outcome) = state {
        Some(Event::TransactionEnding { id: id.to_owned(), epoch: owner.epoch, outcome: *outcome })
    } else {
        None
    };
    std::iter::once(known).chain(grew).chain(ending)
}
