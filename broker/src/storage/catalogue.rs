//! Everything durable besides records: topics, committed offsets, where producer ids go on, the cluster's id.
//!
//! A pure value that changes only by events, so that replaying the journal gives what was there before.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, Default, PartialEq)]
pub(crate) struct Catalogue {
    pub cluster: Option<Uuid>,
    /// Producer ids from here on have never been given out.
    pub next_producer_id: i64,
    pub topics: BTreeMap<String, Topic>,
    pub offsets: BTreeMap<String, Offsets>,
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
        cluster.into_iter().chain([producers]).chain(topics).chain(offsets)
    }
}
