//! Keys, values and schemas of golden cases.
//!
//! A datum is `{"schema": …, "value": …}`, schemaless without `schema`. A schema is a type name (`"int32"`, `"int32?"` when
//! optional, also `date`, `time`, `timestamp`) or Connect's JSON form: `{"type", "optional", "name", "version", "doc",
//! "parameters", "default", "fields": [{"field", …}], "items", "keys", "values"}`; a decimal is `{"type": "decimal",
//! "scale": 2}`. Under a schema a value is plain JSON; bytes are hex text, decimals `"1.20"`, dates, times and timestamps
//! their number. Without a schema integers are int64 and fractions float64; any other type is written
//! `{"$int32": 5}`.

use std::sync::Arc;

use pipette_api::data::{Blob, Decimal, logical};
use pipette_api::{Datum, Kind, Schema, SchemaBuilder, Struct, Value};
use serde_json::Value as Json;

use super::cases::only;

/// Reads a datum; `name` says which case is at fault.
pub(super) fn datum(name: &str, json: &Json) -> Datum {
    only(name, json, &["schema", "value", "name"]);
    match json.get("schema") {
        None => Datum::schemaless(free(name, &json["value"])),
        Some(schema) => {
            let schema = self::schema(name, schema);
            Datum::new(Arc::clone(&schema), value(name, &json["value"], &schema))
        }
    }
}

fn schema(name: &str, json: &Json) -> Arc<Schema> {
    let members = ["type", "scale", "field", "optional", "name", "version", "doc", "parameters", "default"];
    let nested = ["fields", "items", "keys", "values"];
    let (type_name, optional) = if let Json::String(text) = json {
        (text.trim_end_matches('?'), text.ends_with('?'))
    } else {
        only(name, json, &[&members[..], &nested[..]].concat());
        (json["type"].as_str().unwrap_or_default(), json["optional"].as_bool().unwrap_or(false))
    };
    let mut builder = typed(name, type_name, json).nullable(optional);
    if let Some(text) = json["name"].as_str() {
        builder = builder.name(text);
    }
    if let Some(version) = json["version"].as_i64() {
        builder = builder.version(i32::try_from(version).unwrap_or_else(|_| panic!("{name}: version {version}")));
    }
    if let Some(text) = json["doc"].as_str() {
        builder = builder.doc(text);
    }
    for (key, text) in json["parameters"].as_object().into_iter().flatten() {
        builder = builder.param(key.as_str(), text.as_str().unwrap_or_else(|| panic!("{name}: parameter {key}")));
    }
    let plain = build(name, builder.clone());
    match json.get("default") {
        None => plain,
        Some(default) => build(name, builder.default(value(name, default, &plain))),
    }
}

fn typed(name: &str, type_name: &str, json: &Json) -> SchemaBuilder {
    let child = |key: &str| json.get(key).map(|json| schema(name, json));
    match type_name {
        "date" => SchemaBuilder::date(),
        "time" => SchemaBuilder::time(),
        "timestamp" => SchemaBuilder::timestamp(),
        "decimal" => SchemaBuilder::decimal(json["scale"].as_i64().and_then(|n| i32::try_from(n).ok()).unwrap_or(0)),
        "struct" => json["fields"].as_array().into_iter().flatten().fold(SchemaBuilder::record(), |builder, field| {
            let key = field["field"].as_str().unwrap_or_else(|| panic!("{name}: a field without field"));
            builder.field(key, schema(name, field))
        }),
        _ => {
            let kind = Kind::ALL.into_iter().find(|kind| kind.name() == type_name);
            let kind = kind.unwrap_or_else(|| panic!("{name}: {type_name} is no type"));
            let element = child("items").or_else(|| child("values"));
            SchemaBuilder::new(kind).key(child("keys")).element(element)
        }
    }
}

fn build(name: &str, builder: SchemaBuilder) -> Arc<Schema> {
    builder.build().unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A value under a schema.
fn value(name: &str, json: &Json, schema: &Arc<Schema>) -> Value {
    if json.is_null() {
        return Value::Null;
    }
    let type_name = match schema.name() {
        Some(logical::DATE) => "date",
        Some(logical::TIME) => "time",
        Some(logical::TIMESTAMP) => "timestamp",
        Some(logical::DECIMAL) => "decimal",
        _ => schema.kind().name(),
    };
    let child = |json: &Json, schema: Option<&Arc<Schema>>| match schema {
        Some(schema) => value(name, json, schema),
        None => free(name, json),
    };
    match (type_name, json) {
        ("array", Json::Array(elements)) => {
            Value::Array(elements.iter().map(|element| child(element, schema.value_schema())).collect())
        }
        ("map", Json::Object(members)) => Value::Map(Box::new(
            members
                .iter()
                .map(|(key, member)| (Value::text(key.as_str()), child(member, schema.value_schema())))
                .collect(),
        )),
        ("struct", Json::Object(members)) => {
            let mut record = Struct::new(Arc::clone(schema));
            for (key, member) in members {
                let index = schema.field(key).unwrap_or_else(|| panic!("{name}: the schema has no field {key}"));
                record.values_mut()[index] = value(name, member, &schema.fields()[index].schema);
            }
            Value::Struct(Box::new(record))
        }
        _ => scalar(type_name, json).unwrap_or_else(|| panic!("{name}: {json} is no {type_name}")),
    }
}

/// A value without a schema.
fn free(name: &str, json: &Json) -> Value {
    match json {
        Json::Object(members) => match members.iter().next() {
            Some((tag, json)) if tag.starts_with('$') => {
                scalar(&tag[1..], json).unwrap_or_else(|| panic!("{name}: {json} is no {tag}"))
            }
            _ => Value::Map(Box::new(
                members.iter().map(|(key, member)| (Value::text(key.as_str()), free(name, member))).collect(),
            )),
        },
        Json::Array(elements) => Value::Array(elements.iter().map(|element| free(name, element)).collect()),
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::String(text) => Value::text(text.as_str()),
        Json::Number(number) => number
            .as_i64()
            .map_or_else(|| scalar("float64", json), |n| Some(Value::I64(n)))
            .unwrap_or_else(|| panic!("{name}: {json}")),
    }
}

fn scalar(type_name: &str, json: &Json) -> Option<Value> {
    fn int<T: TryFrom<i64>>(json: &Json) -> Option<T> {
        T::try_from(json.as_i64()?).ok()
    }
    Some(match type_name {
        "boolean" => Value::Bool(json.as_bool()?),
        "int8" => Value::I8(int(json)?),
        "int16" => Value::I16(int(json)?),
        "int32" => Value::I32(int(json)?),
        "int64" => Value::I64(int(json)?),
        // The nearest float is what a case means.
        #[allow(clippy::cast_possible_truncation)]
        "float32" => Value::F32(json.as_f64()? as f32),
        "float64" => Value::F64(json.as_f64()?),
        "date" => Value::Date(int(json)?),
        "time" => Value::Time(int(json)?),
        "timestamp" => Value::Timestamp(int(json)?),
        "string" => Value::text(json.as_str()?),
        "bytes" => Value::Bytes(Blob::whole(hex(json.as_str()?)?).ok()?),
        "decimal" => {
            let text = json.as_str()?;
            let scale = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            Value::Decimal(Box::new(Decimal::new(
                text.replace('.', "").parse::<i64>().ok()?,
                i32::try_from(scale).ok()?,
            )))
        }
        _ => return None,
    })
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    digits.map(|digits| digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte * 16 + digit)).collect())
}
