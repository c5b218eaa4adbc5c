//! How far a sink task is with each of its partitions, and what is worth committing. Pure.

use std::collections::BTreeMap;

use pipette_api::{Assigned, Offsets, RawRecord, TopicPartition};

use super::used::Notes;
use crate::metrics::meters::SinkMeters;

/// Partitions owned, with the next offset to read and the one committed last.
#[derive(Debug, Default)]
pub struct Progress {
    owned: BTreeMap<TopicPartition, Reach>,
    /// Records whose dead letters are not in Kafka yet, by number: nothing from them on is committed.
    held: BTreeMap<u64, (TopicPartition, i64)>,
    holds: u64,
    /// How often partitions were sent back.
    generation: u64,
    used: Notes,
}

#[derive(Debug, Default, Clone, Copy)]
struct Reach {
    next: Option<i64>,
    committed: Option<i64>,
    /// Where it is sent back to: what was committed last, or the first record that came.
    begin: Option<i64>,
    /// The generation it was sent back with.
    generation: u64,
    /// A record that fails the task: nothing from it on is committed, whatever was put behind it.
    bad: Option<i64>,
}

impl Reach {
    fn before_bad(self, offset: i64) -> i64 {
        self.bad.map_or(offset, |bad| offset.min(bad))
    }
}

impl Progress {
    /// Nothing owned; notes what is used.
    pub fn noting(used: Notes) -> Self {
        Self { used, ..Self::default() }
    }

    /// Partitions were given to the task.
    pub fn assign(&mut self, assigned: &[Assigned]) {
        for partition in assigned {
            let committed = partition.committed.as_ref().map(|(offset, _)| *offset);
            self.owned.insert(partition.tp.clone(), Reach { committed, ..Reach::default() });
        }
    }

    /// This record has come. The offset committed before the partition was assigned is not where it begins: the sink may
    /// have chosen another, and an offset that is out of range leads elsewhere.
    pub fn begin(&mut self, tp: &TopicPartition, offset: i64) {
        if let Some(reach) = self.owned.get_mut(tp) {
            reach.begin.get_or_insert(offset);
        }
    }

    /// What the sink was given of its partitions may be lost: nothing of it counts as put any more. Answers where each is
    /// to be read again, and the number of the generation that begins with it.
    pub fn rewind(&mut self) -> (Offsets, u64) {
        self.generation += 1;
        let generation = self.generation;
        let back = |(tp, reach): (&TopicPartition, &mut Reach)| {
            let begin = reach.begin?;
            *reach = Reach { next: None, bad: None, generation, ..*reach };
            Some((tp.clone(), begin))
        };
        (self.owned.iter_mut().filter_map(back).collect(), generation)
    }

    /// Leaves out what was read of a partition before it was sent back. `generation` is that of the batch.
    pub fn leave_out_stale(&self, (records, ends): (&mut Vec<RawRecord>, &mut Offsets), generation: u64) {
        if generation < self.generation {
            let is_fresh = |tp: &TopicPartition| self.owned.get(tp).is_none_or(|reach| reach.generation <= generation);
            records.retain(|record| is_fresh(&record.tp));
            ends.retain(|tp, _| is_fresh(tp));
        }
    }

    /// Everything below `next` was put, filtered or tolerated.
    pub fn advance(&mut self, tp: &TopicPartition, next: i64) {
        if let Some(reach) = self.owned.get_mut(tp) {
            reach.next = Some(next);
            self.used.note(&tp.topic);
        }
    }

    /// The record at this offset fails the task.
    pub fn stop_before(&mut self, tp: &TopicPartition, offset: i64) {
        if let Some(reach) = self.owned.get_mut(tp) {
            reach.bad = Some(reach.before_bad(offset));
        }
    }

    /// The record at this offset waits for something; answers the number it is released by.
    pub fn hold(&mut self, tp: &TopicPartition, offset: i64) -> u64 {
        self.holds += 1;
        self.held.insert(self.holds, (tp.clone(), offset));
        self.holds
    }

