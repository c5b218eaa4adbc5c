//! Flows into Kafka in which a record could get lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use pipette::task::TaskNews;
use pipette::task::spec::{ErrorPolicy, StepPlugin, TransformSpec};
use pipette_api::{
    ConfigDef, ConfigMap, ConnectError, Hook, Info, Payload, PayloadReader, Record, Result, Settings, SourceBatch,
    SourceContext, SourceEntry, SourcePlugin, SourceTask, Transform, TransformPlugin, Value, Verdict, Wish,
    async_trait,
};

use super::sources::{entry, plugin, scripted};
use super::stage::{PATIENCE, Stage};
use crate::support::{topic, wait};

static NO_KEYS: ConfigDef = ConfigDef::new(&[]);

/// Tolerates every bad record, and tries again for ever what may get better.
pub(super) const LENIENT: ErrorPolicy = ErrorPolicy {
    tolerate: true,
    refusals_max: 100,
    retry_timeout: None,
    retry_delay_max: Duration::from_millis(20),
    log: false,
    log_messages: false,
};

/// A step that asks a service which never answers; counts how often.
pub(super) struct Ask(pub(super) &'static AtomicUsize);

impl Transform for Ask {
    fn apply(&mut self, _: &mut Record) -> Result<Verdict> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Err(ConnectError::retriable("the service does not answer"))
    }
}

pub(super) const fn step(make: fn(Settings) -> Result<Box<dyn Transform>>) -> TransformPlugin {
    let info = Info { class: "test.Ask", aliases: &[], version: "1", about: "", readme: "", config: &NO_KEYS };
    TransformPlugin { info, make }
}

/// A chain of one step.
pub(super) fn chain(plugin: &'static TransformPlugin) -> Vec<TransformSpec> {
    let settings = Settings::new(ConfigMap::new(), &NO_KEYS);
    vec![TransformSpec { alias: "ask".into(), plugin: StepPlugin::Now(plugin), settings, predicate: None }]
}

pub(super) fn at_least(count: &AtomicUsize, wanted: usize, what: &str) {
    wait::until(what, PATIENCE, || match count.load(Ordering::SeqCst) {
        found if found >= wanted => Ok(()),
        found => Err(format!("{found} of {wanted}")),
    });
}

#[test]
fn a_stop_amid_retries_of_the_chain_skips_no_record() {
    static TRIES: AtomicUsize = AtomicUsize::new(0);
    static STEP: TransformPlugin = step(|_| Ok(Box::new(Ask(&TRIES))));
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| Ok(if poll == 1 { SourceBatch::of(vec![entry("kept", 1)]) } else { SourceBatch::empty() }))
    });
    let mut stage = Stage::new();
    (stage.errors, stage.transforms) = (LENIENT, chain(&STEP));
    let task = stage.source("retries", &PLUGIN, &[]);
    at_least(&TRIES, 3, "tries of the chain");
    stage.stop("retries", &task);
    assert_eq!(stage.stored("retries"), 0, "the record is not in Kafka: no offset may pass it");
    stage.transforms.clear();
    let task = stage.source("retries", &PLUGIN, &[]);
    let bootstrap = stage.bootstrap();
    wait::until("the record", PATIENCE, || match topic::values(&bootstrap, "scripted") {
        values if values == ["kept"] => Ok(()),
        values => Err(format!("{values:?}")),
    });
    stage.stop("retries", &task);
}

/// A file on a share that is away for the first reads.
#[derive(Debug)]
struct OnShare;

static READS: AtomicUsize = AtomicUsize::new(0);

#[async_trait]
impl Payload for OnShare {
    fn len(&self) -> Option<u64> {
        Some(4)
    }

    async fn open(&self, _: u64, _: Option<u64>) -> Result<Box<dyn PayloadReader>> {
        match READS.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => Err(ConnectError::retriable("the share is away").retry_after(Duration::from_millis(1))),
            _ => Ok(Box::new(Pieces(Some(Bytes::from_static(b"scan"))))),
        }
    }
}

