//! Schemas of what JSON text held: objects become structs whose fields may all be missing, numbers int64 or float64.
//!
//! Texts of one topic have the same members again and again, so that a schema is worked out once and afterwards only
//! compared with the values.

use std::sync::Arc;

use pipette_api::{ConnectError, Datum, Kind, Result, Schema, SchemaBuilder, Struct, Text, Value};

/// How many schemas are remembered.
const SCHEMAS: usize = 32;

/// The schemas that were worked out, the last one used first.
#[derive(Default)]
pub(crate) struct Shapes(Vec<Arc<Schema>>);

/// What is known of a type before it is a schema.
enum Shape {
    /// Null only; it becomes an optional string.
    Unknown,
    Plain(Kind),
    Array(Box<Shape>),
    Object(Vec<(Text, Shape)>),
}

impl Shapes {
    /// A value that was read, with its schema. A data error for lists of unlike elements.
    pub(crate) fn shaped(&mut self, value: Value) -> Result<Datum> {
        let index = match self.0.iter().position(|schema| fits(&value, schema)) {
            Some(index) => index,
            None => self.work_out(&value)?,
        };
        self.0[..=index].rotate_right(1);
        let schema = Arc::clone(&self.0[0]);
        let value = under(value, &schema);
        Ok(Datum::new(schema, value))
    }

    /// Where the schema stands that was worked out. An equal one that is known is kept: what stands behind caches by it.
    fn work_out(&mut self, value: &Value) -> Result<usize> {
        let made = Shape::of(value)?.schema()?;
        if let Some(index) = self.0.iter().position(|known| *known == made) {
            return Ok(index);
        }
        self.0.truncate(SCHEMAS - 1);
        self.0.push(made);
        Ok(self.0.len() - 1)
    }
}

/// Whether the schema is the one that would be worked out for the value.
fn fits(value: &Value, schema: &Schema) -> bool {
    match (value, schema.kind()) {
        // What a null stands for is known only where the schema was made.
        (Value::Null, kind) => kind == Kind::String,
        (Value::Bool(_), Kind::Boolean)
        | (Value::I64(_), Kind::Int64)
        | (Value::F64(_), Kind::Float64)
        | (Value::String(_), Kind::String) => true,
        (Value::Map(map), Kind::Struct) => {
            let fields = schema.fields();
            fields.len() == map.len()
                && map.iter().zip(fields).all(|((key, value), field)| {
                    matches!(key, Value::String(name) if name.as_bytes() == field.name.as_bytes())
                        && fits(value, &field.schema)
                })
        }
        // Only lists without objects and without mixed numbers are compared in place: others are worked out again.
        (Value::Array(elements), Kind::Array) => schema.value_schema().is_some_and(|element| {
            element.kind() != Kind::Struct && !elements.is_empty() && elements.iter().all(|value| fits(value, element))
        }),
        _ => false,
    }
}

impl Shape {
    fn of(value: &Value) -> Result<Self> {
        Ok(match value {
            Value::Bool(_) => Self::Plain(Kind::Boolean),
            Value::I64(_) => Self::Plain(Kind::Int64),
            Value::F64(_) => Self::Plain(Kind::Float64),
            Value::String(_) => Self::Plain(Kind::String),
            Value::Array(elements) => {
                let merged = elements.iter().try_fold(Self::Unknown, |shape, value| shape.and(Self::of(value)?))?;
                Self::Array(Box::new(merged))
            }
            Value::Map(map) => {
                let member = |(key, value): (&Value, &Value)| match key {
                    Value::String(name) => Ok((name.clone(), Self::of(value)?)),
                    _ => unreachable!("members of JSON objects have names"),
                };
                Self::Object(map.iter().map(member).collect::<Result<_>>()?)
            }
            _ => Self::Unknown,
        })
    }