    /// The record waits no longer.
    pub fn release(&mut self, number: u64) {
        self.held.remove(&number);
    }

    /// The record that was given this number and still waits.
    pub fn held(&self, number: u64) -> Option<(TopicPartition, i64)> {
        self.held.get(&number).cloned()
    }

    fn before_held(&self, tp: &TopicPartition, offset: i64) -> i64 {
        let held = self.held.values().filter(|(held, _)| held == tp).map(|(_, offset)| *offset);
        held.fold(offset, i64::min)
    }

    /// Partitions were taken from the task.
    pub fn forget(&mut self, partitions: &[TopicPartition]) {
        self.owned.retain(|tp, _| !partitions.contains(tp));
    }

    /// The partitions the task owns.
    pub fn owned(&self) -> Vec<TopicPartition> {
        self.owned.keys().cloned().collect()
    }

    /// How far everything was put, for the chosen partitions.
    pub fn put_so_far(&self, chosen: impl Fn(&TopicPartition) -> bool) -> Offsets {
        let next = |(tp, reach): (&TopicPartition, &Reach)| Some((tp.clone(), reach.before_bad(reach.next?)));
        self.owned.iter().filter(|(tp, _)| chosen(tp)).filter_map(next).collect()
    }

    /// What of `safe` is worth committing: owned, not more than was put, nothing that waits, not what is committed
    /// already.
    pub fn worth_committing(&self, safe: Offsets) -> Offsets {
        let worth = |(tp, offset): (TopicPartition, i64)| {
            let reach = self.owned.get(&tp).filter(|reach| reach.next.is_some_and(|next| offset <= next))?;
            let offset = self.before_held(&tp, reach.before_bad(offset));
            (reach.committed != Some(offset)).then_some((tp, offset))
        };
        safe.into_iter().filter_map(worth).collect()
    }

    /// Whether this is what is committed of a partition that the task owns.
    pub fn is_committed(&self, tp: &TopicPartition, offset: i64) -> bool {
        self.owned.get(tp).is_some_and(|reach| reach.committed == Some(offset))
    }

    /// Shows how many partitions there are, and how many records were put and not committed yet, as far as it is known:
    /// offsets may have gaps.
    pub fn show(&self, meters: &mut SinkMeters) {
        let uncommitted = |reach: &Reach| usize::try_from(reach.next? - reach.begin.or(reach.committed)?).ok();
        meters.active.set(self.owned.values().filter_map(uncommitted).sum());
        meters.partitions.set(i64::try_from(self.owned.len()).unwrap_or(i64::MAX));
    }

