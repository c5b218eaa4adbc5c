//! Where a sink is in its topic: positions of its own, intents beside offsets, pauses, and reports that come late.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipette::settings::dead_letters::DeadLetterTopic;
use pipette::task::TaskNews;
use pipette::task::spec::ErrorPolicy;
use pipette_api::{
    Assigned, ConnectError, Offsets, Result, Seeks, SinkBatch, SinkContext, SinkPlugin, SinkTask, TopicPartition, Wish,
    async_trait,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, TopicPartitionList};

use super::sinks::{fill, plugin};
use super::stage::{PATIENCE, Stage};
use crate::support::{topic, wait};

fn tp(topic: &str) -> TopicPartition {
    TopicPartition::new(topic, 0)
}

fn until<T: std::fmt::Debug>(what: &str, find: impl Fn() -> T, is_right: impl Fn(&T) -> bool) {
    wait::until(what, PATIENCE, || match find() {
        found if is_right(&found) => Ok(()),
        found => Err(format!("{found:?}")),
    });
}

/// A database that keeps its rows and how far it is in one transaction: it knows better than the group where to go on.
struct OwnPosition;

static POSITION: Mutex<Option<i64>> = Mutex::new(None);
static ROWS: Mutex<Vec<i64>> = Mutex::new(Vec::new());

#[async_trait]
impl SinkTask for OwnPosition {
    async fn start(&mut self, _: SinkContext) -> Result<()> {
        Ok(())
    }

    async fn open(&mut self, assigned: &[Assigned]) -> Result<Seeks> {
        let position = *POSITION.lock().unwrap();
        Ok(assigned.iter().filter_map(|partition| Some((partition.tp.clone(), position?))).collect())
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        ROWS.lock().unwrap().extend(batch.records.iter().map(|record| record.origin.offset));
        *POSITION.lock().unwrap() = batch.records.last().map(|record| record.origin.offset + 1);
        Ok(())
    }
}

#[test]
fn a_sink_that_keeps_its_position_goes_on_there_whatever_the_group_has_committed() {
    static PLUGIN: SinkPlugin = plugin(|_| Ok(Box::new(OwnPosition)));
    let mut stage = Stage::new();
    fill(&mut stage, "own", &"line\n".repeat(20));
    // First the group has committed nothing, then more than the sink has.
    for begin in [5, 12, 18] {
        *POSITION.lock().unwrap() = Some(begin);
        ROWS.lock().unwrap().clear();
        let task = stage.sink("own-out", &PLUGIN, &[("topics", "own")]);
        let expected: Vec<i64> = (begin..20).collect();
        until("the rows", || ROWS.lock().unwrap().clone(), |rows| *rows == expected);
        stage.stop("own-out", &task);
        assert_eq!(*ROWS.lock().unwrap(), expected, "none from before, none twice");
        assert_eq!(stage.committed("own-out"), Offsets::from([(tp("own"), 20)]));
    }
}

/// Counts what it is given and what it opens.
struct Counts;

static OPENED: AtomicUsize = AtomicUsize::new(0);
static PUT: AtomicUsize = AtomicUsize::new(0);

#[async_trait]
impl SinkTask for Counts {
    async fn start(&mut self, _: SinkContext) -> Result<()> {
        Ok(())
    }

