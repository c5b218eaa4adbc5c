//! How fast images go into a folder, beside a bare copy that takes their SHA-256 and syncs: `speed FOLDER [COUNT]`.
//!
//! Both read the same files from memory and write them side by side, four at a time; rounds take turns, so that a disk that
//! slows down slows both.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use pipette_api::{Payload, PayloadReader, Result};
use pipette_store::{Digest, Naming, ObjectUri, Origin, Store, StoreSettings, Strategy, UploadOptions, Uploader};

const SIZE: usize = 4 << 20;
const SIDE_BY_SIDE: usize = 4;
const ROUNDS: usize = 5;

#[derive(Debug)]
struct Image(Bytes);

struct Pieces(Bytes);

#[async_trait]
impl Payload for Image {
    fn len(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }

    async fn open(&self, _: u64, _: Option<u64>) -> Result<Box<dyn PayloadReader>> {
        Ok(Box::new(Pieces(self.0.clone())))
    }
}

#[async_trait]
impl PayloadReader for Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let piece = self.0.split_to(self.0.len().min(1 << 20));
        Ok((!piece.is_empty()).then_some(piece))
    }
}

fn image(number: usize) -> Bytes {
    let words = (0..SIZE / 8).map(|word| ((word * 1_000_003 + number) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    words.flat_map(u64::to_le_bytes).collect::<Vec<u8>>().into()
}

fn copy(image: &Bytes, folder: &Path) {
    let draft = folder.join(format!("draft-{:?}", std::thread::current().id()));
    let mut file = File::create(&draft).unwrap();
    file.write_all(image).unwrap();
    file.sync_data().unwrap();
    fs::rename(&draft, folder.join(Digest::of(image).hex())).unwrap();
    File::open(folder).unwrap().sync_all().unwrap();
}

fn bare(images: &[Bytes], folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    std::thread::scope(|scope| {
        for part in images.chunks(images.len().div_ceil(SIDE_BY_SIDE)) {
            scope.spawn(move || part.iter().for_each(|image| copy(image, folder)));
        }
    });
}

async fn store(images: &[Bytes], folder: &Path) {
    let settings = StoreSettings::at(ObjectUri::read(&format!("file://{}", folder.display())).unwrap());
    let naming = Naming::new("${topic}", Strategy::Content).unwrap();
    let uploads = Uploader::new(Store::open(&settings).unwrap(), UploadOptions::new(naming, "speed-0"), None);
    let mut running = tokio::task::JoinSet::new();
    for image in images {
        if running.len() == SIDE_BY_SIDE {
            running.join_next().await.unwrap().unwrap();
        }
        let (uploads, image) = (uploads.clone(), Arc::new(Image(image.clone())));
        running.spawn(async move {
            let stored = uploads.upload(&*image, &Origin { topic: "images", ..Origin::default() }).await.unwrap();
            assert!(!stored.found);
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
}

fn timed(images: &[Bytes], folder: &PathBuf, act: impl FnOnce(&[Bytes], &Path)) -> f64 {
    let started = Instant::now();
    act(images, folder);
    let megabytes = u32::try_from(images.len() * SIZE / 1_000_000).unwrap();
    let speed = f64::from(megabytes) / started.elapsed().as_secs_f64();
    fs::remove_dir_all(folder).unwrap();
    speed
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "/tmp/speed".into()));
    let count = arguments.next().map_or(100, |count| count.parse().unwrap());
    let images: Vec<Bytes> = (0..count).map(image).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut copies, mut stores) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        copies.push(timed(&images, &folder.join(format!("copy-{round}")), bare));
        let into = folder.join(format!("store-{round}"));
        stores.push(timed(&images, &into, |images, folder| runtime.block_on(store(images, folder))));
        println!("round {round}: bare copy {:.0} MB/s, store {:.0} MB/s", copies[round], stores[round]);
    }
    let median = |mut speeds: Vec<f64>| {
        speeds.sort_by(f64::total_cmp);
        speeds[ROUNDS / 2]
    };
    let (copy, store) = (median(copies), median(stores));
    println!("median of {ROUNDS}: bare copy {copy:.0} MB/s, store {store:.0} MB/s, ratio {:.2}", store / copy);
}
