//! StructToJson: writes a key, a value or fields of it as JSON text.

use pipette_api::config::checks;
use pipette_api::{ConfigDef, ConnectError, Key, Record, Result, Settings, Side, Transform, Value, Verdict};

use crate::fields::{self, Change, Fields, text_instead};

pub(crate) const ABOUT: &str = "Writes a key, a value or fields of it as JSON text.";

static FIELDS: Key<Vec<String>> =
    Key::new("fields", "The fields to write as text; empty takes the whole key or value.")
        .default("")
        .check(checks::distinct);

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[&FIELDS.info]);

pub(crate) fn make(settings: &Settings, side: Side) -> Result<Box<dyn Transform>> {
    let fields = settings.get(&FIELDS)?;
    let whole = fields.is_empty();
    let change = Change::new(fields.into_iter().map(|name| (name, ())), false);
    Ok(Box::new(StructToJson { side, whole, change, text: Vec::new() }))
}

struct StructToJson {
    side: Side,
    whole: bool,
    change: Change<()>,
    /// What is written, kept for its memory.
    text: Vec<u8>,
}

impl Transform for StructToJson {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        let Self { side, whole, change, text } = self;
        let datum = side.of_mut(record);
        if *whole {
            let written = written(&datum.value, text)?;
            datum.value = written;
            datum.schema = datum.schema.as_ref().map(|schema| text_instead(schema));
        } else if !datum.value.is_null() {
            match fields::of(datum, "writing JSON")? {
                Fields::Struct(schema, value) => {
                    change.in_struct(schema, value, fields::as_text, |value, (), _| written(value, text))?;
                }
                Fields::Map(map) => change.in_members(map, |value, ()| written(value, text))?,
            }
        }
        Ok(Verdict::Keep)
    }
}

fn written(value: &Value, text: &mut Vec<u8>) -> Result<Value> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    text.clear();
    pipette_json::write(value, text)?;
    str::from_utf8(text).map(Value::text).map_err(|error| ConnectError::data("no JSON text").because(error))
}
