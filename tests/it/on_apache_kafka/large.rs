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
/// The largest value, and what everything between is told to let through.
const LARGE: u64 = 100_000_000;
const LIMIT: &str = "110000000";

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

struct Scene {
    kafka: ApacheKafka,
    worker: Worker,
    inbox: PathBuf,
    outbox: PathBuf,
    _folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let broker = [("message.max.bytes", LIMIT), ("socket.request.max.bytes", "209715200")];
        let kafka = ApacheKafka::start(&folder.path().join("kafka"), &broker);
        let keys = [("memory.budget.bytes", "536870912"), ("payload.inline.max.bytes", "100000000")];
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
    let scene = Scene::new();
    let name = |number: u8| format!("file-{number}.bin");
    (0..files).for_each(|number| write(&scene.inbox.join(name(number)), size, number));
    topic::create(&scene.kafka.bootstrap(), "files", 1, &[("max.message.bytes", LIMIT)]);
    scene.peak();
    scene.connector(
        "in",
        &json!({
            "connector.class": "LabFilesSource", "topic": "files", "input.path": scene.inbox, "output.mode": "whole",
            "settle.interval.ms": 50, "settle.checks": 2, "value.converter": BYTES, "cleanup.policy": "DELETE",
            "producer.override.max.request.size": LIMIT,
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
            "value.converter": BYTES, "consumer.override.fetch.max.bytes": LIMIT,
            "consumer.override.max.partition.fetch.bytes": LIMIT,
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

fn assert_lean(case: &str, files: u8, size: u64, factor: f64) {
    let [source, sink] = through_kafka(files, size);
    let megabytes = |bytes: f64| bytes / 1e6;
    let line = format!(
        "{files} records of {size} bytes: peak of the source {:.0} MB, of the sink {:.0} MB",
        megabytes(source),
        megabytes(sink)
    );
    figures::record(&format!("large_{case}"), &line);
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    let limit = size as f64 * factor;
    assert!(source <= limit && sink <= limit, "more than {factor} times the record: {line}");
}

/// The short form: the same keys, records of a third of the size. The program itself weighs more beside them.
#[test]
fn records_of_30_megabytes_go_through_in_bounded_memory() {
    assert_lean("short", 3, 30_000_000, 5.0);
}

#[test]
#[ignore = "long: writes and reads a gigabyte"]
fn records_of_100_megabytes_take_four_times_their_size_at_most() {
    assert_lean("long", 6, LARGE, 4.0);
}
