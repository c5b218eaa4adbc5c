//! Large files on their way around Kafka: a folder → ClaimCheck → Kafka → ClaimCheckRestore → another folder, with the real
//! worker on the embedded broker, and references that somebody else has written.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::told::BrokerProcess;
use crate::support::worker::Worker;
use crate::support::{topic, wait};

pub(super) const PATIENCE: Duration = Duration::from_mins(1);
pub(super) const BYTES: &str = "org.apache.kafka.connect.converters.ByteArrayConverter";
const JSON: &str = "org.apache.kafka.connect.json.JsonConverter";

/// Bytes that do not repeat.
pub(super) fn noise(len: u64) -> Vec<u8> {
    let words = (0..len.div_ceil(8)).map(|word| (word + len).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut bytes: Vec<u8> = words.flat_map(|word| (word ^ (word >> 29)).to_le_bytes()).collect();
    bytes.truncate(usize::try_from(len).unwrap());
    bytes
}

pub(super) fn create(worker: &Worker, name: &str, config: &Value) {
    let made = worker.rest().put(&format!("/connectors/{name}/config"), config).unwrap();
    assert_eq!(made.status, 201, "{made:?}");
}

pub(super) fn with(mut config: Value, more: &Value) -> Value {
    let members = more.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(members);
    config
}

/// Files of all sizes from one folder into the other; answers what was in Kafka.
pub(super) fn goes_round(folder: &Path, files: &[(&str, Vec<u8>)], source: &Value, sink: &Value) -> Vec<topic::Record> {
    let at = |name: &str| folder.join(name);
    for name in ["in", "out", "store"] {
        std::fs::create_dir_all(at(name)).unwrap();
    }
    for (name, bytes) in files {
        std::fs::write(at("in").join(name), bytes).unwrap();
    }
    let broker = BrokerProcess::start(folder);
    let mut worker = Worker::prepare(folder, &broker.address(), &[]);
    worker.start();
    let store = format!("file://{}", at("store").display());
    let config = json!({
        "connector.class": "io.pipette.LabFilesSourceConnector", "topic": "images", "input.path": at("in"),
        "output.mode": "whole", "key": "name", "headers.include": "file.name", "cleanup.policy": "NONE",
        "file.minimum.age.ms": "0", "settle.interval.ms": "50", "poll.interval.ms": "100",
        "transforms": "claim", "transforms.claim.type": "io.pipette.transforms.ClaimCheck$Value",
        "transforms.claim.store.uri": store,
    });
    create(&worker, "lab-in", &with(config, source));
    let config = json!({
        "connector.class": "io.pipette.LabFilesSinkConnector", "topics": "images", "output.path": at("out"),
        "file.name": "${key}",
        "transforms": "restore", "transforms.restore.type": "io.pipette.transforms.ClaimCheckRestore$Value",
        "transforms.restore.store.uri": store,
    });
    create(&worker, "lab-out", &with(config, sink));
    wait::until("the files", PATIENCE, || {
        worker.assert_lives();
        let there = |name: &str| std::fs::metadata(at("out").join(name)).is_ok();
        if files.iter().all(|(name, _)| there(name)) {
            return Ok(());
        }
        let status = |name: &str| worker.rest().get(&format!("/connectors/{name}/status")).unwrap().body;
        Err(format!("{} {}", status("lab-in"), status("lab-out")))
    });
    for (name, bytes) in files {
        assert!(std::fs::read(at("out").join(name)).unwrap() == *bytes, "{name} is another file now");
    }
    let metrics = worker.rest().get("/metrics").unwrap().body.to_string();
    assert!(metrics.contains("claim_check_payloads_total"), "{metrics}");
    assert!(worker.stop().success());
    topic::records(&broker.address(), "images")
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let sizes = [("a.png", 4 << 20), ("b.bin", 524_288), ("c.tif", 20_000_001), ("d.txt", 524_287), ("e.bin", 10)];
    sizes.into_iter().map(|(name, size)| (name, noise(size))).collect()
}

#[test]
fn files_go_around_kafka_and_are_the_same_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let files = files();
    let json = json!({"value.converter": JSON, "transforms.claim.metadata.extract": "basic,tiff"});
    let records = goes_round(folder.path(), &files, &json, &json!({"value.converter": JSON}));
    assert_eq!(records.len(), files.len());
    for (name, bytes) in &files {
        let record = records.iter().find(|record| record.key.as_deref() == Some(name)).unwrap();
        let large = bytes.len() >= 524_288;
        let value = record.value.as_deref().unwrap();
        assert_eq!(value.len() < 3000, large || bytes.len() < 100, "{name}: {} bytes in Kafka", value.len());
        assert_eq!(record.header("claim-check").contains("sha256:"), large, "{name}");
        assert_eq!(value.contains("io.pipette.claimcheck.Reference"), large, "{name}");
    }
}

