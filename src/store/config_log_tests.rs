//! The recorded topic of Apache's worker 4.3.1, and what is missing from it.

use super::TargetState::{Paused, Started, Stopped};
use super::*;

/// The recorded records, in order.
fn recorded() -> Vec<(String, Option<String>)> {
    let lines = include_str!("../../tests/java/recorded/internal-topics.jsonl").lines();
    let rows = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |value: &Value| value.as_str().map(str::to_owned);
    rows.filter(|row| row["topic"] == "connect-configs")
        .map(|row| (text(&row["key"]).unwrap(), text(&row["value"])))
        .collect()
}

fn after(records: &[(&str, Option<&str>)]) -> ConfigLog {
    let mut log = ConfigLog::default();
    for (key, value) in records {
        log.read(key.as_bytes(), value.map(str::as_bytes));
    }
    log
}

fn config(pairs: &[(&str, &str)]) -> ConfigMap {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn stored(name: &str, pairs: &[(&str, &str)], target: TargetState) -> StoredConnector {
    StoredConnector { name: name.into(), config: config(pairs), target }
}

/// Values by their meaning: the order of a configuration's keys is that of a hash map in Java.
fn meaning((key, value): &(String, Option<String>)) -> (String, Option<Value>) {
    (key.clone(), value.as_ref().map(|value| serde_json::from_str(value).unwrap()))
}

fn meant(rows: Vec<Row>) -> Vec<(String, Option<Value>)> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    rows.into_iter().map(|(key, value)| meaning(&(text(key), value.map(text)))).collect()
}

#[test]
fn a_recorded_topic_is_read() {
    let mut log = ConfigLog::default();
    let mut src = Vec::new();
    for (key, value) in recorded() {
        log.read(key.as_bytes(), value.as_deref().map(str::as_bytes));
        let found = log.connectors().into_iter().find(|found| &*found.name == "src");
        src.push(found.map(|found| (found.target, log.plan("src").tasks.len())));
    }
    src.dedup();
    let wanted =
        [None, Some((Started, 0)), Some((Started, 1)), Some((Paused, 1)), Some((Started, 1)), Some((Started, 0))];
    assert_eq!(src, [&wanted[..], &[Some((Stopped, 0))]].concat());
    let names: Vec<_> = log.connectors().into_iter().map(|found| (found.name.to_string(), found.target)).collect();
    let names: Vec<_> = names.iter().map(|(name, target)| (name.as_str(), *target)).collect();
    assert_eq!(names, [("bad", Started), ("src", Stopped), ("stopped", Stopped)], "snk was deleted");
    let task = &log.plan("bad").tasks[0];
    assert_eq!((task["transforms.x.predicate"].as_str(), task.get("task.class")), ("nope", None));
    assert_eq!((log.plan("src").fenced, log.plan("snk").tasks.len()), (1, 0));
}

#[test]
fn the_records_are_those_of_apaches_worker() {
    let recorded: Vec<_> = recorded().iter().map(meaning).collect();
    let mut log = ConfigLog::default();
    let check = |rows: Vec<Row>, at: usize, log: &mut ConfigLog| {
        let count = rows.len();
        log.read_all(&rows);
        assert_eq!(meant(rows), recorded[at..at + count]);
        count
    };
    let file = ("file", "/data/in.txt");
    let of_src = [("connector.class", "FileStreamSource"), ("tasks.max", "1"), file, ("topic", "t1"), ("name", "src")];
    let src = |target| stored("src", &of_src, target);
    check(log.put(&src(Started)), 1, &mut log);
    let class = "org.apache.kafka.connect.file.FileStreamSourceTask";
    assert_eq!(check(log.put_plan("src", &[config(&of_src)], class, false), 2, &mut log), 2);
    assert_eq!(check(log.put(&src(Paused)), 8, &mut log), 1);
    check(log.put(&src(Started)), 9, &mut log);
    assert_eq!(check(log.put(&src(Stopped)), 12, &mut log), 2, "no tasks first");
    assert_eq!(check(log.delete("snk"), 14, &mut log), 2);
    let of_stopped =
        [("connector.class", "FileStreamSource"), ("tasks.max", "1"), ("topic", "t1"), ("name", "stopped")];
    assert_eq!(check(log.put(&stored("stopped", &of_stopped, Stopped)), 16, &mut log), 2);
    assert_eq!(log.put(&stored("stopped", &of_stopped, Stopped)), [], "nothing new");
    let fencing = log.put_plan("src", &[config(&of_src)], class, true).pop();
    assert_eq!(meant(fencing.into_iter().collect()), recorded[recorded.len() - 1..]);
}

