//! The herder: keeps the connectors of this worker running as they are wanted.
//!
//! An actor on the front runtime. `handle.rs` is its door, `state.rs` decides, `lifecycle.rs` carries out; plugin code
//! runs on threads of its own (`instance.rs`, tasks, `aside.rs`) and never here, so nothing a plugin does holds it up.
//! `healing.rs` restarts what has failed.

pub mod aside;
mod chain_checks;
mod claim_checks;
mod client_keys;
pub mod event;
pub mod form;
pub mod handle;
mod healing;
mod instance;
mod letter_checks;
mod lifecycle;
mod meters;
pub mod offsets;
pub mod part_keys;
mod recorder;
mod replays;
pub mod restarts;
mod size_checks;
pub mod preview;
pub mod probe;
mod spec;
pub mod state;
#[cfg(test)]
#[path = "../tests/sim/herder.rs"]
mod simulation;
#[cfg(test)]
mod state_tests;
pub mod status;
pub mod validate;
pub mod version;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use pipette_api::{ConfigMap, ErrorKind, Offsets, Result, TopicPartition, Wish, async_trait};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use self::event::Event;
use self::handle::{Act, Command, Done, HerderError, HerderHandle, Stage, View};
use self::healing::Healing;
use self::lifecycle::{Inbox, Lifecycle};
use self::meters::Meters;
use self::state::State;
use self::status::Condition;
use crate::kafka::properties::ClientProperties;
use crate::metrics::WorkerMetrics;
use crate::plugins::Plugins;
use crate::settings::worker::WorkerConfig;
use crate::store::configs::TopicConnectors;
use crate::store::files::folders::PluginFolders;
use crate::store::statuses::TopicStatuses;
use crate::store::stores::OffsetStores;
use crate::store::{ConnectorStore, Plan, StoredConnector, TargetState};
use crate::task::spec::TaskSpec;
use crate::task::used::UsedTopics;
use crate::task::watchdog::Trouble;
use crate::task::{TaskEnvironment, TaskReport, thread};

/// What the herder is made of.
pub struct Parts {
    /// The worker's configuration.
    pub worker: Arc<WorkerConfig>,
    /// `host:port`, shown in statuses.
    pub worker_id: Arc<str>,
    /// The plugins.
    pub plugins: Plugins,
    /// Where connectors are kept.
    pub connectors: Arc<dyn ConnectorStore>,
    /// What there is beside, when they are kept in Kafka.
    pub kafka: Option<KafkaState>,
    /// Where source offsets are kept.
    pub offsets: Arc<OffsetStores>,
    /// Where sinks' offsets are asked for.
    pub sink_offsets: Arc<dyn SinkOffsets>,
    /// The topics that connectors have used.
    pub used: Arc<UsedTopics>,
    /// Where plugins keep files.
    pub folders: Arc<PluginFolders>,
    /// Starts tasks.
    pub tasks: TaskStarter,
    /// Where connectors publish their metrics.
    pub metrics: Arc<WorkerMetrics>,
    /// The runtime for shared clients, handed to connectors.
    pub io: Handle,
    /// How long plugins may take.
    pub deadlines: Deadlines,
}

/// What is kept in Kafka beside offsets.
#[derive(Clone)]
pub struct KafkaState {
    /// The store of connectors once more: it knows whether this worker may run them.
    pub connectors: Arc<TopicConnectors>,
    /// Where statuses are written.
    pub statuses: Arc<TopicStatuses>,
}

/// Asks Kafka what a sink's consumer group has committed, and changes it. Implemented by `src/kafka/`, and by fakes in tests.
#[async_trait]
pub trait SinkOffsets: Send + Sync {
    /// The committed offsets of the group in these librdkafka properties: every partition of the group.
    async fn committed(&self, consumer: ClientProperties) -> Result<Offsets>;

    /// Commits offsets for the group, or takes away those that are `None`. A group with members refuses.
    async fn alter(&self, consumer: ClientProperties, offsets: BTreeMap<TopicPartition, Option<i64>>) -> Result<()>;

