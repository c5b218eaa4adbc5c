//! Carries out what the pure core decides: threads of connectors, tasks, and the clocks that watch them.
//!
//! Nothing here waits. A thread that does not answer in time is reported; one that does not stop in time is left to
//! itself, which costs its thread and nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pipette_api::{ConfigMap, ConnectError, ErrorKind, TaskId, Wish};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::event::{Effect, Event, InstanceNews};
use super::instance::{self, Ask, Start};
use super::meters::describe;
use super::state::State;
use super::{Parts, TaskDoor, spec};
use crate::plugins::ConnectorPlugin;
use crate::settings::secrets::Secrets;
use crate::store::{ConnectorStore, NewPlan};
use crate::task::report::{Failure, Trace};
use crate::task::watchdog::Trouble;
use crate::task::{TaskNews, TaskReport};

/// What comes back to the actor.
#[derive(Debug)]
pub(super) enum Inbox {
    /// A connector's thread says something.
    Said { name: Arc<str>, number: u64, news: InstanceNews },
    /// What a connector has planned is stored, or cannot be.
    Kept { name: Arc<str>, keeping: u64, number: u64, kept: Result<Vec<ConfigMap>, Trace> },
    /// A call into a connector takes too long.
    Overdue { name: Arc<str>, number: u64, call: &'static str },
    /// A connector did not stop in time; since when it was to.
    ConnectorLate { name: Arc<str>, number: u64, since: SystemTime },
    /// A task did not stop in time.
    TaskLate { id: TaskId, start: u64 },
}

pub(super) struct Lifecycle {
    parts: Arc<Parts>,
    inbox: mpsc::UnboundedSender<Inbox>,
    reports: mpsc::UnboundedSender<TaskReport>,
    connectors: HashMap<Arc<str>, Instance>,
    tasks: HashMap<TaskId, (u64, TaskDoor)>,
    /// What the placeholders of each connector stand for: it is in no status and in no log.
    secrets: HashMap<Arc<str>, Secrets>,
    /// How many tasks a connector has had at most: those it has no more may be at work all the same, left to themselves.
    most: HashMap<Arc<str>, usize>,
    /// The last plan of a connector on its way to the store; a newer one takes its place.
    keeping: HashMap<Arc<str>, (u64, watch::Sender<()>)>,
    last_keeping: u64,
}

/// A connector's thread as seen from here. Dropping it leaves the thread to itself.
struct Instance {
    number: u64,
    asks: mpsc::UnboundedSender<Ask>,
    wish: watch::Sender<Wish>,
    clock: Option<AbortHandle>,
    hung: bool,
}

impl Lifecycle {
    pub(super) fn new(
        parts: Arc<Parts>,
        inbox: mpsc::UnboundedSender<Inbox>,
        reports: mpsc::UnboundedSender<TaskReport>,
    ) -> Self {
        Self {
            parts,
            inbox,
            reports,
            connectors: HashMap::new(),
            tasks: HashMap::new(),
            secrets: HashMap::new(),
            most: HashMap::new(),
            keeping: HashMap::new(),
            last_keeping: 0,
        }
    }

    /// How many tasks of a connector an earlier worker has left behind.
    pub(super) fn remember(&mut self, name: &Arc<str>, tasks: usize) {
        self.most.insert(Arc::clone(name), tasks);
    }

    pub(super) fn carry_out(&mut self, state: &State, effect: Effect) {
        match effect {
            Effect::StartConnector(name, number) => self.start_connector(state, &name, number),
            Effect::Plan(name, number) => self.plan(&name, number),
            Effect::StopConnector(name, number) => self.stop_connector(&name, number),
            Effect::StartTask(id, start, wish) => self.start_task(state, &id, start, wish),
            Effect::Wish(id, start, wish) => {
                if let Some((_, door)) = self.tasks.get(&id).filter(|task| task.0 == start) {
                    door(wish);
                }
            }
            Effect::StopTask(id, start) => self.stop_task(id, start),
        }
    }

