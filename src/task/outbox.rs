//! The way out of a source task: every entry gets its place in the ledger, records go to the producer, deliveries come
//! back, hooks run.
//!
//! `source.rs` decides what is sent; this decides when it counts as done.

use std::sync::Arc;
use std::time::Duration;

use pipette_api::{ConnectError, ErrorKind, Hook, Signal, Wish};
use tokio::time::Instant;

use super::commits::Commits;
use super::guard::{Guard, Stage};
use super::ledger::{Ledger, Mark};
use super::report::{Failure, Place};
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
        Self { properties, producer, delivered, ledger, commits, given_up: 0, nudge_at: None, signal, meters }
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
        if self.producer.is_none() {
            let producer = TaskProducer::start(&self.properties).map_err(|error| Failure::new("start", error))?;
            self.producer = Some(producer);
        }
        let number = self.ledger.push(batch, mark);
        loop {
            let Some(producer) = &self.producer else { unreachable!("made above") };
            match producer.send(record, number) {
                Ok(Sent::Queued) => return Ok(()),
                // Nothing fills up any more: what is there has lingered long enough.
                Ok(Sent::Full) => {
                    let soon = Instant::now() + NUDGE_AGAIN;
                    self.nudge_at = Some(self.nudge_at.map_or(soon, |at| at.min(soon)));
                }
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
        self.commits.due()
    }

    /// Stores what may be stored.
    pub async fn commit(&mut self) {
        if self.is_given_up() {
            return;
        }
        let began = std::time::Instant::now();
        self.meters.active.set(i64::try_from(self.ledger.in_flight()).unwrap_or(i64::MAX));
        self.commits.commit(&mut self.ledger).await;
        self.meters.commit_ms.record_time(began, std::time::Instant::now());
    }

    /// Waits until Kafka has everything, for `timeout` at most and not longer than the same is wanted of the task, then
    /// stores what may be stored.
    pub async fn drain(&mut self, timeout: Duration, guard: &Guard) -> Result<(), Failure> {
        let deadline = Instant::now() + timeout;
        let wish = self.signal.wish();
        let mut outcome = Ok(());
        self.nudge();
        while self.ledger.in_flight() > self.given_up && outcome.is_ok() && !self.is_given_up() {
            tokio::select! {
                () = self.delivered() => outcome = self.take_deliveries(guard),
                () = self.lingered() => self.nudge(),
                () = tokio::time::sleep_until(self.commits.due()) => self.commit().await,
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
        self.commit().await;
        // Once more for a store that refused, and for what gathered behind what it had refused before.
        self.commit().await;
        outcome
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
        let tolerable = error.kind() == ErrorKind::Data;
        let failure = Failure::at(Stage::Produce, Place::Source { topic, from: None }, error);
        let judged = if tolerable { guard.judge(failure) } else { Err(failure) };
        match judged {
            Ok(()) => self.ledger.settle(number),
            Err(_) => self.given_up += 1,
        }
        judged
    }

    fn after_settling(&mut self) {
        if self.is_given_up() {
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
        desk.outbox.commit().await;
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
    async fn a_batch_larger_than_the_queue_waits_for_no_batch_of_kafka_to_fill() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = pipette_broker::BrokerConfig::new(folder.path().join("broker"));
        config.listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let broker = pipette_broker::Broker::start(config).unwrap();
        let mut desk = Desk::new();
        for (key, value) in [
            ("bootstrap.servers", broker.address().to_string().as_str()),
            ("linger.ms", "5"),
            ("batch.size", "1000000"),
            ("queue.buffering.max.kbytes", "64"),
        ] {
            desk.outbox.properties.insert(key.into(), value.into());
        }
        let value = [b'x'; 1000];
        let record = Outgoing {
            topic: "t",
            partition: None,
            key: None,
            value: Some(&value),
            headers: &Vec::new(),
            timestamp: None,
        };
        let batch = desk.outbox.open(None, None);
        let began = Instant::now();
        for _ in 0..1000 {
            assert!(desk.outbox.send(batch, Mark::None, &record, &desk.tolerant).await.is_ok());
        }
        // Fifteen times the queue: a second for each, were librdkafka's own linger waited for.
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
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
