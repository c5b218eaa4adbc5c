//! Flows in which one record becomes several on its way into Kafka, and several become one on their way out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipette::task::TaskNews;
use pipette::task::spec::{StepPlugin, TransformSpec};
use pipette_api::transform::{MAX_IN_FLIGHT, MAX_IN_FLIGHT_BYTES};
use pipette_api::{
    AsyncTransform, Blob, Body, Collect, CollectPlugin, ConfigDef, ConfigMap, ConnectError, EncodedRecord, Expand,
    ExpandPlugin, Info, Offsets, Position, RawRecord, Record, Result, Settings, SinkBatch, SinkContext, SinkPlugin,
    SinkTask, SourceBatch, SourcePlugin, TopicPartition, Value, Verdict, async_trait,
};

use super::sources::{entry, plugin, scripted};
use super::stage::{PATIENCE, Stage};
use crate::support::{topic, wait};

static KEYS: ConfigDef = ConfigDef::new(&[&MAX_IN_FLIGHT.info, &MAX_IN_FLIGHT_BYTES.info]);

const fn info(class: &'static str) -> Info {
    Info { class, aliases: &[], version: "1", about: "", readme: "", config: &KEYS }
}

fn chain(plugin: StepPlugin) -> Vec<TransformSpec> {
    let settings = Settings::new(ConfigMap::new(), &KEYS);
    vec![TransformSpec { alias: "pieces".into(), plugin, settings, predicate: None }]
}

/// Makes a record of each word. The third call for a word that says "away" finds it; "broken" ends the record.
#[derive(Default)]
struct Words {
    left: VecDeque<EncodedRecord>,
    away: usize,
}

#[async_trait]
impl Expand for Words {
    fn needs(&self, _: &str, size: Option<u64>) -> bool {
        size.is_none_or(|size| size > 3)
    }

    fn begin(&mut self, record: EncodedRecord, position: Option<&Position>) -> Result<()> {
        assert!(position.is_some(), "the source says where it is");
        let Some(Body::Bytes(bytes)) = &record.value else { return Err(ConnectError::data("no bytes")) };
        let text = String::from_utf8(bytes.as_bytes().to_vec()).unwrap();
        let word = |word: &str| EncodedRecord {
            value: Some(Body::Bytes(Blob::whole(word.to_owned()).unwrap())),
            ..record.clone()
        };
        self.left = text.split(' ').filter(|text| !text.is_empty()).map(word).collect();
        Ok(())
    }

    async fn next(&mut self) -> Result<Option<EncodedRecord>> {
        let says = |what: &str| match self.left.front().and_then(|record| record.value.as_ref()) {
            Some(Body::Bytes(bytes)) => bytes.as_bytes() == what.as_bytes(),
            _ => false,
        };
        if says("broken") {
            return Err(ConnectError::data("a piece is broken"));
        }
        if says("away") && self.away < 2 {
            self.away += 1;
            return Err(ConnectError::retriable("the share is away").retry_after(Duration::from_millis(1)));
        }
        Ok(self.left.pop_front())
    }
}

static WORDS: ExpandPlugin =
    ExpandPlugin { info: info("test.Words"), metrics: &[], make: |_, _| Ok(Box::new(Words::default())) };

#[test]
fn a_record_becomes_several_whose_position_comes_with_the_last() {
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| {
            let texts = ["one two away three", "fit", "    ", "four five", "six broken seven"].into_iter().zip(1..);
            let entries = texts.map(|(text, mark)| entry(text, mark)).collect();
            Ok(if poll == 1 { SourceBatch::of(entries) } else { SourceBatch::empty() })
        })
    });
    let mut stage = Stage::new();
    stage.transforms = chain(StepPlugin::Expand(&WORDS));
    let _task = stage.source("words", &PLUGIN, &[]);
    let trace = stage.hear("words", |news| matches!(news, TaskNews::Failed { .. }));
    assert!(trace.contains("transformation \"pieces\": a piece is broken"), "{trace}");
    let words = topic::values(&stage.bootstrap(), "scripted");
    // The piece before a broken one is not known to be the last.
    assert_eq!(words, ["one", "two", "away", "three", "fit", "four", "five"]);
    assert_eq!(stage.offset("words", "at"), Some(4), "the record that broke is read again");
}

