//! Self-healing: shows the pure core (`restarts.rs`) what connectors and tasks do, and carries out what it decides.
//!
//! The actor (`mod.rs`) calls it behind each event and when the next restart is due. Off with `compat.strict`.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::SystemTime;

use pipette_api::TaskId;
use tokio::time::Instant;

use super::event::Event;
use super::restarts::{Decision, Phase, Reason, Restarts};
use super::state::{Connector, State};
use super::status::Condition;
use crate::settings::restarts::RestartPolicy;
use crate::store::TargetState;
use pipette_java::calendar::utc;

/// A connector, or one of its tasks.
pub(super) type Part = (Arc<str>, Option<usize>);

pub(super) struct Healing {
    strict: bool,
    began: Instant,
    /// Any random number.
    roll: fn() -> u32,
    parts: BTreeMap<Part, Restarts>,
}

impl Healing {
    /// Nothing is known yet; `strict` restarts nothing.
    pub(super) fn new(strict: bool) -> Self {
        Self { strict, began: Instant::now(), roll, parts: BTreeMap::new() }
    }

    /// The same with other dice.
    #[cfg(test)]
    pub(super) fn rolling(self, roll: fn() -> u32) -> Self {
        Self { roll, ..self }
    }

    /// Looks at what an event has changed, and shows in `after` when something will be restarted.
    pub(super) fn follow(&mut self, before: &State, after: &mut State) {
        if self.strict {
            return;
        }
        let is_gone = |(name, task): &Part| match (after.get(name), task) {
            (None, _) => true,
            (Some(connector), Some(task)) => *task >= connector.tasks.len(),
            (Some(_), None) => false,
        };
        self.parts.retain(|part, _| !is_gone(part));
        let changed = |(name, now): (&Arc<str>, &Arc<Connector>)| {
            let same = before.get(name).is_some_and(|before| Arc::ptr_eq(before, now));
            (!same).then(|| (Arc::clone(name), Arc::clone(now)))
        };
        let changed: Vec<_> = after.connectors().iter().filter_map(changed).collect();
        for (name, connector) in changed {
            // A connector with a wrong policy has failed for it already.
            let Ok(policy) = RestartPolicy::read(&connector.config) else { continue };
            let tasks = (0..connector.tasks.len()).map(Some);
            for task in std::iter::once(None).chain(tasks) {
                self.see(&(Arc::clone(&name), task), &connector, &policy, after);
            }
        }
    }

    fn see(&mut self, part: &Part, connector: &Connector, policy: &RestartPolicy, state: &mut State) {
        let Some((start, phase)) = look(connector, part.1) else { return };
        let now = self.began.elapsed();
        let restarts = self.parts.entry(part.clone()).or_default();
        let (name, task) = (&*part.0, part.1);
        match restarts.see(start, phase, now, (self.roll)(), policy) {
            Decision::Keep => {}
            Decision::RestartAt(due) => {
                let wait = due.saturating_sub(now);
                let at = SystemTime::now() + wait;
                state.show(name, task, |status| status.next_restart = Some(at));
                let (at, restart) = (utc(at), restarts.made() + 1);
                tracing::info!(connector = %name, task, restart, %at, "It restarts by itself");
            }
            Decision::GiveUp(reason) => {
                let restarts = restarts.made();
                let why = match reason {
                    Reason::WouldFailAgain => "it would fail in the same way",
                    Reason::TooOften => "errors.restart.max is reached",
                };
                tracing::warn!(connector = %name, task, restarts, %why, "It is not restarted by itself");
            }
            Decision::CallOff => {
                state.show(name, task, |status| status.next_restart = None);
                tracing::info!(connector = %name, task, "It is no longer to restart by itself");
            }
        }
    }

    /// When the next restart is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.parts.values().filter_map(Restarts::due).min().map(|due| self.began + due)
    }

    /// What is to be restarted now.
    pub(super) fn take_due(&mut self) -> Vec<Part> {
        let now = self.began.elapsed();
        let due = self.parts.iter_mut().filter_map(|(part, restarts)| restarts.take_due(now).then(|| part.clone()));
        due.collect()
    }
}

/// The event that restarts a part, as if somebody had asked for it.
pub(super) fn restart((name, task): Part) -> Event {
    match task {
        None => Event::Restart { name, tasks: false, only_failed: true },
        Some(task) => Event::RestartTask(TaskId { connector: name, task }),
    }
}

/// Which start of a part is there, and what it does.
fn look(connector: &Connector, task: Option<usize>) -> Option<(u64, Phase)> {
    let (status, start) = match task {
        None => (&connector.status, connector.wanted),
        Some(task) => connector.tasks.get(task).map(|task| (&task.status, task.wanted))?,
    };
    let phase = match (status.condition, connector.target) {
        (Condition::Failed, TargetState::Started) if status.failure.as_ref().is_none_or(|failure| failure.may_pass) => {
            Phase::Failed
        }
        (Condition::Failed, TargetState::Started) => Phase::FailedForGood,
        (Condition::Running, _) => Phase::Running,
        _ => Phase::Resting,
    };
    Some((start, phase))
}

/// A random number: the hash of nothing, under keys that are new each time.
fn roll() -> u32 {
    u32::try_from(RandomState::new().hash_one(()) & u64::from(u32::MAX)).unwrap_or_default()
}
