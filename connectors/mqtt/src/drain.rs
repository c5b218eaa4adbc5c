//! The session of a task that is gone: emptied until nothing comes any more, then given up.
//!
//! Without this, messages that the broker keeps for a client id that nobody uses would be stranded when `tasks.max` or the
//! filters change. `source.rs` asks it. Read next: `source.rs`.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// When a session counts as empty.
#[derive(Debug)]
pub(crate) struct Drain {
    idle: Duration,
    /// From the first connection on.
    silent_from: Option<Instant>,
    empty: bool,
}

impl Drain {
    pub(crate) fn new(idle: Duration) -> Self {
        Self { idle, silent_from: None, empty: false }
    }

    /// The broker accepted the connection, and has such a session or not.
    pub(crate) fn connected(&mut self, session_present: bool) {
        self.empty |= !session_present;
        self.heard();
    }

    /// Something came.
    pub(crate) fn heard(&mut self) {
        self.silent_from = Some(Instant::now());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.empty
    }

    /// Resolves when nothing has come for long enough. May be dropped at any await.
    pub(crate) async fn silence(&mut self) {
        match self.silent_from {
            Some(from) => sleep_until(from + self.idle).await,
            None => std::future::pending().await,
        }
        self.empty = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silence_counts_from_the_last_message() {
        let mut drain = Drain::new(Duration::from_millis(40));
        drain.connected(true);
        assert!(!drain.is_empty());
        let begun = Instant::now();
        drain.silence().await;
        assert!(drain.is_empty() && begun.elapsed() >= Duration::from_millis(40));
        let mut unknown = Drain::new(Duration::from_mins(1));
        unknown.connected(false);
        assert!(unknown.is_empty(), "the broker knows no such session");
    }
}
