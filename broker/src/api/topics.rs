//! Creating and deleting topics, partitions and records.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreateTopicsRequest};
use kafka_protocol::messages::create_topics_response::{CreatableTopicResult, CreateTopicsResponse};
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse,
};

use super::{Call, NODE_ID, configs, text};
use crate::node::Node;
use crate::storage::Refused;
use crate::storage::catalogue::Topic;

/// Each partition is an open file, and systems commonly allow a process 1,024 of them.
const MAX_PARTITIONS: i32 = 1_000;
/// Version from which answers describe the created topic.
const DESCRIBES_CREATED: i16 = 5;
const GIVES_ID: i16 = 7;
const GIVES_MESSAGE: i16 = 5;

/// Kafka's rules for topic names.
pub(super) fn check_name(name: &str) -> Result<(), Refused> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > 249 || name == "." || name == ".." || !name.bytes().all(legal) {
        let why = format!("'{name}' is no topic name: 1 to 249 letters, digits, '.', '_' and '-'");
        return Err(Refused::new(ResponseError::InvalidTopicException, why));
    }
    Ok(())
}

impl Node {
    pub(super) fn create_topics(&mut self, request: CreateTopicsRequest, call: &Call) -> CreateTopicsResponse {
        let validate_only = request.validate_only;
        let results = request.topics.into_iter().map(|topic| {
            let name = topic.name.clone();
            let created = self.plan_topic(&topic).and_then(|plan| {
                let (partitions, configs) = plan.clone();
                if !validate_only {
                    self.create_topic(&name, partitions, configs)?;
                }
                Ok(plan)
            });
            let mut answer = CreatableTopicResult::default().with_name(name);
            match created {
                Ok((partitions, configs)) if call.version >= DESCRIBES_CREATED => {
                    answer.num_partitions = partitions;
                    answer.replication_factor = 1;
                    answer.configs = Some(configs::of_created(&configs));
                    let topic = self.catalogue.topics.get(answer.name.as_str());
                    if let (Some(topic), true) = (topic, call.version >= GIVES_ID) {
                        answer.topic_id = topic.id;
                    }
                }
                Ok(_) => {}
                Err(refused) => {
                    answer.error_code = refused.code.code();
                    answer.error_message = Some(text(refused.why));
                }
            }
            answer
        });
        CreateTopicsResponse::default().with_topics(results.collect())
    }

    fn plan_topic(&self, topic: &CreatableTopic) -> Result<(i32, BTreeMap<String, String>), Refused> {
        let name = topic.name.as_str();
        check_name(name)?;
        if self.catalogue.topics.contains_key(name) {
            let why = format!("topic '{name}' already exists");
            return Err(Refused::new(ResponseError::TopicAlreadyExists, why));
        }
        let partitions = if topic.assignments.is_empty() {
            if !matches!(topic.replication_factor, 1 | -1) {
                let why = format!(
                    "replication factor {} is not possible: this is a single broker, use 1",
                    topic.replication_factor
                );
                return Err(Refused::new(ResponseError::InvalidReplicationFactor, why));
            }
            if topic.num_partitions == -1 { self.config.default_partitions } else { topic.num_partitions }
        } else {
            if topic.assignments.iter().any(|assignment| assignment.broker_ids != [NODE_ID]) {
                let why = format!("replicas can only be on broker {}", NODE_ID.0);
                return Err(Refused::new(ResponseError::InvalidReplicaAssignment, why));
            }
            i32::try_from(topic.assignments.len()).unwrap_or(i32::MAX)
        };
        check_partitions(partitions)?;
        let mut configs = BTreeMap::new();
        for config in &topic.configs {
            let value = config.value.as_ref().map(ToString::to_string).unwrap_or_default();
            configs::check(&config.name, &value)?;
            configs.insert(config.name.to_string(), value);
        }
        Ok((partitions, configs))
    }

    pub(super) fn delete_topics(&mut self, request: DeleteTopicsRequest, call: &Call) -> DeleteTopicsResponse {
        let results = request.topic_names.into_iter().map(|name| {
            let mut answer = DeletableTopicResult::default();
            if let Err(refused) = self.delete_topic(&name) {
                answer.error_code = refused.code.code();
                if call.version >= GIVES_MESSAGE {
                    answer.error_message = Some(text(refused.why));
                }
            }
            answer.with_name(Some(name))
        });
        DeleteTopicsResponse::default().with_responses(results.collect())
    }

    pub(super) fn create_partitions(&mut self, request: CreatePartitionsRequest) -> CreatePartitionsResponse {
        let validate_only = request.validate_only;
        let results = request.topics.into_iter().map(|topic| {
            let created = self
                .plan_partitions(&topic)
                .and_then(|plan| if validate_only { Ok(()) } else { self.change_topic(&topic.name, plan) });
            let answer = CreatePartitionsTopicResult::default().with_name(topic.name);
            match created {
                Ok(()) => answer,
                Err(refused) => answer.with_error_code(refused.code.code()).with_error_message(Some(text(refused.why))),
            }
        });
        CreatePartitionsResponse::default().with_results(results.collect())
    }

    fn plan_partitions(&self, wanted: &CreatePartitionsTopic) -> Result<Topic, Refused> {
        let Some(topic) = self.catalogue.topics.get(wanted.name.as_str()) else {
            let why = format!("there is no topic {}", wanted.name.as_str());
            return Err(Refused::new(ResponseError::UnknownTopicOrPartition, why));
        };
        if wanted.count <= topic.partitions {
            let why = format!("the topic has {} partitions; it can only get more", topic.partitions);
            return Err(Refused::new(ResponseError::InvalidPartitions, why));
        }
        check_partitions(wanted.count)?;
        Ok(Topic { partitions: wanted.count, ..topic.clone() })
    }

    pub(super) fn answer_delete_records(&mut self, request: DeleteRecordsRequest) -> DeleteRecordsResponse {
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|wanted| {
                let answer = DeleteRecordsPartitionResult::default().with_partition_index(wanted.partition_index);
                match self.delete_records(&topic.name, wanted.partition_index, wanted.offset) {
                    Ok(start) => answer.with_low_watermark(start),
                    Err(refused) => answer.with_low_watermark(-1).with_error_code(refused.code.code()),
                }
            });
            let partitions = partitions.collect();
            DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions)
        });
        DeleteRecordsResponse::default().with_topics(topics.collect())
    }
}

fn check_partitions(partitions: i32) -> Result<(), Refused> {
    if (1..=MAX_PARTITIONS).contains(&partitions) {
        return Ok(());
    }
    let why = format!("{partitions} partitions are not possible: 1 to {MAX_PARTITIONS} are");
    Err(Refused::new(ResponseError::InvalidPartitions, why))
}
