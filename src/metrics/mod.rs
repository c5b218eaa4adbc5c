//! The worker's metrics: numbers that tasks and plugins touch once per batch, and their Prometheus text.
//!
//! `table.rs` names every metric once; `meters.rs` bundles those of a task; `process.rs` reads the process. REST renders,
//! the herder and `task/` register. Names are those of the dashboards made for Java's worker.

pub mod meters;
mod process;
pub mod table;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use pipette_api::{Metric, MetricInfo, MetricKind, Metrics, Registry, TaskId};

use self::table::{CONNECTOR_STATUS, Row, TASK_STATUS};

/// Names that begin like this are Java's and stay as they are; all others are ours and get our prefix.
const JAVA_PREFIX: &str = "kafka_connect_";
const OUR_PREFIX: &str = "pipette_";

/// Every metric of the worker. Registering takes a lock, counting does not.
#[derive(Debug)]
pub struct WorkerMetrics {
    families: Mutex<BTreeMap<Cow<'static, str>, Family>>,
    started: SystemTime,
}

#[derive(Debug)]
struct Family {
    info: &'static MetricInfo,
    series: BTreeMap<Labels, Metric>,
}

/// Names and values, in the order they are shown.
type Labels = Vec<(&'static str, String)>;

impl WorkerMetrics {
    /// An empty registry; its uptime begins now.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { families: Mutex::default(), started: SystemTime::now() })
    }

    /// The metrics of a connector and its tasks, as `Context` and `TaskEnvironment` carry them.
    pub fn connector(self: &Arc<Self>, name: &str) -> Metrics {
        Metrics::new(Arc::new(OfConnector { worker: Arc::clone(self), name: Arc::from(name) }))
    }

    /// A metric of the worker itself; labels in the order of the row, `connector` included where there is one.
    pub fn of_worker(&self, row: &'static Row, labels: &[&str]) -> Metric {
        self.number(&row.info, pairs(&row.info, labels))
    }

    /// Shows the state of a connector in place of the one before, in lower case as Java does.
    pub fn connector_status(&self, connector: &str, state: &str) {
        self.show_status(&CONNECTOR_STATUS, &[("connector", connector)], state);
    }

    /// Shows the state of a task in place of the one before.
    pub fn task_status(&self, id: &TaskId, state: &str) {
        self.show_status(&TASK_STATUS, &[("connector", &id.connector), ("task", &id.task.to_string())], state);
    }

    fn show_status(&self, row: &'static Row, owner: &[(&'static str, &str)], state: &str) {
        let owner: Labels = owner.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        if let Some(family) = self.families().get_mut(row.info.name) {
            family.series.retain(|labels, _| !labels.starts_with(&owner));
        }
        let labels = owner.into_iter().chain([("status", state.to_lowercase())]).collect();
        self.number(&row.info, labels).set(1);
    }

    /// Takes the metrics of a connector and its tasks away, because it was deleted.
    pub fn forget_connector(&self, name: &str) {
        self.forget(&[("connector", name)]);
    }

    /// Takes the metrics of a task away, because the connector has fewer tasks now. A failed task keeps its metrics.
    pub fn forget_task(&self, id: &TaskId) {
        self.forget(&[("connector", &id.connector), ("task", &id.task.to_string())]);
    }

    fn forget(&self, owner: &[(&str, &str)]) {
        let belongs = |labels: &Labels| owner.iter().all(|wanted| labels.iter().any(|(n, v)| (*n, &**v) == *wanted));
        for family in self.families().values_mut() {
            family.series.retain(|labels, _| !belongs(labels));
        }
    }

    /// All numbers, in Prometheus' text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (name, family) in self.families().iter().filter(|(_, family)| !family.series.is_empty()) {
            let kind = match family.info.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
            };
            head(&mut text, name, kind, family.info.help);
            for (labels, number) in &family.series {
                let _ = writeln!(text, "{name}{} {}", braces(labels), number.get());
            }
        }
        process::render(&mut text, self.started);
        text
    }

    fn number(&self, info: &'static MetricInfo, labels: Labels) -> Metric {
        let mut families = self.families();
        let family = families.entry(full_name(info)).or_insert_with(|| Family { info, series: BTreeMap::new() });
        family.series.entry(labels).or_default().clone()
    }

    fn families(&self) -> MutexGuard<'_, BTreeMap<Cow<'static, str>, Family>> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds the connector's label to what its plugin and tasks register.
