//! The loop of a sink task: consumer events → converters → chain → put, with flush and commit on the tick.
//!
//! Runs on the task's thread (`thread.rs`); the consumer has a thread of its own (`kafka/consumer.rs`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use pipette_api::{
    ConnectError, ErrorKind, Offsets, RawRecord, Signal, SinkBatch, SinkContext, SinkRecord, SinkTask, TopicPartition,
    Verdict, Wish,
};
use tokio::sync::{mpsc, oneshot};

use super::chain::Chain;
use super::codec::Codec;
use super::door::Request;
use super::guard::{Guard, Stage, backoff};
use super::progress::Progress;
use super::report::{Failure, Place};
use super::thread::Reporter;
use crate::kafka::consumer::{ConsumerCommand, ConsumerEvent, TaskConsumer};
use crate::metrics::meters::SinkMeters;

/// The first wait after a retriable error of `put` or `start`, doubled up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Everything a sink task runs with.
pub struct SinkLoop {
    /// Transformations.
    pub chain: Chain,
    /// Converters.
    pub codec: Codec,
    /// Decides about bad records.
    pub guard: Guard,
    /// The consumer thread.
    pub consumer: TaskConsumer,
    /// What the plugin asks for.
    pub requests: mpsc::UnboundedReceiver<Request>,
    /// What is wanted.
    pub signal: Signal,
    /// How often offsets are committed, and how long that may take.
    pub flush_interval: Duration,
    /// See `flush_interval`.
    pub flush_timeout: Duration,
    /// Tells the herder.
    pub reporter: Reporter,
    /// Tells the dashboards.
    pub meters: SinkMeters,
    /// What the task owns and how far it is.
    pub progress: Progress,
}

impl SinkLoop {
    /// Runs until stopped or failed. What was put is flushed and committed on the way out, also after a failure.
    pub async fn run(mut self, mut task: Box<dyn SinkTask>, context: SinkContext) -> Result<(), Failure> {
        if !self.started(&mut *task, &context).await? {
            return Ok(());
        }
        self.reporter.running();
        let ended = self.serve(&mut *task).await;
        let owned = self.progress.owned();
        let safe = self.flush(&mut *task, |_| true).await;
        let closed = if owned.is_empty() { Ok(()) } else { task.close(&owned).await };
        self.commit(safe).await;
        let stopped = task.stop().await.map_err(|error| Failure::new("stop", error));
        ended.and(closed.map_err(|error| Failure::new("close", error))).and(stopped)
    }

    async fn started(&mut self, task: &mut dyn SinkTask, context: &SinkContext) -> Result<bool, Failure> {
        let mut attempt = 1;
        loop {
            match task.start(context.clone()).await {
                Ok(()) => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Retriable => {
                    self.reporter.waiting(&error);
                    self.rest(&error, attempt, "Cannot start yet; trying again").await;
                    attempt += 1;
                }
                Err(error) => return Err(Failure::new("start", error)),
            }
            if self.signal.wish() == Wish::Stop {
                return Ok(false);
            }
        }
    }

    async fn serve(&mut self, task: &mut dyn SinkTask) -> Result<(), Failure> {
        let mut due = tokio::time::Instant::now() + self.flush_interval;
        let mut wish = self.follow(Wish::Run, &[]);
        loop {
            tokio::select! {
                () = self.signal.until(|now| now != wish) => {
                    if self.signal.wish() == Wish::Stop {
                        return Ok(());
                    }
                    wish = self.follow(wish, &self.progress.owned());
                    continue;
                }
                event = self.consumer.events.recv() => match event {
                    Some(event) => self.event(task, event, wish).await?,
                    None => return Err(Failure::new("consume", ConnectError::fatal("The consumer thread has ended"))),
                },
                Some(request) = self.requests.recv() => {
                    if self.grant(request)? {
                        due = tokio::time::Instant::now();
                    }
                }
                () = tokio::time::sleep_until(due) => {
                    self.flush_and_commit(task, |_| true).await;
                    due = tokio::time::Instant::now() + self.flush_interval;
                }
            }
            // A busy consumer must not keep the tick waiting.
            if tokio::time::Instant::now() >= due {
                self.flush_and_commit(task, |_| true).await;
                due = tokio::time::Instant::now() + self.flush_interval;
            }
        }
    }

