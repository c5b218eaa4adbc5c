//! Files that nobody else sees: they have no name once they are open, and are gone with their descriptor, however the worker
//! ends. `reassemble/storage.rs` keeps pieces in them, `restore/cache/disk.rs` objects that come again.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use pipette_api::{ConnectError, Reach, Result};

static FILES: AtomicU64 = AtomicU64::new(0);

/// Opens one in a folder; `what` it is for stands in the name that it has for a moment. `fault` makes an error of what the
/// system says.
pub(crate) fn open(
    folder: &Path,
    what: &str,
    reach: &Reach,
    fault: impl Fn(io::Error) -> ConnectError,
) -> Result<File> {
    let name = format!(".{what}-{}-{}", std::process::id(), FILES.fetch_add(1, Ordering::Relaxed));
    let path = folder.join(name);
    reach.path(&path)?;
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(&fault)?;
    let gone = std::fs::remove_file(&path).map_err(&fault);
    reach.opened(&file).and(gone)?;
    Ok(file)
}

/// Checks a folder of a configuration: it is there, and may be used.
pub(crate) fn check_folder(key: &str, folder: &Path, reach: &Reach) -> Result<()> {
    reach.path(folder)?;
    if folder.is_dir() {
        return Ok(());
    }
    Err(ConnectError::config(format!("{key}: {} is no folder: make it first", folder.display())))
}
