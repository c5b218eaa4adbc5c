//! Offsets on their way from the ledger to the store, and the hooks that wait for them.
//!
//! One per source task. Keeps what the store did not take, so that a full disk delays offsets and loses none.

use std::sync::Arc;
use std::time::Duration;

use pipette_api::{Hook, Signal};
use tokio::time::Instant;

use super::ledger::{Commit, Ledger};
use crate::store::OffsetStore;

/// A waiting `committed` hook makes a commit within this time.
const HOOK_WAITS_AT_MOST: Duration = Duration::from_millis(50);
/// How long a store that refused is left alone.
const STORE_REST: Duration = Duration::from_secs(1);

/// When and how one task commits.
pub struct Commits {
    connector: Arc<str>,
    store: Arc<dyn OffsetStore>,
    interval: Duration,
    due: Instant,
    pending: Commit,
}

impl Commits {
    /// Commits of a connector's task, every `interval` at least.
    pub fn new(connector: Arc<str>, store: Arc<dyn OffsetStore>, interval: Duration) -> Self {
        Self { connector, store, interval, due: Instant::now() + interval, pending: Commit::default() }
    }

    /// When the next commit should be made.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Brings the next commit forward when a hook waits for it.
    pub fn hurry_for_hooks(&mut self, ledger: &Ledger) {
        if ledger.hook_waits() {
            self.due = self.due.min(Instant::now() + HOOK_WAITS_AT_MOST);
        }
    }

    /// Stores what may be stored, then runs the hooks that waited for it (Law 2). A store that refuses is told in the
    /// log and asked again; nothing newer overtakes. A task that was given up while the store wrote runs no hook: another
    /// one may do its work by then (Law 3). False when the store refused.
    pub async fn commit(&mut self, ledger: &mut Ledger, signal: &Signal) -> bool {
        self.due = Instant::now() + self.interval;
        if self.pending.is_empty() {
            self.pending = ledger.take_commit();
        }
        if self.pending.is_empty() {
            return true;
        }
        if !self.pending.offsets.is_empty()
            && let Err(error) = self.store.put(&self.connector, self.pending.offsets.clone()).await
        {
            tracing::error!(error = %error.chain(), "Offsets are not stored; trying again");
            self.due = Instant::now() + STORE_REST.min(self.interval);
            return false;
        }
        let stored = std::mem::take(&mut self.pending);
        if signal.is_given_up() {
            return true;
        }
        stored.hooks.into_iter().for_each(Hook::run);
        // What became committable while the store refused goes next, not a whole interval later.
        self.hurry_for_hooks(ledger);
        true
    }
}
