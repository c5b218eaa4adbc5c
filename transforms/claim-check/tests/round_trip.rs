//! What goes into a store comes back as it was: whole values and fields, with and without schemas, in every form.
#![allow(clippy::unwrap_used)] // clippy takes only `#[test]` functions for tests

mod cache;
mod rig;
mod source_side;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use pipette_api::{
    Blob, ConnectError, Datum, ErrorKind, Kind, Map, Payload, PayloadReader, Record, Result, Schema, SchemaBuilder,
    Struct, Value, async_trait,
};
use pipette_kit::Bench;
use pipette_store::Reference;
use transform_claim_check::InMemory;

use rig::{Rig, base64, bytes, files};

const SMALL: &[(&str, &str)] = &[("threshold.bytes", "1000")];

fn large() -> Vec<u8> {
    (0..5000_u32).flat_map(u32::to_be_bytes).collect()
}

fn record(value: Datum) -> Record {
    let mut record = Record::new(Arc::from("images"), value);
    record.key = Datum::new(Schema::of(Kind::String), Value::text("k"));
    record.headers.add("mine", Datum::schemaless(Value::I8(1)));
    record
}

/// A row with an image inside of a struct, a scan in base64, an optional report and a name.
fn row() -> Datum {
    let inner = SchemaBuilder::record().name("After").optional().field("image", Schema::of(Kind::Bytes));
    let inner = inner.field("id", Schema::of(Kind::Int64)).build().unwrap();
    let report = SchemaBuilder::new(Kind::String).name("lab.Report").version(2).optional().build().unwrap();
    let schema = SchemaBuilder::record()
        .name("Row")
        .field("after", Arc::clone(&inner))
        .field("scan", Schema::of(Kind::String))
        .field("report", report)
        .field("name", Schema::of(Kind::String))
        .build()
        .unwrap();
    let after = Struct::from_parts(inner, [bytes(large()), Value::I64(7)]);
    let values = [Value::Struct(Box::new(after)), base64(&large()), Value::text("x".repeat(3000)), Value::text("n")];
    Datum::new(Arc::clone(&schema), Value::Struct(Box::new(Struct::from_parts(schema, values))))
}

/// The same without a schema.
fn map() -> Datum {
    fn of(value: &Value) -> Value {
        let Value::Struct(row) = value else { return value.clone() };
        let names = row.schema().fields().iter().map(|field| Value::text(&*field.name));
        Value::Map(Box::new(names.zip(row.values().iter().map(of)).collect::<Map>()))
    }
    Datum::schemaless(of(&row().value))
}

const FIELDS: &[(&str, &str)] = &[
    ("threshold.bytes", "1000"),
    ("target", "field"),
    ("fields", "after.image,scan,report,name,gone"),
    ("field.text", "base64"),
];

#[test]
fn whole_values_come_back_as_they_were() {
    let optional = SchemaBuilder::new(Kind::String).name("lab.Report").optional().build().unwrap();
    for value in [
        Datum::new(Schema::of(Kind::Bytes), bytes(large())),
        Datum::new(Schema::optional(Kind::Bytes), bytes(large())),
        Datum::new(Schema::of(Kind::String), Value::text("ä".repeat(2000))),
        Datum::new(optional, Value::text("x".repeat(2000))),
        Datum::schemaless(bytes(large())),
        Datum::schemaless(Value::text("x".repeat(2000))),
    ] {
        for more in [&[][..], &[("value.mode", "header-only")], &[("compression", "zstd")], &[("key.strategy", "uuid")]]
        {
            let rig = Rig::new();
            let before = record(value.clone());
            let config = [SMALL, more].concat();
            let away = rig.check_in(&config, &before);
            assert!(away.held() < 1500 && !away.value.value.is_null(), "{away:?}");
            assert_eq!(away.value.schema.is_some(), value.schema.is_some(), "{more:?}");
            assert_eq!(rig.objects().len(), 1);
            assert_eq!(rig.restore(&[], &away), before, "{more:?}");
            let kept = rig.restore(&[("headers", "keep")], &away);
            assert!(kept.headers.last("claim-check").is_some());
            assert_eq!(rig.restore(&[], &kept).value, before.value, "what is back is not looked for again");
        }
    }
}

#[test]
fn a_schema_that_comes_back_is_the_same_object_each_time() {
    let rig = Rig::new();
    let schema = SchemaBuilder::new(Kind::String).name("lab.Report").build().unwrap();
    let away = rig.check_in(SMALL, &record(Datum::new(schema, Value::text("x".repeat(2000)))));
    let restore = rig.make("ClaimCheckRestore", &[]);
    let [one, two] = [(); 2].map(|()| rig.run(&*restore, &away).unwrap().value.schema.unwrap());
    assert!(Arc::ptr_eq(&one, &two));
}