/// Joins letters up to a full stop; letters of capitals are never complete.
#[derive(Default)]
struct Sentences {
    open: BTreeMap<TopicPartition, Vec<RawRecord>>,
    /// Offsets of full stops whose sentence was complete.
    done: BTreeMap<TopicPartition, Vec<i64>>,
    overdue: Option<RawRecord>,
}

fn text(raw: &RawRecord) -> String {
    match &raw.value {
        Some(Body::Bytes(bytes)) => String::from_utf8(bytes.as_bytes().to_vec()).unwrap(),
        _ => String::new(),
    }
}

impl Collect for Sentences {
    fn assigned(&mut self, tp: &TopicPartition, note: Option<&str>) -> Result<()> {
        if &*tp.topic == "letters" {
            NOTES.lock().unwrap().push(note.map(str::to_owned));
        }
        self.done.insert(tp.clone(), note.unwrap_or_default().split(',').filter_map(|at| at.parse().ok()).collect());
        Ok(())
    }

    fn collect(&mut self, raw: RawRecord) -> Result<Option<RawRecord>> {
        let letter = text(&raw);
        // A word on its own line, between the letters of a sentence that is not complete.
        if letter.len() > 1 {
            let done = self.done.entry(raw.tp.clone()).or_default();
            if done.contains(&raw.offset) {
                return Ok(None);
            }
            done.push(raw.offset);
            return Ok(Some(raw));
        }
        if letter == "X" {
            self.overdue = Some(raw);
            return Ok(None);
        }
        let open = self.open.entry(raw.tp.clone()).or_default();
        if letter != "." {
            open.push(raw);
            return Ok(None);
        }
        let joined: String = std::mem::take(open).iter().map(text).collect();
        Ok(Some(RawRecord { value: Some(Body::Bytes(Blob::whole(joined).unwrap())), ..raw }))
    }

    fn floor(&self, tp: &TopicPartition, upto: i64) -> Option<(i64, String)> {
        let first = self.open.get(tp)?.first()?.offset;
        let done = self.done.get(tp).into_iter().flatten().filter(|at| **at > first && **at < upto);
        Some((first, done.map(i64::to_string).collect::<Vec<_>>().join(",")))
    }

    fn overdue(&mut self) -> Option<(RawRecord, ConnectError)> {
        self.overdue.take().map(|raw| (raw, ConnectError::data("it was never complete")))
    }

    fn revoked(&mut self, partitions: &[TopicPartition]) {
        self.open.retain(|tp, _| !partitions.contains(tp));
    }
}

static NOTES: Mutex<Vec<Option<String>>> = Mutex::new(Vec::new());
const JOINED: CollectPlugin = CollectPlugin {
    info: info("test.Sentences"),
    metrics: &[],
    make: |_, _| Ok(Box::new(Sentences::default())),
    then: None,
};
static SENTENCES: CollectPlugin = JOINED;

