//! The converters of single values: `BooleanConverter`, and those of shorts, integers, longs, floats and doubles. Bytes
//! are big-endian and of the type's width; nothing is coerced into the type.

use std::sync::Arc;

use pipette_api::config::ConfigDef;
use pipette_api::{Blob, ConnectError, Datum, Kind, Result, Schema, Value};

use super::{CONVERTER_TYPE, Form, java};

pub(super) static CONFIG: ConfigDef = ConfigDef::new(&[&CONVERTER_TYPE.info]);

/// Values of one kind.
#[derive(Debug)]
pub(super) struct NumberConverter {
    kind: Kind,
    /// Java's word for the kind in error texts.
    name: &'static str,
    schema: Arc<Schema>,
}

impl NumberConverter {
    pub(super) fn boolean() -> Self {
        Self::of(Kind::Boolean, "boolean")
    }

    pub(super) fn short() -> Self {
        Self::of(Kind::Int16, "short")
    }

    pub(super) fn integer() -> Self {
        Self::of(Kind::Int32, "integer")
    }

    pub(super) fn long() -> Self {
        Self::of(Kind::Int64, "long")
    }

    pub(super) fn float() -> Self {
        Self::of(Kind::Float32, "float")
    }

    pub(super) fn double() -> Self {
        Self::of(Kind::Float64, "double")
    }

    fn of(kind: Kind, name: &'static str) -> Self {
        Self { kind, name, schema: Schema::optional(kind) }
    }

    /// Java checks the schema for booleans only.
    fn check(&self, schema: Option<&Arc<Schema>>) -> Result<()> {
        match schema {
            Some(schema) if self.kind == Kind::Boolean && schema.kind() != Kind::Boolean => Err(ConnectError::data(
                format!("Invalid schema type for BooleanConverter: {}", java::kind(schema.kind())),
            )),
            _ => Ok(()),
        }
    }

    fn not_mine(&self, value: &Value) -> ConnectError {
        let class = java::class(value);
        ConnectError::data(if self.kind == Kind::Boolean {
            format!("BooleanConverter is not compatible with objects of type {class}")
        } else {
            format!("Failed to serialize to {} (was {class}): it takes no other type", self.name)
        })
    }

    /// None when the bytes are no value of the kind.
    fn parse(&self, bytes: &[u8]) -> Option<Value> {
        match self.kind {
            Kind::Boolean => match bytes {
                [0] => Some(Value::Bool(false)),
                [1] => Some(Value::Bool(true)),
                _ => None,
            },
            Kind::Int16 => bytes.try_into().ok().map(|bytes| Value::I16(i16::from_be_bytes(bytes))),
            Kind::Int32 => bytes.try_into().ok().map(|bytes| Value::I32(i32::from_be_bytes(bytes))),
            Kind::Int64 => bytes.try_into().ok().map(|bytes| Value::I64(i64::from_be_bytes(bytes))),
            Kind::Float32 => bytes.try_into().ok().map(|bytes| Value::F32(f32::from_be_bytes(bytes))),
            Kind::Float64 => bytes.try_into().ok().map(|bytes| Value::F64(f64::from_be_bytes(bytes))),
            other => unreachable!("no constructor makes a converter of {other:?}"),
        }
    }

    fn expected(&self) -> &'static str {
        match self.kind {
            Kind::Boolean => "1 byte, 0 or 1",
            Kind::Int16 => "2 bytes",
            Kind::Int32 | Kind::Float32 => "4 bytes",
            _ => "8 bytes",
        }
    }
}

impl Form for NumberConverter {
    fn write<'a>(&mut self, datum: &'a Datum, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
        self.check(datum.schema.as_ref())?;
        buffer.clear();
        match (self.kind, &datum.value) {
            (_, Value::Null) => return Ok(None),
            (Kind::Boolean, Value::Bool(value)) => buffer.push(u8::from(*value)),
            (Kind::Int16, Value::I16(number)) => buffer.extend_from_slice(&number.to_be_bytes()),
            (Kind::Int32, Value::I32(number)) => buffer.extend_from_slice(&number.to_be_bytes()),
            (Kind::Int64, Value::I64(number)) => buffer.extend_from_slice(&number.to_be_bytes()),
            (Kind::Float32, Value::F32(number)) => buffer.extend_from_slice(&number.to_be_bytes()),
            (Kind::Float64, Value::F64(number)) => buffer.extend_from_slice(&number.to_be_bytes()),
            (_, other) => return Err(self.not_mine(other)),
        }
        Ok(Some(buffer))
    }

    fn read(&mut self, bytes: Option<&Blob>) -> Result<Datum> {
        let value = match bytes.map(Blob::as_bytes) {
            None => Value::Null,
            Some(bytes) => self.parse(bytes).ok_or_else(|| {
                let (name, expected) = (self.name, self.expected());
                let found = match bytes {
                    [byte] => format!("the byte {byte}"),
                    more => format!("{} bytes", more.len()),
                };
                ConnectError::data(format!("Failed to deserialize {name}: expected {expected}, found {found}"))
            })?,
        };
        Ok(Datum::new(Arc::clone(&self.schema), value))
    }
}

