//! Java's names and texts of values: what error messages and `toString` show.

use pipette_api::data::Part;
use pipette_api::{ConnectError, Kind, Result, Value};

use crate::calendar::{DAY_MILLIS, Moment};

/// The enum name of a kind: `INT8`, `FLOAT32`.
pub fn kind(kind: Kind) -> String {
    kind.name().to_uppercase()
}

/// `class java.lang.String` and so on, as error texts show it.
pub fn class(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "class java.lang.Boolean",
        Value::I8(_) => "class java.lang.Byte",
        Value::I16(_) => "class java.lang.Short",
        Value::I32(_) => "class java.lang.Integer",
        Value::I64(_) => "class java.lang.Long",
        Value::F32(_) => "class java.lang.Float",
        Value::F64(_) => "class java.lang.Double",
        Value::Date(_) | Value::Time(_) | Value::Timestamp(_) => "class java.util.Date",
        Value::Decimal(_) => "class java.math.BigDecimal",
        Value::String(_) => "class java.lang.String",
        Value::Bytes(_) | Value::Payload(_) => "class [B",
        Value::Array(_) => "class java.util.ArrayList",
        Value::Map(_) => "class java.util.HashMap",
        Value::Struct(_) => "class org.apache.kafka.connect.data.Struct",
    }
}

/// Numbers and booleans as Java prints them; false, and nothing appended, for everything else.
pub fn append_plain(value: &Value, out: &mut Vec<u8>) -> bool {
    match value {
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::I8(number) => pipette_json::write_i64(i64::from(*number), out),
        Value::I16(number) => pipette_json::write_i64(i64::from(*number), out),
        Value::I32(number) => pipette_json::write_i64(i64::from(*number), out),
        Value::I64(number) => pipette_json::write_i64(*number, out),
        Value::F32(number) => pipette_json::write_f32(*number, out),
        Value::F64(number) => pipette_json::write_f64(*number, out),
        Value::Decimal(decimal) => pipette_json::write_decimal(decimal, out),
        _ => return false,
    }
    true
}

/// The milliseconds since 1970 that Java's single date class holds.
pub fn millis(value: &Value) -> Option<i64> {
    match value {
        Value::Date(days) => Some(i64::from(*days) * DAY_MILLIS),
        Value::Time(millis) => Some(i64::from(*millis)),
        Value::Timestamp(millis) => Some(*millis),
        _ => None,
    }
}

/// What is written in the place of bytes and payloads, of which Java prints the address in memory.
pub type OfBytes = fn(&Value, &mut Vec<u8>) -> Result<()>;

/// Appends Java's `toString`. A data error for what is nested too deeply.
pub fn append_text(value: &Value, out: &mut Vec<u8>, bytes: OfBytes) -> Result<()> {
    nested(value, out, bytes, 0)
}

fn nested(value: &Value, out: &mut Vec<u8>, bytes: OfBytes, depth: usize) -> Result<()> {
    if append_plain(value, out) {
        return Ok(());
    }
    if let Some(millis) = millis(value) {
        out.extend_from_slice(Moment::of(millis).java_text().as_bytes());
        return Ok(());
    }
    match value {
        Value::String(text) => text.append_to(out),
        Value::Payload(_) | Value::Bytes(_) => return bytes(value, out),
        _ if depth == pipette_json::MAX_DEPTH => {
            return Err(ConnectError::data(format!("a value nested deeper than {depth} levels has no text")));
        }
        Value::Array(elements) => {
            parts(out, ["[", ", ", "]"], elements.iter(), |element, out| nested(element, out, bytes, depth + 1))?;
        }
        Value::Map(map) => parts(out, ["{", ", ", "}"], map.parts(), |(key, part), out| {
            match key {
                Value::String(key) => key.append_to(out),
                key => nested(key, out, bytes, depth + 1)?,
            }
            out.push(b'=');
            append_part(&part, out, bytes, depth + 1)
        })?,
        Value::Struct(record) => {
            let fields = record.schema().fields().iter().zip(record.parts());
            let fields = fields.filter(|(_, part)| !matches!(part, Part::Value(Value::Null)));
            parts(out, ["Struct{", ",", "}"], fields, |(field, part), out| {
                out.extend_from_slice(field.name.as_bytes());
                out.push(b'=');
                append_part(&part, out, bytes, depth + 1)
            })?;
        }
        _ => out.extend_from_slice(b"null"),
    }
    Ok(())
}

/// The same of a part, without making a value of it.
fn append_part(part: &Part<'_>, out: &mut Vec<u8>, bytes: OfBytes, depth: usize) -> Result<()> {
    match part {
        Part::Value(value) => nested(value, out, bytes, depth)?,
        Part::Text(text) => out.extend_from_slice(text),
        Part::Unread(unread, start) => unread.print(*start, out),
    }
    Ok(())
}

/// Appends parts between brackets; the marks are the opening one, what separates parts, and the closing one.
pub fn parts<T>(
    out: &mut Vec<u8>,
    [open, comma, close]: [&str; 3],
    items: impl Iterator<Item = T>,
    mut append: impl FnMut(T, &mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    out.extend_from_slice(open.as_bytes());
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.extend_from_slice(comma.as_bytes());
        }
        append(item, out)?;
    }
    out.extend_from_slice(close.as_bytes());
    Ok(())
}
