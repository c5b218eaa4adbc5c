//! TimestampConverter: turns times into another form: text, a number, Date, Time or Timestamp.

use std::sync::Arc;

use pipette_api::config::{Importance, checks};
use pipette_api::data::logical;
use pipette_api::{
    ConfigDef, ConnectError, Key, Kind, Record, Result, Schema, SchemaBuilder, SchemaCache, Settings, Side, Transform,
    Value, Verdict,
};
use pipette_java::DateFormat;
use pipette_java::calendar::DAY_MILLIS;

use crate::fields::{self, Change, Named, REPLACE_NULL, java_class};

pub(crate) const ABOUT: &str = "Turns a time into another form: text, a number, Date, Time or Timestamp.";

static TARGET: Key<String> =
    Key::new("target.type", "The form to turn it into.").importance(Importance::High).recommended(FORMS).check(target);
static FIELD: Key<String> = Key::new("field", "The field with the time; empty means the whole key or value.")
    .default("")
    .importance(Importance::High);
static FORMAT: Key<String> =
    Key::new("format", "How text is written and read: a pattern of Java's SimpleDateFormat, in UTC.")
        .default("")
        .check(pattern);
static PRECISION: Key<String> = Key::new("unix.precision", "What numbers count since 1970.")
    .default("milliseconds")
    .importance(Importance::Low)
    .recommended(UNITS)
    .check(precision);

pub(crate) static CONFIG: ConfigDef =
    ConfigDef::new(&[&FIELD.info, &TARGET.info, &FORMAT.info, &PRECISION.info, &REPLACE_NULL.info])
        .rule(text_has_a_format);

const FORMS: &[&str] = &["string", "unix", "Date", "Time", "Timestamp"];
const UNITS: &[&str] = &["nanoseconds", "microseconds", "milliseconds", "seconds"];

fn target(text: Option<&str>) -> std::result::Result<(), String> {
    checks::one_of(text, FORMS)
}

fn precision(text: Option<&str>) -> std::result::Result<(), String> {
    checks::one_of(text, UNITS)
}

/// Blank means none.
fn pattern(text: Option<&str>) -> std::result::Result<(), String> {
    crate::date_pattern(text.filter(|text| !text.is_empty()))
}

fn text_has_a_format(settings: &Settings) -> Vec<(&'static str, String)> {
    match (settings.get(&TARGET), settings.get(&FORMAT)) {
        (Ok(target), Ok(format)) if target == "string" && format.is_empty() => {
            let reason = "TimestampConverter requires format option to be specified when using string timestamps";
            vec![(FORMAT.info.name, reason.into())]
        }
        _ => vec![],
    }
}

pub(crate) fn make(settings: &Settings, side: Side) -> Result<Box<dyn Transform>> {
    crate::hold_rules(&CONFIG, settings)?;
    let format = Some(settings.get(&FORMAT)?).filter(|pattern| !pattern.is_empty());
    let target = match settings.get(&TARGET)?.as_str() {
        "string" => Form::Text,
        "unix" => Form::Unix,
        "Date" => Form::Date,
        "Time" => Form::Time,
        _ => Form::Timestamp,
    };
    let precision = settings.get(&PRECISION)?;
    let unit = UNITS.iter().position(|unit| **unit == *precision).unwrap_or(2);
    let conversion = Conversion {
        target,
        format: format.map(|pattern| DateFormat::new(&pattern)).transpose().map_err(ConnectError::config)?,
        unit: [Unit::PerMilli(1_000_000), Unit::PerMilli(1000), Unit::PerMilli(1), Unit::Seconds][unit],
    };
    let field = Some(settings.get(&FIELD)?).filter(|field| !field.is_empty());
    let change = field.map(|field| Change::of([(field, ())], settings)).transpose()?;
    Ok(Box::new(TimestampConverter { side, conversion, change, schemas: SchemaCache::new(fields::SCHEMAS) }))
}

struct TimestampConverter {
    side: Side,
    conversion: Conversion,
    /// Of one field; the whole key or value without.
    change: Option<Change<()>>,
    /// Of whole keys and values: what they are now, and what they become.
    schemas: SchemaCache<(Form, Arc<Schema>)>,
}

struct Conversion {
    target: Form,
    format: Option<DateFormat>,
    unit: Unit,
}

#[derive(Clone, Copy)]
enum Form {
    Text,
    Unix,
    Date,
    Time,
    Timestamp,
}

#[derive(Clone, Copy)]
enum Unit {
    PerMilli(i64),
    Seconds,
}

const PURPOSE: &str = "converting timestamp formats";

