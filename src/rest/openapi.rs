//! `GET /openapi.json`: the API in OpenAPI's words, from the rows that serve it.
//!
//! `table.rs` has the rows and `shapes.json` the bodies they name. `docs/openapi.json` is the same for the built-in
//! plugins; the tests let a client made from it loose on a worker.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use axum::http::StatusCode;
use pipette_api::{Plugin, Question};
use serde_json::{Map, Value, json};

use super::table::{Body, Operation, Resource, TABLE};

/// Of every resource: a path that cannot be read, no login, a client that takes no JSON, a body that does not come, is
/// too large or is no JSON.
const ANYWHERE: [u16; 6] = [400, 401, 406, 408, 413, 415];

static SHAPES: LazyLock<Value> = LazyLock::new(|| match serde_json::from_str(include_str!("shapes.json")) {
    Ok(shapes) => shapes,
    Err(error) => unreachable!("a test reads shapes.json: {error}"),
});

/// The description, with the questions that these plugins answer.
pub fn document(plugins: &[&'static Plugin]) -> Value {
    let mut paths = Map::new();
    for resource in TABLE {
        match resource.path.split_once("{*") {
            Some((before, _)) => {
                for question in questions(plugins) {
                    let item = item(resource, question.about);
                    paths.insert(format!("{before}{}", question.path), item);
                }
            }
            None => drop(paths.insert(resource.path.to_owned(), item(resource, ""))),
        }
    }
    for (path, item) in &mut paths {
        name_operations(path, item);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Pipette",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The REST API of Apache Kafka Connect 4.3.1 and what Pipette adds to it.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        // Whether a login is asked for is the worker's to say.
        "security": [{}, {"basic": []}],
        "components": {
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
            "responses": refusals(),
            "schemas": &*SHAPES,
        },
    })
}

fn questions<'a>(plugins: &'a [&'static Plugin]) -> impl Iterator<Item = &'static Question> + 'a {
    plugins.iter().flat_map(|plugin| match plugin {
        Plugin::Source(source) => source.questions,
        Plugin::Sink(sink) => sink.questions,
        _ => &[],
    })
}

fn item(resource: &Resource, about: &str) -> Value {
    let mut item = Map::new();
    let places = resource.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let places: Vec<Value> = places.filter(|place| !place.starts_with('*')).map(place).collect();
    if !places.is_empty() {
        item.insert("parameters".into(), places.into());
    }
    for operation in resource.operations {
        let about = if operation.about.is_empty() { about } else { operation.about };
        item.insert(operation.method.to_lowercase(), described(operation, about, resource.path == "/metrics"));
    }
    item.into()
}

/// A part of the path that is filled in.
fn place(name: &str) -> Value {
    let (schema, example) = match name {
        "task" => (json!({"type": "integer", "format": "int32", "minimum": 0}), json!(0)),
        "plugin" => (json!({"type": "string", "minLength": 1}), json!("FileStreamSource")),
        "logger" => (json!({"type": "string", "minLength": 1}), json!("root")),
        _ => (json!({"type": "string", "minLength": 1}), json!("orders")),
    };
    json!({"name": name, "in": "path", "required": true, "schema": schema, "example": example})
}

fn described(operation: &Operation, about: &str, is_text: bool) -> Value {
    let mut described = json!({"summary": about});
    let query: Vec<Value> = operation.query.iter().map(|(name, about)| parameter(name, about)).collect();
    if !query.is_empty() {
        described["parameters"] = query.into();
    }
    let body = match operation.body {
        Body::None => None,
        Body::Needed(shape) => Some((shape, true)),
        Body::Optional(shape) => Some((shape, false)),
    };
    if let Some((shape, required)) = body {
        described["requestBody"] = json!({"required": required, "content": content(shape, false)});
    }
    let mut responses = Map::new();
    for (status, shape) in operation.answers {
        let content = if shape.is_empty() { Value::Null } else { content(shape, is_text) };
        responses.insert(status.to_string(), response(*status, content));
    }
    // A worker that is not well says so in its own shape.
    let is_health = operation.answers.contains(&(200, "Health"));
    for status in operation.refusals.iter().chain(&ANYWHERE) {
        let refusal = if is_health && *status >= 500 {
            response(*status, content("Health", false))
        } else {
            json!({"$ref": format!("#/components/responses/{status}")})
        };
        responses.insert(status.to_string(), refusal);
    }
    responses.sort_keys();
    described["responses"] = responses.into();
    described
}

/// The failures of all resources.
fn refusals() -> Value {
    let rows = TABLE.iter().flat_map(|resource| resource.operations).flat_map(|operation| operation.refusals);
    let statuses: BTreeSet<u16> = rows.chain(&ANYWHERE).copied().collect();
    let refusal = |status: u16| {
        let content = if status == 401 { json!({"application/json": {}}) } else { content("Error", false) };
        (status.to_string(), response(status, content))
    };
    statuses.into_iter().map(refusal).collect::<Map<_, _>>().into()
}

fn parameter(name: &str, about: &str) -> Value {
    json!({"name": name, "in": "query", "description": about, "schema": {"type": "string"}})
}

fn content(shape: &str, is_text: bool) -> Value {
    let kind = if is_text { "text/plain" } else { "application/json" };
    json!({kind: {"schema": {"$ref": format!("#/components/schemas/{shape}")}}})
}

fn response(status: u16, content: Value) -> Value {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let mut response = json!({"description": reason.unwrap_or_default()});
    if !content.is_null() {
        response["content"] = content;
    }
    response
}

/// Names that generators of clients make functions of: `get_connectors_connector_config`.
fn name_operations(path: &str, item: &mut Value) {
    let words: Vec<String> = path
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let Some(item) = item.as_object_mut() else { return };
    for (method, operation) in item.iter_mut().filter(|(key, _)| *key != "parameters") {
        let name = if words.is_empty() { "worker".to_owned() } else { words.join("_") };
        operation["operationId"] = format!("{method}_{name}").into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(json: &Value, found: &mut BTreeSet<String>) {
        match json {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref")
                    && reference.contains("/schemas/")
                {
                    found.insert(reference.rsplit('/').next().unwrap_or_default().to_owned());
                }
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_shape_that_is_named_exists_and_is_needed() {
        let mut named = BTreeSet::new();
        references(&document(&[]), &mut named);
        let there: BTreeSet<String> = SHAPES.as_object().unwrap().keys().cloned().collect();
        assert_eq!(named, there);
    }

    #[test]
    fn a_row_of_the_table_is_a_path() {
        let document = document(&[]);
        for resource in TABLE.iter().filter(|resource| !resource.path.contains("{*")) {
            let item = &document["paths"][resource.path];
            for operation in resource.operations {
                assert!(item[operation.method.to_lowercase()]["responses"]["400"].is_object(), "{}", resource.path);
            }
        }
        let pause = &document["paths"]["/connectors/{connector}/pause"];
        assert_eq!(pause["put"]["operationId"], "put_connectors_connector_pause");
        assert_eq!(pause["put"]["responses"]["202"], json!({"description": "Accepted"}));
        assert_eq!(pause["parameters"][0]["name"], "connector");
    }
}
