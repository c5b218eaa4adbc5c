//! Plugin code that answers a question, on a thread for the call and with a deadline.
//!
//! Validation and `GET /connectors/{c}/{question}` come through here. A call that never returns costs a thread; when too
//! many hang, further ones are refused instead of started, those of the one to blame long before those of others.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::handle::HerderError;

/// How many calls may be under way, hung ones included.
const CALLS: usize = 64;
/// How many of them into one plugin.
const OF_ONE: usize = 8;

/// Starts the threads.
#[derive(Clone)]
pub struct Aside {
    permits: Arc<Semaphore>,
    /// By what is called, as long as a call of it is under way.
    of_one: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
    deadline: Duration,
}

/// Held by the thread of a call.
type Permits = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Aside {
    /// Calls with that deadline.
    pub fn new(deadline: Duration) -> Self {
        Self { permits: Arc::new(Semaphore::new(CALLS)), of_one: Arc::default(), deadline }
    }

    /// Runs code of the plugin `whose` and waits for it. `what` begins the sentence that tells of a failure.
    pub async fn call<T: Send + 'static>(
        &self,
        whose: &str,
        what: &str,
        code: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, HerderError> {
        let late = || HerderError::Internal(format!("{what} did not finish within {:?}", self.deadline));
        let permits = tokio::time::timeout(self.deadline, self.permits(whose)).await;
        let Ok(Some(permits)) = permits else {
            return Err(HerderError::Internal(format!(
                "{what} could not begin: {OF_ONE} calls into it, or {CALLS} into plugins, are under way and do not \
                 return; restart the worker"
            )));
        };
        let (reply, answer) = oneshot::channel();
        let thread = std::thread::Builder::new().name("aside".into()).spawn(move || {
            let _permits = permits;
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

    /// Its own first: who waits for those keeps nobody else waiting.
    async fn permits(&self, whose: &str) -> Option<Permits> {
        let own = {
            let mut of_one = self.of_one.lock().unwrap_or_else(PoisonError::into_inner);
            of_one.retain(|_, permits| Arc::strong_count(permits) > 1);
            Arc::clone(of_one.entry(whose.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(OF_ONE))))
        };
        Some((own.acquire_owned().await.ok()?, Arc::clone(&self.permits).acquire_owned().await.ok()?))
    }
}

/// What a panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no text".into())
}
