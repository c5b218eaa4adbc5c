//! The log's tests: what is appended is read back, whatever a crash leaves of the file.

use std::fs;

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::batch::sample::Sample;
use super::*;

const LARGE: usize = 1 << 20;

struct Fixture {
    folder: TempDir,
    log: Log,
}

impl Fixture {
    fn new(fsync: bool) -> Fixture {
        let folder = TempDir::new().unwrap();
        let log = Log::open(&folder.path().join("0.log"), 0, fsync).unwrap();
        Fixture { folder, log }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("0.log")
    }

    fn reopen(&mut self) {
        self.log = Log::open(&self.path(), 0, false).unwrap();
    }

    fn append(&mut self, sample: Sample) -> i64 {
        store(&mut self.log, sample).unwrap().base_offset
    }
}

fn store(log: &mut Log, sample: Sample) -> Result<Receipt, Refused> {
    let bytes = sample.bytes();
    let header = batch::check_produced(&bytes, LARGE)?;
    log.append(&bytes, header)
}

fn sized(count: i32, size: usize) -> Sample {
    Sample { count, size, ..Sample::default() }
}

/// Reads from `offset` to the end, a few bytes at a time, and returns the base offsets of the batches.
fn offsets(log: &Log, mut offset: i64, max_bytes: usize) -> Vec<i64> {
    let mut found = Vec::new();
    loop {
        let (bytes, end) = log.read(offset, max_bytes, Isolation::ReadUncommitted).unwrap();
        if bytes.is_empty() {
            return found;
        }
        let mut from = 0;
        while from < bytes.len() {
            let header = Header::parse(&bytes[from..]).unwrap();
            found.push(header.base_offset);
            offset = header.next_offset();
            from += header.length;
        }
        assert_eq!(offset, end);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn every_offset_reads_to_the_end_without_a_gap(
        sizes in prop::collection::vec((1..5_i32, prop_oneof![Just(1_usize), Just(500), Just(40_000)]), 1..30),
        max_bytes in prop_oneof![Just(1_usize), Just(3_000), Just(1_000_000)],
        reopen in any::<bool>(),
    ) {
        let mut fixture = Fixture::new(false);
        let bases: Vec<i64> = sizes.iter().map(|(count, size)| fixture.append(sized(*count, *size))).collect();
        if reopen {
            fixture.reopen();
        }
        let end = fixture.log.visible_end();
        prop_assert_eq!(end, sizes.iter().map(|(count, _)| i64::from(*count)).sum::<i64>());
        for offset in 0..end {
            let first = bases.partition_point(|base| *base <= offset) - 1;
            prop_assert_eq!(offsets(&fixture.log, offset, max_bytes), &bases[first..]);
        }
    }
}

#[test]
fn a_tail_torn_at_any_byte_costs_only_the_torn_batch() {
    let mut fixture = Fixture::new(false);
    let first = sized(2, 20).bytes().len();
    fixture.append(sized(2, 20));
    fixture.append(sized(1, 30));
    let whole = fs::read(fixture.path()).unwrap();
    for length in 0..=whole.len() {
        fs::write(fixture.path(), &whole[..length]).unwrap();
        fixture.reopen();
        let expected = if length == whole.len() {
            3
        } else if length >= first {
            2
        } else {
            0
        };
        assert_eq!(fixture.log.visible_end(), expected, "cut at byte {length}");
        assert_eq!(fixture.append(sized(1, 5)), expected, "cut at byte {length}");
    }
}

#[test]
fn a_damaged_batch_is_cut_off_and_kept_beside_the_log() {
    let mut fixture = Fixture::new(false);
    fixture.append(sized(1, 10));
    let intact = fs::metadata(fixture.path()).unwrap().len();
    fixture.append(sized(1, 10));
    let mut bytes = fs::read(fixture.path()).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(fixture.path(), &bytes).unwrap();
    fixture.reopen();
    assert_eq!(fixture.log.visible_end(), 1);
    let kept = fixture.folder.path().join(format!("0.log.cut-at-{intact}"));
    assert_eq!(fs::read(kept).unwrap(), bytes[usize::try_from(intact).unwrap()..]);
}

#[test]
fn a_header_that_claims_gigabytes_is_a_torn_tail() {
    let mut fixture = Fixture::new(false);
    fixture.append(sized(1, 10));
    let mut bytes = fs::read(fixture.path()).unwrap();
    let mut lie = sized(1, 10).bytes();
    lie[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    bytes.extend_from_slice(&lie);
    fs::write(fixture.path(), &bytes).unwrap();
    fixture.reopen();
    assert_eq!(fixture.log.visible_end(), 1);
}

#[test]
fn a_batch_sent_again_is_stored_once_even_after_a_restart() {
    let mut fixture = Fixture::new(false);
    let sent = Sample { count: 2, producer_id: 7, epoch: 0, sequence: 0, ..Sample::default() };
    assert_eq!(fixture.append(sent), 0);
    assert_eq!(fixture.append(sent), 0);
    fixture.reopen();
    assert_eq!(fixture.append(sent), 0);
    assert_eq!(fixture.append(Sample { sequence: 2, ..sent }), 2);
    assert_eq!((fixture.log.visible_end(), fixture.log.highest_producer_id()), (4, Some(7)));
}

#[test]
fn with_fsync_a_record_is_shown_once_it_is_durable() {
    let mut fixture = Fixture::new(true);
    let receipt = store(&mut fixture.log, sized(1, 10)).unwrap();
    assert_eq!((fixture.log.visible_end(), fixture.log.is_durable(&receipt)), (0, false));
    assert!(offsets(&fixture.log, 0, LARGE).is_empty());
    let (_, mark) = fixture.log.unsynced().unwrap();
    fixture.log.synced(mark);
    assert_eq!((fixture.log.visible_end(), fixture.log.is_durable(&receipt)), (1, true));
    assert!(fixture.log.unsynced().is_none());
}

#[test]
fn a_failed_fsync_takes_back_what_nobody_was_promised() {
    let mut fixture = Fixture::new(true);
    let sent = Sample { producer_id: 7, epoch: 0, sequence: 0, ..Sample::default() };
    let lost = store(&mut fixture.log, sent).unwrap();
    fixture.log.take_back().unwrap();
    assert!(!fixture.log.is_durable(&lost));
    // The producer's second attempt is a new batch, not a repeated one, and takes the same offset.
    let again = store(&mut fixture.log, sent).unwrap();
    assert_eq!(again.base_offset, 0);
    let (_, mark) = fixture.log.unsynced().unwrap();
    fixture.log.synced(mark);
    assert_eq!((fixture.log.is_durable(&again), fixture.log.is_durable(&lost)), (true, false));
}

#[test]
fn times_are_found_across_index_blocks_and_never_below_the_start() {
    let mut fixture = Fixture::new(false);
    for i in 0..50 {
        fixture.append(Sample { count: 10, size: 1_000, timestamp: i * 100, ..Sample::default() });
    }
    let find = |log: &Log, timestamp| log.find_time(timestamp).unwrap();
    assert_eq!(find(&fixture.log, 0), Some((0, 0)));
    assert_eq!(find(&fixture.log, 1_205), Some((125, 1_205)));
    assert_eq!(find(&fixture.log, 1_215), Some((130, 1_300)));
    assert_eq!(find(&fixture.log, 4_910), None);
    assert_eq!(fixture.log.max_timestamp(), Some(4_909));
    fixture.log.delete_before(200);
    assert_eq!(find(&fixture.log, 0), Some((200, 2_000)));
}

#[test]
fn an_append_the_disk_refuses_changes_nothing_and_the_next_one_works() {
    let mut fixture = Fixture::new(false);
    fixture.append(sized(1, 10));
    let read_only = Arc::new(File::open(fixture.path()).unwrap());
    let writable = std::mem::replace(&mut fixture.log.file, read_only);
    let sent = Sample { producer_id: 7, epoch: 0, sequence: 0, ..Sample::default() };
    let refused = store(&mut fixture.log, sent).unwrap_err();
    assert_eq!(refused.code, ResponseError::KafkaStorageError);
    assert_eq!(fixture.log.visible_end(), 1);
    fixture.log.file = writable;
    assert_eq!(fixture.append(sent), 1);
    fixture.reopen();
    assert_eq!(fixture.log.visible_end(), 2);
}

/// A batch of one record in the producer's transaction.
fn part(producer_id: i64, sequence: i32) -> Sample {
    Sample { producer_id, epoch: 0, sequence, attributes: batch::TRANSACTIONAL, ..Sample::default() }
}

#[test]
fn an_open_transaction_ends_what_is_stable_also_after_a_restart() {
    let mut fixture = Fixture::new(false);
    fixture.append(sized(1, 10));
    fixture.append(part(7, 0));
    fixture.append(part(8, 0));
    for _ in 0..2 {
        assert_eq!((fixture.log.stable_end(), fixture.log.visible_end()), (1, 3));
        let (bytes, end) = fixture.log.read(0, LARGE, Isolation::ReadCommitted).unwrap();
        assert_eq!((Header::parse(&bytes).unwrap().length, end), (bytes.len(), 1));
        assert!(fixture.log.read(1, LARGE, Isolation::ReadCommitted).unwrap().0.is_empty());
        fixture.reopen();
    }
    fixture.log.end_transaction(7, 0, Outcome::Aborted, 1).unwrap().unwrap();
    assert_eq!(fixture.log.end_transaction(7, 0, Outcome::Aborted, 1), Ok(None));
    for _ in 0..2 {
        assert_eq!(fixture.log.stable_end(), 2);
        assert_eq!(fixture.log.aborted(0, 2).iter().map(|aborted| aborted.first_offset).collect::<Vec<_>>(), [1]);
        assert_eq!(fixture.log.open_transactions().collect::<Vec<_>>(), [8]);
        fixture.reopen();
    }
    fixture.log.end_transaction(8, 0, Outcome::Committed, 1).unwrap().unwrap();
    assert_eq!((fixture.log.stable_end(), fixture.log.aborted(2, 5).len()), (5, 1));
    fixture.reopen();
    assert_eq!((fixture.log.stable_end(), fixture.log.aborted(2, 5).len()), (5, 1));
}

#[test]
fn a_marker_that_the_disk_lost_leaves_the_transaction_open() {
    let mut fixture = Fixture::new(true);
    store(&mut fixture.log, part(7, 0)).unwrap();
    let (_, mark) = fixture.log.unsynced().unwrap();
    fixture.log.synced(mark);
    let marker = fixture.log.end_transaction(7, 0, Outcome::Aborted, 1).unwrap().unwrap();
    fixture.log.take_back().unwrap();
    assert!(!fixture.log.is_durable(&marker));
    assert_eq!((fixture.log.stable_end(), fixture.log.visible_end()), (0, 1));
    assert!(fixture.log.end_transaction(7, 0, Outcome::Aborted, 1).unwrap().is_some());
}

#[test]
fn a_record_outside_the_open_transaction_of_its_producer_is_refused() {
    let mut fixture = Fixture::new(false);
    fixture.append(part(7, 0));
    let refused = store(&mut fixture.log, Sample { attributes: 0, ..part(7, 1) }).unwrap_err();
    assert_eq!(refused.code, ResponseError::InvalidTxnState);
}
