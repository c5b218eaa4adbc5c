//! The loop of a sink task: consumer events → converters → chain → put, with flush and commit on the tick (`flush.rs`).
//!
//! Runs on the task's thread (`thread.rs`); the consumer has a thread of its own (`kafka/consumer.rs`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipette_api::{
    ConnectError, ErrorKind, Offsets, RawRecord, Signal, SinkContext, SinkRecord, SinkTask, TopicPartition, Wish,
};
use tokio::sync::mpsc;

use super::chain::{Chain, Tried, Went};
use super::codec::Codec;
use super::dead_letters::{self, Blame, DeadLetters};
use super::door::Request;
use super::flush::Flushing;
use super::guard::{Guard, Stage};
use super::patience;
use super::pieces::Pieces;
use super::progress::Progress;
use super::pulse::{Call, Pulse};
use super::refusals::{Refusals, Refused};
use super::report::{Failure, Place};
use super::stage::collect::Collector;
use super::stage::line::Line;
use super::stage::sink::Waiting;
use super::thread::Reporter;
use crate::descriptors;
use crate::kafka::consumer::{Batch, ConsumerCommand, ConsumerEvent, TaskConsumer};
use crate::metrics::meters::SinkMeters;

/// Whoever reports a record, as Java calls it.
pub(super) const SINK_TASK: &str = "org.apache.kafka.connect.sink.SinkTask";

/// Everything a sink task runs with.
pub struct SinkLoop {
    /// Transformations.
    pub chain: Chain,
    /// Those of them that wait for something outside.
    pub line: Line<SinkRecord>,
    /// The first step, when it makes one record of several.
    pub collector: Option<Collector>,
    /// Converters.
    pub codec: Codec,
    /// Decides about bad records.
    pub guard: Guard,
    /// Keeps bad records.
    pub dead_letters: Option<DeadLetters>,
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
    /// When to flush and commit next.
    pub flush_at: tokio::time::Instant,
    /// What the task owns and how far it is.
    pub progress: Progress,
    /// Looks whether it is the records.
    pub refusals: Refusals,
    /// The wish that the consumer was told last.
    pub followed: Wish,
    /// Batches that came while an earlier one was put again and again, or during a pause.
    pub backlog: VecDeque<Batch>,
    /// Shows the watchdog what the thread does.
    pub pulse: Arc<Pulse>,
    /// Knows how flushes and commits went.
    pub flushing: Flushing,
}

impl SinkLoop {
    /// Runs until stopped or failed. What was put is flushed and committed on the way out, also after a failure.
    pub async fn run(mut self, mut task: Box<dyn SinkTask>, context: SinkContext) -> Result<(), Failure> {
        let pulse = Arc::clone(&self.pulse);
        let start = async || pulse.during(Call::Start, task.start(context.clone())).await;
        if !patience::started(&self.signal, &self.reporter, start).await? {
            return Ok(());
        }
        self.reporter.running();
        let ended = self.serve(&mut *task).await;
        let owned = self.progress.owned();
        let (safe, judged) = self.flush_at_close(&mut *task, |_| true).await;
        let closed = if owned.is_empty() { Ok(()) } else { pulse.during(Call::Close, task.close(&owned)).await };
        self.commit(safe).await;
        if self.line.has_steps() {
            pulse.during(Call::Stop, self.line.end(self.flush_timeout / 4)).await;
        }
        let stopped = pulse.during(Call::Stop, task.stop()).await.map_err(|error| Failure::new("stop", error));
        ended.and(judged).and(closed.map_err(|error| Failure::new("close", error))).and(stopped)
    }

    async fn serve(&mut self, task: &mut dyn SinkTask) -> Result<(), Failure> {
        self.flush_at = tokio::time::Instant::now() + self.flush_interval;
        self.follow();
        loop {
            // Looked at first: a batch that was given up for it must not be overtaken by the next one.
            if self.signal.wish() == Wish::Stop {
                return Ok(());
            }
            let wish = self.followed;
            tokio::select! {
                () = self.signal.until(|now| now != wish) => self.follow(),
                event = next_event(&mut self.backlog, &mut self.consumer.events, wish) => match event {
                    // On their way when the pause began: a sink that says it is paused is given nothing.
                    Some(ConsumerEvent::Records(batch)) if wish == Wish::Pause => self.backlog.push_back(batch),
                    Some(ConsumerEvent::Records(batch)) => self.batch(task, batch).await?,
                    Some(event) => {
                        let gone = self.rebalance(task, event).await?;
                        self.leave_out(&gone);
                    }
                    None => return Err(Failure::new("consume", ConnectError::fatal("The consumer thread has ended"))),
                },
                Some(request) = self.requests.recv() => {
                    let reported = self.grant(request).into_iter().collect();
                    self.bury(reported).await?;
                }
                () = dead_letters::delivered(self.dead_letters.as_ref()) => self.take_dead_letters()?,
                () = tokio::time::sleep_until(self.flush_at) => {}
            }
            // Outside of the choice: a busy consumer must not keep the tick waiting.
            let now = tokio::time::Instant::now();
            if now >= self.flush_at {
                self.flush_at = now + self.flush_interval;
                self.flush_and_commit(task).await?;
            }
        }
    }

