//! Transactions against a model: whatever the order of events and wherever the broker dies, a reader of committed
//! records sees what was committed, once and in order, and nothing else.

use std::collections::BTreeMap;

use tempfile::TempDir;

use super::*;
use crate::BrokerConfig;
use crate::storage::batch::{self, HEADER, sample::Sample};
use crate::storage::catalogue::Committed;
use crate::storage::log::Isolation;

const LARGE: usize = 1 << 20;
const TRANSACTIONAL: i16 = 0x10;
const PARTITIONS: i32 = 3;

struct Stage {
    folder: TempDir,
    node: Option<Node>,
    fsync: bool,
}

impl Stage {
    fn new(fsync: bool) -> Stage {
        let mut stage = Stage { folder: TempDir::new().unwrap(), node: None, fsync };
        stage.reopen();
        stage.node().create_topic("t", PARTITIONS, BTreeMap::new()).unwrap();
        stage
    }

    fn node(&mut self) -> &mut Node {
        self.node.as_mut().unwrap()
    }

    /// As after kill -9: nothing is shut down, and the files are read again.
    fn reopen(&mut self) {
        self.node = None;
        let config = BrokerConfig { fsync: self.fsync, ..BrokerConfig::new(self.folder.path()) };
        self.node = Some(Node::open(&config).unwrap());
    }

    fn sync(&mut self) {
        let synced = self.node().unsynced().sync();
        self.node().synced(synced).unwrap();
    }

    /// The server's steps, up to the one where the broker dies.
    fn end_all(&mut self, steps: u32) {
        let decided = self.node().ending();
        self.sync();
        if steps == 0 {
            return;
        }
        let marked = self.node().write_markers(decided);
        if steps == 1 {
            return;
        }
        self.sync();
        if steps == 2 {
            return;
        }
        self.node().finish(marked);
    }

    fn start(&mut self, id: &str) -> Identity {
        loop {
            if let Some(owner) = self.node().start_transactions(id, 60_000, None).unwrap() {
                return owner;
            }
            self.end_all(3);
        }
    }

    fn produce(&mut self, id: &str, who: Identity, partition: i32, sequence: i32) -> Result<i64, Refused> {
        let sample = Sample {
            producer_id: who.producer_id,
            epoch: who.epoch,
            sequence,
            attributes: TRANSACTIONAL,
            ..Sample::default()
        };
        let bytes = sample.bytes();
        let header = batch::check_produced(&bytes, LARGE)?;
        let node = self.node();
        node.check_part(Some(id), &header, "t", partition)?;
        node.log_mut("t", partition).unwrap().append(&bytes, header).map(|receipt| receipt.base_offset)
    }

    /// The offsets a client shows to somebody who reads committed records.
    fn committed(&mut self, partition: i32) -> Vec<i64> {
        self.sync();
        let log = self.node().log("t", partition).unwrap();
        let (mut offset, mut seen) = (log.start(), Vec::new());
        loop {
            // As small as possible, so that the list of aborted transactions is asked for at every place.
            let (bytes, next) = log.read(offset, 1, Isolation::ReadCommitted).unwrap();
            if bytes.is_empty() {
                assert_eq!(offset, log.stable_end());
                return seen;
            }
            let header = Header::parse(&bytes).unwrap();
            let aborted = log.aborted(offset, next);
            let is_aborted = aborted
                .iter()
                .any(|aborted| aborted.producer_id == header.producer_id && aborted.first_offset <= header.base_offset);
            let is_marker = bytes.len() == HEADER + 17 && header.base_sequence < 0;
            if !is_marker && !is_aborted {
                seen.push(header.base_offset);
            }
            offset = next;
        }
    }
}

fn partition(index: i32) -> (String, i32) {
    ("t".to_owned(), index)
}

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

