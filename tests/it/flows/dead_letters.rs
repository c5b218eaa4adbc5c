//! Bad records of sinks on their way to a dead letter topic, which must get all of them and none of the good ones.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connector_file::SINK as FILE_SINK;
use pipette::plugins::Plugins;
use pipette::settings::dead_letters::DeadLetterTopic;
use pipette::task::TaskNews;
use pipette::task::spec::ErrorPolicy;
use pipette_api::{
    ConnectError, Offsets, Result, Settings, SinkBatch, SinkContext, SinkPlugin, SinkTask, TopicPartition, async_trait,
};
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::sinks::{fill, plugin};
use super::stage::{PATIENCE, Stage, pairs};
use crate::support::topic::{self, Record};
use crate::support::wait;

const RECORDS: usize = 10_000;
/// Every so many records one is bad.
const POISON: usize = 100;
const BORN: i64 = 1_500_000_000_000;

fn dead(context: bool) -> DeadLetterTopic {
    DeadLetterTopic { name: "dead".into(), replication_factor: None, context: Some(context) }
}

/// A stage whose values are JSON, and whose bad records go to the topic `dead`.
fn stage(tolerate: bool) -> Stage {
    let mut stage = Stage::new();
    let plugin = Plugins::built_in().converter("JsonConverter").unwrap();
    let settings = pairs(&[("schemas.enable", "false"), ("converter.type", "value")]);
    stage.value = (plugin, Settings::new(settings, plugin.info.config));
    stage.errors = ErrorPolicy { tolerate, ..ErrorPolicy::default() };
    stage.dead_letters = Some(dead(true));
    stage
}

fn is_bad(number: usize) -> bool {
    number % POISON == POISON - 1
}

fn value(number: usize) -> String {
    if is_bad(number) { format!("{{\"n\":{number}") } else { number.to_string() }
}