#[test]
fn with_bytes_in_kafka_the_reference_stands_in_the_header_alone() {
    let folder = tempfile::tempdir().unwrap();
    let files = files();
    let source = json!({
        "value.converter": BYTES, "transforms.claim.value.mode": "header-only", "transforms.claim.compression": "zstd",
    });
    let records = goes_round(folder.path(), &files, &source, &json!({"value.converter": BYTES}));
    for (name, bytes) in &files {
        let record = records.iter().find(|record| record.key.as_deref() == Some(name)).unwrap();
        let value = record.value.as_deref().expect("never a tombstone");
        assert_eq!(value.is_empty(), bytes.len() >= 524_288, "{name}");
    }
}

/// Addresses that a restore from `s3://lake/inbox` must not follow.
const ELSEWHERE: [&str; 11] = [
    "s3://other/inbox/a",
    "s3://lake/outbox/a",
    "s3://lake/inbox-2/a",
    "s3://lake/inbox/../outbox/a",
    "s3://lake/inbox/%2e%2e/outbox/a",
    "s3://lake/inbox/%252e%252e/outbox/a",
    "s3://lake/inbox/x%2f..%2f..%2foutbox",
    "s3://user:secret@lake/inbox/a",
    "http://169.254.169.254/latest/meta-data/",
    "https://[fe80::1]/inbox/a",
    "file:///etc/passwd",
];

fn restoring(output: &Path, endpoint: &str) -> Value {
    json!({
        "connector.class": "FileStreamSink", "file": output, "topics": "images",
        "value.converter": JSON, "value.converter.schemas.enable": "false",
        "errors.tolerance": "all", "errors.deadletterqueue.topic.name": "dead",
        "errors.deadletterqueue.topic.replication.factor": "1",
        "errors.deadletterqueue.context.headers.enable": "true",
        "transforms": "restore", "transforms.restore.type": "ClaimCheckRestore",
        "transforms.restore.store.uri": "s3://lake/inbox",
        "transforms.restore.store.allow.http": "true",
        "transforms.restore.store.options.aws_endpoint": endpoint,
        "transforms.restore.store.options.aws_region": "us-east-1",
        "transforms.restore.store.options.aws_access_key_id": "key",
        "transforms.restore.store.options.aws_secret_access_key": "hunter2",
        "transforms.restore.on.missing": "pass-reference",
        "transforms.restore.retry.timeout.ms": "0",
    })
}

/// Whoever may write to a topic must not choose what this worker asks of whom.
#[test]
fn references_that_lead_elsewhere_are_refused_before_any_request() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.txt");
    let broker = BrokerProcess::start(folder.path());
    let bootstrap = broker.address();
    let mut worker = Worker::prepare(folder.path(), &bootstrap, &[]);
    worker.start();
    let digest = "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
    let store = TcpListener::bind("127.0.0.1:0").unwrap();
    store.set_nonblocking(true).unwrap();
    for address in ELSEWHERE {
        let reference = json!({"uri": address, "size": 1, "digest": digest});
        topic::write(&bootstrap, "images", 0, "k", &reference.to_string());
    }
    topic::write(&bootstrap, "images", 0, "k", "\"a value that stayed in Kafka\"");
    let endpoint = format!("http://{}", store.local_addr().unwrap());
    create(&worker, "lab-out", &restoring(&output, &endpoint));
    wait::until("the value behind them", PATIENCE, || {
        let text = std::fs::read_to_string(&output).unwrap_or_default();
        if text == "a value that stayed in Kafka\n" { Ok(()) } else { Err(format!("{text:?}")) }
    });
    let letters = wait::until("the dead letters", PATIENCE, || match topic::records(&bootstrap, "dead") {
        letters if letters.len() == ELSEWHERE.len() => Ok(letters),
        letters => Err(format!("{letters:?}")),
    });
    for letter in letters {
        let told = letter.header("__connect.errors.exception.message");
        assert!(told.contains("transformation \"restore\": the reference is refused"), "{told}");
        assert!(!told.contains("secret"), "{told}");
    }
    let asked = store.accept();
    assert!(asked.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "somebody asked the store");
    let log = worker.log();
    assert!(!log.contains("hunter2") && !log.contains("user:secret"), "{log}");
    assert!(worker.stop().success());
}
