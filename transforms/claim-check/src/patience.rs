//! Waiting for a store that is away: ClaimCheck and ClaimCheckRestore try again by themselves, because the worker does so
//! only when `errors.retry.timeout` asks for it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pipette_api::{ConnectError, ErrorKind, Key, Outage, Result, Settings, TransformContext};

/// How long a store may be away.
pub(crate) static RETRY_TIMEOUT: Key<i64> = Key::new(
    "retry.timeout.ms",
    "How long a store that is away is asked again for one record, before the task fails (and is restarted by itself), \
     whatever `errors.tolerance` says: it is not the record's fault. -1: for ever.",
)
.default("120000")
.check(pipette_api::config::checks::at_least::<-1>);

const FIRST_WAIT: Duration = Duration::from_millis(300);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What the key says; `None` is for ever.
pub(crate) fn retry_timeout(settings: &Settings) -> Result<Option<Duration>> {
    Ok(u64::try_from(settings.get(&RETRY_TIMEOUT)?).ok().map(Duration::from_millis))
}

/// What the calls of one step know about its store together.
pub(crate) struct Patience {
    timeout: Option<Duration>,
    /// Where the task's health is told.
    outage: Outage,
    /// Since when this step's store is away.
    away: Mutex<Option<Instant>>,
}

impl Patience {
    pub(crate) fn new(timeout: Option<Duration>, context: &TransformContext) -> Self {
        Self { timeout, outage: context.outage.clone(), away: Mutex::default() }
    }

    /// Makes a call again and again while it is retriable and the time is not over.
    pub(crate) async fn outlast<T, F: Future<Output = Result<T>>>(&self, mut call: impl FnMut() -> F) -> Result<T> {
        let (began, mut wait) = (Instant::now(), FIRST_WAIT);
        loop {
            let error = match call().await {
                Err(error) if error.kind() == ErrorKind::Retriable => error,
                outcome => {
                    self.answers();
                    return outcome;
                }
            };
            self.is_away(&error);
            let rest = error.wait().unwrap_or(wait);
            if self.timeout.is_some_and(|timeout| began.elapsed() + rest > timeout) {
                return Err(error);
            }
            tokio::time::sleep(rest).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// One line for an outage, however many records meet it.
    fn is_away(&self, error: &ConnectError) {
        self.outage.fails(error.chain());
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if away.is_none() {
            *away = Some(Instant::now());
            tracing::warn!(error = error.chain(), "The store is away; trying again");
        }
    }

    fn answers(&self) {
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(since) = away {
            self.outage.works();
            tracing::info!(seconds = since.elapsed().as_secs(), "The store answers again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn patience(timeout: Option<u64>) -> Patience {
        let timeout = timeout.map(Duration::from_millis);
        Patience { timeout, outage: Outage::default(), away: Mutex::default() }
    }

    #[test]
    fn only_what_may_help_is_tried_again_and_not_for_longer_than_said() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let tries = |timeout: Option<u64>, ends_after: usize, error: fn(&str) -> ConnectError| {
            let calls = Cell::new(0);
            let patience = patience(timeout);
            let outcome = runtime.block_on(patience.outlast(|| {
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

    #[test]
    fn an_outage_is_told_while_it_lasts_and_gone_with_the_first_answer() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (patience, calls) = (patience(None), Cell::new(0));
        let outage = patience.outage.clone();
        let told = || outage.look().map(|(_, cause)| cause);
        let outcome = runtime.block_on(patience.outlast(|| {
            calls.set(calls.get() + 1);
            assert_eq!(told().as_deref(), (calls.get() > 1).then_some("refused"));
            let error = ConnectError::retriable("refused").retry_after(Duration::from_millis(1));
            std::future::ready(if calls.get() < 3 { Err(error) } else { Ok(()) })
        }));
        assert!(outcome.is_ok() && told().is_none());
        outage.fails("another step's".into());
        runtime.block_on(patience.outlast(|| std::future::ready(Ok(())))).unwrap();
        assert!(told().is_some(), "it is not this one's to say that it is over");
    }
}
