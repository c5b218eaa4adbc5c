//! Keys and values that have fields: what the transformations of fields have in common.
//!
//! A key or value with a schema must be a struct, one without must be a map; [`of`] says so in Java's words. [`Change`] gives
//! some of the fields other values, whichever of both it is.

use std::convert::Infallible;
use std::sync::Arc;

use pipette_api::data::Field;
use pipette_api::{
    ConnectError, Datum, Key, Keys, KeysCache, Kind, Map, Result, Schema, SchemaBuilder, SchemaCache, Settings, Struct,
    Text, Value,
};

/// The key that most transformations of fields share.
pub(crate) static REPLACE_NULL: Key<bool> = Key::new(
    "replace.null.with.default",
    "What becomes of a null in a field whose schema has a default: true puts the default there, false keeps the null.",
)
.default("true");

/// How many schemas a transformation remembers, as many as Java's.
pub(crate) const SCHEMAS: usize = 16;

/// The fields of a key or value, to change them.
pub(crate) enum Fields<'a> {
    /// With a schema; it stands in the datum and in the struct.
    Struct(&'a mut Arc<Schema>, &'a mut Struct),
    /// Without.
    Map(&'a mut Map),
}

/// The fields of a datum; a data error, which names the purpose, when it cannot have any.
pub(crate) fn of<'a>(datum: &'a mut Datum, purpose: &str) -> Result<Fields<'a>> {
    match datum {
        Datum { schema: Some(schema), value: Value::Struct(value) } => Ok(Fields::Struct(schema, value)),
        Datum { schema: None, value: Value::Map(map) } => Ok(Fields::Map(map)),
        Datum { schema: Some(_), value } => Err(no_struct(value, purpose)),
        Datum { schema: None, value } => Err(no_map(value, purpose)),
    }
}

/// The error for a value with a schema that has no fields.
pub(crate) fn no_struct(value: &Value, purpose: &str) -> ConnectError {
    ConnectError::data(format!("Only Struct objects supported for [{purpose}], found: {}", java_class(value)))
}

/// The error for a value without a schema that has no members.
pub(crate) fn no_map(value: &Value, purpose: &str) -> ConnectError {
    let class = java_class(value);
    ConnectError::data(format!("Only Map objects supported in absence of schema for [{purpose}], found: {class}"))
}

/// The error for a key of a map that is no text.
pub(crate) fn no_name(key: &Value) -> ConnectError {
    ConnectError::data(format!(
        "class {} cannot be cast to class java.lang.String: a member of a map without a schema has text as its name",
        java_class(key)
    ))
}

/// The fields of a struct schema; a data error for any other.
pub(crate) fn list(schema: &Schema) -> Result<&[Field]> {
    match schema.kind() {
        Kind::Struct => Ok(schema.fields()),
        kind => Err(ConnectError::data(format!(
            "Cannot list fields on non-struct type: the schema is {}, only that of a struct has fields",
            kind.name()
        ))),
    }
}

/// The schema of text in the place of a value of another schema.
pub(crate) fn text_instead(schema: &Schema) -> Arc<Schema> {
    if schema.is_optional() { Schema::optional(Kind::String) } else { Schema::of(Kind::String) }
}

/// A struct schema whose changed fields are text.
pub(crate) fn as_text(named: &Named<()>, from: &Arc<Schema>) -> Result<Arc<Schema>> {
    let mut builder = rebuild(from).nullable(from.is_optional());
    for field in list(from)? {
        let text = named.get(&field.name).map(|()| text_instead(&field.schema));
        builder = builder.field(Arc::clone(&field.name), text.unwrap_or_else(|| Arc::clone(&field.schema)));
    }
    builder.build()
}

/// The class Java would name in an error.
pub(crate) fn java_class(value: &Value) -> &'static str {
    let class = pipette_java::class(value);
    class.strip_prefix("class ").unwrap_or(class)
}

/// The defaults that take the place of nulls, worked out once per schema.
pub(crate) struct Defaults(Vec<(usize, Value)>);

impl Defaults {
    /// The defaults of a struct schema's fields.
    pub(crate) fn of(schema: &Schema) -> Self {
        let fields = schema.fields().iter().enumerate();
        Self(fields.filter_map(|(index, field)| Some((index, field.schema.default()?.clone()))).collect())
    }

