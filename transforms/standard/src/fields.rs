//! Keys and values that have fields: what the transformations of fields have in common.
//!
//! A key or value with a schema must be a struct, one without must be a map; [`of`] says so in Java's words.

use std::sync::Arc;

use pipette_api::{ConnectError, Datum, Key, Map, Result, Schema, SchemaBuilder, Struct, Value};

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
        Datum { schema: Some(_), value } => Err(ConnectError::data(format!(
            "Only Struct objects supported for [{purpose}], found: {}",
            java_class(value)
        ))),
        Datum { schema: None, value } => Err(ConnectError::data(format!(
            "Only Map objects supported in absence of schema for [{purpose}], found: {}",
            java_class(value)
        ))),
    }
}

/// The class Java would name in an error.
pub(crate) fn java_class(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "java.lang.Boolean",
        Value::I8(_) => "java.lang.Byte",
        Value::I16(_) => "java.lang.Short",
        Value::I32(_) => "java.lang.Integer",
        Value::I64(_) => "java.lang.Long",
        Value::F32(_) => "java.lang.Float",
        Value::F64(_) => "java.lang.Double",
        Value::Date(_) | Value::Time(_) | Value::Timestamp(_) => "java.util.Date",
        Value::Decimal(_) => "java.math.BigDecimal",
        Value::String(_) => "java.lang.String",
        Value::Bytes(_) => "[B",
        Value::Payload(_) => "payload handle",
        Value::Array(_) => "java.util.ArrayList",
        Value::Map(_) => "java.util.HashMap",
        Value::Struct(_) => "org.apache.kafka.connect.data.Struct",
    }
}

/// The defaults that take the place of nulls, worked out once per schema.
pub(crate) struct Defaults(Vec<(usize, Value)>);

impl Defaults {
    /// The defaults of a struct schema's fields.
    pub(crate) fn of(schema: &Schema) -> Self {
        let fields = schema.fields().iter().enumerate();
        Self(fields.filter_map(|(index, field)| Some((index, field.schema.default()?.clone()))).collect())
    }

    /// No defaults: nulls stay.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    /// Puts them where the values are null.
    pub(crate) fn fill(&self, record: &mut Struct) {
        if self.0.is_empty() {
            return;
        }
        let values = record.values_mut();
        for (index, default) in &self.0 {
            if values[*index].is_null() {
                values[*index] = default.clone();
            }
        }
    }
}

/// A struct schema to rebuild from another: its name, version, documentation and parameters, without its fields.
/// Java keeps neither optionality nor default of the struct itself.
pub(crate) fn rebuild(schema: &Schema) -> SchemaBuilder {
    let mut builder = SchemaBuilder::record();
    if let Some(name) = schema.name() {
        builder = builder.name(name);
    }
    if let Some(version) = schema.version() {
        builder = builder.version(version);
    }
    if let Some(doc) = schema.doc() {
        builder = builder.doc(doc);
    }
    schema.params().iter().fold(builder, |builder, (name, value)| builder.param(Arc::clone(name), Arc::clone(value)))
}
