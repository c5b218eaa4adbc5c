//! Values to payloads, checked against their schema as Java checks them.

use pipette_api::data::{Decimal, logical};
use pipette_api::{ConnectError, Kind, Map, Result, Schema, Struct, Value};
use pipette_json::{MAX_DEPTH, unique, write, write_base64, write_decimal, write_string, write_text};

use super::decode::MAX_TIME;
use crate::convert::{java, payload_refused};

#[derive(Debug, Clone, Copy)]
pub(super) struct Encoder {
    /// Decimals as base64 of their digits instead of numbers.
    pub(super) base64: bool,
    pub(super) replace_null: bool,
}

impl Encoder {
    /// Appends the JSON of a value that is so many levels deep in the document.
    pub(super) fn value(
        self,
        schema: Option<&std::sync::Arc<Schema>>,
        value: &Value,
        out: &mut Vec<u8>,
        depth: usize,
    ) -> Result<()> {
        self.nested(schema.map(|schema| &**schema), value, out, depth)
    }

    /// Appends the JSON of a value of a schema.
    pub(super) fn value_of(self, schema: &Schema, value: &Value, out: &mut Vec<u8>) -> Result<()> {
        self.nested(Some(schema), value, out, 0)
    }

    fn nested(self, schema: Option<&Schema>, value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        let Some(schema) = schema else { return self.schemaless(value, out, depth) };
        if value.is_null() {
            return match schema.default() {
                Some(default) if self.replace_null && !default.is_null() => {
                    self.nested(Some(schema), default, out, depth)
                }
                _ if schema.is_optional() => write(value, out),
                _ => Err(required()),
            };
        }
        match (schema.name(), value) {
            (Some(logical::DECIMAL), Value::Decimal(decimal)) => self.decimal(schema, decimal, out),
            (Some(logical::TIME), Value::Time(millis)) if !(0..=MAX_TIME).contains(millis) => Err(ConnectError::data(
                format!("a Time is a number of milliseconds from 0 to {MAX_TIME}, not {millis}"),
            )),
            (Some(logical::DATE), Value::Date(_))
            | (Some(logical::TIME), Value::Time(_))
            | (Some(logical::TIMESTAMP), Value::Timestamp(_)) => write(value, out),
            (Some(logical::DECIMAL), other) => Err(mismatch("Decimal", "BigDecimal", other)),
            (Some(logical::DATE), other) => Err(mismatch("Date", "Date", other)),
            (Some(logical::TIME), other) => Err(mismatch("Time", "Date", other)),
            (Some(logical::TIMESTAMP), other) => Err(mismatch("Timestamp", "Date", other)),
            _ => self.plain(schema, value, out, depth),
        }
    }

    fn plain(self, schema: &Schema, value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        match (schema.kind(), value) {
            (Kind::Int8, Value::I8(_))
            | (Kind::Int16, Value::I16(_))
            | (Kind::Int32, Value::I32(_))
            | (Kind::Int64, Value::I64(_))
            | (Kind::Float32, Value::F32(_))
            | (Kind::Float64, Value::F64(_))
            | (Kind::Boolean, Value::Bool(_))
            | (Kind::String, Value::String(_))
            | (Kind::Bytes, Value::Bytes(_)) => write(value, out),
            (_, Value::Payload(payload)) => Err(payload_refused("JsonConverter", &**payload)),
            (Kind::Array, Value::Array(elements)) => {
                self.array(schema.value_schema().map(|s| &**s), elements, out, depth)
            }
            (Kind::Map, Value::Map(map)) => {
                let as_object =
                    schema.key_schema().map_or_else(|| has_text_keys(map), |key| key.kind() == Kind::String);
                let schemas = (schema.key_schema().map(|s| &**s), schema.value_schema().map(|s| &**s));
                if as_object { self.object(schemas, map, out, depth) } else { self.pairs(schemas, map, out, depth) }
            }
            (Kind::Struct, Value::Struct(record)) => {
                let own = &**record.schema();
                if !std::ptr::eq(own, schema) && own != schema {
                    return Err(ConnectError::data("Mismatching schema."));
                }
                self.record(record, out, depth)
            }
            (kind, other) => {
                Err(ConnectError::data(format!("Invalid type for {}: {}", java::kind(kind), java::class(other))))
            }
        }
    }

    fn schemaless(self, value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        match value {
            Value::Array(elements) => self.array(None, elements, out, depth),
            Value::Map(map) if has_text_keys(map) => self.object((None, None), map, out, depth),
            Value::Map(map) => self.pairs((None, None), map, out, depth),
            Value::Struct(_) => Err(ConnectError::data("Mismatching schema.")),
            Value::Payload(payload) => Err(payload_refused("JsonConverter", &**payload)),
            Value::Date(_) | Value::Time(_) | Value::Timestamp(_) | Value::Decimal(_) => {
                let class = java::class(value);
                Err(ConnectError::data(format!("Java class {class} does not have corresponding schema type.")))
            }
            Value::String(text) => {
                write_text(text, out);
                Ok(())
            }
            plain => write(plain, out),
        }
    }

