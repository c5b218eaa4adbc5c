//! Flows out of Kafka in which a record could get lost.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipette::task::TaskNews;
use pipette_api::{
    Assigned, ConnectError, Offsets, Result, Seeks, SinkBatch, SinkContext, SinkPlugin, SinkTask, TopicPartition,
    TransformPlugin, async_trait,
};

use super::kept_in::{Ask, LENIENT, at_least, chain, step};
use super::sinks::{fill, plugin};
use super::stage::{PATIENCE, Stage};
use crate::support::wait;

pub(super) fn lines(count: usize) -> String {
    (0..count).fold(String::new(), |text, line| text + &format!("line {line}\n"))
}

/// A sink of functions. `put` is given the number of the call, from 0.
struct Sink {
    put: fn(usize, &Arc<SinkBatch>, &SinkContext) -> Result<()>,
    flush: fn(&Offsets, Option<&Arc<SinkBatch>>, &SinkContext) -> Result<Offsets>,
    opened: Option<&'static AtomicUsize>,
    puts: usize,
    last: Option<Arc<SinkBatch>>,
    context: Option<SinkContext>,
}

impl Sink {
    fn new(put: fn(usize, &Arc<SinkBatch>, &SinkContext) -> Result<()>) -> Self {
        Self { put, flush: |upto, _, _| Ok(upto.clone()), opened: None, puts: 0, last: None, context: None }
    }
}

#[async_trait]
impl SinkTask for Sink {
    async fn start(&mut self, context: SinkContext) -> Result<()> {
        self.context = Some(context);
        Ok(())
    }

    async fn open(&mut self, assigned: &[Assigned]) -> Result<Seeks> {
        if let Some(opened) = self.opened {
            opened.fetch_add(assigned.len(), Ordering::SeqCst);
        }
        Ok(Seeks::new())
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        self.puts += 1;
        (self.put)(self.puts - 1, &batch, self.context.as_ref().unwrap())?;
        self.last = Some(batch);
        Ok(())
    }

    async fn flush(&mut self, upto: &Offsets) -> Result<Offsets> {
        (self.flush)(upto, self.last.as_ref(), self.context.as_ref().unwrap())
    }
}

fn away() -> ConnectError {
    ConnectError::retriable("the database is away").retry_after(Duration::from_millis(50))
}

#[test]
fn a_batch_given_up_at_a_stop_is_not_overtaken_by_the_next() {
    static PUTS: AtomicUsize = AtomicUsize::new(0);
    static PLUGIN: SinkPlugin = plugin(|_| {
        Ok(Box::new(Sink::new(|put, _, _| {
            PUTS.fetch_add(1, Ordering::SeqCst);
            // Only the first batch meets the trouble.
            if put == 0 { Err(away().retry_after(Duration::from_mins(1))) } else { Ok(()) }
        })))
    });
    let mut stage = Stage::new();
    fill(&mut stage, "given-up", &lines(3000));
    // Which of two things that are ready comes first is chance: often enough for either.
    for round in 1..=8 {
        let task = stage.sink("given-up-out", &PLUGIN, &[("topics", "given-up")]);
        at_least(&PUTS, round, "the first put");
        stage.stop("given-up-out", &task);
        assert_eq!(stage.committed("given-up-out"), Offsets::new(), "the first batch was never put");
    }
}

#[test]
fn a_stop_amid_retries_of_the_chain_commits_nothing_behind_them() {
    static TRIES: AtomicUsize = AtomicUsize::new(0);
    static STEP: TransformPlugin = step(|_| Ok(Box::new(Ask(&TRIES))));
    static PLUGIN: SinkPlugin = plugin(|_| Ok(Box::new(Sink::new(|_, _, _| Ok(())))));
    let mut stage = Stage::new();
    fill(&mut stage, "asking", "one\ntwo\n");
    (stage.errors, stage.transforms) = (LENIENT, chain(&STEP));
    let task = stage.sink("asking-out", &PLUGIN, &[("topics", "asking")]);
    at_least(&TRIES, 3, "tries of the chain");
    stage.stop("asking-out", &task);
    assert_eq!(stage.committed("asking-out"), Offsets::new());
}

