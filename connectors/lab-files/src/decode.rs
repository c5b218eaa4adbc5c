//! Character sets: which one a file is in, and how its bytes become text.
//!
//! Readers work on bytes in which ASCII means ASCII: 8-bit files as they are, UTF-16 transcoded by [`Utf16`]. The raw
//! length of any part can be worked out again ([`Charset::raw_len`]), so offsets are exact bytes of the stored file.
//! `window.rs` drives this. Read next: `window.rs`.

use std::borrow::Cow;

use encoding_rs::Encoding;

/// Stands for a UTF-16 unit that is half of a pair without the other half. Never valid in UTF-8, so the text it is in
/// is refused when it is checked.
const LONE_UNIT: u8 = 0xFF;
/// Stands for the odd byte at the end of a UTF-16 file.
const LONE_BYTE: u8 = 0xFE;

/// `file.charset` and `file.charset.fallback`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CharsetChoice {
    /// By mark, else UTF-8, else the fallback.
    Auto {
        fallback: Option<&'static Encoding>,
    },
    Fixed(Charset),
}

impl CharsetChoice {
    pub(crate) fn read(charset: &str, fallback: &str) -> Result<Self, String> {
        if charset != "auto" {
            return Charset::named(charset).map(Self::Fixed);
        }
        if fallback == "none" {
            return Ok(Self::Auto { fallback: None });
        }
        match Charset::named(fallback)? {
            Charset::EightBit(encoding) => Ok(Self::Auto { fallback: Some(encoding) }),
            _ => Err(format!("{fallback} is no 8-bit code page")),
        }
    }
}

/// A character set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charset {
    /// UTF-8; rows that are not may be in an 8-bit code page.
    Utf8 {
        fallback: Option<&'static Encoding>,
    },
    EightBit(&'static Encoding),
    Utf16 {
        big_endian: bool,
    },
}

impl Charset {
    fn named(label: &str) -> Result<Self, String> {
        let Some(encoding) = Encoding::for_label(label.as_bytes()) else {
            return Err(format!("{label} is not a known character set"));
        };
        match encoding.name() {
            "UTF-8" => Ok(Self::Utf8 { fallback: None }),
            "UTF-16LE" => Ok(Self::Utf16 { big_endian: false }),
            "UTF-16BE" => Ok(Self::Utf16 { big_endian: true }),
            _ if encoding.is_single_byte() => Ok(Self::EightBit(encoding)),
            name => Err(format!("{name} is not supported yet: use UTF-8, UTF-16 or an 8-bit code page")),
        }
    }

    /// The name for the `file.charset` header.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Utf8 { .. } => "UTF-8",
            Self::EightBit(encoding) => encoding.name(),
            Self::Utf16 { big_endian: false } => "UTF-16LE",
            Self::Utf16 { big_endian: true } => "UTF-16BE",
        }
    }

    /// How many bytes of the stored file these bytes of the window are.
    pub(crate) fn raw_len(self, text: &[u8]) -> u64 {
        match self {
            Self::Utf8 { .. } | Self::EightBit(_) => text.len() as u64,
            Self::Utf16 { .. } => text
                .iter()
                .map(|byte| match byte {
                    0x80..=0xBF => 0,
                    0xF0..=0xF7 => 4,
                    &LONE_BYTE => 1,
                    _ => 2,
                })
                .sum(),
        }
    }

    /// A cell or line as UTF-8, or `None` when it is none in this character set.
    pub(crate) fn decode(self, bytes: &[u8]) -> Option<Cow<'_, str>> {
        let utf8 = std::str::from_utf8(bytes);
        match (self, utf8) {
            (Self::EightBit(encoding), _) => encoding.decode_without_bom_handling_and_without_replacement(bytes),
            (_, Ok(text)) => Some(Cow::Borrowed(text)),
            (Self::Utf8 { fallback: Some(encoding) }, Err(_)) => {
                encoding.decode_without_bom_handling_and_without_replacement(bytes)
            }
            (_, Err(_)) => None,
        }
    }
}

/// The character set of a file by its head, and the length of the byte order mark; or why it is no text.
pub(crate) fn detect(head: &[u8], choice: CharsetChoice) -> Result<(Charset, usize), String> {
    let (marked, mark) = match head {
        [0xEF, 0xBB, 0xBF, ..] => (Some(Charset::Utf8 { fallback: None }), 3),
        [0xFF, 0xFE, ..] => (Some(Charset::Utf16 { big_endian: false }), 2),
        [0xFE, 0xFF, ..] => (Some(Charset::Utf16 { big_endian: true }), 2),
        _ => (None, 0),
    };
    let fallback = match (choice, marked) {
        (CharsetChoice::Fixed(charset), Some(marked)) if charset.name() == marked.name() => return Ok((charset, mark)),
        (CharsetChoice::Fixed(charset), _) => return Ok((charset, 0)),
        (CharsetChoice::Auto { .. }, Some(marked)) => return Ok((marked, mark)),
        (CharsetChoice::Auto { fallback }, None) => fallback,
    };
    if let Some(at) = head.iter().position(|byte| *byte == 0) {
        return Err(format!(
            "is not text: byte {at} is zero and there is no byte order mark. Set file.charset if it is UTF-16 without \
             a mark, or output.mode=whole to hand the file over as it is"
        ));
    }
    // A head with characters of UTF-8 in it settles the matter: a later byte that is not UTF-8 is then an error, not
    // another code page.
    let is_utf8 = !head.is_ascii() && utf8_up_to_a_cut(head);
    Ok((Charset::Utf8 { fallback: if is_utf8 { None } else { fallback } }, 0))
}

