//! Spans of a shared buffer: what strings and bytes are made of.
//!
//! The consumer thread or a file reader fills one buffer per batch; every string and byte array parsed from it points
//! into it. A span keeps its whole buffer alive: what outlives its batch is copied out with [`Blob::detach`].

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;

use super::value::Value;
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
        Self::copied(self.as_bytes())
    }

    /// A copy of bytes that a span held already, so that their number fits.
    fn copied(bytes: &[u8]) -> Self {
        let len = u32::try_from(bytes.len()).unwrap_or_else(|_| unreachable!("a span is shorter than 4 GiB"));
        Self { buffer: Arc::new(Bytes::copy_from_slice(bytes)), start: 0, len }
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

/// UTF-8, checked when made: a span, or a copy in place when it is short.
///
/// Names and codes, most of the texts in records, cost no allocation and no reference count that way.
#[derive(Clone)]
pub struct Text(Form);

#[derive(Clone)]
enum Form {
    Short(Short),
    Span(Blob),
}

/// What fits beside the tag in the 24 bytes that a value has anyway.
const SHORT: usize = 22;

/// Behind `len` stands whatever followed in the buffer, because copies of a fixed size are the fast ones.
#[derive(Clone, Copy)]
struct Short {
    len: u8,
    bytes: [u8; SHORT],
}

impl Short {
    /// The text, when it is short enough.
    fn of(text: &[u8]) -> Option<Self> {
        let len = u8::try_from(text.len()).ok().filter(|len| usize::from(*len) <= SHORT)?;
        let mut bytes = [0; SHORT];
        bytes[..text.len()].copy_from_slice(text);
        Some(Self { len, bytes })
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl Text {
    /// The span as text; a data error when it is not UTF-8.
    pub fn new(blob: Blob) -> Result<Self> {
        match check_utf8(blob.as_bytes()) {
            Ok(()) => Ok(Self(Short::of(blob.as_bytes()).map_or_else(|| Form::Span(blob), Form::Short))),
            Err(error) => Err(ConnectError::data("text is not valid UTF-8").because(error)),
        }
    }

    /// The bytes. Writers and look-ups use this: it costs nothing.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Form::Short(short) => short.as_bytes(),
            Form::Span(span) => span.as_bytes(),
        }
    }

    /// The text. Safe Rust checks it again (about 9 ns for a short one).
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_else(|_| unreachable!("checked when made"))
    }

    /// The length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Short(short) => usize::from(short.len),
            Form::Span(span) => span.len(),
        }
    }

    /// True without bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes as a span, copied when the text is short.
    pub fn to_blob(&self) -> Blob {
        match &self.0 {
            Form::Short(short) => Blob::copied(short.as_bytes()),
            Form::Span(span) => span.clone(),
        }
    }

    /// Appends the bytes, short ones faster than a copy of unknown length can be.
    #[inline]
    pub fn append_to(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Form::Short(short) => {
                let end = out.len() + usize::from(short.len);
                out.extend_from_slice(&short.bytes);
                out.truncate(end);
            }
            Form::Span(span) => out.extend_from_slice(span.as_bytes()),
        }
    }

    /// A part of this text, without another look at its bytes: parsers check a document once and cut it. Panics when it
    /// does not lie inside or cuts a character, as slicing does.
    #[must_use]
    #[inline]
    pub fn slice(&self, start: u32, len: u32) -> Self {
        self.hold_bounds(start, len);
        let part = &self.as_bytes()[start as usize..][..len as usize];
        match (Short::of(part), &self.0) {
            (Some(short), _) => Self(Form::Short(short)),
            (None, Form::Span(span)) => Self(Form::Span(span.slice(start, len))),
            (None, Form::Short(_)) => unreachable!("no part is longer than the whole"),
        }
    }

    /// Puts [`Text::slice`] into a slot, in a fraction of the time when it is short: it is put together where it stays.
    #[inline]
    pub fn slice_into(&self, start: u32, len: u32, slot: &mut Value) {
        let short = self.as_bytes().get(start as usize..).and_then(<[u8]>::first_chunk);
        match short {
            Some(bytes) if len as usize <= SHORT => {
                self.hold_bounds(start, len);
                fill(slot, bytes, len);
            }
            _ => *slot = Value::String(self.slice(start, len)),
        }
    }

    #[inline]
    fn hold_bounds(&self, start: u32, len: u32) {
        let bytes = self.as_bytes();
        let whole = |index: usize| bytes.get(index).map_or(index == bytes.len(), |byte| byte & 0xC0 != 0x80);
        assert!(whole(start as usize) && whole(start as usize + len as usize), "span cuts a character");
    }

    /// A copy with a buffer of its own, for what outlives its batch.
    #[must_use]
    pub fn detach(&self) -> Self {
        match &self.0 {
            Form::Short(_) => self.clone(),
            Form::Span(span) => Self(Form::Span(span.detach())),
        }
    }
}

