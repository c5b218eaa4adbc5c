//! `connectors.json`: every connector, replaced whole at each change. People may read it; it holds configurations as
//! they were given.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use pipette_api::{ConfigMap, ConnectError, Result, async_trait};
use serde_json::{Value, json};
use tokio::task;

use super::super::{ConnectorStore, StoredConnector, TargetState};
use super::{atomic, damaged, failed, newer};

const FORMAT: u64 = 1;

/// Connectors in a file. Calls wait for each other: a change is on disk before the next begins.
#[derive(Debug)]
pub struct FileConnectors(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    known: Mutex<Known>,
}

type Known = BTreeMap<Arc<str>, Arc<Kept>>;

/// A connector with its part of the file, so that a change of one of a thousand costs little more than the writing.
#[derive(Debug)]
struct Kept {
    connector: StoredConnector,
    text: String,
}

impl FileConnectors {
    /// Reads the file; without one there are no connectors.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("connectors.json");
        let known = match fs::read(&path) {
            Ok(bytes) => parse(&path, &bytes)?,
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(failed(&path, "read", error)),
        };
        Ok(Self(Arc::new(Inner { path, known: Mutex::new(known) })))
    }

    /// True without any connector.
    pub fn is_empty(&self) -> bool {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Runs off the caller's thread: REST must answer while a slow disk syncs.
    async fn change(&self, edit: impl FnOnce(&mut Known) + Send + 'static) -> Result<()> {
        let inner = Arc::clone(&self.0);
        let changed = task::spawn_blocking(move || inner.change(edit)).await;
        changed.unwrap_or_else(|error| Err(ConnectError::fatal("Writing connectors.json was cut short").because(error)))
    }
}

impl Inner {
    /// Memory changes only after the disk has.
    fn change(&self, edit: impl FnOnce(&mut Known)) -> Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = known.clone();
        edit(&mut next);
        atomic::replace(&self.path, &render(&next)).map_err(|error| failed(&self.path, "write", error))?;
        *known = next;
        Ok(())
    }
}

#[async_trait]
impl ConnectorStore for FileConnectors {
    async fn load(&self) -> Result<Vec<StoredConnector>> {
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.values().map(|kept| kept.connector.clone()).collect())
    }

    async fn put(&self, connector: &StoredConnector) -> Result<()> {
        let kept = Arc::new(Kept::of(connector.clone()));
        self.change(move |known| drop(known.insert(Arc::clone(&kept.connector.name), kept))).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.change(move |known| drop(known.remove(name.as_str()))).await
    }
}

impl Kept {
    fn of(connector: StoredConnector) -> Self {
        let StoredConnector { name, target, config } = &connector;
        let text = format!("{:#}", json!({ "name": &**name, "target": target_name(*target), "config": config }));
        let text = text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n");
        Self { connector, text }
    }
}

/// The document as `serde_json` prints it, of parts that it has printed before.
fn render(known: &Known) -> Vec<u8> {
    let parts: Vec<&str> = known.values().map(|kept| kept.text.as_str()).collect();
    let list = if parts.is_empty() { String::new() } else { format!("\n{}\n  ", parts.join(",\n")) };
    format!("{{\n  \"format\": {FORMAT},\n  \"connectors\": [{list}]\n}}\n").into_bytes()
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Known> {
    let bad = |what: &str| {
        damaged(path, what, "Correct it by hand or restore it from a copy; without it, POST the connectors again")
    };
    let document: Value = serde_json::from_slice(bytes).map_err(|error| bad(&error.to_string()))?;
    match document["format"].as_u64() {
        Some(FORMAT) => {}
        Some(format) if format > FORMAT => return Err(newer(path, format, FORMAT)),
        _ => return Err(bad("its \"format\" is not a format number")),
    }
    let list = document["connectors"].as_array().ok_or_else(|| bad("its \"connectors\" is not a list"))?;
    let read = |entry: &Value| -> Option<StoredConnector> {
        Some(StoredConnector {
            name: Arc::from(entry["name"].as_str()?),
            target: target_of(entry["target"].as_str()?)?,
            config: config_of(&entry["config"])?,
        })
    };
    list.iter()
        .enumerate()
        .map(|(index, entry)| {
            let connector = read(entry).ok_or_else(|| {
                bad(&format!("connector {} lacks a name, a known target or a flat config", index + 1))
            })?;
            Ok((Arc::clone(&connector.name), Arc::new(Kept::of(connector))))
        })
        .collect()
}

fn config_of(config: &Value) -> Option<ConfigMap> {
    config.as_object()?.iter().map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn target_name(target: TargetState) -> &'static str {
    match target {
        TargetState::Started => "STARTED",
        TargetState::Paused => "PAUSED",
        TargetState::Stopped => "STOPPED",
    }
}

fn target_of(name: &str) -> Option<TargetState> {
    [TargetState::Started, TargetState::Paused, TargetState::Stopped].into_iter().find(|it| target_name(*it) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_what_serde_json_prints() {
        let mut known = Known::new();
        for (number, name) in ["", "a", "b \"quoted\""].into_iter().enumerate() {
            if number > 0 {
                let config = ConfigMap::from([("name".into(), name.into()), ("text".into(), "two\nlines".into())]);
                let connector = StoredConnector { name: name.into(), target: TargetState::Paused, config };
                known.insert(name.into(), Arc::new(Kept::of(connector)));
            }
            let text = String::from_utf8(render(&known)).unwrap();
            let document: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(text, format!("{document:#}\n"));
            assert_eq!(parse(Path::new("x"), text.as_bytes()).unwrap().len(), number);
        }
    }
}
