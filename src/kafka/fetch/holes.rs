//! What compaction, transactions and a broker that is not in its right mind leave in an answer, made by hand.

use bytes::BufMut;
use proptest::prelude::*;

use super::records::Unusual;
use super::*;

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn varint(out: &mut Vec<u8>, number: i64) {
    let mut raw = (number << 1 ^ number >> 63).cast_unsigned();
    while raw >= 0x80 {
        out.put_u8(raw.to_le_bytes()[0] | 0x80);
        raw >>= 7;
    }
    out.put_u8(raw.to_le_bytes()[0]);
}

/// A batch from one offset to another, in which only some offsets are left; its head tells of so many records.
fn counted(from: i64, last: i64, left: &[i64], attributes: i16, count: i32) -> Vec<u8> {
    let mut checked = Vec::new();
    checked.put_i16(attributes);
    checked.put_i32(i32::try_from(last - from).unwrap());
    checked.put_i64(1_000);
    checked.put_i64(1_000);
    checked.put_bytes(0xff, 8 + 2 + 4);
    checked.put_i32(count);
    for offset in left {
        let mut record = vec![0];
        varint(&mut record, 0);
        varint(&mut record, offset - from);
        varint(&mut record, -1);
        varint(&mut record, 1);
        record.put_slice(b"v");
        varint(&mut record, 0);
        varint(&mut checked, i64::try_from(record.len()).unwrap());
        checked.extend(record);
    }
    let mut batch = Vec::new();
    batch.put_i64(from);
    batch.put_i32(i32::try_from(checked.len() + 9).unwrap());
    batch.put_i32(7);
    batch.put_i8(2);
    batch.put_u32(crc32c::crc32c(&checked));
    batch.extend(checked);
    batch
}

fn batch(from: i64, last: i64, left: &[i64]) -> Vec<u8> {
    counted(from, last, left, 0, i32::try_from(left.len()).unwrap())
}

/// The end of a transaction.
fn marker(offset: i64) -> Vec<u8> {
    counted(offset, offset, &[offset], 1 << 5, 1)
}

fn part(partition: i32, records: &[Vec<u8>]) -> Part {
    Part { tp: tp(partition), error: 0, high: 100, records: records.concat().into() }
}

/// Has asked for partition 0 from this offset on.
fn asking(ask: i64) -> Fetcher {
    let mut fetcher = Fetcher::new(&ClientProperties::new()).unwrap();
    let (high, epoch, busy, since) = (-1, -1, Instant::now(), 0);
    let lane =
        Lane { tp: tp(0), leader: Address::default(), run: None, ask, told: ask, high, epoch, busy, since, ends: None };
    fetcher.lanes.push(lane);
    fetcher
}

fn answered(fetcher: &mut Fetcher, parts: Vec<Part>) {
    let ask = fetcher.lanes[0].ask;
    let answer = Answer { throttle_ms: 0, error: 0, parts };
    take(&mut fetcher.lanes, &Address::default(), vec![(tp(0), ask)], answer, true);
}

/// The offsets that are handed out, so many at a time.
fn offsets(fetcher: &mut Fetcher, limit: usize) -> Vec<i64> {
    let mut offsets = Vec::new();
    while fetcher.lanes.iter().any(|lane| lane.run.is_some()) {
        offsets.extend(fetcher.read(limit, 10_000, Duration::ZERO).iter().map(|record| record.offset));
    }
    offsets
}

/// Why it goes back, and where it is then.
fn trouble(fetcher: &mut Fetcher) -> (Option<String>, i64) {
    offsets(fetcher, 100);
    let returned = fetcher.returned().pop().expect("it goes back");
    (returned.trouble, returned.next)
}

#[test]
fn offsets_that_compaction_has_taken_are_passed_wherever_they_were() {
    let answer = [
        batch(0, 9, &[2, 5]),
        batch(10, 19, &[]),
        batch(20, 29, &[21, 23]),
        marker(30),
        batch(40, 49, &[40, 49]),
        batch(50, 59, &[]),
        marker(60),
    ];
    for (ask, wanted) in [(0, &[2, 5, 21, 23, 40, 49][..]), (5, &[5, 21, 23, 40, 49]), (6, &[21, 23, 40, 49])] {
        for limit in 1..8 {
            let mut fetcher = asking(ask);
            answered(&mut fetcher, vec![part(0, &answer)]);
            assert_eq!(offsets(&mut fetcher, limit), wanted, "from {ask} on, {limit} at a time");
            assert_eq!((fetcher.lanes[0].next(), fetcher.lag(), fetcher.returned()), (61, Some(39), Vec::new()));
            assert_eq!((fetcher.ends(), fetcher.ends()), (Offsets::from([(tp(0), 61)]), Offsets::new()), "once");
        }
    }
    for nothing in [vec![batch(10, 19, &[])], vec![marker(10), marker(11)], vec![batch(5, 14, &[5, 9])]] {
        let mut fetcher = asking(10);
        answered(&mut fetcher, vec![part(0, &nothing)]);
        assert_eq!(offsets(&mut fetcher, 3), Vec::<i64>::new());
        assert!(fetcher.lanes[0].next() > 10, "it would be asked for again and again");
        assert_eq!((fetcher.returned(), fetcher.ends().len()), (Vec::new(), 1));
    }
    let mut fetcher = asking(0);
    answered(&mut fetcher, vec![part(0, &[batch(0, 9, &[2, 9])])]);
    assert_eq!((offsets(&mut fetcher, 3), fetcher.ends()), (vec![2, 9], Offsets::new()), "the last record is the end");
}

