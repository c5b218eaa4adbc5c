//! The token reader. [`crate::Parser`] and the worker's JSON converter pull from it; read `tree.rs` next.

mod escapes;
mod skip;

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Display;
use std::ops::Range;

use pipette_api::{ConnectError, Result, Text, Value};

use crate::number::{MAX_NUMBER, Number, SHORT_NUMBER};
use crate::scan;

/// Java's limit on nesting. What is read recursively elsewhere (schemas) has a lower one.
pub const MAX_DEPTH: usize = 1000;
/// Java's limits on the UTF-16 units of a string and of a member name.
const MAX_STRING: usize = 20_000_000;
const MAX_NAME: usize = 50_000;

/// The cause of every error about text that is no JSON, so that callers can tell it from JSON that does not fit.
#[derive(Debug)]
pub struct SyntaxError(String);

impl Display for SyntaxError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for SyntaxError {}

impl SyntaxError {
    /// True when the error is about text that is no JSON.
    pub fn is_cause_of(error: &ConnectError) -> bool {
        error.source().is_some_and(<dyn Error>::is::<Self>)
    }

    pub(crate) fn data(message: String) -> ConnectError {
        ConnectError::data(message.clone()).because(Self(message))
    }
}

/// What a value is, told from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Shape {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

impl Shape {
    /// Java's name for it, as error texts show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "NULL",
            Self::Boolean => "BOOLEAN",
            Self::Number => "NUMBER",
            Self::String => "STRING",
            Self::Array => "ARRAY",
            Self::Object => "OBJECT",
        }
    }
}

/// A string or member name as it stands in the document: a span of it, or made new because it has escapes.
#[derive(Debug, Clone)]
pub enum Name {
    /// Start and length.
    Span(u32, u32),
    /// Without its escapes.
    Made(String),
}

/// Walks a document. Each call takes one token; the caller asks for the [`Shape`] first and takes what fits.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    text: &'a Text,
    bytes: &'a [u8],
    pos: usize,
    depth: usize,
    cut: bool,
}

