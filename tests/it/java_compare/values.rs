//! Any schema, and any value of a schema.

use std::sync::Arc;

use pipette_api::data::{Decimal, logical};
use pipette_api::{Blob, Kind, Map, Schema, SchemaBuilder, Struct, Value};

use super::chance::Chance;
use super::notation;

const DAY_MILLIS: i64 = 86_400_000;

pub(crate) fn schema(chance: &mut Chance, depth: usize) -> Arc<Schema> {
    let kinds = if depth == 0 { 13 } else { 20 };
    let mut builder = match chance.below(kinds) {
        at @ 0..=8 => SchemaBuilder::new(Kind::ALL[at]),
        9 => SchemaBuilder::decimal(scale(chance)),
        10 => SchemaBuilder::date(),
        11 => SchemaBuilder::time(),
        12 => SchemaBuilder::timestamp(),
        13 | 14 => SchemaBuilder::array(schema(chance, depth - 1)),
        15 => SchemaBuilder::map(text_key(chance), schema(chance, depth - 1)),
        16 | 17 => SchemaBuilder::map(schema(chance, (depth - 1) / 2), schema(chance, depth - 1)),
        _ => (0..chance.below(5)).fold(SchemaBuilder::record(), |builder, at| {
            builder.field(format!("{}{at}", chance.pick(&["f", "ü", "payload", "a b"])), schema(chance, depth - 1))
        }),
    };
    let plain = builder.clone().build().unwrap();
    builder = builder.nullable(chance.one_in(2));
    if chance.one_in(6) && may_have_default(&plain) {
        builder = builder.default(value(chance, &plain, Nulls::AsDeclared));
    }
    if plain.name().is_none() && chance.one_in(5) {
        builder = named(chance, builder);
    }
    builder.build().unwrap()
}

fn text_key(chance: &mut Chance) -> Arc<Schema> {
    if chance.one_in(3) { Schema::optional(Kind::String) } else { Schema::of(Kind::String) }
}

fn scale(chance: &mut Chance) -> i32 {
    match chance.below(4) {
        0 => chance.pick(&[-1, -5, -400, 38, 400, i32::MAX, i32::MIN, 1_000_000]),
        _ => i32::try_from(chance.below(6)).unwrap(),
    }
}

/// Java compares the schema of a struct with its builder and finds another class; equal bytes in lists are not equal there.
fn may_have_default(schema: &Schema) -> bool {
    let fits = |part: &Arc<Schema>| part.kind() != Kind::Bytes && may_have_default(part);
    schema.kind() != Kind::Struct && [schema.key_schema(), schema.value_schema()].into_iter().flatten().all(fits)
}

fn named(chance: &mut Chance, mut builder: SchemaBuilder) -> SchemaBuilder {
    if chance.one_in(2) {
        builder = builder.name(chance.pick(&["com.example.Named", "io.debezium.data.Enum", "n", "ü \"q\""]));
    }
    if chance.one_in(2) {
        builder = builder.version(chance.pick(&[0, 1, 3, -1, i32::MAX, i32::MIN]));
    }
    if chance.one_in(2) {
        builder = builder.doc(chance.text());
    }
    for (name, value) in [("allowed", "a,b"), ("org.example/enum.0", "ü\n"), ("", "")] {
        if chance.one_in(3) {
            builder = builder.param(name, value);
        }
    }
    builder
}

/// Where a null may be besides where the schema allows it: Java's structs can have required fields unset, and nobody looks
/// into lists and maps that are in no struct.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nulls {
    AsDeclared,
    Here,
    Anywhere,
}

impl Nulls {
    fn inside(self) -> Self {
        if self == Self::Anywhere { self } else { Self::AsDeclared }
    }
}

