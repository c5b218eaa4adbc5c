//! Where pieces wait for the others: in memory up to a limit, then in files that nobody else sees.
//!
//! A file has no name any more once it is open, so that nothing is left behind however the worker ends. What was put
//! together keeps its pieces until the sink lets go of it. `payloads.rs` decides what goes where.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use pipette_api::{ConnectError, Metric, Reach, Result, Room, RoomLease};

use crate::nameless;

/// Bytes that are held, by what. Shared with what was handed out.
#[derive(Debug, Default)]
pub(super) struct Held {
    memory: AtomicI64,
    disk: AtomicI64,
    memory_shown: Metric,
    disk_shown: Metric,
}

impl Held {
    /// Nothing; the metrics show what it is.
    pub(super) fn shown(memory_shown: Metric, disk_shown: Metric) -> Self {
        Self { memory_shown, disk_shown, ..Self::default() }
    }

    fn memory(&self, bytes: i64) {
        self.memory.fetch_add(bytes, Ordering::Relaxed);
        self.memory_shown.add(bytes);
    }

    fn disk(&self, bytes: i64) {
        self.disk.fetch_add(bytes, Ordering::Relaxed);
        self.disk_shown.add(bytes);
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// The limits, and what there is to keep pieces in.
pub(super) struct Storage {
    held: Arc<Held>,
    room: Room,
    pub(super) memory: u64,
    disk: Option<Disk>,
    /// What open payloads have in memory: what was put together is the sink's to let go.
    pub(super) open_memory: u64,
}

struct Disk {
    folder: PathBuf,
    bytes: u64,
    reach: Reach,
}

impl Storage {
    /// Tries the folder: a config error when nothing can be written there.
    pub(super) fn new(held: Held, room: Room, memory: u64, disk: Option<(PathBuf, u64, Reach)>) -> Result<Self> {
        let disk = disk.map(|(folder, bytes, reach)| Disk { folder, bytes, reach });
        if let Some(disk) = &disk {
            let file = disk.open().map_err(|error| {
                let folder = disk.folder.display();
                ConnectError::config(format!("disk.dir: nothing can be written into {folder}")).because(error)
            })?;
            disk.hold_space(&file)?;
        }
        Ok(Self { held: Arc::new(held), room, memory, disk, open_memory: 0 })
    }

    pub(super) fn has_disk(&self) -> bool {
        self.disk.is_some()
    }

    /// Whether so many bytes more may be in memory. Where there is a disk, what the sink holds counts as well.
    pub(super) fn memory_left(&self, bytes: u64) -> bool {
        let held = self.held.memory.load(Ordering::Relaxed);
        let held = if self.has_disk() { u64::try_from(held).unwrap_or(0) } else { self.open_memory };
        held.saturating_add(bytes) <= self.memory
    }

    /// Whether so many bytes more may be on disk.
    pub(super) fn disk_left(&self, bytes: u64) -> bool {
        let held = u64::try_from(self.held.disk.load(Ordering::Relaxed)).unwrap_or(0);
        self.disk.as_ref().is_some_and(|disk| held.saturating_add(bytes) <= disk.bytes)
    }

    /// Keeps bytes in memory; `None` when the worker has no room for them and there is a disk for such days.
    pub(super) fn keep(&mut self, bytes: &[u8]) -> Option<Kept> {
        let lease = self.room.try_lease(bytes.len() as u64);
        if lease.is_none() && self.has_disk() {
            return None;
        }
        self.held.memory(signed(bytes.len() as u64));
        self.open_memory += bytes.len() as u64;
        Some(Kept { bytes: Bytes::copy_from_slice(bytes), held: Arc::clone(&self.held), _lease: lease })
    }

    /// A file for the pieces of one payload.
    pub(super) fn file(&self) -> Result<Spill> {
        let Some(disk) = &self.disk else { unreachable!("asked for where there is a disk") };
        let file = disk.open()?;
        Ok(Spill { file, len: 0, held: Arc::clone(&self.held), folder: disk.folder.clone() })
    }
}

impl Disk {
    /// A file without a name, which goes with its descriptor.
    fn open(&self) -> Result<File> {
        nameless::open(&self.folder, "reassemble", &self.reach, |error| self.fault(error))
    }

    /// Says when the disk is smaller than what it is to hold.
    fn hold_space(&self, file: &File) -> Result<()> {
        let space = rustix::fs::fstatvfs(file).map_err(|error| self.fault(error.into()))?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        if free < self.bytes {
            return Err(ConnectError::config(format!(
                "disk.bytes: {} has {free} bytes free, less than the {} that it is to hold",
                self.folder.display(),
                self.bytes
            )));
        }
        Ok(())
    }

    fn fault(&self, error: io::Error) -> ConnectError {
        fault(&self.folder, error)
    }
}

fn fault(folder: &Path, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ConnectError {
    let text =
        format!("Pieces of large values cannot be kept in {} (disk.dir); they are still in Kafka", folder.display());
    ConnectError::fatal(text).because(error)
}

/// Bytes in memory.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) bytes: Bytes,
    held: Arc<Held>,
    _lease: Option<RoomLease>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.held.memory(-signed(self.bytes.len() as u64));
    }
}

/// A file with pieces, in the order in which they came.
#[derive(Debug)]
pub(super) struct Spill {
    file: File,
    len: u64,
    held: Arc<Held>,
    folder: PathBuf,
}

impl Spill {
    /// Writes a piece behind the others; answers where it stands.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<u64> {
        let at = self.len;
        self.file.write_all_at(bytes, at).map_err(|error| fault(&self.folder, error))?;
        self.len += bytes.len() as u64;
        self.held.disk(signed(bytes.len() as u64));
        Ok(at)
    }

    pub(super) fn read(&self, at: u64, len: usize) -> Result<Bytes> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, at).map_err(|error| fault(&self.folder, error))?;
        Ok(bytes.into())
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        self.held.disk(-signed(self.len));
    }
}
