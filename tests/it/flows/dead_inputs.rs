//! Bad input of sources on its way to a dead letter topic, with the place where it was.

use pipette::plugins::Plugins;
use pipette::settings::dead_letters::DeadLetterTopic;
use pipette::task::TaskNews;
use pipette::task::spec::{ErrorPolicy, Until};
use pipette_api::{
    Blob, ConfigMap, ConnectError, Datum, Record, Result, Settings, SourceBatch, SourceEntry, SourcePlugin, Transform,
    TransformPlugin, Value, Verdict,
};

use super::kept_in::{chain, step};
use super::sources::{entry, plugin, scripted};
use super::stage::{PATIENCE, Stage};
use super::transactions::{LONG, seen};
use crate::support::{topic, wait};

/// What the source's client refuses as too large, and that of the letters takes.
const LARGE: usize = 5_000;

fn stage(tolerate: bool) -> Stage {
    with_letters(Stage::new(), tolerate)
}

fn with_letters(mut stage: Stage, tolerate: bool) -> Stage {
    stage.errors = ErrorPolicy { tolerate, ..ErrorPolicy::default() };
    stage.dead_letters = Some(DeadLetterTopic { name: "dead".into(), replication_factor: None, context: None });
    stage.transforms = chain(&REFUSES_ODD);
    stage
}

/// Refuses what says "odd".
struct RefuseOdd;

impl Transform for RefuseOdd {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        match record.value.value.as_str() {
            Some("odd") => Err(ConnectError::data("an odd value")),
            _ => Ok(Verdict::Keep),
        }
    }
}

static REFUSES_ODD: TransformPlugin = step(|_| Ok(Box::new(RefuseOdd)));

/// A line that is no record, with what was read.
fn unreadable(raw: impl Into<String>, mark: i64) -> SourceEntry {
    let SourceEntry::Record(record) = entry("", mark) else { unreachable!("a record") };
    let error = ConnectError::data("rows.csv line 2: a quote is not closed");
    SourceEntry::Bad { position: record.position, raw: Some(Blob::whole(raw.into()).unwrap()), error }
}

#[expect(clippy::unnecessary_wraps, reason = "the shape of a script")]
fn once(poll: usize, entries: impl FnOnce() -> Vec<SourceEntry>) -> Result<SourceBatch> {
    Ok(if poll == 1 { SourceBatch::of(entries()) } else { SourceBatch::empty() })
}

