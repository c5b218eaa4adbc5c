//! JsonToStruct: reads JSON text or bytes, the whole key or value or fields of it.
//!
//! Without a schema the text becomes maps and lists. Beside a schema it becomes structs, whose schema comes from what the
//! text holds: `json_shape.rs`.

use std::sync::Arc;

use pipette_api::config::checks;
use pipette_api::{
    Blob, ConfigDef, ConnectError, Datum, Key, Map, Record, Result, Schema, Settings, Side, Struct, Transform, Value,
    Verdict,
};
use pipette_json::{Document, Parser};

use crate::fields::{self, Fields};
use crate::json_shape::Shapes;

pub(crate) const ABOUT: &str = "Reads JSON text into structs, or into maps without a schema.";

static FIELDS: Key<Vec<String>> = Key::new("fields", "The fields with JSON text; empty takes the whole key or value.")
    .default("")
    .check(checks::distinct);

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[&FIELDS.info]);

pub(crate) fn make(settings: &Settings, side: Side) -> Result<Box<dyn Transform>> {
    let names = settings.get(&FIELDS)?;
    Ok(Box::new(JsonToStruct { side, names, reader: JsonReader::default(), known: Vec::new() }))
}

struct JsonToStruct {
    side: Side,
    names: Vec<String>,
    reader: JsonReader,
    known: Vec<Known>,
}

/// Schemas that fields took, and the schema of the struct they are in, before and after.
struct Known {
    before: Arc<Schema>,
    of_fields: Vec<Arc<Schema>>,
    after: Arc<Schema>,
}

#[derive(Default)]
struct JsonReader {
    parser: Parser,
    shapes: Shapes,
}

impl Transform for JsonToStruct {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        let datum = self.side.of_mut(record);
        if datum.value.is_null() {
            return Ok(Verdict::Keep);
        }
        if self.names.is_empty() {
            let with_schema = datum.schema.is_some();
            let value = self.reader.read(&datum.value).map_err(|error| error.within("the whole key or value"))?;
            *datum = if with_schema { self.reader.shapes.shaped(value)? } else { Datum::schemaless(value) };
            return Ok(Verdict::Keep);
        }
        match fields::of(datum, "reading JSON")? {
            Fields::Struct(schema, value) => self.in_struct(schema, value)?,
            Fields::Map(map) => self.in_map(map)?,
        }
        Ok(Verdict::Keep)
    }
}

impl JsonToStruct {
    fn in_map(&mut self, map: &mut Map) -> Result<()> {
        let mut fresh = Vec::with_capacity(self.names.len());
        for name in &self.names {
            if let Some(index) = map.keys().position(name).filter(|index| !map.values()[*index].is_null()) {
                let value = self.reader.read(&map.values()[index]).map_err(|error| error.within(name))?;
                fresh.push((index, value));
            }
        }
        map.reshape(Arc::clone(map.keys()), |values| {
            for (index, value) in fresh {
                values[index] = value;
            }
        });
        Ok(())
    }

    fn in_struct(&mut self, schema: &mut Arc<Schema>, value: &mut Struct) -> Result<()> {
        let mut fresh = Vec::with_capacity(self.names.len());
        for name in &self.names {
            if let Some(index) = value.schema().field(name) {
                let read = match &value.values()[index] {
                    Value::Null => Value::Null,
                    text => self.reader.read(text).map_err(|error| error.within(name))?,
                };
                let datum = self.reader.shapes.shaped(read).map_err(|error| error.within(name))?;
                fresh.push((index, datum));
            }
        }
        let after = self.schema_behind(value.schema(), &fresh)?;
        value.reshape(Arc::clone(&after), |values| {
            for (index, datum) in fresh {
                values[index] = datum.value;
            }
        });
        *schema = after;
        Ok(())
    }

    fn schema_behind(&mut self, before: &Arc<Schema>, fresh: &[(usize, Datum)]) -> Result<Arc<Schema>> {
        let of_fields = || fresh.iter().filter_map(|(_, datum)| datum.schema.as_ref());
        let same = |known: &Known| {
            Arc::ptr_eq(&known.before, before)
                && known.of_fields.len() == fresh.len()
                && known.of_fields.iter().zip(of_fields()).all(|(a, b)| Arc::ptr_eq(a, b))
        };
        if let Some(index) = self.known.iter().position(same) {
            self.known[..=index].rotate_right(1);
            return Ok(Arc::clone(&self.known[0].after));
        }
        let mut builder = fields::rebuild(before).nullable(before.is_optional());
        for (index, field) in before.fields().iter().enumerate() {
            let new = fresh.iter().find(|(at, _)| *at == index).and_then(|(_, datum)| datum.schema.as_ref());
            builder = builder.field(Arc::clone(&field.name), Arc::clone(new.unwrap_or(&field.schema)));
        }
        let after = builder.build()?;
        self.known.truncate(fields::SCHEMAS - 1);
        let of_fields = of_fields().map(Arc::clone).collect();
        self.known.insert(0, Known { before: Arc::clone(before), of_fields, after: Arc::clone(&after) });
        Ok(after)
    }
}

impl JsonReader {
    fn read(&mut self, value: &Value) -> Result<Value> {
        let blob: Blob = match value {
            Value::String(text) => text.to_blob(),
            Value::Bytes(bytes) => bytes.clone(),
            other => {
                return Err(ConnectError::data(format!(
                    "JSON is read from text or bytes, not from a value of type {}",
                    other.type_name()
                )));
            }
        };
        let document = Document::new(&blob).map_err(|error| error.within("no JSON"))?;
        let mut reader = document.reader();
        let read = self.parser.value(&mut reader).map_err(|error| self.parser.locate(error).within("no JSON"))?;
        if reader.at_end() { Ok(read) } else { Err(ConnectError::data("no JSON: more stands behind the first value")) }
    }
}
