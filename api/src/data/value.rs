//! The value: 24 bytes, nothing boxed that is small, longer text and bytes as spans of the batch's buffer.

use std::sync::Arc;

use super::blob::{Blob, Text};
use super::decimal::Decimal;
use super::map::Map;
use super::payload::Payload;
use super::record_struct::Struct;
use super::schema::Schema;

/// Connect's value.
///
/// Logical types are variants of their own, so that Date, Time and Timestamp never mix (Java uses one class for all
/// three) and schemaless transformations have something to return.
#[derive(Debug, Clone)]
pub enum Value {
    /// Java's `null`.
    Null,
    /// `BOOLEAN`.
    Bool(bool),
    /// `INT8`.
    I8(i8),
    /// `INT16`.
    I16(i16),
    /// `INT32`.
    I32(i32),
    /// `INT64`.
    I64(i64),
    /// `FLOAT32`.
    F32(f32),
    /// `FLOAT64`.
    F64(f64),
    /// Days since 1970.
    Date(i32),
    /// Milliseconds since midnight.
    Time(i32),
    /// Milliseconds since 1970, UTC.
    Timestamp(i64),
    /// Decimal.
    Decimal(Box<Decimal>),
    /// `STRING`.
    String(Text),
    /// `BYTES` in memory.
    Bytes(Blob),
    /// `BYTES` elsewhere, of any size.
    Payload(Arc<dyn Payload>),
    /// `ARRAY`.
    Array(Box<[Value]>),
    /// `MAP`, and every schemaless object.
    Map(Box<Map>),
    /// `STRUCT`.
    Struct(Box<Struct>),
}

/// What a member of a list, map or struct takes whatever it is.
const PLACE: u64 = size_of::<Value>() as u64;

// A guarded promise: batches of values stay small and moves stay cheap.
const _: () = assert!(size_of::<Value>() == 24 && size_of::<Option<Value>>() == 24 && size_of::<Text>() == 24);

impl Value {
    /// Text of its own (two allocations when it is long; parsers use spans instead).
    pub fn text(text: impl Into<Text>) -> Self {
        Self::String(text.into())
    }

    /// True for [`Value::Null`].
    #[inline]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// About how many bytes of memory it holds beside its own place. Members that nobody has read yet count as what is
    /// known of them; a payload, which is elsewhere, counts nothing.
    pub fn held(&self) -> u64 {
        let list = |values: &[Self]| values.iter().map(|value| PLACE + value.held()).sum();
        match self {
            Self::String(text) => text.len() as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Array(values) => list(values),
            Self::Map(map) => map.parts().map(|(_, part)| PLACE + part.held()).sum(),
            Self::Struct(record) => record.parts().map(|part| PLACE + part.held()).sum(),
            _ => 0,
        }
    }

    /// Puts a value in the place of this one. Where this one is null, as in what is made to be filled, it is faster than an
    /// assignment, which has to see to it that this one is dropped.
    #[inline]
    pub fn put(&mut self, value: Self) {
        if self.is_null() {
            std::mem::forget(std::mem::replace(self, value));
        } else {
            *self = value;
        }
    }

    /// The text, if it is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// What it is, in Connect's words, for error texts.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "boolean",
            Self::I8(_) => "int8",
            Self::I16(_) => "int16",
            Self::I32(_) => "int32",
            Self::I64(_) => "int64",
            Self::F32(_) => "float32",
            Self::F64(_) => "float64",
            Self::Date(_) => "date",
            Self::Time(_) => "time",
            Self::Timestamp(_) => "timestamp",
            Self::Decimal(_) => "decimal",
            Self::String(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::Payload(_) => "payload",
            Self::Array(_) => "array",
            Self::Map(_) => "map",
            Self::Struct(_) => "struct",
        }
    }
}

/// As in Java: floats by their bits, text and bytes by content, a payload by identity.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::I8(a), Self::I8(b)) => a == b,
            (Self::I16(a), Self::I16(b)) => a == b,
            (Self::I32(a), Self::I32(b)) | (Self::Date(a), Self::Date(b)) | (Self::Time(a), Self::Time(b)) => a == b,
            (Self::I64(a), Self::I64(b)) | (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::F32(a), Self::F32(b)) => a.to_bits() == b.to_bits(),
            (Self::F64(a), Self::F64(b)) => a.to_bits() == b.to_bits(),
            (Self::Decimal(a), Self::Decimal(b)) => a == b,
            (Self::String(a), Self::String(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Payload(a), Self::Payload(b)) => Arc::ptr_eq(a, b),
            (Self::Array(a), Self::Array(b)) => a == b,
            (Self::Map(a), Self::Map(b)) => a == b,
            (Self::Struct(a), Self::Struct(b)) => a == b,
            _ => false,
        }
    }
}

/// A value with its schema; schemaless when there is none.
#[derive(Debug, Clone, PartialEq)]
pub struct Datum {
    /// The schema, shared by all records that have it.
    pub schema: Option<Arc<Schema>>,
    /// The value.
    pub value: Value,
}

impl Datum {
    /// Java's `null` with a null schema.
    pub const NULL: Self = Self { schema: None, value: Value::Null };

    /// A value without a schema.
    pub const fn schemaless(value: Value) -> Self {
        Self { schema: None, value }
    }

    /// A value with a schema.
    pub const fn new(schema: Arc<Schema>, value: Value) -> Self {
        Self { schema: Some(schema), value }
    }

    /// True for null without a schema, which converters write as a Kafka null.
    pub fn is_null(&self) -> bool {
        self.schema.is_none() && self.value.is_null()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_is_javas() {
        assert_eq!(Value::F64(f64::NAN), Value::F64(f64::NAN));
        assert_ne!(Value::F64(0.0), Value::F64(-0.0));
        assert_ne!(Value::I32(1), Value::Date(1));
    }
}
