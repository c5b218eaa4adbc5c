//! `connector.client.config.override.policy`: which settings of its Kafka clients a connector may write.
//!
//! The worker file is read into an [`Overrides`]; validation asks it for each key, and so does the start of a task, because
//! a policy may have become stricter than it was when a connector was created.

use pipette_api::{ConfigMap, ConnectError, Key, Result, Settings};

pub(super) static POLICY: Key<String> = Key::new(
    "connector.client.config.override.policy",
    "Which client settings a connector may override: All, None, Principal (`sasl.jaas.config`, `sasl.mechanism`, \
     `security.protocol`) or Allowlist.",
)
.default("All")
.check(policy);
pub(super) static ALLOWLIST: Key<Vec<String>> = Key::new(
    "connector.client.config.override.allowlist",
    "The client settings the policy `Allowlist` lets connectors override, without `producer.override.` and the like.",
)
.default("")
.check(pipette_api::config::checks::distinct);

const POLICIES: [&str; 4] = ["All", "None", "Principal", "Allowlist"];
const PACKAGE: &str = "org.apache.kafka.connect.connector.policy.";
const SUFFIX: &str = "ConnectorClientConfigOverridePolicy";

/// The policy, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Overrides {
    /// Everything may be overridden.
    All,
    /// Only these settings may; the text is the policy's name in errors.
    Only(&'static str, Vec<String>),
}

/// The names that Java accepts: the class with or without its package, and what is left of it without its ending.
fn named(text: &str) -> Option<&'static str> {
    let simple = text.strip_prefix(PACKAGE).and_then(|class| class.strip_suffix(SUFFIX));
    let short = simple.unwrap_or_else(|| text.strip_suffix(SUFFIX).unwrap_or(text));
    POLICIES.into_iter().find(|policy| *policy == short)
}

fn policy(text: Option<&str>) -> std::result::Result<(), String> {
    match text {
        Some(text) if named(text).is_none() => Err(format!(
            "Class {text} could not be found. It decides what connectors may do, so nothing is started without it; known \
             are {}, and classes of one's own cannot run here",
            POLICIES.join(", ")
        )),
        _ => Ok(()),
    }
}

impl Overrides {
    pub(super) fn read(settings: &Settings) -> Result<Self> {
        let allowed = settings.get(&ALLOWLIST)?;
        Ok(match named(&settings.get(&POLICY)?) {
            Some("None") => Self::Only("None", Vec::new()),
            Some("Principal") => {
                let keys = ["sasl.jaas.config", "sasl.mechanism", "security.protocol"];
                Self::Only("Principal", keys.map(str::to_owned).to_vec())
            }
            Some("Allowlist") => Self::Only("Allowlist", allowed),
            _ => Self::All,
        })
    }

    /// Says why a connector may not override a client setting.
    pub fn refusal(&self, key: &str) -> Option<String> {
        match self {
            Self::Only(policy, keys) if !keys.iter().any(|allowed| allowed == key) => Some(format!(
                "The '{policy}' policy does not allow '{key}' to be overridden in the connector configuration."
            )),
            _ => None,
        }
    }

    /// Refuses a configuration that overrides what it may not, for the clients with these prefixes.
    pub fn check(&self, config: &ConfigMap, prefixes: &[&str]) -> Result<()> {
        let overrides = config.keys().flat_map(|key| {
            let names = prefixes.iter().filter_map(move |prefix| key.strip_prefix(prefix));
            names.map(move |name| (key, name))
        });
        let refused = overrides.into_iter().find_map(|(key, name)| Some((key, self.refusal(name)?)));
        refused.map_or(Ok(()), |(key, why)| Err(ConnectError::config(format!("{key}: {why}"))))
    }
}

/// What a file should know about the policy itself.
pub(super) fn warning(values: &ConfigMap) -> Option<String> {
    let (policy, allowed) = (values.get(POLICY.info.name), values.get(ALLOWLIST.info.name));
    match (policy.map_or("All", |text| named(text.trim()).unwrap_or("All")), allowed) {
        ("Principal", _) => Some(format!(
            "{}=Principal is deprecated: Allowlist with {}=sasl.jaas.config,sasl.mechanism,security.protocol does the same",
            POLICY.info.name, ALLOWLIST.info.name
        )),
        ("Allowlist", _) | (_, None) => None,
        (policy, Some(_)) => Some(format!("{} has no effect: {} is {policy}", ALLOWLIST.info.name, POLICY.info.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::worker::tests::read;

    #[test]
    fn the_override_policy_decides() {
        let refusal = |policy, key| {
            let pairs = [(POLICY.info.name, policy), (ALLOWLIST.info.name, "linger.ms")];
            read(&pairs).unwrap().overrides.refusal(key)
        };
        assert_eq!(refusal("All", "acks"), None);
        assert!(refusal("None", "acks").unwrap().starts_with("The 'None' policy does not allow 'acks'"));
        assert_eq!(refusal("Principal", "sasl.mechanism"), None);
        assert_eq!(refusal("AllowlistConnectorClientConfigOverridePolicy", "linger.ms"), None);
        let class = "org.apache.kafka.connect.connector.policy.AllowlistConnectorClientConfigOverridePolicy";
        assert!(refusal(class, "acks").is_some());
        for wrong in ["Nobody", "none", "com.example.NoneConnectorClientConfigOverridePolicy", "NoneConnector"] {
            let error = read(&[(POLICY.info.name, wrong)]).unwrap_err().to_string();
            assert!(error.contains(wrong) && error.contains(POLICY.info.name), "{error}");
        }
    }

    #[test]
    fn only_the_prefixes_that_are_asked_for_are_checked() {
        let none = read(&[(POLICY.info.name, "None")]).unwrap().overrides;
        let config = ConfigMap::from([("consumer.override.max.poll.records".to_owned(), "1".to_owned())]);
        let error = none.check(&config, &["producer.override.", "consumer.override."]).unwrap_err().to_string();
        assert!(error.starts_with("consumer.override.max.poll.records: The 'None' policy"), "{error}");
        none.check(&config, &["producer.override."]).unwrap();
    }

    #[test]
    fn a_list_that_nobody_asks_and_an_old_policy_are_told() {
        let warnings = |pairs: &[(&str, &str)]| read(pairs).unwrap().warnings;
        assert!(warnings(&[(ALLOWLIST.info.name, "acks")])[0].contains("override.policy is All"));
        assert!(warnings(&[(POLICY.info.name, "Principal")])[0].contains("deprecated"));
        assert_eq!(warnings(&[(POLICY.info.name, "Allowlist"), (ALLOWLIST.info.name, "acks")]), [""; 0]);
    }
}
