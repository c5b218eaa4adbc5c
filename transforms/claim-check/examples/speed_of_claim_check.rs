//! How fast files of 4 MiB go through ClaimCheck into a folder, beside a bare copy that takes their SHA-256 and syncs:
//! `speed FOLDER [COUNT]`.
//!
//! Both read the same files. ClaimCheck has 16 records in flight, as in a task with its defaults; the copy has four threads.
//! Rounds take turns, so that a disk that slows down slows both.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use pipette_api::{
    AsyncTransform, Datum, Kind, Payload, PayloadReader, Plugin, Record, Result, Schema, Settings, Value, async_trait,
};
use pipette_kit::Bench;
use pipette_store::{Digest, Reference};
use transform_claim_check::PLUGINS;

const SIZE: usize = 4 << 20;
const IN_FLIGHT: usize = 16;
const THREADS: usize = 4;
const ROUNDS: usize = 5;
const BLOCK: u64 = 1 << 20;

/// A file, read as the file source reads it: in blocks of 1 MiB, where blocking is allowed.
#[derive(Debug)]
struct OnDisk(PathBuf);

struct Blocks(Option<File>);

#[async_trait]
impl Payload for OnDisk {
    fn len(&self) -> Option<u64> {
        Some(SIZE as u64)
    }

    async fn open(&self, _: u64, len: Option<u64>) -> Result<Box<dyn PayloadReader>> {
        let path = self.0.clone();
        let file = tokio::task::spawn_blocking(move || File::open(path).unwrap()).await.unwrap();
        assert!(len.is_none_or(|len| len <= BLOCK));
        Ok(Box::new(Blocks(Some(file))))
    }
}

#[async_trait]
impl PayloadReader for Blocks {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let mut file = self.0.take().unwrap();
        let (file, block) = tokio::task::spawn_blocking(move || {
            let mut block = Vec::new();
            Read::take(&mut file, BLOCK).read_to_end(&mut block).unwrap();
            (file, block)
        })
        .await
        .unwrap();
        self.0 = Some(file);
        Ok(Some(Bytes::from(block)).filter(|block| !block.is_empty()))
    }
}

fn image(number: usize) -> Vec<u8> {
    let words = (0..SIZE / 8).map(|word| ((word * 1_000_003 + number) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    words.flat_map(u64::to_le_bytes).collect()
}

fn copy(from: &Path, folder: &Path) {
    let image = fs::read(from).unwrap();
    let draft = folder.join(format!("draft-{:?}", std::thread::current().id()));
    let mut file = File::create(&draft).unwrap();
    file.write_all(&image).unwrap();
    file.sync_data().unwrap();
    fs::rename(&draft, folder.join(Digest::of(&image).hex())).unwrap();
    File::open(folder).unwrap().sync_all().unwrap();
}

fn bare(files: &[PathBuf], folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    std::thread::scope(|scope| {
        for part in files.chunks(files.len().div_ceil(THREADS)) {
            scope.spawn(move || part.iter().for_each(|file| copy(file, folder)));
        }
    });
}

fn claim_check(bench: &Bench, folder: &Path) -> Arc<dyn AsyncTransform> {
    let plugin = PLUGINS.iter().find_map(|plugin| match plugin {
        Plugin::AsyncTransform(plugin) if plugin.info.answers_to("ClaimCheck") => Some(plugin),
        _ => None,
    });
    let plugin = plugin.unwrap();
    let config = pipette_kit::build::config(&[("store.uri", &format!("file://{}", folder.display()))]);
    (plugin.make)(Settings::new(config, plugin.info.config), bench.transform()).unwrap().into()
}

async fn checked_in(transform: Arc<dyn AsyncTransform>, files: Vec<PathBuf>) {
    let mut running = tokio::task::JoinSet::new();
    for file in files {
        if running.len() == IN_FLIGHT {
            running.join_next().await.unwrap().unwrap();
        }
        let transform = Arc::clone(&transform);
        running.spawn(async move {
            let value = Datum::new(Schema::of(Kind::Bytes), Value::Payload(Arc::new(OnDisk(file))));
            let mut record = Record::new("images".into(), value);
            assert!(transform.needs(&record));
            transform.apply(&mut record).await.unwrap();
            assert!(Reference::of_value(&record.value.value).unwrap().is_some());
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}

fn timed(count: usize, folder: &Path, act: impl FnOnce(&Path)) -> f64 {
    let started = Instant::now();
    act(folder);
    let megabytes = u32::try_from(count * SIZE / 1_000_000).unwrap();
    let speed = f64::from(megabytes) / started.elapsed().as_secs_f64();
    fs::remove_dir_all(folder).unwrap();
    speed
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "/tmp/speed".into()));
    let count = arguments.next().map_or(100, |count| count.parse().unwrap());
    let inbox = folder.join("inbox");
    fs::create_dir_all(&inbox).unwrap();
    let files: Vec<_> = (0..count).map(|number| inbox.join(format!("{number}.png"))).collect();
    for (number, file) in files.iter().enumerate() {
        fs::write(file, image(number)).unwrap();
    }
    // As in a worker, calls run on a runtime of several threads.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let bench = Bench::new().unwrap();
    let (mut copies, mut claims) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        copies.push(timed(count, &folder.join(format!("copy-{round}")), |into| bare(&files, into)));
        let into = folder.join(format!("store-{round}"));
        claims.push(timed(count, &into, |into| runtime.block_on(checked_in(claim_check(&bench, into), files.clone()))));
        println!("round {round}: bare copy {:.0} MB/s, ClaimCheck {:.0} MB/s", copies[round], claims[round]);
    }
    let median = |mut speeds: Vec<f64>| {
        speeds.sort_by(f64::total_cmp);
        speeds[ROUNDS / 2]
    };
    let (copy, claim) = (median(copies), median(claims));
    println!("median of {ROUNDS}: bare copy {copy:.0} MB/s, ClaimCheck {claim:.0} MB/s, ratio {:.2}", claim / copy);
    fs::remove_dir_all(&inbox).unwrap();
}
