//! Transactions against a model: whatever the order of events and wherever the broker dies, a reader of committed
//! records sees what was committed, once and in order, and nothing else.

use super::*;

/// A small generator: the same seed gives the same story.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A producer as it believes itself to be.
#[derive(Clone)]
struct Producer {
    id: String,
    who: Identity,
    sequences: BTreeMap<i32, i32>,
    /// Offsets by partition written in the present transaction.
    written: Vec<(i32, i64)>,
    pending: Option<i64>,
    begun: bool,
}

#[derive(Default)]
struct Model {
    /// Committed records by partition.
    committed: BTreeMap<i32, Vec<i64>>,
    /// The committed offset of each transactional id's group.
    offsets: BTreeMap<String, i64>,
}

impl Model {
    fn commit(&mut self, producer: &Producer) {
        for (partition, offset) in &producer.written {
            self.committed.entry(*partition).or_default().push(*offset);
        }
        if let Some(offset) = producer.pending {
            self.offsets.insert(producer.id.clone(), offset);
        }
    }

    /// What may be read now: whatever is committed and not behind an open transaction.
    fn visible(&self, partition: i32, open: &[&Producer]) -> Vec<i64> {
        let mut committed = self.committed.get(&partition).cloned().unwrap_or_default();
        committed.sort_unstable();
        let first = |producer: &&Producer| {
            producer.written.iter().filter(|(at, _)| *at == partition).map(|(_, offset)| *offset).min()
        };
        let stable = open.iter().filter_map(first).min().unwrap_or(i64::MAX);
        committed.into_iter().filter(|offset| *offset < stable).collect()
    }
}

struct Story {
    stage: Stage,
    model: Model,
    /// The present producers by transactional id, and those that were fenced.
    present: BTreeMap<String, Producer>,
    zombies: Vec<Producer>,
    next_offset: i64,
}

impl Story {
    fn take_id(&mut self, id: &str) {
        let who = self.stage.start(id);
        let fresh =
            Producer { id: id.into(), who, sequences: BTreeMap::new(), written: vec![], pending: None, begun: false };
        if let Some(old) = self.present.insert(id.into(), fresh) {
            self.zombies.push(old);
        }
    }

    fn write(&mut self, id: &str, index: i32) {
        let mut producer = self.present[id].clone();
        let node = self.stage.node();
        node.add_partitions(id, producer.who, vec![partition(index)]).unwrap();
        let sequence = producer.sequences.entry(index).or_default();
        let offset = self.stage.produce(id, producer.who, index, *sequence).unwrap();
        // Sent again, as after a lost answer: it is there already.
        assert_eq!(self.stage.produce(id, producer.who, index, *sequence), Ok(offset));
        *sequence += 1;
        producer.written.push((index, offset));
        producer.begun = true;
        self.present.insert(id.into(), producer);
    }

    fn hold_offset(&mut self, id: &str) {
        self.next_offset += 1;
        let at = Committed { offset: self.next_offset, metadata: String::new() };
        let mut producer = self.present[id].clone();
        let node = self.stage.node();
        node.expect_offsets(id, producer.who).unwrap();
        node.hold_offsets(id, producer.who, vec![(id.into(), "t".into(), 0, at)]).unwrap();
        assert!(node.unstable_offsets(id).contains(&partition(0)));
        producer.pending = Some(self.next_offset);
        producer.begun = true;
        self.present.insert(id.into(), producer);
    }

