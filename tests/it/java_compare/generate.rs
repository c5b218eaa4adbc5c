//! The n-th case, always the same for the same n: a converter with settings, and something to write or to read.

use std::sync::Arc;

use pipette_api::data::{Decimal, logical};
use pipette_api::{Blob, Datum, Kind, Map, Schema, SchemaBuilder, Struct, Value};
use serde_json::{Value as Json, json};

use super::notation::{hex, write_datum};
use super::{Case, ours};
use crate::support;

const JSON: &str = "org.apache.kafka.connect.json.JsonConverter";
const SIMPLE: &str = "org.apache.kafka.connect.storage.SimpleHeaderConverter";
const TEXT: &str = "org.apache.kafka.connect.storage.StringConverter";

/// Every class takes part as often as the others.
pub(crate) const CLASSES: [&str; 10] = [
    JSON,
    SIMPLE,
    TEXT,
    "org.apache.kafka.connect.converters.ByteArrayConverter",
    "org.apache.kafka.connect.converters.BooleanConverter",
    "org.apache.kafka.connect.converters.ShortConverter",
    "org.apache.kafka.connect.converters.IntegerConverter",
    "org.apache.kafka.connect.converters.LongConverter",
    "org.apache.kafka.connect.converters.FloatConverter",
    "org.apache.kafka.connect.converters.DoubleConverter",
];

const TEXTS: [&str; 14] = [
    "",
    "a",
    "null",
    "true",
    "12",
    "1.5",
    "NaN",
    "\"q\\",
    "tab\t\n\u{1}/",
    "grüße",
    "日本",
    "😀",
    "2020-01-02",
    "[1,2]",
];

/// What header texts and documents are put together from.
const PIECES: [&str; 40] = [
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"",
    "\\",
    " ",
    "1",
    "127",
    "128",
    "32768",
    "2147483648",
    "9223372036854775808",
    "1.5",
    "1e3",
    "1e39",
    "-0.0",
    "007",
    "+5",
    "null",
    "true",
    "false",
    "a",
    "\"a\"",
    "\"b\":",
    "{\"a\":1}",
    "[1,2]",
    "2020-01-02",
    "T03:04:05.678Z",
    "03:04:05.678Z",
    "12:30",
    "1L",
    "0x10",
    "é",
    "😀",
    "\"\\u00e9\"",
    "\\n",
    "-",
];

pub(crate) fn case(number: u64) -> Case {
    let mut dice = Dice(support::dice::Dice(number.wrapping_mul(0xD134_2543_DE82_EF95)));
    let class = CLASSES[usize::try_from(number % 10).unwrap()];
    let settings = if class == JSON { json_settings(&mut dice) } else { json!({}) };
    let task = if dice.one_in(2) {
        json!({"encode": write_datum(&written(&mut dice, class))})
    } else {
        json!({"decode": read(&mut dice, class, &settings).map(|bytes| hex(&bytes))})
    };
    let mut case = json!({"class": class, "settings": settings});
    case.as_object_mut().unwrap().extend(task.as_object().unwrap().clone());
    Case(case)
}

struct Dice(support::dice::Dice);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.0.below(end as u64)).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Extremes, small numbers, and any bits.
    fn bits(&mut self) -> i64 {
        match self.below(4) {
            0 => self.pick(&[0, 1, -1, 127, 128, -128, 32_767, 32_768, i64::from(i32::MAX), i64::MAX, i64::MIN]),
            1 => i64::try_from(self.below(2000)).unwrap() - 1000,
            _ => self.0.bits().cast_signed() >> self.below(64),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "any double will do")]
    fn double(&mut self) -> f64 {
        match self.below(4) {
            0 => self.pick(&[0.0, -0.0, 1.0, 1e7, 1e-3, 9.999e-4, f64::MAX, f64::MIN_POSITIVE, 5e-324, f64::INFINITY]),
            1 => self.pick(&[f64::NAN, f64::NEG_INFINITY, 0.1, 1e23, 2e-3, 123_456_789.0, 1e22]),
            2 => self.bits() as f64 / 1000.0,
            _ => finite(f64::from_bits(self.0.bits())),
        }
    }
}

/// Java keeps one NaN only where it passes it through a register; which one is not a converter's doing.
fn finite(number: f64) -> f64 {
    if number.is_nan() { 1.25 } else { number }
}

