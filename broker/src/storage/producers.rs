//! What a partition remembers of its idempotent producers, so that a batch sent twice is stored once.
//!
//! Rebuilt from the log at start: the log is the only truth.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;

use super::Refused;
use super::batch::Header;

/// Clients keep at most five batches in flight, so a repeated one is among the last five.
const REMEMBERED: usize = 5;
/// Producers remembered per partition; the one that wrote longest ago is forgotten first.
const MAX_PRODUCERS: usize = 4_096;

#[derive(Debug, Default)]
pub(crate) struct Producers {
    by_id: HashMap<i64, Producer>,
}

#[derive(Debug)]
struct Producer {
    epoch: i16,
    recent: VecDeque<Written>,
    /// After a restart: when its batches were read back.
    seen: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Written {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    New,
    /// Already in the log, at this offset.
    Repeated(i64),
}

impl Producers {
    pub(crate) fn check(&self, header: &Header) -> Result<Verdict, Refused> {
        // A producer nobody remembers may start anywhere: its earlier batches may be deleted records.
        let Some(known) = self.by_id.get(&header.producer_id) else { return Ok(Verdict::New) };
        if header.producer_epoch < known.epoch {
            let why = format!("producer {} has a newer epoch, {}", header.producer_id, known.epoch);
            return Err(Refused::new(ResponseError::InvalidProducerEpoch, why));
        }
        let expected = if header.producer_epoch > known.epoch {
            0
        } else if let Some(written) = known.recent.iter().find(|written| written.is(header)) {
            return Ok(Verdict::Repeated(written.base_offset));
        } else if let Some(last) = known.recent.back() {
            last.last_sequence.wrapping_add(1) & i32::MAX
        } else {
            // Known by a marker alone: its batches were forgotten.
            return Ok(Verdict::New);
        };
        if header.base_sequence != expected {
            let why = format!(
                "producer {} sent sequence {} where {expected} comes next",
                header.producer_id, header.base_sequence
            );
            return Err(Refused::new(ResponseError::OutOfOrderSequenceNumber, why));
        }
        Ok(Verdict::New)
    }

    /// Notes a batch that is now in the log, with its final offset.
    pub(crate) fn note(&mut self, header: &Header, now: Instant) {
        if header.producer_id < 0 {
            return;
        }
        if self.by_id.len() >= MAX_PRODUCERS && !self.by_id.contains_key(&header.producer_id) {
            self.forget_oldest();
        }
        let unknown = || Producer { epoch: header.producer_epoch, recent: VecDeque::new(), seen: now };
        let producer = self.by_id.entry(header.producer_id).or_insert_with(unknown);
        producer.seen = now;
        if producer.epoch != header.producer_epoch {
            producer.recent.clear();
            producer.epoch = header.producer_epoch;
        }
        if header.is_control() {
            return;
        }
        if producer.recent.len() == REMEMBERED {
            producer.recent.pop_front();
        }
        producer.recent.push_back(Written {
            first_sequence: header.base_sequence,
            last_sequence: header.last_sequence(),
            base_offset: header.base_offset,
        });
    }

    /// The highest producer id seen: ids below it must not be given out again.
    pub(crate) fn highest_id(&self) -> Option<i64> {
        self.by_id.keys().copied().max()
    }

    /// Forgets who has not written for `silence`, unless `keep` says no.
    pub(crate) fn expire(&mut self, now: Instant, silence: Duration, keep: impl Fn(i64) -> bool) {
        self.by_id.retain(|id, producer| now.saturating_duration_since(producer.seen) < silence || keep(*id));
    }

    /// None if nobody remembers that producer.
    pub(crate) fn epoch(&self, producer_id: i64) -> Option<i16> {
        self.by_id.get(&producer_id).map(|producer| producer.epoch)
    }

