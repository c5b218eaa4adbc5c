//! The loop of a source task: poll → chain → converters → producer, while deliveries come back and offsets are
//! committed.
//!
//! Runs on the task's thread (`thread.rs`). What is behind the chain is in `deliver.rs`, the sending half in `outbox.rs`;
//! records that wait for something outside are in `stage/`.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipette_api::{
    Boundary, ConnectError, ErrorKind, Signal, SourceBatch, SourceContext, SourceEntry, SourceRecord, SourceTask, Wish,
};

use super::chain::{Chain, Tried, Went};
use super::codec::Codec;
use super::guard::Guard;
use super::outbox::{Outbox, Unsent};
use super::patience;
use super::pulse::{Call, Pulse};
use super::report::Failure;
use super::stage::expand::Expander;
use super::stage::line::Line;
use super::stage::source::Load;
use super::thread::Reporter;
use super::topics::Topics;
use crate::budget::{Lease, Share};
use crate::kafka::sizes;

/// What a record takes beside its bytes, about.
pub(super) const BESIDE: u64 = 256;
/// A plugin has the batch, and has begun to read what follows.
const COPIES: u64 = 2;
/// A source that has had nothing for so long gives back what it does not own.
const IDLE: Duration = Duration::from_secs(1);

/// Everything a source task runs with.
pub struct SourceLoop {
    /// Transformations.
    pub chain: Chain,
    /// Those of them that wait for something outside.
    pub line: Line<Load>,
    /// The last step, when it makes several records of one.
    pub expander: Option<Expander>,
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
    /// The largest payload that becomes a Kafka value.
    pub inline: u64,
}

/// What goes on whatever the loop waits for.
pub(super) enum Due {
    Deliveries,
    Nudge,
    Commit,
    Landed,
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
        let began = Instant::now();
        let ended = self.land(ended).await;
        let left = self.drain_timeout.saturating_sub(began.elapsed()).max(self.drain_timeout / 4);
        // A transaction that fails counts for nothing; its records are read again. It is taken back at once: as long as it
        // is open, nobody reads on behind it.
        let failed = ended.is_err() && self.outbox.is_transactional();
        let drained = if failed { Ok(()) } else { self.outbox.drain(left, &self.guard).await };
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
                due = due(&self.outbox, &mut self.line) => due,
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
                due = due(&self.outbox, &mut self.line) => due,
                () = tokio::time::sleep_until(idle), if lease.bytes() > own => {
                    lease.settle(own);
                    continue;
                }
            };
            self.tend(due).await?;
        }
    }

    pub(super) async fn tend(&mut self, due: Due) -> Result<(), Failure> {
        match due {
            Due::Landed => match Box::pin(self.let_out()).await {
                Err(Unsent::Failed(failure)) => Err(failure),
                // Whoever wants the task back ends it.
                Ok(()) | Err(Unsent::Recalled) => Ok(()),
            },
            Due::Deliveries => self.outbox.take_deliveries(&self.guard).await,
            Due::Nudge => {
                self.outbox.nudge();
                Ok(())
            }
            Due::Commit => self.outbox.commit().await,
        }
    }

    async fn pause(&mut self, task: &mut dyn SourceTask) -> Result<(), Failure> {
        self.fly_out(self.drain_timeout).await?;
        self.outbox.drain(self.drain_timeout, &self.guard).await?;
        if self.signal.wish() != Wish::Pause {
            return Ok(());
        }
        self.pulse.during(Call::Pause, task.pause()).await;
        self.reporter.paused();
        // What took its time is settled and stored all the same.
        while self.signal.wish() == Wish::Pause {
            tokio::select! {
                () = self.signal.until(|wish| wish != Wish::Pause) => break,
                () = self.outbox.delivered() => self.outbox.take_deliveries(&self.guard).await?,
                () = self.line.landed() => self.tend(Due::Landed).await?,
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
        if self.line.is_closed() {
            return Err(Unsent::Recalled);
        }
        if batch.is_empty() {
            return self.batch_ends(None, batch.boundary).await;
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
                entry if self.line.is_empty() => self.entry(id, entry).await?,
                entry => Box::pin(self.board(Load::Entry(id, entry))).await?,
            }
        }
        self.batch_ends(Some(id), batch.boundary).await
    }

    /// Behind a batch: at once, or when what came before is let out of the steps that wait.
    async fn batch_ends(&mut self, batch: Option<u64>, boundary: Boundary) -> Result<(), Unsent> {
        if !self.line.is_empty() {
            return Box::pin(self.board(Load::End(batch, boundary))).await;
        }
        if let Some(batch) = batch {
            self.outbox.close(batch);
        }
        Ok(self.outbox.batch_ends(boundary).await?)
    }

    async fn record(&mut self, batch: u64, source: SourceRecord) -> Result<(), Unsent> {
        let SourceRecord { mut record, position } = source;
        let mut at = 0;
        let went = match self.chain.apply(&mut record, &mut at) {
            Ok(went) => Ok(went),
            Err(error) => {
                match Box::pin(self.chain.again(&mut record, &mut at, error, &self.guard, &self.signal)).await {
                    Tried::Went(went) => Ok(went),
                    Tried::Failed(error) => Err(error),
                    Tried::Recalled => return Err(Unsent::Recalled),
                }
            }
        };
        match went {
            Ok(Went::Through) if self.line.is_empty() => self.deliver(batch, record, position).await,
            went => Box::pin(self.board_record(batch, SourceRecord { record, position }, at, went)).await,
        }
    }
}

/// What the loop has to do next; it may be asked again and again.
pub(super) async fn due(outbox: &Outbox, line: &mut Line<Load>) -> Due {
    tokio::select! {
        () = outbox.delivered() => Due::Deliveries,
        () = outbox.lingered() => Due::Nudge,
        // Who was given up commits nothing, however long the plugin stays in its call: it would be due for ever.
        () = tokio::time::sleep_until(outbox.commit_due()), if !outbox.is_given_up() => Due::Commit,
        () = line.landed() => Due::Landed,
    }
}
