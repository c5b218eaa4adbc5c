//! A batch on its way into a sink: whole, or in halves once the sink has refused it for a record it does not name. Pure.

use std::sync::Arc;

use pipette_api::{Offsets, SinkBatch, SinkRecord, TopicPartition};

/// Records for a sink, and how far the task is with each partition once all of them are dealt with.
#[derive(Default)]
pub struct Pieces {
    /// What is put next.
    pub batch: Arc<SinkBatch>,
    /// What follows, the last first.
    rest: Vec<Arc<SinkBatch>>,
    /// See above.
    pub next: Offsets,
}

impl Pieces {
    /// All records in one piece.
    pub fn new(records: Vec<SinkRecord>, next: Offsets) -> Self {
        Self { batch: Arc::new(SinkBatch { records }), rest: Vec::new(), next }
    }

    /// Goes on to the piece that follows; false when there is none.
    pub fn advance(&mut self) -> bool {
        let next = self.rest.pop();
        next.map(|batch| self.batch = batch).is_some()
    }

    /// Makes two pieces of the present one, in its order; false when it is one record, or none.
    pub fn halve(&mut self) -> bool {
        let records = &self.batch.records;
        if records.len() < 2 {
            return false;
        }
        let (first, second) = records.split_at(records.len() / 2);
        let [first, second] = [first, second].map(|half| Arc::new(SinkBatch { records: half.to_vec() }));
        self.rest.push(second);
        self.batch = first;
        true
    }

    /// Leaves out what is no longer this task's to put.
    pub fn drop_partitions(&mut self, gone: &[TopicPartition]) {
        self.next.retain(|tp, _| !gone.contains(tp));
        let stays = |record: &&SinkRecord| !gone.contains(&record.origin.tp);
        for batch in self.rest.iter_mut().chain([&mut self.batch]) {
            if !batch.records.iter().all(|record| stays(&record)) {
                let records = batch.records.iter().filter(stays).cloned().collect();
                *batch = Arc::new(SinkBatch { records });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use pipette_api::{Datum, Record};

    use super::super::records::bare;
    use super::*;

    fn record(offset: i64) -> SinkRecord {
        let tp = TopicPartition::new("t", i32::try_from(offset % 2).unwrap());
        SinkRecord { record: Record::new("t".into(), Datum::NULL), origin: bare(tp, offset) }
    }

    fn offsets(pieces: &Pieces) -> Vec<i64> {
        pieces.batch.records.iter().map(|record| record.origin.offset).collect()
    }

    #[test]
    fn halves_keep_the_order_and_lose_nothing() {
        let mut pieces = Pieces::new((0..5).map(record).collect(), Offsets::new());
        let mut seen = Vec::new();
        assert!(pieces.halve() && pieces.halve() && !pieces.halve(), "two, then one, which cannot be halved");
        loop {
            seen.push(offsets(&pieces));
            if !pieces.advance() {
                break;
            }
        }
        assert_eq!(seen, [vec![0], vec![1], vec![2, 3, 4]]);
    }

    #[test]
    fn partitions_that_are_gone_leave_every_piece() {
        let next = [0, 1].map(|partition| (TopicPartition::new("t", partition), 9));
        let mut pieces = Pieces::new((0..6).map(record).collect(), Offsets::from(next));
        pieces.halve();
        pieces.drop_partitions(&[TopicPartition::new("t", 1)]);
        assert_eq!(offsets(&pieces), [0, 2]);
        assert!(pieces.advance());
        assert_eq!((offsets(&pieces), pieces.next.len()), (vec![4], 1));
    }
}