/// Keeps what it is given.
struct Given(&'static Mutex<Vec<String>>);

static KEPT: Mutex<Vec<String>> = Mutex::new(Vec::new());
static FLUSHES: AtomicBool = AtomicBool::new(false);

#[async_trait]
impl SinkTask for Given {
    async fn start(&mut self, _: SinkContext) -> Result<()> {
        Ok(())
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        let text = |record: &Record| record.value.value.as_str().unwrap_or_default().to_owned();
        self.0.lock().unwrap().extend(batch.records.iter().map(|record| text(&record.record)));
        Ok(())
    }

    async fn flush(&mut self, upto: &Offsets) -> Result<Offsets> {
        FLUSHES.store(true, Ordering::SeqCst);
        Ok(upto.clone())
    }
}

fn fill(stage: &mut Stage, topic: &str, lines: &str) {
    let transforms = std::mem::take(&mut stage.transforms);
    super::sinks::fill(stage, topic, lines);
    stage.transforms = transforms;
}

fn kept(expected: &[&str]) {
    wait::until("the sink's records", PATIENCE, || match &*KEPT.lock().unwrap() {
        found if found == expected => Ok(()),
        found => Err(format!("{found:?}")),
    });
}

#[test]
fn several_records_become_one_and_no_offset_passes_what_is_incomplete() {
    static PLUGIN: SinkPlugin = super::sinks::plugin(|_| Ok(Box::new(Given(&KEPT))));
    let at = |offset| Offsets::from([(TopicPartition::new("letters", 0), offset)]);
    let mut stage = Stage::new();
    stage.transforms = chain(StepPlugin::Collect(&SENTENCES));
    // Offsets 0 to 5.
    fill(&mut stage, "letters", "h\ni\n.\ny\nword\no\n");
    let task = stage.sink("letters-out", &PLUGIN, &[("topics", "letters")]);
    kept(&["hi", "word"]);
    stage.stop("letters-out", &task);
    assert!(FLUSHES.load(Ordering::SeqCst));
    assert_eq!(stage.committed("letters-out"), at(3), "the sentence that began at 3 is not complete");
    // The rest of it; what was put in between does not come again.
    fill(&mut stage, "letters", "h\ni\n.\ny\nword\no\n.\n");
    let task = stage.sink("letters-out", &PLUGIN, &[("topics", "letters")]);
    kept(&["hi", "word", "yo"]);
    stage.stop("letters-out", &task);
    assert_eq!(*NOTES.lock().unwrap(), [None, Some("4".to_owned())]);
    assert_eq!(stage.committed("letters-out"), at(7));
    // What will never be complete fails the task, and is not passed.
    fill(&mut stage, "letters", "h\ni\n.\ny\nword\no\n.\nX\n");
    let _task = stage.sink("letters-out", &PLUGIN, &[("topics", "letters")]);
    let trace = stage.hear("letters-out", |news| matches!(news, TaskNews::Failed { .. }));
    assert!(trace.contains("it was never complete") && trace.contains("offset 7"), "{trace}");
    assert_eq!(stage.committed("letters-out"), at(7));
}

/// What goes on behind the converters in the place of a sentence.
struct Shout;

#[async_trait]
impl AsyncTransform for Shout {
    fn needs(&self, record: &Record) -> bool {
        record.value.value.as_str().is_some_and(|text| text.len() > 2)
    }

    async fn apply(&self, record: &mut Record) -> Result<Verdict> {
        tokio::task::yield_now().await;
        let text = record.value.value.as_str().unwrap_or_default().to_uppercase();
        record.value.value = Value::text(text);
        Ok(Verdict::Keep)
    }
}

#[test]
fn what_was_joined_may_wait_for_something_before_it_goes_on() {
    static SHOUTED: CollectPlugin = CollectPlugin { then: Some(|_, _| Ok(Some(Box::new(Shout)))), ..JOINED };
    static GIVEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
    static PLUGIN: SinkPlugin = super::sinks::plugin(|_| Ok(Box::new(Given(&GIVEN))));
    let mut stage = Stage::new();
    stage.transforms = chain(StepPlugin::Collect(&SHOUTED));
    fill(&mut stage, "whispers", "h\ni\n.\ny\no\nu\n.\nword\n");
    let task = stage.sink("shouted", &PLUGIN, &[("topics", "whispers")]);
    wait::until("the sink's records", PATIENCE, || match &*GIVEN.lock().unwrap() {
        found if *found == ["hi", "YOU", "WORD"] => Ok(()),
        found => Err(format!("{found:?}")),
    });
    stage.stop("shouted", &task);
    assert_eq!(stage.committed("shouted"), Offsets::from([(TopicPartition::new("whispers", 0), 8)]));
}
