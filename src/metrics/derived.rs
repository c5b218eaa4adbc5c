//! Metrics of Apache's worker that follow from others: rates, shares and times in a state. Worked out when they are shown.
//!
//! `history.rs` knows what a number was before; [`MISSING`] lists what this worker has nothing to show for.

use pipette_api::MetricInfo;
use pipette_api::MetricKind::Gauge;

use super::table::{self, Row};

/// A metric that follows from others.
#[derive(Debug)]
pub struct Derived {
    /// Name, help and labels.
    pub info: MetricInfo,
    /// Java's `group:attribute`.
    pub java: &'static str,
    /// What it follows from.
    pub from: From,
}

/// What a metric follows from.
#[derive(Debug, Clone, Copy)]
pub enum From {
    /// How fast a counter grows, per second, over the last minute.
    Rate(&'static Row),
    /// What part of both counters' growth in the last minute the first one has.
    Share(&'static Row, &'static Row),
    /// The same since the start.
    ShareOfAll(&'static Row, &'static Row),
    /// The part of its time that a task was in a state.
    Time(&'static str),
}

const fn of(
    name: &'static str,
    labels: &'static [&'static str],
    java: &'static str,
    from: From,
    help: &'static str,
) -> Derived {
    Derived { info: MetricInfo { name, kind: Gauge, help, labels }, java, from }
}

const TASK: &[&str] = &["connector", "task"];

/// All of them.
pub static DERIVED: &[Derived] = &[
    of(
        "kafka_connect_source_task_source_record_poll_rate",
        TASK,
        "source-task-metrics:source-record-poll-rate",
        From::Rate(&table::SOURCE_POLLED),
        "Records polled per second.",
    ),
    of(
        "kafka_connect_source_task_source_record_write_rate",
        TASK,
        "source-task-metrics:source-record-write-rate",
        From::Rate(&table::SOURCE_WRITTEN),
        "Records acknowledged by Kafka per second.",
    ),
    of(
        "kafka_connect_sink_task_sink_record_read_rate",
        TASK,
        "sink-task-metrics:sink-record-read-rate",
        From::Rate(&table::SINK_READ),
        "Records read from Kafka per second.",
    ),
    of(
        "kafka_connect_sink_task_sink_record_send_rate",
        TASK,
        "sink-task-metrics:sink-record-send-rate",
        From::Rate(&table::SINK_SENT),
        "Records put into the sink per second.",
    ),
    of(
        "kafka_connect_sink_task_offset_commit_completion_rate",
        TASK,
        "sink-task-metrics:offset-commit-completion-rate",
        From::Rate(&table::SINK_COMMITS),
        "Offset commits that succeeded, per second.",
    ),
    of(
        "kafka_connect_sink_task_offset_commit_skip_rate",
        TASK,
        "sink-task-metrics:offset-commit-skip-rate",
        From::Rate(&table::SINK_COMMITS_SKIPPED),
        "Offset commits whose answer came too late, per second.",
    ),
    of(
        "kafka_connect_connector_task_offset_commit_success_percentage",
        TASK,
        "connector-task-metrics:offset-commit-success-percentage",
        From::Share(&table::COMMITS, &table::COMMIT_FAILURES),
        "Which part of the offset commits succeeded, from 0 to 1.",
    ),
    of(
        "kafka_connect_connector_task_offset_commit_failure_percentage",
        TASK,
        "connector-task-metrics:offset-commit-failure-percentage",
        From::Share(&table::COMMIT_FAILURES, &table::COMMITS),
        "Which part of the offset commits failed, from 0 to 1.",
    ),
    of(
        "kafka_connect_connector_task_running_ratio",
        TASK,
        "connector-task-metrics:running-ratio",
        From::Time("running"),
        "Which part of its time the task was running, from 0 to 1.",
    ),
    of(
        "kafka_connect_connector_task_pause_ratio",
        TASK,
        "connector-task-metrics:pause-ratio",
        From::Time("paused"),
        "Which part of its time the task was paused, from 0 to 1.",
    ),
    of(
        "kafka_connect_worker_connector_startup_success_percentage",
        &[],
        "connect-worker-metrics:connector-startup-success-percentage",
        From::ShareOfAll(&table::CONNECTOR_STARTED, &table::CONNECTOR_NOT_STARTED),
        "Which part of the connectors' starts succeeded since the worker began, from 0 to 1.",
    ),
    of(
        "kafka_connect_worker_connector_startup_failure_percentage",
        &[],
        "connect-worker-metrics:connector-startup-failure-percentage",
        From::ShareOfAll(&table::CONNECTOR_NOT_STARTED, &table::CONNECTOR_STARTED),
        "Which part of them failed.",
    ),
    of(
        "kafka_connect_worker_task_startup_success_percentage",
        &[],
        "connect-worker-metrics:task-startup-success-percentage",
        From::ShareOfAll(&table::TASK_STARTED, &table::TASK_NOT_STARTED),
        "Which part of the tasks' starts succeeded since the worker began, from 0 to 1.",
    ),
    of(
        "kafka_connect_worker_task_startup_failure_percentage",
        &[],
        "connect-worker-metrics:task-startup-failure-percentage",
        From::ShareOfAll(&table::TASK_NOT_STARTED, &table::TASK_STARTED),
        "Which part of them failed.",
    ),
];

const ALONE: &str = "one worker runs per group: nothing is divided among workers, and no group of workers is joined";
const NETWORK: &str = "librdkafka, the Kafka client in here, counts otherwise, and only where it is asked to";

/// What Apache's worker publishes and this one does not: `group:attribute`, or `group:*` for a whole group, and why.
pub static MISSING: &[(&str, &str)] = &[
    ("connector-task-metrics:task-class", "a plugin has one class for connector and tasks: `connector-class`"),
    ("connector-task-metrics:task-version", "the same: `connector-version`"),
    ("connect-worker-rebalance-metrics:*", ALONE),
    ("connect-coordinator-metrics:*", ALONE),
    ("connect-metrics:*", NETWORK),
    ("connect-node-metrics:*", NETWORK),
    ("kafka-metrics-count:*", "it counts Java's metric objects"),
    ("app-info:commit-id", "it is Apache's; `pipette_build_info` tells this worker's version"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::table::TABLE;

    /// Apache's worker, asked through JMX: each attribute is shown, or has a reason why not.
    #[test]
    fn every_attribute_of_apaches_worker_is_shown_or_missing_for_a_reason() {
        let recorded = include_str!("../../tests/java/recorded/metrics.txt");
        let shown: Vec<&str> = TABLE
            .iter()
            .map(|row| row.java)
            .chain(DERIVED.iter().map(|it| it.java))
            .filter(|java| !java.is_empty() && !java.contains('/'))
            .collect();
        let attributes: Vec<&str> = recorded.lines().filter(|line| !line.starts_with('#')).collect();
        let group = |attribute: &str| format!("{}:*", attribute.split(':').next().unwrap());
        let excused = |attribute: &str| MISSING.iter().any(|(it, _)| *it == attribute || *it == group(attribute));
        let lost: Vec<_> = attributes.iter().filter(|it| !shown.contains(it) && !excused(it)).collect();
        assert!(lost.is_empty(), "neither shown nor excused: {lost:?}");
        let invented: Vec<_> = shown.iter().filter(|it| !attributes.contains(it)).collect();
        assert!(invented.is_empty(), "Apache's worker has no such attributes: {invented:?}");
        let idle: Vec<_> = MISSING
            .iter()
            .filter(|(it, _)| {
                !attributes.iter().any(|known| !shown.contains(known) && (known == it || group(known) == *it))
            })
            .collect();
        assert!(idle.is_empty(), "excuses that nothing needs: {idle:?}");
    }

    #[test]
    fn names_are_made_of_javas_by_rule() {
        for derived in DERIVED {
            let (group, attribute) = derived.java.split_once(':').unwrap();
            let group = group.trim_end_matches("-metrics").trim_start_matches("connect-");
            assert_eq!(derived.info.name, format!("kafka_connect_{group}_{attribute}").replace('-', "_"));
        }
    }
}
