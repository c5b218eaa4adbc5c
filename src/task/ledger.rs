//! Which source offsets may be committed: per source partition, the longest prefix of settled entries (Law 1).
//!
//! Pure: no clock, no I/O. The source loop pushes every entry of a batch, the producer's deliveries settle them by
//! number, and the loop takes away what became committable together with the hooks whose moment has come (Law 2).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use pipette_api::{Hook, Partition, Position};

use crate::store::OffsetEntry;

/// What an entry leaves in the offset store once everything before it in its partition is settled.
#[derive(Debug, Clone)]
pub enum Mark {
    /// Nothing.
    None,
    /// Nothing, but what follows in its partition waits for it: one piece of a record whose position comes with the last.
    Part(Arc<Partition>),
    /// Where the source goes on.
    At(Position),
    /// The offset of the partition is taken away.
    Forget(Arc<Partition>),
}

impl Mark {
    /// The source partition it is about.
    pub fn partition(&self) -> Option<&Arc<Partition>> {
        match self {
            Self::None => None,
            Self::At(position) => Some(&position.partition),
            Self::Part(partition) | Self::Forget(partition) => Some(partition),
        }
    }
}

impl From<Option<Position>> for Mark {
    fn from(position: Option<Position>) -> Self {
        position.map_or(Self::None, Self::At)
    }
}

/// What the offset store is asked to keep, and who waits for it.
#[derive(Debug, Default)]
pub struct Commit {
    /// One entry per source partition that moved on.
    pub offsets: Vec<OffsetEntry>,
    /// `committed` hooks, to be run in order once the offsets are stored.
    pub hooks: Vec<Hook>,
}

impl Commit {
    /// True when there is nothing to store and nobody waits.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty() && self.hooks.is_empty()
    }
}

/// The ledger of one task.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Entries not yet given up, oldest first; the first has the number `base`.
    slots: VecDeque<Slot>,
    base: u64,
    /// Batches not yet complete, oldest first; the first has the number `first_batch`.
    batches: VecDeque<Batch>,
    first_batch: u64,
    lanes: Lanes,
    /// Lanes with a committable position, in the order they got one.
    dirty: Vec<usize>,
    acked: Vec<Hook>,
    waiting: Vec<Hook>,
    unsettled: usize,
}

#[derive(Debug)]
struct Slot {
    settled: bool,
    batch: u64,
    lane: Option<usize>,
    mark: Mark,
}

#[derive(Debug)]
struct Batch {
    unsettled: usize,
    closed: bool,
    acked: Option<Hook>,
    committed: Option<Hook>,
}

impl Ledger {
    /// A new batch with its hooks. Batches complete in the order they were opened.
    pub fn open(&mut self, acked: Option<Hook>, committed: Option<Hook>) -> u64 {
        self.batches.push_back(Batch { unsettled: 0, closed: false, acked, committed });
        self.first_batch + self.batches.len() as u64 - 1
    }

    /// An entry of an open batch; answers the number it is settled by.
    pub fn push(&mut self, batch: u64, mark: Mark) -> u64 {
        let number = self.base + self.slots.len() as u64;
        let lane = mark.partition().map(|partition| self.lanes.find(partition));
        if let Some(lane) = lane {
            self.lanes.all[lane].unsettled.push(number);
        }
        self.slots.push_back(Slot { settled: false, batch, lane, mark });
        self.batch(batch).unsettled += 1;
        self.unsettled += 1;
        number
    }

    /// No more entries for this batch.
    pub fn close(&mut self, batch: u64) {
        self.batch(batch).closed = true;
        self.complete_batches();
    }

    /// The entry is durable, filtered or tolerated. Settling twice is the same as once.
    pub fn settle(&mut self, number: u64) {
        let Some(index) = number.checked_sub(self.base).and_then(|index| usize::try_from(index).ok()) else { return };
        let Some(slot) = self.slots.get_mut(index) else { return };
        if std::mem::replace(&mut slot.settled, true) {
            return;
        }
        let (batch, lane) = (slot.batch, slot.lane);
        self.unsettled -= 1;
        self.batch(batch).unsettled -= 1;
        if let Some(lane) = lane {
            self.advance(lane);
        }
        while self.slots.front().is_some_and(|slot| slot.settled) {
            self.slots.pop_front();
            self.base += 1;
        }
        self.complete_batches();
    }