    /// The connector that an entry of the inbox is about, if it has not come back from `stop`.
    pub(super) fn hung_in_stop(&self, inbox: &Inbox) -> Option<(Arc<str>, Trouble)> {
        let Inbox::ConnectorLate { name, number, since } = inbox else { return None };
        let instance = self.connectors.get(name).filter(|instance| instance.number == *number && !instance.hung)?;
        (!instance.asks.is_closed()).then(|| (Arc::clone(name), Trouble::Hung { inside: "stop", since: *since }))
    }

    /// What an entry of the inbox means for the core; `None` when it has been overtaken.
    pub(super) fn receive(&mut self, inbox: Inbox, state: &State) -> Option<Event> {
        match inbox {
            Inbox::Said { name, number, news } => {
                let news = match news {
                    InstanceNews::Failed(trace) => InstanceNews::Failed(self.hidden(&name, trace)),
                    InstanceNews::Troubled(trace) => InstanceNews::Troubled(self.hidden(&name, trace)),
                    other => other,
                };
                self.said(&name, number, &news);
                match news {
                    InstanceNews::Planned(tasks) if self.parts.connectors.keeps_plans() => {
                        self.planned(state, name, number, tasks)
                    }
                    news => Some(Event::Instance { name, number, news }),
                }
            }
            Inbox::Kept { name, keeping, number, kept } => {
                self.keeping.get(&name).filter(|(last, _)| *last == keeping)?;
                self.keeping.remove(&name);
                let news = kept.map_or_else(InstanceNews::Troubled, InstanceNews::Planned);
                Some(Event::Instance { name, number, news })
            }
            Inbox::Overdue { name, number, call } => {
                let instance = self.connectors.get_mut(&name).filter(|instance| instance.number == number)?;
                instance.hung = true;
                let text = format!(
                    "Connector {name} has not returned from {call} within {:?}. It is left alone; it can be restarted \
                     or deleted.",
                    self.parts.deadlines.call
                );
                tracing::error!(connector = %name, stage = %call, "Connector hangs: its plugin does not return");
                let trace = Trace::of_hung(call, &text);
                Some(Event::Instance { name, number, news: InstanceNews::Troubled(trace) })
            }
            Inbox::ConnectorLate { name, number, .. } => {
                if self.connectors.get(&name).is_some_and(|instance| instance.number == number) {
                    tracing::warn!(connector = %name, "Connector did not stop in time and is left to itself");
                    self.connectors.remove(&name);
                }
                Some(Event::Instance { name, number, news: InstanceNews::Gone })
            }
            Inbox::TaskLate { id, start } => {
                if self.tasks.get(&id).is_some_and(|task| task.0 == start) {
                    tracing::warn!(
                        connector = %id.connector,
                        task = id.task,
                        "Task did not stop in time and is left to itself"
                    );
                    self.tasks.remove(&id);
                }
                Some(Event::Abandoned(id, start))
            }
        }
    }

    fn hidden(&self, name: &str, mut trace: Trace) -> Trace {
        if let Some(secrets) = self.secrets.get(name) {
            trace.hide(secrets);
        }
        trace
    }

    /// Forgets a task that has ended, and gives its report without secrets.
    pub(super) fn note_report(&mut self, mut report: TaskReport) -> TaskReport {
        match (&mut report.news, self.secrets.get(&report.id.connector)) {
            (TaskNews::Failed { trace }, Some(secrets)) => trace.hide(secrets),
            (TaskNews::Waiting { trace }, Some(secrets)) => secrets.hide_in(trace),
            (TaskNews::Trouble(Some(trouble)), Some(secrets)) => trouble.hide(secrets),
            _ => {}
        }
        let ended = matches!(report.news, TaskNews::Failed { .. } | TaskNews::Stopped);
        if ended && self.tasks.get(&report.id).is_some_and(|task| task.0 == report.start) {
            self.tasks.remove(&report.id);
        }
        report
    }

