//! Many bytes at a time: where a run of plain string bytes ends, and what a number is. Used by the reader and the writer.
//!
//! Sixteen in a vector that every machine has, or eight with plain integers.

use pipette_api::data::Span;
use wide::u8x16;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The high bit of each byte that ends a plain run of JSON text: a quote, a backslash or a control character. Bits above
/// the lowest one set may be false (a borrow); the lowest never is.
fn special(word: u64) -> u64 {
    let equal = |byte: u8| {
        let difference = word ^ (ONES * u64::from(byte));
        difference.wrapping_sub(ONES) & !difference
    };
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (control | equal(b'"') | equal(b'\\')) & HIGH
}

/// The high bit of each byte that starts a character above U+FFFF.
fn astral(word: u64) -> u64 {
    word & (word << 1) & (word << 2) & (word << 3) & HIGH
}

/// Where the plain run from `start` ends when reading: at the first quote, backslash or control character.
#[inline]
pub(crate) fn read_run(bytes: &[u8], start: usize) -> usize {
    let mut position = start;
    while let Some(chunk) = bytes[position..].first_chunk::<16>() {
        let found = specials(chunk);
        if found != 0 {
            return position + found.trailing_zeros() as usize;
        }
        position += 16;
    }
    last_run(bytes, position)
}

/// Fewer than sixteen bytes are left. Not in line, because that is once in a document.
#[inline(never)]
fn last_run(bytes: &[u8], start: usize) -> usize {
    let Some(chunk) = bytes.last_chunk::<16>() else {
        return run(bytes, start, special, |byte| byte < 0x20 || byte == b'"' || byte == b'\\');
    };
    let looked_at = 16 + start - bytes.len();
    let found = specials(chunk) >> looked_at;
    if found == 0 { bytes.len() } else { start + found.trailing_zeros() as usize }
}

/// A bit for each byte that is not the same.
#[inline]
pub(crate) fn differences(bytes: &[u8; 16], known: &[u8; 16]) -> u32 {
    !u8x16::new(*bytes).simd_eq(u8x16::new(*known)).to_bitmask()
}

/// A number at the beginning of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ShortNumber {
    pub(crate) len: usize,
    /// Without a fraction.
    pub(crate) integer: bool,
    /// How many of its characters Java prints, which leaves zeros at its end out; none when Java prints others, as for a
    /// number so large or so small that it has an exponent there.
    pub(crate) printed: usize,
}

impl ShortNumber {
    /// The number as a part of a record, where it begins.
    #[inline]
    pub(crate) fn span(self, start: usize) -> Option<Span> {
        if self.printed > 0 { Span::word(start, self.printed) } else { Span::other(start) }
    }
}

/// Digits, maybe with a sign and a fraction, that end before the fifteenth character; `None` for everything else.
#[inline]
pub(crate) fn short_number(text: &[u8]) -> Option<ShortNumber> {
    let text = text.first_chunk()?;
    let extent = Extent::of(text)?;
    (text[extent.end & 15] | 0x20 != b'e').then(|| extent.number(text))
}

/// Where a number has its point, or ends when it has none, and where it ends.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    sign: bool,
    pub(crate) point: usize,
    pub(crate) end: usize,
}

impl Extent {
    /// Of a number as [`short_number`] takes them, whatever follows: that may make it another one, as `e` does.
    #[inline]
    pub(crate) fn of(text: &[u8; 16]) -> Option<Self> {
        let digits = digits(text);
        let sign = u32::from(text[0] == b'-');
        let point = (!(digits | sign)).trailing_zeros();
        if point == sign || point >= 15 {
            return None;
        }
        let extent = |end: u32| Self { sign: sign == 1, point: point as usize, end: end as usize };
        if text[point as usize & 15] != b'.' {
            return Some(extent(point));
        }
        let end = (!digits & (u32::MAX << (point + 1))).trailing_zeros();
        (end > point + 1 && end < 15).then(|| extent(end))
    }

    #[inline]
    pub(crate) fn number(self, text: &[u8; 16]) -> ShortNumber {
        let Self { sign, point, end } = self;
        let first = usize::from(sign);
        let zero = text[first] == b'0';
        if point == end {
            let stands = !zero || (point == 1 && !sign);
            return ShortNumber { len: end, integer: true, printed: if stands { end } else { 0 } };
        }
        let stands = if zero {
            let fraction = &text[point + 1..end];
            // From a thousandth on, and zero itself, which has no sign.
            point == first + 1 && (fraction.iter().take(3).any(|digit| *digit != b'0') || (!sign && is_zero(fraction)))
        } else {
            point - first <= 7
        };
        let mut printed = if stands { end } else { 0 };
        while printed > point + 2 && text[printed - 1] == b'0' {
            printed -= 1;
        }
        ShortNumber { len: end, integer: false, printed }
    }
}

#[cold]
fn is_zero(digits: &[u8]) -> bool {
    digits.iter().all(|digit| *digit == b'0')
}

/// A bit for each byte that ends a plain run of JSON text.
#[inline]
pub(crate) fn specials(bytes: &[u8; 16]) -> u32 {
    let all = u8x16::new(*bytes);
    // So changed, a quote comes right behind the control characters, which stay among themselves.
    let moved = all ^ u8x16::splat(2);
    let low = moved.min(u8x16::splat(0x20)).simd_eq(moved);
    (low | all.simd_eq(u8x16::splat(b'\\'))).to_bitmask()
}

