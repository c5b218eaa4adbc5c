//! SHA-256 of a payload, as references write it: `sha256:<hex>`.

use std::fmt;

use pipette_api::{ConnectError, Result};
use sha2::Digest as _;

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of bytes at hand.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// 64 characters, lower case.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    /// Reads `sha256:<hex>` in either case, or the bare hex that some write. A data error for anything else, other
    /// algorithms included.
    pub fn read(text: &str) -> Result<Self> {
        let bare = text.strip_prefix("sha256:").unwrap_or(text);
        let mut bytes = [0; 32];
        if bare.len() != 64 || !bare.is_ascii() {
            return Err(Self::unreadable(text));
        }
        for (byte, pair) in bytes.iter_mut().zip(bare.as_bytes().chunks(2)) {
            let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else { return Err(Self::unreadable(text)) };
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }

    fn unreadable(text: &str) -> ConnectError {
        let shown: String = text.chars().take(80).collect();
        ConnectError::data(format!("a digest is no `sha256:` with 64 hex digits: {shown:?}"))
    }
}

/// As references write it.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Two lower-case digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

/// Takes the digest of bytes as they go by.
#[derive(Clone, Default, Debug)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// The next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Of everything so far.
    pub fn digest(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_as_it_is_written() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let digest = Digest::of(b"");
        assert_eq!(digest.to_string(), format!("sha256:{empty}"));
        for text in [format!("sha256:{empty}"), empty.to_owned(), empty.to_uppercase()] {
            assert_eq!(Digest::read(&text).unwrap(), digest, "{text}");
        }
        for text in
            ["", "sha256:", "md5:d41d8cd98f00b204e9800998ecf8427e", &empty[1..], &"g".repeat(64), &"ä".repeat(32)]
        {
            assert!(Digest::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pieces_and_the_whole_have_one_digest() {
        let mut hasher = Hasher::default();
        hasher.update(b"large ");
        hasher.update(b"value");
        assert_eq!(hasher.digest(), Digest::of(b"large value"));
    }
}
