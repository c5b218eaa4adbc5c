//! The file store under `state.dir`: what a standalone worker remembers (Law 6).
//!
//! | file | holds | written |
//! |---|---|---|
//! | `lock` | the pid of the worker that owns the folder | at start |
//! | `connectors.json` | connectors and their target states | whole: temporary file, sync, rename |
//! | `identity` | a random name, by which a worker that keeps its state in Kafka knows its own past | once |
//! | `offsets.log` | offsets of sources | appended: see `frame.rs`; rewritten when mostly garbage |
//! | `plugins/` | what connectors keep for themselves | by them, each in a folder of its own |
//!
//! `worker.rs` opens it; read `offsets.rs` for the log, `frame.rs` for its bytes, `java.rs` for the import.

mod atomic;
mod connectors;
pub mod folders;
mod frame;
mod java;
mod lock;
mod offsets;

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pipette_api::{ConnectError, Result};

use super::{ConnectorStore, OffsetEntry, OffsetStore, offset_json};

use self::connectors::FileConnectors;
use self::folders::PluginFolders;
use self::lock::Lock;
use self::offsets::FileOffsets;

/// An open `state.dir`, locked while it lives.
#[derive(Debug)]
pub struct FileStore {
    dir: PathBuf,
    /// Connector configurations.
    pub connectors: Arc<FileConnectors>,
    /// Source offsets.
    pub offsets: Arc<FileOffsets>,
    /// Folders of plugins.
    pub folders: Arc<PluginFolders>,
    /// Released last: fields drop in order.
    _lock: Lock,
}

impl FileStore {
    /// Makes the folder if need be, takes its lock and reads what it holds.
    pub fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).map_err(|error| {
            ConnectError::config(format!(
                "Cannot create state.dir {}: set state.dir to a folder that this user may write",
                dir.display()
            ))
            .because(error)
        })?;
        let lock = Lock::take(dir)?;
        let connectors = Arc::new(FileConnectors::open(dir)?);
        let offsets = Arc::new(FileOffsets::open(dir)?);
        Ok(Self { dir: dir.to_owned(), connectors, offsets, folders: PluginFolders::new(dir), _lock: lock })
    }

    /// A name of this folder's worker that no other worker has.
    pub fn identity(&self) -> Result<String> {
        let path = self.dir.join("identity");
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(&path, "read", error)),
            _ => {}
        }
        // Its seed is the system's randomness: enough to tell workers apart, and no secret.
        let random = RandomState::new().hash_one(std::process::id());
        let name = format!("{random:016x}");
        atomic::replace(&path, name.as_bytes()).map_err(|error| failed(&path, "write", error))?;
        Ok(name)
    }

    /// The seam of the herder.
    pub fn connector_store(&self) -> Arc<dyn ConnectorStore> {
        Arc::<FileConnectors>::clone(&self.connectors)
    }

    /// The seam of tasks and REST.
    pub fn offset_store(&self) -> Arc<dyn OffsetStore> {
        Arc::<FileOffsets>::clone(&self.offsets)
    }

    /// Takes over the offsets of Java's standalone worker (`offset.storage.file.filename`) into an empty store. A file
    /// that does not exist holds no offsets, as in Java. Returns how many were taken.
    pub async fn import_java(&self, file: &Path) -> Result<usize> {
        if !self.offsets.is_empty() || !file.exists() {
            return Ok(0);
        }
        let named = |error: ConnectError| error.within(format!("Cannot import Java's offsets file {}", file.display()));
        let bytes = fs::read(file).map_err(|error| named(failed(file, "read", error)))?;
        let mut imported = 0;
        for (key, value) in java::read(&bytes).map_err(named)? {
            // Java stores null partitions too, and lists them nowhere; no connector of ours can ask for one.
            let (connector, partition) = match offset_json::decode_key(&key) {
                Ok(key) => key,
                Err(error) => {
                    tracing::warn!(key = %String::from_utf8_lossy(&key), error = %error.chain(), "Offset not imported");
                    continue;
                }
            };
            let Some(value) = value else { continue };
            let offset = offset_json::decode_offset(&value).map_err(named)?;
            let entry = OffsetEntry { partition: Arc::new(partition), offset: Some(offset) };
            self.offsets.put(&connector, vec![entry]).await?;
            imported += 1;
        }
        Ok(imported)
    }
}

/// The error of a file that could not be read or written: which file, what was tried, what to do about it.
fn failed(path: &Path, verb: &str, error: std::io::Error) -> ConnectError {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, StorageFull};
    let advice = match error.kind() {
        StorageFull => "the disk is full: free some space, the worker tries again",
        PermissionDenied => "give this user the right to, or set state.dir to another folder",
        ReadOnlyFilesystem => "the file system is read-only: set state.dir to a folder on a writable one",
        _ => "check the disk under state.dir",
    };
    ConnectError::retriable(format!("Cannot {verb} {}: {advice}", path.display())).because(error)
}

/// A file that is not what it should be: names the file and says how to go on. Nothing is repaired by guessing.
fn damaged(path: &Path, what: &str, remedy: &str) -> ConnectError {
    ConnectError::fatal(format!("{} is damaged: {what}. {remedy}", path.display()))
}

/// A file that a newer version has written.
fn newer(path: &Path, format: u64, known: u64) -> ConnectError {
    ConnectError::config(format!(
        "{} has format {format}, this Pipette ({}) reads formats up to {known}: start the newer version that wrote it, \
         or restore the copy of state.dir made before the upgrade",
        path.display(),
        env!("CARGO_PKG_VERSION"),
    ))
}

/// The name a file has while it is being written.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
