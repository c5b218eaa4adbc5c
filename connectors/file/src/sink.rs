//! The sink task: each record becomes a line at the end of a file or of standard output.
//!
//! The lines of a batch are written in one piece before `put` returns, so that a reader of the file sees them at once.
//! At least once: when the worker delivers records again, their lines are there again. A write that failed half-way
//! goes on at the byte where it stopped, so the same batch put again after an error doubles nothing.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pipette_api::config::Importance;
use pipette_api::{
    ConnectError, Key, Offsets, Reach, Result, SinkBatch, SinkContext, SinkRuntime, SinkTask, TopicPartition,
    async_trait,
};

use crate::io::failed;
use crate::text;

pub(crate) static FILE: Key<String> =
    Key::new("file", "The file to append lines to. Without it, or with an empty value, standard output is written.")
        .optional()
        .path()
        .importance(Importance::High);

/// What the buffer of lines keeps between batches; more is the batch's, and goes with it.
const KEPT: usize = 1 << 20;

/// Appends lines.
pub(crate) struct FileStreamSink {
    /// `None` is standard output.
    path: Option<PathBuf>,
    reach: Reach,
    handle: Option<File>,
    /// Lines not written yet.
    pending: Vec<u8>,
    /// The batch whose lines are taken although its `put` failed. Held, so that no other batch can look the same.
    taken: Option<Arc<SinkBatch>>,
    runtime: Option<Arc<dyn SinkRuntime>>,
}

impl FileStreamSink {
    pub(crate) fn new(path: Option<PathBuf>, reach: Reach) -> Self {
        Self { path, reach, handle: None, pending: Vec::new(), taken: None, runtime: None }
    }

    /// Writes what has gathered. What a failed write did write is not written again, unless the file was deleted: nobody
    /// would ever read it there.
    fn write_out(&mut self) -> Result<()> {
        self.open()?;
        let (mut written, mut outcome) = self.write_pending();
        if !self.pending.is_empty() && self.handle.as_ref().is_some_and(is_deleted) {
            self.handle = None;
            self.open()?;
            (written, outcome) = self.write_pending();
        }
        self.pending.drain(..written);
        if self.pending.is_empty() && self.pending.capacity() > KEPT {
            self.pending = Vec::new();
        }
        outcome.map_err(|error| {
            // Opened again next time: the handle of a share that went away does not come back.
            self.handle = None;
            match &self.path {
                Some(path) => failed("write", path, error),
                None => ConnectError::fatal("Cannot write to standard output: nobody reads it").because(error),
            }
        })
    }

    fn write_pending(&mut self) -> (usize, std::io::Result<()>) {
        if let Some(file) = &mut self.handle {
            return write(file, &self.pending);
        }
        let mut stdout = std::io::stdout().lock();
        let (written, outcome) = write(&mut stdout, &self.pending);
        (written, outcome.and_then(|()| stdout.flush()))
    }

    /// Opens the file, if there is one to open.
    fn open(&mut self) -> Result<()> {
        if let (Some(path), None) = (&self.path, &self.handle) {
            self.reach.path(path)?;
            let opened = OpenOptions::new().create(true).append(true).open(path);
            let file = opened.map_err(|error| failed("open", path, error))?;
            self.reach.opened(&file)?;
            self.handle = Some(file);
        }
        Ok(())
    }

    fn gather(&mut self, batch: &Arc<SinkBatch>) {
        for (index, record) in batch.records.iter().enumerate() {
            let begin = self.pending.len();
            match text::write(&record.record.value.value, &mut self.pending) {
                Ok(()) => self.pending.push(b'\n'),
                Err(error) => {
                    self.pending.truncate(begin);
                    if let Some(runtime) = &self.runtime {
                        runtime.report(batch, index, error);
                    }
                }
            }
        }
    }
}

#[async_trait]
impl SinkTask for FileStreamSink {
    async fn start(&mut self, context: SinkContext) -> Result<()> {
        self.runtime = Some(context.runtime);
        self.open()?;
        if self.path.as_deref().is_some_and(ends_in_mid_line) {
            self.pending.push(b'\n');
        }
        Ok(())
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        if self.taken.as_ref().is_some_and(|taken| Arc::ptr_eq(taken, &batch)) {
            self.taken = None;
        } else {
            // What an earlier batch left unwritten goes first: memory stays within one batch, however long the disk is
            // full.
            self.write_out()?;
            self.gather(&batch);
        }
        self.write_out().inspect_err(|_| self.taken = Some(batch))
    }

    async fn flush(&mut self, upto: &Offsets) -> Result<Offsets> {
        self.write_out()?;
        Ok(upto.clone())
    }

    async fn close(&mut self, _partitions: &[TopicPartition]) -> Result<()> {
        // A batch that failed belonged to these partitions, or it will come again and be taken for a new one.
        self.taken = None;
        Ok(())
    }

    async fn stop(&mut self) -> Result<()> {
        let outcome = self.write_out();
        self.handle = None;
        outcome
    }
}

/// A worker that was killed while it wrote leaves half a line. Its record comes again, and so may be the first one now:
/// merged with that half it would be lost to a reader. A file that may not be read has to do without.
fn ends_in_mid_line(path: &Path) -> bool {
    let last = || {
        let size = fs::metadata(path).ok().filter(Metadata::is_file)?.len();
        let mut last = [0];
        File::open(path).ok()?.read_exact_at(&mut last, size.checked_sub(1)?).ok()?;
        Some(last[0])
    };
    last().is_some_and(|last| last != b'\n')
}

/// A file that no folder names any more is gone with the last handle to it.
fn is_deleted(file: &File) -> bool {
    file.metadata().is_ok_and(|found| found.is_file() && found.nlink() == 0)
}

/// Writes as much as can be written and tells how much that was.
fn write(destination: &mut impl Write, bytes: &[u8]) -> (usize, std::io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match destination.write(&bytes[written..]) {
            Ok(0) => return (written, Err(std::io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_long_lines_goes_with_their_batch() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = FileStreamSink::new(Some(folder.path().join("out")), pipette_api::Reach::default());
        for (length, kept) in [(1_000, 1_000..KEPT), (2_000_000, 0..1)] {
            sink.pending.resize(length, b'x');
            sink.write_out().unwrap();
            assert!(kept.contains(&sink.pending.capacity()), "{} bytes of {length}", sink.pending.capacity());
        }
    }
}
