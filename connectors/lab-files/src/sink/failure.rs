//! The one place where an error of the output folder becomes one of the contract's kinds. Used by `tree.rs`.

use std::io::{Error, ErrorKind};
use std::path::Path;

use pipette_api::ConnectError;

use super::tree::Collision;

/// An error that says what was tried on which path and what to do. A name that the file system does not take is bad data; what
/// a person has to repair is fatal; a full disk or a share that is away is tried again.
pub(crate) fn failed(action: &str, path: &Path, error: Error) -> ConnectError {
    let what = format!("Cannot {action} {}", path.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            ConnectError::retriable(format!("{what}: the disk or the quota is full; make room, it is tried again"))
        }
        ErrorKind::PermissionDenied => ConnectError::fatal(format!(
            "{what}: the worker's user may not do that; give it write rights on output.path and the folders in it"
        )),
        ErrorKind::ReadOnlyFilesystem => {
            ConnectError::fatal(format!("{what}: the file system is read-only; mount it writable or change output.path"))
        }
        ErrorKind::CrossesDevices => ConnectError::fatal(format!(
            "{what}: it is on another device than output.path, where a file cannot be put in one step; give that folder \
             a sink of its own"
        )),
        ErrorKind::NotADirectory => {
            ConnectError::data(format!("{what}: a file or a link is in the way; remove it or change file.name"))
        }
        ErrorKind::IsADirectory | ErrorKind::DirectoryNotEmpty => {
            ConnectError::data(format!("{what}: there is a folder of that name; remove it or change file.name"))
        }
        ErrorKind::InvalidFilename | ErrorKind::InvalidInput => {
            ConnectError::data(format!("{what}: the file system takes no such name; change file.name"))
        }
        ErrorKind::FileTooLarge => ConnectError::data(format!("{what}: the file system takes no file of that size")),
        ErrorKind::NotFound => {
            ConnectError::retriable(format!("{what}: it is not there; create it, or mount the share it is on"))
        }
        _ => ConnectError::retriable(format!("{what}; it is tried again")),
    }
    .because(error)
}

/// The name is taken and may not be replaced.
pub(crate) fn left_out(path: &Path, collision: Collision) -> ConnectError {
    let path = path.display();
    ConnectError::data(match collision {
        Collision::Suffix => format!(
            "{path} holds other content, and so does the file of that name with topic, partition and offset added: move \
             what is there, or change file.name"
        ),
        Collision::Overwrite | Collision::Fail => format!(
            "{path} holds other content, and collision=fail keeps it: move it, or make names differ with ${{offset}} in \
             file.name"
        ),
    })
}

#[cfg(test)]
mod tests {
    use pipette_api::ErrorKind as Kind;
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        for (errno, kind, advice) in [
            (Errno::NOSPC, Kind::Retriable, "make room"),
            (Errno::DQUOT, Kind::Retriable, "quota"),
            (Errno::ACCESS, Kind::Fatal, "write rights"),
            (Errno::PERM, Kind::Fatal, "write rights"),
            (Errno::ROFS, Kind::Fatal, "read-only"),
            (Errno::XDEV, Kind::Fatal, "another device"),
            (Errno::NOTDIR, Kind::Data, "in the way"),
            (Errno::ISDIR, Kind::Data, "a folder of that name"),
            (Errno::NAMETOOLONG, Kind::Data, "no such name"),
            (Errno::INVAL, Kind::Data, "no such name"),
            (Errno::FBIG, Kind::Data, "that size"),
            (Errno::NOENT, Kind::Retriable, "mount the share"),
            (Errno::STALE, Kind::Retriable, "tried again"),
        ] {
            let error = failed("write", Path::new("/lab/a"), errno.into());
            assert!(error.kind() == kind && error.to_string().contains(advice), "{errno:?}: {error}");
            assert!(error.to_string().starts_with("Cannot write /lab/a"), "{error}");
        }
    }
}
