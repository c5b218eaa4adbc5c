//! The typed door to the herder. REST and the command line come in here.
//!
//! Reads look at the latest published view and wait for nobody; writes are commands with one reply.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pipette_api::{ConfigMap, ConnectError, ErrorKind, Plugin, TaskId};
use tokio::sync::{mpsc, oneshot, watch};

use super::aside::Aside;
use super::form::{self, Definition, Validation};
use super::preview::{self, Records, Trail};
use super::probe;
use super::replays::Replays;
use super::state::{Connector, State};
use super::status::Condition;
use super::validate::{Draft, validate};
use super::{Parts, version};
use crate::descriptors;
use crate::plugins::{ConnectorPlugin, Family};
use crate::settings::secrets::Secrets;
use crate::store::TargetState;

/// How long a request may wait for the herder, as in Apache's worker.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// How long a restart of a connector waits for it to run.
const RESTART: Duration = Duration::from_secs(5);

/// How long a close waits for the last statuses to be written.
const LAST_STATUS: Duration = Duration::from_secs(3);

/// Why a request fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HerderError {
    /// The request is wrong: 400.
    #[error("{0}")]
    Bad(String),
    /// There is no such thing: 404.
    #[error("{0}")]
    NotFound(String),
    /// It stands against what exists: 409.
    #[error("{0}")]
    Conflict(String),
    /// The worker or a plugin failed: 500.
    #[error("{0}")]
    Internal(String),
}

/// A store or a client failed.
impl From<ConnectError> for HerderError {
    fn from(error: ConnectError) -> Self {
        Self::Internal(descriptors::explained(error.chain()))
    }
}

/// What readers see.
#[derive(Debug, Clone)]
pub struct View {
    /// The state after the last event.
    pub state: State,
    /// Where the worker is.
    pub stage: Stage,
}

/// Where the worker is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Connectors are being loaded.
    Starting,
    /// Everything works.
    Ready,
    /// The connectors could not be loaded, and why.
    Broken(Arc<str>),
    /// The worker ends.
    Closing,
}

/// What the herder is asked to do.
#[derive(Debug)]
pub(super) enum Act {
    Create(Arc<str>, ConfigMap, TargetState),
    Put(Arc<str>, ConfigMap),
    Delete(Arc<str>),
    Target(Arc<str>, TargetState),
    Restart { name: Arc<str>, tasks: bool, only_failed: bool },
    RestartTask(TaskId),
    Ping,
    Close,
}

/// An act and who waits for it.
pub(super) struct Command {
    pub(super) act: Act,
    pub(super) reply: oneshot::Sender<Result<Done, HerderError>>,
}

/// What an act has led to.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) created: bool,
    /// The state right behind it, before anything that follows from it has happened.
    pub(super) state: State,
}

impl Done {
    fn connector(&self, name: &str) -> Result<Arc<Connector>, HerderError> {
        self.state.get(name).map(Arc::clone).ok_or_else(|| HerderError::NotFound(format!("Unknown connector: {name}")))
    }
}

/// Whose turn it is to change a connector: what takes a while, as a change of offsets does, holds up what comes next.
type Turns = Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>;

/// The door.
#[derive(Clone)]
pub struct HerderHandle {
    parts: Arc<Parts>,
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<View>,
    aside: Aside,
    replays: Arc<Replays>,
    turns: Arc<Turns>,
    /// Whether the last status is written, where statuses are.
    recorded: Option<watch::Receiver<bool>>,
}

impl HerderHandle {
    pub(super) fn new(
        parts: Arc<Parts>,
        commands: mpsc::Sender<Command>,
        view: watch::Receiver<View>,
        recorded: Option<watch::Receiver<bool>>,
    ) -> Self {
        let aside = Aside::new(parts.deadlines.aside);
        Self { parts, commands, view, aside, replays: Arc::default(), turns: Arc::default(), recorded }
    }

    /// Dead letters on their way back.
    pub(super) fn replays(&self) -> &Replays {
        &self.replays
    }

