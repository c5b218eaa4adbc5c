//! Payloads to values of a schema, in one pass over the tokens.
//!
//! What does not fit is coerced in silence where Java does it in silence (`int32` from `"12"` is 0); a null that this
//! would put into a required field is an error here as there.

use std::collections::HashMap;
use std::sync::Arc;

use pipette_api::data::logical;
use pipette_api::{Blob, ConnectError, Kind, Map, Result, Schema, Struct, Value};
use pipette_json::{Aside, Parser, Reader, Shape, Step, decimal_from_bytes, decode_base64, unique};

use crate::convert::java;

/// The latest time of day that Java accepts: one millisecond too many.
pub(super) const MAX_TIME: i32 = 86_400_000;

/// Room made before an array's elements are read, at most.
const MAX_GUESS: usize = 64;

pub(super) struct Decoder<'p> {
    pub(super) parser: &'p mut Parser,
    /// How many elements the last array had: the next one probably has as many.
    pub(super) last_array: &'p mut usize,
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
        let mut elements = Vec::with_capacity(*self.last_array);
        match shape {
            Shape::Array => {
                reader.open_array()?;
                while reader.element(elements.is_empty())? {
                    self.element(schema.value_schema(), reader, &mut elements)?;
                }
            }
            // Java goes through an object's values as it goes through elements.
            Shape::Object => {
                let members = self.members(schema.value_schema(), reader)?;
                elements.extend(members.values().iter().cloned());
            }
            _ => reader.skip()?,
        }
        *self.last_array = elements.len().min(MAX_GUESS);
        Ok(Value::Array(elements.into()))
    }

    fn element(&mut self, schema: Option<&Arc<Schema>>, reader: &mut Reader<'_>, to: &mut Vec<Value>) -> Result<()> {
        let index = to.len();
        to.resize_with(index + 1, || Value::Null);
        self.part_into(schema, reader, &mut to[index], Step::Element(index))
    }

    fn map(&mut self, schema: &Schema, shape: Shape, reader: &mut Reader<'_>) -> Result<Value> {
        let found = shape.name();
        if schema.key_schema().is_none_or(|key| key.kind() == Kind::String) {
            if shape != Shape::Object {
                return Err(ConnectError::data(format!(
                    "Maps with string fields should be encoded as JSON objects, but found {found}"
                )));
            }
            return Ok(Value::Map(Box::new(self.members(schema.value_schema(), reader)?)));
        }
        if shape != Shape::Array {
            return Err(ConnectError::data(format!(
                "Maps with non-string fields should be encoded as JSON array of tuples, but found {found}"
            )));
        }
        let mut entries = Vec::new();
        reader.open_array()?;
        while reader.element(entries.is_empty())? {
            let pair = self.pair(schema, reader);
            entries.push(pair.map_err(|error| self.inside(Step::Element(entries.len()), error))?);
        }
        Ok(Value::Map(Box::new(unique(entries))))
    }

    fn members(&mut self, schema: Option<&Arc<Schema>>, reader: &mut Reader<'_>) -> Result<Map> {
        let (mut entries, mut misfits) = (Vec::new(), Vec::new());
        reader.open_object()?;
        while let Some(name) = reader.member(entries.is_empty())? {
            let key = reader.to_text(name);
            let (start, at) = (reader.mark(), Step::Member(key.as_bytes()));
            let value = match self.part(schema, reader, at) {
                Ok(value) => value,
                Err(error) => {
                    misfits.push((entries.len(), self.parser.set_aside(error, at, start, reader)?));
                    Value::Null
                }
            };
            entries.push((Value::String(key), value));
        }
        match last_of(&entries, misfits) {
            Some(misfit) => Err(self.parser.take_up(misfit)),
            None => Ok(unique(entries)),
        }
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
        let key = self.part(schema.key_schema(), reader, Step::Element(0))?;
        if !reader.element(false)? {
            return Err(wrong());
        }
        let value = self.part(schema.value_schema(), reader, Step::Element(1))?;
        if reader.element(false)? { Err(wrong()) } else { Ok((key, value)) }
    }

    fn record(&mut self, schema: &Arc<Schema>, shape: Shape, reader: &mut Reader<'_>) -> Result<Value> {
        if shape != Shape::Object {
            let found = shape.name();
            return Err(ConnectError::data(format!("Structs should be encoded as JSON objects, but found {found}")));
        }
        let fields = schema.fields();
        let mut values = Struct::nulls(schema);
        reader.open_object()?;
        let (mut first, mut next) = (true, 0);
        // What does not fit matters unless it comes again, and a default stands for what is missing only.
        let (mut misfits, mut nulls) = (Vec::new(), Vec::new());
        loop {
            // Writers keep the order of the schema: the next field is almost always the one.
            let index = match fields.get(next) {
                Some(field) if reader.take_name(field.name.as_bytes(), first) => Some(next),
                _ => match reader.member(first)? {
                    None => break,
                    Some(name) => std::str::from_utf8(reader.bytes_of(&name)).ok().and_then(|name| schema.field(name)),
                },
            };
            first = false;
            match index {
                Some(index) => {
                    next = index + 1;
                    let field = &fields[index];
                    let (slot, start, at) = (&mut values[index], reader.mark(), Step::Member(field.name.as_bytes()));
                    slot.put(Value::Null);
                    let read = self.part_into(Some(&field.schema), reader, slot, at);
                    if !misfits.is_empty() {
                        misfits.retain(|(known, _)| *known != index);
                    }
                    if let Err(error) = read {
                        misfits.push((index, self.parser.set_aside(error, at, start, reader)?));
                    } else if slot.is_null() && field.schema.default().is_some() && self.replace_null {
                        nulls.push(index);
                    }
                }
                None => reader.skip()?,
            }
        }
        if let Some((_, misfit)) = misfits.into_iter().next() {
            return Err(self.parser.take_up(misfit));
        }
        for (index, (field, value)) in fields.iter().zip(&mut values).enumerate() {
            if value.is_null() && !nulls.contains(&index) {
                let missing = self.missing(&field.schema);
                *value = missing.map_err(|error| self.inside(Step::Member(field.name.as_bytes()), error))?;
            }
        }
        Ok(Value::Struct(Box::new(Struct::from_parts(Arc::clone(schema), values))))
    }

    /// Puts [`Decoder::part`] into a slot that holds a null. What is most frequent is put together right there.
    fn part_into(
        &mut self,
        schema: Option<&Arc<Schema>>,
        reader: &mut Reader<'_>,
        slot: &mut Value,
        at: Step<'_>,
    ) -> Result<()> {
        match schema.map(|schema| frequent(schema, reader, slot)) {
            Some(Ok(true)) => {}
            Some(Err(error)) => return Err(self.inside(at, error)),
            _ => *slot = self.part(schema, reader, at)?,
        }
        Ok(())
    }

    /// A value inside of another one, where Java validates what the coercions left.
    fn part(&mut self, schema: Option<&Arc<Schema>>, reader: &mut Reader<'_>, at: Step<'_>) -> Result<Value> {
        let error = match (self.value(schema, reader), schema) {
            (Ok(value), Some(schema)) if value.is_null() && !schema.is_optional() => ConnectError::data(format!(
                "Invalid value: null used for required field, schema type: {}",
                java::kind(schema.kind())
            )),
            (Ok(value), _) => return Ok(value),
            (Err(error), _) => error,
        };
        Err(self.inside(at, error))
    }

    #[cold]
    fn inside(&mut self, step: Step<'_>, error: ConnectError) -> ConnectError {
        self.parser.inside(step);
        error
    }
}

