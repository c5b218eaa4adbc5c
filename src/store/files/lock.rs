//! One worker per `state.dir`: two would overwrite each other's offsets.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;
use std::process;

use pipette_api::{ConnectError, Result};

use super::failed;

/// Holds the lock while it lives; the system releases it however the process ends.
#[derive(Debug)]
pub(super) struct Lock(#[allow(dead_code, reason = "held, never read")] File);

impl Lock {
    /// Takes the lock, or tells whose it is.
    pub(super) fn take(dir: &Path) -> Result<Self> {
        let path = dir.join("lock");
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(|error| failed(&path, "write", error))?;
        match file.try_lock() {
            Ok(()) => {
                let note = file.set_len(0).and_then(|()| writeln!(file, "{}", process::id()));
                note.map_err(|error| failed(&path, "write", error))?;
                Ok(Self(file))
            }
            Err(TryLockError::WouldBlock) => Err(taken(dir, &mut file)),
            Err(TryLockError::Error(error)) => Err(failed(&path, "lock", error)),
        }
    }
}

fn taken(dir: &Path, file: &mut File) -> ConnectError {
    let mut pid = String::new();
    let owner = match file.read_to_string(&mut pid) {
        Ok(_) if !pid.trim().is_empty() => format!("by process {}", pid.trim()),
        _ => "by another process".to_owned(),
    };
    ConnectError::config(format!(
        "state.dir {} is in use {owner}: stop that worker first, or give this one a state.dir of its own",
        dir.display()
    ))
}