    /// Follows a changed wish; the task stays in its group while it is paused.
    fn follow(&mut self) {
        let wish = self.signal.wish();
        match (std::mem::replace(&mut self.followed, wish), wish) {
            (Wish::Run, Wish::Pause) => {
                self.tell(ConsumerCommand::Hold);
                self.reporter.paused();
            }
            (Wish::Pause, Wish::Run) => {
                self.tell(ConsumerCommand::GoOn);
                self.reporter.running();
            }
            _ => {}
        }
    }

    /// Every event but records; answers which partitions are gone, or were sent back: what is at hand of them is left out.
    pub(super) async fn rebalance(
        &mut self,
        task: &mut dyn SinkTask,
        event: ConsumerEvent,
    ) -> Result<Vec<TopicPartition>, Failure> {
        let close_failed = |error| Failure::new("close", error);
        match event {
            ConsumerEvent::Assigned(assigned) => {
                self.progress.assign(&assigned);
                if let Some(collector) = &mut self.collector {
                    collector.assigned(&assigned).map_err(|error| Failure::new("open", error))?;
                }
                self.progress.show(&mut self.meters);
                let seeks = self
                    .pulse
                    .during(Call::Open, task.open(&assigned))
                    .await
                    .map_err(|error| Failure::new("open", error))?;
                self.tell(ConsumerCommand::Opened(seeks));
                Ok(Vec::new())
            }
            ConsumerEvent::Revoked(mut gone) => {
                let failed = self.flushing.failures();
                let (safe, judged) = self.flush_at_close(task, |tp| gone.contains(tp)).await;
                let closed = self.pulse.during(Call::Close, task.close(&gone)).await;
                self.progress.forget(&gone);
                self.progress.show(&mut self.meters);
                self.tell(ConsumerCommand::Closed(safe));
                // What the sink held of the others went with it.
                let mut sent_back = Vec::new();
                if self.flushing.failures() > failed {
                    sent_back = self.rewind();
                }
                self.uncollected(&gone, &sent_back)?;
                gone.extend(sent_back);
                closed.map_err(close_failed).and(judged).map(|()| gone)
            }
            ConsumerEvent::Lost(gone) => {
                self.progress.forget(&gone);
                self.uncollected(&gone, &[])?;
                self.progress.show(&mut self.meters);
                self.pulse.during(Call::Close, task.close(&gone)).await.map_err(close_failed).map(|()| gone)
            }
            ConsumerEvent::Failed(error) => Err(Failure::new("consume", error)),
            ConsumerEvent::Records(_) => unreachable!("records are no rebalance"),
        }
    }

    /// What has come; without what was on its way when its partition was sent back, which comes again.
    async fn batch(&mut self, task: &mut dyn SinkTask, batch: Batch) -> Result<(), Failure> {
        let Batch { mut records, mut ends, lease, generation } = batch;
        self.progress.leave_out_stale((&mut records, &mut ends), generation);
        self.records(task, records, ends).await?;
        drop(lease);
        Ok(())
    }

    /// `ends`: where partitions are behind these records.
    pub(super) async fn records(
        &mut self,
        task: &mut dyn SinkTask,
        raw: Vec<RawRecord>,
        ends: Offsets,
    ) -> Result<(), Failure> {
        self.meters.read.count(raw.len());
        let mut next = Offsets::new();
        let mut waiting = Waiting::of(raw.len());
        let mut last: Option<(TopicPartition, i64)> = None;
        for origin in raw {
            if waiting.gone.contains(&origin.tp) {
                continue;
            }
            // Neighbours are usually of one partition: the map is touched once per change, not per record.
            match &mut last {
                Some((tp, offset)) if *tp == origin.tp => *offset = origin.offset + 1,
                _ => {
                    self.progress.begin(&origin.tp, origin.offset);
                    if let Some((tp, offset)) = last.replace((origin.tp.clone(), origin.offset + 1)) {
                        next.insert(tp, offset);
                    }
                }
            }
            self.prepare(task, &mut waiting, origin).await?;
        }
        next.extend(last);
        for (tp, end) in ends {
            next.entry(tp).and_modify(|next| *next = end.max(*next)).or_insert(end);
        }
        Box::pin(self.give_up_overdue()).await?;
        if self.line.has_steps() {
            Box::pin(self.gather(task, &mut waiting)).await?;
            next.retain(|tp, _| !waiting.gone.contains(tp));
        }
        // Wanted back meanwhile: what was not tried to its end is neither put nor skipped, it is read again next time.
        if self.is_recalled() {
            return Ok(());
        }
        let Some(next) = self.put(task, Pieces::new(waiting.records, next)).await? else { return Ok(()) };
        for (tp, offset) in next {
            self.progress.advance(&tp, offset);
        }
        Ok(())
    }

