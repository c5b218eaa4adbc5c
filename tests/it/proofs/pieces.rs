//! Payloads of any size through Kafka in pieces: three sources send whole files into one topic, a sink puts them together and
//! writes them. In the middle the worker is killed, and the sink's partitions move between tasks. Every payload is a file
//! whole, and one that its producer never finished is in the dead letter topic by its id.
//!
//! What a source had sent but not committed when it was killed is sent again. What went in pieces is known by its id; what
//! fits into one record may come again when it travels at least once, and none may with exactly-once. The long form plays
//! both.
//!
//! The third way keeps what was put together in a bucket and reads it from there: one object for each large content, however
//! often its pieces came, and no upload that is left open.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pipette::bench::process::resident_mib;
use pipette_broker::{Broker, BrokerConfig};
use pipette_kit::Dice;
use serde_json::{Value, json};

use super::edge::whole;
use super::frame::{Proof, Round};
use super::tally::Tally;
use crate::support::bucket::Bucket;
use crate::support::topic::Record;
use crate::support::worker::{DIRECT, Worker};
use crate::support::{topic, wait};

const PROOF: Proof = Proof { name: "pieces", rounds: 2 };
const TOPIC: &str = "payloads";
const LETTERS: &str = "letters";
const SINK: &str = "out";
const BLOCK: usize = 1 << 20;
const KILLS: usize = 1;
/// The smallest part that a store takes.
const PART: u64 = 5 << 20;
/// What goes through the converter.
const INLINE: u64 = 1 << 20;
/// Only a worker whose offsets are in Kafka does it.
const EXACTLY_ONCE: [(&str, &str); 4] = [
    ("group.id", "pieces"),
    ("offset.storage.topic", "pieces-offsets"),
    ("offset.storage.partitions", "3"),
    ("exactly.once.source.support", "enabled"),
];

struct Extent {
    payloads: usize,
    largest: usize,
    piece: u64,
    /// Of open payloads in memory.
    memory: &'static str,
    timeout_ms: &'static str,
    patience: Duration,
    exactly_once: bool,
    /// Large payloads go through a bucket on their way to the sink.
    store: bool,
}

#[test]
#[ignore = "some gigabytes and half an hour; the command stands in docs/proofs/README.md"]
fn pieces() {
    PROOF.long(|round| {
        let exactly_once = round.number % 2 == 1;
        let (memory, timeout_ms, patience) = ("33554432", "120000", Duration::from_hours(1));
        let extent = Extent {
            payloads: 1_000,
            largest: 200_000_000,
            piece: 800_000,
            memory,
            timeout_ms,
            patience,
            exactly_once,
            store: false,
        };
        play(round, &extent)
    });
}

#[test]
fn pieces_short() {
    PROOF.short(|round| play(round, &short(false)));
}

#[test]
fn pieces_exactly_once_short() {
    PROOF.short(|round| play(round, &short(true)));
}

#[test]
fn pieces_by_a_bucket_short() {
    PROOF.short(|round| play(round, &Extent { store: true, ..short(false) }));
}

fn short(exactly_once: bool) -> Extent {
    let (memory, timeout_ms, patience) = ("500000", "5000", Duration::from_mins(2));
    Extent {
        payloads: 30,
        largest: 6_000_000,
        piece: 100_000,
        memory,
        timeout_ms,
        patience,
        exactly_once,
        store: false,
    }
}

fn play(round: &mut Round, extent: &Extent) -> Tally {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let handed = hand_over(&mut round.dice, folder.path(), extent);
    for name in ["outbox", "spill"] {
        fs::create_dir(at(name)).expect("a folder");
    }
    let mut config = BrokerConfig::on_any_port(at("broker"));
    config.default_partitions = 3;
    let bucket = extent.store.then(|| Bucket::start(&at("s3")));
    let bucket = bucket.as_ref();
    let broker = Broker::start(config).expect("a broker");
    let bootstrap = broker.address().to_string();
    topic::create(&bootstrap, TOPIC, 3, &[]);
    let abandoned = abandon(&bootstrap);

    let keys: &[(&str, &str)] = if extent.exactly_once { &EXACTLY_ONCE } else { &[] };
    let mut worker = Worker::prepare(folder.path(), &bootstrap, &[&[DIRECT], keys].concat());
    worker.start();
    for number in 0..3 {
        put(&worker, &format!("in-{number}"), &source(folder.path(), number, extent));
    }
    put(&worker, SINK, &sink(folder.path(), extent, 1, bucket));
    let reach = |share: usize| {
        wait::until("payloads", extent.patience, || match files(&at("outbox")) {
            files if files.len() * 4 >= extent.payloads * share => Ok(()),
            files => Err(format!("{} files", files.len())),
        });
    };
    reach(1);
    worker.kill();
    worker.start();
    reach(2);
    put(&worker, SINK, &sink(folder.path(), extent, 2, bucket));
    reach(3);
    put(&worker, SINK, &sink(folder.path(), extent, 3, bucket));
    wait::until("every payload", extent.patience, || {
        worker.assert_lives();
        let found = files(&at("outbox")).len();
        if found >= extent.payloads { Ok(()) } else { Err(format!("{found} of {}", extent.payloads)) }
    });
    let letters = await_letter(&bootstrap, &abandoned, extent);
    let memory = resident_mib(&worker.pid().to_string()).expect("its memory");
    assert!(worker.stop().success(), "it stops");

    let (megabytes, twice) = judge(&at("outbox"), &handed, extent);
    let mut tally = Tally::default();
    if let Some(bucket) = bucket {
        tally.add("objects", judge_bucket(bucket, &handed));
    }
    tally.add("payloads", handed.len());
    tally.add("MB", megabytes);
    tally.add("records in Kafka", usize::try_from(topic::size(&bootstrap, TOPIC)).expect("a number"));
    tally.add("kills", KILLS);
    tally.add("came again in one record", twice);
    tally.add("moves of partitions", 2);
    tally.add("letters", letters);
    tally.most("KiB of memory at the end", whole(memory * 1024.0));
    tally
}

