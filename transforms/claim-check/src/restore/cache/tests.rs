use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use pipette_api::ErrorKind;
use pipette_kit::Bench;
use pipette_store::{Allowed, Digest, Integrity, Limits, ObjectUri, Reference, StoreSettings, Stores};
use tempfile::TempDir;

use super::disk::BLOCK;
use super::*;

const MOST: Limits = Limits { max_bytes: 1 << 30 };

/// A folder with objects, and a cache before it.
struct Trial {
    bench: Bench,
    folder: TempDir,
    cache: Arc<Cache>,
}

impl Trial {
    fn new(memory: u64, disk: Option<(u64, File)>) -> Self {
        let disk = disk.map(|(limit, file)| (Shelf::new(limit, Metric::default()), Arena::new(file)));
        let cache = Cache::of(Shelf::new(memory, Metric::default()), disk, Metric::default(), Metric::default());
        Self { bench: Bench::new().unwrap(), folder: tempfile::tempdir().unwrap(), cache }
    }

    fn object(&self, name: &str, content: &[u8]) -> Cached {
        std::fs::write(self.folder.path().join(name), content).unwrap();
        let root = ObjectUri::read(&format!("file://{}", self.folder.path().display())).unwrap();
        let stores = Stores::new(StoreSettings::at(root.clone()), Allowed::only(root.clone()));
        let (size, digest) = (Some(content.len() as u64), Some(Digest::of(content)));
        let reference = Reference { size, digest, ..Reference::to(format!("{root}/{name}")) };
        let (store, key) = stores.find(&reference.uri).unwrap();
        let object = StoredPayload::new(store, key, reference, MOST, Integrity::Require).unwrap();
        Cached::new(&self.cache, object, MOST.max_bytes).unwrap()
    }

    fn gone(&self, name: &str) {
        std::fs::remove_file(self.folder.path().join(name)).unwrap();
    }

    fn read(&self, of: &Cached) -> Result<Vec<u8>> {
        self.bench.run("reading", async {
            let (mut reader, mut all) = (of.open(0, None).await?, Vec::new());
            while let Some(bytes) = reader.next().await? {
                all.extend_from_slice(&bytes);
            }
            Ok(all)
        })?
    }

    fn counted(&self) -> (i64, i64) {
        (self.cache.hits.get(), self.cache.misses.get())
    }
}

fn content(of: u8, len: u64) -> Vec<u8> {
    (0..len).map(|at| of.wrapping_add((at % 251) as u8)).collect()
}

fn file() -> (tempfile::NamedTempFile, File) {
    let named = tempfile::NamedTempFile::new().unwrap();
    let file = OpenOptions::new().read(true).write(true).open(named.path()).unwrap();
    (named, file)
}

#[test]
fn the_disk_keeps_to_its_limit_and_its_blocks_are_used_again() {
    let (named, file) = file();
    let trial = Trial::new(0, Some((4 * BLOCK, file)));
    for round in 0..3_u8 {
        for n in 0..4_u8 {
            let content = content(n * 16 + round, BLOCK * 3 / 2);
            let object = trial.object(&format!("{n}-{round}"), &content);
            assert_eq!(trial.read(&object).unwrap(), content);
            assert!(named.path().metadata().unwrap().len() <= 4 * BLOCK, "the file is larger than its limit");
            trial.gone(&format!("{n}-{round}"));
            assert_eq!(trial.read(&object).unwrap(), content, "from the cache, block by block");
        }
    }
    assert_eq!(trial.cache.disk.as_ref().unwrap().0.used(), 4 * BLOCK);
}

