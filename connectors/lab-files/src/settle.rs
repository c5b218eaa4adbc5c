//! When a file is complete: looks that agree, apart by our own clock.
//!
//! Plain data without a clock of its own: `now` is the time since the task began, by a monotonic clock. Time stamps of
//! files are compared with each other only, never with a clock, because copies keep old ones and servers' clocks are
//! wrong. `ledger.rs` keeps one of these per file. Read next: `ledger.rs`.

use std::time::Duration;

use crate::identity::Look;

/// The rule for all files of a task.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SettleRule {
    /// Looks in a row that must agree.
    pub(crate) checks: u32,
    /// Time between two looks that count.
    pub(crate) interval: Duration,
    /// Time since first sight.
    pub(crate) min_age: Duration,
}

/// What has been seen of a file so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settling {
    pub(crate) look: Look,
    equal: u32,
    counted_at: Duration,
    first_seen: Duration,
}

impl Settling {
    /// The first look.
    pub(crate) fn begin(look: Look, now: Duration) -> Self {
        Self { look, equal: 1, counted_at: now, first_seen: now }
    }

    /// Another look. One that comes too soon counts only when it shows a change.
    pub(crate) fn observe(&mut self, look: Look, now: Duration, rule: SettleRule) {
        if look != self.look {
            *self = Self { first_seen: self.first_seen, ..Self::begin(look, now) };
        } else if now.saturating_sub(self.counted_at) >= rule.interval {
            self.equal = self.equal.saturating_add(1);
            self.counted_at = now;
        }
    }

    /// True when the file may be read.
    pub(crate) fn is_settled(&self, now: Duration, rule: SettleRule) -> bool {
        self.equal >= rule.checks && now.saturating_sub(self.first_seen) >= rule.min_age
    }

    /// When the next look can change the answer.
    pub(crate) fn next_look(&self, rule: SettleRule) -> Duration {
        if self.equal >= rule.checks { self.first_seen + rule.min_age } else { self.counted_at + rule.interval }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn look(size: u64) -> Look {
        Look { size, ..Look::default() }
    }

    proptest! {
        /// Whatever the sequence of looks, a file is only settled after `checks` equal looks spread over
        /// `(checks - 1) * interval`, and never before its age.
        #[test]
        fn settled_means_unchanged_for_the_whole_time(
            sizes in prop::collection::vec(0_u64..3, 1..60),
            steps in prop::collection::vec(1_u64..700, 60),
            checks in 0_u32..5,
            min_age in 0_u64..3_000,
        ) {
            let rule = SettleRule {
                checks,
                interval: Duration::from_secs(1),
                min_age: Duration::from_millis(min_age),
            };
            let mut now = Duration::from_millis(5);
            let first = now;
            let mut settling = Settling::begin(look(sizes[0]), now);
            let mut unchanged_since = now;
            let mut last = sizes[0];
            for (size, step) in sizes[1..].iter().zip(steps) {
                now += Duration::from_millis(step);
                if *size != last {
                    (last, unchanged_since) = (*size, now);
                }
                settling.observe(look(*size), now, rule);
                prop_assert_eq!(settling.look, look(last));
                if settling.is_settled(now, rule) {
                    prop_assert!(now >= unchanged_since + rule.interval * checks.saturating_sub(1));
                    prop_assert!(now >= first + rule.min_age);
                }
            }
        }

        /// A file that nobody touches settles at its next looks, and not later.
        #[test]
        fn an_untouched_file_settles_when_promised(checks in 0_u32..6, min_age in 0_u64..5_000) {
            let rule = SettleRule {
                checks,
                interval: Duration::from_millis(200),
                min_age: Duration::from_millis(min_age),
            };
            let mut settling = Settling::begin(look(1), Duration::ZERO);
            let mut now = Duration::ZERO;
            for _ in 0..8 {
                if settling.is_settled(now, rule) {
                    break;
                }
                now = settling.next_look(rule);
                settling.observe(look(1), now, rule);
            }
            prop_assert!(settling.is_settled(now, rule));
            let looks = rule.interval * checks.saturating_sub(1);
            prop_assert_eq!(now, looks.max(rule.min_age));
        }
    }
}
