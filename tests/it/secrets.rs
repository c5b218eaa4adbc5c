//! What config providers resolve is in no line of the log, whoever writes it, and in no status.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::support::mosquitto::Mosquitto;
use crate::support::worker::Worker;
use crate::support::{embedded, wait};

/// A worker with one secret, and the placeholder of that.
fn worker(folder: &Path, bootstrap: &str, secret: &str) -> (Worker, String) {
    let secrets = folder.join("secrets.properties");
    fs::write(&secrets, format!("it={secret}\n")).expect("the secrets");
    let keys = [
        ("config.providers", "secrets"),
        ("config.providers.secrets.class", "FileConfigProvider"),
        ("config.providers.secrets.param.allowed.paths", &secrets.display().to_string()),
    ];
    let mut worker = Worker::prepare(folder, bootstrap, &keys);
    worker.start();
    (worker, format!("${{secrets:{}:it}}", secrets.display()))
}

/// Until the first task's status is such.
fn until_status(worker: &Worker, name: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> String {
    wait::until("a status", Duration::from_secs(20), || {
        let status = worker.rest().get(&format!("/connectors/{name}/status")).expect("REST answers").body;
        if wanted(&status["tasks"][0]) { Ok(status.to_string()) } else { Err(status.to_string()) }
    })
}

#[test]
fn the_health_of_a_task_shows_the_placeholder() {
    let folder = tempfile::tempdir().expect("a folder");
    let (kafka, mut mosquitto) = (embedded::broker(folder.path()), Mosquitto::start());
    let (mut worker, place) = worker(folder.path(), &kafka.address().to_string(), &mosquitto.uri());
    let config = json!({
        "connector.class": "MqttSource", "mqtt.server.uri": place, "mqtt.topics": "lab/#", "kafka.topic": "lab",
        "mqtt.reconnect.backoff.ms": "50", "mqtt.reconnect.backoff.max.ms": "200",
    });
    let answer = worker.rest().put("/connectors/lab/config", &config).expect("REST answers");
    assert_eq!(answer.status, 201, "{}", answer.body);
    until_status(&worker, "lab", |task| task["state"] == "RUNNING");
    mosquitto.stop();
    let status = until_status(&worker, "lab", |task| task["health"].as_str().is_some_and(|text| text.contains("away")));
    assert!(status.contains(&place) && !status.contains(&mosquitto.uri()), "{status}");
    worker.stop();
}

#[test]
fn a_plugin_that_logs_what_a_placeholder_stands_for_shows_the_placeholder() {
    let folder = tempfile::tempdir().expect("a folder");
    let inbox = folder.path().join("inbox-of-the-quiet-room");
    fs::create_dir(&inbox).expect("the inbox");
    let (mut worker, place) = worker(folder.path(), "127.0.0.1:9", &inbox.display().to_string());
    let config = json!({
        "connector.class": "LabFilesSource",
        "input.path": place,
        "topic": "lines",
        "cleanup.policy": "NONE",
    });
    let answer = worker.rest().put("/connectors/inbox/config", &config).expect("REST answers");
    assert_eq!(answer.status, 201, "{}", answer.body);
    until_status(&worker, "inbox", |task| task["state"] == "RUNNING");
    fs::remove_dir(&inbox).expect("the inbox");
    // The plugin tells which folder is gone, and knows of no secret.
    wait::until("a line about the folder", Duration::from_secs(20), || {
        let log = worker.log();
        if log.contains("A watched folder cannot be looked at") { Ok(()) } else { Err(log) }
    });
    worker.stop();
    let log = worker.log();
    assert!(log.contains(&place) && !log.contains("quiet-room"), "{log}");
}
