//! The few admin calls a worker needs: make a topic, name the cluster, look up a group's offsets.
//!
//! Used by `task/topics.rs` and, for `GET /` and `GET …/offsets`, by `worker.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use pipette_api::{ConnectError, Offsets, Result, TopicPartition};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::task::spec::{ClientProperties, NewTopics};

/// How long one request to the broker may take.
const REQUEST: Duration = Duration::from_secs(10);

/// An admin client.
pub struct Admin {
    client: AdminClient<DefaultClientContext>,
}

/// What became of a topic that was to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It is new.
    Created,
    /// It was there.
    Existed,
}

impl Admin {
    /// A client; it connects when first used.
    pub fn new(properties: &ClientProperties) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.extend(only_connection(properties));
        let client = config
            .create()
            .map_err(|error| ConnectError::config(format!("Kafka refuses the admin client's settings: {error}")))?;
        Ok(Self { client })
    }

    /// Makes a topic unless it is there.
    pub async fn create_topic(&self, name: &str, topics: &NewTopics) -> Result<Made> {
        let mut topic = NewTopic::new(name, topics.partitions, TopicReplication::Fixed(topics.replication_factor));
        for (key, value) in &topics.config {
            topic = topic.set(key, value);
        }
        let options = AdminOptions::new().request_timeout(Some(REQUEST));
        let answers = self.client.create_topics([&topic], &options).await;
        let code = match answers {
            Ok(answers) => match answers.into_iter().next() {
                Some(Err((_, code))) => code,
                _ => return Ok(Made::Created),
            },
            Err(error) => error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
        };
        match code {
            RDKafkaErrorCode::TopicAlreadyExists => Ok(Made::Existed),
            RDKafkaErrorCode::InvalidReplicationFactor
            | RDKafkaErrorCode::InvalidPartitions
            | RDKafkaErrorCode::InvalidConfig
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::PolicyViolation
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed => Err(ConnectError::config(format!(
                "Kafka refuses to create topic {name} (partitions {}, replication factor {}): {code}. \
                 Change topic.creation.default.* or create the topic by hand",
                topics.partitions, topics.replication_factor
            ))),
            code => Err(ConnectError::retriable(format!("Cannot create topic {name} yet: {code}"))),
        }
    }
}

/// The keys that say how to reach a cluster; an admin client takes no others without complaint.
fn only_connection(properties: &ClientProperties) -> BTreeMap<String, String> {
    const CONNECTION: [&str; 9] = [
        "bootstrap.servers",
        "client.id",
        "security.",
        "sasl.",
        "ssl.",
        "reconnect.",
        "socket.",
        "broker.",
        "metadata.",
    ];
    let wanted = |key: &str| CONNECTION.iter().any(|prefix| key.starts_with(prefix));
    properties.iter().filter(|(key, _)| wanted(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// The id of the cluster, asked with a client of its own; blocks for at most `wait`. `None` when nobody answers.
pub fn cluster_id(properties: &ClientProperties, wait: Duration) -> Option<String> {
    let mut config = ClientConfig::new();
    config.extend(only_connection(properties));
    let consumer: BaseConsumer = config.create().ok()?;
    consumer.client().fetch_cluster_id(wait)
}

/// What a consumer group has committed, for every topic there is; blocks for as long as the broker takes, at most 10 s
/// per request. `properties` are those of the sink's consumer, `group.id` included.
pub fn committed(properties: &ClientProperties) -> Result<Offsets> {
    let mut config = ClientConfig::new();
    config.extend(properties.clone());
    let away =
        |error: &KafkaError| ConnectError::retriable(format!("Kafka does not tell the group's offsets: {error}"));
    let consumer: BaseConsumer = config.create().map_err(|error| away(&error))?;
    let mut list = TopicPartitionList::new();
    // A group may hold offsets of topics its connector no longer names: all are asked for, as Java does.
    let metadata = consumer.fetch_metadata(None, REQUEST).map_err(|error| away(&error))?;
    for topic in metadata.topics() {
        for partition in topic.partitions() {
            list.add_partition(topic.name(), partition.id());
        }
    }
    let committed = consumer.committed_offsets(list, REQUEST).map_err(|error| away(&error))?;
    let stored = committed.elements().into_iter().filter_map(|element| match element.offset() {
        Offset::Offset(offset) => Some((TopicPartition::new(element.topic(), element.partition()), offset)),
        _ => None,
    });
    Ok(stored.collect())
}
