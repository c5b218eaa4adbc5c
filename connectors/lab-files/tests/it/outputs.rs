//! Files that do not become rows or lines: in pieces, in a store, or told of only.

use std::fs;
use std::io::Write;

use pipette_api::{ErrorKind, Record, SourceEntry, Value};
use pipette_kit::build;
use pipette_store::{Digest, HEADER, Reference};

use crate::harness::{Lab, files, header, records, until, until_error};

fn content(len: u32) -> Vec<u8> {
    (0..len).map(|number| u8::try_from(number % 251).unwrap()).collect()
}

fn pieces() -> Lab {
    Lab::new(&[
        ("output.mode", "chunks"),
        ("chunk.bytes", "1024"),
        ("batch.size", "2"),
        ("value.converter", "org.apache.kafka.connect.converters.ByteArrayConverter"),
    ])
}

fn bytes(record: &Record) -> &[u8] {
    let Value::Bytes(bytes) = &record.value.value else { panic!("no bytes: {:?}", record.value) };
    bytes.as_bytes()
}

fn indexes(said: &[SourceEntry]) -> Vec<String> {
    records(said).iter().map(|record| header(record, "chunk-index")).collect()
}

#[test]
fn a_file_in_pieces_goes_on_after_a_crash_and_has_the_digest_of_the_whole() {
    let (lab, whole) = (pieces(), content(5000));
    lab.put("scan.raw", &whole);
    let mut first = lab.start().unwrap();
    let begun = until(&mut first, |said| records(said).len() == 2);
    drop(first);
    assert_eq!(lab.list("in"), ["scan.raw"]);
    let mut second = lab.start().unwrap();
    let rest = until(&mut second, |_| lab.list("done") == ["scan.raw"]);
    assert_eq!(
        (indexes(&begun), indexes(&rest)),
        (vec!["0".into(), "1".into()], vec!["2".into(), "3".into(), "4".into()])
    );
    let all: Vec<&Record> = records(&begun).into_iter().chain(records(&rest)).collect();
    let together: Vec<u8> = all.iter().flat_map(|piece| bytes(piece)).copied().collect();
    assert!(together == whole);
    let id = header(all[0], "chunk-id");
    for (index, piece) in all.iter().enumerate() {
        assert_eq!((header(piece, "chunk-id"), piece.key.value.as_str()), (id.clone(), Some(id.as_str())));
        assert_eq!((header(piece, "chunk-count"), header(piece, "chunk-total")), ("5".into(), "5000".into()));
        assert_eq!(header(piece, "chunk-offset"), (index * 1024).to_string());
        assert_eq!(header(piece, "file.name"), "scan.raw");
    }
    assert_eq!(header(all[4], "chunk-digest"), Digest::of(&whole).to_string());
    assert!(all[3].headers.last("chunk-digest").is_none());
    assert_eq!(lab.metric("lab_files_bytes_read_total"), 5000, "what is read again for the digest does not count");
}

#[test]
fn pieces_of_a_file_that_has_grown_since_begin_anew_under_another_id() {
    let lab = pieces();
    lab.put("scan.raw", content(3000));
    let mut first = lab.start().unwrap();
    let begun = until(&mut first, |said| records(said).len() == 2);
    drop(first);
    let mut file = fs::OpenOptions::new().append(true).open(lab.path("in/scan.raw")).unwrap();
    file.write_all(&content(1000)).unwrap();
    drop(file);
    let mut second = lab.start().unwrap();
    let rest = until(&mut second, |_| lab.list("done") == ["scan.raw"]);
    assert_eq!(indexes(&rest), ["0", "1", "2", "3"]);
    assert_ne!(header(records(&begun)[0], "chunk-id"), header(records(&rest)[0], "chunk-id"));
}

#[test]
fn an_empty_file_is_one_empty_piece_and_a_full_one_has_no_piece_too_many() {
    let lab = pieces();
    lab.put("a", "");
    lab.put("b", content(2048));
    let mut task = lab.start().unwrap();
    let said = until(&mut task, |_| lab.list("done").len() == 2);
    let sizes: Vec<usize> = records(&said).iter().map(|piece| bytes(piece).len()).collect();
    assert_eq!((sizes, indexes(&said)), (vec![0, 1024, 1024], vec!["0".into(), "0".into(), "1".into()]));
    assert_eq!(header(records(&said)[0], "chunk-digest"), Digest::of(b"").to_string());
}

