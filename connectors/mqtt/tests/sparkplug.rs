//! Sparkplug B through a real broker.
#![allow(clippy::unwrap_used)] // clippy takes only `#[test]` functions for tests

mod support;

use std::time::{Duration, Instant};

use connector_mqtt::SOURCE;
use pipette_api::{Record, SourceEntry, Value};
use pipette_kit::SourceHarness;
use pipette_kit::source_harness::{bad, record};
use support::config;
use support::mosquitto::Mosquitto;
use support::source::{number, poll_until, source, subscribed};

/// How long the source may take for a message.
const PATIENCE: Duration = Duration::from_secs(10);

fn field<'a>(record: &'a Record, name: &str) -> Option<&'a Value> {
    match &record.value.value {
        Value::Struct(record) => record.get(name),
        _ => None,
    }
}

/// Polls until an entry is of that kind.
fn entry(harness: &mut SourceHarness, wanted: impl Fn(&SourceEntry) -> bool) -> SourceEntry {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}");
        let entries = harness.poll().unwrap();
        harness.settle();
        if let Some(found) = entries.into_iter().find(&wanted) {
            return found;
        }
    }
}

fn metric(harness: &mut SourceHarness, kind: &str) -> Record {
    let of_kind = |record: &Record| {
        field(record, "message_type").and_then(Value::as_str) == Some(kind) && field(record, "metric").is_some()
    };
    let found = entry(harness, |entry| record(entry).is_some_and(of_kind));
    record(&found).unwrap().clone()
}

#[test]
fn a_node_that_nobody_knows_is_asked_and_then_known() {
    let broker = Mosquitto::start();
    let sparkplug = [
        ("mqtt.topics", "spBv1.0/#"),
        ("mqtt.value.format", "sparkplug_b"),
        ("mqtt.sparkplug.rebirth", "names"),
        ("kafka.topic", "plant"),
        ("tasks.max", "1"),
    ];
    let mut harness = SourceHarness::new(&SOURCE, config(&broker.uri(), &sparkplug, &[])).unwrap();
    harness.start().unwrap();
    while harness.offsets.all().is_empty() {
        harness.poll().unwrap();
        harness.settle();
    }
    let mut commands = broker.listen("spBv1.0/+/NCMD/#");
    // The metric with alias 1 is 5, in the field of whole numbers.
    let data = b"\x12\x04\x10\x01\x50\x05\x18\x01";
    let publish = |topic: &str, payload: &[u8]| broker.publish_with(&["-t", topic, "-q", "1", "-s"], payload);
    publish("spBv1.0/plant/NDATA/press", data);
    let unknown = metric(&mut harness, "NDATA");
    assert_eq!((field(&unknown, "metric"), field(&unknown, "alias")), (Some(&Value::Null), Some(&Value::I64(1))));

    // Its own filter has the source hear the command as well, once it is out.
    assert_eq!(field(&metric(&mut harness, "NCMD"), "value"), Some(&Value::Bool(true)));
    let (topic, command) = commands.messages(1).remove(0);
    assert_eq!(topic, "spBv1.0/plant/NCMD/press");
    assert!(command.windows(20).any(|part| part == b"Node Control/Rebirth"));

    // A birth: the metric "level" with alias 1 is an Int16.
    publish("spBv1.0/plant/NBIRTH/press", b"\x12\x0d\x0a\x05level\x10\x01\x20\x02\x50\x04\x18\x00");
    let born = metric(&mut harness, "NBIRTH");
    assert_eq!(field(&born, "value"), Some(&Value::I16(4)));
    publish("spBv1.0/plant/NDATA/press", data);
    let known = metric(&mut harness, "NDATA");
    assert_eq!(
        (field(&known, "metric").unwrap().as_str(), field(&known, "value")),
        (Some("level"), Some(&Value::I16(5)))
    );
    assert_eq!((&*known.topic, known.key.value.as_str()), ("plant", Some("plant/press/level")));
    assert_eq!(known.headers.last("sparkplug.node").unwrap().value.as_str(), Some("press"));

    publish("spBv1.0/plant/NDATA/press", b"{\"level\": 5}");
    let refused = entry(&mut harness, |entry| bad(entry).is_some());
    let text = bad(&refused).unwrap().chain();
    assert!(text.contains("12 bytes on the topic spBv1.0/plant/NDATA/press"), "{text}");

    let number = |name: &'static str| harness.bench.numbers.get(name, &["0"]);
    assert_eq!(number("mqtt_source_sparkplug_rebirths_total"), Some(1));
    assert_eq!(number("mqtt_source_sparkplug_unknown_total"), Some(1));
    let begun = Instant::now();
    while harness.bench.numbers.get("mqtt_source_held_messages", &["0"]) != Some(0) {
        assert!(begun.elapsed() < PATIENCE, "each message is settled once all its records are");
        harness.poll().unwrap();
        harness.settle();
    }
    harness.stop().unwrap();
}

#[test]
fn what_waits_for_its_birth_is_not_acknowledged_until_it_is_in_kafka() {
    let broker = Mosquitto::start();
    let sparkplug = [
        ("mqtt.topics", "spBv1.0/#"),
        ("mqtt.value.format", "sparkplug_b"),
        ("mqtt.sparkplug.unknown", "buffer"),
        ("kafka.topic", "plant"),
        ("tasks.max", "1"),
    ];
    let started = || source(config(&broker.uri(), &sparkplug, &[]));
    let publish = |topic: &str, payload: &[u8]| broker.publish_with(&["-t", topic, "-q", "1", "-s"], payload);
    let held =
        |count: i64| move |harness: &SourceHarness, _: &[String]| number(harness, "mqtt_source_held_messages") == count;
    let mut harness = started();
    poll_until(&mut harness, &mut Vec::new(), subscribed);
    publish("spBv1.0/plant/NDATA/press", b"\x12\x04\x10\x01\x50\x05\x18\x01");
    let mut seen = Vec::new();
    poll_until(&mut harness, &mut seen, held(1));
    assert!(seen.is_empty());
    harness.stop().unwrap();

    // Another start has it again, and what is born in the meantime names it.
    let mut harness = started();
    publish("spBv1.0/plant/NBIRTH/press", b"\x12\x0d\x0a\x05level\x10\x01\x20\x02\x50\x04\x18\x00");
    let known = metric(&mut harness, "NDATA");
    assert_eq!(field(&known, "metric").unwrap().as_str(), Some("level"));
    poll_until(&mut harness, &mut Vec::new(), held(0));
    assert_eq!(number(&harness, "mqtt_source_sparkplug_unknown_total"), 0);
    harness.stop().unwrap();
}
