//! The worker's keys that a distributed worker of Apache has: its group, the three topics for what survives a restart,
//! exactly-once.
//!
//! Read by `worker.rs`. Without them connectors, statuses and offsets are kept in files.

use std::collections::BTreeMap;
use std::time::Duration;

use pipette_api::config::checks::{not_empty, one_of_any_case};
use pipette_api::config::key::Importance;
use pipette_api::{ConnectError, Key, Result, Settings};

use super::java_keys::positive_or_default;

pub(super) static GROUP: Key<String> = Key::new(
    "group.id",
    "The group of this worker. With `config.storage.topic`, `offset.storage.topic` and `status.storage.topic` all that \
     survives a restart is kept in Kafka, as Apache's distributed worker keeps it; one worker per group. It begins the \
     transactional ids of exactly-once sources.",
)
.optional()
.check(not_empty)
.importance(Importance::High);
pub(super) static CONFIGS: Topic = Topic {
    name: topic(
        "config.storage.topic",
        "The compacted topic with one partition for connectors, their tasks and what is wanted of them, in Apache's \
         format; made if it is missing. Needs `group.id` and the other two topics. Any other `config.storage.…` key is a \
         setting of a topic that is made.",
    ),
    partitions: None,
    replication: replication(
        "config.storage.replication.factor",
        "The replication factor of the topic for connectors when it is made; -1 is the broker's default. Left out, it is \
         3, or as many as there are brokers.",
    ),
    prefix: "config.storage.",
};
pub(super) static OFFSET_PARTITIONS: Key<i32> = partitions(
    "offset.storage.partitions",
    "The partitions of the offsets topic when it is made; -1 is the broker's default.",
    "25",
);
pub(super) static OFFSETS: Topic = Topic {
    name: topic(
        "offset.storage.topic",
        "The compacted topic for source offsets, in Apache's format; made if it is missing. Takes effect with `group.id`; \
         without both, offsets are kept in files. Any other `offset.storage.…` key is a setting of a topic that is made.",
    ),
    partitions: Some(&OFFSET_PARTITIONS),
    replication: replication(
        "offset.storage.replication.factor",
        "The replication factor of the offsets topic when it is made; -1 is the broker's default. Left out, it is 3, or as \
         many as there are brokers.",
    ),
    prefix: "offset.storage.",
};
pub(super) static STATUS_PARTITIONS: Key<i32> = partitions(
    "status.storage.partitions",
    "The partitions of the topic for statuses when it is made; -1 is the broker's default.",
    "5",
);
pub(super) static STATUSES: Topic = Topic {
    name: topic(
        "status.storage.topic",
        "The compacted topic for statuses and the topics that connectors have used, in Apache's format; made if it is \
         missing. Any other `status.storage.…` key is a setting of a topic that is made.",
    ),
    partitions: Some(&STATUS_PARTITIONS),
    replication: replication(
        "status.storage.replication.factor",
        "The replication factor of the topic for statuses when it is made; -1 is the broker's default. Left out, it is 3, \
         or as many as there are brokers.",
    ),
    prefix: "status.storage.",
};
pub(super) static SESSION: Key<Duration> = Key::new(
    "session.timeout.ms",
    "With `config.storage.topic`: how long this worker may be silent before its place in `group.id` is free for another, \
     in milliseconds.",
)
.default("10000")
.importance(Importance::High);
pub(super) static HEARTBEAT: Key<Duration> = Key::new(
    "heartbeat.interval.ms",
    "How often the worker says to its group that it is alive, in milliseconds; a third of `session.timeout.ms` at most.",
)
.default("3000")
.importance(Importance::High);
pub(super) static EXACTLY_ONCE: Key<String> = Key::new(
    "exactly.once.source.support",
    "`enabled`: every source writes its records and their offsets in transactions. Needs `group.id` and \
     `offset.storage.topic`. With it, and with `preparing`, connectors are written to `config.storage.topic` in \
     transactions as well.",
)
.default("disabled")
.check(|text| one_of_any_case(text, &["disabled", "preparing", "enabled"]))
.importance(Importance::High);

/// The keys of one of the three topics.
pub(super) struct Topic {
    pub(super) name: Key<String>,
    /// Without, it has one.
    pub(super) partitions: Option<&'static Key<i32>>,
    pub(super) replication: Key<i16>,
    prefix: &'static str,
}

