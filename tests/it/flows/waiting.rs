//! Flows through a step that waits for something outside: order, many at a time, errors and ends.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

use pipette::settings::dead_letters::DeadLetterTopic;
use pipette::task::TaskNews;
use pipette::task::spec::{ErrorPolicy, StepPlugin, TransformSpec, Until};
use pipette_api::transform::{MAX_IN_FLIGHT, MAX_IN_FLIGHT_BYTES};
use pipette_api::{
    Assigned, AsyncTransform, AsyncTransformPlugin, ConfigDef, ConfigMap, ConnectError, Direction, Info, Offsets,
    Record, Result, Seeks, Settings, SinkBatch, SinkContext, SinkPlugin, SinkTask, SourceBatch, SourcePlugin,
    TopicPartition, TransformContext, Value, Verdict, Wish, async_trait,
};
use tokio::sync::Barrier;

use super::kept_in::at_least;
use super::sources::{entry, plugin, scripted};
use super::stage::{PATIENCE, Stage};
use super::transactions::seen;
use crate::support::{topic, wait};

static CONFIG: ConfigDef = ConfigDef::new(&[&MAX_IN_FLIGHT.info, &MAX_IN_FLIGHT_BYTES.info]);

/// What a vault has seen, and whether it answers.
#[derive(Default)]
struct Seen {
    running: AtomicUsize,
    most: AtomicUsize,
    begun: AtomicUsize,
    stops: AtomicUsize,
    stuck: AtomicBool,
    /// Uploads that were begun and not ended.
    half: Mutex<BTreeSet<String>>,
}

/// A store that takes its time, appends `*`, refuses what says "bad" and does not answer to "away".
struct Vault {
    seen: &'static Seen,
    /// Each call waits for so many others.
    together: Option<&'static Barrier>,
}

struct Running(&'static Seen);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl AsyncTransform for Vault {
    fn needs(&self, record: &Record) -> bool {
        record.value.value.as_str().is_some_and(|text| !text.starts_with("small"))
    }

    async fn apply(&self, record: &mut Record) -> Result<Verdict> {
        let text = record.value.value.as_str().unwrap_or_default().to_owned();
        let now = self.seen.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.seen.most.fetch_max(now, Ordering::SeqCst);
        let _running = Running(self.seen);
        self.seen.half.lock().unwrap().insert(text.clone());
        self.seen.begun.fetch_add(1, Ordering::SeqCst);
        if let Some(together) = self.together {
            together.wait().await;
        }
        if text.contains("stuck") && self.seen.stuck.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        // Some take longer than those behind them.
        for _ in 0..text.bytes().map(usize::from).sum::<usize>() % 37 {
            tokio::task::yield_now().await;
        }
        self.seen.half.lock().unwrap().remove(&text);
        if text.contains("bad") {
            return Err(ConnectError::data("the vault refuses it"));
        }
        if text.contains("away") {
            return Err(ConnectError::retriable("the vault does not answer"));
        }
        record.value.value = Value::text(format!("{text}*"));
        Ok(Verdict::Keep)
    }

    async fn stop(&self) {
        self.seen.half.lock().unwrap().clear();
        self.seen.stops.fetch_add(1, Ordering::SeqCst);
    }
}

const fn step(make: fn(Settings, TransformContext) -> Result<Box<dyn AsyncTransform>>) -> AsyncTransformPlugin {
    let info = Info { class: "test.Vault", aliases: &[], version: "1", about: "", readme: "", config: &CONFIG };
    AsyncTransformPlugin { info, direction: Direction::Either, metrics: &[], make }
}

fn chain(plugin: &'static AsyncTransformPlugin) -> Vec<TransformSpec> {
    let settings = Settings::new(ConfigMap::new(), &CONFIG);
    vec![TransformSpec { alias: "vault".into(), plugin: StepPlugin::Later(plugin), settings, predicate: None }]
}

fn arrive(bootstrap: &str, expected: &[String]) {
    wait::until("the records", PATIENCE, || match topic::values(bootstrap, "scripted") {
        values if values == expected => Ok(()),
        values => Err(format!("{values:?}")),
    });
}

