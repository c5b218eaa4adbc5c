//! The bench a task is clamped into: a current-thread runtime, a signal that the test controls, and every context.
//!
//! [`crate::SourceHarness`] and [`crate::SinkHarness`] stand on it; tests of a connector's planning half use it directly.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pipette_api::{
    ConfigMap, ConnectError, Connector, ConnectorContext, Context, Folder, Metrics, OffsetReader, Outage, Result, Room,
    Shared, Signal, SinkContext, SinkRuntime, SourceContext, TaskId, TransformContext, Wish,
};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::fakes::{MapOffsets, Numbers, Under};

/// How long anything may take before it counts as hung. Generous, because it is only ever waited for in full by a test
/// that fails.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Contexts for one connector, and the runtime its calls run on.
pub struct Bench {
    runtime: Runtime,
    wish: watch::Sender<Wish>,
    shared: Shared,
    folder: Folder,
    /// What the plugin counts.
    pub numbers: Arc<Numbers>,
}

impl Bench {
    /// A bench whose signal says run.
    pub fn new() -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| ConnectError::fatal("Cannot start a runtime for the test").because(error))?;
        Ok(Self {
            runtime,
            wish: watch::Sender::new(Wish::Run),
            shared: Shared::default(),
            folder: Folder::nowhere(),
            numbers: Arc::new(Numbers::default()),
        })
    }

    /// A bench whose plugins keep their files in a folder of the test.
    #[must_use]
    pub fn keeping(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Folder::new(Arc::new(Under(folder.into())));
        self
    }

    /// What connectors and tasks have in common.
    pub fn common(&self) -> Context {
        let registry: Arc<Numbers> = Arc::clone(&self.numbers);
        Context {
            connector: Arc::from("kit"),
            io: self.runtime.handle().clone(),
            signal: Signal::new(self.wish.subscribe()),
            shared: self.shared.clone(),
            metrics: Metrics::new(registry),
            folder: self.folder.clone(),
        }
    }

    /// The context of a connector.
    pub fn connector(&self, offsets: Arc<dyn OffsetReader>) -> ConnectorContext {
        ConnectorContext { common: self.common(), offsets }
    }

    /// The context of a source task.
    pub fn source(&self, task: usize, offsets: Arc<dyn OffsetReader>) -> SourceContext {
        SourceContext { common: self.common(), id: TaskId { connector: Arc::from("kit"), task }, offsets }
    }

    /// The context of a sink task.
    pub fn sink(&self, task: usize, runtime: Arc<dyn SinkRuntime>) -> SinkContext {
        SinkContext { common: self.common(), id: TaskId { connector: Arc::from("kit"), task }, runtime }
    }

    /// The context of steps that wait for something outside.
    pub fn transform(&self) -> TransformContext {
        let id = TaskId { connector: Arc::from("kit"), task: 0 };
        TransformContext { common: self.common(), id, room: Room::default(), outage: Outage::default() }
    }

    /// What the runtime wants from now on.
    pub fn wish(&self, wish: Wish) {
        self.wish.send_replace(wish);
    }

    /// Runs a call to its end; fatal when it has not ended at the deadline.
    pub fn run<F: Future>(&self, call: &str, future: F) -> Result<F::Output> {
        self.run_within(DEADLINE, call, future)
    }

    /// Runs a call to its end; fatal when it has not ended in time.
    pub fn run_within<F: Future>(&self, limit: Duration, call: &str, future: F) -> Result<F::Output> {
        let ended = self.runtime.block_on(async { tokio::time::timeout(limit, future).await });
        ended.map_err(|_| ConnectError::fatal(format!("{call} did not return within {limit:?}")))
    }

    /// Futures that were spawned and have not ended, after each has had the chance to end.
    pub fn spawned(&self) -> usize {
        let left = || self.runtime.metrics().num_alive_tasks();
        let settled = async {
            while left() > 0 {
                tokio::task::yield_now().await;
            }
        };
        // What is still there after a second will not go away by itself.
        let _ = self.run_within(Duration::from_secs(1), "what was spawned", settled);
        left()
    }

    /// What a connector plans for at most so many tasks, each laid over the connector's configuration as the worker does.
    pub fn plan(&self, mut connector: Box<dyn Connector>, config: &ConfigMap, max: usize) -> Result<Vec<ConfigMap>> {
        self.run("planning tasks", async {
            connector.start(self.connector(Arc::new(MapOffsets::default()))).await?;
            let planned = connector.task_configs(max).await;
            connector.stop().await;
            let lay = |task: ConfigMap| config.clone().into_iter().chain(task).collect();
            Ok(planned?.into_iter().map(lay).collect())
        })?
    }
}

/// The task of a harness.
pub(crate) fn running<T>(task: &mut Option<T>) -> Result<&mut T> {
    task.as_mut().ok_or_else(|| ConnectError::fatal("the test has not started the task"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_keep_their_files_in_the_folder_of_the_test_or_nowhere() {
        let root = std::env::temp_dir().join(format!("pipette-kit-{}", std::process::id()));
        let bench = Bench::new().unwrap().keeping(&root);
        let path = bench.transform().common.folder.within("a").path().unwrap();
        let is_made = path.as_ref().is_some_and(|path| path.is_dir());
        std::fs::remove_dir_all(&root).unwrap();
        assert!(is_made, "{path:?}");
        assert_eq!(Bench::new().unwrap().common().folder.path().unwrap(), None);
    }
}
