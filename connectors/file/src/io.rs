//! The one place where an I/O error becomes one of the contract's kinds. Used by source and sink.

use std::io::{Error, ErrorKind};
use std::path::Path;

use pipette_api::ConnectError;

/// An error that says what was tried on which file and what to do. What a person has to repair (a path, a permission)
/// is fatal; a full disk or a share that is away is tried again.
pub(crate) fn failed(action: &str, path: &Path, error: Error) -> ConnectError {
    let path = path.display();
    let advice = match error.kind() {
        ErrorKind::NotFound => Some("the folder does not exist: create it or correct 'file'"),
        ErrorKind::PermissionDenied => Some("the worker's user may not do that: change the permissions"),
        ErrorKind::IsADirectory => Some("it is a folder: 'file' must name a file"),
        ErrorKind::NotADirectory | ErrorKind::InvalidInput | ErrorKind::InvalidFilename => {
            Some("this is not the path of a file: correct 'file'")
        }
        ErrorKind::ReadOnlyFilesystem => Some("the file system is read-only: mount it writable or correct 'file'"),
        _ => None,
    };
    match advice {
        Some(advice) => ConnectError::fatal(format!("Cannot {action} {path}: {advice}")).because(error),
        None if error.kind() == ErrorKind::StorageFull => {
            ConnectError::retriable(format!("Cannot {action} {path}: the disk is full; make room, it is tried again"))
                .because(error)
        }
        None => ConnectError::retriable(format!("Cannot {action} {path}; it is tried again")).because(error),
    }
}
