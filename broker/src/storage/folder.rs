//! The data folder: who may use it, which format it has, and what is called what in it.
//!
//! ```text
//! lock        held while a broker runs; holds its process id
//! format      "pipette-broker 2"
//! journal     topics, committed offsets, transactional ids (see `journal`)
//! topics/NAME.ID/PARTITION.log
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::BrokerError;

/// Format 1 knew no transactions: it is read, and marked as 2 so that no older Pipette takes it for its own.
const FORMAT: u32 = 2;
const FORMAT_NAME: &str = "pipette-broker";
/// File systems allow 255 bytes for a name: a dot and 32 for the id leave this much, and some air.
const NAME_SHOWN: usize = 200;

#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    /// Released by the system when the process ends, however it ends.
    _lock: File,
}

impl Folder {
    pub(crate) fn open(path: &Path) -> Result<Folder, BrokerError> {
        let unusable = |error: io::Error| BrokerError::Folder { folder: path.to_owned(), error };
        fs::create_dir_all(path).map_err(unusable)?;
        let lock = lock(path)?;
        check_format(path)?;
        fs::create_dir_all(path.join("topics")).map_err(unusable)?;
        Ok(Folder { path: path.to_owned(), _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn topics(&self) -> PathBuf {
        self.path.join("topics")
    }

    /// The id makes it unique, also where names differ only in case; the name is for people.
    pub(crate) fn topic(&self, name: &str, id: Uuid) -> PathBuf {
        let shown = &name[..name.len().min(NAME_SHOWN)];
        self.topics().join(format!("{shown}.{}", id.simple()))
    }
}

fn lock(path: &Path) -> Result<File, BrokerError> {
    let unusable = |error: io::Error| BrokerError::Folder { folder: path.to_owned(), error };
    let name = path.join("lock");
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(&name).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.take(20).read_to_string(&mut holder).map_err(unusable)?;
            return Err(BrokerError::Locked { folder: path.to_owned(), pid: holder.trim().parse().ok() });
        }
        Err(TryLockError::Error(error)) => return Err(unusable(error)),
    }
    file.set_len(0).map_err(unusable)?;
    writeln!(file, "{}", std::process::id()).map_err(unusable)?;
    Ok(file)
}

fn check_format(path: &Path) -> Result<(), BrokerError> {
    let unusable = |error: io::Error| BrokerError::Folder { folder: path.to_owned(), error };
    let name = path.join("format");
    match fs::read_to_string(&name) {
        Ok(text) => {
            let found = text.trim().strip_prefix(FORMAT_NAME).and_then(|version| version.trim().parse().ok());
            match found {
                Some(FORMAT) => Ok(()),
                Some(1) => write_format(path).map_err(unusable),
                Some(version) => {
                    Err(BrokerError::NewerFormat { folder: path.to_owned(), found: version, known: FORMAT })
                }
                None => Err(BrokerError::NotOurs { file: name }),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A journal without a format file is somebody else's, or a folder that lost a file: do not touch it.
            if path.join("journal").exists() {
                return Err(BrokerError::NotOurs { file: name });
            }
            write_format(path).map_err(unusable)
        }
        Err(error) => Err(unusable(error)),
    }
}

fn write_format(path: &Path) -> io::Result<()> {
    let fresh = path.join("format.new");
    fs::write(&fresh, format!("{FORMAT_NAME} {FORMAT}\n"))?;
    fs::rename(&fresh, path.join("format"))
}
