//! What a user may rely on: everything committed is there after any crash, and damage is never passed over.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::path::PathBuf;

use pipette_api::{OffsetMap, Partition};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::store::offset_json::tests::any_map;
use crate::store::{StoredConnector, TargetState};

type Model = BTreeMap<(String, Partition), OffsetMap>;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn position(value: i64) -> OffsetMap {
    OffsetMap::from([(Arc::from("position"), value.into())])
}

fn entry(partition: &Partition, offset: Option<OffsetMap>) -> OffsetEntry {
    OffsetEntry { partition: Arc::new(partition.clone()), offset }
}

fn contents(offsets: &FileOffsets, connectors: &[&str]) -> Model {
    let scan = |name: &&str| {
        let name = (*name).to_owned();
        let found = run(offsets.scan(&name)).unwrap();
        found.into_iter().map(move |(partition, offset)| ((name.clone(), partition), offset))
    };
    connectors.iter().flat_map(scan).collect()
}

/// A log of four commits, with its size and contents before the first and after each.
fn four_commits() -> (Vec<u8>, Vec<(usize, Model)>) {
    let dir = TempDir::new().unwrap();
    let offsets = FileOffsets::open(dir.path()).unwrap();
    let log = dir.path().join("offsets.log");
    let [a, b] = ["a.csv", "b.csv"].map(|name| Partition::of("file", name));
    let commits = [
        vec![entry(&a, Some(position(1)))],
        vec![entry(&a, Some(position(2))), entry(&b, Some(position(7)))],
        vec![entry(&a, None)],
        vec![entry(&b, Some(position(8)))],
    ];
    let mut states = vec![(fs::read(&log).unwrap().len(), Model::new())];
    for commit in commits {
        run(offsets.put("lab", commit)).unwrap();
        states.push((fs::read(&log).unwrap().len(), contents(&offsets, &["lab"])));
    }
    (fs::read(log).unwrap(), states)
}

/// What a worker finds in a log with those bytes.
fn open_bytes(bytes: &[u8]) -> Result<Model> {
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("offsets.log"), bytes).unwrap();
    FileOffsets::open(dir.path()).map(|offsets| contents(&offsets, &["lab"]))
}

#[test]
fn a_log_cut_at_any_byte_holds_the_commits_before_it() {
    let (bytes, states) = four_commits();
    for cut in frame::HEADER.len()..=bytes.len() {
        let (_, wanted) = states.iter().rev().find(|(size, _)| *size <= cut).unwrap();
        assert_eq!(open_bytes(&bytes[..cut]).unwrap(), *wanted, "cut at {cut}");
    }
    let error = open_bytes(&bytes[..5]).unwrap_err().to_string();
    assert!(error.contains("offsets.log is damaged: its first line"), "{error}");
}

#[test]
fn a_log_goes_on_after_a_cut() {
    let (bytes, states) = four_commits();
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("offsets.log");
    fs::write(&log, &bytes[..bytes.len() - 3]).unwrap();
    drop(FileOffsets::open(dir.path()).unwrap());
    assert_eq!(fs::read(&log).unwrap().len(), states[3].0, "what was torn is gone from the disk");
    let partition = Partition::of("file", "c.csv");
    run(FileOffsets::open(dir.path()).unwrap().put("lab", vec![entry(&partition, Some(position(3)))])).unwrap();
    let offsets = FileOffsets::open(dir.path()).unwrap();
    assert_eq!(run(offsets.get("lab", &partition)).unwrap(), Some(position(3)));
    assert_eq!(run(offsets.get("lab", &Partition::of("file", "b.csv"))).unwrap(), Some(position(7)));
}

#[test]
fn a_flipped_bit_before_the_last_commit_is_reported_with_file_and_position() {
    let (bytes, states) = four_commits();
    let last = states[states.len() - 2].0;
    // One bit of each byte, a different one each time.
    for bit in (0..bytes.len()).map(|byte| byte * 8 + byte % 8) {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let opened = open_bytes(&flipped);
        if bit / 8 >= last {
            // The last commit cannot be told from one that was being written: it is cut off, nothing else.
            assert_eq!(opened.unwrap(), states[states.len() - 2].1, "bit {bit}");
            continue;
        }
        let error = opened.unwrap_err().to_string();
        assert!(error.contains("offsets.log"), "bit {bit}: {error}");
        if bit / 8 >= frame::HEADER.len() {
            let (at, _) = states.iter().rev().find(|(size, _)| *size <= bit / 8).unwrap();
            assert!(error.contains(&format!("the commit at byte {at} fails its checksum")), "bit {bit}: {error}");
            assert!(error.contains("Restore it from a copy"), "{error}");
        }
    }
}

