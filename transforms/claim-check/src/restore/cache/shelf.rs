//! What is kept of one kind, and how much room it takes: bounded in bytes, what is being written and what is being read
//! included. Pure but for the metric.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pipette_api::Metric;
use pipette_store::Digest;

use super::disk::Blocks;

/// What an object is known by. Two of one address and one digest have the same content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) uri: String,
    pub(super) digest: Digest,
}

/// Bytes that may be taken, and those that are.
#[derive(Debug)]
pub(super) struct Account {
    limit: u64,
    used: AtomicU64,
    shown: Metric,
}

impl Account {
    fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    fn take(self: &Arc<Self>, bytes: u64) -> Option<Lease> {
        if bytes > self.left() {
            return None;
        }
        self.used.fetch_add(bytes, Ordering::Relaxed);
        self.shown.add(signed(bytes));
        Some(Lease { account: Arc::clone(self), bytes })
    }
}

/// Bytes that are taken until it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    account: Arc<Account>,
    bytes: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.account.used.fetch_sub(self.bytes, Ordering::Relaxed);
        self.account.shown.add(-signed(self.bytes));
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A verified object. It keeps its room until nobody reads it any more, on the shelf or not.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) content: Content,
    /// Found to be unreadable or damaged: whoever holds it still goes to the store.
    pub(super) damaged: AtomicBool,
    // Behind the content, whose room it is.
    lease: Lease,
}

#[derive(Debug)]
pub(super) enum Content {
    Memory(Bytes),
    Disk(Blocks),
}

impl Kept {
    pub(super) fn new(content: Content, lease: Lease) -> Arc<Self> {
        Arc::new(Self { content, damaged: AtomicBool::new(false), lease })
    }

    pub(super) fn len(&self) -> u64 {
        match &self.content {
            Content::Memory(bytes) => bytes.len() as u64,
            Content::Disk(blocks) => blocks.len(),
        }
    }

    pub(super) fn is_sound(&self) -> bool {
        !self.damaged.load(Ordering::Relaxed)
    }
}

/// Objects of one kind.
#[derive(Debug)]
pub(super) struct Shelf {
    account: Arc<Account>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    kept: HashMap<Key, (u64, Arc<Kept>)>,
    /// By when it was last asked for.
    order: BTreeMap<u64, Key>,
    clock: u64,
}

impl Shelf {
    pub(super) fn new(limit: u64, shown: Metric) -> Self {
        Self { account: Arc::new(Account { limit, used: AtomicU64::new(0), shown }), inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object, which is then the last to go.
    pub(super) fn find(&self, key: &Key) -> Option<Arc<Kept>> {
        let mut inner = self.lock();
        inner.clock += 1;
        let now = inner.clock;
        let (at, kept) = inner.kept.get_mut(key)?;
        let (before, kept) = (std::mem::replace(at, now), Arc::clone(kept));
        if let Some(key) = inner.order.remove(&before) {
            inner.order.insert(now, key);
        }
        Some(kept)
    }

    /// Room for a new object, for which those go that were not asked for longest; `None`, and none goes, when that would not
    /// be enough: what somebody reads or holds keeps its room.
    pub(super) fn room(&self, bytes: u64) -> Option<Lease> {
        if bytes > self.account.limit {
            return None;
        }
        let mut inner = self.lock();
        let missing = bytes.saturating_sub(self.account.left());
        let (mut freed, mut go) = (0, Vec::new());
        for key in inner.order.values() {
            if freed >= missing {
                break;
            }
            if let Some((_, kept)) = inner.kept.get(key)
                && Arc::strong_count(kept) == 1
            {
                freed += kept.lease.bytes;
                go.push(key.clone());
            }
        }
        if freed < missing {
            return None;
        }
        for key in &go {
            inner.remove(key);
        }
        self.account.take(bytes)
    }

    /// Whether an object is here. It does not count as asked for.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.lock().kept.contains_key(key)
    }

    pub(super) fn put(&self, key: Key, kept: Arc<Kept>) {
        let mut inner = self.lock();
        inner.remove(&key);
        inner.clock += 1;
        let now = inner.clock;
        inner.order.insert(now, key.clone());
        inner.kept.insert(key, (now, kept));
    }

    /// Takes an object away, if it is this one.
    pub(super) fn forget(&self, key: &Key, kept: &Arc<Kept>) {
        let mut inner = self.lock();
        if inner.kept.get(key).is_some_and(|(_, known)| Arc::ptr_eq(known, kept)) {
            inner.remove(key);
        }
    }

    /// What is taken.
    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.account.used.load(Ordering::Relaxed)
    }
}

impl Inner {
    fn remove(&mut self, key: &Key) {
        if let Some((at, _)) = self.kept.remove(key) {
            self.order.remove(&at);
        }
    }
}
