//! Drives one sink task as the worker's sink loop does, without Kafka: records get offsets here, and what `flush`
//! answers is what counts as committed.
//!
//! Read next: [`crate::sink_laws`], which is written on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use pipette_api::{
    Assigned, ConfigMap, ConnectError, Datum, Offsets, Reach, Result, Seeks, Settings, SinkBatch, SinkPlugin, SinkTask,
    TopicPartition, Wish,
};

use crate::bench::{Bench, running};
use crate::build::sink_record;
use crate::fakes::RecordingRuntime;

/// One sink task and a topic of records that it was or will be given.
pub struct SinkHarness {
    /// Runtime, signal and contexts.
    pub bench: Bench,
    /// What the sink asks of the runtime.
    pub runtime: Arc<RecordingRuntime>,
    /// The next offset to read of each partition, as `flush` answered.
    pub committed: Offsets,
    plugin: &'static SinkPlugin,
    config: ConfigMap,
    reach: Reach,
    task: Option<Box<dyn SinkTask>>,
    log: BTreeMap<TopicPartition, Vec<Datum>>,
    given: Offsets,
}

impl SinkHarness {
    /// A task of that plugin, not started.
    pub fn new(plugin: &'static SinkPlugin, config: ConfigMap) -> Result<Self> {
        let (bench, runtime) = (Bench::new()?, Arc::new(RecordingRuntime::default()));
        let (committed, given, log) = (Offsets::new(), Offsets::new(), BTreeMap::new());
        Ok(Self { bench, runtime, committed, plugin, config, reach: Reach::default(), task: None, log, given })
    }

    /// Lets the task touch no more than that.
    #[must_use]
    pub fn within(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    fn settings(&self) -> Settings {
        Settings::new(self.config.clone(), self.plugin.info.config).within(self.reach.clone())
    }

    /// Makes and starts the task.
    pub fn start(&mut self) -> Result<()> {
        self.bench.wish(Wish::Run);
        let mut task = (self.plugin.task)(self.settings())?;
        let context = self.bench.sink(0, Arc::clone(&self.runtime) as _);
        self.bench.run("start", task.start(context))??;
        self.task = Some(task);
        Ok(())
    }

    /// Starts the task unless it runs, as the worker does after a start that failed for now.
    pub fn start_unless_running(&mut self) -> Result<()> {
        if self.task.is_some() { Ok(()) } else { self.start() }
    }

    /// Assigns partitions; reading goes on at the committed offsets or where the sink seeks to.
    pub fn open(&mut self, partitions: &[TopicPartition]) -> Result<Seeks> {
        let assigned: Vec<_> = partitions.iter().map(|tp| self.assigned(tp)).collect();
        let seeks = self.bench.run("open", running(&mut self.task)?.open(&assigned))??;
        for tp in partitions {
            let next = seeks.get(tp).or_else(|| self.committed.get(tp)).copied().unwrap_or(0);
            self.given.insert(tp.clone(), next);
        }
        Ok(seeks)
    }

    fn assigned(&self, tp: &TopicPartition) -> Assigned {
        Assigned { tp: tp.clone(), committed: self.committed.get(tp).map(|offset| (*offset, Arc::from("{}"))) }
    }

    /// Appends records to a partition and gives them to the sink as one batch. The batch is answered too, to be put
    /// again after an error.
    pub fn put(&mut self, tp: &TopicPartition, values: Vec<Datum>) -> Result<(Arc<SinkBatch>, Result<()>)> {
        let log = self.log.entry(tp.clone()).or_default();
        let first = to_offset(log.len());
        let records = values.iter().cloned().zip(first..).map(|(value, offset)| sink_record(tp, offset, value));
        let batch = Arc::new(SinkBatch { records: records.collect() });
        log.extend(values);
        let outcome = self.put_again(&batch)?;
        Ok((batch, outcome))
    }

    /// Gives a batch once more; the outer error is the harness's, the inner one the sink's.
    pub fn put_again(&mut self, batch: &Arc<SinkBatch>) -> Result<Result<()>> {
        let outcome = self.bench.run("put", running(&mut self.task)?.put(Arc::clone(batch)))?;
        if outcome.is_ok() {
            for record in &batch.records {
                let next = self.given.entry(record.origin.tp.clone()).or_insert(0);
                *next = (*next).max(record.origin.offset + 1);
            }
        }
        Ok(outcome)
    }

    /// Flushes everything put so far; the answer counts as committed. Fatal when it promises more than was put.
    pub fn flush(&mut self) -> Result<Offsets> {
        let upto = self.given.clone();
        let safe = self.bench.run("flush", running(&mut self.task)?.flush(&upto))??;
        for (tp, offset) in &safe {
            if upto.get(tp).is_none_or(|given| offset > given) {
                return Err(ConnectError::fatal(format!("flush promises {tp} up to {offset}, which was never put")));
            }
            self.committed.insert(tp.clone(), *offset);
        }
        Ok(safe)
    }

    /// Gives everything behind the committed offsets once more, as after a rebalance or a crash.
    pub fn redeliver(&mut self) -> Result<()> {
        for tp in self.log.keys().cloned().collect::<Vec<_>>() {
            let from = self.committed.get(&tp).copied().unwrap_or(0);
            let records = self.log[&tp].iter().cloned().zip(0..).filter(|(_, offset)| *offset >= from);
            let records: Vec<_> = records.map(|(value, offset)| sink_record(&tp, offset, value)).collect();
            if !records.is_empty() {
                self.put_again(&Arc::new(SinkBatch { records }))??;
            }
        }
        Ok(())
    }

    /// Takes partitions away.
    pub fn close(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.bench.run("close", running(&mut self.task)?.close(partitions))??;
        for tp in partitions {
            self.given.remove(tp);
        }
        Ok(())
    }

    /// Stops the task.
    pub fn stop(&mut self) -> Result<()> {
        self.bench.wish(Wish::Stop);
        self.given.clear();
        let Some(mut task) = self.task.take() else { return Ok(()) };
        self.bench.run("stop", task.stop())?
    }

    /// The process dies: the task and what it spawned are dropped where they stand.
    pub fn kill(&mut self) -> Result<()> {
        self.task = None;
        self.given.clear();
        self.bench = Bench::new()?;
        Ok(())
    }
}

fn to_offset(len: usize) -> i64 {
    i64::try_from(len).unwrap_or_else(|_| unreachable!("a test holds fewer than 2^63 records"))
}
