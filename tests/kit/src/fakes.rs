//! Stand-ins for the worker's stores and counters, made to be looked at by tests.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pipette_api::folder::Disk;
use pipette_api::{
    ConnectError, ErrorKind, Metric, MetricInfo, OffsetMap, OffsetReader, Partition, Registry, Result, SinkBatch,
    SinkRuntime, TopicPartition, async_trait,
};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Committed offsets in a map.
#[derive(Debug, Default)]
pub struct MapOffsets(Mutex<BTreeMap<Partition, OffsetMap>>);

impl MapOffsets {
    /// Commits an offset.
    pub fn set(&self, partition: Partition, offset: OffsetMap) {
        lock(&self.0).insert(partition, offset);
    }

    /// Takes an offset away.
    pub fn forget(&self, partition: &Partition) {
        lock(&self.0).remove(partition);
    }

    /// All of them.
    pub fn all(&self) -> BTreeMap<Partition, OffsetMap> {
        lock(&self.0).clone()
    }
}

#[async_trait]
impl OffsetReader for MapOffsets {
    async fn get(&self, partition: &Partition) -> Result<Option<OffsetMap>> {
        Ok(lock(&self.0).get(partition).cloned())
    }

    async fn scan(&self) -> Result<Vec<(Partition, OffsetMap)>> {
        Ok(self.all().into_iter().collect())
    }
}

/// A metrics registry that can be asked.
#[derive(Default)]
pub struct Numbers(Mutex<BTreeMap<(&'static str, Vec<String>), Metric>>);

impl Numbers {
    /// The number of a metric now; `None` when the plugin never registered it.
    pub fn get(&self, name: &'static str, labels: &[&str]) -> Option<i64> {
        lock(&self.0).get(&(name, owned(labels))).map(Metric::get)
    }
}

impl Registry for Numbers {
    fn register(&self, info: &'static MetricInfo, labels: &[&str]) -> Metric {
        lock(&self.0).entry((info.name, owned(labels))).or_default().clone()
    }
}

fn owned(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|label| (*label).to_owned()).collect()
}

/// A record that a sink called bad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Where the record was read.
    pub tp: TopicPartition,
    /// Its offset there.
    pub offset: i64,
    /// The kind of the error.
    pub kind: ErrorKind,
    /// The message and its causes.
    pub message: String,
}

/// A commit that a sink asked for by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The partition.
    pub tp: TopicPartition,
    /// The next offset to read.
    pub offset: i64,
    /// The intent beside it.
    pub intent: Option<String>,
}

/// A sink's runtime that writes down what is asked of it.
#[derive(Debug, Default)]
pub struct RecordingRuntime {
    reports: Mutex<Vec<Report>>,
    commits: Mutex<Vec<Commit>>,
    flushes: Mutex<usize>,
    paused: Mutex<Vec<TopicPartition>>,
    refusal: Mutex<Option<String>>,
}

impl RecordingRuntime {
    /// The records reported so far.
    pub fn reports(&self) -> Vec<Report> {
        lock(&self.reports).clone()
    }

    /// The commits made so far.
    pub fn commits(&self) -> Vec<Commit> {
        lock(&self.commits).clone()
    }

    /// How often a flush was asked for.
    pub fn flushes(&self) -> usize {
        *lock(&self.flushes)
    }

    /// The partitions that are paused now.
    pub fn paused(&self) -> Vec<TopicPartition> {
        lock(&self.paused).clone()
    }

    /// Refuses commits from now on, as for a stale member; `None` accepts them again.
    pub fn refuse_commits(&self, reason: Option<&str>) {
        *lock(&self.refusal) = reason.map(str::to_owned);
    }
}

#[async_trait]
impl SinkRuntime for RecordingRuntime {
    fn report(&self, batch: &Arc<SinkBatch>, index: usize, error: ConnectError) {
        let origin = &batch.records[index].origin;
        let (tp, offset) = (origin.tp.clone(), origin.offset);
        lock(&self.reports).push(Report { tp, offset, kind: error.kind(), message: error.chain() });
    }

    async fn commit(&self, tp: &TopicPartition, offset: i64, intent: Option<&str>) -> Result<()> {
        if let Some(reason) = lock(&self.refusal).as_deref() {
            return Err(ConnectError::retriable(reason));
        }
        lock(&self.commits).push(Commit { tp: tp.clone(), offset, intent: intent.map(str::to_owned) });
        Ok(())
    }

    fn request_flush(&self) {
        *lock(&self.flushes) += 1;
    }

    fn pause(&self, partitions: &[TopicPartition]) {
        let mut paused = lock(&self.paused);
        for tp in partitions {
            if !paused.contains(tp) {
                paused.push(tp.clone());
            }
        }
    }

    fn resume(&self, partitions: &[TopicPartition]) {
        lock(&self.paused).retain(|tp| !partitions.contains(tp));
    }
}

/// A disk: the folders of plugins, plainly one within the other, under this one.
pub struct Under(pub PathBuf);

impl Disk for Under {
    fn make(&self, names: &[Arc<str>]) -> Result<PathBuf> {
        let path = names.iter().fold(self.0.clone(), |path, name| path.join(&**name));
        let made = std::fs::create_dir_all(&path);
        made.map_err(|error| ConnectError::retriable(format!("Cannot make {}", path.display())).because(error))?;
        Ok(path)
    }
}
