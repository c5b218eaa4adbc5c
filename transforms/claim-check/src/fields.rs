//! Fields of a value by path, and a value with other fields in their place: structs with their schemas, and maps without.
//!
//! A changed value is a new one: whoever fails half way has changed nothing.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use pipette_api::{ConnectError, Datum, Kind, Map, Result, Schema, SchemaBuilder, SchemaCache, Struct, Value};

/// Schemas of values that are known at a time.
const SCHEMAS: usize = 16;
/// What one schema has become at a time: which fields are large differs from record to record.
const SHAPES: usize = 64;

/// The names on the way to a field, at least one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct FieldPath(Vec<String>);

impl FieldPath {
    /// Names between dots; the error is the reason.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, String> {
        let steps: Vec<String> = text.split('.').map(str::to_owned).collect();
        if steps.iter().any(String::is_empty) {
            return Err(format!("{text}: a name between dots is missing"));
        }
        if text.contains(['*', '[', ']']) {
            return Err(format!("{text}: wildcards and elements of lists are not possible"));
        }
        Ok(Self(steps))
    }

    /// True when one is the other or stands inside of it.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a == b)
    }

    /// The field beside it whose name has this at its end.
    pub(crate) fn sibling(&self, suffix: &str) -> Self {
        let mut steps = self.0.clone();
        if let Some(last) = steps.last_mut() {
            last.push_str(suffix);
        }
        Self(steps)
    }

    /// What stands there, in structs, or in maps without a schema.
    pub(crate) fn find<'v>(&self, datum: &'v Datum) -> Option<&'v Value> {
        let maps = datum.schema.is_none();
        self.0.iter().try_fold(&datum.value, |value, step| match value {
            Value::Struct(record) => record.get(step),
            Value::Map(map) if maps => map.get(step),
            _ => None,
        })
    }

    /// The schema of the field, where there are schemas.
    pub(crate) fn schema<'s>(&self, datum: &'s Datum) -> Option<&'s Arc<Schema>> {
        self.0.iter().try_fold(datum.schema.as_ref()?, |schema, step| {
            schema.field(step).map(|index| &schema.fields()[index].schema)
        })
    }

    /// Every field of a struct schema, in structs inside as well, that a question says yes to.
    pub(crate) fn all_in(schema: &Schema, is_one: &dyn Fn(&Schema) -> bool) -> Vec<Self> {
        let mut found = Vec::new();
        for field in schema.fields() {
            if is_one(&field.schema) {
                found.push(Self(vec![field.name.to_string()]));
            } else if field.schema.kind() == Kind::Struct {
                let inner = Self::all_in(&field.schema, is_one);
                let inside = |path: Self| Self([vec![field.name.to_string()], path.0].concat());
                found.extend(inner.into_iter().map(inside));
            }
        }
        found
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// What becomes of one field.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    pub(crate) path: FieldPath,
    /// `None` takes the field away. The schema is looked at where there are schemas.
    pub(crate) to: Option<Datum>,
}

/// Changes fields, and remembers what schemas become by it.
pub(crate) struct Editor(Mutex<SchemaCache<Shapes>>);

/// What one schema has become.
type Shapes = Mutex<Vec<(Shape, Arc<Schema>)>>;

/// Paths with their new schemas.
type Shape = Vec<(FieldPath, Option<Arc<Schema>>)>;

impl Default for Editor {
    fn default() -> Self {
        Self(Mutex::new(SchemaCache::new(SCHEMAS)))
    }
}

impl Editor {
    /// The value with these fields. Fields that are not there are added at the end.
    pub(crate) fn edited(&self, datum: &Datum, edits: &[Edit]) -> Result<Datum> {
        let edits: Vec<_> = edits.iter().map(|edit| (&edit.path.0[..], edit)).collect();
        match (&datum.schema, &datum.value) {
            (Some(schema), Value::Struct(record)) => {
                let schema = self.schema(schema, &edits)?;
                let record = reshaped(record, &schema, &edits)?;
                Ok(Datum::new(schema, record))
            }
            (None, Value::Map(map)) => Ok(Datum::schemaless(Value::Map(Box::new(refilled(map, &edits))))),
            (_, other) => Err(ConnectError::data(format!("a {} has no fields", other.type_name()))),
        }
    }

