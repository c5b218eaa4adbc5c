//! Committed offsets: stored in the journal, kept until they are deleted.

use std::collections::BTreeSet;
use std::time::Instant;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequest;
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
use kafka_protocol::protocol::StrBytes;

use super::{Call, code, text};
use crate::node::Node;
use crate::storage::catalogue::{Committed, Event, Offsets};

/// As Kafka's offset.metadata.max.bytes.
const MAX_METADATA: usize = 4_096;
/// From this version on OffsetFetch asks for several groups.
const MANY_GROUPS: i16 = 8;

/// One topic of an OffsetFetch answer.
type Found = (String, Vec<Row>);

struct Row {
    partition: i32,
    /// -1 if there is none.
    offset: i64,
    metadata: String,
    code: i16,
}

/// Who wants to commit.
pub(super) struct Committer<'a> {
    pub group: &'a str,
    pub member_id: &'a str,
    pub instance_id: Option<&'a str>,
    pub generation: i32,
    /// Whether a group with members takes commits from members only.
    pub needs_membership: bool,
}

/// An offset as a client wants it committed.
pub(super) struct Asked {
    pub offset: i64,
    pub metadata: Option<StrBytes>,
}

/// What a request for commits comes to.
pub(super) struct Judged {
    /// Topic, partition and offset of what can be committed.
    pub accepted: Vec<(String, i32, Committed)>,
    /// The code of each partition asked for, zero for what can be committed.
    pub codes: Vec<(TopicName, Vec<(i32, i16)>)>,
}

impl Node {
    pub(super) fn commit_offsets(&mut self, request: OffsetCommitRequest) -> OffsetCommitResponse {
        let committer = Committer {
            group: &request.group_id,
            member_id: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            generation: request.generation_id_or_member_epoch,
            needs_membership: true,
        };
        let membership = self.may_commit(&committer);
        let asked = request.topics.into_iter().map(|topic| {
            let asked = topic.partitions.into_iter().map(|partition| {
                let asked = Asked { offset: partition.committed_offset, metadata: partition.committed_metadata };
                (partition.partition_index, asked)
            });
            (topic.name, asked)
        });
        let Judged { accepted, codes } = self.judge_commits(membership, asked);
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
        OffsetCommitResponse::default().with_topics(codes.into_iter().map(answer).collect())
    }

    /// Members commit for their round; whoever is no member only while the group is empty.
    pub(super) fn may_commit(&mut self, committer: &Committer<'_>) -> Result<(), ResponseError> {
        if committer.group.is_empty() {
            return Err(ResponseError::InvalidGroupId);
        }
        let generation = committer.generation;
        let as_member = generation >= 0 || !committer.member_id.is_empty();
        let now = Instant::now();
        match self.groups.get_mut(committer.group) {
            Some(group) if as_member => group.check(committer.member_id, committer.instance_id, generation, now),
            Some(group) if group.members().is_empty() || !committer.needs_membership => Ok(()),
            Some(_) => Err(ResponseError::UnknownMemberId),
            None if as_member => Err(ResponseError::IllegalGeneration),
            None => {
                // So that admin clients see a group that only ever commits.
                self.group(committer.group, now);
                Ok(())
            }
        }
    }

    /// Looks at each offset of a request, of whichever kind.
    pub(super) fn judge_commits(
        &self,
        membership: Result<(), ResponseError>,
        topics: impl Iterator<Item = (TopicName, impl Iterator<Item = (i32, Asked)>)>,
    ) -> Judged {
        let mut accepted = Vec::new();
        let mut judge = |name: &TopicName, index, asked| {
            let result = membership.and_then(|()| self.check_commit(name, index, asked));
            let result = result.map(|at| accepted.push((name.to_string(), index, at)));
            (index, code(result))
        };
        let judged = topics.map(|(name, partitions)| {
            let partitions = partitions.map(|(index, asked)| judge(&name, index, asked)).collect();
            (name, partitions)
        });
        let codes = judged.collect();
        Judged { accepted, codes }
    }