    /// Runs plugin code.
    pub(super) fn aside(&self) -> &Aside {
        &self.aside
    }

    /// What the herder is made of.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Where the worker is.
    pub fn stage(&self) -> Stage {
        self.view.borrow().stage.clone()
    }

    /// The connectors as they are now; waits until they have been loaded.
    pub async fn state(&self) -> Result<State, HerderError> {
        let mut view = self.view.clone();
        let loaded = view.wait_for(|view| view.stage != Stage::Starting);
        match tokio::time::timeout(PATIENCE, loaded).await {
            Err(_) => Err(timed_out()),
            Ok(Err(_)) => Err(ended()),
            Ok(Ok(view)) => match &view.stage {
                Stage::Broken(why) => Err(HerderError::Internal(why.to_string())),
                _ => Ok(view.state.clone()),
            },
        }
    }

    /// One connector.
    pub async fn connector(&self, name: &str) -> Result<Arc<Connector>, HerderError> {
        let state = self.state().await?;
        state.get(name).map(Arc::clone).ok_or_else(|| HerderError::NotFound(format!("Connector {name} not found")))
    }

    /// Creates a connector; its configuration is validated first.
    pub async fn create(&self, name: &str, draft: Draft, target: TargetState) -> Result<Arc<Connector>, HerderError> {
        let config = self.checked(name, draft).await?;
        self.ask(Act::Create(name.into(), config, target)).await?.connector(name)
    }

    /// Creates or replaces a connector; true when it was created.
    pub async fn put(&self, name: &str, draft: Draft) -> Result<(bool, Arc<Connector>), HerderError> {
        let _turn = self.turn(name).await?;
        self.put_in_turn(name, draft).await
    }

    async fn put_in_turn(&self, name: &str, draft: Draft) -> Result<(bool, Arc<Connector>), HerderError> {
        let config = self.checked(name, draft).await?;
        let done = self.ask(Act::Put(name.into(), config)).await?;
        Ok((done.created, done.connector(name)?))
    }

    /// Changes some keys of a connector, takes away those that are null.
    pub async fn patch(&self, name: &str, changes: Draft) -> Result<Arc<Connector>, HerderError> {
        let _turn = self.turn(name).await?;
        let connector = self.connector(name).await?;
        let mut draft: Draft = connector.config.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        if changes.get("name").is_some_and(Option::is_none) {
            return Err(invalid(1, &["Missing required configuration \"name\" which has no default value."]));
        }
        for (key, value) in changes {
            match value {
                Some(_) => draft.insert(key, value),
                None => draft.remove(&key),
            };
        }
        self.put_in_turn(name, draft).await.map(|(_, connector)| connector)
    }

    /// Takes a connector away; its offsets stay.
    pub async fn delete(&self, name: &str) -> Result<(), HerderError> {
        let _turn = self.turn(name).await?;
        self.ask(Act::Delete(name.into())).await?;
        self.replays.forget(name);
        self.parts.used.forget(name);
        Ok(())
    }

    /// Pauses, resumes or stops.
    pub async fn target(&self, name: &str, target: TargetState) -> Result<(), HerderError> {
        let _turn = self.turn(name).await?;
        self.ask(Act::Target(name.into(), target)).await.map(drop)
    }

    /// Restarts a connector, with its tasks, or only what has failed; answers what is to restart. The connector alone has
    /// started again by then, as with Apache's worker, unless that takes long.
    pub async fn restart(&self, name: &str, tasks: bool, only_failed: bool) -> Result<Arc<Connector>, HerderError> {
        let turn = self.turn(name).await?;
        let connector = self.ask(Act::Restart { name: name.into(), tasks, only_failed }).await?.connector(name)?;
        drop(turn);
        if !tasks && !only_failed {
            let mut view = self.view.clone();
            let is_over = |view: &View| {
                view.state.get(name).is_none_or(|connector| connector.status.condition != Condition::Restarting)
            };
            drop(tokio::time::timeout(RESTART, view.wait_for(is_over)).await);
        }
        Ok(connector)
    }

