//! What is known of one partition: its open values, those that are done with, its clock, and what the note beside its
//! offset said. Pure.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pipette_api::RawRecord;
use pipette_store::chunk::{Chunk, ChunkId};

use super::note::{self, Note};
use super::open::Open;

/// How many values that are done with are remembered, so that pieces which come again are known.
const REMEMBERED: usize = 10_000;

/// A partition.
#[derive(Default)]
pub(super) struct Lane {
    /// The first offset that came.
    start: Option<i64>,
    /// The latest timestamp that came, not beyond our own clock.
    pub(super) clock: i64,
    begun: Option<(i64, Instant)>,
    note: Note,
    pub(super) open: HashMap<ChunkId, Open>,
    done: HashMap<ChunkId, Done>,
    /// The keys above with the offset at which they were done, the oldest first.
    order: VecDeque<(ChunkId, i64)>,
    /// What is durable in the sink.
    durable: Cell<i64>,
    /// Said once that values began before what is read.
    pub(super) told: bool,
}

/// A value that was delivered or given up.
struct Done {
    first: i64,
    at: i64,
    clock: i64,
    seen: Instant,
    /// The checksum of its first piece, when it was delivered.
    delivered: Option<u32>,
}

/// What becomes of a piece, before its value is looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It is of an open value, or begins one.
    Wanted,
    /// Its value was dealt with.
    Done,
    /// Its value began before what is read.
    Headless,
}

impl Lane {
    pub(super) fn new(note: Option<Note>) -> Self {
        Self { note: note.unwrap_or_default(), ..Self::default() }
    }

    /// A record has come.
    pub(super) fn tick(&mut self, raw: &RawRecord) {
        self.start.get_or_insert(raw.offset);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        self.clock = self.clock.max(raw.timestamp.map_or(now, |timestamp| timestamp.min(now)));
        self.begun.get_or_insert_with(|| (self.clock, Instant::now()));
    }

    /// Whether a record was dealt with before the last restart. `id` is that of a piece.
    pub(super) fn is_passed(&self, offset: i64, id: Option<&ChunkId>) -> bool {
        offset < self.note.upto && !id.is_some_and(|id| self.note.was_open(id))
    }

    /// Looks at a piece; `crc` is that of its bytes.
    pub(super) fn know(&mut self, offset: i64, chunk: &Chunk, crc: u32, remember: Duration) -> Known {
        let id = &chunk.id;
        if self.open.contains_key(id) {
            return Known::Wanted;
        }
        if let Some(done) = self.done.get(id) {
            let begins = chunk.index == 0 && done.delivered != Some(crc);
            if !begins && (chunk.index > 0 || self.is_recent(done.clock, done.seen, remember)) {
                return Known::Done;
            }
            self.forget(id);
        } else if self.note.was_done(id) {
            if self.begun.is_some_and(|(clock, seen)| self.is_recent(clock, seen, remember)) {
                return Known::Done;
            }
            self.note.forget(id);
        }
        let earliest = offset.saturating_sub(i64::from(chunk.index));
        if chunk.index > 0 && self.start.is_some_and(|start| earliest < start) {
            Known::Headless
        } else {
            Known::Wanted
        }
    }

    /// A value is delivered (with the checksum of its first piece), or given up.
    pub(super) fn close(&mut self, id: ChunkId, first: i64, at: i64, delivered: Option<u32>) {
        let done = Done { first, at, clock: self.clock, seen: Instant::now(), delivered };
        self.done.insert(id, done);
        self.order.push_back((id, at));
        // What is not durable yet has to stay: its first piece is still needed.
        while self.order.len() > REMEMBERED
            && let Some((id, at)) = self.order.front().copied()
            && at < self.durable.get()
        {
            self.order.pop_front();
            if self.done.get(&id).is_some_and(|done| done.at == at) {
                self.done.remove(&id);
            }
        }
    }

    fn is_recent(&self, clock: i64, seen: Instant, remember: Duration) -> bool {
        !passed(self.clock, clock, remember) && seen.elapsed() < remember
    }

    fn forget(&mut self, id: &ChunkId) {
        // One that is not durable keeps its place, as long as it may have to come again.
        if self.done.get(id).is_some_and(|done| done.at < self.durable.get()) {
            self.done.remove(id);
        }
    }

    /// Ids of open values to which nothing has come for that long.
    pub(super) fn expired(&self, timeout: Duration) -> Vec<ChunkId> {
        let stale = |open: &Open| passed(self.clock, open.clock, timeout) && open.seen.elapsed() >= timeout;
        let mut ids: Vec<_> = self.open.iter().filter(|(_, open)| stale(open)).collect();
        ids.sort_by_key(|(_, open)| open.first());
        ids.into_iter().map(|(id, _)| *id).collect()
    }

    /// See [`pipette_api::Collect::floor`]. `reported` is the offset of what is given up and not told yet.
    pub(super) fn floor(&self, upto: i64, reported: Option<i64>, remember: Duration) -> Option<(i64, String)> {
        self.durable.set(self.durable.get().max(upto));
        // What was done behind `upto` may be lost yet.
        let lost = self.done.iter().filter(|(_, done)| done.at >= upto).map(|(id, done)| (done.first, *id));
        let mut open: Vec<_> = self.open.iter().map(|(id, open)| (open.first(), *id)).chain(lost).collect();
        open.sort_unstable_by_key(|(first, _)| *first);
        let first = open.first().map(|(first, _)| *first).into_iter().chain(reported).min();
        // Still on the way to where the last owner was: what it noted is not all known again yet, and none of it is over.
        if upto < self.note.upto {
            return Some((first.unwrap_or(upto).min(upto), self.note.text.clone()));
        }
        let recent = |done: &Done| done.at < upto && self.is_recent(done.clock, done.seen, remember);
        let mut done: Vec<_> = self.done.iter().filter(|(_, done)| recent(done)).collect();
        done.sort_unstable_by_key(|(_, done)| std::cmp::Reverse(done.at));
        // What the last owner has noted is remembered as long.
        let earlier =
            self.begun.is_some_and(|(clock, seen)| self.is_recent(clock, seen, remember)).then_some(&self.note);
        let earlier = earlier.filter(|note| note.done().next().is_some());
        if first.is_none() && done.is_empty() && earlier.is_none() {
            return None;
        }
        let open: Vec<_> = open.into_iter().map(|(_, id)| id).collect();
        let earlier = earlier.into_iter().flat_map(note::Note::done);
        let done = done.into_iter().map(|(id, _)| note::short(id)).chain(earlier);
        Some((first.unwrap_or(upto).min(upto), note::write(upto, &open, done)))
    }
}

fn passed(now: i64, then: i64, timeout: Duration) -> bool {
    u128::try_from(now.saturating_sub(then)).is_ok_and(|passed| passed >= timeout.as_millis())
}
