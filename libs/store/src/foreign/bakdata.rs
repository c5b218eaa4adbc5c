//! bakdata's kafka-large-message-serde: an address as the whole message, and a flag that says so.

use std::sync::Arc;

use pipette_api::{Blob, ConnectError, Datum, Kind, Record, Result, Schema, Side, Value};

use super::{Form, Found, broken, short_bytes};
use crate::compression::Compression;
use crate::reference::Reference;

const VALUE: &str = "__large.message.backed.value";
const KEY: &str = "__large.message.backed.key";
const COMPRESSION: &str = "__large.message.backed.compression";
/// As versions before 4.0 wrote it.
const OLD_COMPRESSION: &str = "__large.message.backed..compression";

pub(super) const HEADERS: &[&str] = &[VALUE, KEY, COMPRESSION, OLD_COMPRESSION];

const INLINE: u8 = 0;
const BACKED: u8 = 1;

fn flag_header(side: Side) -> &'static str {
    match side {
        Side::Key => KEY,
        Side::Value => VALUE,
    }
}

pub(super) fn find_by_header(side: Side, record: &Record) -> Result<Found> {
    let Some(flag) = record.headers.last(flag_header(side)) else { return Ok(Found::Nothing) };
    match one_byte(&flag.value) {
        Some(INLINE) => Ok(Found::Inline(None)),
        Some(BACKED) => {
            let bytes = short_bytes(&side.of(record).value)
                .ok_or_else(|| broken(Form::BakdataHeader, "the value is no address"))?;
            address(Form::BakdataHeader, bytes, compression(record)?)
        }
        _ => Err(broken(Form::BakdataHeader, "its header is neither 0 nor 1")),
    }
}

pub(super) fn find_by_flag(side: Side, record: &Record) -> Result<Found> {
    let value = &side.of(record).value;
    let Value::Bytes(blob) = value else {
        return if value.is_null() {
            Ok(Found::Nothing)
        } else {
            Err(broken(Form::BakdataFlag, "the value is not bytes"))
        };
    };
    match blob.as_bytes().first() {
        Some(&INLINE) => {
            let len = u32::try_from(blob.len() - 1).unwrap_or_else(|_| unreachable!("a span is shorter than 4 GiB"));
            Ok(Found::Inline(Some(blob.slice(1, len))))
        }
        Some(&BACKED) => address(Form::BakdataFlag, &blob.as_bytes()[1..], compression(record)?),
        _ => Err(broken(Form::BakdataFlag, "the first byte is neither 0 nor 1")),
    }
}

pub(super) fn put_with_header(side: Side, reference: &Reference, record: &mut Record) -> Result<()> {
    let compression = compression_code(reference);
    let uri = theirs(&reference.uri);
    *side.of_mut(record) = bytes(uri.as_bytes())?;
    record.headers.add(flag_header(side), one_sign(BACKED));
    if let Some(code) = compression {
        record.headers.add(COMPRESSION, one_sign(code));
    }
    Ok(())
}

pub(super) fn put_with_flag(side: Side, reference: &Reference, record: &mut Record) -> Result<()> {
    if let Some(code) = compression_code(reference) {
        record.headers.add(COMPRESSION, one_sign(code));
    }
    let uri = theirs(&reference.uri);
    *side.of_mut(record) = bytes(&[&[BACKED], uri.as_bytes()].concat())?;
    Ok(())
}

/// A value that stays in Kafka, as readers of [`Form::BakdataFlag`] expect it.
pub fn inline_flag(value: &[u8]) -> Result<Blob> {
    Blob::whole([&[INLINE], value].concat())
}

fn bytes(bytes: &[u8]) -> Result<Datum> {
    let schema: Arc<Schema> = Schema::of(Kind::Bytes);
    Ok(Datum::new(schema, Value::Bytes(Blob::whole(bytes.to_vec())?)))
}

/// A byte below 128 in a header. As text: Connect's default header converter writes that as it is, and bytes as base64.
fn one_sign(byte: u8) -> Datum {
    Datum::new(Schema::of(Kind::String), Value::text(char::from(byte).to_string()))
}

fn theirs(uri: &str) -> String {
    uri.strip_prefix("az://").map_or_else(|| uri.to_owned(), |rest| format!("abs://{rest}"))
}

fn address(form: Form, bytes: &[u8], compression: Option<Compression>) -> Result<Found> {
    let uri = std::str::from_utf8(bytes).map_err(|_| broken(form, "its address is not UTF-8"))?;
    Ok(Found::Reference(Box::new(Reference { content_encoding: compression, ..Reference::to(uri) })))
}

fn compression_code(reference: &Reference) -> Option<u8> {
    reference.content_encoding.map(|compression| match compression {
        Compression::Gzip => 1,
        Compression::Zstd => 4,
    })
}

fn compression(record: &Record) -> Result<Option<Compression>> {
    let header = record.headers.last(COMPRESSION).or_else(|| record.headers.last(OLD_COMPRESSION));
    let Some(header) = header else { return Ok(None) };
    match one_byte(&header.value) {
        Some(0) => Ok(None),
        Some(1) => Ok(Some(Compression::Gzip)),
        Some(4) => Ok(Some(Compression::Zstd)),
        Some(2 | 3) => Err(ConnectError::data(
            "the object of a bakdata reference is compressed with snappy or lz4, which are not read",
        )),
        _ => Err(broken(Form::BakdataHeader, "its compression is none that it knows")),
    }
}

/// As bytes, as text, or as what Connect's default header converter makes of one byte: earlier versions sent bytes through
/// it, which are base64 then.
fn one_byte(value: &Value) -> Option<u8> {
    if let Value::I8(number) = value {
        return u8::try_from(*number).ok();
    }
    match short_bytes(value)? {
        [byte] => Some(*byte),
        b"AA==" => Some(0),
        b"AQ==" => Some(1),
        b"BA==" => Some(4),
        _ => None,
    }
}