#[test]
fn metadata_tells_of_a_file_and_sends_none_of_it() {
    for (digest, expected) in [("sha256", Some(Digest::of(&content(700_000)).to_string())), ("none", None)] {
        let lab = Lab::new(&[("output.mode", "metadata"), ("metadata.digest", digest), ("key", "name")]);
        lab.put("plate 1.TIF", content(700_000));
        let mut task = lab.start().unwrap();
        let said = until(&mut task, |_| lab.list("done") == ["plate 1.TIF"]);
        let [record] = records(&said)[..] else { panic!("one record: {said:?}") };
        let Value::Struct(about) = &record.value.value else { panic!("a struct") };
        let text = |name: &str| about.get(name).unwrap().as_str().map(str::to_owned);
        assert_eq!(about.get("size"), Some(&Value::I64(700_000)));
        assert_eq!((text("name"), text("relative_path")), (Some("plate 1.TIF".into()), Some("plate 1.TIF".into())));
        assert_eq!(text("path"), Some(lab.path("in/plate 1.TIF").display().to_string()));
        assert_eq!((text("content_type"), text("digest")), (Some("image/tiff".into()), expected));
        assert_eq!(text("id"), Some(header(record, "file.id")));
        assert_eq!(record.key.value.as_str(), Some("plate 1.TIF"));
    }
}

/// With a store beside the folders; `extra` wins.
fn claims(extra: &[(&str, &str)]) -> Lab {
    let mut lab = Lab::new(&[("output.mode", "claim-check")]);
    let store = format!("file://{}", lab.path("store").display());
    fs::create_dir(lab.path("store")).unwrap();
    lab.config.insert("store.uri".into(), store);
    lab.config.extend(build::config(extra));
    lab
}

fn reference(record: &Record) -> Reference {
    let reference = Reference::of_value(&record.value.value).unwrap().unwrap();
    assert!(Reference::of_header(record.headers.last(HEADER).unwrap()).unwrap() == [reference.clone()]);
    reference
}

#[test]
fn a_file_is_in_the_store_before_its_reference_and_leaves_after_it() {
    let (lab, whole) = (claims(&[]), content(3_000_000));
    lab.put("image.png", &whole);
    let mut task = lab.start().unwrap();
    let record = task.records(1).unwrap().remove(0);
    let reference = reference(&record);
    let object = reference.uri.strip_prefix("file://").unwrap();
    assert!(fs::read(object).unwrap() == whole);
    assert_eq!((reference.size, reference.digest), (Some(3_000_000), Some(Digest::of(&whole))));
    assert_eq!((reference.name.as_deref(), reference.content_type.as_deref()), (Some("image.png"), Some("image/png")));
    assert_eq!(header(&record, "file.name"), "image.png");
    assert_eq!((lab.list("in").len(), lab.list("done").len()), (1, 0), "it stays until its reference is stored");
    task.settle();
    until(&mut task, |_| lab.list("done") == ["image.png"]);
    task.stop().unwrap();
    assert_eq!((lab.metric("lab_files_completed_total"), lab.metric("lab_files_bytes_read_total")), (1, 3_000_000));
}

#[test]
fn a_crash_behind_the_upload_uploads_to_the_same_object() {
    let lab = claims(&[]);
    lab.put("image.png", content(100_000));
    let mut first = lab.start().unwrap();
    let lost = first.records(1).unwrap().remove(0);
    drop(first);
    let mut second = lab.start().unwrap();
    let said = until(&mut second, |_| lab.list("done") == ["image.png"]);
    assert_eq!(reference(records(&said)[0]).uri, reference(&lost).uri);
    second.stop().unwrap();
    let objects: Vec<String> = lab.list("store").into_iter().filter(|name| !name.starts_with('.')).collect();
    assert_eq!(objects.len(), 1, "{objects:?}");
}

#[test]
fn many_files_are_uploaded_each_once() {
    let lab = claims(&[("store.max.in.flight", "3"), ("batch.size", "7")]);
    for number in 0..50 {
        lab.put(&format!("{number}.bin"), content(number * 1000));
    }
    let mut task = lab.start().unwrap();
    let said = until(&mut task, |_| lab.list("done").len() == 50);
    let mut sizes: Vec<u64> = records(&said).iter().filter_map(|record| reference(record).size).collect();
    sizes.sort_unstable();
    assert!(sizes.into_iter().eq((0..50).map(|number| number * 1000)));
}