    /// Restarts one task.
    pub async fn restart_task(&self, connector: &str, task: usize) -> Result<(), HerderError> {
        self.ask(Act::RestartTask(TaskId { connector: connector.into(), task })).await.map(drop)
    }

    /// Returns when the herder has got round to it: the proof that it answers.
    pub async fn ping(&self) -> Result<(), HerderError> {
        self.ask(Act::Ping).await.map(drop)
    }

    /// Stops every connector and task; returns when all have ended or were left to themselves, and others can read so.
    pub async fn close(&self) -> Result<(), HerderError> {
        self.replays.stop();
        self.ask(Act::Close).await?;
        if let Some(mut recorded) = self.recorded.clone()
            && tokio::time::timeout(LAST_STATUS, recorded.wait_for(|done| *done)).await.is_err()
        {
            tracing::warn!("The last statuses are not written: Kafka does not answer");
        }
        Ok(())
    }

    /// Resolves when the worker is of no use any more, and why.
    pub async fn broken(&self) -> Arc<str> {
        let mut view = self.view.clone();
        if let Ok(view) = view.wait_for(|view| matches!(view.stage, Stage::Broken(_))).await
            && let Stage::Broken(why) = &view.stage
        {
            return Arc::clone(why);
        }
        std::future::pending().await
    }

    /// Validates a configuration; the plugin's live check runs when everything else is fine.
    pub async fn validate(&self, draft: Draft) -> Result<Validation, HerderError> {
        self.validation(draft, true).await
    }

    /// Sends records through the chain of a configuration and tells what becomes of them.
    pub async fn preview(&self, draft: Draft, records: Records) -> Result<(Vec<Trail>, Secrets), HerderError> {
        let parts = Arc::clone(&self.parts);
        let config: ConfigMap = draft.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
        let code = move || preview::run(&parts.plugins, &parts.worker, &config, records);
        self.aside.call("preview", "The preview", code).await?.map_err(|error| match error.kind() {
            ErrorKind::Config | ErrorKind::Data => HerderError::Bad(error.chain()),
            ErrorKind::Retriable | ErrorKind::Fatal => HerderError::Internal(descriptors::explained(error.chain())),
        })
    }

    /// The keys of a plugin.
    pub fn definitions(&self, plugin: &str, wanted_version: Option<&str>) -> Result<Vec<Definition>, HerderError> {
        let Some(plugin) = self.parts.plugins.find_any(plugin) else {
            let hint = self.parts.plugins.did_you_mean(Family::Connector, plugin);
            return Err(HerderError::NotFound(format!("Unknown plugin {plugin}.{hint}")));
        };
        match wanted_version.map(|wanted| version::misfit(plugin.info(), wanted)) {
            Some(Ok(Some(misfit))) => Err(HerderError::Bad(misfit)),
            // The range without bounds, which Java finds nothing in.
            Some(Ok(None)) if wanted_version == Some("") => {
                Err(HerderError::Bad(version::misfit_text(plugin.info(), "[,]")))
            }
            Some(Err(_)) => {
                let wanted = wanted_version.unwrap_or_default();
                Err(HerderError::Bad(format!("Invalid version specification: {wanted}")))
            }
            None | Some(Ok(None)) => Ok(form::definitions(plugin)),
        }
    }

    /// The plugins, in order.
    pub fn plugins(&self) -> &[&'static Plugin] {
        self.parts.plugins.all()
    }

    /// The answer of a plugin to a question under `/connectors/{name}/`; `None` when it has no such question.
    pub async fn question(
        &self,
        name: &str,
        path: &str,
        query: BTreeMap<String, String>,
    ) -> Result<Option<String>, HerderError> {
        let connector = self.connector(name).await?;
        let questions = connector.plugin.map(ConnectorPlugin::questions).unwrap_or_default();
        let Some(question) = questions.iter().find(|question| question.path == path) else { return Ok(None) };
        let (shared, answer) = (connector.shared.clone(), question.answer);
        let what = format!("The answer of {name} to {path}");
        let span = tracing::error_span!("question", connector = %name);
        let answer = self.aside.call(name, &what, move || span.in_scope(|| answer(&shared, &query))).await?;
        answer.map(Some).map_err(|error| HerderError::Internal(error.chain()))
    }