impl Transform for TimestampConverter {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        let Self { side, conversion, change, schemas } = self;
        let datum = side.of_mut(record);
        match (&mut datum.schema, &mut datum.value, change) {
            (None, Value::Null, _) => {}
            (Some(schema), value, None) => {
                let (form, updated) = schemas.get_or_try(schema, |schema| {
                    Ok::<_, ConnectError>((Form::of_schema(schema)?, conversion.schema(schema.is_optional())?))
                })?;
                *value = conversion.convert(value, *form)?;
                *schema = Arc::clone(updated);
            }
            (None, value, None) => *value = conversion.convert(value, Form::of_value(value)?)?,
            (Some(schema), Value::Null, Some(change)) => {
                let shape = |fields: &Named<()>, from: &Arc<Schema>| conversion.shape(fields, from);
                *schema = change.schema_behind(schema, shape)?;
            }
            (Some(schema), Value::Struct(value), Some(change)) => {
                change.in_struct(
                    schema,
                    value,
                    |fields, from| conversion.shape(fields, from),
                    |value, (), schema| conversion.convert(value, Form::of_schema(schema)?),
                )?;
            }
            (None, Value::Map(map), Some(change)) => {
                change.in_map(map, |value, ()| match value {
                    Value::Null => Ok(Value::Null),
                    value => conversion.convert(value, Form::of_value(value)?),
                })?;
            }
            (Some(_), value, Some(_)) => return Err(fields::no_struct(value, PURPOSE)),
            (None, value, Some(_)) => return Err(fields::no_map(value, PURPOSE)),
        }
        Ok(Verdict::Keep)
    }
}

impl Form {
    fn of_schema(schema: &Schema) -> Result<Self> {
        match (schema.name(), schema.kind()) {
            (Some(logical::TIMESTAMP), _) => Ok(Self::Timestamp),
            (Some(logical::DATE), _) => Ok(Self::Date),
            (Some(logical::TIME), _) => Ok(Self::Time),
            (_, Kind::String) => Ok(Self::Text),
            (_, Kind::Int64) => Ok(Self::Unix),
            (_, kind) => Err(ConnectError::data(format!(
                "Schema Schema{{{}}} does not correspond to a known timestamp type format",
                pipette_java::kind(kind)
            ))),
        }
    }

    fn of_value(value: &Value) -> Result<Self> {
        match value {
            Value::Date(_) | Value::Time(_) | Value::Timestamp(_) => Ok(Self::Timestamp),
            Value::I64(_) => Ok(Self::Unix),
            Value::String(_) => Ok(Self::Text),
            other => Err(ConnectError::data(format!(
                "TimestampConverter does not support class {} objects as timestamps",
                java_class(other)
            ))),
        }
    }
}

impl Conversion {
    fn schema(&self, optional: bool) -> Result<Arc<Schema>> {
        let builder = match self.target {
            Form::Text => SchemaBuilder::new(Kind::String),
            Form::Unix => SchemaBuilder::new(Kind::Int64),
            Form::Date => SchemaBuilder::date(),
            Form::Time => SchemaBuilder::time(),
            Form::Timestamp => SchemaBuilder::timestamp(),
        };
        builder.nullable(optional).build()
    }

    /// The schema with the field in its new form.
    fn shape(&self, named: &Named<()>, from: &Arc<Schema>) -> Result<Arc<Schema>> {
        let mut builder = fields::rebuild(from).nullable(from.is_optional());
        for field in fields::list(from)? {
            let schema = match named.get(&field.name) {
                Some(()) => self.schema(field.schema.is_optional())?,
                None => Arc::clone(&field.schema),
            };
            builder = builder.field(Arc::clone(&field.name), schema);
        }
        builder.build()
    }

    fn convert(&self, value: &Value, form: Form) -> Result<Value> {
        if value.is_null() { Ok(Value::Null) } else { self.written(self.read(value, form)?) }
    }

    /// Milliseconds since 1970.
    fn read(&self, value: &Value, form: Form) -> Result<i64> {
        let unexpected =
            |wanted: &str| ConnectError::data(format!("Expected {wanted}, but found class {}", java_class(value)));
        match (form, value) {
            (Form::Text, Value::String(text)) => {
                let Some(format) = &self.format else {
                    return Err(ConnectError::data("text can only be read as a time with a pattern: set format"));
                };
                let text = text.as_str();
                format.parse(text).ok_or_else(|| {
                    ConnectError::data(format!("Could not parse timestamp: value ({text}) does not match the pattern"))
                })
            }
            (Form::Unix, Value::I64(number)) => Ok(match self.unit {
                Unit::PerMilli(count) => number / count,
                Unit::Seconds => number.saturating_mul(1000),
            }),
            (Form::Text, _) => Err(unexpected("text")),
            (Form::Unix, _) => Err(unexpected("a number of 64 bits")),
            _ => pipette_java::millis(value).ok_or_else(|| unexpected("a date or time")),
        }
    }

    fn written(&self, millis: i64) -> Result<Value> {
        let small = |number: i64, what: &str| {
            i32::try_from(number).map_err(|_| ConnectError::data(format!("{millis} ms has no {what} of 32 bits")))
        };
        Ok(match self.target {
            Form::Text => {
                let mut text = String::new();
                if let Some(format) = &self.format {
                    format.format(millis, &mut text);
                }
                Value::text(text)
            }
            Form::Unix => Value::I64(match self.unit {
                Unit::PerMilli(count) => millis.saturating_mul(count),
                Unit::Seconds => millis / 1000,
            }),
            Form::Date => Value::Date(small(millis.div_euclid(DAY_MILLIS), "Date")?),
            Form::Time => Value::Time(small(millis.rem_euclid(DAY_MILLIS), "Time")?),
            Form::Timestamp => Value::Timestamp(millis),
        })
    }
}
