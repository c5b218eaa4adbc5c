//! Drives one source task as the worker's source loop does, without Kafka: batches wait here until the test settles them.
//!
//! Read next: [`crate::source_laws`], which is written on it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use pipette_api::{
    ConfigMap, ConnectError, Hook, Partition, Position, Reach, Record, Result, Settings, SourceBatch, SourceEntry,
    SourcePlugin, SourceTask, Wish,
};

use crate::bench::{Bench, DEADLINE, running};
use crate::fakes::MapOffsets;

/// How long a poll may wait for data before it is recalled, so that conditions are looked at again.
const RECALL_AFTER: Duration = Duration::from_millis(50);

/// One source task, its committed offsets and the batches that are not settled yet.
pub struct SourceHarness {
    /// Runtime, signal and contexts.
    pub bench: Bench,
    /// The offset store.
    pub offsets: Arc<MapOffsets>,
    plugin: &'static SourcePlugin,
    config: ConfigMap,
    reach: Reach,
    task: Option<Box<dyn SourceTask>>,
    open: VecDeque<OpenBatch>,
}

/// A batch on its way: what its entries do to the offsets, and its hooks.
struct OpenBatch {
    steps: VecDeque<Step>,
    acked: Option<Hook>,
    committed: Option<Hook>,
}

enum Step {
    Nothing,
    Reach(Position),
    Forget(Arc<Partition>),
}

impl SourceHarness {
    /// A task of that plugin, not started.
    pub fn new(plugin: &'static SourcePlugin, config: ConfigMap) -> Result<Self> {
        let (bench, offsets) = (Bench::new()?, Arc::new(MapOffsets::default()));
        Ok(Self { bench, offsets, plugin, config, reach: Reach::default(), task: None, open: VecDeque::new() })
    }

