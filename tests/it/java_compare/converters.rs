//! All converters, in every place where they can stand: what they make of values, and of bytes.

mod catalogue;
mod header_text;
mod ours;

pub(crate) use self::catalogue::NOT_COMPARED;

use std::sync::{Arc, LazyLock};

use pipette_api::{Datum, Kind, Schema, SchemaBuilder, Value};
use serde_json::{Value as Json, json};

use super::chance::Chance;
use super::comparison::{Case, Comparison};
use super::json_text;
use super::notation::{hex, write_datum};
use super::settings::Sets;
use super::values::{self, Nulls};

pub(crate) static CONVERTERS: Comparison = Comparison {
    name: "converters",
    main: "Converters",
    case,
    ours: ours::answer,
    deviations: catalogue::DEVIATIONS,
    sources: &["src/convert"],
};

/// Each takes part as often as the others; `JsonConverter` twice, since it is asked for headers too.
pub(crate) const MEMBERS: [&str; 11] = [
    "JsonConverter",
    "JsonConverter-header",
    "SimpleHeaderConverter",
    "StringConverter",
    "ByteArrayConverter",
    "BooleanConverter",
    "ShortConverter",
    "IntegerConverter",
    "LongConverter",
    "FloatConverter",
    "DoubleConverter",
];

static SETTINGS: LazyLock<Vec<Sets>> = LazyLock::new(|| {
    let table = include_str!("../../java/settings/converters.txt");
    MEMBERS.iter().map(|member| Sets::of(table, member.trim_end_matches("-header"))).collect()
});

fn class_of(member: &str) -> String {
    let name = member.trim_end_matches("-header");
    let package = match name {
        "JsonConverter" => "json",
        "SimpleHeaderConverter" | "StringConverter" => "storage",
        _ => "converters",
    };
    format!("org.apache.kafka.connect.{package}.{name}")
}

fn case(number: u64) -> Case {
    let mut chance = Chance::of(number);
    let index = usize::try_from(number % 11).unwrap();
    let member = MEMBERS[index];
    let place = match member {
        "JsonConverter-header" | "SimpleHeaderConverter" => "header",
        "JsonConverter" => chance.pick(&["key", "value"]),
        _ => chance.pick(&["key", "value", "header"]),
    };
    let mut task = json!({"class": class_of(member), "as": place, "settings": SETTINGS[index].pick(&mut chance)});
    if chance.one_in(2) {
        let mut written = write_datum(&written(&mut chance, member));
        if chance.one_in(20) {
            halve(&mut chance, &mut written);
        }
        task["encode"] = written;
    } else {
        let bytes = if chance.one_in(20) { None } else { Some(read(&mut chance, member, &task["settings"])) };
        task["decode"] = json!(bytes.map(|bytes| hex(&bytes)));
    }
    Case { member: member.to_owned(), task }
}

fn own_kind(member: &str) -> Option<Kind> {
    Some(match member {
        "ByteArrayConverter" => Kind::Bytes,
        "BooleanConverter" => Kind::Boolean,
        "ShortConverter" => Kind::Int16,
        "IntegerConverter" => Kind::Int32,
        "LongConverter" => Kind::Int64,
        "FloatConverter" => Kind::Float32,
        "DoubleConverter" => Kind::Float64,
        _ => return None,
    })
}

fn written(chance: &mut Chance, member: &str) -> Datum {
    let schema = match own_kind(member) {
        Some(kind) if !chance.one_in(5) => Schema::optional(kind),
        _ => values::schema(chance, 3),
    };
    let mut value = values::value(chance, &schema, Nulls::Anywhere);
    match chance.below(12) {
        0..=2 => Datum::schemaless(value),
        3 if own_kind(member).is_none() => {
            let depth = if chance.one_in(2) { 990 + chance.below(20) } else { chance.below(40) };
            value = values::nested(chance, depth, value);
            Datum::schemaless(value)
        }
        // A value of another schema, which most converters refuse.
        4 => Datum::new(values::schema(chance, 2), value),
        _ => Datum::new(schema, value),
    }
}

fn read(chance: &mut Chance, member: &str, settings: &Json) -> Vec<u8> {
    match member {
        "JsonConverter" | "JsonConverter-header" => {
            let envelope = settings["schemas.enable"] != "false";
            let bare = !envelope || settings["schema.content"].as_str().is_some_and(|text| text.starts_with('{'));
            let text = document(chance, !bare);
            json_text::encoded(chance, &text)
        }
        "SimpleHeaderConverter" => header_text::any(chance),
        "StringConverter" if chance.one_in(2) => {
            let text = chance.text() + &chance.text();
            json_text::encoded(chance, &text)
        }
        _ => {
            let count = chance.pick(&[0, 1, 1, 2, 2, 3, 4, 4, 4, 8, 8, 8, 9]);
            let mut bytes = chance.bytes(count);
            if count == 1 && chance.one_in(2) {
                bytes[0] %= 3;
            }
            bytes
        }
    }
}

