//! What a source's side may choose: names by position, references without a digest, keys, objects that are there already,
//! and addresses with a signature.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;

use pipette_api::{
    Datum, ErrorKind, Kind, OffsetShape, Partition, Position, Record, Result, Schema, SchemaBuilder, Struct,
};
use pipette_store::Reference;

use crate::rig::{Rig, bytes};

const ALWAYS: (&str, &str) = ("threshold.bytes", "1");

fn record(text: &str) -> Record {
    Record::new("images".into(), Datum::new(Schema::of(Kind::Bytes), bytes(text)))
}

fn at(file: &str, mark: i64) -> Position {
    Position {
        partition: Arc::new(Partition::of("file", file)),
        shape: Arc::new(OffsetShape { marks: [Some("at"), None], ..OffsetShape::default() }),
        marks: [mark, 0],
    }
}

/// The reference that has taken the place of a value.
fn reference(record: &Record) -> Reference {
    Reference::of_value(&record.value.value).unwrap().unwrap()
}

/// A run of a source: the address of each record's object.
fn sent(rig: &Rig, config: &[(&str, &str)], records: &[(&str, Position)]) -> Result<Vec<String>> {
    let transform = rig.make("ClaimCheck", config);
    let one = |(text, position): &(&str, Position)| rig.run_at(&*transform, &record(text), Some(position));
    records.iter().map(|each| one(each).map(|away| reference(&away).uri)).collect()
}

#[test]
fn what_a_source_sends_again_meets_the_same_object() {
    for strategy in
        [&[("key.strategy", "position")][..], &[("key.strategy", "template"), ("key.template", "${position}")]]
    {
        let rig = Rig::new();
        let config = [&[ALWAYS], strategy].concat();
        // One position for three records, two of which are alike; the same mark in another file.
        let records = [("x", at("a", 1)), ("x", at("a", 1)), ("y", at("b", 1)), ("z", at("a", 1)), ("w", at("a", 2))];
        let first = sent(&rig, &config, &records).unwrap();
        assert_eq!(rig.objects().len(), 5, "{first:?}");
        assert_eq!(sent(&rig, &config, &records).unwrap(), first, "after a restart");
        assert_eq!(rig.objects().len(), 5);
        assert_eq!(rig.bench.numbers.get("claim_check_found_total", &[]), Some(5));
        let other = sent(&rig, &config, &[("v", at("a", 2))]).unwrap();
        assert!(!first.contains(&other[0]) && rig.objects().len() == 6, "neither of two payloads is lost");
    }
}

#[test]
fn fields_of_one_record_have_objects_of_their_own() {
    let rig = Rig::new();
    let schema = SchemaBuilder::record().field("a", Schema::of(Kind::Bytes)).field("b", Schema::of(Kind::Bytes));
    let schema = schema.build().unwrap();
    let row = Struct::from_parts(Arc::clone(&schema), [bytes("one"), bytes("two")]);
    let before = Record::new("rows".into(), Datum::new(schema, pipette_api::Value::Struct(Box::new(row))));
    let config = [ALWAYS, ("key.strategy", "position"), ("target", "field"), ("fields", "a,b")];
    let away = rig.run_at(&*rig.make("ClaimCheck", &config), &before, Some(&at("t", 7))).unwrap();
    assert_eq!(rig.objects().len(), 2);
    assert_eq!(rig.restore(&[], &away), before);
}

