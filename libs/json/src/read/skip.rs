//! Values passed over: their syntax is checked, nothing is made of them.

use pipette_api::Result;
use pipette_api::data::Span;

use super::{MAX_DEPTH, MAX_NAME, MAX_STRING, Reader, Shape};
use crate::scan::{self, ShortNumber};
use crate::walk::{Blind, walk};

/// Values at this depth may hold as many levels more as a walk goes down.
const DEEP: usize = MAX_DEPTH - 64;
/// Words that Java prints as they stand are no longer than this.
const WORDS: [&[u8]; 3] = [b"true", b"false", b"null"];

impl<'a> Reader<'a> {
    /// Takes a whole value without looking at more than its syntax.
    pub fn skip(&mut self) -> Result<()> {
        match self.peek() {
            Some(b'"') => self.skip_string(MAX_STRING),
            Some(b'{' | b'[') => {
                let Some(end) = walk(self.bytes, self.pos, &mut Blind).filter(|_| self.depth < DEEP) else {
                    return self.skip_nested();
                };
                self.pos = end;
                Ok(())
            }
            _ => self.skip_word(),
        }
    }

    /// Takes a whole value and says where it is and whether it prints as it stands. `None` when something is wrong with
    /// it: whoever reads it again will be told what.
    #[inline]
    pub(crate) fn span(&mut self) -> Option<Span> {
        let start = self.pos;
        match self.bytes.get(start)? {
            b'"' => {
                let end = scan::read_run(self.bytes, start + 1);
                if self.bytes.get(end) == Some(&b'"') && end - start <= MAX_STRING {
                    self.pos = end + 1;
                    return Span::string(start, end - start - 1);
                }
                self.skip_string(MAX_STRING).ok()?;
            }
            b'0'..=b'9' | b'-' => {
                if let Some(number) = scan::short_number(&self.bytes[start..]) {
                    self.pos += number.len;
                    return number.span(start);
                }
                self.number().ok()?;
            }
            b'{' | b'[' => match walk(self.bytes, start, &mut Blind).filter(|_| self.depth < DEEP) {
                Some(end) => self.pos = end,
                None => self.skip_nested().ok()?,
            },
            b't' | b'f' | b'n' => {
                self.skip_word().ok()?;
                return Span::word(start, self.pos - start);
            }
            // White space would become a part of the word.
            _ => return None,
        }
        Span::other(start)
    }

    /// The whole document, and this place in it.
    pub(crate) fn rest(&self) -> (&'a [u8], usize) {
        (self.bytes, self.pos)
    }

    /// Goes behind members of this object that were passed.
    #[inline]
    pub(crate) fn go_on_at(&mut self, position: usize) {
        self.pos = position;
    }

    /// The next byte, white space included.
    #[inline]
    pub(crate) fn next_byte(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    /// Takes a number that is short and right here.
    #[inline]
    pub(crate) fn take_short_number(&mut self) -> Option<ShortNumber> {
        let number = scan::short_number(&self.bytes[self.pos..])?;
        self.pos += number.len;
        Some(number)
    }

    /// Takes the end of an object or array that is right here.
    #[inline]
    pub(crate) fn take_end(&mut self, byte: u8) -> bool {
        let end = self.next_byte() == Some(byte);
        (self.pos, self.depth) = (self.pos + usize::from(end), self.depth - usize::from(end));
        end
    }

    #[inline]
    fn skip_string(&mut self, limit: usize) -> Result<()> {
        let start = self.pos + 1;
        let end = scan::read_run(self.bytes, start);
        if self.bytes.get(end) == Some(&b'"') && end - start <= limit {
            self.pos = end + 1;
            return Ok(());
        }
        self.quoted(limit).map(drop)
    }

    #[inline]
    fn skip_word(&mut self) -> Result<()> {
        if let Some(number) = self.bytes.get(self.pos..).and_then(scan::short_number) {
            self.pos += number.len;
            return Ok(());
        }
        if WORDS.into_iter().any(|word| self.take_here(word)) {
            return Ok(());
        }
        match self.shape()? {
            Shape::Number => self.number().map(drop),
            Shape::Boolean => self.boolean().map(drop),
            _ => self.null(),
        }
    }

    fn skip_nested(&mut self) -> Result<()> {
        // One bit per level: set in an object.
        let mut objects = [0u64; MAX_DEPTH.div_ceil(64) + 1];
        let outer = self.depth;
        loop {
            match self.peek() {
                Some(b'"') => self.skip_string(MAX_STRING)?,
                Some(byte @ (b'{' | b'[')) => {
                    let object = byte == b'{';
                    self.open(byte)?;
                    let (word, bit) = (self.depth / 64, 1 << (self.depth % 64));
                    objects[word] = if object { objects[word] | bit } else { objects[word] & !bit };
                    if self.next_in(object, true)? {
                        continue;
                    }
                }
                _ => self.skip_word()?,
            }
            loop {
                if self.depth == outer {
                    return Ok(());
                }
                if self.next_in(objects[self.depth / 64] >> (self.depth % 64) & 1 == 1, false)? {
                    break;
                }
            }
        }
    }

    #[inline]
    fn next_in(&mut self, object: bool, first: bool) -> Result<bool> {
        if !object {
            return self.element(first);
        }
        if !self.more(b'}', first)? {
            return Ok(false);
        }
        if self.bytes.get(self.pos) == Some(&b'"') {
            self.skip_string(MAX_NAME)?;
            if self.peek() != Some(b':') {
                return Err(self.fail("a colon"));
            }
            self.pos += 1;
            return Ok(true);
        }
        self.name().map(|_| true)
    }
}