#[cfg(test)]
mod tests {
    use pipette_api::ErrorKind;

    use super::*;

    fn every() -> [NumberConverter; 6] {
        [
            NumberConverter::boolean(),
            NumberConverter::short(),
            NumberConverter::integer(),
            NumberConverter::long(),
            NumberConverter::float(),
            NumberConverter::double(),
        ]
    }

    fn read(converter: &mut NumberConverter, bytes: &[u8]) -> Result<Datum> {
        converter.read(Some(&Blob::whole(bytes.to_vec()).unwrap()))
    }

    #[test]
    fn values_are_big_endian_and_come_back_with_an_optional_schema() {
        let nan = f32::from_bits(0x7FC0_0001);
        for (mut converter, value, bytes) in [
            (NumberConverter::boolean(), Value::Bool(false), &[0][..]),
            (NumberConverter::boolean(), Value::Bool(true), &[1]),
            (NumberConverter::short(), Value::I16(-2), &[0xFF, 0xFE]),
            (NumberConverter::short(), Value::I16(i16::MIN), &[0x80, 0]),
            (NumberConverter::integer(), Value::I32(0x0102_0304), &[1, 2, 3, 4]),
            (NumberConverter::integer(), Value::I32(i32::MIN), &[0x80, 0, 0, 0]),
            (NumberConverter::long(), Value::I64(0x0102_0304_0506_0708), &[1, 2, 3, 4, 5, 6, 7, 8]),
            (NumberConverter::long(), Value::I64(-1), &[0xFF; 8]),
            (NumberConverter::float(), Value::F32(1.5), &[0x3F, 0xC0, 0, 0]),
            (NumberConverter::float(), Value::F32(nan), &[0x7F, 0xC0, 0, 1]),
            (NumberConverter::double(), Value::F64(-0.0), &[0x80, 0, 0, 0, 0, 0, 0, 0]),
            (NumberConverter::double(), Value::F64(f64::MIN_POSITIVE), &[0, 0x10, 0, 0, 0, 0, 0, 0]),
        ] {
            let datum = Datum::new(Schema::optional(converter.kind), value);
            let mut buffer = b"left over".to_vec();
            assert_eq!(converter.write(&datum, &mut buffer).unwrap(), Some(bytes));
            assert_eq!(read(&mut converter, bytes).unwrap(), datum);
            let bare = Datum::schemaless(datum.value);
            assert_eq!(converter.write(&bare, &mut buffer).unwrap(), Some(bytes), "schemaless");
        }
        for mut converter in every() {
            let null = converter.read(None).unwrap();
            assert_eq!(null, Datum::new(Schema::optional(converter.kind), Value::Null));
            assert_eq!(converter.write(&null, &mut Vec::new()).unwrap(), None);
            assert_eq!(converter.write(&Datum::NULL, &mut Vec::new()).unwrap(), None);
        }
    }

    #[test]
    fn bytes_of_another_width_are_refused() {
        let refused = |converter: &mut NumberConverter, bytes: &[u8]| {
            let error = read(converter, bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data);
            error.to_string()
        };
        for ((mut converter, name), width) in
            every().into_iter().zip(["boolean", "short", "integer", "long", "float", "double"]).zip([1, 2, 4, 8, 4, 8])
        {
            for len in (0..=9).filter(|len| *len != width) {
                let text = refused(&mut converter, &vec![0; len]);
                assert!(text.starts_with(&format!("Failed to deserialize {name}: expected {width} byte")), "{text}");
            }
        }
        assert_eq!(
            refused(&mut NumberConverter::boolean(), &[2]),
            "Failed to deserialize boolean: expected 1 byte, 0 or 1, found the byte 2"
        );
        assert_eq!(
            refused(&mut NumberConverter::long(), &[]),
            "Failed to deserialize long: expected 8 bytes, found 0 bytes"
        );
    }

    #[test]
    fn other_types_are_refused_and_only_booleans_look_at_the_schema() {
        let refused = |mut converter: NumberConverter, datum: Datum| {
            let error = converter.write(&datum, &mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data);
            error.to_string()
        };
        assert_eq!(
            refused(NumberConverter::short(), Datum::schemaless(Value::I32(1))),
            "Failed to serialize to short (was class java.lang.Integer): it takes no other type"
        );
        assert_eq!(
            refused(NumberConverter::integer(), Datum::schemaless(Value::Date(1))),
            "Failed to serialize to integer (was class java.util.Date): it takes no other type"
        );
        assert_eq!(
            refused(NumberConverter::boolean(), Datum::schemaless(Value::text("true"))),
            "BooleanConverter is not compatible with objects of type class java.lang.String"
        );
        for value in [Value::Null, Value::Bool(true)] {
            assert_eq!(
                refused(NumberConverter::boolean(), Datum::new(Schema::optional(Kind::String), value)),
                "Invalid schema type for BooleanConverter: STRING"
            );
        }
        let odd = Datum::new(Schema::of(Kind::String), Value::I16(7));
        assert_eq!(NumberConverter::short().write(&odd, &mut Vec::new()).unwrap(), Some(&[0, 7][..]));
    }
}