#[test]
fn an_answer_that_leads_nowhere_is_trouble() {
    let whole = batch(0, 9, &[2, 5]);
    for records in [vec![whole.clone()], vec![whole[..40].to_vec()], vec![vec![0; 5]]] {
        let mut fetcher = asking(10);
        answered(&mut fetcher, vec![part(0, &records)]);
        let (trouble, next) = trouble(&mut fetcher);
        assert_eq!((trouble.as_deref(), next), (Some("an answer without the offset that was asked for"), 10));
    }
    let mut fetcher = asking(10);
    answered(&mut fetcher, vec![part(0, &[])]);
    assert_eq!(fetcher.returned(), [], "there is nothing new");
}

/// An epoch counts within one log: what a new one under the same name tells of it is about other records.
#[test]
fn who_finds_another_log_leaves_the_epoch_behind() {
    for (error, epoch) in [(6, 7), (1, -1), (3, -1)] {
        let mut fetcher = asking(0);
        answered(&mut fetcher, vec![part(0, &[batch(0, 9, &[2, 9])])]);
        assert_eq!(offsets(&mut fetcher, 3), [2, 9]);
        answered(&mut fetcher, vec![Part { error, ..part(0, &[]) }]);
        let returned = fetcher.returned().pop().expect("it goes back");
        assert_eq!((returned.next, returned.epoch), (10, epoch), "error {error}");
    }
}

#[test]
fn batches_that_cannot_be_are_trouble() {
    let cases: [(Vec<u8>, Unusual, i64); 4] = [
        (counted(10, 19, &[11, 12], 0, 1), "a batch with more in it than its records", 12),
        (counted(10, 19, &[11, 12], 0, 3), "a record that does not fit its batch", 13),
        (counted(10, 19, &[11, 12], 0, -1), "a batch whose head cannot be", 10),
        (batch(i64::MAX - 1, i64::MAX, &[i64::MAX]), "a batch whose head cannot be", 10),
    ];
    for (batch, reason, next) in cases {
        let mut fetcher = asking(10);
        answered(&mut fetcher, vec![part(0, &[batch])]);
        assert_eq!(trouble(&mut fetcher), (Some(reason.to_owned()), next));
    }
}

#[test]
fn what_was_not_asked_for_is_left_out() {
    let mut fetcher = asking(0);
    let (first, again) = (part(0, &[batch(0, 1, &[0, 1])]), part(0, &[batch(2, 3, &[2, 3])]));
    answered(&mut fetcher, vec![part(7, &[batch(0, 1, &[0])]), first, again, part(-1, &[])]);
    assert_eq!((offsets(&mut fetcher, 9), fetcher.lanes[0].next()), (vec![0, 1], 2));
    answered(&mut fetcher, vec![part(7, &[])]);
    assert_eq!(trouble(&mut fetcher), (Some("the broker does not answer for it".to_owned()), 2));
}

/// An answer to [`wire::ask_records`] as a broker writes it; each number may be another than what follows.
fn written(topics: i32, partitions: i32, aborted: i32, len: i32, records: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_i32(1);
    out.put_i32(0);
    out.put_i16(0);
    out.put_i32(0);
    out.put_i32(topics);
    out.put_i16(1);
    out.put_slice(b"t");
    out.put_i32(partitions);
    out.put_i32(0);
    out.put_i16(0);
    out.put_i64(100);
    out.put_bytes(0, 8 + 8);
    out.put_i32(aborted);
    out.put_i32(-1);
    out.put_i32(len);
    out.put_slice(records);
    out
}

#[test]
fn numbers_of_an_answer_that_cannot_be_are_no_answer_and_no_harm() {
    let records = batch(0, 1, &[0, 1]);
    let len = i32::try_from(records.len()).unwrap();
    let parts = |numbers: [i32; 4]| {
        let bytes = written(numbers[0], numbers[1], numbers[2], numbers[3], &records);
        wire::answer(&bytes.into()).map(|answer| answer.parts)
    };
    assert_eq!(parts([1, 1, 0, len]), Some(vec![part(0, std::slice::from_ref(&records))]));
    assert_eq!(parts([1, 1, -1, -1]), Some(vec![part(0, &[])]), "null is nothing");
    for most in [i32::MAX, i32::MAX - 12, len + 1] {
        for wrong in [[most, 1, 0, len], [1, most, 0, len], [1, 1, most, len], [1, 1, 0, most]] {
            assert_eq!(parts(wrong), None, "{wrong:?}");
        }
    }
    for negative in [[-1, 1, 0, len], [1, i32::MIN, 0, len]] {
        assert_eq!(parts(negative), Some(Vec::new()), "nothing of any partition is trouble for each");
    }
}

#[test]
fn whatever_a_broker_sends_is_read_to_an_end() {
    let whole = written(1, 1, 0, 300, &[batch(0, 9, &[2, 5]), batch(10, 19, &[]), marker(20)].concat());
    let damage = prop::collection::vec((0..whole.len(), any::<u8>()), 1..5);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(4_000));
    runner
        .run(&(damage, 0..=whole.len()), |(damage, len)| {
            let mut bytes = whole.clone();
            for (at, byte) in damage {
                bytes[at] = byte;
            }
            bytes.truncate(len);
            let Some(answer) = wire::answer(&bytes.into()) else { return Ok(()) };
            let mut fetcher = asking(0);
            take(&mut fetcher.lanes, &Address::default(), vec![(tp(0), 0)], answer, false);
            prop_assert!(offsets(&mut fetcher, 2).is_sorted_by(|a, b| a < b));
            let lane = &fetcher.lanes[0];
            prop_assert!(lane.next() >= 0 && (lane.run.is_none()));
            Ok(())
        })
        .unwrap();
}