/// Vectors take longer to set up than this many bytes take one by one.
const FEW: usize = 64;

#[inline]
fn check_utf8(bytes: &[u8]) -> std::result::Result<(), std::str::Utf8Error> {
    if bytes.len() > FEW && simdutf8::basic::from_utf8(bytes).is_ok() {
        return Ok(());
    }
    std::str::from_utf8(bytes).map(drop)
}

/// Not inlined, because only a call tells the compiler that `slot` and `bytes` lie apart: one copy then instead of two, of
/// which the second waits for the first.
#[inline(never)]
fn fill(slot: &mut Value, bytes: &[u8; SHORT], len: u32) {
    let short = Short { len: len.to_le_bytes()[0], bytes: *bytes };
    slot.put(Value::String(Text(Form::Short(short))));
}

impl PartialEq for Text {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

/// Panics at 4 GiB, which text in memory does not reach.
impl From<String> for Text {
    fn from(text: String) -> Self {
        if let Some(short) = Short::of(text.as_bytes()) {
            return Self(Form::Short(short));
        }
        Self(Form::Span(Blob::whole(text).unwrap_or_else(|error| panic!("{error}"))))
    }
}

/// Copies. Panics at 4 GiB, which text in memory does not reach.
impl From<&str> for Text {
    fn from(text: &str) -> Self {
        match Short::of(text.as_bytes()) {
            Some(short) => Self(Form::Short(short)),
            None => Self::from(text.to_owned()),
        }
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
    fn short_and_long_texts_are_the_same_to_their_users() {
        let source = "häßliche Namen sind länger als zweiundzwanzig Bytes";
        let text = Text::new(Blob::whole(source).unwrap()).unwrap();
        for len in (0..=source.len()).filter(|len| source.is_char_boundary(*len)) {
            let part = text.slice(0, u32::try_from(len).unwrap());
            assert_eq!((part.as_str(), part.len()), (&source[..len], len));
            assert_eq!(part, Text::from(&source[..len]));
            assert_eq!((part.detach(), part.to_blob().as_bytes()), (part.clone(), &source.as_bytes()[..len]));
            let mut out = b"<".to_vec();
            part.append_to(&mut out);
            assert_eq!(out, format!("<{}", &source[..len]).into_bytes());
        }
        let end = u32::try_from(source.len()).unwrap();
        assert_eq!(text.slice(end - 5, 5).as_str(), "Bytes");
        for (start, len) in [(0, 3), (3, 22), (3, 23), (end - 5, 5), (end, 0)] {
            let mut slot = Value::text("dropped");
            text.slice_into(start, len, &mut slot);
            assert_eq!(slot, Value::String(text.slice(start, len)));
        }
        assert_eq!(text.slice(end - 5, 5).slice(1, 4).as_str(), "ytes");
    }

    #[test]
    #[should_panic(expected = "span cuts a character")]
    fn a_slice_of_text_ends_inside() {
        let _ = Text::from("abc").slice(1, 3);
    }

    #[test]
    fn text_refuses_what_is_not_utf8() {
        let error = Text::new(Blob::whole(vec![0xC3, 0x28]).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "text is not valid UTF-8");
    }
}
