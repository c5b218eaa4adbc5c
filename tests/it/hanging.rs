//! A connector whose code never returns: from its making, `start`, `task_configs`, `stop`, its live check, a rule of its
//! keys or a question. REST answers everything else as if it were not there, tells of it, and takes it away.

use std::thread;
use std::time::{Duration, Instant};

use crate::bed::{Bed, PROMPT, wait_until};

/// Requests whose times are looked at; one in a hundred may be late.
const ASKED: usize = 300;
/// A busy machine may hold up a test; a worker that waits for a plugin is held up every time.
const TRIES: usize = 4;

/// What is asked while it hangs: reads, changes of another connector, validation of another class.
const QUESTIONS: [(&str, &str, &str); 14] = [
    ("GET", "/", ""),
    ("GET", "/health", ""),
    ("GET", "/connectors", ""),
    ("GET", "/connectors?expand=status&expand=info", ""),
    ("GET", "/connectors/beside", ""),
    ("GET", "/connectors/beside/status", ""),
    ("GET", "/connectors/beside/tasks", ""),
    ("GET", "/connectors/beside/offsets", ""),
    ("GET", "/connectors/beside/echo?q=x", ""),
    ("GET", "/connector-plugins", ""),
    ("GET", "/metrics", ""),
    ("PUT", "/connectors/beside/pause", ""),
    ("PUT", "/connectors/beside/resume", ""),
    (
        "PUT",
        "/connector-plugins/ToySource/config/validate",
        r#"{"connector.class":"ToySource","name":"x","topic":"t"}"#,
    ),
];

/// The slowest of a hundred takes no longer than [`PROMPT`].
fn assert_prompt(bed: &Bed) {
    let mut slowest = Duration::ZERO;
    for _ in 0..TRIES {
        let ask = |(method, path, body): &(&str, &str, &str)| {
            let begun = Instant::now();
            let answer = bed.send(method, path, &[], body);
            assert!(answer.status < 300, "{method} {path}: {answer:?}");
            begun.elapsed()
        };
        let mut times: Vec<Duration> = QUESTIONS.iter().cycle().take(ASKED).map(ask).collect();
        times.sort_unstable();
        slowest = times[ASKED - 1 - ASKED / 100];
        if slowest < PROMPT {
            return;
        }
    }
    panic!("p99 is {slowest:?}");
}

fn bed() -> Bed {
    let bed = Bed::new();
    bed.create("beside", "ToySource", &[]);
    bed.wait_for_states("beside", &["RUNNING", "RUNNING"]);
    bed
}

/// Its name is free for another at once.
fn assert_deletable(bed: &Bed) {
    assert_eq!(bed.delete("/connectors/hangs").status, 204);
    bed.create("hangs", "ToySource", &[]);
    bed.wait_for_states("hangs", &["RUNNING", "RUNNING"]);
    assert_prompt(bed);
}

fn hangs_in(class: &str, call: &str) {
    let bed = bed();
    bed.create("hangs", class, &[]);
    assert_prompt(&bed);
    bed.wait_for_states("hangs", &["FAILED"]);
    let trace = bed.get("/connectors/hangs/status").json()["connector"]["trace"].clone();
    assert!(trace.as_str().unwrap().contains(&format!("has not returned from {call} within 700ms")), "{trace}");
    assert_prompt(&bed);
    assert_deletable(&bed);
}

#[test]
fn while_it_is_made() {
    hangs_in("HangsInMake", "start");
}

#[test]
fn in_start() {
    hangs_in("HangsInStart", "start");
}

#[test]
fn in_task_configs() {
    hangs_in("HangsInPlan", "task_configs");
}

#[test]
fn in_stop() {
    let bed = bed();
    bed.create("hangs", "HangsInStop", &[]);
    bed.wait_for_states("hangs", &["RUNNING", "RUNNING"]);
    assert_eq!(bed.put("/connectors/hangs/stop", "").status, 204);
    assert_prompt(&bed);
    let health = || bed.get("/connectors/hangs/status").json()["connector"].clone();
    let told = wait_until(health, |connector| connector["health"].is_string());
    assert!(told["health"].as_str().unwrap().starts_with("hung: no return from stop for "), "{told}");
    assert_eq!(told["state"], "STOPPED");
    // It starts again beside what still hangs.
    assert_eq!(bed.put("/connectors/hangs/resume", "").status, 202);
    bed.wait_for_states("hangs", &["RUNNING", "RUNNING"]);
    assert_eq!(health()["health"], serde_json::Value::Null);
    assert_deletable(&bed);
}

/// Requests that go into a plugin that never answers: they fail alone, and no number of them holds others up.
fn requests_hang(method: &str, path: &str, body: &str, message: &str) {
    let bed = bed();
    bed.create("hangs", "HangsInProbe", &[]);
    thread::scope(|scope| {
        // More than may be under way at a time, for all plugins together.
        let slow: Vec<_> = (0..70).map(|_| scope.spawn(|| bed.send(method, path, &[], body))).collect();
        assert_prompt(&bed);
        let answers: Vec<_> = slow.into_iter().map(|answer| answer.join().unwrap()).collect();
        assert!(answers.iter().all(|answer| answer.status == 500), "{answers:?}");
        assert!(answers.iter().any(|answer| answer.message() == message), "{answers:?}");
    });
    // They still hang, and others go on.
    assert_prompt(&bed);
    assert_deletable(&bed);
}

#[test]
fn in_the_live_check() {
    let body = r#"{"connector.class":"HangsInProbe","name":"x","topic":"t"}"#;
    let message = "The validation of a HangsInProbe configuration did not finish within 700ms";
    requests_hang("PUT", "/connector-plugins/HangsInProbe/config/validate", body, message);
}

#[test]
fn in_a_rule_of_its_keys() {
    let body = r#"{"name":"a","config":{"connector.class":"HangingRule","topic":"t"}}"#;
    let message = "The validation of a HangingRule configuration did not finish within 700ms";
    requests_hang("POST", "/connectors", body, message);
}

#[test]
fn in_an_answer() {
    requests_hang("GET", "/connectors/hangs/hang", "", "The answer of hangs to hang did not finish within 700ms");
}
