//! A folder as a store, and transformations on it: for tests of what goes there and comes back.

use std::path::{Path, PathBuf};

use pipette_api::{AsyncTransform, Blob, Plugin, Position, Record, Result, Settings, SourcePlace, Value};
use pipette_kit::Bench;
use tempfile::TempDir;
use transform_claim_check::PLUGINS;

/// A folder as a store, and transformations on it.
pub(crate) struct Rig {
    pub(crate) bench: Bench,
    pub(crate) folder: TempDir,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self { bench: Bench::new().unwrap(), folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub(crate) fn uri(&self) -> String {
        format!("file://{}", self.store().display())
    }

    pub(crate) fn make(&self, name: &str, config: &[(&str, &str)]) -> Box<dyn AsyncTransform> {
        let plugin = PLUGINS.iter().find_map(|plugin| match plugin {
            Plugin::AsyncTransform(plugin) if plugin.info.answers_to(name) => Some(plugin),
            _ => None,
        });
        let plugin = plugin.unwrap();
        let mut map = pipette_kit::build::config(config);
        map.entry("store.uri".into()).or_insert_with(|| self.uri());
        let settings = Settings::new(map, plugin.info.config);
        (plugin.make)(settings, self.bench.transform()).unwrap()
    }

    /// What becomes of a record; an error leaves it as it was.
    pub(crate) fn run(&self, transform: &dyn AsyncTransform, record: &Record) -> Result<Record> {
        self.run_at(transform, record, None)
    }

    /// The same for one that a source has read there.
    pub(crate) fn run_at(
        &self,
        transform: &dyn AsyncTransform,
        record: &Record,
        position: Option<&Position>,
    ) -> Result<Record> {
        let mut changed = record.clone();
        assert!(transform.holds(record) >= record.held());
        if transform.needs(record) {
            let place = position.map(|position| SourcePlace { position, ordinal: transform.ordinal(position) });
            let outcome = self.bench.run("apply", transform.apply_at(&mut changed, place)).unwrap();
            if let Err(error) = outcome {
                assert_eq!(changed, *record, "an error leaves the record as it was");
                return Err(error);
            }
        }
        Ok(changed)
    }

    pub(crate) fn check_in(&self, config: &[(&str, &str)], record: &Record) -> Record {
        self.run(&*self.make("ClaimCheck", config), record).unwrap()
    }

    pub(crate) fn try_restore(&self, config: &[(&str, &str)], record: &Record) -> Result<Record> {
        self.run(&*self.make("ClaimCheckRestore", config), record)
    }

    /// In memory, so that records can be compared.
    pub(crate) fn restore(&self, config: &[(&str, &str)], record: &Record) -> Record {
        self.try_restore(&[&[("mode", "eager")], config].concat(), record).unwrap()
    }

    pub(crate) fn objects(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        files(&self.store(), &mut found);
        found
    }
}

pub(crate) fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

/// Bytes as a value.
pub(crate) fn bytes(bytes: impl Into<Vec<u8>>) -> Value {
    Value::Bytes(Blob::whole(bytes.into()).unwrap())
}

/// The text of bytes.
pub(crate) fn base64(bytes: &[u8]) -> Value {
    let mut out = Vec::new();
    pipette_json::write_base64(bytes, &mut out);
    Value::text(String::from_utf8(out).unwrap())
}