    /// Takes the group away with all it has committed. A group that is not there is gone already; one with members refuses.
    async fn reset(&self, consumer: ClientProperties) -> Result<()>;
}

/// Tells a task what is wanted. Dropping it asks the task to stop.
pub type TaskDoor = Box<dyn Fn(Wish) + Send>;

/// Starts a task; returns at once. A test seam: production uses [`real_tasks`].
pub type TaskStarter = Arc<dyn Fn(TaskSpec, u64, Wish, mpsc::UnboundedSender<TaskReport>) -> TaskDoor + Send + Sync>;

/// Tasks on threads of their own.
pub fn real_tasks(environment: TaskEnvironment) -> TaskStarter {
    Arc::new(move |spec, start, wish, reports| {
        let handle = thread::spawn(spec, start, wish, environment.clone(), reports);
        Box::new(move |wish| handle.wish(wish))
    })
}

/// How long plugin code may take before it is reported as hung. Stopping has `task.shutdown.graceful.timeout.ms`.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// A validation or a question.
    pub aside: Duration,
    /// `start` or `task_configs` of a connector.
    pub call: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { aside: Duration::from_secs(10), call: Duration::from_secs(20) }
    }
}

/// `initial_state` of a new connector, in any case.
pub fn initial_state(text: &str) -> std::result::Result<TargetState, String> {
    match text.to_ascii_uppercase().as_str() {
        "RUNNING" => Ok(TargetState::Started),
        "PAUSED" => Ok(TargetState::Paused),
        "STOPPED" => Ok(TargetState::Stopped),
        _ => Err(format!("initial_state is \"{text}\"; it can be RUNNING, PAUSED or STOPPED")),
    }
}

/// Starts the herder on the runtime this is called on. Connectors kept in the store are started as they are wanted.
pub fn start(parts: Parts) -> HerderHandle {
    let parts = Arc::new(parts);
    let (commands, asked) = mpsc::channel(256);
    let (view, viewed) = watch::channel(View { state: State::default(), stage: Stage::Starting });
    let (inbox, news) = mpsc::unbounded_channel();
    let (reports, reported) = mpsc::unbounded_channel();
    let lifecycle = Lifecycle::new(Arc::clone(&parts), inbox, reports);
    let meters = Meters::new(&parts.metrics, &parts.worker_id);
    let healing = Healing::new(parts.worker.strict);
    let (parts_of_actor, state) = (Arc::clone(&parts), State::default());
    let actor = Actor { meters, parts: parts_of_actor, state, lifecycle, healing, view, closers: Vec::new() };
    tokio::spawn(actor.run(asked, news, reported));
    let recorded = parts.kafka.as_ref().map(|kafka| recorder::start(&parts, kafka, viewed.clone()));
    HerderHandle::new(parts, commands, viewed, recorded)
}

/// Every connector, as soon as there is an answer.
async fn read(parts: Arc<Parts>) -> Result<Vec<StoredConnector>> {
    loop {
        let read = async {
            if let Some(kafka) = &parts.kafka {
                kafka.statuses.open().await?;
            }
            parts.connectors.load().await
        };
        match read.await {
            Err(error) if error.kind() == ErrorKind::Retriable => {
                tracing::warn!(error = error.chain(), "Waiting for the connectors, which cannot be read yet");
                tokio::time::sleep(READ_AGAIN).await;
            }
            read => return read,
        }
    }
}

/// Resolves when another worker runs the connectors, and why.
async fn lost(seat: &mut Option<watch::Receiver<Option<Arc<str>>>>) -> Arc<str> {
    if let Some(seat) = seat
        && let Ok(why) = seat.wait_for(Option::is_some).await
        && let Some(why) = &*why
    {
        return Arc::clone(why);
    }
    std::future::pending().await
}

/// How long a store that does not answer is left alone.
const READ_AGAIN: Duration = Duration::from_secs(2);
/// How many commands may wait for the connectors to be read.
const EARLY: usize = 256;

