//! Many bytes at a time: where a run of plain string bytes ends, and what a number is. Used by the reader and the writer.
//!
//! Sixteen in a vector that every machine has, or eight with plain integers.

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
    run(bytes, position, special, |byte| byte < 0x20 || byte == b'"' || byte == b'\\')
}

/// A number at the beginning of a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ShortNumber {
    pub(crate) len: usize,
    /// Without a fraction.
    pub(crate) integer: bool,
    /// Java prints it with the same characters: no zero too many in it, and neither so large nor so small that it has an
    /// exponent there.
    pub(crate) as_it_stands: bool,
}

/// Digits, maybe with a sign and a fraction, that end before the fifteenth character; `None` for everything else.
#[inline]
pub(crate) fn short_number(text: &[u8]) -> Option<ShortNumber> {
    let chunk = text.first_chunk::<16>()?;
    let digits = digits(chunk);
    let sign = usize::from(chunk[0] == b'-');
    let whole = (!(digits >> sign)).trailing_zeros() as usize;
    let point = sign + whole;
    if whole == 0 || point >= 15 {
        return None;
    }
    let follows = chunk[point];
    if follows != b'.' {
        let as_it_stands = chunk[sign] != b'0' || (whole == 1 && sign == 0);
        return (follows | 0x20 != b'e').then_some(ShortNumber { len: point, integer: true, as_it_stands });
    }
    let places = (!(digits >> (point + 1))).trailing_zeros() as usize;
    let len = point + 1 + places;
    if places == 0 || len >= 15 || chunk[len] | 0x20 == b'e' {
        return None;
    }
    let short = if chunk[sign] == b'0' {
        // From a thousandth on.
        whole == 1 && chunk[point + 1..len].iter().take(3).any(|digit| *digit != b'0')
    } else {
        whole <= 7
    };
    // One zero behind the point is what Java writes, more are not.
    let as_it_stands = short && (places == 1 || chunk[len - 1] != b'0');
    Some(ShortNumber { len, integer: false, as_it_stands })
}

/// A bit for each byte that ends a plain run of JSON text.
#[inline]
fn specials(bytes: &[u8; 16]) -> u32 {
    let all = u8x16::new(*bytes);
    let same = |byte: u8| all.simd_eq(u8x16::splat(byte));
    let control = all.min(u8x16::splat(0x1F)).simd_eq(all);
    (control | same(b'"') | same(b'\\')).to_bitmask()
}

/// A bit for each byte that is a digit.
#[inline]
fn digits(bytes: &[u8; 16]) -> u32 {
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