fn failed(news: &TaskNews) -> bool {
    matches!(news, TaskNews::Failed { .. })
}

#[test]
fn records_that_come_one_by_one_are_worked_on_together_and_keep_their_order() {
    static SEEN: LazyLock<Seen> = LazyLock::new(Seen::default);
    static TOGETHER: LazyLock<Barrier> = LazyLock::new(|| Barrier::new(16));
    static STEP: AsyncTransformPlugin = step(|_, _| Ok(Box::new(Vault { seen: &SEEN, together: Some(&TOGETHER) })));
    // Each poll brings one image, every second a small record behind it.
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| {
            let mark = i64::try_from(poll).unwrap();
            Ok(match poll {
                ..=64 if poll % 2 == 0 => {
                    SourceBatch::of(vec![entry(&format!("image {poll}"), mark), entry("small", mark)])
                }
                ..=64 => SourceBatch::of(vec![entry(&format!("image {poll}"), mark)]),
                _ => SourceBatch::empty(),
            })
        })
    });
    let mut stage = Stage::new();
    stage.transforms = chain(&STEP);
    let task = stage.source("one-by-one", &PLUGIN, &[]);
    let mut expected = Vec::new();
    for poll in 1..=64 {
        expected.push(format!("image {poll}*"));
        expected.extend((poll % 2 == 0).then(|| "small".to_owned()));
    }
    // Sixteen calls wait for each other: with fewer at a time nothing would ever arrive.
    arrive(&stage.bootstrap(), &expected);
    stage.stop("one-by-one", &task);
    assert_eq!((SEEN.most.load(Ordering::SeqCst), SEEN.stops.load(Ordering::SeqCst)), (16, 1));
    assert_eq!(stage.offset("one-by-one", "at"), Some(64));
}

#[test]
fn what_stands_before_a_record_that_fails_the_task_is_sent_and_nothing_behind_it() {
    static SEEN: LazyLock<Seen> = LazyLock::new(Seen::default);
    static STEP: AsyncTransformPlugin = step(|_, _| Ok(Box::new(Vault { seen: &SEEN, together: None })));
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| {
            let texts = ["a", "b", "small", "bad", "c", "small", "d"].into_iter().zip(1..);
            let entries = texts.map(|(text, mark)| entry(text, mark)).collect();
            Ok(if poll == 1 { SourceBatch::of(entries) } else { SourceBatch::empty() })
        })
    });
    let mut stage = Stage::new();
    stage.transforms = chain(&STEP);
    let _task = stage.source("fatal", &PLUGIN, &[]);
    let trace = stage.hear("fatal", failed);
    assert!(trace.contains("transformation \"vault\": the vault refuses it"), "{trace}");
    assert_eq!(topic::values(&stage.bootstrap(), "scripted"), ["a*", "b*", "small"]);
    assert_eq!(stage.offset("fatal", "at"), Some(3));
    assert_eq!(SEEN.stops.load(Ordering::SeqCst), 1);
}

#[test]
fn what_is_refused_is_kept_as_a_dead_letter_and_the_others_go_on() {
    static SEEN: LazyLock<Seen> = LazyLock::new(Seen::default);
    static STEP: AsyncTransformPlugin = step(|_, _| Ok(Box::new(Vault { seen: &SEEN, together: None })));
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| {
            let texts = ["a", "bad 1", "small", "b", "bad 2"].into_iter().zip(1..);
            let entries = texts.map(|(text, mark)| entry(text, mark)).collect();
            Ok(if poll == 1 { SourceBatch::of(entries) } else { SourceBatch::empty() })
        })
    });
    let mut stage = Stage::new();
    (stage.transforms, stage.errors) = (chain(&STEP), ErrorPolicy { tolerate: true, ..ErrorPolicy::default() });
    stage.dead_letters = Some(DeadLetterTopic { name: "dead".into(), replication_factor: None, context: None });
    let task = stage.source("refused", &PLUGIN, &[]);
    arrive(&stage.bootstrap(), &["a*", "small", "b*"].map(str::to_owned));
    stage.stop("refused", &task);
    assert_eq!(stage.offset("refused", "at"), Some(5), "what is dealt with is passed");
    let letters = topic::records(&stage.bootstrap(), "dead");
    let told = |letter: &topic::Record| {
        let part = |name: &str| letter.header(&format!("__connect.errors.{name}")).to_owned();
        (letter.value.clone().unwrap(), part("source.offset"), part("stage"), part("class.name"))
    };
    let expected = |text: &str, at: i32| {
        (text.to_owned(), format!("{{\"at\":{at}}}"), "TRANSFORMATION".to_owned(), "test.Vault".to_owned())
    };
    assert_eq!(letters.iter().map(told).collect::<Vec<_>>(), [expected("bad 1", 2), expected("bad 2", 5)]);
}

