//! Files larger than memory around Kafka: a folder → ClaimCheck → a folder or S3 → ClaimCheckRestore → another folder. They
//! come out as they went in, and the worker has little of them in memory at a time; sizes beyond 2^32 too.
//!
//! The files are sparse: a mark at the begin of each MiB tells where it belongs, the rest takes no disk. What is written
//! takes some: the largest that is stored as it is needs its size twice, in the store and behind it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use pipette::bench::process::peak_mib;
use pipette_kit::Dice;

use super::edge::whole;
use super::frame::{Proof, Round};
use super::pieces::put;
use super::place::{Place, TOPIC, Told, digest};
use super::tally::Tally;
use crate::support::bucket::Bucket;
use crate::support::worker::Worker;
use crate::support::{embedded, topic, wait};

const PROOF: Proof = Proof { name: "claim_check", rounds: LONG.len() };
const MIB: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_mins(10);

/// One file and its way.
struct Case {
    size: u64,
    bucket: bool,
    compression: &'static str,
    /// Goes back into a file; else the way ends in the store, where the disk would not take it twice.
    back: bool,
}

const LONG: [Case; 4] = [
    Case { size: 3_000_000_000, bucket: false, compression: "none", back: true },
    Case { size: 3_000_000_000, bucket: true, compression: "none", back: true },
    Case { size: (1 << 32) + 12_345, bucket: false, compression: "zstd", back: true },
    Case { size: (1 << 32) + 12_345, bucket: true, compression: "none", back: false },
];
const SHORT: [Case; 2] = [
    Case { size: 200_000_123, bucket: false, compression: "none", back: true },
    Case { size: 100_000_123, bucket: true, compression: "none", back: true },
];
/// Of the worker's memory at its peak.
const MEGABYTES: f64 = 150.0;

#[test]
#[ignore = "four minutes and 7 GB of disk; the command stands in docs/proofs/README.md"]
fn long() {
    PROOF.long(|round| play(round, &LONG[round.number]));
}

#[test]
fn short() {
    PROOF.short(|round| {
        let mut tally = Tally::default();
        for case in &SHORT {
            tally.append(&play(round, case));
        }
        tally
    });
}

fn play(round: &mut Round, case: &Case) -> Tally {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for name in ["inbox", "outbox", "failed"] {
        fs::create_dir(at(name)).expect("a folder");
    }
    let place = if case.bucket { Place::Bucket(Bucket::start(&at("s3"))) } else { Place::folder(&at("store")) };
    write(&at("large.bin"), case.size, &mut round.dice);
    let wanted = digest(&at("large.bin"));
    let broker = embedded::broker(folder.path());
    let bootstrap = broker.address().to_string();
    topic::create(&bootstrap, TOPIC, 1, &[]);
    let mut worker = Worker::prepare(folder.path(), &bootstrap, &[]);
    worker.start();
    fs::rename(at("large.bin"), at("inbox").join("large.bin")).expect("a file that is handed over");
    put(&worker, "in", &place.source(folder.path(), &[("compression", case.compression)]));
    let (begun, what) = (Instant::now(), case.told());
    wait::until("the reference", PATIENCE, || {
        worker.assert_lives();
        let status = || worker.rest().get("/connectors/in/status").expect("REST answers").body.to_string();
        if topic::size(&bootstrap, TOPIC) == 1 { Ok(()) } else { Err(status()) }
    });
    let mut tally = Tally::default();
    tally.most(&format!("ms {what} into the store"), millis(begun));
    let told = Told::by(&topic::records(&bootstrap, TOPIC)[0]);
    assert_eq!((told.size, told.digest), (case.size, format!("sha256:{}", wanted.hex())), "what the reference says");
    if case.compression == "none" {
        assert_eq!(digest(&place.object(&told.uri)), wanted, "what is in the store");
    }
    if case.back {
        let begun = Instant::now();
        put(&worker, "out", &place.sink(folder.path()));
        wait::until("the file behind Kafka", PATIENCE, || {
            worker.assert_lives();
            let status = || worker.rest().get("/connectors/out/status").expect("REST answers").body.to_string();
            if at("outbox").join("large.bin").exists() { Ok(()) } else { Err(status()) }
        });
        tally.most(&format!("ms {what} back into a file"), millis(begun));
        assert_eq!(digest(&at("outbox").join("large.bin")), wanted, "the file behind Kafka");
    }
    let peak = peak_mib(&worker.pid().to_string()).expect("its memory");
    tally.most(&format!("KiB of memory for {what}"), whole(peak * 1024.0));
    assert!(worker.stop().success(), "SIGTERM must end the worker with exit code 0");
    assert_eq!(place.open(), 0, "uploads are open");
    let megabytes = peak * 1.048_576;
    assert!(megabytes <= MEGABYTES, "{megabytes:.0} MB of memory, {MEGABYTES} are allowed: {tally}");
    tally
}

impl Case {
    fn told(&self) -> String {
        let place = if self.bucket { "S3" } else { "a folder" };
        let how = if self.compression == "none" { String::new() } else { format!(" as {}", self.compression) };
        format!("{} bytes by {place}{how}", self.size)
    }
}

fn millis(since: Instant) -> usize {
    usize::try_from(since.elapsed().as_millis()).expect("minutes")
}

fn write(file: &Path, size: u64, dice: &mut Dice) {
    let file = File::create(file).expect("a file");
    file.set_len(size).expect("its size");
    for at in (0..size).step_by(usize::try_from(MIB).expect("a MiB")) {
        let mark: Vec<u8> = (0..8).flat_map(|_| dice.bits().to_le_bytes()).collect();
        let len = mark.len().min(usize::try_from(size - at).unwrap_or(usize::MAX));
        file.write_all_at(&mark[..len], at).expect("a mark");
    }
}
