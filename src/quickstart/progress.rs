//! The quick start's live line: what lies where. Read from the folders, so that it shows what a user would see there.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IsTerminal, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use pipette_api::{ConnectError, Result};

use crate::console::say;

/// Looks at the folders and tells what has changed.
#[derive(Debug)]
pub(super) struct Progress {
    inbox: PathBuf,
    finished: PathBuf,
    files: Vec<Lines>,
    shown: String,
    /// A terminal shows one line that changes, anything else a line for each change.
    live: bool,
}

/// A file that a sink makes and that grows.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    /// How far it was counted.
    counted: u64,
    rows: usize,
}

impl Progress {
    pub(super) fn new(inbox: PathBuf, finished: PathBuf, files: Vec<Lines>) -> Self {
        Self { inbox, finished, files, shown: String::new(), live: io::stdout().is_terminal() }
    }

    /// Shows the state and what more there is to say, if it has changed; returns how many rows have arrived in each file.
    pub(super) fn look(&mut self, more: &str) -> Result<Vec<usize>> {
        let rows = self.files.iter_mut().map(Lines::count).collect::<Result<Vec<_>>>()?;
        let mut state = format!("{} in inbox, {} finished", files(&self.inbox), files(&self.finished));
        for Lines { path, rows, .. } in &self.files {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let _ = write!(state, ", {rows} rows in {name}");
        }
        state.push_str(more);
        if state != self.shown {
            // Blanks cover what a longer line leaves behind.
            say(&if self.live { format!("\r{state:<72}") } else { format!("{state}\n") })?;
            self.shown = state;
        }
        Ok(rows)
    }

    /// Says something below the live line.
    pub(super) fn tell(&self, message: &str) -> Result<()> {
        say(&if self.live { format!("\n{message}") } else { message.to_owned() })
    }
}

impl Lines {
    pub(super) fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), counted: 0, rows: 0 }
    }

    /// How many there are by now.
    pub(super) fn count(&mut self) -> Result<usize> {
        self.look()
            .map_err(|error| ConnectError::fatal(format!("Cannot read {}", self.path.display())).because(error))?;
        Ok(self.rows)
    }

    /// Counts the lines that came since the last look. The sink makes the file, so at first there is none.
    fn look(&mut self) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        file.seek(SeekFrom::Start(self.counted))?;
        let mut file = BufReader::new(file);
        let mut line = Vec::new();
        while file.read_until(b'\n', &mut line)? > 0 {
            // The sink may be in the middle of the last line: it is read again.
            if line.ends_with(b"\n") {
                self.rows += 1;
                self.counted += line.len() as u64;
            }
            line.clear();
        }
        Ok(())
    }
}

fn files(folder: &Path) -> String {
    let count = visible(folder);
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

/// Files that are not hidden.
pub(super) fn visible(folder: &Path) -> usize {
    let visible = |entry: &fs::DirEntry| !entry.file_name().as_encoded_bytes().starts_with(b".");
    fs::read_dir(folder).map_or(0, |entries| entries.flatten().filter(visible).count())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn rows_are_counted_as_they_come() {
        let dir = tempfile::tempdir().unwrap();
        let rows = dir.path().join("rows.jsonl");
        let mut progress = Progress::new(dir.path().to_owned(), dir.path().to_owned(), vec![Lines::of(&rows)]);
        assert_eq!(progress.look("").unwrap(), [0]);
        let mut file = File::create(&rows).unwrap();
        file.write_all(b"1\n2\nhal").unwrap();
        assert_eq!(progress.look("").unwrap(), [2]);
        assert_eq!(progress.shown, "1 file in inbox, 1 file finished, 2 rows in rows.jsonl");
        file.write_all("f\n".repeat(9_000).as_bytes()).unwrap();
        assert_eq!(progress.look("").unwrap(), [9_002]);
    }
}
