//! SetSchemaMetadata: gives the schema of a key or value a name, a version, or both.

use std::sync::Arc;

use pipette_api::config::Importance;
use pipette_api::{
    ConfigDef, ConnectError, Key, Record, Result, Schema, SchemaBuilder, SchemaCache, Settings, Side, Transform, Value,
    Verdict,
};

use crate::fields::{self, Defaults, REPLACE_NULL};

pub(crate) const ABOUT: &str = "Gives the schema of a key or value a name, a version, or both.";

static NAME: Key<String> =
    Key::new("schema.name", "The new name of the schema.").optional().importance(Importance::High);
static VERSION: Key<i32> =
    Key::new("schema.version", "The new version of the schema.").optional().importance(Importance::High);

pub(crate) static CONFIG: ConfigDef =
    ConfigDef::new(&[&NAME.info, &VERSION.info, &REPLACE_NULL.info]).rule(sets_something);

fn sets_something(settings: &Settings) -> Vec<(&'static str, String)> {
    if settings.raw(NAME.info.name).or(settings.raw(VERSION.info.name)).is_some() {
        return vec![];
    }
    vec![(NAME.info.name, "Neither schema name nor version configured".into())]
}

pub(crate) fn make(settings: &Settings, side: Side) -> Result<Box<dyn Transform>> {
    crate::hold_rules(&CONFIG, settings)?;
    Ok(Box::new(SetSchemaMetadata {
        side,
        name: settings.find(&NAME)?.map(Arc::from),
        version: settings.find(&VERSION)?,
        replace_null: settings.get(&REPLACE_NULL)?,
        schemas: SchemaCache::new(fields::SCHEMAS),
    }))
}

struct SetSchemaMetadata {
    side: Side,
    name: Option<Arc<str>>,
    version: Option<i32>,
    replace_null: bool,
    schemas: SchemaCache<(Arc<Schema>, Defaults)>,
}

impl Transform for SetSchemaMetadata {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        let datum = self.side.of_mut(record);
        if datum.is_null() {
            return Ok(Verdict::Keep);
        }
        let Some(schema) = &datum.schema else {
            return Err(ConnectError::data("Schema required for [updating schema metadata]"));
        };
        let Self { name, version, replace_null, schemas, .. } = self;
        let (updated, defaults) = schemas.get_or_try(schema, |schema| {
            let defaults = if *replace_null { Defaults::of(schema) } else { Defaults::none() };
            Ok::<_, ConnectError>((renamed(schema, name.as_ref(), *version)?, defaults))
        })?;
        if let Value::Struct(value) = &mut datum.value {
            value.reshape(Arc::clone(updated), |values| defaults.fill(values));
        }
        datum.schema = Some(Arc::clone(updated));
        Ok(Verdict::Keep)
    }
}

fn renamed(schema: &Schema, name: Option<&Arc<str>>, version: Option<i32>) -> Result<Arc<Schema>> {
    fields::list(schema)?;
    let mut builder = SchemaBuilder::like(schema);
    if let Some(name) = name {
        builder = builder.name(Arc::clone(name));
    }
    if let Some(version) = version {
        builder = builder.version(version);
    }
    builder.build()
}