    async fn open(&mut self, _: &[Assigned]) -> Result<Seeks> {
        OPENED.fetch_add(1, Ordering::SeqCst);
        Ok(Seeks::new())
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        PUT.fetch_add(batch.records.len(), Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn a_paused_sink_stays_in_its_group_and_keeps_its_partitions() {
    static PLUGIN: SinkPlugin = plugin(|_| Ok(Box::new(Counts)));
    let mut stage = Stage::new();
    // Silence for longer than that would cost a member its partitions.
    stage.consumer =
        vec![("session.timeout.ms", "2000"), ("heartbeat.interval.ms", "200"), ("max.poll.interval.ms", "2000")];
    fill(&mut stage, "quiet", "one\n");
    let task = stage.sink("quiet-out", &PLUGIN, &[("topics", "quiet")]);
    until("the first", || PUT.load(Ordering::SeqCst), |put| *put == 1);
    task.wish(Wish::Pause);
    stage.hear("quiet-out", |news| matches!(news, TaskNews::Paused));
    let (bootstrap, began) = (stage.bootstrap(), std::time::Instant::now());
    topic::write(&bootstrap, "quiet", 0, "k", "two");
    wait::until("longer than a silent member is kept", PATIENCE, || {
        assert_eq!(topic::group_state(&bootstrap, "connect-quiet-out"), "Stable", "it has never left");
        if began.elapsed() > Duration::from_secs(4) { Ok(()) } else { Err("not yet".into()) }
    });
    assert_eq!(PUT.load(Ordering::SeqCst), 1, "nothing is put meanwhile");
    task.wish(Wish::Run);
    until("what came meanwhile", || PUT.load(Ordering::SeqCst), |put| *put == 2);
    assert_eq!(OPENED.load(Ordering::SeqCst), 1, "no rebalance came of it");
    stage.stop("quiet-out", &task);
    assert_eq!(stage.committed("quiet-out"), Offsets::from([(tp("quiet"), 2)]));
}

/// Says what it is about to do before it does it, and has done it when the gate is open.
struct Intends {
    context: Option<SinkContext>,
}

static FOUND: Mutex<Vec<String>> = Mutex::new(Vec::new());
static DONE: AtomicUsize = AtomicUsize::new(0);
static FLUSHES: AtomicUsize = AtomicUsize::new(0);

#[async_trait]
impl SinkTask for Intends {
    async fn start(&mut self, context: SinkContext) -> Result<()> {
        self.context = Some(context);
        Ok(())
    }

    async fn open(&mut self, assigned: &[Assigned]) -> Result<Seeks> {
        let metadata = |partition: &Assigned| Some(partition.committed.as_ref()?.1.to_string());
        FOUND.lock().unwrap().extend(assigned.iter().filter_map(metadata));
        Ok(Seeks::new())
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        let first = &batch.records[0].origin;
        // The rows may come in several batches; the intent is about all of them.
        if first.offset > 0 {
            return Ok(());
        }
        self.context.as_ref().unwrap().runtime.commit(&first.tp, first.offset, Some(r#"{"rows":3}"#)).await
    }

    async fn flush(&mut self, upto: &Offsets) -> Result<Offsets> {
        FLUSHES.fetch_add(1, Ordering::SeqCst);
        if DONE.load(Ordering::SeqCst) > 0 { Ok(upto.clone()) } else { Ok(Offsets::from([(tp("intents"), 0)])) }
    }
}

fn beside(bootstrap: &str, group: &str) -> (Option<i64>, String) {
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).set("group.id", group).create().unwrap();
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition("intents", 0);
    let found = client.committed_offsets(wanted, Duration::from_secs(10)).unwrap();
    let element = &found.elements()[0];
    (element.offset().to_raw().filter(|offset| *offset >= 0), element.metadata().to_owned())
}

#[test]
fn an_intent_stands_beside_the_offset_until_it_is_passed_and_nothing_does_then() {
    static PLUGIN: SinkPlugin = plugin(|_| Ok(Box::new(Intends { context: None })));
    let mut stage = Stage::new();
    stage.flush_interval = Duration::from_millis(50);
    stage.consumer = vec![("auto.offset.reset", "earliest")];
    fill(&mut stage, "intents", "one\ntwo\nthree\n");
    let (bootstrap, group) = (stage.bootstrap(), "connect-intents-out");
    let kept = (Some(0), r#"{"intent":{"rows":3}}"#.to_owned());
    let task = stage.sink("intents-out", &PLUGIN, &[("topics", "intents")]);
    until("the intent", || beside(&bootstrap, group), |found| *found == kept);
    let seen = FLUSHES.load(Ordering::SeqCst);
    until("more commits", || FLUSHES.load(Ordering::SeqCst), |flushes| *flushes > seen + 3);
    assert_eq!(beside(&bootstrap, group), kept, "the loop's own commits leave it alone");
    stage.stop("intents-out", &task);
    assert_eq!(beside(&bootstrap, group), kept);
    DONE.store(1, Ordering::SeqCst);
    let task = stage.sink("intents-out", &PLUGIN, &[("topics", "intents")]);
    until("the end of it", || beside(&bootstrap, group), |found| *found == (Some(3), String::new()));
    assert_eq!(*FOUND.lock().unwrap().last().unwrap(), kept.1, "the next start is told");
    stage.stop("intents-out", &task);
}

/// Bisects by itself, behind the back of the loop: what was put is durable, but for the second record, some time later.
#[derive(Default)]
struct Bisects {
    context: Option<SinkContext>,
    through: Arc<AtomicUsize>,
    begun: bool,
}

#[async_trait]
impl SinkTask for Bisects {
    async fn start(&mut self, context: SinkContext) -> Result<()> {
        self.context = Some(context);
        Ok(())
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        let context = self.context.clone().unwrap();
        let through = Arc::clone(&self.through);
        let last = batch.records.last().unwrap().origin.offset + 1;
        tokio::spawn(async move {
            GATE.notified().await;
            let bad = |record: &pipette_api::SinkRecord| record.origin.offset == 2;
            if let Some(index) = batch.records.iter().position(bad) {
                context.runtime.report(&batch, index, ConnectError::data("row 2 is too long"));
            }
            through.store(usize::try_from(last).unwrap(), Ordering::SeqCst);
            context.runtime.request_flush();
            GATE.notify_one();
        });
        self.begun = true;
        Ok(())
    }

    async fn flush(&mut self, _: &Offsets) -> Result<Offsets> {
        let through = i64::try_from(self.through.load(Ordering::SeqCst)).unwrap();
        Ok(Offsets::from([(tp("slow"), through)]))
    }
}

static GATE: tokio::sync::Notify = tokio::sync::Notify::const_new();

#[test]
fn what_a_sink_that_bisects_reports_later_is_kept_before_its_offset_is_passed() {
    static PLUGIN: SinkPlugin = plugin(|_| Ok(Box::<Bisects>::default()));
    let mut stage = Stage::new();
    stage.flush_interval = Duration::from_millis(50);
    stage.errors = ErrorPolicy { tolerate: true, ..ErrorPolicy::default() };
    stage.dead_letters = Some(DeadLetterTopic { name: "dead".into(), replication_factor: None, context: Some(true) });
    fill(&mut stage, "slow", "0\n1\n2\n3\n");
    let task = stage.sink("slow-out", &PLUGIN, &[("topics", "slow")]);
    let bootstrap = stage.bootstrap();
    until("a commit", || stage.committed("slow-out"), |committed| *committed == Offsets::from([(tp("slow"), 0)]));
    GATE.notify_one();
    until(
        "the last commit",
        || stage.committed("slow-out"),
        |committed| *committed == Offsets::from([(tp("slow"), 4)]),
    );
    let letters = topic::records(&bootstrap, "dead");
    stage.stop("slow-out", &task);
    let told = letters.iter().map(|letter| letter.header("__connect.errors.offset")).collect::<Vec<_>>();
    assert_eq!(told, ["2"]);
}