#[test]
fn a_source_without_positions_is_told_what_to_choose() {
    let rig = Rig::new();
    let transform = rig.make("ClaimCheck", &[ALWAYS, ("key.strategy", "position")]);
    let error = rig.run(&*transform, &record("x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "no record is dropped for it");
    assert!(error.to_string().contains("set key.strategy to content or uuid"), "{error}");
    assert!(rig.objects().is_empty());
    // Nobody asks where a record is from when no name tells it.
    rig.run(&*rig.make("ClaimCheck", &[ALWAYS, ("key.strategy", "uuid")]), &record("x")).unwrap();
}

#[test]
fn references_without_a_digest_are_read_by_those_who_allow_it() {
    let rig = Rig::new();
    for before in [record("x"), Record::new("images".into(), Datum::schemaless(bytes("y")))] {
        let away = rig.check_in(&[ALWAYS, ("digest", "none"), ("key.strategy", "uuid")], &before);
        assert_eq!(reference(&away).digest, None);
        let error = rig.try_restore(&[], &away).unwrap_err();
        let told = error.to_string();
        assert!(error.kind() == ErrorKind::Data && told.contains(&reference(&away).uri), "{told}");
        assert!(told.contains("integrity=require asks for one"), "{told}");
        assert_eq!(rig.restore(&[("integrity", "if-present")], &away), before);
    }
}

#[test]
fn keys_go_and_come_back_beside_whatever_the_value_is() {
    let key = [ALWAYS, ("target", "key"), ("allow.key", "true"), ("header.name", "claim-check-key")];
    let long = || Datum::new(Schema::of(Kind::String), pipette_api::Value::text("k".repeat(9000)));
    for value in [Datum::NULL, Datum::schemaless(bytes("")), Datum::new(Schema::of(Kind::Bytes), bytes("value"))] {
        for key_of in [long(), Datum::schemaless(bytes("k"))] {
            let rig = Rig::new();
            let mut before = Record::new("images".into(), value.clone());
            before.key = key_of;
            let away = rig.check_in(&key, &before);
            assert_eq!(away.value, before.value, "the value stays");
            let told = Reference::of_value(&away.key.value).unwrap().unwrap();
            assert_eq!(told.created_at, None, "one key has one reference");
            assert_eq!(rig.check_in(&key, &before).key, away.key);
            let both = rig.check_in(&[ALWAYS], &away);
            assert_eq!(rig.objects().len(), 1 + usize::from(both.value != away.value));
            let headers = [("headers", "remove"), ("header.name", "claim-check-key")];
            assert_eq!(rig.restore(&headers, &away), before);
            let back = rig.restore(&[], &both);
            assert_eq!((&back.key, &back.value), (&before.key, &before.value), "both in one step");
            let lazy = rig.try_restore(&[("mode", "lazy")], &both).unwrap();
            assert_eq!(lazy.key, before.key, "a key is never a handle");
        }
    }
}

/// A folder with one object beside the store, and its address in a record.
fn there(rig: &Rig, content: &str) -> (String, Record) {
    let folder = rig.folder.path().join("raw");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("a b.txt"), content).unwrap();
    let prefix = format!("file://{}", folder.display());
    let address = pipette_api::Value::text(format!("{prefix}/a%20b.txt"));
    (prefix, Record::new("images".into(), Datum::new(Schema::optional(Kind::String), address)))
}

#[test]
fn an_object_that_is_there_is_referred_to_and_not_moved() {
    let rig = Rig::new();
    let (prefix, before) = there(&rig, "content");
    let config = [("store.mode", "reference"), ("allowed.uri.prefixes", &*prefix), ("digest", "none")];
    let away = rig.check_in(&config, &before);
    let told = reference(&away);
    assert_eq!((told.uri.as_str(), told.size, told.digest), (before.value.value.as_str().unwrap(), Some(7), None));
    assert!(rig.objects().is_empty() && !rig.store().exists(), "nothing is stored");
    let reader = [("allowed.uri.prefixes", &*prefix), ("integrity", "if-present")];
    assert_eq!(rig.restore(&reader, &away).value, Datum::new(Schema::of(Kind::Bytes), bytes("content")));
    let error = rig.try_restore(&reader[..1], &away).unwrap_err();
    assert!(error.to_string().contains("integrity=require asks for one"), "{error}");
    // The same in a field, and the address as bytes.
    let row = Datum::schemaless(pipette_api::Value::Map(Box::new(
        [("at", bytes(before.value.value.as_str().unwrap())), ("none", bytes(""))]
            .map(|(name, value)| (pipette_api::Value::text(name), value))
            .into_iter()
            .collect(),
    )));
    let fields = [&config[..], &[("target", "field"), ("fields", "at,none")]].concat();
    let away = rig.check_in(&fields, &Record::new("images".into(), row));
    let pipette_api::Value::Map(back) = rig.restore(&reader, &away).value.value else { panic!("a map") };
    assert_eq!((back.get("at"), back.get("none")), (Some(&bytes("content")), Some(&bytes(""))));
}

#[test]
fn an_object_that_is_there_is_copied_under_a_name_of_its_own() {
    let rig = Rig::new();
    let (prefix, before) = there(&rig, "content");
    let config = [("store.mode", "copy"), ("allowed.uri.prefixes", &*prefix)];
    let away = rig.check_in(&config, &before);
    let told = reference(&away);
    assert_eq!((told.size, told.digest), (Some(7), Some(pipette_store::Digest::of(b"content"))));
    assert!(told.uri.starts_with(&rig.uri()), "{told:?}");
    std::fs::remove_dir_all(rig.folder.path().join("raw")).unwrap();
    assert_eq!(rig.restore(&[], &away).value.value, bytes("content"));
    assert_eq!(rig.check_in(&config, &Record::new("images".into(), Datum::NULL)).value, Datum::NULL);
}

#[test]
fn an_address_that_is_not_allowed_asks_nothing_of_anybody() {
    let rig = Rig::new();
    let (prefix, before) = there(&rig, "content");
    let folder = rig.folder.path().join("raw");
    std::fs::write(rig.folder.path().join("secret"), b"x").unwrap();
    std::os::unix::fs::symlink(rig.folder.path().join("secret"), folder.join("link")).unwrap();
    for mode in [&[("store.mode", "reference"), ("digest", "none")][..], &[("store.mode", "copy")]] {
        let transform = rig.make("ClaimCheck", &[mode, &[("allowed.uri.prefixes", &*prefix)]].concat());
        for (address, why) in [
            (format!("file://{}/secret", rig.folder.path().display()), "not under any prefix of allowed.uri.prefixes"),
            (format!("{prefix}/../secret"), "the reference is refused"),
            (format!("{prefix}-other/a"), "not under any prefix"),
            ("s3://another/a".into(), "not under any prefix"),
            ("http://169.254.169.254/latest/meta-data/".into(), "addresses of the web"),
            ("just text".into(), "the reference is refused"),
            (format!("{prefix}/gone"), "missing or forbidden"),
            (format!("{prefix}/link"), "a link leads elsewhere"),
        ] {
            let record = Record::new("images".into(), Datum::schemaless(pipette_api::Value::text(address.as_str())));
            let error = rig.run(&*transform, &record).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data, "{address}: {error}");
            assert!(error.to_string().contains(why), "{address}: {error}");
        }
        let number = Record::new("images".into(), before.value.clone());
        let large = rig.make(
            "ClaimCheck",
            &[mode, &[("allowed.uri.prefixes", &*prefix), ("max.payload.bytes", "6"), ALWAYS]].concat(),
        );
        assert!(rig.run(&*large, &number).unwrap_err().to_string().contains("max.payload.bytes (6)"));
    }
    assert!(rig.objects().is_empty());
}