#[test]
fn a_record_reported_as_bad_while_flushing_is_not_passed_by_the_offset() {
    static PLUGIN: SinkPlugin = plugin(|_| {
        let put = |_, _: &Arc<SinkBatch>, context: &SinkContext| {
            context.runtime.request_flush();
            Ok(())
        };
        // A sink that writes when it flushes, and finds out then which row the database refuses.
        let flush = |upto: &Offsets, last: Option<&Arc<SinkBatch>>, context: &SinkContext| {
            if let Some(batch) = last
                && let Some(index) = batch.records.iter().position(|record| record.origin.offset == 1)
            {
                context.runtime.report(batch, index, ConnectError::data("not a number"));
            }
            Ok(upto.clone())
        };
        Ok(Box::new(Sink { flush, ..Sink::new(put) }))
    });
    let mut stage = Stage::new();
    fill(&mut stage, "late", "good\nbad\ngood\n");
    let _task = stage.sink("late-out", &PLUGIN, &[("topics", "late")]);
    let trace = stage.hear("late-out", |news| matches!(news, TaskNews::Failed { .. }));
    assert!(trace.starts_with("Task late-out-0 failed in put on the record at late-0 offset 1"), "{trace}");
    let expected = Offsets::from([(TopicPartition::new("late", 0), 1)]);
    assert_eq!(stage.committed("late-out"), expected, "the next start begins with the bad record");
}

#[test]
fn a_sink_that_is_away_does_not_keep_partitions_from_another_member() {
    static PUTS: AtomicUsize = AtomicUsize::new(0);
    static OPENED: AtomicUsize = AtomicUsize::new(0);
    static AWAY: SinkPlugin = plugin(|_| {
        Ok(Box::new(Sink::new(|_, _, _| {
            PUTS.fetch_add(1, Ordering::SeqCst);
            Err(away())
        })))
    });
    static WELL: SinkPlugin = plugin(|_| Ok(Box::new(Sink { opened: Some(&OPENED), ..Sink::new(|_, _, _| Ok(())) })));
    let mut stage = Stage::with_partitions(2);
    fill(&mut stage, "shared", &lines(100));
    let first = stage.sink("shared-out", &AWAY, &[("topics", "shared")]);
    at_least(&PUTS, 2, "puts that fail");
    let second = stage.sink("shared-out.2", &WELL, &[("topics", "shared")]);
    at_least(&OPENED, 1, "a partition of the second member");
    stage.stop("shared-out", &first);
    stage.stop("shared-out.2", &second);
}

#[test]
fn a_commit_within_put_is_answered_although_a_rebalance_waits_for_room() {
    static OPENED: AtomicUsize = AtomicUsize::new(0);
    static ANSWERED: AtomicUsize = AtomicUsize::new(0);
    struct Committing {
        context: Option<SinkContext>,
        first: bool,
    }
    #[async_trait]
    impl SinkTask for Committing {
        async fn start(&mut self, context: SinkContext) -> Result<()> {
            self.context = Some(context);
            Ok(())
        }

        async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
            let (runtime, tp) = (&self.context.as_ref().unwrap().runtime, &batch.records[0].origin.tp);
            // Long enough for the thread to lose its patience, pause, and meet the second member.
            for _ in 0..if std::mem::take(&mut self.first) { 100 } else { 0 } {
                wait::moment(Duration::from_millis(60));
                let _ = runtime.commit(tp, 0, None).await;
                ANSWERED.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        }
    }
    static COMMITS: SinkPlugin = plugin(|_| Ok(Box::new(Committing { context: None, first: true })));
    static WELL: SinkPlugin = plugin(|_| Ok(Box::new(Sink { opened: Some(&OPENED), ..Sink::new(|_, _, _| Ok(())) })));
    let mut stage = Stage::with_partitions(2);
    fill(&mut stage, "room", &lines(20_000));
    stage.consumer = vec![("max.poll.interval.ms", "6000"), ("session.timeout.ms", "6000")];
    let first = stage.sink("room-out", &COMMITS, &[("topics", "room")]);
    at_least(&ANSWERED, 1, "the first commit");
    let second = stage.sink("room-out.2", &WELL, &[("topics", "room")]);
    at_least(&ANSWERED, 100, "every commit");
    at_least(&OPENED, 1, "a partition of the second member");
    stage.stop("room-out", &first);
    stage.stop("room-out.2", &second);
}

