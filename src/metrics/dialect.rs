//! The names that dashboards know: the same numbers under those of four exporter rule sets.
//!
//! `table.rs` has Strimzi's; the others follow from Java's group and attribute by rule.

use std::borrow::Cow;

use super::{Labels, Shown};
use crate::settings::metrics::DIALECTS;

/// Whose names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// The rules in Strimzi's examples for the JMX exporter, and in most Helm charts.
    Strimzi,
    /// The rules in Confluent's `jmx-monitoring-stacks`.
    Confluent,
    /// Strimzi's Metrics Reporter, and Kafka's own naming.
    Reporter,
    /// The JMX exporter's own example for Kafka Connect.
    JmxExporter,
}

/// A number as a dialect tells it.
#[derive(Debug, PartialEq)]
pub(super) struct Told {
    pub(super) name: Cow<'static, str>,
    pub(super) kind: &'static str,
    pub(super) labels: Labels,
    pub(super) value: f64,
}

/// Where Java has a number.
struct Java<'a> {
    /// `connect`, `consumer` or `producer`.
    side: &'a str,
    group: &'a str,
    attribute: &'a str,
}

impl Dialect {
    /// By its name in `metrics.prometheus.dialects` and in the query.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Strimzi, Self::Confluent, Self::Reporter, Self::JmxExporter];
        DIALECTS.iter().zip(all).find(|(known, _)| **known == name).map(|(_, dialect)| dialect)
    }

    /// A number under this dialect; `None` when nobody knows it there.
    pub(super) fn tell(self, shown: &Shown) -> Option<Told> {
        if shown.java.is_empty() || self == Self::Strimzi {
            let (name, labels) = (shown.name.clone(), shown.labels.clone());
            return Some(Told { name, kind: shown.kind, labels, value: shown.value });
        }
        let (domain, java) = shown.java.split_once('/').unwrap_or(("kafka.connect", shown.java));
        let (group, attribute) = java.split_once(':')?;
        let java = Java { side: domain.strip_prefix("kafka.")?, group, attribute };
        match self {
            Self::Strimzi => None,
            Self::Confluent => java.confluent(shown),
            Self::Reporter => Some(java.reporter(shown)),
            Self::JmxExporter => java.jmx_exporter(shown),
        }
    }
}

impl Java<'_> {
    fn confluent(&self, shown: &Shown) -> Option<Told> {
        let mut labels = labels(shown, "client_id");
        let name = match self.group {
            "app-info" => return Some(self.info("kafka_connect_app_info", labels, shown)),
            "connector-metrics" if shown.is_text => "kafka_connect_connector_metrics".to_owned(),
            // Text is no number, and these rules have none for it.
            _ if shown.is_text => return None,
            group => format!("kafka_{}_{}_{}", self.side, word(group), word(self.attribute)),
        };
        if self.side != "connect" {
            labels.push(("client_type", self.side.to_owned()));
        }
        if self.group == "connect-worker-metrics" && labels.is_empty() {
            labels.push(("connector", "aggregate".to_owned()));
        }
        Some(Told { name: name.into(), kind: "untyped", labels, value: shown.value })
    }

    fn reporter(&self, shown: &Shown) -> Told {
        let end = if shown.is_text { "_info" } else { "" };
        let name = format!("kafka_{}_{}_{}{end}", self.side, word(self.group), word(self.attribute));
        let value = if self.is_start() { shown.value * MILLIS } else { shown.value };
        Told { name: name.into(), kind: shown.kind, labels: labels(shown, "client_id"), value }
    }

    fn jmx_exporter(&self, shown: &Shown) -> Option<Told> {
        let labels = labels(shown, "clientId");
        let of_connector = labels.iter().any(|(label, _)| *label == "connector");
        let attribute = word(self.attribute);
        let name = match (self.group, self.attribute) {
            ("app-info", _) => return Some(self.info("kafka_connect_info", labels, shown)),
            // Of a task, whatever its name says; these rules have nothing for the state of a connector.
            ("connector-task-metrics", "status") => "kafka_connect_connector_status".to_owned(),
            _ if shown.is_text => return None,
            ("connect-worker-metrics", _) if !of_connector => format!("kafka_connect_worker_{attribute}"),
            ("connect-worker-rebalance-metrics", _) => format!("kafka_connect_worker_rebalance_{attribute}"),
            (group, _) => format!("kafka_{}_{}_{attribute}", self.side, word(group.trim_end_matches("-metrics"))),
        };
        Some(Told { name: name.into(), kind: "gauge", labels, value: shown.value })
    }

    /// What these rules make of everything about the program: 1, with the attribute as a label.
    fn info(&self, name: &'static str, mut labels: Labels, shown: &Shown) -> Told {
        if self.is_start() {
            labels.push(("start_time_ms", format!("{:.0}", shown.value * MILLIS)));
        }
        Told { name: name.into(), kind: "untyped", labels, value: 1.0 }
    }

    /// The one number that Strimzi's rules turn into another unit: seconds.
    fn is_start(&self) -> bool {
        self.attribute == "start-time-ms"
    }
}

