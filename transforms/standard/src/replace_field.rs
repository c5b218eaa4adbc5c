//! ReplaceField: leaves fields out and gives others new names.

use std::sync::Arc;

use pipette_api::config::{FromText, checks};
use pipette_api::data::Text;
use pipette_api::{
    ConfigDef, ConnectError, Key, Keys, KeysCache, Map, Record, Result, Schema, SchemaCache, Settings, Side, Struct,
    Transform, Value, Verdict,
};

use crate::fields::{self, Defaults, Fields, REPLACE_NULL};

pub(crate) const ABOUT: &str = "Leaves fields out of a key or value, or gives them new names.";

static EXCLUDE: Key<Vec<String>> =
    Key::new("exclude", "Fields to leave out, also when include names them.").default("").check(checks::distinct);
static INCLUDE: Key<Vec<String>> =
    Key::new("include", "The only fields to keep; empty keeps all.").default("").check(checks::distinct);
static RENAMES: Key<Vec<String>> =
    Key::new("renames", "New names for fields, as old:new pairs. The other keys mean the old names.")
        .default("")
        .check(pairs_of_names);

pub(crate) static CONFIG: ConfigDef =
    ConfigDef::new(&[&EXCLUDE.info, &INCLUDE.info, &RENAMES.info, &REPLACE_NULL.info]);

fn pairs_of_names(text: Option<&str>) -> std::result::Result<(), String> {
    Vec::<String>::from_text(text.unwrap_or_default())?.iter().try_for_each(|pair| old_and_new(pair).map(drop))
}

/// Java's split: empty pieces at the end do not count, so `a:b:` is a pair and `a:` is none.
fn old_and_new(pair: &str) -> std::result::Result<(&str, &str), String> {
    match pair.trim_end_matches(':').split_once(':') {
        Some((old, new)) if !new.contains(':') => Ok((old, new)),
        _ => Err(format!("Invalid rename mapping: {pair}")),
    }
}

pub(crate) fn make(settings: &Settings, side: Side) -> Result<Box<dyn Transform>> {
    let mut names = Names { rules: Vec::new(), keep_others: true, new: Vec::new() };
    for name in settings.get(&EXCLUDE)? {
        names.rule(&name).excluded = true;
    }
    for name in settings.get(&INCLUDE)? {
        names.rule(&name).included = true;
        names.keep_others = false;
    }
    for pair in settings.get(&RENAMES)? {
        let (old, new) = old_and_new(&pair).map_err(ConnectError::config)?;
        names.rename(old, new);
    }
    let replace_null = settings.get(&REPLACE_NULL)?;
    Ok(Box::new(ReplaceField {
        side,
        names,
        replace_null,
        schemas: SchemaCache::new(fields::SCHEMAS),
        keys: KeysCache::new(fields::SCHEMAS),
    }))
}

struct ReplaceField {
    side: Side,
    names: Names,
    replace_null: bool,
    schemas: SchemaCache<Plan>,
    keys: KeysCache<MapPlan>,
}

/// What the configuration says of names. By bytes, because the names in a map need no second UTF-8 check, and sorted by
/// length first, because most members differ from every name in that already.
struct Names {
    rules: Vec<(Box<[u8]>, Rule)>,
    keep_others: bool,
    /// The new names, which may meet a member of the same name.
    new: Vec<Text>,
}

#[derive(Default)]
struct Rule {
    excluded: bool,
    included: bool,
    /// For schemas, and as the key of a map, to be shared by all of them.
    new_name: Option<(Arc<str>, Text)>,
}

impl Names {
    fn find(&self, name: &[u8]) -> std::result::Result<usize, usize> {
        self.rules.binary_search_by(|(known, _)| known.len().cmp(&name.len()).then_with(|| (**known).cmp(name)))
    }

    fn rule(&mut self, name: &str) -> &mut Rule {
        let index = self.find(name.as_bytes()).unwrap_or_else(|index| {
            self.rules.insert(index, (name.as_bytes().into(), Rule::default()));
            index
        });
        &mut self.rules[index].1
    }

    fn rename(&mut self, old: &str, new: &str) {
        let text = Text::from(new);
        self.new.push(text.clone());
        self.rule(old).new_name = Some((new.into(), text));
    }

    /// Whether a field is kept, and its new name.
    fn fate(&self, name: &[u8]) -> (bool, Option<&(Arc<str>, Text)>) {
        match self.find(name) {
            Err(_) => (self.keep_others, None),
            Ok(index) => {
                let rule = &self.rules[index].1;
                (!rule.excluded && (self.keep_others || rule.included), rule.new_name.as_ref())
            }
        }
    }
}