    /// The group has these offsets now.
    pub fn committed(&mut self, offsets: &Offsets) {
        for (tp, offset) in offsets {
            if let Some(reach) = self.owned.get_mut(tp) {
                (reach.committed, reach.begin) = (Some(*offset), Some(*offset));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::records::bare;
    use super::*;

    fn tp(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
    }

    fn record(partition: i32) -> RawRecord {
        bare(tp(partition), 0)
    }

    fn owning(committed: Option<i64>) -> Progress {
        let mut progress = Progress::default();
        progress.assign(&[Assigned { tp: tp(0), committed: committed.map(|offset| (offset, "".into())) }]);
        progress
    }

    #[test]
    fn commits_only_what_was_put_and_is_owned_and_is_new() {
        let mut progress = owning(Some(5));
        assert!(progress.put_so_far(|_| true).is_empty(), "nothing was put yet");
        progress.advance(&tp(0), 9);
        progress.advance(&tp(1), 3);
        assert_eq!(progress.put_so_far(|_| true), Offsets::from([(tp(0), 9)]));
        for (asked, worth) in [(9, true), (7, true), (10, false), (5, false)] {
            assert_eq!(!progress.worth_committing(Offsets::from([(tp(0), asked)])).is_empty(), worth, "{asked}");
        }
        assert!(progress.worth_committing(Offsets::from([(tp(1), 3)])).is_empty(), "not owned");
        progress.committed(&Offsets::from([(tp(0), 9)]));
        assert!(progress.worth_committing(Offsets::from([(tp(0), 9)])).is_empty());
        progress.forget(&[tp(0)]);
        assert!(progress.owned().is_empty());
    }

    #[test]
    fn partitions_go_back_to_what_is_committed_and_stale_records_are_left_out() {
        let mut progress = owning(Some(5));
        progress.assign(&[Assigned { tp: tp(1), committed: None }]);
        assert_eq!(progress.rewind(), (Offsets::new(), 1), "nothing has come of any");
        progress.begin(&tp(0), 7);
        progress.begin(&tp(0), 8);
        progress.advance(&tp(0), 9);
        progress.stop_before(&tp(0), 8);
        assert_eq!(progress.rewind(), (Offsets::from([(tp(0), 7)]), 2), "where it began");
        assert_eq!(progress.rewind(), (Offsets::from([(tp(0), 7)]), 3), "some of it may be put by now");
        assert!(progress.put_so_far(|_| true).is_empty());
        assert!(progress.worth_committing(Offsets::from([(tp(0), 9)])).is_empty());
        let left = |progress: &Progress, generation| {
            let mut records = vec![record(0), record(1), record(2)];
            let mut ends: Offsets = records.iter().map(|record| (record.tp.clone(), 9)).collect();
            progress.leave_out_stale((&mut records, &mut ends), generation);
            assert!(ends.keys().eq(records.iter().map(|record| &record.tp)));
            records.iter().map(|record| record.tp.partition).collect::<Vec<_>>()
        };
        assert_eq!((left(&progress, 1), left(&progress, 2)), (vec![1, 2], vec![1, 2]));
        assert_eq!(left(&progress, 3), [0, 1, 2]);
        progress.advance(&tp(0), 9);
        assert_eq!(progress.put_so_far(|_| true), Offsets::from([(tp(0), 9)]), "the bad one comes again as well");
        progress.committed(&Offsets::from([(tp(0), 9)]));
        progress.begin(&tp(0), 9);
        progress.advance(&tp(0), 11);
        assert_eq!(progress.rewind(), (Offsets::from([(tp(0), 9)]), 4), "no further than what is committed");
        progress.forget(&[tp(0)]);
        progress.assign(&[Assigned { tp: tp(0), committed: None }]);
        assert_eq!(left(&progress, 3), [0, 1, 2], "another assignment");
    }

    #[test]
    fn nothing_from_a_record_on_that_waits_is_committed() {
        let mut progress = owning(Some(5));
        progress.advance(&tp(0), 9);
        let holds = [(0, 7), (0, 6), (1, 5)].map(|(partition, offset)| progress.hold(&tp(partition), offset));
        let worth = |progress: &Progress| progress.worth_committing(Offsets::from([(tp(0), 9)]));
        assert_eq!(worth(&progress), Offsets::from([(tp(0), 6)]));
        progress.release(holds[1]);
        assert_eq!(worth(&progress), Offsets::from([(tp(0), 7)]));
        assert_eq!((progress.held(holds[0]), progress.held(holds[1])), (Some((tp(0), 7)), None));
        progress.release(holds[0]);
        assert_eq!(worth(&progress), Offsets::from([(tp(0), 9)]), "another partition waits for itself");
    }

    #[test]
    fn nothing_from_a_record_on_that_fails_the_task_is_committed() {
        let mut progress = owning(Some(5));
        progress.advance(&tp(0), 9);
        progress.stop_before(&tp(0), 8);
        progress.stop_before(&tp(0), 6);
        progress.stop_before(&tp(0), 7);
        assert_eq!(progress.put_so_far(|_| true), Offsets::from([(tp(0), 6)]));
        assert_eq!(progress.worth_committing(Offsets::from([(tp(0), 9)])), Offsets::from([(tp(0), 6)]));
        progress.stop_before(&tp(0), 5);
        assert!(progress.worth_committing(Offsets::from([(tp(0), 9)])).is_empty(), "committed already");
    }
}
