//! Waiting for a store that is away: ClaimCheck and ClaimCheckRestore try again by themselves, because the worker does so
//! only when `errors.retry.timeout` asks for it.

use std::time::{Duration, Instant};

use pipette_api::{ErrorKind, Key, Result, Settings};

/// How long a store may be away.
pub(crate) static RETRY_TIMEOUT: Key<i64> = Key::new(
    "retry.timeout.ms",
    "How long a store that is away is asked again for one record, before `errors.*` of the connector decide. -1: for ever.",
)
.default("120000")
.check(pipette_api::config::checks::at_least::<-1>);

const FIRST_WAIT: Duration = Duration::from_millis(300);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What the key says; `None` is for ever.
pub(crate) fn retry_timeout(settings: &Settings) -> Result<Option<Duration>> {
    Ok(u64::try_from(settings.get(&RETRY_TIMEOUT)?).ok().map(Duration::from_millis))
}

/// Makes a call again and again while it is retriable and the time is not over.
pub(crate) async fn patiently<T, F: Future<Output = Result<T>>>(
    timeout: Option<Duration>,
    mut call: impl FnMut() -> F,
) -> Result<T> {
    let (began, mut wait) = (Instant::now(), FIRST_WAIT);
    loop {
        let error = match call().await {
            Err(error) if error.kind() == ErrorKind::Retriable => error,
            outcome => return outcome,
        };
        let rest = error.wait().unwrap_or(wait);
        if timeout.is_some_and(|timeout| began.elapsed() + rest > timeout) {
            return Err(error);
        }
        tracing::warn!(error = error.chain(), "The store is away; trying again");
        tokio::time::sleep(rest).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use pipette_api::ConnectError;

    use super::*;

    #[test]
    fn only_what_may_help_is_tried_again_and_not_for_longer_than_said() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let tries = |timeout: Option<u64>, ends_after: usize, error: fn(&str) -> ConnectError| {
            let calls = Cell::new(0);
            let outcome = runtime.block_on(patiently(timeout.map(Duration::from_millis), || {
                calls.set(calls.get() + 1);
                let call = calls.get();
                async move {
                    if call > ends_after { Ok(()) } else { Err(error("away").retry_after(Duration::from_millis(1))) }
                }
            }));
            (outcome.is_ok(), calls.get())
        };
        assert_eq!(tries(None, 3, |text| ConnectError::retriable(text)), (true, 4));
        assert_eq!(tries(Some(0), 3, |text| ConnectError::retriable(text)), (false, 1));
        assert_eq!(tries(Some(5000), 3, |text| ConnectError::fatal(text)), (false, 1));
    }
}
