//! A store of offsets whose writes are slow, refused, or half lost when the worker dies.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pipette_api::{ConnectError, OffsetMap, Partition, Result, Signal, async_trait};
use pipette_kit::Dice;

use crate::store::{OffsetEntry, OffsetStore};

/// A write that nobody was told about yet, with what was there before.
struct Write {
    ticket: u64,
    entries: Vec<(Partition, Option<OffsetMap>, Option<OffsetMap>)>,
}

/// What outlives the worker.
pub(super) struct Disk {
    kept: BTreeMap<Partition, OffsetMap>,
    /// Every change, in order, for the world to judge; `None` is an offset taken away.
    pub(super) changes: Vec<(Partition, Option<OffsetMap>)>,
    under_way: Vec<Write>,
    tickets: u64,
    dice: Dice,
    /// No write is refused any more.
    pub(super) calm: bool,
}

#[derive(Clone)]
pub(super) struct Shelf(Arc<Mutex<Disk>>);

impl Shelf {
    pub(super) fn new(dice: Dice) -> Self {
        let (kept, changes, under_way) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self(Arc::new(Mutex::new(Disk { kept, changes, under_way, tickets: 0, dice, calm: false })))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store as one life of a task sees it.
    pub(super) fn of(&self, signal: Signal) -> Arc<dyn OffsetStore> {
        Arc::new(Handle { shelf: self.clone(), signal })
    }
}

impl Disk {
    pub(super) fn kept(&self) -> &BTreeMap<Partition, OffsetMap> {
        &self.kept
    }

    fn set(&mut self, partition: &Partition, offset: Option<OffsetMap>) -> Option<OffsetMap> {
        self.changes.push((partition.clone(), offset.clone()));
        match offset {
            Some(offset) => self.kept.insert(partition.clone(), offset),
            None => self.kept.remove(partition),
        }
    }

    /// The worker dies: of each write that was under way only a beginning is on the disk.
    pub(super) fn crash(&mut self) {
        for write in std::mem::take(&mut self.under_way).into_iter().rev() {
            let whole = self.dice.index(write.entries.len() + 1);
            for (partition, written, before) in write.entries.into_iter().skip(whole) {
                if self.kept.get(&partition) == written.as_ref() {
                    self.set(&partition, before);
                }
            }
        }
    }
}

struct Handle {
    shelf: Shelf,
    signal: Signal,
}

#[async_trait]
impl OffsetStore for Handle {
    async fn get(&self, _: &str, partition: &Partition) -> Result<Option<OffsetMap>> {
        Ok(self.shelf.lock().kept.get(partition).cloned())
    }

    async fn scan(&self, _: &str) -> Result<Vec<(Partition, OffsetMap)>> {
        let disk = self.shelf.lock();
        Ok(disk.kept.iter().map(|(partition, offset)| (partition.clone(), offset.clone())).collect())
    }

    async fn put(&self, _: &str, offsets: Vec<OffsetEntry>) -> Result<()> {
        assert!(!self.signal.is_given_up(), "a task that was given up commits");
        let (ticket, time, told) = {
            let mut disk = self.shelf.lock();
            let (calm, fate) = (disk.calm, disk.dice.below(100));
            let mut entries = Vec::new();
            if calm || fate >= 10 {
                for OffsetEntry { partition, offset } in offsets {
                    let before = disk.set(&partition, offset.clone());
                    entries.push(((*partition).clone(), offset, before));
                }
            }
            disk.tickets += 1;
            let ticket = disk.tickets;
            disk.under_way.push(Write { ticket, entries });
            (ticket, Duration::from_millis(disk.dice.below(40)), calm || fate >= 15)
        };
        tokio::time::sleep(time).await;
        self.shelf.lock().under_way.retain(|write| write.ticket != ticket);
        if told { Ok(()) } else { Err(ConnectError::retriable("the disk is full")) }
    }
}
