//! Objects that come again: what was read whole and verified is kept, in memory and on disk, so that the store is asked once.
//!
//! `restore.rs` asks here before it asks the store, and gives sinks [`Cached`] payloads, which fill the cache as they are
//! read. A cache is never a reason for an error: what it cannot keep or give is read from the store. Reading order: this
//! file, `cache/shelf.rs`, `cache/draft.rs`, `cache/disk.rs`.

mod disk;
mod draft;
mod shelf;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use pipette_api::{
    ConnectError, Metric, MetricInfo, MetricKind, Payload, PayloadReader, Reach, Result, TransformContext, async_trait,
};
use pipette_store::{Hasher, StoredPayload};
use tokio::sync::OwnedMutexGuard;

use self::disk::Arena;
use self::draft::{Copying, Draft};
use self::shelf::{Content, Kept, Key, Shelf};
use crate::nameless;

/// What an object in memory takes beside its bytes and its address, about.
const ENTRY: u64 = 256;

/// How much is handed over at once.
const PIECE: u64 = 1 << 20;

macro_rules! metric {
    ($static:ident, $kind:ident, $name:literal, $help:literal) => {
        pub(super) static $static: MetricInfo = MetricInfo {
            name: concat!("claim_check_cache_", $name),
            kind: MetricKind::$kind,
            help: $help,
            labels: &[],
        };
    };
}
metric!(HITS, Counter, "hits_total", "Reads of objects that were in the cache.");
metric!(MISSES, Counter, "misses_total", "Reads of objects that were not in the cache.");
metric!(MEMORY, Gauge, "memory_bytes", "Bytes of the cache in memory, what is being written included.");
metric!(DISK, Gauge, "disk_bytes", "Bytes of the cache on disk, in whole blocks, what is being written included.");

/// What the keys say.
pub(super) struct CachePlan {
    pub(super) memory: u64,
    pub(super) disk: Option<(PathBuf, u64, Reach)>,
}

/// The objects of one task.
#[derive(Debug)]
pub(super) struct Cache {
    memory: Shelf,
    disk: Option<(Shelf, Arc<Arena>)>,
    hits: Metric,
    misses: Metric,
    /// Who reads what into memory right now.
    turns: Mutex<HashMap<Key, Weak<tokio::sync::Mutex<()>>>>,
    /// Said once that the disk fails.
    told: AtomicBool,
}

impl Cache {
    /// `None` when none is configured. A config error when nothing can be written into the folder.
    pub(super) fn new(plan: &CachePlan, context: &TransformContext) -> Result<Option<Arc<Self>>> {
        if plan.memory == 0 && plan.disk.is_none() {
            return Ok(None);
        }
        let metric = |info| context.common.metrics.register(info, &[]);
        let on_disk = |(folder, bytes, reach): &(PathBuf, u64, Reach)| {
            nameless::check_folder("cache.dir", folder, reach)?;
            let file = nameless::open(folder, "claim-check-cache", reach, |error| {
                ConnectError::config(format!("cache.dir: nothing can be written into {}", folder.display()))
                    .because(error)
            })?;
            Ok::<_, ConnectError>((Shelf::new(*bytes, metric(&DISK)), Arena::new(file)))
        };
        let disk = plan.disk.as_ref().map(on_disk).transpose()?;
        Ok(Some(Self::of(Shelf::new(plan.memory, metric(&MEMORY)), disk, metric(&HITS), metric(&MISSES))))
    }

    fn of(memory: Shelf, disk: Option<(Shelf, Arc<Arena>)>, hits: Metric, misses: Metric) -> Arc<Self> {
        Arc::new(Self { memory, disk, hits, misses, turns: Mutex::default(), told: AtomicBool::new(false) })
    }

    /// In memory first.
    fn find(&self, key: &Key) -> Option<Arc<Kept>> {
        let on_disk = self.disk.as_ref().and_then(|(shelf, _)| shelf.find(key));
        self.memory.find(key).or(on_disk)
    }

    fn put(&self, key: Key, kept: Arc<Kept>) {
        match (&kept.content, &self.disk) {
            (Content::Disk(_), Some((disk, _))) => disk.put(key, kept),
            _ => self.memory.put(key, kept),
        }
    }

