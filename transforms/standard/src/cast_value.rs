//! One value as another type, by Java's rules: integers keep their low bits, fractions are cut off, text is parsed.

use pipette_api::data::logical;
use pipette_api::{ConnectError, Kind, Result, Schema, Value};
use pipette_java::calendar::{DAY_MILLIS, iso_text};
use pipette_java::number;

use crate::fields::java_class;

/// The value as that kind. With a schema, dates and times count as the number they are stored as; null stays null.
pub(crate) fn cast(value: &Value, schema: Option<&Schema>, kind: Kind) -> Result<Value> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    refuse_containers(value, schema)?;
    if kind == Kind::String {
        return text(value).map(Value::text);
    }
    let stored = match schema {
        Some(schema) => stored(value, schema)?,
        None => None,
    };
    let value = stored.as_ref().unwrap_or(value);
    let out_of_range = |text: &str| {
        ConnectError::data(format!("Value ({text}) was out of range for requested data type: {}", kind.name()))
    };
    Ok(match (kind, value) {
        (Kind::Boolean, Value::String(text)) => Value::Bool(text.as_str().eq_ignore_ascii_case("true")),
        (Kind::Boolean, value) => Value::Bool(whole(value)? != 0),
        (Kind::Float32, Value::String(text)) => {
            Value::F32(number::float(text.as_str()).ok_or_else(|| out_of_range(text.as_str()))?)
        }
        (Kind::Float64, Value::String(text)) => {
            Value::F64(number::double(text.as_str()).ok_or_else(|| out_of_range(text.as_str()))?)
        }
        (Kind::Float32, value) => Value::F32(single(value)?),
        (Kind::Float64, value) => Value::F64(double(value)?),
        (kind, Value::String(text)) => parsed(text.as_str(), kind).ok_or_else(|| out_of_range(text.as_str()))?,
        (kind, value) => integer(value, kind)?,
    })
}

/// What Java has no cast from.
fn refuse_containers(value: &Value, schema: Option<&Schema>) -> Result<()> {
    let kind = match schema {
        Some(schema) => schema.kind(),
        None => match value {
            Value::Array(_) => Kind::Array,
            Value::Map(_) => Kind::Map,
            Value::Struct(_) => Kind::Struct,
            Value::Date(_) | Value::Time(_) | Value::Timestamp(_) | Value::Decimal(_) => {
                return Err(ConnectError::data(format!(
                    "Cast transformation was passed a value of type class {} which is not supported by Connect's data \
                     API",
                    java_class(value)
                )));
            }
            _ => return Ok(()),
        },
    };
    if matches!(kind, Kind::Array | Kind::Map | Kind::Struct) {
        return Err(ConnectError::data(format!(
            "Cast transformation does not support casting from {}; supported types are [INT8, INT16, INT32, INT64, \
             FLOAT32, FLOAT64, BOOLEAN, STRING, BYTES]",
            pipette_java::kind(kind)
        )));
    }
    Ok(())
}

/// The number behind a date or time, by the name of its schema.
fn stored(value: &Value, schema: &Schema) -> Result<Option<Value>> {
    let Some(millis) = pipette_java::millis(value) else { return Ok(None) };
    let small = |number: i64| i32::try_from(number).map(Value::I32);
    let number = match schema.name() {
        Some(logical::TIMESTAMP) => Ok(Value::I64(millis)),
        Some(logical::DATE) if millis % DAY_MILLIS == 0 => small(millis / DAY_MILLIS),
        Some(logical::DATE) => {
            return Err(ConnectError::data(
                "Kafka Connect Date type should not have any time fields set to non-zero values.",
            ));
        }
        Some(logical::TIME) if (0..=DAY_MILLIS).contains(&millis) => small(millis),
        Some(logical::TIME) => {
            return Err(ConnectError::data(
                "Kafka Connect Time type should not have any date fields set to non-zero values.",
            ));
        }
        _ => return Ok(None),
    };
    number.map(Some).map_err(|_| ConnectError::data(format!("{millis} ms is no date of 32 bits")))
}

fn text(value: &Value) -> Result<String> {
    let mut out = Vec::new();
    match value {
        Value::String(text) => return Ok(text.as_str().to_owned()),
        Value::Bytes(bytes) => pipette_json::write_base64(bytes.as_bytes(), &mut out),
        value => match pipette_java::millis(value) {
            Some(millis) => return Ok(iso_text(millis)),
            None if pipette_java::append_plain(value, &mut out) => {}
            None => return Err(unexpected(value)),
        },
    }
    Ok(String::from_utf8(out).unwrap_or_else(|_| unreachable!("digits and letters only")))
}

fn parsed(text: &str, kind: Kind) -> Option<Value> {
    match kind {
        Kind::Int8 => number::integer(text).map(Value::I8),
        Kind::Int16 => number::integer(text).map(Value::I16),
        Kind::Int32 => number::integer(text).map(Value::I32),
        _ => number::integer(text).map(Value::I64),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "Java keeps the low bits")]
fn integer(value: &Value, kind: Kind) -> Result<Value> {
    // Java narrows a fraction to 32 bits first, saturating, and from there by its low bits.
    let narrow = match value {
        Value::F32(number) => *number as i32,
        Value::F64(number) => *number as i32,
        other => whole(other)? as i32,
    };
    Ok(match kind {
        Kind::Int8 => Value::I8(narrow as i8),
        Kind::Int16 => Value::I16(narrow as i16),
        Kind::Int32 => Value::I32(narrow),
        _ => Value::I64(whole(value)?),
    })
}

/// Java's `longValue`.
#[expect(clippy::cast_possible_truncation, reason = "saturating, as in Java")]
fn whole(value: &Value) -> Result<i64> {
    Ok(match value {
        Value::Bool(flag) => i64::from(*flag),
        Value::I8(number) => i64::from(*number),
        Value::I16(number) => i64::from(*number),
        Value::I32(number) => i64::from(*number),
        Value::I64(number) => *number,
        Value::F32(number) => *number as i64,
        Value::F64(number) => *number as i64,
        Value::Decimal(decimal) => number::low_bits(decimal),
        other => return Err(unexpected(other)),
    })
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "the nearest one, as in Java")]
fn single(value: &Value) -> Result<f32> {
    Ok(match value {
        Value::F32(number) => *number,
        Value::F64(number) => *number as f32,
        Value::Decimal(decimal) => number::nearest_f32(decimal),
        other => whole(other)? as f32,
    })
}

#[expect(clippy::cast_precision_loss, reason = "the nearest one, as in Java")]
fn double(value: &Value) -> Result<f64> {
    Ok(match value {
        Value::F32(number) => f64::from(*number),
        Value::F64(number) => *number,
        Value::Decimal(decimal) => number::nearest_f64(decimal),
        other => whole(other)? as f64,
    })
}

fn unexpected(value: &Value) -> ConnectError {
    ConnectError::data(format!("Unexpected type in Cast transformation: class {}", java_class(value)))
}
