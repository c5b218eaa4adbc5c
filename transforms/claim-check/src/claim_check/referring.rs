//! A record with references in the place of what is kept elsewhere. `claim_check.rs` calls it once the objects are durable.

use std::sync::{Arc, LazyLock};

use pipette_api::{Blob, ConnectError, Datum, Kind, Record, Result, Schema, SchemaBuilder, Side, Struct, Value};
use pipette_store::Reference;
use pipette_store::foreign::{Attributes, add_cloud_event};

use super::ClaimCheck;
use super::config::FieldMode;
use crate::fields::{Edit, FieldPath};

/// At the end of the name of a field with a reference beside the original one.
pub(crate) const SIBLING: &str = "_ref";

impl ClaimCheck {
    /// The record with references, which is what goes on.
    pub(super) fn referring(&self, record: &Record, references: &[Reference]) -> Result<Record> {
        let mut changed = record.clone();
        match (&self.plan.form, references) {
            (Some(form), [whole]) => form.put(Side::Value, whole, &mut changed)?,
            (None, [key]) if self.plan.side == Side::Key => {
                changed.key = if record.key.schema.is_some() { key.to_struct()? } else { key.to_map()? };
            }
            (None, [whole]) if whole.path.is_none() => changed.value = self.instead_of_value(whole, &record.value)?,
            _ => changed.value = self.instead_of_fields(references, &record.value)?,
        }
        if let Some(name) = &self.plan.header {
            changed.headers.0.retain(|(known, _)| **known != **name);
            // As text: header converters write that as it is.
            let json = pipette_api::Text::new(Reference::to_header(references)?)?;
            changed.headers.add(name.as_str(), Datum::new(Schema::of(Kind::String), Value::String(json)));
        }
        if self.plan.emits_cloudevents {
            let attributes = self.plan.cloudevents.as_ref().map(|(source, kind)| Attributes { source, kind });
            for reference in references {
                add_cloud_event(reference, attributes, &mut changed.headers)?;
            }
        }
        Ok(changed)
    }

    fn instead_of_value(&self, reference: &Reference, value: &Datum) -> Result<Datum> {
        if self.plan.header_only {
            // Never null, which is a tombstone on a compacted topic.
            let schema = value.schema.as_ref().map(|_| Schema::of(Kind::Bytes));
            return Ok(Datum { schema, value: Value::Bytes(Blob::whole(Vec::new())?) });
        }
        if value.schema.is_some() { reference.to_struct() } else { reference.to_map() }
    }

    fn instead_of_fields(&self, references: &[Reference], value: &Datum) -> Result<Datum> {
        let mut edits = Vec::with_capacity(references.len());
        for reference in references {
            let path = reference.path.as_deref().unwrap_or_default();
            let path = FieldPath::parse(path).map_err(ConnectError::fatal)?;
            let schema = path.schema(value);
            let optional = schema.is_some_and(|schema| schema.is_optional());
            let pointer =
                |optional| if value.schema.is_some() { in_field(reference, optional) } else { reference.to_map() };
            match self.plan.field_mode {
                FieldMode::Replace => edits.push(Edit { path, to: Some(pointer(optional)?) }),
                FieldMode::Uri => {
                    let text = if optional { Schema::optional(Kind::String) } else { Schema::of(Kind::String) };
                    let to = Datum { schema: schema.map(|_| text), value: Value::text(reference.uri.as_str()) };
                    edits.push(Edit { path, to: Some(to) });
                }
                FieldMode::Sibling => {
                    let sibling = path.sibling(SIBLING);
                    if sibling.find(value).is_some() {
                        return Err(ConnectError::data(format!(
                            "the value has a field {sibling} already: use replace"
                        )));
                    }
                    edits.push(Edit { path: sibling, to: Some(pointer(true)?) });
                    let to = Datum { schema: schema.cloned(), value: emptied(path.find(value), schema)? };
                    edits.push(Edit { path, to: Some(to) });
                }
            }
        }
        self.editor.edited(value, &edits)
    }
}

/// A reference as a field, which may have to be optional.
fn in_field(reference: &Reference, optional: bool) -> Result<Datum> {
    let whole = reference.to_struct()?;
    match whole.value {
        Value::Struct(row) if optional => {
            let schema = Arc::clone(&OPTIONAL);
            let row = Struct::from_parts(Arc::clone(&schema), row.into_parts().1);
            Ok(Datum::new(schema, Value::Struct(Box::new(row))))
        }
        value => Ok(Datum { schema: whole.schema, value }),
    }
}

static OPTIONAL: LazyLock<Arc<Schema>> = LazyLock::new(|| {
    let optional = SchemaBuilder::like(&Reference::schema()).optional().build();
    optional.unwrap_or_else(|_| unreachable!("a sound schema is sound when it is optional"))
});

/// What stands in a field whose payload is elsewhere: null where that is allowed.
fn emptied(value: Option<&Value>, schema: Option<&Arc<Schema>>) -> Result<Value> {
    if schema.is_none_or(|schema| schema.is_optional()) {
        return Ok(Value::Null);
    }
    Ok(match value {
        Some(Value::String(_)) => Value::text(""),
        _ => Value::Bytes(Blob::whole(Vec::new())?),
    })
}
