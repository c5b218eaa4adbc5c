//! Connectors, statuses and offsets in Kafka topics, in the records of Apache's distributed worker. The embedded broker
//! holds them here; `on_apache_kafka/swap.rs` has both workers take turns.

use std::fs;
use std::path::Path;
use std::time::Duration;

use pipette::kafka::admin::NewTopics;
use pipette::kafka::compacted::CompactedTopic;
use pipette_api::ErrorKind;
use pipette_broker::Broker;
use serde_json::{Value, json};

use crate::support::connect::distributed;
use crate::support::rest::Rest;
use crate::support::topic;
use crate::support::worker::Worker;
use crate::support::{embedded, free_ports, wait};

const PATIENCE: Duration = Duration::from_secs(30);
const COMPACT: [(&str, &str); 1] = [("cleanup.policy", "compact")];

/// A broker, and a worker that has not been started.
fn place(folder: &Path) -> (Broker, Worker) {
    let broker = embedded::broker(folder);
    let worker = worker(folder, &broker.address().to_string(), &[]);
    (broker, worker)
}

/// A worker of the one group here, which notices soon when another one has died.
fn worker(folder: &Path, bootstrap: &str, more: &[(&str, &str)]) -> Worker {
    let keys = distributed("connect");
    let keys = keys.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let session = [("session.timeout.ms", "3000"), ("heartbeat.interval.ms", "500")];
    let keys: Vec<(&str, &str)> = keys.chain(session).chain(more.iter().copied()).collect();
    Worker::prepare(folder, bootstrap, &keys)
}

fn put(rest: &Rest, path: &str, body: &Value) -> Value {
    let answer = rest.put(path, body).expect("an answer");
    assert!(answer.status < 300, "{path}: {answer:?}");
    answer.body
}

fn shows(rest: &Rest, name: &str, state: &str, tasks: &[&str]) {
    wait::until(&format!("{name} to be {state}"), PATIENCE, || {
        let status = rest.get(&format!("/connectors/{name}/status")).map_err(|error| error.to_string())?.body;
        let found: Vec<&Value> = status["tasks"].as_array().into_iter().flatten().map(|task| &task["state"]).collect();
        if status["connector"]["state"] == state && found == tasks { Ok(()) } else { Err(status.to_string()) }
    });
}

fn source(folder: &Path, name: &str) -> Value {
    json!({"connector.class": "FileStreamSource", "file": folder.join("in.txt"), "topic": name, "name": name})
}

/// The last value of each key.
fn table(bootstrap: &str, topic: &str) -> std::collections::BTreeMap<String, Value> {
    let mut table = std::collections::BTreeMap::new();
    for row in topic::committed(bootstrap, topic) {
        match row.value {
            Some(value) => table.insert(row.key, serde_json::from_str(&value).expect("JSON")),
            None => table.remove(&row.key),
        };
    }
    table
}

#[test]
fn a_worker_starts_on_the_topics_that_apaches_worker_has_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let (broker, mut worker) = place(folder.path());
    let bootstrap = broker.address().to_string();
    for (name, partitions) in [("connect-configs", 1), ("connect-offsets", 3), ("connect-status", 2)] {
        topic::create(&bootstrap, name, partitions, &COMPACT);
    }
    for line in include_str!("../java/recorded/internal-topics.jsonl").lines() {
        let row: Value = serde_json::from_str(line).expect("JSON");
        let text = |member: &str| row[member].as_str().unwrap_or_default();
        let partition = i32::try_from(row["partition"].as_i64().expect("a number")).expect("a small one");
        match row["value"].as_str() {
            Some(value) => topic::write(&bootstrap, text("topic"), partition, text("key"), value),
            None => topic::take_away(&bootstrap, text("topic"), partition, text("key")),
        }
    }
    worker.start();
    let rest = worker.rest();
    assert_eq!(rest.get("/connectors").expect("an answer").body, json!(["bad", "src", "stopped"]));
    shows(rest, "src", "STOPPED", &[]);
    shows(rest, "stopped", "STOPPED", &[]);
    let offsets = rest.get("/connectors/src/offsets").expect("an answer").body;
    assert_eq!(offsets, json!({"offsets": []}), "it was taken away");
    let topics = rest.get("/connectors/src/topics").expect("an answer").body;
    assert_eq!(topics, json!({"src": {"topics": ["t1"]}}));
    // Its configuration names a predicate that does not exist; there and here it fails, and nothing else.
    wait::until("the bad one to fail", PATIENCE, || {
        let status = rest.get("/connectors/bad/status").expect("an answer").body;
        if status.to_string().contains("FAILED") { Ok(()) } else { Err(status.to_string()) }
    });
    let log = worker.log();
    assert!(!log.contains("left out"), "{log}");

    fs::write(folder.path().join("in.txt"), "one\n").expect("a file");
    put(rest, "/connectors/src/config", &source(folder.path(), "src"));
    put(rest, "/connectors/src/resume", &json!(null));
    shows(rest, "src", "RUNNING", &["RUNNING"]);
    assert!(worker.stop().success());
    let configs = table(&bootstrap, "connect-configs");
    assert_eq!(configs["target-state-src"], json!({"state": "STARTED", "state.v2": "STARTED"}));
    assert_eq!(configs["commit-src"], json!({"tasks": 1}));
    let task = &configs["task-src-0"]["properties"];
    assert_eq!(task["task.class"], "org.apache.kafka.connect.file.FileStreamSourceTask");
    let statuses = table(&bootstrap, "connect-status");
    let address = worker.rest().address().to_owned();
    let said = |state: &str, version: Value| json!({"state": state, "trace": null, "worker_id": address, "generation": 0, "version": version});
    assert_eq!(statuses["status-connector-src"], said("UNASSIGNED", json!(null)), "{statuses:?}");
    assert_eq!(statuses["status-task-src-0"], said("UNASSIGNED", json!(null)));
    assert_eq!(statuses["status-connector-stopped"]["state"], "STOPPED");
    assert!(statuses.contains_key("status-topic-t1:connector-src"));
    assert!(statuses.contains_key("status-topic-src:connector-src"));
}

