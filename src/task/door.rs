//! What a sink plugin may ask of the runtime, and where its requests go: reports and flushes to the sink loop, the rest
//! straight to the consumer thread.

use std::sync::Arc;

use pipette_api::{ConnectError, Offsets, Result, SinkBatch, SinkRuntime, TopicPartition, async_trait};
use tokio::sync::{mpsc, oneshot};

use crate::kafka::consumer::{ConsumerCommand, ConsumerCommands};
use crate::kafka::intents;

/// A request for the sink loop.
#[derive(Debug)]
pub enum Request {
    /// This record of the batch is bad.
    Report {
        /// The batch.
        batch: Arc<SinkBatch>,
        /// Which record of it.
        index: usize,
        /// Why.
        error: ConnectError,
    },
    /// Flush and commit soon.
    Flush,
    /// The plugin has committed this itself.
    Committed {
        /// Of this partition.
        tp: TopicPartition,
        /// The next record to read.
        offset: i64,
    },
}

/// The runtime as the plugin sees it.
pub struct Door {
    /// To the sink loop.
    pub requests: mpsc::UnboundedSender<Request>,
    /// To the consumer thread.
    pub commands: ConsumerCommands,
}

fn gone() -> ConnectError {
    ConnectError::fatal("the task is ending: nothing can be committed any more")
}

#[async_trait]
impl SinkRuntime for Door {
    fn report(&self, batch: &Arc<SinkBatch>, index: usize, error: ConnectError) {
        // A loop that has ended commits nothing any more, so nobody misses the report.
        let _ = self.requests.send(Request::Report { batch: Arc::clone(batch), index, error });
    }

    async fn commit(&self, tp: &TopicPartition, offset: i64, intent: Option<&str>) -> Result<()> {
        let metadata = intent.map(intents::metadata).transpose()?;
        let (reply, answer) = oneshot::channel();
        let offsets = Offsets::from([(tp.clone(), offset)]);
        let command = ConsumerCommand::Commit(offsets, metadata, reply);
        self.commands.send(command).map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))?;
        let _ = self.requests.send(Request::Committed { tp: tp.clone(), offset });
        Ok(())
    }

    fn request_flush(&self) {
        let _ = self.requests.send(Request::Flush);
    }

    fn pause(&self, partitions: &[TopicPartition]) {
        let _ = self.commands.send(ConsumerCommand::Pause(partitions.to_vec()));
    }

    fn resume(&self, partitions: &[TopicPartition]) {
        let _ = self.commands.send(ConsumerCommand::Resume(partitions.to_vec()));
    }
}
