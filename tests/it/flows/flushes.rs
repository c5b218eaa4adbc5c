//! Sinks whose `flush` fails: what was put comes again, at once or at the next start, and nothing is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pipette::task::TaskNews;
use pipette::task::watchdog::Trouble;
use pipette_api::{
    Assigned, ConnectError, Offsets, Result, Seeks, SinkBatch, SinkContext, SinkPlugin, SinkTask, TopicPartition, Wish,
    async_trait,
};

use super::kept_out::lines;
use super::sinks::{fill, plugin};
use super::stage::{PATIENCE, Stage};
use crate::support::kafka::ApacheKafka;
use crate::support::{topic, wait};

/// The target of one test.
#[derive(Default)]
struct Target {
    durable: Vec<(i32, i64)>,
    /// Everything that was ever put.
    put: Vec<(i32, i64)>,
    flushes: usize,
    /// So many of the next flushes fail.
    fails: usize,
    opened: usize,
    /// Records that came although one before them had neither come nor become durable.
    gaps: usize,
}

type Shore = Mutex<Target>;

/// Forgets what it could not flush, as a sink does that has handed its buffer to a request.
struct Forgetful {
    shore: &'static Shore,
    error: fn() -> ConnectError,
    /// Where it wants to begin.
    begin: Option<i64>,
    /// Asks for a flush with each batch.
    hasty: bool,
    context: Option<SinkContext>,
    buffer: Vec<(i32, i64)>,
    /// The next record of each partition: the first that was forgotten, after a flush that failed.
    next: BTreeMap<i32, i64>,
    /// How long a batch takes.
    slowness: Duration,
}

fn forgetful(shore: &'static Shore) -> Forgetful {
    let error = || ConnectError::retriable("the disk is full");
    let (buffer, next, slowness) = (Vec::new(), BTreeMap::new(), Duration::ZERO);
    Forgetful { shore, error, begin: None, hasty: false, context: None, buffer, next, slowness }
}

#[async_trait]
impl SinkTask for Forgetful {
    async fn start(&mut self, context: SinkContext) -> Result<()> {
        self.context = Some(context);
        Ok(())
    }

    async fn open(&mut self, assigned: &[Assigned]) -> Result<Seeks> {
        look(self.shore, |target| target.opened += assigned.len());
        Ok(assigned.iter().filter_map(|partition| Some((partition.tp.clone(), self.begin?))).collect())
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        let records = batch.records.iter().map(|record| (record.origin.tp.partition, record.origin.offset));
        look(self.shore, |target| target.put.extend(records.clone()));
        for (partition, offset) in records {
            let next = self.next.insert(partition, offset + 1);
            look(self.shore, |target| target.gaps += usize::from(next.is_some_and(|next| offset > next)));
            self.buffer.push((partition, offset));
        }
        if !self.slowness.is_zero() {
            wait::moment(self.slowness);
        }
        if self.hasty {
            self.context.as_ref().unwrap().runtime.request_flush();
        }
        Ok(())
    }

    async fn flush(&mut self, upto: &Offsets) -> Result<Offsets> {
        let buffer = std::mem::take(&mut self.buffer);
        look(self.shore, |target| {
            target.flushes += 1;
            if target.fails > 0 {
                target.fails -= 1;
                for (partition, offset) in &buffer {
                    self.next.entry(*partition).and_modify(|next| *next = (*next).min(*offset));
                }
                return Err((self.error)());
            }
            target.durable.extend(buffer);
            Ok(upto.clone())
        })
    }
}

fn look<T>(shore: &Shore, look: impl FnOnce(&mut Target) -> T) -> T {
    look(&mut shore.lock().unwrap_or_else(PoisonError::into_inner))
}

fn failing(shore: &Shore, flushes: usize) {
    look(shore, |target| *target = Target { fails: flushes, ..Target::default() });
}

fn until(what: &str, shore: &Shore, is_right: impl Fn(&Target) -> bool) {
    wait::until(what, PATIENCE, || {
        look(shore, |target| {
            let (put, durable) = (target.put.len(), target.durable.len());
            let state = format!("{} flushes, {put} put, {durable} durable", target.flushes);
            if is_right(target) { Ok(()) } else { Err(state) }
        })
    });
}