/// A server that takes whatever is put there, and its port.
fn bucket() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut request, mut block) = (Vec::new(), [0; 4096]);
            let whole = |request: &[u8]| {
                let text = String::from_utf8_lossy(request).to_lowercase();
                let (head, body) = text.split_once("\r\n\r\n")?;
                let length = head.split_once("content-length: ").map_or("0", |(_, rest)| rest.lines().next().unwrap());
                (body.len() >= length.trim().parse().unwrap()).then_some(())
            };
            while whole(&request).is_none() {
                let read = stream.read(&mut block).unwrap();
                request.extend_from_slice(&block[..read]);
            }
            let answer = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    port
}

#[test]
fn an_address_with_a_signature_stands_in_the_reference_and_nowhere_else() {
    let rig = Rig::new();
    let endpoint = format!("http://127.0.0.1:{}", bucket());
    let config = [
        ALWAYS,
        ("store.uri", "s3://lake/inbox"),
        ("store.options.aws_endpoint", &*endpoint),
        ("store.options.aws_region", "us-east-1"),
        ("store.options.aws_access_key_id", "somebody"),
        ("store.options.aws_secret_access_key", "hunter2"),
        ("store.allow.http", "true"),
        ("preflight", "off"),
    ];
    let away = rig.check_in(&[&config[..], &[("presign.ttl.ms", "60000")]].concat(), &record("content"));
    let told = reference(&away);
    let url = told.url.clone().unwrap();
    let key = told.uri.strip_prefix("s3://lake/").unwrap();
    assert!(url.starts_with(&format!("{endpoint}/lake/{key}?")), "{url}");
    assert!(url.contains("X-Amz-Expires=60&") && url.contains("X-Amz-Signature="), "{url}");
    assert!(!url.contains("hunter2") && !told.uri.contains('?') && !format!("{told:?}").contains("Signature"));
    let headers = Reference::of_header(away.headers.last("claim-check").unwrap()).unwrap();
    assert_eq!(headers[0].url, Some(url));
    assert_eq!(reference(&rig.check_in(&config, &record("content"))).url, None, "only when it is asked for");
}
