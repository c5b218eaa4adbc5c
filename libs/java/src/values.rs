//! The type of a text, by the rules of Connect's general value parser: of header values and of `InsertHeader`.
//!
//! Numbers take the smallest integer type, fractions become `float32`, lists and maps the type their parts have in common;
//! what is none of these stays the text. compat: data-model, section 4.

mod temporal;
mod tokens;

use std::sync::Arc;

use pipette_api::data::{Decimal, logical};
use pipette_api::{Datum, Kind, Schema, SchemaBuilder, Text, Value};
use pipette_json::unique;

use self::tokens::{Tokens, trim};
use crate::calendar::DAY_MILLIS;

/// Lists and maps nested deeper than this stay text.
const MAX_NESTING: usize = 100;

/// The schemas of header values; made once, so that caches keyed by schema work.
pub struct Types {
    date: Arc<Schema>,
    time: Arc<Schema>,
    timestamp: Arc<Schema>,
}

/// The milliseconds since 1970 of a text that is a date, a time of the day, or both, in the form of header values.
pub fn time(text: &str) -> Option<i64> {
    temporal::parse(text).as_ref().and_then(crate::millis)
}

/// Text that is not what it looked like; it stays a string.
struct NoValue;

type Parsed = Result<Datum, NoValue>;

impl Default for Types {
    fn default() -> Self {
        let build = |builder: SchemaBuilder| builder.build().unwrap_or_else(|_| unreachable!("no fields to be wrong"));
        Self {
            date: build(SchemaBuilder::date()),
            time: build(SchemaBuilder::time()),
            timestamp: build(SchemaBuilder::timestamp()),
        }
    }
}

impl Types {
    /// The datum of a header text.
    pub fn parse(&self, text: &Text) -> Datum {
        let source = text.as_str();
        let as_text = || Datum::new(Schema::of(Kind::String), Value::String(text.clone()));
        if trim(source).is_empty() {
            return as_text();
        }
        self.value(&mut Tokens::new(source), None).unwrap_or_else(|NoValue| as_text())
    }

    /// The next value; `depth` is that of the list or map around it.
    fn value(&self, tokens: &mut Tokens<'_>, depth: Option<usize>) -> Parsed {
        if tokens.at_end() {
            return Ok(Datum::NULL);
        }
        if depth.is_some() && tokens.take("\"") {
            return Ok(self.quoted(tokens));
        }
        for (word, value) in [("null", Value::Null), ("true", Value::Bool(true)), ("false", Value::Bool(false))] {
            let mut ahead = *tokens;
            // Outside of lists and maps such a word stands alone: "true}" is text.
            if ahead.take(word) && (depth.is_some() || ahead.at_end()) {
                *tokens = ahead;
                let schema = if value.is_null() { None } else { Some(Schema::of(Kind::Boolean)) };
                return Ok(Datum { schema, value });
            }
        }
        let inner = depth.map_or(0, |depth| depth + 1);
        for (bracket, is_list) in [("[", true), ("{", false)] {
            if tokens.take(bracket) {
                if inner == MAX_NESTING {
                    return Err(NoValue);
                }
                return if is_list { self.list(tokens, inner) } else { self.map(tokens, inner) };
            }
        }
        let token = tokens.next();
        let trimmed = trim(token);
        // Text after the first number and a delimiter is dropped, as in Java.
        match trimmed.as_bytes().first() {
            Some(b'0'..=b'9') => match self.temporal_of(trimmed, tokens) {
                Some(datum) => Ok(datum),
                None => number(trimmed),
            },
            Some(b'+' | b'-') => number(trimmed),
            None if depth.is_some() => Ok(Datum::new(Schema::of(Kind::String), Value::text(token))),
            _ => Err(NoValue),
        }
    }

    /// A date or time. One with colons is five tokens long.
    fn temporal_of(&self, trimmed: &str, tokens: &mut Tokens<'_>) -> Option<Datum> {
        let mut ahead = *tokens;
        // Blanks around the first of them are ignored, those further on are not.
        if let Some(rest) = ahead.next_of(4)
            && let Some(value) = temporal::parse(&[trimmed, rest].concat())
        {
            *tokens = ahead;
            return Some(self.temporal(value));
        }
        temporal::parse(trimmed).map(|value| self.temporal(value))
    }

    fn temporal(&self, value: Value) -> Datum {
        let schema = match value {
            Value::Date(_) => &self.date,
            Value::Time(_) => &self.time,
            _ => &self.timestamp,
        };
        Datum::new(Arc::clone(schema), value)
    }