#[test]
fn each_kind_of_bad_input_is_kept_with_its_place() {
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| {
            once(poll, || {
                let large = "x".repeat(LARGE);
                vec![entry("1", 1), unreadable("2,\"a", 2), entry("odd", 3), entry(&large, 4), entry("5", 5)]
            })
        })
    });
    let mut stage = stage(true);
    stage.producer = vec![("message.max.bytes", "2000")];
    let task = stage.source("inputs", &PLUGIN, &[]);
    let bootstrap = stage.bootstrap();
    wait::until("the good records", PATIENCE, || match topic::values(&bootstrap, "scripted") {
        values if values == ["1", "5"] => Ok(()),
        values => Err(format!("{values:?}")),
    });
    stage.stop("inputs", &task);
    let told = |letter: topic::Record| {
        let part = |name: &str| letter.header(&format!("__connect.errors.{name}")).to_owned();
        let value = letter.value.clone().unwrap_or_default();
        let value = if value.len() == LARGE { "large".to_owned() } else { value };
        let names = ["topic", "source.partition", "source.offset", "stage", "class.name", "exception.message"];
        (value, names.map(part))
    };
    let mut letters: Vec<_> = topic::records(&bootstrap, "dead").into_iter().map(told).collect();
    letters.sort();
    let (one, connect) = (r#"{"script":"one"}"#, "org.apache.kafka.connect");
    let texts = |texts: [&str; 6]| texts.map(str::to_owned);
    assert_eq!(letters.len(), 3, "{letters:?}");
    let unclosed = "rows.csv line 2: a quote is not closed";
    let poll = ["", one, r#"{"at":2}"#, "TASK_POLL", &format!("{connect}.source.SourceTask"), unclosed];
    assert_eq!(letters[0], ("2,\"a".to_owned(), texts(poll)));
    assert_eq!(
        (letters[1].0.as_str(), &letters[1].1[2..4]),
        ("large", &texts(["", "", r#"{"at":4}"#, "KAFKA_PRODUCE", "", ""])[2..4])
    );
    let refused = "transformation \"ask\": an odd value";
    let transformation = ["scripted", one, r#"{"at":3}"#, "TRANSFORMATION", "test.Ask", refused];
    assert_eq!(letters[2], ("odd".to_owned(), texts(transformation)));
    assert_eq!(stage.offset("inputs", "at"), Some(5), "the offset went on behind all of them");
}

/// As [`entry`], for another topic.
fn entry_for(topic: &str, text: &str, mark: i64) -> SourceEntry {
    let SourceEntry::Record(mut source) = entry(text, mark) else { unreachable!("a record") };
    source.record.topic = topic.into();
    SourceEntry::Record(source)
}

#[test]
fn a_record_for_a_topic_of_the_worker_is_bad_and_goes_nowhere() {
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| once(poll, || vec![entry("1", 1), entry_for("of-the-worker", "mine", 2), entry("3", 3)]))
    });
    let mut stage = stage(true);
    let task = stage.source("astray", &PLUGIN, &[]);
    let bootstrap = stage.bootstrap();
    wait::until("the good records", PATIENCE, || match topic::values(&bootstrap, "scripted") {
        values if values == ["1", "3"] => Ok(()),
        values => Err(format!("{values:?}")),
    });
    stage.stop("astray", &task);
    assert_eq!(topic::size_if_any(&bootstrap, "of-the-worker"), 0);
    let letters = topic::records(&bootstrap, "dead");
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    let told = letter.header("__connect.errors.exception.message");
    assert!(
        told.contains("topic of-the-worker, where this worker keeps its own state (config.storage.topic)"),
        "{told}"
    );
    assert_eq!((letter.value.as_deref(), stage.offset("astray", "at")), (Some("mine"), Some(3)));
}

#[test]
fn a_letter_has_its_headers_also_where_a_converter_refuses_the_record() {
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| {
            once(poll, || {
                let SourceEntry::Record(mut source) = entry("no bytes", 1) else { unreachable!("a record") };
                source.record.headers.add("device", Datum::schemaless(Value::text("oven 7")));
                vec![SourceEntry::Record(source)]
            })
        })
    });
    let mut stage = stage(true);
    let bytes = Plugins::built_in().converter("ByteArrayConverter").unwrap();
    stage.value = (bytes, Settings::new(ConfigMap::new(), bytes.info.config));
    let _task = stage.source("text", &PLUGIN, &[]);
    let bootstrap = stage.bootstrap();
    let letter = wait::until("the letter", PATIENCE, || match topic::records(&bootstrap, "dead").pop() {
        Some(letter) => Ok(letter),
        None => Err("none".into()),
    });
    assert_eq!((letter.value.as_deref(), letter.header("device")), (Some("no bytes"), "oven 7"));
    assert_eq!(letter.header("__connect.errors.stage"), "VALUE_CONVERTER");
}

#[test]
fn a_record_that_is_too_large_is_told_with_the_keys_to_raise() {
    static PLUGIN: SourcePlugin = plugin(|_| scripted(|poll| once(poll, || vec![entry(&"x".repeat(LARGE), 1)])));
    for (sends, takes, raised) in [
        (2_000, 1_000_000, "producer.override.max.request.size (producer.max.request.size"),
        (1_000_000, 2_000, "max.message.bytes of the topic: raise that of scripted to 6144 at least"),
    ] {
        let mut stage = Stage::new();
        let sends = sends.to_string();
        stage.producer = vec![("message.max.bytes", sends.leak())];
        topic::create(&stage.bootstrap(), "scripted", 1, &[("max.message.bytes", &takes.to_string())]);
        let _task = stage.source("large", &PLUGIN, &[]);
        let trace = stage.hear("large", |news| matches!(news, TaskNews::Failed { .. }));
        let first = trace.lines().next().unwrap();
        assert!(first.starts_with("Task large-0 failed in produce on a record for topic scripted"), "{first}");
        assert!(first.contains("It has 5000 bytes") && first.contains(raised), "{first}");
    }
}

#[test]
fn without_tolerance_the_input_is_kept_and_read_again() {
    static PLUGIN: SourcePlugin =
        plugin(|_| scripted(|poll| once(poll, || vec![entry("1", 1), unreadable("2,\"a", 2), entry("3", 3)])));
    let mut stage = stage(false);
    for count in 1..=2 {
        let _task = stage.source("strict", &PLUGIN, &[]);
        let trace = stage.hear("strict", |news| matches!(news, TaskNews::Failed { .. }));
        let first =
            "Task strict-0 failed in poll on a record from script=one: rows.csv line 2: a quote is not closed. ";
        assert!(trace.starts_with(first), "{trace}");
        assert_eq!(topic::values(&stage.bootstrap(), "dead").len(), count);
        assert_eq!(stage.offset("strict", "at"), Some(1), "the next start begins with the bad input");
    }
}