#[test]
fn tasks_count_from_their_commit_on_and_only_if_all_are_there() {
    let connector = ("connector-a-b", Some(r#"{"properties":{"name":"a-b"}}"#));
    let task =
        |at: usize| [r#"{"properties":{"n":"0"}}"#, r#"{"properties":{"n":"1"}}"#, r#"{"properties":{"n":"2"}}"#][at];
    let [first, second] = [("task-a-b-0", Some(task(0))), ("task-a-b-1", Some(task(1)))];
    let commit = ("commit-a-b", Some(r#"{"tasks":2}"#));
    let tasks = |records: &[(&str, Option<&str>)]| {
        let plan = after(records).plan("a-b");
        plan.tasks.iter().map(|task| task["n"].clone()).collect::<Vec<_>>().join(",")
    };
    assert_eq!(tasks(&[connector, first, second]), "", "torn before the commit");
    assert_eq!(tasks(&[connector, first, second, commit]), "0,1");
    assert_eq!(tasks(&[connector, second, commit]), "", "one was compacted away");
    assert_eq!(tasks(&[connector, first, second, commit, ("task-a-b-0", Some(task(2)))]), "0,1", "torn behind it");
    assert_eq!(
        tasks(&[connector, first, second, ("commit-a-b", Some(r#"{"tasks":1}"#))]),
        "0",
        "left over of a larger one"
    );
    assert_eq!(tasks(&[connector, first, second, commit, ("commit-a-b", Some(r#"{"tasks":0}"#))]), "");
    assert_eq!(tasks(&[first, second, commit, connector]), "", "of a connector that was deleted before");
    assert_eq!(
        tasks(&[connector, first, second, commit, ("connector-a-b", None), connector]),
        "",
        "a new one of that name"
    );
}

#[test]
fn what_nobody_can_use_is_left_out_and_the_rest_counts() {
    let log = after(&[
        ("session-key", Some(r#"{"key":"","algorithm":"HmacSHA256","creation-timestamp":1}"#)),
        ("restart-connector-c", Some("no json")),
        ("logger-cluster-root", Some(r#"{"level":"debug"}"#)),
        ("connector-c", Some(r#"{"properties":{"a":"1","b":null}}"#)),
        ("connector-c", Some("no json")),
        ("connector-c", Some(r#"{"properties":{"a":1}}"#)),
        ("connector-c", Some("[]")),
        ("target-state-c", Some(r#"{"state":"RESTED"}"#)),
        ("task-c-x", Some("{}")),
        ("task-c", Some("{}")),
        ("task-c-0", None),
        ("commit-c", Some(r#"{"tasks":-1}"#)),
        ("tasks-fencing-c", Some("{}")),
        ("anything", None),
        ("", None),
    ]);
    assert_eq!(log.connectors(), [stored("c", &[("a", "1")], Started)]);
    let older =
        after(&[("connector-c", Some(r#"{"properties":{}}"#)), ("target-state-c", Some(r#"{"state":"PAUSED"}"#))]);
    assert_eq!(older.connectors()[0].target, Paused, "a worker that knows no stopped connectors wrote it");
}

#[test]
fn what_was_stopped_or_changed_meanwhile_takes_no_plan() {
    let pairs = [("name", "c")];
    let mut log = ConfigLog::default();
    assert!(!log.may_run("c", &config(&pairs)));
    let rows = log.put(&stored("c", &pairs, Started));
    log.read_all(&rows);
    assert!(log.may_run("c", &config(&pairs)) && !log.may_run("c", &config(&[])));
    let rows = log.put(&stored("c", &pairs, Stopped));
    log.read_all(&rows);
    assert!(!log.may_run("c", &config(&pairs)));
}

#[test]
fn what_has_to_be_fenced_never_becomes_less_here() {
    let mut log = after(&[("tasks-fencing-c", Some(r#"{"task-count":5}"#))]);
    let rows = log.put_plan("c", &[ConfigMap::new()], "T", true);
    assert_eq!(rows.last().unwrap().1.as_deref(), Some(&br#"{"task-count":5}"#[..]));
    log.read_all(&rows);
    let rows = log.put_plan("c", &vec![ConfigMap::new(); 7], "T", true);
    assert_eq!(rows.last().unwrap().1.as_deref(), Some(&br#"{"task-count":7}"#[..]));
}
