//! Transformations and predicates, one record at a time, in place: those that compute are synchronous, those that wait for
//! something outside are asynchronous.
//!
//! What makes several records of one, or one of several, is in [`crate::pieces`]. The worker's side of the asynchronous
//! ones is `src/task/stage/flight.rs`.

use async_trait::async_trait;

use crate::config::Key;
use crate::config::checks::{at_least, in_range};
use crate::context::{Context, TaskId};
use crate::error::Result;
use crate::outage::Outage;
use crate::position::Position;
use crate::record::Record;
use crate::room::Room;

/// What becomes of a record after a transformation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Keep,
    /// It is filtered; Java's `null`. Its offset advances all the same.
    Drop,
}

/// Which half of a record a `$Key`/`$Value` plugin works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The record key.
    Key,
    /// The record value.
    Value,
}

impl Side {
    /// The half of the record.
    pub fn of(self, record: &Record) -> &crate::data::Datum {
        match self {
            Self::Key => &record.key,
            Self::Value => &record.value,
        }
    }

    /// The half of the record, to change it.
    pub fn of_mut(self, record: &mut Record) -> &mut crate::data::Datum {
        match self {
            Self::Key => &mut record.key,
            Self::Value => &mut record.value,
        }
    }
}

/// A single message transformation. One instance per task and place in the chain, so caches need no lock.
pub trait Transform: Send {
    /// Changes the record in place. **On an error the record is unchanged** (law T3), because the runtime still needs
    /// it for a retry, the log and the dead letter queue.
    fn apply(&mut self, record: &mut Record) -> Result<Verdict>;
}

/// Decides whether a transformation sees a record.
pub trait Predicate: Send {
    /// True when the record matches.
    fn test(&self, record: &Record) -> bool;
}

/// How many calls of one [`AsyncTransform`] run at once; its definition lists it, the worker heeds it.
pub static MAX_IN_FLIGHT: Key<u32> = Key::new(
    "max.in.flight",
    "How many records this transformation works on at the same time. They leave in the order in which they came.",
)
.default("16")
.check(in_range::<1, 1024>);

/// How much the calls of one [`AsyncTransform`] may hold together; its definition lists it, the worker heeds it.
pub static MAX_IN_FLIGHT_BYTES: Key<u64> = Key::new(
    "max.in.flight.bytes",
    "How many bytes of memory the records in this transformation may take together. A single record that is larger goes \
     alone.",
)
.default("67108864")
.check(at_least::<1>);

/// What asynchronous transformations, expanders and collectors are made with, besides their settings (whose
/// [`Settings::reach`](crate::Settings::reach) is the door to files and hosts). Cheap to clone.
#[derive(Debug, Clone)]
pub struct TransformContext {
    /// The connector's name, the runtime for shared clients, what the runtime wants, shared values, metrics.
    pub common: Context,
    /// Which task it is for.
    pub id: TaskId,
    /// The worker's memory, for what is held beside the records.
    pub room: Room,
    /// Where a step that tries again by itself tells that what it waits for is away: the task's `health` shows it.
    pub outage: Outage,
}

/// Where a source has read a record: what a source sends again after a restart has the same place again.
#[derive(Debug, Clone, Copy)]
pub struct SourcePlace<'a> {
    /// Where the source goes on behind the record.
    pub position: &'a Position,
    /// What [`AsyncTransform::ordinal`] has answered for it.
    pub ordinal: u64,
}

/// A transformation that waits for something outside, such as an object store. One instance per task and place in the
/// chain. The runtime runs up to [`MAX_IN_FLIGHT`] calls of `apply` at the same time, also for records of different
/// batches, on the runtime of `context.common.io`; records leave in the order in which they came.
#[async_trait]
pub trait AsyncTransform: Send + Sync {
    /// Whether there is anything to do for this record. One that is not needed costs no future, and does not overtake the
    /// others. Called in the order of the records, on the task's thread: it must not wait.
    fn needs(&self, record: &Record) -> bool;

    /// How many bytes of memory a call holds at most, its record included: what [`MAX_IN_FLIGHT_BYTES`] and the worker's
    /// budget count for it. As large as the record, unless the transformation says otherwise (one that streams a payload
    /// holds a few parts of it).
    fn holds(&self, record: &Record) -> u64 {
        record.held()
    }

    /// Changes the record in place. **On an error the record is unchanged** (law T3): the runtime needs it for a retry
    /// (`Retriable`, as long as `errors.retry.timeout` says), the log and the dead letter queue. Only `Data` is the record's
    /// fault, which `errors.tolerance` skips: what is still away behind the retries fails the task. The future may be dropped
    /// at any await: at the end of a task that does not wait for it any longer. Its record is then read again by the next
    /// start, and `stop` takes away what the call has left outside.
    async fn apply(&self, record: &mut Record) -> Result<Verdict>;

    /// Which of the records with this position the next one is, for a transformation that names things by it: sources may
    /// use a position for several records. Called once for each record that is needed and has a position, however often its
    /// call is tried, in the order of the records, on the task's thread: it must not wait.
    fn ordinal(&self, _position: &Position) -> u64 {
        0
    }

    /// What the runtime calls: `apply`, unless the transformation wants to know where the record was read. The same holds
    /// for it. `None` in sinks, in previews, and where the source says no position.
    async fn apply_at(&self, record: &mut Record, _place: Option<SourcePlace<'_>>) -> Result<Verdict> {
        self.apply(record).await
    }

    /// After the last call of `apply` has ended or was dropped: takes away what a dropped one has left (half an upload).
    /// The runtime waits for it a few seconds.
    async fn stop(&self) {}
}
