//! The few admin calls a worker needs: make a topic, name the cluster, look up and change a group's offsets.
//!
//! Used by `task/topics.rs`, `task/dead_letters.rs`, `compacted.rs` and, for `GET /` and `GET …/offsets`, by `worker.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use pipette_api::{ConnectError, Offsets, Result, TopicPartition};
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::compacted::Events;
use super::events::ClientEvents;
use super::properties::ClientProperties;
use super::{asking, sys};
use crate::settings::group::InternalTopic;

/// How long one request to the broker may take.
const REQUEST: Duration = Duration::from_secs(10);
/// What Kafka allows.
pub(super) const NAMES: &str =
    "the name of a topic has up to 249 letters of ASCII, digits, dots, underscores and hyphens";

/// An admin client.
pub struct Admin {
    client: AdminClient<Events>,
}

/// How a missing topic is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopics {
    /// How many partitions; -1 is the broker's default.
    pub partitions: i32,
    /// How many replicas; -1 is the broker's default. When nobody says: three, or as many as there are brokers, since a
    /// single broker is no reason to refuse to start.
    pub replication_factor: Option<i32>,
    /// The topic's settings.
    pub config: BTreeMap<String, String>,
}

/// As a worker file says it.
impl From<&InternalTopic> for NewTopics {
    fn from(topic: &InternalTopic) -> Self {
        let InternalTopic { partitions, replication_factor, config, .. } = topic.clone();
        Self { partitions, replication_factor: replication_factor.map(i32::from), config }
    }
}

/// Replicas of a topic when nobody says how many: Apache's default.
const REPLICAS: usize = 3;

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
        let client: AdminClient<Events> = config
            .create_with_context(Events(ClientEvents::new(properties)))
            .map_err(|error| ConnectError::config(format!("Kafka refuses the admin client's settings: {error}")))?;
        asking::give_token(client.inner(), properties).map_err(ConnectError::retriable)?;
        Ok(Self { client })
    }

    async fn create_topic(&self, name: &str, topics: &NewTopics, replicas: i32, keys: &str) -> Result<Made> {
        let mut topic = NewTopic::new(name, topics.partitions, TopicReplication::Fixed(replicas));
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
            RDKafkaErrorCode::InvalidTopic => {
                Err(ConnectError::config(format!("No topic can be named '{name}': {NAMES}. Correct it")))
            }
            RDKafkaErrorCode::InvalidReplicationFactor
            | RDKafkaErrorCode::InvalidPartitions
            | RDKafkaErrorCode::InvalidConfig
            | RDKafkaErrorCode::PolicyViolation
            | RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed => Err(ConnectError::config(format!(
                "Kafka refuses to create topic {name} (partitions {}, replication factor {}): {code}. \
                 Change {keys} or create the topic by hand",
                topics.partitions, replicas
            ))),
            code => Err(ConnectError::retriable(format!("Cannot create topic {name} yet: {code}"))),
        }
    }

    /// A setting of a topic: `None` when there is no such topic, or when Kafka does not tell. rdkafka keeps back which.
    pub async fn topic_setting(&self, name: &str, key: &str) -> Result<Option<String>> {
        let options = AdminOptions::new().request_timeout(Some(REQUEST));
        let asked = self.client.describe_configs([&ResourceSpecifier::Topic(name)], &options).await;
        let answers = asked.map_err(|error| {
            ConnectError::retriable(format!("Kafka does not tell the settings of topic {name}: {error}"))
        })?;
        let entry = |resource: &ConfigResource| resource.get(key)?.value.clone();
        Ok(answers.iter().flatten().find_map(entry))
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
    let client = asking::client(only_connection(properties)).ok()?;
    let question = |wait| client.client().fetch_cluster_id(wait).ok_or(KafkaError::Canceled);
    asking::ask(&client, wait, question).ok()
}

/// Says why Kafka cannot be reached, if it cannot: admin clients hear of no reason.
pub(super) async fn reach(properties: &ClientProperties) -> Result<()> {
    let asked = properties.clone();
    let reached = tokio::task::spawn_blocking(move || {
        let client = asking::client(only_connection(&asked))?;
        asking::ask(&client, REQUEST, |wait| client.client().fetch_cluster_id(wait).ok_or(KafkaError::Canceled))
    });
    let reached = reached.await.map_err(|error| ConnectError::fatal("The look for Kafka broke off").because(error))?;
    reached.map(drop).map_err(|reason| ConnectError::retriable(format!("Kafka cannot be reached: {reason}")))
}

/// Makes a topic unless it is there: one that is there is left alone, however it is made, and may be there for somebody
/// who may create none. `keys` are those that say how, for whoever has to mend them.
pub async fn make_missing(properties: &ClientProperties, name: &str, how: &NewTopics, keys: &str) -> Result<Made> {
    let (asked, topic) = (properties.clone(), name.to_owned());
    let survey = tokio::task::spawn_blocking(move || survey(&asked, &topic)).await;
    let survey =
        survey.map_err(|error| ConnectError::fatal("The look at Kafka's topics broke off").because(error))??;
    if survey.exists {
        return Ok(Made::Existed);
    }
    let by_default = i32::try_from(REPLICAS.min(survey.brokers.max(1))).unwrap_or(1);
    let replicas = how.replication_factor.unwrap_or(by_default);
    let made = Admin::new(properties)?.create_topic(name, how, replicas, keys).await?;
    if made == Made::Created {
        tracing::info!(topic = name, partitions = how.partitions, replicas, "Topic created");
    }
    Ok(made)
}

