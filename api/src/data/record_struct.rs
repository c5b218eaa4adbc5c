//! Structs: values in the order of their schema's fields.

use std::fmt;
use std::sync::Arc;

use super::schema::{Kind, Schema, logical};
use super::unread::{Part, Parts, Unread, nulls};
use super::value::Value;
use crate::error::{ConnectError, Result};

/// A struct value.
#[derive(Clone)]
pub struct Struct {
    schema: Arc<Schema>,
    parts: Parts,
}

impl Struct {
    /// A struct with every field null.
    pub fn new(schema: Arc<Schema>) -> Self {
        let parts = Parts::from(Self::nulls(&schema));
        Self { schema, parts }
    }

    /// A null for each field, to be filled and handed to [`Struct::from_parts`]. There is room for a few values more, so
    /// that a transformation that adds a field need not move them all.
    pub fn nulls(schema: &Schema) -> Vec<Value> {
        nulls(schema.fields().len())
    }

    /// A struct of values that are known to fit, one per field in order. Parsers and transformations use it; only the
    /// number of values is looked at, and only in debug builds.
    pub fn from_parts(schema: Arc<Schema>, values: impl Into<Vec<Value>>) -> Self {
        let parts = Parts::from(values.into());
        debug_assert_eq!(schema.fields().len(), parts.len(), "one value per field");
        Self { schema, parts }
    }

    /// A struct whose values are read when one is asked for, one per field in order. They are known to fit.
    #[inline]
    pub fn unread(schema: Arc<Schema>, unread: Unread) -> Self {
        let parts = Parts::unread(unread);
        debug_assert_eq!(schema.fields().len(), parts.len(), "one value per field");
        Self { schema, parts }
    }

    /// Its schema.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The values in field order.
    #[inline]
    pub fn values(&self) -> &[Value] {
        self.parts.values(Some(&self.schema))
    }

    /// The parts in field order as they are at hand: for those who write text and can do without values.
    #[inline]
    pub fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        (0..self.parts.len()).map(|index| self.parts.part(index))
    }

    /// The values in field order, to change them; the caller keeps them fitting.
    pub fn values_mut(&mut self) -> &mut [Value] {
        self.parts.values_mut(Some(&self.schema))
    }

    /// The parts, to build another struct from them.
    pub fn into_parts(self) -> (Arc<Schema>, Vec<Value>) {
        let values = self.parts.into_values(Some(&self.schema));
        (self.schema, values)
    }

    /// Moves it to another schema, which has all fields but those in these places, in the same order. The places ascend.
    #[inline]
    pub fn take_out(&mut self, schema: Arc<Schema>, places: &[usize]) {
        self.parts.take_out(places);
        self.take_schema(schema);
    }

    /// Moves it to another schema, which has some fields more, behind those of this one. The values are known to fit.
    #[inline]
    pub fn append(&mut self, schema: Arc<Schema>, values: impl Iterator<Item = Value>) {
        let more = schema.fields().len().saturating_sub(self.schema.fields().len());
        self.parts.put(more, values.map(|value| (usize::MAX, value)));
        self.take_schema(schema);
    }

    /// Moves it to another schema: `change` turns its values into those of the new schema, one per field in order, known to
    /// fit as in [`Struct::from_parts`]. [`Struct::take_out`] and [`Struct::append`] do not read values that nobody has asked for.
    pub fn reshape(&mut self, schema: Arc<Schema>, change: impl FnOnce(&mut Vec<Value>)) {
        change(self.parts.values_mut(Some(&self.schema)));
        self.take_schema(schema);
    }

    fn take_schema(&mut self, schema: Arc<Schema>) {
        debug_assert_eq!(schema.fields().len(), self.parts.len(), "one value per field");
        self.schema = schema;
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.schema.field(name).map(|index| &self.values()[index])
    }

    /// Sets a field; a data error when there is no such field or the value does not fit its schema.
    pub fn set(&mut self, name: &str, value: Value) -> Result<&mut Self> {
        let index =
            self.schema.field(name).ok_or_else(|| ConnectError::data(format!("{name} is not a valid field name")))?;
        fits(&value, &self.schema.fields()[index].schema).map_err(|error| error.within(format!("field \"{name}\"")))?;
        self.values_mut()[index] = value;
        Ok(self)
    }
}

impl fmt::Debug for Struct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.schema.fields().iter().map(|field| &field.name).zip(self.values());
        f.write_str("Struct ")?;
        f.debug_map().entries(named).finish()
    }
}

impl PartialEq for Struct {
    fn eq(&self, other: &Self) -> bool {
        Schema::same(&self.schema, &other.schema) && self.values() == other.values()
    }
}

