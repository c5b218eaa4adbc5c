//! Every metric of the worker, named once. The metrics page and the tests are made from [`TABLE`].
//!
//! Names follow the widest-spread exporter rules for Java's worker (Strimzi's), so that dashboards work unchanged. A
//! Java name that ends in `-failures`, `-errors` and the like is a gauge there, and so it is here.

use pipette_api::{MetricInfo, MetricKind};

/// One metric of the worker.
#[derive(Debug)]
pub struct Row {
    /// Name, kind, help and labels; `connector` is added where a connector registers it.
    pub info: MetricInfo,
    /// Java's `group:attribute`; empty for what Java does not measure.
    pub java: &'static str,
}

impl Row {
    /// Whether the last label tells a text, and the number is 1.
    pub fn is_text(&self) -> bool {
        let attribute = self.java.rsplit(':').next().unwrap_or_default().replace('-', "_");
        self.info.labels.last().is_some_and(|label| *label == attribute)
    }
}

const fn row(
    name: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
    java: &'static str,
    help: &'static str,
) -> Row {
    Row { info: MetricInfo { name, kind, help, labels }, java }
}

macro_rules! table {
    ($($id:ident = $kind:ident $name:literal $labels:tt $java:literal $help:literal;)*) => {
        $(#[doc = $help] pub static $id: Row = row($name, MetricKind::$kind, &$labels, $java, $help);)*
        /// All rows.
        pub static TABLE: &[&Row] = &[$(&$id),*];
    };
}

table! {
    // A source task.
    SOURCE_POLLED = Counter "kafka_connect_source_task_source_record_poll_total" ["task"]
        "source-task-metrics:source-record-poll-total" "Records polled, before transforms.";
    SOURCE_WRITTEN = Counter "kafka_connect_source_task_source_record_write_total" ["task"]
        "source-task-metrics:source-record-write-total" "Records that Kafka has acknowledged, after transforms.";
    SOURCE_ACTIVE = Gauge "kafka_connect_source_task_source_record_active_count" ["task"]
        "source-task-metrics:source-record-active-count" "Records polled and not yet acknowledged by Kafka.";
    SOURCE_ACTIVE_MAX = Gauge "kafka_connect_source_task_source_record_active_count_max" ["task"]
        "source-task-metrics:source-record-active-count-max" "The most of these in the last minute.";
    SOURCE_ACTIVE_AVG = Gauge "kafka_connect_source_task_source_record_active_count_avg" ["task"]
        "source-task-metrics:source-record-active-count-avg" "Their average over the last minute.";
    TRANSACTION_MIN = Gauge "kafka_connect_source_task_transaction_size_min" ["task"]
        "source-task-metrics:transaction-size-min" "Records of the smallest transaction of the last minute; with exactly-once.";
    TRANSACTION_MAX = Gauge "kafka_connect_source_task_transaction_size_max" ["task"]
        "source-task-metrics:transaction-size-max" "Records of the largest transaction of the last minute; with exactly-once.";
    TRANSACTION_AVG = Gauge "kafka_connect_source_task_transaction_size_avg" ["task"]
        "source-task-metrics:transaction-size-avg" "Records of the average transaction of the last minute; with exactly-once.";
    POLL_MAX = Gauge "kafka_connect_source_task_poll_batch_max_time_ms" ["task"]
        "source-task-metrics:poll-batch-max-time-ms" "Longest poll of the last minute.";
    POLL_AVG = Gauge "kafka_connect_source_task_poll_batch_avg_time_ms" ["task"]
        "source-task-metrics:poll-batch-avg-time-ms" "Average poll of the last minute.";

    // A sink task.
    SINK_READ = Counter "kafka_connect_sink_task_sink_record_read_total" ["task"]
        "sink-task-metrics:sink-record-read-total" "Records read from Kafka, before transforms.";
    SINK_SENT = Counter "kafka_connect_sink_task_sink_record_send_total" ["task"]
        "sink-task-metrics:sink-record-send-total" "Records put into the sink, after transforms.";
    SINK_ACTIVE = Gauge "kafka_connect_sink_task_sink_record_active_count" ["task"]
        "sink-task-metrics:sink-record-active-count" "Records read and not yet committed.";
    SINK_ACTIVE_MAX = Gauge "kafka_connect_sink_task_sink_record_active_count_max" ["task"]
        "sink-task-metrics:sink-record-active-count-max" "The most of these in the last minute.";
    SINK_ACTIVE_AVG = Gauge "kafka_connect_sink_task_sink_record_active_count_avg" ["task"]
        "sink-task-metrics:sink-record-active-count-avg" "Their average over the last minute.";
    SINK_PARTITIONS = Gauge "kafka_connect_sink_task_partition_count" ["task"]
        "sink-task-metrics:partition-count" "Topic partitions assigned to the task.";
    SINK_COMMIT_SEQUENCE = Gauge "kafka_connect_sink_task_offset_commit_seq_no" ["task"]
        "sink-task-metrics:offset-commit-seq-no" "Number of the newest offset commit.";
    SINK_COMMITS = Counter "kafka_connect_sink_task_offset_commit_completion_total" ["task"]
        "sink-task-metrics:offset-commit-completion-total" "Offset commits that succeeded.";
    SINK_COMMITS_SKIPPED = Counter "kafka_connect_sink_task_offset_commit_skip_total" ["task"]
        "sink-task-metrics:offset-commit-skip-total" "Offset commits whose answer came too late to count.";
    PUT_MAX = Gauge "kafka_connect_sink_task_put_batch_max_time_ms" ["task"]
        "sink-task-metrics:put-batch-max-time-ms" "Longest put of the last minute.";
    PUT_AVG = Gauge "kafka_connect_sink_task_put_batch_avg_time_ms" ["task"]
        "sink-task-metrics:put-batch-avg-time-ms" "Average put of the last minute.";

    // Either.
    BATCH_MAX = Gauge "kafka_connect_connector_task_batch_size_max" ["task"]
        "connector-task-metrics:batch-size-max" "Records of the largest batch of the last minute.";
    BATCH_AVG = Gauge "kafka_connect_connector_task_batch_size_avg" ["task"]
        "connector-task-metrics:batch-size-avg" "Records of the average batch of the last minute.";
    COMMIT_MAX = Gauge "kafka_connect_connector_task_offset_commit_max_time_ms" ["task"]
        "connector-task-metrics:offset-commit-max-time-ms" "Longest offset commit of the last minute.";
    COMMIT_AVG = Gauge "kafka_connect_connector_task_offset_commit_avg_time_ms" ["task"]
        "connector-task-metrics:offset-commit-avg-time-ms" "Average offset commit of the last minute.";
    TASK_STATUS = Gauge "kafka_connect_connector_task_status" ["connector", "task", "status"]
        "connector-task-metrics:status" "1 for the state the task is in.";

    TASK_CONNECTOR_CLASS = Gauge "kafka_connect_connector_task_connector_class" ["task", "connector_class"]
        "connector-task-metrics:connector-class" "1 with the class of the connector.";
    TASK_CONNECTOR_TYPE = Gauge "kafka_connect_connector_task_connector_type" ["task", "connector_type"]
        "connector-task-metrics:connector-type" "1 with source or sink.";
    TASK_CONNECTOR_VERSION = Gauge "kafka_connect_connector_task_connector_version" ["task", "connector_version"]
        "connector-task-metrics:connector-version" "1 with the version of the connector.";
    KEY_CONVERTER_CLASS = Gauge "kafka_connect_connector_task_key_converter_class" ["task", "key_converter_class"]
        "connector-task-metrics:key-converter-class" "1 with the class of the converter of keys.";
    KEY_CONVERTER_VERSION = Gauge "kafka_connect_connector_task_key_converter_version" ["task", "key_converter_version"]
        "connector-task-metrics:key-converter-version" "1 with its version.";
    VALUE_CONVERTER_CLASS = Gauge "kafka_connect_connector_task_value_converter_class" ["task", "value_converter_class"]
        "connector-task-metrics:value-converter-class" "1 with the class of the converter of values.";
    VALUE_CONVERTER_VERSION = Gauge "kafka_connect_connector_task_value_converter_version" ["task", "value_converter_version"]
        "connector-task-metrics:value-converter-version" "1 with its version.";
    HEADER_CONVERTER_CLASS = Gauge "kafka_connect_connector_task_header_converter_class" ["task", "header_converter_class"]
        "connector-task-metrics:header-converter-class" "1 with the class of the converter of header values.";
    HEADER_CONVERTER_VERSION = Gauge "kafka_connect_connector_task_header_converter_version" ["task", "header_converter_version"]
        "connector-task-metrics:header-converter-version" "1 with its version.";
    TRANSFORM_CLASS = Gauge "kafka_connect_connector_transform_transform_class" ["task", "transform", "transform_class"]
        "connector-transform-metrics:transform-class" "1 with the class of a transformation.";
    TRANSFORM_VERSION = Gauge "kafka_connect_connector_transform_transform_version" ["task", "transform", "transform_version"]
        "connector-transform-metrics:transform-version" "1 with its version.";
    PREDICATE_CLASS = Gauge "kafka_connect_connector_predicate_predicate_class" ["task", "predicate", "predicate_class"]
        "connector-predicate-metrics:predicate-class" "1 with the class of a predicate that a transformation uses.";
    PREDICATE_VERSION = Gauge "kafka_connect_connector_predicate_predicate_version" ["task", "predicate", "predicate_version"]
        "connector-predicate-metrics:predicate-version" "1 with its version.";

    // What Apache's worker does not tell.
    COMMITS = Counter "task_offset_commits_total" ["task"]
        "" "Offset commits that succeeded, of sources and sinks.";
    COMMIT_FAILURES = Counter "task_offset_commit_failures_total" ["task"]
        "" "Offset commits that failed or had no answer in time; they are made again.";
    TASK_HUNG = Gauge "task_hung" ["task"]
        "" "Is 1 while the task's plugin does not return from a call.";
    TASK_SILENT = Gauge "task_kafka_silent" ["task"]
        "" "Is 1 while Kafka does not acknowledge what the task sends, or does not answer its consumer.";
    TASK_RESTARTS = Counter "task_restarts_total" ["connector", "task"]
        "" "Restarts of the task that the worker made by itself.";
    CONNECTOR_RESTARTS = Counter "connector_restarts_total" ["connector"]
        "" "Restarts of the connector that the worker made by itself.";

    // What goes wrong with records.
    FAILURES = Gauge "kafka_connect_task_error_total_record_failures" ["task"]
        "task-error-metrics:total-record-failures" "Failed attempts to process a record, each retry included.";
    ERRORS = Gauge "kafka_connect_task_error_total_record_errors" ["task"]
        "task-error-metrics:total-record-errors" "Records that could not be processed in the end.";
    SKIPPED = Gauge "kafka_connect_task_error_total_records_skipped" ["task"]
        "task-error-metrics:total-records-skipped" "Records left out because errors are tolerated.";
    RETRIES = Gauge "kafka_connect_task_error_total_retries" ["task"]
        "task-error-metrics:total-retries" "Attempts made again.";
    LOGGED = Gauge "kafka_connect_task_error_total_errors_logged" ["task"]
        "task-error-metrics:total-errors-logged" "Errors of records written to the log.";
    DEAD_LETTERS = Gauge "kafka_connect_task_error_deadletterqueue_produce_requests" ["task"]
        "task-error-metrics:deadletterqueue-produce-requests" "Records sent to the dead letter topic.";
    DEAD_LETTER_FAILURES = Gauge "kafka_connect_task_error_deadletterqueue_produce_failures" ["task"]
        "task-error-metrics:deadletterqueue-produce-failures" "Records the dead letter topic did not take.";
    LAST_ERROR = Gauge "kafka_connect_task_error_last_error_timestamp" ["task"]
        "task-error-metrics:last-error-timestamp" "When a record last failed, in milliseconds since 1970; 0 for never.";

    // The Kafka clients of tasks.
    CONSUMER_IN = Counter "kafka_consumer_incoming_byte_total" ["task", "clientid"]
        "kafka.consumer/consumer-metrics:incoming-byte-total" "Bytes that a sink's consumer has received.";
    CONSUMER_OUT = Counter "kafka_consumer_outgoing_byte_total" ["task", "clientid"]
        "kafka.consumer/consumer-metrics:outgoing-byte-total" "Bytes that a sink's consumer has sent.";
    CONSUMER_CONNECTIONS = Gauge "kafka_consumer_connection_count" ["task", "clientid"]
        "kafka.consumer/consumer-metrics:connection-count" "Brokers that a sink's consumer is connected to.";
    CONSUMER_LAG = Gauge "kafka_consumer_fetch_manager_records_lag_max" ["task", "clientid"]
        "kafka.consumer/consumer-fetch-manager-metrics:records-lag-max"
        "How many records a sink is behind, by what is committed, on the partition where that is most; -1 when nobody knows.";
    PRODUCER_IN = Counter "kafka_producer_incoming_byte_total" ["task", "clientid"]
        "kafka.producer/producer-metrics:incoming-byte-total" "Bytes that a source's producer has received.";
    PRODUCER_OUT = Counter "kafka_producer_outgoing_byte_total" ["task", "clientid"]
        "kafka.producer/producer-metrics:outgoing-byte-total" "Bytes that a source's producer has sent.";
    PRODUCER_CONNECTIONS = Gauge "kafka_producer_connection_count" ["task", "clientid"]
        "kafka.producer/producer-metrics:connection-count" "Brokers that a source's producer is connected to.";

    // The worker; the herder keeps these.
    CONNECTOR_STATUS = Gauge "kafka_connect_connector_status" ["connector", "status"]
        "connector-metrics:status" "1 for the state the connector is in.";
    CONNECTOR_CLASS = Gauge "kafka_connect_connector_connector_class" ["connector", "connector_class"]
        "connector-metrics:connector-class" "1 with the class of the connector.";
    CONNECTOR_TYPE = Gauge "kafka_connect_connector_connector_type" ["connector", "connector_type"]
        "connector-metrics:connector-type" "1 with source or sink.";
    CONNECTOR_VERSION = Gauge "kafka_connect_connector_connector_version" ["connector", "connector_version"]
        "connector-metrics:connector-version" "1 with the version of the connector.";
    APP_VERSION = Gauge "kafka_connect_version_info" ["clientid", "version"]
        "app-info:version" "1 with the version of Apache Kafka Connect that this worker follows.";
    APP_START = Gauge "kafka_connect_start_time_seconds" ["clientid"]
        "app-info:start-time-ms" "When the worker started, in seconds since 1970.";
    REBALANCING = Gauge "kafka_connect_worker_rebalance_rebalancing" []
        "connect-worker-rebalance-metrics:rebalancing" "0: one worker runs per group, so nothing is divided anew.";
    REBALANCES = Counter "kafka_connect_worker_rebalance_completed_rebalances_total" []
        "connect-worker-rebalance-metrics:completed-rebalances-total" "0, for the same reason.";
    LEADER = Gauge "kafka_connect_worker_rebalance_leader_name" ["leader_name"]
        "connect-worker-rebalance-metrics:leader-name" "1 with this worker's own address: it is alone.";
    ASSIGNED_CONNECTORS = Gauge "kafka_connect_coordinator_assigned_connectors" ["clientid"]
        "connect-coordinator-metrics:assigned-connectors" "Connectors of this worker.";
    ASSIGNED_TASKS = Gauge "kafka_connect_coordinator_assigned_tasks" ["clientid"]
        "connect-coordinator-metrics:assigned-tasks" "Tasks of this worker.";
    CONNECTOR_COUNT = Gauge "kafka_connect_worker_connector_count" []
        "connect-worker-metrics:connector-count" "Connectors of this worker.";
    TASK_COUNT = Gauge "kafka_connect_worker_task_count" []
        "connect-worker-metrics:task-count" "Tasks of this worker.";
    CONNECTOR_STARTS = Counter "kafka_connect_worker_connector_startup_attempts_total" []
        "connect-worker-metrics:connector-startup-attempts-total" "Connectors that were to start.";
    CONNECTOR_STARTED = Counter "kafka_connect_worker_connector_startup_success_total" []
        "connect-worker-metrics:connector-startup-success-total" "Connectors that started.";
    CONNECTOR_NOT_STARTED = Counter "kafka_connect_worker_connector_startup_failure_total" []
        "connect-worker-metrics:connector-startup-failure-total" "Connectors that failed to start.";
    TASK_STARTS = Counter "kafka_connect_worker_task_startup_attempts_total" []
        "connect-worker-metrics:task-startup-attempts-total" "Tasks that were to start.";
    TASK_STARTED = Counter "kafka_connect_worker_task_startup_success_total" []
        "connect-worker-metrics:task-startup-success-total" "Tasks that started.";
    TASK_NOT_STARTED = Counter "kafka_connect_worker_task_startup_failure_total" []
        "connect-worker-metrics:task-startup-failure-total" "Tasks that failed to start.";
    CONNECTOR_TASKS = Gauge "kafka_connect_worker_connector_total_task_count" ["connector"]
        "connect-worker-metrics:connector-total-task-count" "Tasks of the connector.";
    CONNECTOR_RUNNING = Gauge "kafka_connect_worker_connector_running_task_count" ["connector"]
        "connect-worker-metrics:connector-running-task-count" "Running tasks of the connector.";
    CONNECTOR_PAUSED = Gauge "kafka_connect_worker_connector_paused_task_count" ["connector"]
        "connect-worker-metrics:connector-paused-task-count" "Paused tasks of the connector.";
    CONNECTOR_FAILED = Gauge "kafka_connect_worker_connector_failed_task_count" ["connector"]
        "connect-worker-metrics:connector-failed-task-count" "Failed tasks of the connector.";
    CONNECTOR_UNASSIGNED = Gauge "kafka_connect_worker_connector_unassigned_task_count" ["connector"]
        "connect-worker-metrics:connector-unassigned-task-count" "Tasks of the connector that nobody runs.";
    CONNECTOR_DESTROYED = Gauge "kafka_connect_worker_connector_destroyed_task_count" ["connector"]
        "connect-worker-metrics:connector-destroyed-task-count" "Tasks of the connector that were taken away.";
    MEMORY_BUDGET = Gauge "memory_budget_bytes" []
        "" "The worker's memory budget.";
    MEMORY_HELD = Gauge "memory_held_bytes" ["task"]
        "" "Memory that a task keeps from others: the queues of its Kafka clients and its batches.";
    MEMORY_WAITS = Counter "memory_waits_total" ["task"]
        "" "How often a task had to wait for memory.";
    STEP_RECORDS = Gauge "transformation_in_flight_records" ["task", "transformation"]
        "" "Records in a transformation that waits for something outside, those included that wait behind others.";
    STEP_BYTES = Gauge "transformation_in_flight_bytes" ["task", "transformation"]
        "" "Memory that they take.";
    CONNECTOR_RESTARTING = Gauge "kafka_connect_worker_connector_restarting_task_count" ["connector"]
        "connect-worker-metrics:connector-restarting-task-count" "Tasks of the connector that start again.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_made_of_javas_by_rule() {
        let mut seen = BTreeSet::new();
        for row in TABLE {
            if row.java.is_empty() {
                assert!(!row.info.name.starts_with("kafka_"), "{} is Java's and has no attribute", row.info.name);
                continue;
            }
            let (group, attribute) = row.java.split_once(':').unwrap();
            if group == "app-info" || group.contains('/') {
                continue;
            }
            let group = group.trim_end_matches("-metrics").trim_start_matches("connect-");
            let name = format!("kafka_connect_{group}_{attribute}").replace('-', "_");
            assert_eq!(row.info.name, name);
            assert_eq!(row.info.kind == MetricKind::Counter, name.ends_with("_total"), "{name}");
            assert_eq!(row.is_text(), row.info.help.starts_with("1 "), "{name}");
            assert!(row.info.help.ends_with('.'), "{name}");
            assert!(seen.insert(name), "{} twice", row.info.name);
        }
    }
}