    /// Where the source goes on behind an entry that is not settled.
    pub fn position(&self, number: u64) -> Option<&Position> {
        let index = usize::try_from(number.checked_sub(self.base)?).ok()?;
        match &self.slots.get(index)?.mark {
            Mark::At(position) => Some(position),
            Mark::None | Mark::Part(_) | Mark::Forget(_) => None,
        }
    }

    /// Entries that are neither durable nor dealt with otherwise.
    pub fn in_flight(&self) -> usize {
        self.unsettled
    }

    /// The `acked` hooks whose moment has come, in order.
    pub fn take_acked(&mut self) -> Vec<Hook> {
        std::mem::take(&mut self.acked)
    }

    /// True when a `committed` hook waits for the next commit.
    pub fn hook_waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes what may be committed now.
    pub fn take_commit(&mut self) -> Commit {
        let mut offsets = Vec::with_capacity(self.dirty.len());
        for lane in std::mem::take(&mut self.dirty) {
            let mark = std::mem::replace(&mut self.lanes.all[lane].committable, Mark::None);
            offsets.extend(match mark {
                Mark::None | Mark::Part(_) => None,
                Mark::At(position) => {
                    Some(OffsetEntry { offset: Some(position.render()), partition: position.partition })
                }
                Mark::Forget(partition) => Some(OffsetEntry { partition, offset: None }),
            });
            self.lanes.retire(lane);
        }
        Commit { offsets, hooks: std::mem::take(&mut self.waiting) }
    }

    /// The slot of the lane's oldest entries that are settled become committable.
    fn advance(&mut self, lane: usize) {
        let state = &mut self.lanes.all[lane];
        let was_clean = matches!(state.committable, Mark::None);
        while let Some(number) = state.unsettled.first() {
            let Ok(index) = usize::try_from(number - self.base) else { unreachable!("slots are in memory") };
            let slot = &mut self.slots[index];
            if !slot.settled {
                break;
            }
            match std::mem::replace(&mut slot.mark, Mark::None) {
                Mark::Part(_) => {}
                mark => state.committable = mark,
            }
            state.unsettled.pop();
        }
        if was_clean && !matches!(state.committable, Mark::None) {
            self.dirty.push(lane);
        }
    }

    /// Oldest first, so that hooks run in batch order.
    fn complete_batches(&mut self) {
        while self.batches.front().is_some_and(|batch| batch.closed && batch.unsettled == 0) {
            let Some(batch) = self.batches.pop_front() else { return };
            self.first_batch += 1;
            self.acked.extend(batch.acked);
            self.waiting.extend(batch.committed);
        }
    }

    fn batch(&mut self, batch: u64) -> &mut Batch {
        let index = batch.checked_sub(self.first_batch).and_then(|index| usize::try_from(index).ok());
        match index.and_then(|index| self.batches.get_mut(index)) {
            Some(batch) => batch,
            None => unreachable!("a batch with unsettled entries is still here"),
        }
    }
}

/// The state of each source partition that has something unsettled or uncommitted.
#[derive(Debug, Default)]
struct Lanes {
    all: Vec<Lane>,
    free: Vec<usize>,
    /// By address first: sources share one `Arc` per partition.
    by_address: HashMap<usize, usize>,
    /// By content for those that do not, so that order is kept all the same.
    by_content: HashMap<Arc<Partition>, usize>,
    last: Option<(usize, usize)>,
}

#[derive(Debug)]
struct Lane {
    /// Every `Arc` this partition came as; held, so that an address never means two partitions.
    partitions: Vec<Arc<Partition>>,
    unsettled: Runs,
    committable: Mark,
}

impl Lanes {
    fn find(&mut self, partition: &Arc<Partition>) -> usize {
        let address = Arc::as_ptr(partition) as usize;
        if let Some((known, lane)) = self.last
            && known == address
        {
            return lane;
        }
        let lane = match self.by_address.get(&address) {
            Some(lane) => *lane,
            None => self.adopt(partition, address),
        };
        self.last = Some((address, lane));
        lane
    }

