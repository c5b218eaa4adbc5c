//! Apache's worker and this one take over from each other on the same topics, and never run at the same time.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::connect::{ApacheConnect, distributed};
use crate::support::kafka::ApacheKafka;
use crate::support::rest::Rest;
use crate::support::worker::Worker;
use crate::support::{topic, wait};

/// Java starts slowly beside other tests.
const PATIENCE: Duration = Duration::from_mins(2);

/// Lines that keep coming while workers come and go.
struct Lines {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
}

impl Lines {
    fn into(file: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (told, mut file) = (Arc::clone(&stop), File::create(file).expect("a file"));
        let add = move || {
            let mut count = 0;
            while !told.load(Ordering::Relaxed) {
                let ten = (count..count + 10).map(|line| format!("line {line}\n")).collect::<Vec<_>>().concat();
                file.write_all(ten.as_bytes()).expect("lines");
                count += 10;
                wait::moment(Duration::from_millis(20));
            }
            count
        };
        Self { stop, thread: Some(std::thread::spawn(add)) }
    }

    /// How many there were.
    fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("a thread").join().expect("lines were added")
    }
}

/// The folder, the group and the broker of one test. Sessions have their usual length: nobody dies here, and on a machine
/// that stands still for a moment a short one ends, which frees the group for the other worker.
struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
    bootstrap: String,
    keys: Vec<(String, String)>,
    group: &'static str,
    lives: usize,
}

impl Place {
    fn new(group: &'static str, more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let own = more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let keys = distributed(group).into_iter().chain(own).collect();
        let (path, bootstrap) = (folder.path().to_owned(), ApacheKafka::shared().bootstrap());
        Self { _folder: folder, path, bootstrap, keys, group, lives: 0 }
    }

