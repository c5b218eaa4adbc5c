//! Files around Kafka by way of S3, with the default header converter: what has an entity tag, and a store that is away.

use std::io::Write;
use std::net::TcpListener;

use serde_json::{Map, Value, json};

use super::claim_check::{BYTES, PATIENCE, create, goes_round, noise, with};
use super::told::BrokerProcess;
use crate::support::bucket::Bucket;
use crate::support::worker::Worker;
use crate::support::{topic, wait};

/// The store's keys for a step of a connector, beside others.
fn step(alias: &str, store: Vec<(String, String)>, more: &Value) -> Value {
    let store = store.into_iter().map(|(name, value)| (format!("transforms.{alias}.{name}"), Value::String(value)));
    with(Value::Object(store.collect::<Map<_, _>>()), more)
}

/// Names that JSON escapes, and one that Connect takes for a date.
const NAMES: [&str; 4] = ["a.png", "say \"yes\".bin", "it is {so}: [1].bin", "2026-11-26"];

fn files() -> Vec<(&'static str, Vec<u8>)> {
    NAMES.iter().zip(600_000..).map(|(name, size)| (*name, noise(size))).collect()
}

#[test]
fn what_only_the_header_tells_of_comes_back_from_a_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::start(&folder.path().join("s3"));
    let told = json!({"value.converter": BYTES, "transforms.claim.value.mode": "header-only"});
    let source = step("claim", bucket.keys(), &told);
    let sink = step("restore", bucket.keys(), &json!({"value.converter": BYTES}));
    let records = goes_round(folder.path(), &files(), &source, &sink);
    assert_eq!(records.len(), NAMES.len());
    for record in records {
        assert_eq!(record.value.as_deref(), Some(""));
        assert!(record.header("claim-check").contains("etag"), "{}", record.header("claim-check"));
    }
}

#[test]
fn the_flag_of_others_is_one_byte_in_kafka_and_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::start(&folder.path().join("s3"));
    let form = json!({"value.converter": BYTES, "transforms.claim.reference.format": "bakdata-header"});
    let source = step("claim", bucket.keys(), &form);
    let form = json!({
        "value.converter": BYTES, "transforms.restore.reference.formats": "bakdata-header",
        "transforms.restore.integrity": "if-present",
    });
    let sink = step("restore", bucket.keys(), &form);
    let files = vec![("a.png", noise(600_000))];
    let records = goes_round(folder.path(), &files, &source, &sink);
    assert_eq!(records[0].header("__large.message.backed.value"), "\u{1}");
}

/// The store is away while the file grows: what goes out is what is there then, once, and the task goes on.
#[test]
fn a_file_that_grows_while_its_upload_waits_settles_and_is_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("in")).unwrap();
    let (begin, rest) = (noise(600_000), noise(300_000));
    std::fs::write(at("in").join("a.bin"), &begin).unwrap();
    let broker = BrokerProcess::start(folder.path());
    let mut worker = Worker::prepare(folder.path(), &broker.address(), &[]);
    worker.start();
    let away = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = away.local_addr().unwrap().port();
    let config = json!({
        "connector.class": "io.pipette.LabFilesSourceConnector", "topic": "images", "input.path": at("in"),
        "output.mode": "whole", "cleanup.policy": "NONE", "value.converter": BYTES,
        "file.minimum.age.ms": "0", "settle.interval.ms": "50", "poll.interval.ms": "100",
        "transforms": "claim", "transforms.claim.type": "io.pipette.transforms.ClaimCheck$Value",
        "transforms.claim.value.mode": "header-only",
    });
    create(&worker, "lab-in", &step("claim", Bucket::keys_at(port), &config));
    // Somebody asks the store, which does not answer.
    let asked = away.accept().unwrap();
    std::fs::OpenOptions::new().append(true).open(at("in").join("a.bin")).unwrap().write_all(&rest).unwrap();
    drop((asked, away));
    let bucket = Bucket::start_at(&at("s3"), port);
    let records = wait::until("the reference", PATIENCE, || {
        worker.assert_lives();
        let status = worker.rest().get("/connectors/lab-in/status").unwrap().body.to_string();
        assert!(!status.contains("FAILED"), "{status}");
        match topic::records(&broker.address(), "images") {
            records if records.is_empty() => Err(status),
            records => Ok(records),
        }
    });
    assert!(worker.stop().success());
    assert_eq!(topic::records(&broker.address(), "images").len(), 1);
    let told = &records[0].header("claim-check");
    assert!(told.contains("\"size\":900000"), "{told}");
    assert!(worker.log().contains("changed on its way"), "{}", worker.log());
    drop(bucket);
}
