//! What config providers resolve is in no line of the log, whoever writes it.

use std::fs;
use std::time::Duration;

use serde_json::json;

use crate::support::wait;
use crate::support::worker::Worker;

#[test]
fn a_plugin_that_logs_what_a_placeholder_stands_for_shows_the_placeholder() {
    let folder = tempfile::tempdir().expect("a folder");
    let inbox = folder.path().join("inbox-of-the-quiet-room");
    fs::create_dir(&inbox).expect("the inbox");
    let secrets = folder.path().join("secrets.properties");
    fs::write(&secrets, format!("inbox={}\n", inbox.display())).expect("the secrets");
    let place = format!("${{secrets:{}:inbox}}", secrets.display());
    let keys = [
        ("config.providers", "secrets"),
        ("config.providers.secrets.class", "FileConfigProvider"),
        ("config.providers.secrets.param.allowed.paths", &secrets.display().to_string()),
    ];
    let mut worker = Worker::prepare(folder.path(), "127.0.0.1:9", &keys);
    worker.start();
    let config = json!({
        "connector.class": "LabFilesSource",
        "input.path": place,
        "topic": "lines",
        "cleanup.policy": "NONE",
    });
    let answer = worker.rest().put("/connectors/inbox/config", &config).expect("REST answers");
    assert_eq!(answer.status, 201, "{}", answer.body);
    wait::until("a running task", Duration::from_secs(20), || {
        let status = worker.rest().get("/connectors/inbox/status").expect("REST answers").body;
        if status["tasks"][0]["state"] == "RUNNING" { Ok(()) } else { Err(status.to_string()) }
    });
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