    fn start_connector(&mut self, state: &State, name: &Arc<str>, number: u64) {
        let Some(connector) = state.get(name) else { return };
        let Some(plugin) = connector.plugin else { return };
        let (asks, asked) = mpsc::unbounded_channel();
        let (wish, wished) = watch::channel(Wish::Run);
        let start = Start {
            name: Arc::clone(name),
            config: Arc::clone(&connector.config),
            plugin,
            shared: connector.shared.clone(),
            wish: wished,
        };
        let (inbox, of) = (self.inbox.clone(), Arc::clone(name));
        let say = move |news| drop(inbox.send(Inbox::Said { name: Arc::clone(&of), number, news }));
        tracing::info!(connector = %name, "Connector starts");
        self.secrets.retain(|name, _| state.get(name).is_some());
        let resolved = self.parts.worker.providers.resolve_and_tell(&connector.config);
        let spawned = resolved.and_then(|(config, secrets)| {
            self.secrets.insert(Arc::clone(name), secrets);
            instance::spawn(&self.parts, start, config, asked, Box::new(say))
        });
        if let Err(error) = spawned {
            let news = InstanceNews::Failed(Trace::of_connector(name, "start", &error));
            self.send(Inbox::Said { name: Arc::clone(name), number, news });
        }
        let clock = self.watch_call(name, number, "start");
        self.connectors.insert(Arc::clone(name), Instance { number, asks, wish, clock: Some(clock), hung: false });
    }

    fn plan(&mut self, name: &Arc<str>, number: u64) {
        let clock = self.watch_call(name, number, "task_configs");
        if let Some(instance) = self.connectors.get_mut(name).filter(|instance| instance.number == number) {
            // A thread that has ended says so itself.
            let _ = instance.asks.send(Ask::Plan);
            instance.clock.replace(clock).inspect(AbortHandle::abort);
        }
    }

    fn stop_connector(&mut self, name: &Arc<str>, number: u64) {
        let Some(instance) = self.connectors.get_mut(name).filter(|instance| instance.number == number) else {
            return;
        };
        instance.wish.send_replace(Wish::Stop);
        let _ = instance.asks.send(Ask::Stop);
        instance.clock.take().inspect(AbortHandle::abort);
        let grace = if instance.hung { Duration::ZERO } else { self.parts.worker.grace };
        self.after(grace, Inbox::ConnectorLate { name: Arc::clone(name), number, since: SystemTime::now() });
    }

    /// A plan that changes something counts when it is stored.
    fn planned(&mut self, state: &State, name: Arc<str>, number: u64, tasks: Vec<ConfigMap>) -> Option<Event> {
        let connector = state.get(&name)?;
        let plugin = connector.plugin?;
        let is_known = connector.tasks.iter().map(|task| &*task.config).eq(&tasks);
        if is_known && !self.keeping.contains_key(&name) {
            return Some(Event::Instance { name, number, news: InstanceNews::Planned(tasks) });
        }
        self.last_keeping += 1;
        let (sender, overtaken) = watch::channel(());
        self.keeping.insert(Arc::clone(&name), (self.last_keeping, sender));
        let (of, class) = (Arc::clone(&connector.config), plugin.task_class());
        let is_source = matches!(plugin, ConnectorPlugin::Source(_));
        let plan = NewPlan { name: Arc::clone(&name), of, tasks, class, is_source };
        let (store, inbox, keeping) = (Arc::clone(&self.parts.connectors), self.inbox.clone(), self.last_keeping);
        tokio::spawn(async move {
            if let Some(kept) = keep(&*store, &plan, overtaken).await {
                let kept =
                    kept.map(|()| plan.tasks).map_err(|error| Trace::of_connector(&name, "task_configs", &error));
                // The actor may have ended meanwhile.
                let _ = inbox.send(Inbox::Kept { name, keeping, number, kept });
            }
        });
        None
    }

