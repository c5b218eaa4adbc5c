//! Source offsets in a Kafka topic: a worker file of Apache's distributed worker is followed, to the byte.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::support::embedded;
use crate::support::topic::{self, Stored};
use crate::support::wait;
use crate::support::worker::Worker;

const PATIENCE: Duration = Duration::from_secs(30);
/// Three partitions, as the recorded worker of Apache had.
const DISTRIBUTED: [(&str, &str); 3] =
    [("group.id", "lab"), ("offset.storage.topic", "connect-offsets"), ("offset.storage.partitions", "3")];

fn wait_for_offset(worker: &Worker, name: &str, position: usize) {
    wait::until("the offset of everything", PATIENCE, || {
        let offsets = worker.rest().get(&format!("/connectors/{name}/offsets")).expect("an answer").body;
        if offsets["offsets"][0]["offset"]["position"] == json!(position) { Ok(()) } else { Err(offsets.to_string()) }
    });
}

fn post_lines(worker: &Worker, name: &str, file: &Path) {
    let config = json!({"connector.class": "FileStreamSource", "file": file, "topic": name});
    let body = json!({"name": name, "config": config});
    assert_eq!(worker.rest().send("POST", "/connectors", Some(&body)).expect("an answer").status, 201);
}

/// A worker whose connector `src` has read two lines of the file.
fn after_two_lines(folder: &Path, bootstrap: &str, file: &Path) -> Worker {
    let mut worker = Worker::prepare(folder, bootstrap, &DISTRIBUTED);
    fs::write(file, "one\ntwo\n").expect("a file");
    worker.start();
    post_lines(&worker, "src", file);
    wait_for_offset(&worker, "src", 8);
    worker
}

