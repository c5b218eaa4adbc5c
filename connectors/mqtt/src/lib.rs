//! MQTT 3.1.1 and 5: a source that acknowledges only what is in Kafka, and a sink whose offsets stay behind the broker's
//! acknowledgements.
//!
//! Reading order: `config.rs` and `settings.rs` (the keys), `plan.rs` (which task subscribes to what), `source.rs` with
//! `window.rs` (what may be acknowledged), `drain.rs` (sessions of tasks that are gone), `budget.rs` (what may be held), `session.rs` and `patience.rs` (connections and
//! their ends) with `security.rs`, `mapping.rs` with `json.rs`, `envelope.rs` and `sparkplug/`; then `sink.rs` with `outgoing.rs`. `lenses/` takes the
//! configurations of others. `filter.rs`, `template.rs` and `uri.rs` are the grammar,
//! `client/` is the door to the client library, `board.rs` shows it all.

mod board;
mod budget;
mod client;
mod config;
mod drain;
mod envelope;
mod filter;
mod json;
mod lenses;
mod mapping;
mod outgoing;
mod patience;
mod plan;
mod security;
mod session;
mod settings;
mod sink;
mod source;
mod sparkplug;
mod template;
mod uri;
mod window;

#[cfg(test)]
#[path = "../tests/support/mosquitto.rs"]
mod mosquitto;

use pipette_api::config::ConfigDef;
use pipette_api::{ExactlyOnce, Info, Plugin, SinkPlugin, SourcePlugin};

pub use sparkplug::SparkplugReader;

const README: &str = include_str!("../README.md");

/// The keys of the source.
pub static SOURCE_CONFIG: ConfigDef = ConfigDef::new(&[
    &config::SERVER.info,
    &config::VERSION.info,
    &config::KEEP_ALIVE.info,
    &config::CONNECT_TIMEOUT.info,
    &config::BACKOFF.info,
    &config::BACKOFF_MAX.info,
    &config::RETRY_TIME.info,
    &config::USER_PROPERTIES.info,
    &config::VALIDATE_CONNECT.info,
    &config::CLIENT_ID.info,
    &config::CLEAN.info,
    &config::CLEAN_SESSION.info,
    &config::EXPIRY.info,
    &config::DRAIN_IDLE.info,
    &config::TOPICS.info,
    &config::QOS.info,
    &config::OVERLAP.info,
    &config::GROUP.info,
    &config::RETAINED_POLICY.info,
    &config::NO_LOCAL.info,
    &config::AS_PUBLISHED.info,
    &config::KAFKA_TOPIC.info,
    &config::KAFKA_MAPPING.info,
    &config::KAFKA_KEY.info,
    &config::VALUE_FORMAT.info,
    &config::HEADERS.info,
    &sparkplug::keys::MODE.info,
    &sparkplug::keys::REBIRTH.info,
    &sparkplug::keys::REBIRTH_INTERVAL.info,
    &sparkplug::keys::UNKNOWN.info,
    &sparkplug::keys::PATIENCE.info,
    &sparkplug::keys::MAX_VALUES.info,
    &sparkplug::keys::STATE_BYTES.info,
    &config::BUFFER_RECORDS.info,
    &config::BUFFER_BYTES.info,
    &config::OVERFLOW.info,
    &config::RECEIVE_MAXIMUM.info,
    &config::MAX_PACKET.info,
    &config::USERNAME.info,
    &config::PASSWORD.info,
    &config::CA.info,
    &config::CERT.info,
    &config::SSL_KEY.info,
    &config::ALPN.info,
    &config::WILL_TOPIC.info,
    &config::WILL_PAYLOAD.info,
    &config::WILL_QOS.info,
    &config::WILL_RETAIN.info,
    &config::WILL_DELAY.info,
])
.rule(settings::source_rule);

/// The keys of the sink.
pub static SINK_CONFIG: ConfigDef = ConfigDef::new(&[
    &config::SERVER.info,
    &config::VERSION.info,
    &config::KEEP_ALIVE.info,
    &config::CONNECT_TIMEOUT.info,
    &config::BACKOFF.info,
    &config::BACKOFF_MAX.info,
    &config::RETRY_TIME.info,
    &config::USER_PROPERTIES.info,
    &config::VALIDATE_CONNECT.info,
    &config::CLIENT_ID.info,
    &config::MQTT_TOPIC.info,
    &config::QOS.info,
    &config::RETAIN.info,
    &config::RETAINED_ENABLED.info,
    &config::MESSAGE_EXPIRY.info,
    &config::SEND_HEADERS.info,
    &config::IN_FLIGHT.info,
    &config::NULL_VALUES.info,
    &config::USERNAME.info,
    &config::PASSWORD.info,
    &config::CA.info,
    &config::CERT.info,
    &config::SSL_KEY.info,
    &config::ALPN.info,
    &config::WILL_TOPIC.info,
    &config::WILL_PAYLOAD.info,
    &config::WILL_QOS.info,
    &config::WILL_RETAIN.info,
    &config::WILL_DELAY.info,
])
.rule(settings::sink_rule);

/// The source.
pub static SOURCE: SourcePlugin = SourcePlugin {
    exactly_once: |_| {
        ExactlyOnce::Unsupported(
            "an MQTT broker may deliver a message again after a crash, and takes no part in Kafka's transactions"
                .into(),
        )
    },
    probe: Some(plan::probe),
    metrics: &board::SOURCE_METRICS,
    questions: &[board::SESSIONS],
    ..SourcePlugin::new(
        Info {
            class: "io.pipette.MqttSourceConnector",
            aliases: &["MqttSource", "MqttSourceConnector", "io.confluent.connect.mqtt.MqttSourceConnector"],
            version: env!("CARGO_PKG_VERSION"),
            about: "Subscribes to an MQTT broker, and acknowledges a message only when Kafka has it.",
            readme: README,
            config: &SOURCE_CONFIG,
        },
        |settings| Ok(Box::new(plan::SourceConnector::new(&settings)?)),
        |settings| Ok(Box::new(source::MqttSource::new(settings::SourceSettings::read(&settings)?))),
    )
};

/// The sink.
pub static SINK: SinkPlugin = SinkPlugin {
    probe: Some(plan::probe),
    metrics: &board::SINK_METRICS,
    questions: &[board::SESSIONS],
    ..SinkPlugin::new(
        Info {
            class: "io.pipette.MqttSinkConnector",
            aliases: &["MqttSink", "MqttSinkConnector", "io.confluent.connect.mqtt.MqttSinkConnector"],
            version: env!("CARGO_PKG_VERSION"),
            about: "Publishes records to an MQTT broker, and commits offsets behind its acknowledgements.",
            readme: README,
            config: &SINK_CONFIG,
        },
        |settings| Ok(Box::new(plan::SinkConnector::new(&settings)?)),
        |settings| Ok(Box::new(sink::MqttSink::new(settings::SinkSettings::read(&settings)?))),
    )
};

/// What this crate brings.
pub static PLUGINS: &[Plugin] = &[
    Plugin::Source(SOURCE),
    Plugin::Source(lenses::LENSES_SOURCE),
    Plugin::Sink(SINK),
    Plugin::Sink(lenses::LENSES_SINK),
];
