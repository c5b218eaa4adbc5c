//! The topic of connectors as Apache's distributed workers write and read it, record by record. Pure: `configs.rs` talks to
//! Kafka.
//!
//! Keys are `connector-NAME`, `target-state-NAME`, `task-NAME-N`, `commit-NAME` and `tasks-fencing-NAME`; values are JSON
//! objects, and a null value takes away. Task configurations count only from their commit on, and only if none is missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use pipette_api::{ConfigMap, ConnectError, Result};
use serde_json::{Value, json};

use super::{Plan, StoredConnector, TargetState};
use crate::kafka::compacted::Row;

/// What the topic says so far.
#[derive(Debug, Default)]
pub struct ConfigLog(BTreeMap<Arc<str>, Known>);

#[derive(Debug, Default)]
struct Known {
    config: Option<ConfigMap>,
    target: Option<TargetState>,
    /// Since the last commit.
    pending: BTreeMap<usize, ConfigMap>,
    tasks: Vec<ConfigMap>,
    /// Of the last record about fencing.
    fenced: usize,
}

/// Keys of other matters: what workers of a cluster tell each other, and what they do once.
const OTHERS: [&str; 3] = ["session-key", "restart-connector-", "logger-cluster-"];

impl ConfigLog {
    /// Takes in a record. What nobody can use is told in the log and left out, as in Apache's worker.
    pub fn read(&mut self, key: &[u8], value: Option<&[u8]>) {
        let text = String::from_utf8_lossy(key);
        if let Err(error) = self.take(&text, value) {
            // Never the value: it may hold passwords.
            tracing::warn!(key = %text, error = %error.chain(), "A record of the topic of connectors is left out");
        }
    }

    /// Takes in records that were written.
    pub fn read_all(&mut self, rows: &[Row]) {
        for (key, value) in rows {
            self.read(key, value.as_deref());
        }
    }

    fn take(&mut self, key: &str, value: Option<&[u8]>) -> Result<()> {
        let object = || value.map(object).transpose();
        if let Some(name) = key.strip_prefix("connector-") {
            let config = object()?.map(|value| properties(&value)).transpose()?;
            let known = self.of(name);
            if config.is_none() {
                known.pending.clear();
                known.tasks.clear();
            }
            known.config = config;
        } else if let Some(name) = key.strip_prefix("target-state-") {
            self.of(name).target = object()?.map(|value| target(&value)).transpose()?;
        } else if let Some(task) = key.strip_prefix("task-") {
            let (name, number) = task.rsplit_once('-').ok_or_else(|| unusable("its key has no number of a task"))?;
            let number = number.parse().map_err(|_| unusable("its key has no number of a task"))?;
            if let Some(value) = object()? {
                self.of(name).pending.insert(number, properties(&value)?);
            }
        } else if let Some(name) = key.strip_prefix("commit-") {
            if let Some(value) = object()? {
                self.of(name).commit(number(&value, "tasks")?);
            }
        } else if let Some(name) = key.strip_prefix("tasks-fencing-") {
            self.of(name).fenced = object()?.map_or(Ok(0), |value| number(&value, "task-count"))?;
        } else if !OTHERS.iter().any(|other| key.starts_with(other)) {
            return Err(unusable("its key is of no kind that Apache's worker knows"));
        }
        Ok(())
    }

    fn of(&mut self, name: &str) -> &mut Known {
        self.0.entry(name.into()).or_default()
    }

    /// Every connector.
    pub fn connectors(&self) -> Vec<StoredConnector> {
        let stored = |(name, known): (&Arc<str>, &Known)| {
            let target = known.target.unwrap_or(TargetState::Started);
            Some(StoredConnector { name: Arc::clone(name), config: known.config.clone()?, target })
        };
        self.0.iter().filter_map(stored).collect()
    }

    /// What a connector has planned. Java names the class of a task in each plan; here that is not a part of it.
    pub fn plan(&self, name: &str) -> Plan {
        let Some(known) = self.0.get(name) else { return Plan::default() };
        let own = |task: &ConfigMap| {
            let mut task = task.clone();
            task.remove(TASK_CLASS);
            task
        };
        Plan { tasks: known.tasks.iter().map(own).collect(), fenced: known.fenced }
    }

    /// Whether this is the present configuration of a connector that is not stopped.
    pub fn may_run(&self, name: &str, config: &ConfigMap) -> bool {
        let fit = |known: &Known| known.config.as_ref() == Some(config) && known.target != Some(TargetState::Stopped);
        self.0.get(name).is_some_and(fit)
    }

