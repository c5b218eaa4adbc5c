//! The loop of a source task: poll → chain → converters → producer, while deliveries come back and offsets are
//! committed.
//!
//! Runs on the task's thread (`thread.rs`). The sending half is `outbox.rs`.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipette_api::{
    Blob, Body, ConnectError, Datum, EncodedRecord, ErrorKind, Payload, Position, Record, Signal, SourceBatch,
    SourceContext, SourceEntry, SourceRecord, SourceTask, Value, Verdict, Wish,
};

use super::chain::Chain;
use super::codec::Codec;
use super::guard::{Guard, Stage};
use super::ledger::Mark;
use super::outbox::{Bad, Outbox, Unsent};
use super::patience;
use super::payload;
use super::pulse::{Call, Pulse};
use super::raw_input::{Input, RawInput};
use super::report::{Failure, Place};
use super::thread::Reporter;
use super::topics::Topics;
use crate::budget::{Lease, Share};
use crate::kafka::producer::Outgoing;
use crate::kafka::sizes;

/// Attempts to read one payload, about half a minute with the waits between them.
const PAYLOAD_ATTEMPTS: u32 = 9;

/// What a record takes beside its bytes, about.
const BESIDE: u64 = 256;
/// A plugin has the batch, and has begun to read what follows.
const COPIES: u64 = 2;
/// A source that has had nothing for so long gives back what it does not own.
const IDLE: Duration = Duration::from_secs(1);

/// Whoever hands over bad input, as Java calls it.
const SOURCE_TASK: &str = "org.apache.kafka.connect.source.SourceTask";

/// Everything a source task runs with.
pub struct SourceLoop {
    /// Transformations.
    pub chain: Chain,
    /// Converters.
    pub codec: Codec,
    /// Decides about bad records.
    pub guard: Guard,
    /// Topics seen.
    pub topics: Topics,
    /// The sending half.
    pub outbox: Outbox,
    /// What is wanted.
    pub signal: Signal,
    /// How long outstanding records are waited for at a pause or stop.
    pub drain_timeout: Duration,
    /// Tells the herder.
    pub reporter: Reporter,
    /// Shows the watchdog what the thread does.
    pub pulse: Arc<Pulse>,
    /// The task's memory.
    pub share: Share,
    /// Bytes of the last batch, or of the present one so far: as large is the next one taken to be.
    pub batch_bytes: u64,
}

/// What goes on whatever the loop waits for.
enum Due {
    Deliveries,
    Nudge,
    Commit,
}

impl SourceLoop {
    /// Runs until stopped or failed. Everything durable is committed on the way out, also after a failure.
    pub async fn run(mut self, mut task: Box<dyn SourceTask>, context: SourceContext) -> Result<(), Failure> {
        let (signal, reporter, outbox, pulse) = (&self.signal, &self.reporter, &mut self.outbox, &self.pulse);
        if !patience::started(signal, reporter, async || outbox.take_over().await).await?
            || !patience::started(signal, reporter, async || {
                pulse.during(Call::Start, task.start(context.clone())).await
            })
            .await?
        {
            return Ok(());
        }
        self.reporter.running();
        let ended = self.poll_until_stopped(&mut *task).await;
        // A transaction that fails counts for nothing; its records are read again. It is taken back at once: as long as it
        // is open, nobody reads on behind it.
        let failed = ended.is_err() && self.outbox.is_transactional();
        let drained = if failed { Ok(()) } else { self.outbox.drain(self.drain_timeout, &self.guard).await };
        let known = self.outbox.fatal().is_some();
        if let Err(error) = self.outbox.drop_open().await {
            tracing::debug!(error = error.chain(), "The last transaction ends by time, or with the next start");
        }
        let ended = ended.map_err(|failure| match self.outbox.fatal() {
            // A start that was overtaken may see a record fail first, and learns why when it drops its transaction.
            Some(fatal) if !known => Failure { error: fatal.because(failure.error), ..failure },
            _ => failure,
        });
        if failed {
            self.outbox.last_letters(self.drain_timeout).await;
        }
        let stopped = self.pulse.during(Call::Stop, task.stop()).await.map_err(|error| Failure::new("stop", error));
        ended.and(drained).and(stopped)
    }

