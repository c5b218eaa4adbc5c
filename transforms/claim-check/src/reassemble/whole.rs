//! What was put together, as a payload: read piece by piece from memory or file, as often as somebody likes.

use std::sync::Arc;

use bytes::Bytes;
use pipette_api::{ConnectError, Payload, PayloadReader, Result, async_trait};
use pipette_store::{Digest, Hasher};

use super::storage::{Kept, Spill};

/// How much of a file is read at once.
const BLOCK: usize = 1 << 20;

/// Where the bytes of a piece are.
#[derive(Debug)]
pub(super) enum Place {
    Memory(Kept),
    /// Where in the payload's file.
    File(u64),
}

/// A piece, without its headers.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) place: Place,
    pub(super) len: usize,
    pub(super) crc: u32,
    /// Where its headers say it belongs.
    pub(super) offset: Option<u64>,
}

/// All pieces of a payload, in order.
#[derive(Debug)]
pub(super) struct Whole {
    pieces: Vec<Piece>,
    /// Where each piece begins, and the end of the last.
    starts: Vec<u64>,
    spill: Option<Spill>,
}

impl Whole {
    pub(super) fn new(pieces: Vec<Piece>, spill: Option<Spill>) -> Self {
        let ends = pieces.iter().scan(0, |end, piece| {
            *end += piece.len as u64;
            Some(*end)
        });
        let starts = std::iter::once(0).chain(ends).collect();
        Self { pieces, starts, spill }
    }

    pub(super) fn size(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// All of it.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        for index in 0..self.pieces.len() {
            all.extend_from_slice(&self.part(index, 0, usize::MAX)?);
        }
        Ok(all)
    }

    /// Of all of it.
    pub(super) fn digest(&self) -> Result<Digest> {
        let mut hasher = Hasher::default();
        for index in 0..self.pieces.len() {
            hasher.update(&self.part(index, 0, usize::MAX)?);
        }
        Ok(hasher.digest())
    }

    /// A part of a piece, which may be in a file.
    fn part(&self, index: usize, skip: usize, most: usize) -> Result<Bytes> {
        let piece = &self.pieces[index];
        let len = most.min(piece.len - skip);
        match (&piece.place, &self.spill) {
            (Place::Memory(kept), _) => Ok(kept.bytes.slice(skip..skip + len)),
            (Place::File(at), Some(spill)) => spill.read(at + skip as u64, len),
            (Place::File(_), None) => unreachable!("a piece in a file has a file"),
        }
    }
}

/// The payload that the sink is given.
#[derive(Debug)]
pub(super) struct Assembled(pub(super) Arc<Whole>);

#[async_trait]
impl Payload for Assembled {
    fn len(&self) -> Option<u64> {
        Some(self.0.size())
    }

    async fn open(&self, start: u64, len: Option<u64>) -> Result<Box<dyn PayloadReader>> {
        let size = self.0.size();
        let end = len.map_or(Some(size), |len| start.checked_add(len)).filter(|end| start <= *end && *end <= size);
        let Some(end) = end else {
            return Err(ConnectError::data(format!("a payload of {size} bytes has no bytes from {start} to there")));
        };
        Ok(Box::new(Reader { whole: Arc::clone(&self.0), at: start, end }))
    }
}

struct Reader {
    whole: Arc<Whole>,
    at: u64,
    end: u64,
}

#[async_trait]
impl PayloadReader for Reader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.at >= self.end {
            return Ok(None);
        }
        // The last piece that begins here or before; empty ones share their beginning with the next.
        let index = self.whole.starts.partition_point(|start| *start <= self.at) - 1;
        let small = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let skip = small(self.at - self.whole.starts[index]);
        let most = small(self.end - self.at).min(BLOCK);
        let bytes = match &self.whole.pieces[index].place {
            Place::Memory(_) => self.whole.part(index, skip, most)?,
            Place::File(_) => {
                let whole = Arc::clone(&self.whole);
                let read = tokio::task::spawn_blocking(move || whole.part(index, skip, most)).await;
                read.map_err(|error| ConnectError::fatal("Reading a large value broke down").because(error))??
            }
        };
        self.at += bytes.len() as u64;
        Ok(Some(bytes))
    }
}
