//! Whether the keys agree that say how large a record may be, once `payload.inline.max.bytes` is raised: what may become a
//! Kafka value has to pass producer, topic, fetches and memory. Pure; `validate.rs` asks.

use pipette_api::config::{FromText, Presence};
use pipette_api::{ConfigMap, Plugin, Result};

use crate::budget;
use crate::kafka::{properties, sizes};
use crate::plugins::{ConnectorPlugin, Family, Plugins};
use crate::settings::connector;
use crate::settings::worker::{self, WorkerConfig};

/// What a record has beside its value, as far as it is foreseen: key, headers, and Kafka's own bytes.
const BESIDE: u64 = 1_024;

/// The same beside a piece of a large value, which has headers of its own.
const BESIDE_A_PIECE: u64 = 8_192;
/// The keys of steps that say how large the records are that they make.
const PIECES: [&str; 2] = ["chunk.bytes", "max.part.bytes"];

/// What is wrong, each naming the key to raise. `inline` is the cap that counts for the connector.
pub(super) fn errors(
    plugin: ConnectorPlugin,
    worker: &WorkerConfig,
    config: &ConfigMap,
    inline: u64,
) -> Result<Vec<String>> {
    if inline <= sizes::LARGEST_RECORD {
        return Ok(Vec::new());
    }
    let cap = Cap { inline, record: inline + BESIDE };
    match plugin {
        ConnectorPlugin::Source(_) => {
            let properties = properties::producer(&worker.values, config, "")?;
            let largest = sizes::largest_record(&properties);
            let mut errors = Vec::new();
            if largest < cap.record {
                let key = place(worker, config, "producer", "max.request.size");
                errors.push(cap.too_small(&key, largest, "is the most that the producer sends"));
            }
            errors.extend(cap.topics(worker, config));
            let needed = sizes::producer_needs(largest.max(cap.record)) + inline;
            errors.extend(cap.memory(worker, config, needed));
            Ok(errors)
        }
        ConnectorPlugin::Sink(_) => {
            let properties = properties::consumer(&worker.values, config, "", "")?;
            let mut errors = Vec::new();
            for key in ["fetch.max.bytes", "max.partition.fetch.bytes"] {
                let told = properties.get(key).and_then(|text| text.parse().ok());
                if let Some(told) = told.filter(|told| *told < cap.record) {
                    let key = place(worker, config, "consumer", key);
                    errors.push(cap.too_small(&key, told, "is what the memory of its fetches is reckoned by"));
                }
            }
            // The cap of a worker says nothing about the records of this sink.
            if config.contains_key(connector::INLINE.info.name) {
                errors.extend(cap.memory(worker, config, sizes::consumer_needs(cap.record) + 2 * inline));
            }
            Ok(errors)
        }
    }
}

/// What is wrong with the steps of a source that make several records of one, each with its key: the producer has to take what
/// they make.
pub(super) fn pieces(plugins: &Plugins, worker: &WorkerConfig, config: &ConfigMap) -> Result<Vec<(String, String)>> {
    let largest = sizes::largest_record(&properties::producer(&worker.values, config, "")?);
    let list = config.get(connector::TRANSFORMS.info.name).map_or("", |list| list.trim());
    let mut errors = Vec::new();
    for alias in Vec::<String>::from_text(list).unwrap_or_default() {
        let class = config.get(&format!("transforms.{alias}.type"));
        let Some(Plugin::Expand(plugin)) = class.and_then(|class| plugins.find(Family::Transform, class)) else {
            continue;
        };
        for info in PIECES.iter().filter_map(|key| plugin.info.config.key(key)) {
            let key = format!("transforms.{alias}.{}", info.name);
            let default = if let Presence::Default(text) = info.presence { text } else { "" };
            let size = config.get(&key).map_or(default, |text| text.trim()).parse::<u64>().unwrap_or(0);
            if size.saturating_add(BESIDE_A_PIECE) > largest {
                let request = place(worker, config, "producer", "max.request.size");
                let text = format!(
                    "{key}={size} leaves no {BESIDE_A_PIECE} bytes for key and headers in {request}={largest}: lower the one or \
                     raise the other"
                );
                errors.push((key, text));
            }
        }
    }
    Ok(errors)
}

/// Where a client's key stands, or would stand.
fn place(worker: &WorkerConfig, config: &ConfigMap, client: &str, key: &str) -> String {
    let (own, of_worker) = (format!("{client}.override.{key}"), format!("{client}.{key}"));
    if !config.contains_key(&own) && worker.values.contains_key(&of_worker) { of_worker } else { own }
}

struct Cap {
    inline: u64,
    record: u64,
}

impl Cap {
    fn too_small(&self, key: &str, value: u64, what: &str) -> String {
        let name = connector::INLINE.info.name;
        format!(
            "{name}={} lets payloads of that size into Kafka, and {key}={value} {what}: raise {key} to {} at least, or \
             lower {name}",
            self.inline, self.record
        )
    }

    /// Topics that the connector makes; those that are there are the broker's to judge.
    fn topics(&self, worker: &WorkerConfig, config: &ConfigMap) -> Vec<String> {
        let is_limit = |key: &str| key.starts_with("topic.creation.") && key.ends_with(".max.message.bytes");
        let limits = config.iter().filter(|(key, _)| worker.topic_creation && is_limit(key));
        let limits = limits.filter_map(|(key, text)| Some((key, text.trim().parse::<u64>().ok()?)));
        let small = limits.filter(|(_, limit)| *limit < self.record);
        small.map(|(key, limit)| self.too_small(key, limit, "is the most that the topics it makes take")).collect()
    }

