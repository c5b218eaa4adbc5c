//! What others may see of the tasks: metrics, and the answer to "is it connected, and to what".
//!
//! `source.rs` and `sink.rs` write it, the worker's REST reads it through [`SESSIONS`] at
//! `GET /connectors/{name}/sessions`. Read next: `source.rs`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use pipette_api::{ConnectError, Metric, MetricInfo, MetricKind, Metrics, Question, Result, Shared};
use serde_json::{Value, json};

use crate::budget::Shown;

const fn counter(name: &'static str, help: &'static str) -> MetricInfo {
    MetricInfo { name, kind: MetricKind::Counter, help, labels: &["task"] }
}

const fn gauge(name: &'static str, help: &'static str) -> MetricInfo {
    MetricInfo { name, kind: MetricKind::Gauge, help, labels: &["task"] }
}

/// The metrics of sources, in the order in which [`SourceNumbers`] has them.
pub(crate) static SOURCE_METRICS: [MetricInfo; 18] = [
    gauge("mqtt_source_connected", "1 while the broker's connection stands."),
    counter("mqtt_source_connects_total", "Connections that the broker accepted."),
    counter("mqtt_source_sessions_lost_total", "Times the broker had lost the session: messages may be missing."),
    counter("mqtt_source_received_total", "Messages received."),
    counter("mqtt_source_known_total", "Messages that came again and were on their way to Kafka already."),
    counter("mqtt_source_skipped_total", "Retained messages left out as mqtt.retained.policy says."),
    counter("mqtt_source_dropped_total", "Messages of quality 0 dropped because memory was full."),
    counter("mqtt_source_bad_total", "Messages that could not become records."),
    counter("mqtt_source_acknowledged_total", "Messages acknowledged to the broker."),
    counter("mqtt_source_duplicates_total", "Messages that the broker says it has sent before."),
    counter("mqtt_source_oversize_total", "Connections ended because a message was above mqtt.max.packet.size.bytes."),
    gauge("mqtt_source_subscriptions", "Filters that the broker has granted."),
    gauge("mqtt_source_acknowledge_lag_ms", "How long the last batch took from its receipt until it was in Kafka."),
    gauge("mqtt_source_held_messages", "Messages received and not yet in Kafka or not yet acknowledged."),
    gauge("mqtt_source_held_bytes", "Bytes of those messages."),
    counter("mqtt_source_sparkplug_gaps_total", "Sparkplug messages before which others of the node are missing."),
    counter("mqtt_source_sparkplug_unknown_total", "Sparkplug metrics whose name or type no birth has told."),
    counter("mqtt_source_sparkplug_rebirths_total", "Commands to Sparkplug nodes to send their births."),
];

/// The numbers of a source task.
#[derive(Debug)]
pub(crate) struct SourceNumbers {
    pub(crate) connected: Metric,
    pub(crate) connects: Metric,
    pub(crate) lost: Metric,
    pub(crate) received: Metric,
    pub(crate) known: Metric,
    pub(crate) skipped: Metric,
    pub(crate) dropped: Metric,
    pub(crate) bad: Metric,
    pub(crate) acknowledged: Metric,
    pub(crate) duplicates: Metric,
    pub(crate) oversize: Metric,
    pub(crate) subscriptions: Metric,
    pub(crate) lag_ms: Metric,
    pub(crate) messages: Metric,
    pub(crate) bytes: Metric,
    pub(crate) gaps: Metric,
    pub(crate) unknown: Metric,
    pub(crate) rebirths: Metric,
}

impl SourceNumbers {
    pub(crate) fn register(metrics: &Metrics, task: usize) -> Self {
        let task = task.to_string();
        let all = SOURCE_METRICS.each_ref().map(|info| metrics.register(info, &[&task]));
        let [connected, connects, lost, received, known, skipped, dropped, bad, acknowledged, ..] = all.clone();
        let [.., duplicates, oversize, subscriptions, lag_ms, messages, bytes, gaps, unknown, rebirths] = all;
        Self {
            connected,
            connects,
            lost,
            received,
            known,
            skipped,
            dropped,
            bad,
            acknowledged,
            duplicates,
            oversize,
            subscriptions,
            lag_ms,
            messages,
            bytes,
            gaps,
            unknown,
            rebirths,
        }
    }

    /// What the budget tells by itself.
    pub(crate) fn shown(&self) -> Shown {
        Shown { bytes: self.bytes.clone(), dropped: self.dropped.clone() }
    }
}

/// The metrics of sinks, in the order in which [`SinkNumbers`] has them.
pub(crate) static SINK_METRICS: [MetricInfo; 5] = [
    gauge("mqtt_sink_connected", "1 while the broker's connection stands."),
    counter("mqtt_sink_connects_total", "Connections that the broker accepted."),
    counter("mqtt_sink_published_total", "Messages that the broker has acknowledged."),
    counter("mqtt_sink_refused_total", "Records that could not be published."),
    gauge("mqtt_sink_in_flight", "Messages that wait for the broker's acknowledgement."),
];

/// The numbers of a sink task.
#[derive(Debug)]
pub(crate) struct SinkNumbers {
    pub(crate) connected: Metric,
    pub(crate) connects: Metric,
    pub(crate) published: Metric,
    pub(crate) refused: Metric,
    pub(crate) in_flight: Metric,
}

impl SinkNumbers {
    pub(crate) fn register(metrics: &Metrics, task: usize) -> Self {
        let task = task.to_string();
        let [connected, connects, published, refused, in_flight] =
            SINK_METRICS.each_ref().map(|info| metrics.register(info, &[&task]));
        Self { connected, connects, published, refused, in_flight }
    }
}

/// The sessions question.
pub(crate) const SESSIONS: Question = Question {
    path: "sessions",
    about: "The connections of the tasks to their MQTT brokers, with what was granted and what went wrong last.",
    answer,
};

/// One task's session as others see it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Seen {
    pub(crate) server: String,
    pub(crate) connected: bool,
    pub(crate) version: String,
    pub(crate) resumed: bool,
    /// Filters with what the broker granted.
    pub(crate) granted: Vec<String>,
    pub(crate) last_fault: Option<String>,
}

/// The sessions of a connector, by client id.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<BTreeMap<String, Seen>>);

impl Board {
    pub(crate) fn change(&self, client_id: &str, change: impl FnOnce(&mut Seen)) {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(sessions.entry(client_id.to_owned()).or_default());
    }

    pub(crate) fn forget(&self, client_id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(client_id);
    }
}

fn answer(shared: &Shared, _: &BTreeMap<String, String>) -> Result<String> {
    let board = shared.get::<Board>();
    let sessions = board.0.lock().unwrap_or_else(PoisonError::into_inner);
    let rows: Vec<Value> = sessions.iter().map(|(client_id, seen)| row(client_id, seen)).collect();
    serde_json::to_string(&json!({ "sessions": rows }))
        .map_err(|error| ConnectError::fatal("The list of sessions cannot be written").because(error))
}

fn row(client_id: &str, seen: &Seen) -> Value {
    json!({
        "client_id": client_id,
        "server": seen.server,
        "connected": seen.connected,
        "version": seen.version,
        "resumed": seen.resumed,
        "subscriptions": seen.granted,
        "last_fault": seen.last_fault,
    })
}
