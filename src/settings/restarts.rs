//! The keys that say how a connector and its tasks are restarted after a failure: additions to Apache's.
//!
//! `herder/restarts.rs` decides by them; `herder/validate.rs` lists them where a connector uses one.

use std::time::Duration;

use pipette_api::config::checks::{at_least, in_range};
use pipette_api::config::key::{Importance, Width};
use pipette_api::{ConfigDef, ConfigMap, Key, Result, Settings};

/// A week, in milliseconds: a longer wait is a slip of the pen.
const LONGEST: i64 = 604_800_000;

static MAX: Key<i32> = Key::new(
    "errors.restart.max",
    "How often a task, or a connector that cannot start, is restarted after failures that may pass; 0 for never, -1 \
     without end. Counted anew once it has run well for twice the longest wait.",
)
.default("-1")
.importance(Importance::Medium)
.group("Error Handling")
.width(Width::Short)
.display("Restarts after failures")
.check(at_least::<-1>);
static BACKOFF: Key<Duration> = Key::new(
    "errors.restart.backoff.ms",
    "The wait before the first restart, in milliseconds; a week at most. Each further one is twice as long; from half of it to all of \
     it is waited, by chance, so that tasks that failed together do not come back together.",
)
.default("10000")
.importance(Importance::Low)
.group("Error Handling")
.width(Width::Medium)
.display("Wait before the first restart")
.check(in_range::<1, LONGEST>);
static BACKOFF_MAX: Key<Duration> =
    Key::new("errors.restart.backoff.max.ms", "The longest wait before a restart, in milliseconds; a week at most.")
        .default("300000")
        .importance(Importance::Low)
        .group("Error Handling")
        .width(Width::Medium)
        .display("Longest wait before a restart")
        .check(in_range::<1, LONGEST>);

/// `errors.restart.*`.
pub static KEYS: ConfigDef = ConfigDef::new(&[&MAX.info, &BACKOFF.info, &BACKOFF_MAX.info]);

/// How failures are followed by restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// How often; `None` is without end.
    pub max: Option<u32>,
    /// The first wait.
    pub backoff: Duration,
    /// The longest.
    pub backoff_max: Duration,
}

impl RestartPolicy {
    /// What a connector says about it. The error names the key to mend.
    pub fn read(config: &ConfigMap) -> Result<Self> {
        let settings = Settings::new(config.clone(), &KEYS);
        Ok(Self {
            max: u32::try_from(settings.get(&MAX)?).ok(),
            backoff: settings.get(&BACKOFF)?,
            backoff_max: settings.get(&BACKOFF_MAX)?,
        })
    }

    /// How long something has to run well before its failures are counted anew.
    pub fn healed_after(&self) -> Duration {
        self.backoff_max.saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_bad_ones_are_named() {
        let read = |key: &str, value: &str| RestartPolicy::read(&ConfigMap::from([(key.into(), value.into())]));
        assert_eq!(read("errors.restart.max", "-1").unwrap().max, None);
        assert_eq!(read("errors.restart.max", "0").unwrap().max, Some(0));
        assert_eq!(read("errors.restart.backoff.ms", "250").unwrap().backoff, Duration::from_millis(250));
        for (key, value) in [
            ("errors.restart.max", "-2"),
            ("errors.restart.backoff.max.ms", "0"),
            ("errors.restart.backoff.ms", "soon"),
            ("errors.restart.backoff.ms", "604800001"),
            ("errors.restart.backoff.max.ms", "9223372036854775807"),
        ] {
            let error = read(key, value).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
