//! One partition: record batches one after the other in one file, and a sparse index of it in memory.
//!
//! Appending is one write, reading is one read; batches are stored and sent as the producer made them. With `fsync`,
//! what is not yet on the disk is not shown to consumers: nobody sees a record that a power cut could take back.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError;

use super::Refused;
use super::batch::{self, HEADER, Header};
use super::marker::{self, Outcome};
use super::producers::{Producers, Verdict};
use super::scan;
use super::spans::{Aborted, Spans};

/// Log bytes between two index entries: an index of about 1.5 MB per GB of log, and a read of 16 KiB too much at most.
const INDEX_INTERVAL: u64 = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: Arc<File>,
    end: Mark,
    /// What survives a power cut; equal to `end` when `fsync` is off.
    durable: Mark,
    fsync: bool,
    /// Records below this were deleted on request.
    start: i64,
    index: Vec<Entry>,
    producers: Producers,
    spans: Spans,
    /// How often a failed fsync took back what was appended.
    resets: u32,
}

/// What a reader wants to see.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Isolation {
    /// All that is stored.
    ReadUncommitted,
    /// Up to the first open transaction; aborted records are left out with the help of [`Log::aborted`].
    ReadCommitted,
}

/// A place between two batches.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Mark {
    pub offset: i64,
    pub position: u64,
}

#[derive(Debug)]
struct Entry {
    base_offset: i64,
    position: u64,
    /// Of all batches up to the next entry.
    max_timestamp: i64,
}

/// What an append gives: the base offset, and what must be durable before the producer may be told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Receipt {
    pub base_offset: i64,
    end_offset: i64,
    resets: u32,
}

