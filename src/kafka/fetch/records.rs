//! Record batches as a broker sends them (KIP-98, magic 2), cut into records without a copy. Pure.
//!
//! Called by `mod.rs` for each partition of an answer. What is not plain (compressed batches, the formats before Kafka
//! 0.11, a checksum that is wrong) is told and left to librdkafka.

use std::sync::Arc;

use bytes::Bytes;
use pipette_api::record::TimestampType;
use pipette_api::{Blob, Body, KafkaHeaders, RawRecord, TopicPartition};

use super::super::batch::header_name;
use super::cursor::{Cursor, Piece};

/// Bytes of a batch in front of its records.
const HEAD: usize = 61;
/// Bytes of a batch in front of what its length counts.
const BEFORE_LENGTH: usize = 12;
/// Where that begins which the checksum is made of.
const CHECKED: usize = 21;
/// Bits of a batch's attributes.
const COMPRESSION: i16 = 0b111;
const APPEND_TIME: i16 = 1 << 3;
const CONTROL: i16 = 1 << 5;

/// What is left to librdkafka, in a few words.
pub(super) type Unusual = &'static str;

/// The records of one partition in an answer, handed out piece by piece.
#[derive(Debug)]
pub(super) struct Run {
    bytes: Bytes,
    /// Where the next batch begins, or the next record of the one that is open.
    at: usize,
    open: Option<Open>,
    /// The first offset that is wanted.
    next: i64,
    /// Behind the last batch that is to be read.
    end: usize,
    /// The leader epoch of the last batch that was begun; -1 before.
    pub(super) epoch: i32,
    check: bool,
}

/// What a run holds, seen from the heads of its batches.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Survey {
    /// The first offset behind it.
    pub next: i64,
    /// Why it ends before its bytes do.
    pub unusual: Option<Unusual>,
}

/// The batch whose records are read at this moment.
#[derive(Debug, Clone, Copy)]
struct Open {
    head: Head,
    left: u32,
    end: usize,
}

#[derive(Debug, Clone, Copy)]
struct Head {
    base: i64,
    len: usize,
    epoch: i32,
    checksum: u32,
    attributes: i16,
    last: i64,
    first_time: i64,
    last_time: i64,
    count: u32,
}

impl Head {
    /// The head of the batch that begins there; `Ok(None)` when the batch is not all there, as the last of an answer.
    fn read(bytes: &[u8], at: usize) -> Result<Option<Self>, Unusual> {
        let mut cursor = Cursor::new(bytes, at);
        let Some((base, len)) = cursor.i64().zip(cursor.i32()) else { return Ok(None) };
        let len = usize::try_from(len).map_err(|_| "a batch of a negative length")?;
        let Some((epoch, magic)) = cursor.i32().zip(cursor.i8()) else { return Ok(None) };
        if magic != 2 {
            return Err("batches of a format before Kafka 0.11");
        }
        if bytes.len() - at - BEFORE_LENGTH < len {
            return Ok(None);
        }
        let head = (|| {
            let (checksum, attributes, delta) = (cursor.u32()?, cursor.i16()?, cursor.i32()?);
            let (first_time, last_time) = (cursor.i64()?, cursor.i64()?);
            // The producer, its epoch and its sequence.
            cursor.take(8 + 2 + 4)?;
            let count = u32::try_from(cursor.i32()?).ok()?;
            // There is an offset behind it, which is asked for next.
            let last = base.checked_add(i64::from(delta)).filter(|last| *last < i64::MAX)?;
            let len = len + BEFORE_LENGTH;
            (len >= HEAD).then_some(Self { base, len, epoch, checksum, attributes, last, first_time, last_time, count })
        })();
        head.map(Some).ok_or("a batch whose head cannot be")
    }
}

impl Run {
    /// The records from this offset on, and what is known of them beforehand. `check`: whether checksums are compared.
    pub(super) fn new(bytes: Bytes, next: i64, check: bool) -> (Self, Survey) {
        let (mut end, mut behind) = (0, next);
        let unusual = loop {
            match Head::read(&bytes, end) {
                Ok(None) => break None,
                Ok(Some(head)) if head.attributes & COMPRESSION != 0 => break Some("compressed batches"),
                Ok(Some(head)) => {
                    end += head.len;
                    behind = behind.max(head.last + 1);
                }
                Err(reason) => break Some(reason),
            }
        };
        // Java's consumer fails then: to ask again and again would be without end.
        let leads_nowhere = behind == next && !bytes.is_empty();
        let unusual = unusual.or(leads_nowhere.then_some("an answer without the offset that was asked for"));
        let run = Self { bytes, at: 0, open: None, next, end, epoch: -1, check };
        (run, Survey { next: behind, unusual })
    }

    /// The offset of the next record.
    pub(super) fn next(&self) -> i64 {
        self.next
    }

