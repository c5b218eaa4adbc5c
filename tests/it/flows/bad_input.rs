//! Records that no converter can read, each between two good ones, on their way through JsonConverter into a file.
//!
//! What looks bad and is none in Java either (a member twice, half of a surrogate pair) passes.

use connector_file::SINK as FILE_SINK;
use pipette::plugins::Plugins;
use pipette::task::TaskNews;
use pipette::task::spec::ErrorPolicy;
use pipette_api::{Offsets, Settings, TopicPartition};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::stage::{PATIENCE, Stage, pairs};
use crate::support::wait;

/// A record's value, and the end of the first line of the trace: where in the record, and why.
type Bad = (Vec<u8>, &'static str);

const MILLION: usize = 1_000_000;

fn digits() -> String {
    "7".repeat(MILLION)
}

fn schemaless() -> Vec<Bad> {
    vec![
        (
            "[".repeat(MILLION).into(),
            "[0][0][0][0][0][0][0][0]…[0][0][0][0][0][0][0][0]: invalid JSON at byte 1000: nested deeper than 1000 levels",
        ),
        (
            "{\"a\":".repeat(100_000).into(),
            "a.a.a.a.a.a.a.a….a.a.a.a.a.a.a.a: invalid JSON at byte 5000: nested deeper than 1000 levels",
        ),
        (
            format!("{{\"order\":[{{\"qty\":{}}}]}}", digits()).into(),
            "order[0].qty: invalid JSON at byte 17: a number has more than 1000 digits",
        ),
        (
            b"{\"order\":{\"items\":[1,2,{\"qty\":\"\xFF\"}]}}".into(),
            "order.items[2].qty: invalid JSON: the text is not valid UTF-8 at byte 31",
        ),
        (b"{\"a\":\"\xED\xA0\x80\"}".into(), "a: invalid JSON: the text is not valid UTF-8 at byte 6"),
        (
            b"{\"order\":{\"items\":[{},{},{},{\"qty\":}]}}".into(),
            "order.items[3].qty: invalid JSON at byte 35: expected a value, found }",
        ),
        (
            b"{\"order\":{\"qty\":12".into(),
            "order.qty: invalid JSON at byte 18: the text ends where a comma or } should be",
        ),
    ]
}

/// The schema of the records in [`enveloped`].
const SCHEMA: &str = r#"{"type":"struct","fields":[{"type":"struct","field":"order","fields":[
    {"type":"array","field":"items","items":{"type":"struct","fields":[{"type":"int32","field":"qty"}]}}]}]}"#;

fn of_schema(payload: &str) -> Vec<u8> {
    format!("{{\"schema\":{SCHEMA},\"payload\":{payload}}}").into()
}

