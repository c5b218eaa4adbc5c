//! Bytes in JSON: standard alphabet, padded, no line breaks.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

// Java ignores the unused bits of the last character.
const ENGINE: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Appends the text of the bytes, without quotes.
pub fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = ENGINE.encode_slice(bytes, &mut out[start..]);
    debug_assert_eq!(written.ok(), Some(out.len() - start), "sized for the padded text");
}

/// The bytes of the text, `None` when it is no base64. As in Java each four characters stand for themselves: they may be
/// padded, and white space may come before them.
pub fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    ENGINE.decode(text).ok().or_else(|| in_groups(text))
}

fn in_groups(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let blanks = text.iter().take_while(|byte| **byte <= b' ').count();
        text = &text[blanks..];
        if text.is_empty() {
            return Some(bytes);
        }
        let (group, rest) = text.split_at_checked(4)?;
        ENGINE.decode_vec(group, &mut bytes).ok()?;
        text = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stand_for_themselves() {
        for (text, bytes) in [
            ("AJw=", Some(&[0, 156][..])),
            ("AJx=", Some(&[0, 156])),
            ("AJw=AAAA", Some(&[0, 156, 0, 0, 0])),
            (" AJwA\n\u{1}AA== ", Some(&[0, 156, 0, 0])),
            (" ", Some(&[])),
            ("AJw", None),
            ("AJ w=", None),
            ("AJw= A", None),
            ("====", None),
            ("_-8=", None),
        ] {
            assert_eq!(decode_base64(text.as_bytes()).as_deref(), bytes, "{text}");
        }
    }
}
