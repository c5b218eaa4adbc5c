//! What each transformation costs on a record of 15 members, and on one of 150, beside the bare function it calls:
//! `cargo run --profile perf -p transform-standard --example speed_of_steps`. The limits are those of the table; one that is
//! passed ends the program with 1.

#![allow(
    clippy::print_stdout,
    clippy::panic,
    reason = "a program that prints figures and ends on a mistake of its own"
)]

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use mimalloc::MiMalloc;
use pipette_api::{
    ConfigMap, Datum, Kind, Map, Plugin, Record, Schema, SchemaBuilder, Settings, Struct, Text, Transform, Value,
};
use pipette_java::DateFormat;
use transform_standard::PLUGINS;

/// The worker's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const DOCUMENT: &str =
    r#"{"id":4711,"name":"Ann Example","tags":["a","b"],"in":{"x":1.5,"y":true},"note":"some text of a person"}"#;
const PATTERN: &str = "yyyy-MM-dd HH:mm:ss.SSS";

/// Records that are made at once, so that making them is not measured; of those that are ten times as large a tenth, so that
/// they are as near at hand.
const BATCH: usize = 2000;
const ROUNDS: usize = 40;

/// What a step may cost.
enum Limit {
    /// Nanoseconds.
    Nanos(f64),
    /// As a multiple of a bare function, besides what a step costs that only moves a field.
    Times(f64, fn() -> f64),
    /// It is only shown.
    None,
}

/// What is measured: plugin, settings, limit.
type Row = (&'static str, &'static [(&'static str, &'static str)], Limit);

fn rows() -> Vec<Row> {
    let move_limit = || Limit::Nanos(150.0);
    let times = |bare| Limit::Times(1.5, bare);
    vec![
        ("ReplaceField$Value", &[("exclude", "f7")], move_limit()),
        ("ReplaceField$Value", &[("renames", "f7:seven")], move_limit()),
        ("InsertField$Value", &[("static.field", "s"), ("static.value", "x")], move_limit()),
        ("MaskField$Value", &[("fields", "f7")], move_limit()),
        ("Cast$Value", &[("spec", "f1:int64")], move_limit()),
        ("HeaderFrom$Value", &[("fields", "f7"), ("headers", "h"), ("operation", "move")], move_limit()),
        ("RenameByRegex$Value", &[("regex", "f7"), ("replacement", "seven")], move_limit()),
        ("Coalesce$Value", &[("fields", "f8,f6"), ("target.field", "c")], move_limit()),
        ("ExtractField$Value", &[("field", "f7")], move_limit()),
        ("HoistField$Value", &[("field", "all")], move_limit()),
        ("SetSchemaMetadata$Value", &[("schema.name", "n")], move_limit()),
        ("ValueToKey", &[("fields", "f7")], move_limit()),
        ("DropHeaders", &[("headers", "h")], move_limit()),
        ("InsertHeader", &[("header", "h"), ("value.literal", "x")], move_limit()),
        ("RegexRouter", &[("regex", "(.*)"), ("replacement", "lab.$1")], move_limit()),
        ("Flatten$Value", &[], Limit::None),
        (
            "TimestampConverter$Value",
            &[("field", "when"), ("target.type", "string"), ("format", PATTERN)],
            times(format_date),
        ),
        (
            "TimestampConverter$Value",
            &[("field", "text"), ("target.type", "Timestamp"), ("format", PATTERN)],
            times(parse_date),
        ),
        ("TimestampRouter", &[], times(format_day)),
        ("HashField$Value", &[("fields", "f7"), ("secret", SECRET)], times(sign)),
        ("JsonToStruct$Value", &[("fields", "json")], times(parse_json)),
        ("StructToJson$Value", &[("fields", "in")], times(write_json)),
    ]
}

fn main() -> ExitCode {
    println!(
        "{:<28} {:>8} {:>8} {:>8} {:>10} {:>10}  settings",
        "ns per record", "struct", "map", "limit", "struct 150", "map 150"
    );
    let mut passed = false;
    for (name, settings, limit) in rows() {
        let [of_struct, of_map] = [true, false].map(|with_schema| step(name, settings, &record(with_schema, 0), BATCH));
        let [wide, wide_map] =
            [true, false].map(|with_schema| step(name, settings, &record(with_schema, 135), BATCH / 10));
        let limit = match limit {
            Limit::Nanos(nanos) => Some(nanos),
            Limit::Times(times, bare) => Some(times * bare() + 150.0),
            Limit::None => None,
        };
        let over = limit.is_some_and(|limit| of_struct > limit);
        passed |= over;
        let shown = limit.map_or("-".into(), |limit| format!("{limit:.0}"));
        let mark = if over { "  PASSED THE LIMIT" } else { "" };
        println!(
            "{name:<28} {of_struct:>8.0} {of_map:>8.0} {shown:>8} {wide:>10.0} {wide_map:>10.0}  {settings:?}{mark}"
        );
    }
    ExitCode::from(u8::from(passed))
}

