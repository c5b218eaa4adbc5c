//! `POST /transforms/preview`: what a chain makes of records, step by step.

use axum::http::StatusCode;
use axum::response::Response;
use pipette_api::record::KafkaHeaders;
use pipette_api::{Converter, Datum, Record, Value};
use serde::Serialize;
use serde_json::value::RawValue;

use super::error::ApiError;
use super::request::{Parts, text};
use crate::convert;
use crate::herder::handle::HerderHandle;
use crate::herder::preview::{Outcome, Stop, Trail};

#[derive(Serialize)]
struct Preview {
    records: Vec<ShownTrail>,
}

#[derive(Serialize)]
struct ShownTrail {
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Shown>,
    /// Of the converters.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    steps: Vec<ShownStop>,
}

#[derive(Serialize)]
struct ShownStop {
    step: String,
    class: &'static str,
    outcome: &'static str,
    micros: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Why it is not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// What it would have written to something outside was not written.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    rehearsed: bool,
}

/// A record; keys, values and headers as `{"schema", "payload"}`.
#[derive(Serialize)]
struct Shown {
    topic: String,
    partition: Option<i32>,
    timestamp: Option<i64>,
    offset: Option<i64>,
    key: Option<Box<RawValue>>,
    value: Option<Box<RawValue>>,
    headers: Vec<ShownHeader>,
}

#[derive(Serialize)]
struct ShownHeader {
    name: String,
    value: Option<Box<RawValue>>,
}

pub(super) async fn answer(herder: &HerderHandle, request: &Parts) -> Result<Response, ApiError> {
    let (draft, records) = request.preview()?;
    let (trails, secrets) = herder.preview(draft, records).await?;
    let internal = |text: String| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text);
    let mut converter = convert::json_as_it_is(true).map_err(|error| internal(error.chain()))?;
    let records = trails.into_iter().map(|trail| shown_trail(trail, &mut *converter)).collect();
    let mut body = serde_json::to_string(&Preview { records }).map_err(|error| internal(error.to_string()))?;
    secrets.hide_in_json(&mut body);
    Ok(text(StatusCode::OK, body.into_bytes()))
}

fn shown_trail(trail: Trail, converter: &mut dyn Converter) -> ShownTrail {
    let steps = trail.steps.into_iter().map(|stop| shown_stop(stop, converter)).collect();
    match trail.start {
        Ok(record) => ShownTrail { record: Some(shown(&record, converter)), error: None, steps },
        Err(error) => ShownTrail { record: None, error: Some(error.chain()), steps },
    }
}

fn shown_stop(stop: Stop, converter: &mut dyn Converter) -> ShownStop {
    let reason = if let Outcome::Unseen(why) = &stop.outcome { Some(*why) } else { None };
    let (outcome, record, error) = match stop.outcome {
        Outcome::Changed(record) => ("applied", Some(shown(&record, converter)), None),
        Outcome::Skipped => ("skipped", None, None),
        Outcome::Dropped => ("dropped", None, None),
        Outcome::Failed(error) => ("failed", None, Some(error.chain())),
        Outcome::Unseen(_) => ("unseen", None, None),
    };
    let micros = stop.took.as_secs_f64() * 1e6;
    ShownStop { step: stop.alias, class: stop.class, outcome, micros, record, error, reason, rehearsed: stop.rehearsed }
}

fn shown(record: &Record, converter: &mut dyn Converter) -> Shown {
    let mut datum = |datum: &Datum| shown_datum(datum, converter);
    Shown {
        topic: record.topic.to_string(),
        partition: record.partition,
        timestamp: record.timestamp,
        offset: record.offset,
        key: datum(&record.key),
        value: datum(&record.value),
        headers: record
            .headers
            .0
            .iter()
            .map(|(name, value)| ShownHeader { name: name.to_string(), value: datum(value) })
            .collect(),
    }
}

/// What JSON has no form for, such as a date without a schema, is shown as text.
fn shown_datum(datum: &Datum, converter: &mut dyn Converter) -> Option<Box<RawValue>> {
    if datum.is_null() {
        return None;
    }
    let mut buffer = Vec::new();
    let written = converter.encode("topic", &mut KafkaHeaders::new(), datum, &mut buffer);
    let text = match written {
        Ok(bytes) => String::from_utf8_lossy(bytes.unwrap_or(b"null")).into_owned(),
        Err(_) => serde_json::json!({"schema": null, "payload": as_text(&datum.value)}).to_string(),
    };
    RawValue::from_string(text).ok()
}

fn as_text(value: &Value) -> String {
    let mut text = Vec::new();
    let of_bytes = |value: &Value, out: &mut Vec<u8>| {
        match value {
            Value::Bytes(bytes) => pipette_json::write_base64(bytes.as_bytes(), out),
            _ => out.extend_from_slice(b"(a payload)"),
        }
        Ok(())
    };
    match pipette_java::append_text(value, &mut text, of_bytes) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => error.to_string(),
    }
}
