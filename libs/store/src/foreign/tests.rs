use std::sync::Arc;

use pipette_api::{Datum, ErrorKind, Headers, Kind, Map, Schema, SchemaBuilder};

use super::*;
use crate::compression::Compression;
use crate::digest::Digest;

fn reference() -> Reference {
    Reference {
        size: Some(4096),
        digest: Some(Digest::of(b"x")),
        content_encoding: Some(Compression::Gzip),
        created_at: Some(1_795_677_300_000),
        ..Reference::to("s3://lake/images/a")
    }
}

fn record(value: Value) -> Record {
    Record::new(Arc::from("images"), Datum::schemaless(value))
}

fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(Blob::whole(bytes.to_vec()).unwrap())
}

fn shown(datum: &Datum) -> String {
    String::from_utf8_lossy(short_bytes(&datum.value).unwrap()).into_owned()
}

#[test]
fn what_a_form_can_say_comes_back() {
    let plain = || Reference::to("s3://lake/images/a");
    let gzip = Some(Compression::Gzip);
    for (form, expected) in [
        (Form::BakdataHeader, Reference { content_encoding: gzip, ..plain() }),
        (Form::BakdataFlag, Reference { content_encoding: gzip, ..plain() }),
        (Form::Sqs, Reference { size: Some(4096), ..plain() }),
        (Form::SmtToolkit, Reference { size: Some(4096), created_at: Some(1_795_677_300_000), ..plain() }),
        (Form::KafS3, Reference { digest: Some(Digest::of(b"x")), content_encoding: gzip, ..plain() }),
    ] {
        let mut sent = record(Value::text("large"));
        sent.headers.add("mine", Datum::schemaless(Value::I8(1)));
        form.put(Side::Value, &reference(), &mut sent).unwrap();
        assert!(!sent.value.value.is_null(), "{form:?}: never a tombstone");
        assert_eq!(form.find(Side::Value, &sent).unwrap(), Found::Reference(Box::new(expected)), "{form:?}");
        form.strip(&mut sent);
        let left: Vec<&str> = sent.headers.0.iter().map(|(name, _)| &**name).filter(|name| *name != "mine").collect();
        // The compression belongs to the flag in the first byte as well, but that form has no header to strip it by.
        assert!(left.is_empty() || form == Form::BakdataFlag, "{form:?}: {left:?}");
        assert_eq!(Form::named(form.name()), Some(form));
    }
}

#[test]
fn the_bytes_are_those_that_others_write() {
    let put = |form: Form| {
        let mut record = record(Value::text("large"));
        form.put(Side::Value, &reference(), &mut record).unwrap();
        record
    };
    assert_eq!(shown(&put(Form::BakdataHeader).value), "s3://lake/images/a");
    // Text goes through the default header converter as it is: one byte in Kafka.
    assert_eq!(shown(put(Form::BakdataHeader).headers.last("__large.message.backed.value").unwrap()), "\u{1}");
    assert_eq!(shown(put(Form::BakdataHeader).headers.last("__large.message.backed.compression").unwrap()), "\u{1}");
    assert!(put(Form::BakdataHeader).headers.0.iter().all(|(_, header)| header.value.as_str().is_some()));
    assert_eq!(shown(&put(Form::BakdataFlag).value), "\u{1}s3://lake/images/a");
    assert_eq!(
        shown(&put(Form::Sqs).value),
        r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"lake","s3Key":"images/a"}]"#
    );
    assert_eq!(
        shown(put(Form::SmtToolkit).headers.last("smt-toolkit-claim-check-reference").unwrap()),
        r#"{"reference_url":"s3://lake/images/a","original_size_bytes":4096,"uploaded_at":1795677300000}"#
    );
    let sha = Digest::of(b"x").hex();
    assert_eq!(
        shown(&put(Form::KafS3).value),
        format!(
            r#"{{"s3_bucket":"lake","s3_key":"images/a","etag":null,"sha256":"{sha}","compression":"gzip","deterministic":true}}"#
        )
    );
}

