//! Eight bytes at a time: where a run of plain string bytes ends. Used by the reader and the writer.

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
    run(bytes, start, special, |byte| byte < 0x20 || byte == b'"' || byte == b'\\')
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
