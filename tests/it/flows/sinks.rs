//! Flows out of Kafka.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use connector_file::{SINK as FILE_SINK, SOURCE as FILE_SOURCE};
use pipette::budget::shares::Wants;
use pipette::budget::{Budget, Meters};
use pipette::kafka::consumer::{ConsumerEvent, Subscription, TaskConsumer};
use pipette::settings::fetch::DirectFetch;
use pipette::task::TaskNews;
use pipette_api::{
    ConfigDef, ConnectError, Connector, Info, Offsets, Result, Settings, Signal, SinkBatch, SinkContext, SinkPlugin,
    SinkTask, TaskId, TopicPartition, Wish, async_trait,
};
use tokio::sync::watch;

use super::stage::{PATIENCE, Stage};
use crate::support::{topic, wait};

/// Puts these lines into a topic, through a source task.
pub(super) fn fill(stage: &mut Stage, topic: &str, lines: &str) {
    let file = stage.path(&format!("{topic}.in"));
    std::fs::write(&file, lines).unwrap();
    let task = stage.source(topic, &FILE_SOURCE, &[("file", file.to_str().unwrap()), ("topic", topic)]);
    let bootstrap = stage.bootstrap();
    let count = lines.lines().count();
    wait::until("the lines", PATIENCE, || match crate::support::topic::values(&bootstrap, topic).len() {
        found if found >= count => Ok(()),
        found => Err(format!("{found}")),
    });
    stage.stop(topic, &task);
}

fn until_lines(path: &std::path::Path, count: usize) {
    wait::until("the sink's lines", PATIENCE, || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if text.lines().count() >= count { Ok(()) } else { Err(format!("{} lines", text.lines().count())) }
    });
}

/// A killed worker's member stays in its group until it times out; the next one joins, and may be told to stop.
#[test]
fn a_consumer_that_still_joins_its_group_holds_up_no_stop() {
    let mut stage = Stage::new();
    fill(&mut stage, "rows", "one\n");
    let topics = Subscription::Topics(vec!["rows".into()]);
    let (_wish, wished) = watch::channel(Wish::Run);
    let budget = Budget::new(128 << 20);
    let join = || {
        let (properties, signal) = (stage.consumer("left"), Signal::new(wished.clone()));
        let id = TaskId { connector: "left".into(), task: 0 };
        let share = budget.enter(id, None, Wants { least: 16 << 20, most: 16 << 20 }, "", Meters::default());
        TaskConsumer::start((&properties, DirectFetch::Auto), &topics, "left-0", share, signal).unwrap()
    };
    let mut silent = join();
    wait::until("partitions", PATIENCE, || match silent.events.try_recv() {
        // Never answered: this member does not take part when the group is formed anew.
        Ok(ConsumerEvent::Assigned(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let joining = join();
    let bootstrap = stage.bootstrap();
    wait::until("the group to be formed anew", PATIENCE, || match topic::group_state(&bootstrap, "connect-left") {
        told if told == "PreparingRebalance" => Ok(()),
        told => Err(told),
    });
    let began = Instant::now();
    drop(joining);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn a_sink_goes_on_at_the_committed_offset() {
    let mut stage = Stage::new();
    let out = stage.path("out.txt");
    let config = [("file", out.to_str().unwrap().to_owned()), ("topics", "rows".to_owned())];
    let config: Vec<(&str, &str)> = config.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let mut text = String::new();
    for round in 0..2 {
        text.extend((0..1500).map(|line| format!("round {round} line {line}\n")));
        // The source appends to what it has read, so the file grows.
        fill(&mut stage, "rows", &text);
        let task = stage.sink("rows-out", &FILE_SINK, &config);
        until_lines(&out, text.lines().count());
        task.wish(Wish::Pause);
        stage.hear("rows-out", |news| matches!(news, TaskNews::Paused));
        task.wish(Wish::Run);
        stage.hear("rows-out", |news| matches!(news, TaskNews::Running));
        stage.stop("rows-out", &task);
        assert_eq!(std::fs::read_to_string(&out).unwrap(), text, "in order, none twice after an orderly stop");
        let count = i64::try_from(text.lines().count()).unwrap();
        assert_eq!(stage.committed("rows-out"), Offsets::from([(TopicPartition::new("rows", 0), count)]));
    }
}

static NO_KEYS: ConfigDef = ConfigDef::new(&[]);

pub(super) const fn plugin(task: fn(Settings) -> Result<Box<dyn SinkTask>>) -> SinkPlugin {
    let info = Info { class: "test.Sink", aliases: &[], version: "1", about: "", readme: "", config: &NO_KEYS };
    let connector: fn(Settings) -> Result<Box<dyn Connector>> = |_| Err(ConnectError::fatal("not here"));
    SinkPlugin::new(info, connector, task)
}

/// Refuses the first two puts, keeps the batches it was given.
struct Stubborn {
    refuse: usize,
}

static GIVEN: Mutex<Vec<Arc<SinkBatch>>> = Mutex::new(Vec::new());

#[async_trait]
impl SinkTask for Stubborn {
    async fn start(&mut self, _context: SinkContext) -> Result<()> {
        Ok(())
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        GIVEN.lock().unwrap().push(batch);
        if self.refuse == 0 {
            return Ok(());
        }
        self.refuse -= 1;
        Err(ConnectError::retriable("the database is restarting").retry_after(Duration::from_millis(1)))
    }
}

#[test]
fn the_same_batch_comes_again_after_a_retriable_error() {
    static PLUGIN: SinkPlugin = plugin(|_| Ok(Box::new(Stubborn { refuse: 2 })));
    let mut stage = Stage::new();
    fill(&mut stage, "again", "one\ntwo\n");
    let task = stage.sink("again-out", &PLUGIN, &[("topics", "again")]);
    wait::until("three puts", PATIENCE, || match GIVEN.lock().unwrap().len() {
        count if count >= 3 => Ok(()),
        count => Err(format!("{count}")),
    });
    stage.stop("again-out", &task);
    let given = GIVEN.lock().unwrap();
    assert!(Arc::ptr_eq(&given[0], &given[1]) && Arc::ptr_eq(&given[1], &given[2]), "the same batch, not a copy");
}

/// Reports every record whose value is "bad".
struct Picky {
    context: Option<SinkContext>,
}

static TAKEN: AtomicUsize = AtomicUsize::new(0);

#[async_trait]
impl SinkTask for Picky {
    async fn start(&mut self, context: SinkContext) -> Result<()> {
        self.context = Some(context);
        Ok(())
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        for (index, record) in batch.records.iter().enumerate() {
            if record.record.value.value.as_str() == Some("bad") {
                let error = ConnectError::data("column \"mass\" is not a number");
                self.context.as_ref().unwrap().runtime.report(&batch, index, error);
            } else {
                TAKEN.fetch_add(1, Ordering::SeqCst);
            }
        }
        Ok(())
    }
}

#[test]
fn a_reported_record_fails_the_task_and_is_named() {
    static PLUGIN: SinkPlugin = plugin(|_| Ok(Box::new(Picky { context: None })));
    let mut stage = Stage::new();
    fill(&mut stage, "picky", "good\nbad\ngood\n");
    let _task = stage.sink("picky-out", &PLUGIN, &[("topics", "picky")]);
    let trace = stage.hear("picky-out", |news| matches!(news, TaskNews::Failed { .. }));
    let first = "Task picky-out-0 failed in put on the record at picky-0 offset 1: column \"mass\" is not a number. ";
    assert!(trace.starts_with(first), "{trace}");
    assert_eq!(TAKEN.load(Ordering::SeqCst), 2);
}