/// Every payload is there, whole, and as often as it may be; answers how many MB they are, and how many came twice.
fn judge(outbox: &Path, handed: &BTreeMap<(u64, u64), usize>, extent: &Extent) -> (usize, usize) {
    let mut found = BTreeMap::<(u64, u64), usize>::new();
    for file in files(outbox) {
        *found.entry(digest(&file)).or_default() += 1;
    }
    assert_eq!(found.keys().filter(|one| !handed.contains_key(*one)).count(), 0, "strange");
    assert_eq!(handed.keys().filter(|one| !found.contains_key(*one)).count(), 0, "missing");
    let mut twice = 0;
    for ((len, _), count) in found.iter().filter(|(_, count)| **count > 1) {
        assert!(!extent.exactly_once && *len <= extent.piece, "a payload of {len} bytes came {count} times");
        assert!(*count <= 1 + KILLS, "a payload of {len} bytes came {count} times");
        twice += 1;
    }
    (usize::try_from(found.keys().map(|(len, _)| len).sum::<u64>() / 1_000_000).expect("a size"), twice)
}

pub(super) fn put(worker: &Worker, name: &str, config: &Value) {
    let answer = worker.rest().put(&format!("/connectors/{name}/config"), config).expect("REST answers");
    assert!([200, 201].contains(&answer.status), "{name}: {}", answer.body);
}

fn source(folder: &Path, number: usize, extent: &Extent) -> Value {
    json!({
        "connector.class": "LabFilesSource",
        "topic": TOPIC,
        "input.path": folder.join(format!("inbox-{number}")),
        "error.path": folder.join("failed"),
        "cleanup.policy": "DELETE",
        "output.mode": "whole",
        "settle.checks": "2",
        "settle.interval.ms": "50",
        "poll.interval.ms": "100",
        "value.converter": "ByteArrayConverter",
        "transforms": "chunk",
        "transforms.chunk.type": "Chunk",
        "transforms.chunk.chunk.bytes": extent.piece.to_string(),
        "exactly.once.support": if extent.exactly_once { "required" } else { "requested" },
    })
}

fn sink(folder: &Path, extent: &Extent, tasks: usize, bucket: Option<&Bucket>) -> Value {
    let mut config = json!({
        "connector.class": "LabFilesSink",
        "tasks.max": tasks.to_string(),
        "topics": TOPIC,
        "output.path": folder.join("outbox"),
        "file.name": "${topic}+${partition}+${offset:20}.bin",
        "value.converter": "ByteArrayConverter",
        "errors.tolerance": "all",
        "errors.deadletterqueue.topic.name": LETTERS,
        "errors.deadletterqueue.topic.replication.factor": "1",
        "errors.deadletterqueue.context.headers.enable": "true",
        "transforms": "whole",
        "transforms.whole.type": "Reassemble",
        "transforms.whole.memory.bytes": extent.memory,
        "transforms.whole.disk.dir": folder.join("spill"),
        "transforms.whole.disk.bytes": "1000000000",
        "transforms.whole.on.incomplete": "dlq",
        "transforms.whole.timeout.ms": extent.timeout_ms,
        "consumer.override.isolation.level": if extent.exactly_once { "read_committed" } else { "read_uncommitted" },
        // A killed consumer stays a member until its session ends, and its successor waits that long.
        "consumer.override.session.timeout.ms": "1000",
        "consumer.override.heartbeat.interval.ms": "300",
    });
    if let Some(bucket) = bucket {
        config["transforms"] = json!("whole,back");
        config["transforms.whole.assemble.to"] = json!("store");
        config["transforms.whole.part.size.bytes"] = json!(PART.to_string());
        config["transforms.back.type"] = json!("ClaimCheckRestore");
        for (key, value) in bucket.keys() {
            config[format!("transforms.back.{key}")] = json!(value);
            config[format!("transforms.whole.{key}")] = json!(value);
        }
    }
    config
}

