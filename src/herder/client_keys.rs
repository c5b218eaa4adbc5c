//! `producer.override.…` and the like: the keys of a connector's Kafka clients, for the clients that it uses.
//!
//! `validate.rs` lists them, `spec.rs` asks the policy again before a task gets its clients.

use pipette_api::{ConfigMap, ConnectError, Result};

use super::form::Entry;
use crate::kafka::properties;
use crate::plugins::ConnectorPlugin;
use crate::settings::reach::place_of_client;
use crate::settings::worker::WorkerConfig;
use crate::settings::{clients, connector, dead_letters};

/// The clients that a connector uses, by the beginnings of their keys.
fn used(plugin: ConnectorPlugin, worker: &WorkerConfig, config: &ConfigMap) -> Vec<&'static str> {
    let dead_letters = config.get(dead_letters::NAME.info.name).is_some_and(|name| !name.trim().is_empty());
    let own_topic = worker.offsets_topic.is_some() && connector::offsets_topic(config).is_some();
    let own_clients = own_topic || worker.transactional_group().is_some();
    let creates_topics = config.keys().any(|key| key.starts_with("topic.creation."));
    let uses = match plugin {
        // Then Apache's worker reads and makes the offsets topic with the connector's clients.
        ConnectorPlugin::Source(_) => [true, own_clients, creates_topics || own_clients],
        ConnectorPlugin::Sink(_) => [dead_letters, true, dead_letters],
    };
    let prefixes = ["producer.override.", "consumer.override.", "admin.override."];
    prefixes.into_iter().zip(uses).filter(|(_, used)| *used).map(|(prefix, _)| prefix).collect()
}

/// The keys of the clients that are used, with what is wrong with them.
pub(super) fn entries(plugin: ConnectorPlugin, worker: &WorkerConfig, config: &ConfigMap) -> Vec<Entry> {
    let properties = match plugin {
        ConnectorPlugin::Source(_) => properties::producer(&worker.values, config, ""),
        ConnectorPlugin::Sink(_) => properties::consumer(&worker.values, config, "", ""),
    };
    let mut refused = properties.err().map(|error| error.to_string()).unwrap_or_default();
    let mut entries = Vec::new();
    for prefix in used(plugin, worker, config) {
        let client = prefix.split('.').next().unwrap_or_default();
        for (key, value) in config.iter().filter(|(key, _)| key.starts_with(prefix)) {
            let name = &key[prefix.len()..];
            let mut entry = Entry::of_client(key, clients::find(client, name), value);
            entry.errors.extend(worker.overrides.refusal(name));
            if refused.contains(&format!("configuration {key}:")) {
                entry.errors.push(std::mem::take(&mut refused));
            }
            entries.push(entry);
        }
    }
    // It is about a key that is missing.
    if let Some(entry) = entries.last_mut().filter(|_| !refused.is_empty()) {
        entry.errors.push(refused);
    }
    entries
}

/// Refuses what the policy does not allow and what leads where connectors may not go: both may have changed since the
/// connector was created.
pub(super) fn check(plugin: ConnectorPlugin, worker: &WorkerConfig, config: &ConfigMap) -> Result<()> {
    let prefixes = used(plugin, worker, config);
    worker.overrides.check(config, &prefixes)?;
    let is_used = |key: &str| prefixes.iter().any(|prefix| key.starts_with(prefix));
    let refused = config.iter().filter(|(key, _)| is_used(key)).find_map(|(key, value)| {
        let why = worker.reach.refusal(place_of_client(key)?, value)?;
        Some(ConnectError::config(format!("Invalid value {value} for configuration {key}: {why}")))
    });
    refused.map_or(Ok(()), Err)
}
