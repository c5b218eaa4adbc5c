//! What a user of the source would notice: waiting, following, rotation, resuming, odd bytes.
#![allow(clippy::unwrap_used)] // clippy takes only `#[test]` functions for tests

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use connector_file::SOURCE;
use pipette_api::{ExactlyOnce, Kind, OffsetMap, Partition, Primitive, Record, Schema, Settings, SourceEntry};
use pipette_kit::{SourceHarness, build};
use tempfile::TempDir;

struct Rig {
    folder: TempDir,
    harness: SourceHarness,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("in.txt");
        let config = build::config(&[("file", file.to_str().unwrap()), ("topic", "lines")]);
        Self { folder, harness: SourceHarness::new(&SOURCE, config).unwrap() }
    }

    fn started() -> Self {
        let mut rig = Self::new();
        rig.harness.start().unwrap();
        rig
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("in.txt")
    }

    fn append(&self, bytes: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path()).unwrap();
        file.write_all(bytes.as_ref()).unwrap();
    }

    fn lines(&mut self, count: usize) -> Vec<String> {
        self.harness.records(count).unwrap().iter().map(line).collect()
    }

    fn partition(&self) -> Partition {
        Partition::of("filename", self.path().to_str().unwrap())
    }

    fn committed(&mut self) -> Option<i64> {
        self.harness.settle();
        self.harness.offsets.all().get(&self.partition())?.get("position")?.as_int()
    }

    fn commit(&self, offset: impl Into<Primitive>) {
        self.harness.offsets.set(self.partition(), OffsetMap::from([("position".into(), offset.into())]));
    }
}

fn line(record: &Record) -> String {
    record.value.value.as_str().unwrap().to_owned()
}

#[test]
fn a_record_is_what_java_makes_of_a_line() {
    let mut rig = Rig::started();
    rig.append("first\r\n\nlast\n");
    let records = rig.harness.records(3).unwrap();
    assert_eq!(records.iter().map(line).collect::<Vec<_>>(), ["first", "", "last"]);
    let record = &records[0];
    assert!(record.key.is_null() && record.partition.is_none() && record.headers.0.is_empty());
    assert_eq!(record.value.schema, Some(Schema::of(Kind::String)), "required, as in Java");
    assert_eq!(&*record.topic, "lines");
    assert!(record.timestamp.unwrap() > 1_700_000_000_000, "now");
    assert_eq!(rig.committed(), Some(13));
}

#[test]
fn exactly_once_needs_a_file() {
    let supported = |pairs: &[(&str, &str)]| {
        let settings = Settings::new(build::config(pairs), SOURCE.info.config);
        (SOURCE.exactly_once)(&settings) == ExactlyOnce::Supported
    };
    assert!(supported(&[("file", "in.txt")]));
    assert!(!supported(&[]) && !supported(&[("file", "")]));
}

#[test]
fn a_missing_file_is_waited_for() {
    let mut rig = Rig::started();
    assert!(rig.harness.poll().unwrap().is_empty());
    rig.append("here\n");
    assert_eq!(rig.lines(1), ["here"]);
}

#[test]
fn an_unfinished_line_waits_for_its_end() {
    let mut rig = Rig::started();
    rig.append("done\nhalf");
    assert_eq!(rig.lines(1), ["done"]);
    assert!(rig.harness.poll().unwrap().is_empty());
    assert_eq!(rig.committed(), Some(5), "the half line is read again after a restart");
    rig.append(" and half\n");
    assert_eq!(rig.lines(1), ["half and half"]);
}

#[test]
fn positions_are_bytes_also_behind_text_that_is_not_ascii() {
    let mut rig = Rig::started();
    rig.append("Zürich → Genève\nnext\n");
    let entries = rig.harness.poll_until(|seen| seen.len() == 2).unwrap();
    rig.harness.settle_entries(1);
    rig.harness.stop().unwrap();
    rig.harness.start().unwrap();
    assert_eq!(rig.lines(1), ["next"]);
    assert_eq!(entries.len(), 2);
}

