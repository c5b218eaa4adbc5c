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
    known: Mutex<BTreeMap<Arc<str>, StoredConnector>>,
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
    async fn change(&self, edit: impl FnOnce(&mut BTreeMap<Arc<str>, StoredConnector>) + Send + 'static) -> Result<()> {
        let inner = Arc::clone(&self.0);
        let changed = task::spawn_blocking(move || inner.change(edit)).await;
        changed.unwrap_or_else(|error| Err(ConnectError::fatal("Writing connectors.json was cut short").because(error)))
    }
}

impl Inner {
    /// Memory changes only after the disk has.
    fn change(&self, edit: impl FnOnce(&mut BTreeMap<Arc<str>, StoredConnector>)) -> Result<()> {
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
        Ok(self.0.known.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect())
    }

    async fn put(&self, connector: &StoredConnector) -> Result<()> {
        let connector = connector.clone();
        self.change(move |known| drop(known.insert(Arc::clone(&connector.name), connector))).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.change(move |known| drop(known.remove(name.as_str()))).await
    }
}

fn render(known: &BTreeMap<Arc<str>, StoredConnector>) -> Vec<u8> {
    let connectors: Vec<Value> = known
        .values()
        .map(|connector| {
            json!({ "name": &*connector.name, "target": target_name(connector.target), "config": connector.config })
        })
        .collect();
    let mut text = format!("{:#}", json!({ "format": FORMAT, "connectors": connectors })).into_bytes();
    text.push(b'\n');
    text
}

fn parse(path: &Path, bytes: &[u8]) -> Result<BTreeMap<Arc<str>, StoredConnector>> {
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
            Ok((Arc::clone(&connector.name), connector))
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
