//! What the task knows of each file: a state machine without a clock or a disk of its own.
//!
//! ```text
//! seen → Settling → Ready → Reading → Drained → Cleaning → Forgetting → unknown again
//!           ↑_________|________|  (changed)  ↘ away, when it is left in place
//! ```
//!
//! Durable are READING, DONE and FAILED only, as offsets; the rest is found out again from the folder. At most `window`
//! files are alive here; a file that stays in place for good takes 16 bytes. `source.rs` drives it. Read next:
//! `source.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use pipette_api::Partition;
use xxhash_rust::xxh3::xxh3_64;

use crate::identity::{FileKey, Look, StoredOffset};
use crate::settle::{SettleRule, Settling};

/// The longest wait after failures.
const MAX_BACKOFF: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Waits to be complete.
    Settling(Settling),
    /// Complete; waits to be read.
    Ready,
    Reading,
    /// Handed over to its end; waits until that is stored.
    Drained,
    /// Its end is stored: it may be cleared away, not before that time.
    Cleaning {
        not_before: Duration,
    },
    /// Gone; waits until its offset is gone too.
    Forgetting,
}

/// How a file ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Failed(Arc<str>),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) state: State,
    pub(crate) look: Look,
    /// One `Arc` for as long as the file is alive: the worker's ledger tells partitions apart by it.
    pub(crate) partition: Arc<Partition>,
    /// Where reading goes on.
    pub(crate) stored: Option<StoredOffset>,
    pub(crate) outcome: Outcome,
    /// Tells generations apart in the names of moved files.
    pub(crate) head8: String,
    /// False for one that only stands here because its stored offset says that it is done.
    pub(crate) settled: bool,
    /// Failures in a row, of opening or of clearing away.
    pub(crate) attempts: u32,
}

/// A file that comes alive, with what is stored for its path.
#[derive(Debug)]
pub(crate) struct Newcomer {
    pub(crate) partition: Arc<Partition>,
    pub(crate) look: Look,
    pub(crate) stored: Option<StoredOffset>,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    rule: SettleRule,
    window: usize,
    live: BTreeMap<FileKey, Entry>,
    ready: BTreeSet<FileKey>,
    cleaning: BTreeSet<FileKey>,
    /// Files that stay in place: digest of the key to digest of the look.
    away: HashMap<u64, u64>,
}

impl Ledger {
    pub(crate) fn new(rule: SettleRule, window: usize) -> Self {
        let (live, ready, cleaning) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { rule, window, live, ready, cleaning, away: HashMap::new() }
    }

    /// How many more files may come alive.
    pub(crate) fn room(&self) -> usize {
        self.window.saturating_sub(self.live.len())
    }

    pub(crate) fn entry(&self, key: &FileKey) -> Option<&Entry> {
        self.live.get(key)
    }

    pub(crate) fn count(&self) -> usize {
        self.live.len()
    }

    pub(crate) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(crate) fn cleaning_count(&self) -> usize {
        self.cleaning.len()
    }

    /// A scan has come by a file; true when it is new to us.
    pub(crate) fn is_new(&self, key: &FileKey, look: &Look) -> bool {
        !self.live.contains_key(key) && self.away.get(&key.digest()) != Some(&stat_digest(look))
    }

    /// True when this run has come by a file of that name that stays in place: what is there now took its place.
    pub(crate) fn is_replaced(&self, key: &FileKey) -> bool {
        self.away.contains_key(&key.digest())
    }

    /// A file comes alive. One whose end is stored goes on to be cleared away, or stays where it is for good.
    pub(crate) fn admit(&mut self, key: FileKey, newcomer: Newcomer, now: Duration) {
        let Newcomer { partition, look, stored } = newcomer;
        let settling = Settling::begin(look, now);
        let settled = settling.is_settled(now, self.rule);
        let ended = stored.as_ref().is_some_and(|stored| has_ended(stored, &look));
        let state = if settled || ended { State::Ready } else { State::Settling(settling) };
        let (outcome, head8) = (Outcome::Done, String::new());
        self.live.insert(key.clone(), Entry { state, look, partition, stored, outcome, head8, settled, attempts: 0 });
        if settled || ended {
            self.ready.insert(key);
        }
    }