    async fn poll_until_stopped(&mut self, task: &mut dyn SourceTask) -> Result<(), Failure> {
        let mut failures = 0;
        loop {
            match self.signal.wish() {
                Wish::Run => {}
                // A pause ends with a new wish, which may be to stop: no poll follows that.
                Wish::Pause => {
                    self.pause(task).await?;
                    continue;
                }
                Wish::Stop => return Ok(()),
            }
            let Some(mut lease) = self.room().await? else { continue };
            match self.poll(task, &mut lease).await? {
                // What it brings is another task's to send by now.
                _ if self.outbox.is_given_up() => return Ok(()),
                Ok(batch) => {
                    failures = 0;
                    self.pulse.contact().works();
                    match self.take(batch).await {
                        Ok(()) => {}
                        Err(Unsent::Recalled) => return Ok(()),
                        Err(Unsent::Failed(failure)) => return Err(failure),
                    }
                }
                Err(error) if error.kind() == ErrorKind::Retriable => {
                    failures += 1;
                    self.pulse.contact().fails(error.chain());
                    patience::rest(&self.signal, &error, failures, "The source is away; trying again").await;
                }
                Err(error) => return Err(Failure::new("poll", error)),
            }
        }
    }

    /// Memory for the next batch; `None` when the task is wanted back before there is any.
    async fn room(&mut self) -> Result<Option<Lease>, Failure> {
        let batch = COPIES * self.batch_bytes;
        self.share.needs(batch, sizes::PRODUCER_KEYS);
        let mut granted = pin!(self.share.ask(batch.max(1)).granted());
        loop {
            let due = tokio::select! {
                biased;
                lease = &mut granted => return Ok(Some(lease)),
                () = self.signal.recalled() => return Ok(None),
                due = due(&self.outbox) => due,
            };
            self.tend(due).await?;
        }
    }

    /// One poll, while deliveries are settled and commits made. The pending poll borrows the task only inside this
    /// block and is never dropped half done (Law 3). A source that has nothing for a while keeps no memory from others.
    async fn poll(
        &mut self,
        task: &mut dyn SourceTask,
        lease: &mut Lease,
    ) -> Result<Result<SourceBatch, ConnectError>, Failure> {
        let idle = tokio::time::Instant::now() + IDLE;
        let own = self.share.own();
        let pulse = Arc::clone(&self.pulse);
        let mut poll = pin!(pulse.during(Call::Poll, task.poll()));
        loop {
            let due = tokio::select! {
                batch = &mut poll => {
                    self.tend(Due::Deliveries).await?;
                    if tokio::time::Instant::now() >= self.outbox.commit_due() {
                        self.tend(Due::Commit).await?;
                    }
                    return Ok(batch);
                }
                due = due(&self.outbox) => due,
                () = tokio::time::sleep_until(idle), if lease.bytes() > own => {
                    lease.settle(own);
                    continue;
                }
            };
            self.tend(due).await?;
        }
    }

    async fn tend(&mut self, due: Due) -> Result<(), Failure> {
        match due {
            Due::Deliveries => self.outbox.take_deliveries(&self.guard).await,
            Due::Nudge => {
                self.outbox.nudge();
                Ok(())
            }
            Due::Commit => self.outbox.commit().await,
        }
    }

    async fn pause(&mut self, task: &mut dyn SourceTask) -> Result<(), Failure> {
        self.outbox.drain(self.drain_timeout, &self.guard).await?;
        if self.signal.wish() != Wish::Pause {
            return Ok(());
        }
        self.pulse.during(Call::Pause, task.pause()).await;
        self.reporter.paused();
        // What Kafka took its time over is settled and stored all the same.
        while self.signal.wish() == Wish::Pause {
            tokio::select! {
                () = self.signal.until(|wish| wish != Wish::Pause) => break,
                () = self.outbox.delivered() => self.outbox.take_deliveries(&self.guard).await?,
                () = tokio::time::sleep_until(self.outbox.commit_due()) => self.outbox.commit().await?,
            }
        }
        if self.signal.wish() == Wish::Run {
            self.pulse.during(Call::Resume, task.resume()).await;
            self.reporter.running();
        }
        Ok(())
    }