#[test]
fn a_disk_that_fails_is_no_error() {
    let (named, writable) = file();
    let read_only = File::open(named.path()).unwrap();
    let trial = Trial::new(0, Some((BLOCK, read_only)));
    let object = trial.object("a", b"large value");
    for _ in 0..2 {
        assert_eq!(trial.read(&object).unwrap(), b"large value");
    }
    assert_eq!(trial.counted(), (0, 2), "it is read from the store");
    assert_eq!(trial.cache.disk.as_ref().unwrap().0.used(), 0, "what could not be written takes no room");

    let trial = Trial::new(0, Some((4 * BLOCK, writable.try_clone().unwrap())));
    let content = content(7, 3 * BLOCK);
    let object = trial.object("b", &content);
    trial.read(&object).unwrap();
    writable.set_len(BLOCK).unwrap();
    assert_eq!(trial.read(&object).unwrap(), content, "what the disk lost comes from the store");
    assert_eq!(trial.read(&object).unwrap(), content);
    assert_eq!(trial.counted().1, 2, "and is not looked for on the disk again");
}

#[test]
fn what_was_damaged_on_disk_is_told_before_the_end_and_read_anew() {
    let (_named, file) = file();
    let trial = Trial::new(0, Some((4 * BLOCK, file.try_clone().unwrap())));
    let content = content(7, 2 * BLOCK);
    let mut object = trial.object("a", &content);
    trial.read(&object).unwrap();
    assert!(object.pin());
    file.write_all_at(b"x", BLOCK + 5).unwrap();
    let error = trial.read(&object).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retriable, "{error}");
    assert_eq!(trial.read(&object).unwrap(), content, "the next try, of the same handle");
}

#[test]
fn what_is_held_keeps_its_room_and_nothing_goes_for_what_does_not_fit() {
    let room = |len: u64| len + 256 + 200;
    let trial = Trial::new(room(3000), None);
    let (one, two) = (content(1, 2000), content(2, 2000));
    let mut held = trial.object("one", &one);
    trial.read(&held).unwrap();
    assert!(held.pin());
    let other = trial.object("two", &two);
    assert_eq!(trial.read(&other).unwrap(), two);
    assert!(!other.clone().pin(), "there was no room beside what is held");
    assert!(held.clone().pin(), "what is held did not go for nothing");
    trial.gone("one");
    assert_eq!(trial.read(&held).unwrap(), one, "what is held is there");
    assert!(trial.cache.memory.used() <= room(3000));
    drop(held);
    assert_eq!(trial.read(&other).unwrap(), two);
    assert!(other.clone().pin(), "there is room once nobody holds the other");
}

#[test]
fn what_was_not_read_to_its_end_or_is_something_else_is_not_kept() {
    let trial = Trial::new(1 << 20, None);
    let content = content(3, 3 << 20 >> 2);
    let object = trial.object("a", &content);
    trial.bench.run("reading", async { object.open(0, None).await.unwrap().next().await.unwrap() }).unwrap();
    trial.bench.run("reading", async { object.open(5, Some(7)).await.unwrap().next().await.unwrap() }).unwrap();
    assert!(!object.clone().pin());
    assert_eq!(trial.cache.memory.used(), 0, "a draft that was given up takes no room");
    let mut forged = content.clone();
    forged[100] ^= 1;
    std::fs::write(trial.folder.path().join("a"), &forged).unwrap();
    assert_eq!(trial.read(&object).unwrap_err().kind(), ErrorKind::Data);
    assert!(!object.clone().pin());
}

#[test]
fn ranges_are_cut_from_what_is_kept() {
    let trial = Trial::new(1 << 20, None);
    let content = content(3, 5000);
    let object = trial.object("a", &content);
    trial.read(&object).unwrap();
    trial.gone("a");
    for (start, len) in [(0, Some(10)), (4990, Some(10)), (100, None), (5000, None), (7, Some(0))] {
        let read = trial.bench.run("reading", async {
            let (mut reader, mut all) = (object.open(start, len).await?, Vec::new());
            while let Some(bytes) = reader.next().await? {
                all.extend_from_slice(&bytes);
            }
            Ok::<_, ConnectError>(all)
        });
        let from = usize::try_from(start).unwrap();
        let to = len.map_or(5000, |len| from + usize::try_from(len).unwrap());
        assert_eq!(read.unwrap().unwrap(), &content[from..to], "{start} {len:?}");
    }
    let outside = trial.bench.run("opening", object.open(4990, Some(11))).unwrap();
    assert_eq!(outside.map(drop).unwrap_err().kind(), ErrorKind::Data);
}
