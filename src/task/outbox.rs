//! The way out of a source task: every entry gets its place in the ledger, records go to the producer, deliveries come
//! back, hooks run.
//!
//! `source.rs` decides what is sent; this decides when it counts as done: when Kafka has it, or with exactly-once when
//! its transaction is committed (`transaction.rs`).

use std::sync::Arc;
use std::time::Duration;

use pipette_api::{Boundary, ConnectError, ErrorKind, Hook, Result, Signal, Wish};
use tokio::time::Instant;

use super::commits::Commits;
use super::guard::{Guard, Stage};
use super::ledger::{Ledger, Mark};
use super::report::{Failure, Place};
use super::transaction::{Transaction, Verdict};
use crate::kafka::producer::{Delivered, Outgoing, Sent, TaskProducer};
use crate::kafka::properties::ClientProperties;
use crate::metrics::meters::SourceMeters;

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
    /// Tells the dashboards.
    pub meters: SourceMeters,
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
        let (producer, delivered, ledger) = (None, Delivered::default(), Ledger::default());
        let (transaction, given_up, nudge_at) = (None, 0, None);
        Self { properties, producer, delivered, ledger, commits, transaction, given_up, nudge_at, signal, meters }
    }

    /// The same, with everything in transactions. The properties name a transactional id.
    #[must_use]
    pub fn with_transactions(mut self, transaction: Option<Transaction>) -> Self {
        self.transaction = transaction;
        self
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
            self.producer = Some(TaskProducer::start(&self.properties)?);
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
                Ok(Sent::Full) => {}
                Err(error) => return Ok(self.refused(number, Some(record.topic.into()), error, guard)?),
            }
            tokio::select! {
                () = producer.delivered() => self.take_deliveries(guard)?,
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
        match &self.producer {
            Some(producer) => producer.delivered().await,
            None => std::future::pending().await,
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
        let in_flight = self.ledger.in_flight() > self.given_up;
        self.nudge_at = in_flight.then(|| Instant::now() + NUDGE_AGAIN);
        if let Some(producer) = &self.producer
            && in_flight
        {
            producer.nudge();
        }
    }

    /// Settles what was delivered and runs the `acked` hooks whose moment has come.
    pub fn take_deliveries(&mut self, guard: &Guard) -> Result<(), Failure> {
        let Some(producer) = &self.producer else { return Ok(()) };
        let mut delivered = std::mem::take(&mut self.delivered);
        producer.take(&mut delivered);
        self.meters.written.count(delivered.done.len());
        for number in &delivered.done {
            self.ledger.settle(*number);
        }
        let mut outcome = Ok(());
        for (number, error) in delivered.failed.drain(..) {
            outcome = outcome.and(self.refused(number, None, error, guard));
        }
        self.delivered = delivered;
        self.after_settling();
        outcome
    }

    /// When the next commit is due.
    pub fn commit_due(&self) -> Instant {
        self.transaction.as_ref().map_or(self.commits.due(), Transaction::due)
    }

    /// Behind a batch: with exactly-once, this may be where a transaction ends.
    pub async fn batch_ends(&mut self, boundary: Boundary) -> Result<(), Failure> {
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
        if self.is_given_up() {
            return Ok(());
        }
        let began = std::time::Instant::now();
        self.meters.active.set(i64::try_from(self.ledger.in_flight()).unwrap_or(i64::MAX));
        let outcome = if self.transaction.is_some() {
            self.commit_transaction().await.map_err(|error| Failure::new("committing a transaction", error))
        } else {
            self.commits.commit(&mut self.ledger).await;
            Ok(())
        };
        self.meters.commit_ms.record_time(began, std::time::Instant::now());
        outcome
    }

    async fn commit_transaction(&mut self) -> Result<()> {
        let (Some(transaction), Some(producer)) = (&mut self.transaction, &self.producer) else {
            unreachable!("a transactional task begins with its producer")
        };
        let commit = self.ledger.take_commit();
        let acked = self.ledger.take_acked();
        let confirmed = transaction.commit(producer, commit.offsets, &mut self.delivered).await?;
        self.meters.written.count(self.delivered.done.len());
        self.delivered.done.clear();
        if confirmed && !self.is_given_up() {
            acked.into_iter().chain(commit.hooks).for_each(Hook::run);
        }
        Ok(())
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
        while self.ledger.in_flight() > self.given_up && outcome.is_ok() && !self.is_given_up() {
            tokio::select! {
                () = self.delivered() => outcome = self.take_deliveries(guard),
                () = self.lingered() => self.nudge(),
                () = tokio::time::sleep_until(self.commits.due()) => outcome = self.commit().await,
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
    fn refused(
        &mut self,
        number: u64,
        topic: Option<Arc<str>>,
        error: ConnectError,
        guard: &Guard,
    ) -> Result<(), Failure> {
        // What another record would meet as well is no bad record: tolerating it would skip everything that follows.
        // And a transaction that lost one record can hold no other.
        let tolerable = error.kind() == ErrorKind::Data && self.transaction.is_none();
        let fatal = self.producer.as_ref().and_then(TaskProducer::fatal).filter(|_| !tolerable);
        let error = fatal.unwrap_or(error);
        let failure = Failure::at(Stage::Produce, Place::Source { topic, from: None }, error);
        let judged = if tolerable { guard.judge(failure) } else { Err(failure) };
        match judged {
            Ok(()) => self.ledger.settle(number),
            Err(_) => self.given_up += 1,
        }
        judged
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
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use pipette_api::{OffsetMap, OffsetShape, Partition, Position, Wish, async_trait};
    use tokio::sync::watch;

    use super::*;
    use crate::metrics::WorkerMetrics;
    use crate::metrics::meters::ErrorMeters;
    use crate::store::{OffsetEntry, OffsetStore};
    use crate::task::spec::ErrorPolicy;

    /// Refuses so many times, then keeps what it is given.
    #[derive(Default)]
    struct Moody {
        refuse: AtomicUsize,
        kept: Mutex<Vec<OffsetEntry>>,
    }

    #[async_trait]
    impl OffsetStore for Moody {
        async fn get(&self, _: &str, _: &Partition) -> pipette_api::Result<Option<OffsetMap>> {
            Ok(None)
        }

        async fn scan(&self, _: &str) -> pipette_api::Result<Vec<(Partition, OffsetMap)>> {
            Ok(Vec::new())
        }

        async fn put(&self, _: &str, offsets: Vec<OffsetEntry>) -> pipette_api::Result<()> {
            let again = |left: usize| left.checked_sub(1);
            if self.refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, again).is_ok() {
                return Err(ConnectError::retriable("the disk is full"));
            }
            self.kept.lock().unwrap().extend(offsets);
            Ok(())
        }
    }

    struct Desk {
        outbox: Outbox,
        store: Arc<Moody>,
        wish: Option<watch::Sender<Wish>>,
        tolerant: Guard,
        ran: Arc<Mutex<Vec<&'static str>>>,
    }

    impl Desk {
        fn new() -> Self {
            let (store, metrics) = (Arc::new(Moody::default()), WorkerMetrics::new().connector("c"));
            let (wish, wished) = watch::channel(Wish::Run);
            let kept = Arc::<Moody>::clone(&store);
            let commits = Commits::new("c".into(), kept, Duration::from_mins(1));
            let meters = SourceMeters::new(&metrics, 0);
            let outbox = Outbox::new(ClientProperties::new(), commits, Signal::new(wished), meters);
            let policy = ErrorPolicy { tolerate: true, ..ErrorPolicy::default() };
            let tolerant = Guard::new(policy, ErrorMeters::new(&metrics, 0));
            Self { outbox, store, wish: Some(wish), tolerant, ran: Arc::default() }
        }

        /// A batch with one settled entry and both hooks.
        fn batch(&mut self, partition: &'static str) {
            let hook = |name| {
                let ran = Arc::clone(&self.ran);
                Some(Hook::new(move || ran.lock().unwrap().push(name)))
            };
            let batch = self.outbox.open(hook("acked"), hook("committed"));
            let partition = Arc::new(Partition::of("file", partition));
            let position = Position { partition, shape: Arc::new(OffsetShape::default()), marks: [0, 0] };
            self.outbox.settled(batch, Mark::At(position));
            self.outbox.close(batch);
        }
    }

    #[tokio::test]
    async fn an_end_stores_also_what_gathered_behind_a_refusal() {
        let mut desk = Desk::new();
        desk.store.refuse.store(1, Ordering::SeqCst);
        desk.batch("a");
        desk.outbox.commit().await.unwrap();
        desk.batch("b");
        desk.outbox.drain(Duration::ZERO, &desk.tolerant).await.unwrap();
        assert_eq!(desk.store.kept.lock().unwrap().len(), 2);
        assert_eq!(*desk.ran.lock().unwrap(), ["acked", "acked", "committed", "committed"]);
    }

    #[tokio::test]
    async fn a_task_that_was_given_up_commits_nothing_and_runs_no_hook() {
        let mut desk = Desk::new();
        desk.batch("a");
        desk.wish = None;
        desk.batch("b");
        desk.outbox.drain(Duration::from_secs(9), &desk.tolerant).await.unwrap();
        assert!(desk.store.kept.lock().unwrap().is_empty());
        assert_eq!(*desk.ran.lock().unwrap(), ["acked"], "of the batch before");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_waits_for_kafka_ends_when_a_stop_is_wanted() {
        let mut desk = Desk::new();
        let wish = desk.wish.take().unwrap();
        wish.send_replace(Wish::Pause);
        let batch = desk.outbox.open(None, None);
        desk.outbox.ledger.push(batch, Mark::None);
        let began = Instant::now();
        let stop = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            wish.send_replace(Wish::Stop);
        };
        let drain = desk.outbox.drain(Duration::from_mins(1), &desk.tolerant);
        tokio::join!(drain, stop).0.unwrap();
        assert_eq!(began.elapsed(), Duration::from_secs(1), "the stop has a grace of its own to keep");
    }

    #[tokio::test]
    async fn only_what_is_wrong_with_a_record_is_tolerated() {
        let mut desk = Desk::new();
        let batch = desk.outbox.open(None, None);
        let numbers = [desk.outbox.ledger.push(batch, Mark::None), desk.outbox.ledger.push(batch, Mark::None)];
        let refused = |outbox: &mut Outbox, number, error| outbox.refused(number, None, error, &desk.tolerant);
        assert!(refused(&mut desk.outbox, numbers[0], ConnectError::data("too large")).is_ok());
        assert!(refused(&mut desk.outbox, numbers[1], ConnectError::fatal("not allowed to write")).is_err());
        assert_eq!(desk.outbox.ledger.in_flight(), 1, "it was not skipped");
    }
}
