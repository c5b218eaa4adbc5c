//! The attribute `dataref` of CloudEvents, in Kafka's binary binding: headers with the prefix `ce_`.

use pipette_api::{ConnectError, Datum, Headers, Kind, Record, Result, Schema, Value};
use uuid::Uuid;

use super::{Form, Found, broken, short_bytes};
use crate::reference::Reference;

const DATAREF: &str = "ce_dataref";

pub(super) const HEADERS: &[&str] = &[DATAREF];

/// What every event has.
const REQUIRED: [&str; 4] = ["ce_specversion", "ce_id", "ce_source", "ce_type"];

/// What makes an event of a record that is none yet.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    /// `cloudevents.source`.
    pub source: &'a str,
    /// `cloudevents.type`.
    pub kind: &'a str,
}

pub(super) fn find(record: &Record) -> Result<Found> {
    let Some(header) = record.headers.last(DATAREF) else { return Ok(Found::Nothing) };
    let bytes = short_bytes(&header.value).ok_or_else(|| broken(Form::CloudEvents, "ce_dataref is no text"))?;
    let uri = std::str::from_utf8(bytes).map_err(|_| broken(Form::CloudEvents, "ce_dataref is not UTF-8"))?;
    let kind = record.headers.last("content-type").and_then(|header| header.value.as_str());
    Ok(Found::Reference(Box::new(Reference { content_type: kind.map(str::to_owned), ..Reference::to(uri) })))
}

/// Adds `ce_dataref`, and the attributes an event must have where the record has none. A config error when neither the record
/// nor the configuration has them.
pub fn add(reference: &Reference, attributes: Option<Attributes<'_>>, headers: &mut Headers) -> Result<()> {
    if REQUIRED.iter().any(|name| headers.last(name).is_none()) {
        let attributes = attributes.ok_or_else(|| {
            ConnectError::config(
                "emit.cloudevents: the record is no CloudEvent yet; set cloudevents.source and cloudevents.type",
            )
        })?;
        let id = || reference.digest.map_or_else(|| Uuid::now_v7().to_string(), |digest| digest.hex());
        let values = ["1.0".to_owned(), id(), attributes.source.to_owned(), attributes.kind.to_owned()];
        for (name, value) in REQUIRED.into_iter().zip(values) {
            if headers.last(name).is_none() {
                headers.add(name, text(&value));
            }
        }
    }
    headers.add(DATAREF, text(&reference.uri));
    Ok(())
}

fn text(text: &str) -> Datum {
    Datum::new(Schema::of(Kind::String), Value::text(text))
}
