//! A payload as the formats see it: any range of it, until bytes or time are used up.
//!
//! Whatever a file says, no more than the limit is read and held. Ranges are read in blocks, because each may be a request
//! to an object store. Read next: `image.rs`.

use bytes::{Bytes, BytesMut};
use pipette_api::{ConnectError, ErrorKind, Payload, PayloadReader};
use tokio::time::{Instant, timeout_at};

use super::Limits;

/// What the first request asks for: enough for most formats.
const HEAD: usize = 64 * 1024;
/// What every other request asks for at least.
const BLOCK: usize = 16 * 1024;
/// Most requests for one payload: blocks that lie apart cost bytes each, but no payload should cost more time than that.
const REQUESTS: u32 = 64;

/// Why reading ended before the format was done.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The payload ends there.
    End,
    /// It is not what it begins like, or more than may be read; the reason.
    Note(String),
    /// The payload cannot be read.
    Failed(ConnectError),
}

impl From<&str> for Stop {
    fn from(reason: &str) -> Self {
        Self::Note(reason.to_owned())
    }
}

pub(crate) struct Ranges<'a> {
    payload: &'a dyn Payload,
    /// Where it ends, once that is known.
    end: Option<u64>,
    limits: Limits,
    deadline: Instant,
    held: u64,
    requests: u32,
    blocks: Vec<(u64, Bytes)>,
}

impl<'a> Ranges<'a> {
    pub(crate) fn new(payload: &'a dyn Payload, limits: Limits) -> Self {
        let deadline = Instant::now() + limits.time;
        Self { payload, end: payload.len(), limits, deadline, held: 0, requests: 0, blocks: Vec::new() }
    }

    /// How many bytes may still be read.
    pub(crate) fn left(&self) -> u64 {
        self.limits.bytes.saturating_sub(self.held)
    }

    /// The beginning, as far as one request goes.
    pub(crate) async fn head(&mut self) -> Result<Bytes, Stop> {
        self.up_to(0, HEAD).await
    }

    /// Exactly so many bytes.
    pub(crate) async fn get(&mut self, start: u64, len: usize) -> Result<Bytes, Stop> {
        let found = self.up_to(start, len).await?;
        if found.len() == len {
            return Ok(found);
        }
        Err(if self.end.is_some_and(|end| start.saturating_add(len as u64) > end) {
            Stop::End
        } else {
            Stop::Note(format!("not read to its end: more than probe.bytes={}", self.limits.bytes))
        })
    }

    /// An array of bytes, for numbers.
    pub(crate) async fn array<const N: usize>(&mut self, start: u64) -> Result<[u8; N], Stop> {
        let found = self.get(start, N).await?;
        found[..].try_into().map_err(|_| Stop::End)
    }

    /// So many bytes, fewer at the end or where the limit is reached.
    pub(crate) async fn up_to(&mut self, start: u64, len: usize) -> Result<Bytes, Stop> {
        let held = self.blocks.iter().find_map(|(begin, block)| {
            let at = usize::try_from(start.checked_sub(*begin)?).ok()?;
            let ends = self.end == Some(begin + block.len() as u64);
            let left = block.len().checked_sub(at)?;
            (left >= len || ends).then(|| block.slice(at..at + len.min(left)))
        });
        if let Some(found) = held {
            return Ok(found);
        }
        let most = self.end.map_or(u64::MAX, |end| end.saturating_sub(start));
        let wanted = (len.max(BLOCK) as u64).min(most).min(self.left());
        if most == 0 {
            return Err(Stop::End);
        }
        if wanted == 0 {
            return Err(Stop::Note(format!("not read to its end: more than probe.bytes={}", self.limits.bytes)));
        }
        if self.requests == REQUESTS {
            return Err(Stop::Note(format!("not read to its end: it is scattered over more than {REQUESTS} places")));
        }
        self.requests += 1;
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let block = self.fetch(start, wanted).await?;
        self.held += block.len() as u64;
        if block.len() < wanted {
            self.end = Some(start + block.len() as u64);
        }
        let found = block.slice(..len.min(block.len()));
        self.blocks.push((start, block));
        Ok(found)
    }

    async fn fetch(&self, start: u64, wanted: usize) -> Result<Bytes, Stop> {
        let late = |_| Stop::Note(format!("not read to its end: it took longer than {:?}", self.limits.time));
        let range = self.end.map(|_| wanted as u64);
        let opened = timeout_at(self.deadline, self.payload.open(start, range)).await.map_err(late)?;
        let mut reader: Box<dyn PayloadReader> = match opened {
            Ok(reader) => reader,
            // Of a payload that does not know its length only this tells where it ends.
            Err(error) if self.end.is_none() && error.kind() == ErrorKind::Data && start > 0 => return Err(Stop::End),
            Err(error) => return Err(Stop::Failed(error)),
        };
        let mut found = BytesMut::new();
        while found.len() < wanted {
            let piece = timeout_at(self.deadline, reader.next()).await.map_err(late)?.map_err(Stop::Failed)?;
            let Some(piece) = piece else { break };
            found.extend_from_slice(&piece[..piece.len().min(wanted - found.len())]);
        }
        Ok(found.freeze())
    }
}