fn at(topic: &str, offset: i64) -> Offsets {
    Offsets::from([(TopicPartition::new(topic, 0), offset)])
}

fn durable(shore: &Shore) -> BTreeSet<i64> {
    look(shore, |target| target.durable.iter().map(|(_, offset)| *offset).collect())
}

#[test]
fn what_a_sink_could_not_flush_comes_again_from_the_offset_that_is_committed() {
    static SHORE: Shore = Mutex::new(EMPTY);
    static PLUGIN: SinkPlugin = plugin(|_| Ok(Box::new(forgetful(&SHORE))));
    let mut stage = Stage::new();
    stage.flush_interval = Duration::from_millis(50);
    fill(&mut stage, "again", &lines(30));
    failing(&SHORE, 3);
    let task = stage.sink("again-out", &PLUGIN, &[("topics", "again")]);
    until("all of them", &SHORE, |target| target.durable.len() >= 30);
    // The next failure goes back to what is committed, and no further.
    wait::until("the commit", PATIENCE, || match stage.committed("again-out") {
        committed if committed == at("again", 30) => Ok(()),
        committed => Err(format!("{committed:?}")),
    });
    failing(&SHORE, 2);
    for line in 30..35 {
        topic::write(&stage.bootstrap(), "again", 0, "k", &line.to_string());
    }
    until("the later ones", &SHORE, |target| target.durable.len() >= 5);
    stage.stop("again-out", &task);
    assert_eq!(stage.committed("again-out"), at("again", 35));
    assert_eq!(durable(&SHORE), (30..35).collect(), "no record twice of what was committed, none left out");
    assert_eq!(look(&SHORE, |target| target.opened), 0, "without a rebalance");
}

const EMPTY: Target = Target { durable: Vec::new(), put: Vec::new(), flushes: 0, fails: 0, opened: 0, gaps: 0 };

#[test]
fn a_flush_that_fails_at_a_stop_commits_nothing_and_the_next_start_reads_again() {
    static SHORE: Shore = Mutex::new(EMPTY);
    static PLUGIN: SinkPlugin = plugin(|_| Ok(Box::new(forgetful(&SHORE))));
    let mut stage = Stage::new();
    fill(&mut stage, "stopped", &lines(10));
    failing(&SHORE, 1);
    let task = stage.sink("stopped-out", &PLUGIN, &[("topics", "stopped")]);
    until("the records", &SHORE, |target| target.put.len() == 10);
    stage.stop("stopped-out", &task);
    assert_eq!(stage.committed("stopped-out"), Offsets::new());
    let task = stage.sink("stopped-out", &PLUGIN, &[("topics", "stopped")]);
    until("the records again", &SHORE, |target| target.put.len() == 20);
    stage.stop("stopped-out", &task);
    assert_eq!(durable(&SHORE), (0..10).collect());
    assert_eq!(stage.committed("stopped-out"), at("stopped", 10));
}

#[test]
fn a_flush_that_goes_on_failing_is_told_and_tried_ever_more_seldom() {
    static SHORE: Shore = Mutex::new(EMPTY);
    static PLUGIN: SinkPlugin = plugin(|_| Ok(Box::new(Forgetful { hasty: true, ..forgetful(&SHORE) })));
    let mut stage = Stage::new();
    stage.flush_interval = Duration::from_millis(5);
    fill(&mut stage, "full", &lines(10));
    failing(&SHORE, usize::MAX);
    let task = stage.sink("full-out", &PLUGIN, &[("topics", "full")]);
    stage.hear("full-out", |news| {
        matches!(news, TaskNews::Trouble(Some(Trouble::Flush { cause, .. })) if cause.contains("the disk is full"))
    });
    until("some tries", &SHORE, |target| target.flushes >= 4);
    // The fifth is 1.6 s behind the fourth.
    wait::up_to(Duration::from_millis(700), || look(&SHORE, |target| target.flushes > 5));
    assert!(look(&SHORE, |target| target.flushes) <= 5, "it does not spin");
    assert_eq!(stage.committed("full-out"), Offsets::new());
    look(&SHORE, |target| target.fails = 0);
    stage.hear("full-out", |news| matches!(news, TaskNews::Trouble(None)));
    assert_eq!(durable(&SHORE), (0..10).collect());
    stage.stop("full-out", &task);
}

