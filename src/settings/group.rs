//! The worker's keys that a distributed worker of Apache has: its group, the topic of source offsets, exactly-once.
//!
//! Read by `worker.rs`. Connectors and their states stay in files whatever stands here.

use std::collections::BTreeMap;

use pipette_api::config::checks::{not_empty, one_of_any_case};
use pipette_api::config::key::Importance;
use pipette_api::{ConnectError, Key, Result, Settings};

use super::java_keys::positive_or_default;

pub(super) static GROUP: Key<String> = Key::new(
    "group.id",
    "The group of this worker. With `offset.storage.topic` source offsets are kept in Kafka; it begins the \
     transactional ids of exactly-once sources.",
)
.optional()
.check(not_empty)
.importance(Importance::High);
pub(super) static TOPIC: Key<String> = Key::new(
    "offset.storage.topic",
    "The compacted topic for source offsets, in Apache's format; made if it is missing. Takes effect with `group.id`; \
     without both, offsets are kept in files. Any other `offset.storage.…` key is a setting of a topic that is made.",
)
.optional()
.check(not_empty)
.importance(Importance::High);
pub(super) static PARTITIONS: Key<i32> = Key::new(
    "offset.storage.partitions",
    "The partitions of the offsets topic when it is made; -1 is the broker's default.",
)
.default("25")
.check(positive_or_default)
.importance(Importance::Low);
pub(super) static REPLICATION: Key<i16> = Key::new(
    "offset.storage.replication.factor",
    "The replication factor of the offsets topic when it is made; -1 is the broker's default. Left out, it is 3, or as \
     many as there are brokers.",
)
.optional()
.check(positive_or_default)
.importance(Importance::Low);
pub(super) static EXACTLY_ONCE: Key<String> = Key::new(
    "exactly.once.source.support",
    "`enabled`: every source writes its records and their offsets in transactions. Needs `group.id` and \
     `offset.storage.topic`. `preparing` is accepted for Apache's rolling upgrades and does what `disabled` does.",
)
.default("disabled")
.check(|text| one_of_any_case(text, &["disabled", "preparing", "enabled"]))
.importance(Importance::High);

/// What topic settings begin with.
const PREFIX: &str = "offset.storage.";

/// Where source offsets are kept when they are kept in Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetsTopic {
    /// `group.id`.
    pub group: String,
    /// `offset.storage.topic`.
    pub name: String,
    /// `offset.storage.partitions`.
    pub partitions: i32,
    /// `offset.storage.replication.factor`, if given.
    pub replication_factor: Option<i16>,
    /// Other settings for a topic that is made; `cleanup.policy` is always `compact`.
    pub config: BTreeMap<String, String>,
    /// `exactly.once.source.support=enabled`.
    pub exactly_once: bool,
}

impl OffsetsTopic {
    /// The topic, when the file names one and a group.
    pub(super) fn read(settings: &Settings) -> Result<Option<Self>> {
        let (partitions, replication_factor) = (settings.get(&PARTITIONS)?, settings.find(&REPLICATION)?);
        let exactly_once = settings.get(&EXACTLY_ONCE)?.eq_ignore_ascii_case("enabled");
        let (Some(group), Some(name)) = (settings.find(&GROUP)?, settings.find(&TOPIC)?) else {
            if exactly_once {
                return Err(ConnectError::config(
                    "exactly.once.source.support=enabled needs group.id and offset.storage.topic: the offsets of \
                     exactly-once sources are written to Kafka, in the same transactions as their records",
                ));
            }
            return Ok(None);
        };
        let own = [TOPIC.info.name, PARTITIONS.info.name, REPLICATION.info.name, "offset.storage.file.filename"];
        let other = |(key, value): (&String, &String)| {
            let setting = key.strip_prefix(PREFIX).filter(|_| !own.contains(&key.as_str()))?;
            Some((setting.to_owned(), value.clone()))
        };
        let mut config: BTreeMap<_, _> = settings.values().iter().filter_map(other).collect();
        config.insert("cleanup.policy".into(), "compact".into());
        Ok(Some(Self { group, name, partitions, replication_factor, config, exactly_once }))
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
        let topic = worker.offsets_topic.unwrap();
        assert_eq!((topic.name.as_str(), topic.partitions, topic.replication_factor), ("t", 25, None));
        let config = [("cleanup.policy", "compact"), ("segment.bytes", "1048576")];
        assert_eq!(topic.config, config.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        assert!(!topic.exactly_once);
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
}
