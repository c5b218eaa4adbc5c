//! The values of all partitions of a task: which piece belongs where, what is kept where, and what is given up.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pipette_api::{Blob, Body, Collect, ConnectError, Metric, RawRecord, Result, TopicPartition};
use pipette_store::chunk::{Chunk, ChunkId, Format};

use super::lane::{Known, Lane};
use super::note::Note;
use super::open::{Fit, Open, broken};
use super::storage::Storage;
use super::whole::{Assembled, Place};

/// How often it is looked for what has waited too long.
const LOOK: Duration = Duration::from_secs(1);

/// What the configuration says.
pub(super) struct Limits {
    pub(super) formats: Vec<Format>,
    pub(super) timeout: Duration,
    /// How long what was delivered or given up is known.
    pub(super) remember: Duration,
    pub(super) open: u32,
    pub(super) payload: u64,
    pub(super) inline: u64,
    pub(super) incomplete: Incomplete,
}

/// What becomes of a value that will never be complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Incomplete {
    Fail,
    Letter,
    Drop,
}

/// What is counted.
pub(super) struct Counts {
    pub(super) whole: Metric,
    pub(super) bytes: Metric,
    pub(super) again: Metric,
    pub(super) headless: Metric,
    pub(super) incomplete: Metric,
    pub(super) open: Metric,
}

/// The step.
pub(super) struct Reassemble {
    limits: Limits,
    storage: Storage,
    counts: Counts,
    lanes: BTreeMap<TopicPartition, Lane>,
    /// Given up, and not told yet.
    overdue: VecDeque<(RawRecord, ConnectError)>,
    looked: Instant,
}

impl Reassemble {
    pub(super) fn new(limits: Limits, storage: Storage, counts: Counts) -> Self {
        let (lanes, overdue) = (BTreeMap::new(), VecDeque::new());
        Self { limits, storage, counts, lanes, overdue, looked: Instant::now() }
    }

    fn lane(&mut self, tp: &TopicPartition) -> &mut Lane {
        if !self.lanes.contains_key(tp) {
            self.lanes.insert(tp.clone(), Lane::default());
        }
        self.lanes.get_mut(tp).unwrap_or_else(|| unreachable!("put there above"))
    }

    /// A piece: what it completes, if anything.
    fn piece(&mut self, raw: &RawRecord, format: Format, chunk: &Chunk) -> Result<Option<RawRecord>> {
        let body = match &raw.value {
            Some(Body::Bytes(body)) => body.clone(),
            Some(Body::Payload(_)) | None => {
                return self.spoil(raw, &chunk.id, broken(&chunk.id, "a piece has no bytes"));
            }
        };
        let (body, crc) = (body.as_bytes(), Chunk::crc_of(body.as_bytes()));
        let remember = self.limits.remember;
        let lane = self.lane(&raw.tp);
        match lane.know(raw.offset, chunk, crc, remember) {
            Known::Wanted => {}
            Known::Done => {
                self.counts.again.add(1);
                return Ok(None);
            }
            Known::Headless => {
                if !std::mem::replace(&mut lane.told, true) {
                    tracing::warn!(partition = %raw.tp, offset = raw.offset, id = %chunk.id,
                        "Pieces of large values that began before what is read are left out");
                }
                self.counts.headless.add(1);
                return Ok(None);
            }
        }
        if let Err(error) = chunk.check(body, self.limits.payload) {
            return self.spoil(raw, &chunk.id, error.within(format!("the large value {}", chunk.id)));
        }
        if !self.opened(raw, format, chunk, body.len(), crc)? {
            return Ok(None);
        }
        let Some(place) = self.place(&raw.tp, &chunk.id, body)? else {
            let why = "it does not fit into memory.bytes and disk.bytes";
            self.give_up(&raw.tp, chunk.id, raw.offset, why)?;
            return Ok(None);
        };
        let lane = self.lane(&raw.tp);
        let clock = lane.clock;
        let Some(open) = lane.open.get_mut(&chunk.id) else { unreachable!("opened above") };
        open.add(chunk, body, crc, place);
        open.touched(raw.offset, clock);
        if open.is_complete() { self.complete(raw, chunk.id).map(Some) } else { Ok(None) }
    }