    fn adopt(&mut self, partition: &Arc<Partition>, address: usize) -> usize {
        let lane = if let Some(lane) = self.by_content.get(partition) {
            *lane
        } else {
            let fresh = Lane { partitions: Vec::new(), unsettled: Runs::default(), committable: Mark::None };
            let lane = self.free.pop().unwrap_or(self.all.len());
            if lane == self.all.len() {
                self.all.push(fresh);
            } else {
                self.all[lane] = fresh;
            }
            self.by_content.insert(Arc::clone(partition), lane);
            lane
        };
        self.all[lane].partitions.push(Arc::clone(partition));
        self.by_address.insert(address, lane);
        lane
    }

    /// Forgets a lane with nothing left to do: a source may see millions of partitions in its life.
    fn retire(&mut self, lane: usize) {
        let state = &mut self.all[lane];
        if !state.unsettled.is_empty() {
            return;
        }
        for partition in std::mem::take(&mut state.partitions) {
            self.by_address.remove(&(Arc::as_ptr(&partition) as usize));
            self.by_content.remove(&partition);
        }
        self.last = None;
        self.free.push(lane);
    }
}

/// Ascending numbers, kept as runs: entries of one partition usually come one after another.
#[derive(Debug, Default)]
struct Runs(VecDeque<(u64, u64)>);

impl Runs {
    fn push(&mut self, number: u64) {
        match self.0.back_mut() {
            Some((start, len)) if *start + *len == number => *len += 1,
            _ => self.0.push_back((number, 1)),
        }
    }

    fn first(&self) -> Option<u64> {
        self.0.front().map(|(start, _)| *start)
    }

