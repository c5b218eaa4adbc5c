//! What every connector and task is handed besides its configuration.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

use crate::folder::Folder;
use crate::signal::Signal;

/// Which task of which connector.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId {
    /// The connector's name.
    pub connector: Arc<str>,
    /// The task, from 0.
    pub task: usize,
}

/// Java's form, `name-0`.
impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.connector, self.task)
    }
}

/// What connectors, source tasks and sink tasks have in common. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    /// The connector's name.
    pub connector: Arc<str>,
    /// The runtime for clients that are shared between tasks: whoever connects drives the connection, so a shared
    /// client is made and called inside `io.spawn(…)`. A task's own clients live on the task's own runtime.
    pub io: Handle,
    /// What the runtime wants.
    pub signal: Signal,
    /// Values shared by the connector, its tasks and its questions.
    pub shared: Shared,
    /// Where the plugin publishes its metrics.
    pub metrics: Metrics,
    /// Where it keeps files of its own: a connector has a folder, and so has each task, and each step of its chain.
    pub folder: Folder,
}

/// One value per type, connector and worker.
#[derive(Clone, Default)]
pub struct Shared {
    values: Arc<Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>>,
    rehearsal: bool,
}

impl Shared {
    /// For plugins that are tried on a few records, as in a preview of a chain.
    pub fn rehearsal() -> Self {
        Self { rehearsal: true, ..Self::default() }
    }

    /// Whether this is only a rehearsal. Whoever writes to something outside, such as an object store, goes through the
    /// motions then and changes nothing there.
    pub fn is_rehearsal(&self) -> bool {
        self.rehearsal
    }

    /// The connector's value of that type, made with `Default` when first asked for.
    pub fn get<T: Default + Send + Sync + 'static>(&self) -> Arc<T> {
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let value = values.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        Arc::clone(value).downcast().unwrap_or_else(|_| unreachable!("kept under its own type"))
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

/// A metric a plugin publishes; listed in its descriptor, so that the metrics page knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricInfo {
    /// Prometheus name, without the worker's prefix: `lab_files_bytes_read_total`.
    pub name: &'static str,
    /// What the number does.
    pub kind: MetricKind,
    /// One sentence.
    pub help: &'static str,
    /// Labels besides `connector`, which the worker adds.
    pub labels: &'static [&'static str],
}

/// What a metric's number does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// Where a metric is registered; the worker's registry, or the kit's in tests.
pub trait Registry: Send + Sync {
    /// The number of that metric with those label values (in the order of [`MetricInfo::labels`]).
    fn register(&self, info: &'static MetricInfo, labels: &[&str]) -> Metric;
}

/// The door to the registry.
#[derive(Clone)]
pub struct Metrics(Arc<dyn Registry>);

impl Metrics {
    /// The metrics of one connector, published into a registry.
    pub fn new(registry: Arc<dyn Registry>) -> Self {
        Self(registry)
    }

    /// The number of a metric; ask once, at start, and keep it.
    pub fn register(&self, info: &'static MetricInfo, labels: &[&str]) -> Metric {
        debug_assert_eq!(info.labels.len(), labels.len(), "one value per label of {}", info.name);
        self.0.register(info, labels)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// A number that is read while it is written. Touch it per batch, not per record.
#[derive(Debug, Clone, Default)]
pub struct Metric(Arc<AtomicI64>);

impl Metric {
    /// Adds; negative amounts are for gauges only.
    pub fn add(&self, amount: i64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Adds a number of things, such as the length of a batch.
    pub fn count(&self, things: usize) {
        self.add(i64::try_from(things).unwrap_or(i64::MAX));
    }

    /// Sets a gauge.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}