#[test]
fn keys_have_their_own_flag() {
    let mut sent = record(Value::text("small"));
    Form::BakdataHeader.put(Side::Key, &reference(), &mut sent).unwrap();
    assert_eq!(shown(&sent.key), "s3://lake/images/a");
    assert_eq!(Form::BakdataHeader.find(Side::Value, &sent).unwrap(), Found::Nothing);
}

#[test]
fn headers_are_read_in_every_shape_that_converters_give_them() {
    for (flag, zstd) in [
        (bytes(&[1]), bytes(&[4])),
        (Value::text("\u{1}"), Value::text("\u{4}")),
        (Value::I8(1), Value::I8(4)),
        (Value::text("AQ=="), Value::text("BA==")),
    ] {
        let mut sent = record(bytes(b"abs://box/a"));
        sent.headers.add("__large.message.backed.value", Datum::schemaless(flag));
        sent.headers.add("__large.message.backed..compression", Datum::schemaless(zstd));
        let expected = Reference { content_encoding: Some(Compression::Zstd), ..Reference::to("abs://box/a") };
        assert_eq!(Form::BakdataHeader.find(Side::Value, &sent).unwrap(), Found::Reference(Box::new(expected)));
    }
    let map: Map = [
        (Value::text("reference_url"), Value::text("s3://lake/a")),
        (Value::text("original_size_bytes"), Value::I16(7)),
        (Value::text("uploaded_at"), Value::I64(9)),
    ]
    .into_iter()
    .collect();
    let mut sent = record(Value::Null);
    sent.headers.add("smt-toolkit-claim-check-reference", Datum::schemaless(Value::Map(Box::new(map))));
    let expected = Reference { size: Some(7), created_at: Some(9), ..Reference::to("s3://lake/a") };
    assert_eq!(Form::SmtToolkit.find(Side::Value, &sent).unwrap(), Found::Reference(Box::new(expected)));
}

#[test]
fn values_that_stayed_in_kafka_are_told_apart() {
    let flagged = record(Value::Bytes(inline_flag(b"small").unwrap()));
    let found = Form::BakdataFlag.find(Side::Value, &flagged).unwrap();
    assert_eq!(found, Found::Inline(Some(Blob::whole("small").unwrap())));
    let mut by_header = record(bytes(b"small"));
    by_header.headers.add("__large.message.backed.value", Datum::schemaless(bytes(&[0])));
    assert_eq!(Form::BakdataHeader.find(Side::Value, &by_header).unwrap(), Found::Inline(None));
    for form in [Form::BakdataHeader, Form::Sqs, Form::SmtToolkit, Form::KafS3, Form::CloudEvents] {
        for value in [Value::Null, Value::text("[1,2]"), Value::text("{}"), bytes(b"\xff"), Value::I32(1)] {
            assert_eq!(form.find(Side::Value, &record(value)).unwrap(), Found::Nothing, "{form:?}");
        }
    }
}

