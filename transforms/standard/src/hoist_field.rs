//! HoistField: wraps a key or value as it is into a struct or map with one field.

use std::sync::Arc;

use pipette_api::{
    ConfigDef, ConnectError, Datum, Key, Keys, Map, Record, Result, Schema, SchemaBuilder, SchemaCache, Settings, Side,
    Struct, Transform, Value, Verdict,
};

use crate::fields;

pub(crate) const ABOUT: &str = "Wraps a key or value into a struct or map with one field.";

static FIELD: Key<String> = Key::new("field", "The name of the field that takes the key or value.");

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[&FIELD.info]);

pub(crate) fn make(settings: &Settings, side: Side) -> Result<Box<dyn Transform>> {
    let name = settings.get(&FIELD)?;
    let keys = Arc::new(Keys::from(vec![Value::text(name.as_str())]));
    Ok(Box::new(HoistField { side, name: name.into(), keys, schemas: SchemaCache::new(TYPES) }))
}

/// More than elsewhere, because values of any type come here, each with a schema of its own.
const TYPES: usize = 4 * fields::SCHEMAS;

struct HoistField {
    side: Side,
    name: Arc<str>,
    keys: Arc<Keys>,
    schemas: SchemaCache<Arc<Schema>>,
}

impl Transform for HoistField {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        let datum = self.side.of_mut(record);
        let Some(schema) = &datum.schema else {
            let value = std::mem::replace(&mut datum.value, Value::Null);
            datum.value = Value::Map(Box::new(Map::new(Arc::clone(&self.keys), vec![value])));
            return Ok(Verdict::Keep);
        };
        if datum.value.is_null() && !schema.is_optional() {
            return Err(ConnectError::data(format!(
                "Invalid value: null used for required field: \"{}\", schema type: {}",
                self.name,
                pipette_java::kind(schema.kind())
            )));
        }
        let name = &self.name;
        let wrap = |schema: &Arc<Schema>| SchemaBuilder::record().field(Arc::clone(name), Arc::clone(schema)).build();
        let schema = Arc::clone(self.schemas.get_or_try(schema, wrap)?);
        let value = std::mem::replace(&mut datum.value, Value::Null);
        let wrapped = Struct::from_parts(Arc::clone(&schema), [value]);
        *datum = Datum::new(schema, Value::Struct(Box::new(wrapped)));
        Ok(Verdict::Keep)
    }
}