    /// The shape of both: numbers widen, objects take the members of both.
    fn and(self, other: Self) -> Result<Self> {
        Ok(match (self, other) {
            (Self::Unknown, shape) | (shape, Self::Unknown) => shape,
            (Self::Plain(a), Self::Plain(b)) if a == b => Self::Plain(a),
            (Self::Plain(Kind::Int64), Self::Plain(Kind::Float64))
            | (Self::Plain(Kind::Float64), Self::Plain(Kind::Int64)) => Self::Plain(Kind::Float64),
            (Self::Array(a), Self::Array(b)) => Self::Array(Box::new(a.and(*b)?)),
            (Self::Object(mut members), Self::Object(more)) => {
                for (name, shape) in more {
                    match members.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, known)) => *known = std::mem::replace(known, Self::Unknown).and(shape)?,
                        None => members.push((name, shape)),
                    }
                }
                Self::Object(members)
            }
            (a, b) => {
                return Err(ConnectError::data(format!(
                    "a list holds both {} and {}: there is no schema for it, only a record without one can take it",
                    a.name(),
                    b.name()
                )));
            }
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Unknown => "null",
            Self::Plain(kind) => kind.name(),
            Self::Array(_) => "lists",
            Self::Object(_) => "objects",
        }
    }

    fn schema(&self) -> Result<Arc<Schema>> {
        match self {
            Self::Unknown => Ok(Schema::optional(Kind::String)),
            Self::Plain(kind) => Ok(Schema::optional(*kind)),
            Self::Array(element) => SchemaBuilder::array(element.schema()?).optional().build(),
            Self::Object(members) => {
                let add = |builder: SchemaBuilder, (name, shape): &(Text, Self)| {
                    Ok::<_, ConnectError>(builder.field(name.as_str(), shape.schema()?))
                };
                members.iter().try_fold(SchemaBuilder::record().optional(), add)?.build()
            }
        }
    }
}

/// The value as one of a schema that was worked out for it.
fn under(value: Value, schema: &Arc<Schema>) -> Value {
    match value {
        #[expect(clippy::cast_precision_loss, reason = "the nearest one, beside fractions in a list")]
        Value::I64(number) if schema.kind() == Kind::Float64 => Value::F64(number as f64),
        Value::Array(elements) => match schema.value_schema() {
            Some(element) => Value::Array(elements.into_iter().map(|value| under(value, element)).collect()),
            None => Value::Array(elements),
        },
        Value::Map(mut map) => {
            let mut found = Vec::new();
            let keys = Arc::clone(map.keys());
            map.reshape(Arc::default(), |values| found = std::mem::take(values));
            let mut record = Struct::new(Arc::clone(schema));
            for (index, (key, value)) in keys.iter().zip(found).enumerate() {
                let name = key.as_str().unwrap_or_default();
                let fields = schema.fields();
                let here = fields.get(index).is_some_and(|field| *field.name == *name);
                if let Some(place) = if here { Some(index) } else { schema.field(name) } {
                    record.values_mut()[place].put(under(value, &fields[place].schema));
                }
            }
            Value::Struct(Box::new(record))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use pipette_api::Blob;

    use super::*;

    fn shaped(shapes: &mut Shapes, text: &str) -> Result<Datum> {
        shapes.shaped(pipette_json::parse(&Blob::whole(text.to_owned()).unwrap()).unwrap())
    }

    #[test]
    fn equal_texts_share_a_schema_and_others_have_their_own() {
        let mut shapes = Shapes::default();
        let mut schema = |text: &str| shaped(&mut shapes, text).unwrap().schema.unwrap();
        let first = schema(r#"{"a":1,"b":{"c":[1.5,2]}}"#);
        assert_eq!(first.fields()[0].schema.kind(), Kind::Int64);
        let again = schema(r#"{"a":2,"b":{"c":[2.5]}}"#);
        assert!(Arc::ptr_eq(&first, &again), "numbers of one kind");
        assert!(!Arc::ptr_eq(&first, &schema(r#"{"a":2.0,"b":{"c":[2.5]}}"#)));
        assert!(!Arc::ptr_eq(&first, &schema(r#"{"a":"x"}"#)));
    }

    #[test]
    fn objects_in_a_list_have_the_members_of_all() {
        let datum = shaped(&mut Shapes::default(), r#"[{"a":1},{"b":"x","a":1.5},null]"#).unwrap();
        let schema = datum.schema.unwrap();
        let element = schema.value_schema().unwrap();
        let fields: Vec<_> = element.fields().iter().map(|field| (&*field.name, field.schema.kind())).collect();
        assert_eq!(fields, [("a", Kind::Float64), ("b", Kind::String)]);
        let Value::Array(elements) = datum.value else { panic!("a list") };
        let Value::Struct(first) = &elements[0] else { panic!("a struct") };
        assert_eq!(first.values(), [Value::F64(1.0), Value::Null]);
        assert!(
            shaped(&mut Shapes::default(), r#"[1,"x"]"#).unwrap_err().to_string().contains("both int64 and string")
        );
    }
}
