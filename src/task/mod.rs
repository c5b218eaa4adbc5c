//! Tasks: one OS thread each, with a runtime of its own. The herder starts and stops them; they report back.
//!
//! Read `source.rs` and `sink.rs` for the two loops, `ledger.rs` for when an offset may be committed, `guard.rs` for
//! what happens to a bad record, `stage/` for steps that wait for something outside, `transaction.rs` for exactly-once, `watchdog.rs` for tasks that hang or wait for Kafka,
//! `replay/` for dead letters on their way back.

pub mod chain;
pub mod codec;
pub mod commits;
pub mod dead_letters;
pub mod deliver;
pub mod door;
pub mod flush;
pub mod patience;
pub mod guard;
pub mod ledger;
pub mod outbox;
pub mod payload;
pub mod pieces;
pub mod progress;
pub mod pulse;
pub mod raw_input;
pub mod refusals;
pub mod repeats;
pub mod replay;
pub mod report;
pub mod retention;
pub mod sink;
pub mod source;
pub mod spec;
pub mod stage;
pub mod thread;
pub mod topics;
pub mod transaction;
pub mod used;
pub mod watchdog;
#[cfg(test)]
#[path = "tests/records.rs"]
pub(crate) mod records;
#[cfg(test)]
#[path = "tests/allocations.rs"]
mod allocations;

use std::sync::Arc;

use pipette_api::TaskId;
use tokio::runtime::Handle;

use self::report::Trace;
use self::used::UsedTopics;
use self::watchdog::{Trouble, Watchdog};
use crate::budget::Budget;
use crate::metrics::WorkerMetrics;
use crate::store::files::folders::PluginFolders;
use crate::store::stores::OffsetStores;

/// What tasks share with the rest of the worker.
#[derive(Clone)]
pub struct TaskEnvironment {
    /// The runtime for shared clients, handed to plugins as `io`.
    pub io: Handle,
    /// Where source offsets are kept.
    pub offsets: Arc<OffsetStores>,
    /// The worker's metrics.
    pub metrics: Arc<WorkerMetrics>,
    /// Sees tasks that do not get on.
    pub watchdog: Watchdog,
    /// The worker's memory.
    pub budget: Arc<Budget>,
    /// The topics that connectors have used.
    pub used: Arc<UsedTopics>,
    /// Where plugins keep files.
    pub folders: Arc<PluginFolders>,
}

/// News of a task for the herder.
#[derive(Debug)]
pub struct TaskReport {
    /// Which task.
    pub id: TaskId,
    /// Which start of it: reports of an earlier start are old news.
    pub start: u64,
    /// What happened.
    pub news: TaskNews,
}

/// What happened to a task.
#[derive(Debug)]
pub enum TaskNews {
    /// It polls or puts.
    Running,
    /// It has not begun: the plugin says that trying again helps.
    Waiting {
        /// Why, for people.
        trace: String,
    },
    /// It is paused; its batches have run their hooks.
    Paused,
    /// It has ended with an error.
    Failed {
        /// Why.
        trace: Trace,
    },
    /// Something keeps it from its work, or does so no more; it neither failed nor ended.
    Trouble(Option<Trouble>),
    /// It has ended because it was asked to.
    Stopped,
}
