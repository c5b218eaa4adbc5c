//! Coalesce: puts the first of several fields that is not null into a field.

use std::convert::Infallible;
use std::sync::Arc;

use pipette_api::config::{Importance, checks};
use pipette_api::{
    ConfigDef, ConnectError, Key, KeysCache, Map, Record, Result, Schema, SchemaBuilder, SchemaCache, Settings, Side,
    Struct, Text, Transform, Value, Verdict,
};

use crate::fields::{self, Fields, Members};

pub(crate) const ABOUT: &str = "Puts the first of several fields that is not null into a field.";

static FIELDS: Key<Vec<String>> = Key::new("fields", "The fields to look at, in this order; they have one type.")
    .importance(Importance::High)
    .check(names);
static TARGET: Key<String> =
    Key::new("target.field", "The field that takes the value: one of them, another one, or a new one at the end.")
        .importance(Importance::High)
        .check(checks::not_empty);

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[&FIELDS.info, &TARGET.info]);

fn names(text: Option<&str>) -> std::result::Result<(), String> {
    crate::some_elements(FIELDS.info.name, text)?;
    checks::distinct(text)
}

pub(crate) fn make(settings: &Settings, side: Side) -> Result<Box<dyn Transform>> {
    let target = settings.get(&TARGET)?;
    Ok(Box::new(Coalesce {
        side,
        names: settings.get(&FIELDS)?,
        key: Text::from(target.as_str()),
        target: target.into(),
        schemas: SchemaCache::new(fields::SCHEMAS),
        keys: KeysCache::new(fields::SCHEMAS),
    }))
}

struct Coalesce {
    side: Side,
    names: Vec<String>,
    target: Arc<str>,
    key: Text,
    schemas: SchemaCache<Plan>,
    keys: KeysCache<MapPlan>,
}

/// What is known of the keys of a map: where the fields stand that are there, and the members behind it.
struct MapPlan {
    places: Box<[usize]>,
    members: Members,
}

/// What is known of an input schema.
struct Plan {
    schema: Arc<Schema>,
    places: Box<[usize]>,
    /// Where the target stands behind it.
    target: usize,
}

impl Transform for Coalesce {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        let datum = self.side.of_mut(record);
        if datum.value.is_null() {
            return Ok(Verdict::Keep);
        }
        match fields::of(datum, "coalescing fields")? {
            Fields::Struct(schema, value) => self.in_struct(schema, value)?,
            Fields::Map(map) => self.in_map(map),
        }
        Ok(Verdict::Keep)
    }
}

impl Coalesce {
    fn in_struct(&mut self, schema: &mut Arc<Schema>, value: &mut Struct) -> Result<()> {
        let (names, target) = (&self.names, &self.target);
        let plan = self.schemas.get_or_try(value.schema(), |schema| Plan::new(schema, names, target))?;
        let found = plan.places.iter().map(|place| &value.values()[*place]).find(|value| !value.is_null());
        let found = found.cloned().unwrap_or(Value::Null);
        value.reshape(Arc::clone(&plan.schema), |values| {
            if let Some(place) = values.get_mut(plan.target) {
                *place = found;
            } else {
                // Not twice the room: records are many, and few are given more fields.
                values.reserve_exact(1);
                values.push(found);
            }
        });
        *schema = Arc::clone(&plan.schema);
        Ok(())
    }

    fn in_map(&mut self, map: &mut Map) {
        let (names, key) = (&self.names, &self.key);
        let Ok(plan) = self.keys.get_or_try(map.keys(), |keys| {
            let places = names.iter().filter_map(|name| keys.position(name)).collect();
            Ok::<_, Infallible>(MapPlan { places, members: Members::new(keys, [key]) })
        });
        let found = plan.places.iter().map(|place| &map.values()[*place]).find(|value| !value.is_null());
        let found = found.cloned().unwrap_or(Value::Null);
        plan.members.put(map, std::iter::once(found));
    }
}

impl Plan {
    fn new(schema: &Schema, names: &[String], target: &Arc<str>) -> Result<Self> {
        let fields = fields::list(schema)?;
        let places: Box<[usize]> = names.iter().filter_map(|name| schema.field(name)).collect();
        let Some(first) = places.first().map(|place| &fields[*place]) else {
            return Err(ConnectError::data(format!("none of the fields {} is there", names.join(", "))));
        };
        for other in places.iter().map(|place| &fields[*place]) {
            let same = first.schema.kind() == other.schema.kind() && first.schema.name() == other.schema.name();
            if !same {
                return Err(ConnectError::data(format!(
                    "{} and {} are of different types, {} and {}: one of them has to be cast first",
                    first.name,
                    other.name,
                    first.schema.kind().name(),
                    other.schema.kind().name()
                )));
            }
        }
        let optional = places.iter().all(|place| fields[*place].schema.is_optional());
        let found = SchemaBuilder::like(&first.schema).nullable(optional).build()?;
        let at = schema.field(target).unwrap_or(fields.len());
        let mut builder = fields::rebuild(schema).nullable(schema.is_optional());
        for (index, field) in fields.iter().enumerate() {
            let of_field = if index == at { &found } else { &field.schema };
            builder = builder.field(Arc::clone(&field.name), Arc::clone(of_field));
        }
        if at == fields.len() {
            builder = builder.field(Arc::clone(target), found);
        }
        Ok(Self { schema: builder.build()?, places, target: at })
    }
}
