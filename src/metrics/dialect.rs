//! The names that dashboards know: the same numbers under those of three exporter rule sets.
//!
//! `table.rs` has Strimzi's; the other two follow from Java's group and attribute by rule.

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
}

impl Dialect {
    /// By its name in `metrics.prometheus.dialects` and in the query.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Strimzi, Self::Confluent, Self::Reporter];
        DIALECTS.iter().zip(all).find(|(known, _)| **known == name).map(|(_, dialect)| dialect)
    }

    /// Name, type and labels of a number; `None` when nobody knows it under this dialect.
    pub(super) fn of(self, shown: &Shown) -> Option<(Cow<'static, str>, &'static str, Labels)> {
        if shown.java.is_empty() || self == Self::Strimzi {
            return Some((shown.name.clone(), shown.kind, shown.labels.clone()));
        }
        let (domain, java) = shown.java.split_once('/').unwrap_or(("kafka.connect", shown.java));
        let (group, attribute) = java.split_once(':')?;
        let prefix = domain.replace('.', "_");
        let word = |text: &str| text.replace('-', "_");
        let mut labels = shown.labels.clone();
        for (name, _) in &mut labels {
            if *name == "clientid" {
                *name = "client_id";
            }
        }
        let name = match (self, shown.is_text) {
            (Self::Confluent, true) if group == "app-info" => "kafka_connect_app_info".to_owned(),
            (Self::Confluent, true) if group == "connector-metrics" => "kafka_connect_connector_metrics".to_owned(),
            // Text is no number, and these rules have none for it.
            (Self::Confluent, true) => return None,
            (_, true) => format!("{prefix}_{}_{}_info", word(group), word(attribute)),
            (_, false) => format!("{prefix}_{}_{}", word(group), word(attribute)),
        };
        if self == Self::Reporter {
            return Some((name.into(), shown.kind, labels));
        }
        if let Some(client) = domain.strip_prefix("kafka.").filter(|client| *client != "connect") {
            labels.push(("client_type", client.to_owned()));
        }
        if group == "connect-worker-metrics" && labels.is_empty() {
            labels.push(("connector", "aggregate".to_owned()));
        }
        Some((name.into(), "untyped", labels))
    }
}
