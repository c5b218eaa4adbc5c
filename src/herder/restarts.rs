//! The pure core of self-healing: whether what has failed is restarted by itself, and when.
//!
//! `healing.rs` shows it what connectors and tasks do and carries its decisions out. No clock and no chance of its own:
//! the time since any fixed moment and a random number come in as arguments.

use std::time::Duration;

use crate::settings::restarts::RestartPolicy;

/// What a connector or task is seen to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is on its way, paused or stopped.
    Resting,
    /// It runs well.
    Running,
    /// It has failed, for a reason that may pass: the outside world, a bug that strikes sometimes.
    Failed,
    /// It has failed, and would fail in the same way again: its configuration, a password, a record.
    FailedForGood,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing that was not decided before.
    Keep,
    /// It is to be restarted at this time.
    RestartAt(Duration),
    /// It has failed and stays so, until somebody restarts it.
    GiveUp(Reason),
    /// The restart that was to come is called off: something else is wanted by now.
    CallOff,
}

/// Why something that has failed stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It would fail in the same way again.
    WouldFailAgain,
    /// It was restarted as often as is allowed.
    TooOften,
}

/// The restarts of one connector or task. One and the same for all its starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restarts {
    /// The start that was seen last.
    start: Option<u64>,
    /// Restarts made since it last ran well.
    made: u32,
    /// Since when this start runs.
    running_since: Option<Duration>,
    /// When it is restarted.
    due: Option<Duration>,
    /// This start's failure has been judged.
    judged: bool,
    /// The next start is one that was decided here; any other one begins a new count.
    own: bool,
}

impl Restarts {
    /// Takes in what the start `start` of it is seen to do at `now`. Seeing the same again changes nothing. `roll` is
    /// any random number.
    pub fn see(&mut self, start: u64, phase: Phase, now: Duration, roll: u32, policy: &RestartPolicy) -> Decision {
        let was_due = self.due.is_some();
        if self.start != Some(start) {
            let made = if self.own { self.made } else { 0 };
            *self = Self { start: Some(start), made, ..Self::default() };
        }
        match phase {
            Phase::Resting => {
                // Not the way to a restart that was decided here: a pause or a stop.
                if self.judged && !self.own {
                    self.made = 0;
                }
                // Whoever lets it go on after a pause wants it to be tried again.
                (self.running_since, self.due, self.judged) = (None, None, false);
            }
            Phase::Running => {
                self.running_since.get_or_insert(now);
                (self.due, self.judged) = (None, false);
            }
            Phase::Failed if self.judged => {}
            Phase::FailedForGood if self.judged => self.due = None,
            Phase::Failed | Phase::FailedForGood => {
                self.judged = true;
                return self.judge(phase, now, roll, policy);
            }
        }
        if was_due && self.due.is_none() { Decision::CallOff } else { Decision::Keep }
    }

    fn judge(&mut self, phase: Phase, now: Duration, roll: u32, policy: &RestartPolicy) -> Decision {
        let ran = self.running_since.take().map_or(Duration::ZERO, |since| now.saturating_sub(since));
        if ran >= policy.healed_after() {
            self.made = 0;
        }
        if phase == Phase::FailedForGood {
            return Decision::GiveUp(Reason::WouldFailAgain);
        }
        if policy.max.is_some_and(|max| self.made >= max) {
            return Decision::GiveUp(Reason::TooOften);
        }
        let at = now.saturating_add(wait(policy, self.made, roll));
        self.due = Some(at);
        Decision::RestartAt(at)
    }

    /// When it is to be restarted.
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    /// How often it was restarted since it last ran well.
    pub fn made(&self) -> u32 {
        self.made
    }

    /// True when it is to be restarted now: whoever asks does it. The start that follows goes on with the count.
    pub fn take_due(&mut self, now: Duration) -> bool {
        let due = self.due.take_if(|at| *at <= now).is_some();
        if due {
            self.made = self.made.saturating_add(1);
            self.own = true;
        }
        due
    }
}

