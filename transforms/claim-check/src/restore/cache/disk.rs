//! One file for all objects on disk, in blocks of one size: it needs one descriptor, never grows beyond its limit, and has no
//! name, so that nothing is left of it however the worker ends.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// What the smallest object takes.
pub(super) const BLOCK: u64 = 64 << 10;

/// The file, and which of its blocks are free.
#[derive(Debug)]
pub(super) struct Arena {
    file: File,
    free: Mutex<Free>,
}

#[derive(Debug, Default)]
struct Free {
    /// Given back.
    blocks: Vec<u64>,
    /// Behind it no block was ever used.
    fresh: u64,
}

impl Arena {
    pub(super) fn new(file: File) -> Arc<Self> {
        Arc::new(Self { file, free: Mutex::default() })
    }

    /// What an object takes.
    pub(super) fn cost(len: u64) -> u64 {
        len.div_ceil(BLOCK).max(1).saturating_mul(BLOCK)
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks for an object, whose cost the caller has a lease for.
    pub(super) fn blocks(self: &Arc<Self>, len: u64) -> Blocks {
        let mut free = self.free();
        let mut places = Vec::new();
        for _ in 0..Self::cost(len) / BLOCK {
            let block = free.blocks.pop().unwrap_or_else(|| {
                free.fresh += 1;
                free.fresh - 1
            });
            places.push(block);
        }
        Blocks { arena: Arc::clone(self), places, len }
    }
}

/// Where an object is.
#[derive(Debug)]
pub(super) struct Blocks {
    arena: Arc<Arena>,
    places: Vec<u64>,
    len: u64,
}

impl Blocks {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The spans of the file for a range of the object: where in the file, and how much.
    fn spans(&self, at: u64, len: u64) -> impl Iterator<Item = (u64, usize)> {
        let mut at = at;
        let end = at + len;
        std::iter::from_fn(move || {
            let left = end.checked_sub(at).filter(|left| *left > 0)?;
            let block = usize::try_from(at / BLOCK).ok().and_then(|index| self.places.get(index))?;
            let span = left.min(BLOCK - at % BLOCK);
            let from = block * BLOCK + at % BLOCK;
            at += span;
            usize::try_from(span).ok().map(|span| (from, span))
        })
    }

    pub(super) fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        for (from, len) in self.spans(at, bytes.len() as u64) {
            let (now, later) = rest.split_at(len);
            self.arena.file.write_all_at(now, from)?;
            rest = later;
        }
        Ok(())
    }

    pub(super) fn read(&self, at: u64, len: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; len];
        let mut rest = &mut bytes[..];
        for (from, len) in self.spans(at, len as u64) {
            let (now, later) = rest.split_at_mut(len);
            self.arena.file.read_exact_at(now, from)?;
            rest = later;
        }
        Ok(bytes.into())
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        self.arena.free().blocks.append(&mut self.places);
    }
}