    /// It cannot be read, or is not what was written.
    fn condemn(&self, key: &Key, kept: &Arc<Kept>) {
        kept.damaged.store(true, Ordering::Relaxed);
        if let Some((shelf, _)) = &self.disk {
            shelf.forget(key, kept);
        }
    }

    /// Room for a copy wherever there is none and one fits.
    fn drafts(&self, key: &Key, size: u64) -> Vec<Draft> {
        let in_memory = || {
            let lease = self.memory.room(size.saturating_add(key.uri.len() as u64 + ENTRY))?;
            let mut bytes = Vec::new();
            bytes.try_reserve_exact(usize::try_from(size).ok()?).ok()?;
            Some(Draft::Memory(bytes, lease))
        };
        let on_disk = || {
            let (disk, arena) = self.disk.as_ref().filter(|(disk, _)| !disk.has(key))?;
            let lease = disk.room(Arena::cost(size))?;
            Some(Draft::Disk(arena.blocks(size), 0, lease))
        };
        let memory = (!self.memory.has(key)).then(in_memory).flatten();
        memory.into_iter().chain(on_disk()).collect()
    }

    fn tell_of_disk(&self, error: &io::Error) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "The cache of objects on disk fails (cache.dir); objects are read from the store instead");
        }
    }
}

/// A payload in a store, with the cache before it.
#[derive(Debug, Clone)]
pub(super) struct Cached {
    cache: Arc<Cache>,
    key: Key,
    /// Of the content; nothing is kept of what does not tell it.
    size: Option<u64>,
    object: StoredPayload,
    /// The limit, which holds for what is here as well.
    most: u64,
    /// What was in the cache when the record went by stays there until the record is done with.
    pinned: Option<Arc<Kept>>,
}

impl Cached {
    /// `None` for a reference without a digest: what it leads to may change.
    pub(super) fn new(cache: &Arc<Cache>, object: StoredPayload, most: u64) -> Option<Self> {
        let reference = object.reference();
        let key = Key { uri: reference.uri.clone(), digest: reference.digest? };
        let (size, cache) = (reference.size, Arc::clone(cache));
        Some(Self { cache, key, size, object, most, pinned: None })
    }

    /// Whether the content is here; it stays as long as this is.
    pub(super) fn pin(&mut self) -> bool {
        self.pinned = self.found();
        self.pinned.is_some()
    }

    fn found(&self) -> Option<Arc<Kept>> {
        self.cache.find(&self.key).filter(|kept| self.agrees(kept))
    }

    fn agrees(&self, kept: &Kept) -> bool {
        kept.is_sound() && kept.len() <= self.most && self.size.is_none_or(|size| size == kept.len())
    }

    /// What the store says of a content that the reference does not tell the size of.
    pub(super) fn learn_size(&mut self, size: u64) {
        self.size = self.size.or(Some(size));
    }