/// Nanoseconds of a step, the fastest round; `NaN` where it has no such form.
fn step(name: &str, settings: &[(&str, &str)], original: &Record, batch: usize) -> f64 {
    let mut transform = made(name, settings);
    if transform.apply(&mut original.clone()).is_err() {
        return f64::NAN;
    }
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let mut records = vec![original.clone(); batch];
        let began = Instant::now();
        for record in &mut records {
            let _ = black_box(transform.apply(black_box(record)));
        }
        best = best.min(per_record(began, batch));
    }
    best
}

#[allow(clippy::cast_precision_loss, reason = "a number of nanoseconds")]
fn per_record(began: Instant, batch: usize) -> f64 {
    began.elapsed().as_nanos() as f64 / batch as f64
}

fn bare(mut call: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        for _ in 0..BATCH {
            call();
        }
        best = best.min(per_record(began, BATCH));
    }
    best
}

fn format_date() -> f64 {
    format_by(PATTERN)
}

fn format_day() -> f64 {
    format_by("yyyyMMdd")
}

fn format_by(pattern: &str) -> f64 {
    let Ok(format) = DateFormat::new(pattern) else { return f64::NAN };
    let mut text = String::new();
    bare(|| {
        text.clear();
        format.format(black_box(1_483_425_001_864), &mut text);
        black_box(Text::from(text.as_str()));
    })
}

fn parse_date() -> f64 {
    let Ok(format) = DateFormat::new(PATTERN) else { return f64::NAN };
    bare(|| _ = black_box(format.parse(black_box("2017-01-03 06:30:01.864"))))
}

fn sign() -> f64 {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    bare(|| _ = black_box(ring::hmac::sign(&key, black_box(b"some text of a field"))))
}

fn parse_json() -> f64 {
    let blob = Text::from(DOCUMENT).to_blob();
    bare(|| drop(black_box(pipette_json::parse(black_box(&blob)))))
}

fn write_json() -> f64 {
    let value = Value::Struct(Box::new(inner()));
    let mut text = Vec::new();
    bare(|| {
        text.clear();
        let _ = pipette_json::write(black_box(&value), &mut text);
        black_box(Text::from(String::from_utf8_lossy(&text).as_ref()));
    })
}

fn made(name: &str, settings: &[(&str, &str)]) -> Box<dyn Transform> {
    let config: ConfigMap = settings.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    for plugin in PLUGINS {
        if let Plugin::Transform(plugin) = plugin
            && plugin.info.answers_to(name)
        {
            match (plugin.make)(Settings::new(config, plugin.info.config)) {
                Ok(made) => return made,
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }
    panic!("no {name}")
}

fn inner() -> Struct {
    let schema =
        build(SchemaBuilder::record().field("x", Schema::of(Kind::Float64)).field("y", Schema::optional(Kind::String)));
    Struct::from_parts(schema, [Value::F64(1.5), Value::text("some text inside of a struct")])
}

fn build(builder: SchemaBuilder) -> Arc<Schema> {
    builder.build().unwrap_or_else(|error| panic!("{error}"))
}

/// Fifteen members: ten plain ones, a time in two forms, JSON text, a struct, and a flag; and `more` numbers behind them.
fn record(with_schema: bool, more: usize) -> Record {
    let inner = inner();
    let mut members: Vec<(String, Arc<Schema>, Value)> = (0..10)
        .map(|number| match number % 3 {
            1 => (format!("f{number}"), Schema::of(Kind::Int32), Value::I32(number)),
            _ => (format!("f{number}"), Schema::optional(Kind::String), Value::text("some text of a field")),
        })
        .collect();
    members.push(("when".into(), build(SchemaBuilder::timestamp()), Value::Timestamp(1_483_425_001_864)));
    members.push(("text".into(), Schema::of(Kind::String), Value::text("2017-01-03 06:30:01.864")));
    members.push(("json".into(), Schema::of(Kind::String), Value::text(DOCUMENT)));
    members.push(("in".into(), Arc::clone(inner.schema()), Value::Struct(Box::new(inner))));
    members.push(("flag".into(), Schema::of(Kind::Boolean), Value::Bool(true)));
    members.extend((0..more).map(|number| (format!("n{number}"), Schema::of(Kind::Float64), Value::F64(0.5))));
    let datum = if with_schema {
        let builder = members.iter().fold(SchemaBuilder::record(), |builder, (name, schema, _)| {
            builder.field(name.as_str(), Arc::clone(schema))
        });
        let schema = build(builder);
        let values = members.into_iter().map(|(_, _, value)| value).collect::<Vec<_>>();
        Datum::new(Arc::clone(&schema), Value::Struct(Box::new(Struct::from_parts(schema, values))))
    } else {
        let members = members.into_iter().map(|(name, _, value)| (Value::text(name), value));
        Datum::schemaless(Value::Map(Box::new(members.collect::<Map>())))
    };
    let mut record = Record::new("labs.results".into(), datum);
    record.timestamp = Some(1_483_425_001_864);
    record
}