    /// A file that an earlier run has ended and that stays where it is.
    pub(crate) fn stay(&mut self, key: &FileKey, look: &Look) {
        self.away.insert(key.digest(), stat_digest(look));
    }

    /// A file of which only the offset is left: keeps its partition until that is gone too.
    pub(crate) fn admit_gone(&mut self, key: FileKey, partition: Arc<Partition>) {
        let entry = Entry {
            state: State::Forgetting,
            look: Look::default(),
            partition,
            stored: None,
            outcome: Outcome::Done,
            head8: String::new(),
            settled: false,
            attempts: 0,
        };
        self.live.insert(key, entry);
    }

    /// The files that are due for another look, and when the next one will be.
    pub(crate) fn looks_due(&self, now: Duration) -> (Vec<FileKey>, Option<Duration>) {
        let (mut due, mut next) = (Vec::new(), None::<Duration>);
        for (key, entry) in &self.live {
            if let State::Settling(settling) = &entry.state {
                let at = settling.next_look(self.rule);
                if at <= now {
                    due.push(key.clone());
                } else {
                    next = Some(next.map_or(at, |next| next.min(at)));
                }
            }
        }
        (due, next)
    }

    /// Another look at a file that settles; `None` when it is gone.
    pub(crate) fn looked(&mut self, key: &FileKey, look: Option<Look>, now: Duration) {
        let Some(entry) = self.live.get_mut(key) else { return };
        let State::Settling(settling) = &mut entry.state else { return };
        let Some(look) = look else {
            self.live.remove(key);
            return;
        };
        settling.observe(look, now, self.rule);
        if settling.is_settled(now, self.rule) {
            (entry.look, entry.settled) = (look, true);
            entry.state = State::Ready;
            self.ready.insert(key.clone());
        }
    }

    /// The first file that is ready; it counts as being read from now on.
    pub(crate) fn take_ready(&mut self) -> Option<FileKey> {
        let key = self.ready.pop_first()?;
        if let Some(entry) = self.live.get_mut(&key) {
            entry.state = State::Reading;
        }
        Some(key)
    }

    /// The file is not what had settled, or could not be read for now: it settles again and goes on where it stood.
    pub(crate) fn settle_again(&mut self, key: &FileKey, stored: Option<StoredOffset>, now: Duration) {
        let Some(entry) = self.live.get_mut(key) else { return };
        if stored.is_some() {
            entry.stored = stored;
        }
        entry.state = State::Settling(Settling::begin(entry.look, now));
    }

    /// Like [`Ledger::settle_again`], after an error; answers how often that has happened in a row.
    pub(crate) fn try_again(&mut self, key: &FileKey, stored: Option<StoredOffset>, now: Duration) -> u32 {
        let Some(entry) = self.live.get_mut(key) else { return 0 };
        entry.attempts += 1;
        let attempts = entry.attempts;
        // The first look lies in the future, which is what waiting longer each time means here.
        self.settle_again(key, stored, now + backoff(attempts));
        attempts
    }

    /// Everything of the file has been handed over.
    pub(crate) fn drained(&mut self, key: &FileKey, outcome: Outcome, head8: &str) {
        if let Some(entry) = self.live.get_mut(key) {
            (entry.state, entry.outcome, entry.attempts) = (State::Drained, outcome, 0);
            head8.clone_into(&mut entry.head8);
        }
    }

    /// Its end is stored: it is cleared away, or left in place for good.
    pub(crate) fn committed(&mut self, key: &FileKey, leave: bool) {
        if leave {
            if let Some(entry) = self.live.remove(key) {
                self.stay(key, &entry.look);
            }
        } else if let Some(entry) = self.live.get_mut(key) {
            entry.state = State::Cleaning { not_before: Duration::ZERO };
            self.cleaning.insert(key.clone());
        }
    }

