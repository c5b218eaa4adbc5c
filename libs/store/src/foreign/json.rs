//! Three forms that are JSON: of Amazon's extended clients, of smt-toolkit, of kaf-s3-connector.

use pipette_api::{Datum, Kind, Map, Record, Result, Schema, Side, Value};
use serde_json::{Value as Json, json};

use super::placeholder::placeholder;
use super::{Form, Found, broken, s3_parts, s3_uri, short_bytes};
use crate::compression::Compression;
use crate::digest::Digest;
use crate::reference::Reference;

const SQS_CLASS: &str = "software.amazon.payloadoffloading.PayloadS3Pointer";
const SQS_SIZE: &str = "ExtendedPayloadSize";
const OLD_SQS_SIZE: &str = "SQSLargePayloadSize";
pub(super) const SQS_HEADERS: &[&str] = &[SQS_SIZE, OLD_SQS_SIZE];

const SMT_TOOLKIT: &str = "smt-toolkit-claim-check-reference";
pub(super) const SMT_TOOLKIT_HEADERS: &[&str] = &[SMT_TOOLKIT];

fn text(text: &str) -> Datum {
    Datum::new(Schema::of(Kind::String), Value::text(text))
}

/// `["a Java class", {"s3BucketName": …, "s3Key": …}]`
pub(super) fn find_sqs(side: Side, record: &Record) -> Result<Found> {
    let json = short_bytes(&side.of(record).value).and_then(|bytes| serde_json::from_slice(bytes).ok());
    let Some(Json::Array(elements)) = json else { return Ok(Found::Nothing) };
    let [Json::String(class), Json::Object(pointer)] = &elements[..] else { return Ok(Found::Nothing) };
    if !class.ends_with("S3Pointer") {
        return Ok(Found::Nothing);
    }
    let part = |name: &str| pointer.get(name).and_then(Json::as_str);
    let (Some(bucket), Some(key)) = (part("s3BucketName"), part("s3Key")) else {
        return Err(broken(Form::Sqs, "it lacks s3BucketName or s3Key"));
    };
    let told = SQS_HEADERS.iter().find_map(|name| record.headers.last(name)).and_then(|header| number(&header.value));
    Ok(Found::Reference(Box::new(Reference { size: told, ..Reference::to(s3_uri(bucket, key)) })))
}

pub(super) fn put_sqs(side: Side, reference: &Reference, record: &mut Record) -> Result<()> {
    let uri = s3_parts(Form::Sqs, reference)?;
    let pointer = json!([SQS_CLASS, {"s3BucketName": uri.bucket, "s3Key": uri.key}]);
    *side.of_mut(record) = text(&pointer.to_string());
    if let Some(size) = reference.size {
        record.headers.add(SQS_SIZE, text(&size.to_string()));
    }
    Ok(())
}

/// A header with `{"reference_url": …, "original_size_bytes": …, "uploaded_at": …}`, or the map that a header converter
/// has made of it.
pub(super) fn find_smt_toolkit(record: &Record) -> Result<Found> {
    let Some(header) = record.headers.last(SMT_TOOLKIT) else { return Ok(Found::Nothing) };
    let parsed;
    let (uri, size, at) = match &header.value {
        Value::Map(map) => (of_map(map, "reference_url"), field(map, "original_size_bytes"), field(map, "uploaded_at")),
        value => {
            parsed = short_bytes(value).and_then(|bytes| serde_json::from_slice::<Json>(bytes).ok());
            let json = parsed.as_ref().ok_or_else(|| broken(Form::SmtToolkit, "its header is no JSON"))?;
            let number = |name: &str| json.get(name).and_then(Json::as_u64);
            (json.get("reference_url").and_then(Json::as_str), number("original_size_bytes"), number("uploaded_at"))
        }
    };
    let uri = uri.ok_or_else(|| broken(Form::SmtToolkit, "its header has no reference_url"))?;
    let created_at = at.and_then(|at| i64::try_from(at).ok());
    Ok(Found::Reference(Box::new(Reference { size, created_at, ..Reference::to(uri) })))
}

pub(super) fn put_smt_toolkit(reference: &Reference, record: &mut Record) -> Result<()> {
    let size = reference.size.unwrap_or_default();
    if i32::try_from(size).is_err() {
        return Err(broken(Form::SmtToolkit, "it knows sizes up to 2 GiB only"));
    }
    let header = json!({
        "reference_url": reference.uri,
        "original_size_bytes": size,
        "uploaded_at": reference.created_at.unwrap_or_default(),
    });
    record.value = placeholder(record.value.schema.as_ref())?;
    record.headers.add(SMT_TOOLKIT, text(&header.to_string()));
    Ok(())
}

/// `{"s3_bucket": …, "s3_key": …, "etag": …, "sha256": …, "compression": …}`
pub(super) fn find_kaf_s3(side: Side, record: &Record) -> Result<Found> {
    let json = short_bytes(&side.of(record).value).and_then(|bytes| serde_json::from_slice(bytes).ok());
    let Some(Json::Object(object)) = json else { return Ok(Found::Nothing) };
    let part = |name: &str| object.get(name).and_then(Json::as_str);
    let (Some(bucket), Some(key)) = (part("s3_bucket"), part("s3_key")) else { return Ok(Found::Nothing) };
    Ok(Found::Reference(Box::new(Reference {
        digest: part("sha256").map(Digest::read).transpose()?,
        etag: part("etag").map(str::to_owned),
        content_encoding: part("compression").map_or(Ok(None), Compression::read)?,
        ..Reference::to(s3_uri(bucket, key))
    })))
}

/// Without the entity tag: it is one of a digest to them, which it is not.
pub(super) fn put_kaf_s3(side: Side, reference: &Reference, record: &mut Record) -> Result<()> {
    let uri = s3_parts(Form::KafS3, reference)?;
    let object = json!({
        "s3_bucket": uri.bucket,
        "s3_key": uri.key,
        "etag": null,
        "sha256": reference.digest.map(|digest| digest.hex()),
        "compression": reference.content_encoding.map(Compression::name),
        "deterministic": true,
    });
    *side.of_mut(record) = text(&object.to_string());
    Ok(())
}

fn of_map<'a>(map: &'a Map, name: &str) -> Option<&'a str> {
    map.get(name)?.as_str()
}

fn field(map: &Map, name: &str) -> Option<u64> {
    number(map.get(name)?)
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::I8(number) => u64::try_from(*number).ok(),
        Value::I16(number) => u64::try_from(*number).ok(),
        Value::I32(number) => u64::try_from(*number).ok(),
        Value::I64(number) => u64::try_from(*number).ok(),
        value => std::str::from_utf8(short_bytes(value)?).ok()?.parse().ok(),
    }
}