/// The first misfit whose member does not come again.
fn last_of(entries: &[(Value, Value)], misfits: Vec<(usize, Aside)>) -> Option<Aside> {
    if misfits.is_empty() {
        return None;
    }
    let last: HashMap<_, _> = entries.iter().enumerate().map(|(index, (key, _))| (key.as_str(), index)).collect();
    let counts = |(index, _): &(usize, Aside)| last.get(&entries[*index].0.as_str()) == Some(index);
    misfits.into_iter().find(counts).map(|(_, misfit)| misfit)
}

/// Takes a value of a plain type that has that type; false leaves every other one where it is.
fn frequent(schema: &Schema, reader: &mut Reader<'_>, slot: &mut Value) -> Result<bool> {
    if schema.name().is_some() {
        return Ok(false);
    }
    match (schema.kind(), reader.shape()?) {
        (Kind::String, Shape::String) => reader.string_into(slot)?,
        (Kind::Int32, Shape::Number) => {
            let number = reader.number()?.as_i32();
            slot.put(Value::I32(number));
        }
        (Kind::Int64, Shape::Number) => {
            let number = reader.number()?.as_i64();
            slot.put(Value::I64(number));
        }
        (Kind::Float64, Shape::Number) => {
            let number = reader.number()?.as_f64();
            slot.put(Value::F64(number));
        }
        (Kind::Boolean, Shape::Boolean) => {
            let value = reader.boolean()?;
            slot.put(Value::Bool(value));
        }
        _ => return Ok(false),
    }
    Ok(true)
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