    pub(super) async fn take(&mut self, batch: SourceBatch) -> Result<(), Unsent> {
        if batch.is_empty() {
            return Ok(self.outbox.batch_ends(batch.boundary).await?);
        }
        let records = batch.entries.iter().filter(|entry| matches!(entry, SourceEntry::Record(_))).count();
        self.outbox.meters.polled.count(records);
        let size = i64::try_from(batch.entries.len()).unwrap_or(i64::MAX);
        self.outbox.meters.batch_size.record(size, Instant::now());
        let id = self.outbox.open(batch.acked, batch.committed);
        self.batch_bytes = records as u64 * BESIDE;
        for entry in batch.entries {
            match entry {
                SourceEntry::Record(record) => self.record(id, record).await?,
                SourceEntry::Encoded(record, position) => self.encoded(id, record, position).await?,
                SourceEntry::Position(position) => self.outbox.settled(id, Mark::At(position)),
                SourceEntry::Forget(partition) => self.outbox.settled(id, Mark::Forget(partition)),
                SourceEntry::Bad { position, raw, error } => {
                    let bad = (Stage::Poll, SOURCE_TASK, error);
                    Box::pin(self.bad(id, position, bad, &Input::Raw(raw))).await?;
                }
            }
        }
        self.outbox.close(id);
        Ok(self.outbox.batch_ends(batch.boundary).await?)
    }

    async fn record(&mut self, batch: u64, source: SourceRecord) -> Result<(), Unsent> {
        let SourceRecord { mut record, position } = source;
        let mut at = 0;
        let verdict = match self.chain.apply(&mut record, &mut at) {
            Err(error) => Box::pin(self.again(&mut record, &mut at, error)).await?,
            Ok(verdict) => Ok(verdict),
        };
        match verdict {
            Ok(Verdict::Keep) => {}
            Ok(Verdict::Drop) => {
                self.outbox.settled(batch, position.into());
                return Ok(());
            }
            Err(error) => {
                let bad = (Stage::Transform, self.chain.class(at), error);
                return Box::pin(self.bad(batch, position, bad, &Input::Record(&record))).await;
            }
        }
        if !self.topics.is_known(&record.topic) {
            self.make_topic(&record.topic).await?;
        }
        if let Err(error) = self.read_payloads(&mut record, position.as_ref()).await? {
            let bad = (Stage::ValueConverter, self.codec.class(Stage::ValueConverter), error);
            return Box::pin(self.bad(batch, position, bad, &Input::Record(&record))).await;
        }
        match self.codec.encode(&record) {
            Ok(outgoing) => {
                self.batch_bytes += outgoing.size();
                self.outbox.send(batch, position.into(), &outgoing, &self.guard).await
            }
            Err((stage, error)) => {
                let bad = (stage, self.codec.class(stage), error);
                Box::pin(self.bad(batch, position, bad, &Input::Record(&record))).await
            }
        }
    }