#[test]
fn what_is_wanted_of_connectors_outlives_the_state_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let (broker, mut worker) = place(folder.path());
    fs::write(folder.path().join("in.txt"), "one\n").expect("a file");
    worker.start();
    for name in ["runs", "rests", "ends", "goes"] {
        put(worker.rest(), &format!("/connectors/{name}/config"), &source(folder.path(), name));
        shows(worker.rest(), name, "RUNNING", &["RUNNING"]);
    }
    put(worker.rest(), "/connectors/rests/pause", &json!(null));
    put(worker.rest(), "/connectors/ends/stop", &json!(null));
    assert_eq!(worker.rest().send("DELETE", "/connectors/goes", None).expect("an answer").status, 204);
    let bootstrap = broker.address().to_string();
    wait::until("the statuses of the deleted one to go", PATIENCE, || {
        let statuses = table(&bootstrap, "connect-status");
        let left: Vec<&String> = statuses.keys().filter(|key| key.contains("goes")).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    worker.kill();
    fs::remove_dir_all(folder.path().join("state")).expect("the state is gone");
    worker.start();
    assert_eq!(worker.rest().get("/connectors").expect("an answer").body, json!(["ends", "rests", "runs"]));
    shows(worker.rest(), "runs", "RUNNING", &["RUNNING"]);
    shows(worker.rest(), "rests", "PAUSED", &["PAUSED"]);
    shows(worker.rest(), "ends", "STOPPED", &[]);
    assert!(worker.stop().success());
}

/// A worker that dies between the records of a plan leaves tasks without their commit.
#[test]
fn a_plan_that_was_torn_by_a_kill_counts_for_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (broker, mut worker) = place(folder.path());
    let bootstrap = broker.address().to_string();
    fs::write(folder.path().join("in.txt"), "one\ntwo\n").expect("a file");
    worker.start();
    put(worker.rest(), "/connectors/torn/config", &source(folder.path(), "torn"));
    shows(worker.rest(), "torn", "RUNNING", &["RUNNING"]);
    worker.kill();
    let properties = json!({"properties": {"file": "/nowhere", "topic": "elsewhere", "name": "torn"}}).to_string();
    topic::write(&bootstrap, "connect-configs", 0, "task-torn-0", &properties);
    topic::write(&bootstrap, "connect-configs", 0, "task-torn-1", &properties);
    worker.start();
    shows(worker.rest(), "torn", "RUNNING", &["RUNNING"]);
    let tasks = worker.rest().get("/connectors/torn/tasks").expect("an answer").body;
    assert_eq!(tasks[0]["config"]["topic"], "torn");
    // A commit of which a task is missing, as compaction leaves it: planned anew.
    worker.kill();
    topic::write(&bootstrap, "connect-configs", 0, "commit-torn", r#"{"tasks":2}"#);
    worker.start();
    shows(worker.rest(), "torn", "RUNNING", &["RUNNING"]);
    wait::until("the new plan", PATIENCE, || {
        match table(&bootstrap, "connect-configs")["commit-torn"]["tasks"].as_u64() {
            Some(1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert!(worker.stop().success());
}

/// Whatever REST has promised is there after a kill at any moment.
#[test]
fn no_connector_is_lost_by_kills_between_writes() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = embedded::broker_on(folder.path(), 0);
    let mut worker =
        worker(folder.path(), &broker.address().to_string(), &[("exactly.once.source.support", "preparing")]);
    fs::write(folder.path().join("in.txt"), "").expect("a file");
    let mut promised = Vec::new();
    for round in 0..4_usize {
        worker.start();
        let address = worker.rest().address().to_owned();
        let port = address.rsplit(':').next().expect("a port").parse().expect("a number");
        let config = source(folder.path(), "t");
        let posting = std::thread::spawn(move || {
            let (rest, mut taken) = (Rest::new(port), Vec::new());
            for number in 0..1_000 {
                let name = format!("c-{round}-{number}");
                let mut config = config.clone();
                config["name"] = json!(name);
                match rest.put(&format!("/connectors/{name}/config"), &config) {
                    Ok(answer) if answer.status == 201 => taken.push(name),
                    _ => break,
                }
            }
            taken
        });
        wait::moment(Duration::from_millis(250 + 130 * u64::try_from(round).expect("a round")));
        worker.kill();
        promised.append(&mut posting.join().expect("names"));
    }
    assert!(promised.len() > 20, "{} connectors prove nothing", promised.len());
    worker.start();
    let found = worker.rest().get("/connectors").expect("an answer").body;
    let found: Vec<&str> = found.as_array().expect("names").iter().filter_map(Value::as_str).collect();
    let lost: Vec<_> = promised.iter().filter(|name| !found.contains(&name.as_str())).collect();
    assert!(lost.is_empty(), "{lost:?} of {} are lost", promised.len());
    let ids = topic::committed(&broker.address().to_string(), "connect-configs");
    assert!(ids.len() >= promised.len());
    assert!(worker.stop().success());
}

#[test]
fn topics_that_would_lose_connectors_stop_the_worker() {
    let compact_and_delete = [("cleanup.policy", "compact,delete")];
    for (name, partitions, settings, part) in [
        (
            "connect-configs",
            1,
            &compact_and_delete,
            "config.storage.topic: Topic connect-configs has cleanup.policy=compact,",
        ),
        (
            "connect-configs",
            2,
            &COMPACT,
            "config.storage.topic: Topic connect-configs has 2 partitions and must have one",
        ),
        (
            "connect-status",
            1,
            &compact_and_delete,
            "status.storage.topic: Topic connect-status has cleanup.policy=compact,",
        ),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let (broker, mut worker) = place(folder.path());
        topic::create(&broker.address().to_string(), name, partitions, settings);
        worker.spawn();
        assert_eq!(worker.wait().code(), Some(2));
        assert!(worker.log().contains(part), "{part}: {}", worker.log());
    }
}

#[test]
fn a_kafka_that_comes_later_is_waited_for_with_rest_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let [port] = free_ports();
    let mut worker = worker(folder.path(), &format!("127.0.0.1:{port}"), &[]);
    worker.start();
    assert!(worker.log().contains("Connectors wait for their topics"), "{}", worker.log());
    assert!(worker.stop().success(), "whoever waits can be stopped");
    worker.start();
    let broker = embedded::broker_on(folder.path(), port);
    wait::until("the connectors", PATIENCE, || match worker.rest().get("/connectors") {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert!(worker.stop().success());
    drop(broker);
}

#[test]
fn a_connector_too_large_for_its_topic_is_refused_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_broker, mut worker) = place(folder.path());
    worker.start();
    let mut large = source(folder.path(), "large");
    large["what.for"] = json!("x".repeat(1_500_000));
    let answer = worker.rest().put("/connectors/large/config", &large).expect("an answer");
    let text = answer.body.to_string();
    assert_eq!(answer.status, 500, "{text}");
    assert!(text.contains("larger than topic connect-configs takes") && text.contains("max.message.bytes"), "{text}");
    put(worker.rest(), "/connectors/small/config", &source(folder.path(), "small"));
    assert_eq!(worker.rest().get("/connectors").expect("an answer").body, json!(["small"]));
    assert!(worker.stop().success());
}

/// It was frozen, another one has taken its place, and it comes back.
#[test]
fn a_worker_that_was_taken_for_dead_stands_down() {
    let folder = tempfile::tempdir().expect("a folder");
    let (broker, mut zombie) = place(folder.path());
    fs::write(folder.path().join("in.txt"), "one\n").expect("a file");
    zombie.start();
    put(zombie.rest(), "/connectors/one/config", &source(folder.path(), "one"));
    shows(zombie.rest(), "one", "RUNNING", &["RUNNING"]);
    let other = folder.path().join("other");
    fs::create_dir(&other).expect("a folder");
    let mut next = worker(&other, &broker.address().to_string(), &[]);
    next.spawn();
    assert_eq!(next.wait().code(), Some(2));
    assert!(
        next.log().contains("group.id: another worker runs in group connect (client connect-pipette-"),
        "{}",
        next.log()
    );

    zombie.signal("STOP");
    next.start();
    shows(next.rest(), "one", "RUNNING", &["RUNNING"]);
    zombie.signal("CONT");
    assert_eq!(zombie.wait().code(), Some(3));
    assert!(zombie.log().contains("This worker has lost its place"), "{}", zombie.log());
    shows(next.rest(), "one", "RUNNING", &["RUNNING"]);
    assert!(next.stop().success());
}

/// It saw the other one, and was frozen for longer than a start waits for its topics.
#[test]
fn a_worker_that_stands_still_beside_another_does_not_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let (broker, mut first) = place(folder.path());
    first.start();
    let other = folder.path().join("other");
    fs::create_dir(&other).expect("a folder");
    let mut second = worker(&other, &broker.address().to_string(), &[]);
    second.spawn();
    wait::until("a look at the group", PATIENCE, || {
        let log = second.log();
        if log.contains("Waiting for another worker") { Ok(()) } else { Err(log) }
    });
    second.signal("STOP");
    wait::moment(Duration::from_secs(14));
    second.signal("CONT");
    assert_eq!(second.wait().code(), Some(2), "{}", second.log());
    assert!(!second.log().contains("Worker started"), "{}", second.log());
    assert!(first.stop().success());
}

/// Whoever takes over has to know how many tasks may still write in transactions.
#[test]
fn with_exactly_once_it_is_written_how_many_tasks_have_to_be_fenced() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = embedded::broker_on(folder.path(), 0);
    let bootstrap = broker.address().to_string();
    let mut worker = worker(folder.path(), &bootstrap, &[("exactly.once.source.support", "enabled")]);
    topic::create(&bootstrap, "connect-configs", 1, &COMPACT);
    topic::write(&bootstrap, "connect-configs", 0, "tasks-fencing-many", r#"{"task-count":3}"#);
    fs::write(folder.path().join("in.txt"), "one\n").expect("a file");
    worker.start();
    for name in ["one", "many"] {
        put(worker.rest(), &format!("/connectors/{name}/config"), &source(folder.path(), name));
    }
    let sink = json!({"connector.class": "FileStreamSink", "topics": "one", "file": folder.path().join("out.txt")});
    put(worker.rest(), "/connectors/sink/config", &sink);
    for name in ["one", "many", "sink"] {
        shows(worker.rest(), name, "RUNNING", &["RUNNING"]);
    }
    let configs = table(&bootstrap, "connect-configs");
    assert_eq!(configs["tasks-fencing-one"], json!({"task-count": 1}));
    assert_eq!(configs["tasks-fencing-many"], json!({"task-count": 3}), "two of them may write until they are fenced");
    assert!(!configs.contains_key("tasks-fencing-sink"));
    assert!(worker.stop().success());
}

#[test]
fn a_writer_in_transactions_that_was_taken_over_from_writes_no_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let [port] = free_ports();
    let broker = embedded::broker_on(folder.path(), port);
    let bootstrap = broker.address().to_string();
    let properties = [("bootstrap.servers".to_owned(), bootstrap.clone())].into();
    let how = NewTopics { partitions: 1, replication_factor: None, config: [].into() };
    let writer = || CompactedTopic::transactional("t", &properties, how.clone(), "leader".into()).expect("a topic");
    let row = |text: &str| [(text.as_bytes().to_vec(), Some(b"{}".to_vec()))];
    topic::create(&bootstrap, "t", 1, &COMPACT);
    let (first, second) = (writer(), writer());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        first.take_over().await.expect("it is the first");
        assert_eq!(first.write(row("kept").iter()).await.expect("it is written").len(), 1);
        let large = [(b"large".to_vec(), Some(vec![b' '; 2_000_000]))];
        let refused = first.write(row("with it").iter().chain(&large)).await.expect_err("one row is too large");
        assert!(refused.kind() == ErrorKind::Data && refused.to_string().contains("larger than topic t"), "{refused}");
        first.write(row("kept too").iter()).await.expect("it goes on");
        drop(broker);
        let away = first.write(row("perhaps").iter()).await.expect_err("Kafka is away");
        assert_eq!(away.kind(), ErrorKind::Retriable, "{away}");
        let _broker = embedded::broker_on(folder.path(), port);
        let mut attempts = 0;
        while let Err(error) = first.write(row("after").iter()).await {
            attempts += 1;
            assert!(error.kind() == ErrorKind::Retriable && attempts < 10, "{error}");
        }
        second.take_over().await.expect("it takes over");
        let lost = first.write(row("lost").iter()).await.expect_err("it was taken over from");
        assert!(lost.kind() == ErrorKind::Fatal && lost.to_string().contains("it has taken over"), "{lost}");
        second.write(row("new").iter()).await.expect("it is written");
        let mut keys: Vec<String> = topic::committed(&bootstrap, "t").into_iter().map(|row| row.key).collect();
        keys.retain(|key| key != "perhaps");
        assert_eq!(keys, ["kept", "kept too", "after", "new"]);
    });
}