fn enveloped() -> Vec<Bad> {
    let deep = format!("{{\"schema\":{}{{}}", "{\"type\":\"array\",\"items\":".repeat(200));
    let deep = format!("{deep}{},\"payload\":[]}}", "}".repeat(200));
    vec![
        (
            of_schema(r#"{"order":{"items":[{"qty":1},{"qty":1},{"qty":1},{"qty":null}]}}"#),
            "payload.order.items[3].qty: Invalid null value for required INT32 field",
        ),
        (
            of_schema(r#"{"order":{"items":[{"qty":1},"two"]}}"#),
            "payload.order.items[1]: Structs should be encoded as JSON objects, but found STRING",
        ),
        (of_schema(r#"{"order":{}}"#), "payload.order.items: Invalid null value for required ARRAY field"),
        (
            of_schema(&format!("{{\"order\":{{\"items\":[{{\"qty\":{}}}]}}}}", digits())),
            "payload.order.items[0].qty: invalid JSON at byte 226: a number has more than 1000 digits",
        ),
        (
            of_schema(&format!("{{\"order\":{{\"items\":[],\"new\":{}}}}}", "[".repeat(MILLION))),
            "payload.order: invalid JSON at byte 1224: nested deeper than 1000 levels",
        ),
        (deep.into(), "schema: a schema nested deeper than 100 levels is refused"),
        (b"{\"schema\":{\"type\":\"money\"},\"payload\":1}".into(), "schema: Unknown schema type: money"),
        (b"{\"qty\":1}".into(), "your converter configuration."),
    ]
}

fn produce<'v>(stage: &Stage, topic: &str, values: impl Iterator<Item = &'v [u8]>) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", stage.bootstrap())
        .set("message.max.bytes", "4000000")
        .set("compression.type", "gzip")
        .create()
        .unwrap();
    for value in values {
        producer.send(BaseRecord::<(), [u8]>::to(topic).payload(value)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}

fn stage(schemas: &'static str, errors: ErrorPolicy) -> Stage {
    let mut stage = Stage::new();
    let plugin = Plugins::built_in().converter("JsonConverter").unwrap();
    let settings = pairs(&[("schemas.enable", schemas), ("converter.type", "value")]);
    stage.value = (plugin, Settings::new(settings, plugin.info.config));
    stage.errors = errors;
    stage
}

/// Without tolerance each of them ends its task, in one line that says where and why, and nothing behind it is lost.
fn each_fails(schemas: &'static str, good: &[u8], all: &[Bad]) {
    let mut stage = stage(schemas, ErrorPolicy::default());
    let tasks: Vec<_> = (0..all.len())
        .map(|index| {
            let name = format!("bad{index}");
            produce(&stage, &name, [good, &all[index].0, good].into_iter());
            let out = stage.path(&name);
            let config = [("topics", name.as_str()), ("file", out.to_str().unwrap())];
            stage.sink(&name, &FILE_SINK, &config)
        })
        .collect();
    for (index, (_, why)) in all.iter().enumerate() {
        let name = format!("bad{index}");
        let trace = stage.hear(&name, |news| matches!(news, TaskNews::Failed { .. }));
        let first = trace.lines().next().unwrap();
        let start = format!("Task {name}-0 failed in value converter on the record at {name}-0 offset 1: ");
        let cause = first.split(". Choose the converter that fits").next().unwrap();
        assert!(cause.starts_with(&start) && cause.ends_with(why.trim_end_matches('.')), "{first}\nwants … {why}");
        assert!(cause.len() < 500, "an error is no place for a record: {first}");
        let behind = Offsets::from([(TopicPartition::new(&*name, 0), 2)]);
        assert!(stage.committed(&name) < behind, "{:?}", stage.committed(&name));
    }
    drop(tasks);
    assert_eq!(stage.unheard(|news| matches!(news, TaskNews::Failed { .. })), 0, "each task fails once");
}

/// With tolerance all of them are skipped, counted and logged, and their neighbours arrive.
fn all_are_skipped(schemas: &'static str, good: &[u8], line: &str, all: &[Bad]) {
    let policy = ErrorPolicy { tolerate: true, log: true, ..ErrorPolicy::default() };
    let mut stage = stage(schemas, policy);
    let between = all.iter().flat_map(|(bad, _)| [good, bad]);
    produce(&stage, "mixed", between.chain([good]));
    let out = stage.path("mixed.out");
    let task = stage.sink("mixed", &FILE_SINK, &[("topics", "mixed"), ("file", out.to_str().unwrap())]);
    let wanted = format!("{line}\n").repeat(all.len() + 1);
    wait::until("the good neighbours", PATIENCE, || match std::fs::read_to_string(&out).unwrap_or_default() {
        text if text.len() >= wanted.len() => Ok(()),
        text => Err(text),
    });
    stage.stop("mixed", &task);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), wanted);
    let metrics = stage.metrics();
    for metric in ["total_record_failures", "total_records_skipped", "total_errors_logged"] {
        let row = metrics.lines().find(|row| row.starts_with(&format!("kafka_connect_task_error_{metric}{{")));
        assert!(row.is_some_and(|row| row.ends_with(&format!(" {}", all.len()))), "{metric}: {row:?}");
    }
    let end = i64::try_from(2 * all.len() + 1).unwrap();
    assert_eq!(stage.committed("mixed"), Offsets::from([(TopicPartition::new("mixed", 0), end)]));
}

#[test]
fn a_bad_record_without_a_schema_fails_its_task_and_is_located() {
    each_fails("false", b"{\"a\":1}", &schemaless());
}

#[test]
fn a_bad_record_with_a_schema_fails_its_task_and_is_located() {
    each_fails("true", &of_schema(r#"{"order":{"items":[]}}"#), &enveloped());
}

#[test]
fn tolerated_records_without_a_schema_leave_their_neighbours_alone() {
    all_are_skipped("false", b"{\"a\":1}", "{a=1}", &schemaless());
}

#[test]
fn tolerated_records_with_a_schema_leave_their_neighbours_alone() {
    let good = of_schema(r#"{"order":{"items":[{"qty":2}]}}"#);
    all_are_skipped("true", &good, "Struct{order=Struct{items=[Struct{qty=2}]}}", &enveloped());
}

#[test]
fn what_java_reads_is_no_bad_record() {
    let mut stage = stage("false", ErrorPolicy::default());
    let values = [&b"{\"a\":1,\"b\":2,\"a\":3}"[..], b"{\"a\":\"x\\ud800y\"}", b"{\"a\":007}", b"5 6"];
    produce(&stage, "odd", values.into_iter());
    let out = stage.path("odd.out");
    let task = stage.sink("odd", &FILE_SINK, &[("topics", "odd"), ("file", out.to_str().unwrap())]);
    wait::until("the lines", PATIENCE, || match std::fs::read_to_string(&out).unwrap_or_default() {
        text if text.lines().count() >= values.len() => Ok(()),
        text => Err(text),
    });
    stage.stop("odd", &task);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "{a=3, b=2}\n{a=x\u{FFFD}y}\n{a=7}\n5\n");
}
