//! An object on its way into a cache: copied as it goes by, and kept when its reader has come to a verified end.

use std::sync::Arc;

use bytes::Bytes;
use pipette_api::{PayloadReader, Result, async_trait};

use super::Cache;
use super::disk::Blocks;
use super::shelf::{Content, Kept, Key, Lease};

/// What was copied.
pub(super) enum Draft {
    Memory(Vec<u8>, Lease),
    /// How much stands there.
    Disk(Blocks, u64, Lease),
}

impl Draft {
    /// Takes the next bytes; `None` when it is given up, because there are more than there should be or the disk fails.
    async fn add(self, cache: &Cache, bytes: &Bytes) -> Option<Self> {
        match self {
            Self::Memory(mut all, lease) => {
                // It never grows: its room was counted.
                let fits = bytes.len() <= all.capacity() - all.len();
                fits.then(|| {
                    all.extend_from_slice(bytes);
                    Self::Memory(all, lease)
                })
            }
            Self::Disk(blocks, at, lease) => {
                let end = at + bytes.len() as u64;
                if end > blocks.len() {
                    return None;
                }
                let bytes = bytes.clone();
                // The lease goes along: what is being written has its room, whoever still waits for it.
                let write = move || blocks.write(at, &bytes).map(|()| Self::Disk(blocks, end, lease));
                match tokio::task::spawn_blocking(write).await {
                    Ok(Ok(draft)) => Some(draft),
                    Ok(Err(error)) => {
                        cache.tell_of_disk(&error);
                        None
                    }
                    Err(_) => None,
                }
            }
        }
    }

    fn kept(self, size: u64) -> Option<Arc<Kept>> {
        match self {
            Self::Memory(all, lease) if all.len() as u64 == size => Some(Kept::new(Content::Memory(all.into()), lease)),
            Self::Disk(blocks, end, lease) if end == size => Some(Kept::new(Content::Disk(blocks), lease)),
            _ => None,
        }
    }
}

/// Copies what goes by.
pub(super) struct Copying {
    pub(super) inner: Box<dyn PayloadReader>,
    pub(super) cache: Arc<Cache>,
    pub(super) key: Key,
    pub(super) size: u64,
    pub(super) drafts: Vec<Draft>,
    /// Was read, and may not have been handed over: the future was dropped while it was copied.
    pub(super) pending: Option<Bytes>,
}

#[async_trait]
impl PayloadReader for Copying {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(bytes) = self.pending.take() {
            self.drafts.clear();
            return Ok(Some(bytes));
        }
        match self.inner.next().await {
            Ok(Some(bytes)) => {
                self.pending = Some(bytes.clone());
                for draft in std::mem::take(&mut self.drafts) {
                    self.drafts.extend(draft.add(&self.cache, &bytes).await);
                }
                self.pending = None;
                Ok(Some(bytes))
            }
            Ok(None) => {
                for draft in self.drafts.drain(..) {
                    if let Some(kept) = draft.kept(self.size) {
                        self.cache.put(self.key.clone(), kept);
                    }
                }
                Ok(None)
            }
            Err(error) => {
                self.drafts.clear();
                Err(error)
            }
        }
    }
}