    /// Whether everything is handed out.
    pub(super) fn is_through(&self) -> bool {
        self.open.is_none() && self.at >= self.end
    }

    /// Hands out records while there is room for them: at most `limit` in `out`, and none once that many bytes are. An
    /// error is the end of the run, behind what was handed out.
    pub(super) fn read(
        &mut self,
        out: &mut Vec<RawRecord>,
        tp: &TopicPartition,
        limit: usize,
        room: &mut usize,
    ) -> Result<(), Unusual> {
        // Of its own for each call, as the topic's name: threads that count on one thing at once make each other wait.
        let buffer = Blob::whole(self.bytes.clone()).map_err(|_| "an answer of 4 GiB")?;
        let topic: Arc<str> = Arc::from(&*tp.topic);
        while out.len() < limit && *room > 0 {
            if !self.open()? {
                break;
            }
            let Some(found) = self.record(&buffer, out.last()) else {
                return Err("a record that does not fit its batch");
            };
            if found.offset < self.next {
                continue;
            }
            self.next = found.offset + 1;
            *room = room.saturating_sub(found.len);
            let tp = TopicPartition { topic: Arc::clone(&topic), partition: tp.partition };
            let (timestamp, timestamp_type) = found.time;
            let Found { offset, key, value, headers, .. } = found;
            out.push(RawRecord { tp, offset, key, value, headers, timestamp: Some(timestamp), timestamp_type });
        }
        if self.open.is_some_and(|open| open.left == 0) { self.close() } else { Ok(()) }
    }

    /// Sees to it that a batch with records is open; false when there is none any more.
    fn open(&mut self) -> Result<bool, Unusual> {
        loop {
            match self.open {
                Some(open) if open.left > 0 => return Ok(true),
                Some(_) => self.close()?,
                None => {}
            }
            if self.at >= self.end {
                return Ok(false);
            }
            let Some(head) = Head::read(&self.bytes, self.at)? else { return Err("a batch that has changed") };
            let end = self.at + head.len;
            if self.check && crc32c::crc32c(&self.bytes[self.at + CHECKED..end]) != head.checksum {
                return Err("a batch whose checksum is wrong");
            }
            self.epoch = head.epoch;
            let is_control = head.attributes & CONTROL != 0;
            self.open = Some(Open { head, left: if is_control { 0 } else { head.count }, end });
            self.at = if is_control { end } else { self.at + HEAD };
        }
    }

    /// Goes on behind the open batch, and behind offsets at its end that hold nothing any more.
    fn close(&mut self) -> Result<(), Unusual> {
        if let Some(open) = self.open.take() {
            if self.at != open.end {
                return Err("a batch with more in it than its records");
            }
            self.next = self.next.max(open.head.last + 1);
        }
        Ok(())
    }

    /// The record at the place that was reached, in the batch that is open.
    fn record(&mut self, buffer: &Blob, before: Option<&RawRecord>) -> Option<Found> {
        let open = self.open.as_mut()?;
        let mut cursor = Cursor::new(self.bytes.get(..open.end)?, self.at);
        let len = usize::try_from(cursor.varint()?).ok()?;
        let start = cursor.at();
        cursor.i8()?;
        let (time, delta) = (cursor.varint()?, cursor.varint()?);
        // Inside of a buffer below 4 GiB. `Some(None)`: there is no such part.
        let part = |piece| match piece {
            Piece::Null => Some(None),
            Piece::Span { start, len } => {
                Some(Some(buffer.slice(u32::try_from(start).ok()?, u32::try_from(len).ok()?)))
            }
        };
        let key = part(cursor.piece()?)?;
        let value = part(cursor.piece()?)?.map(Body::Bytes);
        let mut headers = KafkaHeaders::new();
        let count = usize::try_from(cursor.varint()?).ok()?;
        for index in 0..count {
            let Piece::Span { start, len } = cursor.piece()? else { return None };
            let name = header_name(&self.bytes[start..start + len], index, before);
            headers.push((name, part(cursor.piece()?)?));
        }
        (cursor.at() == start + len).then_some(())?;
        self.at = cursor.at();
        open.left -= 1;
        let head = &open.head;
        let time = if head.attributes & APPEND_TIME == 0 {
            (head.first_time.checked_add(time)?, TimestampType::CreateTime)
        } else {
            (head.last_time, TimestampType::LogAppendTime)
        };
        // What is asked for next is behind the last offset that the batch's head tells.
        let offset = head.base.checked_add(delta).filter(|offset| *offset <= head.last)?;
        Some(Found { offset, key, value, headers, time, len })
    }
}

/// A record, before it is known whether it is wanted.
struct Found {
    offset: i64,
    key: Option<Blob>,
    value: Option<Body>,
    headers: KafkaHeaders,
    time: (i64, TimestampType),
    /// Bytes it takes in its batch.
    len: usize,
}
