//! The other half of the sink loop (`sink.rs`): what was put is made durable and its offsets are committed, or, when the
//! sink cannot flush, its partitions are sent back to what is committed and their records come again.
//!
//! How far that is, and what is worth committing, is in `progress.rs`.

use std::time::Instant;

use pipette_api::{ConnectError, ErrorKind, Offsets, SinkTask, TopicPartition};
use tokio::sync::oneshot;

use super::patience;
use super::pieces::Pieces;
use super::pulse::Call;
use super::refusals::Refused;
use super::repeats::Repeats;
use super::report::Failure;
use super::sink::SinkLoop;
use crate::kafka::consumer::ConsumerCommand;

/// How flushes and commits have gone.
#[derive(Debug, Default)]
pub struct Flushing {
    /// Flushes that failed since one succeeded.
    row: u32,
    /// Flushes that failed.
    failures: u64,
    failed: Repeats,
    refused_commits: Repeats,
}

impl Flushing {
    /// Flushes that have failed so far.
    pub fn failures(&self) -> u64 {
        self.failures
    }
}

/// What came of a flush.
struct Flushed {
    /// What is worth committing.
    safe: Offsets,
    /// Whether a report made meanwhile ends the task.
    judged: Result<(), Failure>,
    failed: Option<ConnectError>,
}

impl SinkLoop {
    /// On the tick. After a flush that failed the task rests, and its records come again.
    pub(super) async fn flush_and_commit(&mut self, task: &mut dyn SinkTask) -> Result<(), Failure> {
        let Flushed { safe, judged, failed } = self.flush(task, |_| true).await;
        self.commit(safe).await;
        let Some(error) = failed else { return judged };
        let sent_back = self.rewind();
        self.uncollected(&[], &sent_back)?;
        judged?;
        if matches!(error.kind(), ErrorKind::Fatal | ErrorKind::Config) {
            return Err(Failure::new("flush", error));
        }
        if let Some(times) = self.flushing.failed.hear(&error.chain(), Instant::now()) {
            let (error, partitions) = (error.chain(), sent_back.len());
            tracing::warn!(
                error,
                times,
                partitions,
                "The sink could not flush; its records come again from the committed offsets on"
            );
        }
        self.tell(ConsumerCommand::Hold);
        let wait = patience::delay(&error, self.flushing.row);
        let rested = self.rest_in_group(task, &mut Pieces::default(), wait).await;
        self.go_on();
        rested
    }

    /// Before the chosen partitions are closed. What cannot be flushed is not committed: whoever has the partitions next
    /// reads it again.
    pub(super) async fn flush_at_close(
        &mut self,
        task: &mut dyn SinkTask,
        chosen: impl Fn(&TopicPartition) -> bool,
    ) -> (Offsets, Result<(), Failure>) {
        let Flushed { safe, judged, failed } = self.flush(task, chosen).await;
        if let Some(error) = failed {
            let error = error.chain();
            tracing::warn!(
                error,
                "The sink could not flush before it gave partitions up; nothing is committed, and the next owner reads again"
            );
        }
        (safe, judged)
    }

    /// Sends every partition back to what is committed; answers which. Whatever the sink held of them it may have lost.
    pub(super) fn rewind(&mut self) -> Vec<TopicPartition> {
        let (begins, generation) = self.progress.rewind();
        let partitions = begins.keys().cloned().collect();
        if !begins.is_empty() {
            self.tell(ConsumerCommand::Rewind(begins, generation));
        }
        partitions
    }

    /// Makes durable what was put for the chosen partitions. A task that was given up has nothing to commit (Law 3).
    async fn flush(&mut self, task: &mut dyn SinkTask, chosen: impl Fn(&TopicPartition) -> bool) -> Flushed {
        let upto = self.progress.put_so_far(chosen);
        self.progress.show(&mut self.meters);
        if self.signal.is_given_up() {
            return Flushed { safe: Offsets::new(), judged: Ok(()), failed: None };
        }
        let is_idle = upto.is_empty();
        let flushed = if upto.is_empty() { Ok(upto) } else { self.pulse.during(Call::Flush, task.flush(&upto)).await };
        let judged = Box::pin(self.judge_flush()).await;
        let judged = judged.and(self.settle_dead_letters().await);
        match flushed {
            Ok(safe) => {
                if !is_idle {
                    self.flushed();
                }
                Flushed { safe: self.worth_committing(safe), judged, failed: None }
            }
            Err(error) => {
                self.flushing.failures += 1;
                self.flushing.row = self.flushing.row.saturating_add(1);
                self.pulse.flushes().fails(error.chain());
                Flushed { safe: Offsets::new(), judged, failed: Some(error) }
            }
        }
    }

    fn flushed(&mut self) {
        if self.flushing.row > 0 {
            self.flushing.row = 0;
            self.flushing.failed.end();
            self.pulse.flushes().works();
        }
    }

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
                self.flushing.refused_commits.end();
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
        if let Some(times) = self.flushing.refused_commits.hear(cause, Instant::now()) {
            tracing::warn!(error = cause, times, "Offsets are not committed; trying again");
        }
    }

    /// Looks at every report that a flush led to.
    async fn judge_flush(&mut self) -> Result<(), Failure> {
        let reported = self.granted();
        let Some(error) = self.refusals.after_flush(&reported) else { return self.bury(reported).await };
        for Refused { origin, .. } in &reported {
            self.progress.stop_before(&origin.tp, origin.offset);
        }
        Err(Failure::new("put", error))
    }

    /// Waits for the dead letters; what stays without one is held back by the progress.
    async fn settle_dead_letters(&mut self) -> Result<(), Failure> {
        if let Some(dead_letters) = &mut self.dead_letters {
            dead_letters.settle(self.flush_timeout).await;
        }
        self.take_dead_letters()
    }
}
