//! The way out of a source task: every entry gets its place in the ledger, records go to the producer, deliveries come
//! back, hooks run.
//!
//! `source.rs` decides what is sent; this decides when it counts as done: when Kafka has it, or with exactly-once when
//! its transaction is committed (`transaction.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use pipette_api::{Boundary, ConnectError, Hook, Result, Signal, Wish};
use tokio::time::Instant;

use super::commits::Commits;
use super::dead_letters::{self, Blame, DeadLetters};
use super::guard::{Guard, Stage};
use super::ledger::{Ledger, Mark};
use super::pulse::Pulse;
use super::raw_input::RawInput;
use super::report::{Failure, Place};
use super::transaction::{Transaction, Verdict};
use crate::kafka::producer::{Delivered, Outgoing, Refused, Sent, TaskProducer};
use crate::kafka::properties::ClientProperties;
use crate::metrics::meters::{SourceMeters, TrafficMeters};

/// How soon records that were not reached by a nudge get the next one: longer than most requests take, so that a queue
/// that is never empty costs few of them.
const NUDGE_AGAIN: Duration = Duration::from_millis(20);

/// The sending half of a source task.
pub struct Outbox {
    properties: ClientProperties,
    /// Made for the first record and kept: its first delivery costs half a second.
    producer: Option<TaskProducer>,
    delivered: Delivered,
    ledger: Ledger,
    commits: Commits,
    /// With exactly-once.
    transaction: Option<Transaction>,
    /// Entries that will never be delivered: given up on a recall, or refused by Kafka.
    given_up: usize,
    /// When what was sent has waited long enough for a batch to fill.
    nudge_at: Option<Instant>,
    signal: Signal,
    /// Keeps bad records.
    dead_letters: Option<DeadLetters>,
    /// Entries that are settled when their dead letters are in Kafka.
    buried: BTreeMap<u64, Place>,
    /// Shows the watchdog whether Kafka answers.
    pub pulse: Arc<Pulse>,
    /// Tells the dashboards.
    pub meters: SourceMeters,
}

/// Who sends, as Java calls it.
pub(super) const PRODUCER: &str = "org.apache.kafka.connect.runtime.WorkerSourceTask";

/// A record that will not be in its topic.
pub struct Bad {
    /// What was done with it.
    pub stage: Stage,
    /// Who did it, as Java calls it.
    pub class: &'static str,
    /// Which record.
    pub place: Place,
    /// What it looked like, for its dead letter.
    pub input: Option<RawInput>,
    /// What is wrong.
    pub error: ConnectError,
}

/// Why a record was not handed over.
pub enum Unsent {
    /// The task is wanted back while Kafka takes nothing: the rest of the batch is read again next time.
    Recalled,
    /// The task ends.
    Failed(Failure),
}

impl From<Failure> for Unsent {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Outbox {
    /// An outbox whose producer has these properties.
    pub fn new(properties: ClientProperties, commits: Commits, signal: Signal, meters: SourceMeters) -> Self {
        Self {
            properties,
            producer: None,
            delivered: Delivered::default(),
            ledger: Ledger::default(),
            commits,
            transaction: None,
            given_up: 0,
            nudge_at: None,
            signal,
            dead_letters: None,
            buried: BTreeMap::new(),
            pulse: Arc::default(),
            meters,
        }
    }

    /// The same with dead letters.
    #[must_use]
    pub fn with(self, dead_letters: Option<DeadLetters>) -> Self {
        Self { dead_letters, ..self }
    }

    /// The same over this producer.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn over(self, producer: TaskProducer) -> Self {
        Self { producer: Some(producer), ..self }
    }

    /// Whether bad records are kept.
    pub fn has_dead_letters(&self) -> bool {
        self.dead_letters.is_some()
    }

    /// The same, with everything in transactions. The properties name a transactional id.
    #[must_use]
    pub fn with_transactions(self, transaction: Option<Transaction>) -> Self {
        Self { transaction, ..self }
    }

    /// Before the plugin starts: with exactly-once, earlier starts of the task are fenced, and what they have committed
    /// is known from here on. A retriable error asks to be called again.
    pub async fn take_over(&mut self) -> Result<()> {
        if self.transaction.is_some() {
            self.make_producer()?;
        }
        match (&mut self.transaction, &self.producer) {
            (Some(transaction), Some(producer)) => transaction.take_over(producer).await,
            _ => Ok(()),
        }
    }

    fn make_producer(&mut self) -> Result<()> {
        if self.producer.is_none() {
            let producer = self.producer.insert(TaskProducer::start(&self.properties)?);
            self.pulse.attach(&producer.contact);
            producer.contact.tell(self.meters.traffic.take().map(TrafficMeters::listener));
        }
        Ok(())
    }

