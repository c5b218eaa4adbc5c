//! Topics a source writes to: made once each, before the first record, when the connector says how (KIP-158).
//!
//! `herder/spec.rs` reads the rules, `source.rs` asks before it sends.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use pipette_api::config::FromText;
use pipette_api::{ConfigMap, ConnectError, Result};

use super::retention;
use super::used::Notes;
use crate::kafka::admin::{self, NewTopics};
use crate::kafka::pattern;
use crate::kafka::properties::ClientProperties;
use crate::settings::claim_check::Claim;

const PREFIX: &str = "topic.creation.";
const GROUPS: &str = "topic.creation.groups";
/// The group of what no other takes.
const DEFAULT: &str = "default";

/// How topics are made: by the first group that takes the name, in the order of `topic.creation.groups`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    groups: Vec<Group>,
    default: NewTopics,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: String,
    /// Java's patterns; each compiles.
    include: Vec<String>,
    exclude: Vec<String>,
    how: NewTopics,
}

impl Rules {
    /// What a connector says; `None` when it says nothing, and topics are left to the broker. The error names the key.
    pub fn read(config: &ConfigMap) -> Result<Option<Self>> {
        if !config.keys().any(|key| key.starts_with(PREFIX)) {
            return Ok(None);
        }
        let default = how(config, DEFAULT, None)?;
        let mut groups: Vec<Group> = Vec::new();
        for name in list(config, GROUPS) {
            if name == DEFAULT {
                tracing::warn!("topic.creation.groups lists \"default\", which is there anyway");
            } else if groups.iter().all(|group| group.name != name) {
                groups.push(Group {
                    include: patterns(config, &name, "include")?,
                    exclude: patterns(config, &name, "exclude")?,
                    how: how(config, &name, Some(&default))?,
                    name,
                });
            }
        }
        Ok(Some(Self { groups, default }))
    }

    /// How a topic is made, and the keys that say so.
    fn of(&self, topic: &str) -> (&NewTopics, String) {
        let matches = |patterns: &[String]| patterns.iter().any(|text| pattern::matches(text, topic));
        let takes = |group: &&Group| matches(&group.include) && !matches(&group.exclude);
        let (name, how) =
            self.groups.iter().find(takes).map_or((DEFAULT, &self.default), |group| (group.name.as_str(), &group.how));
        (how, format!("{PREFIX}{name}.*"))
    }
}

fn list(config: &ConfigMap, key: &str) -> Vec<String> {
    let text = config.get(key).map(|text| text.trim()).unwrap_or_default();
    let list = Vec::<String>::from_text(text).unwrap_or_default();
    list.into_iter().filter(|element| !element.is_empty()).collect()
}

fn patterns(config: &ConfigMap, group: &str, name: &str) -> Result<Vec<String>> {
    let key = format!("{PREFIX}{group}.{name}");
    let patterns = list(config, &key);
    for text in &patterns {
        pattern::whole_name(text).map_err(|error| {
            let error = format!("Syntax error in regular expression: {error}");
            ConnectError::config(format!("Invalid value {text} for configuration {key}: {error}"))
        })?;
    }
    Ok(patterns)
}

/// The settings of a group; what it leaves out is as in the default group, which leaves nothing out.
fn how(config: &ConfigMap, group: &str, default: Option<&NewTopics>) -> Result<NewTopics> {
    const KNOWN: [&str; 4] = ["partitions", "replication.factor", "include", "exclude"];
    let prefix = format!("{PREFIX}{group}.");
    let partitions = number::<i32>(config, &format!("{prefix}partitions"))?;
    let replicas = number::<i16>(config, &format!("{prefix}replication.factor"))?;
    let missing = |name: &str| {
        ConnectError::config(format!("Missing required configuration \"{prefix}{name}\" which has no default value."))
    };
    let other = |(key, value): (&String, &String)| {
        let key = key.strip_prefix(&prefix).filter(|key| !KNOWN.contains(key))?;
        Some((key.to_owned(), value.clone()))
    };
    Ok(NewTopics {
        partitions: partitions.or(default.map(|how| how.partitions)).ok_or_else(|| missing("partitions"))?,
        replication_factor: Some(
            replicas
                .map(i32::from)
                .or(default.and_then(|how| how.replication_factor))
                .ok_or_else(|| missing("replication.factor"))?,
        ),
        config: config.iter().filter_map(other).collect::<BTreeMap<_, _>>(),
    })
}

fn number<T: std::str::FromStr + PartialOrd + From<i8>>(config: &ConfigMap, key: &str) -> Result<Option<T>> {
    let Some(text) = config.get(key) else { return Ok(None) };
    let number = text.trim().parse::<T>().ok().filter(|number| *number == T::from(-1) || *number >= T::from(1));
    number.map(Some).ok_or_else(|| {
        ConnectError::config(format!(
            "Invalid value {text} for configuration {key}: it must be at least 1, or -1 for the broker's default"
        ))
    })
}

/// The topics one task has seen.
pub struct Topics {
    rules: Option<Rules>,
    properties: ClientProperties,
    /// Where its bad records go.
    dead_letters: Option<String>,
    /// Where its large values go, whose lifetime is compared with that of each topic.
    claims: Vec<Claim>,
    known: HashSet<Arc<str>>,
    last: Option<Arc<str>>,
    used: Notes,
    /// Where the worker keeps something, with the keys that say so.
    kept: HashMap<String, &'static str>,
}

