//! HeaderFrom: copies or moves fields of a key or value into headers.

use std::convert::Infallible;
use std::sync::Arc;

use pipette_api::config::{FromText, Importance, checks};
use pipette_api::{
    ConfigDef, ConnectError, Datum, Headers, Key, Keys, KeysCache, Map, Record, Result, Schema, SchemaCache, Settings,
    Side, Struct, Transform, Value, Verdict,
};

use crate::fields::{self, Defaults, Fields, REPLACE_NULL};

pub(crate) const ABOUT: &str = "Copies or moves fields of a key or value into headers.";

static FIELDS: Key<Vec<String>> =
    Key::new("fields", "The fields, in the order of headers.").importance(Importance::High).check(some);
static HEADERS: Key<Vec<String>> = Key::new("headers", "The names of the headers that take the fields, one for each.")
    .importance(Importance::High)
    .check(some);
static OPERATION: Key<String> = Key::new("operation", "copy leaves the fields where they are, move takes them away.")
    .importance(Importance::High)
    .recommended(&["move", "copy"])
    .check(operation);

pub(crate) static CONFIG: ConfigDef =
    ConfigDef::new(&[&FIELDS.info, &HEADERS.info, &OPERATION.info, &REPLACE_NULL.info]).rule(as_many);

fn some(text: Option<&str>) -> std::result::Result<(), String> {
    match text.map(Vec::<String>::from_text) {
        Some(Ok(list)) if list.is_empty() => Err("Empty list".into()),
        _ => Ok(()),
    }
}

fn operation(text: Option<&str>) -> std::result::Result<(), String> {
    checks::one_of(text, &["move", "copy"])
}

/// Java finds this out when the task starts.
fn as_many(settings: &Settings) -> Vec<(&'static str, String)> {
    match (settings.get(&FIELDS), settings.get(&HEADERS)) {
        (Ok(fields), Ok(headers)) if fields.len() != headers.len() => vec![(
            HEADERS.info.name,
            format!("'fields' config must have the same number of elements as 'headers' config: {}", fields.len()),
        )],
        _ => vec![],
    }
}

pub(crate) fn make(settings: &Settings, side: Side) -> Result<Box<dyn Transform>> {
    crate::hold_rules(&CONFIG, settings)?;
    let headers = settings.get(&HEADERS)?.into_iter().map(Arc::from);
    Ok(Box::new(HeaderFrom {
        side,
        pairs: settings.get(&FIELDS)?.into_iter().zip(headers).collect(),
        moves: settings.get(&OPERATION)? == "move",
        replace_null: settings.get(&REPLACE_NULL)?,
        schemas: SchemaCache::new(fields::SCHEMAS),
        keys: KeysCache::new(fields::SCHEMAS),
    }))
}

struct HeaderFrom {
    side: Side,
    /// Field and header.
    pairs: Vec<(String, Arc<str>)>,
    moves: bool,
    replace_null: bool,
    schemas: SchemaCache<Plan>,
    keys: KeysCache<MapPlan>,
}

/// What is known of an input schema.
struct Plan {
    /// Where each field stands, and its schema.
    places: Box<[(usize, Arc<Schema>)]>,
    /// What is left behind a move.
    left: Option<(Arc<Schema>, Box<[usize]>)>,
    defaults: Defaults,
}

/// What is known of the keys of maps.
struct MapPlan {
    places: Box<[Option<usize>]>,
    left: Option<(Arc<Keys>, Box<[usize]>)>,
}

impl Transform for HeaderFrom {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        let Record { key, value, headers, .. } = record;
        let datum = if self.side == Side::Key { key } else { value };
        match fields::of(datum, if self.moves { "header move" } else { "header copy" })? {
            Fields::Struct(schema, value) => self.take_from_struct(schema, value, headers)?,
            Fields::Map(map) => self.take_from_map(map, headers),
        }
        Ok(Verdict::Keep)
    }
}

impl HeaderFrom {
    fn take_from_struct(&mut self, schema: &mut Arc<Schema>, value: &mut Struct, headers: &mut Headers) -> Result<()> {
        let Self { pairs, moves, replace_null, schemas, .. } = self;
        let plan = schemas.get_or_try(value.schema(), |schema| Plan::new(schema, pairs, *moves, *replace_null))?;
        let before = headers.0.len();
        for ((_, header), (place, schema)) in pairs.iter().zip(&plan.places) {
            let found = &value.values()[*place];
            let default = schema.default().filter(|_| found.is_null() && *replace_null);
            let datum = Datum::new(Arc::clone(schema), default.unwrap_or(found).clone());
            if datum.value.is_null() && !schema.is_optional() {
                headers.0.truncate(before);
                let name = &value.schema().fields()[*place].name;
                return Err(ConnectError::data(format!(
                    "the required field {name} is null: no header can be made of it"
                )));
            }
            headers.add(Arc::clone(header), datum);
        }
        if let Some((left, gone)) = &plan.left {
            plan.defaults.fill_in(value);
            value.take_out(Arc::clone(left), gone);
            *schema = Arc::clone(left);
        }
        Ok(())
    }

    fn take_from_map(&mut self, map: &mut Map, headers: &mut Headers) {
        let Self { pairs, moves, keys, .. } = self;
        let Ok(plan) = keys.get_or_try(map.keys(), |keys| Ok::<_, Infallible>(MapPlan::new(keys, pairs, *moves)));
        for ((_, header), place) in pairs.iter().zip(&plan.places) {
            let value = place.map_or(Value::Null, |place| map.values()[place].clone());
            // A struct always brings its schema into a header.
            let schema = if let Value::Struct(record) = &value { Some(Arc::clone(record.schema())) } else { None };
            headers.add(Arc::clone(header), Datum { schema, value });
        }
        if let Some((left, gone)) = &plan.left {
            map.take_out(Arc::clone(left), gone);
        }
    }
}

impl Plan {
    fn new(schema: &Schema, pairs: &[(String, Arc<str>)], moves: bool, replace_null: bool) -> Result<Self> {
        let of_pair = |(name, _): &(String, Arc<str>)| {
            let place = schema.field(name).ok_or_else(|| {
                ConnectError::data(format!("Field does not exist: {name}, which a header is made of"))
            })?;
            Ok((place, Arc::clone(&schema.fields()[place].schema)))
        };
        let places = pairs.iter().map(of_pair).collect::<Result<Box<[_]>>>()?;
        let mut left = None;
        if moves {
            let goes = |index: &usize| places.iter().any(|(place, _)| place == index);
            let fields = schema.fields().iter().enumerate().filter(|(index, _)| !goes(index));
            let builder = fields.fold(fields::rebuild(schema), |builder, (_, field)| {
                builder.field(Arc::clone(&field.name), Arc::clone(&field.schema))
            });
            left = Some((builder.build()?, (0..schema.fields().len()).filter(goes).collect()));
        }
        let defaults = if replace_null { Defaults::of(schema) } else { Defaults::none() };
        Ok(Self { places, left, defaults })
    }
}

impl MapPlan {
    fn new(keys: &Keys, pairs: &[(String, Arc<str>)], moves: bool) -> Self {
        let places: Box<[_]> = pairs.iter().map(|(name, _)| keys.position(name)).collect();
        let left = moves.then(|| {
            let goes = |index: &usize| places.contains(&Some(*index));
            let left = keys.iter().enumerate().filter(|(index, _)| !goes(index)).map(|(_, key)| key.clone());
            (Arc::new(Keys::from(left.collect::<Vec<_>>())), (0..keys.len()).filter(goes).collect())
        });
        Self { places, left }
    }
}