/// A data error when the value is not one of the schema.
pub fn fits(value: &Value, schema: &Schema) -> Result<()> {
    if value.is_null() {
        let allowed = schema.is_optional() || schema.default().is_some();
        return if allowed { Ok(()) } else { Err(ConnectError::data("null is used for a required field")) };
    }
    let right = match schema.name() {
        Some(logical::DECIMAL) => matches!(value, Value::Decimal(_)),
        Some(logical::DATE) => matches!(value, Value::Date(_)),
        Some(logical::TIME) => matches!(value, Value::Time(_)),
        Some(logical::TIMESTAMP) => matches!(value, Value::Timestamp(_)),
        _ => plain_fits(value, schema)?,
    };
    if right {
        return Ok(());
    }
    Err(ConnectError::data(format!(
        "a {} does not fit schema type {}{}",
        value.type_name(),
        schema.kind().name(),
        schema.name().map(|name| format!(" ({name})")).unwrap_or_default()
    )))
}

fn plain_fits(value: &Value, schema: &Schema) -> Result<bool> {
    Ok(match (schema.kind(), value) {
        (Kind::Int8, Value::I8(_))
        | (Kind::Int16, Value::I16(_))
        | (Kind::Int32, Value::I32(_))
        | (Kind::Int64, Value::I64(_))
        | (Kind::Float32, Value::F32(_))
        | (Kind::Float64, Value::F64(_))
        | (Kind::Boolean, Value::Bool(_))
        | (Kind::String, Value::String(_))
        | (Kind::Bytes, Value::Bytes(_) | Value::Payload(_)) => true,
        (Kind::Array, Value::Array(values)) => {
            all_fit(values.iter(), schema.value_schema())?;
            true
        }
        (Kind::Map, Value::Map(map)) => {
            all_fit(map.keys().iter(), schema.key_schema())?;
            all_fit(map.values().iter(), schema.value_schema())?;
            true
        }
        // Java compares the whole schemas, pointers first.
        (Kind::Struct, Value::Struct(inner)) => **inner.schema() == *schema,
        _ => false,
    })
}

fn all_fit<'a>(mut values: impl Iterator<Item = &'a Value>, schema: Option<&Arc<Schema>>) -> Result<()> {
    match schema {
        Some(schema) => values.try_for_each(|value| fits(value, schema)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::SchemaBuilder;
    use super::*;

    #[test]
    fn setting_checks_the_type_and_names_the_field() {
        let schema = SchemaBuilder::record()
            .field("id", Schema::of(Kind::Int64))
            .field("tags", SchemaBuilder::array(Schema::of(Kind::String)).optional().build().unwrap())
            .field("day", SchemaBuilder::date().build().unwrap())
            .build()
            .unwrap();
        let mut record = Struct::new(schema);
        record.set("id", Value::I64(7)).unwrap().set("day", Value::Date(1)).unwrap();
        record.set("tags", Value::Array(Box::new([Value::text("a")]))).unwrap();
        assert_eq!(record.get("id"), Some(&Value::I64(7)));
        for (name, value) in [
            ("id", Value::I32(7)),
            ("id", Value::Null),
            ("day", Value::I32(1)),
            ("tags", Value::Array(Box::new([Value::I8(1)]))),
        ] {
            let error = record.set(name, value).unwrap_err().to_string();
            assert!(error.contains(&format!("field \"{name}\"")), "{error}");
        }
        assert!(record.set("nope", Value::Null).is_err());
    }

    #[test]
    fn many_values_are_taken_out_like_few() {
        let schema = |fields: std::ops::Range<i8>| {
            let named = |builder: SchemaBuilder, field| builder.field(format!("f{field}"), Schema::of(Kind::Int8));
            fields.fold(SchemaBuilder::record(), named).build().unwrap()
        };
        for many in 0..8 {
            let mut record = Struct::from_parts(schema(0..9), (0..9).map(Value::I8).collect::<Vec<_>>());
            let places: Vec<usize> = (1..=many).collect();
            let left: Vec<Value> =
                std::iter::once(0).chain(i8::try_from(many).unwrap() + 1..9).map(Value::I8).collect();
            record.take_out(schema(0..i8::try_from(left.len()).unwrap()), &places);
            assert_eq!(record.values(), left, "{many}");
        }
    }

    #[test]
    fn values_move_to_another_schema() {
        let schema = |names: &[&str]| {
            let fields = names
                .iter()
                .fold(SchemaBuilder::record(), |builder, name| builder.field(*name, Schema::of(Kind::Int8)));
            fields.build().unwrap()
        };
        let mut record = Struct::from_parts(schema(&["a", "b"]), [Value::I8(1), Value::I8(2)]);
        record.take_out(schema(&["b"]), &[0]);
        record.append(schema(&["b", "c"]), [Value::I8(3)].into_iter());
        assert_eq!(
            (record.get("a"), record.get("b"), record.get("c")),
            (None, Some(&Value::I8(2)), Some(&Value::I8(3)))
        );
    }
}
