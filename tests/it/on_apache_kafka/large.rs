//! Records as large as Kafka can be told to take: whole files into it and out of it again, in little more memory than they
//! are large.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pipette::bench::process::{forget_peak, peak_mib};
use serde_json::json;

use crate::support::kafka::ApacheKafka;
use crate::support::worker::Worker;
use crate::support::{figures, topic, wait};

const PATIENCE: Duration = Duration::from_mins(3);
const BYTES: &str = "org.apache.kafka.connect.converters.ByteArrayConverter";
/// What file `seed` is filled with, again and again.
fn block(seed: u8) -> Vec<u8> {
    (0..4 << 20).map(|at: u32| seed ^ at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect()
}

fn write(path: &Path, size: u64, seed: u8) {
    let (mut file, block) = (File::create(path).expect("a file"), block(seed));
    let mut left = size;
    while left > 0 {
        let part = usize::try_from(left).expect("a size").min(block.len());
        file.write_all(&block[..part]).expect("it is written");
        left -= part as u64;
    }
}

/// Which file this is, if it is one of them from its first byte to its last.
fn recognised(path: &Path) -> Option<u8> {
    let all = fs::read(path).expect("a file");
    let seed = *all.first()?;
    let block = block(seed);
    all.chunks(block.len()).all(|part| part == &block[..part.len()]).then_some(seed)
}

fn size_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

/// What everything between is told to let through: a tenth more.
fn limit(size: u64) -> String {
    (size * 11 / 10).to_string()
}

struct Scene {
    kafka: ApacheKafka,
    worker: Worker,
    inbox: PathBuf,
    outbox: PathBuf,
    _folder: tempfile::TempDir,
}

impl Scene {
    /// For values of `size` bytes.
    fn new(size: u64) -> Self {
        let (limit, request, budget) = (limit(size), (2 * size).to_string(), (size * 16 / 3).to_string());
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let broker = [("message.max.bytes", limit.as_str()), ("socket.request.max.bytes", &request)];
        let kafka = ApacheKafka::start(&folder.path().join("kafka"), &broker);
        let inline = size.to_string();
        let keys = [("memory.budget.bytes", budget.as_str()), ("payload.inline.max.bytes", &inline)];
        let mut worker = Worker::prepare(folder.path(), &kafka.bootstrap(), &keys);
        worker.start();
        let [inbox, outbox] = ["inbox", "outbox"].map(|name| folder.path().join(name));
        [&inbox, &outbox].into_iter().for_each(|path| fs::create_dir(path).expect("a folder"));
        Self { kafka, worker, inbox, outbox, _folder: folder }
    }

    fn connector(&self, name: &str, config: &serde_json::Value) {
        let answer = self.worker.rest().put(&format!("/connectors/{name}/config"), config).expect("an answer");
        assert!(answer.status < 300, "{answer:?}");
    }

    /// The peak since the last call, in bytes, of what the process holds in memory.
    fn peak(&self) -> f64 {
        let pid = self.worker.pid().to_string();
        let peak = peak_mib(&pid).expect("its memory");
        forget_peak(&pid).expect("a new peak");
        peak * f64::from(1 << 20)
    }
}

/// So many files of so many bytes, in and out; answers the two peaks.
fn through_kafka(files: u8, size: u64) -> [f64; 2] {
    let (scene, limit) = (Scene::new(size), limit(size));
    let name = |number: u8| format!("file-{number}.bin");
    (0..files).for_each(|number| write(&scene.inbox.join(name(number)), size, number));
    topic::create(&scene.kafka.bootstrap(), "files", 1, &[("max.message.bytes", &limit)]);
    scene.peak();
    scene.connector(
        "in",
        &json!({
            "connector.class": "LabFilesSource", "topic": "files", "input.path": scene.inbox, "output.mode": "whole",
            "settle.interval.ms": 50, "settle.checks": 2, "value.converter": BYTES, "cleanup.policy": "DELETE",
            "producer.override.max.request.size": limit,
        }),
    );
    wait::until("the files in Kafka", PATIENCE, || match topic::size(&scene.kafka.bootstrap(), "files") {
        there if there == i64::from(files) => Ok(()),
        there => Err(format!("{there}\n{}", scene.worker.log())),
    });
    let source = scene.peak();
    let stopped = scene.worker.rest().send("DELETE", "/connectors/in", None).expect("an answer");
    assert_eq!(stopped.status, 204, "{stopped:?}");
    scene.peak();
    scene.connector(
        "out",
        &json!({
            "connector.class": "LabFilesSink", "topics": "files", "output.path": scene.outbox, "file.name": "${offset}",
            "value.converter": BYTES, "consumer.override.fetch.max.bytes": limit,
            "consumer.override.max.partition.fetch.bytes": limit,
        }),
    );
    let out = |number: u8| scene.outbox.join(number.to_string());
    wait::until("the files back", PATIENCE, || {
        match (0..files).filter(|number| size_of(&out(*number)) == size).count() {
            there if there == usize::from(files) => Ok(()),
            there => Err(format!("{there}\n{}", scene.worker.log())),
        }
    });
    let sink = scene.peak();
    let mut found: Vec<Option<u8>> = (0..files).map(|number| recognised(&out(number))).collect();
    found.sort_unstable();
    assert_eq!(found, (0..files).map(Some).collect::<Vec<_>>(), "what came out is what went in");
    [source, sink]
}

fn assert_lean(case: &str, files: u8, size: u64) {
    let [source, sink] = through_kafka(files, size);
    let megabytes = |bytes: f64| bytes / 1e6;
    let line = format!(
        "{files} records of {size} bytes: peak of the source {:.0} MB, of the sink {:.0} MB",
        megabytes(source),
        megabytes(sink)
    );
    figures::record(&format!("large_{case}"), &line);
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    let limit = size as f64 * 4.0;
    assert!(source <= limit && sink <= limit, "more than four times the record: {line}");
}

#[test]
fn records_of_70_megabytes_take_four_times_their_size_at_most() {
    assert_lean("70", 3, 70_000_000);
}

#[test]
#[ignore = "long: a gigabyte is written and read"]
fn records_of_100_megabytes_take_four_times_their_size_at_most() {
    assert_lean("100", 6, 100_000_000);
}
