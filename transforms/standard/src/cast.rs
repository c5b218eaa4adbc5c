//! Cast: gives keys, values or fields of them another type.

use std::sync::Arc;

use pipette_api::config::{FromText, Importance};
use pipette_api::data::record_struct::fits;
use pipette_api::{
    ConfigDef, ConnectError, Datum, Key, Kind, Record, Result, Schema, SchemaBuilder, SchemaCache, Settings, Side,
    Transform, Verdict,
};

use crate::cast_value::cast;
use crate::fields::{self, Change, Fields, Named, REPLACE_NULL};

pub(crate) const ABOUT: &str = "Gives a key, a value or fields of it another type.";

static SPEC: Key<Vec<String>> = Key::new(
    "spec",
    "field:type pairs, or one type for the whole key or value. Types: int8, int16, int32, int64, float32, float64, \
     boolean, string.",
)
.importance(Importance::High)
.check(spec);

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[&SPEC.info, &REPLACE_NULL.info]);

/// The kinds that can be cast to, in Java's order.
const TARGETS: [Kind; 8] =
    [Kind::Int8, Kind::Int16, Kind::Int32, Kind::Int64, Kind::Float32, Kind::Float64, Kind::Boolean, Kind::String];

/// What a spec says.
enum Spec {
    Whole(Kind),
    Fields(Vec<(String, Kind)>),
}

fn spec(text: Option<&str>) -> std::result::Result<(), String> {
    text.map_or(Ok(()), |text| Spec::of(&Vec::<String>::from_text(text)?).map(drop))
}

impl Spec {
    fn of(entries: &[String]) -> std::result::Result<Self, String> {
        if entries.is_empty() {
            return Err("Must specify at least one field to cast.".into());
        }
        let mut fields = Vec::new();
        for entry in entries {
            // Java's split: empty pieces at the end do not count, so `a:` is the type `a`.
            let entry = entry.trim_end_matches(':');
            match entry.split_once(':') {
                Some((_, kind)) if kind.contains(':') => return Err(format!("Invalid rename mapping: {entry}")),
                Some((field, kind)) => fields.push((field.trim().to_owned(), target(kind)?)),
                None if entries.len() > 1 => {
                    return Err(
                        "Cast transformations that specify a type to cast the entire value to may only specify \
                                a single cast in their spec"
                            .into(),
                    );
                }
                None => return Ok(Self::Whole(target(entry)?)),
            }
        }
        Ok(Self::Fields(fields))
    }
}

fn target(text: &str) -> std::result::Result<Kind, String> {
    let name = text.trim().to_uppercase();
    let kind = Kind::ALL.into_iter().find(|kind| pipette_java::kind(*kind) == name);
    match kind {
        None => Err(format!("Invalid type found in casting spec: {}", text.trim())),
        Some(kind) if TARGETS.contains(&kind) => Ok(kind),
        Some(_) => {
            Err(format!("Cast transformation does not support casting to {name}; supported types are {}", names()))
        }
    }
}

fn names() -> String {
    format!("[{}]", TARGETS.map(pipette_java::kind).join(", "))
}

pub(crate) fn make(settings: &Settings, side: Side) -> Result<Box<dyn Transform>> {
    let casts = match Spec::of(&settings.get(&SPEC)?).map_err(ConnectError::config)? {
        Spec::Whole(kind) => Casts::Whole(kind, SchemaCache::new(fields::SCHEMAS)),
        Spec::Fields(fields) => Casts::Fields(Change::of(fields, settings)?),
    };
    Ok(Box::new(Cast { side, casts }))
}

struct Cast {
    side: Side,
    casts: Casts,
}

enum Casts {
    Whole(Kind, SchemaCache<Arc<Schema>>),
    Fields(Change<Kind>),
}

impl Transform for Cast {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        let datum = self.side.of_mut(record);
        if datum.value.is_null() {
            return Ok(Verdict::Keep);
        }
        match &mut self.casts {
            Casts::Whole(kind, schemas) => cast_whole(datum, *kind, schemas)?,
            Casts::Fields(change) => match fields::of(datum, "cast types")? {
                Fields::Struct(schema, value) => {
                    change.in_struct(schema, value, shape, |value, kind, schema| cast(value, Some(schema), *kind))?;
                }
                Fields::Map(map) => change.in_map(map, |value, kind| cast(value, None, *kind))?,
            },
        }
        Ok(Verdict::Keep)
    }
}

fn cast_whole(datum: &mut Datum, kind: Kind, schemas: &mut SchemaCache<Arc<Schema>>) -> Result<()> {
    let Some(schema) = &datum.schema else {
        datum.value = cast(&datum.value, None, kind)?;
        return Ok(());
    };
    let updated = schemas.get_or_try(schema, |schema| {
        let like = SchemaBuilder::new(kind).described_as(schema).nullable(schema.is_optional());
        with_default(like, schema, kind)
    })?;
    datum.value = cast(&datum.value, Some(schema), kind)?;
    datum.schema = Some(Arc::clone(updated));
    Ok(())
}

fn shape(fields: &Named<Kind>, from: &Arc<Schema>) -> Result<Arc<Schema>> {
    let mut builder = fields::rebuild(from).nullable(from.is_optional());
    for field in from.fields() {
        let schema = match fields.get(&field.name) {
            None => Arc::clone(&field.schema),
            Some(kind) => {
                let plain = SchemaBuilder::new(*kind).nullable(field.schema.is_optional());
                with_default(plain, &field.schema, *kind)?
            }
        };
        builder = builder.field(Arc::clone(&field.name), schema);
    }
    builder.build()
}

/// The default is cast too, and must be one of the new schema.
fn with_default(builder: SchemaBuilder, from: &Schema, kind: Kind) -> Result<Arc<Schema>> {
    let plain = builder.clone().build()?;
    let Some(default) = from.default() else { return Ok(plain) };
    let default = cast(default, Some(from), kind)?;
    fits(&default, &plain).map_err(|error| error.within("Invalid default value"))?;
    builder.default(default).build()
}