fn json_settings(dice: &mut Dice) -> Json {
    let mut settings = json!({"schemas.enable": dice.pick(&["true", "false"])});
    if dice.one_in(3) {
        settings["decimal.format"] = json!(dice.pick(&["NUMERIC", "base64"]));
    }
    if dice.one_in(4) {
        settings["replace.null.with.default"] = json!("false");
    }
    settings
}

fn own_kind(class: &str) -> Option<Kind> {
    Some(match class.rsplit('.').next().unwrap() {
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

fn written(dice: &mut Dice, class: &str) -> Datum {
    let schema = match own_kind(class) {
        Some(kind) if !dice.one_in(6) => Schema::optional(kind),
        _ => schema(dice, 3),
    };
    let value = value(dice, &schema, true);
    match dice.below(10) {
        0..=2 => Datum::schemaless(value),
        // A value of another schema, which most converters refuse. Java cannot tell a date from a time.
        3 if !matches!(value, Value::Date(_) | Value::Time(_) | Value::Timestamp(_)) => {
            Datum::new(self::schema(dice, 2), value)
        }
        _ => Datum::new(schema, value),
    }
}

fn read(dice: &mut Dice, class: &str, settings: &Json) -> Option<Vec<u8>> {
    if dice.one_in(20) {
        return None;
    }
    if own_kind(class).is_some() || class == TEXT && dice.one_in(2) {
        let len = dice.pick(&[0, 1, 1, 2, 2, 3, 4, 4, 4, 8, 8, 8, 9]);
        let mut bytes: Vec<u8> = (0..len).map(|_| dice.0.bits().to_le_bytes()[0]).collect();
        if len == 1 && dice.one_in(2) {
            bytes[0] %= 3;
        }
        return Some(bytes);
    }
    if class == JSON && dice.one_in(2) {
        return Some(document(dice, settings));
    }
    if class == SIMPLE && dice.one_in(3) {
        return Some(collection(dice).into_bytes());
    }
    let pieces = 1 + dice.below(6);
    let text: String =
        (0..pieces).map(|_| if dice.one_in(8) { dice.pick(&TEXTS) } else { dice.pick(&PIECES) }).collect();
    Some(
        match dice.below(3) {
            0 if class == JSON => format!("{{\"schema\":null,\"payload\":{text}}}"),
            1 => format!("{}[{text}]", dice.pick(&["", "", " "])),
            _ => text,
        }
        .into_bytes(),
    )
}

/// A list or map of single values, whose types Connect's parser makes one.
fn collection(dice: &mut Dice) -> String {
    let is_map = dice.one_in(3);
    let single = |dice: &mut Dice| match dice.below(4) {
        0 => dice.pick(&["2020-01-02", "2020-01-02T03:04:05.678Z", "03:04:05.678Z", "null", "true"]).to_owned(),
        1 => dice.pick(&["\"a\"", "\"03:04:05.678Z\"", "1.5", "1e39", "9223372036854775808", "[1]", "{}"]).to_owned(),
        _ => dice.bits().to_string(),
    };
    let parts: Vec<String> = (0..dice.below(4))
        .map(|_| if is_map { format!("{}:{}", single(dice), single(dice)) } else { single(dice) })
        .collect();
    if is_map { format!("{{{}}}", parts.join(",")) } else { format!("[{}]", parts.join(",")) }
}

/// A document that a converter wrote, its payload sometimes of another schema, its bytes sometimes damaged.
fn document(dice: &mut Dice, settings: &Json) -> Vec<u8> {
    let schema = schema(dice, 3);
    let value_schema = if dice.one_in(4) { self::schema(dice, 2) } else { Arc::clone(&schema) };
    let datum = Datum::new(Arc::clone(&value_schema), value(dice, &value_schema, true));
    let Ok(Some(payload)) = ours::encode(JSON, &json!({"schemas.enable": "false"}), &datum) else {
        return b"null".to_vec();
    };
    if settings["schemas.enable"] == "false" {
        return payload;
    }
    let null = Datum::new(SchemaBuilder::like(&schema).optional().build().unwrap(), Value::Null);
    let envelope = ours::encode(JSON, &json!({"replace.null.with.default": "false"}), &null).unwrap().unwrap();
    let mut document = envelope.strip_suffix(b"null}").unwrap().to_vec();
    document.extend_from_slice(&payload);
    document.push(b'}');
    if dice.one_in(10) {
        let at = dice.below(document.len());
        document[at] = dice.pick(b"0{}[]\",: an");
    }
    document
}

fn schema(dice: &mut Dice, depth: usize) -> Arc<Schema> {
    let kinds = if depth == 0 { 13 } else { 19 };
    let mut builder = match dice.below(kinds) {
        at @ 0..=8 => SchemaBuilder::new(Kind::ALL[at]),
        9 => SchemaBuilder::decimal(i32::try_from(dice.below(6)).unwrap()),
        10 => SchemaBuilder::date(),
        11 => SchemaBuilder::time(),
        12 => SchemaBuilder::timestamp(),
        13 | 14 => SchemaBuilder::array(schema(dice, depth - 1)),
        15 => SchemaBuilder::map(Schema::of(Kind::String), schema(dice, depth - 1)),
        16 => SchemaBuilder::map(Schema::of(dice.pick(&[Kind::Int32, Kind::Boolean])), schema(dice, depth - 1)),
        _ => (0..dice.below(5)).fold(SchemaBuilder::record(), |builder, at| {
            builder.field(format!("{}{at}", dice.pick(&["f", "ü", "payload", "a b"])), schema(dice, depth - 1))
        }),
    };
    let plain = builder.clone().build().unwrap();
    builder = builder.nullable(dice.one_in(2));
    let nests = matches!(plain.kind(), Kind::Array | Kind::Map | Kind::Struct);
    if !nests && dice.one_in(6) {
        builder = builder.default(value(dice, &plain, false));
    }
    if plain.name().is_none() && dice.one_in(6) {
        builder = builder.name("com.example.Named").version(3).doc("says \"so\"").param("k", "v").param("a", "b");
    }
    builder.build().unwrap()
}

/// A value of the schema. `nulls`: also where the schema forbids them, for Java's structs can have required fields unset.
fn value(dice: &mut Dice, schema: &Schema, nulls: bool) -> Value {
    if schema.is_optional() && dice.one_in(5) || nulls && dice.one_in(40) {
        return Value::Null;
    }
    let bits = dice.bits();
    match schema.name() {
        Some(logical::DECIMAL) => {
            let scale = schema.param(logical::SCALE).unwrap().parse().unwrap();
            return Value::Decimal(Box::new(Decimal::new(bits, scale)));
        }
        Some(logical::DATE) => return Value::Date(i32::try_from(bits % 100_000).unwrap()),
        Some(logical::TIME) => return Value::Time(i32::try_from(bits.rem_euclid(86_400_000)).unwrap()),
        Some(logical::TIMESTAMP) => return Value::Timestamp(bits % 10_000_000_000_000),
        _ => {}
    }
    plain(dice, schema, nulls, bits)
}

#[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
fn plain(dice: &mut Dice, schema: &Schema, nulls: bool, bits: i64) -> Value {
    match schema.kind() {
        Kind::Int8 => Value::I8(bits as i8),
        Kind::Int16 => Value::I16(bits as i16),
        Kind::Int32 => Value::I32(bits as i32),
        Kind::Int64 => Value::I64(bits),
        Kind::Float32 => Value::F32(dice.double() as f32),
        Kind::Float64 => Value::F64(dice.double()),
        Kind::Boolean => Value::Bool(bits & 1 == 0),
        Kind::String => Value::text(format!("{}{}", dice.pick(&TEXTS), dice.pick(&TEXTS))),
        Kind::Bytes => Value::Bytes(Blob::whole(bits.to_be_bytes()[dice.below(9)..].to_vec()).unwrap()),
        Kind::Array => {
            let element = Arc::clone(schema.value_schema().unwrap());
            Value::Array((0..dice.below(4)).map(|_| value(dice, &element, false)).collect())
        }
        Kind::Map => {
            let (keys, values) = (schema.key_schema().unwrap(), schema.value_schema().unwrap());
            let mut entries: Vec<(Value, Value)> = Vec::new();
            for _ in 0..dice.below(4) {
                let key = value(dice, keys, false);
                if entries.iter().all(|(known, _)| *known != key) {
                    entries.push((key, value(dice, values, false)));
                }
            }
            Value::Map(Box::new(Map::from(entries)))
        }
        Kind::Struct => {
            // A struct that is put into a field is checked.
            let unset = |field: &Schema| nulls && field.kind() != Kind::Struct;
            let fields = schema.fields().iter().map(|field| value(dice, &field.schema, unset(&field.schema)));
            let values = fields.collect();
            let own = SchemaBuilder::like(schema).build().unwrap();
            Value::Struct(Box::new(Struct::from_parts(own, values)))
        }
    }
}
