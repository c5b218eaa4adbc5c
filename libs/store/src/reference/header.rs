//! The header as Connect's default header converter leaves it. Java's `SimpleHeaderConverter`, and so this worker's, takes
//! JSON text apart into lists and maps, but does not read its strings: `"a\"b"` keeps its backslash, and a string that looks
//! like a date becomes one. What can be undone is undone here, and what is written gives it nothing to guess.
//!
//! `reference.rs` calls it.

use std::io;

use chrono::DateTime;
use pipette_api::{Datum, Kind, Map, Value};
use serde::Serialize;
use serde_json::{Serializer, Value as Json};

const DAY_MILLIS: i64 = 86_400_000;

/// JSON in whose strings no header converter sees a date or a time.
pub(super) fn to_text(json: &Json) -> Vec<u8> {
    let mut text = Vec::new();
    let written = json.serialize(&mut Serializer::with_formatter(&mut text, NoDates));
    written.unwrap_or_else(|_| unreachable!("JSON has a text, and memory takes it"));
    text
}

/// True when a converter has made this of JSON text without reading the strings in it. One that reads JSON gives no schema to
/// an array whose elements differ.
pub(super) fn is_taken_apart(header: &Datum) -> bool {
    let kind = header.schema.as_ref().map(|schema| schema.kind());
    matches!(kind, Some(Kind::Array | Kind::Map))
}

/// The JSON object that a map was.
pub(super) fn object_of(map: &Map) -> serde_json::Map<String, Json> {
    map.iter().filter_map(|(name, value)| Some((text_of(name)?, json_of(value)))).collect()
}

fn json_of(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::I8(number) => (*number).into(),
        Value::I16(number) => (*number).into(),
        Value::I32(number) => (*number).into(),
        Value::I64(number) => (*number).into(),
        Value::Map(map) => Json::Object(object_of(map)),
        // A reference has nothing else: whoever reads it says what is wrong.
        other => text_of(other).map_or(Json::Bool(false), Json::String),
    }
}

/// The string that it was in JSON. One that is none there was never escaped.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => {
            let text = text.as_str();
            let read = text.contains('\\').then(|| serde_json::from_str(&format!("\"{text}\"")));
            Some(read.and_then(Result::ok).unwrap_or_else(|| text.to_owned()))
        }
        Value::Date(days) => time(i64::from(*days) * DAY_MILLIS, "%Y-%m-%d"),
        Value::Time(millis) => time(i64::from(*millis), "%H:%M:%S%.3fZ"),
        Value::Timestamp(millis) => time(*millis, "%Y-%m-%dT%H:%M:%S%.3fZ"),
        _ => None,
    }
}

fn time(millis: i64, form: &str) -> Option<String> {
    DateTime::from_timestamp_millis(millis).map(|time| time.format(form).to_string())
}

/// Writes the first sign of what looks like a date as an escape: the same text to JSON, and no date to anybody.
struct NoDates;

impl serde_json::ser::Formatter for NoDates {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let looks_like_time = matches!(fragment.len(), 10 | 13 | 24)
            && fragment.bytes().all(|byte| byte.is_ascii_digit() || b"-:.TZ ".contains(&byte));
        match fragment.as_bytes().first().filter(|_| looks_like_time) {
            Some(first) => write!(writer, "\\u{first:04x}{}", &fragment[1..]),
            None => writer.write_all(fragment.as_bytes()),
        }
    }
}