#[test]
fn a_reference_tells_what_and_where() {
    let rig = Rig::new();
    let mut before =
        record(Datum::new(Schema::of(Kind::Bytes), bytes([b"GIF89a\x90\x01\x2c\x01".to_vec(), large()].concat())));
    before.headers.add("file.name", Datum::new(Schema::of(Kind::String), Value::text("a b.gif")));
    let away = rig.check_in(SMALL, &before);
    let reference = Reference::of_value(&away.value.value).unwrap().unwrap();
    assert_eq!(reference.size, Some(20010));
    assert_eq!(reference.content_type.as_deref(), Some("image/gif"));
    assert_eq!(reference.name.as_deref(), Some("a b.gif"));
    let meta = |name: &str| reference.meta.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str());
    assert_eq!((meta("image.width"), meta("image.height")), (Some("400"), Some("300")));
    assert!(reference.uri.starts_with(&format!("{}/images/2", rig.uri())), "{reference:?}");
    let headers = Reference::of_header(away.headers.last("claim-check").unwrap()).unwrap();
    assert_eq!(headers, [reference], "the header tells the same");
    assert_eq!(away.headers.last("mine"), before.headers.last("mine"));
    let schema = away.value.schema.unwrap();
    assert_eq!((schema.name(), schema.version()), (Some("io.pipette.claimcheck.Reference"), Some(1)));
}

#[test]
fn fields_come_back_as_they_were() {
    for value in [row(), map()] {
        for mode in ["replace", "sibling", "uri"] {
            for format in [&[][..], &[("compression", "gzip")]] {
                let rig = Rig::new();
                let before = record(value.clone());
                let away = rig.check_in(&[FIELDS, &[("field.mode", mode)], format].concat(), &before);
                assert!(away.value.value.held() < 4000, "{away:?}");
                assert_eq!(rig.objects().len(), 2, "image and scan have the same bytes");
                let told = Reference::of_header(away.headers.last("claim-check").unwrap()).unwrap();
                let paths: Vec<_> = told.iter().map(|reference| reference.path.as_deref().unwrap()).collect();
                assert_eq!(paths, ["after.image", "scan", "report"], "{mode}");
                assert_eq!(rig.restore(&[], &away), before, "{mode}");
            }
        }
    }
}

#[test]
fn references_in_structs_are_found_without_their_header() {
    let rig = Rig::new();
    for mode in ["replace", "sibling"] {
        let before = record(row());
        let away = rig.check_in(&[FIELDS, &[("field.mode", mode), ("header.name", "")]].concat(), &before);
        assert!(away.headers.last("claim-check").is_none());
        assert_eq!(rig.restore(&[], &away), before, "{mode}");
    }
}

#[test]
fn further_fields_go_until_the_record_fits() {
    let rig = Rig::new();
    let config = [FIELDS, &[("threshold.bytes", "100000"), ("record.max.bytes", "25000")]].concat();
    // The last of a key counts.
    let config: Vec<_> =
        config.into_iter().filter(|(key, value)| *key != "threshold.bytes" || *value == "100000").collect();
    let before = record(row());
    let away = rig.check_in(&config, &before);
    let told = Reference::of_header(away.headers.last("claim-check").unwrap()).unwrap();
    assert_eq!(told.len(), 1, "one is enough");
    assert_eq!(told[0].path.as_deref(), Some("scan"), "the largest goes first");
    assert_eq!(rig.restore(&[], &away), before);
}

#[test]
fn the_same_content_is_one_object_and_is_counted() {
    let rig = Rig::new();
    let transform = rig.make("ClaimCheck", SMALL);
    let before = record(Datum::new(Schema::of(Kind::Bytes), bytes(large())));
    for _ in 0..3 {
        rig.run(&*transform, &before).unwrap();
    }
    assert_eq!(rig.objects().len(), 1);
    let number = |name: &'static str| rig.bench.numbers.get(name, &[]).unwrap_or_default();
    assert_eq!(number("claim_check_payloads_total"), 3);
    assert_eq!(number("claim_check_found_total"), 2);
    assert_eq!(number("claim_check_bytes_total"), 60_000);
}

fn read(rig: &Rig, payload: &dyn Payload) -> Result<Vec<u8>> {
    rig.bench.run("read", async {
        let (mut reader, mut bytes) = (payload.open(0, None).await?, Vec::new());
        while let Some(piece) = reader.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    })?
}

