//! ExtractField: puts one field in the place of the key or value it stands in.

use std::sync::Arc;

use pipette_api::config::Importance;
use pipette_api::config::checks;
use pipette_api::{
    ConfigDef, ConnectError, Datum, Key, Map, Record, Result, Schema, SchemaCache, Settings, Side, Transform, Value,
    Verdict,
};

use crate::fields::{self, REPLACE_NULL};
use crate::path::{self, FieldPath};

pub(crate) const ABOUT: &str = "Replaces a key or value by one of its fields.";

static FIELD: Key<String> = Key::new("field", "The field: its name, or with V2 the path to it.");
static SYNTAX: Key<String> = Key::new(
    "field.syntax.version",
    "V1: field is a name as it is. V2: dots in it lead into fields, backticks hold a name with dots together.",
)
.default("V1")
.importance(Importance::High)
.check(syntax);

pub(crate) static CONFIG: ConfigDef =
    ConfigDef::new(&[&FIELD.info, &REPLACE_NULL.info, &SYNTAX.info]).rule(path_is_one);

fn syntax(text: Option<&str>) -> std::result::Result<(), String> {
    checks::one_of_any_case(text, &["V1", "V2"])
}

fn path_is_one(settings: &Settings) -> Vec<(&'static str, String)> {
    match (settings.get(&FIELD), settings.get(&SYNTAX)) {
        (Ok(field), Ok(syntax)) => {
            field_path(&field, &syntax).err().map(|reason| (FIELD.info.name, reason)).into_iter().collect()
        }
        _ => vec![],
    }
}

fn field_path(field: &str, syntax: &str) -> std::result::Result<FieldPath, String> {
    if syntax.eq_ignore_ascii_case("V2") { FieldPath::nested(field) } else { Ok(FieldPath::name(field)) }
}

pub(crate) fn make(settings: &Settings, side: Side) -> Result<Box<dyn Transform>> {
    let path = field_path(&settings.get(&FIELD)?, &settings.get(&SYNTAX)?).map_err(ConnectError::config)?;
    let (replace_null, schemas) = (settings.get(&REPLACE_NULL)?, SchemaCache::new(fields::SCHEMAS));
    Ok(Box::new(ExtractField { side, path, replace_null, schemas }))
}

struct ExtractField {
    side: Side,
    path: FieldPath,
    replace_null: bool,
    schemas: SchemaCache<Plan>,
}

/// What is known of an input schema.
struct Plan {
    places: Box<[usize]>,
    schema: Arc<Schema>,
}

impl Transform for ExtractField {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        let datum = self.side.of_mut(record);
        *datum = match &datum.schema {
            None => Datum::schemaless(self.of_map(&datum.value)?),
            Some(schema) => self.of_struct(schema, &datum.value)?,
        };
        Ok(Verdict::Keep)
    }
}

impl ExtractField {
    fn of_map(&self, value: &Value) -> Result<Value> {
        match value {
            Value::Null => Ok(Value::Null),
            Value::Map(map) => self.member(map),
            other => Err(fields::no_map(other, PURPOSE)),
        }
    }

    fn member(&self, map: &Map) -> Result<Value> {
        self.path.in_map(map).cloned()
    }

    fn of_struct(&mut self, schema: &Arc<Schema>, value: &Value) -> Result<Datum> {
        if !matches!(value, Value::Null | Value::Struct(_)) {
            return Err(fields::no_struct(value, PURPOSE));
        }
        let path = &self.path;
        let plan = self.schemas.get_or_try(schema, |schema| match path.in_schema(schema)? {
            Some((places, field)) => Ok(Plan { places, schema: Arc::clone(&field.schema) }),
            None => Err(ConnectError::data(format!("Unknown field: {}", path.text()))),
        })?;
        let found = match value {
            Value::Struct(record) => path::follow(record, &plan.places),
            _ => None,
        };
        let value = match (found, plan.schema.default()) {
            (Some(Value::Null), Some(default)) if self.replace_null => default.clone(),
            (found, _) => found.cloned().unwrap_or(Value::Null),
        };
        Ok(Datum::new(Arc::clone(&plan.schema), value))
    }
}

const PURPOSE: &str = "field extraction";