#[test]
fn markers_wait_for_the_decision_and_the_end_for_the_markers() {
    let mut stage = Stage::new(true);
    let who = stage.start("a");
    stage.node().add_partitions("a", who, vec![partition(0)]).unwrap();
    stage.produce("a", who, 0, 0).unwrap();
    stage.sync();
    stage.node().end_transaction("a", who, Outcome::Committed).unwrap();
    assert!(stage.node().must_sync_journal());
    let decided = stage.node().ending();
    stage.sync();
    let marked = stage.node().write_markers(decided);
    // The markers are not on the disk yet, so it has not ended.
    stage.node().finish(marked);
    assert!(stage.node().is_ending("a"));
    stage.end_all(3);
    assert!(!stage.node().is_ending("a"));
    assert_eq!(stage.committed(0), [0]);
}

#[test]
fn a_marker_that_the_disk_refuses_is_written_again_before_the_transaction_ends() {
    let mut stage = Stage::new(true);
    let who = stage.start("a");
    stage.node().add_partitions("a", who, vec![partition(0), partition(1)]).unwrap();
    stage.produce("a", who, 0, 0).unwrap();
    stage.produce("a", who, 1, 0).unwrap();
    stage.sync();
    stage.node().end_transaction("a", who, Outcome::Committed).unwrap();
    let decided = stage.node().ending();
    stage.sync();
    let marked = stage.node().write_markers(decided);
    // As after an fsync that failed for one of the two logs.
    stage.node().log_mut("t", 1).unwrap().take_back().unwrap();
    stage.sync();
    stage.node().finish(marked);
    assert!(stage.node().is_ending("a"));
    assert_eq!((stage.committed(0), stage.committed(1)), (vec![0], vec![]));
    stage.end_all(3);
    assert!(!stage.node().is_ending("a"));
    assert_eq!((stage.committed(0), stage.committed(1)), (vec![0], vec![0]));
    // One marker in each, not two.
    let ends = [0, 1].map(|index| stage.node().log("t", index).unwrap().visible_end());
    assert_eq!(ends, [2, 2]);
}

