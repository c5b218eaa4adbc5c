//! A value that holds nothing but fits its schema, for forms that keep the reference in a header. Never null: that would be a
//! tombstone on a compacted topic.

use std::sync::Arc;

use pipette_api::data::{Decimal, logical};
use pipette_api::{Blob, Datum, Kind, Result, Schema, Struct, Value};

pub(super) fn placeholder(schema: Option<&Arc<Schema>>) -> Result<Datum> {
    match schema {
        Some(schema) => Ok(Datum::new(Arc::clone(schema), empty(schema)?)),
        None => Ok(Datum::schemaless(Value::Bytes(Blob::whole(Vec::new())?))),
    }
}

fn empty(schema: &Arc<Schema>) -> Result<Value> {
    Ok(match (schema.kind(), schema.name()) {
        (Kind::Int32, Some(logical::DATE)) => Value::Date(0),
        (Kind::Int32, Some(logical::TIME)) => Value::Time(0),
        (Kind::Int64, Some(logical::TIMESTAMP)) => Value::Timestamp(0),
        (Kind::Bytes, Some(logical::DECIMAL)) => {
            let scale = schema.param(logical::SCALE).and_then(|scale| scale.parse().ok()).unwrap_or_default();
            Value::Decimal(Box::new(Decimal::new(0, scale)))
        }
        (Kind::Int8, _) => Value::I8(0),
        (Kind::Int16, _) => Value::I16(0),
        (Kind::Int32, _) => Value::I32(0),
        (Kind::Int64, _) => Value::I64(0),
        (Kind::Float32, _) => Value::F32(0.0),
        (Kind::Float64, _) => Value::F64(0.0),
        (Kind::Boolean, _) => Value::Bool(false),
        (Kind::String, _) => Value::text(""),
        (Kind::Bytes, _) => Value::Bytes(Blob::whole(Vec::new())?),
        (Kind::Array, _) => Value::Array(Box::new([])),
        (Kind::Map, _) => Value::Map(Box::default()),
        (Kind::Struct, _) => {
            let field = |schema: &Arc<Schema>| if schema.is_optional() { Ok(Value::Null) } else { empty(schema) };
            let values = schema.fields().iter().map(|it| field(&it.schema)).collect::<Result<Box<[Value]>>>()?;
            Value::Struct(Box::new(Struct::from_parts(Arc::clone(schema), values)))
        }
    })
}
