//! What counters were a while ago, for rates and shares; and how long tasks were in their states.
//!
//! `mod.rs` has the numbers noted every few seconds, not when they are counted: that costs nothing per record or batch.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::Labels;
use crate::settings::metrics::Sampling;

/// Numbers as they were, by metric and labels.
#[derive(Debug, Default)]
pub(super) struct History {
    notes: BTreeMap<(&'static str, Labels), VecDeque<(Instant, i64)>>,
    clocks: BTreeMap<Labels, Clock>,
}

/// How long a task was in which state since it was made.
#[derive(Debug)]
struct Clock {
    begun: Instant,
    state: String,
    since: Instant,
    before: BTreeMap<String, Duration>,
}

impl History {
    /// Notes a counter. A number that is smaller than before has begun anew, and so does its history.
    pub(super) fn note(&mut self, name: &'static str, labels: &Labels, value: i64, now: Instant, sampling: Sampling) {
        let notes = self.notes.entry((name, labels.clone())).or_default();
        if notes.back().is_some_and(|(_, before)| *before > value) {
            notes.clear();
        }
        notes.push_back((now, value));
        let span = span(sampling);
        // The oldest one is at the far end of the span, or just beyond.
        while notes.len() > 2 && now.duration_since(notes[1].0) >= span {
            notes.pop_front();
        }
    }

    /// By how much a counter grew in how many seconds.
    pub(super) fn growth(&self, name: &'static str, labels: &Labels, value: i64, now: Instant) -> (i64, f64) {
        let oldest = self.notes.get(&(name, labels.clone())).and_then(VecDeque::front);
        match oldest {
            Some((then, before)) if *before <= value => (value - before, now.duration_since(*then).as_secs_f64()),
            _ => (0, 0.0),
        }
    }

    /// A task is in that state from now on. One that starts again begins anew, as its counters do.
    pub(super) fn state(&mut self, task: &Labels, state: &str, now: Instant) {
        let fresh = || Clock { begun: now, state: state.to_owned(), since: now, before: BTreeMap::new() };
        let clock = self.clocks.entry(task.clone()).or_insert_with(fresh);
        if clock.state == state {
            return;
        }
        if matches!(state, "unassigned" | "restarting") {
            *clock = fresh();
            return;
        }
        let past = std::mem::replace(&mut clock.state, state.to_owned());
        *clock.before.entry(past).or_default() += now.duration_since(clock.since);
        clock.since = now;
    }

    /// Each task with the part of its time that it was in a state.
    pub(super) fn parts_in(&self, state: &str, now: Instant) -> impl Iterator<Item = (&Labels, f64)> {
        self.clocks.iter().map(move |(task, clock)| {
            let before = clock.before.get(state).copied().unwrap_or_default();
            let current = if clock.state == state { now.duration_since(clock.since) } else { Duration::ZERO };
            let all = now.duration_since(clock.begun).as_secs_f64();
            let part = if all > 0.0 { (before + current).as_secs_f64() / all } else { 0.0 };
            (task, part)
        })
    }

    /// Forgets what has these labels.
    pub(super) fn forget(&mut self, belongs: impl Fn(&Labels) -> bool) {
        self.notes.retain(|(_, labels), _| !belongs(labels));
        self.clocks.retain(|labels, _| !belongs(labels));
    }
}

/// What rates and shares cover.
fn span(sampling: Sampling) -> Duration {
    sampling.window.saturating_mul(u32::try_from(sampling.samples).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Sampling = Sampling { window: Duration::from_secs(30), samples: 2 };

    #[test]
    fn growth_is_that_of_the_last_minute() {
        let (mut history, labels, start) = (History::default(), vec![("task", "0".to_owned())], Instant::now());
        let at = |second| start + Duration::from_secs(second);
        assert_eq!(history.growth("n", &labels, 7, at(0)), (0, 0.0), "nothing is known yet");
        for second in (0..=200).step_by(5) {
            history.note("n", &labels, i64::try_from(second).unwrap() * 10, at(second), MINUTE);
        }
        assert_eq!(history.growth("n", &labels, 2000, at(200)), (600, 60.0));
        assert!(history.notes[&("n", labels.clone())].len() <= 14, "bounded");
        history.note("n", &labels, 3, at(205), MINUTE);
        assert_eq!(history.growth("n", &labels, 13, at(210)), (10, 5.0), "a task that started again");
    }

    #[test]
    fn the_time_in_a_state_is_a_part_of_all() {
        let (mut history, task, start) = (History::default(), vec![("task", "0".to_owned())], Instant::now());
        let at = |second| start + Duration::from_secs(second);
        history.state(&task, "unassigned", at(0));
        history.state(&task, "running", at(10));
        history.state(&task, "running", at(20));
        history.state(&task, "paused", at(40));
        let part = |history: &History, state: &str, second| history.parts_in(state, at(second)).next().unwrap().1;
        assert!((part(&history, "running", 40) - 0.75).abs() < 1e-9);
        assert!((part(&history, "paused", 80) - 0.5).abs() < 1e-9);
        history.state(&task, "restarting", at(90));
        assert!(part(&history, "running", 100).abs() < 1e-9);
    }
}
