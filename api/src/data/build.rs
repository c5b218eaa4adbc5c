//! The only way to make a schema.

use std::collections::HashSet;
use std::sync::Arc;

use super::schema::{Field, Kind, LINEAR_FIELDS, Schema, logical};
use super::value::Value;
use crate::error::{ConnectError, Result};

/// Builds a schema step by step; [`SchemaBuilder::build`] checks it.
#[derive(Debug, Clone)]
pub struct SchemaBuilder {
    schema: Schema,
    params: Vec<(Arc<str>, Arc<str>)>,
    fields: Vec<Field>,
}

impl SchemaBuilder {
    /// A required schema of that kind.
    pub fn new(kind: Kind) -> Self {
        Self { schema: Schema::bare(kind, false), params: Vec::new(), fields: Vec::new() }
    }

    /// A copy of a schema, to change parts of it. Its fields come along.
    pub fn like(schema: &Schema) -> Self {
        let (params, fields) = (schema.params.to_vec(), schema.fields.to_vec());
        Self { schema: schema.clone(), params, fields }
    }

    /// An array of elements.
    pub fn array(element: Arc<Schema>) -> Self {
        Self::new(Kind::Array).element(Some(element))
    }

    /// A map.
    pub fn map(key: Arc<Schema>, value: Arc<Schema>) -> Self {
        Self::new(Kind::Map).key(Some(key)).element(Some(value))
    }

    /// A struct; add fields next.
    pub fn record() -> Self {
        Self::new(Kind::Struct)
    }

    /// Connect's Decimal with that scale.
    pub fn decimal(scale: i32) -> Self {
        Self::new(Kind::Bytes).name(logical::DECIMAL).version(1).param(logical::SCALE, scale.to_string())
    }

    /// Connect's Date.
    pub fn date() -> Self {
        Self::new(Kind::Int32).name(logical::DATE).version(1)
    }

    /// Connect's Time.
    pub fn time() -> Self {
        Self::new(Kind::Int32).name(logical::TIME).version(1)
    }

    /// Connect's Timestamp.
    pub fn timestamp() -> Self {
        Self::new(Kind::Int64).name(logical::TIMESTAMP).version(1)
    }

    /// Null becomes a value.
    #[must_use]
    pub fn optional(self) -> Self {
        self.nullable(true)
    }

    /// Says whether null is a value.
    #[must_use]
    pub fn nullable(mut self, optional: bool) -> Self {
        self.schema.optional = optional;
        self
    }

    /// Sets the default.
    #[must_use]
    pub fn default(mut self, value: Value) -> Self {
        self.schema.default = Some(value);
        self
    }

    /// Sets the name.
    #[must_use]
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.schema.name = Some(name.into());
        self
    }

    /// Sets the version.
    #[must_use]
    pub fn version(mut self, version: i32) -> Self {
        self.schema.version = Some(version);
        self
    }

    /// Sets the documentation.
    #[must_use]
    pub fn doc(mut self, doc: impl Into<Arc<str>>) -> Self {
        self.schema.doc = Some(doc.into());
        self
    }

    /// Adds a parameter.
    #[must_use]
    pub fn param(mut self, name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        self.params.push((name.into(), value.into()));
        self
    }

    /// Takes name, version, documentation and parameters of another schema, as far as it has them; neither its fields nor
    /// whether it is optional.
    #[must_use]
    pub fn described_as(mut self, other: &Schema) -> Self {
        let Self { schema, params, .. } = &mut self;
        schema.name = other.name.clone().or(schema.name.take());
        schema.version = other.version.or(schema.version);
        schema.doc = other.doc.clone().or(schema.doc.take());
        params.extend(other.params.iter().cloned());
        self
    }

    /// Adds a field at the end.
    #[must_use]
    pub fn field(mut self, name: impl Into<Arc<str>>, schema: Arc<Schema>) -> Self {
        self.fields.push(Field { name: name.into(), schema });
        self
    }

    /// Sets the key schema of a map.
    #[must_use]
    pub fn key(mut self, schema: Option<Arc<Schema>>) -> Self {
        self.schema.key = schema;
        self
    }

    /// Sets the element schema of an array or the value schema of a map.
    #[must_use]
    pub fn element(mut self, schema: Option<Arc<Schema>>) -> Self {
        self.schema.element = schema;
        self
    }

    /// The schema. A data error for a field without a name, a field twice, or fields outside of a struct.
    pub fn build(self) -> Result<Arc<Schema>> {
        let Self { mut schema, params, fields } = self;
        if !fields.is_empty() && schema.kind != Kind::Struct {
            return Err(ConnectError::data(format!("Cannot create fields on type {}", schema.kind.name())));
        }
        let mut seen = HashSet::with_capacity(fields.len());
        for field in &fields {
            if field.name.is_empty() {
                return Err(ConnectError::data("fieldName cannot be null."));
            }
            if !seen.insert(&*field.name) {
                return Err(ConnectError::data(format!(
                    "Cannot create field because of field name duplication {}",
                    field.name
                )));
            }
        }
        schema.by_name = sorted_index(&fields);
        schema.params = params.into();
        schema.fields = fields.into();
        Ok(Arc::new(schema))
    }
}

fn sorted_index(fields: &[Field]) -> Box<[u32]> {
    if fields.len() <= LINEAR_FIELDS {
        return Box::default();
    }
    let count = u32::try_from(fields.len()).unwrap_or_else(|_| unreachable!("a schema has fewer than 2^32 fields"));
    let mut index: Vec<u32> = (0..count).collect();
    index.sort_unstable_by(|a, b| fields[*a as usize].name.cmp(&fields[*b as usize].name));
    index.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_small_and_large_structs() {
        for count in [1, LINEAR_FIELDS, LINEAR_FIELDS + 1, 100] {
            let mut builder = SchemaBuilder::record();
            for number in (0..count).rev() {
                builder = builder.field(format!("f{number}"), Schema::of(Kind::String));
            }
            let schema = builder.build().unwrap();
            for (index, field) in schema.fields().iter().enumerate() {
                assert_eq!(schema.field(&field.name), Some(index));
            }
            assert_eq!(schema.field("nothing"), None);
        }
    }

    #[test]
    fn bad_fields_are_refused() {
        let twice = SchemaBuilder::record().field("a", Schema::of(Kind::Int8)).field("a", Schema::of(Kind::Int8));
        assert!(twice.build().unwrap_err().to_string().contains("duplication a"));
        assert!(SchemaBuilder::record().field("", Schema::of(Kind::Int8)).build().is_err());
        assert!(SchemaBuilder::new(Kind::Int8).field("a", Schema::of(Kind::Int8)).build().is_err());
    }
}
