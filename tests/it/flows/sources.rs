//! Flows into Kafka.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use connector_file::SOURCE as FILE_SOURCE;
use pipette::task::TaskNews;
use pipette_api::{
    ConfigDef, ConnectError, Connector, Datum, Hook, Info, OffsetShape, Partition, Plugin, Position, Record, Result,
    SourceBatch, SourceContext, SourceEntry, SourcePlugin, SourceRecord, SourceTask, Value, Wish, async_trait,
};

use super::stage::{PATIENCE, Stage};
use crate::support::{topic, wait};

#[test]
fn lines_of_a_file_arrive_once_over_restarts_and_a_pause() {
    let mut stage = Stage::new();
    let file = stage.path("in.txt");
    let config = [("file", file.to_str().unwrap().to_owned()), ("topic", "lines".to_owned())];
    let config: Vec<(&str, &str)> = config.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let mut text = String::new();
    for round in 0..3 {
        text.extend((0..500).map(|line| format!("round {round} line {line}\n")));
        std::fs::write(&file, &text).unwrap();
        let task = stage.source("lines", &FILE_SOURCE, &config);
        let expected: Vec<&str> = text.lines().collect();
        let bootstrap = stage.bootstrap();
        wait::until("all lines in the topic", PATIENCE, || match topic::values(&bootstrap, "lines") {
            lines if lines.len() >= expected.len() => Ok(()),
            lines => Err(format!("{} lines", lines.len())),
        });
        task.wish(Wish::Pause);
        stage.hear("lines", |news| matches!(news, TaskNews::Paused));
        task.wish(Wish::Run);
        stage.hear("lines", |news| matches!(news, TaskNews::Running));
        stage.stop("lines", &task);
        assert_eq!(topic::values(&bootstrap, "lines"), expected, "in order, none twice after an orderly stop");
    }
}

/// A source that does what its test needs.
struct Scripted {
    script: fn(usize) -> Result<SourceBatch>,
    polls: usize,
    context: Option<SourceContext>,
}

#[async_trait]
impl SourceTask for Scripted {
    async fn start(&mut self, context: SourceContext) -> Result<()> {
        self.context = Some(context);
        Ok(())
    }

    async fn poll(&mut self) -> Result<SourceBatch> {
        self.polls += 1;
        let batch = (self.script)(self.polls)?;
        if batch.is_empty() {
            self.context.as_ref().unwrap().common.signal.recalled().await;
        }
        Ok(batch)
    }
}

static NO_KEYS: ConfigDef = ConfigDef::new(&[]);

pub(super) const fn plugin(task: fn(pipette_api::Settings) -> Result<Box<dyn SourceTask>>) -> SourcePlugin {
    let info = Info { class: "test.Scripted", aliases: &[], version: "1", about: "", readme: "", config: &NO_KEYS };
    let connector: fn(pipette_api::Settings) -> Result<Box<dyn Connector>> = |_| Err(ConnectError::fatal("not here"));
    SourcePlugin::new(info, connector, task)
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of a descriptor's function")]
pub(super) fn scripted(script: fn(usize) -> Result<SourceBatch>) -> Result<Box<dyn SourceTask>> {
    Ok(Box::new(Scripted { script, polls: 0, context: None }))
}

pub(super) fn entry(text: &str, mark: i64) -> SourceEntry {
    let shape = Arc::new(OffsetShape { fixed: BTreeMap::new(), marks: [Some("at"), None] });
    let partition = Arc::new(Partition::of("script", "one"));
    SourceEntry::Record(SourceRecord {
        record: Record::new("scripted".into(), Datum::schemaless(Value::text(text))),
        position: Some(Position { partition, shape, marks: [mark, 0] }),
    })
}

#[test]
fn hooks_run_soon_although_the_flush_tick_is_a_minute_away() {
    static ACKED: AtomicUsize = AtomicUsize::new(0);
    static COMMITTED: AtomicUsize = AtomicUsize::new(0);
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| {
            if poll > 3 {
                return Ok(SourceBatch::empty());
            }
            let count = |count: &'static AtomicUsize| {
                Some(Hook::new(move || {
                    count.fetch_add(1, Ordering::SeqCst);
                }))
            };
            let entries = vec![entry("a", 1)];
            Ok(SourceBatch { entries, acked: count(&ACKED), committed: count(&COMMITTED), ..SourceBatch::default() })
        })
    });
    let mut stage = Stage::new();
    let task = stage.source("hooks", &PLUGIN, &[]);
    stage.hear("hooks", |news| matches!(news, TaskNews::Running));
    wait::until("three committed hooks", PATIENCE, || match COMMITTED.load(Ordering::SeqCst) {
        3 => Ok(()),
        count => Err(format!("{count} committed, {} acked", ACKED.load(Ordering::SeqCst))),
    });
    assert_eq!(ACKED.load(Ordering::SeqCst), 3);
    stage.stop("hooks", &task);
}

