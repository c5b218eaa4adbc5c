//! Schemas and values as JSON, for the programs in `tests/java/src/` (there it is `Notation.java`) and for the recorded
//! answers.
//!
//! A value is null or `[tag, body]`: numbers of 64 bits are text, floats their bits in hex, bytes hex. Java has one class
//! for days, times and timestamps, so that answers know `timestamp` only; [`shown`] folds ours into it. Text with half a
//! surrogate pair, which only Java can hold, is `{"utf16": its units in hex}`; we read U+FFFD there. Containers of one
//! member each, from [`MANY`] on, are `["nest", steps, what is inside]`, a step being null for an array and `[key]` for a map:
//! JSON readers have limits.

use std::fmt::Write;
use std::sync::Arc;

use pipette_api::data::Decimal;
use pipette_api::{Blob, Datum, Kind, Map, Schema, SchemaBuilder, Struct, Value};
use serde_json::{Value as Json, json};

const DAY_MILLIS: i64 = 86_400_000;

const MANY: usize = 20;

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

pub(crate) fn datum(json: &Json) -> Datum {
    Datum { schema: schema(&json["schema"]), value: value(&json["value"]) }
}

pub(crate) fn write_datum(datum: &Datum) -> Json {
    json!({"schema": write_schema(datum.schema.as_ref()), "value": write_value(&datum.value)})
}

/// The datum as Java's answers have it.
pub(crate) fn shown(datum: &Datum) -> Json {
    fold(write_datum(datum))
}

pub(crate) fn shown_value(value: &Value) -> Json {
    fold(write_value(value))
}

/// Dates, times and timestamps become timestamps; members of maps are sorted, since Java's are in hash order.
pub(crate) fn fold(json: Json) -> Json {
    match json {
        Json::Array(parts) => {
            let parts: Vec<Json> = parts.into_iter().map(fold).collect();
            match (parts.first().and_then(Json::as_str), parts.get(1)) {
                (Some("day"), Some(Json::Number(days))) => {
                    json!(["timestamp", (days.as_i64().unwrap() * DAY_MILLIS).to_string()])
                }
                (Some("time"), Some(Json::Number(millis))) => json!(["timestamp", millis.to_string()]),
                (Some("map"), Some(Json::Array(entries))) => {
                    let mut entries = entries.clone();
                    entries.sort_by_cached_key(Json::to_string);
                    json!(["map", entries])
                }
                _ => Json::Array(parts),
            }
        }
        Json::Object(members) if members.contains_key("utf16") => Json::String(text(&Json::Object(members))),
        Json::Object(members) => members.into_iter().map(|(name, member)| (name, fold(member))).collect(),
        other => other,
    }
}

/// Whether any text in it holds half a surrogate pair.
pub(crate) fn has_halves(json: &Json) -> bool {
    match json {
        Json::Array(parts) => parts.iter().any(has_halves),
        Json::Object(members) => members.iter().any(|(name, member)| name == "utf16" || has_halves(member)),
        _ => false,
    }
}

fn text(json: &Json) -> String {
    if let Some(text) = json.as_str() {
        return text.to_owned();
    }
    let bytes = unhex(json["utf16"].as_str().unwrap());
    let units: Vec<u16> = bytes.chunks(2).map(|unit| u16::from_be_bytes(unit.try_into().unwrap())).collect();
    String::from_utf16_lossy(&units)
}

fn schema(json: &Json) -> Option<Arc<Schema>> {
    let kind = Kind::ALL.into_iter().find(|kind| Some(kind.name()) == json["type"].as_str())?;
    let mut builder = match kind {
        Kind::Array => SchemaBuilder::new(kind).element(schema(&json["items"])),
        Kind::Map => SchemaBuilder::new(kind).key(schema(&json["keys"])).element(schema(&json["values"])),
        _ => SchemaBuilder::new(kind),
    };
    for field in json["fields"].as_array().into_iter().flatten() {
        builder = builder.field(text(&field[0]), schema(&field[1]).unwrap());
    }
    builder = builder.nullable(json["optional"].as_bool().unwrap());
    if let Some(name) = json.get("name") {
        builder = builder.name(text(name));
    }
    if let Some(version) = json["version"].as_i64() {
        builder = builder.version(version.try_into().unwrap());
    }
    if let Some(doc) = json.get("doc") {
        builder = builder.doc(text(doc));
    }
    for pair in json["params"].as_array().into_iter().flatten() {
        builder = builder.param(text(&pair[0]), text(&pair[1]));
    }
    if let Some(default) = json.get("default") {
        builder = builder.default(value(default));
    }
    Some(builder.build().unwrap())
}