/// What stands in the way of making a topic, and what decides how it is made.
struct Survey {
    exists: bool,
    brokers: usize,
}

/// Whether there is such a topic; none is made by asking. Blocks for at most 10 s.
pub fn exists(properties: &ClientProperties, topic: &str) -> Result<bool> {
    survey(properties, topic).map(|survey| survey.exists)
}

/// Looks for a topic without making it; blocks for at most 10 s. Whoever may not create topics may still look.
fn survey(properties: &ClientProperties, topic: &str) -> Result<Survey> {
    let away = |reason: String| ConnectError::retriable(format!("Kafka does not tell which topics it has: {reason}"));
    let client = asking::client(only_connection(properties)).map_err(away)?;
    // All of them: asked for one by name, a broker may make it.
    let metadata = asking::ask(&client, REQUEST, |wait| client.fetch_metadata(None, wait)).map_err(away)?;
    let exists = metadata.topics().iter().any(|known| known.name() == topic);
    Ok(Survey { exists, brokers: metadata.brokers().len() })
}

/// What a consumer group has committed, for every partition it ever read; blocks for at most 10 s. `properties` are
/// those of the sink's consumer, `group.id` included.
pub fn committed(properties: &ClientProperties) -> Result<Offsets> {
    let Some(group) = properties.get("group.id") else { return Ok(Offsets::new()) };
    let away =
        |reason: &str| ConnectError::retriable(format!("Kafka does not tell the offsets of group {group}: {reason}"));
    let client = asking::client(only_connection(properties)).map_err(|reason| away(&reason))?;
    // Whoever is refused hears why: the question after this one would only go unanswered.
    asking::ask(&client, REQUEST, |wait| client.client().fetch_cluster_id(wait).ok_or(KafkaError::Canceled))
        .map_err(|reason| away(&reason))?;
    sys::group_offsets(client.client().native_ptr(), group, REQUEST).map_err(|reason| away(&reason))
}

/// Commits offsets for a consumer group without members, or takes away those that are `None`; blocks for some seconds at
/// most. `properties` are those of the sink's consumer, `group.id` included.
pub fn alter_offsets(properties: &ClientProperties, offsets: &BTreeMap<TopicPartition, Option<i64>>) -> Result<()> {
    let Some(group) = properties.get("group.id") else { return Ok(()) };
    let unasked = |reason| ConnectError::retriable(format!("Kafka does not answer for group {group}: {reason}"));
    let own = [("group.id", group.as_str()), ("enable.auto.commit", "false")];
    let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let client = asking::client(only_connection(properties).into_iter().chain(own)).map_err(unasked)?;
    let metadata = asking::ask(&client, REQUEST, |wait| client.fetch_metadata(None, wait)).map_err(unasked)?;
    let (mut kept, mut gone) = (TopicPartitionList::new(), TopicPartitionList::new());
    for (tp, offset) in offsets {
        let topic = metadata.topics().iter().find(|topic| topic.name() == &*tp.topic);
        let exists = topic.is_some_and(|topic| topic.partitions().iter().any(|known| known.id() == tp.partition));
        match offset {
            Some(_) if !exists => return Err(ConnectError::config(format!("Kafka has no partition {tp}"))),
            Some(offset) => {
                let added = kept.add_partition_offset(&tp.topic, tp.partition, Offset::Offset(*offset));
                added.map_err(|error| ConnectError::config(format!("{tp}: {error}")))?;
            }
            None => drop(gone.add_partition(&tp.topic, tp.partition)),
        }
    }
    let members = |reason: &str| {
        ConnectError::fatal(format!(
            "{reason}. If group {group} still has members, its tasks haven't stopped completely yet, or are left to \
             themselves by a worker that cannot end them (a zombie sink task)"
        ))
    };
    if gone.count() > 0 {
        sys::delete_group_offsets(client.client().native_ptr(), group, &gone, REQUEST)
            .map_err(|text| members(&text))?;
    }
    if kept.count() > 0 {
        client.commit(&kept, CommitMode::Sync).map_err(|error| members(&error.to_string()))?;
    }
    Ok(())
}

/// Takes a consumer group away, with all it has committed.
pub async fn delete_group(properties: &ClientProperties) -> Result<()> {
    let Some(group) = properties.get("group.id") else { return Ok(()) };
    let admin = Admin::new(properties)?;
    let options = AdminOptions::new().request_timeout(Some(REQUEST));
    let deleted = admin.client.delete_groups(&[group], &options).await;
    let away = |error: KafkaError| ConnectError::retriable(format!("Kafka does not answer for group {group}: {error}"));
    match deleted.map_err(away)?.into_iter().next() {
        None | Some(Ok(_) | Err((_, RDKafkaErrorCode::GroupIdNotFound))) => Ok(()),
        Some(Err((_, code))) => Err(ConnectError::fatal(format!(
            "{code}. If group {group} still has members, its tasks haven't stopped completely yet"
        ))),
    }
}
