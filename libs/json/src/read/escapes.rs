//! Strings with escapes, which are copied without them. Called by `read.rs` for what is no plain run.

use pipette_api::Result;

use super::{Name, Reader};
use crate::scan;

impl Reader<'_> {
    /// A string whose first escape (or mistake) is at `stop`.
    #[cold]
    pub(super) fn escaped(&mut self, start: usize, stop: usize, limit: usize) -> Result<Name> {
        let mut made = self.bytes[start..stop].to_vec();
        self.pos = stop;
        loop {
            match self.bytes.get(self.pos) {
                Some(b'"') => break,
                Some(b'\\') => {
                    let character = self.escape()?;
                    made.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                }
                Some(_) => {
                    let reason = "control characters inside strings must be escaped";
                    return Err(Self::refuse(self.pos, reason));
                }
                None => return Err(self.fail("the closing quote of a string")),
            }
            let end = scan::read_run(self.bytes, self.pos);
            made.extend_from_slice(&self.bytes[self.pos..end]);
            self.pos = end;
        }
        self.pos += 1;
        Self::check_length(start, &made, limit)?;
        Ok(Name::Made(String::from_utf8(made).unwrap_or_else(|_| unreachable!("pieces of checked text"))))
    }

    fn escape(&mut self) -> Result<char> {
        let kind = self.bytes.get(self.pos + 1);
        let character = match kind {
            Some(b'u') => return self.unicode(),
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(*byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            _ => {
                self.pos += 1;
                return Err(self.fail("one of the escapes \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u"));
            }
        };
        self.pos += 2;
        Ok(character)
    }

    fn unicode(&mut self) -> Result<char> {
        let first = self.unit(self.pos)?;
        self.pos += 6;
        if !matches!(first, 0xD800..=0xDBFF) || !self.bytes[self.pos..].starts_with(b"\\u") {
            // Java keeps a lone surrogate; text here is UTF-8 and cannot. compat: surprises, row 2.
            return Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let second = self.unit(self.pos)?;
        if !matches!(second, 0xDC00..=0xDFFF) {
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        self.pos += 6;
        let joined = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
        Ok(char::from_u32(joined).unwrap_or_else(|| unreachable!("a surrogate pair")))
    }

    fn unit(&self, at: usize) -> Result<u32> {
        let digits = self.bytes.get(at + 2..at + 6).unwrap_or_default();
        let value = digits.iter().try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?));
        let value = value.filter(|_| digits.len() == 4);
        value.ok_or_else(|| Self::refuse(at, "\\u must be followed by four hexadecimal digits"))
    }
}