/// What is known of an input schema.
struct Plan {
    schema: Arc<Schema>,
    gone: Box<[usize]>,
    defaults: Defaults,
}

/// What is known of the keys of maps.
struct MapPlan {
    keys: Arc<Keys>,
    gone: Box<[usize]>,
}

impl Transform for ReplaceField {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        let datum = self.side.of_mut(record);
        if datum.value.is_null() {
            return Ok(Verdict::Keep);
        }
        match fields::of(datum, "field replacement")? {
            Fields::Struct(schema, value) => self.replace_with_schema(schema, value)?,
            Fields::Map(map) => self.replace_schemaless(map)?,
        }
        Ok(Verdict::Keep)
    }
}

impl ReplaceField {
    fn replace_with_schema(&mut self, schema: &mut Arc<Schema>, value: &mut Struct) -> Result<()> {
        let (names, replace_null) = (&self.names, self.replace_null);
        let plan = self.schemas.get_or_try(value.schema(), |schema| Plan::new(schema, names, replace_null))?;
        plan.defaults.fill_in(value);
        value.take_out(Arc::clone(&plan.schema), &plan.gone);
        *schema = Arc::clone(&plan.schema);
        Ok(())
    }

    fn replace_schemaless(&mut self, map: &mut Map) -> Result<()> {
        let names = &self.names;
        let plan = self.keys.get_or_try(map.keys(), |keys| MapPlan::new(keys, names))?;
        map.take_out(Arc::clone(&plan.keys), &plan.gone);
        Ok(())
    }
}

impl MapPlan {
    fn new(keys: &Keys, names: &Names) -> Result<Self> {
        let mut kept: Vec<(usize, Value)> = Vec::with_capacity(keys.len());
        for (index, key) in keys.iter().enumerate() {
            let (keep, new_name) = match key {
                Value::String(name) => names.fate(name.as_bytes()),
                Value::Null => (names.keep_others, None),
                other => return Err(fields::no_name(other)),
            };
            if keep {
                let key = new_name.map_or_else(|| key.clone(), |(_, name)| Value::String(name.clone()));
                kept.push((index, key));
            }
        }
        for name in &names.new {
            keep_last_of(name, &mut kept);
        }
        let mut staying = kept.iter().map(|(index, _)| *index).peekable();
        let gone = (0..keys.len()).filter(|index| staying.next_if_eq(index).is_none()).collect();
        let keys = kept.into_iter().map(|(_, key)| key).collect::<Vec<_>>();
        Ok(Self { keys: Arc::new(Keys::from(keys)), gone })
    }
}

/// A member of the new name may stand there already; the one that comes last wins.
fn keep_last_of(name: &Text, kept: &mut Vec<(usize, Value)>) {
    let has_name = |key: &Value| matches!(key, Value::String(text) if text == name);
    let mut more = kept.iter().filter(|(_, key)| has_name(key)).count();
    if more > 1 {
        kept.retain(|(_, key)| {
            let same = has_name(key);
            more -= usize::from(same);
            !same || more == 0
        });
    }
}

impl Plan {
    fn new(schema: &Schema, names: &Names, replace_null: bool) -> Result<Self> {
        let mut builder = fields::rebuild(schema);
        let mut gone = Vec::new();
        for (index, field) in schema.fields().iter().enumerate() {
            let (keep, new_name) = names.fate(field.name.as_bytes());
            if keep {
                let name = new_name.map_or(&field.name, |(name, _)| name);
                builder = builder.field(Arc::clone(name), Arc::clone(&field.schema));
            } else {
                gone.push(index);
            }
        }
        let defaults = if replace_null { Defaults::of(schema) } else { Defaults::none() };
        Ok(Self { schema: builder.build()?, gone: gone.into(), defaults })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use pipette_api::{ConfigMap, Datum};

    use super::*;

    #[test]
    fn a_map_of_very_many_members_takes_no_square_of_them() {
        let config = ConfigMap::from([("exclude".to_owned(), "m7".to_owned())]);
        let mut replace = make(&Settings::new(config, &CONFIG), Side::Value).unwrap();
        let members = (0..100_000).map(|number| (Value::text(format!("m{number}")), Value::I64(number)));
        let mut record = Record::new("t".into(), Datum::schemaless(Value::Map(Box::new(members.collect()))));
        let began = Instant::now();
        replace.apply(&mut record).unwrap();
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let Value::Map(map) = record.value.value else { panic!("still a map") };
        assert_eq!((map.len(), map.get("m7"), map.get("m8")), (99_999, None, Some(&Value::I64(8))));
    }
}