#[test]
fn a_file_that_is_too_large_is_set_aside_and_others_go_on() {
    let lab = claims(&[("store.max.payload.bytes", "1000")]);
    lab.put("a.bin", content(1001));
    lab.put("b.bin", content(1000));
    let mut task = lab.start().unwrap();
    let said = until(&mut task, |_| lab.list("in").is_empty());
    assert_eq!(records(&said).len(), 1);
    assert_eq!(
        (lab.list("done"), lab.list("bad")),
        (vec!["b.bin".into()], vec!["a.bin".into(), "a.bin.error.txt".into()])
    );
    let reason = fs::read_to_string(lab.path("bad/a.bin.error.txt")).unwrap();
    assert!(reason.contains("1000") && reason.contains("max.payload.bytes"), "{reason}");
}

#[test]
fn a_store_that_is_away_is_waited_for_and_a_refusal_fails_the_task() {
    let away = [
        ("store.uri", "s3://lake"),
        ("store.allow.http", "true"),
        ("store.options.aws_endpoint", "http://127.0.0.1:9"),
        ("store.options.aws_region", "lab"),
        ("store.options.aws_access_key_id", "a"),
        ("store.options.aws_secret_access_key", "b"),
        ("store.connect.timeout.ms", "200"),
    ];
    let lab = claims(&away);
    lab.put("a.bin", content(10));
    let mut task = lab.start().unwrap();
    let waits =
        |task: &_| files(task)["files"][0]["reason"].as_str().unwrap_or_default().contains("cannot be uploaded");
    let begun = std::time::Instant::now();
    while !waits(&task) && begun.elapsed() < pipette_kit::bench::DEADLINE {
        assert!(task.poll().unwrap().is_empty());
    }
    assert!(waits(&task), "{}", files(&task));
    task.stop().unwrap();
    assert_eq!((lab.list("in").len(), lab.stored()), (1, 0));

    let lab = claims(&[]);
    fs::remove_dir(lab.path("store")).unwrap();
    fs::write(lab.path("store"), "no folder").unwrap();
    lab.put("a.bin", content(10));
    let error = match lab.start() {
        Ok(mut task) => until_error(&mut task).1,
        Err(error) => error,
    };
    assert_ne!(error.kind(), ErrorKind::Data, "{}", error.chain());
    assert_eq!(lab.list("in"), ["a.bin"]);
}

#[test]
fn what_cannot_work_is_refused_with_the_key_to_mend() {
    let check = |extra: &[(&str, &str)]| -> Vec<(&'static str, String)> {
        let mut config = build::config(&[("input.path", "/lab"), ("topic", "t"), ("cleanup.policy", "NONE")]);
        config.extend(build::config(extra));
        connector_lab_files::CONFIG.broken_rules(&config)
    };
    let bytes = ("value.converter", "ByteArrayConverter");
    assert_eq!(check(&[("output.mode", "chunks"), bytes]), []);
    assert_eq!(check(&[("output.mode", "claim-check"), ("store.uri", "s3://lake/in")]), []);
    for (extra, key, reason) in [
        (&[("output.mode", "chunks")][..], "output.mode", "value.converter"),
        (
            &[("output.mode", "chunks"), bytes, ("header.converter", "a.JsonConverter")],
            "output.mode",
            "header.converter",
        ),
        (&[("output.mode", "metadata"), ("key", "field:a")], "key", "columns"),
        (&[("output.mode", "claim-check")], "store.uri", "needs the store"),
        (
            &[("output.mode", "claim-check"), ("store.uri", "s3://a"), ("store.options.aws_regon", "x")],
            "store.uri",
            "store.options.aws_regon is no option",
        ),
        (&[("output.mode", "claim-check"), ("store.uri", "file:///lab/store")], "store.uri", "watched folder"),
        (
            &[("output.mode", "claim-check"), ("store.uri", "s3://a"), ("store.key.strategy", "template")],
            "store.key.template",
            "${sha256}",
        ),
    ] {
        let broken = check(extra);
        let [(found, text)] = &broken[..] else { panic!("{extra:?}: {broken:?}") };
        assert!(*found == key && text.contains(reason), "{extra:?}: {broken:?}");
    }
}
