//! The sink side: tasks that take batches.
//!
//! The worker's loop is `src/task/sink.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::context::{Context, TaskId};
use crate::error::{ConnectError, Result};
use crate::record::{SinkRecord, TopicPartition};

/// Next offsets to read, by topic partition.
pub type Offsets = BTreeMap<TopicPartition, i64>;

/// Where a sink wants to read on, for sinks that store positions themselves; partitions left out go on at the
/// committed offset.
pub type Seeks = BTreeMap<TopicPartition, i64>;

/// A partition a task now owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// The partition.
    pub tp: TopicPartition,
    /// The committed offset with its metadata (one JSON object written by the runtime, or what another client wrote).
    pub committed: Option<(i64, Arc<str>)>,
}

/// Records in the order of their partitions. Shared, because a sink may keep it until it has flushed, and because the
/// same batch comes again after a retriable error.
#[derive(Debug, Default)]
pub struct SinkBatch {
    /// The records.
    pub records: Vec<SinkRecord>,
}

/// What a sink task is started with.
#[derive(Clone)]
pub struct SinkContext {
    /// What connectors and tasks have in common.
    pub common: Context,
    /// Which task this is.
    pub id: TaskId,
    /// The runtime's side of the conversation.
    pub runtime: Arc<dyn SinkRuntime>,
}

/// What a sink asks of the runtime. Implemented by the worker, and by the kit in tests.
#[async_trait]
pub trait SinkRuntime: Send + Sync {
    /// The errant record reporter: this record of the batch is bad. It is tolerated, logged and sent to the dead
    /// letter queue, or it fails the task, as `errors.tolerance` says; its offset is not committed before that is
    /// settled. May be called later than `put`, by a sink that bisects.
    fn report(&self, batch: &Arc<SinkBatch>, index: usize, error: ConnectError);

    /// Commits now; refused for a stale member. The runtime repeats an open `intent` (a short JSON text kept in the
    /// commit metadata) until the committed offset passes it.
    async fn commit(&self, tp: &TopicPartition, offset: i64, intent: Option<&str>) -> Result<()>;

    /// Asks for a flush and commit at the next opportunity instead of the next tick.
    fn request_flush(&self);

    /// Takes no more records of these partitions until they are resumed.
    fn pause(&self, partitions: &[TopicPartition]);

    /// Takes records of these partitions again.
    fn resume(&self, partitions: &[TopicPartition]);
}

/// Writes to an outside system. All calls come from the task's own thread, one after another.
#[async_trait]
pub trait SinkTask: Send {
    /// Before anything else.
    async fn start(&mut self, context: SinkContext) -> Result<()>;

    /// The task owns these partitions now, besides those it had.
    async fn open(&mut self, _assigned: &[Assigned]) -> Result<Seeks> {
        Ok(Seeks::new())
    }

    /// Takes a batch. After a `Retriable` error the partitions pause and the same `Arc` comes again. After a `Data` error
    /// with `errors.tolerance=all` its records come again in halves, in their order, until the bad one is alone: good
    /// ones before it may come twice. A sink that knows which record is bad reports it instead and spares itself that.
    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()>;

    /// Makes everything put so far durable, up to `upto`, and answers what is safe to commit: never more than is
    /// durable. Java's `flush` and `preCommit` in one; the default suits sinks that write through. `upto` names the
    /// partitions it is about: all of the task's, or those that are about to be closed.
    ///
    /// After an error nothing that was put since the last commit counts, of any partition: a sink may keep what it holds,
    /// or drop it. `Retriable` and `Data`: the task rests as after a `put`, then all records behind the committed offsets
    /// (or behind the place where it began to read) come again, without `close` or `open` in between. `Config` and
    /// `Fatal`: the task fails, and its next start reads them again. Before `close` an error of any kind is only logged;
    /// whoever has the partitions next reads their records again.
    async fn flush(&mut self, upto: &Offsets) -> Result<Offsets> {
        Ok(upto.clone())
    }

    /// The task owns these partitions no longer; what was put for them has been flushed, unless they were lost or that
    /// failed.
    async fn close(&mut self, _partitions: &[TopicPartition]) -> Result<()> {
        Ok(())
    }

    /// After the last call.
    async fn stop(&mut self) -> Result<()> {
        Ok(())
    }
}
