//! Payloads that tests make up, and looks at what became of them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

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
    /// Is read on a thread that may block, as files are.
    pub(crate) blocks: bool,
    pub(crate) opened: Arc<AtomicU64>,
}

impl Made {
    pub(crate) fn new(size: u64) -> Self {
        Self {
            size,
            seed: size,
            piece: 64 << 10,
            known: true,
            breaks: None,
            changes: false,
            blocks: false,
            opened: Arc::default(),
        }
    }

    pub(crate) fn unknown(size: u64) -> Self {
        Self { known: false, ..Self::new(size) }
    }

    pub(crate) fn bytes(&self) -> Bytes {
        let start = usize::try_from(self.seed % 1000).unwrap();
        NOISE.slice(start..start + usize::try_from(self.size).unwrap())
    }
}

/// Made once: without optimisation it takes its time.
static NOISE: LazyLock<Bytes> = LazyLock::new(|| {
    let words = (0..(13_u64 << 20) / 8).map(|word| word.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    words.flat_map(|word| (word ^ word >> 29).to_le_bytes()).collect::<Vec<u8>>().into()
});

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
        let end = usize::try_from(len.map_or(self.size, |len| start + len)).unwrap();
        let left = made.bytes().slice(usize::try_from(start).unwrap()..end);
        Ok(Box::new(MadeReader { made, at: start, left }))
    }
}

struct MadeReader {
    made: Made,
    at: u64,
    left: Bytes,
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
        let piece = self.left.split_to(self.made.piece.min(self.left.len()));
        self.at += piece.len() as u64;
        if self.made.blocks {
            tokio::task::spawn_blocking(|| {}).await.unwrap();
        }
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

/// Looks again and again, and gives up loudly.
pub(crate) async fn wait_until(what: &str, mut happens: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(5));
    while !happens() {
        assert!(std::time::Instant::now() < deadline, "{what} does not come");
        tick.tick().await;
    }
}

/// What a request names, decoded.
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) query: std::collections::BTreeMap<String, String>,
}

impl Asked {
    pub(crate) fn read(uri: &hyper::Uri) -> Self {
        let plain = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned();
        let pair = |pair: &str| {
            // A plus is a blank in a query, and only there.
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (plain(name), plain(&value.replace('+', " ")))
        };
        let query = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()).map(pair);
        Self { path: plain(uri.path()), query: query.collect() }
    }

    /// For an answer in XML.
    pub(crate) fn escape(text: &str) -> String {
        text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
    }
}
