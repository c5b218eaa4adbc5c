//! The references of a record, and where their values belong. Anybody may have written them: nothing is believed here, and
//! nothing is asked of a store.

use std::sync::{Arc, Mutex, PoisonError};

use pipette_api::{Blob, ConnectError, Datum, Kind, Record, Result, Schema, SchemaCache, Side, Value};
use pipette_store::foreign::{Form, Found};
use pipette_store::{Reference, SCHEMA_NAME};

use super::config::Plan;
use crate::claim_check::{KEY, SIBLING};
use crate::fields::FieldPath;

/// Schemas of values that are known at a time.
const SCHEMAS: usize = 16;

/// What a record has.
pub(super) enum Claims {
    /// No reference.
    None,
    /// A value that a foreign form marks as one that stayed in Kafka; without the mark, where that stands in the bytes.
    Inline(Form, Option<Blob>),
    /// A reference of a foreign form for the whole value.
    Foreign(Form, Box<Reference>),
    /// Native references.
    Native(Vec<Claim>),
}

/// A native reference, and where its value belongs.
pub(super) struct Claim {
    pub(super) reference: Reference,
    pub(super) place: Place,
}

/// Where a value belongs.
pub(super) enum Place {
    /// It is the key.
    Key,
    /// It is the whole value.
    Whole,
    /// A field, and the one beside it that goes.
    Field(FieldPath, Option<FieldPath>),
}

/// Looks for references.
pub(super) struct Finder {
    /// Where references stand in structs.
    paths: Mutex<SchemaCache<Arc<[FieldPath]>>>,
}

impl Default for Finder {
    fn default() -> Self {
        Self { paths: Mutex::new(SchemaCache::new(SCHEMAS)) }
    }
}

impl Finder {
    /// What a record has. A data error when something is marked as a reference and cannot be read as one.
    pub(super) fn find(&self, plan: &Plan, record: &Record) -> Result<Claims> {
        if plan.native {
            let claims = self.native(plan, record)?;
            if !claims.is_empty() {
                return Ok(Claims::Native(claims));
            }
        }
        for form in &plan.forms {
            match form.find(Side::Value, record)? {
                Found::Nothing => {}
                Found::Inline(blob) => return Ok(Claims::Inline(*form, blob)),
                Found::Reference(reference) => return Ok(Claims::Foreign(*form, reference)),
            }
        }
        Ok(Claims::None)
    }

    fn native(&self, plan: &Plan, record: &Record) -> Result<Vec<Claim>> {
        let value = &record.value;
        let key = Reference::of_value(&record.key.value)?.map(|reference| Claim { reference, place: Place::Key });
        let mut claims: Vec<Claim> = key.into_iter().collect();
        if let Some(reference) = Reference::of_value(&value.value)? {
            claims.push(Claim { reference, place: Place::Whole });
            return Ok(claims);
        }
        if let (Some(schema), Value::Struct(_)) = (&value.schema, &value.value) {
            for path in self.paths(schema).iter() {
                if let Some(reference) = path.find(value).map(Reference::of_value).transpose()?.flatten() {
                    claims.extend(in_struct(reference, path, value));
                }
            }
        }
        let Some(header) = record.headers.last(&plan.header) else { return Ok(claims) };
        for reference in Reference::of_header(header)? {
            let claim = told(reference, value)?;
            let known = |claim: &Claim| claims.iter().any(|other| same_place(&other.place, &claim.place));
            claims.extend(claim.filter(|claim| !known(claim)));
        }
        Ok(claims)
    }

    fn paths(&self, schema: &Arc<Schema>) -> Arc<[FieldPath]> {
        let is_reference = |schema: &Schema| schema.kind() == Kind::Struct && schema.name() == Some(SCHEMA_NAME);
        let mut paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let found = paths.get_or_try(schema, |schema| {
            Ok::<_, std::convert::Infallible>(FieldPath::all_in(schema, &is_reference).into())
        });
        let Ok(found) = found;
        Arc::clone(found)
    }
}

/// A reference that stands in a struct: for the field itself, or for the one whose name it has at its front.
fn in_struct(reference: Reference, at: &FieldPath, value: &Datum) -> Option<Claim> {
    let meant = reference.path.as_deref().and_then(|path| FieldPath::parse(path).ok());
    let place = match meant {
        Some(meant) if meant.sibling(SIBLING) == *at => {
            meant.find(value)?;
            Place::Field(meant, Some(at.clone()))
        }
        _ => Place::Field(at.clone(), None),
    };
    Some(Claim { reference, place })
}

/// A reference from the header, if the record has a place for it.
fn told(reference: Reference, value: &Datum) -> Result<Option<Claim>> {
    let Some(path) = &reference.path else {
        // A value that is not empty is here already.
        return Ok(is_empty(&value.value).then_some(Claim { reference, place: Place::Whole }));
    };
    if path == KEY {
        // It stands in the key as well.
        return Ok(None);
    }
    let path = FieldPath::parse(path).map_err(|reason| {
        ConnectError::data(format!("a reference to a large value cannot be read: its path: {reason}"))
    })?;
    let Some(here) = path.find(value) else { return Ok(None) };
    if let Some(own) = Reference::of_value(here)? {
        return Ok(Some(Claim { reference: own, place: Place::Field(path, None) }));
    }
    if here.as_str() == Some(&reference.uri) {
        return Ok(Some(Claim { reference, place: Place::Field(path, None) }));
    }
    let sibling = path.sibling(SIBLING);
    if let Some(own) = sibling.find(value).map(Reference::of_value).transpose()?.flatten()
        && (here.is_null() || is_empty(here))
    {
        return Ok(Some(Claim { reference: own, place: Place::Field(path, Some(sibling)) }));
    }
    Ok(None)
}

fn same_place(a: &Place, b: &Place) -> bool {
    match (a, b) {
        (Place::Whole, Place::Whole) | (Place::Key, Place::Key) => true,
        (Place::Field(a, _), Place::Field(b, _)) => a == b,
        _ => false,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}