/// A place in a document.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    pos: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(text: &'a Text, start: usize, cut: bool) -> Self {
        Self { text, bytes: text.as_bytes(), pos: start, depth: 0, cut }
    }

    /// A reader of the value that begins there.
    pub fn at(text: &'a Text, start: usize) -> Self {
        Self::new(text, start, false)
    }

    /// The shape of the next value.
    #[inline]
    pub fn shape(&mut self) -> Result<Shape> {
        match self.peek() {
            Some(b'"') => Ok(Shape::String),
            Some(b'0'..=b'9' | b'-') => Ok(Shape::Number),
            Some(b'{') => Ok(Shape::Object),
            Some(b'[') => Ok(Shape::Array),
            Some(b't' | b'f') => Ok(Shape::Boolean),
            Some(b'n') => Ok(Shape::Null),
            _ => Err(self.fail("a value")),
        }
    }

    /// Takes `null`.
    #[inline]
    pub fn null(&mut self) -> Result<()> {
        self.literal(b"null")
    }

    /// Takes `true` or `false`.
    #[inline]
    pub fn boolean(&mut self) -> Result<bool> {
        let value = self.peek() == Some(b't');
        self.literal(if value { b"true" } else { b"false" })?;
        Ok(value)
    }

    /// Takes a number.
    #[inline]
    pub fn number(&mut self) -> Result<Number<'a>> {
        self.peek();
        let start = self.pos;
        self.eat(b'-');
        let low = self.digits(0)?;
        let (mut integer, mut all, mut point, mut long_exponent) = (true, low, 0, false);
        if self.eat(b'.') {
            integer = false;
            point = self.pos;
            all = self.digits(low)?;
            point = self.pos - point;
        }
        // Text that is short enough has all its digits in 64 bits.
        let short = self.pos - start <= SHORT_NUMBER && !matches!(self.bytes.get(self.pos), Some(b'e' | b'E'));
        if short {
            let text = &self.bytes[start..self.pos];
            return Ok(Number::new(text, integer, low).with_digits(all, point));
        }
        if matches!(self.bytes.get(self.pos), Some(b'e' | b'E')) {
            integer = false;
            self.pos += 1;
            let _sign = self.eat(b'-') || self.eat(b'+');
            let exponent = self.pos;
            self.digits(0)?;
            long_exponent = self.pos - exponent > 9;
        }
        let number = Number::new(&self.bytes[start..self.pos], integer, low);
        if (self.pos - start > MAX_NUMBER || long_exponent)
            && let Some(reason) = number.excess()
        {
            return Err(Self::refuse(start, reason));
        }
        Ok(number)
    }

    /// Takes a string.
    #[inline]
    pub fn string(&mut self) -> Result<Text> {
        let name = self.quoted(MAX_STRING)?;
        Ok(self.to_text(name))
    }

    /// Takes a string that stands in the document as it is, right here: start and length. `None` leaves everything else
    /// to [`Reader::string`].
    #[inline]
    pub(crate) fn plain_string(&mut self) -> Option<(u32, u32)> {
        if self.bytes.get(self.pos) != Some(&b'"') {
            return None;
        }
        let start = self.pos + 1;
        let end = scan::read_run(self.bytes, start);
        if self.bytes.get(end) != Some(&b'"') || end - start > MAX_STRING {
            return None;
        }
        self.pos = end + 1;
        Some((narrow(start), narrow(end - start)))
    }

    /// Takes a string into a slot that holds a null: the fast way for what is kept.
    #[inline]
    pub fn string_into(&mut self, slot: &mut Value) -> Result<()> {
        match self.plain_string() {
            Some((start, len)) => self.text.slice_into(start, len, slot),
            None => *slot = Value::String(self.string()?),
        }
        Ok(())
    }

    /// Takes a member's name when it is that one, written without white space. `first` as in [`Reader::member`].
    #[inline]
    pub fn take_name(&mut self, name: &[u8], first: bool) -> bool {
        let rest = &self.bytes[self.pos..];
        let rest = if first { Some(rest) } else { rest.strip_prefix(b",") };
        let rest = rest.and_then(|rest| rest.strip_prefix(b"\"")).filter(|rest| scan::starts_with(rest, name));
        let same = rest.is_some_and(|rest| rest[name.len()..].starts_with(b"\":"));
        self.pos += if same { name.len() + usize::from(!first) + 3 } else { 0 };
        same
    }

    /// Goes into an object; [`Reader::member`] is next.
    pub fn open_object(&mut self) -> Result<()> {
        self.open(b'{')
    }

    /// Goes into an array; [`Reader::element`] is next.
    pub fn open_array(&mut self) -> Result<()> {
        self.open(b'[')
    }

    /// The name of the next member, its value being next; `None` at the end, which is taken. `first` is true right after
    /// [`Reader::open_object`].
    #[inline]
    pub fn member(&mut self, first: bool) -> Result<Option<Name>> {
        if self.more(b'}', first)? { self.name().map(Some) } else { Ok(None) }
    }

    /// True when another element is next; false at the end, which is taken.
    #[inline]
    pub fn element(&mut self, first: bool) -> Result<bool> {
        self.more(b']', first)
    }

    /// The bytes of a name.
    pub fn bytes_of<'n>(&self, name: &'n Name) -> &'n [u8]
    where
        'a: 'n,
    {
        match name {
            Name::Span(start, len) => &self.bytes[*start as usize..][..*len as usize],
            Name::Made(text) => text.as_bytes(),
        }
    }

    /// The name as text of its own.
    #[inline]
    pub fn to_text(&self, name: Name) -> Text {
        match name {
            Name::Span(start, len) => self.text.slice(start, len),
            Name::Made(text) => Text::from(text),
        }
    }

    /// This place, to go back to.
    #[inline]
    pub fn mark(&self) -> Mark {
        Mark { pos: self.pos, depth: self.depth }
    }

    pub fn back_to(&mut self, mark: Mark) {
        (self.pos, self.depth) = (mark.pos, mark.depth);
    }

    /// Where the next token starts, counted in bytes.
    pub fn position(&mut self) -> usize {
        self.peek();
        self.pos
    }

    /// The document's bytes from a position to here.
    pub fn since(&self, start: usize) -> &'a [u8] {
        &self.bytes[start..self.pos]
    }

    /// Takes a text that is known to be a whole value, if the document goes on with exactly it.
    #[inline]
    pub fn take(&mut self, known: &[u8]) -> bool {
        self.peek();
        let same = self.bytes[self.pos..].starts_with(known);
        self.pos += if same { known.len() } else { 0 };
        same
    }

    /// Takes that text, if the document goes on with it right here.
    #[inline]
    pub(crate) fn take_here(&mut self, known: &[u8]) -> bool {
        let same = scan::starts_with(&self.bytes[self.pos..], known);
        self.pos += if same { known.len() } else { 0 };
        same
    }

    /// Where the last token ended.
    pub(crate) fn here(&self) -> usize {
        self.pos
    }

    /// The document's bytes of a range.
    pub(crate) fn between(&self, range: Range<usize>) -> &'a [u8] {
        &self.bytes[range]
    }

    /// True when nothing but white space is left.
    pub fn at_end(&mut self) -> bool {
        self.peek().is_none() && !self.cut
    }

    fn in_word(&self) -> bool {
        let next = self.bytes.get(self.pos);
        next.is_some_and(|byte| *byte == b'_' || *byte >= 0x7F || byte.is_ascii_alphanumeric())
    }

    /// Java's rule for the end of a document, after a value that starts like `first`: what follows a string, an object or an array is ignored;
    /// after a number white space must come before it is, and after a word anything that does not make the word longer.
    pub fn finish_leniently(&self, shape: Shape) -> Result<()> {
        let closed = matches!(shape, Shape::String | Shape::Array | Shape::Object);
        match self.bytes.get(self.pos) {
            None if closed || !self.cut => Ok(()),
            Some(b' ' | b'\t' | b'\n' | b'\r') => Ok(()),
            Some(_) if closed => Ok(()),
            Some(_) if shape != Shape::Number && !self.in_word() => Ok(()),
            _ => Err(self.fail("white space or the end")),
        }
    }

    fn refuse(at: usize, reason: impl Display) -> ConnectError {
        SyntaxError::data(format!("invalid JSON at byte {at}: {reason}"))
    }

    /// The next byte behind white space, which is taken.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.pos) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.pos += 1,
                other => return other.copied(),
            }
        }
    }

    #[inline]
    pub(crate) fn name(&mut self) -> Result<Name> {
        if self.peek() != Some(b'"') {
            return Err(self.fail("a member name in double quotes"));
        }
        let name = self.quoted(MAX_NAME)?;
        if self.peek() != Some(b':') {
            return Err(self.fail("a colon"));
        }
        self.pos += 1;
        Ok(name)
    }

    #[inline]
    fn more(&mut self, end: u8, first: bool) -> Result<bool> {
        match self.peek() {
            Some(byte) if byte == end => {
                self.pos += 1;
                self.depth -= 1;
                Ok(false)
            }
            Some(_) if first => Ok(true),
            Some(b',') => {
                self.pos += 1;
                Ok(true)
            }
            _ => Err(self.fail(if end == b'}' { "a comma or }" } else { "a comma or ]" })),
        }
    }

    #[inline]
    fn open(&mut self, byte: u8) -> Result<()> {
        if self.peek() != Some(byte) {
            return Err(self.fail(if byte == b'{' { "an object" } else { "an array" }));
        }
        if self.depth == MAX_DEPTH {
            return Err(Self::refuse(self.pos, format_args!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.pos += 1;
        self.depth += 1;
        Ok(())
    }

    #[inline]
    fn literal(&mut self, word: &'static [u8]) -> Result<()> {
        if self.take(word) { Ok(()) } else { Err(self.fail("a value")) }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.bytes.get(self.pos) == Some(&byte);
        self.pos += usize::from(there);
        there
    }

    /// Takes digits and appends them to a number, modulo 2^64.
    #[inline]
    fn digits(&mut self, number: u64) -> Result<u64> {
        let (start, mut number) = (self.pos, number);
        while let Some(digit @ b'0'..=b'9') = self.bytes.get(self.pos) {
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.pos += 1;
        }
        if self.pos == start { Err(self.fail("a digit")) } else { Ok(number) }
    }

    #[inline]
    fn quoted(&mut self, limit: usize) -> Result<Name> {
        if self.peek() != Some(b'"') {
            return Err(self.fail("a string"));
        }
        let start = self.pos + 1;
        let end = scan::read_run(self.bytes, start);
        if self.bytes.get(end) != Some(&b'"') {
            return self.escaped(start, end, limit);
        }
        self.pos = end + 1;
        Self::check_length(start, &self.bytes[start..end], limit)?;
        Ok(Name::Span(narrow(start), narrow(end - start)))
    }

    #[inline]
    fn check_length(start: usize, string: &[u8], limit: usize) -> Result<()> {
        // UTF-16 units are never more than bytes.
        if string.len() <= limit { Ok(()) } else { Self::count_units(start, string, limit) }
    }

    #[cold]
    fn count_units(start: usize, string: &[u8], limit: usize) -> Result<()> {
        let units = std::str::from_utf8(string).map_or(0, |text| text.encode_utf16().count());
        if units <= limit {
            return Ok(());
        }
        Err(Self::refuse(start, format_args!("a string of {units} characters is longer than {limit}")))
    }

    /// What went wrong at the current byte. Cold on purpose.
    #[cold]
    pub(crate) fn fail(&self, expected: &str) -> ConnectError {
        match self.bytes.get(self.pos) {
            Some(byte) => {
                let found = match byte {
                    b'!'..=b'~' => Cow::Owned(char::from(*byte).to_string()),
                    b' ' => Cow::Borrowed("a blank"),
                    byte => Cow::Owned(format!("byte 0x{byte:02X}")),
                };
                Self::refuse(self.pos, format_args!("expected {expected}, found {found}"))
            }
            None if self.cut => {
                SyntaxError::data(format!("invalid JSON: the text is not valid UTF-8 at byte {}", self.bytes.len()))
            }
            None => Self::refuse(self.pos, format_args!("the text ends where {expected} should be")),
        }
    }
}

#[inline]
fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or_else(|_| unreachable!("a blob is shorter than 4 GiB"))
}