    fn check_commit(&self, topic: &str, partition: i32, asked: Asked) -> Result<Committed, ResponseError> {
        self.log(topic, partition)?;
        let metadata = asked.metadata.map(|metadata| metadata.to_string()).unwrap_or_default();
        if metadata.len() > MAX_METADATA {
            return Err(ResponseError::OffsetMetadataTooLarge);
        }
        Ok(Committed { offset: asked.offset, metadata })
    }

    pub(super) fn fetch_offsets(&self, request: OffsetFetchRequest, call: &Call) -> OffsetFetchResponse {
        let waits = request.require_stable;
        if call.version < MANY_GROUPS {
            let wanted = request.topics.map(|topics| {
                topics.into_iter().map(|topic| (topic.name.to_string(), topic.partition_indexes)).collect()
            });
            let topic = |(name, partitions): Found| {
                let partition = |row: Row| {
                    OffsetFetchResponsePartition::default()
                        .with_partition_index(row.partition)
                        .with_committed_offset(row.offset)
                        .with_metadata(Some(text(row.metadata)))
                        .with_error_code(row.code)
                };
                OffsetFetchResponseTopic::default()
                    .with_name(TopicName(text(name)))
                    .with_partitions(partitions.into_iter().map(partition).collect())
            };
            let found = self.committed(&request.group_id, wanted, waits);
            return OffsetFetchResponse::default().with_topics(found.into_iter().map(topic).collect());
        }
        let groups = request.groups.into_iter().map(|group| {
            let wanted = group.topics.map(|topics| {
                topics.into_iter().map(|topic| (topic.name.to_string(), topic.partition_indexes)).collect()
            });
            let topic = |(name, partitions): Found| {
                let partition = |row: Row| {
                    OffsetFetchResponsePartitions::default()
                        .with_partition_index(row.partition)
                        .with_committed_offset(row.offset)
                        .with_metadata(Some(text(row.metadata)))
                        .with_error_code(row.code)
                };
                OffsetFetchResponseTopics::default()
                    .with_name(TopicName(text(name)))
                    .with_partitions(partitions.into_iter().map(partition).collect())
            };
            let found = self.committed(&group.group_id, wanted, waits);
            OffsetFetchResponseGroup::default()
                .with_group_id(group.group_id)
                .with_topics(found.into_iter().map(topic).collect())
        });
        OffsetFetchResponse::default().with_groups(groups.collect())
    }

    /// The offsets asked for, -1 where there is none; all there are without a wish. A client that wants stable ones is
    /// told to ask again for those that an unfinished transaction may change.
    fn committed(&self, group: &str, wanted: Option<Vec<(String, Vec<i32>)>>, stable_only: bool) -> Vec<Found> {
        let unstable = if stable_only { self.unstable_offsets(group) } else { BTreeSet::new() };
        let known = self.catalogue.offsets.get(group);
        let row = |key: &(String, i32)| {
            let is_stable = !unstable.contains(key);
            let at = known.and_then(|known| known.get(key)).filter(|_| is_stable);
            let code = if is_stable { 0 } else { ResponseError::UnstableOffsetCommit.code() };
            let (offset, metadata) = at.map_or((-1, String::new()), |at| (at.offset, at.metadata.clone()));
            Row { partition: key.1, offset, metadata, code }
        };
        let Some(wanted) = wanted else {
            let keys: BTreeSet<&(String, i32)> = known.into_iter().flat_map(Offsets::keys).chain(&unstable).collect();
            let mut found: Vec<Found> = Vec::new();
            for key in keys {
                match found.last_mut() {
                    Some((last, rows)) if *last == key.0 => rows.push(row(key)),
                    _ => found.push((key.0.clone(), vec![row(key)])),
                }
            }
            return found;
        };
        let rows = |(topic, partitions): (String, Vec<i32>)| {
            let rows = partitions.into_iter().map(|partition| row(&(topic.clone(), partition))).collect();
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