    /// Opens the value if need be; false when the piece is there already.
    fn opened(&mut self, raw: &RawRecord, format: Format, chunk: &Chunk, len: usize, crc: u32) -> Result<bool> {
        let lane = self.lane(&raw.tp);
        let clock = lane.clock;
        if let Some(open) = lane.open.get_mut(&chunk.id) {
            match open.fit(format, chunk, len, crc) {
                Fit::Fits => return Ok(true),
                Fit::Again => {
                    open.touched(raw.offset, clock);
                    self.counts.again.add(1);
                    return Ok(false);
                }
                // Its source has begun again, and cuts it differently.
                Fit::Contradicts(how) if chunk.index == 0 => {
                    tracing::warn!(partition = %raw.tp, offset = raw.offset, id = %chunk.id, reason = how,
                        "A large value begins again");
                    self.take(&raw.tp, &chunk.id);
                }
                Fit::Contradicts(how) => {
                    return self.spoil(raw, &chunk.id, broken(&chunk.id, &how));
                }
            }
        }
        while self.lanes.values().map(|lane| lane.open.len()).sum::<usize>() >= self.limits.open as usize {
            let Some((tp, id)) = self.stalest(None) else { break };
            self.give_up(&tp, id, raw.offset, "more values are open than max.incomplete allows")?;
        }
        let lane = self.lane(&raw.tp);
        lane.open.insert(chunk.id, Open::new(raw, format, chunk, clock));
        self.counts.open.add(1);
        Ok(true)
    }

    /// Takes a value out.
    fn take(&mut self, tp: &TopicPartition, id: &ChunkId) -> Option<Open> {
        let open = self.lanes.get_mut(tp)?.open.remove(id)?;
        self.storage.open_memory -= open.in_memory;
        self.counts.open.add(-1);
        Some(open)
    }

    fn complete(&mut self, raw: &RawRecord, id: ChunkId) -> Result<RawRecord> {
        let Some(open) = self.take(&raw.tp, &id) else { unreachable!("complete, so it is open") };
        let (first, crc) = (open.first(), open.first_crc());
        let finished = open.finish(&id);
        let delivered = crc.filter(|_| finished.is_ok());
        self.lane(&raw.tp).close(id, first, raw.offset, delivered);
        let (mut record, whole) = finished?;
        self.counts.whole.add(1);
        self.counts.bytes.add(i64::try_from(whole.size()).unwrap_or(i64::MAX));
        record.offset = raw.offset;
        record.value = Some(if whole.size() <= self.limits.inline {
            Body::Bytes(Blob::whole(whole.bytes()?)?)
        } else {
            Body::Payload(Arc::new(Assembled(Arc::new(whole))))
        });
        Ok(record)
    }

    /// A value that is not what its source sent: this piece stands for it, and none of the others is wanted.
    fn spoil<T>(&mut self, raw: &RawRecord, id: &ChunkId, error: ConnectError) -> Result<T> {
        let first = self.take(&raw.tp, id).map_or(raw.offset, |open| open.first());
        self.lane(&raw.tp).close(*id, first, raw.offset, None);
        self.counts.incomplete.add(1);
        Err(error)
    }

    /// The value that has waited longest, but for one.
    fn stalest(&self, but: Option<(&TopicPartition, &ChunkId)>) -> Option<(TopicPartition, ChunkId)> {
        let all = self.lanes.iter().flat_map(|(tp, lane)| lane.open.iter().map(move |(id, open)| (tp, id, open)));
        let all = all.filter(|(tp, id, _)| but != Some((tp, id)));
        all.min_by_key(|(.., open)| open.seen).map(|(tp, id, _)| (tp.clone(), *id))
    }

    /// Finds a place for a piece; `None` when there is none for this value.
    fn place(&mut self, tp: &TopicPartition, id: &ChunkId, body: &[u8]) -> Result<Option<Place>> {
        let len = body.len() as u64;
        loop {
            let to_file = self.storage.disk_left(len);
            let Some(open) = self.lanes.get_mut(tp).and_then(|lane| lane.open.get_mut(id)) else {
                unreachable!("opened by the caller")
            };
            if to_file && open.is_spilled() {
                return open.file_away(&self.storage, body).map(Some);
            }
            if self.storage.memory_left(len)
                && let Some(kept) = self.storage.keep(body)
            {
                return Ok(Some(Place::Memory(kept)));
            }
            if let Some((tp, id)) = self.largest_in_memory() {
                let open = self.lanes.get_mut(&tp).and_then(|lane| lane.open.get_mut(&id));
                open.unwrap_or_else(|| unreachable!("found among them")).spill(&mut self.storage)?;
                continue;
            }
            if to_file {
                return open_of(&mut self.lanes, tp, id).file_away(&self.storage, body).map(Some);
            }
            let Some((other, stale)) = self.stalest(Some((tp, id))) else { return Ok(None) };
            let at = self.lanes.get(&other).and_then(|lane| lane.open.get(&stale)).map_or(0, Open::first);
            self.give_up(&other, stale, at, "memory.bytes and disk.bytes had no place for more")?;
        }
    }