    fn end(&mut self, id: &str, outcome: Outcome, dies_after: Option<u32>) {
        let mut producer = self.present[id].clone();
        if !producer.begun {
            return;
        }
        self.stage.node().end_transaction(id, producer.who, outcome).unwrap();
        if outcome == Outcome::Committed {
            self.model.commit(&producer);
        }
        if let Some(steps) = dies_after {
            self.stage.end_all(steps);
            self.stage.reopen();
            // The answer was lost, so the producer asks again; the other way is no longer open.
            let other = if outcome == Outcome::Committed { Outcome::Aborted } else { Outcome::Committed };
            assert!(self.stage.node().end_transaction(id, producer.who, other).is_err());
            self.stage.node().end_transaction(id, producer.who, outcome).unwrap();
        }
        self.stage.end_all(3);
        assert!(!self.stage.node().is_ending(id));
        self.stage.node().end_transaction(id, producer.who, outcome).unwrap();
        (producer.written, producer.pending, producer.begun) = (vec![], None, false);
        self.present.insert(id.into(), producer);
    }

    /// Whoever was fenced gets nothing done.
    fn try_zombies(&mut self, index: i32) {
        for zombie in self.zombies.clone() {
            let sequence = zombie.sequences.get(&index).copied().unwrap_or(0);
            let refused = self.stage.produce(&zombie.id, zombie.who, index, sequence).unwrap_err();
            assert_eq!(refused.code, ResponseError::InvalidProducerEpoch, "{refused:?}");
            let node = self.stage.node();
            let fenced = Err(ResponseError::ProducerFenced);
            assert_eq!(node.add_partitions(&zombie.id, zombie.who, vec![partition(index)]), fenced);
            assert_eq!(node.end_transaction(&zombie.id, zombie.who, Outcome::Committed), fenced);
            assert!(node.start_transactions(&zombie.id, 60_000, Some(zombie.who)).is_err());
        }
    }

    fn check(&mut self, seed: u64) {
        let open: Vec<Producer> = self.present.values().cloned().collect();
        for index in 0..PARTITIONS {
            let expected = self.model.visible(index, &open.iter().collect::<Vec<_>>());
            assert_eq!(self.stage.committed(index), expected, "seed {seed}, partition {index}");
        }
        let offsets = &self.stage.node().catalogue.offsets;
        let found: BTreeMap<String, i64> =
            offsets.iter().map(|(group, offsets)| (group.clone(), offsets[&partition(0)].offset)).collect();
        assert_eq!(found, self.model.offsets, "seed {seed}");
    }
}

fn tell(seed: u64, fsync: bool) {
    let mut dice = Dice(seed);
    let mut story = Story {
        stage: Stage::new(fsync),
        model: Model::default(),
        present: BTreeMap::new(),
        zombies: Vec::new(),
        next_offset: 0,
    };
    for id in ["a", "b", "c"] {
        story.take_id(id);
    }
    for _ in 0..60 {
        let id = ["a", "b", "c"][usize::try_from(dice.roll(3)).unwrap()];
        let index = i32::try_from(dice.roll(3)).unwrap();
        match dice.roll(24) {
            0..=10 => story.write(id, index),
            11 | 12 => story.hold_offset(id),
            13..=15 => story.end(id, Outcome::Committed, None),
            16 | 17 => story.end(id, Outcome::Aborted, None),
            18 => {
                let outcome = if dice.roll(2) == 0 { Outcome::Committed } else { Outcome::Aborted };
                let steps = u32::try_from(dice.roll(4)).unwrap();
                story.end(id, outcome, Some(steps));
            }
            19 | 20 => story.take_id(id),
            21 => story.stage.reopen(),
            _ => story.try_zombies(index),
        }
        story.check(seed);
    }
    for id in ["a", "b", "c"] {
        story.end(id, Outcome::Committed, None);
    }
    story.stage.reopen();
    story.check(seed);
}

#[test]
fn in_a_hundred_stories_what_was_committed_is_read_once_and_in_order_and_nothing_else() {
    // Side by side, because most of the time goes into waiting for the disk.
    std::thread::scope(|scope| {
        for first in 0..10 {
            scope.spawn(move || (0..10).for_each(|tenth| tell(first + 10 * tenth, false)));
        }
    });
}

#[test]
fn it_is_so_with_fsync_too() {
    std::thread::scope(|scope| {
        for seed in 100..110 {
            scope.spawn(move || tell(seed, true));
        }
    });
}