/// Tolerates what is bad, and keeps it.
fn lenient(step: &'static AsyncTransformPlugin) -> Stage {
    let mut stage = Stage::new();
    (stage.transforms, stage.errors) = (chain(step), ErrorPolicy { tolerate: true, ..ErrorPolicy::default() });
    stage.dead_letters = Some(DeadLetterTopic { name: "dead".into(), replication_factor: None, context: None });
    stage
}

#[test]
fn what_is_away_is_no_fault_of_the_records_of_a_source_and_fails_the_task() {
    static SEEN: LazyLock<Seen> = LazyLock::new(Seen::default);
    static STEP: AsyncTransformPlugin = step(|_, _| Ok(Box::new(Vault { seen: &SEEN, together: None })));
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| {
            let texts = ["a", "bad", "away", "away too", "small"].into_iter().zip(1..);
            let entries = texts.map(|(text, mark)| entry(text, mark)).collect();
            Ok(if poll == 1 { SourceBatch::of(entries) } else { SourceBatch::empty() })
        })
    });
    let mut stage = lenient(&STEP);
    let _task = stage.source("away", &PLUGIN, &[]);
    let trace = stage.hear("away", failed);
    assert!(trace.contains("transformation \"vault\": the vault does not answer"), "{trace}");
    assert_eq!(topic::values(&stage.bootstrap(), "scripted"), ["a*"]);
    assert_eq!(stage.offset("away", "at"), Some(2), "what is bad is passed, and nothing behind it");
    let letters = topic::records(&stage.bootstrap(), "dead");
    assert_eq!(letters.iter().map(|letter| letter.value.as_deref()).collect::<Vec<_>>(), [Some("bad")]);
}

#[test]
fn what_is_away_is_no_fault_of_the_records_of_a_sink_and_fails_the_task() {
    static SEEN: LazyLock<Seen> = LazyLock::new(Seen::default);
    static STEP: AsyncTransformPlugin = step(|_, _| Ok(Box::new(Vault { seen: &SEEN, together: None })));
    static KEPT: Mutex<Vec<(i64, String)>> = Mutex::new(Vec::new());
    static PLUGIN: SinkPlugin = super::sinks::plugin(|_| Ok(Box::new(Keep(&KEPT))));
    let mut stage = lenient(&STEP);
    let letters = stage.dead_letters.take();
    fill(&mut stage, "vaults", ["away 1", "away 2", "away 3"].into_iter().map(str::to_owned));
    stage.dead_letters = letters;
    let _task = stage.sink("vaults-out", &PLUGIN, &[("topics", "vaults")]);
    let trace = stage.hear("vaults-out", failed);
    assert!(trace.contains("transformation \"vault\": the vault does not answer"), "{trace}");
    let committed = stage.committed("vaults-out").into_values().max().unwrap_or(0);
    assert_eq!((committed, topic::size_if_any(&stage.bootstrap(), "dead")), (0, 0), "all of them come again");
}

