//! Remembers uploads in parts, so that a worker that was killed can abort what it left in a bucket.
//!
//! A text file: a first line with its format, then `+` and an upload that is to begin or has begun, `-` and one that has
//! ended. It is synced before the store is asked for the upload, and emptied whenever no upload is open.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pipette_api::{ConnectError, Result};
use serde_json::{Value, json};

const FORMAT: &str = "pipette uploads 1\n";

/// An upload in parts that has neither ended nor been aborted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpload {
    /// The address of the object it is to become.
    pub uri: String,
    /// What the store calls the upload; empty as long as it has not said.
    pub id: String,
}

impl OpenUpload {
    /// One that the store is about to be asked for.
    pub(crate) fn meant(uri: String) -> Self {
        Self { uri, id: String::new() }
    }

    /// True when the store has not said what it calls it: nobody knows whether it has begun.
    pub(crate) fn is_meant(&self) -> bool {
        self.id.is_empty()
    }

    fn line(&self, sign: char) -> String {
        format!("{sign}{}\n", json!({"uri": self.uri, "id": self.id}))
    }

    fn read(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
        Some(Self { uri: text("uri")?, id: text("id")? })
    }
}

/// The journal of one owner of uploads.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    open: Vec<OpenUpload>,
}

impl Journal {
    /// Opens or makes it. A last line that was cut short by a crash is left out; a newer format is a fatal error.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            text => text.map_err(|error| fault(&path, error))?,
        };
        let open = replay(&text).ok_or_else(|| {
            ConnectError::fatal(format!("{} is no journal of uploads that this version reads", path.display()))
        })?;
        let file = rewrite(&path, &open).map_err(|error| fault(&path, error))?;
        Ok(Self { path, state: Mutex::new(State { file, open }) })
    }

    /// The journal of an owner in a folder, which is made when it is missing.
    pub fn below(folder: &Path, owner: &str) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|error| {
            ConnectError::config(format!("cannot make the folder {}", folder.display())).because(error)
        })?;
        Self::open(folder.join(format!("{owner}.uploads")))
    }

    /// What is open.
    pub fn left(&self) -> Vec<OpenUpload> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).open.clone()
    }

    /// An upload is to begin, possibly once more; durable on return.
    pub(crate) fn note(&self, upload: &OpenUpload) -> Result<()> {
        self.append(|state| {
            if state.open.contains(upload) {
                return Ok(());
            }
            state.open.push(upload.clone());
            state.file.write_all(upload.line('+').as_bytes())?;
            state.file.sync_data()
        })
    }

    /// One that was to begin has begun. Synced before it gets its first part: of what was only meant nothing is aborted that
    /// holds one.
    pub(crate) fn name(&self, meant: &OpenUpload, upload: &OpenUpload) -> Result<()> {
        self.append(|state| {
            state.open.retain(|open| open != meant);
            state.open.push(upload.clone());
            state.file.write_all((upload.line('+') + &meant.line('-')).as_bytes())?;
            state.file.sync_data()
        })
    }

    /// An upload has ended. Not synced: one that is aborted once more is no harm.
    pub(crate) fn clear(&self, upload: &OpenUpload) -> Result<()> {
        self.append(|state| {
            state.open.retain(|open| open != upload);
            if state.open.is_empty() {
                state.file.set_len(FORMAT.len() as u64)
            } else {
                state.file.write_all(upload.line('-').as_bytes())
            }
        })
    }

    fn append(&self, act: impl FnOnce(&mut State) -> io::Result<()>) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut state).map_err(|error| fault(&self.path, error))
    }
}

fn replay(text: &str) -> Option<Vec<OpenUpload>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let mut open: Vec<OpenUpload> = Vec::new();
    for line in text.strip_prefix(FORMAT)?.split_inclusive('\n') {
        let Some(line) = line.strip_suffix('\n') else { break };
        let upload = OpenUpload::read(line.get(1..)?)?;
        match line.as_bytes()[0] {
            b'+' => open.push(upload),
            b'-' => open.retain(|it| *it != upload),
            _ => return None,
        }
    }
    Some(open)
}

fn rewrite(path: &Path, open: &[OpenUpload]) -> io::Result<File> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(FORMAT.as_bytes())?;
    for upload in open {
        file.write_all(upload.line('+').as_bytes())?;
    }
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        File::open(folder)?.sync_all()?;
    }
    OpenOptions::new().append(true).open(path)
}

fn fault(path: &Path, error: io::Error) -> ConnectError {
    ConnectError::retriable(format!("Cannot write the journal of uploads {}", path.display())).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(id: &str) -> OpenUpload {
        OpenUpload { uri: format!("s3://b/{id}"), id: id.to_owned() }
    }

    #[test]
    fn what_was_open_is_open_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uploads");
        let journal = Journal::open(&path).unwrap();
        for id in ["a", "b", "c"] {
            journal.note(&upload(id)).unwrap();
        }
        journal.clear(&upload("b")).unwrap();
        drop(journal);
        // Killed in the middle of a line.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"+{\"uri\":\"s3:").unwrap();
        let journal = Journal::open(&path).unwrap();
        assert_eq!(journal.left(), [upload("a"), upload("c")]);
        journal.clear(&upload("a")).unwrap();
        journal.clear(&upload("c")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), FORMAT, "nothing open, nothing kept");
        journal.note(&upload("d")).unwrap();
        assert_eq!(Journal::open(&path).unwrap().left(), [upload("d")]);
    }

    #[test]
    fn what_was_meant_is_known_before_it_has_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uploads");
        let meant = OpenUpload::meant("s3://b/a".into());
        let journal = Journal::open(&path).unwrap();
        journal.note(&meant).unwrap();
        journal.note(&meant).unwrap();
        assert_eq!(
            Journal::open(&path).unwrap().left(),
            std::slice::from_ref(&meant),
            "once, however often it was tried"
        );
        let journal = Journal::open(&path).unwrap();
        journal.name(&meant, &upload("a")).unwrap();
        assert_eq!(Journal::open(&path).unwrap().left(), [upload("a")]);
    }

    #[test]
    fn a_file_of_somebody_else_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uploads");
        for text in ["pipette uploads 2\n", "hello", "pipette uploads 1\n*{}\n"] {
            fs::write(&path, text).unwrap();
            Journal::open(&path).unwrap_err();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
