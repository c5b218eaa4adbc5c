//! Plugins that make several records of one, or one of several. They are configured as transformations are
//! (`transforms.<alias>.type`), but stand at one place only, outside of the converters: an [`Expand`] is the last of a
//! source, a [`Collect`] the first of a sink, so that both see bytes.

use async_trait::async_trait;

use crate::error::{ConnectError, Result};
use crate::position::Position;
use crate::record::{EncodedRecord, RawRecord, TopicPartition};

/// Makes several records of one, in Kafka's form: the last step of a source's chain. One instance per task. The pieces are
/// pulled one by one, while Kafka takes them: a payload of any size is never in memory as a whole. The source's position
/// is settled when the last piece is in Kafka.
#[async_trait]
pub trait Expand: Send {
    /// Whether this record is to be expanded; one that is not goes on as it is. `size` is that of its value in bytes,
    /// `None` when nobody knows it yet. Must not wait.
    fn needs(&self, topic: &str, size: Option<u64>) -> bool;

    /// Whether its pieces may go to a compacted topic, which keeps only the last record of each key. When not, the runtime
    /// looks at a topic before the first record for it is expanded, and a compacted one is the end of the task.
    fn takes_compacted(&self) -> bool {
        true
    }

    /// A record that is expanded next; whatever is left of the one before is of no interest any more. Its value is a
    /// [`Body::Payload`](crate::Body::Payload) where it was one before the converter and the converter hands bytes on as
    /// they are. `position` is where the source goes on behind it: the same record after a restart has the same.
    fn begin(&mut self, record: EncodedRecord, position: Option<&Position>) -> Result<()>;

    /// The next piece, `None` behind the last. After a `Retriable` error it is called again and goes on where it was; any
    /// other error ends the record, whose pieces so far stay in Kafka.
    async fn next(&mut self) -> Result<Option<EncodedRecord>>;
}

/// Makes one record of several, in Kafka's form: the first step of a sink's chain. One instance per task. Runs on the
/// task's thread, in the order of consumption.
pub trait Collect: Send {
    /// A partition is the task's. `note` is what [`Collect::floor`] gave beside the offset that is committed, if any.
    /// Comes again, behind a `revoked`, for a partition whose records are read again from there.
    fn assigned(&mut self, tp: &TopicPartition, note: Option<&str>) -> Result<()>;

    /// A record as consumed. Answers the record that it completes, or the same one when it is no piece; `None` while more
    /// is missing. The answer has the topic, partition and offset of the record that completed it.
    fn collect(&mut self, raw: RawRecord) -> Result<Option<RawRecord>>;

    /// The smallest offset of a partition that is still needed, because it is of something incomplete, and a text that is
    /// committed beside it (at most 3,000 bytes; a longer one is left out). No offset behind it is committed. What was
    /// completed by records before `upto` is durable in the sink, so that the text may say that it need not come again;
    /// what was completed by later ones may be lost yet. `None` when nothing is incomplete.
    fn floor(&self, tp: &TopicPartition, upto: i64) -> Option<(i64, String)>;

    /// What will never be complete, one after the other, asked for behind every batch: its first piece, which stands for it
    /// in the dead letter queue, and why. None of its pieces is needed any more.
    fn overdue(&mut self) -> Option<(RawRecord, ConnectError)> {
        None
    }

    /// Partitions are the task's no longer: whatever was kept of them goes.
    fn revoked(&mut self, partitions: &[TopicPartition]);
}
