//! How the last value of a member was. Most values are as long as the one before: that is asked first, and what comes
//! behind such a value is looked at without waiting for where it ends.

use crate::scan::{self, Extent};

/// How the last string was.
#[derive(Debug)]
pub(super) struct StringLike {
    /// A bit for each byte up to the last quote, and those of the two quotes, between which nothing is special.
    care: u32,
    quotes: u32,
    len: u8,
}

impl StringLike {
    /// Like no string.
    pub(super) const NONE: Self = Self { care: 0, quotes: 1, len: 0 };

    /// Where the first special byte is behind the quote that the window begins with: the end of a string, if it is a quote.
    #[inline]
    pub(super) fn end(&mut self, window: &[u8; 32]) -> Option<usize> {
        let (halves, _) = window.as_chunks();
        let mut found = scan::specials(&halves[0]);
        if self.care > 0xFFFF {
            found |= scan::specials(&halves[1]) << 16;
        }
        if found & self.care == self.quotes {
            return Some(usize::from(self.len) & 31);
        }
        found &= !1;
        if found == 0 {
            found = scan::specials(&halves[1]) << 16;
            if found == 0 {
                return None;
            }
        }
        let care = found ^ (found - 1);
        let end = found.trailing_zeros();
        *self = Self { care, quotes: found & care | 1, len: end.to_le_bytes()[0] };
        Some(end as usize & 31)
    }
}

/// How the last number was that had no sign.
#[derive(Debug)]
pub(super) struct NumberLike {
    /// A bit for each character and the one behind, and those of the digits.
    care: u32,
    digits: u32,
    /// Where the point is, or would be.
    point: u8,
    fraction: bool,
    len: u8,
}

impl NumberLike {
    /// Like no number.
    pub(super) const NONE: Self = Self { care: 0, digits: 1, point: 0, fraction: false, len: 0 };

    /// How long the number is, if it is like the last one.
    #[inline]
    pub(super) fn len(&self, text: &[u8; 16]) -> Option<usize> {
        let is_like = scan::digits(text) & self.care == self.digits
            && (text[usize::from(self.point) & 15] == b'.') == self.fraction;
        is_like.then_some(usize::from(self.len) & 15)
    }

    /// How much of such a number Java prints, if that is all of it.
    #[inline]
    pub(super) fn printed(&self, text: &[u8; 16]) -> Option<usize> {
        let len = usize::from(self.len);
        let stands = !self.fraction || (self.point <= 7 && text[len.wrapping_sub(1) & 15] != b'0');
        (stands && text[0] != b'0').then_some(len)
    }

    /// Remembers a number.
    pub(super) fn learn(&mut self, text: &[u8; 16], extent: Extent) {
        let care = (2u32 << extent.end) - 1;
        let digits = scan::digits(text) & care;
        if digits & 1 == 1 {
            let [point, len] = [extent.point, extent.end].map(|place| place.to_le_bytes()[0]);
            *self = Self { care, digits, point, fraction: extent.point < extent.end, len };
        }
    }
}