/// What is in the bucket: each large content once, and nothing half done.
fn judge_bucket(bucket: &Bucket, handed: &BTreeMap<(u64, u64), usize>) -> usize {
    assert_eq!(bucket.open_uploads(), 0, "uploads are open");
    let mut folders = vec![bucket.root()];
    let mut found = BTreeMap::<(u64, u64), usize>::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
            if entry.metadata().expect("its kind").is_dir() {
                folders.push(entry.path());
            } else {
                *found.entry(digest(&entry.path())).or_default() += 1;
            }
        }
    }
    let large = handed.keys().filter(|(len, _)| *len > INLINE).map(|one| (*one, 1)).collect();
    assert_eq!(found, large, "objects");
    assert!(large.keys().any(|(len, _)| *len > PART), "one goes in parts");
    found.len()
}

/// Files of many sizes in three folders: their lengths and digests.
fn hand_over(dice: &mut Dice, folder: &Path, extent: &Extent) -> BTreeMap<(u64, u64), usize> {
    for name in ["inbox-0", "inbox-1", "inbox-2", "failed"] {
        fs::create_dir(folder.join(name)).expect("a folder");
    }
    let mut handed = BTreeMap::new();
    for number in 0..extent.payloads {
        // Most are small, and the last is as large as any may be.
        let share = if number + 1 == extent.payloads { 1_000 } else { dice.below(1_000) };
        let share = u32::try_from(share).expect("a share");
        let steps = (f64::from(share) / 1_000.0).powi(3);
        let ratio = f64::from(u32::try_from(extent.largest / 1_000).expect("a ratio"));
        let len = whole(1_000.0 * ratio.powf(steps));
        let file = folder.join(format!("inbox-{}/{number}.bin", number % 3));
        write(&file, len, dice.bits());
        handed.insert(digest(&file), number);
    }
    assert_eq!(handed.len(), extent.payloads, "no two are the same");
    handed
}

fn write(file: &Path, len: usize, seed: u64) {
    let mut dice = Dice(seed);
    let mut block: Vec<u8> = (0..BLOCK / 8).flat_map(|_| dice.bits().to_le_bytes()).collect();
    let mut file = File::create(file).expect("a file");
    let mut left = len;
    while left > 0 {
        let now = left.min(BLOCK);
        block[..8].copy_from_slice(&(left as u64).to_le_bytes());
        file.write_all(&block[..now]).expect("written");
        left -= now;
    }
}

fn digest(path: &Path) -> (u64, u64) {
    let (mut file, mut hasher) = (File::open(path).expect("a file"), DefaultHasher::new());
    let (mut block, mut len) = (vec![0; BLOCK], 0);
    loop {
        match file.read(&mut block).expect("its bytes") {
            0 => return (len, hasher.finish()),
            read => {
                hasher.write(&block[..read]);
                len += read as u64;
            }
        }
    }
}

/// Payloads; what only makes time go on is smaller.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let is_payload = |entry: &fs::DirEntry| entry.metadata().is_ok_and(|it| it.is_file() && it.len() >= 1_000);
    entries.filter(is_payload).map(|entry| entry.path()).collect()
}

/// The first piece of three, whose producer is never heard of again; answers its id.
fn abandon(bootstrap: &str) -> String {
    let id = "00112233445566778899aabbccddeeff";
    let headers =
        [("chunk-v", "1"), ("chunk-id", id), ("chunk-index", "0"), ("chunk-count", "3"), ("chunk-offset", "0")];
    topic::write_with(bootstrap, TOPIC, 0, &headers, "only the beginning");
    id.to_owned()
}

/// Time goes on in the partition until the payload that nobody finishes is a letter; answers how many there are.
fn await_letter(bootstrap: &str, id: &str, extent: &Extent) -> usize {
    let names =
        |record: &Record| record.headers.iter().any(|(_, text)| text.as_deref().is_some_and(|it| it.contains(id)));
    wait::until("the letter", extent.patience, || {
        topic::write_with(bootstrap, TOPIC, 0, &[], "time goes on");
        let letters = match topic::size_if_any(bootstrap, LETTERS) {
            0 => Vec::new(),
            _ => topic::records(bootstrap, LETTERS),
        };
        match letters.iter().find(|letter| names(letter)) {
            Some(letter) => {
                let why = letter.header("__connect.errors.exception.message");
                assert!(why.contains(&format!("{id} of {TOPIC}-0 is not complete: 1 of 3 pieces came")), "{why}");
                assert_eq!(letter.value.as_deref(), Some("only the beginning"));
                Ok(letters.len())
            }
            None => Err(format!("{} letters", letters.len())),
        }
    })
}
