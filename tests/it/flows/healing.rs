//! What has failed is restarted by itself, unless it would fail again, somebody else decides, or Apache's way is wanted.

use std::sync::Arc;

use pipette::task::report::{Failure, Trace};
use pipette_api::{ConnectError, TaskId};
use serde_json::{Value, json};

use crate::bed::{Bed, wait_until};

const SOON: [(&str, &str); 2] = [("errors.restart.backoff.ms", "20"), ("errors.restart.backoff.max.ms", "20")];
const LATE: [(&str, &str); 1] = [("errors.restart.backoff.ms", "200000")];

fn task(bed: &Bed) -> Value {
    bed.get("/connectors/a/status").json()["tasks"][0].clone()
}

/// A running connector `a` whose one task fails like this.
fn failed(more: &[(&str, &str)], error: ConnectError) -> Bed {
    let bed = Bed::new();
    bed.create("a", "ToySource", more);
    bed.wait_for_states("a", &["RUNNING", "RUNNING"]);
    fail(&bed, error);
    bed
}

fn fail(bed: &Bed, error: ConnectError) {
    let id = TaskId { connector: "a".into(), task: 0 };
    bed.tasks.fail_with(&id, Failure::new("poll", error).trace(&id));
}

#[test]
fn a_failed_task_is_restarted_by_itself_and_counted() {
    let bed = failed(&SOON, ConnectError::fatal("the database went away"));
    wait_until(|| bed.tasks.starts_of("a"), |starts| *starts == 2);
    bed.wait_for_states("a", &["RUNNING", "RUNNING"]);
    let metrics = bed.get("/metrics").body;
    assert!(metrics.contains("pipette_task_restarts_total{connector=\"a\",task=\"0\"} 1\n"), "{metrics}");
    assert_eq!(task(&bed)["next_restart"], Value::Null);
}

#[test]
fn the_next_restart_is_shown_and_whoever_decides_otherwise_calls_it_off() {
    let bed = failed(&LATE, ConnectError::fatal("the database went away"));
    let waiting = || wait_until(|| task(&bed), |task| task["state"] == "FAILED" && task["next_restart"].is_string());
    let called_off = || wait_until(|| task(&bed), |task| task["next_restart"].is_null());
    let at = waiting()["next_restart"].as_str().unwrap().to_owned();
    assert!(at.len() == 24 && at.starts_with("20") && at.ends_with('Z'), "{at}");
    let text = bed.get("/connectors/a/tasks/0/status").body;
    assert!(text.contains("next_restart"), "{text}");

    bed.put("/connectors/a/pause", "");
    assert_eq!(called_off()["state"], "FAILED", "as in Apache's worker");
    bed.put("/connectors/a/resume", "");
    waiting();
    assert_eq!(bed.post("/connectors/a/tasks/0/restart", "").status, 204);
    bed.wait_for_states("a", &["RUNNING", "RUNNING"]);
    called_off();
    fail(&bed, ConnectError::fatal("again"));
    waiting();
    let changed = json!({"connector.class": "ToySource", "topic": "t2", "errors.restart.backoff.ms": "200000"});
    bed.put("/connectors/a/config", &changed.to_string());
    bed.wait_for_states("a", &["RUNNING", "RUNNING"]);
    called_off();
    fail(&bed, ConnectError::fatal("again"));
    waiting();
    bed.put("/connectors/a/stop", "");
    bed.wait_for_states("a", &["STOPPED"]);
    bed.put("/connectors/a/resume", "");
    bed.wait_for_states("a", &["RUNNING", "RUNNING"]);
    fail(&bed, ConnectError::fatal("again"));
    waiting();
    assert_eq!(bed.delete("/connectors/a").status, 204);
    wait_until(|| bed.tasks.running(), Vec::is_empty);
}

#[test]
fn the_same_configuration_again_leaves_a_restart_to_come_as_it_was_decided() {
    let bed = failed(&LATE, ConnectError::fatal("the database went away"));
    let waiting = wait_until(|| task(&bed), |task| task["state"] == "FAILED" && task["next_restart"].is_string());
    let config = bed.get("/connectors/a/config").body;
    assert_eq!(bed.put("/connectors/a/config", &config).status, 200);
    // Of its tasks nothing has changed, so they are left alone, as by Apache's worker.
    bed.wait_for_states("a", &["RUNNING", "FAILED"]);
    assert_eq!(task(&bed), waiting);
    assert_eq!(bed.post("/connectors/a/restart?includeTasks=true&onlyFailed=true", "").status, 202);
    bed.wait_for_states("a", &["RUNNING", "RUNNING"]);
}

#[test]
fn what_would_fail_again_is_not_restarted() {
    for error in [ConnectError::config("file is missing"), ConnectError::data("row 7 has no key")] {
        let bed = failed(&SOON, error);
        let task = wait_until(|| task(&bed), |task| task["state"] == "FAILED");
        assert_eq!((&task["error"]["may_pass"], &task["next_restart"]), (&json!(false), &Value::Null));
        // Another one fails later and has been restarted by then.
        bed.create("later", "ToySource", &SOON);
        bed.wait_for_states("later", &["RUNNING", "RUNNING"]);
        bed.tasks.fail("later", 0, "away");
        wait_until(|| bed.tasks.starts_of("later"), |starts| *starts == 2);
        assert_eq!(bed.tasks.starts_of("a"), 1);
    }
}

