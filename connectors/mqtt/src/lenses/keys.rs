//! The keys of Lenses' MQTT connectors, with what becomes of each.
//!
//! Read next: `mod.rs`.

use std::time::Duration;

use pipette_api::config::checks::{at_least, in_range, not_empty, one_of};
use pipette_api::config::key::Password;
use pipette_api::config::{ConfigDef, Importance, Key};

use super::kcql;

const POLICIES: &[&str] = &["THROW", "RETRY", "NOOP"];

pub(super) static HOSTS: Key<Vec<String>> =
    Key::new("connect.mqtt.hosts", "Addresses of the broker, as in `mqtt.server.uri`.")
        .importance(Importance::High)
        .group("Connection")
        .address()
        .check(not_empty);
pub(super) static KCQL: Key<String> = Key::new(
    "connect.mqtt.kcql",
    "`INSERT INTO target SELECT * FROM source`, several of them behind semicolons. A source takes \
     WITHCONVERTER with BytesConverter and JsonSimpleConverter, and `$` as target; a sink takes WITHTARGET, and `_key` and \
     `_topic` as target. Everything else is refused.",
)
.importance(Importance::High)
.group("KCQL")
.check(|text| kcql::parse(text.unwrap_or_default()).map(drop));
pub(super) static QUALITY: Key<u16> = Key::new("connect.mqtt.service.quality", "Quality of service, as in `mqtt.qos`.")
    .default("1")
    .group("Connection")
    .check(in_range::<0, 2>);
pub(super) static USERNAME: Key<String> =
    Key::new("connect.mqtt.username", "User at the broker.").optional().group("Connection");
pub(super) static PASSWORD: Key<Password> =
    Key::new("connect.mqtt.password", "Password at the broker.").optional().group("Connection");
pub(super) static CLIENT_ID: Key<String> = Key::new(
    "connect.mqtt.client.id",
    "The name of the session, as in `mqtt.client.id`; the number of the task is added.",
)
.optional()
.group("Connection")
.check(not_empty);
pub(super) static CLEAN: Key<bool> = Key::new(
    "connect.mqtt.clean",
    "Whether each connection begins without what the broker kept, as in `mqtt.clean.start`. Without it messages that \
     arrive while the connector is down are kept, other than with Lenses. A sink has no such session.",
)
.optional()
.group("Connection");
pub(super) static TIMEOUT: Key<Duration> = Key::new(
    "connect.mqtt.timeout",
    "How long a broker may take to accept a connection, in milliseconds, rounded up to whole seconds.",
)
.optional()
.group("Connection")
.check(|text| text.map_or(Ok(()), |_| in_range::<1, 3_600_000>(text)));
pub(super) static KEEP_ALIVE: Key<Duration> = Key::new(
    "connect.mqtt.keep.alive",
    "After how much silence a sign of life is asked for, in milliseconds, rounded up to whole seconds.",
)
.optional()
.group("Connection")
.check(|text| text.map_or(Ok(()), |_| in_range::<1, 65_535_000>(text)));
pub(super) static CA: Key<String> =
    Key::new("connect.mqtt.ssl.ca.cert", "File with the certificates (PEM) that brokers are trusted by.")
        .optional()
        .group("SSL")
        .path();
pub(super) static CERT: Key<String> =
    Key::new("connect.mqtt.ssl.cert", "File with the client's certificate (PEM).").optional().group("SSL").path();
pub(super) static SSL_KEY: Key<String> =
    Key::new("connect.mqtt.ssl.key", "File with the private key of that certificate (PEM).")
        .optional()
        .group("SSL")
        .path();