/// A bit for each byte that is a digit.
#[inline]
pub(crate) fn digits(bytes: &[u8; 16]) -> u32 {
    let values = u8x16::new(*bytes) - u8x16::splat(b'0');
    values.min(u8x16::splat(9)).simd_eq(values).to_bitmask()
}

/// Where the plain run from `start` ends when writing: also at a character above U+FFFF, which Java escapes.
#[inline]
pub(crate) fn write_run(bytes: &[u8], start: usize) -> usize {
    run(
        bytes,
        start,
        |word| special(word) | astral(word),
        |byte| byte < 0x20 || byte == b'"' || byte == b'\\' || byte >= 0xF0,
    )
}

#[inline]
fn run(bytes: &[u8], start: usize, stops: impl Fn(u64) -> u64, is_stop: impl Fn(u8) -> bool) -> usize {
    let mut position = start;
    while let Some(chunk) = bytes[position..].first_chunk::<8>() {
        let found = stops(u64::from_le_bytes(*chunk));
        if found != 0 {
            return position + found.trailing_zeros() as usize / 8;
        }
        position += 8;
    }
    position + bytes[position..].iter().position(|byte| is_stop(*byte)).unwrap_or(bytes.len() - position)
}

/// True when the bytes begin with the known ones: a few words are compared sooner than a library is called.
#[inline]
pub(crate) fn starts_with(bytes: &[u8], known: &[u8]) -> bool {
    let Some(bytes) = bytes.get(..known.len()) else { return false };
    if let (Some(a), Some(b)) = (bytes.last_chunk::<8>(), known.last_chunk::<8>()) {
        return same_word(*a, *b) && same_words(bytes, known);
    }
    match (bytes.first_chunk::<4>(), known.first_chunk::<4>()) {
        (Some(a), Some(b)) => a == b && bytes.last_chunk::<4>() == known.last_chunk::<4>(),
        _ => bytes == known,
    }
}

#[inline]
fn same_word(a: [u8; 8], b: [u8; 8]) -> bool {
    u64::from_le_bytes(a) == u64::from_le_bytes(b)
}

/// Of two texts of one length, the whole words from the beginning.
#[inline]
fn same_words(mut a: &[u8], mut b: &[u8]) -> bool {
    while let (Some((x, rest_of_a)), Some((y, rest_of_b))) = (a.split_first_chunk(), b.split_first_chunk()) {
        if !same_word(*x, *y) {
            return false;
        }
        (a, b) = (rest_of_a, rest_of_b);
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn beginnings_are_compared_whatever_their_length() {
        let bytes: Vec<u8> = (0..40).collect();
        for len in 0..=40 {
            let mut known = bytes[..len].to_vec();
            assert!(starts_with(&bytes, &known));
            for at in 0..len {
                known[at] ^= 1;
                assert!(!starts_with(&bytes, &known), "{at} of {len}");
                known[at] ^= 1;
            }
            known.push(0xFF);
            assert!(!starts_with(&bytes, &known), "longer");
        }
    }

    #[test]
    fn short_numbers_print_as_java_prints_them() {
        for text in [
            "0",
            "-0",
            "00",
            "7",
            "-12",
            "007",
            "0.0",
            "-0.0",
            "0.000",
            "1.0",
            "1.00",
            "1.50",
            "-1.05",
            "0.001",
            "0.0010",
            "0.0009",
            "00.5",
            "9999999.5",
            "12345678.5",
            "1234567890123",
            "12345678901234",
            "123456789012345",
            "1e5",
            "1.5E3",
            "1.",
            ".5",
            "-",
            "x",
            "1.23456789012",
            "1.234567890123",
        ] {
            let padded = format!("{text},\"abcdefghijklm\"");
            let (found, reader) = (short_number(padded.as_bytes()), pipette_api::Text::from(padded.as_str()));
            let number = crate::Reader::at(&reader, 0).number().ok();
            let Some(found) = found else { continue };
            let number = number.expect(text);
            let mut printed = Vec::new();
            match number.value() {
                pipette_api::Value::I64(number) => crate::write_i64(number, &mut printed),
                pipette_api::Value::F64(number) => crate::write_f64(number, &mut printed),
                other => panic!("{other:?}"),
            }
            assert_eq!((found.len, found.integer), (text.len(), number.is_integer()), "{text}");
            assert!(found.printed == 0 || printed == padded.as_bytes()[..found.printed], "{text}");
        }
        let as_they_stand = |text: &str| short_number(format!("{text},              ").as_bytes()).unwrap().printed;
        assert_eq!(["123.4567", "-12", "0.0", "1.500", "0.0005", "007"].map(as_they_stand), [8, 3, 3, 3, 0, 0]);
        for text in ["1e5", "1.5E3", "1.", "-", "x", "123456789012345", "1.2345678901234"] {
            assert_eq!(short_number(format!("{text},              ").as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn words_find_what_bytes_find(bytes in proptest::collection::vec(any::<u8>(), 0..40), start in 0usize..40) {
            let start = start.min(bytes.len());
            let end = |is_stop: fn(u8) -> bool| {
                bytes[start..].iter().position(|byte| is_stop(*byte)).map_or(bytes.len(), |index| start + index)
            };
            let plain = |byte| byte < 0x20 || byte == b'"' || byte == b'\\';
            prop_assert_eq!(read_run(&bytes, start), end(plain));
            prop_assert_eq!(write_run(&bytes, start), end(|byte| byte < 0x20 || byte == b'"' || byte == b'\\' || byte >= 0xF0));
        }
    }
}