    async fn validation(&self, draft: Draft, live: bool) -> Result<Validation, HerderError> {
        let parts = Arc::clone(&self.parts);
        let class = draft.get("connector.class").cloned().flatten().unwrap_or_default();
        let what = format!("The validation of a {class} configuration");
        let span = tracing::error_span!("validate", connector = draft.get("name").cloned().flatten());
        let code = move || {
            let _entered = span.entered();
            let checked = if live { probe::validate_live } else { validate };
            checked(&parts.plugins, &parts.worker, &draft)
        };
        self.aside.call(&class, &what, code).await?.map_err(HerderError::Bad)
    }

    /// A configuration that is valid and names its connector.
    async fn checked(&self, name: &str, mut draft: Draft) -> Result<ConfigMap, HerderError> {
        match draft.get("name") {
            Some(Some(other)) if other != name => {
                return Err(HerderError::Bad(format!(
                    "Connector name configuration ({other}) doesn't match connector name in the URL ({name})"
                )));
            }
            Some(Some(_)) => {}
            Some(None) | None => {
                draft.insert("name".into(), Some(name.to_owned()));
            }
        }
        let validation = self.validation(draft.clone(), false).await?;
        if validation.error_count > 0 {
            let errors: Vec<&str> = validation.errors().collect();
            return Err(invalid(validation.error_count, &errors));
        }
        Ok(draft.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
    }

    /// Waits for the turn of a connector; dropped, it is the next one's.
    pub(super) async fn turn(&self, name: &str) -> Result<tokio::sync::OwnedMutexGuard<()>, HerderError> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(name.to_owned()).or_default())
        };
        tokio::time::timeout(PATIENCE, turn.lock_owned()).await.map_err(|_| timed_out())
    }

    /// The same once its tasks follow from its configuration, which they do shortly behind a change; after a while as it is.
    pub(super) async fn planned(&self, name: &str) -> Result<Arc<Connector>, HerderError> {
        let mut view = self.view.clone();
        let planned = view.wait_for(|view| !view.state.get(name).is_some_and(|connector| connector.will_be_planned()));
        // Whoever asked is told by what is found then.
        let _ = tokio::time::timeout(self.parts.deadlines.aside, planned).await;
        self.connector(name).await
    }

    /// True once neither the connector nor a task of it is left on any thread; false after that long.
    pub(super) async fn idle(&self, name: &str, patience: Duration) -> bool {
        let mut view = self.view.clone();
        let idle = view.wait_for(|view| view.state.is_idle(name));
        tokio::time::timeout(patience, idle).await.is_ok_and(|idle| idle.is_ok())
    }

    async fn ask(&self, act: Act) -> Result<Done, HerderError> {
        let (reply, answer) = oneshot::channel();
        let asking = async {
            self.commands.send(Command { act, reply }).await.map_err(|_| self.gone())?;
            answer.await.map_err(|_| self.gone())?
        };
        tokio::time::timeout(PATIENCE, asking).await.map_err(|_| timed_out())?
    }

    fn gone(&self) -> HerderError {
        match self.stage() {
            Stage::Broken(why) => HerderError::Internal(why.to_string()),
            _ => ended(),
        }
    }
}

fn invalid(count: usize, errors: &[&str]) -> HerderError {
    HerderError::Bad(format!(
        "Connector configuration is invalid and contains the following {count} error(s):\n{}\nYou can also find the above \
         list of errors at the endpoint `/connector-plugins/{{connectorType}}/config/validate`",
        errors.join("\n")
    ))
}

pub(super) fn timed_out() -> HerderError {
    HerderError::Internal("Request timed out".into())
}

fn ended() -> HerderError {
    HerderError::Internal("The worker is shutting down".into())
}