    fn array(self, schema: Option<&Schema>, elements: &[Value], out: &mut Vec<u8>, depth: usize) -> Result<()> {
        let depth = deeper(depth)?;
        out.push(b'[');
        for (index, element) in elements.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.nested(schema, element, out, depth)?;
        }
        out.push(b']');
        Ok(())
    }

    fn object(self, schemas: Schemas<'_>, map: &Map, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        let depth = deeper(depth)?;
        let named;
        let mut map = map;
        if let Some(schema) = schemas.0
            && !map.keys().are_text()
            && map.keys().iter().any(Value::is_null)
        {
            named = self.without_null(schema, map)?;
            map = &named;
        }
        out.push(b'{');
        for (index, (key, value)) in map.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            match key {
                Value::String(name) => write_text(name, out),
                other => self.nested(schemas.0, other, out, depth)?,
            }
            out.push(b':');
            self.nested(schemas.1, value, out, depth)?;
        }
        out.push(b'}');
        Ok(())
    }

    /// A null key is named as the default of its schema, or `null`; where that name is another key's too, the last value
    /// counts.
    fn without_null(self, schema: &Schema, map: &Map) -> Result<Map> {
        let name = match schema.default() {
            Some(default) if self.replace_null && !default.is_null() => default.clone(),
            _ if schema.is_optional() => Value::text("null"),
            _ => return Err(required()),
        };
        let key = |key: &Value| if key.is_null() { name.clone() } else { key.clone() };
        Ok(unique(map.iter().map(|(known, value)| (key(known), value.clone())).collect()))
    }

    fn pairs(self, schemas: Schemas<'_>, map: &Map, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        let depth = deeper(deeper(depth)?)?;
        out.push(b'[');
        for (index, (key, value)) in map.iter().enumerate() {
            out.extend_from_slice(if index > 0 { b",[" } else { b"[" });
            self.nested(schemas.0, key, out, depth)?;
            out.push(b',');
            self.nested(schemas.1, value, out, depth)?;
            out.push(b']');
        }
        out.push(b']');
        Ok(())
    }

    fn record(self, record: &Struct, out: &mut Vec<u8>, depth: usize) -> Result<()> {
        let depth = deeper(depth)?;
        out.push(b'{');
        for (index, (field, value)) in record.schema().fields().iter().zip(record.values()).enumerate() {
            if index > 0 {
                out.push(b',');
            }
            write_string(field.name.as_bytes(), out);
            out.push(b':');
            self.nested(Some(&field.schema), value, out, depth)
                .map_err(|error| error.within(format_args!("field \"{}\"", field.name)))?;
        }
        out.push(b'}');
        Ok(())
    }

    fn decimal(self, schema: &Schema, decimal: &Decimal, out: &mut Vec<u8>) -> Result<()> {
        if !self.base64 {
            write_decimal(decimal, out);
            return Ok(());
        }
        let scale = schema.param(logical::SCALE).and_then(|scale| scale.parse::<i32>().ok());
        let scale = scale.ok_or_else(|| ConnectError::data("Invalid Decimal schema: no scale parameter found."))?;
        if scale != decimal.scale {
            return Err(ConnectError::data(format!(
                "Decimal value has mismatching scale for given Decimal schema. Schema has scale {scale}, value has \
                 scale {}.",
                decimal.scale
            )));
        }
        out.push(b'"');
        write_base64(&decimal.unscaled.to_signed_bytes_be(), out);
        out.push(b'"');
        Ok(())
    }
}

/// Of keys and of values.
type Schemas<'s> = (Option<&'s Schema>, Option<&'s Schema>);

fn required() -> ConnectError {
    ConnectError::data("Conversion error: null value for field that is required and has no default value")
}

fn has_text_keys(map: &Map) -> bool {
    map.keys().are_text()
}

fn deeper(depth: usize) -> Result<usize> {
    if depth < MAX_DEPTH {
        return Ok(depth + 1);
    }
    Err(ConnectError::data(format!("a value nested deeper than {MAX_DEPTH} levels cannot be written as JSON")))
}

fn mismatch(logical: &str, expected: &str, value: &Value) -> ConnectError {
    // Java has one class for three.
    let (expected, found) = match value {
        Value::Date(_) => (logical, "a Date"),
        Value::Time(_) => (logical, "a Time"),
        Value::Timestamp(_) => (logical, "a Timestamp"),
        other => (expected, java::class(other)),
    };
    ConnectError::data(format!("Invalid type for {logical}, expected {expected} but was {found}"))
}