    /// The default of a field.
    fn get(&self, field: usize) -> Option<&Value> {
        self.0.iter().find(|(index, _)| *index == field).map(|(_, default)| default)
    }

    /// No defaults: nulls stay.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    /// Puts them where the values are null.
    pub(crate) fn fill(&self, values: &mut [Value]) {
        for (index, default) in &self.0 {
            if values[*index].is_null() {
                values[*index] = default.clone();
            }
        }
    }

    /// The same in a struct, whose values are not looked at when there are none.
    pub(crate) fn fill_in(&self, record: &mut Struct) {
        if !self.0.is_empty() {
            self.fill(record.values_mut());
        }
    }
}

/// A struct schema to rebuild from another: its name, version, documentation and parameters, without its fields.
/// Java keeps neither optionality nor default of the struct itself.
pub(crate) fn rebuild(schema: &Schema) -> SchemaBuilder {
    SchemaBuilder::record().described_as(schema)
}

/// The fields that a transformation gives other values, and what it works out once per schema or list of keys. What is
/// done to a field is `T`.
pub(crate) struct Change<T> {
    fields: Named<T>,
    replace_null: bool,
    schemas: SchemaCache<Plan>,
    keys: KeysCache<Members>,
    /// New values, until all of them are there.
    fresh: Vec<Value>,
}

/// What is done to fields, by name.
pub(crate) struct Named<T>(Vec<(Text, T)>);

/// What is known of an input schema.
struct Plan {
    schema: Arc<Schema>,
    /// The indexes of a field in the schema and in the list of what is changed.
    places: Box<[(usize, usize)]>,
    defaults: Defaults,
}

/// Where the members of some names stand in maps with the same keys; those that are missing come at the end.
pub(crate) struct Members {
    keys: Arc<Keys>,
    places: Box<[usize]>,
}

impl<T> Change<T> {
    /// Of fields by name; the last one counts of those with the same name.
    pub(crate) fn new(fields: impl IntoIterator<Item = (String, T)>, replace_null: bool) -> Self {
        let mut unique: Vec<(Text, T)> = Vec::new();
        for (name, what) in fields {
            match unique.iter_mut().find(|(known, _)| known.as_bytes() == name.as_bytes()) {
                Some((_, known)) => *known = what,
                None => unique.push((name.into(), what)),
            }
        }
        Self {
            fields: Named(unique),
            replace_null,
            schemas: SchemaCache::new(SCHEMAS),
            keys: KeysCache::new(SCHEMAS),
            fresh: Vec::new(),
        }
    }

    /// Of fields by name, with `replace.null.with.default` of the settings.
    pub(crate) fn of(fields: impl IntoIterator<Item = (String, T)>, settings: &Settings) -> Result<Self> {
        Ok(Self::new(fields, settings.get(&REPLACE_NULL)?))
    }

    /// Changes the fields of a struct, all or, on an error, none. `shape` makes the schema behind it, once per schema.
    pub(crate) fn in_struct(
        &mut self,
        schema: &mut Arc<Schema>,
        value: &mut Struct,
        shape: impl FnOnce(&Named<T>, &Arc<Schema>) -> Result<Arc<Schema>>,
        mut change: impl FnMut(&Value, &T, &Schema) -> Result<Value>,
    ) -> Result<()> {
        let Self { fields, replace_null, schemas, fresh, .. } = self;
        let plan = schemas.get_or_try(value.schema(), |from| {
            Ok::<_, ConnectError>(Plan::new(fields, from, shape(fields, from)?, *replace_null))
        })?;
        fresh.clear();
        for (field, what) in &plan.places {
            let old = &value.values()[*field];
            let old = if old.is_null() { plan.defaults.get(*field).unwrap_or(old) } else { old };
            let schema = &value.schema().fields()[*field].schema;
            fresh.push(change(old, &fields.0[*what].1, schema)?);
        }
        plan.put(schema, value, fresh);
        Ok(())
    }

    /// The schema that fields of such a one get, for a null in its place.
    pub(crate) fn schema_behind(
        &mut self,
        schema: &Arc<Schema>,
        shape: impl FnOnce(&Named<T>, &Arc<Schema>) -> Result<Arc<Schema>>,
    ) -> Result<Arc<Schema>> {
        let Self { fields, replace_null, schemas, .. } = self;
        let plan = schemas.get_or_try(schema, |from| {
            Ok::<_, ConnectError>(Plan::new(fields, from, shape(fields, from)?, *replace_null))
        })?;
        Ok(Arc::clone(&plan.schema))
    }

