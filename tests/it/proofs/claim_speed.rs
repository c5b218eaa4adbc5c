//! How fast images of 4 MB leave a folder for a store that is another folder, through ClaimCheck in the real worker, beside
//! bare copies of the same files in the same run: read, SHA-256, written, synced, by one thread and by four.
//!
//! The worker counts from the first file it begins in the store to the last reference in Kafka. Passes take turns, so that a
//! disk that slows down slows all.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pipette::bench::process::{cpu_seconds, peak_mib};
use pipette_kit::Dice;
use pipette_store::Digest;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::edge::whole;
use super::frame::{Proof, Round};
use super::pieces::put;
use super::place::{Place, TOPIC};
use super::tally::Tally;
use crate::support::worker::Worker;
use crate::support::{embedded, topic, wait};

const PROOF: Proof = Proof { name: "claim_speed", rounds: 3 };
const SIZE: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_mins(2);
const THREADS: [usize; 2] = [1, 4];

struct Extent {
    images: usize,
    passes: usize,
    /// Enough, in MB/s.
    rate: f64,
    /// Else this of what one thread copies.
    ratio: f64,
}

#[test]
#[ignore = "two minutes and 4 GB of disk, for an optimised build on an idle machine; the command is in docs/proofs/README.md"]
fn long() {
    PROOF.long(|round| play(round, &Extent { images: 250, passes: 3, rate: 300.0, ratio: 0.8 }));
}

#[test]
fn short() {
    PROOF.short(|round| play(round, &Extent { images: 6, passes: 1, rate: 0.0, ratio: 0.0 }));
}

fn play(round: &mut Round, extent: &Extent) -> Tally {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for name in ["inbox", "failed"] {
        fs::create_dir(at(name)).expect("a folder");
    }
    let broker = embedded::broker(folder.path());
    let bootstrap = broker.address().to_string();
    topic::create(&bootstrap, TOPIC, 1, &[]);
    let reader: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &bootstrap).create().expect("a client");
    let stored =
        || usize::try_from(reader.fetch_watermarks(TOPIC, 0, PATIENCE).expect("the topic's end").1).expect("an end");
    let place = Place::folder(&at("store"));
    let mut worker = Worker::prepare(folder.path(), &bootstrap, &[]);
    worker.start();
    let mut config = place.source(folder.path(), &[]);
    config["input.path.walk.recursively"] = "true".into();
    put(&worker, "in", &config);

    let (mut copied, mut claimed, mut cpu) = ([0.0; THREADS.len()], 0.0, 0.0);
    let pid = worker.pid().to_string();
    for pass in 0..extent.passes {
        let images = make(&at("made"), extent.images, &mut round.dice);
        for (threads, took) in THREADS.into_iter().zip(&mut copied) {
            *took += copies(&images, &at("copy"), threads);
        }
        let used = cpu_seconds(&pid).expect("its CPU time");
        fs::rename(at("made"), at("inbox").join(format!("pass-{pass}"))).expect("handed over");
        let wanted = (pass + 1) * extent.images;
        wait::up_to(PATIENCE, || place.open() > 0 || stored() == wanted);
        let begun = Instant::now();
        wait::until("every reference", PATIENCE, || {
            worker.assert_lives();
            match stored() {
                there if there == wanted => Ok(()),
                there => Err(format!("{there} of {wanted}")),
            }
        });
        claimed += begun.elapsed().as_secs_f64();
        cpu += cpu_seconds(&pid).expect("its CPU time") - used;
        for object in place.objects() {
            fs::remove_file(object).expect("an object less");
        }
    }
    let megabytes = f64::from(u32::try_from(extent.images * extent.passes * SIZE / 1_000_000).expect("some gigabytes"));
    let (rate, [one, four]) = (megabytes / claimed, copied.map(|took| megabytes / took));
    let mut tally = Tally::default();
    tally.add("images", extent.images * extent.passes);
    tally.least("MB/s through ClaimCheck", whole(rate));
    tally.least("MB/s by a bare copy", whole(one));
    tally.least("MB/s by a bare copy of four threads", whole(four));
    tally.least("% of a bare copy", whole(rate / one * 100.0));
    tally.least("% of a bare copy of four threads", whole(rate / four * 100.0));
    tally.most("µs of CPU in the worker per MB", whole(cpu * 1e6 / megabytes));
    tally.most("KiB of memory", whole(peak_mib(&pid).expect("its memory") * 1024.0));
    assert!(worker.stop().success(), "SIGTERM must end the worker with exit code 0");
    assert!(rate >= extent.rate || rate >= one * extent.ratio, "ClaimCheck is too slow: {tally}");
    tally
}

fn make(folder: &Path, images: usize, dice: &mut Dice) -> Vec<PathBuf> {
    fs::create_dir(folder).expect("a folder");
    let mut bytes: Vec<u8> = (0..SIZE / 8).flat_map(|_| dice.bits().to_le_bytes()).collect();
    let make = |number: usize| {
        let path = folder.join(format!("{number:04}.png"));
        // One word makes another content of it.
        bytes[..8].copy_from_slice(&dice.bits().to_le_bytes());
        fs::write(&path, &bytes).expect("an image");
        path
    };
    (0..images).map(make).collect()
}

/// Seconds that a bare copy takes.
fn copies(images: &[PathBuf], folder: &Path, threads: usize) -> f64 {
    fs::create_dir(folder).expect("a folder");
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for part in images.chunks(images.len().div_ceil(threads)) {
            scope.spawn(move || part.iter().for_each(|image| copy(image, folder)));
        }
    });
    let took = begun.elapsed().as_secs_f64();
    fs::remove_dir_all(folder).expect("nothing is left of it");
    took
}

/// As durable as an object of the store: synced, named, and known to its folder.
fn copy(image: &Path, folder: &Path) {
    let bytes = fs::read(image).expect("an image");
    let draft = folder.join(image.file_name().expect("a name"));
    let mut file = File::create(&draft).expect("a file");
    file.write_all(&bytes).expect("written");
    file.sync_data().expect("synced");
    fs::rename(&draft, folder.join(Digest::of(&bytes).hex())).expect("named");
    File::open(folder).expect("a folder").sync_all().expect("synced");
}