    /// Puts the bytes of payloads in their place, or says why they can never be had.
    async fn read_payloads(
        &self,
        record: &mut Record,
        position: Option<&Position>,
    ) -> Result<Result<(), ConnectError>, Unsent> {
        for datum in [&mut record.key, &mut record.value] {
            if let Value::Payload(payload) = &datum.value {
                match self.materialise(&**payload, &record.topic, position).await? {
                    Ok(bytes) => *datum = Datum { schema: datum.schema.take(), value: Value::Bytes(bytes) },
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
        Ok(Ok(()))
    }

    /// The rest of the chain, from the step `at` on, which failed: until it succeeds or its time is up.
    async fn again(
        &mut self,
        record: &mut Record,
        at: &mut usize,
        mut error: ConnectError,
    ) -> Result<Result<Verdict, ConnectError>, Unsent> {
        let (mut attempt, began) = (1, Instant::now());
        loop {
            match self.guard.retry(&error, attempt, began) {
                None => return Ok(Err(error)),
                // Nobody knows yet what becomes of it: it is read again next time.
                Some(_) if self.signal.wish() == Wish::Stop => return Err(Unsent::Recalled),
                Some(wait) => patience::wait(&self.signal, wait).await,
            }
            attempt += 1;
            error = match self.chain.apply(record, at) {
                Ok(verdict) => return Ok(Ok(verdict)),
                Err(error) => error,
            };
        }
    }

    async fn encoded(&mut self, batch: u64, record: EncodedRecord, position: Option<Position>) -> Result<(), Unsent> {
        if !self.topics.is_known(&record.topic) {
            self.make_topic(&record.topic).await?;
        }
        let value = match &record.value {
            None => None,
            Some(Body::Bytes(bytes)) => Some(bytes.clone()),
            Some(Body::Payload(payload)) => {
                match self.materialise(&**payload, &record.topic, position.as_ref()).await? {
                    Ok(bytes) => Some(bytes),
                    Err(error) => {
                        let bad = (Stage::Produce, SOURCE_TASK, error);
                        return Box::pin(self.bad(batch, position, bad, &Input::Encoded(&record))).await;
                    }
                }
            }
        };
        let outgoing = Outgoing {
            topic: &record.topic,
            partition: record.partition,
            key: record.key.as_ref().map(pipette_api::Blob::as_bytes),
            value: value.as_ref().map(pipette_api::Blob::as_bytes),
            headers: &record.headers,
            timestamp: record.timestamp,
        };
        self.batch_bytes += outgoing.size();
        self.outbox.send(batch, position.into(), &outgoing, &self.guard).await
    }

    /// The bytes of a payload, or why this one can never be had. What may be had later is tried again, and is no bad
    /// record: when it lasts, the task ends, so that a share that is away costs no record.
    async fn materialise(
        &self,
        payload: &dyn Payload,
        topic: &Arc<str>,
        position: Option<&Position>,
    ) -> Result<Result<Blob, ConnectError>, Unsent> {
        let mut attempt = 1;
        loop {
            match payload::materialise(payload).await {
                Err(error) if error.kind() == ErrorKind::Retriable => {
                    if self.signal.wish() == Wish::Stop {
                        return Err(Unsent::Recalled);
                    }
                    if attempt == PAYLOAD_ATTEMPTS {
                        let from = position.map(|position| Arc::clone(&position.partition));
                        let place = Place::Source { topic: Some(Arc::clone(topic)), from };
                        return Err(Failure::at(Stage::ValueConverter, place, error).into());
                    }
                    patience::rest(&self.signal, &error, attempt, "A file cannot be read for now; trying again").await;
                    attempt += 1;
                }
                outcome => return Ok(outcome),
            }
        }
    }

    /// A record that will not be sent: kept, skipped and counted, or the end of the task.
    async fn bad(
        &mut self,
        batch: u64,
        position: Option<Position>,
        (stage, class, error): (Stage, &'static str, ConnectError),
        input: &Input<'_>,
    ) -> Result<(), Unsent> {
        let from = position.as_ref().map(|position| Arc::clone(&position.partition));
        let place = Place::Source { topic: input.topic(), from };
        let input = self.outbox.has_dead_letters().then(|| RawInput::new(input, &mut self.codec));
        self.outbox.bad(batch, position.into(), Bad { stage, class, place, input, error }, &self.guard).await
    }

    /// Makes a topic, again and again while Kafka is away.
    async fn make_topic(&mut self, topic: &Arc<str>) -> Result<(), Unsent> {
        let mut attempt = 1;
        loop {
            match self.topics.ensure(topic).await {
                Ok(()) => {
                    self.pulse.granted();
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Retriable => {
                    self.pulse.refused("topic", error.chain());
                    patience::rest(&self.signal, &error, attempt, "The topic cannot be made yet; trying again").await;
                    attempt += 1;
                }
                Err(error) => return Err(Failure::new("topic creation", error).into()),
            }
            if self.signal.wish() == Wish::Stop {
                return Err(Unsent::Recalled);
            }
        }
    }
}

/// What the outbox needs next; it may be asked again and again.
async fn due(outbox: &Outbox) -> Due {
    tokio::select! {
        () = outbox.delivered() => Due::Deliveries,
        () = outbox.lingered() => Due::Nudge,
        () = tokio::time::sleep_until(outbox.commit_due()) => Due::Commit,
    }
}