    /// Changes those members of a map that are there, all or, on an error, none.
    pub(crate) fn in_members(
        &mut self,
        map: &mut Map,
        mut change: impl FnMut(&Value, &T) -> Result<Value>,
    ) -> Result<()> {
        let fields = &self.fields.0;
        let Ok(members) = self.keys.get_or_try(map.keys(), |keys| {
            let places = fields.iter().map(|(name, _)| keys.iter().position(|key| is_text(key, name)));
            Ok::<_, Infallible>(Members { keys: Arc::clone(keys), places: places.map(or_nowhere).collect() })
        });
        self.fresh.clear();
        for ((_, what), place) in fields.iter().zip(&members.places) {
            self.fresh.push(map.values().get(*place).map_or(Ok(Value::Null), |value| change(value, what))?);
        }
        members.put(map, self.fresh.drain(..));
        Ok(())
    }

    /// Changes the members of a map, all or, on an error, none. One that is missing is added: to Java it is a null.
    pub(crate) fn in_map(&mut self, map: &mut Map, mut change: impl FnMut(&Value, &T) -> Result<Value>) -> Result<()> {
        let fields = &self.fields.0;
        let Ok(members) = self.keys.get_or_try(map.keys(), |keys| {
            Ok::<_, Infallible>(Members::new(keys, fields.iter().map(|(name, _)| name)))
        });
        self.fresh.clear();
        for ((_, what), place) in fields.iter().zip(&members.places) {
            self.fresh.push(change(map.values().get(*place).unwrap_or(&Value::Null), what)?);
        }
        members.put(map, self.fresh.drain(..));
        Ok(())
    }
}

impl<T> Named<T> {
    /// What is done to a field, if anything.
    pub(crate) fn get(&self, name: &str) -> Option<&T> {
        self.position(name).map(|index| &self.0[index].1)
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|(known, _)| known.as_bytes() == name.as_bytes())
    }
}

impl Plan {
    fn new<T>(named: &Named<T>, from: &Schema, to: Arc<Schema>, replace_null: bool) -> Self {
        let of_field = |(index, field): (usize, &Field)| Some((index, named.position(&field.name)?));
        let places = from.fields().iter().enumerate().filter_map(of_field).collect();
        let defaults = if replace_null { Defaults::of(from) } else { Defaults::none() };
        Self { schema: to, places, defaults }
    }

    fn put(&self, schema: &mut Arc<Schema>, value: &mut Struct, fresh: &mut Vec<Value>) {
        let mut change = |values: &mut [Value]| {
            self.defaults.fill(values);
            for ((field, _), new) in self.places.iter().zip(fresh.drain(..)) {
                values[*field] = new;
            }
        };
        if Arc::ptr_eq(&self.schema, value.schema()) {
            change(value.values_mut());
        } else {
            value.reshape(Arc::clone(&self.schema), |values| change(values));
        }
        *schema = Arc::clone(&self.schema);
    }
}

impl Members {
    pub(crate) fn new<'a>(keys: &Arc<Keys>, names: impl IntoIterator<Item = &'a Text>) -> Self {
        let mut added: Vec<Value> = Vec::new();
        let place = |name: &Text| {
            let key = Value::String(name.clone());
            let known = keys.iter().position(|known| *known == key);
            known.or_else(|| added.iter().position(|known| *known == key).map(|at| keys.len() + at)).unwrap_or_else(
                || {
                    added.push(key);
                    keys.len() + added.len() - 1
                },
            )
        };
        let places = names.into_iter().map(place).collect();
        let keys =
            if added.is_empty() { Arc::clone(keys) } else { Arc::new(Keys::from([keys.to_vec(), added].concat())) };
        Self { keys, places }
    }

    /// Puts values into a map of the keys, one for each name.
    pub(crate) fn put(&self, map: &mut Map, fresh: impl Iterator<Item = Value>) {
        let places = self.places.iter().copied().zip(fresh).filter(|(place, _)| *place < self.keys.len());
        map.put(Arc::clone(&self.keys), places);
    }
}

fn is_text(key: &Value, name: &Text) -> bool {
    matches!(key, Value::String(text) if text == name)
}

/// A place that no map has.
fn or_nowhere(place: Option<usize>) -> usize {
    place.unwrap_or(usize::MAX)
}