    /// Follows a changed wish; the task stays in its group while it is paused.
    fn follow(&mut self, was: Wish, owned: &[TopicPartition]) -> Wish {
        let wish = self.signal.wish();
        match (was, wish) {
            (Wish::Run, Wish::Pause) => {
                self.tell(ConsumerCommand::Pause(owned.to_vec()));
                self.reporter.paused();
            }
            (Wish::Pause, Wish::Run) => {
                self.tell(ConsumerCommand::Resume(owned.to_vec()));
                self.reporter.running();
            }
            _ => {}
        }
        wish
    }

    async fn event(&mut self, task: &mut dyn SinkTask, event: ConsumerEvent, wish: Wish) -> Result<(), Failure> {
        match event {
            ConsumerEvent::Assigned(assigned) => {
                self.progress.assign(&assigned);
                let seeks = task.open(&assigned).await.map_err(|error| Failure::new("open", error))?;
                self.tell(ConsumerCommand::Opened(seeks));
                if wish == Wish::Pause {
                    self.tell(ConsumerCommand::Pause(assigned.into_iter().map(|partition| partition.tp).collect()));
                }
                Ok(())
            }
            ConsumerEvent::Records(records) => self.records(task, records).await,
            ConsumerEvent::Revoked(gone) => {
                let safe = self.flush(task, |tp| gone.contains(tp)).await;
                let closed = task.close(&gone).await;
                self.progress.forget(&gone);
                self.tell(ConsumerCommand::Closed(safe));
                closed.map_err(|error| Failure::new("close", error))
            }
            ConsumerEvent::Lost(gone) => {
                self.progress.forget(&gone);
                task.close(&gone).await.map_err(|error| Failure::new("close", error))
            }
            ConsumerEvent::Failed(error) => Err(Failure::new("consume", error)),
        }
    }

    async fn records(&mut self, task: &mut dyn SinkTask, raw: Vec<RawRecord>) -> Result<(), Failure> {
        self.meters.read.count(raw.len());
        let mut next = Offsets::new();
        let mut records = Vec::with_capacity(raw.len());
        let mut last: Option<(TopicPartition, i64)> = None;
        for origin in raw {
            // Neighbours are usually of one partition: the map is touched once per change, not per record.
            match &mut last {
                Some((tp, offset)) if *tp == origin.tp => *offset = origin.offset + 1,
                _ => {
                    if let Some((tp, offset)) = last.replace((origin.tp.clone(), origin.offset + 1)) {
                        next.insert(tp, offset);
                    }
                }
            }
            records.extend(self.prepare(origin).await?);
        }
        next.extend(last);
        if records.is_empty() || self.put(task, Arc::new(SinkBatch { records })).await? {
            for (tp, offset) in next {
                self.progress.advance(&tp, offset);
            }
        }
        Ok(())
    }

