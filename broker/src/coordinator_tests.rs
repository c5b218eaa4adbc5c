//! Transactions step by step: what each may do, what a crash or a failing disk between two steps leaves, what is limited.
//! Random sequences of the same are in `stories`.

#[path = "coordinator_stories.rs"]
mod stories;

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
