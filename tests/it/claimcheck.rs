//! `pipette claimcheck`, as an administrator runs it: on topics of the embedded broker and a store that is a folder.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use pipette_broker::{Broker, BrokerConfig};
use serde_json::{Value, json};

use crate::support::topic;

/// A broker, a folder as a store, and the files the commands are given.
struct Scene {
    folder: tempfile::TempDir,
    broker: Broker,
}

/// What a command said and whether it went well.
struct Said {
    well: bool,
    out: String,
    err: String,
}

impl Scene {
    fn new(more: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = BrokerConfig::on_any_port(folder.path().join("broker"));
        config.fsync = false;
        let scene = Self { broker: Broker::start(config).unwrap(), folder };
        let json = "org.apache.kafka.connect.json.JsonConverter";
        let worker = format!(
            "bootstrap.servers={}\nkey.converter={json}\nvalue.converter={json}\nstate.dir={}\n",
            scene.bootstrap(),
            scene.path("state").display()
        );
        fs::write(scene.path("worker.properties"), worker).unwrap();
        let mut connector = json!({
            "connector.class": "LabFilesSource", "topic": "images", "output.mode": "claim-check",
            "store.uri": format!("file://{}", scene.path("store").display()),
        });
        for (key, value) in more.as_object().unwrap() {
            connector[key] = value.clone();
        }
        let connector = json!({"name": "images", "config": connector});
        fs::write(scene.path("images.json"), connector.to_string()).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn bootstrap(&self) -> String {
        self.broker.address().to_string()
    }

    fn run(&self, what: &str, more: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pipette"));
        command
            .args(["claimcheck", what])
            .arg(self.path("images.json"))
            .arg("--worker")
            .arg(self.path("worker.properties"));
        let output = command.args(more).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { well: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// An object with a name as ClaimCheck gives it, in that folder, so old; its address.
    fn object(&self, folder: &str, number: u64, hours: u64) -> String {
        self.file(&format!("{folder}/2026-01-01/{number:064x}"), hours)
    }

    fn file(&self, name: &str, hours: u64) -> String {
        let path = self.path("store").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = File::create(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_hours(hours)).unwrap();
        format!("file://{}", path.display())
    }

    fn refer(&self, topic: &str, uri: &str) {
        topic::write(&self.bootstrap(), topic, 0, "key", &json!({"payload": {"uri": uri}}).to_string());
    }
}

fn is_there(uri: &str) -> bool {
    fs::exists(uri.strip_prefix("file://").unwrap()).unwrap()
}

const WEEKS: u64 = 500;

#[test]
fn orphans_are_shown_and_taken_away_only_when_told() {
    let scene = Scene::new(&json!({}));
    let kept = scene.object("images", 1, WEEKS);
    let orphan = scene.object("images", 2, WEEKS);
    let young = scene.object("images", 3, 160);
    let other = scene.object("other", 4, WEEKS);
    let foreign = scene.file("images/report.pdf", WEEKS);
    topic::create(&scene.bootstrap(), "images", 2, &[]);
    scene.refer("images", &kept);
    let said = scene.run("gc", &[]);
    assert!(said.well && said.out.contains("nothing was deleted"), "{} {}", said.out, said.err);
    let shown: Vec<&str> = said.out.lines().filter(|line| line.starts_with("file:")).collect();
    assert_eq!(shown, [format!("{orphan} 0")]);
    for step in ["Listing file://", "Reading topic images", "Reading on"] {
        assert!(said.err.contains(step), "{step}: {}", said.err);
    }
    assert!(is_there(&orphan));
    let said = scene.run("gc", &["--delete"]);
    let counts = "of 2 objects (1 more are too young, 1 are not the connector's) 1 are orphans";
    assert!(said.well && said.out.contains(counts) && said.out.contains("1 deleted"), "{} {}", said.out, said.err);
    assert!(!is_there(&orphan));
    assert!([&kept, &young, &other, &foreign].into_iter().all(|uri| is_there(uri)));
}

#[test]
fn nothing_is_taken_away_when_anything_is_unclear() {
    let scene = Scene::new(&json!({}));
    let object = scene.object("images", 1, WEEKS);
    let refused = |more: &[&str], reason: &str| {
        let said = scene.run("gc", &[&["--delete"], more].concat());
        assert!(!said.well && said.err.contains(reason), "{more:?}: {} {}", said.out, said.err);
        assert!(is_there(&object), "{more:?}");
    };
    refused(&[], "There is no topic images");
    refused(&["--grace", "24h"], "shorter than 1500 min");
    topic::create(&scene.bootstrap(), "images", 1, &[]);
    refused(&[], "none refers to an object that is in file://");
    scene.refer("images", "file:///elsewhere/x");
    refused(&[], "none refers to an object that is in file://");
    refused(&["--topic-deleted", "images"], "is there, although");
    topic::create(&scene.bootstrap(), "copies", 1, &[]);
    scene.refer("copies", &object);
    let said = scene.run("gc", &["--delete", "--topic", "images", "--topic", "copies"]);
    assert!(said.well && said.out.contains(" 0 are orphans"), "{} {}", said.out, said.err);
    assert!(is_there(&object), "a copy refers to it");
    let said = scene.run("gc", &["--delete", "--even-all"]);
    assert!(said.well && !is_there(&object), "{} {}", said.out, said.err);
}

#[test]
fn the_mount_point_of_a_store_is_no_empty_store() {
    let scene = Scene::new(&json!({}));
    let object = scene.object("images", 1, WEEKS);
    topic::create(&scene.bootstrap(), "images", 1, &[]);
    scene.refer("images", &object);
    fs::rename(scene.path("store"), scene.path("elsewhere")).unwrap();
    fs::create_dir(scene.path("store")).unwrap();
    let said = scene.run("gc", &[]);
    assert!(!said.well && said.err.contains("is its share mounted"), "{} {}", said.out, said.err);
}

/// The last record of a key is read, although compaction has left a hole where the first one was.
#[test]
fn a_compacted_topic_is_read_to_its_end() {
    let scene = Scene::new(&json!({}));
    let (old, new) = (scene.object("images", 1, WEEKS), scene.object("images", 2, WEEKS));
    topic::create(&scene.bootstrap(), "images", 1, &[("cleanup.policy", "compact")]);
    scene.refer("images", &new);
    let said = scene.run("gc", &["--delete"]);
    assert!(said.well, "{}", said.err);
    assert_eq!((is_there(&old), is_there(&new)), (false, true));
}

#[test]
fn objects_of_a_topic_that_is_gone_go_when_somebody_says_so() {
    let scene = Scene::new(&json!({"topic": "gone"}));
    let object = scene.object("gone", 1, WEEKS);
    let said = scene.run("gc", &["--delete", "--topic-deleted", "gone"]);
    assert!(said.well && said.out.contains("1 deleted"), "{} {}", said.out, said.err);
    assert!(!is_there(&object));
    let scene = Scene::new(&json!({}));
    let (kept, object) = (scene.object("gone", 1, WEEKS), scene.object("gone", 2, WEEKS));
    topic::create(&scene.bootstrap(), "images", 1, &[]);
    scene.refer("images", &kept);
    let said = scene.run("gc", &["--delete", "--topic-deleted", "gone"]);
    assert!(said.well, "{}", said.err);
    assert_eq!((is_there(&kept), is_there(&object)), (true, false), "the connector's own topic is read");
}

#[test]
fn a_folder_of_several_topics_is_left_alone_until_all_are_named() {
    let scene = Scene::new(&json!({"store.key.prefix": "all"}));
    let (kept, orphan) = (scene.object("all", 1, WEEKS), scene.object("all", 2, WEEKS));
    topic::create(&scene.bootstrap(), "images", 1, &[]);
    scene.refer("images", &kept);
    for command in ["gc", "lifecycle"] {
        let said = scene.run(command, &[]);
        assert!(!said.well && said.err.contains("--all-topics-given"), "{} {}", said.out, said.err);
    }
    let said = scene.run("gc", &["--delete", "--all-topics-given"]);
    assert!(said.well, "{}", said.err);
    assert_eq!((is_there(&kept), is_there(&orphan)), (true, false));
}

#[test]
fn what_may_be_used_again_or_be_elsewhere_is_asked_for() {
    let template = json!({"store.key.strategy": "template", "store.key.template": "${sha256}"});
    let scene = Scene::new(&template);
    let (kept, orphan) = (1, 2);
    let [kept, orphan] = [kept, orphan].map(|number: u64| scene.file(&format!("images/{number:064x}"), WEEKS));
    topic::create(&scene.bootstrap(), "images", 1, &[]);
    scene.refer("images", &kept);
    let said = scene.run("gc", &["--delete"]);
    assert!(!said.well && said.err.contains("--stopped"), "{} {}", said.out, said.err);
    let said = scene.run("gc", &["--delete", "--stopped"]);
    assert!(said.well, "{}", said.err);
    assert_eq!((is_there(&kept), is_there(&orphan)), (true, false));
    let scene = Scene::new(&json!({"transforms": "route", "transforms.route.type": "RegexRouter"}));
    let said = scene.run("gc", &[]);
    assert!(!said.well && said.err.contains("the step route (RegexRouter) may send records to another topic"));
}

#[test]
fn rules_are_made_of_the_retention_that_the_topic_has() {
    let scene = Scene::new(&json!({"store.uri": "s3://lake/in"}));
    let day = 86_400_000;
    let settings = [("retention.ms", (day * 10).to_string()), ("segment.ms", (day * 2).to_string())];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    topic::create(&scene.bootstrap(), "images", 1, &settings);
    let said = scene.run("lifecycle", &["--margin", "5d"]);
    assert!(said.well && said.err.contains("up to 12.0 days"), "{} {}", said.out, said.err);
    let rules: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(rules["Rules"][0]["Expiration"]["Days"], 18, "retention, segment, a day of reuse, margin");
    assert_eq!(rules["Rules"][0]["Filter"]["Prefix"], "in/images/");
    let said = scene.run("lifecycle", &["--topic", "none"]);
    assert!(!said.well && said.err.contains("There is no topic none"), "{}", said.err);
    topic::create(&scene.bootstrap(), "table", 1, &[("cleanup.policy", "compact")]);
    let said = scene.run("lifecycle", &["--topic", "table"]);
    assert!(said.well && said.err.contains("live for ever") && !said.out.contains("Expiration"), "{}", said.out);
}