    /// Waits until nobody else reads the same object into memory: it is in the cache then, most likely.
    pub(super) async fn turn(&self) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.cache.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            turns.get(&self.key).and_then(Weak::upgrade).unwrap_or_else(|| {
                let turn = Arc::default();
                turns.insert(self.key.clone(), Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }

    fn copying(&self, inner: Box<dyn PayloadReader>) -> Box<dyn PayloadReader> {
        let drafts = self.size.map_or_else(Vec::new, |size| self.cache.drafts(&self.key, size));
        match self.size {
            Some(size) if !drafts.is_empty() => Box::new(Copying {
                inner,
                cache: Arc::clone(&self.cache),
                key: self.key.clone(),
                size,
                drafts,
                pending: None,
            }),
            _ => inner,
        }
    }
}

#[async_trait]
impl Payload for Cached {
    fn len(&self) -> Option<u64> {
        self.object.len()
    }

    fn content_type(&self) -> Option<&str> {
        self.object.content_type()
    }

    async fn open(&self, start: u64, len: Option<u64>) -> Result<Box<dyn PayloadReader>> {
        let kept = self.pinned.clone().filter(|kept| self.agrees(kept)).or_else(|| self.found());
        let size = kept.as_ref().map(|kept| kept.len()).or(self.size);
        let whole = start == 0 && len.is_none_or(|len| size == Some(len));
        let inside = |kept: &Arc<Kept>| match len {
            None => Some(kept.len()).filter(|end| start <= *end),
            Some(len) => start.checked_add(len).filter(|end| *end <= kept.len()),
        };
        // What is outside is the store's to tell of.
        let Some((kept, end)) = kept.and_then(|kept| inside(&kept).map(|end| (kept, end))) else {
            self.cache.misses.add(1);
            let inner = self.object.open(start, len).await?;
            return Ok(if whole { self.copying(inner) } else { inner });
        };
        self.cache.hits.add(1);
        let on_disk = matches!(kept.content, Content::Disk(_));
        let hasher = (whole && on_disk).then(Hasher::default);
        let reader = Reader { of: self.clone(), kept, at: start, end, hasher, instead: None };
        Ok(if whole && on_disk { self.copying(Box::new(reader)) } else { Box::new(reader) })
    }
}

/// Reads what is kept, and the store from the first failure on.
struct Reader {
    of: Cached,
    kept: Arc<Kept>,
    at: u64,
    end: u64,
    /// Of all that was handed over; of a whole object from the disk.
    hasher: Option<Hasher>,
    /// The store, and how much of it was handed over already.
    instead: Option<(Box<dyn PayloadReader>, u64)>,
}

impl Reader {
    /// The next bytes, as a copy: whoever keeps them must not keep the object with them.
    async fn kept(&mut self) -> io::Result<Bytes> {
        let len = usize::try_from((self.end - self.at).min(PIECE)).unwrap_or(usize::MAX);
        if let Content::Memory(bytes) = &self.kept.content {
            let at = usize::try_from(self.at).unwrap_or(usize::MAX);
            return Ok(Bytes::copy_from_slice(&bytes[at..at + len]));
        }
        let (kept, at) = (Arc::clone(&self.kept), self.at);
        let read = move || match &kept.content {
            Content::Disk(blocks) => blocks.read(at, len),
            Content::Memory(_) => unreachable!("dealt with above"),
        };
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    async fn next_of_store(&mut self) -> Result<Option<Bytes>> {
        if self.instead.is_none() {
            // The whole is verified, so that it is read from its beginning again.
            let whole = self.hasher.is_some();
            let (start, skip) = if whole { (0, self.at) } else { (self.at, 0) };
            let len = (!whole).then(|| self.end - self.at);
            self.instead = Some((self.of.object.open(start, len).await?, skip));
        }
        loop {
            let Some((reader, skip)) = &mut self.instead else { unreachable!("put there above") };
            let Some(mut bytes) = reader.next().await? else { return Ok(None) };
            let skipped = usize::try_from(*skip).unwrap_or(usize::MAX).min(bytes.len());
            let rest = bytes.split_off(skipped);
            *skip -= skipped as u64;
            if !rest.is_empty() {
                return Ok(Some(rest));
            }
        }
    }

    fn verified(&mut self) -> Result<()> {
        match self.hasher.take().map(Hasher::digest) {
            Some(digest) if digest != self.of.key.digest => {
                self.of.cache.condemn(&self.of.key, &self.kept);
                let why = "was damaged in the cache (cache.dir); the next try reads it from the store";
                Err(ConnectError::retriable(format!("{} {why}", self.of.key.uri)))
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl PayloadReader for Reader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.instead.is_none() && self.at < self.end {
            match self.kept().await {
                Ok(bytes) => {
                    self.at += bytes.len() as u64;
                    if let Some(hasher) = &mut self.hasher {
                        hasher.update(&bytes);
                    }
                    return Ok(Some(bytes));
                }
                Err(error) => {
                    self.of.cache.tell_of_disk(&error);
                    self.of.cache.condemn(&self.of.key, &self.kept);
                }
            }
        }
        if self.instead.is_none() && self.at == self.end {
            self.verified()?;
            return Ok(None);
        }
        let bytes = self.next_of_store().await?;
        match &bytes {
            Some(bytes) => {
                if let Some(hasher) = &mut self.hasher {
                    hasher.update(bytes);
                }
            }
            None => self.verified()?,
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
