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

/// The bytes of the text, `None` when it is no base64.
pub fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    ENGINE.decode(text).ok()
}