    /// The records that make a connector what is given, in Apache's order: one that is new is not seen before what is
    /// wanted of it, and one that stops has no tasks first.
    pub fn put(&self, connector: &StoredConnector) -> Vec<Row> {
        let StoredConnector { name, config, target } = connector;
        let known = self.0.get(name);
        let mut rows = Vec::new();
        if known.and_then(|known| known.target).unwrap_or(TargetState::Started) != *target {
            if *target == TargetState::Stopped && known.is_some_and(|known| !known.tasks.is_empty()) {
                rows.push(row(format!("commit-{name}"), &json!({ "tasks": 0 })));
            }
            rows.push(row(format!("target-state-{name}"), &target_json(*target)));
        }
        if known.and_then(|known| known.config.as_ref()) != Some(config) {
            rows.push(row(format!("connector-{name}"), &json!({ "properties": config })));
        }
        rows
    }

    /// The records that take a connector away. Its plan stays, and means nothing any more.
    pub fn delete(&self, name: &str) -> Vec<Row> {
        ["connector-", "target-state-"].map(|prefix| (format!("{prefix}{name}").into_bytes(), None)).into()
    }

    /// The records of a new plan, the commit behind all tasks. With exactly-once also how many tasks the next worker has to
    /// fence: never fewer than were recorded before, since what they left behind may still write.
    pub fn put_plan(&self, name: &str, tasks: &[ConfigMap], class: &str, exactly_once: bool) -> Vec<Row> {
        let mut rows: Vec<Row> = tasks
            .iter()
            .enumerate()
            .map(|(number, task)| {
                let mut task = task.clone();
                task.entry(TASK_CLASS.to_owned()).or_insert_with(|| class.to_owned());
                row(format!("task-{name}-{number}"), &json!({ "properties": task }))
            })
            .collect();
        rows.push(row(format!("commit-{name}"), &json!({ "tasks": tasks.len() })));
        if exactly_once {
            let count = self.0.get(name).map_or(0, |known| known.fenced).max(tasks.len());
            rows.push(row(format!("tasks-fencing-{name}"), &json!({ "task-count": count })));
        }
        rows
    }
}

const TASK_CLASS: &str = "task.class";

impl Known {
    /// All tasks up to that number count, if all are there; more of them are what compaction has left of an older plan.
    fn commit(&mut self, tasks: usize) {
        let pending = std::mem::take(&mut self.pending);
        let complete = self.config.is_some() && (0..tasks).all(|task| pending.contains_key(&task));
        self.tasks = if complete { pending.into_values().take(tasks).collect() } else { Vec::new() };
    }
}

fn row(key: String, value: &Value) -> Row {
    (key.into_bytes(), Some(value.to_string().into_bytes()))
}

/// A worker that knows no stopped connectors takes one for paused.
fn target_json(target: TargetState) -> Value {
    let (old, new) = match target {
        TargetState::Started => ("STARTED", "STARTED"),
        TargetState::Paused => ("PAUSED", "PAUSED"),
        TargetState::Stopped => ("PAUSED", "STOPPED"),
    };
    json!({ "state": old, "state.v2": new })
}

fn unusable(why: &str) -> ConnectError {
    ConnectError::data(why)
}

fn object(value: &[u8]) -> Result<Value> {
    match serde_json::from_slice(value) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(unusable("its value is no JSON object")),
        // Without the cause: it may show a part of the value.
        Err(_) => Err(unusable("its value is no JSON")),
    }
}

/// A configuration. Java writes a key without a value as null; here it is left out.
fn properties(value: &Value) -> Result<ConfigMap> {
    let all = value["properties"].as_object().ok_or_else(|| unusable("it has no \"properties\""))?;
    all.iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| {
            let text = value.as_str().ok_or_else(|| unusable(&format!("the value of {key} is no text")))?;
            Ok((key.clone(), text.to_owned()))
        })
        .collect()
}

fn target(value: &Value) -> Result<TargetState> {
    let state = value.get("state.v2").unwrap_or(&value["state"]);
    match state.as_str() {
        Some("STARTED") => Ok(TargetState::Started),
        Some("PAUSED") => Ok(TargetState::Paused),
        Some("STOPPED") => Ok(TargetState::Stopped),
        _ => Err(unusable("it names no state")),
    }
}

fn number(value: &Value, member: &str) -> Result<usize> {
    let number = value[member].as_u64().and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| unusable(&format!("its \"{member}\" is no number")))
}

#[cfg(test)]
#[path = "config_log_tests.rs"]
mod tests;
