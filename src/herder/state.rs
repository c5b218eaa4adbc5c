//! The pure core of the herder: what is wanted, what exists, and what to do about the difference.
//!
//! `mod.rs` feeds events in and `lifecycle.rs` carries effects out; no clock, no threads, no runtime here. Connectors
//! say what is wanted; `instances` and `runs` are what exists on threads. After each event both are compared, so any
//! order of events converges: something new starts only when its predecessor has gone.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use pipette_api::{ConfigMap, Shared, TaskId, Wish};

use super::event::{Effect, Event, InstanceNews};
use super::status::{Condition, Status};
use crate::plugins::ConnectorPlugin;
use crate::store::TargetState;
use crate::task::report::Trace;
use crate::task::{TaskNews, TaskReport};

/// Everything the herder knows. Cheap to clone: readers get a copy after each event.
#[derive(Debug, Clone, Default)]
pub struct State {
    connectors: BTreeMap<Arc<str>, Arc<Connector>>,
    instances: BTreeMap<Arc<str>, Instance>,
    runs: BTreeMap<TaskId, Run>,
    last_number: u64,
    closing: bool,
}

/// A connector as it is wanted, with what is known of it.
#[derive(Debug, Clone)]
pub struct Connector {
    /// As given, `name` included.
    pub config: Arc<ConfigMap>,
    /// The plugin, `None` when its class is unknown to this worker.
    pub plugin: Option<ConnectorPlugin>,
    /// What is wanted of it.
    pub target: TargetState,
    /// Values shared by the connector, its tasks and its questions.
    pub shared: Shared,
    /// How the connector itself is.
    pub status: Status,
    /// Its tasks, from 0.
    pub tasks: Vec<Task>,
    /// The configuration that the tasks were planned from.
    planned_from: Option<Arc<ConfigMap>>,
    /// Which start of it is wanted.
    pub(super) wanted: u64,
}

impl Connector {
    /// Whether its tasks follow from its configuration as it is now.
    pub(super) fn is_planned(&self) -> bool {
        self.planned_from.as_ref() == Some(&self.config)
    }

    /// Whether a plan is on its way: it comes with the next start of the connector.
    pub(super) fn will_be_planned(&self) -> bool {
        !self.is_planned() && self.plugin.is_some() && self.target == TargetState::Started && !self.status.has_failed()
    }
}

/// A task as it is wanted.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its whole configuration.
    pub config: Arc<ConfigMap>,
    /// How it is.
    pub status: Status,
    /// Which start of it is wanted.
    pub(super) wanted: u64,
}

/// A connector on its thread.
#[derive(Debug, Clone)]
struct Instance {
    number: u64,
    stopping: bool,
}

/// A task on its thread.
#[derive(Debug, Clone)]
struct Run {
    number: u64,
    wish: Wish,
    stopping: bool,
}

impl State {
    /// The connectors by name.
    pub fn connectors(&self) -> &BTreeMap<Arc<str>, Arc<Connector>> {
        &self.connectors
    }

    /// One connector.
    pub fn get(&self, name: &str) -> Option<&Arc<Connector>> {
        self.connectors.get(name)
    }

    /// One task.
    pub fn task(&self, id: &TaskId) -> Option<&Task> {
        self.connectors.get(&id.connector)?.tasks.get(id.task)
    }

    /// True when no instance and no task is left on any thread.
    pub fn is_quiet(&self) -> bool {
        self.instances.is_empty() && self.runs.is_empty()
    }

    /// The same of one connector.
    pub fn is_idle(&self, name: &str) -> bool {
        !self.instances.contains_key(name) && self.runs.range(tasks_of(&name.into())).next().is_none()
    }