#[test]
fn a_stop_does_not_wait_until_a_flush_is_tried_again() {
    static SHORE: Shore = Mutex::new(EMPTY);
    static PLUGIN: SinkPlugin = plugin(|_| {
        let error = || ConnectError::retriable("come back later").retry_after(Duration::from_mins(10));
        Ok(Box::new(Forgetful { hasty: true, error, ..forgetful(&SHORE) }))
    });
    let mut stage = Stage::new();
    fill(&mut stage, "later", &lines(10));
    failing(&SHORE, 1);
    let task = stage.sink("later-out", &PLUGIN, &[("topics", "later")]);
    until("the first try", &SHORE, |target| target.flushes == 1);
    stage.stop("later-out", &task);
    assert_eq!(look(&SHORE, |target| target.flushes), 1, "what is gone cannot be flushed");
    assert_eq!(stage.committed("later-out"), Offsets::new());
}

#[test]
fn a_flush_that_breaks_a_promise_fails_the_task_and_commits_nothing() {
    static SHORE: Shore = Mutex::new(EMPTY);
    static PLUGIN: SinkPlugin = plugin(|_| {
        let error = || ConnectError::fatal("somebody else writes to the table");
        Ok(Box::new(Forgetful { hasty: true, error, ..forgetful(&SHORE) }))
    });
    let mut stage = Stage::new();
    fill(&mut stage, "broken", &lines(10));
    failing(&SHORE, 1);
    let _task = stage.sink("broken-out", &PLUGIN, &[("topics", "broken")]);
    let trace = stage.hear("broken-out", |news| matches!(news, TaskNews::Failed { .. }));
    assert!(trace.starts_with("Task broken-out-0 failed in flush: somebody else writes to the table"), "{trace}");
    assert_eq!(stage.committed("broken-out"), Offsets::new(), "the flush on the way out has nothing to flush");
}

#[test]
fn a_sink_that_chose_where_to_begin_is_not_sent_back_before_that() {
    static SHORE: Shore = Mutex::new(EMPTY);
    static PLUGIN: SinkPlugin = plugin(|_| Ok(Box::new(Forgetful { begin: Some(12), ..forgetful(&SHORE) })));
    let mut stage = Stage::new();
    stage.flush_interval = Duration::from_millis(50);
    fill(&mut stage, "chosen", &lines(20));
    failing(&SHORE, 2);
    let task = stage.sink("chosen-out", &PLUGIN, &[("topics", "chosen")]);
    until("all from there on", &SHORE, |target| target.durable.len() >= 8);
    stage.stop("chosen-out", &task);
    assert_eq!(durable(&SHORE), (12..20).collect());
    assert_eq!(look(&SHORE, |target| target.put.iter().map(|(_, offset)| *offset).min()), Some(12));
    assert_eq!(stage.committed("chosen-out"), at("chosen", 20));
}

#[test]
fn a_paused_sink_is_given_nothing_again_before_it_is_resumed() {
    static SHORE: Shore = Mutex::new(EMPTY);
    static PLUGIN: SinkPlugin = plugin(|_| Ok(Box::new(forgetful(&SHORE))));
    let mut stage = Stage::new();
    stage.flush_interval = Duration::from_millis(300);
    fill(&mut stage, "paused", &lines(3_000));
    failing(&SHORE, usize::MAX);
    let task = stage.sink("paused-out", &PLUGIN, &[("topics", "paused")]);
    until("some records", &SHORE, |target| !target.put.is_empty());
    task.wish(Wish::Pause);
    stage.hear("paused-out", |news| matches!(news, TaskNews::Paused));
    until("a flush", &SHORE, |target| target.flushes > 0);
    let put = look(&SHORE, |target| target.put.len());
    // Longer than the wait after a first failure.
    wait::up_to(Duration::from_millis(500), || look(&SHORE, |target| target.put.len()) > put);
    assert_eq!(look(&SHORE, |target| target.put.len()), put, "nothing is put meanwhile");
    look(&SHORE, |target| target.fails = 0);
    task.wish(Wish::Run);
    until("everything", &SHORE, |target| target.durable.len() >= 3_000);
    stage.stop("paused-out", &task);
    assert_eq!(durable(&SHORE), (0..3_000).collect());
    assert_eq!(stage.committed("paused-out"), at("paused", 3_000));
}

