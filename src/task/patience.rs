//! Trying again: the wait after a retriable error, and a plugin's `start` that is called until it works.
//!
//! Both loops use it; a wait ends early when something else is wanted of the task.

use std::time::Duration;

use pipette_api::{ConnectError, ErrorKind, Result, Signal, Wish};

use super::guard::backoff;
use super::report::Failure;
use super::thread::Reporter;
use crate::descriptors;

/// The first wait, doubled for each attempt up to the longest.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// How long to wait after the error: as long as it asks for, or longer with each attempt (counted from 1).
pub fn delay(error: &ConnectError, attempt: u32) -> Duration {
    error.wait().unwrap_or_else(|| backoff(FIRST, LONGEST, attempt))
}

/// Waits, shorter when something else is wanted of the task meanwhile.
pub async fn wait(signal: &Signal, time: Duration) {
    let wish = signal.wish();
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = signal.until(|now| now != wish) => {}
    }
}

/// Tells why something is tried again, and waits.
pub async fn rest(signal: &Signal, error: &ConnectError, attempt: u32, what: &'static str) {
    tracing::warn!(error = %descriptors::explained(error.chain()), attempt, "{what}");
    wait(signal, delay(error, attempt)).await;
}

/// Calls a plugin's `start` until it works or says that trying does not help. False when the task is wanted back first.
pub async fn started(
    signal: &Signal,
    reporter: &Reporter,
    mut start: impl AsyncFnMut() -> Result<()>,
) -> Result<bool, Failure> {
    let mut attempt = 1;
    loop {
        match start().await {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Retriable => {
                reporter.waiting(&error);
                rest(signal, &error, attempt, "Cannot start yet; trying again").await;
                attempt += 1;
            }
            Err(error) => return Err(Failure::new("start", error)),
        }
        if signal.wish() == Wish::Stop {
            return Ok(false);
        }
    }
}
