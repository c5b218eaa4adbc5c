//! How a sink's task commits: one attempt, its outcome told and counted. A part of `sink.rs`' [`SinkLoop`].

use std::time::Instant;

use pipette_api::Offsets;
use tokio::sync::oneshot;

use super::sink::SinkLoop;
use crate::kafka::consumer::ConsumerCommand;

impl SinkLoop {
    /// Commits; a refusal is told and tried again with the next flush.
    pub(super) async fn commit(&mut self, offsets: Offsets) {
        if offsets.is_empty() {
            return;
        }
        let (reply, answer) = oneshot::channel();
        let began = Instant::now();
        self.meters.commit_sequence.add(1);
        self.tell(ConsumerCommand::Commit(offsets.clone(), None, reply));
        match tokio::time::timeout(self.flush_timeout, answer).await {
            Ok(Ok(Ok(()))) => {
                self.meters.commits.add(1);
                self.meters.all_commits.add(1);
                self.meters.commit_ms.record_time(began, Instant::now());
                self.progress.committed(&offsets);
                self.refused_commits.end();
            }
            Ok(Ok(Err(error))) => self.uncommitted(&error.chain()),
            Ok(Err(_)) => self.uncommitted("the consumer thread has ended"),
            Err(_) => {
                self.meters.commits_skipped.add(1);
                self.uncommitted("Kafka does not answer");
            }
        }
        self.progress.show(&mut self.meters);
    }

    fn uncommitted(&mut self, cause: &str) {
        self.meters.commit_failures.add(1);
        if let Some(times) = self.refused_commits.hear(cause, Instant::now()) {
            tracing::warn!(error = cause, times, "Offsets are not committed; trying again");
        }
    }
}
