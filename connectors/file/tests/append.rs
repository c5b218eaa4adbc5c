//! What a user of the sink would notice: lines, restarts, full disks, wrong paths.
#![allow(clippy::unwrap_used)] // clippy takes only `#[test]` functions for tests

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use connector_file::{SINK, SINK_CONFIG, SOURCE_CONFIG};
use pipette_api::config::ConfigMap;
use pipette_api::{Datum, ErrorKind, TopicPartition, Value};
use pipette_kit::{SinkHarness, build};
use tempfile::TempDir;

fn rig(name: &str) -> (TempDir, PathBuf, SinkHarness) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    let harness = SinkHarness::new(&SINK, build::config(&[("file", file.to_str().unwrap())])).unwrap();
    (folder, file, harness)
}

fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

fn open(harness: &mut SinkHarness) {
    harness.start().unwrap();
    harness.open(&[orders()]).unwrap();
}

#[test]
fn values_become_lines_behind_what_is_there() {
    let (_folder, file, mut harness) = rig("out.txt");
    fs::write(&file, "before\n").unwrap();
    open(&mut harness);
    let values = vec![
        build::text("text"),
        Datum::schemaless(Value::F64(1e7)),
        build::map(&[("a", Value::I32(1)), ("b", Value::text("x"))]),
        Datum::NULL,
    ];
    harness.put(&orders(), values).unwrap().1.unwrap();
    harness.flush().unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "before\ntext\n1.0E7\n{a=1, b=x}\nnull\n");
}

#[test]
fn half_a_line_of_a_killed_worker_does_not_swallow_the_next_one() {
    let (_folder, file, mut harness) = rig("out.txt");
    fs::write(&file, "whole\nhal").unwrap();
    open(&mut harness);
    harness.put(&orders(), vec![build::text("half")]).unwrap().1.unwrap();
    harness.put(&orders(), vec![build::text("more")]).unwrap().1.unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "whole\nhal\nhalf\nmore\n");
}

#[test]
fn lines_are_there_before_the_flush() {
    let (_folder, file, mut harness) = rig("out.txt");
    open(&mut harness);
    harness.put(&orders(), vec![build::text("one")]).unwrap().1.unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "one\n", "a reader need not wait for the next commit");
}

#[test]
fn what_comes_after_the_file_was_deleted_is_in_a_new_one() {
    let (folder, file, mut harness) = rig("out.txt");
    open(&mut harness);
    harness.put(&orders(), vec![build::text("one")]).unwrap().1.unwrap();
    fs::remove_file(&file).unwrap();
    harness.put(&orders(), vec![build::text("two")]).unwrap().1.unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "two\n");
    fs::remove_dir_all(folder.path()).unwrap();
    let (batch, outcome) = harness.put(&orders(), vec![build::text("three")]).unwrap();
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains("out.txt: the folder does not exist"), "{error}");
    fs::create_dir(folder.path()).unwrap();
    harness.put_again(&batch).unwrap().unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), "three\n");
}

#[test]
fn a_full_disk_doubles_nothing_and_loses_nothing() {
    let (_folder, file, mut harness) = rig("out.txt");
    symlink("/dev/full", &file).unwrap();
    open(&mut harness);
    let values = vec![build::text(&"x".repeat(1023)); 1025];
    let (batch, outcome) = harness.put(&orders(), values).unwrap();
    for outcome in [outcome, harness.put_again(&batch).unwrap(), harness.put_again(&batch).unwrap()] {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Retriable);
        assert!(error.to_string().contains("out.txt: the disk is full"), "{error}");
    }
    fs::remove_file(&file).unwrap();
    harness.put_again(&batch).unwrap().unwrap();
    harness.flush().unwrap();
    assert_eq!(fs::metadata(&file).unwrap().len(), 1025 << 10, "each line once");
    assert_eq!(harness.committed.get(&orders()), Some(&1025));
}

#[test]
fn a_failed_flush_promises_nothing() {
    let (_folder, file, mut harness) = rig("out.txt");
    symlink("/dev/full", &file).unwrap();
    open(&mut harness);
    assert_eq!(harness.put(&orders(), vec![build::text("one")]).unwrap().1.unwrap_err().kind(), ErrorKind::Retriable);
    assert_eq!(harness.flush().unwrap_err().kind(), ErrorKind::Retriable);
    assert!(harness.committed.is_empty());
}

#[test]
fn a_wrong_path_fails_the_task_with_its_name() {
    let (_folder, file, mut harness) = rig("missing/out.txt");
    let error = harness.start().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fatal);
    let text = error.to_string();
    assert!(text.contains(file.to_str().unwrap()) && text.contains("the folder does not exist"), "{text}");
}

#[test]
fn the_keys_are_javas() {
    let shown = |def: &'static pipette_api::ConfigDef, config: &ConfigMap| -> Vec<String> {
        let checked = def.check(config).into_iter();
        checked.map(|key| format!("{} {:?} {}", key.row.name, key.value, key.errors.join(" "))).collect()
    };
    assert_eq!(
        shown(&SOURCE_CONFIG, &ConfigMap::new()),
        [
            "file None ",
            "topic None Missing required configuration \"topic\" which has no default value.",
            "batch.size Some(\"2000\") "
        ]
    );
    let empty = build::config(&[("topic", ""), ("batch.size", "many")]);
    assert_eq!(
        shown(&SOURCE_CONFIG, &empty)[1..],
        [
            "topic Some(\"\") Invalid value  for configuration topic: String must be non-empty",
            "batch.size None Invalid value many for configuration batch.size: Not a number of type INT"
        ]
    );
    assert_eq!(shown(&SINK_CONFIG, &ConfigMap::new()), ["file None "]);
}
