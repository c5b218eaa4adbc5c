//! Dead letters on their way back, as a user asks for it: by REST, on a connector whose cause of trouble was mended.

use std::fs::File;
use std::io::Read as _;
use std::process::Command;
use std::time::Duration;

use pipette_broker::Broker;
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::support::{embedded, topic, wait};

const PATIENCE: Duration = Duration::from_secs(30);
const REPLAY: &str = "/connectors/out/dlq/replay";

/// A worker, and a sink that reads JSON and keeps the rest in the topic `dead`.
struct Scene {
    folder: tempfile::TempDir,
    broker: Broker,
    bed: Bed,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let broker = embedded::broker(folder.path());
        let bed = Bed::live(&broker.address().to_string());
        Self { folder, broker, bed }
    }

    fn bootstrap(&self) -> String {
        self.broker.address().to_string()
    }

    fn out(&self) -> std::path::PathBuf {
        self.folder.path().join("out.txt")
    }

    fn lines(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.out()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn config(&self, converter: &str) -> Value {
        json!({
            "connector.class": "FileStreamSink", "topics": "rows", "file": self.out(),
            "value.converter": converter, "value.converter.schemas.enable": "false",
            "key.converter": "org.apache.kafka.connect.storage.StringConverter",
            "errors.tolerance": "all", "errors.deadletterqueue.topic.name": "dead",
            "errors.deadletterqueue.context.headers.enable": "true",
        })
    }

    /// Starts the sink with that value converter.
    fn put(&self, converter: &str) {
        let answer = self.bed.put("/connectors/out/config", &self.config(converter).to_string());
        assert!([200, 201].contains(&answer.status), "{answer:?}");
        self.bed.wait_for_states("out", &["RUNNING", "RUNNING"]);
    }

    /// A scene whose sink could not read three of five records.
    fn with_three_letters() -> Self {
        let scene = Self::new();
        for (key, value) in [("a", "1"), ("b", "{"), ("c", "["), ("d", "4"), ("e", "\"")] {
            topic::write(&scene.bootstrap(), "rows", 0, key, value);
        }
        scene.put("org.apache.kafka.connect.json.JsonConverter");
        wait::until("the good lines", PATIENCE, || match scene.lines() {
            lines if lines == ["1", "4"] => Ok(()),
            lines => Err(format!("{lines:?}")),
        });
        let bootstrap = scene.bootstrap();
        wait::until("the letters", PATIENCE, || match topic::size_if_any(&bootstrap, "dead") {
            3 => Ok(()),
            size => Err(size.to_string()),
        });
        scene
    }

    /// Replays and waits for the end.
    fn replay(&self, body: &str) -> Value {
        let answer = self.bed.post(REPLAY, body);
        assert_eq!(answer.status, 202, "{answer:?}");
        wait::until("the end of the replay", PATIENCE, || match self.bed.get(REPLAY).json() {
            report if report["state"] == "RUNNING" => Err(report.to_string()),
            report => Ok(report),
        })
    }
}

fn counts(report: &Value) -> Value {
    json!([report["ready"], report["replayed"], report["failed"], report["skipped"], report["state"]])
}

