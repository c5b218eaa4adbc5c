//! Java's client keys as librdkafka's: existing worker files and `*.override.*` keys work unchanged.
//!
//! Layers, later wins (compat: configs §6): our defaults → the worker's `bootstrap.servers` → the worker's
//! `producer.*`/`consumer.*`/`admin.*` → the connector's `*.override.*`. Keys that librdkafka has no equal for are
//! named in the log and have no effect; keys that would load code, run commands or read files are refused. What protects
//! connections is `security/`'s. How large
//! queues are, unless a key says it, comes with the task's share of the memory (`sizes.rs`).

use std::collections::BTreeMap;
use std::time::Duration;

use pipette_api::{ConfigMap, ConnectError, Result};

use super::security::Security;
use crate::settings::java_keys::OWN_CLIENTS;
use crate::settings::servers;

/// What a transaction has beside its interval before Kafka gives it up: Java's default for both.
const TRANSACTION_SLACK: Duration = Duration::from_mins(1);
/// Brokers allow no more, unless they are told to (`transaction.max.timeout.ms`).
const LONGEST_TRANSACTION: Duration = Duration::from_mins(15);

/// Where librdkafka's whole numbers end.
const LONGEST: i64 = 2_147_483_647;
const SETUP: &str = "socket.connection.setup.timeout.ms";
/// Java's clients leave the topics of Kafka itself out where a pattern says what is read. librdkafka has no such switch.
const INTERNAL: &str = "exclude.internal.topics";
/// They are left out by name.
const OF_KAFKA: &str = "^__consumer_offsets$,^__transaction_state$,^__share_group_state$";

/// librdkafka properties, by name.
pub type ClientProperties = BTreeMap<String, String>;

