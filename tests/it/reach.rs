//! `file.allowed.paths` and `url.allowed.hosts`: what connectors may touch, at validate and when a file is opened.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use pipette::settings::worker::WorkerConfig;
use pipette_api::{ErrorKind, Reach, TopicPartition};
use pipette_kit::{SinkHarness, SourceHarness, build};
use serde_json::{Value, json};

use crate::bed::Bed;

const OPEN: (&str, &str) = ("listeners", "http://0.0.0.0:0");

fn reach(folder: &Path) -> Reach {
    let keys = [("bootstrap.servers", "b:1"), ("key.converter", "K"), ("value.converter", "V")];
    let keys = keys.into_iter().chain([("file.allowed.paths", folder.to_str().unwrap())]);
    WorkerConfig::read(build::config(&keys.collect::<Vec<_>>())).unwrap().reach
}

/// The errors that validation finds, by key.
fn errors(bed: &Bed, class: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut config = json!({"connector.class": class, "name": "n"});
    for (key, value) in more {
        config[key] = Value::from(*value);
    }
    let answer = bed.put(&format!("/connector-plugins/{class}/config/validate"), &config.to_string()).json();
    let mut found = Vec::new();
    for entry in answer["configs"].as_array().unwrap() {
        for error in entry["value"]["errors"].as_array().unwrap() {
            found.push((entry["value"]["name"].as_str().unwrap().into(), error.as_str().unwrap().into()));
        }
    }
    assert_eq!(answer["error_count"], found.len(), "{answer}");
    found
}