    /// Files to clear away now, at most so many.
    pub(crate) fn cleaning_due(&self, now: Duration, most: usize) -> Vec<FileKey> {
        let due = |key: &&FileKey| self.not_before(key).is_some_and(|not_before| not_before <= now);
        self.cleaning.iter().filter(due).take(most).cloned().collect()
    }

    /// When the next file is to be cleared away.
    pub(crate) fn next_cleaning(&self) -> Option<Duration> {
        self.cleaning.iter().filter_map(|key| self.not_before(key)).min()
    }

    fn not_before(&self, key: &FileKey) -> Option<Duration> {
        match self.live.get(key)?.state {
            State::Cleaning { not_before } => Some(not_before),
            _ => None,
        }
    }

    /// It could not be cleared away: later again, for as long as it takes. It is never read again for that.
    pub(crate) fn clean_later(&mut self, key: &FileKey, now: Duration) {
        if let Some(entry) = self.live.get_mut(key) {
            entry.attempts += 1;
            entry.state = State::Cleaning { not_before: now + backoff(entry.attempts) };
        }
    }

    /// It is gone; its offset is to go.
    pub(crate) fn gone(&mut self, key: &FileKey) -> Option<Arc<Partition>> {
        self.cleaning.remove(key);
        let entry = self.live.get_mut(key)?;
        entry.state = State::Forgetting;
        Some(Arc::clone(&entry.partition))
    }

    /// Nothing is known of it any more: the next scan may find it as a new file.
    pub(crate) fn drop_file(&mut self, key: &FileKey) {
        self.ready.remove(key);
        self.cleaning.remove(key);
        self.live.remove(key);
    }
}

/// True when the stored offset says that this very file has been read to its end.
pub(crate) fn has_ended(stored: &StoredOffset, look: &Look) -> bool {
    let print = &stored.fingerprint;
    stored.stage != crate::identity::Stage::Reading && (print.size, print.mtime_ns) == (look.size, look.mtime_ns)
}

fn backoff(attempts: u32) -> Duration {
    Duration::from_millis(500).saturating_mul(1 << attempts.min(10)).min(MAX_BACKOFF)
}

