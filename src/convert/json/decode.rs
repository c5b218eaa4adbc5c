//! Payloads to values of a schema, in one pass over the tokens.
//!
//! What does not fit is coerced in silence where Java does it in silence (`int32` from `"12"` is 0); a null that this
//! would put into a required field is an error here as there.

use std::collections::HashMap;
use std::sync::Arc;

use pipette_api::data::logical;
use pipette_api::{Blob, ConnectError, Kind, Map, Result, Schema, Struct, Value};
use pipette_json::{Parser, Reader, Shape, decimal_from_bytes, decode_base64, unique};

use crate::convert::java;

/// The latest time of day that Java accepts: one millisecond too many.
pub(super) const MAX_TIME: i32 = 86_400_000;

pub(super) struct Decoder<'p> {
    pub(super) parser: &'p mut Parser,
    pub(super) replace_null: bool,
}

impl Decoder<'_> {
    /// The value that is next, of that schema; schemaless without one.
    pub(super) fn value(&mut self, schema: Option<&Arc<Schema>>, reader: &mut Reader<'_>) -> Result<Value> {
        let Some(schema) = schema else { return self.parser.value(reader) };
        let shape = reader.shape()?;
        if shape == Shape::Null {
            reader.null()?;
            return self.missing(schema);
        }
        match schema.name() {
            Some(logical::DECIMAL) => decimal(schema, shape, reader),
            Some(logical::DATE) => day_or_time(shape, reader, "Date").map(Value::Date),
            Some(logical::TIME) => time(shape, reader),
            Some(logical::TIMESTAMP) => timestamp(shape, reader),
            _ => self.plain(schema, shape, reader),
        }
    }

    fn missing(&self, schema: &Schema) -> Result<Value> {
        match schema.default() {
            Some(default) if self.replace_null => Ok(default.clone()),
            _ if schema.is_optional() => Ok(Value::Null),
            _ => {
                Err(ConnectError::data(format!("Invalid null value for required {} field", java::kind(schema.kind()))))
            }
        }
    }

    fn plain(&mut self, schema: &Arc<Schema>, shape: Shape, reader: &mut Reader<'_>) -> Result<Value> {
        Ok(match schema.kind() {
            Kind::Array => return self.array(schema, shape, reader),
            Kind::Map => return self.map(schema, shape, reader),
            Kind::Struct => return self.record(schema, shape, reader),
            Kind::String if shape == Shape::String => Value::String(reader.string()?),
            Kind::Bytes if shape == Shape::String => bytes(reader)?,
            Kind::Boolean if shape == Shape::Boolean => Value::Bool(reader.boolean()?),
            kind if shape == Shape::Number && is_number(kind) => number(kind, reader)?,
            kind => {
                reader.skip()?;
                stand_in(kind)
            }
        })
    }

    fn array(&mut self, schema: &Schema, shape: Shape, reader: &mut Reader<'_>) -> Result<Value> {
        let mut elements = Vec::new();
        match shape {
            Shape::Array => {
                reader.open_array()?;
                while reader.element(elements.is_empty())? {
                    elements.push(self.part(schema.value_schema(), reader)?);
                }
            }
            // Java goes through an object's values as it goes through elements.
            Shape::Object => {
                let Map(entries) = self.members(schema.value_schema(), reader)?;
                elements.extend(entries.into_iter().map(|(_, value)| value));
            }
            _ => reader.skip()?,
        }
        Ok(Value::Array(elements.into()))
    }

    fn map(&mut self, schema: &Schema, shape: Shape, reader: &mut Reader<'_>) -> Result<Value> {
        let mut entries = Vec::new();
        if schema.key_schema().is_none_or(|key| key.kind() == Kind::String) {
            if shape != Shape::Object {
                let found = shape.name();
                return Err(ConnectError::data(format!(
                    "Maps with string fields should be encoded as JSON objects, but found {found}"
                )));
            }
            return Ok(Value::Map(Box::new(self.members(schema.value_schema(), reader)?)));
        }
        if shape != Shape::Array {
            let found = shape.name();
            return Err(ConnectError::data(format!(
                "Maps with non-string fields should be encoded as JSON array of tuples, but found {found}"
            )));
        }
        reader.open_array()?;
        while reader.element(entries.is_empty())? {
            entries.push(self.pair(schema, reader)?);
        }
        Ok(Value::Map(Box::new(unique(entries))))
    }

    fn members(&mut self, schema: Option<&Arc<Schema>>, reader: &mut Reader<'_>) -> Result<Map> {
        let (mut entries, mut failed) = (Vec::new(), Vec::new());
        reader.open_object()?;
        while let Some(name) = reader.member(entries.is_empty())? {
            let key = Value::String(reader.to_text(name));
            let value = self.attempt(schema, reader)?.unwrap_or_else(|error| {
                failed.push((entries.len(), error));
                Value::Null
            });
            entries.push((key, value));
        }
        if !failed.is_empty() {
            let last: HashMap<_, _> =
                entries.iter().enumerate().map(|(index, (key, _))| (key.as_str(), index)).collect();
            let counts = |(index, _): &(usize, _)| last.get(&entries[*index].0.as_str()) == Some(index);
            if let Some((_, error)) = failed.into_iter().find(counts) {
                return Err(error);
            }
        }
        Ok(unique(entries))
    }

    /// A part that may turn out not to fit without consequence, because the member comes again. The outer error is about the
    /// text, and final.
    fn attempt(&mut self, schema: Option<&Arc<Schema>>, reader: &mut Reader<'_>) -> Result<Result<Value>> {
        let start = reader.clone();
        let value = self.part(schema, reader);
        if value.is_err() {
            *reader = start;
            reader.skip()?;
        }
        Ok(value)
    }

    fn pair(&mut self, schema: &Schema, reader: &mut Reader<'_>) -> Result<(Value, Value)> {
        let shape = reader.shape()?;
        if shape != Shape::Array {
            return Err(ConnectError::data(format!(
                "Found invalid map entry instead of array tuple: {}",
                shape.name()
            )));
        }
        let wrong = || ConnectError::data("Found invalid map entry, expected length 2");
        reader.open_array()?;
        if !reader.element(true)? {
            return Err(wrong());
        }
        let key = self.part(schema.key_schema(), reader)?;
        if !reader.element(false)? {
            return Err(wrong());
        }
        let value = self.part(schema.value_schema(), reader)?;
        if reader.element(false)? { Err(wrong()) } else { Ok((key, value)) }
    }

    fn record(&mut self, schema: &Arc<Schema>, shape: Shape, reader: &mut Reader<'_>) -> Result<Value> {
        if shape != Shape::Object {
            let found = shape.name();
            return Err(ConnectError::data(format!("Structs should be encoded as JSON objects, but found {found}")));
        }
        let fields = schema.fields();
        let mut values: Box<[Value]> = vec![Value::Null; fields.len()].into();
        reader.open_object()?;
        let (mut first, mut next) = (true, 0);
        let mut failed: Vec<(usize, ConnectError)> = Vec::new();
        // A default stands for what is missing, not for what did not fit.
        let mut nulls = Vec::new();
        while let Some(name) = reader.member(first)? {
            first = false;
            let name = reader.bytes_of(&name);
            // Writers keep the order of the schema: the next field is almost always the one.
            let index = match fields.get(next) {
                Some(field) if field.name.as_bytes() == name => Some(next),
                _ => std::str::from_utf8(name).ok().and_then(|name| schema.field(name)),
            };
            match index {
                Some(index) => {
                    next = index + 1;
                    failed.retain(|(known, _)| *known != index);
                    match self.attempt(Some(&fields[index].schema), reader)? {
                        Ok(value) => {
                            if value.is_null() && fields[index].schema.default().is_some() {
                                nulls.push(index);
                            }
                            values[index] = value;
                        }
                        Err(error) => failed.push((index, in_field(error, &fields[index].name))),
                    }
                }
                None => reader.skip()?,
            }
        }
        if let Some((_, error)) = failed.into_iter().next() {
            return Err(error);
        }
        for (index, (field, value)) in fields.iter().zip(&mut values).enumerate() {
            if value.is_null() && !nulls.contains(&index) {
                *value = self.missing(&field.schema).map_err(|error| in_field(error, &field.name))?;
            }
        }
        Ok(Value::Struct(Box::new(Struct::from_parts(Arc::clone(schema), values))))
    }

    /// A value inside of another one, where Java validates what the coercions left.
    fn part(&mut self, schema: Option<&Arc<Schema>>, reader: &mut Reader<'_>) -> Result<Value> {
        let value = self.value(schema, reader)?;
        match schema {
            Some(schema) if value.is_null() && !schema.is_optional() => Err(ConnectError::data(format!(
                "Invalid value: null used for required field, schema type: {}",
                java::kind(schema.kind())
            ))),
            _ => Ok(value),
        }
    }
}