/// From half of the wait to all of it: doubled with each restart made, up to the longest.
fn wait(policy: &RestartPolicy, made: u32, roll: u32) -> Duration {
    let longest = policy.backoff.saturating_mul(1 << made.min(30)).min(policy.backoff_max);
    longest / 2 + (longest / 2).mul_f64(f64::from(roll) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: RestartPolicy =
        RestartPolicy { max: Some(3), backoff: Duration::from_secs(1), backoff_max: Duration::from_secs(10) };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Fails with each start, is restarted when it is due; answers the waits.
    fn waits(restarts: &mut Restarts, policy: &RestartPolicy, roll: u32, first: u64) -> Vec<Duration> {
        let (mut now, mut waits) = (at(0), Vec::new());
        for start in first.. {
            match restarts.see(start, Phase::Failed, now, roll, policy) {
                Decision::RestartAt(due) => {
                    waits.push(due.saturating_sub(now));
                    assert!(!restarts.take_due(now), "not before its time");
                    now = due;
                    assert!(restarts.take_due(now) && !restarts.take_due(now), "once");
                }
                Decision::GiveUp(Reason::TooOften) => return waits,
                other => panic!("{other:?}"),
            }
        }
        waits
    }

    #[test]
    fn waits_double_and_the_budget_ends() {
        let all = |roll| waits(&mut Restarts::default(), &RestartPolicy { max: Some(6), ..POLICY }, roll, 1);
        assert_eq!(all(u32::MAX), [1, 2, 4, 8, 10, 10].map(at));
        assert_eq!(all(0)[0], Duration::from_millis(500));
        assert_eq!(
            waits(&mut Restarts::default(), &RestartPolicy { max: Some(0), ..POLICY }, 0, 1),
            [Duration::ZERO; 0]
        );
    }

    #[test]
    fn what_ran_well_begins_anew() {
        let mut restarts = Restarts::default();
        waits(&mut restarts, &POLICY, 0, 1);
        let mut see = |phase, now| restarts.see(9, phase, at(now), u32::MAX, &POLICY);
        assert_eq!(see(Phase::Running, 100), Decision::Keep);
        assert_eq!(see(Phase::Running, 119), Decision::Keep);
        assert_eq!(see(Phase::Failed, 120), Decision::RestartAt(at(121)));
        let mut spent = Restarts { made: 3, own: true, ..Restarts::default() };
        assert_eq!(spent.see(1, Phase::Running, at(0), 0, &POLICY), Decision::Keep);
        assert_eq!(spent.see(1, Phase::Failed, at(19), 0, &POLICY), Decision::GiveUp(Reason::TooOften));
    }

    #[test]
    fn what_would_fail_again_is_left_alone() {
        let mut restarts = Restarts::default();
        let decision = restarts.see(1, Phase::FailedForGood, at(0), 0, &POLICY);
        assert_eq!(decision, Decision::GiveUp(Reason::WouldFailAgain));
        assert_eq!(restarts.see(1, Phase::FailedForGood, at(0), 0, &POLICY), Decision::Keep, "said once");
        assert_eq!(restarts.due(), None);
    }

    #[test]
    fn whatever_else_is_wanted_calls_a_restart_off() {
        for (start, phase) in [(1, Phase::Resting), (2, Phase::Resting), (2, Phase::Running)] {
            let mut restarts = Restarts { made: 2, own: true, ..Restarts::default() };
            assert!(matches!(restarts.see(1, Phase::Failed, at(0), 0, &POLICY), Decision::RestartAt(_)));
            assert_eq!(restarts.see(start, phase, at(1), 0, &POLICY), Decision::CallOff, "{start} {phase:?}");
            assert!(!restarts.take_due(at(99)), "{start} {phase:?}");
            assert_eq!(restarts.made(), 0, "a new count for {start} {phase:?}");
        }
        let mut paused = Restarts::default();
        paused.see(1, Phase::Failed, at(0), 0, &POLICY);
        paused.see(1, Phase::Resting, at(1), 0, &POLICY);
        assert!(matches!(paused.see(1, Phase::Failed, at(5), 0, &POLICY), Decision::RestartAt(_)), "resumed");
        let mut spent = Restarts { made: 3, own: true, ..Restarts::default() };
        assert_eq!(spent.see(1, Phase::Failed, at(0), 0, &POLICY), Decision::GiveUp(Reason::TooOften));
        spent.see(1, Phase::Resting, at(1), 0, &POLICY);
        assert!(matches!(spent.see(1, Phase::Failed, at(5), 0, &POLICY), Decision::RestartAt(_)), "resumed when spent");
    }

    proptest! {
        #[test]
        fn a_restart_is_decided_in_time_and_never_beyond_the_budget(
            steps in prop::collection::vec((0..4_u8, any::<bool>(), 0..60_u64, any::<u32>()), 0..80)
        ) {
            let (mut restarts, mut now, mut start, mut in_a_row) = (Restarts::default(), at(0), 0, 0);
            for (phase, fresh, later, roll) in steps {
                now += at(later);
                if restarts.take_due(now) {
                    in_a_row += 1;
                    start += 1;
                    prop_assert!(in_a_row <= 3, "beyond the budget");
                } else if fresh {
                    (start, in_a_row) = (start + 1, 0);
                }
                let phase = [Phase::Resting, Phase::Running, Phase::Failed, Phase::FailedForGood][usize::from(phase)];
                let decision = restarts.see(start, phase, now, roll, &POLICY);
                if let Decision::RestartAt(due) = decision {
                    prop_assert!(phase == Phase::Failed && due > now && due <= now + POLICY.backoff_max);
                }
                prop_assert_eq!(restarts.made() <= 3, true);
                prop_assert!(restarts.due().is_none() || phase == Phase::Failed, "only what has failed is restarted");
                prop_assert_eq!(restarts.see(start, phase, now, roll, &POLICY), Decision::Keep, "seen twice");
                if restarts.made() == 0 {
                    in_a_row = 0;
                }
            }
        }
    }
}
