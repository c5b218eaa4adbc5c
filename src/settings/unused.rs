//! Keys that somebody wrote and that change nothing: told once, when a worker or connector starts.
//!
//! As with Apache's worker, none of them is an error. Each has its reason, and a key that nobody knows the one that may
//! have been meant.

use pipette_api::config::key::KeyInfo;
use pipette_api::{ConfigDef, ConfigMap};

use super::nearest::meant;
use super::parts::{self, Owners};
use super::{clients, connector, dead_letters, java_keys, overrides, protection, providers, restarts, worker};

/// What the reason in a row begins with where a key that protects says nothing here.
const NOTHING: &str = "No effect: ";

/// Keys with these beginnings belong to converters and topics, which read them themselves.
const READ_ELSEWHERE: &[&str] = &[
    "key.converter.",
    "value.converter.",
    "header.converter.",
    "listeners.https.",
    "admin.listeners.https.",
    "config.storage.",
    "offset.storage.",
    "status.storage.",
];

/// What a worker file says in vain.
pub(super) fn of_worker(values: &ConfigMap) -> Vec<String> {
    let one = |key: &String| match key.strip_prefix(providers::BELOW) {
        Some(rest) => providers::in_vain(key, rest, values),
        None => worker_key(key),
    };
    let mut warnings: Vec<String> = values.keys().filter_map(one).collect();
    warnings.extend(overrides::warning(values));
    warnings
}

fn worker_key(key: &str) -> Option<String> {
    if worker::CONFIG.key(key).is_some() || row(java_keys::OWN_CLIENTS, key).is_some() {
        return None;
    }
    if let Some(row) = row(java_keys::WITHOUT_EFFECT, key) {
        return Some(format!("{key} has no effect: {}", row.doc));
    }
    if protecting(key).is_some() {
        return reason(key).map(|why| format!("{key} has no effect: {why}"));
    }
    if key.starts_with("metrics.context.") {
        return Some(format!("{key} has no effect: it is for reporters, which are Java code"));
    }
    if let Some((client, name)) = key.split_once('.').filter(|(client, _)| clients::KINDS.contains(client)) {
        return client_key(key, client, name);
    }
    if READ_ELSEWHERE.iter().any(|prefix| key.starts_with(prefix)) {
        return None;
    }
    let known = worker::CONFIG.keys().iter().map(|key| key.name);
    let known = known.chain(all_rows().map(|row| row.name));
    Some(format!("{key} is unknown to this worker and has no effect{}", meant(key, known)))
}

/// What a connector says in vain: `own` are the keys of its plugin, `parts` what it uses beside, `strict` is
/// `compat.strict`.
pub fn of_connector(config: &ConfigMap, own: &ConfigDef, parts: &Owners, is_source: bool, strict: bool) -> Vec<String> {
    let of_kind = if is_source { &connector::SOURCE } else { &connector::SINK };
    let (letters, added) = (&connector::SINK, [&connector::ADDED, &restarts::KEYS, &dead_letters::SINK_ADDED]);
    let is_letter = |key: &str| is_source && key.starts_with(dead_letters::PREFIX) && letters.key(key).is_some();
    let ours = |key: &str| is_letter(key) || added.iter().any(|def| def.key(key).is_some());
    let is_known = |key: &str| [own, &connector::COMMON, of_kind].iter().any(|def| def.key(key).is_some());
    let unknown = |key: &str| {
        let names = [own, &connector::COMMON, of_kind].into_iter().chain(added);
        let known = names.flat_map(|def| def.keys().iter().map(|key| key.name));
        format!("{key} is no key of this connector and has no effect{}", meant(key, known))
    };
    let one = |key: &String| {
        if key == connector::RELOAD.info.name {
            return Some(format!("{key} has no effect: no config provider here gives values that end by time"));
        }
        if is_known(key) || key.starts_with("topic.creation.") || parts::is_store_option(own, key) {
            return None;
        }
        if parts::BELOW.iter().any(|prefix| key.starts_with(prefix)) {
            return parts::in_vain(key, parts);
        }
        if ours(key) {
            return strict.then(|| format!("{key} has no effect: compat.strict is on, and Apache's worker ignores it"));
        }
        match key.split_once(".override.").filter(|(client, _)| clients::KINDS.contains(client)) {
            Some((client, name)) => client_key(key, client, name),
            None => Some(unknown(key)),
        }
    };
    config.keys().filter_map(one).collect()
}

fn client_key(key: &str, client: &str, name: &str) -> Option<String> {
    if clients::find(client, name).is_some() {
        return clients::without_effect(name).map(|why| format!("{key} has no effect: {why}"));
    }
    if protecting_name(name) {
        return None;
    }
    let known = clients::names(client);
    Some(format!("{key} is no key of Kafka's {client} clients and has no effect{}", meant(name, known)))
}

/// Keys that could protect are refused by who reads them when nobody knows them.
fn protecting_name(name: &str) -> bool {
    ["ssl.", "sasl.", "security."].iter().any(|prefix| name.starts_with(prefix))
}

