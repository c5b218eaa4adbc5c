//! The herder's own metrics: what is counted, and the states of connectors and tasks.
//!
//! `mod.rs` shows each event, the effects of it and the two states around it; names are in `metrics/table.rs`.

use std::sync::Arc;

use pipette_api::{Metric, TaskId};

use super::event::{Effect, Event, InstanceNews};
use super::state::{Connector, State};
use super::status::Condition;
use crate::metrics::{WorkerMetrics, table};
use crate::task::{TaskNews, TaskReport};

pub(super) struct Meters {
    metrics: Arc<WorkerMetrics>,
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
    pub(super) fn new(metrics: &Arc<WorkerMetrics>) -> Self {
        let number = |row| metrics.of_worker(row, &[]);
        Self {
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
        self.connectors.set(signed(new.len()));
        self.tasks.set(signed(tasks));
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

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