#[test]
fn what_is_marked_and_broken_is_one_bad_record() {
    let with = |name: &str, header: Value, value: Value| {
        let mut record = record(value);
        record.headers.add(name, Datum::schemaless(header));
        record
    };
    for (form, record) in [
        (Form::BakdataHeader, with("__large.message.backed.value", bytes(&[2]), bytes(b"s3://a/b"))),
        (Form::BakdataHeader, with("__large.message.backed.value", bytes(&[1]), Value::I32(1))),
        (Form::BakdataHeader, with("__large.message.backed.value", bytes(&[1]), bytes(b"\xff"))),
        (Form::BakdataFlag, record(bytes(b"\x02"))),
        (Form::BakdataFlag, record(bytes(b""))),
        (Form::BakdataFlag, record(Value::text("x"))),
        (Form::BakdataFlag, with("__large.message.backed.compression", bytes(&[2]), bytes(b"\x01s3://a/b"))),
        (Form::Sqs, record(Value::text(r#"["x.PayloadS3Pointer",{"s3Key":"a"}]"#))),
        (Form::SmtToolkit, with("smt-toolkit-claim-check-reference", Value::text("{"), Value::Null)),
        (Form::SmtToolkit, with("smt-toolkit-claim-check-reference", Value::text("{}"), Value::Null)),
        (Form::KafS3, record(Value::text(r#"{"s3_bucket":"a","s3_key":"b","sha256":"1"}"#))),
        (Form::CloudEvents, with("ce_dataref", Value::I32(1), Value::Null)),
    ] {
        assert_eq!(form.find(Side::Value, &record).unwrap_err().kind(), ErrorKind::Data, "{form:?} {record:?}");
    }
}

#[test]
fn a_key_that_climbs_out_is_refused_when_its_address_is_looked_at() {
    let allowed = crate::Allowed::read("allowed.uri.prefixes", &["s3://lake/images"]).unwrap();
    for key in ["images/../secret", "images/%2e%2e/secret", "../lake2/a", "images//a"] {
        let json = serde_json::json!({"s3_bucket": "lake", "s3_key": key});
        let Found::Reference(found) = Form::KafS3.find(Side::Value, &record(Value::text(json.to_string()))).unwrap()
        else {
            panic!("{key} is a reference")
        };
        assert!(allowed.check(&found.uri).is_err(), "{key}");
    }
}

#[test]
fn forms_of_s3_refuse_other_stores_and_large_sizes_their_limit() {
    let elsewhere = Reference::to("gs://lake/a");
    for form in [Form::Sqs, Form::KafS3] {
        let error = form.put(Side::Value, &elsewhere, &mut record(Value::Null)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
    let huge = Reference { size: Some(1 << 31), ..reference() };
    assert!(Form::SmtToolkit.put(Side::Value, &huge, &mut record(Value::Null)).is_err());
    let azure = Reference::to("az://box/a");
    let mut sent = record(Value::Null);
    Form::BakdataHeader.put(Side::Value, &azure, &mut sent).unwrap();
    assert_eq!(shown(&sent.value), "abs://box/a");
}

#[test]
fn a_placeholder_fits_its_schema() {
    let fields = SchemaBuilder::record()
        .field("id", Schema::of(Kind::Int64))
        .field("name", Schema::optional(Kind::String))
        .field("when", SchemaBuilder::timestamp().build().unwrap())
        .field("price", SchemaBuilder::decimal(2).build().unwrap())
        .field("tags", SchemaBuilder::array(Schema::of(Kind::String)).build().unwrap());
    let schema = fields.optional().build().unwrap();
    let mut sent = Record::new(Arc::from("t"), Datum::new(Arc::clone(&schema), Value::Null));
    Form::SmtToolkit.put(Side::Value, &reference(), &mut sent).unwrap();
    assert!(!sent.value.value.is_null());
    pipette_api::data::record_struct::fits(&sent.value.value, &schema).unwrap();
}

#[test]
fn a_cloud_event_has_what_it_must_have() {
    let mut headers = Headers::default();
    assert_eq!(add_cloud_event(&reference(), None, &mut headers).unwrap_err().kind(), ErrorKind::Config);
    let attributes = Attributes { source: "/lab", kind: "image" };
    add_cloud_event(&reference(), Some(attributes), &mut headers).unwrap();
    let text = |name: &str| headers.last(name).unwrap().value.as_str().unwrap().to_owned();
    assert_eq!([text("ce_specversion"), text("ce_source"), text("ce_type")], ["1.0", "/lab", "image"]);
    assert_eq!((text("ce_id"), text("ce_dataref")), (Digest::of(b"x").hex(), "s3://lake/images/a".to_owned()));
    let mut event = Headers::default();
    for name in ["ce_specversion", "ce_id", "ce_source", "ce_type"] {
        event.add(name, Datum::schemaless(Value::text("theirs")));
    }
    add_cloud_event(&reference(), None, &mut event).unwrap();
    assert_eq!((event.0.len(), event.last("ce_id").unwrap().value.as_str()), (5, Some("theirs")));
    let sent = Record { headers: event, ..record(Value::text("{}")) };
    let Found::Reference(found) = Form::CloudEvents.find(Side::Value, &sent).unwrap() else { panic!("a reference") };
    assert_eq!(found.uri, "s3://lake/images/a");
}
