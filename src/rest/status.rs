//! The JSON of statuses: Java's members, and behind them what Java does not tell, unless `compat.strict` leaves it out.

use std::collections::BTreeMap;
use std::time::SystemTime;

use pipette_api::ErrorKind;
use serde::Serialize;
use serde_json::Value;

use super::model::{kind, object};
use crate::herder::handle::HerderHandle;
use crate::herder::state::Connector;
use crate::herder::status::{Condition, Status};
use crate::task::report::{Facts, Place};
use crate::task::watchdog::Trouble;
use pipette_java::calendar::utc;

#[derive(Serialize)]
pub(super) struct StateInfo<'a> {
    name: &'a str,
    connector: StateOf<'a>,
    tasks: Vec<TaskState<'a>>,
    #[serde(rename = "type")]
    kind: &'static str,
    /// The connector's own. It stands here because clients read `connector` as a map of texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorShape<'a>>,
}

/// Everything in here is text: two client libraries read it into maps of strings.
#[derive(Serialize)]
struct StateOf<'a> {
    state: &'static str,
    worker_id: &'a str,
    version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_restart: Option<String>,
}

#[derive(Serialize)]
pub(super) struct TaskState<'a> {
    id: usize,
    #[serde(flatten)]
    state: StateOf<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorShape<'a>>,
}

/// A failure in parts.
#[derive(Serialize)]
struct ErrorShape<'a> {
    kind: &'static str,
    connector: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    task: Option<usize>,
    stage: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<i64>,
    /// The source partition.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<BTreeMap<String, Value>>,
    cause: &'a str,
    action: &'static str,
    /// Whether a restart can help before something is changed.
    may_pass: bool,
}

/// What the statuses of one worker have in common.
pub(super) struct Statuses<'a> {
    worker_id: &'a str,
    strict: bool,
    now: SystemTime,
}

impl<'a> Statuses<'a> {
    pub(super) fn of(herder: &'a HerderHandle) -> Self {
        let parts = herder.parts();
        Self { worker_id: &parts.worker_id, strict: parts.worker.strict, now: SystemTime::now() }
    }

    pub(super) fn connector(&self, name: &'a str, connector: &'a Connector) -> StateInfo<'a> {
        StateInfo {
            name,
            connector: self.state_of(connector, &connector.status),
            tasks: (0..connector.tasks.len()).filter_map(|task| self.task(name, connector, task)).collect(),
            kind: kind(connector),
            error: self.error(name, None, &connector.status),
        }
    }

    /// What a restart begins with: Java shows the state of before, but for what is to restart, which is the connector
    /// itself `with_connector`, whatever is wanted of it.
    pub(super) fn plan(&self, name: &'a str, connector: &'a Connector, with_connector: bool) -> StateInfo<'a> {
        let version = connector.plugin.map(|plugin| plugin.info().version);
        let mut info = self.connector(name, connector);
        if with_connector {
            info.connector.state = Condition::Restarting.name();
        }
        for state in info.tasks.iter_mut().map(|task| &mut task.state).chain([&mut info.connector]) {
            if state.state == Condition::Restarting.name() {
                state.version = version;
            }
        }
        info
    }

    pub(super) fn task(&self, name: &'a str, connector: &'a Connector, id: usize) -> Option<TaskState<'a>> {
        let task = connector.tasks.get(id)?;
        let error = self.error(name, Some(id), &task.status);
        Some(TaskState { id, state: self.state_of(connector, &task.status), error })
    }

    fn state_of(&self, connector: &Connector, status: &'a Status) -> StateOf<'a> {
        StateOf {
            state: status.condition.name(),
            worker_id: self.worker_id,
            version: status.condition.version(connector.plugin),
            trace: status.trace.as_deref(),
            health: status.trouble.as_ref().filter(|_| !self.strict).map(|trouble| self.health(trouble)),
            next_restart: status.next_restart.filter(|_| !self.strict).map(utc),
        }
    }

    fn health(&self, trouble: &Trouble) -> String {
        let seconds = |since: SystemTime| self.now.duration_since(since).unwrap_or_default().as_secs();
        match trouble {
            Trouble::Hung { inside, since } => {
                format!("hung: no return from {inside} for {} s, since {}", seconds(*since), utc(*since))
            }
            Trouble::Silence { what, since, cause } => {
                let cause = cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
                format!("no {what} from Kafka for {} s{cause}", seconds(*since))
            }
            Trouble::Joins { since, longest } => format!(
                "waits to join its consumer group for {} s: members that are gone or busy still count, for {} s at most",
                seconds(*since),
                longest.as_secs()
            ),
            Trouble::Away { since, cause } => format!("away for {} s, and tried again: {cause}", seconds(*since)),
            Trouble::Flush { since, cause } => {
                format!("the sink cannot flush for {} s, and its records come again: {cause}", seconds(*since))
            }
        }
    }

    fn error(&self, connector: &'a str, task: Option<usize>, status: &'a Status) -> Option<ErrorShape<'a>> {
        let Facts { kind, stage, place, cause, action, may_pass } =
            &**status.failure.as_ref().filter(|_| !self.strict)?;
        let (topic, partition, offset, source) = match place {
            None => (None, None, None, None),
            Some(Place::Sink { tp, offset }) => (Some(&*tp.topic), Some(tp.partition), Some(*offset), None),
            Some(Place::Source { topic, from }) => {
                (topic.as_deref(), None, None, from.as_ref().map(|from| object(&from.0)))
            }
        };
        Some(ErrorShape {
            kind: match kind {
                ErrorKind::Config => "config",
                ErrorKind::Data => "data",
                ErrorKind::Retriable => "retriable",
                ErrorKind::Fatal => "fatal",
            },
            connector,
            task,
            stage,
            topic,
            partition,
            offset,
            source,
            cause,
            action,
            may_pass: *may_pass,
        })
    }
}