    /// Puts a batch, the same one again after a retriable error, and in halves after one that blames a record; answers
    /// how far the task is then. `None` when the task is wanted back before the sink took it: it is read again next time.
    async fn put(&mut self, task: &mut dyn SinkTask, mut pieces: Pieces) -> Result<Option<Offsets>, Failure> {
        let (mut attempt, mut taken, mut refused) = (1, 0, Vec::new());
        let size = i64::try_from(pieces.batch.records.len()).unwrap_or(i64::MAX);
        self.meters.batch_size.record(size, Instant::now());
        loop {
            if pieces.batch.records.is_empty() {
                if pieces.advance() {
                    continue;
                }
                break;
            }
            let began = Instant::now();
            let put = self.pulse.during(Call::Put, task.put(Arc::clone(&pieces.batch))).await;
            self.meters.put_ms.record_time(began, Instant::now());
            match put {
                Ok(()) => taken += pieces.batch.records.len(),
                Err(error) if error.kind() == ErrorKind::Retriable => {
                    if attempt == 1 {
                        self.tell(ConsumerCommand::Hold);
                    }
                    let text = descriptors::explained(error.chain());
                    tracing::warn!(error = %text, attempt, "The sink is away; putting the same records again");
                    self.pulse.contact().fails(text);
                    self.rest_in_group(task, &mut pieces, patience::delay(&error, attempt)).await?;
                    attempt += 1;
                    if self.signal.wish() == Wish::Stop {
                        return Ok(None);
                    }
                    continue;
                }
                Err(error) if self.guard.tolerates(Stage::Put, &error) => {
                    if pieces.halve() {
                        continue;
                    }
                    refused.push(Refused { origin: pieces.batch.records[0].origin.clone(), error });
                }
                Err(error) => return Err(Failure::new("put", error)),
            }
            if !pieces.advance() {
                break;
            }
        }
        if attempt > 1 {
            self.pulse.contact().works();
            self.go_on();
        }
        // Reports made during put count before its offsets do.
        Box::pin(self.judge_put(taken, refused)).await?;
        self.meters.sent.count(taken);
        Ok(Some(pieces.next))
    }

