//! Values that are in memory anyway, for code that reads payloads. Used by `extract_metadata.rs`, `claim_check.rs`,
//! and by whoever has both.

use bytes::Bytes;
use pipette_api::{Blob, ConnectError, Payload, PayloadReader, Result, async_trait};

/// How much is handed over at once: each piece is copied.
const PIECE: usize = 1 << 20;

/// Bytes that are here already, as a payload.
#[derive(Debug)]
pub struct InMemory(pub Blob);

#[async_trait]
impl Payload for InMemory {
    fn len(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }

    async fn open(&self, start: u64, len: Option<u64>) -> Result<Box<dyn PayloadReader>> {
        let all = self.0.len();
        let start = usize::try_from(start).ok().filter(|start| *start <= all);
        let wanted = len.map_or(Some(usize::MAX), |len| usize::try_from(len).ok());
        let (start, wanted) =
            start.zip(wanted).ok_or_else(|| ConnectError::data("a range lies outside of bytes in memory"))?;
        Ok(Box::new(Pieces { bytes: self.0.clone(), at: start, end: all.min(start.saturating_add(wanted)) }))
    }
}

struct Pieces {
    bytes: Blob,
    at: usize,
    end: usize,
}

#[async_trait]
impl PayloadReader for Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let piece = &self.bytes.as_bytes()[self.at..self.end.min(self.at.saturating_add(PIECE))];
        self.at += piece.len();
        Ok(Some(Bytes::copy_from_slice(piece)).filter(|piece| !piece.is_empty()))
    }
}