    fn schema(&self, schema: &Arc<Schema>, edits: &[Step<'_>]) -> Result<Arc<Schema>> {
        let new = |edit: &Edit| edit.to.as_ref().and_then(|datum| datum.schema.clone());
        let shape: Shape = edits.iter().map(|(_, edit)| (edit.path.clone(), new(edit))).collect();
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = cache.get_or_try(schema, |_| Ok::<_, ConnectError>(Shapes::default()))?;
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, made)) = known.iter().find(|(known, _)| *known == shape) {
            return Ok(Arc::clone(made));
        }
        let made = rebuilt(schema, edits)?;
        known.truncate(SHAPES - 1);
        known.insert(0, (shape, Arc::clone(&made)));
        Ok(made)
    }
}

/// An edit with what is left of its path.
type Step<'e> = (&'e [String], &'e Edit);

/// The edits of a field itself or inside of it.
fn within<'e>(edits: &[Step<'e>], name: &str) -> (Option<&'e Edit>, Vec<Step<'e>>) {
    let mut inner = Vec::new();
    for (path, edit) in edits {
        match path {
            [last] if last == name => return (Some(edit), Vec::new()),
            [first, rest @ ..] if first == name => inner.push((rest, *edit)),
            _ => {}
        }
    }
    (None, inner)
}

fn rebuilt(schema: &Schema, edits: &[Step<'_>]) -> Result<Arc<Schema>> {
    let mut builder = SchemaBuilder::record().described_as(schema).nullable(schema.is_optional());
    for field in schema.fields() {
        let of_field = match within(edits, &field.name) {
            (Some(Edit { to: None, .. }), _) => continue,
            (Some(Edit { to: Some(datum), .. }), _) => needed(datum)?,
            (None, inner) if inner.is_empty() => Arc::clone(&field.schema),
            (None, inner) => rebuilt(&field.schema, &inner)?,
        };
        builder = builder.field(Arc::clone(&field.name), of_field);
    }
    for (name, datum) in added(edits, |name| schema.field(name).is_some()) {
        builder = builder.field(name, needed(datum)?);
    }
    builder.build()
}

/// What is put under names that are not there.
fn added<'e>(edits: &[Step<'e>], is_there: impl Fn(&str) -> bool) -> Vec<(&'e str, &'e Datum)> {
    let new = |(path, edit): &Step<'e>| match path {
        [name] if !is_there(name) => Some((name.as_str(), edit.to.as_ref()?)),
        _ => None,
    };
    edits.iter().filter_map(new).collect()
}

fn needed(datum: &Datum) -> Result<Arc<Schema>> {
    datum.schema.clone().ok_or_else(|| ConnectError::fatal("a field of a struct is to be one without a schema"))
}

fn reshaped(record: &Struct, schema: &Arc<Schema>, edits: &[Step<'_>]) -> Result<Value> {
    let mut values = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        values.push(match (within(edits, &field.name), record.get(&field.name)) {
            ((Some(edit), _), _) => edit.to.as_ref().map_or(Value::Null, |datum| datum.value.clone()),
            ((None, inner), Some(Value::Struct(inside))) if !inner.is_empty() => {
                reshaped(inside, &field.schema, &inner)?
            }
            (_, value) => value.cloned().unwrap_or(Value::Null),
        });
    }
    Ok(Value::Struct(Box::new(Struct::from_parts(Arc::clone(schema), values))))
}