impl Log {
    /// Opens or creates the log, checks every batch in it, and cuts off what is not intact.
    pub(crate) fn open(path: &Path, start: i64, fsync: bool) -> io::Result<Log> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut log = Log {
            path: path.to_owned(),
            file: Arc::new(file),
            end: Mark::default(),
            durable: Mark::default(),
            fsync,
            start,
            index: Vec::new(),
            producers: Producers::default(),
            spans: Spans::default(),
            resets: 0,
        };
        log.recover()?;
        Ok(log)
    }

    fn recover(&mut self) -> io::Result<()> {
        self.index.clear();
        self.producers = Producers::default();
        self.spans = Spans::default();
        self.end = Mark::default();
        let file = Arc::clone(&self.file);
        let now = Instant::now();
        let end = scan::walk(&file, |header, ended| self.note(header, ended, now))?;
        self.spans.delete_before(self.start);
        if let Some(kept) = scan::cut(&self.path, &file, end)? {
            tracing::warn!(
                log = %self.path.display(),
                next_offset = self.end.offset,
                kept = %kept.display(),
                "Cut off the end of a log: not an intact record batch"
            );
        }
        // What a crash left in the page cache was perhaps never acknowledged, but it is about to be shown.
        if self.fsync {
            file.sync_data()?;
        }
        self.durable = self.end;
        Ok(())
    }

    fn note(&mut self, header: &Header, ended: Option<Outcome>, now: Instant) {
        match self.index.last_mut() {
            Some(entry) if self.end.position - entry.position < INDEX_INTERVAL => {
                entry.max_timestamp = entry.max_timestamp.max(header.max_timestamp);
            }
            _ => self.index.push(Entry {
                base_offset: header.base_offset,
                position: self.end.position,
                max_timestamp: header.max_timestamp,
            }),
        }
        self.producers.note(header, now);
        match ended {
            Some(outcome) => self.spans.end(header, outcome),
            None if header.is_transactional() => self.spans.note(header, self.end),
            None => {}
        }
        self.end = Mark { offset: header.next_offset(), position: self.end.position + header.length as u64 };
    }

    /// Stores a producer's batch, which has been checked. Nothing has changed if this refuses.
    pub(crate) fn append(&mut self, records: &[u8], header: Header) -> Result<Receipt, Refused> {
        if header.producer_id >= 0 {
            if let Verdict::Repeated(base_offset) = self.producers.check(&header)? {
                // The first attempt may still be on its way to the disk, so the repeated one waits for it too.
                return Ok(Receipt { base_offset, ..self.receipt() });
            }
            if !header.is_transactional() && self.spans.is_open(header.producer_id) {
                let why = format!("producer {} has a transaction open, and this is no part of it", header.producer_id);
                return Err(Refused::new(ResponseError::InvalidTxnState, why));
            }
        }
        self.store(records.to_vec(), header, None)
    }

    /// Ends the producer's transaction here; None if there is nothing to end.
    pub(crate) fn end_transaction(
        &mut self,
        producer_id: i64,
        epoch: i16,
        outcome: Outcome,
        timestamp: i64,
    ) -> Result<Option<Receipt>, Refused> {
        if !self.spans.is_open(producer_id) {
            return Ok(None);
        }
        let marker = marker::marker(producer_id, epoch, outcome, timestamp);
        let Some(header) = Header::parse(&marker) else { unreachable!("a marker has a header") };
        self.store(marker, header, Some(outcome)).map(Some)
    }

    fn store(&mut self, mut batch: Vec<u8>, header: Header, ended: Option<Outcome>) -> Result<Receipt, Refused> {
        let header = Header { base_offset: self.end.offset, ..header };
        batch::stamp(&mut batch, header.base_offset);
        self.write(&batch).map_err(|error| {
            tracing::error!(log = %self.path.display(), %error, "Cannot append to a log");
            Refused::storage(format!("cannot write to {}: {error}", self.path.display()))
        })?;
        self.note(&header, ended, Instant::now());
        if !self.fsync {
            self.durable = self.end;
        }
        Ok(Receipt { base_offset: header.base_offset, ..self.receipt() })
    }

    /// For all that is stored so far.
    fn receipt(&self) -> Receipt {
        Receipt { base_offset: -1, end_offset: self.end.offset, resets: self.resets }
    }

    /// All of it or nothing: what a full disk took of the batch is cut off again.
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file: &File = &self.file;
        let written = file.seek(SeekFrom::Start(self.end.position)).and_then(|_| file.write_all(bytes));
        if written.is_err() {
            // Should this fail too, the next append overwrites the remains and a restart cuts them off.
            let _ = file.set_len(self.end.position);
        }
        written
    }

    /// The whole batches from the one that holds `offset` on, at least one, up to about `max_bytes`; and the offset
    /// after the last of them.
    pub(crate) fn read(&self, offset: i64, max_bytes: usize, isolation: Isolation) -> io::Result<(Bytes, i64)> {
        let visible = self.visible(isolation);
        let block = self.index.partition_point(|entry| entry.base_offset <= offset);
        if offset >= visible.offset || block == 0 {
            return Ok((Bytes::new(), offset));
        }
        let base = self.index[block - 1].position;
        let readable = visible.position - base;
        let slack = INDEX_INTERVAL + HEADER as u64;
        let bytes = self.read_at(base, readable.min(max_bytes as u64 + slack))?;
        let mut from = 0;
        let first = loop {
            let header = self.header_in(&bytes, base, from)?;
            if header.next_offset() > offset {
                break header;
            }
            from += header.length;
        };
        if from + first.length > bytes.len() {
            return Ok((self.read_at(base + from as u64, first.length as u64)?, first.next_offset()));
        }
        let (mut to, mut next_offset) = (from + first.length, first.next_offset());
        while let Some(next) = Header::parse(&bytes[to..]) {
            if to + next.length - from > max_bytes || to + next.length > bytes.len() {
                break;
            }
            to += next.length;
            next_offset = next.next_offset();
        }
        Ok((bytes.slice(from..to), next_offset))
    }

    fn header_in(&self, bytes: &Bytes, base: u64, from: usize) -> io::Result<Header> {
        Header::parse(bytes.get(from..).unwrap_or_default()).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} holds no record batch at byte {}", self.path.display(), base + from as u64),
            )
        })
    }

    fn read_at(&self, position: u64, length: u64) -> io::Result<Bytes> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut bytes = vec![0; length];
        let mut file: &File = &self.file;
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(&mut bytes)?;
        Ok(Bytes::from(bytes))
    }

    /// The first record that is not older than `timestamp`, as (offset, timestamp).
    pub(crate) fn find_time(&self, timestamp: i64) -> io::Result<Option<(i64, i64)>> {
        let visible = self.index.iter().enumerate().filter(|(_, entry)| entry.max_timestamp >= timestamp);
        for (block, entry) in visible {
            let end = self.index.get(block + 1).map_or(self.durable.position, |next| next.position);
            let bytes = self.read_at(entry.position, end.min(self.durable.position).saturating_sub(entry.position))?;
            let mut from = 0;
            while let Some(header) = Header::parse(&bytes[from..]) {
                let Some(batch) = bytes.get(from..from + header.length) else { break };
                from += header.length;
                if header.next_offset() <= self.start {
                    continue;
                }
                if let Some((offset, found)) = batch::first_record_since(batch, timestamp) {
                    return Ok(Some((offset.max(self.start), found)));
                }
            }
        }
        Ok(None)
    }

    /// The newest timestamp in the log.
    pub(crate) fn max_timestamp(&self) -> Option<i64> {
        self.index.iter().map(|entry| entry.max_timestamp).max()
    }

    pub(crate) fn start(&self) -> i64 {
        self.start
    }

    /// The offset after the last record that consumers may see.
    pub(crate) fn visible_end(&self) -> i64 {
        self.durable.offset
    }

    /// The offset after the last record that is no part of an open transaction, nor behind one.
    pub(crate) fn stable_end(&self) -> i64 {
        self.visible(Isolation::ReadCommitted).offset.max(self.start)
    }

    fn visible(&self, isolation: Isolation) -> Mark {
        let open = self.spans.stable().filter(|_| isolation == Isolation::ReadCommitted);
        open.filter(|first| first.offset < self.durable.offset).unwrap_or(self.durable)
    }

    /// Aborted transactions that reach into `from..to`.
    pub(crate) fn aborted(&self, from: i64, to: i64) -> Vec<Aborted> {
        self.spans.aborted(from, to)
    }

    /// Producers with a transaction open here.
    pub(crate) fn open_transactions(&self) -> impl Iterator<Item = i64> {
        self.spans.open()
    }

    pub(crate) fn producer_epoch(&self, producer_id: i64) -> Option<i16> {
        self.producers.epoch(producer_id)
    }

    pub(crate) fn expire_producers(&mut self, now: Instant, silence: Duration) {
        let spans = &self.spans;
        self.producers.expire(now, silence, |id| spans.is_open(id));
    }

    /// Moves the start forward; never back.
    pub(crate) fn delete_before(&mut self, offset: i64) {
        self.start = self.start.max(offset);
        self.spans.delete_before(self.start);
    }

    pub(crate) fn highest_producer_id(&self) -> Option<i64> {
        self.producers.highest_id()
    }

    /// What to fsync, and the mark that is durable once that has worked. None if there is nothing to do.
    pub(crate) fn unsynced(&self) -> Option<(Arc<File>, Mark)> {
        (self.durable != self.end).then(|| (Arc::clone(&self.file), self.end))
    }

    /// Whether this is the log's file, and not that of a deleted topic of the same name.
    pub(crate) fn is_stored_in(&self, file: &Arc<File>) -> bool {
        Arc::ptr_eq(&self.file, file)
    }

    pub(crate) fn synced(&mut self, mark: Mark) {
        self.durable = mark;
    }

    /// After a failed fsync nobody knows what is on the disk behind the durable mark, so it is taken back.
    /// Nobody has seen it and no producer was told that it is stored.
    pub(crate) fn take_back(&mut self) -> io::Result<()> {
        self.resets += 1;
        self.file.set_len(self.durable.position)?;
        self.recover()
    }

    /// Whether the batch of the receipt is where it was promised to be, for good.
    pub(crate) fn is_durable(&self, receipt: &Receipt) -> bool {
        receipt.resets == self.resets && self.durable.offset >= receipt.end_offset
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