impl Topics {
    /// Without rules every topic is left to the broker.
    pub fn new(rules: Option<Rules>, properties: ClientProperties, dead_letters: Option<String>) -> Self {
        Self {
            rules,
            properties,
            dead_letters,
            claims: Vec::new(),
            known: HashSet::new(),
            last: None,
            used: Notes::default(),
            kept: HashMap::new(),
        }
    }

    /// Compares topics with the stores of large values.
    #[must_use]
    pub fn comparing(self, claims: Vec<Claim>) -> Self {
        Self { claims, ..self }
    }

    /// Notes what is used.
    #[must_use]
    pub fn noting(self, used: Notes) -> Self {
        Self { used, ..self }
    }

    /// The same, without a record for any of these topics, each with the key that names it.
    #[must_use]
    pub fn keeping_out_of(self, kept: Vec<(String, &'static str)>) -> Self {
        Self { kept: kept.into_iter().collect(), ..self }
    }

    /// Why no record may go to a topic. What a message names may name anything, and a worker runs what is in its topics.
    pub fn refusal(&self, topic: &str) -> Option<ConnectError> {
        let key = self.kept.get(topic)?;
        Some(ConnectError::data(format!(
            "the record is for topic {topic}, where this worker keeps its own state ({key}), and goes to no other topic by \
             itself: change what makes its topic, in the connector's keys or in a transformation"
        )))
    }

    /// True when nothing has to be done before a record for this topic is sent.
    pub fn is_known(&mut self, topic: &Arc<str>) -> bool {
        if self.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, topic)) {
            self.used.note(topic);
            return true;
        }
        if self.kept.contains_key(&**topic) {
            return false;
        }
        self.used.note(topic);
        let known = self.known.contains(topic);
        if known {
            self.last = Some(Arc::clone(topic));
        }
        known
    }

    /// Makes the topic unless it is there.
    pub async fn ensure(&mut self, topic: &Arc<str>) -> Result<()> {
        if self.dead_letters.as_deref() == Some(&**topic) {
            tracing::warn!(
                topic = %topic,
                "The connector's records go to its own dead letter topic, where nobody can tell one from the other; \
                 change errors.deadletterqueue.topic.name"
            );
        }
        if let Some(rules) = &self.rules {
            let (how, keys) = rules.of(topic);
            admin::make_missing(&self.properties, topic, how, &keys).await?;
        }
        retention::compare(&self.claims, &self.properties, topic).await?;
        self.known.insert(Arc::clone(topic));
        Ok(())
    }

    /// A setting of a topic; `None` when there is no such topic yet, or when Kafka does not tell.
    pub async fn setting(&self, topic: &str, key: &str) -> Result<Option<String>> {
        admin::Admin::new(&self.properties)?.topic_setting(topic, key).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<Rules>> {
        let pairs = pairs.iter().map(|(key, value)| (format!("topic.creation.{key}"), (*value).to_owned()));
        Rules::read(&pairs.collect())
    }

    const DEFAULTS: [(&str, &str); 2] = [("default.partitions", "1"), ("default.replication.factor", "-1")];

    #[test]
    fn the_first_group_that_takes_a_topic_makes_it() {
        let keys = [
            ("groups", "raw, default , compact,raw"),
            ("raw.include", r"raw\..*, in-\d+"),
            ("raw.exclude", r"raw\.small"),
            ("raw.partitions", "12"),
            ("compact.include", "raw.*|state"),
            ("compact.cleanup.policy", "compact"),
            ("compact.replication.factor", "2"),
        ];
        let rules = read(&[DEFAULTS.as_slice(), &keys].concat()).unwrap().unwrap();
        let told = |topic: &str| {
            let (how, keys) = rules.of(topic);
            (how.partitions, how.replication_factor.unwrap(), how.config.len(), keys.replace(PREFIX, ""))
        };
        assert_eq!(told("raw.large"), (12, -1, 0, "raw.*".to_owned()));
        assert_eq!(told("in-7"), (12, -1, 0, "raw.*".to_owned()));
        assert_eq!(told("raw.small"), (1, 2, 1, "compact.*".to_owned()), "the first leaves it out");
        assert_eq!(told("in-7b"), (1, -1, 0, "default.*".to_owned()), "the whole name counts");
        assert_eq!(rules.of("state").0.config["cleanup.policy"], "compact");
        assert_eq!(Rules::read(&ConfigMap::new()).unwrap(), None);
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let error = |pairs: &[(&str, &str)]| read(pairs).unwrap_err().to_string();
        let missing = error(&[("groups", "g"), ("g.include", "x")]);
        assert!(missing.contains("\"topic.creation.default.partitions\" which has no default"), "{missing}");
        let with = |key, value| error(&[DEFAULTS.as_slice(), &[("groups", "g"), (key, value)]].concat());
        assert!(with("g.partitions", "0").contains("topic.creation.g.partitions: it must be at least 1"));
        assert!(with("g.replication.factor", "40000").contains("topic.creation.g.replication.factor"));
        let regex = with("g.include", "a(b");
        assert!(
            regex.contains("topic.creation.g.include: Syntax error in regular expression: Unclosed group"),
            "{regex}"
        );
    }
}
