//! Committed offsets: stored in the journal, kept until they are deleted.

use std::time::Instant;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequest, OffsetCommitRequestPartition};
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequest;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetDeleteRequest, TopicName};

use super::{Call, code, text};
use crate::node::Node;
use crate::storage::catalogue::{Committed, Event};

/// As Kafka's offset.metadata.max.bytes.
const MAX_METADATA: usize = 4_096;
/// From this version on OffsetFetch asks for several groups.
const MANY_GROUPS: i16 = 8;

/// One topic of an OffsetFetch answer: partition, committed offset or -1, metadata.
type Found = (String, Vec<(i32, i64, String)>);

impl Node {
    pub(super) fn commit_offsets(&mut self, request: OffsetCommitRequest) -> OffsetCommitResponse {
        let membership = self.may_commit(&request);
        let mut accepted = Vec::new();
        let mut topics = Vec::new();
        for topic in request.topics {
            let mut partitions = Vec::new();
            for partition in topic.partitions {
                let index = partition.partition_index;
                let result = membership.and_then(|()| self.check_commit(&topic.name, partition));
                if let Ok(at) = &result {
                    accepted.push((topic.name.to_string(), index, at.clone()));
                }
                partitions.push((index, code(result.map(|_| ()))));
            }
            topics.push((topic.name, partitions));
        }
        let stored = if accepted.is_empty() {
            Ok(())
        } else {
            self.change(Event::OffsetsCommitted { group: request.group_id.to_string(), offsets: accepted })
        };
        // A code that every client tries again.
        let failed = stored.is_err().then(|| ResponseError::CoordinatorNotAvailable.code());
        let answer = |(name, partitions): (TopicName, Vec<(i32, i16)>)| {
            let partition = |(index, refused)| {
                let code = if refused == 0 { failed.unwrap_or(0) } else { refused };
                OffsetCommitResponsePartition::default().with_partition_index(index).with_error_code(code)
            };
            let partitions = partitions.into_iter().map(partition).collect();
            OffsetCommitResponseTopic::default().with_name(name).with_partitions(partitions)
        };
        OffsetCommitResponse::default().with_topics(topics.into_iter().map(answer).collect())
    }

    /// Members commit for their round; whoever is no member only while the group is empty.
    fn may_commit(&mut self, request: &OffsetCommitRequest) -> Result<(), ResponseError> {
        if request.group_id.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        let generation = request.generation_id_or_member_epoch;
        let as_member = generation >= 0 || !request.member_id.is_empty();
        let now = Instant::now();
        let instance = request.group_instance_id.as_deref();
        match self.groups.get_mut(request.group_id.as_str()) {
            Some(group) if as_member => group.check(&request.member_id, instance, generation, now),
            Some(group) if group.members().is_empty() => Ok(()),
            Some(_) => Err(ResponseError::UnknownMemberId),
            None if as_member => Err(ResponseError::IllegalGeneration),
            None => {
                // So that admin clients see a group that only ever commits.
                self.group(&request.group_id, now);
                Ok(())
            }
        }
    }

    fn check_commit(&self, topic: &str, at: OffsetCommitRequestPartition) -> Result<Committed, ResponseError> {
        self.log(topic, at.partition_index)?;
        let metadata = at.committed_metadata.map(|metadata| metadata.to_string()).unwrap_or_default();
        if metadata.len() > MAX_METADATA {
            return Err(ResponseError::OffsetMetadataTooLarge);
        }
        Ok(Committed { offset: at.committed_offset, metadata })
    }