struct Pieces(Option<Bytes>);

#[async_trait]
impl PayloadReader for Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(self.0.take())
    }
}

#[test]
fn a_file_that_cannot_be_read_for_now_is_no_bad_record() {
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| {
            let SourceEntry::Record(mut record) = entry("", 1) else { unreachable!("a record") };
            record.record.value.value = Value::Payload(Arc::new(OnShare));
            Ok(if poll == 1 { SourceBatch::of(vec![SourceEntry::Record(record)]) } else { SourceBatch::empty() })
        })
    });
    let mut stage = Stage::new();
    stage.errors = LENIENT;
    let task = stage.source("share", &PLUGIN, &[]);
    let bootstrap = stage.bootstrap();
    wait::until("the file's bytes", PATIENCE, || match topic::values(&bootstrap, "scripted") {
        values if values == ["scan"] => Ok(()),
        values => Err(format!("{values:?}")),
    });
    stage.stop("share", &task);
}

/// Hangs in its first poll until it is let go, then returns a batch as if nothing had happened.
struct Hanging;

static LET_GO: AtomicBool = AtomicBool::new(false);
static HANGS: AtomicBool = AtomicBool::new(false);
static HOOKS: AtomicUsize = AtomicUsize::new(0);

#[async_trait]
impl SourceTask for Hanging {
    async fn start(&mut self, _: SourceContext) -> Result<()> {
        Ok(())
    }

    async fn poll(&mut self) -> Result<SourceBatch> {
        HANGS.store(true, Ordering::SeqCst);
        wait::until("being let go", PATIENCE, || LET_GO.load(Ordering::SeqCst).then_some(()).ok_or("not yet".into()));
        let count = || {
            Some(Hook::new(|| {
                HOOKS.fetch_add(1, Ordering::SeqCst);
            }))
        };
        Ok(SourceBatch {
            entries: vec![entry("late", 1)],
            acked: count(),
            committed: count(),
            ..SourceBatch::default()
        })
    }
}

#[test]
fn a_task_that_was_given_up_sends_and_commits_nothing_any_more() {
    static PLUGIN: SourcePlugin = plugin(|_| Ok(Box::new(Hanging)));
    let mut stage = Stage::new();
    let task = stage.source("hanging", &PLUGIN, &[]);
    wait::until("the hanging poll", PATIENCE, || HANGS.load(Ordering::SeqCst).then_some(()).ok_or("not yet".into()));
    drop(task);
    LET_GO.store(true, Ordering::SeqCst);
    stage.hear("hanging", |news| matches!(news, TaskNews::Stopped));
    assert_eq!(HOOKS.load(Ordering::SeqCst), 0, "its files and packets are another task's by now");
    assert_eq!(stage.stored("hanging"), 0);
}

/// Cannot start; asks for a fifth of a second between attempts.
struct NotYet;

static STARTS: AtomicUsize = AtomicUsize::new(0);

#[async_trait]
impl SourceTask for NotYet {
    async fn start(&mut self, _: SourceContext) -> Result<()> {
        STARTS.fetch_add(1, Ordering::SeqCst);
        Err(ConnectError::retriable("the share is not mounted").retry_after(Duration::from_millis(200)))
    }

    async fn poll(&mut self) -> Result<SourceBatch> {
        unreachable!("it never starts")
    }
}

#[test]
fn a_pause_does_not_make_a_task_that_cannot_start_spin() {
    static PLUGIN: SourcePlugin = plugin(|_| Ok(Box::new(NotYet)));
    let mut stage = Stage::new();
    let task = stage.source("not-yet", &PLUGIN, &[]);
    at_least(&STARTS, 1, "the first start");
    task.wish(Wish::Pause);
    let (before, began) = (STARTS.load(Ordering::SeqCst), Instant::now());
    at_least(&STARTS, before + 4, "more starts");
    assert!(began.elapsed() >= Duration::from_millis(500), "four attempts within {:?}", began.elapsed());
    stage.stop("not-yet", &task);
}