/// In a second.
const MILLIS: f64 = 1000.0;

fn word(text: &str) -> String {
    text.replace('-', "_")
}

/// The labels of a number, that of a client under this name.
fn labels(shown: &Shown, client: &'static str) -> Labels {
    let renamed =
        |(name, value): &(&'static str, String)| (if *name == "clientid" { client } else { *name }, value.clone());
    shown.labels.iter().map(renamed).collect()
}

#[cfg(test)]
mod tests {
    use pipette_api::TaskId;

    use super::super::{WorkerMetrics, meters, table};
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    /// A worker with a task that has polled 3 records.
    fn worker() -> Arc<WorkerMetrics> {
        let metrics = WorkerMetrics::new();
        meters::SourceMeters::new(&metrics.connector("a"), 0, metrics.sampling()).polled.add(3);
        metrics.connector_status("a", "RUNNING");
        metrics.task_status(&TaskId { connector: Arc::from("a"), task: 0 }, "PAUSED");
        metrics.show_start("w:1");
        metrics.show_text(&table::APP_VERSION, &[("clientid", "w:1")], "4.3.1");
        metrics.of_worker(&table::TASK_COUNT, &[]).set(1);
        metrics.of_worker(&table::CONNECTOR_RUNNING, &["a"]).set(1);
        metrics.of_worker(&table::REBALANCING, &[]).set(0);
        metrics.of_worker(&table::ASSIGNED_TASKS, &["w:1"]).set(1);
        metrics.connector("a").register(&table::CONSUMER_IN.info, &["0", "c"]).set(7);
        metrics
    }

    #[test]
    fn the_jmx_exporters_own_names_are_those_of_its_rules() {
        let page = worker().render_as(&[Dialect::JmxExporter]);
        let has = |line: &str| assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        has(r#"kafka_connect_source_task_source_record_poll_total{connector="a",task="0"} 3"#);
        has("# TYPE kafka_connect_source_task_source_record_poll_total gauge");
        has(r#"kafka_connect_connector_status{connector="a",task="0",status="paused"} 1"#);
        has(r#"kafka_connect_info{clientId="w:1",version="4.3.1"} 1"#);
        has("# TYPE kafka_connect_info untyped");
        has("kafka_connect_worker_task_count 1");
        has(r#"kafka_connect_connect_worker_connector_running_task_count{connector="a"} 1"#);
        has("kafka_connect_worker_rebalance_rebalancing 0");
        has(r#"kafka_connect_connect_coordinator_assigned_tasks{clientId="w:1"} 1"#);
        has(r#"kafka_consumer_consumer_incoming_byte_total{connector="a",task="0",clientId="c"} 7"#);
        assert!(page.contains("\nkafka_connect_connector_task_pause_ratio{"), "{page}");
        for foreign in ["clientid", "client_id", "_metrics_", r#"{connector="a",status="#, "_task_status{"] {
            assert!(!page.contains(foreign), "{foreign} in\n{page}");
        }
    }

    #[test]
    fn the_start_is_in_milliseconds_where_the_name_says_so() {
        let worker = worker();
        let found = |dialect: Dialect, start: &str| {
            let page = worker.render_as(&[dialect]);
            let line =
                page.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start} in\n{page}"));
            line.rsplit([' ', '"']).find_map(|word| word.parse::<f64>().ok().filter(|number| *number > 1.0)).unwrap()
        };
        let seconds = found(Dialect::Strimzi, "kafka_connect_start_time_seconds{");
        for (dialect, start) in [
            (Dialect::Confluent, r#"kafka_connect_app_info{client_id="w:1",start_time_ms="#),
            (Dialect::Reporter, "kafka_connect_app_info_start_time_ms{"),
            (Dialect::JmxExporter, r#"kafka_connect_info{clientId="w:1",start_time_ms="#),
        ] {
            assert!((found(dialect, start) - seconds * 1000.0).abs() < 1.0, "{dialect:?}");
        }
    }

    #[test]
    fn several_dialects_tell_no_series_twice() {
        let page = worker().render_as(&[
            Dialect::Strimzi,
            Dialect::JmxExporter,
            Dialect::Confluent,
            Dialect::Reporter,
            Dialect::Strimzi,
        ]);
        let mut seen = BTreeSet::new();
        for line in page.lines() {
            let series = if line.starts_with('#') { line } else { line.rsplit_once(' ').unwrap().0 };
            assert!(seen.insert(series), "{series} twice in\n{page}");
        }
        // The first one's kind is that of all.
        assert!(page.contains("# TYPE kafka_connect_source_task_source_record_poll_total counter"), "{page}");
    }
}
