//! How a connector or task is, in the words of Java's REST API.

use std::sync::Arc;
use std::time::SystemTime;

use crate::plugins::ConnectorPlugin;
use crate::task::report::{Facts, Trace};
use crate::task::watchdog::Trouble;

/// What REST says of a connector or task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The word.
    pub condition: Condition,
    /// Why it failed, or has not begun.
    pub trace: Option<Arc<str>>,
    /// The parts of a failure.
    pub failure: Option<Arc<Facts>>,
    /// When it is restarted by itself.
    pub next_restart: Option<SystemTime>,
    /// What keeps it from its work although it has not failed.
    pub trouble: Option<Trouble>,
}

/// Java's states; clients know no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Condition {
    Unassigned,
    Running,
    Paused,
    Stopped,
    Failed,
    Restarting,
}

impl Condition {
    /// The word in REST answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unassigned => "UNASSIGNED",
            Self::Running => "RUNNING",
            Self::Paused => "PAUSED",
            Self::Stopped => "STOPPED",
            Self::Failed => "FAILED",
            Self::Restarting => "RESTARTING",
        }
    }

    /// The version that stands beside the word: Java has none when nothing was there to ask for it.
    pub fn version(self, plugin: Option<ConnectorPlugin>) -> Option<&'static str> {
        let has_instance = !matches!(self, Self::Unassigned | Self::Restarting);
        plugin.filter(|_| has_instance).map(|plugin| plugin.info().version)
    }
}

impl Status {
    pub(super) fn of(condition: Condition) -> Self {
        Self { condition, trace: None, failure: None, next_restart: None, trouble: None }
    }

    /// Java knows no word for it; the trace says more than the word.
    pub(super) fn waiting(trace: impl Into<Arc<str>>) -> Self {
        Self { trace: Some(trace.into()), ..Self::of(Condition::Unassigned) }
    }

    pub(super) fn failed(trace: impl Into<Trace>) -> Self {
        let Trace { text, facts } = trace.into();
        Self { trace: Some(text), failure: Some(facts), ..Self::of(Condition::Failed) }
    }

    /// It is on its way again; what was wrong before is still told.
    pub(super) fn restarts(&mut self) {
        self.condition = Condition::Restarting;
        (self.next_restart, self.trouble) = (None, None);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.condition == Condition::Failed
    }
}
