//! The worker's metrics: numbers that tasks and plugins touch once per batch, and their Prometheus text.
//!
//! `table.rs` names every metric once, `derived.rs` those that follow from others; `meters.rs` bundles those of a task;
//! `history.rs` knows how numbers were, `dialect.rs` other names for them; `process.rs` reads the process. REST renders, the
//! herder and `task/` register.

pub mod derived;
pub mod dialect;
mod history;
pub mod meters;
mod process;
pub mod table;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pipette_api::{Metric, MetricInfo, MetricKind, Metrics, Registry, TaskId};

use self::derived::{DERIVED, Derived, From};
use self::dialect::{Dialect, Told};
use self::history::History;
use self::table::{CONNECTOR_STATUS, Row, TABLE, TASK_STATUS};
use crate::settings::metrics::Sampling;

/// Names that begin like this are Java's and stay as they are; all others are ours and get our prefix.
const JAVA_PREFIX: &str = "kafka_";
const OUR_PREFIX: &str = "pipette_";

/// The rows by their names.
static ROWS: LazyLock<HashMap<&'static str, &'static Row>> =
    LazyLock::new(|| TABLE.iter().map(|row| (row.info.name, *row)).collect());

/// Every metric of the worker. Registering takes a lock, counting does not.
#[derive(Debug)]
pub struct WorkerMetrics {
    families: Mutex<BTreeMap<Cow<'static, str>, Family>>,
    history: Mutex<History>,
    sampling: Sampling,
    dialects: Vec<Dialect>,
    started: SystemTime,
}

#[derive(Debug)]
struct Family {
    info: &'static MetricInfo,
    series: BTreeMap<Labels, Metric>,
}

/// Names and values, in the order they are shown.
type Labels = Vec<(&'static str, String)>;

/// A number to show.
struct Shown {
    /// Its name as Strimzi's rules make it.
    name: Cow<'static, str>,
    /// Java's `group:attribute`; empty for what is ours.
    java: &'static str,
    kind: &'static str,
    help: &'static str,
    labels: Labels,
    value: f64,
    /// The last label tells a text.
    is_text: bool,
}

impl WorkerMetrics {
    /// An empty registry as Java's defaults want it; its uptime begins now.
    pub fn new() -> Arc<Self> {
        Self::with(Sampling::default(), vec![Dialect::Strimzi])
    }

    /// An empty registry whose rates cover that, shown under those names if nobody asks for others.
    pub fn with(sampling: Sampling, dialects: Vec<Dialect>) -> Arc<Self> {
        Arc::new(Self {
            families: Mutex::default(),
            history: Mutex::default(),
            sampling,
            dialects,
            started: SystemTime::now(),
        })
    }

    /// What averages, maxima and rates cover.
    pub fn sampling(&self) -> Sampling {
        self.sampling
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
        self.show_text(&CONNECTOR_STATUS, &[("connector", connector)], &state.to_lowercase());
    }

    /// Shows the state of a task in place of the one before.
    pub fn task_status(&self, id: &TaskId, state: &str) {
        let (task, state) = (id.task.to_string(), state.to_lowercase());
        let owner = [("connector", &*id.connector), ("task", task.as_str())];
        self.show_text(&TASK_STATUS, &owner, &state);
        self.history().state(&owned(&owner), &state, Instant::now());
    }

    /// Shows a text in the last label of a row, in place of the one before.
    pub fn show_text(&self, row: &'static Row, owner: &[(&'static str, &str)], text: &str) {
        self.forget_text(row, owner);
        let owner = owned(owner);
        let label = row.info.labels.last().copied().unwrap_or_default();
        let labels = owner.into_iter().chain([(label, text.to_owned())]).collect();
        self.number(&row.info, labels).set(1);
    }

    /// Takes back what a row shows of an owner.
    pub fn forget_text(&self, row: &'static Row, owner: &[(&'static str, &str)]) {
        let owner = owned(owner);
        if let Some(family) = self.families().get_mut(row.info.name) {
            // Of thousands of connectors, those of one stand together.
            let of_owner = family.series.range(owner.clone()..).map(|(labels, _)| labels);
            let stale: Vec<Labels> = of_owner.take_while(|labels| labels.starts_with(&owner)).cloned().collect();
            for labels in stale {
                family.series.remove(&labels);
            }
        }
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
        self.history().forget(belongs);
    }

    /// Notes how counters are, for rates and shares; to be called every few seconds.
    pub fn note(&self) {
        let (families, mut history, now) = (self.families(), self.history(), Instant::now());
        for row in DERIVED.iter().flat_map(|derived| derived.from.noted()) {
            for (labels, number) in families.get(&full_name(&row.info)).into_iter().flat_map(|family| &family.series) {
                history.note(row.info.name, labels, number.get(), now, self.sampling);
            }
        }
    }

    /// How often that is worth while.
    pub fn note_every(&self) -> Duration {
        (self.sampling.window / 6).clamp(Duration::from_secs(1), Duration::from_secs(10))
    }

    /// All numbers, in Prometheus' text format, under the names that the worker file asks for.
    pub fn render(&self) -> String {
        self.render_as(&self.dialects)
    }

    /// The same under these names.
    pub fn render_as(&self, dialects: &[Dialect]) -> String {
        let mut families: BTreeMap<Cow<'static, str>, (&'static str, &'static str, String)> = BTreeMap::new();
        for shown in self.shown() {
            // What is ours has one name.
            let dialects = if shown.java.is_empty() { &[Dialect::Strimzi] } else { dialects };
            let mut told: Vec<Told> = Vec::with_capacity(dialects.len());
            for one in dialects.iter().filter_map(|dialect| dialect.tell(&shown)) {
                // Some names are the same in several dialects.
                if !told.iter().any(|other| (&other.name, &other.labels) == (&one.name, &one.labels)) {
                    told.push(one);
                }
            }
            for Told { name, kind, labels, value } in told {
                let line = format!("{name}{} {value}\n", braces(&labels));
                let family = families.entry(name).or_insert_with(|| (kind, shown.help, String::new()));
                family.2.push_str(&line);
            }
        }
        let mut text = String::new();
        for (name, (kind, help, lines)) in families {
            head(&mut text, &name, kind, help);
            text.push_str(&lines);
        }
        process::render(&mut text, self.started);
        text
    }

    /// Every number there is.
    fn shown(&self) -> Vec<Shown> {
        let families = self.families();
        let mut all = Vec::new();
        for (name, family) in families.iter() {
            let row = ROWS.get(family.info.name);
            let kind = match family.info.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
            };
            all.extend(family.series.iter().map(|(labels, number)| Shown {
                name: name.clone(),
                java: row.map_or("", |row| row.java),
                kind,
                help: family.info.help,
                labels: labels.clone(),
                value: float(number.get()),
                is_text: row.is_some_and(|row| row.is_text()),
            }));
        }
        let history = self.history();
        let now = Instant::now();
        for derived in DERIVED {
            all.extend(follow(derived, &families, &history, now));
        }
        all
    }

    /// Shows since when the worker runs, under the name that its clients have.
    pub fn show_start(&self, client: &str) {
        let seconds = self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.of_worker(&table::APP_START, &[client]).set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    fn number(&self, info: &'static MetricInfo, labels: Labels) -> Metric {
        let mut families = self.families();
        let family = families.entry(full_name(info)).or_insert_with(|| Family { info, series: BTreeMap::new() });
        family.series.entry(labels).or_default().clone()
    }

    fn families(&self) -> MutexGuard<'_, BTreeMap<Cow<'static, str>, Family>> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From {
    /// The counters whose growth it follows from.
    fn noted(self) -> Vec<&'static Row> {
        match self {
            Self::Rate(row) => vec![row],
            Self::Share(part, rest) => vec![part, rest],
            Self::ShareOfAll(..) | Self::Time(_) => Vec::new(),
        }
    }
}

