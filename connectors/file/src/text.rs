//! Java's text of a value, what `toString` gives there. Used by `sink.rs`; the forms are part of the contract, because
//! people read these files with tools.

use std::io::Write;

use pipette_api::data::Part;
use pipette_api::{ConnectError, Result, Struct, Value};

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY_MS: i64 = 86_400_000;

/// Appends the text of a value. A data error for a payload, which has no text.
pub(crate) fn write(value: &Value, out: &mut Vec<u8>) -> Result<()> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::I8(number) => pipette_json::write_i64(i64::from(*number), out),
        Value::I16(number) => pipette_json::write_i64(i64::from(*number), out),
        Value::I32(number) => pipette_json::write_i64(i64::from(*number), out),
        Value::I64(number) => pipette_json::write_i64(*number, out),
        Value::F32(number) => pipette_json::write_f32(*number, out),
        Value::F64(number) => pipette_json::write_f64(*number, out),
        Value::Date(days) => date(out, i64::from(*days) * DAY_MS),
        Value::Time(millis) => date(out, i64::from(*millis)),
        Value::Timestamp(millis) => date(out, *millis),
        Value::Decimal(value) => pipette_json::write_decimal(value, out),
        Value::String(text) => text.append_to(out),
        Value::Bytes(bytes) => put(out, format_args!("[B@{:x}", identity(bytes.as_bytes()))),
        Value::Payload(payload) => return Err(no_text(payload.len())),
        Value::Array(values) => {
            out.push(b'[');
            list(out, values.iter(), b", ", write)?;
            out.push(b']');
        }
        Value::Map(map) => {
            out.push(b'{');
            list(out, map.parts(), b", ", |(key, part), out| {
                match key {
                    Value::String(key) => key.append_to(out),
                    key => write(key, out)?,
                }
                out.push(b'=');
                write_part(part, out)
            })?;
            out.push(b'}');
        }
        Value::Struct(record) => structure(out, record)?,
    }
    Ok(())
}

/// The same of a part, without making a value of it.
fn write_part(part: Part<'_>, out: &mut Vec<u8>) -> Result<()> {
    match part {
        Part::Value(value) => write(value, out)?,
        Part::Text(text) => out.extend_from_slice(text),
        Part::Unread(unread, start) => unread.print(start, out),
    }
    Ok(())
}

fn no_text(len: Option<u64>) -> ConnectError {
    let size = len.map_or_else(|| "of unknown size".to_owned(), |len| format!("of {len} bytes"));
    ConnectError::data(format!(
        "a payload {size} cannot be written as a line of text: write it with an object store sink, or keep a reference only"
    ))
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a vector cannot fail.
    let _ = out.write_fmt(text);
}

fn list<T>(
    out: &mut Vec<u8>,
    items: impl Iterator<Item = T>,
    between: &[u8],
    each: impl Fn(T, &mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.extend_from_slice(between);
        }
        each(item, out)?;
    }
    Ok(())
}

/// Fields that are null are left out.
fn structure(out: &mut Vec<u8>, record: &Struct) -> Result<()> {
    let fields = record.schema().fields().iter().zip(record.parts());
    let fields = fields.filter(|(_, part)| !matches!(part, Part::Value(Value::Null)));
    out.extend_from_slice(b"Struct{");
    list(out, fields, b",", |(field, part), out| {
        out.extend_from_slice(field.name.as_bytes());
        out.push(b'=');
        write_part(part, out)
    })?;
    out.push(b'}');
    Ok(())
}

/// `Date.toString` in UTC, which is the zone of a container.
fn date(out: &mut Vec<u8>, millis: i64) {
    let (day, seconds) = (millis.div_euclid(DAY_MS), millis.rem_euclid(DAY_MS) / 1000);
    let weekday = DAYS[usize::try_from(day.rem_euclid(7)).unwrap_or(0)];
    let (year, month, date) = civil(day);
    let month = MONTHS[usize::try_from(month - 1).unwrap_or(0)];
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    put(out, format_args!("{weekday} {month} {date:02} {hour:02}:{minute:02}:{second:02} UTC {year:04}"));
}

/// Year, month and day of a day since 1970, in the Gregorian calendar: counted in eras of 400 years from 1 March of the
/// year 0, so that the leap day is the last of its year.
fn civil(day: i64) -> (i64, i64, i64) {
    let days = day + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, of_year - (153 * from_march + 2) / 5 + 1)
}

/// Java prints where an array lies in memory, which says nothing. Here it is a hash of the content (FNV-1a), so that
/// at least the same bytes give the same text.
fn identity(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pipette_api::data::build::SchemaBuilder;
    use pipette_api::data::decimal::Decimal;
    use pipette_api::{Blob, Kind, Map, Schema};

    use super::*;

    fn check(value: &Value, expected: &str) {
        let mut out = Vec::new();
        write(value, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn numbers_are_javas() {
        check(&Value::Null, "null");
        check(&Value::Bool(true), "true");
        check(&Value::I64(-7), "-7");
        for (value, expected) in [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (12.34, "12.34"),
            (0.001, "0.001"),
            (0.000_999, "9.99E-4"),
            (9_999_999.0, "9999999.0"),
            (1e7, "1.0E7"),
            (-1.5e10, "-1.5E10"),
            (f64::MAX, "1.7976931348623157E308"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            check(&Value::F64(value), expected);
        }
        check(&Value::F32(12.34), "12.34");
        check(&Value::F32(1e-5), "1.0E-5");
        for (unscaled, scale, expected) in [
            (12345, 2, "123.45"),
            (1, 6, "0.000001"),
            (1, 7, "1E-7"),
            (-12, 10, "-1.2E-9"),
            (7, -5, "7E+5"),
            (123, -1, "1.23E+3"),
        ] {
            check(&Value::Decimal(Box::new(Decimal::new(unscaled, scale))), expected);
        }
    }

    #[test]
    fn dates_are_javas() {
        check(&Value::Timestamp(0), "Thu Jan 01 00:00:00 UTC 1970");
        check(&Value::Timestamp(951_782_399_999), "Mon Feb 28 23:59:59 UTC 2000");
        check(&Value::Date(11_016), "Tue Feb 29 00:00:00 UTC 2000");
        check(&Value::Date(-1), "Wed Dec 31 00:00:00 UTC 1969");
        check(&Value::Time(3_723_000), "Thu Jan 01 01:02:03 UTC 1970");
    }

    #[test]
    fn collections_nest() {
        let list = Value::Array(Box::new([Value::I32(1), Value::text("x"), Value::Null]));
        check(&list, "[1, x, null]");
        let map = Map::from(vec![(Value::text("a"), Value::I32(1)), (Value::text("b"), list)]);
        check(&Value::Map(Box::new(map)), "{a=1, b=[1, x, null]}");
        let optional = Schema::optional(Kind::String);
        let schema = SchemaBuilder::record()
            .field("a", Schema::of(Kind::Int32))
            .field("gone", Arc::clone(&optional))
            .field("b", optional)
            .build()
            .unwrap();
        let record = Struct::from_parts(schema, Box::new([Value::I32(1), Value::Null, Value::text("x")]));
        check(&Value::Struct(Box::new(record)), "Struct{a=1,b=x}");
    }

    #[test]
    fn bytes_look_like_javas_and_equal_bytes_alike() {
        check(&Value::Bytes(Blob::from(&b"abc"[..])), "[B@1a47e90b");
    }
}
