//! Which transactions touch a partition: where the open ones begin, and where aborted ones lie.
//!
//! Rebuilt from the log at start. An aborted transaction costs 32 bytes of memory until its records are deleted.

use std::collections::BTreeMap;

use super::batch::Header;
use super::log::Mark;
use super::marker::Outcome;

#[derive(Debug, Default)]
pub(crate) struct Spans {
    /// The first batch of each open transaction, by producer id.
    open: BTreeMap<i64, Mark>,
    /// In the order of their markers.
    aborted: Vec<Aborted>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Aborted {
    pub producer_id: i64,
    pub first_offset: i64,
    marker: i64,
    /// What was stable once this one had ended: whatever ends later begins here or behind.
    stable: i64,
}

impl Spans {
    /// Notes a transaction's records; `at` is where their batch begins.
    pub(crate) fn note(&mut self, header: &Header, at: Mark) {
        self.open.entry(header.producer_id).or_insert(at);
    }

    /// Notes the marker that ends a transaction.
    pub(crate) fn end(&mut self, marker: &Header, outcome: Outcome) {
        let Some(first) = self.open.remove(&marker.producer_id) else { return };
        if outcome == Outcome::Aborted {
            self.aborted.push(Aborted {
                producer_id: marker.producer_id,
                first_offset: first.offset,
                marker: marker.base_offset,
                stable: self.stable().map_or(marker.next_offset(), |mark| mark.offset),
            });
        }
    }

    /// Where the first open transaction begins.
    pub(crate) fn stable(&self) -> Option<Mark> {
        self.open.values().min_by_key(|mark| mark.offset).copied()
    }

    pub(crate) fn is_open(&self, producer_id: i64) -> bool {
        self.open.contains_key(&producer_id)
    }

    pub(crate) fn open(&self) -> impl Iterator<Item = i64> {
        self.open.keys().copied()
    }

    /// Aborted transactions with records or their marker in `from..to`.
    pub(crate) fn aborted(&self, from: i64, to: i64) -> Vec<Aborted> {
        let mut found = Vec::new();
        for aborted in &self.aborted[self.aborted.partition_point(|aborted| aborted.marker < from)..] {
            if aborted.first_offset < to {
                found.push(*aborted);
            }
            if aborted.stable >= to {
                break;
            }
        }
        found
    }

    /// Forgets what lies wholly below the log's start.
    pub(crate) fn delete_before(&mut self, start: i64) {
        self.aborted.drain(..self.aborted.partition_point(|aborted| aborted.marker < start));
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::sample::Sample;
    use super::*;

    fn at(producer_id: i64, offset: i64) -> Header {
        let bytes = Sample { producer_id, epoch: 0, sequence: 0, ..Sample::default() }.bytes();
        Header { base_offset: offset, ..Header::parse(&bytes).unwrap() }
    }

    fn begin(spans: &mut Spans, producer_id: i64, offset: i64) {
        spans.note(&at(producer_id, offset), Mark { offset, position: 0 });
    }

    fn firsts(spans: &Spans, from: i64, to: i64) -> Vec<i64> {
        spans.aborted(from, to).iter().map(|aborted| aborted.first_offset).collect()
    }

    #[test]
    fn the_first_open_transaction_is_where_stability_ends() {
        let mut spans = Spans::default();
        begin(&mut spans, 1, 10);
        begin(&mut spans, 2, 11);
        begin(&mut spans, 1, 12);
        assert_eq!(spans.stable().unwrap().offset, 10);
        spans.end(&at(1, 13), Outcome::Committed);
        assert_eq!(spans.stable().unwrap().offset, 11);
        spans.end(&at(2, 14), Outcome::Aborted);
        assert!(spans.stable().is_none());
    }

    #[test]
    fn aborted_transactions_are_found_where_they_overlap_what_is_read() {
        let mut spans = Spans::default();
        // 1: 0..=5, 2: 2..=3, 3: 6..=9, and a committed one at 7..=8.
        begin(&mut spans, 1, 0);
        begin(&mut spans, 2, 2);
        spans.end(&at(2, 3), Outcome::Aborted);
        spans.end(&at(1, 5), Outcome::Aborted);
        begin(&mut spans, 3, 6);
        begin(&mut spans, 4, 7);
        spans.end(&at(4, 8), Outcome::Committed);
        spans.end(&at(3, 9), Outcome::Aborted);
        assert_eq!(firsts(&spans, 0, 10), [2, 0, 6]);
        assert_eq!(firsts(&spans, 0, 2), [0]);
        assert_eq!(firsts(&spans, 4, 6), [0]);
        assert_eq!(firsts(&spans, 6, 7), [6]);
        assert_eq!(firsts(&spans, 10, 20), [0_i64; 0]);
        spans.delete_before(6);
        assert_eq!(firsts(&spans, 0, 10), [6]);
    }
}
