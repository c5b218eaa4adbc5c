//! Values to JSON text, with the escapes and number texts of Java. The worker's JSON converter writes by schema and
//! uses the pieces; everyone else calls [`write()`].

use pipette_api::{ConnectError, Map, Result, Text, Value};

use crate::base64::write_base64;
use crate::decimal::write_decimal;
use crate::float::{write_f32, write_f64};
use crate::read::MAX_DEPTH;
use crate::scan;

/// Appends the compact text of a value: bytes as base64, NaN and infinities as strings, dates and times as the numbers
/// they hold, decimals as numbers, maps whose keys are not all strings as an array of pairs, structs as objects. A data
/// error for a payload, which is not in memory, and for nesting deeper than [`MAX_DEPTH`].
pub fn write(value: &Value, out: &mut Vec<u8>) -> Result<()> {
    nested(value, out, 0)
}

fn nested(value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<()> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::I8(number) => write_i64(i64::from(*number), out),
        Value::I16(number) => write_i64(i64::from(*number), out),
        Value::I32(number) | Value::Date(number) | Value::Time(number) => write_i64(i64::from(*number), out),
        Value::I64(number) | Value::Timestamp(number) => write_i64(*number, out),
        Value::F32(number) if number.is_finite() => write_f32(*number, out),
        Value::F32(number) => in_quotes(out, |out| write_f32(*number, out)),
        Value::F64(number) if number.is_finite() => write_f64(*number, out),
        Value::F64(number) => in_quotes(out, |out| write_f64(*number, out)),
        Value::Decimal(decimal) => write_decimal(decimal, out),
        Value::String(text) => write_text(text, out),
        Value::Bytes(bytes) => in_quotes(out, |out| write_base64(bytes.as_bytes(), out)),
        Value::Payload(_) => return Err(ConnectError::data("a payload is too large to be written as JSON")),
        Value::Array(_) | Value::Map(_) | Value::Struct(_) if depth == MAX_DEPTH => {
            return Err(ConnectError::data(format!("a value nested deeper than {MAX_DEPTH} levels cannot be JSON")));
        }
        Value::Array(elements) => {
            return list(elements.iter(), out, *b"[]", |value, out| nested(value, out, depth + 1));
        }
        Value::Map(map) => return self::map(map, out, depth + 1),
        Value::Struct(record) => {
            let fields = record.schema().fields().iter().zip(record.values());
            return list(fields, out, *b"{}", |(field, value), out| {
                write_string(field.name.as_bytes(), out);
                out.push(b':');
                nested(value, out, depth + 1)
            });
        }
    }
    Ok(())
}

fn map(map: &Map, out: &mut Vec<u8>, depth: usize) -> Result<()> {
    if map.keys().are_text() {
        return list(map.iter(), out, *b"{}", |(key, value), out| {
            nested(key, out, depth)?;
            out.push(b':');
            nested(value, out, depth)
        });
    }
    list(map.iter(), out, *b"[]", |(key, value), out| {
        list([key, value].into_iter(), out, *b"[]", |value, out| nested(value, out, depth))
    })
}

fn list<T>(
    items: impl Iterator<Item = T>,
    out: &mut Vec<u8>,
    brackets: [u8; 2],
    mut item: impl FnMut(T, &mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    out.push(brackets[0]);
    for (index, part) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        item(part, out)?;
    }
    out.push(brackets[1]);
    Ok(())
}

fn in_quotes(out: &mut Vec<u8>, inside: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    inside(out);
    out.push(b'"');
}

/// Appends an integer.
pub fn write_i64(number: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a text in quotes.
#[inline]
pub fn write_text(text: &Text, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    if scan::write_run(bytes, 0) < bytes.len() {
        return write_string(bytes, out);
    }
    out.push(b'"');
    text.append_to(out);
    out.push(b'"');
}

/// Appends a string in quotes. The bytes must be UTF-8, as text values and `str` have them.
pub fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut start = 0;
    loop {
        let stop = scan::write_run(text, start);
        out.extend_from_slice(&text[start..stop]);
        let Some(byte) = text.get(stop) else { break };
        start = stop + escape(*byte, &text[stop..], out);
    }
    out.push(b'"');
}

/// Appends the escape of the character at the start of `rest`; answers its length there.
fn escape(byte: u8, rest: &[u8], out: &mut Vec<u8>) -> usize {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0C => b'f',
        b'\r' => b'r',
        _ => {
            let astral = rest.first_chunk::<4>().filter(|_| byte >= 0xF0);
            let code = astral.map_or(u32::from(byte), |bytes| {
                bytes[1..].iter().fold(u32::from(byte & 7), |code, byte| code << 6 | u32::from(byte & 0x3F))
            });
            let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            for unit in character.encode_utf16(&mut [0; 2]) {
                unicode(*unit, out);
            }
            return if astral.is_some() { 4 } else { 1 };
        }
    };
    out.extend_from_slice(&[b'\\', short]);
    1
}

fn unicode(unit: u16, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(b"\\u");
    out.extend([12, 8, 4, 0].map(|shift| HEX[usize::from(unit >> shift & 15)]));
}