struct OfConnector {
    worker: Arc<WorkerMetrics>,
    name: Arc<str>,
}

impl Registry for OfConnector {
    fn register(&self, info: &'static MetricInfo, labels: &[&str]) -> Metric {
        let mut all = vec![("connector", self.name.to_string())];
        all.extend(pairs(info, labels));
        self.worker.number(info, all)
    }
}

fn pairs(info: &MetricInfo, values: &[&str]) -> Labels {
    info.labels.iter().zip(values).map(|(name, value)| (*name, (*value).to_owned())).collect()
}

fn full_name(info: &'static MetricInfo) -> Cow<'static, str> {
    if info.name.starts_with(JAVA_PREFIX) {
        Cow::Borrowed(info.name)
    } else {
        Cow::Owned(format!("{OUR_PREFIX}{}", info.name))
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn braces(labels: &Labels) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let escape = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    static FILES: MetricInfo =
        MetricInfo { name: "lab_files_waiting", kind: MetricKind::Gauge, help: "Files that\nwait.", labels: &["root"] };

    /// Without the lines of the process, which differ from run to run.
    fn rendered(metrics: &WorkerMetrics) -> String {
        let text = metrics.render();
        text[..text.find("# HELP pipette_build_info").unwrap()].to_owned()
    }

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let metrics = WorkerMetrics::new();
        let lab = metrics.connector("lab \"7\"");
        lab.register(&FILES, &["C:\\in"]).set(3);
        lab.register(&FILES, &["C:\\in"]).add(1);
        metrics.of_worker(&table::CONNECTOR_COUNT, &[]).set(1);
        expect_test::expect![[r#"
            # HELP kafka_connect_worker_connector_count Connectors of this worker.
            # TYPE kafka_connect_worker_connector_count gauge
            kafka_connect_worker_connector_count 1
            # HELP pipette_lab_files_waiting Files that\nwait.
            # TYPE pipette_lab_files_waiting gauge
            pipette_lab_files_waiting{connector="lab \"7\"",root="C:\\in"} 4
        "#]]
        .assert_eq(&rendered(&metrics));
    }

    #[test]
    fn one_state_is_shown_at_a_time() {
        let metrics = WorkerMetrics::new();
        let id = TaskId { connector: Arc::from("lab"), task: 0 };
        metrics.connector_status("lab", "RUNNING");
        metrics.connector_status("lab2", "RUNNING");
        metrics.task_status(&id, "RUNNING");
        metrics.task_status(&id, "FAILED");
        metrics.connector_status("lab", "PAUSED");
        expect_test::expect![[r#"
            # HELP kafka_connect_connector_status 1 for the state the connector is in.
            # TYPE kafka_connect_connector_status gauge
            kafka_connect_connector_status{connector="lab",status="paused"} 1
            kafka_connect_connector_status{connector="lab2",status="running"} 1
            # HELP kafka_connect_connector_task_status 1 for the state the task is in.
            # TYPE kafka_connect_connector_task_status gauge
            kafka_connect_connector_task_status{connector="lab",task="0",status="failed"} 1
        "#]]
        .assert_eq(&rendered(&metrics));
    }

    #[test]
    fn what_is_gone_is_not_shown() {
        let metrics = WorkerMetrics::new();
        for connector in ["a", "b"] {
            for task in 0..2 {
                meters::SourceMeters::new(&metrics.connector(connector), task).polled.add(1);
            }
        }
        metrics.forget_task(&TaskId { connector: Arc::from("a"), task: 1 });
        metrics.forget_connector("b");
        let text = rendered(&metrics);
        let polled: Vec<&str> = text.lines().filter(|line| line.contains("poll_total{")).collect();
        assert_eq!(polled, [r#"kafka_connect_source_task_source_record_poll_total{connector="a",task="0"} 1"#]);
    }

    #[test]
    fn the_process_is_measured() {
        let text = WorkerMetrics::new().render();
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        assert!(value("process_resident_memory_bytes ") > 1e6, "{text}");
        assert!(value("process_threads ") >= 1.0);
        assert!(value("process_start_time_seconds ") > 1.7e9);
        assert!(value("process_cpu_seconds_total ") >= 0.0);
        assert!((value("pipette_build_info{version=") - 1.0).abs() < f64::EPSILON);
    }
}
