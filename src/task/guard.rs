//! What happens to a record that cannot be handled: try again, skip it, or fail the task.
//!
//! The two loops ask; `report.rs` tells the world what was decided.

use std::time::{Duration, Instant};

use pipette_api::{ConnectError, ErrorKind};

use super::report::{self, Failure, Place};
use super::spec::ErrorPolicy;
use crate::metrics::meters::ErrorMeters;

/// Where a record was when it failed; Java's names go into headers and log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The source could not make a record of its input.
    Poll,
    /// A step of the chain.
    Transform,
    /// A step of the chain that waits for something outside.
    Outside,
    /// A converter, on the way in or out.
    KeyConverter,
    /// A converter, on the way in or out.
    ValueConverter,
    /// A converter, on the way in or out.
    HeaderConverter,
    /// Kafka refused it.
    Produce,
    /// The sink reported it.
    Put,
}

impl Stage {
    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Transform | Self::Outside => "transformation",
            Self::KeyConverter => "key converter",
            Self::ValueConverter => "value converter",
            Self::HeaderConverter => "header converter",
            Self::Produce => "produce",
            Self::Put => "put",
        }
    }

    /// Java's name.
    pub fn java_name(self) -> &'static str {
        match self {
            Self::Poll => "TASK_POLL",
            Self::Transform | Self::Outside => "TRANSFORMATION",
            Self::KeyConverter => "KEY_CONVERTER",
            Self::ValueConverter => "VALUE_CONVERTER",
            Self::HeaderConverter => "HEADER_CONVERTER",
            Self::Produce => "KAFKA_PRODUCE",
            Self::Put => "TASK_PUT",
        }
    }

    /// Whether the error is the record's own. What every other record would meet as well (credentials, a missing table,
    /// a target that is away) is no bad record: skipping it would skip everything that follows.
    pub fn blames_the_record(self, error: &ConnectError) -> bool {
        match error.kind() {
            ErrorKind::Data => true,
            // Its time for retries is up, and Java skips it then.
            ErrorKind::Retriable => !matches!(self, Self::Outside | Self::Put | Self::Produce),
            ErrorKind::Config | ErrorKind::Fatal => false,
        }
    }
}

/// Decides by `errors.*` (KIP-298), counts, and has bad records told.
#[derive(Debug, Clone)]
pub struct Guard {
    policy: ErrorPolicy,
    meters: ErrorMeters,
}

/// Java's first wait between two tries of one operation.
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(300);

impl Guard {
    /// A guard with that policy.
    pub fn new(policy: ErrorPolicy, meters: ErrorMeters) -> Self {
        Self { policy, meters }
    }

    /// A record that failed for good: logged and counted, then tolerated, or handed back as the end of the task.
    pub fn judge(&self, stage: Stage, place: Place, error: ConnectError) -> Result<(), Failure> {
        let tolerated = self.tolerates(stage, &error);
        let failure = Failure::at(stage, place, error);
        report::log_record_error(&self.policy, &failure);
        self.meters.failures.add(1);
        if self.policy.log {
            self.meters.logged.add(1);
        }
        if tolerated {
            self.meters.skipped.add(1);
            return Ok(());
        }
        self.meters.errors.add(1);
        Err(failure)
    }

    /// Whether a record with such an error is skipped.
    pub fn tolerates(&self, stage: Stage, error: &ConnectError) -> bool {
        self.policy.tolerate && stage.blames_the_record(error)
    }

    /// The wait before the same is tried again, `None` when it has failed for good; `attempt` counts from 1, `began` is
    /// when the first try was made.
    pub fn retry(&self, error: &ConnectError, attempt: u32, began: Instant) -> Option<Duration> {
        let in_time = self.policy.retry_timeout.is_none_or(|timeout| began.elapsed() < timeout);
        if error.kind() != ErrorKind::Retriable || !in_time {
            return None;
        }
        self.meters.retries.add(1);
        Some(error.wait().unwrap_or_else(|| backoff(FIRST_RETRY_DELAY, self.policy.retry_delay_max, attempt)))
    }
}

/// `first`, doubled for each attempt after the first, at most `max`.
pub fn backoff(first: Duration, max: Duration, attempt: u32) -> Duration {
    first.saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::WorkerMetrics;

    fn guard(tolerate: bool, retry_timeout: Option<Duration>) -> Guard {
        let meters = ErrorMeters::new(&WorkerMetrics::new().connector("c"), 0);
        Guard::new(ErrorPolicy { tolerate, retry_timeout, ..ErrorPolicy::default() }, meters)
    }

    #[test]
    fn only_retriable_errors_are_tried_again_and_only_in_time() {
        let (now, away, bad) = (Instant::now(), ConnectError::retriable("away"), ConnectError::data("bad"));
        assert!(guard(false, None).retry(&away, 1, now).is_some());
        assert!(guard(false, None).retry(&bad, 1, now).is_none());
        assert!(guard(true, Some(Duration::ZERO)).retry(&away, 1, now).is_none());
    }

    #[test]
    fn a_tolerated_record_is_counted_and_another_ends_the_task() {
        let judge = |guard: &Guard, stage, error| guard.judge(stage, Place::Source { topic: None, from: None }, error);
        let bad = || ConnectError::data("bad");
        let lenient = guard(true, None);
        assert!(judge(&lenient, Stage::Transform, bad()).is_ok());
        assert_eq!((lenient.meters.failures.get(), lenient.meters.skipped.get()), (1, 1));
        let strict = guard(false, None);
        assert!(judge(&strict, Stage::Transform, bad()).is_err());
        assert_eq!((strict.meters.errors.get(), strict.meters.skipped.get()), (1, 0));
        let away = || ConnectError::retriable("away");
        assert!(judge(&lenient, Stage::Transform, away()).is_ok(), "its retries are over");
        for stage in [Stage::Outside, Stage::Put, Stage::Produce] {
            assert!(judge(&lenient, stage, away()).is_err(), "{stage:?}: the next record would meet it too");
        }
        assert!(judge(&lenient, Stage::Outside, bad()).is_ok(), "its own fault, wherever that was found");
        for error in [ConnectError::config("no such table"), ConnectError::fatal("wrong password")] {
            assert!(judge(&lenient, Stage::Put, error).is_err(), "the next record would meet it too");
        }
    }

    #[test]
    fn waits_double_up_to_the_limit() {
        let waits: Vec<_> = (1..6).map(|n| backoff(Duration::from_millis(300), Duration::from_secs(2), n)).collect();
        assert_eq!(waits.iter().map(Duration::as_millis).collect::<Vec<_>>(), [300, 600, 1200, 2000, 2000]);
        assert_eq!(backoff(Duration::from_millis(300), Duration::from_secs(2), u32::MAX), Duration::from_secs(2));
    }
}