/// How the value of a Java key becomes librdkafka's.
#[derive(Clone, Copy)]
enum Map {
    /// The same value under another (or the same) name.
    To(&'static str),
    /// Bytes as whole KiB, at least one.
    Kib(&'static str),
    /// Lower case.
    Lower(&'static str),
    /// A number as near to the given one as librdkafka takes it.
    Within(&'static str, i64, i64),
    /// Addresses.
    Servers,
    /// Assignor classes.
    Assignors,
    /// What to do without an offset: `none` has another name.
    Reset,
    /// Honoured elsewhere or by construction; nothing to say to librdkafka and nothing to warn about.
    Known,
}

/// Every key with a counterpart, in Java's names.
const KEYS: &[(&str, Map)] = &[
    ("acks", Map::To("acks")),
    ("allow.auto.create.topics", Map::To("allow.auto.create.topics")),
    ("auto.offset.reset", Map::Reset),
    ("batch.size", Map::To("batch.size")),
    ("bootstrap.servers", Map::Servers),
    ("buffer.memory", Map::Kib("queue.buffering.max.kbytes")),
    ("check.crcs", Map::To("check.crcs")),
    ("client.dns.lookup", Map::To("client.dns.lookup")),
    ("client.id", Map::To("client.id")),
    ("client.rack", Map::To("client.rack")),
    ("compression.type", Map::To("compression.type")),
    ("connections.max.idle.ms", Map::Within("connections.max.idle.ms", 0, LONGEST)),
    ("delivery.timeout.ms", Map::To("delivery.timeout.ms")),
    ("enable.auto.commit", Map::Known),
    ("enable.idempotence", Map::To("enable.idempotence")),
    ("enable.metrics.push", Map::To("enable.metrics.push")),
    (INTERNAL, Map::To(INTERNAL)),
    ("fetch.max.bytes", Map::To("fetch.max.bytes")),
    ("fetch.max.wait.ms", Map::To("fetch.wait.max.ms")),
    ("fetch.min.bytes", Map::To("fetch.min.bytes")),
    ("group.id", Map::To("group.id")),
    ("group.instance.id", Map::To("group.instance.id")),
    ("group.protocol", Map::Lower("group.protocol")),
    ("heartbeat.interval.ms", Map::To("heartbeat.interval.ms")),
    ("isolation.level", Map::To("isolation.level")),
    ("key.deserializer", Map::Known),
    ("key.serializer", Map::Known),
    ("linger.ms", Map::To("linger.ms")),
    ("max.block.ms", Map::Known),
    ("max.in.flight.requests.per.connection", Map::To("max.in.flight.requests.per.connection")),
    ("max.partition.fetch.bytes", Map::To("max.partition.fetch.bytes")),
    ("max.poll.interval.ms", Map::To("max.poll.interval.ms")),
    ("max.request.size", Map::To("message.max.bytes")),
    // How often librdkafka looks for new topics and partitions. What it knows it keeps for three times as long.
    ("metadata.max.age.ms", Map::Within("topic.metadata.refresh.interval.ms", 100, 3_600_000)),
    ("metadata.recovery.rebootstrap.trigger.ms", Map::Within("metadata.recovery.rebootstrap.trigger.ms", 0, LONGEST)),
    ("metadata.recovery.strategy", Map::Lower("metadata.recovery.strategy")),
    ("partition.assignment.strategy", Map::Assignors),
    ("receive.buffer.bytes", Map::Within("socket.receive.buffer.bytes", 0, 100_000_000)),
    ("reconnect.backoff.max.ms", Map::Within("reconnect.backoff.max.ms", 0, 3_600_000)),
    ("reconnect.backoff.ms", Map::Within("reconnect.backoff.ms", 0, 3_600_000)),
    ("request.timeout.ms", Map::To("request.timeout.ms")),
    ("retries", Map::To("retries")),
    ("retry.backoff.max.ms", Map::Within("retry.backoff.max.ms", 1, 300_000)),
    ("retry.backoff.ms", Map::Within("retry.backoff.ms", 1, 300_000)),
    ("send.buffer.bytes", Map::Within("socket.send.buffer.bytes", 0, 100_000_000)),
    ("session.timeout.ms", Map::To("session.timeout.ms")),
    (SETUP, Map::Within(SETUP, 1000, LONGEST)),
    ("transaction.timeout.ms", Map::To("transaction.timeout.ms")),
    ("value.deserializer", Map::Known),
    ("value.serializer", Map::Known),
];

/// librdkafka keys that load code, run commands or read files: refused wherever they are written.
const DANGEROUS: &[&str] = &[
    "enable.sasl.oauthbearer.unsecure.jwt",
    "plugin.library.paths",
    "sasl.kerberos.keytab",
    "sasl.kerberos.kinit.cmd",
    "ssl.engine.id",
    "ssl.engine.location",
    "ssl.providers",
];

/// Keys that exist for one kind of client only; librdkafka complains about the others' loudly.
const PRODUCER_ONLY: &[&str] = &[
    "acks",
    "batch.size",
    "compression.type",
    "delivery.timeout.ms",
    "enable.idempotence",
    "linger.ms",
    "queue.buffering.max.kbytes",
    "request.timeout.ms",
    "retries",
    "transaction.timeout.ms",
];

/// Properties of a source task's producer.
pub fn producer(worker: &ConfigMap, connector: &ConfigMap, client_id: &str) -> Result<ClientProperties> {
    let pairs = [
        ("acks", "all"),
        // An outage is waited out: nothing is given up by time.
        ("delivery.timeout.ms", "0"),
        ("enable.idempotence", "true"),
        ("linger.ms", "5"),
        ("batch.size", "1000000"),
        // Keys land where Java puts them.
        ("partitioner", "murmur2_random"),
        ("client.id", client_id),
    ];
    let mut properties = Draft::of(&pairs, worker, "producer.", connector)?;
    // Java writes "endless" as the largest int, librdkafka as zero.
    if properties.get("delivery.timeout.ms").is_some_and(|text| text == "2147483647") {
        properties.insert("delivery.timeout.ms".into(), "0".into());
    }
    Ok(properties)
}

/// Properties of the producer of a source task that writes in transactions, one of which may be open for `open`.
pub fn transactional(
    worker: &ConfigMap,
    connector: &ConfigMap,
    client_id: &str,
    id: &str,
    open: Duration,
) -> Result<ClientProperties> {
    let mut properties = producer(worker, connector, client_id)?;
    // Kafka gives a transaction up by time, and librdkafka wants no record to be tried for longer.
    properties.remove("delivery.timeout.ms");
    properties.insert("enable.idempotence".into(), "true".into());
    properties.insert("acks".into(), "all".into());
    properties.insert("transactional.id".into(), id.into());
    let limit = (open + TRANSACTION_SLACK).min(LONGEST_TRANSACTION).as_millis().to_string();
    properties.entry("transaction.timeout.ms".into()).or_insert(limit);
    Ok(properties)
}

/// Properties of the producer of dead letters: those of a source's. What was consumed was small enough for a broker
/// before, so the client does not refuse it for its size; the broker may.
pub fn dead_letters(worker: &ConfigMap, connector: &ConfigMap, client_id: &str) -> Result<ClientProperties> {
    let mut properties = producer(worker, connector, client_id)?;
    properties.entry("message.max.bytes".into()).or_insert_with(|| "4000000".into());
    Ok(properties)
}

/// Properties of a sink task's consumer.
pub fn consumer(worker: &ConfigMap, connector: &ConfigMap, client_id: &str, group: &str) -> Result<ClientProperties> {
    let pairs = [
        ("auto.offset.reset", "earliest"),
        ("group.id", group),
        // Java's default; with librdkafka's, one transaction that nobody ends would hold a sink up.
        ("isolation.level", "read_uncommitted"),
        // With the default of one second small records trickle at a tenth of the speed.
        ("fetch.queue.backoff.ms", "5"),
        ("client.id", client_id),
    ];
    let mut properties = Draft::of(&pairs, worker, "consumer.", connector)?;
    properties.retain(|key, _| !PRODUCER_ONLY.contains(&key.as_str()));
    let with_internal = properties.remove(INTERNAL).is_some_and(|text| text.eq_ignore_ascii_case("false"));
    if !with_internal && connector.get("topics.regex").is_some_and(|pattern| !pattern.trim().is_empty()) {
        properties.insert("topic.blacklist".into(), OF_KAFKA.into());
    }
    // The runtime commits what the sink has made durable; nobody else may.
    properties.insert("enable.auto.commit".into(), "false".into());
    properties.insert("enable.auto.offset.store".into(), "false".into());
    Ok(properties)
}

/// Properties of an admin client of the worker itself: the keys without a prefix, and above them `admin.*`.
pub fn admin(worker: &ConfigMap) -> Result<ClientProperties> {
    let mut draft = Draft::new(&[("client.id", "pipette-admin")]);
    draft.lay(worker.iter().filter(|(key, _)| is_connection(key)).map(|(key, value)| (key.as_str(), value, key)))?;
    draft.lay(below(worker, "admin."))?;
    let mut properties = draft.finish()?;
    properties.retain(|key, _| !PRODUCER_ONLY.contains(&key.as_str()));
    Ok(properties)
}

/// Properties of the worker's own clients: the keys of the worker file without a prefix that say how to reach Kafka.
pub fn own(worker: &ConfigMap, client_id: &str) -> Result<ClientProperties> {
    let mut draft = Draft::new(&[("client.id", client_id)]);
    draft.lay(worker.iter().filter(|(key, _)| is_connection(key)).map(|(key, value)| (key.as_str(), value, key)))?;
    draft.finish()
}

/// Whether a key says how to reach Kafka.
fn is_connection(key: &str) -> bool {
    key == "bootstrap.servers" || OWN_CLIENTS.iter().any(|own| own.name == key) || Security::is_for(key)
}

/// Properties while layers are laid over each other.
struct Draft {
    properties: ClientProperties,
    security: Security,
}

impl Draft {
    /// What every client has by itself, and what one of its kind has.
    fn new(pairs: &[(&str, &str)]) -> Self {
        // Java's default. With librdkafka's, ten seconds and half of it more may pass after an outage before anybody looks.
        let every = ("reconnect.backoff.max.ms", "1000");
        let properties = pairs.iter().chain([&every]).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Self { properties: properties.collect(), security: Security::default() }
    }

    /// The worker's layer and the connector's for one kind of client.
    fn of(pairs: &[(&str, &str)], worker: &ConfigMap, prefix: &str, connector: &ConfigMap) -> Result<ClientProperties> {
        let mut draft = Self::new(pairs);
        let servers = worker.get_key_value("bootstrap.servers");
        draft.lay(servers.into_iter().map(|(key, value)| (key.as_str(), value, key)))?;
        draft.lay(below(worker, prefix))?;
        draft.lay(below(connector, &format!("{prefix}override.")))?;
        draft.finish()
    }

    /// One layer: Java's names, the values, and the keys as they are written.
    fn lay<'a>(&mut self, layer: impl Iterator<Item = (&'a str, &'a String, &'a String)>) -> Result<()> {
        for (name, value, key) in layer {
            let value = value.trim();
            refuse_dangerous(name, key)?;
            if Security::is_for(name) {
                self.security.take(name, value, key);
            } else {
                set(&mut self.properties, name, value, key)?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<ClientProperties> {
        self.security.finish(&mut self.properties)?;
        Ok(self.properties)
    }
}

fn below<'a>(config: &'a ConfigMap, prefix: &str) -> impl Iterator<Item = (&'a str, &'a String, &'a String)> {
    config.iter().filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?, value, key)))
}

fn refuse_dangerous(name: &str, key: &str) -> Result<()> {
    if DANGEROUS.contains(&name) {
        return Err(ConnectError::config(format!(
            "Invalid value for configuration {key}: it could load code, run commands or read files, and is refused. Remove it"
        )));
    }
    Ok(())
}

fn set(properties: &mut ClientProperties, name: &str, value: &str, key: &str) -> Result<()> {
    // What has no effect is told when a worker or connector starts: `settings/unused.rs`.
    let Ok(index) = KEYS.binary_search_by(|(known, _)| known.cmp(&name)) else { return Ok(()) };
    let (target, value) = match KEYS[index].1 {
        Map::To(target) => (target, value.to_owned()),
        Map::Lower(target) => (target, value.to_lowercase()),
        Map::Within(target, least, most) => (target, long(value, key)?.clamp(least, most).to_string()),
        Map::Kib(target) => (target, (long(value, key)? / 1024).max(1).to_string()),
        Map::Reset => ("auto.offset.reset", if value == "none" { "error".to_owned() } else { value.to_owned() }),
        Map::Servers => (name, servers::read(value).map_err(|reason| invalid(value, key, &reason))?),
        Map::Assignors => ("partition.assignment.strategy", assignors(value, key)?),
        Map::Known => return Ok(()),
    };
    properties.insert(target.to_owned(), value);
    Ok(())
}

fn long(value: &str, key: &str) -> Result<i64> {
    value.parse().map_err(|_| invalid(value, key, "Not a number of type LONG"))
}

fn invalid(value: &str, key: &str, reason: &str) -> ConnectError {
    ConnectError::config(format!("Invalid value {value} for configuration {key}: {reason}"))
}

fn assignors(value: &str, key: &str) -> Result<String> {
    let mut names = Vec::new();
    for class in value.split(',').map(str::trim).filter(|class| !class.is_empty()) {
        names.push(match class.rsplit('.').next().unwrap_or(class) {
            "RangeAssignor" | "range" => "range",
            // librdkafka has no eager sticky assignor; round robin spreads the same way.
            "RoundRobinAssignor" | "roundrobin" | "StickyAssignor" => "roundrobin",
            "CooperativeStickyAssignor" | "cooperative-sticky" => "cooperative-sticky",
            _ => {
                let reason =
                    "only RangeAssignor, RoundRobinAssignor, StickyAssignor and CooperativeStickyAssignor are supported";
                return Err(invalid(class, key, reason));
            }
        });
    }
    // Java offers several and the group picks one; librdkafka cannot mix eager with cooperative.
    if names.len() > 1 {
        names.retain(|name| *name != "cooperative-sticky");
    }
    Ok(names.join(","))
}

#[cfg(test)]
#[path = "properties_tests.rs"]
mod tests;
