//! The one form of payloads that travel through Kafka in pieces: the headers of a piece, written and read.
//!
//! Natively eight headers of plain text, so that no header converter damages them; or LinkedIn's one header of 29 bytes. Used
//! by `Chunk` and `Reassemble`, by sources that send pieces and by sinks that put them together. What is read here comes from
//! anybody: it is consistent in itself, or a data error.

use std::fmt;
use std::sync::Arc;

use pipette_api::{Blob, ConnectError, KafkaHeaders, Result};
use uuid::Uuid;

use crate::digest::{Digest, Hasher, hex};

const VERSION: &str = "chunk-v";
const ID: &str = "chunk-id";
const INDEX: &str = "chunk-index";
const COUNT: &str = "chunk-count";
const OFFSET: &str = "chunk-offset";
const TOTAL: &str = "chunk-total";
const CRC: &str = "chunk-crc32c";
const DIGEST: &str = "chunk-digest";
const LINKEDIN: &str = "_lm";

/// Every header of either form.
pub const HEADERS: [&str; 9] = [VERSION, ID, INDEX, COUNT, OFFSET, TOTAL, CRC, DIGEST, LINKEDIN];

/// How much room the headers of a piece take in a Kafka record, names included: no more than this.
pub const HEADERS_SIZE: usize = 512;

/// LinkedIn's header: no other header in front of the payload.
const LINKEDIN_TYPE: u8 = 2;
const LINKEDIN_SIZE: usize = 29;

/// In which form pieces are marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Ours.
    Native,
    /// LinkedIn's `_lm`, for payloads of less than 2 GiB whose size is known.
    LinkedIn,
}

/// Which payload a piece belongs to, within its partition.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkId(pub [u8; 16]);

impl ChunkId {
    /// The same after a restart, so that pieces sent again are known as such.
    pub fn of_position(connector: &str, partition: &str, offset: &str, ordinal: u64) -> Self {
        let mut hasher = Hasher::default();
        for part in [connector, partition, offset, &ordinal.to_string()] {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        let mut id = [0; 16];
        id.copy_from_slice(&hasher.digest().0[..16]);
        Self(id)
    }

    /// Another one each time.
    pub fn random() -> Self {
        Self(Uuid::now_v7().into_bytes())
    }

    fn read(text: &str) -> Option<Self> {
        let plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = plain.then(|| u128::from_str_radix(text, 16).ok()).flatten()?;
        Some(Self(number.to_be_bytes()))
    }
}

/// 32 hex digits, which also make a key for pieces of a record without one.
impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What the headers of a piece say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The payload it belongs to.
    pub id: ChunkId,
    /// Which piece it is, from 0.
    pub index: u32,
    /// How many there are, when that is known already.
    pub count: Option<u32>,
    /// Where it belongs in the payload; LinkedIn's form does not say.
    pub offset: Option<u64>,
    /// The size of the payload, when it is known.
    pub total: Option<u64>,
    /// The CRC-32C of this piece.
    pub crc: Option<u32>,
    /// The digest of the whole payload, on its last piece.
    pub digest: Option<Digest>,
}

impl Chunk {
    /// The CRC-32C of a piece.
    pub fn crc_of(body: &[u8]) -> u32 {
        crc32c::crc32c(body)
    }

    /// True on the last piece.
    pub fn is_last(&self) -> bool {
        self.count == Some(self.index + 1)
    }

    /// Adds the headers. A data error when LinkedIn's form cannot say it: the size is unknown, or 2 GiB and more.
    pub fn write(&self, format: Format, headers: &mut KafkaHeaders) -> Result<()> {
        match format {
            Format::Native => self.write_native(headers),
            Format::LinkedIn => self.write_linkedin(headers),
        }
    }

    fn write_native(&self, headers: &mut KafkaHeaders) -> Result<()> {
        let mut put = |name: &str, value: Option<String>| -> Result<()> {
            if let Some(value) = value {
                headers.push((Arc::from(name), Some(Blob::whole(value)?)));
            }
            Ok(())
        };
        put(VERSION, Some("1".into()))?;
        put(ID, Some(self.id.to_string()))?;
        put(INDEX, Some(self.index.to_string()))?;
        put(COUNT, Some(self.count.unwrap_or(0).to_string()))?;
        put(OFFSET, self.offset.map(|offset| offset.to_string()))?;
        put(TOTAL, self.total.map(|total| total.to_string()))?;
        put(CRC, self.crc.map(|crc| format!("{crc:08x}")))?;
        put(DIGEST, self.digest.map(|digest| digest.to_string()))
    }

    fn write_linkedin(&self, headers: &mut KafkaHeaders) -> Result<()> {
        let total = self.total.and_then(|total| i32::try_from(total).ok());
        let count = self.count.and_then(|count| i32::try_from(count).ok());
        let (Some(total), Some(count)) = (total, count) else {
            return Err(ConnectError::data(
                "LinkedIn's form of pieces takes payloads of a known size below 2 GiB: use format=native",
            ));
        };
        let mut bytes = Vec::with_capacity(LINKEDIN_SIZE);
        bytes.push(LINKEDIN_TYPE);
        // The lower half first.
        bytes.extend_from_slice(&self.id.0[8..]);
        bytes.extend_from_slice(&self.id.0[..8]);
        bytes.extend_from_slice(&self.index.to_be_bytes());
        bytes.extend_from_slice(&count.to_be_bytes());
        bytes.extend_from_slice(&total.to_be_bytes());
        headers.push((Arc::from(LINKEDIN), Some(Blob::whole(bytes)?)));
        Ok(())
    }

