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
pub(crate) fn read_run(bytes: &[u8], start: usize) -> usize {
    run(bytes, start, special, |byte| byte < 0x20 || byte == b'"' || byte == b'\\')
}

/// Where the plain run from `start` ends when writing: also at a character above U+FFFF, which Java escapes.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
