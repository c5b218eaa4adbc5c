//! What is in the output folder, and what is said when something cannot be.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use pipette_api::{ConnectError, Datum, ErrorKind, Reach, Value};
use pipette_kit::build;

use crate::outbox::{Outbox, Stream, partition, put, put_as, reported};

#[test]
fn content_is_written_as_it_is() {
    let outbox = Outbox::new(&[("file.name", "${topic}/${offset}")]);
    let mut task = outbox.start().unwrap();
    put(
        &mut task,
        &[
            build::text("Größe\r\n"),
            Datum::schemaless(Value::Bytes((&b"\x00\xff"[..]).into())),
            Datum::schemaless(Value::I64(-5)),
            Stream::of((3 << 20) + 7).value(),
            Datum::NULL,
            build::text(""),
        ],
    );
    task.flush().unwrap();
    assert_eq!(
        outbox.list(),
        ["reads/0", "reads/1", "reads/2", "reads/3", "reads/5"],
        "null is no file, empty text is one"
    );
    assert_eq!(outbox.read("reads/0"), "Größe\r\n");
    assert_eq!(fs::read(outbox.path("reads/1")).unwrap(), b"\x00\xff");
    assert_eq!(outbox.read("reads/2"), "-5");
    let large = fs::read(outbox.path("reads/3")).unwrap();
    assert!(large.len() == (3 << 20) + 7 && large.iter().all(|byte| *byte == b'p'));
    assert_eq!(task.committed[&partition()], 6);
    assert_eq!(task.bench.numbers.get("lab_files_written_total", &[]), Some(5));
    assert_eq!(task.bench.numbers.get("lab_files_written_bytes_total", &[]), Some(9 + 2 + 2 + (3 << 20) + 7));
}

#[test]
fn a_field_can_be_the_content_and_the_name() {
    let outbox = Outbox::new(&[("file.name", "${field:meta.name}"), ("file.value.field", "body")]);
    let mut task = outbox.start().unwrap();
    let meta = |name: &str| build::map(&[("name", Value::text(name))]).value;
    put(
        &mut task,
        &[
            build::map(&[("meta", meta("a.txt")), ("body", Value::text("one"))]),
            build::map(&[("meta", meta("b.txt"))]),
            build::map(&[("body", Value::text("no name"))]),
            build::map(&[("meta", meta("c.txt")), ("body", meta("x"))]),
        ],
    );
    assert_eq!((outbox.list(), outbox.read("a.txt")), (vec!["a.txt".to_owned()], "one".to_owned()));
    let said = reported(&task);
    for (text, part) in said.iter().zip([
        "file.value.field: the record's value has no field body",
        "file.name: the record has no field meta.name",
        "The field body is of type map",
    ]) {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(said.len(), 3);
}

#[test]
fn a_struct_is_refused_with_the_way_out() {
    let outbox = Outbox::new(&[("behavior.on.null.values", "fail")]);
    let mut task = outbox.start().unwrap();
    put(&mut task, &[build::map(&[("a", Value::I64(1))]), Datum::NULL]);
    let said = reported(&task);
    assert!(said[0].contains("is of type map") && said[0].contains("file.value.field"), "{said:?}");
    assert!(said[0].contains(" io.pipette.transforms.StructToJson$Value"), "a class that there is: {said:?}");
    assert!(said[1].contains("behavior.on.null.values=fail"), "{said:?}");
    assert_eq!(outbox.list(), [""; 0]);
}

#[test]
fn a_name_that_is_taken_is_dealt_with_as_told() {
    for (collision, expected) in [
        ("suffix", vec![("a-reads-0-1.csv", "two"), ("a.csv", "one")]),
        ("overwrite", vec![("a.csv", "two")]),
        ("fail", vec![("a.csv", "one")]),
    ] {
        let outbox = Outbox::new(&[("file.name", "${header:file.name}"), ("collision", collision)]);
        let mut task = outbox.start().unwrap();
        for round in ["first", "replayed"] {
            put_as(&mut task, "a.csv", 0, build::text("one")).unwrap();
            put_as(&mut task, "a.csv", 1, build::text("two")).unwrap();
            let found: Vec<_> = outbox.list().into_iter().map(|name| (outbox.read(&name), name)).collect();
            let found: Vec<_> = found.iter().map(|(content, name)| (name.as_str(), content.as_str())).collect();
            assert_eq!(found, expected, "{collision}, {round}");
        }
        let said = reported(&task);
        assert_eq!(said.len(), if collision == "fail" { 2 } else { 0 }, "{said:?}");
        assert!(said.iter().all(|text| text.contains("a.csv holds other content, and collision=fail")), "{said:?}");
    }
}

#[test]
fn a_hostile_name_stays_inside() {
    let outbox = Outbox::new(&[("file.name", "${header:file.name}")]);
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), outbox.path("link")).unwrap();
    fs::write(outside.path().join("precious"), "mine").unwrap();
    std::os::unix::fs::symlink(outside.path().join("precious"), outbox.path("file")).unwrap();
    let mut task = outbox.start().unwrap();
    for (offset, name) in ["../../up", "/abs/olute", "link/in", "file", "a\0b", &"x".repeat(5000)].iter().enumerate() {
        put_as(&mut task, name, i64::try_from(offset).unwrap(), build::text("evil")).unwrap();
    }
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(outside.path().join("precious")).unwrap(), "mine");
    let list = outbox.list();
    for name in ["__/__/up", "abs/olute", "a_b", "file-reads-0-3"] {
        assert!(list.iter().any(|there| there == name), "{name} is not in {list:?}");
    }
    let said = reported(&task);
    assert!(said.len() == 1 && said[0].contains("link: a file or a link is in the way"), "{said:?}");
}

