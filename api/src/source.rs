//! The source side: tasks that hand over batches.
//!
//! The worker's loop is `src/task/source.rs`; the toy of `tests/kit` shows the smallest complete source.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::context::{Context, TaskId};
use crate::error::Result;
use crate::position::OffsetReader;
use crate::record::SourceEntry;

/// What a source task is started with.
#[derive(Clone)]
pub struct SourceContext {
    /// What connectors and tasks have in common.
    pub common: Context,
    /// Which task this is.
    pub id: TaskId,
    /// The committed offsets of this connector.
    pub offsets: Arc<dyn OffsetReader>,
}

/// Reads an outside system. All calls come from the task's own thread, one after another.
#[async_trait]
pub trait SourceTask: Send {
    /// Before the first poll: reads offsets, opens files, connects. Errors of kind `Retriable` are tried again.
    async fn start(&mut self, context: SourceContext) -> Result<()>;

    /// Waits for data and returns a batch; returns soon, possibly with an empty batch, once
    /// `context.common.signal.recalled()` resolves (pause or stop). Never dropped half done before the graceful
    /// timeout, so a poll need not be cancel-safe.
    async fn poll(&mut self) -> Result<SourceBatch>;

    /// The connector is paused; the batches polled so far have run their hooks. No poll until `resume`.
    async fn pause(&mut self) {}

    /// Polls follow again.
    async fn resume(&mut self) {}

    /// After the last hook: what hooks queued (acknowledgements to send, files to move) is done here. No poll follows.
    async fn stop(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What a poll hands over.
#[derive(Debug, Default)]
pub struct SourceBatch {
    /// Records, side records, bare positions and bad input, in source order.
    pub entries: Vec<SourceEntry>,
    /// Runs when this batch and all before it are in Kafka, filtered or tolerated (exactly-once: the transaction is
    /// committed). MQTT acknowledges its packets here.
    pub acked: Option<Hook>,
    /// Runs when the offset store holds a position that covers the batch. Files move and delta tokens are confirmed
    /// here. A waiting `committed` makes the runtime commit within 100 ms instead of at the next flush tick.
    pub committed: Option<Hook>,
    /// Where a transaction ends, with `transaction.boundary=connector`.
    pub boundary: Boundary,
}

impl SourceBatch {
    /// Nothing to hand over.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A batch of entries without hooks.
    pub fn of(entries: Vec<SourceEntry>) -> Self {
        Self { entries, ..Self::default() }
    }

    /// True when there is nothing to do for it, hooks included.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.acked.is_none() && self.committed.is_none()
    }
}

/// Where a transaction of a source ends; read only with `transaction.boundary=connector`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Boundary {
    /// It goes on.
    #[default]
    Continue,
    /// It is committed behind this batch.
    Commit,
    /// It is aborted behind this batch.
    Abort,
}

/// Runs once, on the task's thread, in batch order. Synchronous and short: work that must wait goes to a channel that
/// the task reads in its next `poll`. A closure and not a method, because a waiting `poll` holds the task. If the task
/// ends first it never runs.
pub struct Hook(Box<dyn FnOnce() + Send>);

impl Hook {
    /// A hook.
    pub fn new(hook: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(hook))
    }

    /// Runs it.
    pub fn run(self) {
        (self.0)();
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}