fn in_field(error: ConnectError, name: &str) -> ConnectError {
    error.within(format_args!("field \"{name}\""))
}

fn is_number(kind: Kind) -> bool {
    matches!(kind, Kind::Int8 | Kind::Int16 | Kind::Int32 | Kind::Int64 | Kind::Float32 | Kind::Float64)
}

/// Integers keep their low bits, as Java's narrowing does.
#[allow(clippy::cast_possible_truncation)]
fn number(kind: Kind, reader: &mut Reader<'_>) -> Result<Value> {
    let number = reader.number()?;
    Ok(match kind {
        Kind::Int8 => Value::I8(number.as_i64() as i8),
        Kind::Int16 => Value::I16(number.as_i64() as i16),
        Kind::Int32 => Value::I32(number.as_i64() as i32),
        Kind::Int64 => Value::I64(number.as_i64()),
        Kind::Float32 => Value::F32(number.as_f32()),
        Kind::Float64 => Value::F64(number.as_f64()),
        _ => unreachable!("asked for number types only"),
    })
}

/// What Java makes of a payload of another type.
fn stand_in(kind: Kind) -> Value {
    match kind {
        Kind::Boolean => Value::Bool(false),
        Kind::Int8 => Value::I8(0),
        Kind::Int16 => Value::I16(0),
        Kind::Int32 => Value::I32(0),
        Kind::Int64 => Value::I64(0),
        Kind::Float32 => Value::F32(0.0),
        Kind::Float64 => Value::F64(0.0),
        _ => Value::Null,
    }
}

