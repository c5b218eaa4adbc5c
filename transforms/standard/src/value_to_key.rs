//! ValueToKey: makes the key of fields of the value.

use std::sync::Arc;

use pipette_api::config::{Importance, checks};
use pipette_api::{
    ConfigDef, ConnectError, Datum, Key, Keys, Map, Record, Result, Schema, SchemaBuilder, SchemaCache, Settings, Side,
    Struct, Transform, Value, Verdict,
};

use crate::fields::{self, Fields, REPLACE_NULL};

pub(crate) const ABOUT: &str = "Replaces the key by fields of the value.";

static FIELDS: Key<Vec<String>> = Key::new("fields", "The fields of the value that make the key, in this order.")
    .importance(Importance::High)
    .check(names);

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[&FIELDS.info, &REPLACE_NULL.info]);

fn names(text: Option<&str>) -> std::result::Result<(), String> {
    crate::some_elements(FIELDS.info.name, text)?;
    checks::distinct(text)
}

pub(crate) fn make(settings: &Settings) -> Result<Box<dyn Transform>> {
    let names = settings.get(&FIELDS)?;
    let keys = Arc::new(Keys::from(names.iter().map(|name| Value::text(name.as_str())).collect::<Vec<_>>()));
    let (replace_null, schemas) = (settings.get(&REPLACE_NULL)?, SchemaCache::new(fields::SCHEMAS));
    Ok(Box::new(ValueToKey { names, keys, replace_null, schemas }))
}

struct ValueToKey {
    names: Vec<String>,
    keys: Arc<Keys>,
    replace_null: bool,
    schemas: SchemaCache<Plan>,
}

/// What is known of a value's schema.
struct Plan {
    schema: Arc<Schema>,
    /// Which fields of the value, in the order of the key's.
    places: Box<[usize]>,
}

impl Transform for ValueToKey {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        let key = match fields::of(Side::Value.of_mut(record), "copying fields from value to key")? {
            Fields::Struct(_, value) => self.of_struct(value)?,
            Fields::Map(map) => {
                let values = self.names.iter().map(|name| map.get(name).cloned().unwrap_or(Value::Null)).collect();
                Datum::schemaless(Value::Map(Box::new(Map::new(Arc::clone(&self.keys), values))))
            }
        };
        record.key = key;
        Ok(Verdict::Keep)
    }
}

impl ValueToKey {
    fn of_struct(&mut self, value: &Struct) -> Result<Datum> {
        let names = &self.names;
        let plan = self.schemas.get_or_try(value.schema(), |schema| Plan::new(schema, names))?;
        let of_field = |place: &usize| {
            let found = &value.values()[*place];
            let default = value.schema().fields()[*place].schema.default();
            default.filter(|_| found.is_null() && self.replace_null).unwrap_or(found).clone()
        };
        let values: Vec<_> = plan.places.iter().map(of_field).collect();
        let key = Struct::from_parts(Arc::clone(&plan.schema), values);
        Ok(Datum::new(Arc::clone(&plan.schema), Value::Struct(Box::new(key))))
    }
}

impl Plan {
    fn new(schema: &Schema, names: &[String]) -> Result<Self> {
        let mut builder = SchemaBuilder::record();
        let mut places = Vec::with_capacity(names.len());
        for name in names {
            let place =
                schema.field(name).ok_or_else(|| ConnectError::data(format!("Field does not exist: {name}")))?;
            let field = &schema.fields()[place];
            builder = builder.field(Arc::clone(&field.name), Arc::clone(&field.schema));
            places.push(place);
        }
        Ok(Self { schema: builder.build()?, places: places.into() })
    }
}