const fn topic(name: &'static str, doc: &'static str) -> Key<String> {
    Key::new(name, doc).optional().check(not_empty).importance(Importance::High)
}

const fn replication(name: &'static str, doc: &'static str) -> Key<i16> {
    Key::new(name, doc).optional().check(positive_or_default).importance(Importance::Low)
}

const fn partitions(name: &'static str, doc: &'static str, default: &'static str) -> Key<i32> {
    Key::new(name, doc).default(default).check(positive_or_default).importance(Importance::Low)
}

/// A topic in which the worker keeps something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InternalTopic {
    /// Its name.
    pub name: String,
    /// How many partitions it is made with.
    pub partitions: i32,
    /// How many replicas it is made with, if given.
    pub replication_factor: Option<i16>,
    /// Other settings for a topic that is made; `cleanup.policy` is always `compact`.
    pub config: BTreeMap<String, String>,
}

/// Where source offsets are kept when they are kept in Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetsTopic {
    /// `group.id`.
    pub group: String,
    /// `offset.storage.…`.
    pub topic: InternalTopic,
    /// `exactly.once.source.support=enabled`.
    pub exactly_once: bool,
}

/// Where connectors and statuses are kept when they are kept in Kafka, and how the one place in the group is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateTopics {
    /// `group.id`.
    pub group: String,
    /// `config.storage.…`.
    pub configs: InternalTopic,
    /// `status.storage.…`.
    pub statuses: InternalTopic,
    /// `exactly.once.source.support` is `enabled` or `preparing`: configurations are written in transactions.
    pub transactional: bool,
    /// `exactly.once.source.support=enabled`.
    pub exactly_once: bool,
    /// `session.timeout.ms`.
    pub session: Duration,
    /// `heartbeat.interval.ms`.
    pub heartbeat: Duration,
}

impl Topic {
    /// The topic, when the file names one. Every value is looked at even if it has no effect.
    fn read(&self, settings: &Settings) -> Result<Option<InternalTopic>> {
        let partitions = self.partitions.map_or(Ok(1), |key| settings.get(key))?;
        let replication_factor = settings.find(&self.replication)?;
        let Some(name) = settings.find(&self.name)? else { return Ok(None) };
        let own = ["topic", "partitions", "replication.factor", "file.filename"];
        let other = |(key, value): (&String, &String)| {
            let setting = key.strip_prefix(self.prefix).filter(|setting| !own.contains(setting))?;
            Some((setting.to_owned(), value.clone()))
        };
        let mut config: BTreeMap<_, _> = settings.values().iter().filter_map(other).collect();
        config.insert("cleanup.policy".into(), "compact".into());
        Ok(Some(InternalTopic { name, partitions, replication_factor, config }))
    }
}

impl OffsetsTopic {
    /// The topic, when the file names one and a group.
    pub(super) fn read(settings: &Settings) -> Result<Option<Self>> {
        let topic = OFFSETS.read(settings)?;
        let exactly_once = settings.get(&EXACTLY_ONCE)?.eq_ignore_ascii_case("enabled");
        let (Some(group), Some(topic)) = (settings.find(&GROUP)?, topic) else {
            if exactly_once {
                return Err(ConnectError::config(
                    "exactly.once.source.support=enabled needs group.id and offset.storage.topic: the offsets of \
                     exactly-once sources are written to Kafka, in the same transactions as their records",
                ));
            }
            return Ok(None);
        };
        Ok(Some(Self { group, topic, exactly_once }))
    }
}

impl StateTopics {
    /// The topics, when the file names one for connectors and a group.
    pub(super) fn read(settings: &Settings) -> Result<Option<Self>> {
        let (configs, statuses) = (CONFIGS.read(settings)?, STATUSES.read(settings)?);
        let (session, heartbeat) = (settings.get(&SESSION)?, settings.get(&HEARTBEAT)?);
        let (Some(group), Some(configs)) = (settings.find(&GROUP)?, configs) else { return Ok(None) };
        if heartbeat * 3 > session {
            return Err(ConnectError::config(
                "heartbeat.interval.ms must be a third of session.timeout.ms at most: one heartbeat that is late must not \
                 cost the worker its place in the group",
            ));
        }
        let missing = |key: &str| {
            ConnectError::config(format!(
                "Missing required configuration \"{key}\" which has no default value: with group.id and \
                 config.storage.topic all that survives a restart is kept in Kafka. Name that topic, or leave \
                 config.storage.topic out to keep connectors in files"
            ))
        };
        if settings.find(&OFFSETS.name)?.is_none() {
            return Err(missing(OFFSETS.name.info.name));
        }
        let statuses = statuses.ok_or_else(|| missing(STATUSES.name.info.name))?;
        let support = settings.get(&EXACTLY_ONCE)?.to_ascii_lowercase();
        let (transactional, exactly_once) = (support != "disabled", support == "enabled");
        Ok(Some(Self { group, configs, statuses, transactional, exactly_once, session, heartbeat }))
    }
}