    /// What the headers of a record say; `None` when it is no piece. A data error when they contradict themselves or are of a
    /// newer version.
    pub fn read(headers: &KafkaHeaders) -> Result<Option<(Format, Self)>> {
        let last =
            |name: &str| headers.iter().rev().find(|(it, _)| &**it == name).and_then(|(_, value)| value.as_ref());
        let (format, chunk) = if let Some(version) = last(VERSION) {
            if version.as_bytes() != b"1" {
                return Err(broken("it is of a version that this program does not read"));
            }
            (Format::Native, Self::read_native(last)?)
        } else if let Some(bytes) = last(LINKEDIN) {
            (Format::LinkedIn, Self::read_linkedin(bytes.as_bytes())?)
        } else {
            return Ok(None);
        };
        chunk.hold()?;
        Ok(Some((format, chunk)))
    }

    fn read_native<'a>(last: impl Fn(&str) -> Option<&'a Blob>) -> Result<Self> {
        let text = |name: &str| last(name).map(|value| std::str::from_utf8(value.as_bytes()).unwrap_or("\u{fffd}"));
        let unreadable = |name: &str| broken(&format!("its {name} cannot be read"));
        let number = |name: &str| text(name).map(|text| decimal(text).ok_or_else(|| unreadable(name))).transpose();
        let small = |name: &str| {
            let number = number(name)?.ok_or_else(|| broken(&format!("it has no {name}")))?;
            u32::try_from(number).map_err(|_| unreadable(name))
        };
        let crc = |text: &str| {
            let plain = text.len() <= 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain.then(|| u32::from_str_radix(text, 16).ok()).flatten().ok_or_else(|| unreadable(CRC))
        };
        Ok(Self {
            id: text(ID).and_then(ChunkId::read).ok_or_else(|| unreadable(ID))?,
            index: small(INDEX)?,
            count: Some(small(COUNT)?).filter(|count| *count > 0),
            offset: Some(number(OFFSET)?.ok_or_else(|| broken("it has no chunk-offset"))?),
            total: number(TOTAL)?,
            crc: text(CRC).map(crc).transpose()?,
            digest: text(DIGEST).map(Digest::read).transpose()?,
        })
    }

    fn read_linkedin(bytes: &[u8]) -> Result<Self> {
        let bytes: &[u8; LINKEDIN_SIZE] =
            bytes.try_into().map_err(|_| broken("its header _lm is not 29 bytes long"))?;
        if bytes[0] != LINKEDIN_TYPE {
            return Err(broken("its header _lm is of a type that is not read"));
        }
        let mut id = [0; 16];
        id[8..].copy_from_slice(&bytes[1..9]);
        id[..8].copy_from_slice(&bytes[9..17]);
        let number = |at: usize| {
            let number = u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            i32::try_from(number).map(i32::unsigned_abs).map_err(|_| broken("its header _lm has a negative number"))
        };
        Ok(Self {
            id: ChunkId(id),
            index: number(17)?,
            count: Some(number(21)?),
            offset: None,
            total: Some(u64::from(number(25)?)),
            crc: None,
            digest: None,
        })
    }

    fn hold(&self) -> Result<()> {
        if self.index == u32::MAX || self.count.is_some_and(|count| self.index >= count) {
            return Err(broken("its number is beyond the number of pieces"));
        }
        // Java's longs have a sign.
        let beyond = |size: Option<u64>| size.is_some_and(|size| i64::try_from(size).is_err());
        if beyond(self.offset) || beyond(self.total) {
            return Err(broken("its sizes are no sizes"));
        }
        match (self.offset, self.total) {
            (Some(offset), Some(total)) if offset > total => Err(broken("it begins behind the end of its payload")),
            (Some(offset), _) if (offset == 0) != (self.index == 0) => Err(broken("its place does not fit its number")),
            _ => Ok(()),
        }
    }

    /// Holds a piece against its headers and a limit. A data error when it is damaged, or belongs to a payload that is too
    /// large: which shows on the first piece when the size is known.
    pub fn check(&self, body: &[u8], max_payload: u64) -> Result<()> {
        let end = self.offset.unwrap_or(0).saturating_add(body.len() as u64);
        if self.total.unwrap_or(end).max(end) > max_payload {
            return Err(broken(&format!("its payload is larger than max.payload.bytes ({max_payload})")));
        }
        if self.total.is_some_and(|total| end > total)
            || (self.is_last() && self.offset.is_some() && self.total.is_some_and(|total| total != end))
        {
            return Err(broken("it does not end where its payload does"));
        }
        match self.crc {
            Some(crc) if crc != Self::crc_of(body) => Err(broken("its bytes are damaged: the checksum is another one")),
            _ => Ok(()),
        }
    }

    /// Takes the headers of either form away.
    pub fn strip(headers: &mut KafkaHeaders) {
        headers.retain(|(name, _)| !HEADERS.contains(&&**name));
    }
}

/// How many pieces of a size a payload has, at least one. A data error when there are too many to be counted.
pub fn count(total: u64, piece: u64) -> Result<u32> {
    u32::try_from(total.div_ceil(piece.max(1)).max(1)).map_err(|_| {
        ConnectError::data(format!(
            "a payload of {total} bytes has too many pieces of {piece} bytes: raise chunk.bytes"
        ))
    })
}

/// Digits only: `parse` would take a sign as well.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn broken(how: &str) -> ConnectError {
    ConnectError::data(format!("a piece of a large value cannot be used: {how}"))
}

#[cfg(test)]
#[path = "chunk_tests.rs"]
mod tests;
