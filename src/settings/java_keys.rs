//! The keys of Apache's worker that `worker.rs` does not read: those for the worker's own Kafka clients, and those that
//! change nothing here, with the reason.
//!
//! Every value is checked as Apache's worker checks it, so that a typing error is told in either. `unused.rs` tells at
//! start which keys of a file have no effect, and the page of worker keys is made from the same rows; a test holds them
//! against Apache's own list. What protects connections is in `protection.rs`.

use pipette_api::Key;
use pipette_api::config::checks::{at_least, one_of, one_of_any_case};
use pipette_api::config::key::{ClassName, FromText, Importance, KeyInfo};

/// Rows of keys: name, type, default, importance, check and what is to be said.
macro_rules! keys {
    ($($name:literal $type:ty, $presence:ident($($default:literal)?) $importance:ident $(if $check:expr)?, $doc:expr;)*) => {
        &[$(
            Key::<$type>::new($name, $doc)
                .$presence($($default)?)
                .importance(Importance::$importance)
                $(.check($check))?
                .info
        ),*]
    };
}
pub(super) use keys;

/// Keys without a prefix that the worker's own Kafka clients take, as the protecting ones of `protection.rs`.
pub static OWN_CLIENTS: &[KeyInfo] = keys! {
    "client.dns.lookup" String, default("use_all_dns_ips") Medium
        if |text| one_of(text, &["use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"]),
        "How the addresses behind a broker's name are used.";
    "connections.max.idle.ms" i64, default("540000") Medium,
        "How long a connection may be idle before it is closed, in milliseconds.";
    "metadata.max.age.ms" i64, default("300000") Low if at_least::<0>,
        "How often brokers and partitions are looked up anew, in milliseconds.";
    "metadata.recovery.strategy" String, default("rebootstrap") Low
        if |text| one_of_any_case(text, &["rebootstrap", "none"]),
        "What happens when no known broker answers: `bootstrap.servers` are asked again, or nothing.";
    "metadata.recovery.rebootstrap.trigger.ms" i64, default("300000") Low if at_least::<0>,
        "How long no known broker may answer before that, in milliseconds.";
    "receive.buffer.bytes" i32, default("32768") Medium if at_least::<-1>,
        "The buffer of a socket for what comes in; -1 is the system's.";
    "reconnect.backoff.max.ms" i64, default("1000") Low if at_least::<0>,
        "The longest wait before a broker is connected to again, in milliseconds.";
    "reconnect.backoff.ms" i64, default("50") Low if at_least::<0>,
        "The first wait before a broker is connected to again, in milliseconds.";
    "retry.backoff.max.ms" i64, default("1000") Low if at_least::<0>,
        "The longest wait before a request is sent again, in milliseconds.";
    "retry.backoff.ms" i64, default("100") Low if at_least::<0>,
        "The first wait before a request is sent again, in milliseconds.";
    "send.buffer.bytes" i32, default("131072") Medium if at_least::<-1>,
        "The buffer of a socket for what goes out; -1 is the system's.";
    "socket.connection.setup.timeout.ms" i64, default("10000") Low if at_least::<0>,
        "How long connecting may take, in milliseconds.";
};

const ONE_WORKER: &str = "one worker runs per group, so nothing is divided among workers";
const NO_FORWARDING: &str = "one worker runs per group, so no request is passed on and none has to be signed";
const BUILT_IN: &str = "plugins are built into the binary";

/// Keys that change nothing here, each with the reason.
pub static WITHOUT_EFFECT: &[KeyInfo] = keys! {
    "plugin.path" Vec<String>, optional() Low, BUILT_IN;
    "plugin.discovery" String, default("hybrid_warn") Low
        if |text| one_of_any_case(text, &["only_scan", "hybrid_warn", "hybrid_fail", "service_load"]), BUILT_IN;
    "metrics.recording.level" String, default("INFO") Low if |text| one_of(text, &["INFO", "DEBUG"]),
        "every metric is always recorded";
    "metric.reporters" Vec<String>, default("org.apache.kafka.common.metrics.JmxReporter") Low if distinct,
        "reporters are Java code; GET /metrics shows everything in Prometheus' format";
    "client.id" String, default("") Low, "the worker's own clients are named after `group.id` alone";
    "request.timeout.ms" i32, default("40000") Medium if at_least::<0>,
        "the worker's own clients wait a minute for an answer";
    "socket.connection.setup.timeout.max.ms" i64, default("30000") Low if at_least::<0>,
        "librdkafka, the Kafka client in here, always waits socket.connection.setup.timeout.ms";
    "rebalance.timeout.ms" i32, default("60000") High, ONE_WORKER;
    "worker.sync.timeout.ms" i32, default("3000") Medium, ONE_WORKER;
    "worker.unsync.backoff.ms" i32, default("300000") Medium, ONE_WORKER;
    "connect.protocol" String, default("sessioned") Low
        if |text| one_of_any_case(text, &["eager", "compatible", "sessioned"]), ONE_WORKER;
    "scheduled.rebalance.max.delay.ms" i32, default("300000") Low if at_least::<0>, ONE_WORKER;
    "inter.worker.key.generation.algorithm" String, default("HmacSHA256") Low, NO_FORWARDING;
    "inter.worker.key.size" i32, optional() Low, NO_FORWARDING;
    "inter.worker.key.ttl.ms" i32, default("3600000") Low if at_least::<0>, NO_FORWARDING;
    "inter.worker.signature.algorithm" String, default("HmacSHA256") Low, NO_FORWARDING;
    "inter.worker.verification.algorithms" Vec<String>, default("HmacSHA256") Low if distinct, NO_FORWARDING;
    "internal.key.converter" ClassName, optional() Low, GONE;
    "internal.value.converter" ClassName, optional() Low, GONE;
    "rest.host.name" String, optional() Low, GONE;
    "rest.port" i32, optional() Low, GONE;
};

const GONE: &str = "Apache's worker has not had it for years; `listeners` says where REST is";

/// Java's checked list: no element twice, none empty.
fn distinct(text: Option<&str>) -> Result<(), String> {
    pipette_api::config::checks::distinct(text)
}

pub(super) fn positive_or_default(text: Option<&str>) -> Result<(), String> {
    match text.map(i64::from_text) {
        Some(Ok(number)) if number < 1 && number != -1 => Err("Number must be positive, or -1".into()),
        _ => Ok(()),
    }
}
