//! Flatten: brings the fields of structs and maps inside up to the top, under names such as `parent.child`.

use std::sync::Arc;

use pipette_api::{
    ConfigDef, ConnectError, Key, Kind, Map, Record, Result, Schema, SchemaBuilder, SchemaCache, Settings, Side,
    Struct, Transform, Value, Verdict,
};
use pipette_json::unique;

use crate::fields::{self, java_class};

pub(crate) const ABOUT: &str = "Brings nested fields up to the top, under names such as parent.child.";

static DELIMITER: Key<String> =
    Key::new("delimiter", "What stands between the names of parent and child.").default(".");

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[&DELIMITER.info]);

/// Deeper than any reader of ours goes.
const MAX_DEPTH: usize = 1000;

const PURPOSE: &str = "flattening";

pub(crate) fn make(settings: &Settings, side: Side) -> Result<Box<dyn Transform>> {
    Ok(Box::new(Flatten { side, delimiter: settings.get(&DELIMITER)?, schemas: SchemaCache::new(fields::SCHEMAS) }))
}

struct Flatten {
    side: Side,
    delimiter: String,
    schemas: SchemaCache<Plan>,
}

/// What is known of an input schema.
struct Plan {
    schema: Arc<Schema>,
    nodes: Box<[Node]>,
}

enum Node {
    /// A field that stays as it is, and the default that takes the place of null.
    Leaf(Option<Value>),
    Struct(Box<[Node]>),
}

impl Transform for Flatten {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        let datum = self.side.of_mut(record);
        match (&mut datum.schema, &mut datum.value) {
            (_, Value::Null) => {}
            (None, Value::Map(map)) => self.flatten_map(map)?,
            (Some(schema), Value::Struct(record)) => self.flatten_struct(schema, record)?,
            (Some(_), value) => return Err(fields::no_struct(value, PURPOSE)),
            (None, value) => return Err(fields::no_map(value, PURPOSE)),
        }
        Ok(Verdict::Keep)
    }
}

impl Flatten {
    fn flatten_struct(&mut self, schema: &mut Arc<Schema>, record: &mut Struct) -> Result<()> {
        let delimiter = &self.delimiter;
        let plan = self.schemas.get_or_try(schema, |schema| Plan::new(schema, delimiter))?;
        if !fit(&plan.nodes, record) {
            return Err(ConnectError::data("a value does not fit the schema it stands under: it cannot be flattened"));
        }
        record.reshape(Arc::clone(&plan.schema), |values| {
            let nested = std::mem::replace(values, Vec::with_capacity(plan.schema.fields().len()));
            spread(&plan.nodes, nested, values);
        });
        *schema = Arc::clone(&plan.schema);
        Ok(())
    }

    fn flatten_map(&self, map: &mut Map) -> Result<()> {
        if map.keys().are_text() && map.values().iter().all(|value| !matches!(value, Value::Map(_))) {
            return map.values().iter().zip(map.keys().iter()).try_for_each(|(value, key)| stays(key, value));
        }
        let mut members = Vec::new();
        self.gather(map, Some(""), &mut members, 0)?;
        *map = unique(members);
        Ok(())
    }

    /// Members of a map that stands under null at the top have no name, as in Java.
    fn gather(&self, map: &Map, prefix: Option<&str>, members: &mut Vec<(Value, Value)>, depth: usize) -> Result<()> {
        if depth == MAX_DEPTH {
            return Err(ConnectError::data(format!("a value nested deeper than {MAX_DEPTH} levels is not flattened")));
        }
        for (key, value) in map.iter() {
            let Some(prefix) = prefix else {
                return Err(ConnectError::data(
                    "a map under the key null is not flattened: its members would have no name",
                ));
            };
            let name = match key {
                Value::String(_) | Value::Null if prefix.is_empty() => key.clone(),
                Value::String(name) => Value::text(self.name(prefix, name.as_str())),
                Value::Null => Value::text(self.name(prefix, "null")),
                other => return Err(fields::no_name(other)),
            };
            if let Value::Map(inner) = value {
                self.gather(inner, name.as_str(), members, depth + 1)?;
            } else {
                stays(&name, value)?;
                members.push((name, value.clone()));
            }
        }
        Ok(())
    }

    fn name(&self, prefix: &str, name: &str) -> String {
        [prefix, &self.delimiter, name].concat()
    }
}