    /// A string inside of a list or map, its backslashes kept.
    fn quoted(&self, tokens: &mut Tokens<'_>) -> Datum {
        let mut content = String::new();
        while !tokens.at_end() && !tokens.take_exactly("\"") {
            content.push_str(tokens.next());
        }
        match temporal::parse(&content) {
            Some(value) => self.temporal(value),
            None => Datum::new(Schema::of(Kind::String), Value::text(content)),
        }
    }

    fn list(&self, tokens: &mut Tokens<'_>, depth: usize) -> Parsed {
        let mut values = Vec::new();
        let mut common = Common::default();
        while !tokens.at_end() {
            if tokens.take("]") {
                return list_of(common.schema, values);
            }
            if tokens.take(",") {
                return Err(NoValue);
            }
            let element = self.value(tokens, Some(depth))?;
            common.merge(element.schema);
            values.push(element.value);
            let mut ahead = *tokens;
            if !ahead.take("]") && !tokens.take(",") {
                return Err(NoValue);
            }
        }
        Err(NoValue)
    }

    fn map(&self, tokens: &mut Tokens<'_>, depth: usize) -> Parsed {
        let mut entries = Vec::new();
        let (mut keys, mut values) = (Common::default(), Common::default());
        while !tokens.at_end() {
            if tokens.take("}") {
                return map_of(keys.schema, values.schema, entries);
            }
            if tokens.take(",") {
                return Err(NoValue);
            }
            let key = self.value(tokens, Some(depth))?;
            if key.value.is_null() || !tokens.take(":") {
                return Err(NoValue);
            }
            let value = self.value(tokens, Some(depth))?;
            // The comma may be missing.
            tokens.take(",");
            keys.merge(key.schema);
            values.merge(value.schema);
            entries.push((key.value, value.value));
        }
        Err(NoValue)
    }
}

fn list_of(element: Option<Arc<Schema>>, values: Vec<Value>) -> Parsed {
    let values = match &element {
        Some(schema) => values.into_iter().map(|value| align(value, schema)).collect::<Result<Vec<_>, _>>()?,
        None => values,
    };
    let schema = SchemaBuilder::new(Kind::Array).element(element).build().map_err(|_| NoValue)?;
    Ok(Datum::new(schema, Value::Array(values.into())))
}

fn map_of(key: Option<Arc<Schema>>, value: Option<Arc<Schema>>, entries: Vec<(Value, Value)>) -> Parsed {
    let value = value.filter(|_| key.is_some());
    // A value whose key comes again fits or not without consequence, though its type counted.
    let mut map = unique(entries);
    if let Some(key) = &key {
        let align_both = |(k, v): (&Value, &Value)| {
            let v = v.clone();
            let v = if let Some(value) = &value { align(v, value)? } else { v };
            Ok((align(k.clone(), key)?, v))
        };
        map = unique(map.iter().map(align_both).collect::<Result<_, NoValue>>()?);
    }
    let schema = SchemaBuilder::new(Kind::Map).key(key).element(value).build().map_err(|_| NoValue)?;
    Ok(Datum::new(schema, Value::Map(Box::new(map))))
}

/// The type that the parts of a list or map have in common.
#[derive(Default)]
struct Common {
    schema: Option<Arc<Schema>>,
    broken: bool,
}

impl Common {
    fn merge(&mut self, next: Option<Arc<Schema>>) {
        let Some(next) = next.filter(|_| !self.broken) else { return };
        self.schema = match self.schema.take() {
            None => Some(next),
            Some(known) => widest(known, next),
        };
        self.broken = self.schema.is_none();
    }
}

fn rank(kind: Kind) -> Option<usize> {
    [Kind::Int8, Kind::Int16, Kind::Int32, Kind::Int64, Kind::Float32, Kind::Float64].iter().position(|k| *k == kind)
}

fn widest(known: Arc<Schema>, next: Arc<Schema>) -> Option<Arc<Schema>> {
    if known.kind() == next.kind() {
        return Some(next);
    }
    let (of_known, of_next) = (rank(known.kind())?, rank(next.kind())?);
    Some(if of_known > of_next { known } else { next })
}

/// A value as one of the common type. A null has no place beside values that have a type.
fn align(value: Value, schema: &Schema) -> Result<Value, NoValue> {
    if value.is_null() {
        return Err(NoValue);
    }
    let integer = match value {
        Value::I8(number) => Some(i64::from(number)),
        Value::I16(number) => Some(i64::from(number)),
        Value::I32(number) => Some(i64::from(number)),
        Value::I64(number) => Some(number),
        _ => None,
    };
    if let Some(name) = schema.name() {
        return temporal_part(name, value, integer);
    }
    if matches!(value, Value::Date(_) | Value::Time(_) | Value::Timestamp(_)) {
        return Err(NoValue);
    }
    Ok(match (schema.kind(), integer) {
        (Kind::Int16, Some(number)) => i16::try_from(number).map_or(value, Value::I16),
        (Kind::Int32, Some(number)) => i32::try_from(number).map_or(value, Value::I32),
        (Kind::Int64, Some(number)) => Value::I64(number),
        // Java's widening conversions round, too.
        #[allow(clippy::cast_precision_loss)]
        (Kind::Float32, Some(number)) => Value::F32(number as f32),
        #[allow(clippy::cast_precision_loss)]
        (Kind::Float64, Some(number)) => Value::F64(number as f64),
        (Kind::Float64, None) => match value {
            Value::F32(number) => Value::F64(f64::from(number)),
            other => other,
        },
        _ => value,
    })
}

