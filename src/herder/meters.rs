//! The herder's own metrics: what is counted, and the states of connectors and tasks.
//!
//! `mod.rs` shows each event, the effects of it and the two states around it; names are in `metrics/table.rs`.

use std::sync::Arc;

use pipette_api::{Metric, TaskId};

use super::event::{Effect, Event, InstanceNews};
use super::state::{Connector, State};
use super::status::Condition;
use crate::metrics::{WorkerMetrics, table};
use crate::plugins::ConnectorPlugin;
use crate::task::spec::TaskSpec;
use crate::task::{TaskNews, TaskReport};

pub(super) struct Meters {
    metrics: Arc<WorkerMetrics>,
    assigned_connectors: Metric,
    assigned_tasks: Metric,
    connectors: Metric,
    tasks: Metric,
    connector_starts: Metric,
    connector_started: Metric,
    connector_not_started: Metric,
    task_starts: Metric,
    task_started: Metric,
    task_not_started: Metric,
}

impl Meters {
    /// Of the worker that calls itself so.
    pub(super) fn new(metrics: &Arc<WorkerMetrics>, worker_id: &str) -> Self {
        let number = |row| metrics.of_worker(row, &[]);
        let member = format!("connect-{worker_id}");
        Self {
            assigned_connectors: metrics.of_worker(&table::ASSIGNED_CONNECTORS, &[&member]),
            assigned_tasks: metrics.of_worker(&table::ASSIGNED_TASKS, &[&member]),
            connectors: number(&table::CONNECTOR_COUNT),
            tasks: number(&table::TASK_COUNT),
            connector_starts: number(&table::CONNECTOR_STARTS),
            connector_started: number(&table::CONNECTOR_STARTED),
            connector_not_started: number(&table::CONNECTOR_NOT_STARTED),
            task_starts: number(&table::TASK_STARTS),
            task_started: number(&table::TASK_STARTED),
            task_not_started: number(&table::TASK_NOT_STARTED),
            metrics: Arc::clone(metrics),
        }
    }

    /// Counts how starts end. Called before the event is taken in.
    pub(super) fn event(&self, before: &State, event: &Event) {
        match event {
            Event::Instance { news: InstanceNews::Started, .. } => self.connector_started.add(1),
            Event::Instance { news: InstanceNews::Failed(_), .. } => self.connector_not_started.add(1),
            Event::Task(TaskReport { id, news, .. }) => {
                let condition = before.task(id).map(|task| task.status.condition);
                if matches!(condition, Some(Condition::Unassigned | Condition::Restarting)) {
                    match news {
                        TaskNews::Running | TaskNews::Paused => self.task_started.add(1),
                        TaskNews::Failed { .. } => self.task_not_started.add(1),
                        TaskNews::Waiting { .. } | TaskNews::Trouble(_) | TaskNews::Stopped => {}
                    }
                }
            }
            _ => {}
        }
    }

    /// Counts restarts that nobody asked for.
    pub(super) fn healed(&self, name: &str, task: Option<usize>) {
        match task {
            None => self.metrics.of_worker(&table::CONNECTOR_RESTARTS, &[name]).add(1),
            Some(task) => self.metrics.of_worker(&table::TASK_RESTARTS, &[name, &task.to_string()]).add(1),
        }
    }

    /// Counts starts.
    pub(super) fn effect(&self, effect: &Effect) {
        match effect {
            Effect::StartConnector(..) => self.connector_starts.add(1),
            Effect::StartTask(..) => self.task_starts.add(1),
            _ => {}
        }
    }

    /// Shows what has changed from one state to the next.
    pub(super) fn show(&self, before: &State, after: &State) {
        let (old, new) = (before.connectors(), after.connectors());
        for name in old.keys().filter(|name| !new.contains_key(*name)) {
            self.metrics.forget_connector(name);
        }
        for (name, connector) in new {
            let old = old.get(name);
            if old.is_none_or(|old| !Arc::ptr_eq(old, connector)) {
                self.connector(name, old.map_or(0, |old| old.tasks.len()), connector);
            }
        }
        let tasks = new.values().map(|connector| connector.tasks.len()).sum();
        for (metric, count) in [
            (&self.connectors, new.len()),
            (&self.assigned_connectors, new.len()),
            (&self.tasks, tasks),
            (&self.assigned_tasks, tasks),
        ] {
            metric.set(signed(count));
        }
    }