/// Valid UTF-8, apart from a character that the end of the sample cuts.
fn utf8_up_to_a_cut(head: &[u8]) -> bool {
    match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    }
}

/// Turns UTF-16 into UTF-8, block by block. What does not fit in a block is kept for the next.
#[derive(Debug, Default)]
pub(crate) struct Utf16 {
    carry: Vec<u8>,
}

impl Utf16 {
    /// Appends the text of a block; `last` says that nothing follows.
    pub(crate) fn push(&mut self, block: &[u8], big_endian: bool, last: bool, text: &mut Vec<u8>) {
        let mut bytes = std::mem::take(&mut self.carry);
        bytes.extend_from_slice(block);
        let (pairs, odd) = bytes.split_at(bytes.len() / 2 * 2);
        let unit = |pair: &[u8]| {
            let pair = [pair[0], pair[1]];
            if big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
        };
        let opens_a_pair = |pair: &[u8]| (0xD800..0xDC00).contains(&unit(pair));
        let cut = match pairs.last_chunk::<2>() {
            Some(pair) if !last && opens_a_pair(pair) => pairs.len() - 2,
            _ => pairs.len(),
        };
        for decoded in char::decode_utf16(pairs[..cut].chunks_exact(2).map(unit)) {
            match decoded {
                Ok(character) => text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
                Err(_) => text.push(LONE_UNIT),
            }
        }
        if last {
            text.extend(odd.iter().map(|_| LONE_BYTE));
        } else {
            self.carry = bytes[cut..].to_vec();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn auto() -> CharsetChoice {
        CharsetChoice::read("auto", "windows-1252").unwrap()
    }

    #[test]
    fn the_head_decides() {
        let windows = Some(encoding_rs::WINDOWS_1252);
        for (head, expected) in [
            (&b"\xEF\xBB\xBFa"[..], (Charset::Utf8 { fallback: None }, 3)),
            (b"\xFF\xFEa\0", (Charset::Utf16 { big_endian: false }, 2)),
            (b"\xFE\xFF\0a", (Charset::Utf16 { big_endian: true }, 2)),
            ("µg".as_bytes(), (Charset::Utf8 { fallback: None }, 0)),
            (b"plain", (Charset::Utf8 { fallback: windows }, 0)),
            (b"\xB5g", (Charset::Utf8 { fallback: windows }, 0)),
            (b"", (Charset::Utf8 { fallback: windows }, 0)),
        ] {
            assert_eq!(detect(head, auto()).unwrap(), expected, "{head:?}");
        }
        assert!(detect(b"PK\x03\x04\0", auto()).unwrap_err().contains("output.mode=whole"));
        assert!(CharsetChoice::read("shift_jis", "none").unwrap_err().contains("not supported yet"));
        assert!(CharsetChoice::read("klingon", "none").is_err());
    }

    #[test]
    fn an_8_bit_row_is_read_by_the_fallback_and_refused_without_one() {
        assert_eq!(Charset::Utf8 { fallback: Some(encoding_rs::WINDOWS_1252) }.decode(b"\xB5g").unwrap(), "µg");
        assert_eq!(Charset::Utf8 { fallback: None }.decode(b"\xB5g"), None);
    }

    proptest! {
        /// However the blocks fall, the text is what a decoder of the whole would give, and every prefix of it knows
        /// its length in the stored file.
        #[test]
        fn utf16_in_any_blocks(units in prop::collection::vec(any::<u16>(), 0..50), cut in 1_usize..9, big: bool, odd: bool) {
            let mut raw: Vec<u8> =
                units.iter().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect();
            if odd {
                raw.push(7);
            }
            let (mut utf16, mut text) = (Utf16::default(), Vec::new());
            for block in raw.chunks(cut) {
                utf16.push(block, big, false, &mut text);
            }
            utf16.push(&[], big, true, &mut text);
            let charset = Charset::Utf16 { big_endian: big };
            prop_assert_eq!(charset.raw_len(&text), raw.len() as u64);
            let mut expected = Vec::new();
            for decoded in char::decode_utf16(units) {
                match decoded {
                    Ok(character) => expected.extend_from_slice(character.to_string().as_bytes()),
                    Err(_) => expected.push(LONE_UNIT),
                }
            }
            expected.extend(odd.then_some(LONE_BYTE));
            prop_assert_eq!(text, expected);
        }
    }
}
