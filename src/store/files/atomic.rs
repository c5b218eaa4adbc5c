//! Replaces a file so that a crash at any moment leaves the old or the new one, whole (Law 6).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::temporary;

/// Puts `bytes` in the place of `path`. Durable when it returns.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (new, name) = create(path)?;
    (&new).write_all(bytes).and_then(|()| new.sync_all()).inspect_err(|_| drop(fs::remove_file(&name)))?;
    fs::rename(&name, path)?;
    sync_folder(path)
}

/// The file that will take the place of `path`, empty, and its name. Only this user may read it: configurations can
/// hold secrets.
pub(super) fn create(path: &Path) -> io::Result<(File, std::path::PathBuf)> {
    let name = temporary(path);
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&name)?;
    Ok((file, name))
}

/// A rename is durable once its folder is synced.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}
