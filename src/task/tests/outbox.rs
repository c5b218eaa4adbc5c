//! The outbox without and with a Kafka: when it stores, and what it does with what Kafka refuses.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use pipette_api::{OffsetMap, OffsetShape, Partition, Position, TaskId, Wish, async_trait};
use tokio::sync::{Notify, watch};

use super::*;
use crate::metrics::WorkerMetrics;
use crate::metrics::meters::ErrorMeters;
use crate::settings::dead_letters::DeadLetterTopic;
use crate::store::{OffsetEntry, OffsetStore};
use crate::task::source::{Due, due};
use crate::task::spec::{DeadLetterSpec, ErrorPolicy};
use crate::task::stage::line::Line;

/// Refuses so many times, then keeps what it is given; at once, or when it is let go on.
#[derive(Default)]
struct Moody {
    refuse: AtomicUsize,
    held: AtomicBool,
    writes: Notify,
    go_on: Notify,
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
        self.writes.notify_one();
        if self.held.load(Ordering::SeqCst) {
            self.go_on.notified().await;
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
        let meters = SourceMeters::new(&metrics, 0, crate::settings::metrics::Sampling::default());
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

#[tokio::test]
async fn a_task_that_is_given_up_while_the_store_writes_runs_no_hook() {
    let mut desk = Desk::new();
    let wish = desk.wish.take();
    let store = Arc::clone(&desk.store);
    store.held.store(true, Ordering::SeqCst);
    desk.batch("a");
    let give_up = async {
        store.writes.notified().await;
        drop(wish);
        store.go_on.notify_one();
    };
    tokio::join!(desk.outbox.commit(), give_up).0.unwrap();
    assert_eq!(desk.store.kept.lock().unwrap().len(), 1, "what was asked before is stored");
    assert_eq!(*desk.ran.lock().unwrap(), ["acked"], "of the time before");
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_waits_for_kafka_ends_when_a_stop_is_wanted() {
    let mut desk = Desk::new();
    let wish = desk.wish.take().unwrap();
    wish.send_replace(Wish::Pause);
    let batch = desk.outbox.open(None, None);
    desk.outbox.ledger.push(batch, Mark::None);
    let began = Instant::now();
    let drain = desk.outbox.drain(Duration::from_mins(1), &desk.tolerant);
    // Joined futures are asked in this order: the pause waits when the stop comes.
    let stop = async { wish.send_replace(Wish::Stop) };
    tokio::join!(drain, stop).0.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO, "the stop has a grace of its own to keep");
}

#[tokio::test]
async fn a_batch_larger_than_the_queue_waits_for_no_batch_of_kafka_to_fill() {
    let folder = tempfile::tempdir().unwrap();
    let config = pipette_broker::BrokerConfig::on_any_port(folder.path().join("broker"));
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
    let record =
        Outgoing { topic: "t", partition: None, key: None, value: Some(&value), headers: &Vec::new(), timestamp: None };
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
    let refused = async |outbox: &mut Outbox, number, error| {
        outbox.refused(number, RawInput::default(), error, &desk.tolerant).await.is_ok()
    };
    assert!(refused(&mut desk.outbox, numbers[0], ConnectError::data("too large")).await);
    assert!(!refused(&mut desk.outbox, numbers[1], ConnectError::fatal("not allowed to write")).await);
    assert_eq!(desk.outbox.ledger.in_flight(), 1, "it was not skipped");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_was_given_up_has_nothing_to_do_while_its_plugin_stays_in_a_call() {
    let mut desk = Desk::new();
    tokio::time::advance(Duration::from_mins(2)).await;
    let mut line = Line::default();
    assert!(matches!(due(&desk.outbox, &mut line).await, Due::Commit), "its interval is over");
    desk.wish = None;
    desk.outbox.commit().await.unwrap();
    let later = tokio::time::timeout(Duration::from_hours(1), due(&desk.outbox, &mut line)).await;
    assert!(later.is_err(), "it would be due again at once, and for ever");
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_letters_instead_of_asking_without_a_pause() {
    let mut desk = Desk::new();
    let topic = DeadLetterTopic { name: "dead".into(), replication_factor: None, context: Some(false) };
    let spec = DeadLetterSpec { topic, producer: ClientProperties::new(), inline: 1 };
    let id = TaskId { connector: "c".into(), task: 0 };
    let letters = DeadLetters::new(spec, id, desk.outbox.signal.clone(), &ErrorMeters::default());
    desk.outbox.dead_letters = Some(letters);
    desk.outbox.buried.insert(7, Place::Source { topic: None, from: None });
    desk.wish.as_ref().unwrap().send_replace(Wish::Stop);
    let began = Instant::now();
    for _ in 0..3 {
        assert!(!desk.outbox.letters_are_kept().await.unwrap(), "the letter is on its way");
    }
    assert!(began.elapsed() >= 3 * NUDGE_AGAIN, "{:?}", began.elapsed());
}