#[cfg(test)]
mod tests {
    use pipette_api::ConfigMap;

    use super::*;
    use crate::settings::worker::WorkerConfig;

    fn read(pairs: &[(&str, &str)]) -> Result<WorkerConfig> {
        let least = [("bootstrap.servers", "b:9092"), ("key.converter", "K"), ("value.converter", "V")];
        let pairs = least.iter().chain(pairs);
        WorkerConfig::read(pairs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<ConfigMap>())
    }

    #[test]
    fn a_group_and_a_topic_keep_offsets_in_kafka() {
        let worker = read(&[
            ("group.id", "g"),
            ("offset.storage.topic", "t"),
            ("offset.storage.segment.bytes", "1048576"),
            ("offset.storage.cleanup.policy", "delete"),
        ]);
        let worker = worker.unwrap();
        let OffsetsTopic { topic, exactly_once, .. } = worker.offsets_topic.unwrap();
        assert_eq!((topic.name.as_str(), topic.partitions, topic.replication_factor), ("t", 25, None));
        let config = [("cleanup.policy", "compact"), ("segment.bytes", "1048576")];
        assert_eq!(topic.config, config.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        assert!(!exactly_once);
        assert_eq!(worker.state_topics, None);
        assert!(worker.warnings.is_empty(), "{:?}", worker.warnings);
    }

    #[test]
    fn either_alone_keeps_them_in_files_and_says_so() {
        for pair in [("group.id", "g"), ("offset.storage.topic", "t")] {
            let worker = read(&[pair]).unwrap();
            assert_eq!(worker.offsets_topic, None);
            assert!(worker.warnings[0].starts_with(&format!("{} has no effect without", pair.0)), "{worker:?}");
        }
    }

    #[test]
    fn exactly_once_without_the_topic_is_refused() {
        let error = read(&[("exactly.once.source.support", "ENABLED"), ("group.id", "g")]).unwrap_err();
        assert!(error.to_string().contains("needs group.id and offset.storage.topic"), "{error}");
        let topic = [("exactly.once.source.support", "Enabled"), ("group.id", "g"), ("offset.storage.topic", "t")];
        assert!(read(&topic).unwrap().offsets_topic.unwrap().exactly_once);
        read(&[("exactly.once.source.support", "preparing")]).unwrap();
        read(&[("offset.storage.partitions", "0")]).unwrap_err();
    }

    #[test]
    fn the_three_topics_belong_together() {
        let (group, configs) = (("group.id", "g"), ("config.storage.topic", "c"));
        let offsets = ("offset.storage.topic", "o");
        let error = read(&[group, configs, offsets]).unwrap_err().to_string();
        assert!(error.contains("configuration \"status.storage.topic\" which has no default value"), "{error}");
        let error = read(&[group, configs, ("status.storage.topic", "s")]).unwrap_err().to_string();
        assert!(error.contains("\"offset.storage.topic\""), "{error}");

        let all = [group, configs, offsets, ("status.storage.topic", "s"), ("config.storage.partitions", "9")];
        let topics = read(&all).unwrap().state_topics.unwrap();
        assert_eq!((topics.configs.partitions, topics.statuses.partitions), (1, 5));
        assert!(!topics.configs.config.contains_key("partitions"), "Apache's worker ignores it as well");
        assert!(!topics.transactional);
        let preparing = [&all[..], &[("exactly.once.source.support", "Preparing")]].concat();
        let topics = read(&preparing).unwrap().state_topics.unwrap();
        assert!(topics.transactional && !topics.exactly_once);
        let late = [&all[..], &[("session.timeout.ms", "6000")]].concat();
        assert!(read(&late).unwrap_err().to_string().contains("heartbeat.interval.ms must be a third"));
    }
}
