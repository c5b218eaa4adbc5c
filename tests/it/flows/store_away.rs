//! ClaimCheck before a store that does not answer: nothing is lost to the dead letters, and the status says what is waited
//! for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::claim_check::{self, with};
use super::told::BrokerProcess;
use crate::support::worker::Worker;
use crate::support::{free_ports, topic, wait};

const PATIENCE: Duration = Duration::from_secs(40);
const FILES: usize = 3;

/// A connector for files of its own folder, with a store where nobody listens.
fn create(worker: &Worker, folder: &Path, name: &str, retry_timeout: &str) -> PathBuf {
    let [nobody] = free_ports();
    let store = json!({
        "transforms.claim.retry.timeout.ms": retry_timeout,
        "transforms.claim.store.uri": "s3://lake/inbox",
        "transforms.claim.store.allow.http": "true",
        "transforms.claim.store.options.aws_endpoint": format!("http://127.0.0.1:{nobody}"),
        "transforms.claim.store.options.aws_region": "us-east-1",
        "transforms.claim.store.options.aws_access_key_id": "key",
        "transforms.claim.store.options.aws_secret_access_key": "hunter2",
    });
    create_with(worker, folder, name, &store)
}

fn create_with(worker: &Worker, folder: &Path, name: &str, store: &Value) -> PathBuf {
    let input = folder.join(name);
    std::fs::create_dir_all(&input).unwrap();
    for number in 0..FILES {
        std::fs::write(input.join(format!("{number}.bin")), vec![b'x'; 600_000 + number]).unwrap();
    }
    let config = json!({
        "connector.class": "io.pipette.LabFilesSourceConnector", "topic": "images", "input.path": input,
        "output.mode": "whole", "key": "name", "cleanup.policy": "DELETE",
        "file.minimum.age.ms": "0", "settle.interval.ms": "50", "poll.interval.ms": "100",
        "errors.tolerance": "all", "errors.deadletterqueue.topic.name": "dead",
        "errors.deadletterqueue.topic.replication.factor": "1",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "transforms": "claim", "transforms.claim.type": "io.pipette.transforms.ClaimCheck$Value",
    });
    claim_check::create(worker, name, &with(config, store));
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

/// The share of a folder store is mounted later than the worker starts: neither the connector that used it nor a new one
/// writes into the mount point.
#[test]
fn a_share_that_is_mounted_after_the_worker_has_started_gets_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let (share, elsewhere) = (folder.path().join("share"), folder.path().join("elsewhere"));
    let broker = BrokerProcess::start(folder.path());
    let mut worker = Worker::prepare(folder.path(), &broker.address(), &[]);
    worker.start();
    let store = json!({
        "transforms.claim.retry.timeout.ms": "-1",
        "transforms.claim.store.uri": format!("file://{}", share.display()),
    });
    let arrive = |files: usize| {
        wait::until("the references", PATIENCE, || match topic::size_if_any(&broker.address(), "images") {
            size if size == i64::try_from(files).unwrap() => Ok(()),
            size => Err(format!("{size} of {files}")),
        });
    };
    let first = create_with(&worker, folder.path(), "first", &store);
    arrive(FILES);
    assert!(worker.stop().success());
    std::fs::rename(&share, &elsewhere).unwrap();
    std::fs::create_dir(&share).unwrap();
    std::fs::write(first.join("more.bin"), vec![b'y'; 600_000]).unwrap();
    worker.start();
    create_with(&worker, folder.path(), "second", &store);
    for name in ["first", "second"] {
        wait_for_task(&worker, name, |task| {
            text(task, "state") == "RUNNING" && text(task, "health").contains("is its share mounted")
        });
    }
    assert_eq!(std::fs::read_dir(&share).unwrap().count(), 0);
    std::fs::remove_dir(&share).unwrap();
    std::fs::rename(&elsewhere, &share).unwrap();
    arrive(FILES * 2 + 1);
    assert!(worker.stop().success());
}