fn produce(stage: &Stage, topic: &str, values: impl Iterator<Item = String>) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", stage.bootstrap())
        .set("linger.ms", "5")
        .set("message.max.bytes", "4000000")
        .set("compression.type", "gzip")
        .create()
        .unwrap();
    for (number, value) in values.enumerate() {
        let (key, unit) = (format!("key {number}"), Header { key: "unit", value: Some("mg") });
        let headers = OwnedHeaders::new().insert(unit).insert(Header { key: "none", value: None::<&str> });
        let record = BaseRecord::to(topic).key(&key).payload(&value).timestamp(BORN).headers(headers);
        producer.send(record).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

fn until_lines(path: &std::path::Path, count: usize) {
    wait::until("the good records", PATIENCE, || match std::fs::read_to_string(path).unwrap_or_default() {
        text if text.lines().count() >= count => Ok(()),
        text => Err(format!("{} lines", text.lines().count())),
    });
}

fn distinct(path: &std::path::Path) -> usize {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().collect::<BTreeSet<_>>().len()
}

fn at(topic: &str, offset: usize) -> Offsets {
    Offsets::from([(TopicPartition::new(topic, 0), i64::try_from(offset).unwrap())])
}

fn metric(stage: &Stage, name: &str) -> String {
    let name = format!("kafka_connect_task_error_{name}{{");
    let metrics = stage.metrics();
    let row = metrics.lines().find(|row| row.starts_with(&name)).expect("its row");
    row.rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn one_percent_of_poison_goes_to_the_dead_letter_topic_and_nothing_else_does() {
    let mut stage = stage(true);
    produce(&stage, "rows", (0..RECORDS).map(value));
    let out = stage.path("rows.out");
    let task = stage.sink("rows-out", &FILE_SINK, &[("topics", "rows"), ("file", out.to_str().unwrap())]);
    until_lines(&out, RECORDS - RECORDS / POISON);
    stage.stop("rows-out", &task);

    let good = (0..RECORDS).filter(|n| !is_bad(*n)).fold(String::new(), |text, n| text + &n.to_string() + "\n");
    assert!(std::fs::read_to_string(&out).unwrap() == good, "every good record, once and in order");
    assert_eq!(stage.committed("rows-out"), at("rows", RECORDS));
    assert_eq!(stage.unheard(|news| matches!(news, TaskNews::Failed { .. })), 0);
    let letters = topic::records(&stage.bootstrap(), "dead");
    let expected: Vec<_> = (0..RECORDS).filter(|n| is_bad(*n)).map(letter).collect();
    assert_eq!(letters.len(), expected.len());
    letters.iter().zip(&expected).for_each(|(letter, expected)| assert_eq!(letter, expected));
    for (name, count) in [("deadletterqueue_produce_requests", "100"), ("deadletterqueue_produce_failures", "0")] {
        assert_eq!(metric(&stage, name), count, "{name}");
    }
}

/// As Apache's worker writes it (tests/java/recorded/dlq-record.json), but for the text of the error.
fn letter(number: usize) -> Record {
    let end = value(number).len();
    let cause = format!("invalid JSON at byte {end}: the text ends where a comma or }} should be");
    let error = "Converting byte[] to Kafka Connect data failed due to serialization error";
    let class = "org.apache.kafka.connect.errors.DataException";
    let context = [
        ("topic", "rows"),
        ("partition", "0"),
        ("offset", &number.to_string()),
        ("connector.name", "rows-out"),
        ("task.id", "0"),
        ("stage", "VALUE_CONVERTER"),
        ("class.name", "org.apache.kafka.connect.json.JsonConverter"),
        ("exception.class.name", class),
        ("exception.message", &format!("{error}: n: {cause}")),
        ("exception.stacktrace", &format!("{class}: {error}\nCaused by: n: {cause}\nCaused by: {cause}")),
    ];
    let context = context.map(|(name, text)| (format!("__connect.errors.{name}"), Some(text.to_owned())));
    let own = [("unit".to_owned(), Some("mg".to_owned())), ("none".to_owned(), None)];
    Record {
        key: Some(format!("key {number}")),
        value: Some(value(number)),
        headers: own.into_iter().chain(context).collect(),
        timestamp: Some(BORN),
    }
}

#[test]
fn a_letter_without_context_is_the_record_as_it_was() {
    let mut stage = stage(true);
    stage.dead_letters = Some(dead(false));
    produce(&stage, "bare", ["{".to_owned(), "1".to_owned()].into_iter());
    let out = stage.path("bare.out");
    let task = stage.sink("bare-out", &FILE_SINK, &[("topics", "bare"), ("file", out.to_str().unwrap())]);
    until_lines(&out, 1);
    stage.stop("bare-out", &task);
    let letters = topic::records(&stage.bootstrap(), "dead");
    let names: Vec<_> = letters[0].headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((letters.len(), letters[0].value.as_deref(), names), (1, Some("{"), vec!["unit", "none"]));
}

#[test]
fn without_tolerance_the_first_bad_record_is_kept_and_fails_the_task() {
    let mut stage = stage(false);
    produce(&stage, "first", (0..RECORDS).map(value));
    let out = stage.path("first.out");
    let _task = stage.sink("first-out", &FILE_SINK, &[("topics", "first"), ("file", out.to_str().unwrap())]);
    let trace = stage.hear("first-out", |news| matches!(news, TaskNews::Failed { .. }));
    let start = "Task first-out-0 failed in value converter on the record at first-0 offset 99: ";
    assert!(trace.starts_with(start), "{trace}");
    assert_eq!(stage.unheard(|news| matches!(news, TaskNews::Failed { .. })), 0, "it fails once");
    let letters = topic::records(&stage.bootstrap(), "dead");
    assert_eq!((letters.len(), letters[0].header("__connect.errors.offset")), (1, "99"));
    assert!(stage.committed("first-out") <= at("first", 99));
}

#[test]
fn tasks_that_are_given_up_and_started_again_lose_no_dead_letter() {
    let mut stage = stage(true);
    stage.flush_interval = Duration::from_millis(1);
    produce(&stage, "again", (0..RECORDS).map(value));
    let out = stage.path("again.out");
    let good = RECORDS - RECORDS / POISON;
    for part in 1..=4 {
        let task = stage.sink("again-out", &FILE_SINK, &[("topics", "again"), ("file", out.to_str().unwrap())]);
        wait::until("the good records", PATIENCE, || match distinct(&out) {
            found if found >= good * part / 4 => Ok(()),
            found => Err(format!("{found}")),
        });
        if part < 4 {
            // Given up amid its work: it settles and commits nothing any more.
            drop(task);
            continue;
        }
        wait::until("the last commit", PATIENCE, || match stage.committed("again-out") {
            committed if committed == at("again", RECORDS) => Ok(()),
            committed => Err(format!("{committed:?}")),
        });
        stage.stop("again-out", &task);
    }
    assert_eq!(distinct(&out), good);
    let letters: BTreeSet<_> =
        topic::records(&stage.bootstrap(), "dead").into_iter().filter_map(|letter| letter.key).collect();
    assert_eq!(letters, (0..RECORDS).filter(|n| is_bad(*n)).map(|n| format!("key {n}")).collect());
}

/// The topic refuses the letter of the record in the middle, of that length.
fn no_letter_is_written(mut stage: Stage, length: usize, refusal: &str) {
    let huge = format!("{{\"a\":\"{}", "x".repeat(length));
    produce(&stage, "huge", ["1".to_owned(), huge, "2".to_owned()].into_iter());
    let out = stage.path("huge.out");
    let _task = stage.sink("huge-out", &FILE_SINK, &[("topics", "huge"), ("file", out.to_str().unwrap())]);
    let trace = stage.hear("huge-out", |news| matches!(news, TaskNews::Failed { .. }));
    let first = trace.lines().next().unwrap();
    let start = "Task huge-out-0 failed in dead letter queue on the record at huge-0 offset 1: its dead letter cannot be \
                 written: Kafka ";
    assert!(first.starts_with(&format!("{start}{refusal} a record for topic dead: ")), "{first}");
    assert!(first.contains("Nothing is skipped without one: mend the topic dead"), "{first}");
    assert!(stage.committed("huge-out") <= at("huge", 1), "{:?}", stage.committed("huge-out"));
    assert_eq!(metric(&stage, "deadletterqueue_produce_failures"), "1");
}

#[test]
fn a_letter_that_the_client_refuses_fails_the_task_and_its_record_is_not_passed() {
    let mut stage = stage(true);
    stage.letters = vec![("message.max.bytes", "1000")];
    no_letter_is_written(stage, 5_000, "refuses");
}

#[test]
fn a_letter_that_the_broker_refuses_fails_the_task_and_its_record_is_not_passed() {
    no_letter_is_written(stage(true), 1_500_000, "did not take");
}

#[test]
fn the_topic_is_made_before_the_task_starts_or_the_task_says_why_not() {
    let mut stage = stage(true);
    let asked = |replication_factor| Some(DeadLetterTopic { replication_factor, ..dead(true) });
    stage.dead_letters = None;
    fill(&mut stage, "made", "1\n");
    stage.dead_letters = asked(Some(3));
    let out = stage.path("made.out");
    let config = [("topics", "made"), ("file", out.to_str().unwrap())];
    let _task = stage.sink("refused", &FILE_SINK, &config);
    let trace = stage.hear("refused", |news| matches!(news, TaskNews::Failed { .. }));
    let start = "Task refused-0 failed in start: Could not initialize dead letter queue with topic=dead: \
                 Kafka refuses to create topic dead (partitions 1, replication factor 3)";
    assert!(trace.starts_with(start), "{trace}");
    assert!(trace.contains("Change errors.deadletterqueue.topic.replication.factor"), "{trace}");
    stage.dead_letters = Some(DeadLetterTopic { name: "dead letters".into(), ..dead(true) });
    let _task = stage.sink("misnamed", &FILE_SINK, &config);
    let trace = stage.hear("misnamed", |news| matches!(news, TaskNews::Failed { .. }));
    assert!(trace.contains("topic=dead letters: No topic can be named 'dead letters'"), "{trace}");
    for factor in [None, Some(3)] {
        // The second time the topic is there, and used as it is.
        stage.dead_letters = asked(factor);
        let task = stage.sink("made", &FILE_SINK, &config);
        stage.hear("made", |news| matches!(news, TaskNews::Running));
        assert_eq!(topic::records(&stage.bootstrap(), "dead"), []);
        stage.stop("made", &task);
    }
}

/// Reports the chosen records when it flushes, with an error of its choice.
pub(super) struct Late {
    error: fn() -> ConnectError,
    is_bad: fn(i64) -> bool,
    batches: Vec<Arc<SinkBatch>>,
    context: Option<SinkContext>,
}

impl Late {
    pub(super) fn new(is_bad: fn(i64) -> bool, error: fn() -> ConnectError) -> Self {
        Self { error, is_bad, batches: Vec::new(), context: None }
    }
}

#[async_trait]
impl SinkTask for Late {
    async fn start(&mut self, context: SinkContext) -> Result<()> {
        self.context = Some(context);
        Ok(())
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        self.batches.push(batch);
        self.context.as_ref().unwrap().runtime.request_flush();
        Ok(())
    }

    async fn flush(&mut self, upto: &Offsets) -> Result<Offsets> {
        for batch in self.batches.drain(..) {
            for (index, record) in batch.records.iter().enumerate() {
                if !(self.is_bad)(record.origin.offset) {
                    continue;
                }
                self.context.as_ref().unwrap().runtime.report(&batch, index, (self.error)());
            }
        }
        Ok(upto.clone())
    }
}

fn is_odd(offset: i64) -> bool {
    offset % 2 == 1
}

#[test]
fn what_a_sink_reports_late_is_in_the_topic_before_its_offset_is_committed() {
    static PLUGIN: SinkPlugin = plugin(|_| Ok(Box::new(Late::new(is_odd, || ConnectError::data("not a number")))));
    let mut stage = stage(true);
    fill(&mut stage, "late", "1\n2\n3\n4\n");
    let task = stage.sink("late-out", &PLUGIN, &[("topics", "late")]);
    wait::until("the commit", PATIENCE, || match stage.committed("late-out") {
        committed if committed == at("late", 4) => Ok(()),
        committed => Err(format!("{committed:?}")),
    });
    let letters = topic::records(&stage.bootstrap(), "dead");
    stage.stop("late-out", &task);
    let told = |letter: &Record| {
        let part = |name: &str| letter.header(&format!("__connect.errors.{name}")).to_owned();
        [part("offset"), part("stage"), part("class.name"), part("exception.message")]
    };
    let expected =
        |offset: &'static str| [offset, "TASK_PUT", "org.apache.kafka.connect.sink.SinkTask", "not a number"];
    assert_eq!(letters.iter().map(told).collect::<Vec<_>>(), [expected("1"), expected("3")]);
}

#[test]
fn what_is_wrong_with_the_target_drains_no_topic() {
    static PLUGIN: SinkPlugin =
        plugin(|_| Ok(Box::new(Late::new(is_odd, || ConnectError::fatal("the password is wrong")))));
    let mut stage = stage(true);
    fill(&mut stage, "target", "1\n2\n3\n4\n");
    let _task = stage.sink("target-out", &PLUGIN, &[("topics", "target")]);
    let trace = stage.hear("target-out", |news| matches!(news, TaskNews::Failed { .. }));
    assert!(
        trace.starts_with("Task target-out-0 failed in put on the record at target-0 offset 1: the password"),
        "{trace}"
    );
    assert_eq!(topic::records(&stage.bootstrap(), "dead"), []);
    assert_eq!(stage.committed("target-out"), at("target", 1));
}

/// A database that refuses a whole batch for one row, without saying which; it keeps nothing of a batch it refuses.
struct Database {
    context: Option<SinkContext>,
}

static ROWS: Mutex<Vec<i64>> = Mutex::new(Vec::new());
static REFUSALS: AtomicUsize = AtomicUsize::new(0);

#[async_trait]
impl SinkTask for Database {
    async fn start(&mut self, context: SinkContext) -> Result<()> {
        self.context = Some(context);
        Ok(())
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        if batch.records.iter().any(|record| is_bad(usize::try_from(record.origin.offset).unwrap())) {
            REFUSALS.fetch_add(1, Ordering::SeqCst);
            return Err(ConnectError::data("a value is out of range"));
        }
        ROWS.lock().unwrap().extend(batch.records.iter().map(|record| record.origin.offset));
        self.context.as_ref().unwrap().runtime.request_flush();
        Ok(())
    }
}

#[test]
fn a_refused_batch_is_halved_until_the_bad_record_is_alone() {
    static PLUGIN: SinkPlugin = plugin(|_| Ok(Box::new(Database { context: None })));
    let mut stage = stage(true);
    produce(&stage, "halves", (0..RECORDS).map(|number| number.to_string()));
    let task = stage.sink("halves-out", &PLUGIN, &[("topics", "halves")]);
    let good: Vec<i64> =
        (0..RECORDS).filter(|number| !is_bad(*number)).map(|number| i64::try_from(number).unwrap()).collect();
    wait::until("the good rows", PATIENCE, || match ROWS.lock().unwrap().len() {
        found if found >= good.len() => Ok(()),
        found => Err(format!("{found}")),
    });
    stage.stop("halves-out", &task);
    assert!(*ROWS.lock().unwrap() == good, "every good record once and in order");
    let told = |letter: &Record| {
        let part = |name: &str| letter.header(&format!("__connect.errors.{name}")).to_owned();
        (part("offset"), part("stage"), part("exception.message"))
    };
    let expected = |number: usize| (number.to_string(), "TASK_PUT".to_owned(), "a value is out of range".to_owned());
    let letters: Vec<_> = topic::records(&stage.bootstrap(), "dead").iter().map(told).collect();
    assert_eq!(letters, (0..RECORDS).filter(|number| is_bad(*number)).map(expected).collect::<Vec<_>>());
    assert_eq!(stage.committed("halves-out"), at("halves", RECORDS));
    // Nine halvings lead from 500 records to one.
    let bad = RECORDS / POISON;
    assert!(REFUSALS.load(Ordering::SeqCst) <= bad * 10, "{} refusals", REFUSALS.load(Ordering::SeqCst));
}