fn write_schema(schema: Option<&Arc<Schema>>) -> Json {
    let Some(schema) = schema else { return Json::Null };
    let mut json = json!({"type": schema.kind().name(), "optional": schema.is_optional()});
    match schema.kind() {
        Kind::Array => json["items"] = write_schema(schema.value_schema()),
        Kind::Map => {
            json["keys"] = write_schema(schema.key_schema());
            json["values"] = write_schema(schema.value_schema());
        }
        Kind::Struct => {
            let field = |field: &pipette_api::data::Field| json!([&*field.name, write_schema(Some(&field.schema))]);
            json["fields"] = schema.fields().iter().map(field).collect();
        }
        _ => {}
    }
    if let Some(name) = schema.name() {
        json["name"] = json!(name);
    }
    if let Some(version) = schema.version() {
        json["version"] = json!(version);
    }
    if let Some(doc) = schema.doc() {
        json["doc"] = json!(doc);
    }
    if !schema.params().is_empty() {
        json["params"] = schema.params().iter().map(|(key, value)| json!([&**key, &**value])).collect();
    }
    if let Some(default) = schema.default().filter(|default| !default.is_null()) {
        json["default"] = write_value(default);
    }
    json
}

fn value(json: &Json) -> Value {
    let body = &json[1];
    let text = || body.as_str().unwrap();
    let number = || body.as_i64().unwrap();
    match json[0].as_str() {
        None => Value::Null,
        Some("bool") => Value::Bool(body.as_bool().unwrap()),
        Some("i8") => Value::I8(number().try_into().unwrap()),
        Some("i16") => Value::I16(number().try_into().unwrap()),
        Some("i32") => Value::I32(number().try_into().unwrap()),
        Some("i64") => Value::I64(text().parse().unwrap()),
        Some("f32") => Value::F32(f32::from_bits(u32::from_str_radix(text(), 16).unwrap())),
        Some("f64") => Value::F64(f64::from_bits(u64::from_str_radix(text(), 16).unwrap())),
        Some("day") => Value::Date(number().try_into().unwrap()),
        Some("time") => Value::Time(number().try_into().unwrap()),
        Some("timestamp") => Value::Timestamp(text().parse().unwrap()),
        Some("decimal") => {
            let scale = json[2].as_i64().unwrap().try_into().unwrap();
            Value::Decimal(Box::new(Decimal { unscaled: text().parse().unwrap(), scale }))
        }
        Some("string") => Value::text(self::text(body)),
        Some("nest") => {
            let steps = body.as_array().unwrap().iter().rev();
            steps.fold(value(&json[2]), |inner, step| match step.get(0) {
                None => Value::Array(Box::new([inner])),
                Some(key) => Value::Map(Box::new(Map::from(vec![(Value::text(self::text(key)), inner)]))),
            })
        }
        Some("bytes") => Value::Bytes(Blob::whole(unhex(text())).unwrap()),
        Some("array") => Value::Array(body.as_array().unwrap().iter().map(value).collect()),
        Some("map") => {
            let entries = body.as_array().unwrap().iter();
            Value::Map(Box::new(entries.map(|entry| (value(&entry[0]), value(&entry[1]))).collect()))
        }
        Some("struct") => {
            let values: Vec<_> = json[2].as_array().unwrap().iter().map(value).collect();
            Value::Struct(Box::new(Struct::from_parts(schema(body).unwrap(), values)))
        }
        Some(other) => panic!("no tag: {other}"),
    }
}

/// The way into containers of one member each, and what is inside of them.
fn chain(mut value: &Value) -> (Vec<Json>, &Value) {
    let mut steps = Vec::new();
    loop {
        let (step, inner) = match value {
            Value::Array(elements) if elements.len() == 1 => (Json::Null, &elements[0]),
            Value::Map(map) => match (&map.keys()[..], map.values()) {
                ([Value::String(key)], [inner]) => (json!([key.as_str()]), inner),
                _ => return (steps, value),
            },
            _ => return (steps, value),
        };
        steps.push(step);
        value = inner;
    }
}

fn write_value(value: &Value) -> Json {
    let (steps, inner) = chain(value);
    if steps.len() >= MANY {
        return json!(["nest", steps, write_value(inner)]);
    }
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => json!(["bool", value]),
        Value::I8(number) => json!(["i8", number]),
        Value::I16(number) => json!(["i16", number]),
        Value::I32(number) => json!(["i32", number]),
        Value::I64(number) => json!(["i64", number.to_string()]),
        Value::F32(number) => json!(["f32", format!("{:x}", number.to_bits())]),
        Value::F64(number) => json!(["f64", format!("{:x}", number.to_bits())]),
        Value::Date(days) => json!(["day", days]),
        Value::Time(millis) => json!(["time", millis]),
        Value::Timestamp(millis) => json!(["timestamp", millis.to_string()]),
        Value::Decimal(decimal) => json!(["decimal", decimal.unscaled.to_string(), decimal.scale]),
        Value::String(text) => json!(["string", text.as_str()]),
        Value::Bytes(bytes) => json!(["bytes", hex(bytes.as_bytes())]),
        Value::Payload(_) => unreachable!("Java has no payloads"),
        Value::Array(elements) => json!(["array", elements.iter().map(write_value).collect::<Json>()]),
        Value::Map(map) => {
            let entry = |(key, value): (&Value, &Value)| json!([write_value(key), write_value(value)]);
            json!(["map", map.iter().map(entry).collect::<Json>()])
        }
        Value::Struct(record) => {
            let values: Json = record.values().iter().map(write_value).collect();
            json!(["struct", write_schema(Some(record.schema())), values])
        }
    }
}