fn refilled(map: &Map, edits: &[Step<'_>]) -> Map {
    let members = map.iter().filter_map(|(key, value)| {
        let (edit, inner) = key.as_str().map_or((None, Vec::new()), |name| within(edits, name));
        let value = match (edit, value) {
            (Some(edit), _) => edit.to.as_ref()?.value.clone(),
            (None, Value::Map(inside)) if !inner.is_empty() => Value::Map(Box::new(refilled(inside, &inner))),
            (None, value) => value.clone(),
        };
        Some((key.clone(), value))
    });
    let new = added(edits, |name| map.keys().position(name).is_some());
    members.chain(new.into_iter().map(|(name, datum)| (Value::text(name), datum.value.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> FieldPath {
        FieldPath::parse(text).unwrap()
    }

    fn nested() -> Datum {
        let inner = SchemaBuilder::record()
            .name("Inner")
            .optional()
            .field("image", Schema::of(Kind::Bytes))
            .field("n", Schema::of(Kind::Int8))
            .build()
            .unwrap();
        let outer = SchemaBuilder::record().field("after", Arc::clone(&inner)).field("op", Schema::of(Kind::String));
        let outer = outer.build().unwrap();
        let image = Value::Bytes(pipette_api::Blob::whole(vec![1, 2]).unwrap());
        let inside = Struct::from_parts(inner, [image, Value::I8(7)]);
        let values = [Value::Struct(Box::new(inside)), Value::text("c")];
        Datum::new(Arc::clone(&outer), Value::Struct(Box::new(Struct::from_parts(outer, values))))
    }

    #[test]
    fn a_field_inside_is_changed_and_changed_back() {
        let (editor, before) = (Editor::default(), nested());
        let text = Datum::new(Schema::of(Kind::String), Value::text("elsewhere"));
        let there = [
            Edit { path: path("after.image"), to: Some(text.clone()) },
            Edit { path: path("after.image_ref"), to: Some(text) },
        ];
        let changed = editor.edited(&before, &there).unwrap();
        assert_eq!(path("after.image").find(&changed), Some(&Value::text("elsewhere")));
        assert_eq!(path("after.n").find(&changed), Some(&Value::I8(7)));
        let again = editor.edited(&before, &there).unwrap();
        assert!(Arc::ptr_eq(changed.schema.as_ref().unwrap(), again.schema.as_ref().unwrap()), "worked out once");
        let image = Datum::new(
            Arc::clone(path("after.image").schema(&before).unwrap()),
            path("after.image").find(&before).unwrap().clone(),
        );
        let back =
            [Edit { path: path("after.image"), to: Some(image) }, Edit { path: path("after.image_ref"), to: None }];
        assert_eq!(editor.edited(&changed, &back).unwrap(), before);
    }

    #[test]
    fn paths_that_make_no_sense_are_told() {
        for text in ["", "a..b", ".a", "a.*", "a[0]"] {
            FieldPath::parse(text).unwrap_err();
        }
        assert!(path("a").overlaps(&path("a.b")) && !path("a.c").overlaps(&path("a.b")));
    }

    #[test]
    fn maps_without_a_schema_keep_their_order() {
        let inner = Map::from(vec![(Value::text("image"), Value::text("x")), (Value::text("n"), Value::I8(1))]);
        let outer = Map::from(vec![(Value::text("after"), Value::Map(Box::new(inner)))]);
        let datum = Datum::schemaless(Value::Map(Box::new(outer)));
        let put = Edit { path: path("after.image"), to: Some(Datum::schemaless(Value::I8(9))) };
        let changed = Editor::default().edited(&datum, &[put]).unwrap();
        let Some(Value::Map(inside)) = path("after").find(&changed) else { panic!("{changed:?}") };
        let members: Vec<_> = inside.iter().map(|(key, value)| (key.as_str().unwrap(), value.clone())).collect();
        assert_eq!(members, [("image", Value::I8(9)), ("n", Value::I8(1))]);
    }
}
