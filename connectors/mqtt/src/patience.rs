//! How long to wait before the next connection, and when to give up.
//!
//! Pure: the clock and the dice are the caller's. `session.rs` asks it. Read next: `session.rs`.

use std::collections::VecDeque;
use std::time::Duration;

/// A connection that ended sooner than this after it was accepted was not wanted by somebody.
const EARLY: Duration = Duration::from_secs(3);
/// How many early ends within [`WITHIN`] are no accident.
const TOO_MANY: usize = 5;
const WITHIN: Duration = Duration::from_mins(1);

/// Waiting times between attempts: doubled each time up to a limit, and a random part of that, so that a thousand
/// connectors do not come back to a broker at the same moment.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
    dice: u64,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        Self { first, longest, failures: 0, dice: seed | 1 }
    }

    /// The wait after one more failure: between half and all of the doubled time.
    pub(crate) fn next(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(16)).min(self.longest);
        self.failures += 1;
        // xorshift: no more chance is needed than to differ.
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        let part = u32::try_from(self.dice % 1000).unwrap_or(0);
        doubled / 2 + doubled / 2 * part / 1000
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }
}

/// Notices when connections are accepted and ended again and again, which is how two clients with one id look to each
/// other: older brokers do not say why they close a connection.
#[derive(Debug, Default)]
pub(crate) struct Flapping(VecDeque<Duration>);

impl Flapping {
    /// The broker could not be reached, which no rival brings about.
    pub(crate) fn refused(&mut self) {
        self.0.clear();
    }

    /// A connection ended at a time, having lived for a while. True when that happens too often.
    pub(crate) fn ended(&mut self, now: Duration, lived: Duration) -> bool {
        if lived >= EARLY {
            self.0.clear();
            return false;
        }
        self.0.push_back(now);
        while self.0.front().is_some_and(|first| now.saturating_sub(*first) > WITHIN) {
            self.0.pop_front();
        }
        self.0.len() >= TOO_MANY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_limit_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1), 7);
        for doubled in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next().as_millis();
            assert!((doubled / 2..=doubled).contains(&wait), "{wait} of {doubled}");
        }
        backoff.succeeded();
        assert!(backoff.next() <= Duration::from_millis(100));
        let mut other = Backoff::new(Duration::from_millis(100), Duration::from_secs(1), 8);
        assert_ne!(other.next(), Backoff::new(Duration::from_millis(100), Duration::from_secs(1), 1234).next());
    }

    #[test]
    fn five_early_ends_in_a_minute_are_too_many() {
        let second = Duration::from_secs(1);
        let mut flapping = Flapping::default();
        let ends: Vec<bool> = (0..5).map(|n| flapping.ended(second * n, second)).collect();
        assert_eq!(ends, [false, false, false, false, true]);
        assert!(!flapping.ended(second * 10, second * 11), "one that lived proves the others an accident");
        let mut restarts = Flapping::default();
        let ends: Vec<bool> = (0..5)
            .map(|n| {
                restarts.refused();
                restarts.ended(second * n, second)
            })
            .collect();
        assert_eq!(ends, [false; 5], "a broker that is away in between is no rival");
        let mut slow = Flapping::default();
        assert!(!(0..20).any(|n| slow.ended(second * 20 * n, second)), "three a minute");
    }
}