    /// Lets the task touch no more than that.
    #[must_use]
    pub fn within(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    fn settings(&self) -> Settings {
        Settings::new(self.config.clone(), self.plugin.info.config).within(self.reach.clone())
    }

    /// Makes and starts the task. Started again after `stop` or `kill`, it goes on at the committed offsets.
    pub fn start(&mut self) -> Result<()> {
        self.bench.wish(Wish::Run);
        let mut task = (self.plugin.task)(self.settings())?;
        let context = self.bench.source(0, Arc::clone(&self.offsets) as _);
        self.bench.run("start", task.start(context))??;
        self.task = Some(task);
        Ok(())
    }

    /// Starts the task unless it runs, as the worker does after a start that failed for now.
    pub fn start_unless_running(&mut self) -> Result<()> {
        if self.task.is_some() { Ok(()) } else { self.start() }
    }

    /// One poll. When there is no data it is recalled after a short while and answers what the task makes of that,
    /// which is most often nothing.
    pub fn poll(&mut self) -> Result<Vec<SourceEntry>> {
        let (bench, task) = (&self.bench, running(&mut self.task)?);
        let batch = bench.run("poll, also when recalled,", async {
            let mut poll = pin!(task.poll());
            if let Ok(batch) = tokio::time::timeout(RECALL_AFTER, poll.as_mut()).await {
                return batch;
            }
            bench.wish(Wish::Pause);
            let batch = poll.await;
            bench.wish(Wish::Run);
            batch
        })??;
        Ok(self.keep(batch))
    }

    /// Polls until what was handed over since this call fulfils the condition; fatal at the deadline.
    pub fn poll_until(&mut self, enough: impl FnMut(&[SourceEntry]) -> bool) -> Result<Vec<SourceEntry>> {
        self.poll_and(|_| {}, enough)
    }

    /// The same with each batch settled before the next poll, so that the condition can be about what comes of that.
    pub fn settle_until(&mut self, enough: impl FnMut(&[SourceEntry]) -> bool) -> Result<Vec<SourceEntry>> {
        self.poll_and(Self::settle, enough)
    }

    fn poll_and(
        &mut self,
        then: impl Fn(&mut Self),
        mut enough: impl FnMut(&[SourceEntry]) -> bool,
    ) -> Result<Vec<SourceEntry>> {
        let begun = Instant::now();
        let mut seen = Vec::new();
        while !enough(&seen) {
            if begun.elapsed() > DEADLINE {
                return Err(ConnectError::fatal(format!(
                    "after {DEADLINE:?} of polling the source has handed over {} entries, which is not what was waited \
                     for; the last are {:?}",
                    seen.len(),
                    &seen[seen.len().saturating_sub(3)..]
                )));
            }
            seen.extend(self.poll()?);
            then(self);
        }
        Ok(seen)
    }

    /// Polls until at least that many records were handed over.
    pub fn records(&mut self, count: usize) -> Result<Vec<Record>> {
        let entries =
            self.poll_until(|entries| entries.iter().filter(|entry| record(entry).is_some()).count() >= count)?;
        Ok(entries.iter().filter_map(record).cloned().collect())
    }

    /// Everything polled so far is in Kafka and its offsets are stored: hooks run in batch order.
    pub fn settle(&mut self) {
        self.settle_entries(usize::MAX);
    }

    /// The same for the first entries only, counted over all open batches; hooks run for batches that are complete.
    pub fn settle_entries(&mut self, mut count: usize) {
        while let Some(batch) = self.open.front_mut() {
            let settled = count.min(batch.steps.len());
            count -= settled;
            let steps: Vec<Step> = batch.steps.drain(..settled).collect();
            if !batch.steps.is_empty() {
                self.store(steps);
                return;
            }
            let (acked, committed) = (batch.acked.take(), batch.committed.take());
            self.open.pop_front();
            // In this order: the records are in Kafka before the offset is stored.
            acked.into_iter().for_each(Hook::run);
            self.store(steps);
            committed.into_iter().for_each(Hook::run);
        }
    }

    /// Batches that are not settled.
    pub fn unsettled(&self) -> usize {
        self.open.len()
    }

    /// Settles, pauses and resumes the task.
    pub fn pause_and_resume(&mut self) -> Result<()> {
        self.settle();
        let (bench, task) = (&self.bench, running(&mut self.task)?);
        bench.run("pause and resume", async {
            task.pause().await;
            task.resume().await;
        })
    }

    /// Stops the task; open batches are lost, as when the graceful timeout has passed.
    pub fn stop(&mut self) -> Result<()> {
        self.bench.wish(Wish::Stop);
        self.open.clear();
        let Some(mut task) = self.task.take() else { return Ok(()) };
        self.bench.run("stop", task.stop())?
    }

    /// Stops a task that waits for data, and tells how long the poll took to return. What it handed over then is kept.
    pub fn stop_while_waiting(&mut self) -> Result<(Vec<SourceEntry>, Duration)> {
        let (bench, task) = (&self.bench, running(&mut self.task)?);
        let (batch, took) = bench.run("a poll recalled by stop", async {
            let mut poll = pin!(task.poll());
            // One look lets the poll run until it waits for something.
            let early = poll_fn(|cx| match poll.as_mut().poll(cx) {
                Poll::Ready(batch) => Poll::Ready(Some(batch)),
                Poll::Pending => Poll::Ready(None),
            });
            let early = early.await;
            bench.wish(Wish::Stop);
            let recalled = Instant::now();
            match early {
                Some(batch) => (batch, Duration::ZERO),
                None => (poll.await, recalled.elapsed()),
            }
        })?;
        let entries = self.keep(batch?);
        self.settle();
        self.stop()?;
        Ok((entries, took))
    }

    /// The process dies: the task and what it spawned are dropped where they stand, open batches are lost.
    pub fn kill(&mut self) -> Result<()> {
        self.open.clear();
        self.task = None;
        self.bench = Bench::new()?;
        Ok(())
    }

    fn keep(&mut self, batch: SourceBatch) -> Vec<SourceEntry> {
        if !batch.is_empty() {
            let steps = batch.entries.iter().map(step).collect();
            self.open.push_back(OpenBatch { steps, acked: batch.acked, committed: batch.committed });
        }
        batch.entries
    }

    fn store(&self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Nothing => {}
                Step::Reach(position) => self.offsets.set((*position.partition).clone(), position.render()),
                Step::Forget(partition) => self.offsets.forget(&partition),
            }
        }
    }
}

fn step(entry: &SourceEntry) -> Step {
    match entry {
        SourceEntry::Forget(partition) => Step::Forget(Arc::clone(partition)),
        entry => position(entry).map_or(Step::Nothing, |position| Step::Reach(position.clone())),
    }
}

/// The position an entry carries.
pub fn position(entry: &SourceEntry) -> Option<&Position> {
    match entry {
        SourceEntry::Record(record) => record.position.as_ref(),
        SourceEntry::Encoded(_, position) | SourceEntry::Bad { position, .. } => position.as_ref(),
        SourceEntry::Position(position) => Some(position),
        SourceEntry::Forget(_) => None,
    }
}

/// The record, if the entry is one.
pub fn record(entry: &SourceEntry) -> Option<&Record> {
    match entry {
        SourceEntry::Record(record) => Some(&record.record),
        _ => None,
    }
}

/// The error, if the entry is bad input.
pub fn bad(entry: &SourceEntry) -> Option<&ConnectError> {
    match entry {
        SourceEntry::Bad { error, .. } => Some(error),
        _ => None,
    }
}