/// Whether Java has a type for a value without a schema that stays as it is.
fn stays(name: &Value, value: &Value) -> Result<()> {
    let reason = match value {
        Value::Date(_) | Value::Time(_) | Value::Timestamp(_) | Value::Decimal(_) => format!(
            "Flatten transformation was passed a value of type class {} which is not supported by Connect's data API",
            java_class(value)
        ),
        Value::Struct(_) => "Flatten transformation does not support STRUCT for record without schemas".to_owned(),
        _ => return Ok(()),
    };
    Err(ConnectError::data(format!("{reason} (for field {}).", name.as_str().unwrap_or_default())))
}

/// Whether there is a struct, or nothing, wherever the schema says so.
fn fit(nodes: &[Node], record: &Struct) -> bool {
    nodes.len() == record.values().len()
        && nodes.iter().zip(record.values()).all(|(node, value)| match (node, value) {
            (Node::Leaf(_), _) | (_, Value::Null) => true,
            (Node::Struct(inner), Value::Struct(record)) => fit(inner, record),
            _ => false,
        })
}

fn spread(nodes: &[Node], values: Vec<Value>, out: &mut Vec<Value>) {
    for (node, value) in nodes.iter().zip(values) {
        match (node, value) {
            (Node::Leaf(Some(default)), Value::Null) => out.push(default.clone()),
            (Node::Leaf(_), value) => out.push(value),
            (Node::Struct(inner), Value::Struct(record)) => spread(inner, record.into_parts().1, out),
            (Node::Struct(inner), _) => nothing(inner, out),
        }
    }
}

/// The fields of a struct that is not there.
fn nothing(nodes: &[Node], out: &mut Vec<Value>) {
    for node in nodes {
        match node {
            Node::Leaf(_) => out.push(Value::Null),
            Node::Struct(inner) => nothing(inner, out),
        }
    }
}

impl Plan {
    fn new(schema: &Arc<Schema>, delimiter: &str) -> Result<Self> {
        fields::list(schema)?;
        let mut shaping = Shaping { delimiter, builder: fields::rebuild(schema) };
        let nodes = shaping.add(schema, "", schema.is_optional())?;
        Ok(Self { schema: shaping.builder.build()?, nodes })
    }
}

struct Shaping<'a> {
    delimiter: &'a str,
    builder: SchemaBuilder,
}

impl Shaping<'_> {
    /// Adds the fields of a struct; those of one that may be missing may be missing too.
    fn add(&mut self, schema: &Schema, prefix: &str, optional: bool) -> Result<Box<[Node]>> {
        let mut nodes = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let name: Arc<str> = if prefix.is_empty() {
                Arc::clone(&field.name)
            } else {
                [prefix, self.delimiter, &field.name].concat().into()
            };
            let optional = optional || field.schema.is_optional();
            match field.schema.kind() {
                Kind::Struct => nodes.push(Node::Struct(self.add(&field.schema, &name, optional)?)),
                Kind::Map => {
                    return Err(ConnectError::data(format!(
                        "Flatten transformation does not support MAP for record with schemas (for field {name})."
                    )));
                }
                _ => {
                    let leaf = if optional == field.schema.is_optional() {
                        Arc::clone(&field.schema)
                    } else {
                        SchemaBuilder::like(&field.schema).nullable(optional).build()?
                    };
                    self.builder = std::mem::replace(&mut self.builder, SchemaBuilder::record()).field(name, leaf);
                    nodes.push(Node::Leaf(field.schema.default().cloned()));
                }
            }
        }
        Ok(nodes.into())
    }
}

#[cfg(test)]
mod tests {
    use pipette_api::{ConfigMap, Datum};

    use super::*;

    /// Java's worker fails such a record too, without saying why.
    #[test]
    fn members_of_a_map_under_null_have_no_name() {
        let flatten = |inner: Map| {
            let mut transform = make(&Settings::new(ConfigMap::new(), &CONFIG), Side::Value).unwrap();
            let outer = Map::from(vec![(Value::Null, Value::Map(Box::new(inner))), (Value::text("a"), Value::I32(1))]);
            let mut record = Record::new("t".into(), Datum::schemaless(Value::Map(Box::new(outer))));
            transform.apply(&mut record).map(|_| record.value.value)
        };
        let error = flatten(Map::from(vec![(Value::text("b"), Value::I32(2))])).unwrap_err();
        assert!(error.to_string().contains("under the key null"), "{error}");
        let flat = Map::from(vec![(Value::text("a"), Value::I32(1))]);
        assert_eq!(flatten(Map::default()).unwrap(), Value::Map(Box::new(flat)));
    }
}
