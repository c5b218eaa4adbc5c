//! What is asked of a replay, and what it tells of itself while it goes on and when it is over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pipette_api::{ConnectError, RawRecord, TopicPartition};

use crate::task::guard::Stage;

/// Letters looked at when nobody says how many.
pub const LETTERS: usize = 1_000;
/// The most letters of one replay: the report holds a line for each.
pub const MOST_LETTERS: usize = 10_000;

/// Which letters, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The first one; `None` goes on where the last replay without it ended.
    pub from: Option<Bound>,
    /// The first one that is left out; `None` is the end of the topic at the start.
    pub to: Option<Bound>,
    /// How many at most.
    pub max: usize,
    /// Only to see what would become of them.
    pub dry_run: bool,
}

/// One end of a range of letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// An offset in the dead letter topic.
    Offset(i64),
    /// Milliseconds since 1970, compared with the letter's timestamp, which is that of the record.
    Time(i64),
}

impl Bound {
    /// Whether a letter lies before it.
    pub(super) fn is_behind(self, letter: &RawRecord) -> bool {
        match self {
            Self::Offset(offset) => letter.offset < offset,
            Self::Time(time) => letter.timestamp.is_some_and(|at| at < time),
        }
    }
}

/// How a replay is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It goes on.
    Running,
    /// Every letter that was asked for has its line.
    Done,
    /// It was told to stop before that.
    Stopped,
    /// It cannot go on, and why.
    Failed(String),
}

/// A letter that was dealt with.
#[derive(Debug)]
pub struct Line {
    /// Its partition and offset in the dead letter topic.
    pub letter: (i32, i64),
    /// The record it was, when that is known.
    pub record: Option<(TopicPartition, i64)>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a letter.
#[derive(Debug)]
pub enum Outcome {
    /// Dry run: chain and converters take it now.
    Ready,
    /// The sink has it, durably.
    Replayed,
    /// The chain filters it now.
    Filtered,
    /// It is not for this connector, or not to be understood, and why.
    Skipped(String),
    /// It failed again.
    Failed(Refusal),
}

/// Why a letter failed again.
#[derive(Debug)]
pub struct Refusal {
    /// What was done with it.
    pub stage: Stage,
    /// Who did it, as Java calls it.
    pub class: &'static str,
    /// What came of it.
    pub error: ConnectError,
}

/// A replay as it is now.
#[derive(Debug)]
pub struct Report {
    /// The dead letter topic.
    pub topic: String,
    /// Nothing is put and nothing kept.
    pub dry_run: bool,
    /// How it is.
    pub state: State,
    /// The letters dealt with, in order.
    pub lines: Vec<Line>,
    /// The offset behind the last of them, by partition of the dead letter topic.
    pub next: BTreeMap<i32, i64>,
}

/// A report that is written while it is read.
#[derive(Debug, Clone)]
pub struct SharedReport(Arc<Mutex<Report>>);

impl SharedReport {
    /// Of a replay that begins.
    pub fn new(topic: &str, dry_run: bool) -> Self {
        let (state, lines, next) = (State::Running, Vec::new(), BTreeMap::new());
        Self(Arc::new(Mutex::new(Report { topic: topic.to_owned(), dry_run, state, lines, next })))
    }

    /// To be looked at, or written, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it goes on.
    pub fn is_running(&self) -> bool {
        self.lock().state == State::Running
    }
}
