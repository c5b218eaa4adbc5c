//! The part of an open file that is in memory: a block or two of text, with its place in the stored file.
//!
//! Format readers look at [`Window::text`], ask for more with [`Window::fill`] and give back what they have read with
//! [`Window::consume`]. What they do not consume stays, so the reader that caps its records caps the memory. Read next:
//! `formats/mod.rs`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use crate::decode::{Charset, Utf16};
use crate::identity::Look;

/// How much is read at once: large enough for shares, small enough that a poll returns promptly.
const BLOCK: usize = 256 * 1024;

/// Why reading stops.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The file system says so; it may get better.
    Io(io::Error),
    /// The file is no longer the one that had settled.
    Changed,
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[derive(Debug)]
pub(crate) struct Window {
    file: File,
    look: Look,
    charset: Charset,
    utf16: Utf16,
    block: Vec<u8>,
    buffer: Vec<u8>,
    start: usize,
    /// Byte of the stored file at which the text begins.
    at: u64,
    ended: bool,
}

impl Window {
    /// A window on an open file at that byte, which must be the beginning of a record. `look` is the settled look.
    pub(crate) fn open(mut file: File, look: Look, charset: Charset, at: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(at))?;
        let (block, buffer) = (vec![0; BLOCK], Vec::new());
        Ok(Self { file, look, charset, utf16: Utf16::default(), block, buffer, start: 0, at, ended: false })
    }

    /// Goes to another byte, which must be the beginning of a record.
    pub(crate) fn seek(&mut self, at: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(at))?;
        self.buffer.clear();
        (self.start, self.at, self.ended, self.utf16) = (0, at, false, Utf16::default());
        Ok(())
    }

    pub(crate) fn charset(&self) -> Charset {
        self.charset
    }

    /// The byte of the stored file at which the text begins.
    pub(crate) fn position(&self) -> u64 {
        self.at
    }

    /// The text in memory.
    pub(crate) fn text(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Gives back the first bytes of the text.
    pub(crate) fn consume(&mut self, len: usize) {
        self.at += self.charset.raw_len(&self.buffer[self.start..self.start + len]);
        self.start += len;
    }

    /// Reads one more block; false at the end of the file. The end is only believed of a file that has not changed
    /// since it settled: the last row of one that is still being written is half a row.
    pub(crate) fn fill(&mut self) -> Result<bool, ReadError> {
        if self.ended {
            return Ok(false);
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let read = match self.file.read(&mut self.block) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        if read == 0 {
            self.still_settled()?;
            self.ended = true;
        }
        let before = self.buffer.len();
        match self.charset {
            Charset::Utf16 { big_endian } => {
                self.utf16.push(&self.block[..read], big_endian, read == 0, &mut self.buffer);
            }
            Charset::Utf8 { .. } | Charset::EightBit(_) => self.buffer.extend_from_slice(&self.block[..read]),
        }
        Ok(read > 0 || self.buffer.len() > before)
    }

    /// Fills until at least that much text is in memory or the file ends; true when it ends there.
    pub(crate) fn sample(&mut self, len: usize) -> Result<bool, ReadError> {
        while self.text().len() < len {
            if !self.fill()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// An error unless the open file looks as it did when it had settled.
    fn still_settled(&self) -> Result<(), ReadError> {
        let now = Look::of(&self.file.metadata()?);
        if now.same_content(&self.look) { Ok(()) } else { Err(ReadError::Changed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(content: &[u8], charset: Charset, at: u64) -> (tempfile::TempDir, Window) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, content).unwrap();
        let file = File::open(&path).unwrap();
        let look = Look::of(&file.metadata().unwrap());
        (folder, Window::open(file, look, charset, at).unwrap())
    }

    #[test]
    fn positions_are_bytes_of_the_stored_file() {
        let raw: Vec<u8> = "a😀µ\nb".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let (_folder, mut window) = window(&raw, Charset::Utf16 { big_endian: false }, 0);
        assert!(window.sample(1 << 20).unwrap());
        let line = "a😀µ\n".len();
        window.consume(line);
        assert_eq!((window.text(), window.position()), (&b"b"[..], 10));
    }

    #[test]
    fn the_end_of_a_file_that_grew_is_not_believed() {
        let (folder, mut window) = window(b"a\nb", Charset::Utf8 { fallback: None }, 0);
        assert!(window.fill().unwrap());
        let mut text = std::fs::read(folder.path().join("file")).unwrap();
        text.extend_from_slice(b"xxx");
        window.buffer.clear();
        std::fs::write(folder.path().join("file"), text).unwrap();
        assert!(window.fill().unwrap());
        assert!(matches!(window.fill(), Err(ReadError::Changed)));
    }
}
