//! Replays of dead letters: which run, and what the last one of each connector has told.
//!
//! REST asks through `handle.rs`; the work is done by `task/replay/`, on threads that nobody waits for.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pipette_api::{Context, Signal, TaskId, Wish};
use tokio::sync::watch;

use super::handle::{HerderError, HerderHandle};
use super::spec;
use super::state::{Connector, Task};
use crate::kafka::properties;
use crate::plugins::ConnectorPlugin;
use crate::task::replay::report::{SharedReport, Wanted};
use crate::task::replay::{Replay, spawn};

/// By connector, the last one of each.
#[derive(Default)]
pub(super) struct Replays(Mutex<BTreeMap<String, Job>>);

struct Job {
    wish: watch::Sender<Wish>,
    report: SharedReport,
}

impl Job {
    fn stop(&self) {
        self.wish.send_replace(Wish::Stop);
    }
}

impl Replays {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the one of a connector that goes away.
    pub(super) fn forget(&self, connector: &str) {
        self.lock().remove(connector).inspect(Job::stop);
    }

    /// Stops all.
    pub(super) fn stop(&self) {
        self.lock().values().for_each(Job::stop);
    }
}

impl HerderHandle {
    /// Starts a replay of a connector's dead letters.
    pub async fn replay(&self, name: &str, wanted: Wanted) -> Result<SharedReport, HerderError> {
        // A connector that is deleted meanwhile would leave it behind.
        let _turn = self.turn(name).await?;
        let connector = self.planned(name).await?;
        let (plugin, task) = replayable(name, &connector)?;
        let (parts, id) = (self.parts(), TaskId { connector: name.into(), task: 0 });
        let spec = spec::task(parts, &id, plugin, &task.config, connector.shared.clone(), 0..0)
            .map_err(|error| HerderError::Bad(error.chain()))?;
        let Some(dead) = &spec.dead_letters else {
            return Err(HerderError::Bad(format!(
                "Connector {name} keeps no dead letters: errors.deadletterqueue.topic.name is not set"
            )));
        };
        let config = parts.worker.providers.resolve(&task.config)?;
        let mut reader = properties::consumer(&parts.worker.values, &config, &format!("connector-replay-{name}"), "")?;
        reader.insert("group.id".into(), format!("pipette-replay-{name}"));
        let report = SharedReport::new(&dead.topic.name, wanted.dry_run);
        let (wish, wished) = watch::channel(Wish::Run);
        {
            let mut jobs = self.replays().lock();
            if jobs.get(name).is_some_and(|job| job.report.is_running()) {
                return Err(HerderError::Conflict(format!(
                    "A replay of the dead letters of {name} is under way: look at it with GET, or stop it with DELETE"
                )));
            }
            jobs.insert(name.to_owned(), Job { wish, report: report.clone() });
        }
        let common = Context {
            connector: name.into(),
            io: parts.io.clone(),
            signal: Signal::new(wished),
            shared: connector.shared.clone(),
            metrics: parts.metrics.connector(name),
            // The tasks go on beside it, and theirs are theirs.
            folder: parts.folders.of(&id.connector).within("replay"),
        };
        spawn(Replay { spec, reader, wanted, common, report: report.clone() });
        Ok(report)
    }

    /// The last replay of a connector since the worker started.
    pub async fn last_replay(&self, name: &str) -> Result<SharedReport, HerderError> {
        self.connector(name).await?;
        let report = self.replays().lock().get(name).map(|job| job.report.clone());
        report.ok_or_else(|| HerderError::NotFound(format!("No dead letters of {name} were replayed since the start")))
    }

    /// Asks a replay to stop behind the letter it is at.
    pub async fn stop_replay(&self, name: &str) -> Result<(), HerderError> {
        self.last_replay(name).await?;
        self.replays().lock().get(name).inspect(|job| job.stop());
        Ok(())
    }
}

/// The sink and the task that letters go through, of a connector that can take any.
fn replayable<'c>(name: &str, connector: &'c Connector) -> Result<(ConnectorPlugin, &'c Task), HerderError> {
    let plugin = match connector.plugin {
        Some(plugin @ ConnectorPlugin::Sink(_)) => plugin,
        Some(ConnectorPlugin::Source(_)) => {
            return Err(HerderError::Bad(format!(
                "Connector {name} is a source: it reads its input itself and takes no letter back. The headers \
                 __connect.errors.source.partition and .source.offset of a letter say where the input is: mend it \
                 there, or write the record to its topic by hand"
            )));
        }
        None => {
            let text = format!("The connector.class of {name} is unknown to this worker");
            return Err(HerderError::Internal(text));
        }
    };
    let Some(task) = connector.tasks.first() else {
        return Err(HerderError::Conflict(format!(
            "Connector {name} has no tasks at the moment, so nobody knows how its sink is started: resume it, or \
             pause it (PUT /connectors/{name}/pause), first"
        )));
    };
    if !connector.is_planned() {
        return Err(HerderError::Conflict(format!(
            "The tasks of connector {name} are still those of its former configuration, which the replay would go \
             through: resume it if it is paused, look at its status if it failed, and ask again"
        )));
    }
    Ok((plugin, task))
}