/// A payload that hides its length.
#[derive(Debug)]
struct Unknown(Vec<u8>);

#[async_trait]
impl Payload for Unknown {
    fn len(&self) -> Option<u64> {
        None
    }

    async fn open(&self, start: u64, len: Option<u64>) -> Result<Box<dyn PayloadReader>> {
        InMemory(Blob::whole(Bytes::from(self.0.clone()))?).open(start, len).await
    }
}

#[test]
fn handles_are_streamed_and_come_back_as_handles() {
    let rig = Rig::new();
    for payload in
        [Value::Payload(Arc::new(InMemory(Blob::whole(large()).unwrap()))), Value::Payload(Arc::new(Unknown(large())))]
    {
        let away = rig.check_in(SMALL, &record(Datum::new(Schema::of(Kind::Bytes), payload)));
        let back = rig.try_restore(&[], &away).unwrap();
        let Value::Payload(payload) = &back.value.value else { panic!("{back:?}") };
        assert_eq!(read(&rig, &**payload).unwrap(), large());
        assert_eq!(back.value.schema, Some(Schema::of(Kind::Bytes)));
    }
    let small = record(Datum::schemaless(Value::Payload(Arc::new(Unknown(vec![1; 999])))));
    assert_eq!(rig.check_in(SMALL, &small), small, "one that turns out small stays");
}

#[test]
fn uploads_in_parts_are_noted_while_they_run_and_those_given_up_are_aborted() {
    let notes = tempfile::tempdir().unwrap();
    let rig = Rig { bench: Bench::new().unwrap().keeping(notes.path()), ..Rig::new() };
    let parts = [("store.uri", "memory://lake/inbox"), ("part.size.bytes", "5242880")];
    let before = record(Datum::new(Schema::of(Kind::Bytes), bytes(vec![7; 6 << 20])));
    let uploads_under_way = || {
        let mut journals = Vec::new();
        files(notes.path(), &mut journals);
        let texts = journals.iter().map(|journal| std::fs::read_to_string(journal).unwrap());
        // The first line is the format.
        texts.map(|text| text.lines().count().saturating_sub(1)).sum::<usize>()
    };
    // Each time the call is dropped at the first sight of a note, after so many more polls.
    for more in 0..4 {
        let transform = rig.make("ClaimCheck", &parts);
        let mut changed = before.clone();
        let call = async {
            let mut call = transform.apply(&mut changed);
            let mut left = more;
            loop {
                let ended = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_ready())).await;
                assert!(!ended, "the upload has ended before anybody saw a note of it");
                if uploads_under_way() > 0 {
                    if left == 0 {
                        break;
                    }
                    left -= 1;
                }
                tokio::task::yield_now().await;
            }
            drop(call);
            transform.stop().await;
        };
        rig.bench.run("a call that is dropped", call).unwrap();
        assert_eq!(uploads_under_way(), 0, "after {more} polls, a note is left");
    }
}

#[test]
fn foreign_forms_go_out_and_come_back() {
    let rig = Rig::new();
    let before = record(Datum::new(Schema::of(Kind::Bytes), bytes(large())));
    for form in ["bakdata-header", "bakdata-flag", "smt-toolkit"] {
        let away = rig.check_in(&[SMALL, &[("reference.format", form), ("header.name", "")]].concat(), &before);
        assert!(away.held() < 1500 && !away.value.value.is_null(), "{away:?}");
        let told = [("reference.formats", form), ("integrity", "if-present")];
        assert_eq!(rig.restore(&told, &away), before, "{form}");
        // Alone, as the flag has to be, it is refused when it is configured.
        if form != "bakdata-flag" {
            let among = [("reference.formats", &*format!("native,{form}"))];
            let refused = rig.try_restore(&among, &away).unwrap_err();
            assert!(refused.to_string().contains("integrity=require"), "{refused}");
        }
    }
    let small = record(Datum::new(Schema::of(Kind::Bytes), bytes(vec![7; 10])));
    let marked = rig.check_in(&[SMALL, &[("reference.format", "bakdata-flag")]].concat(), &small);
    assert_eq!(marked.value.value, bytes([vec![0], vec![7; 10]].concat()));
    let told = [("reference.formats", "bakdata-flag"), ("integrity", "if-present")];
    assert_eq!(rig.restore(&told, &marked), small);
    // Amazon's form knows buckets of S3 only.
    let refused =
        rig.run(&*rig.make("ClaimCheck", &[SMALL, &[("reference.format", "sqs")]].concat()), &before).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
}

