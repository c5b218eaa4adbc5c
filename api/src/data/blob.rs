//! Spans of a shared buffer: what strings and bytes are made of.
//!
//! The consumer thread or a file reader fills one buffer per batch; every string and byte array parsed from it points
//! into it. A span keeps its whole buffer alive: what outlives its batch is copied out with [`Blob::detach`].

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{ConnectError, Result};

/// A span of a shared buffer, 16 bytes in size. The buffer is smaller than 4 GiB.
#[derive(Clone)]
pub struct Blob {
    buffer: Arc<Bytes>,
    start: u32,
    len: u32,
}

impl Blob {
    /// The whole of a buffer. A buffer of 4 GiB or more is refused: such values travel as payloads.
    pub fn whole(buffer: impl Into<Bytes>) -> Result<Self> {
        let buffer = buffer.into();
        let len = u32::try_from(buffer.len()).map_err(|_| {
            ConnectError::data(format!(
                "a value of {} bytes does not fit in memory spans (limit 4 GiB): hand it over as a payload",
                buffer.len()
            ))
        })?;
        Ok(Self { buffer: Arc::new(buffer), start: 0, len })
    }

    /// A span of this span. Panics when it does not lie inside, as slicing does.
    #[must_use]
    #[inline]
    pub fn slice(&self, start: u32, len: u32) -> Self {
        assert!(u64::from(start) + u64::from(len) <= u64::from(self.len), "span outside of its buffer");
        Self { buffer: Arc::clone(&self.buffer), start: self.start + start, len }
    }

    /// The bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer[self.start as usize..][..self.len as usize]
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// True without bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A copy with a buffer of its own, for what outlives its batch.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self { buffer: Arc::new(Bytes::copy_from_slice(self.as_bytes())), start: 0, len: self.len }
    }
}

impl From<&'static [u8]> for Blob {
    fn from(bytes: &'static [u8]) -> Self {
        Self::whole(Bytes::from_static(bytes)).unwrap_or_else(|_| unreachable!("no program holds a constant of 4 GiB"))
    }
}

impl PartialEq for Blob {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Blob {}

impl Hash for Blob {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.len)
    }
}

/// A span of UTF-8, checked when made.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text(Blob);

impl Text {
    /// The span as text; a data error when it is not UTF-8.
    pub fn new(blob: Blob) -> Result<Self> {
        match std::str::from_utf8(blob.as_bytes()) {
            Ok(_) => Ok(Self(blob)),
            Err(error) => Err(ConnectError::data("text is not valid UTF-8").because(error)),
        }
    }

    /// The bytes. Writers and look-ups use this: it costs nothing.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The text. Safe Rust checks it again (about 9 ns for a short one).
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.0.as_bytes()).unwrap_or_else(|_| unreachable!("checked when made"))
    }

    /// The span behind it.
    pub fn blob(&self) -> &Blob {
        &self.0
    }

    /// A span of this text, without another look at its bytes: parsers check a document once and cut it. Panics when it
    /// does not lie inside or cuts a character, as slicing does.
    #[must_use]
    #[inline]
    pub fn slice(&self, start: u32, len: u32) -> Self {
        let bytes = self.as_bytes();
        let whole = |index: usize| bytes.get(index).is_none_or(|byte| byte & 0xC0 != 0x80);
        assert!(whole(start as usize) && whole(start as usize + len as usize), "span cuts a character");
        Self(self.0.slice(start, len))
    }

    /// A copy with a buffer of its own, for what outlives its batch.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self(self.0.detach())
    }
}

/// Panics at 4 GiB, which text in memory does not reach.
impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Blob::whole(text).unwrap_or_else(|error| panic!("{error}")))
    }
}

/// Copies. Panics at 4 GiB, which text in memory does not reach.
impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_share_one_buffer_and_compare_by_content() {
        let line = Blob::whole("alpha beta alpha").unwrap();
        let (first, last) = (line.slice(0, 5), line.slice(11, 5));
        assert_eq!(first, last);
        assert_eq!(first.as_bytes().as_ptr(), line.as_bytes().as_ptr(), "a span copies nothing");
        assert_ne!(first.detach().as_bytes().as_ptr(), first.as_bytes().as_ptr());
    }

    #[test]
    #[should_panic(expected = "span cuts a character")]
    fn a_slice_of_text_cuts_no_character() {
        let text = Text::from("aé");
        assert_eq!(text.slice(1, 2), Text::from("é"));
        let _ = text.slice(0, 2);
    }

    #[test]
    fn text_refuses_what_is_not_utf8() {
        let error = Text::new(Blob::whole(vec![0xC3, 0x28]).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "text is not valid UTF-8");
    }
}
