//! A Kafka that does not answer: status says so within seconds, with the cause once it is known, until it answers.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::told::BrokerProcess;
use crate::support::worker::Worker;
use crate::support::{topic, wait};

/// What the design allows before silence is told, and what a busy machine may add.
const TOLD: Duration = Duration::from_secs(5 + 3);
const PATIENCE: Duration = Duration::from_secs(40);

fn health(worker: &Worker, name: &str) -> Value {
    worker.rest().get(&format!("/connectors/{name}/status")).unwrap().body["tasks"][0]["health"].clone()
}

fn wait_for(worker: &Worker, name: &str, limit: Duration, is_right: impl Fn(&str) -> bool) {
    wait::until(&format!("the health of {name}"), limit, || {
        let health = health(worker, name);
        if is_right(health.as_str().unwrap_or_default()) { Ok(()) } else { Err(health.to_string()) }
    });
}

fn append(file: &Path, line: &str) {
    let mut file = std::fs::File::options().create(true).append(true).open(file).unwrap();
    writeln!(file, "{line}").unwrap();
}

#[test]
fn a_kafka_that_stops_answering_is_told_and_forgotten_when_it_answers() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("in.txt"), folder.path().join("out.txt"));
    let mut broker = BrokerProcess::start(folder.path());
    let mut worker = Worker::prepare(folder.path(), &broker.address(), &[]);
    worker.start();
    let create = |name: &str, config: Value| {
        let made = worker.rest().put(&format!("/connectors/{name}/config"), &config).unwrap();
        assert_eq!(made.status, 201, "{made:?}");
    };
    append(&input, "one");
    create("lab-in", json!({"connector.class": "FileStreamSource", "file": input, "topic": "t"}));
    create("lab-out", json!({"connector.class": "FileStreamSink", "file": output, "topics": "t"}));
    let arrived = |lines: usize| {
        wait::until("lines that went round", PATIENCE, || {
            let text = std::fs::read_to_string(&output).unwrap_or_default();
            if text.lines().count() >= lines { Ok(()) } else { Err(text) }
        });
    };
    arrived(1);
    assert_eq!((health(&worker, "lab-in"), health(&worker, "lab-out")), (Value::Null, Value::Null));

    broker.signal("STOP");
    append(&input, "two");
    let stopped = Instant::now();
    wait_for(&worker, "lab-in", TOLD, |health| health.starts_with("no acknowledgement from Kafka for "));
    wait_for(&worker, "lab-out", TOLD, |health| health.starts_with("no answer from Kafka for "));
    assert!(stopped.elapsed() < TOLD, "{:?}", stopped.elapsed());
    let metrics = worker.rest().get("/metrics").unwrap().body.to_string();
    assert!(metrics.contains("pipette_task_kafka_silent{connector=\\\"lab-in\\\",task=\\\"0\\\"} 1"), "{metrics}");
    broker.signal("CONT");
    for name in ["lab-in", "lab-out"] {
        wait_for(&worker, name, PATIENCE, str::is_empty);
    }
    arrived(2);

    broker.kill();
    append(&input, "three");
    let cause = |health: &str| health.contains(" s: no broker can be reached: ") && health.contains("refused");
    wait_for(&worker, "lab-in", PATIENCE, cause);
    wait_for(&worker, "lab-out", PATIENCE, cause);
    broker.launch();
    for name in ["lab-in", "lab-out"] {
        wait_for(&worker, name, PATIENCE, str::is_empty);
    }
    arrived(3);
    assert!(worker.stop().success());
}

/// A member that was killed counts until its session ends, and the next one has to wait for that long. Kafka is well.
#[test]
fn a_sink_that_waits_for_the_member_it_was_before_a_kill_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.txt");
    let broker = BrokerProcess::start(folder.path());
    let mut worker = Worker::prepare(folder.path(), &broker.address(), &[]);
    worker.start();
    let config = json!({
        "connector.class": "FileStreamSink", "file": output, "topics": "t",
        "consumer.override.session.timeout.ms": "12000",
    });
    let made = worker.rest().put("/connectors/lab-out/config", &config).unwrap();
    assert_eq!(made.status, 201, "{made:?}");
    topic::write(&broker.address(), "t", 0, "k", "one");
    let arrived = |lines: usize| {
        wait::until("lines in the file", PATIENCE, || {
            let text = std::fs::read_to_string(&output).unwrap_or_default();
            if text.lines().count() >= lines { Ok(()) } else { Err(text) }
        });
    };
    arrived(1);
    worker.kill();
    worker.start();
    topic::write(&broker.address(), "t", 0, "k", "two");
    wait::until("the wait to be told", PATIENCE, || {
        let health = health(&worker, "lab-out");
        let health = health.as_str().unwrap_or_default();
        assert!(!health.starts_with("no answer"), "{health}");
        if health.starts_with("waits to join its consumer group for ") { Ok(()) } else { Err(health.to_owned()) }
    });
    let metrics = worker.rest().get("/metrics").unwrap().body.to_string();
    assert!(metrics.contains("pipette_task_kafka_silent{connector=\\\"lab-out\\\",task=\\\"0\\\"} 0"), "{metrics}");
    arrived(2);
    wait_for(&worker, "lab-out", PATIENCE, str::is_empty);
    assert!(worker.stop().success());
}

/// Its good records have a client of their own, which waits for nothing.
#[test]
fn dead_letters_that_kafka_does_not_take_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.txt");
    let broker = BrokerProcess::start(folder.path());
    let mut worker = Worker::prepare(folder.path(), &broker.address(), &[]);
    worker.start();
    append(&input, "no number");
    let config = json!({
        "connector.class": "FileStreamSource", "file": input, "topic": "t",
        "transforms": "number", "transforms.number.type": "org.apache.kafka.connect.transforms.Cast$Value",
        "transforms.number.spec": "int32", "errors.tolerance": "all",
        "errors.deadletterqueue.topic.name": "letters", "errors.deadletterqueue.topic.replication.factor": 1,
    });
    let made = worker.rest().put("/connectors/lab-in/config", &config).unwrap();
    assert_eq!(made.status, 201, "{made:?}");
    wait::until("the first letter", PATIENCE, || {
        let metrics = worker.rest().get("/metrics").unwrap().body.to_string();
        let sent = "deadletterqueue_produce_requests{connector=\\\"lab-in\\\",task=\\\"0\\\"} 1";
        if metrics.contains(sent) { Ok(()) } else { Err(metrics) }
    });
    broker.signal("STOP");
    append(&input, "none either");
    wait_for(&worker, "lab-in", TOLD, |health| health.starts_with("no acknowledgement from Kafka for "));
    broker.signal("CONT");
    wait_for(&worker, "lab-in", PATIENCE, str::is_empty);
    assert!(worker.stop().success());
}
