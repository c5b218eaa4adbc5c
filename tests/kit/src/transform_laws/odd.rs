//! Records of every shape a transformation may meet and did not expect.

use std::sync::Arc;

use pipette_api::data::{Decimal, Map};
use pipette_api::{Datum, Kind, Record, Schema, SchemaBuilder, Struct, Value};

/// The odd ones: every shape as the key and as the value, with and without a place in Kafka.
pub(super) fn records() -> Vec<Record> {
    let mut records = Vec::new();
    for datum in shapes() {
        let mut value = Record::new("odd.topic".into(), datum.clone());
        value.key = Datum::schemaless(Value::text("key"));
        let mut key = Record::new(Arc::from(""), Datum::schemaless(Value::text("value")));
        key.key = datum;
        for record in [value, key] {
            let mut consumed = record.clone();
            (consumed.partition, consumed.offset, consumed.timestamp) =
                (Some(i32::MAX), Some(i64::MAX), Some(i64::MIN));
            consumed.headers.add("", Datum::NULL);
            consumed.headers.add("twice", Datum::schemaless(Value::I8(1)));
            consumed.headers.add("twice", Datum::new(Schema::optional(Kind::Int8), Value::Null));
            records.extend([record, consumed]);
        }
    }
    records
}

/// True when a struct of key or value stands under its own schema with a value for each field.
pub(super) fn is_sound(record: &Record) -> bool {
    [&record.key, &record.value].into_iter().all(|datum| match (&datum.schema, &datum.value) {
        (Some(schema), Value::Struct(value)) => {
            Arc::ptr_eq(schema, value.schema()) && schema.fields().len() == value.values().len()
        }
        _ => true,
    })
}

fn shapes() -> Vec<Datum> {
    let mut shapes: Vec<Datum> = scalars().into_iter().map(Datum::schemaless).collect();
    shapes.extend(Kind::ALL.map(|kind| Datum::new(Schema::optional(kind), Value::Null)));
    let primitives = [
        (Kind::Int8, Value::I8(i8::MIN)),
        (Kind::Int64, Value::I64(i64::MIN)),
        (Kind::Float64, Value::F64(f64::NAN)),
        (Kind::Boolean, Value::Bool(true)),
        (Kind::String, Value::text("")),
        (Kind::Bytes, Value::Bytes(b"\xFF\x00".as_slice().into())),
    ];
    shapes.extend(primitives.map(|(kind, value)| Datum::new(Schema::of(kind), value)));
    let map = |members: Vec<(Value, Value)>| Value::Map(Box::new(Map::from(members)));
    shapes.extend([
        Datum::schemaless(Value::Array(Box::new([Value::Null, Value::I8(1), map(vec![])]))),
        Datum::schemaless(map(vec![])),
        Datum::schemaless(map(vec![(Value::text(""), Value::Null), (Value::text("a"), map(vec![]))])),
        Datum::schemaless(map(vec![(Value::I32(1), Value::text("no name")), (Value::Null, Value::Null)])),
        // A schema of another type than the value: a plugin in front made a mistake.
        Datum::new(Schema::of(Kind::String), map(vec![])),
        Datum::new(Schema::of(Kind::Struct), Value::text("no struct")),
        Datum::schemaless(Value::Struct(Box::new(Struct::new(Schema::of(Kind::Struct))))),
    ]);
    shapes.extend(structs());
    shapes
}

fn scalars() -> Vec<Value> {
    vec![
        Value::Null,
        Value::Bool(false),
        Value::I8(-1),
        Value::I16(i16::MAX),
        Value::I32(i32::MIN),
        Value::I64(i64::MAX),
        Value::F32(f32::INFINITY),
        Value::F64(-0.0),
        Value::Date(i32::MIN),
        Value::Time(-1),
        Value::Timestamp(i64::MIN),
        Value::Decimal(Box::new(Decimal::new(-1, -5))),
        Value::text("text"),
        Value::Bytes(b"".as_slice().into()),
    ]
}

fn structs() -> Vec<Datum> {
    let inner = SchemaBuilder::record().field("x", Schema::optional(Kind::Int32)).optional();
    let outer = |inner: SchemaBuilder| {
        SchemaBuilder::record()
            .field("a", Schema::optional(Kind::String))
            .field("in", inner.build().unwrap_or_else(|error| panic!("{error}")))
    };
    [SchemaBuilder::record(), SchemaBuilder::record().optional(), outer(inner)]
        .map(|builder| {
            let schema = builder.build().unwrap_or_else(|error| panic!("{error}"));
            Datum::new(Arc::clone(&schema), Value::Struct(Box::new(Struct::new(schema))))
        })
        .into()
}