#[test]
fn bytes_that_are_not_utf8_are_replaced_as_in_java() {
    let mut rig = Rig::started();
    rig.append(b"caf\xE9\nok\n");
    assert_eq!(rig.lines(2), ["caf\u{FFFD}", "ok"]);
    assert_eq!(rig.committed(), Some(8));
}

#[test]
fn a_truncated_file_is_read_from_its_beginning() {
    let mut rig = Rig::started();
    rig.append("one\ntwo\nthr");
    assert_eq!(rig.lines(2), ["one", "two"]);
    assert_eq!(rig.committed(), Some(8));
    fs::write(rig.path(), "new\n").unwrap();
    assert_eq!(rig.lines(1), ["new"]);
    assert_eq!(rig.committed(), Some(4));
}

#[test]
fn a_committed_position_behind_the_end_begins_anew() {
    let mut rig = Rig::new();
    rig.append("short\n");
    rig.commit(1_000);
    rig.harness.start().unwrap();
    assert_eq!(rig.lines(1), ["short"]);
}

#[test]
fn a_rotated_file_is_finished_before_its_successor() {
    let mut rig = Rig::started();
    rig.append("one\n");
    assert_eq!(rig.lines(1), ["one"]);
    let mut old = OpenOptions::new().append(true).open(rig.path()).unwrap();
    fs::rename(rig.path(), rig.folder.path().join("in.txt.1")).unwrap();
    rig.append("three\n");
    assert!(rig.harness.poll().unwrap().is_empty(), "the writer may not have noticed yet");
    old.write_all(b"two\nunfinished").unwrap();
    assert_eq!(rig.lines(3), ["two", "unfinished", "three"]);
    assert_eq!(rig.committed(), Some(6), "a position in the new file");
}

#[test]
fn a_restart_between_rotated_files_reads_the_new_one_whole() {
    let mut rig = Rig::started();
    rig.append("unfinished");
    rig.harness.poll().unwrap();
    fs::rename(rig.path(), rig.folder.path().join("in.txt.1")).unwrap();
    rig.append("new file\n");
    assert_eq!(rig.lines(1), ["unfinished"]);
    assert_eq!(rig.committed(), Some(0));
    rig.harness.kill().unwrap();
    rig.harness.start().unwrap();
    assert_eq!(rig.lines(1), ["new file"]);
}

#[test]
fn few_lines_do_not_wait_for_many() {
    let mut rig = Rig::started();
    let batch = |rig: &mut Rig| rig.harness.poll_until(|seen| !seen.is_empty()).unwrap().len();
    rig.append("x\n".repeat(5_000));
    assert_eq!((batch(&mut rig), batch(&mut rig), batch(&mut rig)), (2_000, 2_000, 1_000), "batch.size is the limit");
}

#[test]
fn what_is_no_file_fails_with_its_name() {
    let mut rig = Rig::started();
    fs::create_dir(rig.path()).unwrap();
    let error = rig.harness.poll().unwrap_err();
    assert_eq!(error.kind(), pipette_api::ErrorKind::Fatal);
    assert!(error.to_string().contains("in.txt: it is not a regular file"), "{error}");
}

#[test]
fn an_offset_of_another_kind_is_refused_with_advice() {
    let mut rig = Rig::new();
    rig.commit("here");
    let error = rig.harness.start().unwrap_err().to_string();
    assert!(error.contains("in.txt is no position") && error.contains("Alter or delete it"), "{error}");
}

#[test]
fn lines_above_the_limit_are_skipped_and_named() {
    let mut rig = Rig::started();
    let mut file = File::create(rig.path()).unwrap();
    for _ in 0..17 {
        file.write_all(&vec![b'x'; 1 << 20]).unwrap();
    }
    file.write_all(b"\nnext\n").unwrap();
    let entries = rig.harness.poll_until(|seen| seen.len() == 2).unwrap();
    let [SourceEntry::Bad { error, raw: None, position: Some(position) }, SourceEntry::Record(next)] = &entries[..]
    else {
        panic!("{entries:?}")
    };
    assert!(error.to_string().contains("from byte 0 to byte 17825793"), "{error}");
    assert_eq!(position.marks[0], 17_825_793);
    assert_eq!(line(&next.record), "next");
}
