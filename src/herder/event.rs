//! What the pure core of the herder is told, and what it answers.
//!
//! `state.rs` takes events in and says effects; `mod.rs` and `lifecycle.rs` stand at both ends.

use std::sync::Arc;

use pipette_api::{ConfigMap, TaskId, Wish};

use crate::plugins::ConnectorPlugin;
use crate::store::TargetState;
use crate::task::TaskReport;
use crate::task::report::Trace;

/// What happened, or what somebody asked for.
#[derive(Debug)]
pub enum Event {
    /// Creates or replaces a connector; validated and stored already.
    Put {
        /// The name.
        name: Arc<str>,
        /// As given.
        config: ConfigMap,
        /// The plugin, or why there is none.
        plugin: Result<ConnectorPlugin, String>,
        /// What is wanted of it.
        target: TargetState,
        /// The tasks that one which is new has from before the worker's start.
        tasks: Vec<ConfigMap>,
    },
    /// Takes a connector away.
    Delete(Arc<str>),
    /// Wants something else of a connector.
    Target(Arc<str>, TargetState),
    /// Restarts a connector, its tasks, or what of them has failed.
    Restart {
        /// Which connector.
        name: Arc<str>,
        /// Tasks as well.
        tasks: bool,
        /// Only what has failed.
        only_failed: bool,
    },
    /// Restarts one task.
    RestartTask(TaskId),
    /// A connector's thread says something.
    Instance {
        /// Which connector.
        name: Arc<str>,
        /// Which start of it.
        number: u64,
        /// What it says.
        news: InstanceNews,
    },
    /// A task says something.
    Task(TaskReport),
    /// A task did not stop in time and is left to itself.
    Abandoned(TaskId, u64),
    /// The worker ends: everything stops.
    Close,
}

/// News of a connector's thread.
#[derive(Debug)]
pub enum InstanceNews {
    /// `start` has returned.
    Started,
    /// It could not be made or started; the thread has ended.
    Failed(Trace),
    /// It runs, but a call failed or does not return.
    Troubled(Trace),
    /// Whole task configurations.
    Planned(Vec<ConfigMap>),
    /// It wants to plan again.
    Changed,
    /// It has stopped, or was left to itself.
    Gone,
}

/// What is to be done. Connector and task are found in the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Make and start a connector on a thread of its own.
    StartConnector(Arc<str>, u64),
    /// Ask it for task configurations.
    Plan(Arc<str>, u64),
    /// Stop it, or leave it to itself after a while; answer with `Gone`.
    StopConnector(Arc<str>, u64),
    /// Start a task.
    StartTask(TaskId, u64, Wish),
    /// Tell it what is wanted.
    Wish(TaskId, u64, Wish),
    /// Stop it, or answer with `Abandoned` after a while.
    StopTask(TaskId, u64),
}
