//! `/connectors/{name}/offsets`: read, altered, reset (KIP-875).

use axum::http::{Method, StatusCode};
use axum::response::Response;
use pipette_api::Primitive;
use serde::Serialize;
use serde_json::{Map, Value};

use super::error::ApiError;
use super::model;
use super::request::{Parts, json};
use crate::herder::handle::HerderHandle;
use crate::herder::offsets::{Wanted, Written};

#[derive(Serialize)]
struct Message {
    message: &'static str,
}

pub(super) async fn answer(herder: &HerderHandle, name: &str, request: &Parts) -> Result<Response, ApiError> {
    let message = match request.method {
        Method::PATCH => {
            herder.alter_offsets(name, wanted(&request.document()?)?).await?;
            "The offsets for this connector have been altered successfully"
        }
        Method::DELETE => {
            herder.reset_offsets(name).await?;
            "The offsets for this connector have been reset successfully"
        }
        _ => return Ok(json(StatusCode::OK, &model::offsets(&herder.offsets(name).await?))),
    };
    Ok(json(StatusCode::OK, &Message { message }))
}

fn wanted(body: &Value) -> Result<Vec<Wanted>, ApiError> {
    let members = object("The body", body, &["offsets"])?;
    let entries = match members.get("offsets") {
        None | Some(Value::Null) => &Vec::new(),
        Some(Value::Array(entries)) => entries,
        Some(_) => return Err(ApiError::bad("\"offsets\" must be a list: [{\"partition\": …, \"offset\": …}]")),
    };
    if entries.is_empty() {
        return Err(ApiError::bad("Partitions / offsets need to be provided for an alter offsets request"));
    }
    entries.iter().map(entry).collect()
}

fn entry(entry: &Value) -> Result<Wanted, ApiError> {
    let members = object("An entry of \"offsets\"", entry, &["partition", "offset"])?;
    let part = |name: &str| match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(values)) => {
            Ok(Some(values.iter().map(|(key, value)| (key.clone(), primitive(value))).collect::<Written>()))
        }
        Some(_) => Err(ApiError::bad(format!("\"{name}\" must be an object or null"))),
    };
    Ok(Wanted { partition: part("partition")?, offset: part("offset")? })
}

fn object<'a>(what: &str, json: &'a Value, known: &[&str]) -> Result<&'a Map<String, Value>, ApiError> {
    let Value::Object(members) = json else {
        return Err(ApiError::bad(format!("{what} must be a JSON object: {{…}}")));
    };
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        Some(other) => {
            Err(ApiError::bad(format!("{what} has a member \"{other}\"; it may have {}", known.join(" and "))))
        }
        None => Ok(members),
    }
}

fn primitive(value: &Value) -> Result<Primitive, &'static str> {
    Ok(match value {
        Value::Null => Primitive::Null,
        Value::Bool(value) => Primitive::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(value) => Primitive::Int(value),
            None => Primitive::Float(number.as_f64().unwrap_or(f64::NAN).to_bits()),
        },
        Value::String(text) => Primitive::Text(text.as_str().into()),
        Value::Object(_) => return Err("MAP"),
        Value::Array(_) => return Err("ARRAY"),
    })
}
