//! How a step of the chain tells that what it waits for outside does not answer.
//!
//! Transformations that try again by themselves write it, `src/task/watchdog.rs` of the worker shows it as `health`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What fails again and again: since when, and why it did last. Cheap to clone; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Outage(Arc<Mutex<Option<(Instant, String)>>>);

impl Outage {
    /// Once more, and this is why. Nothing secret: it is shown.
    pub fn fails(&self, cause: String) {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = failing.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        *failing = Some((since, cause));
    }

    /// No longer.
    pub fn works(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// For how long it has failed, and why it did last; `None` when all is well.
    pub fn look(&self) -> Option<(Duration, String)> {
        let failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failing.as_ref().map(|(since, cause)| (since.elapsed(), cause.clone()))
    }
}