#[test]
fn a_letter_that_the_broker_refuses_holds_the_offset_and_fails_the_task() {
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| once(poll, || vec![entry("1", 1), unreadable("x".repeat(1_500_000), 2), entry("3", 3)]))
    });
    let mut stage = stage(true);
    let _task = stage.source("held", &PLUGIN, &[]);
    let trace = stage.hear("held", |news| matches!(news, TaskNews::Failed { .. }));
    let first = trace.lines().next().unwrap();
    let start =
        "Task held-0 failed in dead letter queue on a record from script=one: its dead letter cannot be written: ";
    assert!(first.starts_with(start), "{first}");
    assert_eq!(stage.offset("held", "at"), Some(1));
}

#[test]
fn with_exactly_once_a_transaction_waits_for_the_letters_of_its_records() {
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| once(poll, || vec![entry("1", 1), unreadable("2,\"a", 2), entry("odd", 3), entry("4", 4)]))
    });
    for until in [Until::Poll, LONG] {
        let mut stage = with_letters(Stage::exactly_once(until), true);
        let bootstrap = stage.bootstrap();
        let task = stage.source("once", &PLUGIN, &[]);
        if until == Until::Poll {
            wait::until("the transaction", PATIENCE, || match seen(&bootstrap, "scripted") {
                values if values.is_empty() => Err("nothing is committed".into()),
                _ => Ok(()),
            });
        } else {
            wait::until("the letters", PATIENCE, || match topic::values(&bootstrap, "dead").len() {
                2 => Ok(()),
                count => Err(format!("{count}")),
            });
            assert_eq!(seen(&bootstrap, "scripted"), [""; 0], "letters are no part of the transaction");
        }
        let mut letters = topic::values(&bootstrap, "dead");
        letters.sort();
        assert_eq!(letters, ["2,\"a", "odd"], "before the transaction is seen");
        stage.stop("once", &task);
        assert_eq!(seen(&bootstrap, "scripted"), ["1", "4"]);
        assert_eq!(seen(&bootstrap, "offsets"), [r#"{"at":4}"#], "one transaction with all of it");
        assert_eq!(topic::values(&bootstrap, "dead").len(), 2);
    }
}

#[test]
fn with_exactly_once_a_letter_that_the_broker_refuses_takes_the_transaction_back() {
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| once(poll, || vec![entry("1", 1), unreadable("x".repeat(1_500_000), 2), entry("3", 3)]))
    });
    for until in [Until::Poll, LONG] {
        let mut stage = with_letters(Stage::exactly_once(until), true);
        let bootstrap = stage.bootstrap();
        let _task = stage.source("held", &PLUGIN, &[]);
        let trace = stage.hear("held", |news| matches!(news, TaskNews::Failed { .. }));
        let start =
            "Task held-0 failed in dead letter queue on a record from script=one: its dead letter cannot be written: ";
        assert!(trace.starts_with(start), "{trace}");
        let (written, readable) = (topic::size(&bootstrap, "scripted"), topic::readable(&bootstrap, "scripted"));
        assert!(
            written > 1 && readable == written,
            "{readable} of {written}: nobody waits for the time of the transaction"
        );
        assert_eq!((seen(&bootstrap, "scripted"), stage.offset("held", "at")), (vec![], None));
    }
}

#[test]
fn with_exactly_once_and_without_tolerance_the_input_is_kept_and_nothing_is_committed() {
    static PLUGIN: SourcePlugin =
        plugin(|_| scripted(|poll| once(poll, || vec![entry("1", 1), unreadable("2,\"a", 2), entry("3", 3)])));
    let mut stage = with_letters(Stage::exactly_once(Until::Poll), false);
    let bootstrap = stage.bootstrap();
    for count in 1..=2 {
        let _task = stage.source("strict", &PLUGIN, &[]);
        let trace = stage.hear("strict", |news| matches!(news, TaskNews::Failed { .. }));
        assert!(trace.starts_with("Task strict-0 failed in poll on a record from script=one: rows.csv"), "{trace}");
        assert_eq!(topic::values(&bootstrap, "dead").len(), count);
        assert_eq!((seen(&bootstrap, "scripted"), stage.offset("strict", "at")), (vec![], None));
    }
}

#[test]
fn with_exactly_once_a_record_that_kafka_refuses_fails_the_task_whatever_is_tolerated() {
    static PLUGIN: SourcePlugin =
        plugin(|_| scripted(|poll| once(poll, || vec![entry("1", 1), entry(&"x".repeat(LARGE), 2), entry("3", 3)])));
    let mut stage = with_letters(Stage::exactly_once(Until::Poll), true);
    stage.producer = vec![("message.max.bytes", "2000")];
    let bootstrap = stage.bootstrap();
    let _task = stage.source("large", &PLUGIN, &[]);
    let trace = stage.hear("large", |news| matches!(news, TaskNews::Failed { .. }));
    assert!(trace.starts_with("Task large-0 failed in produce"), "{trace}");
    assert_eq!((seen(&bootstrap, "scripted"), stage.offset("large", "at")), (vec![], None));
    assert_eq!(topic::values(&bootstrap, "dead"), [""; 0]);
}
