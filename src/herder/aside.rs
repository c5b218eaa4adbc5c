//! Plugin code that answers a question, on a thread for the call and with a deadline.
//!
//! Validation and `GET /connectors/{c}/{question}` come through here. A call that never returns costs a thread; when too
//! many hang, further ones are refused instead of started.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use super::handle::HerderError;

/// How many calls may be under way, hung ones included.
const CALLS: usize = 64;

/// Starts the threads.
#[derive(Clone)]
pub struct Aside {
    permits: Arc<Semaphore>,
    deadline: Duration,
}

impl Aside {
    /// Calls with that deadline.
    pub fn new(deadline: Duration) -> Self {
        Self { permits: Arc::new(Semaphore::new(CALLS)), deadline }
    }

    /// Runs plugin code and waits for it. `what` begins the sentence that tells of a failure.
    pub async fn call<T: Send + 'static>(
        &self,
        what: &str,
        code: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HerderError> {
        let late = || HerderError::Internal(format!("{what} did not finish within {:?}", self.deadline));
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = tokio::time::timeout(self.deadline, permit).await;
        let Ok(Ok(permit)) = permit else {
            return Err(HerderError::Internal(format!(
                "{what} could not begin: {CALLS} calls into plugins are under way and do not return; restart the worker"
            )));
        };
        let (reply, answer) = oneshot::channel();
        let thread = std::thread::Builder::new().name("aside".into()).spawn(move || {
            let _permit = permit;
            // The caller may have given up waiting.
            let _ = reply.send(catch_unwind(AssertUnwindSafe(code)).map_err(|panic| panic_text(&*panic)));
        });
        thread.map_err(|error| HerderError::Internal(format!("{what} could not begin: {error}")))?;
        match tokio::time::timeout(self.deadline, answer).await {
            Err(_) => Err(late()),
            Ok(Ok(Ok(value))) => Ok(value),
            Ok(Ok(Err(panic))) => Err(HerderError::Internal(format!("{what} panicked: {panic}"))),
            Ok(Err(_)) => Err(HerderError::Internal(format!("{what} ended without an answer"))),
        }
    }
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".into())
}