    /// The wait before the next attempt. The group does not wait with us: partitions come and go meanwhile.
    pub(super) async fn rest_in_group(
        &mut self,
        task: &mut dyn SinkTask,
        pieces: &mut Pieces,
        wait: Duration,
    ) -> Result<(), Failure> {
        let until = tokio::time::Instant::now() + wait;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(()),
                () = self.signal.until(|wish| wish == Wish::Stop) => return Ok(()),
                event = self.consumer.events.recv() => match event {
                    Some(ConsumerEvent::Records(batch)) => self.backlog.push_back(batch),
                    Some(event) => {
                        let gone = self.rebalance(task, event).await?;
                        pieces.drop_partitions(&gone);
                        self.leave_out(&gone);
                    }
                    None => return Err(Failure::new("consume", ConnectError::fatal("The consumer thread has ended"))),
                },
            }
        }
    }

    /// The end of a hold. A pause that is not followed yet holds again; one that was, goes on holding.
    pub(super) fn go_on(&self) {
        if self.followed == Wish::Run {
            self.tell(ConsumerCommand::GoOn);
        }
    }

    pub(super) fn leave_out(&mut self, gone: &[TopicPartition]) {
        self.backlog.iter_mut().for_each(|batch| batch.leave_out(gone));
    }

    /// Does what the plugin asked for; a record that it reports is handed back.
    fn grant(&mut self, request: Request) -> Option<Refused> {
        match request {
            Request::Flush => {
                self.flush_at = tokio::time::Instant::now();
                None
            }
            Request::Committed { tp, offset } => {
                self.progress.committed(&Offsets::from([(tp, offset)]));
                None
            }
            Request::Report { batch, index, error } => {
                let origin = batch.records.get(index)?.origin.clone();
                Some(Refused { origin, error })
            }
        }
    }

    pub(super) fn granted(&mut self) -> Vec<Refused> {
        let mut reported = Vec::new();
        while let Ok(request) = self.requests.try_recv() {
            reported.extend(self.grant(request));
        }
        reported
    }

    /// What a `put` did not take, and what the sink reported meanwhile.
    async fn judge_put(&mut self, taken: usize, mut refused: Vec<Refused>) -> Result<(), Failure> {
        let reported = self.granted();
        let taken = taken.saturating_sub(reported.len());
        refused.extend(reported);
        match self.refusals.after_put(taken, &refused) {
            Some(error) => Err(Failure::new("put", error)),
            None => self.bury(refused).await,
        }
    }

    /// Keeps and skips what was refused; the first that is not tolerated is the end of the task: whatever else is
    /// durable, the next start has to begin with it.
    pub(super) async fn bury(&mut self, refused: Vec<Refused>) -> Result<(), Failure> {
        let mut outcome = Ok(());
        for Refused { origin, error } in refused {
            let judged = self.bad(Stage::Put, SINK_TASK, &origin, error).await;
            outcome = outcome.and(judged.inspect_err(|_| self.progress.stop_before(&origin.tp, origin.offset)));
        }
        outcome
    }

    /// A consumer thread that has ended says so through its events; what is told to it then is lost on nobody.
    pub(super) fn tell(&self, command: ConsumerCommand) {
        let _ = self.consumer.commands.send(command);
    }

    /// Bytes to record, through the chain, to the others of its batch. Not when it was filtered or tolerated, nor when a
    /// stop came before it was known what becomes of it, which gives its whole batch up.
    async fn prepare(
        &mut self,
        task: &mut dyn SinkTask,
        waiting: &mut Waiting,
        origin: RawRecord,
    ) -> Result<(), Failure> {
        let origin = if self.collector.is_some() {
            let Some(origin) = Box::pin(self.collect(origin)).await? else { return Ok(()) };
            origin
        } else {
            origin
        };
        let mut record = match self.codec.decode(&origin) {
            Ok(record) => record,
            Err((stage, error)) => {
                return Box::pin(self.bad(stage, self.codec.class(stage), &origin, error)).await;
            }
        };
        let mut at = 0;
        let went = match self.chain.apply(&mut record, &mut at) {
            Ok(went) => went,
            Err(error) => {
                match Box::pin(self.chain.again(&mut record, &mut at, error, &self.guard, &self.signal)).await {
                    Tried::Went(went) => went,
                    Tried::Failed(error) => {
                        return Box::pin(self.bad(Stage::Transform, self.chain.class(at), &origin, error)).await;
                    }
                    Tried::Recalled => return Ok(()),
                }
            }
        };
        match went {
            Went::Through if self.line.is_empty() => waiting.records.push(SinkRecord { record, origin }),
            Went::Through | Went::Waits => {
                Box::pin(self.board(task, waiting, SinkRecord { record, origin }, at)).await?;
            }
            Went::Dropped => {}
        }
        Ok(())
    }

    /// A record that failed for good: its dead letter is on its way, or the stop that came first gives it up, before it
    /// is skipped or fails the task.
    pub(super) async fn bad(
        &mut self,
        stage: Stage,
        class: &'static str,
        origin: &RawRecord,
        error: ConnectError,
    ) -> Result<(), Failure> {
        let place = || Place::Sink { tp: origin.tp.clone(), offset: origin.offset };
        if let Some(dead_letters) = &mut self.dead_letters
            && stage.blames_the_record(&error)
        {
            let number = self.progress.hold(&origin.tp, origin.offset);
            let sent = dead_letters.send_consumed(origin, &Blame { stage, class, error: &error }, number).await;
            sent.map_err(|error| Failure::of_dead_letter(Some(place()), error))?;
        }
        self.guard.judge(stage, place(), error)
    }

    /// Lets go what is in the dead letter topic; what never will be is the end of the task.
    pub(super) fn take_dead_letters(&mut self) -> Result<(), Failure> {
        let Some(dead_letters) = &mut self.dead_letters else { return Ok(()) };
        let delivered = dead_letters.take();
        for number in delivered.done {
            self.progress.release(number);
        }
        let Some(refused) = delivered.failed.into_iter().next() else { return Ok(()) };
        let place = self.progress.held(refused.number).map(|(tp, offset)| Place::Sink { tp, offset });
        Err(Failure::of_dead_letter(place, refused.error))
    }
}

/// What came while an earlier batch was put again, or during a pause, goes first.
async fn next_event(
    backlog: &mut VecDeque<Batch>,
    events: &mut mpsc::Receiver<ConsumerEvent>,
    wish: Wish,
) -> Option<ConsumerEvent> {
    match backlog.pop_front_if(|_| wish != Wish::Pause) {
        Some(batch) => Some(ConsumerEvent::Records(batch)),
        None => events.recv().await,
    }
}