/// Batches wait for a slow sink in the loop, in the channel and in the thread when it fails to flush the first of them.
fn records_on_their_way(stage: &mut Stage, topic: &str, shore: &'static Shore, plugin: &'static SinkPlugin) {
    const COUNT: i64 = 20_000;
    stage.flush_interval = Duration::from_millis(100);
    fill(stage, topic, &lines(usize::try_from(COUNT).unwrap()));
    failing(shore, 8);
    let task = stage.sink(&format!("{topic}-out"), plugin, &[("topics", topic)]);
    until("everything", shore, |target| target.durable.len() >= usize::try_from(COUNT).unwrap());
    stage.stop(&format!("{topic}-out"), &task);
    assert_eq!(look(shore, |target| target.gaps), 0, "nothing read before it was sent back is put behind it");
    assert_eq!(durable(shore), (0..COUNT).collect());
    assert_eq!(stage.committed(&format!("{topic}-out")), at(topic, COUNT));
}

fn slow(shore: &'static Shore) -> Forgetful {
    let error = || ConnectError::retriable("the disk is full").retry_after(Duration::from_millis(1));
    Forgetful { error, slowness: Duration::from_millis(20), ..forgetful(shore) }
}

#[test]
fn what_is_on_its_way_when_a_flush_fails_comes_once_more_in_its_order() {
    static SHORE: Shore = Mutex::new(EMPTY);
    static PLUGIN: SinkPlugin = plugin(|_| Ok(Box::new(slow(&SHORE))));
    records_on_their_way(&mut Stage::new(), "ahead", &SHORE, &PLUGIN);
}

#[test]
fn on_apache_kafka_what_is_on_its_way_when_a_flush_fails_comes_once_more_in_its_order() {
    static SHORE: Shore = Mutex::new(EMPTY);
    static PLUGIN: SinkPlugin = plugin(|_| Ok(Box::new(slow(&SHORE))));
    let mut stage = Stage::new();
    stage.elsewhere = Some(ApacheKafka::shared().bootstrap());
    records_on_their_way(&mut stage, "flushes-ahead", &SHORE, &PLUGIN);
}

/// With cooperative rebalances a member keeps most of its partitions while it gives one up.
#[test]
fn what_stays_with_a_member_comes_again_when_it_could_not_flush_what_goes() {
    static SHORE: Shore = Mutex::new(EMPTY);
    static PLUGIN: SinkPlugin = plugin(|_| Ok(Box::new(forgetful(&SHORE))));
    let mut stage = Stage::with_partitions(2);
    stage.consumer = vec![("partition.assignment.strategy", "cooperative-sticky")];
    for number in 0..40 {
        topic::write(&stage.bootstrap(), "parts", number % 2, "k", &number.to_string());
    }
    failing(&SHORE, 1);
    let first = stage.sink("parts-out", &PLUGIN, &[("topics", "parts")]);
    until("all of them", &SHORE, |target| target.put.len() == 40);
    let second = stage.sink("parts-out.2", &PLUGIN, &[("topics", "parts")]);
    until("all of them again", &SHORE, |target| target.put.len() >= 80);
    stage.stop("parts-out", &first);
    stage.stop("parts-out.2", &second);
    let durable = look(&SHORE, |target| target.durable.iter().copied().collect::<BTreeSet<_>>());
    assert_eq!(durable, (0..2).flat_map(|partition| (0..20).map(move |offset| (partition, offset))).collect());
    let committed = [0, 1].map(|partition| (TopicPartition::new("parts", partition), 20));
    assert_eq!(stage.committed("parts-out"), Offsets::from(committed));
}