    fn memory(&self, worker: &WorkerConfig, config: &ConfigMap, needed: u64) -> Option<String> {
        let room = budget::room_of(worker.memory);
        let own = config.get(connector::MEMORY_CAP.info.name).and_then(|text| text.trim().parse().ok());
        let (key, left, wanted) = match (own, worker.connector_memory) {
            _ if needed > room => (worker::MEMORY.info.name, room, needed + (worker.memory - room)),
            (Some(own), _) if own < needed => (connector::MEMORY_CAP.info.name, own, needed),
            (None, Some(cap)) if cap < needed => (worker::CONNECTOR_MEMORY.info.name, cap, needed),
            _ => return None,
        };
        let name = connector::INLINE.info.name;
        Some(format!(
            "{name}={} takes up to {needed} bytes of memory in a task, and {key} leaves {left}: raise {key} to {wanted} at \
             least, or lower {name}",
            self.inline
        ))
    }
}

#[cfg(test)]
mod tests {
    use pipette_api::{ConfigDef, ConnectError, ExpandPlugin, Info, Key, SinkPlugin, SourcePlugin};

    use super::*;

    static NO_KEYS: ConfigDef = ConfigDef::new(&[]);
    const INFO: Info = Info { class: "C", aliases: &[], version: "1", about: "", readme: "", config: &NO_KEYS };
    static SOURCE: SourcePlugin = SourcePlugin::new(INFO, |_| no(), |_| no());
    static SINK: SinkPlugin = SinkPlugin::new(INFO, |_| no(), |_| no());

    fn no<T>() -> Result<T> {
        Err(ConnectError::fatal("no"))
    }

    fn map(pairs: &[(&str, &str)]) -> ConfigMap {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    const LARGE: u64 = 100_000_000;

    fn worker(keys: &[(&str, &str)]) -> WorkerConfig {
        let least = [("bootstrap.servers", "b:9092"), ("key.converter", "K"), ("value.converter", "V")];
        WorkerConfig::read(map(&[&least, keys].concat())).unwrap()
    }

    static SIZE: Key<u64> = Key::new("chunk.bytes", "The size of a piece.").default("800000");
    static PIECES: ConfigDef = ConfigDef::new(&[&SIZE.info]);
    static STEPS: &[Plugin] = &[Plugin::Expand(ExpandPlugin {
        info: Info { config: &PIECES, ..INFO },
        metrics: &[],
        make: |_, _| Err(ConnectError::fatal("no")),
    })];

    #[test]
    fn pieces_have_to_pass_the_producer() {
        let wrong = |more: &[(&str, &str)]| {
            let config = map(&[&[("transforms", "a, b"), ("transforms.b.type", "C")], more].concat());
            pieces(&Plugins::of(&[STEPS]), &worker(&[]), &config).unwrap()
        };
        let (size, request) = ("transforms.b.chunk.bytes", "producer.override.max.request.size");
        assert!(wrong(&[]).is_empty(), "the defaults agree");
        assert_eq!(wrong(&[(size, "2000000")])[0].0, size);
        assert!(wrong(&[(size, "2000000"), (request, "2008192")]).is_empty());
        assert!(wrong(&[(request, "808191")])[0].1.contains("in producer.override.max.request.size=808191"));
    }

    /// The keys that are to be raised.
    fn raised(plugin: ConnectorPlugin, worker: &[(&str, &str)], config: &[(&str, &str)], inline: u64) -> Vec<String> {
        let worker = self::worker(worker);
        let errors = errors(plugin, &worker, &map(config), inline).unwrap();
        let named = |error: String| {
            let (_, rest) = error.split_once("raise ").expect("it says what to raise");
            rest.split(' ').next().unwrap().to_owned()
        };
        errors.into_iter().map(named).collect()
    }

    #[test]
    fn a_source_whose_sizes_disagree_is_told_what_to_raise() {
        let source = ConnectorPlugin::Source(&SOURCE);
        let (budget, request) = (("memory.budget.bytes", "536870912"), "producer.override.max.request.size");
        assert_eq!(raised(source, &[], &[], 1_000_000), [""; 0], "the defaults agree");
        assert_eq!(raised(source, &[], &[], LARGE), [request, "memory.budget.bytes"]);
        assert_eq!(raised(source, &[budget], &[(request, "110000000")], LARGE), [""; 0]);
        assert_eq!(raised(source, &[budget], &[(request, "100000000")], LARGE), [request], "no room for a key");
        let of_worker = ("producer.max.request.size", "2000000");
        assert_eq!(raised(source, &[budget, of_worker], &[], LARGE), ["producer.max.request.size"]);
        let topic = ("topic.creation.default.max.message.bytes", "1048588");
        assert_eq!(raised(source, &[budget], &[(request, "110000000"), topic], LARGE), [topic.0]);
        let capped = ("memory.max.bytes", "200000000");
        assert_eq!(raised(source, &[budget], &[(request, "110000000"), capped], LARGE), [capped.0]);
    }

    #[test]
    fn a_sink_whose_fetches_are_too_small_is_told_so() {
        let sink = ConnectorPlugin::Sink(&SINK);
        let fetch = "consumer.override.fetch.max.bytes";
        let budget = ("memory.budget.bytes", "536870912");
        assert_eq!(raised(sink, &[], &[], LARGE), [""; 0], "fetches are the worker's to choose");
        assert_eq!(raised(sink, &[budget], &[(fetch, "52428800")], LARGE), [fetch]);
        let own = ("payload.inline.max.bytes", "100000000");
        assert_eq!(raised(sink, &[], &[own], LARGE), ["memory.budget.bytes"]);
        assert_eq!(raised(sink, &[budget], &[own, (fetch, "110000000")], LARGE), [""; 0]);
    }
}
