//! Payloads that tests make up, and looks at what became of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use pipette_api::{ConnectError, Payload, PayloadReader, Result};
use pipette_store::{Allowed, Naming, ObjectUri, Store, StoreSettings, Stores, Strategy, UploadOptions};

/// Bytes that do not repeat, in pieces.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) size: u64,
    pub(crate) seed: u64,
    pub(crate) piece: usize,
    pub(crate) known: bool,
    /// Fails at this byte, in the reads that are left.
    pub(crate) breaks: Option<(u64, Arc<AtomicUsize>)>,
    /// Gives other bytes in the second read.
    pub(crate) changes: bool,
    pub(crate) opened: Arc<AtomicU64>,
}

impl Made {
    pub(crate) fn new(size: u64) -> Self {
        Self { size, seed: size, piece: 64 << 10, known: true, breaks: None, changes: false, opened: Arc::default() }
    }

    pub(crate) fn unknown(size: u64) -> Self {
        Self { known: false, ..Self::new(size) }
    }

    pub(crate) fn byte(seed: u64, at: u64) -> u8 {
        let mixed = (at ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 56).to_le_bytes()[0] ^ at.to_le_bytes()[0]
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        (0..self.size).map(|at| Self::byte(self.seed, at)).collect()
    }
}

#[async_trait]
impl Payload for Made {
    fn len(&self) -> Option<u64> {
        self.known.then_some(self.size)
    }

    fn content_type(&self) -> Option<&str> {
        Some("image/png")
    }

    async fn open(&self, start: u64, len: Option<u64>) -> Result<Box<dyn PayloadReader>> {
        let opened = self.opened.fetch_add(1, Ordering::SeqCst);
        let mut made = self.clone();
        if self.changes && opened > 0 {
            made.seed += 1;
        }
        let end = len.map_or(self.size, |len| start + len);
        Ok(Box::new(MadeReader { made, at: start, end }))
    }
}

struct MadeReader {
    made: Made,
    at: u64,
    end: u64,
}

#[async_trait]
impl PayloadReader for MadeReader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some((at, left)) = &self.made.breaks
            && self.at >= *at
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
        {
            return Err(ConnectError::retriable("the source went away"));
        }
        let end = self.end.min(self.at + self.made.piece as u64);
        let piece: Bytes = (self.at..end).map(|at| Made::byte(self.made.seed, at)).collect();
        self.at = end;
        tokio::task::yield_now().await;
        Ok((!piece.is_empty()).then_some(piece))
    }
}

pub(crate) async fn read(payload: &dyn Payload, start: u64, len: Option<u64>) -> Result<Vec<u8>> {
    let mut reader = payload.open(start, len).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = reader.next().await? {
        assert!(!piece.is_empty(), "a piece is never empty");
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

pub(crate) fn uri(text: &str) -> ObjectUri {
    ObjectUri::read(text).unwrap()
}

pub(crate) fn memory() -> Arc<Store> {
    Store::open(&StoreSettings::at(uri("memory://test/inbox"))).unwrap()
}

pub(crate) fn folder(path: &std::path::Path) -> Arc<Store> {
    Store::open(&StoreSettings::at(uri(&format!("file://{}", path.display())))).unwrap()
}

pub(crate) fn options(strategy: Strategy) -> UploadOptions {
    let naming = Naming::new("${topic}", strategy).unwrap();
    UploadOptions { part_size: 5 << 20, ..UploadOptions::new(naming, "lab-0") }
}

/// Stores that let through what lies in one.
pub(crate) fn stores(store: &Arc<Store>) -> Stores {
    Stores::new(StoreSettings::at(store.uri().clone()), Allowed::only(store.uri().clone())).with(Arc::clone(store))
}

pub(crate) async fn keys(store: &Store) -> Vec<String> {
    let mut listing = store.list(&store.uri().key);
    let mut keys = Vec::new();
    while let Some(page) = listing.next().await.unwrap() {
        keys.extend(page.into_iter().map(|object| object.key));
    }
    keys.sort();
    keys
}