    /// Puts a batch, the same one again after a retriable error. False when the task is wanted back before the sink
    /// took it: it is read again next time.
    async fn put(&mut self, task: &mut dyn SinkTask, batch: Arc<SinkBatch>) -> Result<bool, Failure> {
        let mut attempt = 1;
        self.meters.batch_size.record(i64::try_from(batch.records.len()).unwrap_or(i64::MAX), Instant::now());
        loop {
            let began = Instant::now();
            let put = task.put(Arc::clone(&batch)).await;
            self.meters.put_ms.record_time(began, Instant::now());
            match put {
                Ok(()) => break,
                Err(error) if error.kind() == ErrorKind::Retriable => {
                    if attempt == 1 {
                        self.tell(ConsumerCommand::Pause(self.progress.owned()));
                    }
                    self.rest(&error, attempt, "The sink is away; putting the same records again").await;
                    attempt += 1;
                    if self.signal.wish() == Wish::Stop {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(Failure::new("put", error)),
            }
        }
        if attempt > 1 && self.signal.wish() == Wish::Run {
            self.tell(ConsumerCommand::Resume(self.progress.owned()));
        }
        // Reports made during put count before its offsets do.
        while let Ok(request) = self.requests.try_recv() {
            self.grant(request)?;
        }
        self.meters.sent.count(batch.records.len());
        Ok(true)
    }

    /// Does what the plugin asked for; true when it asked for a flush.
    fn grant(&mut self, request: Request) -> Result<bool, Failure> {
        match request {
            Request::Flush => Ok(true),
            Request::Report { batch, index, error } => {
                if let Some(record) = batch.records.get(index) {
                    self.bad::<()>(Stage::Put, &record.origin, error)?;
                }
                Ok(false)
            }
        }
    }

    async fn flush_and_commit(&mut self, task: &mut dyn SinkTask, chosen: impl Fn(&TopicPartition) -> bool) {
        let safe = self.flush(task, chosen).await;
        self.commit(safe).await;
    }

    /// Makes durable what was put for the chosen partitions; answers what is worth committing.
    async fn flush(&mut self, task: &mut dyn SinkTask, chosen: impl Fn(&TopicPartition) -> bool) -> Offsets {
        let upto = self.progress.put_so_far(chosen);
        if upto.is_empty() {
            return upto;
        }
        match task.flush(&upto).await {
            Ok(safe) => self.progress.worth_committing(safe),
            Err(error) => {
                tracing::warn!(error = %error.chain(), "The sink could not flush; nothing is committed");
                Offsets::new()
            }
        }
    }

    /// Commits; a refusal is told and tried again with the next flush.
    async fn commit(&mut self, offsets: Offsets) {
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
                self.meters.commit_ms.record_time(began, Instant::now());
                self.progress.committed(&offsets);
            }
            Ok(Ok(Err(error))) => tracing::warn!(error = %error.chain(), "Offsets are not committed; trying again"),
            Ok(Err(_)) => tracing::warn!("Offsets are not committed: the consumer thread has ended"),
            Err(_) => tracing::warn!("Offsets are not committed yet: Kafka does not answer"),
        }
    }

    /// A consumer thread that has ended says so through its events; what is told to it then is lost on nobody.
    fn tell(&self, command: ConsumerCommand) {
        let _ = self.consumer.commands.send(command);
    }

    async fn rest(&self, error: &ConnectError, attempt: u32, what: &'static str) {
        tracing::warn!(error = %error.chain(), attempt, "{what}");
        let wait = error.wait().unwrap_or_else(|| backoff(RETRY_FIRST, RETRY_MAX, attempt));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = self.signal.until(|wish| wish == Wish::Stop) => {}
        }
    }

    /// Bytes to record, through the chain. `None` when it was filtered or tolerated.
    async fn prepare(&mut self, origin: RawRecord) -> Result<Option<SinkRecord>, Failure> {
        let mut record = match self.codec.decode(&origin) {
            Ok(record) => record,
            Err((stage, error)) => return self.bad(stage, &origin, error),
        };
        let (mut at, mut attempt, began) = (0, 1, Instant::now());
        loop {
            match self.chain.apply(&mut record, &mut at) {
                Ok(Verdict::Keep) => return Ok(Some(SinkRecord { record, origin })),
                Ok(Verdict::Drop) => return Ok(None),
                Err(error) => match self.guard.retry(&error, attempt, began) {
                    Some(wait) if self.signal.wish() != Wish::Stop => {
                        tokio::time::sleep(wait).await;
                        attempt += 1;
                    }
                    _ => return self.bad(Stage::Transform, &origin, error),
                },
            }
        }
    }

    fn bad<T>(&self, stage: Stage, origin: &RawRecord, error: ConnectError) -> Result<Option<T>, Failure> {
        let place = Place::Sink { tp: origin.tp.clone(), offset: origin.offset };
        self.guard.judge(Failure::at(stage, place, error)).map(|()| None)
    }
}