#[test]
fn a_stop_waits_for_nothing_that_is_stuck_and_loses_nothing() {
    static SEEN: LazyLock<Seen> = LazyLock::new(Seen::default);
    static STEP: AsyncTransformPlugin = step(|_, _| Ok(Box::new(Vault { seen: &SEEN, together: None })));
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| {
            let texts = ["a", "stuck", "small", "b"].into_iter().zip(1..);
            let entries = texts.map(|(text, mark)| entry(text, mark)).collect();
            Ok(if poll == 1 { SourceBatch::of(entries) } else { SourceBatch::empty() })
        })
    });
    let mut stage = Stage::new();
    stage.transforms = chain(&STEP);
    SEEN.stuck.store(true, Ordering::SeqCst);
    let task = stage.source("stuck", &PLUGIN, &[]);
    at_least(&SEEN.begun, 3, "calls");
    arrive(&stage.bootstrap(), &["a*".to_owned()]);
    task.wish(Wish::Pause);
    task.wish(Wish::Run);
    stage.stop("stuck", &task);
    assert_eq!(topic::values(&stage.bootstrap(), "scripted"), ["a*"], "nothing overtakes the stuck one");
    assert_eq!(stage.offset("stuck", "at"), Some(1));
    assert_eq!((SEEN.running.load(Ordering::SeqCst), SEEN.stops.load(Ordering::SeqCst)), (0, 1));
    assert!(SEEN.half.lock().unwrap().is_empty(), "what a dropped call has left is taken away");
    SEEN.stuck.store(false, Ordering::SeqCst);
    let task = stage.source("stuck", &PLUGIN, &[]);
    // The script knows no offsets and begins anew.
    arrive(&stage.bootstrap(), &["a*", "a*", "stuck*", "small", "b*"].map(str::to_owned));
    stage.stop("stuck", &task);
    assert_eq!(stage.offset("stuck", "at"), Some(4));
}

#[test]
fn a_task_that_is_given_up_sends_nothing_that_comes_back_later() {
    static SEEN: LazyLock<Seen> = LazyLock::new(Seen::default);
    static STEP: AsyncTransformPlugin = step(|_, _| Ok(Box::new(Vault { seen: &SEEN, together: None })));
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| Ok(if poll == 1 { SourceBatch::of(vec![entry("stuck", 1)]) } else { SourceBatch::empty() }))
    });
    let mut stage = Stage::new();
    stage.transforms = chain(&STEP);
    SEEN.stuck.store(true, Ordering::SeqCst);
    let task = stage.source("dropped", &PLUGIN, &[]);
    at_least(&SEEN.begun, 1, "the call");
    drop(task);
    stage.hear("dropped", |news| matches!(news, TaskNews::Stopped));
    assert_eq!((SEEN.running.load(Ordering::SeqCst), stage.stored("dropped")), (0, 0));
    assert!(topic::values(&stage.bootstrap(), "scripted").is_empty());
}

#[test]
fn transactions_end_behind_the_batches_that_had_to_wait() {
    static SEEN: LazyLock<Seen> = LazyLock::new(Seen::default);
    static STEP: AsyncTransformPlugin = step(|_, _| Ok(Box::new(Vault { seen: &SEEN, together: None })));
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| {
            let mark = i64::try_from(poll).unwrap();
            let entries = || vec![entry(&format!("image {poll}"), mark), entry("small", mark)];
            Ok(if poll <= 20 { SourceBatch::of(entries()) } else { SourceBatch::empty() })
        })
    });
    let mut stage = Stage::exactly_once(Until::Poll);
    stage.transforms = chain(&STEP);
    let task = stage.source("once", &PLUGIN, &[]);
    let expected: Vec<String> = (1..=20).flat_map(|poll| [format!("image {poll}*"), "small".to_owned()]).collect();
    let bootstrap = stage.bootstrap();
    wait::until("the transactions", PATIENCE, || match seen(&bootstrap, "scripted") {
        values if values == expected => Ok(()),
        values => Err(format!("{values:?}")),
    });
    stage.stop("once", &task);
    assert_eq!(stage.offset("once", "at"), Some(20));
}