/// Every row beside those that `worker.rs` reads.
pub(super) fn all_rows() -> impl Iterator<Item = &'static KeyInfo> {
    [java_keys::OWN_CLIENTS, java_keys::WITHOUT_EFFECT, protection::TLS, protection::LOGIN].into_iter().flatten()
}

fn row(rows: &'static [KeyInfo], key: &str) -> Option<&'static KeyInfo> {
    rows.iter().find(|row| row.name == key)
}

fn protecting(key: &str) -> Option<&'static KeyInfo> {
    row(protection::TLS, key).or_else(|| row(protection::LOGIN, key))
}

/// Why a key that looks as if it protected says nothing here.
pub(super) fn reason(name: &str) -> Option<&'static str> {
    protecting(name)?.doc.strip_prefix(NOTHING).map(|why| why.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::worker::tests::read;

    #[test]
    fn keys_without_effect_are_warnings_with_their_reason() {
        let warnings = |key: &str| read(&[(key, "1")]).unwrap().warnings;
        for (key, why) in [
            ("plugin.path", "plugin.path has no effect: plugins are built into the binary"),
            ("inter.worker.key.size", "no request is passed on"),
            ("metrics.context.a", "it is for reporters"),
            ("ssl.provider", "ssl.provider has no effect: TLS comes from OpenSSL"),
            ("producer.interceptor.classes", "interceptors are Java code"),
            ("consumer.max.poll.interval.m", "consumer clients and has no effect. Did you mean max.poll.interval.ms?"),
            ("rest.port", "Apache's worker has not had it for years"),
            (
                "offset.flush.intervall.ms",
                "unknown to this worker and has no effect. Did you mean offset.flush.interval.ms?",
            ),
            ("no.such.key", "no.such.key is unknown to this worker and has no effect"),
            ("file.allowed.path", "Did you mean file.allowed.paths?"),
            ("connector.client.config.override.polcy", "Did you mean connector.client.config.override.policy?"),
            ("config.providers.f.param.allowed.paths", "config.providers does not name f"),
        ] {
            let [warning] = warnings(key).try_into().unwrap();
            assert!(warning.contains(why), "{warning}");
        }
        let provider = [("config.providers", "f"), ("config.providers.f.class", "FileConfigProvider")];
        let told = |key| read(&[&provider[..], &[(key, "/")]].concat()).unwrap().warnings.join("\n");
        assert!(
            told("config.providers.f.param.allowed.path")
                .contains("Did you mean config.providers.f.param.allowed.paths?")
        );
        assert!(told("config.providers.g.class").contains("config.providers does not name g"));
        assert_eq!(told("config.providers.f.param.allowed.paths"), "");
        for fine in ["producer.linger.ms", "key.converter.schemas.enable", "reconnect.backoff.ms", "admin.retries"] {
            assert_eq!(warnings(fine), [""; 0]);
        }
    }

    #[test]
    fn options_of_its_own_store_are_no_unknown_keys_of_a_source() {
        static KEEPS: ConfigDef = ConfigDef::new(&[&pipette_store::URI.info]);
        static NONE: ConfigDef = ConfigDef::new(&[]);
        let config = ConfigMap::from([("store.options.aws_region".to_owned(), "x".to_owned())]);
        let told = [&KEEPS, &NONE].map(|own| of_connector(&config, own, &Owners::new(), true, false).len());
        assert_eq!(told, [0, 1]);
    }

    #[test]
    fn a_connectors_keys_without_effect_are_told_with_the_one_that_was_meant() {
        static OWN: ConfigDef = ConfigDef::new(&[]);
        let warnings = |key: &str, is_source, strict| {
            let config = ConfigMap::from([(key.to_owned(), "1".to_owned())]);
            of_connector(&config, &OWN, &Owners::new(), is_source, strict)
        };
        for (key, why) in [
            ("task.max", "task.max is no key of this connector and has no effect. Did you mean tasks.max?"),
            ("config.action.reload", "no config provider here"),
            ("producer.override.partitioner.class", "partitioners are Java code"),
            ("consumer.override.max.poll.interval.m", "Did you mean max.poll.interval.ms?"),
            ("topics", "topics is no key of this connector"),
            ("transforms.a.type", "transforms does not name a"),
        ] {
            let [warning] = warnings(key, true, false).try_into().unwrap();
            assert!(warning.contains(why), "{warning}");
        }
        for fine in [
            "tasks.max",
            "topic.creation.x.include",
            "errors.restart.max",
            "errors.deadletterqueue.topic.name",
            "producer.override.acks",
            "producer.override.ssl.key.password",
        ] {
            assert_eq!(warnings(fine, true, false), [""; 0], "{fine}");
        }
        for (key, is_source, told) in [
            ("errors.restart.max", true, 1),
            ("errors.deadletterqueue.topic.name", true, 1),
            ("errors.deadletterqueue.topic.name", false, 0),
        ] {
            assert_eq!(warnings(key, is_source, true).len(), told, "{key}");
        }
    }
}
