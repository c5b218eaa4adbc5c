//! ClaimCheck before a store that does not answer: nothing is lost to the dead letters, and the status says what is waited
//! for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::told::BrokerProcess;
use crate::support::worker::Worker;
use crate::support::{free_ports, topic, wait};

const PATIENCE: Duration = Duration::from_secs(40);
const FILES: usize = 3;

/// A connector for files of its own folder, with a store where nobody listens.
fn create(worker: &Worker, folder: &Path, name: &str, retry_timeout: &str) -> PathBuf {
    let input = folder.join(name);
    std::fs::create_dir_all(&input).unwrap();
    for number in 0..FILES {
        std::fs::write(input.join(format!("{number}.bin")), vec![b'x'; 600_000 + number]).unwrap();
    }
    let [nobody] = free_ports();
    let config = json!({
        "connector.class": "io.pipette.LabFilesSourceConnector", "topic": "images", "input.path": input,
        "output.mode": "whole", "key": "name", "cleanup.policy": "DELETE",
        "file.minimum.age.ms": "0", "settle.interval.ms": "50", "poll.interval.ms": "100",
        "errors.tolerance": "all", "errors.deadletterqueue.topic.name": "dead",
        "errors.deadletterqueue.topic.replication.factor": "1",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "transforms": "claim", "transforms.claim.type": "io.pipette.transforms.ClaimCheck$Value",
        "transforms.claim.retry.timeout.ms": retry_timeout,
        "transforms.claim.store.uri": "s3://lake/inbox",
        "transforms.claim.store.allow.http": "true",
        "transforms.claim.store.options.aws_endpoint": format!("http://127.0.0.1:{nobody}"),
        "transforms.claim.store.options.aws_region": "us-east-1",
        "transforms.claim.store.options.aws_access_key_id": "key",
        "transforms.claim.store.options.aws_secret_access_key": "hunter2",
    });
    let made = worker.rest().put(&format!("/connectors/{name}/config"), &config).unwrap();
    assert_eq!(made.status, 201, "{made:?}");
    input
}

fn wait_for_task(worker: &Worker, name: &str, is_right: impl Fn(&Value) -> bool) {
    wait::until(&format!("the status of {name}"), PATIENCE, || {
        let task = worker.rest().get(&format!("/connectors/{name}/status")).unwrap().body["tasks"][0].clone();
        if is_right(&task) { Ok(()) } else { Err(task.to_string()) }
    });
}

fn text<'a>(task: &'a Value, member: &str) -> &'a str {
    task[member].as_str().unwrap_or_default()
}

#[test]
fn files_stay_where_they_are_while_the_store_is_away_and_the_status_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let broker = BrokerProcess::start(folder.path());
    let mut worker = Worker::prepare(folder.path(), &broker.address(), &[]);
    worker.start();
    let patient = create(&worker, folder.path(), "patient", "-1");
    wait_for_task(&worker, "patient", |task| {
        text(task, "state") == "RUNNING" && text(task, "health").starts_with("away for ")
    });
    let hasty = create(&worker, folder.path(), "hasty", "400");
    wait_for_task(&worker, "hasty", |task| {
        text(task, "state") == "FAILED"
            && text(task, "trace").contains("transformation \"claim\"")
            && task["next_restart"] != Value::Null
    });
    for input in [patient, hasty] {
        assert_eq!(std::fs::read_dir(&input).unwrap().count(), FILES, "{}", input.display());
    }
    for name in ["images", "dead"] {
        assert_eq!(topic::size_if_any(&broker.address(), name), 0, "{name}");
    }
    // Its calls have been tried again by now, each of them more than once.
    wait_for_task(&worker, "patient", |task| !text(task, "health").starts_with("away for 1 s"));
    let log = worker.log();
    let told = log.lines().filter(|line| line.contains("patient") && line.contains("The store is away; trying again"));
    assert_eq!(told.count(), 1, "{log}");
    assert!(!log.contains("no effect") && !log.contains("hunter2"), "{log}");
    assert!(worker.stop().success());
}