    /// Takes an event in and says what is to be done.
    pub fn apply(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Put { name, config, plugin, target, tasks } => {
                self.put(&name, config, plugin, target);
                self.remember(&name, tasks);
                self.settle(&name)
            }
            Event::Delete(name) => {
                self.connectors.remove(&name);
                self.settle(&name)
            }
            Event::Target(name, target) => self.aim(&name, target),
            Event::Restart { name, tasks, only_failed } => self.restart(&name, tasks, only_failed),
            Event::RestartTask(id) => {
                self.mark_for_restart(&id);
                self.settle(&id.connector)
            }
            Event::Instance { name, number, news } => self.instance_news(&name, number, news),
            Event::Task(TaskReport { id, start, news }) => self.task_news(&id, start, news),
            Event::Abandoned(id, start) => self.run_ended(&id, start, None),
            Event::Close => {
                self.closing = true;
                let names = self.instances.keys().chain(self.runs.keys().map(|id| &id.connector));
                let names: std::collections::BTreeSet<_> = names.map(Arc::clone).collect();
                names.iter().flat_map(|name| self.settle(name)).collect()
            }
        }
    }

    /// Shows more of a connector (`None`) or one of its tasks than events tell.
    pub fn show(&mut self, name: &str, task: Option<usize>, edit: impl FnOnce(&mut Status)) {
        let Some(connector) = self.edit(name) else { return };
        let status = match task {
            None => Some(&mut connector.status),
            Some(task) => connector.tasks.get_mut(task).map(|task| &mut task.status),
        };
        if let Some(status) = status {
            edit(status);
        }
    }

    fn next(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn edit(&mut self, name: &str) -> Option<&mut Connector> {
        self.connectors.get_mut(name).map(Arc::make_mut)
    }

    fn put(
        &mut self,
        name: &Arc<str>,
        config: ConfigMap,
        plugin: Result<ConnectorPlugin, String>,
        target: TargetState,
    ) {
        let wanted = self.next();
        let old = self.connectors.get(name);
        let fresh = if old.is_some() { Condition::Restarting } else { Condition::Unassigned };
        let status = match &plugin {
            Err(error) => Status::failed(Trace::of_config(name, error)),
            Ok(_) => Status::of(resting(target).unwrap_or(fresh)),
        };
        let connector = Connector {
            config: Arc::new(config),
            plugin: plugin.ok(),
            target,
            shared: old.map(|old| old.shared.clone()).unwrap_or_default(),
            status,
            tasks: old.map(|old| old.tasks.clone()).unwrap_or_default(),
            planned_from: old.and_then(|old| old.planned_from.clone()),
            wanted,
        };
        self.connectors.insert(Arc::clone(name), Arc::new(connector));
    }

    /// What a connector without tasks had planned when it last ran; one that is stopped, or unknown here, has none.
    fn remember(&mut self, name: &Arc<str>, tasks: Vec<ConfigMap>) {
        let fit = |connector: &Arc<Connector>| {
            connector.tasks.is_empty() && connector.plugin.is_some() && connector.target != TargetState::Stopped
        };
        if !tasks.is_empty() && self.get(name).is_some_and(fit) {
            self.plan(name, tasks);
        }
    }

    fn aim(&mut self, name: &Arc<str>, target: TargetState) -> Vec<Effect> {
        let wanted = self.next();
        let Some(connector) = self.edit(name) else { return Vec::new() };
        if target == TargetState::Started && connector.target != target {
            // Late news of the instance that pause or stop takes down must not count for the new one.
            connector.wanted = wanted;
        }
        connector.target = target;
        if target == TargetState::Stopped {
            connector.tasks.clear();
        }
        if let Some(condition) = resting(target)
            && (condition == Condition::Stopped || !connector.status.has_failed())
        {
            connector.status = Status::of(condition);
        }
        self.settle(name)
    }

    fn restart(&mut self, name: &Arc<str>, tasks: bool, only_failed: bool) -> Vec<Effect> {
        let Some(connector) = self.connectors.get(name).map(Arc::clone) else { return Vec::new() };
        if connector.plugin.is_some() && (!only_failed || connector.status.has_failed()) {
            let wanted = self.next();
            let Some(connector) = self.edit(name) else { return Vec::new() };
            connector.wanted = wanted;
            match resting(connector.target) {
                Some(condition) => connector.status = Status::of(condition),
                None => connector.status.restarts(),
            }
        }
        let again = |task: &Task| tasks && (!only_failed || task.status.has_failed());
        let again = connector.tasks.iter().enumerate().filter(|(_, task)| again(task)).map(|(task, _)| task);
        for task in again {
            self.mark_for_restart(&TaskId { connector: Arc::clone(name), task });
        }
        self.settle(name)
    }

    fn mark_for_restart(&mut self, id: &TaskId) {
        let wanted = self.next();
        if let Some(task) = self.edit(&id.connector).and_then(|connector| connector.tasks.get_mut(id.task)) {
            task.wanted = wanted;
            task.status.restarts();
        }
    }

    fn instance_news(&mut self, name: &Arc<str>, number: u64, news: InstanceNews) -> Vec<Effect> {
        let Some(instance) = self.instances.get(name).filter(|instance| instance.number == number).cloned() else {
            return Vec::new();
        };
        let ended = matches!(news, InstanceNews::Failed(_) | InstanceNews::Gone);
        if ended {
            self.instances.remove(name);
        }
        let wanted = self.connectors.get(name).is_some_and(|connector| connector.wanted == number);
        if wanted && !instance.stopping && !self.closing {
            let effects = self.wanted_news(name, number, news);
            if !effects.is_empty() {
                return effects;
            }
        }
        self.settle(name)
    }

    /// News of the instance that is wanted.
    fn wanted_news(&mut self, name: &Arc<str>, number: u64, news: InstanceNews) -> Vec<Effect> {
        match news {
            InstanceNews::Started => {
                self.set_status(name, Status::of(Condition::Running));
                vec![Effect::Plan(Arc::clone(name), number)]
            }
            InstanceNews::Changed => vec![Effect::Plan(Arc::clone(name), number)],
            InstanceNews::Planned(configs) => {
                self.set_status(name, Status::of(Condition::Running));
                self.plan(name, configs);
                Vec::new()
            }
            InstanceNews::Failed(trace) | InstanceNews::Troubled(trace) => {
                self.set_status(name, Status::failed(trace));
                Vec::new()
            }
            InstanceNews::Gone => {
                self.set_status(name, Status::failed("The connector ended without being asked to."));
                Vec::new()
            }
        }
    }

    fn set_status(&mut self, name: &str, status: Status) {
        if let Some(connector) = self.edit(name) {
            connector.status = status;
        }
    }

    /// New task configurations: if they differ, all tasks start anew, because work may have moved from one to another.
    fn plan(&mut self, name: &str, configs: Vec<ConfigMap>) {
        let Some(connector) = self.edit(name) else { return };
        connector.planned_from = Some(Arc::clone(&connector.config));
        if connector.tasks.iter().map(|task| &*task.config).eq(configs.iter()) {
            return;
        }
        let tasks = configs
            .into_iter()
            .map(|config| Task {
                config: Arc::new(config),
                status: Status::of(Condition::Unassigned),
                wanted: self.next(),
            })
            .collect();
        if let Some(connector) = self.edit(name) {
            connector.tasks = tasks;
        }
    }

    fn task_news(&mut self, id: &TaskId, start: u64, news: TaskNews) -> Vec<Effect> {
        match news {
            TaskNews::Running => self.set_task_status(id, start, Status::of(Condition::Running)),
            TaskNews::Waiting { trace } => self.set_task_status(id, start, Status::waiting(trace)),
            TaskNews::Paused => self.set_task_status(id, start, Status::of(Condition::Paused)),
            TaskNews::Trouble(trouble) => self.edit_task_status(id, start, |status| status.trouble = trouble),
            TaskNews::Failed { trace } => return self.run_ended(id, start, Some(trace)),
            TaskNews::Stopped => return self.run_ended(id, start, None),
        }
        Vec::new()
    }

    fn set_task_status(&mut self, id: &TaskId, start: u64, new: Status) {
        self.edit_task_status(id, start, |status| {
            let trouble = status.trouble.take().filter(|_| !new.has_failed());
            *status = Status { trouble, ..new };
        });
    }

    fn edit_task_status(&mut self, id: &TaskId, start: u64, edit: impl FnOnce(&mut Status)) {
        let current = self.runs.get(id).is_some_and(|run| run.number == start);
        let task = self.edit(&id.connector).and_then(|connector| connector.tasks.get_mut(id.task));
        if let Some(task) = task.filter(|task| current && task.wanted == start) {
            edit(&mut task.status);
        }
    }

    fn run_ended(&mut self, id: &TaskId, start: u64, trace: Option<Trace>) -> Vec<Effect> {
        let Some(run) = self.runs.get(id).filter(|run| run.number == start).cloned() else { return Vec::new() };
        let trace = match trace {
            None if run.stopping => None,
            None => Some("The task ended without being asked to.".into()),
            some => some,
        };
        if let Some(trace) = trace {
            self.set_task_status(id, start, Status::failed(trace));
        }
        self.runs.remove(id);
        self.settle(&id.connector)
    }

    /// Compares what is wanted with what exists.
    fn settle(&mut self, name: &Arc<str>) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.settle_instance(name, &mut effects);
        self.settle_tasks(name, &mut effects);
        effects
    }

    fn settle_instance(&mut self, name: &Arc<str>, effects: &mut Vec<Effect>) {
        let wanted = self.wanted_instance(name);
        match self.instances.get_mut(name) {
            None => {
                if let Some(number) = wanted {
                    self.instances.insert(Arc::clone(name), Instance { number, stopping: false });
                    effects.push(Effect::StartConnector(Arc::clone(name), number));
                }
            }
            Some(instance) if Some(instance.number) != wanted && !instance.stopping => {
                instance.stopping = true;
                effects.push(Effect::StopConnector(Arc::clone(name), instance.number));
            }
            Some(_) => {}
        }
    }

    /// A failed connector is not started again by itself, but one that lives on is left alone.
    fn wanted_instance(&self, name: &str) -> Option<u64> {
        let connector = self.connectors.get(name)?;
        let alive = self.instances.get(name).is_some_and(|instance| instance.number == connector.wanted);
        let wanted = !self.closing
            && connector.target == TargetState::Started
            && connector.plugin.is_some()
            && (alive || !connector.status.has_failed());
        wanted.then_some(connector.wanted)
    }

    fn settle_tasks(&mut self, name: &Arc<str>, effects: &mut Vec<Effect>) {
        let wanted = self.wanted_tasks(name);
        for (id, run) in self.runs.range_mut(tasks_of(name)) {
            match wanted.get(&id.task) {
                Some((number, wish)) if *number == run.number => {
                    if run.wish != *wish && !run.stopping {
                        run.wish = *wish;
                        effects.push(Effect::Wish(id.clone(), run.number, *wish));
                    }
                }
                _ if run.stopping => {}
                _ => {
                    run.stopping = true;
                    effects.push(Effect::StopTask(id.clone(), run.number));
                }
            }
        }
        // Work may move between tasks: nothing new begins beside something old that still ends.
        if self.runs.range(tasks_of(name)).any(|(_, run)| run.stopping) {
            return;
        }
        for (task, (number, wish)) in wanted {
            let id = TaskId { connector: Arc::clone(name), task };
            if !self.runs.contains_key(&id) {
                self.runs.insert(id.clone(), Run { number, wish, stopping: false });
                effects.push(Effect::StartTask(id, number, wish));
            }
        }
    }

    fn wanted_tasks(&self, name: &str) -> BTreeMap<usize, (u64, Wish)> {
        let Some(connector) = self.connectors.get(name).filter(|_| !self.closing) else { return BTreeMap::new() };
        let wish = match connector.target {
            TargetState::Started => Wish::Run,
            TargetState::Paused => Wish::Pause,
            TargetState::Stopped => return BTreeMap::new(),
        };
        let tasks = connector.tasks.iter().enumerate();
        tasks.filter(|(_, task)| !task.status.has_failed()).map(|(at, task)| (at, (task.wanted, wish))).collect()
    }
}

/// What a connector shows that is not to run.
fn resting(target: TargetState) -> Option<Condition> {
    match target {
        TargetState::Started => None,
        TargetState::Paused => Some(Condition::Paused),
        TargetState::Stopped => Some(Condition::Stopped),
    }
}

fn tasks_of(name: &Arc<str>) -> RangeInclusive<TaskId> {
    let task = |task| TaskId { connector: Arc::clone(name), task };
    task(0)..=task(usize::MAX)
}