    fn pop(&mut self) {
        if let Some((start, len)) = self.0.front_mut() {
            *start += 1;
            *len -= 1;
            if *len == 0 {
                self.0.pop_front();
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use pipette_api::{OffsetShape, Primitive};
    use proptest::prelude::*;

    use super::*;

    fn position(partition: &Arc<Partition>, mark: i64) -> Position {
        let shape = Arc::new(OffsetShape { marks: [Some("at"), None], ..OffsetShape::default() });
        Position { partition: Arc::clone(partition), shape, marks: [mark, 0] }
    }

    fn partition(name: &str) -> Arc<Partition> {
        Arc::new(Partition::of("file", name))
    }

    fn stored(commit: &Commit) -> BTreeMap<Arc<Partition>, Option<i64>> {
        let at = |entry: &OffsetEntry| entry.offset.as_ref().and_then(|offset| offset["at"].as_int());
        commit.offsets.iter().map(|entry| (Arc::clone(&entry.partition), at(entry))).collect()
    }

    #[test]
    fn a_slow_partition_holds_no_other_and_its_own_prefix() {
        let mut ledger = Ledger::default();
        let (slow, fast) = (partition("slow"), partition("fast"));
        let batch = ledger.open(None, None);
        let first = ledger.push(batch, Mark::At(position(&slow, 1)));
        let second = ledger.push(batch, Mark::At(position(&slow, 2)));
        let other = ledger.push(batch, Mark::At(position(&fast, 1)));
        ledger.close(batch);
        ledger.settle(second);
        ledger.settle(other);
        assert_eq!(stored(&ledger.take_commit()), BTreeMap::from([(Arc::clone(&fast), Some(1))]));
        ledger.settle(first);
        assert_eq!(stored(&ledger.take_commit()), BTreeMap::from([(slow, Some(2))]));
        assert_eq!(ledger.in_flight(), 0);
    }

    #[test]
    fn equal_partitions_that_do_not_share_an_arc_keep_one_order() {
        let mut ledger = Ledger::default();
        let batch = ledger.open(None, None);
        let first = ledger.push(batch, Mark::At(position(&partition("a"), 1)));
        let second = ledger.push(batch, Mark::At(position(&partition("a"), 2)));
        ledger.settle(second);
        assert!(ledger.take_commit().is_empty(), "the first is not settled yet");
        ledger.settle(first);
        assert_eq!(stored(&ledger.take_commit()), BTreeMap::from([(partition("a"), Some(2))]));
    }

    #[test]
    fn forgetting_takes_the_offset_away_in_order() {
        let mut ledger = Ledger::default();
        let file = partition("a");
        let batch = ledger.open(None, None);
        let record = ledger.push(batch, Mark::At(position(&file, 1)));
        let forget = ledger.push(batch, Mark::Forget(Arc::clone(&file)));
        ledger.settle(forget);
        assert!(ledger.take_commit().is_empty());
        ledger.settle(record);
        assert_eq!(stored(&ledger.take_commit()), BTreeMap::from([(file, None)]));
    }

    #[test]
    fn a_batch_without_entries_completes_behind_those_before_it() {
        let ran = Arc::new(Mutex::new(Vec::new()));
        let hook = |name: &'static str| {
            let ran = Arc::clone(&ran);
            Some(Hook::new(move || ran.lock().unwrap().push(name)))
        };
        let mut ledger = Ledger::default();
        let first = ledger.open(hook("first acked"), None);
        let record = ledger.push(first, Mark::None);
        ledger.close(first);
        let second = ledger.open(None, hook("second committed"));
        ledger.close(second);
        assert!(!ledger.hook_waits());
        ledger.settle(record);
        ledger.take_acked().into_iter().for_each(Hook::run);
        ledger.take_commit().hooks.into_iter().for_each(Hook::run);
        assert_eq!(*ran.lock().unwrap(), ["first acked", "second committed"]);
    }

    proptest! {
        /// Whatever the order of deliveries and commits: an offset is committed only when every earlier entry of its
        /// partition is settled (Law 1), hooks run in batch order and only behind their entries (Law 2), and in the
        /// end everything is committed and nothing is left behind.
        #[test]
        fn laws_hold_in_any_order(
            batches in prop::collection::vec(prop::collection::vec(0usize..4, 0..6), 1..12),
            order in prop::collection::vec(any::<prop::sample::Index>(), 80),
        ) {
            let names: Vec<_> = (0..4).map(|n| partition(&n.to_string())).collect();
            let acked = Arc::new(Mutex::new(Vec::new()));
            let mut ledger = Ledger::default();
            let mut open: Vec<(u64, usize, i64)> = Vec::new();
            let mut counts = [0i64; 4];
            for (index, entries) in batches.iter().enumerate() {
                let seen = Arc::clone(&acked);
                let batch = ledger.open(Some(Hook::new(move || seen.lock().unwrap().push(index))), None);
                for lane in entries {
                    counts[*lane] += 1;
                    open.push((ledger.push(batch, Mark::At(position(&names[*lane], counts[*lane]))), *lane, counts[*lane]));
                }
                ledger.close(batch);
            }
            let mut committed = [0i64; 4];
            for pick in order {
                if !open.is_empty() {
                    let (number, ..) = open.remove(pick.index(open.len()));
                    ledger.settle(number);
                    ledger.settle(number);
                }
                for (partition, at) in stored(&ledger.take_commit()) {
                    let lane = names.iter().position(|name| *name == partition).unwrap();
                    committed[lane] = at.unwrap();
                    prop_assert!(open.iter().all(|(_, l, count)| *l != lane || *count > committed[lane]));
                }
                ledger.take_acked().into_iter().for_each(Hook::run);
                prop_assert_eq!(ledger.in_flight(), open.len());
            }
            prop_assert!(open.is_empty());
            prop_assert_eq!(committed, counts);
            prop_assert_eq!(&*acked.lock().unwrap(), &(0..batches.len()).collect::<Vec<_>>());
            prop_assert_eq!(ledger.lanes.free.len(), ledger.lanes.all.len(), "no lane is left behind");
            prop_assert!(ledger.lanes.by_address.is_empty() && ledger.lanes.by_content.is_empty());
        }
    }

    #[test]
    fn marks_are_small() {
        assert!(size_of::<Slot>() <= 72, "{} bytes per record in flight", size_of::<Slot>());
        assert_eq!(Primitive::Int(1).as_int(), Some(1));
    }
}
