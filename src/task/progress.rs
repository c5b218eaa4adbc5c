//! How far a sink task is with each of its partitions, and what is worth committing. Pure.

use std::collections::BTreeMap;

use pipette_api::{Assigned, Offsets, TopicPartition};

/// Partitions owned, with the next offset to read and the one committed last.
#[derive(Debug, Default)]
pub struct Progress {
    owned: BTreeMap<TopicPartition, Reach>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Reach {
    next: Option<i64>,
    committed: Option<i64>,
}

impl Progress {
    /// Partitions were given to the task.
    pub fn assign(&mut self, assigned: &[Assigned]) {
        for partition in assigned {
            let committed = partition.committed.as_ref().map(|(offset, _)| *offset);
            self.owned.insert(partition.tp.clone(), Reach { next: None, committed });
        }
    }

    /// Everything below `next` was put, filtered or tolerated.
    pub fn advance(&mut self, tp: &TopicPartition, next: i64) {
        if let Some(reach) = self.owned.get_mut(tp) {
            reach.next = Some(next);
        }
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
        let next = |(tp, reach): (&TopicPartition, &Reach)| Some((tp.clone(), reach.next?));
        self.owned.iter().filter(|(tp, _)| chosen(tp)).filter_map(next).collect()
    }

    /// What of `safe` is worth committing: owned, not more than was put, not what is committed already.
    pub fn worth_committing(&self, safe: Offsets) -> Offsets {
        safe.into_iter()
            .filter(|(tp, offset)| {
                self.owned.get(tp).is_some_and(|reach| {
                    reach.next.is_some_and(|next| *offset <= next) && reach.committed != Some(*offset)
                })
            })
            .collect()
    }

    /// The group has these offsets now.
    pub fn committed(&mut self, offsets: &Offsets) {
        for (tp, offset) in offsets {
            if let Some(reach) = self.owned.get_mut(tp) {
                reach.committed = Some(*offset);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tp(partition: i32) -> TopicPartition {
        TopicPartition::new("t", partition)
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
}