#[test]
fn a_sink_task_that_was_given_up_leaves_its_group_at_once() {
    static LET_GO: AtomicBool = AtomicBool::new(false);
    static HANGS: AtomicUsize = AtomicUsize::new(0);
    static PUTS: AtomicUsize = AtomicUsize::new(0);
    static HANGING: SinkPlugin = plugin(|_| {
        Ok(Box::new(Sink::new(|_, _, _| {
            HANGS.fetch_add(1, Ordering::SeqCst);
            let let_go = || LET_GO.load(Ordering::SeqCst).then_some(()).ok_or("not yet".to_owned());
            wait::until("being let go", 3 * PATIENCE, let_go);
            Ok(())
        })))
    });
    static WELL: SinkPlugin = plugin(|_| {
        let put = |_, _: &Arc<SinkBatch>, _: &SinkContext| {
            PUTS.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        Ok(Box::new(Sink { flush: |_, _, _| Ok(Offsets::new()), ..Sink::new(put) }))
    });
    let mut stage = Stage::new();
    fill(&mut stage, "hung", "one\ntwo\n");
    let hung = stage.sink("hung-out", &HANGING, &[("topics", "hung")]);
    at_least(&HANGS, 1, "the hanging put");
    drop(hung);
    let next = stage.sink("hung-out", &WELL, &[("topics", "hung")]);
    at_least(&PUTS, 1, "records at the next start of the task");
    LET_GO.store(true, Ordering::SeqCst);
    stage.hear("hung-out", |news| matches!(news, TaskNews::Stopped));
    assert_eq!(stage.committed("hung-out"), Offsets::new(), "what it put counts no more");
    stage.stop("hung-out", &next);
}

/// Slow, away now and then, and watchful of what it is given.
struct Watchful {
    open: BTreeSet<TopicPartition>,
    puts: usize,
}

static PUT: Mutex<BTreeSet<(TopicPartition, i64)>> = Mutex::new(BTreeSet::new());
static STRAY: AtomicUsize = AtomicUsize::new(0);

#[async_trait]
impl SinkTask for Watchful {
    async fn start(&mut self, _: SinkContext) -> Result<()> {
        Ok(())
    }

    async fn open(&mut self, assigned: &[Assigned]) -> Result<Seeks> {
        self.open.extend(assigned.iter().map(|assigned| assigned.tp.clone()));
        Ok(Seeks::new())
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        self.puts += 1;
        if self.puts.is_multiple_of(5) {
            return Err(away());
        }
        wait::moment(Duration::from_millis(250));
        for record in &batch.records {
            let tp = &record.origin.tp;
            STRAY.fetch_add(usize::from(!self.open.contains(tp)), Ordering::SeqCst);
            PUT.lock().unwrap().insert((tp.clone(), record.origin.offset));
        }
        Ok(())
    }

    async fn close(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.open.retain(|tp| !partitions.contains(tp));
        Ok(())
    }
}

/// Members come and go while the sinks are slow and the group has little patience.
fn churn(topic: &str, assignor: &'static str) {
    static WATCHFUL: SinkPlugin = plugin(|_| Ok(Box::new(Watchful { open: BTreeSet::new(), puts: 0 })));
    let mut stage = Stage::with_partitions(4);
    let count = 8_000;
    fill(&mut stage, topic, &lines(count));
    stage.consumer = vec![
        ("max.poll.interval.ms", "600"),
        ("session.timeout.ms", "600"),
        ("heartbeat.interval.ms", "150"),
        ("partition.assignment.strategy", assignor),
    ];
    let put = || PUT.lock().unwrap().iter().filter(|(tp, _)| &*tp.topic == topic).count();
    let name = format!("{topic}-out");
    let resident = stage.sink(&name, &WATCHFUL, &[("topics", topic)]);
    for round in 0..4 {
        let guest_name = format!("{name}.{round}");
        let before = put();
        let guest = stage.sink(&guest_name, &WATCHFUL, &[("topics", topic)]);
        wait::up_to(Duration::from_secs(2), || put() >= before + count / 8);
        stage.stop(&guest_name, &guest);
        for (tp, offset) in stage.committed(&name) {
            let put = PUT.lock().unwrap();
            assert!((0..offset).all(|below| put.contains(&(tp.clone(), below))), "{tp} is committed up to {offset}");
        }
    }
    wait::until("every record", 2 * PATIENCE, || if put() >= count { Ok(()) } else { Err(format!("{}", put())) });
    stage.stop(&name, &resident);
    assert_eq!(STRAY.load(Ordering::SeqCst), 0, "records of partitions that were closed");
}

#[test]
fn members_that_come_and_go_lose_no_record() {
    churn("churn", "range,roundrobin");
}

#[test]
fn members_that_come_and_go_lose_no_record_with_cooperative_rebalances() {
    churn("churn-cooperative", "cooperative-sticky");
}
