//! A transactional id in the catalogue: who owns it, and how far its transaction is.
//!
//! Data only; what may follow on what is in `crate::transaction`. Times are milliseconds of the wall clock, because they
//! have to mean something after a restart.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::catalogue::{Committed, Offsets};
use super::marker::Outcome;

/// One life of a producer. A later one has a higher epoch, or another id.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub producer_id: i64,
    pub epoch: i16,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Transaction {
    pub owner: Identity,
    /// What the owner was before it asked for a new epoch itself. Asking again as that gives the same answer.
    pub before: Option<Identity>,
    pub timeout_ms: i32,
    pub used_ms: i64,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum State {
    Idle,
    Open(Work),
    /// Decided: nothing but this outcome is possible any more, whatever happens in between.
    Ending(Work, Outcome),
    Ended(Outcome),
}

/// What an open transaction has touched.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Work {
    pub since_ms: i64,
    pub partitions: BTreeSet<(String, i32)>,
    /// Offsets by group, for when it commits.
    pub offsets: BTreeMap<String, Offsets>,
}

/// An offset that waits for its transaction: group, topic, partition, where.
pub(crate) type Pending = (String, String, i32, Committed);

impl Work {
    fn grow(&mut self, partitions: Vec<(String, i32)>, offsets: Vec<Pending>) {
        self.partitions.extend(partitions);
        for (group, topic, partition, at) in offsets {
            self.offsets.entry(group).or_default().insert((topic, partition), at);
        }
    }

    pub(super) fn forget_topic(&mut self, name: &str) {
        self.partitions.retain(|(topic, _)| topic != name);
        for offsets in self.offsets.values_mut() {
            offsets.retain(|(topic, _), _| topic != name);
        }
    }

    pub(super) fn pending(&self) -> Vec<Pending> {
        let mut pending = Vec::new();
        for (group, offsets) in &self.offsets {
            for ((topic, partition), at) in offsets {
                pending.push((group.clone(), topic.clone(), *partition, at.clone()));
            }
        }
        pending
    }
}

impl Transaction {
    pub(crate) fn work(&self) -> Option<&Work> {
        match &self.state {
            State::Open(work) | State::Ending(work, _) => Some(work),
            State::Idle | State::Ended(_) => None,
        }
    }

    pub(super) fn work_mut(&mut self) -> Option<&mut Work> {
        match &mut self.state {
            State::Open(work) | State::Ending(work, _) => Some(work),
            State::Idle | State::Ended(_) => None,
        }
    }

    pub(super) fn grow(&mut self, since_ms: i64, partitions: Vec<(String, i32)>, offsets: Vec<Pending>) {
        if !matches!(self.state, State::Open(_)) {
            self.state = State::Open(Work { since_ms, ..Work::default() });
        }
        if let State::Open(work) = &mut self.state {
            work.grow(partitions, offsets);
        }
    }

    pub(super) fn begin_end(&mut self, epoch: i16, outcome: Outcome) {
        if epoch != self.owner.epoch {
            // The owner is fenced, and so is what it was before.
            self.before = None;
        }
        self.owner.epoch = epoch;
        if let State::Open(work) = std::mem::replace(&mut self.state, State::Idle) {
            self.state = State::Ending(work, outcome);
        }
    }

    /// Gives the offsets that are committed by it.
    pub(super) fn end(&mut self, at_ms: i64) -> BTreeMap<String, Offsets> {
        self.used_ms = at_ms;
        let State::Ending(work, outcome) = std::mem::replace(&mut self.state, State::Idle) else {
            return BTreeMap::new();
        };
        self.state = State::Ended(outcome);
        match outcome {
            Outcome::Committed => work.offsets,
            Outcome::Aborted => BTreeMap::new(),
        }
    }
}
