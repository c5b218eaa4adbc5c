//! Worker and connector files on disk. Called by the command line.

use std::path::Path;

use pipette_api::{ConfigMap, ConnectError, Result};
use serde_json::Value;

use super::properties;

/// A connector as a file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectorFile {
    /// The name.
    pub name: String,
    /// The configuration, `name` included.
    pub config: ConfigMap,
    /// `initial_state` as written; the herder reads it.
    pub initial_state: Option<String>,
}

/// Reads a worker file. An empty path is an empty configuration, as for Apache's worker.
pub fn worker(path: &Path) -> Result<ConfigMap> {
    if path.as_os_str().is_empty() {
        return Ok(ConfigMap::new());
    }
    properties::parse(&read(path)?).map_err(|error| error.within(path.display()))
}

/// Reads a connector file: a flat JSON object, a JSON object as for `POST /connectors`, or a properties file.
pub fn connector(path: &Path) -> Result<ConnectorFile> {
    let bytes = read(path)?;
    // Windows editors put a byte order mark in front.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let looks_like_json = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let file = if looks_like_json { from_json(bytes) } else { properties::parse(bytes).and_then(flat) };
    file.map_err(|error| error.within(path.display()))
}

/// Reads a text file that a command names.
pub fn text(path: &Path) -> Result<String> {
    let text = String::from_utf8(read(path)?);
    text.map_err(|error| ConnectError::config(format!("{} is not UTF-8", path.display())).because(error))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| ConnectError::config(format!("Cannot read {}", path.display())).because(error))
}

fn flat(config: ConfigMap) -> Result<ConnectorFile> {
    match config.get("name").map(|name| name.trim().to_owned()) {
        Some(name) if !name.is_empty() => Ok(ConnectorFile { name, config, initial_state: None }),
        _ => Err(ConnectError::config("key \"name\" is missing: a connector file names its connector")),
    }
}

fn from_json(bytes: &[u8]) -> Result<ConnectorFile> {
    let json: Value =
        serde_json::from_slice(bytes).map_err(|error| ConnectError::config("not valid JSON").because(error))?;
    let Some(nested) = json.get("config").and_then(Value::as_object) else {
        return flat(strings(&json)?);
    };
    let name = json.get("name").and_then(Value::as_str).unwrap_or_default().trim().to_owned();
    let mut config = strings(&Value::Object(nested.clone()))?;
    let inner = config.entry("name".into()).or_insert_with(|| name.clone());
    if *inner != name {
        return Err(ConnectError::config(format!("\"name\" is \"{name}\", but \"config.name\" is \"{inner}\"")));
    }
    let initial_state = json.get("initial_state").and_then(Value::as_str).map(str::to_owned);
    Ok(ConnectorFile { initial_state, ..flat(config)? })
}

fn strings(json: &Value) -> Result<ConfigMap> {
    let object = json.as_object().ok_or_else(|| ConnectError::config("not a JSON object"))?;
    let text = |(key, value): (&String, &Value)| match value {
        Value::String(text) => Ok((key.clone(), text.clone())),
        Value::Number(_) | Value::Bool(_) => Ok((key.clone(), value.to_string())),
        _ => Err(ConnectError::config(format!("key \"{key}\" must be text, a number or a boolean"))),
    };
    object.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<ConnectorFile> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("connector");
        std::fs::write(&path, text).unwrap();
        connector(&path)
    }

    #[test]
    fn the_three_formats_mean_the_same() {
        let properties = check("name=a\ntasks.max=2\n").unwrap();
        assert_eq!(check(r#" {"name":"a","tasks.max":2}"#).unwrap(), properties);
        assert_eq!(check("\u{feff}{\"name\":\"a\",\"tasks.max\":2}").unwrap(), properties);
        assert_eq!(check(r#"{"name":"a","config":{"tasks.max":"2"},"other":1}"#).unwrap(), properties);
        let paused = check(r#"{"name":"a","config":{"tasks.max":"2"},"initial_state":"paused"}"#).unwrap();
        assert_eq!(paused.initial_state.as_deref(), Some("paused"));
    }

    #[test]
    fn errors_name_the_file_and_the_key() {
        let error = check("tasks.max=1").unwrap_err().to_string();
        assert!(error.contains("connector: key \"name\" is missing"), "{error}");
        let error = check(r#"{"name":"a","config":{"name":"b"}}"#).unwrap_err().to_string();
        assert!(error.contains("\"name\" is \"a\", but \"config.name\" is \"b\""), "{error}");
        assert!(check(r#"{"name":"a","x":[1]}"#).unwrap_err().to_string().contains("key \"x\""));
    }
}