#[test]
fn a_task_that_is_stopped_while_paused_is_not_polled_again() {
    static POLLS: AtomicUsize = AtomicUsize::new(0);
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| {
            POLLS.store(poll, Ordering::SeqCst);
            Ok(SourceBatch::empty())
        })
    });
    let mut stage = Stage::new();
    let task = stage.source("rests", &PLUGIN, &[]);
    wait::until("a poll", PATIENCE, || if POLLS.load(Ordering::SeqCst) > 0 { Ok(()) } else { Err("none".into()) });
    task.wish(Wish::Pause);
    stage.hear("rests", |news| matches!(news, TaskNews::Paused));
    stage.stop("rests", &task);
    assert_eq!(POLLS.load(Ordering::SeqCst), 1, "no poll follows a pause before it is resumed");
}

#[test]
fn a_plugin_that_panics_fails_its_task_only() {
    static PANICS: SourcePlugin = plugin(|_| scripted(|_| panic!("the toner is empty")));
    static WELL: SourcePlugin = plugin(|_| {
        scripted(|poll| Ok(if poll == 1 { SourceBatch::of(vec![entry("fine", 1)]) } else { SourceBatch::empty() }))
    });
    let mut stage = Stage::new();
    let _broken = stage.source("panics", &PANICS, &[]);
    let trace = stage.hear("panics", |news| matches!(news, TaskNews::Failed { .. }));
    assert!(
        trace.starts_with("Task panics-0 failed in its plugin: the plugin panicked: the toner is empty"),
        "{trace}"
    );
    let well = stage.source("well", &WELL, &[]);
    let bootstrap = stage.bootstrap();
    wait::until("the other task's record", PATIENCE, || match topic::values(&bootstrap, "scripted") {
        values if values == ["fine"] => Ok(()),
        values => Err(format!("{values:?}")),
    });
    stage.stop("well", &well);
}

#[test]
fn a_retriable_poll_is_tried_again_and_a_fatal_one_ends_the_task() {
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| match poll {
            1 | 2 => Err(ConnectError::retriable("the server is busy").retry_after(Duration::from_millis(1))),
            3 => Ok(SourceBatch::of(vec![entry("before", 1)])),
            _ => Err(ConnectError::fatal("the disk is gone")),
        })
    });
    let mut stage = Stage::new();
    let _task = stage.source("away", &PLUGIN, &[]);
    let trace = stage.hear("away", |news| matches!(news, TaskNews::Failed { .. }));
    assert!(trace.starts_with("Task away-0 failed in poll: the disk is gone"), "{trace}");
    assert_eq!(topic::values(&stage.bootstrap(), "scripted"), ["before"], "what was polled before is delivered");
}

#[test]
fn a_name_that_no_topic_can_have_is_told_with_what_it_may_be_made_of() {
    let mut stage = Stage::new();
    let file = stage.path("in.txt");
    std::fs::write(&file, "line\n").unwrap();
    let _task = stage.source("named", &FILE_SOURCE, &[("file", file.to_str().unwrap()), ("topic", "lab rows!")]);
    let trace = stage.hear("named", |news| matches!(news, TaskNews::Failed { .. }));
    let first = trace.lines().next().unwrap();
    for part in [
        "failed in produce on a record for topic lab rows!: ",
        "the name of a topic has up to 249 letters of ASCII, digits, dots, underscores and hyphens. The name is made of the \
         connector's configuration, or by a transformation",
    ] {
        assert!(first.contains(part), "{part}: {trace}");
    }
}

#[test]
fn a_folder_that_is_not_there_yet_is_named_and_waited_for() {
    let [Plugin::Source(lab_files), ..] = connector_lab_files::PLUGINS else { panic!("one source") };
    let mut stage = Stage::new();
    let inbox = stage.path("inbox");
    let config = [("input.path", inbox.to_str().unwrap()), ("topic", "t"), ("cleanup.policy", "NONE")];
    let task = stage.source("lab", lab_files, &config);
    let trace = stage.hear("lab", |news| matches!(news, TaskNews::Waiting { .. }));
    assert!(trace.contains("trying again: input.path: folder"), "{trace}");
    std::fs::create_dir(&inbox).unwrap();
    stage.hear("lab", |news| matches!(news, TaskNews::Running));
    stage.stop("lab", &task);
}

#[test]
fn two_tasks_that_block_for_ever_hold_nobody_up() {
    static BLOCKS: SourcePlugin = plugin(|_| {
        scripted(|_| {
            loop {
                std::thread::park();
            }
        })
    });
    let mut stage = Stage::new();
    let blocked: Vec<_> = ["blocks-1", "blocks-2"].map(|name| stage.source(name, &BLOCKS, &[])).into();
    let began = Instant::now();
    lines_arrive(&mut stage);
    assert!(began.elapsed() < PATIENCE);
    drop(blocked);
}

fn lines_arrive(stage: &mut Stage) {
    static WELL: SourcePlugin = plugin(|_| {
        scripted(|poll| Ok(if poll < 100 { SourceBatch::of(vec![entry("fine", 1)]) } else { SourceBatch::empty() }))
    });
    let task = stage.source("free", &WELL, &[]);
    let bootstrap = stage.bootstrap();
    wait::until("the free task's records", PATIENCE, || match topic::values(&bootstrap, "scripted").len() {
        99 => Ok(()),
        count => Err(format!("{count}")),
    });
    stage.stop("free", &task);
}
