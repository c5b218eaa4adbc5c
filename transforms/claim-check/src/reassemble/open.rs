//! A value some of whose pieces have come.

use std::collections::BTreeMap;
use std::time::Instant;

use pipette_api::{Blob, Body, ConnectError, KafkaHeaders, RawRecord, Result};
use pipette_store::chunk::{Chunk, ChunkId, Format};
use pipette_store::{Digest, Hasher};

use super::storage::{Spill, Storage};
use super::whole::{Piece, Place, Whole};

/// What has come of a value.
pub(super) struct Open {
    /// The first piece that came, without its bytes: it stands for the value.
    head: RawRecord,
    head_index: u32,
    format: Format,
    count: Option<u32>,
    total: Option<u64>,
    digest: Option<Digest>,
    pieces: BTreeMap<u32, Piece>,
    spill: Option<Spill>,
    /// Of the pieces from the first on without a gap; `None` when nobody will ask.
    hasher: Option<Hasher>,
    hashed: u32,
    pub(super) in_memory: u64,
    last: i64,
    /// When the last piece came, by the partition's clock and by ours.
    pub(super) clock: i64,
    pub(super) seen: Instant,
}

/// How a piece goes with those that are here.
pub(super) enum Fit {
    Fits,
    /// It is here already.
    Again,
    /// It cannot be of the same value.
    Contradicts(String),
}

impl Open {
    pub(super) fn new(raw: &RawRecord, format: Format, chunk: &Chunk, clock: i64) -> Self {
        Self {
            head: without_bytes(raw),
            head_index: chunk.index,
            format,
            count: None,
            total: None,
            digest: None,
            pieces: BTreeMap::new(),
            spill: None,
            hasher: chunk.crc.map(|_| Hasher::default()),
            hashed: 0,
            in_memory: 0,
            last: raw.offset,
            clock,
            seen: Instant::now(),
        }
    }

    /// The offset of the first piece that came.
    pub(super) fn first(&self) -> i64 {
        self.head.offset
    }

    pub(super) fn touched(&mut self, offset: i64, clock: i64) {
        (self.last, self.clock, self.seen) = (offset, clock, Instant::now());
    }

    pub(super) fn fit(&self, format: Format, chunk: &Chunk, len: usize, crc: u32) -> Fit {
        if let Some(piece) = self.pieces.get(&chunk.index) {
            let same = piece.len == len && piece.crc == crc && piece.offset == chunk.offset;
            let differs = || Fit::Contradicts(format!("piece {} came again with other bytes", chunk.index));
            return if same { Fit::Again } else { differs() };
        }
        let differ = |a: Option<u64>, b: Option<u64>| a.zip(b).is_some_and(|(a, b)| a != b);
        let beyond = self.count.is_some_and(|count| chunk.index >= count);
        if self.format != format
            || beyond
            || differ(self.total, chunk.total)
            || differ(self.count.map(u64::from), chunk.count.map(u64::from))
        {
            return Fit::Contradicts(format!("piece {} tells another size, or another number of pieces", chunk.index));
        }
        Fit::Fits
    }

    /// Whether pieces go to a file already.
    pub(super) fn is_spilled(&self) -> bool {
        self.spill.is_some()
    }

    /// Writes bytes to the file of this value, which is made if need be.
    pub(super) fn file_away(&mut self, storage: &Storage, bytes: &[u8]) -> Result<Place> {
        let spill = match &mut self.spill {
            Some(spill) => spill,
            none => none.insert(storage.file()?),
        };
        spill.append(bytes).map(Place::File)
    }

    /// Moves what is in memory to the file.
    pub(super) fn spill(&mut self, storage: &mut Storage) -> Result<()> {
        let mut pieces = std::mem::take(&mut self.pieces);
        for piece in pieces.values_mut() {
            if let Place::Memory(kept) = &piece.place {
                piece.place = self.file_away(storage, &kept.bytes.clone())?;
            }
        }
        self.pieces = pieces;
        storage.open_memory -= std::mem::take(&mut self.in_memory);
        Ok(())
    }

    /// Takes a piece that fits.
    pub(super) fn add(&mut self, chunk: &Chunk, body: &[u8], crc: u32, place: Place) {
        if matches!(place, Place::Memory(_)) {
            self.in_memory += body.len() as u64;
        }
        self.count = self.count.or(chunk.count);
        self.total = self.total.or(chunk.total);
        self.digest = self.digest.or(chunk.digest);
        if let Some(hasher) = &mut self.hasher
            && self.hashed == chunk.index
        {
            hasher.update(body);
            self.hashed += 1;
        }
        self.pieces.insert(chunk.index, Piece { place, len: body.len(), crc, offset: chunk.offset });
    }

    pub(super) fn is_complete(&self) -> bool {
        self.count.is_some_and(|count| self.pieces.len() as u64 == u64::from(count))
    }

    /// The checksum of the first piece, which tells values of one id apart.
    pub(super) fn first_crc(&self) -> Option<u32> {
        self.pieces.get(&0).map(|piece| piece.crc)
    }

    /// Puts the value together; the record is that of its first piece. A data error when it is not what its source sent.
    pub(super) fn finish(self, id: &ChunkId) -> Result<(RawRecord, Whole)> {
        let mut end = 0;
        for (index, piece) in &self.pieces {
            if piece.offset.is_some_and(|offset| offset != end) {
                return Err(broken(id, &format!("piece {index} does not begin where the one before it ends")));
            }
            end += piece.len as u64;
        }
        if let Some(total) = self.total.filter(|total| *total != end) {
            return Err(broken(id, &format!("its pieces have {end} bytes and should have {total}")));
        }
        let hashed = self.hasher.filter(|_| self.hashed as usize == self.pieces.len()).map(Hasher::digest);
        let whole = Whole::new(self.pieces.into_values().collect(), self.spill);
        if let Some(digest) = self.digest {
            let found = match hashed {
                Some(found) => found,
                None => whole.digest()?,
            };
            if found != digest {
                return Err(broken(id, "its SHA-256 is another one than its source has sent"));
            }
        }
        let mut record = self.head;
        Chunk::strip(&mut record.headers);
        record.key = record.key.filter(|key| !crate::chunk::is_made_of(key.as_bytes(), id));
        Ok((record, whole))
    }

    /// The piece that stands for what will never be complete, and what is known of it.
    pub(super) fn give_up(mut self, id: &ChunkId, why: &str) -> Result<(RawRecord, String)> {
        let expected = self.count.map_or_else(|| "an unknown number of".to_owned(), |count| count.to_string());
        let text = format!(
            "the large value {id} of {} is not complete: {} of {expected} pieces came, the first at offset {}, the last at \
             {}; {why}",
            self.head.tp,
            self.pieces.len(),
            self.head.offset,
            self.last
        );
        if let Some(piece) = self.pieces.remove(&self.head_index) {
            let bytes = Whole::new(vec![piece], self.spill).bytes()?;
            self.head.value = Some(Body::Bytes(Blob::whole(bytes)?));
        }
        Ok((self.head, text))
    }
}

/// A record of its own: what waits for others must not keep the batch alive that it came with.
fn without_bytes(raw: &RawRecord) -> RawRecord {
    let headers: KafkaHeaders = raw
        .headers
        .iter()
        .map(|(name, value)| (std::sync::Arc::clone(name), value.as_ref().map(Blob::detach)))
        .collect();
    RawRecord { key: raw.key.as_ref().map(Blob::detach), value: None, headers, ..raw.clone() }
}

pub(super) fn broken(id: &ChunkId, how: &str) -> ConnectError {
    ConnectError::data(format!("the large value {id} cannot be put together: {how}"))
}