    fn forget_oldest(&mut self) {
        let oldest = self.by_id.iter().min_by_key(|(id, producer)| (producer.seen, **id)).map(|(id, _)| *id);
        if let Some(id) = oldest {
            self.by_id.remove(&id);
        }
    }
}

impl Written {
    fn is(&self, header: &Header) -> bool {
        self.first_sequence == header.base_sequence && self.last_sequence == header.last_sequence()
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::sample::Sample;
    use super::*;

    fn header(producer_id: i64, epoch: i16, sequence: i32, base_offset: i64) -> Header {
        let bytes = Sample { count: 2, producer_id, epoch, sequence, ..Sample::default() }.bytes();
        Header { base_offset, ..Header::parse(&bytes).unwrap() }
    }

    #[test]
    fn a_repeated_batch_is_answered_with_its_first_offset() {
        let mut producers = Producers::default();
        for i in 0..7 {
            let sent = header(1, 0, i * 2, i64::from(i) * 2 + 100);
            assert_eq!(producers.check(&sent), Ok(Verdict::New));
            producers.note(&sent, Instant::now());
        }
        assert_eq!(producers.check(&header(1, 0, 6, 0)), Ok(Verdict::Repeated(106)));
        // Older than the last five: no longer provably the same batch.
        assert_eq!(producers.check(&header(1, 0, 0, 0)).unwrap_err().code, ResponseError::OutOfOrderSequenceNumber);
    }

    #[test]
    fn a_gap_and_an_old_epoch_are_refused_and_a_new_epoch_starts_at_zero() {
        let mut producers = Producers::default();
        producers.note(&header(1, 3, 0, 0), Instant::now());
        let code = |header: Header| producers.check(&header).map_err(|refused| refused.code);
        assert_eq!(code(header(1, 3, 4, 0)), Err(ResponseError::OutOfOrderSequenceNumber));
        assert_eq!(code(header(1, 2, 2, 0)), Err(ResponseError::InvalidProducerEpoch));
        assert_eq!(code(header(1, 4, 2, 0)), Err(ResponseError::OutOfOrderSequenceNumber));
        assert_eq!(code(header(1, 4, 0, 0)), Ok(Verdict::New));
    }

    #[test]
    fn memory_is_bounded_by_forgetting_the_longest_silent_producer() {
        let mut producers = Producers::default();
        let now = Instant::now();
        for id in 0..=4_096 {
            producers.note(&header(id, 0, 0, id), now);
        }
        assert_eq!(producers.by_id.len(), 4_096);
        assert!(!producers.by_id.contains_key(&0));
    }

    #[test]
    fn a_marker_keeps_the_sequence_of_its_epoch_and_starts_a_newer_one() {
        let mut producers = Producers::default();
        let marker = |epoch| Header { attributes: 0x30, base_sequence: -1, ..header(1, epoch, 0, 9) };
        producers.note(&header(1, 0, 0, 0), Instant::now());
        producers.note(&marker(0), Instant::now());
        let code = |producers: &Producers, header: Header| producers.check(&header).map_err(|refused| refused.code);
        assert_eq!(code(&producers, header(1, 0, 4, 0)), Err(ResponseError::OutOfOrderSequenceNumber));
        assert_eq!(code(&producers, header(1, 0, 2, 0)), Ok(Verdict::New));
        producers.note(&marker(1), Instant::now());
        assert_eq!(code(&producers, header(1, 0, 2, 0)), Err(ResponseError::InvalidProducerEpoch));
        assert_eq!(code(&producers, header(1, 2, 0, 0)), Ok(Verdict::New));
    }

    #[test]
    fn a_silent_producer_is_forgotten_unless_it_is_needed() {
        let mut producers = Producers::default();
        let (start, hour) = (Instant::now(), Duration::from_hours(1));
        producers.note(&header(1, 0, 0, 0), start);
        producers.note(&header(2, 0, 0, 2), start);
        producers.note(&header(3, 0, 0, 4), start + hour);
        producers.expire(start + hour, hour, |id| id == 2);
        let mut left: Vec<i64> = producers.by_id.keys().copied().collect();
        left.sort_unstable();
        assert_eq!(left, [2, 3]);
    }
}