#[test]
fn an_event_has_its_address_in_a_header() {
    let rig = Rig::new();
    let events = [("emit.cloudevents", "true"), ("cloudevents.source", "/lab"), ("cloudevents.type", "scan")];
    let before = record(Datum::new(Schema::of(Kind::Bytes), bytes(large())));
    let away = rig.check_in(&[SMALL, &events].concat(), &before);
    let header = |name: &str| away.headers.last(name).unwrap().value.as_str().unwrap().to_owned();
    assert!(header("ce_dataref").starts_with("file:///"));
    assert_eq!((header("ce_source"), header("ce_type")), ("/lab".into(), "scan".into()));
    assert_eq!(rig.restore(&[], &away).value, before.value);
    let alone = [("reference.formats", "cloudevents"), ("integrity", "if-present")];
    assert_eq!(rig.restore(&alone, &away).value, before.value);
    let bare = rig.make("ClaimCheck", &[SMALL, &[("emit.cloudevents", "true")]].concat());
    assert!(rig.run(&*bare, &before).unwrap_err().to_string().contains("set cloudevents.source"));
}

#[test]
fn what_was_changed_or_is_gone_is_told_before_a_sink_has_it() {
    let rig = Rig::new();
    let before = record(Datum::new(Schema::of(Kind::Bytes), bytes(large())));
    let away = rig.check_in(SMALL, &before);
    let object = rig.objects().remove(0);
    let mut other = large();
    other[17] ^= 1;
    std::fs::write(&object, &other).unwrap();
    let error = rig.try_restore(&[("mode", "eager")], &away).unwrap_err();
    assert!(error.to_string().contains("its digest is another one"), "{error}");
    std::fs::write(&object, b"short").unwrap();
    let error = rig.try_restore(&[], &away).unwrap_err();
    assert!(error.kind() == ErrorKind::Data && error.to_string().contains("it has 5 bytes"), "{error}");
    std::fs::remove_file(&object).unwrap();
    for (choice, kind) in [("fail", ErrorKind::Fatal), ("dlq", ErrorKind::Data)] {
        let error = rig.try_restore(&[("on.missing", choice)], &away).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains("missing or forbidden"), "{error}");
    }
    assert_eq!(rig.try_restore(&[("on.missing", "pass-reference")], &away).unwrap(), away);
}

#[test]
fn limits_hold_in_both_directions() {
    let rig = Rig::new();
    let before = record(Datum::new(Schema::of(Kind::Bytes), bytes(large())));
    let strict = rig.make("ClaimCheck", &[SMALL, &[("max.payload.bytes", "19999")]].concat());
    let error = rig.run(&*strict, &before).unwrap_err();
    assert!(error.kind() == ErrorKind::Data && error.to_string().contains("max.payload.bytes (19999)"), "{error}");
    let bomb = record(Datum::new(Schema::of(Kind::Bytes), bytes(vec![0; 4 << 20])));
    let mut away = rig.check_in(&[SMALL, &[("compression", "gzip")]].concat(), &bomb);
    let limit = [("max.payload.bytes", "1000000"), ("mode", "eager"), ("integrity", "off")];
    assert!(rig.try_restore(&limit, &away).unwrap_err().to_string().contains("larger than max.payload.bytes"));
    // One that lies about its size is told while it is read.
    let mut reference = Reference::of_value(&away.value.value).unwrap().unwrap();
    reference.size = Some(10);
    away.value = reference.to_struct().unwrap();
    assert!(rig.try_restore(&limit, &away).unwrap_err().to_string().contains("larger than max.payload.bytes"));
}

#[derive(Debug)]
struct Away;
#[async_trait]
impl Payload for Away {
    fn len(&self) -> Option<u64> {
        Some(2000)
    }
    async fn open(&self, _: u64, _: Option<u64>) -> Result<Box<dyn PayloadReader>> {
        Err(ConnectError::retriable("the share is away"))
    }
}

