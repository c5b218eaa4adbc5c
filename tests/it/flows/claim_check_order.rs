//! ClaimCheck before a store far away: a real server of S3 (moto) behind a wire on which each request takes another time.
//! Records leave in the order in which they came, and those that wait together take an eighth of the time, also when the
//! source hands them over one by one.

use std::path::Path;
use std::time::{Duration, Instant};

use pipette_store::Digest;
use serde_json::{Value, json};

use super::told::BrokerProcess;
use crate::support::moto::Moto;
use crate::support::wire::{Fault, Wire};
use crate::support::worker::Worker;
use crate::support::{figures, free_ports, topic, wait};

const THRESHOLD: usize = 1_000;
/// What 16 in flight have to gain.
const FACTOR: f64 = 8.0;

struct Extent {
    /// One at a time.
    alone: usize,
    together: usize,
    patience: Duration,
}

#[test]
fn an_uneven_store_changes_no_order_and_costs_an_eighth() {
    let extent = Extent { alone: 40, together: 400, patience: Duration::from_mins(2) };
    figures::record("claim_check_order_short", &play(&extent));
}

#[test]
#[ignore = "ten minutes; the command is in docs/proofs/README.md"]
fn ten_thousand() {
    let extent = Extent { alone: 400, together: 10_000, patience: Duration::from_mins(15) };
    figures::record("claim_check_order", &play(&extent));
}

fn play(extent: &Extent) -> String {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let moto = Moto::start();
    let [port] = free_ports();
    let wire = Wire::lay(port, moto.port());
    wire.set(Fault::Uneven);
    let broker = BrokerProcess::start(folder.path());
    let mut worker = Worker::prepare(folder.path(), &broker.address(), &[]);
    worker.start();
    let run = |name: &str, records: usize, in_flight: usize, batch: usize| {
        let (file, lines) = write(folder.path(), name, records);
        let config = source(&file, name, port, in_flight, batch);
        let answer = worker.rest().put(&format!("/connectors/{name}/config"), &config).expect("an answer");
        assert_eq!(answer.status, 201, "{answer:?}");
        let speed = speed(&broker.address(), name, records, extent.patience);
        same_order(&topic::values(&broker.address(), name), &lines);
        let answer = worker.rest().send("DELETE", &format!("/connectors/{name}"), None).expect("an answer");
        assert_eq!(answer.status, 204, "{answer:?}");
        speed
    };
    let alone = run("alone", extent.alone, 1, 500);
    let together = run("together", extent.together, 16, 500);
    let dropping = run("one-by-one", extent.together, 16, 1);
    assert!(worker.stop().success());
    for speed in [together, dropping] {
        assert!(
            speed >= FACTOR * alone,
            "{alone:.1}/s one at a time, {together:.1}/s and {dropping:.1}/s with 16 in flight"
        );
    }
    format!(
        "{} records each in order; {alone:.1}/s one at a time, {together:.1}/s with 16 in flight ({:.1} times), {dropping:.1}/s \
         when they come one by one ({:.1} times)",
        extent.together,
        together / alone,
        dropping / alone
    )
}

/// Lines of which three in four are larger than the threshold, each another one.
fn write(folder: &Path, name: &str, records: usize) -> (std::path::PathBuf, Vec<String>) {
    let line = |number: usize| {
        let filling = if number % 4 == 3 { 0 } else { THRESHOLD + number * 37 % 3_000 };
        format!("{number} {}", "x".repeat(filling))
    };
    let lines: Vec<String> = (0..records).map(line).collect();
    let file = folder.join(format!("{name}.txt"));
    std::fs::write(&file, lines.join("\n") + "\n").expect("a file");
    (file, lines)
}

fn source(file: &Path, topic: &str, port: u16, in_flight: usize, batch: usize) -> Value {
    json!({
        "connector.class": "FileStreamSource", "file": file, "topic": topic, "batch.size": batch.to_string(),
        "value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable": "false",
        "transforms": "claim", "transforms.claim.type": "ClaimCheck",
        "transforms.claim.threshold.bytes": THRESHOLD.to_string(),
        "transforms.claim.max.in.flight": in_flight.to_string(),
        "transforms.claim.store.uri": format!("s3://lake/{topic}"),
        "transforms.claim.store.allow.http": "true",
        "transforms.claim.store.options.aws_endpoint": format!("http://127.0.0.1:{port}"),
        "transforms.claim.store.options.aws_region": "us-east-1",
        "transforms.claim.store.options.aws_access_key_id": "key",
        "transforms.claim.store.options.aws_secret_access_key": "secret",
    })
}

/// Records a second, from the first in the topic to the last.
fn speed(bootstrap: &str, topic: &str, records: usize, patience: Duration) -> f64 {
    let reach = |wanted: usize| {
        wait::until("records in the topic", patience, || {
            let there = usize::try_from(topic::size_if_any(bootstrap, topic)).expect("a number");
            if there >= wanted { Ok((there, Instant::now())) } else { Err(format!("{there} of {wanted}")) }
        })
    };
    let (first, began) = reach(1);
    let (last, ended) = reach(records);
    let arrived = u32::try_from(last - first).expect("a small number");
    f64::from(arrived) / (ended - began).as_secs_f64()
}

fn same_order(values: &[String], lines: &[String]) {
    assert_eq!(values.len(), lines.len());
    for (number, (value, line)) in values.iter().zip(lines).enumerate() {
        let value: Value = serde_json::from_str(value).expect("JSON");
        if line.len() < THRESHOLD {
            assert_eq!(value, *line, "record {number}");
        } else {
            assert_eq!(value["digest"], format!("sha256:{}", Digest::of(line.as_bytes()).hex()), "record {number}");
            assert_eq!(value["size"], line.len(), "record {number}");
        }
    }
}