/// Keeps what it is given.
struct Keep(&'static Mutex<Vec<(i64, String)>>);

#[async_trait]
impl SinkTask for Keep {
    async fn start(&mut self, _: SinkContext) -> Result<()> {
        Ok(())
    }

    async fn open(&mut self, _: &[Assigned]) -> Result<Seeks> {
        Ok(Seeks::new())
    }

    async fn put(&mut self, batch: std::sync::Arc<SinkBatch>) -> Result<()> {
        let text = |record: &Record| record.value.value.as_str().unwrap_or_default().to_owned();
        let kept = batch.records.iter().map(|record| (record.origin.offset, text(&record.record)));
        self.0.lock().unwrap().extend(kept);
        Ok(())
    }
}

fn fill(stage: &mut Stage, topic: &str, lines: impl Iterator<Item = String>) {
    let transforms = std::mem::take(&mut stage.transforms);
    super::sinks::fill(stage, topic, &lines.fold(String::new(), |text, line| text + &line + "\n"));
    stage.transforms = transforms;
}

#[test]
fn a_sink_is_given_a_batch_whose_records_waited_together_in_order() {
    static SEEN: LazyLock<Seen> = LazyLock::new(Seen::default);
    static STEP: AsyncTransformPlugin = step(|_, _| Ok(Box::new(Vault { seen: &SEEN, together: None })));
    static KEPT: Mutex<Vec<(i64, String)>> = Mutex::new(Vec::new());
    static PLUGIN: SinkPlugin = super::sinks::plugin(|_| Ok(Box::new(Keep(&KEPT))));
    let mut stage = Stage::new();
    stage.transforms = chain(&STEP);
    let text = |number: usize| match number % 5 {
        0 => format!("small {number}"),
        1 if number % 100 == 1 => format!("bad {number}"),
        _ => format!("image {number}"),
    };
    fill(&mut stage, "images", (0..3_000).map(text));
    stage.errors = ErrorPolicy { tolerate: true, ..ErrorPolicy::default() };
    stage.dead_letters = Some(DeadLetterTopic { name: "dead".into(), replication_factor: None, context: Some(true) });
    let task = stage.sink("images-out", &PLUGIN, &[("topics", "images")]);
    let expected: Vec<(i64, String)> = (0..3_000)
        .filter(|number| number % 100 != 1)
        .map(|number| (i64::try_from(number).unwrap(), text(number)))
        .map(|(offset, text)| (offset, if text.starts_with("small") { text } else { text + "*" }))
        .collect();
    wait::until("the sink's records", PATIENCE, || match KEPT.lock().unwrap().len() {
        found if found == expected.len() => Ok(()),
        found => Err(format!("{found} of {}", expected.len())),
    });
    stage.stop("images-out", &task);
    assert_eq!(*KEPT.lock().unwrap(), expected);
    assert_eq!((SEEN.most.load(Ordering::SeqCst), SEEN.stops.load(Ordering::SeqCst)), (16, 1));
    let next = Offsets::from([(TopicPartition::new("images", 0), 3_000)]);
    assert_eq!(stage.committed("images-out"), next);
    let letters = topic::records(&stage.bootstrap(), "dead");
    assert_eq!(letters.len(), 30);
    assert_eq!(letters[0].value.as_deref(), Some("bad 1"), "as it was consumed");
    assert_eq!(letters[0].header("__connect.errors.class.name"), "test.Vault");
}

#[test]
fn a_stop_gives_up_a_sinks_batch_that_is_stuck_and_commits_nothing_of_it() {
    static SEEN: LazyLock<Seen> = LazyLock::new(Seen::default);
    static STEP: AsyncTransformPlugin = step(|_, _| Ok(Box::new(Vault { seen: &SEEN, together: None })));
    static KEPT: Mutex<Vec<(i64, String)>> = Mutex::new(Vec::new());
    static PLUGIN: SinkPlugin = super::sinks::plugin(|_| Ok(Box::new(Keep(&KEPT))));
    let mut stage = Stage::new();
    stage.transforms = chain(&STEP);
    fill(&mut stage, "held", ["a", "stuck", "b"].into_iter().map(str::to_owned));
    SEEN.stuck.store(true, Ordering::SeqCst);
    let task = stage.sink("held-out", &PLUGIN, &[("topics", "held")]);
    at_least(&SEEN.begun, 2, "calls");
    stage.stop("held-out", &task);
    assert!(KEPT.lock().unwrap().iter().all(|(offset, _)| *offset == 0), "nothing behind the stuck one");
    let committed = stage.committed("held-out").into_values().max().unwrap_or(0);
    assert!(committed <= 1, "{committed}");
    assert_eq!((SEEN.running.load(Ordering::SeqCst), SEEN.half.lock().unwrap().len()), (0, 0));
}
