//! Records for transformations: fields of names that the table of settings knows, of any type, and odd ones.

use std::sync::Arc;

use pipette_api::{Datum, Kind, Map, Schema, SchemaBuilder, Struct, Value};
use serde_json::{Value as Json, json};

use super::super::chance::Chance;
use super::super::dates;
use super::super::notation::write_datum;
use super::super::values::{self, Nulls};

/// `in` holds fields itself, `ts` is a time in one of its forms.
const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "ts", "in", "a.b", "x", "ü b"];

const TOPICS: [&str; 12] =
    ["t", "T", "t-v1", "ab", "a", "prod.orders", "orders-v12", "x.y.z", "${timestamp}", "$1", "topic with blanks", ""];

const DATES: [&str; 4] = ["yyyy-MM-dd", "yyyy-MM-dd'T'HH:mm:ss.SSSXXX", "yyyyMMddHHmmss", "EEE, d MMM yyyy HH:mm:ss Z"];

/// A record whose key or value, mostly, has fields; `format` is how times in text are written.
pub(crate) fn any(chance: &mut Chance, key: bool, format: Option<&str>) -> Json {
    let chosen = half(chance, format);
    let other = if chance.one_in(2) { Datum::NULL } else { half(chance, format) };
    let (key, value) = if key { (chosen, other) } else { (other, chosen) };
    let headers: Vec<Json> = (0..chance.below(4))
        .map(|_| {
            let schema = values::schema(chance, 1);
            let value = values::value(chance, &schema, Nulls::AsDeclared);
            // Java gives a struct without a schema its own when it becomes a header.
            let plain = schema.kind() != Kind::Struct;
            let datum = if plain && chance.one_in(3) { Datum::schemaless(value) } else { Datum::new(schema, value) };
            json!([chance.pick(&["h", "h", "H", "other", "new", ""]), write_datum(&datum)])
        })
        .collect();
    let sink = chance.one_in(2);
    let partition = if sink || chance.one_in(2) { Some(chance.below(100)) } else { None };
    json!({
        "topic": chance.pick(&TOPICS),
        "partition": partition,
        "timestamp": if chance.one_in(4) { None } else { Some(dates::time(chance).to_string()) },
        "offset": if sink { Some(chance.below(1_000_000).to_string()) } else { None },
        "key": write_datum(&key),
        "value": write_datum(&value),
        "headers": headers,
    })
}

fn half(chance: &mut Chance, format: Option<&str>) -> Datum {
    match chance.below(24) {
        0 => Datum::NULL,
        1 => Datum::new(SchemaBuilder::like(&record_schema(chance)).optional().build().unwrap(), Value::Null),
        2 => {
            let schema = values::schema(chance, 2);
            Datum::new(SchemaBuilder::like(&schema).optional().build().unwrap(), Value::Null)
        }
        3..=5 => {
            let schema = values::schema(chance, 2);
            let value = values::value(chance, &schema, Nulls::AsDeclared);
            if chance.one_in(2) { Datum::schemaless(value) } else { Datum::new(schema, value) }
        }
        6..=7 => {
            let schema = time_schema(chance);
            let value = time_value(chance, &schema, format);
            if chance.one_in(3) { Datum::schemaless(value) } else { Datum::new(schema, value) }
        }
        8..=14 => Datum::schemaless(map(chance, format, 2)),
        _ => {
            let schema = record_schema(chance);
            let value = record(chance, &schema, format, true);
            Datum::new(schema, value)
        }
    }
}

fn time_schema(chance: &mut Chance) -> Arc<Schema> {
    let builder = match chance.below(6) {
        0 => SchemaBuilder::timestamp(),
        1 => SchemaBuilder::date(),
        2 => SchemaBuilder::time(),
        3 => SchemaBuilder::new(Kind::Int64),
        _ => SchemaBuilder::new(Kind::String),
    };
    builder.nullable(chance.one_in(2)).build().unwrap()
}

fn time_value(chance: &mut Chance, schema: &Schema, format: Option<&str>) -> Value {
    if schema.is_optional() && chance.one_in(8) {
        return Value::Null;
    }
    match (schema.kind(), schema.name()) {
        (Kind::String, _) => {
            let any = chance.pick(&DATES);
            let pattern = format.filter(|_| !chance.one_in(8)).unwrap_or(any);
            let time = dates::time(chance);
            Value::text(dates::text(chance, pattern, time))
        }
        (Kind::Int64, None) => Value::I64(dates::time(chance)),
        _ => values::value(chance, schema, Nulls::AsDeclared),
    }
}

fn field_schema(chance: &mut Chance, name: &str, depth: usize) -> Arc<Schema> {
    match name {
        "ts" => time_schema(chance),
        "in" if depth > 0 && !chance.one_in(6) => fields(chance, depth - 1),
        _ => {
            let depth = usize::from(chance.one_in(3));
            values::schema(chance, depth)
        }
    }
}

fn record_schema(chance: &mut Chance) -> Arc<Schema> {
    fields(chance, 2)
}

fn fields(chance: &mut Chance, depth: usize) -> Arc<Schema> {
    let mut builder = SchemaBuilder::record().nullable(chance.one_in(3));
    if chance.one_in(3) {
        builder = builder.name("com.example.Old").version(chance.pick(&[1, 2])).doc("d").param("p", "q");
    }
    for name in names(chance) {
        let schema = field_schema(chance, name, depth);
        builder = builder.field(name, schema);
    }
    builder.build().unwrap()
}

/// Most of the names, in any order.
fn names(chance: &mut Chance) -> Vec<&'static str> {
    let mut names = NAMES.to_vec();
    for index in (1..names.len()).rev() {
        names.swap(index, chance.below(index + 1));
    }
    names.truncate(chance.below(NAMES.len() + 1).max(chance.below(4)));
    names
}

/// At the top a required field may be unset, as Java lets it be; a struct inside of another one is checked.
fn record(chance: &mut Chance, schema: &Arc<Schema>, format: Option<&str>, top: bool) -> Value {
    let mut values = Vec::new();
    for field in schema.fields() {
        let unset = top && chance.one_in(150);
        values.push(match (field.schema.kind(), &*field.name) {
            _ if unset => Value::Null,
            (_, "ts") => time_value(chance, &field.schema, format),
            (Kind::Struct, "in") if field.schema.is_optional() && chance.one_in(4) => Value::Null,
            (Kind::Struct, "in") => record(chance, &field.schema, format, false),
            _ => values::value(chance, &field.schema, Nulls::AsDeclared),
        });
    }
    Value::Struct(Box::new(Struct::from_parts(Arc::clone(schema), values)))
}

fn map(chance: &mut Chance, format: Option<&str>, depth: usize) -> Value {
    let mut members = Vec::new();
    for name in names(chance) {
        let value = match name {
            "in" if depth > 0 && !chance.one_in(6) => map(chance, format, depth - 1),
            name => {
                let schema = field_schema(chance, name, 0);
                if name == "ts" {
                    time_value(chance, &schema, format)
                } else if chance.one_in(8) {
                    Value::Null
                } else {
                    values::value(chance, &schema, Nulls::AsDeclared)
                }
            }
        };
        members.push((Value::text(name), value));
    }
    if chance.one_in(60) {
        members.push((Value::I32(chance.pick(&[1, 2])), Value::Bool(true)));
    }
    Value::Map(Box::new(Map::from(members)))
}