    /// The value with the most in memory, as far as it fits onto the disk.
    fn largest_in_memory(&self) -> Option<(TopicPartition, ChunkId)> {
        if !self.storage.has_disk() {
            return None;
        }
        let all = self.lanes.iter().flat_map(|(tp, lane)| lane.open.iter().map(move |(id, open)| (tp, id, open)));
        let all = all.filter(|(.., open)| open.in_memory > 0 && self.storage.disk_left(open.in_memory));
        all.max_by_key(|(.., open)| open.in_memory).map(|(tp, id, _)| (tp.clone(), *id))
    }

    /// A value that will never be complete.
    fn give_up(&mut self, tp: &TopicPartition, id: ChunkId, at: i64, why: &str) -> Result<()> {
        let Some(open) = self.take(tp, &id) else { return Ok(()) };
        let first = open.first();
        self.lane(tp).close(id, first, at.max(first), None);
        self.counts.incomplete.add(1);
        let (raw, text) = open.give_up(&id, why)?;
        match self.limits.incomplete {
            Incomplete::Drop => tracing::warn!("A large value is dropped (on.incomplete=drop): {text}"),
            Incomplete::Letter => self.overdue.push_back((raw, ConnectError::data(text))),
            Incomplete::Fail => {
                let error = format!("{text}. To go on without such values set on.incomplete to dlq or drop");
                self.overdue.push_back((raw, ConnectError::fatal(error)));
            }
        }
        Ok(())
    }

    fn expire(&mut self) {
        if self.looked.elapsed() < LOOK.min(self.limits.timeout / 4) {
            return;
        }
        self.looked = Instant::now();
        let timeout = self.limits.timeout;
        let stale = |(tp, lane): (&TopicPartition, &Lane)| {
            lane.expired(timeout).into_iter().map(|id| (tp.clone(), id)).collect::<Vec<_>>()
        };
        let stale: Vec<_> = self.lanes.iter().flat_map(stale).collect();
        for (tp, id) in stale {
            let why = format!("nothing came for {} ms (timeout.ms)", timeout.as_millis());
            let first = open_of(&mut self.lanes, &tp, &id).first();
            if let Err(error) = self.give_up(&tp, id, first, &why) {
                tracing::error!(partition = %tp, %id, error = %error.chain(), "A piece cannot be read back");
            }
        }
    }
}

fn open_of<'a>(lanes: &'a mut BTreeMap<TopicPartition, Lane>, tp: &TopicPartition, id: &ChunkId) -> &'a mut Open {
    let open = lanes.get_mut(tp).and_then(|lane| lane.open.get_mut(id));
    open.unwrap_or_else(|| unreachable!("nothing has taken it out"))
}

impl Collect for Reassemble {
    fn assigned(&mut self, tp: &TopicPartition, note: Option<&str>) -> Result<()> {
        let read = note.map(|text| (Note::read(text), text));
        if let Some((None, text)) = read {
            tracing::warn!(partition = %tp, note = text, "What stands beside the offset is not ours: values may come twice");
        }
        self.lanes.insert(tp.clone(), Lane::new(read.and_then(|(note, _)| note)));
        Ok(())
    }

    fn collect(&mut self, raw: RawRecord) -> Result<Option<RawRecord>> {
        let read = Chunk::read(&raw.headers);
        let lane = self.lane(&raw.tp);
        lane.tick(&raw);
        let id = read.as_ref().ok().and_then(Option::as_ref).map(|(_, chunk)| chunk.id);
        if lane.is_passed(raw.offset, id.as_ref()) {
            return Ok(None);
        }
        match read? {
            Some((format, chunk)) if self.limits.formats.contains(&format) => self.piece(&raw, format, &chunk),
            _ => Ok(Some(raw)),
        }
    }

    fn floor(&self, tp: &TopicPartition, upto: i64) -> Option<(i64, String)> {
        let told = self.overdue.iter().filter(|(raw, _)| raw.tp == *tp).map(|(raw, _)| raw.offset).min();
        self.lanes.get(tp)?.floor(upto, told, self.limits.remember)
    }

    fn overdue(&mut self) -> Option<(RawRecord, ConnectError)> {
        self.expire();
        self.overdue.pop_front()
    }

    fn revoked(&mut self, partitions: &[TopicPartition]) {
        for tp in partitions {
            if let Some(lane) = self.lanes.remove(tp) {
                self.storage.open_memory -= lane.open.values().map(|open| open.in_memory).sum::<u64>();
                self.counts.open.add(-i64::try_from(lane.open.len()).unwrap_or(0));
            }
        }
        self.overdue.retain(|(raw, _)| !partitions.contains(&raw.tp));
    }
}

impl Drop for Reassemble {
    fn drop(&mut self) {
        let all: Vec<_> = self.lanes.keys().cloned().collect();
        self.revoked(&all);
    }
}
