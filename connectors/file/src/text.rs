//! Java's text of a value, what `toString` gives there. Used by `sink.rs`; the forms are part of the contract, because
//! people read these files with tools.

use std::io::Write;

use pipette_api::{ConnectError, Result, Value};

/// Appends the text of a value. A data error for a payload, which has no text.
pub(crate) fn write(value: &Value, out: &mut Vec<u8>) -> Result<()> {
    pipette_java::append_text(value, out, |value, out| match value {
        Value::Bytes(bytes) => {
            // Writing to a vector cannot fail.
            let _ = write!(out, "[B@{:x}", identity(bytes.as_bytes()));
            Ok(())
        }
        Value::Payload(payload) => Err(no_text(payload.len())),
        _ => Ok(()),
    })
}

fn no_text(len: Option<u64>) -> ConnectError {
    let size = len.map_or_else(|| "of unknown size".to_owned(), |len| format!("of {len} bytes"));
    ConnectError::data(format!(
        "a payload {size} cannot be written as a line of text: write it with an object store sink, or keep a reference only"
    ))
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
    use pipette_api::{Blob, Kind, Map, Schema, Struct};

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
        let record = Struct::from_parts(schema, [Value::I32(1), Value::Null, Value::text("x")]);
        check(&Value::Struct(Box::new(record)), "Struct{a=1,b=x}");
    }

    #[test]
    fn bytes_look_like_javas_and_equal_bytes_alike() {
        check(&Value::Bytes(Blob::from(&b"abc"[..])), "[B@1a47e90b");
    }
}
