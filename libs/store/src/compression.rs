//! Compression of objects: on the way in, and on the way out with a limit, because a small object may hold a large one.

use std::io::{self, Write};

use flate2::write::{GzEncoder, MultiGzDecoder};
use pipette_api::{ConnectError, Result};
use zstd::stream::write as zst;

/// How an object is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// Reads the name of a content encoding; a data error for one that is not known.
    pub fn read(text: &str) -> Result<Option<Self>> {
        match text {
            "" | "none" | "identity" => Ok(None),
            "gzip" | "x-gzip" => Ok(Some(Self::Gzip)),
            "zstd" => Ok(Some(Self::Zstd)),
            other => {
                let shown: String = other.chars().take(40).collect();
                Err(ConnectError::data(format!("the object is compressed in a way that is not known: {shown:?}")))
            }
        }
    }

    /// The name of the content encoding.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// Every form.
    pub(crate) const ALL: [Self; 2] = [Self::Gzip, Self::Zstd];

    /// At the end of a key, so that one content has one object for each form of it.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

/// Compresses what goes by.
pub(crate) enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(Box<zst::Encoder<'static, Vec<u8>>>),
}

impl Encoder {
    pub(crate) fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::default())),
            Compression::Zstd => Self::Zstd(Box::new(zst::Encoder::new(Vec::new(), 3)?)),
        })
    }

    /// What comes out for these bytes, which may be nothing yet.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.write_all(bytes).map(|()| std::mem::take(encoder.get_mut())),
            Self::Zstd(encoder) => encoder.write_all(bytes).map(|()| std::mem::take(encoder.get_mut())),
        }
    }

    pub(crate) fn end(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// Decompresses what goes by, up to a number of bytes.
pub(crate) enum Decoder {
    Gzip(Box<MultiGzDecoder<Capped>>),
    Zstd(Box<zst::Decoder<'static, Capped>>),
}

/// Decompressed bytes, which end with an error instead of without end.
#[derive(Default)]
pub(crate) struct Capped {
    out: Vec<u8>,
    left: u64,
    burst: bool,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
            self.burst = true;
            return Err(io::Error::other("too large"));
        };
        self.left = left;
        self.out.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// So few bytes go in at a time that what comes out for them stays small, however well it was compressed.
const SIP: usize = 512;

impl Decoder {
    pub(crate) fn new(compression: Compression, limit: u64) -> io::Result<Self> {
        let out = Capped { left: limit, ..Capped::default() };
        Ok(match compression {
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(out))),
            Compression::Zstd => Self::Zstd(Box::new(zst::Decoder::new(out)?)),
        })
    }

    /// Takes some bytes off the front of `input` and gives what came out. `None` in the place of an error means that the
    /// limit is passed.
    pub(crate) fn sip(&mut self, input: &mut bytes::Bytes) -> std::result::Result<Vec<u8>, Option<io::Error>> {
        let bytes = input.split_to(SIP.min(input.len()));
        let written = match self {
            Self::Gzip(decoder) => decoder.write_all(&bytes),
            Self::Zstd(decoder) => decoder.write_all(&bytes),
        };
        self.take(written)
    }

    /// The last bytes; an error when the compressed form ends too early.
    pub(crate) fn end(&mut self) -> std::result::Result<Vec<u8>, Option<io::Error>> {
        let written = match self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Zstd(decoder) => decoder.flush(),
        };
        self.take(written)
    }

    fn take(&mut self, written: io::Result<()>) -> std::result::Result<Vec<u8>, Option<io::Error>> {
        let out = match self {
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
        };
        match written {
            Ok(()) => Ok(std::mem::take(&mut out.out)),
            Err(_) if out.burst => Err(None),
            Err(error) => Err(Some(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn compressed(compression: Compression, bytes: &[u8]) -> Bytes {
        let mut encoder = Encoder::new(compression).unwrap();
        let mut out = encoder.push(bytes).unwrap();
        out.extend(encoder.end().unwrap());
        out.into()
    }

    fn decompressed(compression: Compression, mut input: Bytes, limit: u64) -> Result<Vec<u8>, Option<io::Error>> {
        let mut decoder = Decoder::new(compression, limit).unwrap();
        let mut out = Vec::new();
        while !input.is_empty() {
            out.extend(decoder.sip(&mut input)?);
        }
        out.extend(decoder.end()?);
        Ok(out)
    }

    #[test]
    fn what_goes_in_comes_out_and_no_more_than_the_limit() {
        let text: Vec<u8> = (0..200_000_u32).flat_map(|n| (n / 7).to_be_bytes()).collect();
        for compression in [Compression::Gzip, Compression::Zstd] {
            let packed = compressed(compression, &text);
            assert!(packed.len() < text.len() / 2);
            assert_eq!(decompressed(compression, packed.clone(), text.len() as u64).unwrap(), text);
            assert!(decompressed(compression, packed, text.len() as u64 - 1).unwrap_err().is_none());
            assert!(decompressed(compression, Bytes::from_static(b"no such form"), 99).unwrap_err().is_some());
            let bomb = compressed(compression, &vec![0; 64 << 20]);
            assert!(bomb.len() < 100_000, "{} bytes", bomb.len());
            assert!(decompressed(compression, bomb, 1 << 20).unwrap_err().is_none());
        }
    }

    #[test]
    fn other_encodings_are_named_in_the_error() {
        assert_eq!(Compression::read("identity").unwrap(), None);
        assert!(Compression::read("br").unwrap_err().to_string().ends_with("not known: \"br\""));
    }
}