#[test]
fn offsets_stand_in_the_topic_as_apaches_worker_writes_them_and_outlive_the_state_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = embedded::broker(folder.path());
    let bootstrap = broker.address().to_string();
    let file = folder.path().join("in.txt");
    let mut worker = after_two_lines(folder.path(), &bootstrap, &file);
    let key = format!(r#"["src",{{"filename":"{}"}}]"#, file.display());
    let stored = topic::committed(&bootstrap, "connect-offsets");
    assert_eq!((stored[0].key.as_str(), stored[0].value.as_deref()), (key.as_str(), Some(r#"{"position":8}"#)));

    worker.kill();
    fs::remove_dir_all(folder.path().join("state")).expect("the state is gone");
    fs::write(&file, "one\ntwo\nthree\n").expect("another line");
    worker.start();
    post_lines(&worker, "src", &file);
    wait_for_offset(&worker, "src", 14);
    assert_eq!(topic::values(&bootstrap, "src"), ["one", "two", "three"], "it went on from the topic's offset");
}

#[test]
fn a_worker_goes_on_where_apaches_left_off_and_keeps_its_keys_and_partitions() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = embedded::broker(folder.path());
    let bootstrap = broker.address().to_string();
    let file = folder.path().join("in.txt");
    fs::write(&file, "one\ntwo\nthree\n").expect("a file");
    // Another order or spacing of the same key, as a hash map of Java may have it.
    let key = format!(r#"["src", {{"filename":"{}"}}]"#, file.display());
    topic::create(&bootstrap, "connect-offsets", 1, &[("cleanup.policy", "compact")]);
    topic::write(&bootstrap, "connect-offsets", 0, &key, r#"{"position":8}"#);
    topic::write(&bootstrap, "connect-offsets", 0, r#"["src",null]"#, "{}");
    topic::write(&bootstrap, "connect-offsets", 0, "no key", "{}");

    let mut worker = Worker::prepare(folder.path(), &bootstrap, &DISTRIBUTED);
    worker.start();
    post_lines(&worker, "src", &file);
    wait_for_offset(&worker, "src", 14);
    assert_eq!(topic::values(&bootstrap, "src"), ["three"]);
    let stored = topic::committed(&bootstrap, "connect-offsets");
    let last = Stored { partition: 0, key, value: Some(r#"{"position":14}"#.into()) };
    assert_eq!(stored.last(), Some(&last), "compaction drops the row it replaces");
    assert!(worker.stop().success());
}

#[test]
fn a_connector_that_gets_a_topic_of_its_own_goes_on_from_the_workers() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = embedded::broker(folder.path());
    let bootstrap = broker.address().to_string();
    let file = folder.path().join("in.txt");
    let mut worker = after_two_lines(folder.path(), &bootstrap, &file);

    assert_eq!(worker.rest().put("/connectors/src/stop", &json!(null)).expect("an answer").status, 204);
    wait::until("the task's end", PATIENCE, || {
        let tasks = &worker.rest().get("/connectors/src/status").expect("an answer").body["tasks"];
        if *tasks == json!([]) { Ok(()) } else { Err(tasks.to_string()) }
    });
    let config = json!({
        "connector.class": "FileStreamSource", "file": file, "topic": "src", "offsets.storage.topic": "src-offsets",
    });
    assert_eq!(worker.rest().put("/connectors/src/config", &config).expect("an answer").status, 200);
    assert_eq!(worker.rest().put("/connectors/src/resume", &json!(null)).expect("an answer").status, 202);
    fs::write(&file, "one\ntwo\nthree\n").expect("another line");
    wait_for_offset(&worker, "src", 14);
    for topic in ["src-offsets", "connect-offsets"] {
        let last = topic::committed(&bootstrap, topic).pop().expect("an offset");
        assert_eq!(last.value.as_deref(), Some(r#"{"position":14}"#), "{topic}");
    }
    assert_eq!(topic::values(&bootstrap, "src"), ["one", "two", "three"]);
    assert!(worker.stop().success());
}

#[test]
fn a_topic_that_would_forget_offsets_stops_the_worker() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = embedded::broker(folder.path());
    let bootstrap = broker.address().to_string();
    topic::create(&bootstrap, "connect-offsets", 1, &[("cleanup.policy", "compact,delete")]);
    let mut worker = Worker::prepare(folder.path(), &bootstrap, &DISTRIBUTED);
    worker.spawn();
    assert!(!worker.wait().success());
    let log = fs::read_to_string(folder.path().join("worker.log")).expect("its log");
    assert!(log.contains("offset.storage.topic: Topic connect-offsets has cleanup.policy=compact,delete"), "{log}");
}

#[test]
fn a_worker_that_is_killed_in_mid_transaction_delivers_every_line_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = embedded::broker(folder.path());
    every_line_once(folder.path(), &broker.address().to_string());
}

/// Two workers of one group have the same connector: one was frozen, taken for dead, and comes back.
#[test]
fn a_worker_that_was_taken_for_dead_cannot_write_what_its_successor_has_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = embedded::broker(folder.path());
    let bootstrap = broker.address().to_string();
    let mut keys = DISTRIBUTED.to_vec();
    keys.push(("exactly.once.source.support", "enabled"));
    let file = folder.path().join("in.txt");
    let config = json!({
        "connector.class": "FileStreamSource", "file": file, "topic": "once", "batch.size": "20",
        "transaction.boundary": "interval", "transaction.boundary.interval.ms": "300",
    });
    let lines = |upto: usize| (0..upto).map(|line| format!("line {line}\n")).collect::<Vec<_>>().concat();
    let [first, second] = ["first", "second"].map(|name| {
        let own = folder.path().join(name);
        fs::create_dir(&own).expect("a folder");
        Worker::prepare(&own, &bootstrap, &keys)
    });
    let (mut zombie, mut successor) = (first, second);
    fs::write(&file, lines(3_000)).expect("a file");
    zombie.start();
    assert_eq!(zombie.rest().put("/connectors/once/config", &config).expect("an answer").status, 201);
    wait::until("some of the lines, committed or not", PATIENCE, || match topic::size_if_any(&bootstrap, "once") {
        0 => Err("none".to_owned()),
        _ => Ok(()),
    });
    zombie.signal("STOP");
    successor.start();
    assert_eq!(successor.rest().put("/connectors/once/config", &config).expect("an answer").status, 201);
    wait::until("the successor to take over", PATIENCE, || {
        let task = &successor.rest().get("/connectors/once/status").expect("an answer").body["tasks"][0];
        if task["state"] == "RUNNING" { Ok(()) } else { Err(task.to_string()) }
    });
    wait_for_offset(&successor, "once", lines(3_000).len());
    zombie.signal("CONT");
    fs::write(&file, lines(4_000)).expect("more lines");
    wait::until("the zombie's task to fail", PATIENCE, || {
        let task = &zombie.rest().get("/connectors/once/status").expect("an answer").body["tasks"][0];
        let trace = task["trace"].as_str().unwrap_or_default();
        if trace.contains("a newer start of it uses its transactional id lab-once-0") {
            Ok(())
        } else {
            Err(task.to_string())
        }
    });
    wait_for_offset(&successor, "once", lines(4_000).len());
    let stored = topic::committed(&bootstrap, "once").into_iter().map(|record| record.value.unwrap_or_default() + "\n");
    assert!(stored.collect::<String>() == lines(4_000), "every line once and in order");
}

/// Kills a worker in mid-transaction, again and again, while lines are added.
pub(crate) fn every_line_once(folder: &Path, bootstrap: &str) {
    let mut keys = DISTRIBUTED.to_vec();
    keys.push(("exactly.once.source.support", "enabled"));
    let mut worker = Worker::prepare(folder, bootstrap, &keys);
    let (file, mut text) = (folder.join("in.txt"), String::new());
    fs::write(&file, "").expect("a file");
    worker.start();
    let config = json!({
        "connector.class": "FileStreamSource", "file": file, "topic": "once", "batch.size": "50",
        "exactly.once.support": "required", "transaction.boundary": "interval", "transaction.boundary.interval.ms": "200",
    });
    let answer = worker.rest().put("/connectors/once/config", &config).expect("an answer");
    assert_eq!(answer.status, 201, "{answer:?}");
    for round in 0..6 {
        let before = topic::size_if_any(bootstrap, "once");
        text.extend((0..2_000).map(|line| format!("round {round} line {line}\n")));
        fs::write(&file, &text).expect("more lines");
        wait::until("some of the lines, committed or not", PATIENCE, || {
            let size = topic::size_if_any(bootstrap, "once");
            if size > before { Ok(()) } else { Err(format!("{size}")) }
        });
        worker.kill();
        worker.start();
    }
    let lines: Vec<&str> = text.lines().collect();
    wait::until("every line", PATIENCE, || match topic::committed(bootstrap, "once").len() {
        count if count >= lines.len() => Ok(()),
        count => Err(format!("{count} of {} lines", lines.len())),
    });
    assert!(worker.stop().success());
    let stored = topic::committed(bootstrap, "once").into_iter().map(|record| record.value.unwrap_or_default());
    assert_eq!(stored.collect::<Vec<_>>(), lines);
}

/// The key of the recorded topic lands in the partition it had there: 1 of 3.
#[test]
fn a_key_has_the_partition_that_java_gives_it() {
    use pipette::kafka::admin::NewTopics;
    use pipette::kafka::compacted::CompactedTopic;

    let folder = tempfile::tempdir().expect("a folder");
    let broker = embedded::broker(folder.path());
    let bootstrap = broker.address().to_string();
    let properties = [("bootstrap.servers".to_owned(), bootstrap.clone())].into();
    let config = [("cleanup.policy".to_owned(), "compact".to_owned())].into();
    let how = NewTopics { partitions: 3, replication_factor: None, config };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let recorded = [
        (r#"["src",{"filename":"/data/in.txt"}]"#, Some(r#"{"position":8}"#)),
        (r#"["src",{"filename":"/data/in.txt"}]"#, Some(r#"{"position":4}"#)),
        (r#"["src",{"filename":"/data/in.txt"}]"#, None),
    ];
    let rows: Vec<_> = recorded.iter().map(|(key, value)| ((*key).into(), value.map(Into::into))).collect();
    let topic = CompactedTopic::new("t", &properties, how).expect("a topic");
    let places = runtime.block_on(async {
        topic.ensure("keys", "rows").await.expect("it is made");
        topic.write(rows.iter()).await.expect("they are written")
    });
    assert_eq!(
        places.iter().map(|place| (place.partition, place.offset)).collect::<Vec<_>>(),
        [(1, 0), (1, 1), (1, 2)]
    );
    let stored = recorded.map(|(key, value)| Stored { partition: 1, key: key.into(), value: value.map(Into::into) });
    assert_eq!(topic::committed(&bootstrap, "t"), stored);
}