#[test]
fn a_log_of_a_newer_version_is_refused_by_name() {
    let error = open_bytes(b"pipette offsets, format 2\nsomething else").unwrap_err().to_string();
    assert!(error.contains("offsets.log has format 2") && error.contains("formats up to 1"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_was_put_is_there_after_a_restart(
        puts in proptest::collection::vec(
            (0..2_usize, proptest::collection::vec((any_map(), proptest::option::of(any_map())), 0..4)), 0..12,
        ),
    ) {
        let names = ["plant \"7\"", "lab"];
        let dir = TempDir::new().unwrap();
        let mut model = Model::new();
        let offsets = FileOffsets::open(dir.path()).unwrap();
        for (connector, put) in puts {
            let mut entries = Vec::new();
            for (partition, offset) in put {
                let key = (names[connector].to_owned(), Partition(partition));
                entries.push(entry(&key.1, offset.clone()));
                match offset {
                    Some(offset) => model.insert(key, offset),
                    None => model.remove(&key),
                };
            }
            run(offsets.put(names[connector], entries)).unwrap();
        }
        prop_assert_eq!(contents(&offsets, &names), model.clone());
        drop(offsets);
        let offsets = FileOffsets::open(dir.path()).unwrap();
        prop_assert_eq!(contents(&offsets, &names), model.clone());
        for ((connector, partition), offset) in &model {
            prop_assert_eq!(run(offsets.get(connector, partition)).unwrap(), Some(offset.clone()));
        }
    }
}

#[test]
fn a_log_of_garbage_is_rewritten_and_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let log = dir.path().join("offsets.log");
    let offsets = FileOffsets::open(dir.path()).unwrap();
    let kept = Partition::of("file", "kept.csv");
    run(offsets.put("lab", vec![entry(&kept, Some(position(1)))])).unwrap();
    let busy: Vec<Partition> = (0..2_000).map(|index| Partition::of("file", index)).collect();
    for round in 0..40 {
        let all = busy.iter().map(|partition| entry(partition, Some(position(round)))).collect();
        run(offsets.put("lab", all)).unwrap();
        assert_eq!(run(offsets.get("lab", &busy[7])).unwrap(), Some(position(round)));
    }
    let written = 40 * 2_000 * entry_size();
    drop(offsets);
    assert!(fs::metadata(&log).unwrap().len() < written / 3, "{} of {written}", fs::metadata(&log).unwrap().len());
    // A rewrite that was killed leaves its file behind; the log in place is the truth.
    fs::write(dir.path().join("offsets.log.new"), b"half a rewr").unwrap();
    let offsets = FileOffsets::open(dir.path()).unwrap();
    assert!(!dir.path().join("offsets.log.new").exists());
    assert_eq!(run(offsets.get("lab", &kept)).unwrap(), Some(position(1)));
    assert_eq!(run(offsets.scan("lab")).unwrap().len(), 2_001);
    assert_eq!(run(offsets.get("lab", &busy[1_999])).unwrap(), Some(position(39)));
}

fn entry_size() -> u64 {
    let key = offset_json::encode_key("lab", &Partition::of("file", 1_000));
    frame::Entry { key, value: Some(offset_json::encode_offset(&position(10))) }.size() as u64
}

#[test]
fn many_writers_share_one_log() {
    let dir = TempDir::new().unwrap();
    let offsets = Arc::new(FileOffsets::open(dir.path()).unwrap());
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let offsets = Arc::clone(&offsets);
            std::thread::spawn(move || {
                let partition = Partition::of("writer", writer);
                for round in 0..50 {
                    run(offsets.put("lab", vec![entry(&partition, Some(position(round)))])).unwrap();
                    assert_eq!(run(offsets.get("lab", &partition)).unwrap(), Some(position(round)));
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    drop(offsets);
    let found = run(FileOffsets::open(dir.path()).unwrap().scan("lab")).unwrap();
    assert_eq!(found.len(), 8);
    assert!(found.iter().all(|(_, offset)| *offset == position(49)));
}

#[test]
fn a_full_disk_is_told_and_the_next_commit_goes_on() {
    let dir = TempDir::new().unwrap();
    let offsets = FileOffsets::open(dir.path()).unwrap();
    let full = OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    offsets.swap_file(full);
    let partition = Partition::of("file", "a.csv");
    let error = run(offsets.put("lab", vec![entry(&partition, Some(position(1)))])).unwrap_err().to_string();
    assert!(error.contains("Cannot write") && error.contains("offsets.log"), "{error}");
    assert!(error.contains("the disk is full: free some space"), "{error}");
    run(offsets.put("lab", vec![entry(&partition, Some(position(2)))])).unwrap();
    drop(offsets);
    let offsets = FileOffsets::open(dir.path()).unwrap();
    assert_eq!(run(offsets.get("lab", &partition)).unwrap(), Some(position(2)));
}

#[test]
fn a_log_that_went_bad_while_running_is_reported_by_position() {
    let dir = TempDir::new().unwrap();
    let offsets = FileOffsets::open(dir.path()).unwrap();
    let partition = Partition::of("file", "a.csv");
    run(offsets.put("lab", vec![entry(&partition, Some(position(1)))])).unwrap();
    let mut bytes = fs::read(dir.path().join("offsets.log")).unwrap();
    let end = bytes.len() - 2;
    bytes[end] ^= 1;
    fs::write(dir.path().join("offsets.log"), bytes).unwrap();
    let error = run(offsets.get("lab", &partition)).unwrap_err().to_string();
    assert!(error.contains("the offset at byte 38 fails its checksum"), "{error}");
}

fn connector(name: &str, target: TargetState) -> StoredConnector {
    let config = [("name", name), ("connector.class", "FileStreamSource"), ("file", "ä \"b\".txt")];
    StoredConnector {
        name: Arc::from(name),
        config: config.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        target,
    }
}

#[test]
fn connectors_survive_a_restart() {
    let dir = TempDir::new().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    for (name, target) in [("a", TargetState::Paused), ("b/ü", TargetState::Stopped), ("c", TargetState::Started)] {
        run(store.connectors.put(&connector(name, target))).unwrap();
    }
    run(store.connectors.put(&connector("a", TargetState::Started))).unwrap();
    run(store.connectors.delete("c")).unwrap();
    drop(store);
    // Killed before its rename: the old file counts.
    fs::write(dir.path().join("connectors.json.new"), b"{").unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    let wanted = [connector("a", TargetState::Started), connector("b/ü", TargetState::Stopped)];
    assert_eq!(run(store.connectors.load()).unwrap(), wanted);
}

#[test]
fn a_bad_connectors_file_is_named() {
    for (text, wanted) in [
        ("{\"format\": 1, \"connectors\": [", "connectors.json is damaged: EOF while parsing a list at line 1"),
        ("{\"format\": 2}", "connectors.json has format 2"),
        ("{\"format\": 1, \"connectors\": [{\"name\": \"a\"}]}", "connector 1 lacks a name"),
        ("{}", "its \"format\" is not a format number"),
    ] {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("connectors.json"), text).unwrap();
        let error = FileStore::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn connectors_that_cannot_be_written_stay_as_they_were() {
    let dir = TempDir::new().unwrap();
    let store = FileStore::open(dir.path()).unwrap();
    run(store.connectors.put(&connector("a", TargetState::Started))).unwrap();
    // A folder where the temporary file goes: nobody, not even root, can write there.
    fs::create_dir(dir.path().join("connectors.json.new")).unwrap();
    let error = run(store.connectors.put(&connector("b", TargetState::Started))).unwrap_err().to_string();
    assert!(error.contains("Cannot write") && error.contains("connectors.json"), "{error}");
    assert_eq!(run(store.connectors.load()).unwrap(), [connector("a", TargetState::Started)]);
}

#[test]
fn a_second_worker_is_told_whose_folder_it_is() {
    let dir = TempDir::new().unwrap();
    let first = FileStore::open(dir.path()).unwrap();
    let error = FileStore::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
    assert!(error.contains("stop that worker first"), "{error}");
    drop(first);
    FileStore::open(dir.path()).unwrap();
}

#[test]
fn a_folder_that_cannot_be_is_named() {
    let dir = TempDir::new().unwrap();
    let path: PathBuf = dir.path().join("a-file");
    File::create(&path).unwrap();
    let error = FileStore::open(&path.join("state")).unwrap_err();
    assert!(error.to_string().contains("Cannot create state.dir") && error.to_string().contains("a-file/state"));
    assert!(error.chain().contains("Not a directory"), "{}", error.chain());
}

#[test]
fn javas_offsets_are_taken_over_once() {
    let dir = TempDir::new().unwrap();
    let java = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java/recorded/standalone-offsets.bin");
    let store = FileStore::open(dir.path()).unwrap();
    assert_eq!(run(store.import_java(&dir.path().join("none"))).unwrap(), 0);
    assert_eq!(run(store.import_java(&java)).unwrap(), 1);
    let partition = Partition::of("filename", "in.txt");
    assert_eq!(run(store.offsets.get("orders-src", &partition)).unwrap(), Some(position(8)));
    run(store.offsets.put("orders-src", vec![entry(&partition, Some(position(9)))])).unwrap();
    assert_eq!(run(store.import_java(&java)).unwrap(), 0);
    assert_eq!(run(store.offsets.get("orders-src", &partition)).unwrap(), Some(position(9)));
}