/// The inode takes part, because this is never stored: a file that another one of its size and time took the place of is
/// looked into.
fn stat_digest(look: &Look) -> u64 {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&look.size.to_le_bytes());
    bytes[8..16].copy_from_slice(&look.mtime_ns.to_le_bytes());
    bytes[16..].copy_from_slice(&look.inode.to_le_bytes());
    xxh3_64(&bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::identity::partition;

    const RULE: SettleRule = SettleRule { checks: 2, interval: Duration::from_millis(100), min_age: Duration::ZERO };

    fn key(number: usize) -> FileKey {
        FileKey { root: 0, path: format!("f{number}").into() }
    }

    fn look(size: u64) -> Look {
        Look { size, ..Look::default() }
    }

    fn newcomer(partition: &Arc<Partition>, size: u64) -> Newcomer {
        Newcomer { partition: Arc::clone(partition), look: look(size), stored: None }
    }

    fn name(state: &State) -> &'static str {
        match state {
            State::Settling(_) => "SETTLING",
            State::Ready => "READY",
            State::Reading => "READING",
            State::Drained => "DRAINED",
            State::Cleaning { .. } => "CLEANING",
            State::Forgetting => "FORGETTING",
        }
    }

    /// What may happen to one of three files.
    #[derive(Debug, Clone)]
    enum Event {
        Scan(usize, u64),
        Look(usize, Option<u64>),
        Take,
        Drain(usize),
        Commit(usize, bool),
        Clean(usize, bool),
        Forgotten(usize),
        Change(usize),
    }

    fn event() -> impl Strategy<Value = Event> {
        let file = 0_usize..3;
        prop_oneof![
            (file.clone(), 0_u64..3).prop_map(|(file, size)| Event::Scan(file, size)),
            (file.clone(), prop::option::weighted(0.9, 0_u64..3)).prop_map(|(file, size)| Event::Look(file, size)),
            Just(Event::Take),
            file.clone().prop_map(Event::Drain),
            (file.clone(), any::<bool>()).prop_map(|(file, leave)| Event::Commit(file, leave)),
            (file.clone(), any::<bool>()).prop_map(|(file, works)| Event::Clean(file, works)),
            file.clone().prop_map(Event::Forgotten),
            file.prop_map(Event::Change),
        ]
    }

    proptest! {
        /// Whatever happens in whatever order: a file is read only after it had settled, cleared away only after its
        /// end was stored, and its partition is the same object for as long as it is alive.
        #[test]
        fn no_order_of_events_breaks_the_promises(events in prop::collection::vec(event(), 1..120)) {
            let mut ledger = Ledger::new(RULE, 3);
            let mut now = Duration::ZERO;
            let mut settled_since: HashMap<FileKey, (u64, Duration)> = HashMap::new();
            let mut stored: BTreeSet<FileKey> = BTreeSet::new();
            let mut partitions: HashMap<FileKey, Arc<Partition>> = HashMap::new();
            for event in events {
                now += Duration::from_millis(60);
                let states: Vec<_> = (0..3).map(|n| ledger.entry(&key(n)).map(|e| name(&e.state))).collect();
                match event {
                    Event::Scan(file, size) if ledger.is_new(&key(file), &look(size)) && ledger.room() > 0 => {
                        partitions.insert(key(file), partition("in", &key(file).path));
                        settled_since.insert(key(file), (size, now));
                        ledger.admit(key(file), newcomer(&partitions[&key(file)], size), now);
                    }
                    Event::Look(file, size) => {
                        ledger.looked(&key(file), size.map(look), now);
                        if let (Some(size), Some("SETTLING")) = (size, states[file]) {
                            let since = settled_since.get_mut(&key(file)).unwrap();
                            if since.0 != size {
                                *since = (size, now);
                            }
                        }
                    }
                    Event::Take => {
                        if let Some(taken) = ledger.take_ready() {
                            let (size, since) = settled_since[&taken];
                            prop_assert!(now >= since + RULE.interval);
                            prop_assert_eq!(ledger.entry(&taken).unwrap().look.size, size);
                        }
                    }
                    Event::Drain(file) if states[file] == Some("READING") => {
                        ledger.drained(&key(file), Outcome::Done, "00");
                    }
                    Event::Commit(file, leave) if states[file] == Some("DRAINED") => {
                        stored.insert(key(file));
                        ledger.committed(&key(file), leave);
                        prop_assert_eq!(ledger.entry(&key(file)).is_none(), leave);
                    }
                    Event::Clean(file, works) => {
                        for due in ledger.cleaning_due(now, 9) {
                            prop_assert!(stored.contains(&due));
                        }
                        if states[file] == Some("CLEANING") {
                            if works { ledger.gone(&key(file)); } else { ledger.clean_later(&key(file), now); }
                        }
                    }
                    Event::Forgotten(file) if states[file] == Some("FORGETTING") => {
                        ledger.drop_file(&key(file));
                        stored.remove(&key(file));
                    }
                    Event::Change(file) if states[file] == Some("READING") => {
                        settled_since.insert(key(file), (ledger.entry(&key(file)).unwrap().look.size, now));
                        ledger.settle_again(&key(file), None, now);
                    }
                    _ => {}
                }
                for file in 0..3 {
                    if let Some(entry) = ledger.entry(&key(file)) {
                        prop_assert!(Arc::ptr_eq(&entry.partition, &partitions[&key(file)]));
                    }
                }
            }
        }
    }

    #[test]
    fn a_file_left_in_place_is_new_again_only_when_it_changes() {
        let mut ledger = Ledger::new(SettleRule { checks: 0, ..RULE }, 3);
        ledger.admit(key(1), newcomer(&partition("in", "f1"), 5), Duration::ZERO);
        let taken = ledger.take_ready().unwrap();
        ledger.drained(&taken, Outcome::Done, "00");
        ledger.committed(&taken, true);
        assert_eq!((ledger.count(), ledger.is_new(&key(1), &look(5))), (0, false));
        assert!(ledger.is_new(&key(1), &look(6)) && ledger.is_new(&key(2), &look(5)));
    }
}