    /// A batch begins.
    pub fn open(&mut self, acked: Option<Hook>, committed: Option<Hook>) -> u64 {
        self.ledger.open(acked, committed)
    }

    /// The batch has no more entries.
    pub fn close(&mut self, batch: u64) {
        self.ledger.close(batch);
        if let (None, Some(producer)) = (self.nudge_at, &self.producer) {
            self.nudge_at = Some(Instant::now() + producer.linger);
        }
        self.after_settling();
    }

    /// An entry that needs no delivery: filtered, tolerated, or an offset without a record.
    pub fn settled(&mut self, batch: u64, mark: Mark) {
        let number = self.ledger.push(batch, mark);
        self.ledger.settle(number);
    }

    /// A bad record that fails the task or, tolerated, counts as dealt with: at once, or as soon as its dead letter is in
    /// Kafka.
    pub async fn bad(&mut self, batch: u64, mark: Mark, bad: Bad, guard: &Guard) -> Result<(), Unsent> {
        let number = self.ledger.push(batch, mark);
        self.bury(number, bad, guard).await
    }

    async fn bury(&mut self, number: u64, bad: Bad, guard: &Guard) -> Result<(), Unsent> {
        let Bad { stage, class, place, input, error } = bad;
        let mut waits = false;
        if let (Some(dead_letters), Some(input)) = (&mut self.dead_letters, input)
            && stage.blames_the_record(&error)
        {
            let letter = input.letter(self.ledger.position(number));
            match dead_letters.send(&letter, &Blame { stage, class, error: &error }, number).await {
                Ok(true) => waits = true,
                Ok(false) => {
                    self.given_up += 1;
                    return Err(Unsent::Recalled);
                }
                Err(error) => {
                    self.given_up += 1;
                    return Err(Failure::of_dead_letter(Some(place), error).into());
                }
            }
            self.nudge_at.get_or_insert_with(|| Instant::now() + NUDGE_AGAIN);
        }
        match guard.judge(stage, place.clone(), error) {
            Ok(()) if waits => drop(self.buried.insert(number, place)),
            Ok(()) => self.ledger.settle(number),
            // Its letter may arrive all the same; its offset stays where the next start begins.
            Err(failure) => {
                self.given_up += 1;
                return Err(failure.into());
            }
        }
        Ok(())
    }

    /// A record. Waits while librdkafka's queue is full: that is the back-pressure of a source.
    pub async fn send(&mut self, batch: u64, mark: Mark, record: &Outgoing<'_>, guard: &Guard) -> Result<(), Unsent> {
        if self.is_given_up() {
            return Err(Unsent::Recalled);
        }
        self.make_producer().map_err(|error| Failure::new("start", error))?;
        if let (Some(transaction), Some(producer)) = (&mut self.transaction, &self.producer) {
            let included = transaction.include(producer, record.topic);
            included.map_err(|error| Failure::new("a transaction", error))?;
        }
        let number = self.ledger.push(batch, mark);
        loop {
            let Some(producer) = &self.producer else { unreachable!("made above") };
            match producer.send(record, number) {
                Ok(Sent::Queued) => {
                    // Whether it is in Kafka is settled by the transaction, which holds all or nothing.
                    if self.transaction.is_some() {
                        self.ledger.settle(number);
                    }
                    return Ok(());
                }
                // Nothing fills up any more: what is there has lingered long enough.
                Ok(Sent::Full) => {
                    if self.transaction.is_some() {
                        // Its records count as settled, so that no later nudge sees them waiting.
                        producer.nudge();
                    }
                    let soon = Instant::now() + NUDGE_AGAIN;
                    self.nudge_at = Some(self.nudge_at.map_or(soon, |at| at.min(soon)));
                }
                Err(error) => return Box::pin(self.refused(number, RawInput::outgoing(record), error, guard)).await,
            }
            tokio::select! {
                () = producer.delivered() => self.take_deliveries(guard).await?,
                () = self.lingered() => self.nudge(),
                () = self.signal.until(|wish| wish == Wish::Stop) => {
                    self.given_up += 1;
                    return Err(Unsent::Recalled);
                }
            }
        }
    }

    /// A task that was given up sends nothing, commits nothing and runs no hook: another one may do its work by now.
    pub fn is_given_up(&self) -> bool {
        self.signal.is_given_up()
    }

    /// Resolves when there are deliveries to take; never without a producer.
    pub async fn delivered(&self) {
        let of_letters = dead_letters::delivered(self.dead_letters.as_ref());
        let Some(producer) = &self.producer else { return of_letters.await };
        tokio::select! {
            () = producer.delivered() => {}
            () = of_letters => {}
        }
    }