#[test]
fn letters_come_back_once_the_cause_is_mended_and_only_once() {
    let scene = Scene::with_three_letters();
    scene.put("org.apache.kafka.connect.storage.StringConverter");
    let dry = scene.replay(r#"{"dry_run": true}"#);
    assert_eq!((counts(&dry), scene.lines().len()), (json!([3, 0, 0, 0, "DONE"]), 2), "{dry}");
    let report = scene.replay(r#"{"max": 2}"#);
    assert_eq!(counts(&report), json!([0, 2, 0, 0, "DONE"]), "{report}");
    let line = json!({
        "partition": 0, "offset": 0, "outcome": "replayed",
        "record": {"topic": "rows", "partition": 0, "offset": 1},
    });
    assert_eq!((&report["letters"][0], &report["next"]), (&line, &json!({"0": 2})));
    let rest = scene.replay("");
    assert_eq!(counts(&rest), json!([0, 1, 0, 0, "DONE"]), "it goes on where the last one ended: {rest}");
    assert_eq!(counts(&scene.replay("{}")), json!([0, 0, 0, 0, "DONE"]), "nothing is left");
    assert_eq!(scene.lines(), ["1", "4", "{", "[", "\""]);
    let again = scene.replay(r#"{"from": 1, "to": 2}"#);
    assert_eq!((counts(&again), scene.lines().len()), (json!([0, 1, 0, 0, "DONE"]), 6), "asked for by its offset");
    assert_eq!(topic::size(&scene.bootstrap(), "dead"), 3);
    let (url, program) = (format!("http://{}", scene.bed.address), env!("CARGO_BIN_EXE_pipette"));
    let command = ["dlq", "replay", "out", "--dry-run", "--from", "1", "--max", "1", "--url", &url];
    let said = std::process::Command::new(program).args(command).output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(
        said.status.success() && text.ends_with("dead: 1 ready, 0 replayed, 0 filtered, 0 skipped, 0 failed\n"),
        "{said:?}"
    );
}

#[test]
fn a_replay_right_behind_a_change_goes_by_what_was_changed() {
    let scene = Scene::with_three_letters();
    let put = |converter: &str| {
        assert_eq!(scene.bed.put("/connectors/out/config", &scene.config(converter).to_string()).status, 200);
    };
    for _ in 0..10 {
        put("org.apache.kafka.connect.storage.StringConverter");
        let mended = scene.replay(r#"{"dry_run": true}"#);
        assert_eq!(counts(&mended), json!([3, 0, 0, 0, "DONE"]), "{mended}");
        put("org.apache.kafka.connect.json.JsonConverter");
        let broken = scene.replay(r#"{"dry_run": true}"#);
        assert_eq!(counts(&broken), json!([0, 0, 3, 0, "DONE"]), "{broken}");
    }
    assert_eq!(scene.bed.put("/connectors/out/pause", "").status, 202);
    put("org.apache.kafka.connect.storage.StringConverter");
    let answer = scene.bed.post(REPLAY, "");
    assert_eq!(answer.status, 409, "{answer:?}");
    assert!(answer.message().contains("still those of its former configuration"), "{answer:?}");
    assert_eq!(scene.bed.put("/connectors/out/resume", "").status, 202);
    assert_eq!(counts(&scene.replay("")), json!([0, 3, 0, 0, "DONE"]));
}

#[test]
fn letters_go_through_steps_that_wait() {
    let scene = Scene::with_three_letters();
    let mut config = scene.config("org.apache.kafka.connect.converters.ByteArrayConverter");
    let chain = json!({
        "transforms": "meta,told", "transforms.meta.type": "ExtractMetadata", "transforms.told.type": "Filter",
        "transforms.told.predicate": "told", "predicates": "told", "predicates.told.type": "HasHeaderKey",
        "predicates.told.name": "meta",
    });
    config.as_object_mut().unwrap().extend(chain.as_object().unwrap().clone());
    let answer = scene.bed.put("/connectors/out/config", &config.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    scene.bed.wait_for_states("out", &["RUNNING", "RUNNING"]);
    let report = scene.replay("");
    assert_eq!(counts(&report), json!([0, 0, 0, 0, "DONE"]), "{report}");
    assert_eq!(report["filtered"], 3, "the step behind sees what the one that waits has found: {report}");
}

#[test]
fn a_letter_that_fails_again_is_kept_and_does_not_come_round() {
    let scene = Scene::with_three_letters();
    let report = scene.replay("{}");
    assert_eq!(counts(&report), json!([0, 0, 3, 0, "DONE"]), "{report}");
    let reason = report["letters"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("invalid JSON") && report["letters"][0]["stage"] == "VALUE_CONVERTER", "{report}");
    let letters = topic::records(&scene.bootstrap(), "dead");
    assert_eq!(letters.len(), 6, "in the topic anew, before they were passed");
    assert_eq!(letters[3..], letters[..3], "just like the first time");
    let by_offset = scene.replay(r#"{"from": 0, "to": 3}"#);
    assert_eq!(counts(&by_offset), json!([0, 0, 3, 0, "DONE"]));
    assert_eq!(topic::size(&scene.bootstrap(), "dead"), 6, "those stay where they are");
    scene.put("org.apache.kafka.connect.storage.StringConverter");
    let mended = scene.replay("{}");
    assert_eq!((counts(&mended), &mended["next"]), (json!([0, 3, 0, 0, "DONE"]), &json!({"0": 6})));
    assert_eq!(scene.lines(), ["1", "4", "{", "[", "\""]);
}

#[test]
fn letters_of_others_are_left_out_and_times_choose() {
    let scene = Scene::with_three_letters();
    scene.put("org.apache.kafka.connect.storage.StringConverter");
    topic::write(&scene.bootstrap(), "dead", 0, "x", "no letter");
    let later = scene.replay(r#"{"from": "2999-01-01T00:00:00Z"}"#);
    assert_eq!(counts(&later), json!([0, 0, 0, 0, "DONE"]));
    let all = scene.replay(r#"{"from": "2001-01-01T00:00:00Z", "to": "2999-01-01T00:00:00+01:00"}"#);
    assert_eq!(counts(&all), json!([0, 3, 0, 1, "DONE"]), "{all}");
    let reason = all["letters"][3]["reason"].as_str().unwrap();
    assert!(reason.starts_with("no header says where the record came from"), "{reason}");
    let mut other = scene.config("org.apache.kafka.connect.storage.StringConverter");
    other["file"] = json!(scene.folder.path().join("other.txt"));
    assert_eq!(scene.bed.put("/connectors/other/config", &other.to_string()).status, 201);
    scene.bed.wait_for_states("other", &["RUNNING", "RUNNING"]);
    assert_eq!(scene.bed.post("/connectors/other/dlq/replay", r#"{"from":0,"max":1}"#).status, 202);
    let report = wait::until("the end", PATIENCE, || match scene.bed.get("/connectors/other/dlq/replay").json() {
        report if report["state"] == "RUNNING" => Err(report.to_string()),
        report => Ok(report),
    });
    assert_eq!(report["letters"][0]["reason"], "it is a letter of connector out", "{report}");
}

#[test]
fn a_target_that_is_gone_stops_the_replay_and_passes_no_letter() {
    let scene = Scene::with_three_letters();
    let mut config = scene.config("org.apache.kafka.connect.storage.StringConverter");
    let folder = scene.folder.path().join("share");
    std::fs::create_dir(&folder).unwrap();
    config["file"] = json!(folder.join("out.txt"));
    assert_eq!(scene.bed.put("/connectors/out/config", &config.to_string()).status, 200);
    scene.bed.wait_for_states("out", &["RUNNING", "RUNNING"]);
    wait::until(
        "the sink's file",
        PATIENCE,
        || {
            if folder.join("out.txt").exists() { Ok(()) } else { Err("none".into()) }
        },
    );
    std::fs::remove_dir_all(&folder).unwrap();
    let report = scene.replay("{}");
    assert_eq!(counts(&report), json!([0, 0, 0, 0, "FAILED"]), "{report}");
    assert!(report["error"].as_str().unwrap().contains("share"), "{report}");
    assert_eq!((&report["next"], topic::size(&scene.bootstrap(), "dead")), (&json!({}), 3));
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(counts(&scene.replay("{}")), json!([0, 3, 0, 0, "DONE"]));
}

/// The target is a pipe, so that it is known what was put in the end.
#[test]
fn the_replay_of_a_connector_that_is_deleted_stops() {
    let scene = Scene::new();
    let (letters, size) = (6, 900_000);
    for number in 0..letters {
        topic::write(&scene.bootstrap(), "rows", 0, &number.to_string(), &"x".repeat(size));
    }
    assert!(Command::new("mkfifo").arg(scene.out()).status().unwrap().success());
    let open = |converter: &str| {
        let answer = scene.bed.put("/connectors/out/config", &scene.config(converter).to_string());
        assert!([200, 201].contains(&answer.status), "{answer:?}");
        let pipe = File::open(scene.out()).unwrap();
        scene.bed.wait_for_states("out", &["RUNNING", "RUNNING"]);
        pipe
    };
    let _first = open("org.apache.kafka.connect.json.JsonConverter");
    let bootstrap = scene.bootstrap();
    wait::until("the letters", PATIENCE, || match topic::size_if_any(&bootstrap, "dead") {
        size if size == letters => Ok(()),
        size => Err(size.to_string()),
    });
    let mut pipe = open("org.apache.kafka.connect.storage.StringConverter");
    // A writer of the test's own: the pipe has no end while one task has closed it and the next not opened it.
    let writer = File::options().write(true).open(scene.out()).unwrap();
    assert_eq!(scene.bed.post(REPLAY, "{}").status, 202);
    // It has begun, and waits for room in the pipe.
    let (begun, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || pipe.read_exact(&mut [0]).map(|()| begun.send(pipe)));
    let mut pipe =
        wait::until("a replay that has begun", PATIENCE, || told.try_recv().map_err(|_| scene.bed.get(REPLAY).body));
    assert_eq!(scene.bed.delete("/connectors/out").status, 204);
    drop(writer);
    let mut rest = Vec::new();
    pipe.read_to_end(&mut rest).unwrap();
    assert!(rest.len() < 5 * size, "{} bytes were put", rest.len());
}

/// The chain is so long that it takes a while to read it for the replay; in that while the connector is deleted.
#[test]
fn a_replay_asked_for_while_its_connector_goes_leaves_nothing_behind() {
    let scene = Scene::with_three_letters();
    let mut config = scene.config("org.apache.kafka.connect.storage.StringConverter");
    let aliases: Vec<String> = (0..1_000).map(|number| format!("h{number}")).collect();
    config["transforms"] = json!(aliases.join(","));
    for alias in aliases {
        config[format!("transforms.{alias}.type")] = json!("InsertHeader");
        config[format!("transforms.{alias}.header")] = json!("h");
        config[format!("transforms.{alias}.value.literal")] = json!("1");
    }
    for round in 0..8 {
        let answer = scene.bed.put("/connectors/out/config", &config.to_string());
        assert!([200, 201].contains(&answer.status), "{answer:?}");
        scene.bed.wait_for_states("out", &["RUNNING", "RUNNING"]);
        let (asked, gone) = std::thread::scope(|scope| {
            let asked = scope.spawn(|| scene.bed.post(REPLAY, r#"{"from": 0}"#));
            let gone = scope.spawn(|| scene.bed.delete("/connectors/out"));
            (asked.join().unwrap(), gone.join().unwrap())
        });
        assert_eq!(gone.status, 204, "round {round}: {gone:?}");
        assert!([202, 404].contains(&asked.status), "round {round}: {asked:?}");
        assert_eq!(scene.bed.get(REPLAY).message(), "Connector out not found", "round {round}");
        scene.put("org.apache.kafka.connect.storage.StringConverter");
        let left = scene.bed.get(REPLAY);
        assert_eq!(left.status, 404, "round {round}: the new connector has the replay of the old one: {left:?}");
        assert!(scene.replay(r#"{"from": 0, "dry_run": true}"#)["ready"] == 3, "round {round}");
    }
}

#[test]
fn what_cannot_be_replayed_is_refused_with_the_reason() {
    let scene = Scene::new();
    scene.put("org.apache.kafka.connect.storage.StringConverter");
    let refused = |path: &str, body: &str, expected: (u16, &str)| {
        let answer = scene.bed.post(path, body);
        assert_eq!(answer.status, expected.0, "{path} {body}: {answer:?}");
        assert!(answer.message().contains(expected.1), "{path} {body}: {answer:?}");
    };
    refused("/connectors/none/dlq/replay", "{}", (404, "Connector none not found"));
    refused(REPLAY, r#"{"from":"monday"}"#, (400, "must be an offset in the dead letter topic, such as 17, or a time"));
    refused(REPLAY, r#"{"max":0}"#, (400, "from 1 to 10000"));
    refused(REPLAY, "3", (400, "The body must be a JSON object, {…}, and is a number"));
    refused(REPLAY, r#"{"dryrun":true}"#, (400, "unknown field `dryrun`"));
    let source = json!({"connector.class": "FileStreamSource", "topic": "t", "file": scene.out()});
    assert_eq!(scene.bed.put("/connectors/in/config", &source.to_string()).status, 201);
    refused("/connectors/in/dlq/replay", "{}", (400, "is a source: it reads its input itself"));
    let mut bare = scene.config("org.apache.kafka.connect.storage.StringConverter");
    bare.as_object_mut().unwrap().remove("errors.deadletterqueue.topic.name");
    assert_eq!(scene.bed.put("/connectors/bare/config", &bare.to_string()).status, 201);
    scene.bed.wait_for_states("bare", &["RUNNING", "RUNNING"]);
    refused("/connectors/bare/dlq/replay", "{}", (400, "errors.deadletterqueue.topic.name is not set"));
    assert_eq!(scene.bed.get(REPLAY).message(), "No dead letters of out were replayed since the start");
    assert_eq!(scene.bed.put("/connectors/out/stop", "").status, 204);
    scene.bed.wait_for_states("out", &["STOPPED"]);
    refused(REPLAY, "{}", (409, "has no tasks at the moment"));
}

#[test]
fn a_strict_worker_has_no_replay() {
    let bed = Bed::shipped_with(&[("compat.strict", "true")]);
    assert_eq!(bed.post(REPLAY, "{}").message(), "HTTP 404 Not Found");
}