fn document(chance: &mut Chance, envelope: bool) -> String {
    if chance.one_in(3000) {
        return json_text::long_name(chance);
    }
    let (schema, payload) = match chance.below(20) {
        0 => ("null".to_owned(), json_text::deep(chance)),
        1 if envelope => {
            let levels = if chance.one_in(2) { 95 + chance.below(20) } else { 2 + chance.below(90) };
            json_text::deep_schema(chance, levels)
        }
        2..=4 => ("null".to_owned(), json_text::value(chance, 3)),
        5..=9 => return rewritten(chance, envelope),
        _ => json_text::typed(chance, 3),
    };
    if !envelope {
        return payload;
    }
    match chance.below(30) {
        0 => format!("{{\"payload\":{payload},\"schema\":{schema}}}"),
        1 => format!("{{\"schema\":{schema},\"payload\":1,\"payload\":{payload}}}"),
        2 => format!("{{\"schema\":{schema},\"payload\":{payload},\"more\":{payload}}}"),
        3 => format!("{{\"schema\":{schema}}}"),
        4 => format!("{{\"schema\":{{\"type\":\"int8\"}},\"payload\":{payload},\"schema\":{schema}}}"),
        5 => payload,
        6 => format!("{{\"schema\":{},\"payload\":{payload}}}", json_text::value(chance, 1)),
        _ => format!("{{\"schema\":{schema},\"payload\":{payload}}}"),
    }
}

/// A document that our converter wrote, its payload sometimes of another schema.
fn rewritten(chance: &mut Chance, envelope: bool) -> String {
    let schema = values::schema(chance, 3);
    let other = if chance.one_in(4) { values::schema(chance, 2) } else { Arc::clone(&schema) };
    let value = values::value(chance, &other, Nulls::Anywhere);
    let written = write_datum(&Datum::new(other, value));
    let format = chance.pick(&["BASE64", "NUMERIC"]);
    let text = |bytes: Option<Vec<u8>>| bytes.map_or("null".to_owned(), |bytes| String::from_utf8(bytes).unwrap());
    let payload = text(ours::json_of(&json!({"schemas.enable": "false", "decimal.format": format}), &written));
    if !envelope {
        return payload;
    }
    let null = Datum::new(SchemaBuilder::like(&schema).optional().build().unwrap(), Value::Null);
    let settings = json!({"replace.null.with.default": "false", "decimal.format": format});
    let document = text(ours::json_of(&settings, &write_datum(&null)));
    match document.strip_suffix("null}") {
        Some(start) => format!("{start}{payload}}}"),
        None => payload,
    }
}

/// Puts half of a surrogate pair into strings, as only Java can.
fn halve(chance: &mut Chance, json: &mut Json) {
    match json {
        Json::Array(parts) if parts.len() == 2 && parts[0] == "string" && parts[1].is_string() => {
            let half = chance.pick(&[0xD83D, 0xDE00]);
            let mut units: Vec<u16> = parts[1].as_str().unwrap().encode_utf16().collect();
            let at = chance.below(units.len() + 1);
            units.insert(at, half);
            let bytes: Vec<u8> = units.into_iter().flat_map(u16::to_be_bytes).collect();
            parts[1] = json!({"utf16": hex(&bytes)});
        }
        Json::Array(parts) => parts.iter_mut().for_each(|part| halve(chance, part)),
        Json::Object(members) => {
            members.iter_mut().filter(|(name, _)| *name == "value").for_each(|(_, member)| halve(chance, member));
        }
        _ => {}
    }
}

/// What the live run compares with Java is what the table says.
#[test]
fn settings_are_refused_where_the_table_says_so() {
    for (member, sets) in MEMBERS.iter().zip(&*SETTINGS) {
        let place = if member.contains("eader") { "header" } else { "value" };
        let refused = |settings: &Json| {
            let task = json!({"class": class_of(member), "as": place, "settings": settings, "decode": null});
            ours::answer(&task).get("refused").is_some()
        };
        for settings in &sets.accepted {
            assert!(!refused(settings), "{member}: {settings}");
        }
        for settings in &sets.refused {
            assert!(refused(settings), "{member}: {settings}");
        }
    }
}
