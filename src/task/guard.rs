//! What happens to a record that cannot be handled: skip it, or fail the task.
//!
//! The two loops ask; `report.rs` tells the world what was decided.

use std::time::{Duration, Instant};

use pipette_api::{ConnectError, ErrorKind};

use super::spec::ErrorPolicy;

/// Where a record was when it failed; Java's names go into headers and log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The source could not make a record of its input.
    Poll,
    /// A step of the chain.
    Transform,
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
            Self::Transform => "transformation",
            Self::KeyConverter => "key converter",
            Self::ValueConverter => "value converter",
            Self::HeaderConverter => "header converter",
            Self::Produce => "produce",
            Self::Put => "put",
        }
    }
}

/// What to do about an error.
#[derive(Debug)]
pub enum Outcome {
    /// Try the same again after this wait.
    Retry(Duration),
    /// Go on without the record.
    Skip,
    /// The task ends.
    Fail,
}

/// Decides by `errors.*` (KIP-298). Pure: the loop keeps the time.
#[derive(Debug)]
pub struct Guard {
    policy: ErrorPolicy,
}

/// Java's first wait between two tries of one operation.
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(300);

impl Guard {
    /// A guard with that policy.
    pub fn new(policy: ErrorPolicy) -> Self {
        Self { policy }
    }

    /// The policy.
    pub fn policy(&self) -> &ErrorPolicy {
        &self.policy
    }

    /// What to do about an error of one record; `attempt` counts from 1, `began` is when the first try was made.
    pub fn decide(&self, error: &ConnectError, attempt: u32, began: Instant) -> Outcome {
        if error.kind() == ErrorKind::Retriable && self.may_retry(began) {
            return Outcome::Retry(error.wait().unwrap_or_else(|| self.delay(attempt)));
        }
        if self.policy.tolerate { Outcome::Skip } else { Outcome::Fail }
    }

    fn may_retry(&self, began: Instant) -> bool {
        self.policy.retry_timeout.is_none_or(|timeout| began.elapsed() < timeout)
    }

    fn delay(&self, attempt: u32) -> Duration {
        backoff(FIRST_RETRY_DELAY, self.policy.retry_delay_max, attempt)
    }
}

/// `first`, doubled for each attempt after the first, at most `max`.
pub fn backoff(first: Duration, max: Duration, attempt: u32) -> Duration {
    first.saturating_mul(1 << attempt.saturating_sub(1).min(20)).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(tolerate: bool, retry_timeout: Option<Duration>) -> Guard {
        Guard::new(ErrorPolicy { tolerate, retry_timeout, ..ErrorPolicy::default() })
    }

    #[test]
    fn only_retriable_errors_are_tried_again_and_only_in_time() {
        let (now, away, bad) = (Instant::now(), ConnectError::retriable("away"), ConnectError::data("bad"));
        assert!(matches!(guard(false, None).decide(&away, 1, now), Outcome::Retry(_)));
        assert!(matches!(guard(false, None).decide(&bad, 1, now), Outcome::Fail));
        assert!(matches!(guard(false, Some(Duration::ZERO)).decide(&away, 1, now), Outcome::Fail));
        assert!(matches!(guard(true, Some(Duration::ZERO)).decide(&away, 1, now), Outcome::Skip));
    }

    #[test]
    fn waits_double_up_to_the_limit() {
        let waits: Vec<_> = (1..6).map(|n| backoff(Duration::from_millis(300), Duration::from_secs(2), n)).collect();
        assert_eq!(waits.iter().map(Duration::as_millis).collect::<Vec<_>>(), [300, 600, 1200, 2000, 2000]);
        assert_eq!(backoff(Duration::from_millis(300), Duration::from_secs(2), u32::MAX), Duration::from_secs(2));
    }
}