#[test]
fn restarts_end_with_the_budget() {
    // Two hours must pass before it counts as running well.
    let policy =
        [("errors.restart.max", "2"), ("errors.restart.backoff.ms", "1"), ("errors.restart.backoff.max.ms", "3600000")];
    let bed = failed(&policy, ConnectError::fatal("away"));
    for starts in [2, 3] {
        wait_until(|| bed.tasks.starts_of("a"), |found| *found == starts);
        bed.wait_for_states("a", &["RUNNING", "RUNNING"]);
        fail(&bed, ConnectError::fatal("away"));
    }
    let task = wait_until(|| task(&bed), |task| task["state"] == "FAILED");
    assert_eq!(task["next_restart"], Value::Null);
    assert_eq!(bed.tasks.starts_of("a"), 3);
}

#[test]
fn a_connector_that_cannot_start_is_tried_again() {
    let bed = Bed::new();
    bed.create("a", "FailsOnce", &SOON);
    bed.wait_for_states("a", &["RUNNING", "RUNNING"]);
    let metrics = bed.get("/metrics").body;
    assert!(metrics.contains("pipette_connector_restarts_total{connector=\"a\"} 1\n"), "{metrics}");

    bed.create("b", "FailsOnce", &LATE);
    bed.wait_for_states("b", &["FAILED"]);
    let status = bed.get("/connectors/b/status").json();
    assert!(status["connector"]["next_restart"].is_string(), "{status}");
    let error = json!({
        "kind": "fatal", "connector": "b", "stage": "start", "cause": "the device is still starting",
        "action": "Remove the cause; the next restart goes on from there", "may_pass": true,
    });
    assert_eq!(status["error"], error);
    bed.create("c", "FailsInStart", &SOON);
    bed.wait_for_states("c", &["FAILED"]);
    assert_eq!(bed.get("/connectors/c/status").json()["connector"]["next_restart"], Value::Null, "its configuration");
}

#[test]
fn with_compat_strict_nothing_restarts_and_nothing_is_added() {
    let bed = Bed::shipped_with(&[("compat.strict", "true")]);
    bed.create("a", "FileStreamSource", &[SOON[0], SOON[1], ("file", "/tmp/in.txt")]);
    bed.wait_for_states("a", &["RUNNING", "RUNNING"]);
    bed.tasks.fail_with(&TaskId { connector: Arc::from("a"), task: 0 }, Trace::from("away"));
    bed.wait_for_states("a", &["RUNNING", "FAILED"]);
    let status = bed.get("/connectors/a/status").json();
    let members = |of: &Value| of.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(&status), ["name", "connector", "tasks", "type"]);
    assert_eq!(members(&status["tasks"][0]), ["id", "state", "worker_id", "version", "trace"]);
    bed.create("b", "FileStreamSource", &[("file", "/tmp/in.txt")]);
    bed.wait_for_states("b", &["RUNNING", "RUNNING"]);
    assert_eq!(bed.tasks.starts_of("a"), 1);
}

#[test]
fn with_compat_strict_keys_that_apache_ignores_are_ignored() {
    let letters = ("errors.deadletterqueue.topic.name", "dead");
    let told = |more: &[(&str, &str)]| {
        let bed = Bed::shipped_with(more);
        let of = |name: &str, plugin: &str, more: &[(&str, &str)]| {
            bed.create(name, plugin, more);
            bed.wait_for_states(name, &["RUNNING", "RUNNING"]);
            let last = bed.tasks.last.lock().unwrap();
            let spec = last.as_ref().unwrap();
            (spec.errors.refusals_max, spec.dead_letters.is_some(), spec.memory_cap)
        };
        let refusals = ("errors.refusals.in.a.row.max", "7");
        let cap = ("memory.max.bytes", "5000000");
        let source = of("in", "FileStreamSource", &[("file", "/tmp/in.txt"), letters, cap]);
        let sink = of("out", "FileStreamSink", &[("file", "/tmp/out.txt"), ("topics", "t"), refusals, letters, cap]);
        ((source.1, source.2), sink)
    };
    let cap = Some(5_000_000);
    assert_eq!(told(&[]), ((true, cap), (7, true, cap)));
    assert_eq!(told(&[("compat.strict", "true")]), ((false, None), (0, true, None)));
}

#[test]
fn with_compat_strict_nobody_minds_what_stands_in_keys_that_apache_ignores() {
    let wrong = [("memory.max.bytes", "a lot"), ("errors.refusals.in.a.row.max", "few")];
    let strict = Bed::shipped_with(&[("compat.strict", "true")]);
    let config = [&[("file", "/tmp/out.txt"), ("topics", "t")], &wrong[..]].concat();
    strict.create("out", "FileStreamSink", &config);
    strict.wait_for_states("out", &["RUNNING", "RUNNING"]);
    let config = json!({
        "connector.class": "FileStreamSink", "name": "a", "topics": "t", "file": "/tmp/out.txt",
        "memory.max.bytes": "a lot", "errors.refusals.in.a.row.max": "few",
    });
    let path = "/connector-plugins/FileStreamSink/config/validate";
    assert_eq!(strict.put(path, &config.to_string()).json()["error_count"], 0);
    assert_ne!(Bed::shipped().put(path, &config.to_string()).json()["error_count"], 0);
}

#[test]
fn a_wrong_policy_is_refused_and_a_right_one_is_listed() {
    let bed = Bed::shipped();
    let validate = |max: &str| {
        let config = json!({
            "connector.class": "FileStreamSource", "name": "a", "topic": "t", "file": "/tmp/in.txt",
            "errors.restart.max": max,
        });
        bed.put("/connector-plugins/FileStreamSource/config/validate", &config.to_string()).json()
    };
    assert_eq!(validate("-2")["error_count"], 1);
    let answer = validate("5");
    assert_eq!(answer["error_count"], 0);
    let names: Vec<_> = answer["configs"].as_array().unwrap().iter().map(|entry| &entry["value"]["name"]).collect();
    assert!(names.contains(&&json!("errors.restart.backoff.max.ms")), "{names:?}");
}
