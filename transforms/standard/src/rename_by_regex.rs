//! RenameByRegex: gives fields new names by a regular expression.

use std::collections::HashSet;
use std::sync::Arc;

use pipette_api::config::Importance;
use pipette_api::{
    ConfigDef, ConnectError, Key, Keys, KeysCache, Record, Result, Schema, SchemaCache, Settings, Side, Transform,
    Value, Verdict,
};
use pipette_java::{JavaRegex, Replacement, regex};

use crate::fields::{self, Fields};

pub(crate) const ABOUT: &str = "Gives fields new names by a regular expression.";

static REGEX: Key<String> =
    Key::new("regex", "A Java regular expression; every match in the name of a field is replaced.")
        .importance(Importance::High)
        .check(regex::valid);
static REPLACEMENT: Key<String> = Key::new(
    "replacement",
    "What takes the place of each match; $1 and ${name} stand for groups. Empty takes the matches away.",
)
.default("")
.importance(Importance::High);

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[&REGEX.info, &REPLACEMENT.info]).rule(groups_exist);

fn groups_exist(settings: &Settings) -> Vec<(&'static str, String)> {
    let (Ok(regex), Ok(replacement)) = (settings.get(&REGEX), settings.get(&REPLACEMENT)) else { return vec![] };
    match Renaming::new(&regex, &replacement) {
        Ok(_) => vec![],
        Err(reason) => vec![(REPLACEMENT.info.name, reason)],
    }
}

pub(crate) fn make(settings: &Settings, side: Side) -> Result<Box<dyn Transform>> {
    let renaming = Renaming::new(&settings.get(&REGEX)?, &settings.get(&REPLACEMENT)?).map_err(ConnectError::config)?;
    let (schemas, keys) = (SchemaCache::new(fields::SCHEMAS), KeysCache::new(fields::SCHEMAS));
    Ok(Box::new(RenameByRegex { side, renaming, schemas, keys }))
}

struct RenameByRegex {
    side: Side,
    renaming: Renaming,
    schemas: SchemaCache<Arc<Schema>>,
    keys: KeysCache<Arc<Keys>>,
}

struct Renaming {
    regex: JavaRegex,
    replacement: Replacement,
}

impl Transform for RenameByRegex {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        let Self { side, renaming, schemas, keys } = self;
        let datum = side.of_mut(record);
        if datum.value.is_null() {
            return Ok(Verdict::Keep);
        }
        match fields::of(datum, "renaming fields")? {
            Fields::Struct(schema, value) => {
                let renamed = schemas.get_or_try(value.schema(), |schema| renaming.schema(schema))?;
                value.append(Arc::clone(renamed), std::iter::empty());
                *schema = Arc::clone(renamed);
            }
            Fields::Map(map) => {
                let renamed = keys.get_or_try(map.keys(), |keys| renaming.keys(keys))?;
                map.take_keys(Arc::clone(renamed));
            }
        }
        Ok(Verdict::Keep)
    }
}

impl Renaming {
    fn new(regex: &str, replacement: &str) -> std::result::Result<Self, String> {
        let regex = JavaRegex::new(regex)?;
        let replacement = Replacement::parse(replacement, regex.anywhere())?;
        Ok(Self { regex, replacement })
    }

    fn name(&self, old: &str) -> String {
        let mut name = String::new();
        let mut end = 0;
        for captures in self.regex.anywhere().captures_iter(old) {
            let matched = captures.get_match();
            name.push_str(&old[end..matched.start()]);
            self.replacement.expand(&captures, &mut name);
            end = matched.end();
        }
        name + &old[end..]
    }

    fn schema(&self, schema: &Schema) -> Result<Arc<Schema>> {
        let mut builder = fields::rebuild(schema).nullable(schema.is_optional());
        for field in fields::list(schema)? {
            builder = builder.field(self.name(&field.name), Arc::clone(&field.schema));
        }
        builder.build()
    }

    fn keys(&self, keys: &Keys) -> Result<Arc<Keys>> {
        let renamed = |key: &Value| match key {
            Value::String(name) => Value::text(self.name(name.as_str())),
            other => other.clone(),
        };
        let renamed: Vec<Value> = keys.iter().map(renamed).collect();
        let mut seen = HashSet::with_capacity(renamed.len());
        for name in renamed.iter().filter_map(Value::as_str) {
            if !seen.insert(name) {
                return Err(ConnectError::data(format!(
                    "two fields would have the name {name}: the pattern is too wide"
                )));
            }
        }
        Ok(Arc::new(Keys::from(renamed)))
    }
}