#[test]
fn half_a_payload_is_never_seen() {
    let broken = |error: fn() -> ConnectError| Stream { error: Some(error), ..Stream::of(2 << 20) };
    let outbox = Outbox::new(&[("file.name", "${offset}")]);
    let mut task = outbox.start().unwrap();
    put(
        &mut task,
        &[
            broken(|| ConnectError::data("the digest is another one")).value(),
            Stream { declared: 5 << 20, real: 1 << 20, ..Stream::default() }.value(),
            build::text("good"),
        ],
    );
    assert_eq!(outbox.list(), ["2"]);
    let said = reported(&task);
    assert!(said[0].contains("the digest is another one") && said[0].starts_with("0: "), "{said:?}");
    assert!(said[1].contains("ended after 1048576 bytes and should have 5242880"), "{said:?}");

    // An outage of what the payload comes from: the batch comes again, and what was written of it is not read again.
    let away = Stream { once: true, ..broken(|| ConnectError::retriable("the store is away")) };
    let (before, away) = (Arc::new(Stream::of(10)), Arc::new(away));
    let values = [&before, &away].map(|stream| Datum::schemaless(Value::Payload(Arc::clone(stream) as _)));
    let (batch, outcome) = task.put(&partition(), values.to_vec()).unwrap();
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retriable);
    assert!(error.to_string().starts_with("reads-0, offset 4: 4: the store is away"), "{error}");
    assert_eq!(outbox.list(), ["2", "3"]);
    task.put_again(&batch).unwrap().unwrap();
    assert_eq!(outbox.list(), ["2", "3", "4"]);
    assert_eq!(before.opened.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn what_a_crash_left_is_removed_by_the_next_start_of_that_task() {
    let outbox = Outbox::new(&[]);
    let mut task = outbox.start().unwrap();
    put(&mut task, &[build::text("one")]);
    let own = format!("{:016x}-", xxhash_rust::xxh3::xxh3_64(b"kit"));
    drop(task);
    let before = outbox.list();
    for name in [format!("{own}0-1.part"), format!("{own}1-1.part"), format!("{own}7-1.part"), "other-0-1.part".into()]
    {
        fs::write(outbox.path(".pipette").join(name), "half").unwrap();
    }
    let _task = outbox.start().unwrap();
    let mut expected = before;
    expected.extend([format!(".pipette/{own}1-1.part"), ".pipette/other-0-1.part".to_owned()]);
    expected.sort();
    assert_eq!(outbox.list(), expected, "task 7 is not there any more, task 1 may be writing");
}

#[test]
fn a_folder_that_is_not_for_connectors_is_refused() {
    struct Nowhere;
    impl pipette_api::Gate for Nowhere {
        fn path(&self, path: &Path) -> Result<(), String> {
            Err(format!("{} is not in file.allowed.paths", path.display()))
        }
        fn opened(&self, _: std::os::fd::BorrowedFd<'_>) -> Result<(), String> {
            Ok(())
        }
        fn address(&self, _: &str) -> Result<(), String> {
            Ok(())
        }
    }
    let outbox = Outbox::new(&[]);
    let task = pipette_kit::SinkHarness::new(&connector_lab_files::SINK, outbox.config.clone()).unwrap();
    let error = task.within(Reach::through(Arc::new(Nowhere))).start().unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("is not in file.allowed.paths"), "{error}");
}

#[test]
fn a_folder_without_rights_says_what_to_do() {
    // Nobody may make a folder there, not even root.
    let outbox = Outbox::new(&[("output.path", "/sys/kernel")]);
    let mut task = outbox.start().unwrap();
    let (_, outcome) = task.put(&partition(), vec![build::text("x")]).unwrap();
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fatal);
    let text = error.to_string();
    assert!(text.contains("/sys/kernel/.pipette") && text.contains("write rights"), "{text}");
}

#[test]
fn a_folder_that_is_missing_is_waited_for() {
    let outbox = Outbox::new(&[]);
    fs::remove_dir(outbox.path("")).unwrap();
    let Err(error) = outbox.start() else { panic!("started without its folder") };
    assert!(error.kind() == ErrorKind::Retriable && error.to_string().contains("mount the share"), "{error}");
}