#[test]
fn a_store_that_is_away_is_waited_for_then_told_or_passed_by() {
    let rig = Rig::new();
    // A folder cannot be made where a file is.
    std::fs::write(rig.store(), b"").unwrap();
    let before = record(Datum::new(Schema::of(Kind::Bytes), bytes(large())));
    let error =
        rig.run(&*rig.make("ClaimCheck", &[SMALL, &[("retry.timeout.ms", "0")]].concat()), &before).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Fatal | ErrorKind::Retriable | ErrorKind::Config), "{error}");
    let rig = Rig::new();
    let away = record(Datum::new(Schema::of(Kind::Bytes), Value::Payload(Arc::new(Away))));
    let config = [SMALL, &[("retry.timeout.ms", "0"), ("metadata.extract", "off")]].concat();
    assert_eq!(rig.run(&*rig.make("ClaimCheck", &config), &away).unwrap_err().kind(), ErrorKind::Retriable);
    let inline = [&config[..], &[("on.store.failure", "inline")]].concat();
    assert_eq!(rig.run(&*rig.make("ClaimCheck", &inline), &away).unwrap(), away);
    assert_eq!(rig.bench.numbers.get("claim_check_inline_total", &[]), Some(1));
    let small = [&inline[..], &[("record.max.bytes", "1500")]].concat();
    assert_eq!(rig.run(&*rig.make("ClaimCheck", &small), &away).unwrap_err().kind(), ErrorKind::Retriable);
}

#[test]
fn addresses_that_lead_elsewhere_are_refused_before_anything_is_asked() {
    let rig = Rig::new();
    let secret = rig.folder.path().join("secret");
    std::fs::write(&secret, b"x").unwrap();
    let (store, outside) = (rig.uri(), format!("file://{}", secret.display()));
    for uri in [
        outside,
        format!("{store}/../secret"),
        format!("{store}/%2e%2e/secret"),
        format!("{store}/%252e%252e/secret"),
        format!("{store}/a%2f..%2f..%2fsecret"),
        format!("{store}-other/a"),
        "s3://another/inbox/a".into(),
        "http://169.254.169.254/latest/meta-data/".into(),
        "https://lake.example/a".into(),
        "file://localhost/etc/passwd".into(),
    ] {
        let reference =
            Reference { size: Some(1), digest: Some(pipette_store::Digest::of(b"x")), ..Reference::to(uri.as_str()) };
        for value in [reference.to_struct().unwrap(), reference.to_map().unwrap()] {
            let error = rig.try_restore(&[("on.missing", "pass-reference")], &record(value)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data, "{uri}");
            assert!(error.to_string().contains("the reference is refused"), "{uri}: {error}");
        }
    }
    // A link inside leads out.
    std::fs::create_dir_all(rig.store()).unwrap();
    std::os::unix::fs::symlink(&secret, rig.store().join("link")).unwrap();
    let reference = Reference {
        size: Some(1),
        digest: Some(pipette_store::Digest::of(b"x")),
        ..Reference::to(format!("{store}/link"))
    };
    let error = rig.try_restore(&[("mode", "eager")], &record(reference.to_struct().unwrap())).unwrap_err();
    assert!(!error.to_string().contains("digest"), "{error}");
}

/// The host on this machine knows no TLS: what matters here is whether it is asked at all.
#[test]
fn addresses_of_the_web_are_asked_only_where_they_are_allowed_and_never_by_a_name_that_leads_inside() {
    let rig = Rig::new();
    let host = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    host.set_nonblocking(true).unwrap();
    let port = host.local_addr().unwrap().port();
    let mut referring = record(Datum::schemaless(bytes(Vec::new())));
    let mut asked = |uri: String, prefix: String, enabled: &str| {
        referring.headers.0.retain(|(name, _)| **name != *"ce_dataref");
        referring.headers.add("ce_dataref", Datum::schemaless(Value::text(uri)));
        let allowed = format!("{},{prefix}", rig.uri());
        let config = [
            ("integrity", "if-present"),
            ("http.enable", enabled),
            ("retry.timeout.ms", "0"),
            ("store.request.timeout.ms", "100"),
            ("store.connect.timeout.ms", "100"),
            ("allowed.uri.prefixes", if enabled == "true" { allowed.as_str() } else { "" }),
        ];
        let error = rig.try_restore(&config, &referring).unwrap_err();
        (error.kind(), error.to_string(), host.accept().is_ok())
    };
    let (literal, name) = (format!("https://127.0.0.1:{port}/a"), format!("https://localhost:{port}/a"));
    let (kind, text, reached) = asked(format!("{literal}/b"), literal.clone(), "false");
    assert!(kind == ErrorKind::Data && text.contains("addresses of the web are not read") && !reached, "{text}");
    let (kind, text, reached) = asked(format!("{literal}/b"), name.clone(), "true");
    assert!(kind == ErrorKind::Data && text.contains("not under any prefix") && !reached, "{text}");
    let (kind, text, reached) = asked(format!("{name}/b"), name, "true");
    assert!(kind == ErrorKind::Data && text.contains("localhost leads to") && !reached, "{text}");
    let (kind, text, reached) = asked(format!("{literal}/b"), literal, "true");
    assert!(kind == ErrorKind::Retriable && text.contains("does not answer") && reached, "{text}");
}