    fn connector(&self, name: &Arc<str>, tasks_before: usize, connector: &Connector) {
        self.metrics.connector_status(name, connector.status.condition.name());
        let id = |task| TaskId { connector: Arc::clone(name), task };
        for (task, found) in connector.tasks.iter().enumerate() {
            self.metrics.task_status(&id(task), found.status.condition.name());
        }
        for task in connector.tasks.len()..tasks_before {
            self.metrics.forget_task(&id(task));
        }
        if let Some(plugin) = connector.plugin {
            let owner = [("connector", &**name)];
            self.metrics.show_text(&table::CONNECTOR_CLASS, &owner, plugin.info().class);
            self.metrics.show_text(&table::CONNECTOR_VERSION, &owner, plugin.info().version);
            self.metrics.show_text(&table::CONNECTOR_TYPE, &owner, plugin.kind());
        }
        // Tasks are taken away and gone at once.
        self.metrics.of_worker(&table::CONNECTOR_DESTROYED, &[name]).set(0);
        self.metrics.of_worker(&table::CONNECTOR_TASKS, &[name]).set(signed(connector.tasks.len()));
        for (row, condition) in [
            (&table::CONNECTOR_RUNNING, Condition::Running),
            (&table::CONNECTOR_PAUSED, Condition::Paused),
            (&table::CONNECTOR_FAILED, Condition::Failed),
            (&table::CONNECTOR_UNASSIGNED, Condition::Unassigned),
            (&table::CONNECTOR_RESTARTING, Condition::Restarting),
        ] {
            let count = connector.tasks.iter().filter(|task| task.status.condition == condition).count();
            self.metrics.of_worker(row, &[name]).set(signed(count));
        }
    }
}

/// Shows what a task is made of.
pub(super) fn describe(metrics: &WorkerMetrics, spec: &TaskSpec, plugin: ConnectorPlugin) {
    let task = spec.id.task.to_string();
    let owner = [("connector", &*spec.id.connector), ("task", task.as_str())];
    let (key, value, header) =
        (&spec.converters.key.0.info, &spec.converters.value.0.info, &spec.converters.header.0.info);
    for (row, text) in [
        (&table::TASK_CONNECTOR_CLASS, plugin.info().class),
        (&table::TASK_CONNECTOR_VERSION, plugin.info().version),
        (&table::TASK_CONNECTOR_TYPE, plugin.kind()),
        (&table::KEY_CONVERTER_CLASS, key.class),
        (&table::KEY_CONVERTER_VERSION, key.version),
        (&table::VALUE_CONVERTER_CLASS, value.class),
        (&table::VALUE_CONVERTER_VERSION, value.version),
        (&table::HEADER_CONVERTER_CLASS, header.class),
        (&table::HEADER_CONVERTER_VERSION, header.version),
    ] {
        metrics.show_text(row, &owner, text);
    }
    for row in [&table::TRANSFORM_CLASS, &table::TRANSFORM_VERSION, &table::PREDICATE_CLASS, &table::PREDICATE_VERSION]
    {
        metrics.forget_text(row, &owner);
    }
    for step in &spec.transforms {
        let of = [owner[0], owner[1], ("transform", &*step.alias)];
        metrics.show_text(&table::TRANSFORM_CLASS, &of, step.plugin.info().class);
        metrics.show_text(&table::TRANSFORM_VERSION, &of, step.plugin.info().version);
        let alias = spec.settings.raw(&format!("transforms.{}.predicate", step.alias));
        if let (Some(predicate), Some(alias)) = (&step.predicate, alias) {
            let of = [owner[0], owner[1], ("predicate", alias.trim())];
            metrics.show_text(&table::PREDICATE_CLASS, &of, predicate.plugin.info.class);
            metrics.show_text(&table::PREDICATE_VERSION, &of, predicate.plugin.info.version);
        }
    }
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
