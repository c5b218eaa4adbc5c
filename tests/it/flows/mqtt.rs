//! MQTT in and out: a real Mosquitto at one end, the embedded broker at the other.

use std::time::Duration;

use pipette::settings::dead_letters::DeadLetterTopic;
use pipette::task::TaskNews;
use pipette::task::spec::ErrorPolicy;
use pipette_api::{Plugin, SinkPlugin, SourcePlugin};

use super::stage::{PATIENCE, Stage};
use crate::support::mosquitto::Mosquitto;
use crate::support::{topic, wait};

fn source() -> &'static SourcePlugin {
    let [Plugin::Source(source), ..] = connector_mqtt::PLUGINS else { panic!("a source and a sink") };
    source
}

fn sink() -> &'static SinkPlugin {
    let [_, _, Plugin::Sink(sink), ..] = connector_mqtt::PLUGINS else { panic!("a source and a sink") };
    sink
}

fn texts(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name}-{number:04}")).collect()
}

fn write(stage: &Stage, values: &[String]) {
    for value in values {
        topic::write(&stage.bootstrap(), "orders", 0, "", value);
    }
}

fn await_values(stage: &Stage, name: &str, expected: &[String]) {
    let bootstrap = stage.bootstrap();
    wait::until("every message in the topic", PATIENCE, || match topic::values(&bootstrap, name) {
        values if values == expected => Ok(()),
        values => Err(format!("{} values, the last {:?}", values.len(), values.last())),
    });
}

#[test]
fn messages_arrive_and_are_acknowledged_only_when_kafka_has_them() {
    let mosquitto = Mosquitto::start();
    let mut stage = Stage::new();
    stage.flush_interval = Duration::from_millis(100);
    let uri = mosquitto.uri();
    let config = [("mqtt.server.uri", uri.as_str()), ("mqtt.topics", "lab/#"), ("kafka.topic", "lab")];
    let task = stage.source("plant", source(), &config);
    wait::until("the session's offset", PATIENCE, || match stage.stored("plant") {
        1 => Ok(()),
        count => Err(format!("{count} offsets")),
    });
    let mut expected = texts("a", 300);
    mosquitto.publish("lab/reader", 1, &expected);
    await_values(&stage, "lab", &expected);
    stage.stop("plant", &task);
    // What comes while the task is away waits at the broker.
    let more = texts("b", 50);
    mosquitto.publish("lab/reader", 1, &more);
    expected.extend(more);
    let task = stage.source("plant", source(), &config);
    await_values(&stage, "lab", &expected);
    stage.stop("plant", &task);
    let keys = topic::records(&stage.bootstrap(), "lab");
    assert!(keys.iter().all(|record| record.key.as_deref() == Some("lab/reader")), "{:?}", keys.first());
}

#[test]
fn a_dead_letter_says_on_which_topic_the_message_was() {
    let mosquitto = Mosquitto::start();
    let mut stage = Stage::new();
    stage.flush_interval = Duration::from_millis(100);
    stage.errors = ErrorPolicy { tolerate: true, ..ErrorPolicy::default() };
    stage.dead_letters = Some(DeadLetterTopic { name: "dead".into(), replication_factor: None, context: None });
    let uri = mosquitto.uri();
    let config = [
        ("mqtt.server.uri", uri.as_str()),
        ("mqtt.topics", "lab/#"),
        ("kafka.topic", "lab"),
        ("mqtt.value.format", "json"),
        ("mqtt.headers.include", ""),
    ];
    let task = stage.source("plant", source(), &config);
    wait::until("the session's offset", PATIENCE, || match stage.stored("plant") {
        1 => Ok(()),
        count => Err(format!("{count} offsets")),
    });
    mosquitto.publish("lab/oven 7/gauge", 1, &["{\"t\": 9223372036854775808}".to_owned()]);
    let bootstrap = stage.bootstrap();
    let letter = wait::until("the letter", PATIENCE, || match topic::records(&bootstrap, "dead").pop() {
        Some(letter) => Ok(letter),
        None => Err("none".into()),
    });
    assert_eq!(letter.value.as_deref(), Some("{\"t\": 9223372036854775808}"));
    let place = letter.header("__connect.errors.source.offset");
    assert!(place.contains(r#""topic":"lab/oven 7/gauge""#), "{place}");
    let message = letter.header("__connect.errors.exception.message");
    assert!(message.contains("on the topic lab/oven 7/gauge") && message.contains("beyond 64 bits"), "{message}");
    mosquitto.publish("lab/oven 7/gauge", 1, &["\"good\"".to_owned()]);
    wait::until("the next", PATIENCE, || match stage.offset("plant", "received") {
        Some(2) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    stage.stop("plant", &task);
}

#[test]
fn a_broker_that_is_away_is_named_and_waited_for() {
    let mut mosquitto = Mosquitto::start();
    mosquitto.stop();
    let mut stage = Stage::new();
    let uri = mosquitto.uri();
    let config = [("mqtt.server.uri", uri.as_str()), ("mqtt.topics", "lab/#"), ("kafka.topic", "lab")];
    let task = stage.source("plant", source(), &config);
    let trace = stage.hear("plant", |news| matches!(news, TaskNews::Waiting { .. }));
    assert!(trace.contains(&format!("{uri} cannot be reached: Connection refused")), "{trace}");
    mosquitto.run();
    stage.hear("plant", |news| matches!(news, TaskNews::Running));
    stage.stop("plant", &task);
}

#[test]
fn records_are_published_and_committed_behind_the_acknowledgement() {
    let mut mosquitto = Mosquitto::start();
    let mut stage = Stage::new();
    stage.flush_interval = Duration::from_millis(100);
    let uri = mosquitto.uri();
    let expected = texts("o", 60);
    write(&stage, &expected);
    let mut listener = mosquitto.listen("out/#");
    let config = [("mqtt.server.uri", uri.as_str()), ("topics", "orders"), ("mqtt.topic", "out/${topic}")];
    let task = stage.sink("orders", sink(), &config);
    let came = listener.messages(expected.len());
    let payloads: Vec<_> = came.iter().map(|(_, payload)| String::from_utf8_lossy(payload).into_owned()).collect();
    assert_eq!(payloads, expected);
    let committed = |stage: &Stage| stage.committed("orders").into_values().sum::<i64>();
    wait::until("a commit", PATIENCE, || match committed(&stage) {
        60 => Ok(()),
        offset => Err(offset.to_string()),
    });
    mosquitto.kill();
    write(&stage, &texts("p", 10));
    wait::until("a lost connection", PATIENCE, || {
        if stage.metrics().contains(r#"mqtt_sink_connected{connector="orders",task="0"} 0"#) {
            Ok(())
        } else {
            Err(stage.metrics())
        }
    });
    assert_eq!(committed(&stage), 60, "nothing is committed that the broker does not have");
    mosquitto.run();
    wait::until("the rest", PATIENCE, || match committed(&stage) {
        70 => Ok(()),
        offset => Err(offset.to_string()),
    });
    stage.stop("orders", &task);
}
