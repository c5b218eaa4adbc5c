//! Who sees what [`super::Passer`] passes: somebody who keeps where the values of a record are, or nobody.

use pipette_api::data::Span;

use super::like::NumberLike;
use crate::scan::Extent;

/// Sees what is passed. An answer of `None` ends it.
pub(super) trait Witness {
    /// A string that begins there, with its quotes.
    fn string(&mut self, start: usize, len: usize) -> Option<()>;
    /// A number that begins so and is like that one.
    fn usual_number(&mut self, text: &[u8; 16], start: usize, like: &NumberLike) -> Option<()>;
    /// Any other number.
    fn number(&mut self, text: &[u8; 16], start: usize, extent: Extent) -> Option<()>;
    /// `true`, `false` or `null`.
    fn word(&mut self, start: usize, len: usize) -> Option<()>;
    /// An object or array, before it is passed.
    fn nested(&mut self, start: usize) -> Option<()>;
}

/// Inside of a member only the form matters.
pub(super) struct Nobody;

impl Witness for Nobody {
    fn string(&mut self, _start: usize, _len: usize) -> Option<()> {
        Some(())
    }
    fn usual_number(&mut self, _text: &[u8; 16], _start: usize, _like: &NumberLike) -> Option<()> {
        Some(())
    }
    fn number(&mut self, _text: &[u8; 16], _start: usize, _extent: Extent) -> Option<()> {
        Some(())
    }
    fn word(&mut self, _start: usize, _len: usize) -> Option<()> {
        Some(())
    }
    fn nested(&mut self, _start: usize) -> Option<()> {
        Some(())
    }
}

/// Takes the place of the value, as [`crate::Reader::span`] tells it.
impl Witness for Span {
    #[inline]
    fn string(&mut self, start: usize, len: usize) -> Option<()> {
        Self::string(start, len - 2).map(|span| *self = span)
    }

    #[inline]
    fn usual_number(&mut self, text: &[u8; 16], start: usize, like: &NumberLike) -> Option<()> {
        match like.printed(text) {
            Some(len) if !has_exponent(text, len) => Self::word(start, len).map(|span| *self = span),
            _ => self.number(text, start, Extent::of(text)?),
        }
    }

    fn number(&mut self, text: &[u8; 16], start: usize, extent: Extent) -> Option<()> {
        // A whole reader takes it, and the next member is passed again.
        if has_exponent(text, extent.end) {
            return None;
        }
        extent.number(text).span(start).map(|span| *self = span)
    }

    #[inline]
    fn word(&mut self, start: usize, len: usize) -> Option<()> {
        Self::word(start, len).map(|span| *self = span)
    }

    #[inline]
    fn nested(&mut self, start: usize) -> Option<()> {
        Self::other(start).map(|span| *self = span)
    }
}

#[inline]
fn has_exponent(text: &[u8; 16], end: usize) -> bool {
    text[end & 15] | 0x20 == b'e'
}