#[test]
fn a_late_record_of_an_ended_transaction_is_refused() {
    let mut stage = Stage::new(false);
    let who = stage.start("a");
    stage.node().add_partitions("a", who, vec![partition(0)]).unwrap();
    stage.produce("a", who, 0, 0).unwrap();
    stage.node().end_transaction("a", who, Outcome::Aborted).unwrap();
    let code = |stage: &mut Stage, index| stage.produce("a", who, index, 1).unwrap_err().code;
    assert_eq!(code(&mut stage, 0), ResponseError::InvalidTxnState);
    stage.end_all(3);
    assert_eq!(code(&mut stage, 0), ResponseError::InvalidTxnState);
    stage.node().add_partitions("a", who, vec![partition(0)]).unwrap();
    assert_eq!(code(&mut stage, 1), ResponseError::InvalidTxnState);
    stage.produce("a", who, 0, 1).unwrap();
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted_and_its_producer_fenced() {
    let mut stage = Stage::new(false);
    let who = stage.start("a");
    stage.node().add_partitions("a", who, vec![partition(0)]).unwrap();
    stage.produce("a", who, 0, 0).unwrap();
    // The time counts through a restart.
    stage.reopen();
    let begun = now_ms();
    stage.node().abort_overdue(begun + 59_000);
    assert!(!stage.node().is_ending("a"));
    stage.node().abort_overdue(begun + 60_000);
    stage.end_all(3);
    let node = stage.node();
    assert_eq!(node.end_transaction("a", who, Outcome::Committed), Err(ResponseError::ProducerFenced));
    assert_eq!(node.log("t", 0).unwrap().stable_end(), 2);
    assert_eq!(stage.committed(0), [0_i64; 0]);
}

#[test]
fn who_asked_for_a_new_epoch_and_then_took_too_long_is_fenced_under_both() {
    let mut stage = Stage::new(false);
    let first = stage.start("a");
    let second = stage.node().start_transactions("a", 60_000, Some(first)).unwrap().unwrap();
    assert_eq!(second.epoch, first.epoch + 1);
    stage.node().add_partitions("a", second, vec![partition(0)]).unwrap();
    stage.node().abort_overdue(now_ms() + 60_000);
    stage.end_all(3);
    for who in [first, second] {
        let refused = stage.node().start_transactions("a", 60_000, Some(who)).unwrap_err();
        assert_eq!(refused.code, ResponseError::ProducerFenced);
    }
}

#[test]
fn after_the_last_epoch_comes_a_new_producer_id_and_the_old_one_is_fenced() {
    let mut stage = Stage::new(false);
    let first = stage.start("a");
    let mut last = first;
    while last.epoch < i16::MAX - 1 {
        assert_eq!(last.producer_id, first.producer_id);
        last = stage.start("a");
    }
    stage.node().add_partitions("a", last, vec![partition(0)]).unwrap();
    stage.produce("a", last, 0, 0).unwrap();
    let next = stage.start("a");
    assert!(next.producer_id > first.producer_id);
    assert_eq!(next.epoch, 0);
    assert!(stage.produce("a", last, 0, 1).is_err());
    assert!(stage.node().add_partitions("a", last, vec![partition(0)]).is_err());
    stage.node().add_partitions("a", next, vec![partition(0)]).unwrap();
    stage.produce("a", next, 0, 0).unwrap();
    stage.node().end_transaction("a", next, Outcome::Committed).unwrap();
    stage.end_all(3);
    assert_eq!(stage.committed(0), [2]);
}

#[test]
fn transactional_ids_are_limited_in_number_and_forgotten_when_unused_but_not_while_open() {
    let mut stage = Stage::new(false);
    stage.node().config.max_transactional_ids = 2;
    let open = stage.start("open");
    stage.node().add_partitions("open", open, vec![partition(0)]).unwrap();
    stage.start("idle");
    let refused = stage.node().start_transactions("third", 1_000, None).unwrap_err();
    assert_eq!(refused.code, ResponseError::PolicyViolation);
    assert!(refused.why.contains("2 transactional ids"), "{}", refused.why);
    // One that is known is never refused.
    stage.start("idle");
    let week = 7 * 24 * 60 * 60 * 1_000;
    stage.node().forget_unused_ids(now_ms() + week - 60_000);
    assert!(stage.node().start_transactions("third", 1_000, None).is_err());
    stage.node().forget_unused_ids(now_ms() + week);
    stage.start("third");
    stage.node().end_transaction("open", open, Outcome::Committed).unwrap();
}

#[test]
fn what_only_the_log_knows_is_aborted_as_a_whole_at_the_next_start() {
    let mut stage = Stage::new(false);
    let who = stage.start("a");
    stage.node().add_partitions("a", who, vec![partition(0), partition(1)]).unwrap();
    stage.produce("a", who, 0, 0).unwrap();
    stage.produce("a", who, 1, 0).unwrap();
    // A power cut takes the last line of the journal, which has no fsync.
    let other = stage.start("b");
    stage.node().add_partitions("b", other, vec![partition(0)]).unwrap();
    stage.produce("b", other, 0, 0).unwrap();
    stage.node = None;
    let journal = stage.folder.path().join("journal");
    let whole = std::fs::read_to_string(&journal).unwrap();
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    std::fs::write(&journal, lines[..lines.len() - 1].concat()).unwrap();
    stage.reopen();
    assert_eq!(stage.node().end_transaction("b", other, Outcome::Committed), Err(ResponseError::InvalidTxnState));
    stage.node().end_transaction("a", who, Outcome::Committed).unwrap();
    stage.end_all(3);
    assert_eq!(stage.committed(0), [0]);
    assert_eq!(stage.committed(1), [0]);
    assert_eq!(stage.node().log("t", 0).unwrap().visible_end(), 4);
}

#[test]
fn a_deleted_topic_does_not_hold_its_transaction_up() {
    let mut stage = Stage::new(false);
    stage.node().create_topic("u", 1, BTreeMap::new()).unwrap();
    let who = stage.start("a");
    stage.node().add_partitions("a", who, vec![partition(0), ("u".into(), 0)]).unwrap();
    stage.produce("a", who, 0, 0).unwrap();
    stage.node().delete_topic("u").unwrap();
    stage.node().create_topic("u", 1, BTreeMap::new()).unwrap();
    stage.node().end_transaction("a", who, Outcome::Committed).unwrap();
    stage.end_all(3);
    assert!(!stage.node().is_ending("a"));
    assert_eq!(stage.committed(0), [0]);
    assert_eq!(stage.node().log("u", 0).unwrap().visible_end(), 0);
}
