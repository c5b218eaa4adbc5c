//! `GET /connectors/{name}/offsets`: true at any time, wherever offsets are kept.

use std::fs;
use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::support::worker::Worker;
use crate::support::{embedded, topic, wait};

const PATIENCE: Duration = Duration::from_secs(30);

fn offsets(worker: &Worker, name: &str) -> Value {
    let answer = worker.rest().get(&format!("/connectors/{name}/offsets")).expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["offsets"].clone()
}

fn wait_for(worker: &Worker, name: &str, expected: &Value) {
    wait::until(&format!("offsets of {name}"), PATIENCE, || match offsets(worker, name) {
        found if found == *expected => Ok(()),
        found => Err(format!("{found}, not {expected}")),
    });
}

fn send(worker: &Worker, method: &str, path: &str, body: Option<&Value>) {
    let answer = worker.rest().send(method, path, body).expect("an answer");
    assert!((200..300).contains(&answer.status), "{path}: {answer:?}");
}

fn wait_for_state(worker: &Worker, name: &str, state: &str) {
    wait::until(&format!("{name} to be {state}"), PATIENCE, || {
        let status = worker.rest().get(&format!("/connectors/{name}/status")).expect("an answer").body;
        let tasks = status["tasks"].as_array().cloned().unwrap_or_default();
        let all = status["connector"]["state"] == state && tasks.iter().all(|task| task["state"] == state);
        if all { Ok(()) } else { Err(status.to_string()) }
    });
}

/// A source and a sink: while they run, paused, stopped, and after the worker has begun anew.
fn are_true_at_any_time(keys: &[(&str, &str)], own_topic: Option<&str>) {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = embedded::broker(folder.path());
    let bootstrap = broker.address().to_string();
    let mut worker = Worker::prepare(folder.path(), &bootstrap, keys);
    let once = keys.iter().any(|(key, _)| *key == "exactly.once.source.support");
    let (file, mut text) = (folder.path().join("in.txt"), String::new());
    fs::write(&file, "").expect("a file");
    worker.start();
    let mut source = json!({"connector.class": "FileStreamSource", "file": file, "topic": "rows"});
    if let Some(topic) = own_topic {
        source["offsets.storage.topic"] = json!(topic);
    }
    let out = folder.path().join("out.txt");
    let sink = json!({"connector.class": "FileStreamSink", "file": out, "topics": "rows"});
    send(&worker, "PUT", "/connectors/in/config", Some(&source));
    assert_eq!(offsets(&worker, "in"), json!([]), "nothing is read yet");
    send(&worker, "PUT", "/connectors/out/config", Some(&sink));
    let after = |lines: usize, length: usize| {
        let read = json!([{"partition": {"filename": file}, "offset": {"position": length}}]);
        let written =
            json!([{"partition": {"kafka_topic": "rows", "kafka_partition": 0}, "offset": {"kafka_offset": lines}}]);
        (read, written)
    };
    for round in 1..=3 {
        let more = "a line\n".repeat(round * 10);
        text.push_str(&more);
        // Written anew, it would be empty for a moment, and the source would begin again.
        let mut end = fs::OpenOptions::new().append(true).open(&file).expect("the file");
        end.write_all(more.as_bytes()).expect("more lines");
        let (read, mut written) = after(text.lines().count(), text.len());
        wait_for(&worker, "in", &read);
        if once {
            // Each transaction ends with a mark that has an offset of its own; the last one stands behind the records.
            let behind = topic::size(&bootstrap, "rows") - 1;
            written[0]["offset"]["kafka_offset"] = json!(behind);
        }
        wait_for(&worker, "out", &written);
        let both = |worker: &Worker, when: &str| {
            assert_eq!((offsets(worker, "in"), offsets(worker, "out")), (read.clone(), written.clone()), "{when}");
        };
        for (what, state) in [("pause", "PAUSED"), ("stop", "STOPPED")] {
            for name in ["in", "out"] {
                send(&worker, "PUT", &format!("/connectors/{name}/{what}"), None);
                wait_for_state(&worker, name, state);
            }
            both(&worker, state);
        }
        assert!(worker.stop().success());
        worker.start();
        both(&worker, "after the worker has begun anew");
        for name in ["in", "out"] {
            send(&worker, "PUT", &format!("/connectors/{name}/resume"), None);
        }
    }
    assert!(worker.stop().success());
}

#[test]
fn offsets_in_files_are_true_at_any_time() {
    are_true_at_any_time(&[], None);
}

const TOPICS: [(&str, &str); 2] = [("group.id", "lab"), ("offset.storage.topic", "connect-offsets")];

#[test]
fn offsets_in_a_topic_are_true_at_any_time() {
    are_true_at_any_time(&TOPICS, None);
}

#[test]
fn offsets_in_a_topic_of_the_connector_are_true_at_any_time() {
    are_true_at_any_time(&TOPICS, Some("own-offsets"));
}

#[test]
fn offsets_of_exactly_once_sources_are_true_at_any_time() {
    are_true_at_any_time(&[TOPICS.as_slice(), &[("exactly.once.source.support", "enabled")]].concat(), None);
}

#[test]
fn a_topic_that_keeps_offsets_takes_no_dead_letters() {
    let bed = Bed::shipped_with(&TOPICS);
    let check = |class: &str, topic: &str, more: &Value| {
        let mut config = json!({
            "name": "c", "connector.class": class, "topic": "t", "file": "f",
            "errors.deadletterqueue.topic.name": topic,
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let path = format!("/connector-plugins/{class}/config/validate");
        let answer = bed.put(&path, &config.to_string()).json();
        (answer["error_count"].clone(), answer.to_string())
    };
    let (source, sink) = (json!({"offsets.storage.topic": "own"}), json!({"topics": "rows"}));
    for (class, topic, more, key) in [
        ("FileStreamSource", "connect-offsets", &source, "(offset.storage.topic)"),
        ("FileStreamSource", "own", &source, "(offsets.storage.topic)"),
        ("FileStreamSink", "connect-offsets", &sink, "(offset.storage.topic)"),
    ] {
        let (count, text) = check(class, topic, more);
        assert_eq!(count, 1, "{text}");
        assert!(text.contains(&format!("The topic '{topic}' keeps the offsets of sources {key}")), "{text}");
    }
    // Apache's worker takes it: what a source writes and what it could not write are in one topic then.
    assert_eq!(check("FileStreamSource", "t", &source).0, 0);
}