/// A small integer beside dates or times counts their days or milliseconds.
fn temporal_part(name: &str, value: Value, integer: Option<i64>) -> Result<Value, NoValue> {
    let Some(number) = integer else { return Ok(value) };
    match name {
        logical::DATE => i32::try_from(number).map(Value::Date).map_err(|_| NoValue),
        logical::TIME if (0..=DAY_MILLIS).contains(&number) => {
            i32::try_from(number).map(Value::Time).map_err(|_| NoValue)
        }
        logical::TIMESTAMP => Ok(Value::Timestamp(number)),
        _ => Err(NoValue),
    }
}

/// A number in the smallest type that holds it.
fn number(token: &str) -> Parsed {
    let decimal = pipette_json::decimal_from_text(token).ok_or(NoValue)?;
    if let Some(datum) = whole_number(token, &decimal) {
        return Ok(datum);
    }
    // Digits without a point and without an exponent are kept to the last one.
    if decimal.scale == 0 {
        return as_decimal(decimal);
    }
    let float: f32 = token.parse().map_err(|_| NoValue)?;
    if float.is_finite() {
        return Ok(Datum::new(Schema::of(Kind::Float32), Value::F32(float)));
    }
    let double: f64 = token.parse().map_err(|_| NoValue)?;
    if double.is_finite() {
        return Ok(Datum::new(Schema::of(Kind::Float64), Value::F64(double)));
    }
    as_decimal(decimal)
}

fn as_decimal(decimal: Decimal) -> Parsed {
    let schema = SchemaBuilder::decimal(decimal.scale).build().map_err(|_| NoValue)?;
    Ok(Datum::new(schema, Value::Decimal(Box::new(decimal))))
}