fn bytes(reader: &mut Reader<'_>) -> Result<Value> {
    let bytes = decode_base64(reader.string()?.as_bytes()).ok_or_else(|| ConnectError::data("Invalid bytes field"))?;
    Ok(Value::Bytes(Blob::whole(bytes)?))
}

fn decimal(schema: &Schema, shape: Shape, reader: &mut Reader<'_>) -> Result<Value> {
    let decimal = match shape {
        Shape::Number => reader.number()?.as_decimal(),
        Shape::String => {
            let bytes = decode_base64(reader.string()?.as_bytes());
            let scale = schema.param(logical::SCALE).and_then(|scale| scale.parse().ok());
            let decimal = bytes.zip(scale).and_then(|(bytes, scale)| decimal_from_bytes(&bytes, scale));
            decimal.ok_or_else(|| ConnectError::data("Invalid bytes for Decimal field"))?
        }
        other => {
            return Err(ConnectError::data(format!(
                "Invalid type for Decimal, underlying representation should be numeric or bytes but was {}",
                other.name()
            )));
        }
    };
    Ok(Value::Decimal(Box::new(decimal)))
}

fn day_or_time(shape: Shape, reader: &mut Reader<'_>, name: &str) -> Result<i32> {
    let number = if shape == Shape::Number { reader.number()?.exact() } else { None };
    number.and_then(|number| i32::try_from(number).ok()).ok_or_else(|| {
        ConnectError::data(format!(
            "Invalid type for {name}, underlying representation should be integer but was {}",
            shape.name()
        ))
    })
}

fn time(shape: Shape, reader: &mut Reader<'_>) -> Result<Value> {
    let millis = day_or_time(shape, reader, "Time")?;
    if (0..=MAX_TIME).contains(&millis) {
        return Ok(Value::Time(millis));
    }
    Err(ConnectError::data("Time values must use number of milliseconds greater than 0 and less than 86400000"))
}

fn timestamp(shape: Shape, reader: &mut Reader<'_>) -> Result<Value> {
    if shape == Shape::Number {
        let number = reader.number()?;
        if number.is_integer() {
            return Ok(Value::Timestamp(number.as_i64()));
        }
    }
    Err(ConnectError::data(format!(
        "Invalid type for Timestamp, underlying representation should be integral but was {}",
        shape.name()
    )))
}
