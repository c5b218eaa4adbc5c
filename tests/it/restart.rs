//! The worker as a process: what survives its restarts, and what a plugin that blocks cannot hold up.

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::support::worker::Worker;
use crate::support::{embedded, topic, wait};

const PATIENCE: Duration = Duration::from_secs(30);

/// The state of a connector and of its first task, if it has one.
fn states(worker: &Worker, name: &str) -> (Value, Value) {
    let status = worker.rest().get(&format!("/connectors/{name}/status")).expect("an answer").body;
    (status["connector"]["state"].clone(), status["tasks"][0]["state"].clone())
}

fn wait_for(worker: &Worker, name: &str, connector: &str, task: &Value) {
    wait::until(&format!("{name} to be {connector}"), PATIENCE, || match states(worker, name) {
        found if found == (json!(connector), task.clone()) => Ok(()),
        found => Err(format!("{found:?}")),
    });
}

#[test]
fn posted_connectors_survive_an_orderly_restart_and_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = embedded::broker(folder.path());
    let bootstrap = broker.address().to_string();
    let mut worker = Worker::prepare(folder.path(), &bootstrap, &[]);
    worker.start();
    let mut lines = String::new();
    for name in ["runs", "waits", "stands"] {
        let file = folder.path().join(name);
        fs::write(&file, "").expect("a file");
        let config = json!({"connector.class": "FileStreamSource", "file": file, "topic": name});
        let body = json!({"name": name, "config": config});
        assert_eq!(worker.rest().send("POST", "/connectors", Some(&body)).expect("an answer").status, 201);
        wait_for(&worker, name, "RUNNING", &json!("RUNNING"));
    }
    assert_eq!(worker.rest().put("/connectors/waits/pause", &Value::Null).expect("an answer").status, 202);
    assert_eq!(worker.rest().put("/connectors/stands/stop", &Value::Null).expect("an answer").status, 204);

    for round in 0..3 {
        wait_for(&worker, "runs", "RUNNING", &json!("RUNNING"));
        // A connector that begins paused plans its tasks when it is resumed.
        wait_for(&worker, "waits", "PAUSED", &if round == 0 { json!("PAUSED") } else { Value::Null });
        wait_for(&worker, "stands", "STOPPED", &Value::Null);
        // Appended: a file that is written anew is short for a moment, and a source rightly begins a shorter one again.
        let more = (0..200).map(|line| format!("round {round} line {line}\n")).collect::<Vec<_>>().concat();
        let mut file = fs::File::options().append(true).open(folder.path().join("runs")).expect("the file");
        file.write_all(more.as_bytes()).expect("more lines");
        lines += &more;
        let position = json!({"position": lines.len()});
        wait::until("the offset of everything", PATIENCE, || {
            let offsets = worker.rest().get("/connectors/runs/offsets").expect("an answer").body;
            if offsets["offsets"][0]["offset"] == position { Ok(()) } else { Err(offsets.to_string()) }
        });
        if round == 0 {
            assert!(worker.stop().success());
        } else {
            worker.kill();
        }
        worker.start();
    }
    assert_eq!(
        topic::values(&bootstrap, "runs"),
        lines.lines().collect::<Vec<_>>(),
        "every offset was committed before the worker ended: nothing comes twice, nothing is missing"
    );
}

#[test]
fn two_polls_that_block_for_ever_leave_rest_prompt_and_other_tasks_running() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = embedded::broker(folder.path());
    let bootstrap = broker.address().to_string();
    let bed = Bed::live(&bootstrap);
    for name in ["blocks-1", "blocks-2"] {
        bed.create(name, "BlocksInPoll", &[]);
        bed.wait_for_states(name, &["RUNNING", "RUNNING"]);
    }
    bed.assert_prompt();
    let file = folder.path().join("lines");
    fs::write(&file, "one\ntwo\n").expect("a file");
    bed.create("runs", "FileStreamSource", &[("file", file.to_str().expect("a path"))]);
    bed.wait_for_states("runs", &["RUNNING", "RUNNING"]);
    wait::until("the other task's records", PATIENCE, || match topic::values(&bootstrap, "t").len() {
        2 => Ok(()),
        count => Err(format!("{count} records")),
    });
    assert_eq!(bed.delete("/connectors/blocks-1").status, 204, "a blocked connector can be deleted");
    bed.assert_prompt();
}

#[test]
fn the_worker_takes_as_many_descriptors_as_it_may() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut worker = Worker::prepare(folder.path(), "127.0.0.1:9", &[]).limited("-Sn 256");
    worker.start();
    let limits = fs::read_to_string(format!("/proc/{}/limits", worker.pid())).expect("its limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("the limit");
    let numbers: Vec<&str> = line.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "the hard limit is the limit");
    assert_ne!(numbers[0], "256");
}

#[test]
fn what_to_do_is_said_when_descriptors_are_used_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut worker = Worker::prepare(folder.path(), "127.0.0.1:9", &[]).limited("-n 60");
    worker.start();
    let advised = |worker: &Worker| worker.log().contains("ulimit -n is 60");
    let mut names = (0..20).map(|number| format!("c{number}"));
    wait::until("the advice", PATIENCE, || {
        if advised(&worker) {
            return Ok(());
        }
        if let Some(name) = names.next() {
            let config =
                json!({ "connector.class": "FileStreamSource", "file": folder.path().join(&name), "topic": "t" });
            let _ = worker.rest().put(&format!("/connectors/{name}/config"), &config);
        }
        Err(worker.log())
    });
    worker.assert_lives();
}
