//! The settings that Java's clients know, from `clients.txt`: what forms show of `producer.override.…` and the like.
//!
//! What they become here, `src/kafka/properties.rs` knows; those that change nothing are listed below, with the reason.

use std::sync::OnceLock;

use pipette_api::config::{FromText, Importance, KeyType};

use super::unused;

/// A setting of a client.
#[derive(Debug, Clone, Copy)]
pub struct ClientKey {
    client: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: KeyType,
    /// True when it must be given.
    pub required: bool,
    /// How much a user should care.
    pub importance: Importance,
    /// The default of Java's client.
    pub default: Option<&'static str>,
}

/// The setting of a client: `producer`, `consumer` or `admin`.
pub fn find(client: &str, name: &str) -> Option<&'static ClientKey> {
    all().iter().find(|key| key.client == client && key.name == name)
}

fn all() -> &'static [ClientKey] {
    static KEYS: OnceLock<Vec<ClientKey>> = OnceLock::new();
    KEYS.get_or_init(|| include_str!("clients.txt").lines().filter_map(read).collect())
}

/// The clients.
pub const KINDS: [&str; 3] = ["producer", "consumer", "admin"];

/// The names of every setting of a client.
pub fn names(client: &str) -> impl Iterator<Item = &'static str> {
    all().iter().filter(move |key| key.client == client).map(|key| key.name)
}

/// Why a setting changes nothing here, if it does not.
pub fn without_effect(name: &str) -> Option<&'static str> {
    let silent = SILENT.iter().find(|(silent, _)| *silent == name).map(|(_, why)| *why);
    silent.or_else(|| unused::reason(name))
}

const METRICS: &str = "librdkafka, the Kafka client in here, keeps no such statistics; GET /metrics shows the worker's";
const PARTITIONERS: &str = "partitioners are Java code; keys land where Java's default puts them";
const LEVELS: &str = "librdkafka, the Kafka client in here, uses each format's default";
const SHARES: &str = "no client here is a member of a share group";

/// Settings that librdkafka has no equal for, and that nothing here needs. Those that protect are in `protection.rs`.
const SILENT: &[(&str, &str)] = &[
    ("auto.commit.interval.ms", "offsets are committed when the sink has what is before them, never by the client"),
    ("bootstrap.controllers", "clients speak to brokers, never to controllers"),
    ("compression.gzip.level", LEVELS),
    ("compression.lz4.level", LEVELS),
    ("compression.zstd.level", LEVELS),
    ("config.providers", "providers stand in the worker file alone, without a prefix"),
    ("default.api.timeout.ms", "what waits for Kafka waits until it answers, or the task is stopped"),
    ("group.remote.assignor", "the broker chooses"),
    ("interceptor.classes", "interceptors are Java code"),
    ("max.poll.records", "the size of a batch follows from the memory that the task has"),
    ("metadata.max.idle.ms", "librdkafka, the Kafka client in here, forgets no topic that is written to"),
    ("metric.reporters", METRICS),
    ("metrics.num.samples", METRICS),
    ("metrics.recording.level", METRICS),
    ("metrics.sample.window.ms", METRICS),
    (
        "partitioner.adaptive.partitioning.enable",
        "librdkafka, the Kafka client in here, spreads records without a key evenly",
    ),
    ("partitioner.availability.timeout.ms", "records wait for their partition"),
    ("partitioner.class", PARTITIONERS),
    ("partitioner.ignore.keys", PARTITIONERS),
    ("share.acknowledgement.mode", SHARES),
    ("share.acquire.mode", SHARES),
    (
        "socket.connection.setup.timeout.max.ms",
        "librdkafka, the Kafka client in here, always waits socket.connection.setup.timeout.ms",
    ),
    ("transaction.two.phase.commit.enable", "transactions here end by themselves"),
    ("transactional.id", "the worker names transactions by connector and task"),
];

/// Lines that are no comment have five words; the last one may have blanks.
fn read(line: &'static str) -> Option<ClientKey> {
    let mut words = line.splitn(5, ' ');
    let [client, name, kind, importance, default] = std::array::from_fn(|_| words.next().unwrap_or_default());
    let (kind, required) = kind.strip_suffix('!').map_or((kind, false), |kind| (kind, true));
    Some(ClientKey {
        client,
        name,
        kind: match kind {
            "BOOLEAN" => KeyType::Boolean,
            "STRING" => KeyType::String,
            "INT" => KeyType::Int,
            "SHORT" => KeyType::Short,
            "LONG" => KeyType::Long,
            "DOUBLE" => KeyType::Double,
            "LIST" => KeyType::List,
            "CLASS" => KeyType::Class,
            "PASSWORD" => KeyType::Password,
            _ => return None,
        },
        required,
        importance: match importance {
            "HIGH" => Importance::High,
            "MEDIUM" => Importance::Medium,
            _ => Importance::Low,
        },
        default: match default {
            "-" => None,
            "\"\"" => Some(""),
            text => Some(text),
        },
    })
}

impl ClientKey {
    /// Says why a text is no value of it. Numbers and booleans only: everything else is for the client to judge.
    pub fn misfit(&self, text: &str) -> Option<String> {
        let text = text.trim();
        let fits = match self.kind {
            KeyType::Boolean => bool::from_text(text).is_ok(),
            KeyType::Int => i32::from_text(text).is_ok(),
            KeyType::Short => i16::from_text(text).is_ok(),
            KeyType::Long => i64::from_text(text).is_ok(),
            KeyType::Double => text.parse::<f64>().is_ok(),
            KeyType::String | KeyType::List | KeyType::Class | KeyType::Password => true,
        };
        match (fits, self.kind) {
            (true, _) => None,
            (false, KeyType::Boolean) => Some("Expected value to be either true or false".into()),
            (false, kind) => Some(format!("Not a number of type {}", kind.name())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let linger = find("producer", "linger.ms").unwrap();
        assert_eq!((linger.kind, linger.default), (KeyType::Long, Some("5")));
        assert_eq!(linger.misfit("abc").unwrap(), "Not a number of type LONG");
        assert!(linger.misfit(" 7 ").is_none());
        assert!(find("consumer", "linger.ms").is_none() && find("admin", "retries").is_some());
        assert!(find("consumer", "key.deserializer").unwrap().required);
    }
}