pub(crate) fn value(chance: &mut Chance, schema: &Schema, nulls: Nulls) -> Value {
    if schema.is_optional() && chance.one_in(5) || nulls != Nulls::AsDeclared && chance.one_in(40) {
        return Value::Null;
    }
    let bits = chance.bits();
    match schema.name() {
        Some(logical::DECIMAL) => {
            let declared = schema.param(logical::SCALE).unwrap().parse().unwrap();
            let scale = if chance.one_in(20) { scale(chance) } else { declared };
            let unscaled = if chance.one_in(4) { chance.digits() } else { bits.to_string() };
            Value::Decimal(Box::new(Decimal { unscaled: unscaled.parse().unwrap(), scale }))
        }
        Some(logical::DATE | logical::TIME | logical::TIMESTAMP) => moment(chance, schema, bits),
        _ => plain(chance, schema, nulls, bits),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
fn moment(chance: &mut Chance, schema: &Schema, bits: i64) -> Value {
    let name = if chance.one_in(40) {
        chance.pick(&[logical::DATE, logical::TIME, logical::TIMESTAMP])
    } else {
        schema.name().unwrap()
    };
    let near = chance.one_in(2);
    match name {
        logical::DATE => Value::Date(if near { (bits % 100_000) as i32 } else { bits as i32 }),
        logical::TIME if chance.one_in(10) => Value::Time(chance.pick(&[86_400_000, -1, i32::MIN, i32::MAX])),
        logical::TIME => Value::Time(bits.rem_euclid(DAY_MILLIS) as i32),
        _ => Value::Timestamp(match chance.below(6) {
            0 => bits / DAY_MILLIS * DAY_MILLIS,
            1 | 2 => bits % 10_000_000_000_000,
            _ => bits,
        }),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
fn plain(chance: &mut Chance, schema: &Schema, nulls: Nulls, bits: i64) -> Value {
    let inside = nulls.inside();
    match schema.kind() {
        Kind::Int8 => Value::I8(bits as i8),
        Kind::Int16 => Value::I16(bits as i16),
        Kind::Int32 => Value::I32(bits as i32),
        Kind::Int64 => Value::I64(bits),
        Kind::Float32 => Value::F32(chance.float()),
        Kind::Float64 => Value::F64(chance.double()),
        Kind::Boolean => Value::Bool(bits & 1 == 0),
        Kind::String => Value::text(chance.text()),
        Kind::Bytes => {
            let count = chance.below(9);
            Value::Bytes(Blob::whole(chance.bytes(count)).unwrap())
        }
        Kind::Array => {
            let element = Arc::clone(schema.value_schema().unwrap());
            Value::Array((0..chance.below(4)).map(|_| value(chance, &element, inside)).collect())
        }
        Kind::Map => {
            let (keys, values) = (schema.key_schema().unwrap(), schema.value_schema().unwrap());
            let mut entries: Vec<(Value, Value)> = Vec::new();
            for _ in 0..chance.below(4) {
                let key = value(chance, keys, inside);
                if entries.iter().all(|(known, _)| !same_key(known, &key)) {
                    entries.push((key, value(chance, values, inside)));
                }
            }
            Value::Map(Box::new(Map::from(entries)))
        }
        Kind::Struct => {
            // A struct that is put into a field is checked.
            let unset = |field: &Schema| {
                if nulls == Nulls::AsDeclared || field.kind() == Kind::Struct { Nulls::AsDeclared } else { Nulls::Here }
            };
            let values: Vec<_> =
                schema.fields().iter().map(|field| value(chance, &field.schema, unset(&field.schema))).collect();
            let own = SchemaBuilder::like(schema).build().unwrap();
            Value::Struct(Box::new(Struct::from_parts(own, values)))
        }
    }
}

/// Equal as Java sees it: one NaN, and one class of dates.
fn same_key(known: &Value, key: &Value) -> bool {
    let is_nan = |key: &Value| match key {
        Value::F32(number) => number.is_nan(),
        Value::F64(number) => number.is_nan(),
        _ => false,
    };
    is_nan(known) && is_nan(key) || notation::shown_value(known) == notation::shown_value(key)
}

/// Arrays and maps of one member each, so many of them.
pub(crate) fn nested(chance: &mut Chance, depth: usize, inner: Value) -> Value {
    (0..depth).fold(inner, |inner, _| {
        if chance.one_in(2) {
            Value::Array(Box::new([inner]))
        } else {
            Value::Map(Box::new(Map::from(vec![(Value::text("k"), inner)])))
        }
    })
}
