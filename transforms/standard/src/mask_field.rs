//! MaskField: hides fields behind zeros, empty texts, or a text of your own.

use std::sync::Arc;

use pipette_api::config::{Importance, checks};
use pipette_api::data::Decimal;
use pipette_api::{ConfigDef, ConnectError, Key, Map, Record, Result, Settings, Side, Transform, Value, Verdict};
use pipette_java::number;
use pipette_json::decimal_from_text;

use crate::fields::{self, Change, Fields, REPLACE_NULL, java_class};

pub(crate) const ABOUT: &str =
    "Hides fields: zeros, empty texts and lists, or a text of your own, stand in their place.";

static FIELDS: Key<Vec<String>> =
    Key::new("fields", "The names of the fields to mask.").importance(Importance::High).check(names);
static REPLACEMENT: Key<String> = Key::new(
    "replacement",
    "What stands in the place of texts and numbers; left out, it is what is empty or zero of each type.",
)
.optional()
.importance(Importance::Low)
.check(checks::not_empty);

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[&FIELDS.info, &REPLACEMENT.info, &REPLACE_NULL.info]);

fn names(text: Option<&str>) -> std::result::Result<(), String> {
    crate::some_elements(FIELDS.info.name, text)?;
    checks::distinct(text)
}

pub(crate) fn make(settings: &Settings, side: Side) -> Result<Box<dyn Transform>> {
    let mask = settings.find(&REPLACEMENT)?.map(Mask::new);
    let fields = settings.get(&FIELDS)?.into_iter().map(|name| (name, ()));
    Ok(Box::new(MaskField { side, mask, change: Change::of(fields, settings)? }))
}

struct MaskField {
    side: Side,
    mask: Option<Mask>,
    change: Change<()>,
}

/// A replacement, and the number it is, if it is one.
struct Mask {
    text: String,
    number: Option<Decimal>,
}

impl Transform for MaskField {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        let mask = self.mask.as_ref();
        let masked = |value: &Value| match mask {
            None => nothing_of(value),
            Some(mask) => mask.of(value),
        };
        match fields::of(self.side.of_mut(record), "mask fields")? {
            Fields::Struct(schema, value) => {
                self.change.in_struct(schema, value, |_, same| Ok(Arc::clone(same)), |value, (), _| masked(value))?;
            }
            Fields::Map(map) => self.change.in_map(map, |value, ()| masked(value))?,
        }
        Ok(Verdict::Keep)
    }
}

/// What is empty or zero of a type.
fn nothing_of(value: &Value) -> Result<Value> {
    Ok(match value {
        Value::Null => Value::Null,
        Value::Bool(_) => Value::Bool(false),
        Value::I8(_) => Value::I8(0),
        Value::I16(_) => Value::I16(0),
        Value::I32(_) => Value::I32(0),
        Value::I64(_) => Value::I64(0),
        Value::F32(_) => Value::F32(0.0),
        Value::F64(_) => Value::F64(0.0),
        Value::Date(_) => Value::Date(0),
        Value::Time(_) => Value::Time(0),
        Value::Timestamp(_) => Value::Timestamp(0),
        Value::Decimal(_) => Value::Decimal(Box::new(Decimal::new(0, 0))),
        Value::String(_) => Value::text(""),
        Value::Array(_) => Value::Array(Box::default()),
        Value::Map(_) => Value::Map(Box::<Map>::default()),
        Value::Bytes(_) | Value::Payload(_) | Value::Struct(_) => {
            return Err(ConnectError::data(format!("Cannot mask value of type: class {}", java_class(value))));
        }
    })
}

impl Mask {
    fn new(text: String) -> Self {
        let ascii = |character| number::digit(character).map_or(character, |digit| char::from(b'0' + digit));
        let number = decimal_from_text(&text.chars().map(ascii).collect::<String>());
        Self { text, number }
    }

    #[expect(clippy::cast_possible_truncation, reason = "Java keeps the low bits, and the nearest float")]
    fn of(&self, value: &Value) -> Result<Value> {
        Ok(match value {
            Value::Null => Value::Null,
            Value::String(_) => Value::text(self.text.as_str()),
            Value::I8(_) => Value::I8(number::low_bits(self.number()?) as i8),
            Value::I16(_) => Value::I16(number::low_bits(self.number()?) as i16),
            Value::I32(_) => Value::I32(number::low_bits(self.number()?) as i32),
            Value::I64(_) => Value::I64(number::low_bits(self.number()?)),
            Value::F32(_) => Value::F32(number::nearest_f64(self.number()?) as f32),
            Value::F64(_) => Value::F64(number::nearest_f64(self.number()?)),
            Value::Decimal(_) => Value::Decimal(Box::new(self.number()?.clone())),
            other => {
                return Err(ConnectError::data(format!(
                    "Cannot mask value of type class {} with custom replacement.",
                    java_class(other)
                )));
            }
        })
    }

    fn number(&self) -> Result<&Decimal> {
        self.number.as_ref().ok_or_else(|| {
            ConnectError::data(format!("Unable to convert {} (class java.lang.String) to a number", self.text))
        })
    }
}