pub(super) static THROW: Key<bool> = Key::new(
    "connect.mqtt.converter.throw.on.error",
    "Bad input fails the task unless `errors.tolerance` says otherwise; `false`, with which Lenses loses it in silence, is \
     refused.",
)
.optional()
.group("Converter")
.check(|text| only_true(text, "use errors.tolerance=all, and errors.deadletterqueue.topic.name to keep what is bad"));
pub(super) static DUPLICATES: Key<bool> = Key::new(
    "connect.mqtt.process.duplicates",
    "A message that the broker repeats is taken, unless it is known to be in Kafka; `false`, which drops whatever has the \
     flag, is refused.",
)
.optional()
.group("Connection")
.check(|text| only_true(text, "a message with that flag may be the only one; leave the key out"));
pub(super) static REPLICATE: Key<bool> = Key::new(
    "connect.mqtt.share.replicate",
    "Shared subscriptions are those of every task, whatever is said here: the broker gives each message to one of them.",
)
.optional()
.group("Manager");
pub(super) static POLLING: Key<i64> =
    Key::new("connect.mqtt.polling.timeout", "Of no effect: messages are handed on as they come.")
        .optional()
        .group("Manager");
pub(super) static LOG: Key<bool> =
    Key::new("connect.mqtt.log.message", "Of no effect: payloads are not logged.").optional().group("Debug");
pub(super) static PROGRESS: Key<bool> =
    Key::new("connect.progress.enabled", "Of no effect: metrics count what was done.").optional().group("Metrics");
pub(super) static RETAINED: Key<bool> = Key::new(
    "connect.mqtt.retained.messages",
    "Whether the broker keeps the last message of each topic, as in `mqtt.retain`.",
)
.optional()
.group("Connection");
pub(super) static POLICY: Key<String> = Key::new(
    "connect.mqtt.error.policy",
    "THROW and RETRY: a broker that is away is tried again, a bad record is as `errors.tolerance` says. NOOP, which loses \
     records in silence, is refused.",
)
.optional()
.group("Connection")
.recommended(&["THROW", "RETRY"])
.check(policy);
pub(super) static RETRIES: Key<i64> = Key::new(
    "connect.mqtt.max.retries",
    "Of no effect: `mqtt.connect.max.retry.time.ms` says for how long a broker is tried again.",
)
.optional()
.group("Connection")
.check(|text| text.map_or(Ok(()), |_| at_least::<0>(text)));
pub(super) static RETRY_INTERVAL: Key<i64> =
    Key::new("connect.mqtt.retry.interval", "The wait before a lost broker is tried again, in milliseconds.")
        .optional()
        .group("Connection")
        .check(|text| text.map_or(Ok(()), |_| at_least::<1>(text)));

/// Those of both, then those of the source.
pub(super) static SOURCE_CONFIG: ConfigDef = ConfigDef::new(&[
    &HOSTS.info,
    &USERNAME.info,
    &PASSWORD.info,
    &QUALITY.info,
    &TIMEOUT.info,
    &CLEAN.info,
    &KEEP_ALIVE.info,
    &CLIENT_ID.info,
    &CA.info,
    &CERT.info,
    &SSL_KEY.info,
    &KCQL.info,
    &PROGRESS.info,
    &THROW.info,
    &DUPLICATES.info,
    &REPLICATE.info,
    &POLLING.info,
    &LOG.info,
])
.rule(super::source_rule);

/// Those of both, then those of the sink.
pub(super) static SINK_CONFIG: ConfigDef = ConfigDef::new(&[
    &HOSTS.info,
    &USERNAME.info,
    &PASSWORD.info,
    &QUALITY.info,
    &TIMEOUT.info,
    &CLEAN.info,
    &KEEP_ALIVE.info,
    &CLIENT_ID.info,
    &CA.info,
    &CERT.info,
    &SSL_KEY.info,
    &KCQL.info,
    &PROGRESS.info,
    &RETAINED.info,
    &POLICY.info,
    &RETRIES.info,
    &RETRY_INTERVAL.info,
])
.rule(super::sink_rule);

fn only_true(text: Option<&str>, instead: &str) -> Result<(), String> {
    match text {
        Some(text) if text.eq_ignore_ascii_case("false") => Err(format!("loses messages: {instead}")),
        _ => Ok(()),
    }
}

fn policy(text: Option<&str>) -> Result<(), String> {
    let Some(text) = text else { return Ok(()) };
    let text = text.to_ascii_uppercase();
    one_of(Some(&text), POLICIES)?;
    if text == "NOOP" {
        return Err(
            "loses records: use errors.tolerance=all, and errors.deadletterqueue.topic.name to keep them".into()
        );
    }
    Ok(())
}