/// What follows from the numbers for one derived metric.
fn follow(
    derived: &'static Derived,
    families: &BTreeMap<Cow<'static, str>, Family>,
    history: &History,
    now: Instant,
) -> Vec<Shown> {
    let show = |labels: &Labels, value: f64| Shown {
        name: derived.info.name.into(),
        java: derived.java,
        kind: "gauge",
        help: derived.info.help,
        labels: labels.clone(),
        value,
        is_text: false,
    };
    let of = |row: &'static Row| families.get(&full_name(&row.info)).into_iter().flat_map(|family| &family.series);
    let now_of = |row: &'static Row, labels: &Labels| {
        families.get(&full_name(&row.info)).and_then(|family| family.series.get(labels)).map_or(0, Metric::get)
    };
    match derived.from {
        From::Rate(row) => of(row)
            .map(|(labels, number)| {
                let (grown, seconds) = history.growth(row.info.name, labels, number.get(), now);
                show(labels, if seconds > 0.0 { float(grown) / seconds } else { 0.0 })
            })
            .collect(),
        From::Share(part, rest) => of(part)
            .map(|(labels, number)| {
                let grown = |row: &'static Row, value| history.growth(row.info.name, labels, value, now).0;
                show(labels, share(grown(part, number.get()), grown(rest, now_of(rest, labels))))
            })
            .collect(),
        From::ShareOfAll(part, rest) => {
            of(part).map(|(labels, number)| show(labels, share(number.get(), now_of(rest, labels)))).collect()
        }
        From::Time(state) => history.parts_in(state, now).map(|(labels, part)| show(labels, part)).collect(),
    }
}

/// Which part of both the first is; 0 when there is nothing.
fn share(part: i64, rest: i64) -> f64 {
    if part + rest > 0 { float(part) / float(part + rest) } else { 0.0 }
}

/// Numbers here stay far below those that a float cannot tell apart.
#[allow(clippy::cast_precision_loss)]
fn float(number: i64) -> f64 {
    number as f64
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

fn owned(labels: &[(&'static str, &str)]) -> Labels {
    labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
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

    /// Without the lines of the process and of time, which differ from run to run.
    fn rendered(metrics: &WorkerMetrics) -> String {
        let text = metrics.render();
        let text = &text[..text.find("# HELP pipette_build_info").unwrap()];
        let kept: Vec<&str> = text.split_inclusive('\n').filter(|line| !line.contains("_ratio")).collect();
        kept.concat()
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
                meters::SourceMeters::new(&metrics.connector(connector), task, metrics.sampling()).polled.add(1);
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