    fn said(&mut self, name: &Arc<str>, number: u64, news: &InstanceNews) {
        let Some(instance) = self.connectors.get_mut(name).filter(|instance| instance.number == number) else {
            return;
        };
        if !matches!(news, InstanceNews::Changed) {
            instance.clock.take().inspect(AbortHandle::abort);
            instance.hung = false;
        }
        match news {
            InstanceNews::Failed(trace) | InstanceNews::Troubled(trace) => {
                tracing::error!(connector = %name, error = %trace.first_line(), "Connector failed");
            }
            InstanceNews::Gone => tracing::info!(connector = %name, "Connector stopped"),
            InstanceNews::Started | InstanceNews::Planned(_) | InstanceNews::Changed => {}
        }
        if matches!(news, InstanceNews::Failed(_) | InstanceNews::Gone) {
            self.connectors.remove(name);
        }
    }

    fn start_task(&mut self, state: &State, id: &TaskId, start: u64, wish: Wish) {
        let (Some(connector), Some(task)) = (state.get(&id.connector), state.task(id)) else { return };
        let Some(plugin) = connector.plugin else { return };
        let most = self.most.entry(Arc::clone(&id.connector)).or_default();
        *most = connector.tasks.len().max(*most);
        let gone = if id.task == 0 { connector.tasks.len()..*most } else { 0..0 };
        match spec::task(&self.parts, id, plugin, &task.config, connector.shared.clone(), gone) {
            Ok(spec) => {
                tracing::info!(connector = %id.connector, task = id.task, "Task starts");
                describe(&self.parts.metrics, &spec, plugin);
                let door = (self.parts.tasks)(spec, start, wish, self.reports.clone());
                self.tasks.insert(id.clone(), (start, door));
            }
            Err(error) => {
                let trace = self.hidden(&id.connector, Failure::new("start", error).trace(id));
                tracing::error!(connector = %id.connector, task = id.task, error = %trace.first_line(), "Task failed");
                let report = TaskReport { id: id.clone(), start, news: TaskNews::Failed { trace } };
                // The actor holds the other end as long as this runs.
                let _ = self.reports.send(report);
            }
        }
    }

    fn stop_task(&mut self, id: TaskId, start: u64) {
        if let Some((_, door)) = self.tasks.get(&id).filter(|task| task.0 == start) {
            door(Wish::Stop);
        }
        self.after(self.parts.worker.grace, Inbox::TaskLate { id, start });
    }

    fn watch_call(&self, name: &Arc<str>, number: u64, call: &'static str) -> AbortHandle {
        self.after(self.parts.deadlines.call, Inbox::Overdue { name: Arc::clone(name), number, call })
    }

    fn after(&self, wait: Duration, message: Inbox) -> AbortHandle {
        let inbox = self.inbox.clone();
        let clock = tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            // The actor may have ended meanwhile.
            let _ = inbox.send(message);
        });
        clock.abort_handle()
    }

    fn send(&self, message: Inbox) {
        // The actor holds the other end as long as this runs.
        let _ = self.inbox.send(message);
    }
}

/// How long a store that did not take a plan is left alone.
const KEEP_AGAIN: Duration = Duration::from_secs(1);

/// Stores a plan, however long that takes; `None` when a newer one has taken its place.
async fn keep(
    store: &dyn ConnectorStore,
    plan: &NewPlan,
    mut overtaken: watch::Receiver<()>,
) -> Option<pipette_api::Result<()>> {
    let mut told = false;
    loop {
        let error = match store.put_plan(plan).await {
            Err(error) if error.kind() == ErrorKind::Retriable => error,
            // A plan that is too large is so by its configuration.
            Err(error) if error.kind() == ErrorKind::Data => return Some(Err(ConnectError::config(error.chain()))),
            kept => return Some(kept),
        };
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(connector = %plan.name, error = error.chain(), "Tasks wait until their plan is stored");
        }
        if tokio::time::timeout(KEEP_AGAIN, overtaken.changed()).await.is_ok() {
            return None;
        }
    }
}