#[test]
fn once_others_reach_rest_a_file_needs_a_key_that_allows_it() {
    let source = [("file", "/etc/shadow"), ("topic", "t")];
    let refused = errors(&Bed::shipped_with(&[OPEN]), "FileStreamSource", &source);
    assert_eq!(
        refused,
        [(
            "file".into(),
            "Invalid value /etc/shadow for configuration file: connectors may not use /etc/shadow: other machines reach REST \
             at 0.0.0.0:0, and the worker file does not say with file.allowed.paths what they may use. \
             To allow it, write file.allowed.paths=/etc there and restart the worker"
                .into()
        )]
    );
    for fine in [&[][..], &[OPEN, ("compat.strict", "true")], &[OPEN, ("file.allowed.paths", "/data,/etc")]] {
        assert_eq!(errors(&Bed::shipped_with(fine), "FileStreamSource", &source), []);
    }
    let bed = Bed::shipped_with(&[OPEN, ("file.allowed.paths", "/data")]);
    let created =
        bed.put("/connectors/n/config", r#"{"connector.class":"FileStreamSink","topics":"t","file":"/etc/cron.d/x"}"#);
    assert_eq!(created.status, 400);
    assert!(created.message().contains("not within file.allowed.paths=/data of the worker file"), "{created:?}");
    // Standard input and output lead nowhere.
    assert_eq!(errors(&bed, "FileStreamSource", &[("topic", "t")]), []);
}

#[test]
fn every_folder_of_a_watched_inbox_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let bed = Bed::shipped_with(&[("file.allowed.paths", &path("lab"))]);
    let config = |input: &str, finished: &str, error: &str| {
        let keys = [("input.path", input), ("finished.path", finished), ("error.path", error)];
        let keys = keys.into_iter().chain([("cleanup.policy", "MOVE"), ("topic", "t")]);
        errors(&bed, "LabFilesSource", &keys.collect::<Vec<_>>()).into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    let two = format!("{},{}", path("lab/in"), path("other"));
    assert_eq!(config(&two, &path("done"), &path("lab/../bad")), ["input.path", "error.path", "finished.path"]);
}

#[test]
fn kafka_clients_of_a_connector_keep_to_hosts_and_files_that_are_allowed() {
    let bed = Bed::shipped_with(&[("url.allowed.hosts", "kafka.example"), ("file.allowed.paths", "/data")]);
    let of = |key: &str, value: &str| {
        let more = [("topics", "t"), ("file", "/data/out"), (key, value)];
        errors(&bed, "FileStreamSink", &more).into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    let servers = "consumer.override.bootstrap.servers";
    assert_eq!(of(servers, "kafka.example:9092,169.254.169.254:80"), [servers]);
    assert_eq!(of(servers, "kafka.example:9092,127.0.0.1:1"), [""; 0], "the worker's own broker is always allowed");
    let store = "consumer.override.ssl.truststore.location";
    assert_eq!(of(store, "/home/me/trust.pem"), [store]);
}

#[test]
fn mqtt_keeps_to_hosts_and_files_that_are_allowed() {
    let bed = Bed::shipped_with(&[("url.allowed.hosts", "mqtt.example"), ("file.allowed.paths", "/data")]);
    let of = |server: &str, file: &str| {
        let tls = ["mqtt.ssl.ca.path", "mqtt.ssl.cert.path", "mqtt.ssl.key.path"].map(|key| (key, file));
        let more = [("mqtt.topics", "lab/#"), ("kafka.topic", "t"), ("mqtt.server.uri", server)];
        let wrong = errors(&bed, "MqttSource", &[&more[..], &tls[..]].concat()).into_iter();
        wrong.filter(|(_, text)| text.contains("To allow it, write ")).map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(of("mqtts://mqtt.example:8883", "/data/key.pem"), [""; 0]);
    assert_eq!(of("mqtts://169.254.169.254:8883", "/data/key.pem"), ["mqtt.server.uri"]);
    let files = of("mqtts://mqtt.example:8883", "/home/me/key.pem");
    assert_eq!(files, ["mqtt.ssl.ca.path", "mqtt.ssl.cert.path", "mqtt.ssl.key.path"]);
}

#[test]
fn a_link_that_was_changed_since_validation_leads_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let (inner, secret) = (folder.path().join("in"), folder.path().join("secret"));
    fs::create_dir(&inner).unwrap();
    fs::write(&secret, "secret\n").unwrap();
    let file = inner.join("file");
    let source = build::config(&[("file", file.to_str().unwrap()), ("topic", "t")]);
    let mut source = SourceHarness::new(&connector_file::SOURCE, source).unwrap().within(reach(&inner));
    source.start().unwrap();
    symlink(&secret, &file).unwrap();
    let error = source.records(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "a restart would not help");
    assert!(error.to_string().contains(&format!("which is {}", secret.display())), "{error}");

    let dangling = folder.path().join("made");
    symlink(&dangling, inner.join("out")).unwrap();
    let sink = build::config(&[("file", inner.join("out").to_str().unwrap())]);
    let mut sink = SinkHarness::new(&connector_file::SINK, sink).unwrap().within(reach(&inner));
    sink.start().unwrap_err();
    assert!(!dangling.exists(), "not even an empty file");
    fs::remove_file(inner.join("out")).unwrap();
    sink.start().unwrap();
    let tp = TopicPartition::new("t", 0);
    sink.open(std::slice::from_ref(&tp)).unwrap();
    sink.put(&tp, vec![build::text("fine")]).unwrap().1.unwrap();
    assert_eq!(fs::read_to_string(inner.join("out")).unwrap(), "fine\n");
}

#[test]
fn a_watched_folder_that_became_a_link_out_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let (inner, outer) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir(&outer).unwrap();
    fs::write(outer.join("a.csv"), "secret\n1\n").unwrap();
    symlink(&outer, &inner).unwrap();
    let config = build::config(&[("input.path", inner.to_str().unwrap()), ("cleanup.policy", "NONE"), ("topic", "t")]);
    let allowed = folder.path().join("allowed");
    let mut source = SourceHarness::new(&connector_lab_files::SOURCE, config).unwrap().within(reach(&allowed));
    let error = source.start().unwrap_err();
    assert!(
        error.kind() == ErrorKind::Config && error.to_string().contains("input.path: connectors may not use"),
        "{error}"
    );
}