    fn keys(&self) -> Vec<(&str, &str)> {
        self.keys.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    fn ours(&self) -> Worker {
        Worker::prepare(&self.path, &self.bootstrap, &self.keys())
    }

    fn apaches(&mut self) -> ApacheConnect {
        self.lives += 1;
        ApacheConnect::start(&self.path.join(format!("java-{}", self.lives)), &self.bootstrap, &self.keys())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn topic(&self, name: &str) -> String {
        format!("{}-{name}", self.group)
    }
}

/// Asks until the worker is ready to be asked: while a group rebalances Apache's answers 409.
fn put(rest: &Rest, path: &str, body: &Value) {
    wait::until(path, PATIENCE, || match rest.put(path, body) {
        Ok(answer) if answer.status < 300 => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

/// Waits until a connector shows this word, and each of its tasks that one.
fn shows(rest: &Rest, name: &str, state: &str, tasks: &[&str]) {
    wait::until(&format!("{name} to be {state}"), PATIENCE, || {
        let status = rest.get(&format!("/connectors/{name}/status")).map_err(|error| error.to_string())?.body;
        let found: Vec<&Value> = status["tasks"].as_array().into_iter().flatten().map(|task| &task["state"]).collect();
        if status["connector"]["state"] == state && found == tasks { Ok(()) } else { Err(status.to_string()) }
    });
}

fn until_lines(path: &Path, count: usize) {
    wait::until_rest(&format!("{count} lines that come out"), PATIENCE, || {
        let found = lines_out(path);
        if found >= count { Ok(()) } else { Err(found as u64) }
    });
}

fn lines_out(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

/// A source, a sink, one that is paused and one that is stopped.
fn create(place: &Place, rest: &Rest) {
    let (input, output, lines) = (place.file("in.txt"), place.file("out.txt"), place.topic("lines"));
    fs::write(place.file("idle.txt"), "one\n").expect("a file");
    let source =
        |file: &Path, topic: &str| json!({"connector.class": "FileStreamSource", "file": file, "topic": topic});
    let sink = json!({"connector.class": "FileStreamSink", "file": output, "topics": lines, "tasks.max": "1"});
    put(rest, "/connectors/source/config", &source(&input, &lines));
    put(rest, "/connectors/sink/config", &sink);
    put(rest, "/connectors/paused/config", &source(&place.file("idle.txt"), &place.topic("idle")));
    shows(rest, "paused", "RUNNING", &["RUNNING"]);
    put(rest, "/connectors/paused/pause", &json!(null));
    put(rest, "/connectors/stopped/config", &source(&place.file("idle.txt"), &place.topic("idle")));
    shows(rest, "stopped", "RUNNING", &["RUNNING"]);
    put(rest, "/connectors/stopped/stop", &json!(null));
}

fn check(rest: &Rest) {
    shows(rest, "source", "RUNNING", &["RUNNING"]);
    shows(rest, "sink", "RUNNING", &["RUNNING"]);
    shows(rest, "paused", "PAUSED", &["PAUSED"]);
    shows(rest, "stopped", "STOPPED", &[]);
}

fn swap(group: &'static str, more: &[(&str, &str)]) {
    let mut place = Place::new(group, more);
    let lines = Lines::into(&place.file("in.txt"));
    let out = place.file("out.txt");
    let java = place.apaches();
    create(&place, java.rest());
    until_lines(&out, 500);
    check(java.rest());
    java.stop();

    let mut ours = place.ours();
    let before = lines_out(&out);
    ours.start();
    until_lines(&out, before + 500);
    check(ours.rest());
    let topics = ours.rest().get("/connectors/source/topics").expect("an answer").body;
    assert_eq!(topics["source"]["topics"], json!([place.topic("lines")]));
    // What is done here is there for Apache's worker.
    assert_eq!(ours.rest().send("DELETE", "/connectors/stopped", None).expect("an answer").status, 204);
    let moved = json!({"connector.class": "FileStreamSource", "file": place.file("idle.txt"),
        "topic": place.topic("moved"), "name": "paused"});
    put(ours.rest(), "/connectors/paused/config", &moved);
    let mut late = json!({"name": "late", "config": moved, "initial_state": "STOPPED"});
    late["config"]["name"] = json!("late");
    assert_eq!(ours.rest().send("POST", "/connectors", Some(&late)).expect("an answer").status, 201);
    assert!(ours.stop().success());

    let before = lines_out(&out);
    let java = place.apaches();
    until_lines(&out, before + 500);
    shows(java.rest(), "paused", "PAUSED", &["PAUSED"]);
    shows(java.rest(), "late", "STOPPED", &[]);
    let names = java.rest().get("/connectors").expect("an answer").body;
    let mut names: Vec<&str> = names.as_array().expect("names").iter().filter_map(Value::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["late", "paused", "sink", "source"]);
    let config = java.rest().get("/connectors/paused/config").expect("an answer").body;
    assert_eq!(config, moved);
    put(java.rest(), "/connectors/paused/resume", &json!(null));
    shows(java.rest(), "paused", "RUNNING", &["RUNNING"]);
    let count = lines.end();
    until_lines(&out, count);
    java.stop();

    let wanted: Vec<String> = (0..count).map(|line| format!("line {line}")).collect();
    let sent: Vec<String> = topic::committed(&place.bootstrap, &place.topic("lines"))
        .into_iter()
        .filter_map(|record| record.value)
        .collect();
    // All were stopped in good order: nothing is read again.
    assert!(sent == wanted, "{} lines in the topic, {count} were written", sent.len());
    let text = fs::read_to_string(&out).expect("what came out");
    assert!(text.lines().eq(&wanted), "{} lines came out, {count} were written", text.lines().count());
}

#[test]
fn a_source_and_a_sink_go_from_apaches_worker_to_this_one_and_back() {
    swap("swap", &[]);
}

#[test]
fn exactly_once_goes_from_apaches_worker_to_this_one_and_back() {
    swap("swap-once", &[("exactly.once.source.support", "enabled")]);
}

/// Two workers of one group would write the same files and topics.
#[test]
fn neither_worker_starts_beside_the_other() {
    let mut place = Place::new("beside", &[]);
    let java = place.apaches();
    put(
        java.rest(),
        "/connectors/one/config",
        &json!({"connector.class": "FileStreamSource",
        "file": place.file("one.txt"), "topic": place.topic("one")}),
    );
    let mut ours = place.ours();
    ours.spawn();
    assert_eq!(ours.wait().code(), Some(2));
    let said = "a worker of Apache runs in group beside";
    assert!(ours.log().contains(said) && ours.log().contains("Stop it and start this one again"), "{}", ours.log());
    java.assert_lives();
    java.stop();

    ours.start();
    shows(ours.rest(), "one", "RUNNING", &["RUNNING"]);
    let java = ApacheConnect::spawn(&place.file("java-beside"), &place.bootstrap, &place.keys());
    // It says that it exits, and then may wait for itself.
    wait::until_rest("the end of Apache's worker, in bytes of its log", PATIENCE, || {
        ours.assert_lives();
        let log = java.log();
        assert!(!log.contains("Successfully joined group"), "Apache's worker runs beside ours:\n{}", ours.log());
        let said = ["InconsistentGroupProtocolException", "Herder stopping"].iter().all(|part| log.contains(part));
        if said { Ok(()) } else { Err(log.len() as u64) }
    });
    drop(java);
    fs::create_dir(place.file("second")).expect("a folder");
    let mut second = Worker::prepare(&place.file("second"), &place.bootstrap, &place.keys());
    second.spawn();
    assert_eq!(second.wait().code(), Some(2));
    assert!(second.log().contains("another worker runs in group beside"), "{}", second.log());
    shows(ours.rest(), "one", "RUNNING", &["RUNNING"]);
    assert!(ours.stop().success());
}
