//! How a connector or task is, in the words of Java's REST API.

use std::sync::Arc;

/// What REST says of a connector or task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The word.
    pub condition: Condition,
    /// Why it failed, or has not begun.
    pub trace: Option<Arc<str>>,
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
}

impl Status {
    pub(super) fn of(condition: Condition) -> Self {
        Self { condition, trace: None }
    }

    /// Java knows no word for it; the trace says more than the word.
    pub(super) fn waiting(trace: impl Into<Arc<str>>) -> Self {
        Self { condition: Condition::Unassigned, trace: Some(trace.into()) }
    }

    pub(super) fn failed(trace: impl Into<Arc<str>>) -> Self {
        Self { condition: Condition::Failed, trace: Some(trace.into()) }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.condition == Condition::Failed
    }
}
