//! Golden cases: what a transformation or predicate does, written as JSON beside it.
//!
//! A file is a list of cases:
//! `{"name", "plugin", "config": {…}, "input": record, "output": …}` or with `"error": "part of the text"` instead.
//! The output is a record, of which only what differs from the input is written, `"drop"`, or true or false for a
//! predicate. `"schemaless": "why"` in a case with a schema says why law T5 does not hold for it. Records are
//! `{"topic", "partition", "timestamp", "offset", "key", "value", "headers": [{"name", …}]}`; `values.rs` reads keys, values
//! and schemas.

use std::path::Path;

use pipette_api::{ConfigMap, Headers, Record};
use serde_json::Value as Json;

use super::values;

/// One case.
#[derive(Debug)]
pub struct Case {
    /// File and name, for messages.
    pub name: String,
    /// The class or alias of the plugin.
    pub plugin: String,
    /// Its configuration.
    pub config: ConfigMap,
    /// The record it gets.
    pub input: Record,
    /// What comes of it.
    pub expected: Expected,
    /// Why the case is different without a schema, if it is.
    pub schemaless: Option<String>,
}

/// What a case expects.
#[derive(Debug, PartialEq)]
pub enum Expected {
    /// The record goes on like this.
    Record(Box<Record>),
    /// The record is dropped.
    Drop,
    /// An error with this in its text.
    Error(String),
    /// What a predicate answers.
    Answer(bool),
}

/// Every case of every `*.json` file in a folder, files in order of their names.
pub(super) fn read(folder: &Path) -> Vec<Case> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap_or_else(|error| panic!("{}: {error}", folder.display())).path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    let text =
        |file: &Path| std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    files
        .iter()
        .flat_map(|file| parse_all(&file.file_name().unwrap_or_default().to_string_lossy(), &text(file)))
        .collect()
}

/// The cases in the text of a file.
pub(super) fn parse_all(file: &str, text: &str) -> Vec<Case> {
    match serde_json::from_str(text) {
        Ok(Json::Array(cases)) => cases.iter().map(|case| parse(file, case)).collect(),
        Ok(_) => panic!("{file}: a list of cases is wanted"),
        Err(error) => panic!("{file}: {error}"),
    }
}

fn parse(file: &str, json: &Json) -> Case {
    let known = ["name", "plugin", "config", "input", "output", "error", "schemaless"];
    let name = format!("{file}: {}", text(json, "name").unwrap_or_else(|| panic!("{file}: a case without a name")));
    only(&name, json, &known);
    let config = json["config"].as_object().unwrap_or_else(|| panic!("{name}: config is no object"));
    let input = record(&name, &json["input"], Record::new("topic".into(), pipette_api::Datum::NULL));
    let expected = match (&json["output"], text(json, "error")) {
        (Json::Null, Some(error)) => Expected::Error(error),
        (Json::String(word), None) if word == "drop" => Expected::Drop,
        (Json::Bool(answer), None) => Expected::Answer(*answer),
        (output @ Json::Object(_), None) => Expected::Record(Box::new(record(&name, output, input.clone()))),
        _ => panic!("{name}: either output (a record, \"drop\", true, false) or error is wanted"),
    };
    Case {
        plugin: text(json, "plugin").unwrap_or_else(|| panic!("{name}: no plugin")),
        config: config.iter().map(|(key, value)| (key.clone(), config_text(value))).collect(),
        schemaless: text(json, "schemaless"),
        name,
        input,
        expected,
    }
}

/// The record described, with the rest taken from another one.
fn record(name: &str, json: &Json, mut record: Record) -> Record {
    only(name, json, &["topic", "partition", "timestamp", "offset", "key", "value", "headers"]);
    if let Some(topic) = text(json, "topic") {
        record.topic = topic.into();
    }
    if let Some(partition) = json.get("partition") {
        record.partition = partition.as_i64().and_then(|number| i32::try_from(number).ok());
    }
    if let Some(timestamp) = json.get("timestamp") {
        record.timestamp = timestamp.as_i64();
    }
    if let Some(offset) = json.get("offset") {
        record.offset = offset.as_i64();
    }
    if let Some(key) = json.get("key") {
        record.key = values::datum(name, key);
    }
    if let Some(value) = json.get("value") {
        record.value = values::datum(name, value);
    }
    if let Some(Json::Array(headers)) = json.get("headers") {
        record.headers = Headers::default();
        for header in headers {
            let key = text(header, "name").unwrap_or_else(|| panic!("{name}: a header without a name"));
            record.headers.add(key, values::datum(name, header));
        }
    }
    record
}

fn text(json: &Json, key: &str) -> Option<String> {
    json.get(key)?.as_str().map(str::to_owned)
}

/// Configurations are texts; numbers and booleans may be written as such.
fn config_text(json: &Json) -> String {
    json.as_str().map_or_else(|| json.to_string(), str::to_owned)
}

/// A key written wrong must not weaken a case in silence.
pub(super) fn only(name: &str, json: &Json, known: &[&str]) {
    let Some(object) = json.as_object() else { panic!("{name}: an object is wanted, not {json}") };
    for key in object.keys() {
        assert!(known.contains(&key.as_str()), "{name}: {key} is none of {known:?}");
    }
}
