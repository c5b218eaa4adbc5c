//! `assemble.to=store`: what was put together becomes an object and a reference.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pipette_api::{AsyncTransform, Body, Datum, RawRecord, Record, Settings, Value};
use pipette_kit::{Bench, build};
use tempfile::TempDir;

use super::{PLUGIN, Sink, noise, pieces, plain};
use crate::trial::read;

const SIZE: usize = 2_000_000;

struct Lake {
    bench: Bench,
    folder: TempDir,
}

impl Lake {
    fn new() -> Self {
        Self { bench: Bench::new().unwrap(), folder: tempfile::tempdir().unwrap() }
    }

    fn config(&self, more: &[(&str, &str)]) -> Settings {
        let uri = format!("file://{}", self.folder.path().join("lake").display());
        let base = [("assemble.to", "store"), ("store.uri", uri.as_str()), ("retry.timeout.ms", "0")];
        Settings::new(build::config(&[&base[..], more].concat()), PLUGIN.info.config)
    }

    fn step(&self, more: &[(&str, &str)]) -> Box<dyn AsyncTransform> {
        PLUGIN.then.unwrap()(&self.config(more), &self.bench.transform()).unwrap().unwrap()
    }

    fn objects(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        files(self.folder.path(), &mut found);
        found
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// What the converters make of it: a payload passes them by.
fn converted(raw: RawRecord) -> Record {
    let Some(Body::Payload(payload)) = raw.value else { panic!("a payload") };
    let mut record = Record::new(Arc::from("t"), Datum::schemaless(Value::Payload(payload)));
    record.headers.add("file.name", Datum::schemaless(Value::text("a.bin")));
    record
}

fn assembled() -> Record {
    let mut sink = Sink::new(&[]);
    converted(sink.all(&pieces(5, SIZE)).remove(0))
}

#[test]
fn a_value_becomes_one_object_and_a_reference_that_claim_check_restore_reads() {
    let lake = Lake::new();
    let step = lake.step(&[]);
    let mut sent = Vec::new();
    // The second time is that of a restart.
    for _ in 0..2 {
        let mut record = assembled();
        assert!(step.needs(&record));
        assert!(step.holds(&record) > SIZE as u64);
        lake.bench.run("apply", step.apply(&mut record)).unwrap().unwrap();
        assert!(!step.needs(&record), "it is a reference now");
        sent.push(record);
    }
    assert_eq!(lake.objects().len(), 1, "named by content: {:?}", lake.objects());
    let Value::Map(map) = &sent[0].value.value else { panic!("{:?}", sent[0].value) };
    assert_eq!(map.get("name"), Some(&Value::text("a.bin")));
    assert!(sent[0].headers.last("claim-check").is_some());
    let uri = lake.config(&[]).raw("store.uri").unwrap().to_owned();
    let settings = Settings::new(build::config(&[("store.uri", &uri)]), crate::restore::PLUGIN.info.config);
    let restore = (crate::restore::PLUGIN.make)(settings, lake.bench.transform()).unwrap();
    for mut record in sent {
        lake.bench.run("apply", restore.apply(&mut record)).unwrap().unwrap();
        let Value::Payload(payload) = &record.value.value else { panic!("{:?}", record.value) };
        assert!(lake.bench.run("reading", read(&**payload, 0, None)).unwrap().unwrap() == noise(SIZE, 5));
        assert!(record.headers.last("claim-check").is_none());
    }
}

#[test]
fn what_stays_small_or_is_no_piece_is_left_alone() {
    let lake = Lake::new();
    let step = lake.step(&[]);
    let mut sink = Sink::new(&[]);
    let raw = sink.take(&plain("small")).unwrap().unwrap();
    assert!(matches!(raw.value, Some(Body::Bytes(_))));
    let record = Record::new(Arc::from("t"), Datum::schemaless(Value::text("small")));
    assert!(!step.needs(&record));
    let handles = Settings::new(build::config(&[]), PLUGIN.info.config);
    assert!(PLUGIN.then.unwrap()(&handles, &lake.bench.transform()).unwrap().is_none(), "assemble.to=handle");
}

#[test]
fn a_store_that_fails_leaves_the_record_as_it_was_and_nothing_half_done() {
    let lake = Lake::new();
    std::fs::write(lake.folder.path().join("lake"), "in the way").unwrap();
    let step = lake.step(&[]);
    let mut record = assembled();
    let before = record.clone();
    lake.bench.run("apply", step.apply(&mut record)).unwrap().unwrap_err();
    assert!(matches!(record.value.value, Value::Payload(_)));
    assert_eq!(record.headers, before.headers);
    std::fs::remove_file(lake.folder.path().join("lake")).unwrap();
    lake.bench.run("apply", step.apply(&mut record)).unwrap().unwrap();
    lake.bench.run("stop", step.stop()).unwrap();
    assert_eq!(lake.objects().len(), 1, "{:?}", lake.objects());
}