    /// Resolves when what was sent has waited long enough for a batch to fill; never when nothing was.
    pub async fn lingered(&self) {
        match self.nudge_at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Sends what waits for a batch to fill, and again later what waits behind it.
    pub fn nudge(&mut self) {
        let in_flight = self.waits();
        if let Some(dead_letters) = &self.dead_letters {
            dead_letters.nudge();
        }
        self.nudge_at = in_flight.then(|| Instant::now() + NUDGE_AGAIN);
        if let Some(producer) = &self.producer
            && in_flight
        {
            producer.nudge();
        }
    }

    /// Settles what was delivered and runs the `acked` hooks whose moment has come.
    pub async fn take_deliveries(&mut self, guard: &Guard) -> Result<(), Failure> {
        let mut outcome = self.take_letters();
        if let Some(producer) = &self.producer {
            let mut delivered = std::mem::take(&mut self.delivered);
            producer.take(&mut delivered);
            self.meters.written.count(delivered.done.len());
            for number in &delivered.done {
                self.ledger.settle(*number);
            }
            for Refused { number, error, record } in delivered.failed.drain(..) {
                let input = record.map(|record| RawInput::undelivered(*record)).unwrap_or_default();
                match Box::pin(self.refused(number, input, error, guard)).await {
                    // Whoever wants the task back ends it; the entry stays unsettled.
                    Ok(()) | Err(Unsent::Recalled) => {}
                    Err(Unsent::Failed(failure)) => outcome = outcome.and(Err(failure)),
                }
            }
            self.delivered = delivered;
        }
        self.after_settling();
        outcome
    }

    /// Settles what has its dead letter in Kafka; a letter that never will be there is the end of the task.
    fn take_letters(&mut self) -> Result<(), Failure> {
        let Some(dead_letters) = &mut self.dead_letters else { return Ok(()) };
        let delivered = dead_letters.take();
        for number in delivered.done {
            if self.buried.remove(&number).is_some() {
                self.ledger.settle(number);
            }
        }
        let mut outcome = Ok(());
        for Refused { number, error, .. } in delivered.failed {
            let place = self.buried.remove(&number);
            self.given_up += usize::from(place.is_some());
            outcome = outcome.and(Err(Failure::of_dead_letter(place, error)));
        }
        outcome
    }

    /// With exactly-once: waits until the dead letters of what is about to be committed are in Kafka. They are sent outside
    /// of the transaction: what is dropped with it is read again, and then a letter is there twice, but none is lost. Nor
    /// may records behind a bad one be committed before its letter has come: their offset would have to wait for it, and
    /// they would be read again. False when the task is wanted back first: then nothing is committed.
    async fn letters_are_kept(&mut self) -> Result<bool, Failure> {
        loop {
            self.take_letters()?;
            let Some(dead_letters) = self.dead_letters.as_ref().filter(|_| !self.buried.is_empty()) else {
                return Ok(true);
            };
            dead_letters.nudge();
            let _ = tokio::time::timeout(NUDGE_AGAIN, dead_letters.delivered()).await;
            // Whoever drains waits for them, as long as there is time; asked at once again, nobody would get to it.
            if self.is_given_up() || self.signal.wish() == Wish::Stop {
                return Ok(false);
            }
        }
    }

    /// Waits for what is not to be committed any more, but is to be read by whoever looks into a failure.
    pub async fn last_letters(&mut self, timeout: Duration) {
        if self.is_given_up() {
            return;
        }
        if let Some(dead_letters) = &mut self.dead_letters {
            dead_letters.settle(timeout).await;
        }
    }

    /// True while Kafka has not said what becomes of something.
    fn waits(&self) -> bool {
        let letters = self.dead_letters.as_ref().map_or(0, DeadLetters::in_flight);
        self.ledger.in_flight() > self.given_up || letters > 0
    }

    /// When the next commit is due.
    pub fn commit_due(&self) -> Instant {
        self.transaction.as_ref().map_or(self.commits.due(), Transaction::due)
    }

    /// Behind a batch: with exactly-once, this may be where a transaction ends.
    pub async fn batch_ends(&mut self, boundary: Boundary) -> Result<(), Failure> {
        self.meters.active.set(self.ledger.in_flight());
        let verdict = self.transaction.as_ref().map(|transaction| transaction.behind(boundary));
        match verdict {
            None | Some(Verdict::GoOn) => Ok(()),
            Some(Verdict::Commit) => self.commit().await,
            Some(Verdict::Drop) => {
                self.drop_open().await.map_err(|error| Failure::new("aborting a transaction", error))?;
                self.commit().await
            }
        }
    }

    /// Why the producer is of no use any more, if it is not.
    pub fn fatal(&self) -> Option<ConnectError> {
        self.producer.as_ref().and_then(TaskProducer::fatal)
    }

    /// With exactly-once: drops what is not committed, and what was sent in vain.
    pub async fn drop_open(&mut self) -> Result<()> {
        match (&mut self.transaction, &self.producer) {
            (Some(transaction), Some(producer)) => transaction.abort(producer).await,
            _ => Ok(()),
        }
    }

    /// True when what is not committed is dropped at the end, whatever of it is in Kafka.
    pub fn is_transactional(&self) -> bool {
        self.transaction.is_some()
    }

    /// Stores what may be stored. Fails with exactly-once only: otherwise it is tried again.
    pub async fn commit(&mut self) -> Result<(), Failure> {
        if self.is_given_up() || (self.transaction.is_some() && !self.letters_are_kept().await?) {
            return Ok(());
        }
        let began = std::time::Instant::now();
        self.meters.active.set(self.ledger.in_flight());
        let outcome = if self.transaction.is_some() {
            self.commit_transaction().await.map_err(|error| Failure::new("committing a transaction", error))
        } else {
            Ok(self.commits.commit(&mut self.ledger, &self.signal).await)
        };
        self.meters.commit_ended(outcome.as_ref().is_ok_and(|made| *made), began);
        outcome.map(drop)
    }

    async fn commit_transaction(&mut self) -> Result<bool> {
        let (Some(transaction), Some(producer)) = (&mut self.transaction, &self.producer) else {
            unreachable!("a transactional task begins with its producer")
        };
        let commit = self.ledger.take_commit();
        let acked = self.ledger.take_acked();
        let confirmed = transaction.commit(producer, commit.offsets, &mut self.delivered).await?;
        self.meters.transaction_ended(self.delivered.done.len());
        self.delivered.done.clear();
        if confirmed && !self.is_given_up() {
            acked.into_iter().chain(commit.hooks).for_each(Hook::run);
        }
        Ok(true)
    }

    /// Waits until Kafka has everything, for `timeout` at most and not longer than the same is wanted of the task, then
    /// stores what may be stored.
    pub async fn drain(&mut self, timeout: Duration, guard: &Guard) -> Result<(), Failure> {
        if self.transaction.as_ref().is_some_and(Transaction::is_the_connectors) {
            return Ok(());
        }
        let deadline = Instant::now() + timeout;
        let wish = self.signal.wish();
        let mut outcome = Ok(());
        self.nudge();
        while self.waits() && outcome.is_ok() && !self.is_given_up() {
            tokio::select! {
                () = self.delivered() => outcome = self.take_deliveries(guard).await,
                () = self.lingered() => self.nudge(),
                // A transaction is committed as a whole, below.
                () = tokio::time::sleep_until(self.commits.due()), if self.transaction.is_none() => {
                    outcome = self.commit().await;
                }
                () = self.signal.until(|now| now != wish) => break,
                () = tokio::time::sleep_until(deadline) => {
                    let waiting = self.ledger.in_flight();
                    let reason = self.producer.as_ref().and_then(TaskProducer::last_error);
                    let reason = reason.unwrap_or_else(|| "no answer".into());
                    tracing::warn!(waiting, reason, "Kafka has not acknowledged everything in time");
                    break;
                }
            }
        }
        let stored = self.commit().await;
        // Once more for a store that refused, and for what gathered behind what it had refused before.
        outcome.and(stored).and(self.commit().await)
    }

    /// Kafka will never have this record.
    async fn refused(
        &mut self,
        number: u64,
        input: RawInput,
        error: ConnectError,
        guard: &Guard,
    ) -> Result<(), Unsent> {
        let place = Place::Source { topic: input.topic.clone(), from: None };
        let own = self.transaction.is_none() && Stage::Produce.blames_the_record(&error);
        let fatal = self.fatal().filter(|_| !own);
        let error = fatal.unwrap_or(error);
        if self.transaction.is_some() {
            // A transaction that lost one record can hold no other: the task ends, and reads all of it again.
            self.given_up += 1;
            return Err(Failure::at(Stage::Produce, place, error).into());
        }
        let bad = Bad { stage: Stage::Produce, class: PRODUCER, place, input: Some(input), error };
        self.bury(number, bad, guard).await
    }

    fn after_settling(&mut self) {
        if self.is_given_up() || self.transaction.is_some() {
            return;
        }
        self.ledger.take_acked().into_iter().for_each(Hook::run);
        self.commits.hurry_for_hooks(&self.ledger);
    }
}

#[cfg(test)]
#[path = "tests/outbox.rs"]
mod tests;