/// Resolves at that time; never without one.
async fn until(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

struct Actor {
    parts: Arc<Parts>,
    state: State,
    lifecycle: Lifecycle,
    healing: Healing,
    meters: Meters,
    view: watch::Sender<View>,
    closers: Vec<oneshot::Sender<std::result::Result<Done, HerderError>>>,
}

impl Actor {
    async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut news: mpsc::UnboundedReceiver<Inbox>,
        mut reports: mpsc::UnboundedReceiver<TaskReport>,
    ) {
        let mut early = Vec::new();
        match self.load(&mut commands, &mut early).await {
            Ok(true) => self.view.send_modify(|view| view.stage = Stage::Ready),
            Ok(false) => return,
            Err(error) => {
                tracing::error!(error = error.chain(), "Cannot load the connectors");
                let why = format!("The worker could not load its connectors: {}", error.chain());
                self.view.send_modify(|view| view.stage = Stage::Broken(why.into()));
                return;
            }
        }
        for command in early {
            self.command(command).await;
        }
        let mut seat = self.parts.kafka.as_ref().map(|kafka| kafka.connectors.lost());
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => break,
                },
                Some(inbox) = news.recv() => {
                    let left = self.lifecycle.hung_in_stop(&inbox);
                    if let Some(event) = self.lifecycle.receive(inbox, &self.state) {
                        self.apply(event);
                    }
                    if let Some((name, trouble)) = left {
                        self.show_hung(&name, trouble);
                    }
                }
                Some(report) = reports.recv() => {
                    let report = self.lifecycle.note_report(report);
                    self.apply(Event::Task(report));
                }
                () = until(self.healing.next()) => self.heal(),
                why = lost(&mut seat) => {
                    seat = None;
                    self.stand_down(why);
                }
            }
            if !self.closers.is_empty() && self.state.is_quiet() {
                for reply in self.closers.drain(..) {
                    let _ = reply.send(Ok(Done { created: false, state: self.state.clone() }));
                }
            }
        }
    }

    /// Restarts what is due.
    fn heal(&mut self) {
        for part in self.healing.take_due() {
            tracing::info!(connector = %part.0, task = part.1, "Restarting what failed");
            self.meters.healed(&part.0, part.1);
            self.apply(healing::restart(part));
        }
    }

    /// Paused or stopped is what it was to be, and a plugin that did not return from it is told of beside that.
    fn show_hung(&mut self, name: &str, trouble: Trouble) {
        self.state.show(name, None, |status| {
            if matches!(status.condition, Condition::Paused | Condition::Stopped) {
                status.trouble = Some(trouble);
            }
        });
        self.view.send_modify(|view| view.state = self.state.clone());
    }

    /// Another worker runs the connectors: this one must not.
    fn stand_down(&mut self, why: Arc<str>) {
        tracing::error!(error = &*why, "Every connector stops");
        self.view.send_modify(|view| view.stage = Stage::Broken(why));
        self.apply(Event::Close);
    }

    /// Starts with the connectors of the store, whenever they can be read. False when the worker is closed before; other
    /// commands wait.
    async fn load(&mut self, commands: &mut mpsc::Receiver<Command>, early: &mut Vec<Command>) -> Result<bool> {
        let mut reading = pin!(read(Arc::clone(&self.parts)));
        let stored = loop {
            tokio::select! {
                stored = &mut reading => break stored?,
                command = commands.recv(), if early.len() < EARLY => match command {
                    Some(Command { act: Act::Close, reply }) => {
                        let _ = reply.send(Ok(Done { created: false, state: State::default() }));
                        return Ok(false);
                    }
                    Some(command) => early.push(command),
                    None => return Ok(false),
                },
            }
        };
        for StoredConnector { name, config, target } in stored {
            let Plan { tasks, fenced } = self.parts.connectors.plan(&name);
            self.lifecycle.remember(&name, fenced);
            // Apache's worker keeps in a plan what the connector says; the rest it finds in the connector's configuration.
            let tasks = tasks.into_iter().map(|task| config.clone().into_iter().chain(task).collect()).collect();
            let event = self.put_event(name, config, target, tasks);
            self.apply(event);
        }
        Ok(true)
    }

    fn put_event(&self, name: Arc<str>, config: ConfigMap, target: TargetState, tasks: Vec<ConfigMap>) -> Event {
        let class = config.get("connector.class").map_or("", String::as_str);
        let plugin = self.parts.plugins.connector(class);
        Event::Put { name, config, plugin, target, tasks }
    }

    /// Takes an event in, lets readers see it, and carries out what follows.
    fn apply(&mut self, event: Event) {
        self.meters.event(&self.state, &event);
        let before = self.state.clone();
        let effects = self.state.apply(event);
        self.healing.follow(&before, &mut self.state);
        self.meters.show(&before, &self.state);
        self.view.send_modify(|view| view.state = self.state.clone());
        for effect in effects {
            self.meters.effect(&effect);
            self.lifecycle.carry_out(&self.state, effect);
        }
    }

    async fn command(&mut self, Command { act, reply }: Command) {
        if let Act::Close = act {
            self.view.send_modify(|view| view.stage = Stage::Closing);
            self.apply(Event::Close);
            self.closers.push(reply);
            return;
        }
        let answer = self.act(act).await.map(|created| Done { created, state: self.state.clone() });
        // The client may have gone away meanwhile.
        let _ = reply.send(answer);
    }

    /// True when a connector was created.
    async fn act(&mut self, act: Act) -> std::result::Result<bool, HerderError> {
        match act {
            Act::Create(name, ..) if self.state.get(&name).is_some() => {
                Err(HerderError::Conflict(format!("Connector {name} already exists")))
            }
            Act::Create(name, config, target) => self.store(name, config, target).await.map(|()| true),
            Act::Put(name, config) => {
                let target = self.state.get(&name).map(|connector| connector.target);
                self.store(name, config, target.unwrap_or(TargetState::Started)).await.map(|()| target.is_none())
            }
            Act::Delete(name) => {
                self.known(&name, "Connector {} not found")?;
                self.parts.connectors.delete(&name).await?;
                self.parts.folders.forget(&name);
                self.apply(Event::Delete(name));
                Ok(false)
            }
            Act::Target(name, target) => {
                let config = self.known(&name, "Unknown connector {}")?;
                self.parts.connectors.put(&StoredConnector { name: Arc::clone(&name), config, target }).await?;
                self.apply(Event::Target(name, target));
                Ok(false)
            }
            Act::Restart { name, tasks, only_failed } => {
                self.known(&name, "Unknown connector: {}")?;
                self.apply(Event::Restart { name, tasks, only_failed });
                Ok(false)
            }
            Act::RestartTask(id) => {
                self.known(&id.connector, "Unknown connector: {}")?;
                if self.state.task(&id).is_none() {
                    return Err(HerderError::NotFound(format!("Unknown task: {id}")));
                }
                self.apply(Event::RestartTask(id));
                Ok(false)
            }
            Act::Ping | Act::Close => Ok(false),
        }
    }

    async fn store(
        &mut self,
        name: Arc<str>,
        config: ConfigMap,
        target: TargetState,
    ) -> std::result::Result<(), HerderError> {
        let stored = StoredConnector { name, config, target };
        self.parts.connectors.put(&stored).await?;
        let event = self.put_event(stored.name, stored.config, target, Vec::new());
        self.apply(event);
        Ok(())
    }

    /// The configuration of a connector, or "not found" in the words Java has for the request.
    fn known(&self, name: &str, words: &str) -> std::result::Result<ConfigMap, HerderError> {
        match self.state.get(name) {
            Some(connector) => Ok(ConfigMap::clone(&connector.config)),
            None => Err(HerderError::NotFound(words.replace("{}", name))),
        }
    }
}