    pub(super) fn fetch_offsets(&self, request: OffsetFetchRequest, call: &Call) -> OffsetFetchResponse {
        if call.version < MANY_GROUPS {
            let wanted = request.topics.map(|topics| {
                topics.into_iter().map(|topic| (topic.name.to_string(), topic.partition_indexes)).collect()
            });
            let topic = |(name, partitions): Found| {
                let partition = |(index, offset, metadata)| {
                    OffsetFetchResponsePartition::default()
                        .with_partition_index(index)
                        .with_committed_offset(offset)
                        .with_metadata(Some(text(metadata)))
                };
                OffsetFetchResponseTopic::default()
                    .with_name(TopicName(text(name)))
                    .with_partitions(partitions.into_iter().map(partition).collect())
            };
            let found = self.committed(&request.group_id, wanted);
            return OffsetFetchResponse::default().with_topics(found.into_iter().map(topic).collect());
        }
        let groups = request.groups.into_iter().map(|group| {
            let wanted = group.topics.map(|topics| {
                topics.into_iter().map(|topic| (topic.name.to_string(), topic.partition_indexes)).collect()
            });
            let topic = |(name, partitions): Found| {
                let partition = |(index, offset, metadata)| {
                    OffsetFetchResponsePartitions::default()
                        .with_partition_index(index)
                        .with_committed_offset(offset)
                        .with_metadata(Some(text(metadata)))
                };
                OffsetFetchResponseTopics::default()
                    .with_name(TopicName(text(name)))
                    .with_partitions(partitions.into_iter().map(partition).collect())
            };
            let found = self.committed(&group.group_id, wanted);
            OffsetFetchResponseGroup::default()
                .with_group_id(group.group_id)
                .with_topics(found.into_iter().map(topic).collect())
        });
        OffsetFetchResponse::default().with_groups(groups.collect())
    }

    /// The offsets asked for, -1 where there is none; all there are without a wish.
    fn committed(&self, group: &str, wanted: Option<Vec<(String, Vec<i32>)>>) -> Vec<Found> {
        let known = self.catalogue.offsets.get(group);
        let Some(wanted) = wanted else {
            let mut found: Vec<Found> = Vec::new();
            for ((topic, partition), at) in known.into_iter().flatten() {
                let row = (*partition, at.offset, at.metadata.clone());
                match found.last_mut() {
                    Some((last, rows)) if last == topic => rows.push(row),
                    _ => found.push((topic.clone(), vec![row])),
                }
            }
            return found;
        };
        let row = |topic: &str, partition| {
            let at = known.and_then(|known| known.get(&(topic.to_owned(), partition)));
            at.map_or((partition, -1, String::new()), |at| (partition, at.offset, at.metadata.clone()))
        };
        let rows = |(topic, partitions): (String, Vec<i32>)| {
            let rows = partitions.into_iter().map(|partition| row(&topic, partition)).collect();
            (topic, rows)
        };
        wanted.into_iter().map(rows).collect()
    }

    pub(super) fn delete_offsets(&mut self, request: OffsetDeleteRequest) -> OffsetDeleteResponse {
        let group = request.group_id.to_string();
        let refuse = |error: ResponseError| OffsetDeleteResponse::default().with_error_code(error.code());
        if !self.knows_group(&group) {
            return refuse(ResponseError::GroupIdNotFound);
        }
        if self.groups.get(&group).is_some_and(|group| !group.members().is_empty()) {
            return refuse(ResponseError::NonEmptyGroup);
        }
        let partitions = request.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|partition| (topic.name.to_string(), partition.partition_index))
        });
        let partitions = partitions.collect();
        if let Err(refused) = self.change(Event::OffsetsDeleted { group, partitions }) {
            return refuse(refused.code);
        }
        let topics = request.topics.into_iter().map(|topic| {
            let partition = |index| OffsetDeleteResponsePartition::default().with_partition_index(index);
            let partitions = topic.partitions.iter().map(|wanted| partition(wanted.partition_index)).collect();
            OffsetDeleteResponseTopic::default().with_name(topic.name).with_partitions(partitions)
        });
        OffsetDeleteResponse::default().with_topics(topics.collect())
    }

    /// A group exists while somebody is or recently was in it, and as long as it has offsets.
    pub(super) fn knows_group(&self, group: &str) -> bool {
        self.groups.contains_key(group) || self.catalogue.offsets.contains_key(group)
    }
}