/// An integer of at most 19 digits, however it is written. Numbers of another size are never expanded: `1e1000000000`
/// would take a gigabyte.
fn whole_number(token: &str, decimal: &Decimal) -> Option<Datum> {
    let digits = decimal.unscaled.magnitude().to_string();
    let significant = digits.trim_end_matches('0');
    let length = |digits: &str| i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let point = length(&digits) - i64::from(decimal.scale);
    if significant.is_empty() {
        return Some(Datum::new(Schema::of(Kind::Int8), Value::I8(0)));
    }
    if !(1..=19).contains(&point) || length(significant) > point {
        return None;
    }
    let sign = if token.starts_with('-') { "-" } else { "" };
    let width = usize::try_from(point).unwrap_or(0);
    let number: i128 = format!("{sign}{significant:0<width$}").parse().ok()?;
    let Ok(number) = i64::try_from(number) else { return as_decimal(decimal.clone()).ok() };
    let (kind, value) = if let Ok(number) = i8::try_from(number) {
        (Kind::Int8, Value::I8(number))
    } else if let Ok(number) = i16::try_from(number) {
        (Kind::Int16, Value::I16(number))
    } else if let Ok(number) = i32::try_from(number) {
        (Kind::Int32, Value::I32(number))
    } else {
        (Kind::Int64, Value::I64(number))
    };
    Some(Datum::new(Schema::of(kind), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Datum {
        Types::default().parse(&Text::from(text))
    }

    fn shown(text: &str) -> String {
        let datum = parse(text);
        let schema = datum.schema.as_ref().map_or("none".to_owned(), |schema| {
            let last = |schema: &Schema| schema.name().and_then(|name| name.rsplit('.').next()).map(str::to_owned);
            let named = |schema: &Schema| last(schema).unwrap_or_else(|| schema.kind().name().to_owned());
            let part = |part: Option<&Arc<Schema>>| part.map_or_else(|| "null".to_owned(), |part| named(part));
            match schema.kind() {
                Kind::Array => format!("array {}", part(schema.value_schema())),
                Kind::Map => format!("map {} {}", part(schema.key_schema()), part(schema.value_schema())),
                _ => named(schema),
            }
        });
        let mut out = Vec::new();
        pipette_json::write(&datum.value, &mut out).unwrap();
        format!("{schema} {}", String::from_utf8(out).unwrap())
    }

    #[test]
    fn recorded_answers_of_java() {
        for (text, expected) in [
            ("null", "none null"),
            ("null}", "string \"null}\""),
            (" true ", "boolean true"),
            ("true,", "string \"true,\""),
            ("[03:04:05.678Z,90000000]", "string \"[03:04:05.678Z,90000000]\""),
            ("[2020-01-02,-5]", "array Date [18263,-5]"),
            ("[03:04:05.678Z,-1]", "string \"[03:04:05.678Z,-1]\""),
            ("[03:04:05.678Z,5]", "array Time [11045678,5]"),
            ("[2020-01-02,1.5]", "string \"[2020-01-02,1.5]\""),
            ("{1:true,1.5:2}", "map float32 null [[1.0,true],[1.5,2]]"),
            ("922337203685477580803", "Decimal 922337203685477580803"),
            ("1", "int8 1"),
            ("127", "int8 127"),
            ("128", "int16 128"),
            ("32768", "int32 32768"),
            ("2147483648", "int64 2147483648"),
            ("1.0", "int8 1"),
            ("100.00", "int8 100"),
            ("1e3", "int16 1000"),
            ("-0.0", "int8 0"),
            ("007", "int8 7"),
            ("+5", "int8 5"),
            ("1 ", "int8 1"),
            ("\t5", "int8 5"),
            ("1.5", "float32 1.5"),
            ("1.10", "float32 1.1"),
            ("3.14159265358979", "float32 3.1415927"),
            ("1e39", "float64 1.0E39"),
            ("9223372036854775808", "Decimal 9223372036854775808"),
            ("1e400", "Decimal 1E+400"),
            ("1e1000000000", "Decimal 1E+1000000000"),
            ("1e-400", "float32 0.0"),
            ("1,2", "int8 1"),
            ("12:30", "int8 12"),
            ("1:2:3", "int8 1"),
            ("2020-01-02", "Date 18263"),
            ("2020-13-45", "Date 18672"),
            ("2020-01-02T03:04:05.678Z", "Timestamp 1577934245678"),
            ("03:04:05.678Z", "Time 11045678"),
            ("[1,2,3]", "array int8 [1,2,3]"),
            ("[ 1 , 2 ]", "array int8 [1,2]"),
            ("[1,2.5]", "array float32 [1.0,2.5]"),
            ("[1,2.5,\"a\"]", "array null [1,2.5,\"a\"]"),
            ("[1,true]", "array null [1,true]"),
            ("[]", "array null []"),
            ("[null]", "array null [null]"),
            ("{}", "map null null {}"),
            ("{\"a\":1}", "map string int8 {\"a\":1}"),
            ("{\"a\":1,\"b\":\"x\"}", "map string null {\"a\":1,\"b\":\"x\"}"),
            ("{\"a\":null}", "map string null {\"a\":null}"),
            ("{\"a\":1,}", "map string int8 {\"a\":1}"),
            ("{\"a\":1 \"b\":2}", "map string int8 {\"a\":1,\"b\":2}"),
            ("[\"a\\\"b\"]", "array string [\"a\\\\\\\"b\"]"),
            ("{\"a\":{\"b\":1}}", "map string map {\"a\":{\"b\":1}}"),
            ("[[1],[2]]", "array array [[1],[2]]"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn javas_answers_to_odd_texts() {
        for (text, expected) in [
            ("-1e-400", "float32 -0.0"),
            ("23:59:60.000Z", "Time 86400000"),
            ("[00:00: 0.-01Z]", "array Time [-1]"),
            ("2020--1- 2", "Date 18202"),
            ("{1:null,1:2}", "map int8 int8 [[1,2]]"),
            ("{1:1,1:null}", "string \"{1:1,1:null}\""),
            ("03:04:05.678Z ", "int8 3"),
            ("[ 03 :04:05.678Z]", "array Time [11045678]"),
            ("[03:04:05.678Z ]", "string \"[03:04:05.678Z ]\""),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_recognised_stays_the_text() {
        for text in [
            "",
            " ",
            "True",
            "1 2",
            "1L",
            "0x10",
            "1_000",
            "5%",
            "192.168.0.1",
            "NaN",
            "a,b",
            "key:value",
            "\"quoted\"",
            "123e4567-e89b-12d3-a456-426614174000",
            "http://host:80/x",
            "2020-01-02T03:04:05Z",
            "[null,1]",
            "[1,,2]",
            "[1,2",
            "{a:1}",
            "{\"a\" 1}",
            "1e10000000000",
            "-",
            "+",
        ] {
            assert_eq!(parse(text), Datum::new(Schema::of(Kind::String), Value::text(text)), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(parse(&deep).value, Value::text(deep.as_str()));
    }
}
