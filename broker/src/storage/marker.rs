//! The control batch that ends a transaction in a partition: the only batches the broker writes itself.

use bytes::BufMut;
use serde::{Deserialize, Serialize};

use super::batch::{CHECKED_FROM, CONTROL, HEADER, TRANSACTIONAL};

/// How a transaction ended, or is about to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Aborted,
    Committed,
}

/// Where in the one record of a control batch its type stands: behind the record's length, attributes, two deltas, the
/// key's length, and the key's version.
const TYPE_AT: usize = 7;
/// Types of control records in the protocol.
const ABORT: u8 = 0;
const COMMIT: u8 = 1;

/// A batch with base offset 0; stamp it before it is stored.
pub(super) fn marker(producer_id: i64, epoch: i16, outcome: Outcome, timestamp: i64) -> Vec<u8> {
    let kind = match outcome {
        Outcome::Aborted => ABORT,
        Outcome::Committed => COMMIT,
    };
    // Lengths are zigzag, so twice the number: a record of 16 bytes; no attributes, no deltas; a key of 4 bytes
    // (version 0, the type); a value of 6 bytes (version 0, coordinator epoch 0); no headers.
    let record = [32, 0, 0, 0, 8, 0, 0, 0, kind, 12, 0, 0, 0, 0, 0, 0, 0];
    let mut batch = Vec::with_capacity(HEADER + record.len());
    batch.put_i64(0);
    batch.put_i32(0);
    batch.put_i32(0);
    batch.put_i8(2);
    batch.put_u32(0);
    batch.put_i16(TRANSACTIONAL | CONTROL);
    batch.put_i32(0);
    batch.put_i64(timestamp);
    batch.put_i64(timestamp);
    batch.put_i64(producer_id);
    batch.put_i16(epoch);
    batch.put_i32(-1);
    batch.put_i32(1);
    batch.extend_from_slice(&record);
    let Ok(length) = u32::try_from(batch.len() - 12) else { unreachable!("a marker has 78 bytes") };
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let checksum = crc32c::crc32c(&batch[CHECKED_FROM..]);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
    batch
}

/// What the records of a control batch say, behind its header; None if that is no end of a transaction.
pub(super) fn outcome(records: &[u8]) -> Option<Outcome> {
    match records.get(TYPE_AT..TYPE_AT + 2)? {
        [0, ABORT] => Some(Outcome::Aborted),
        [0, COMMIT] => Some(Outcome::Committed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::Header;
    use super::*;

    #[test]
    fn a_marker_is_an_intact_control_batch_that_says_how_it_ended() {
        for end in [Outcome::Aborted, Outcome::Committed] {
            let bytes = marker(7, 3, end, 1_000);
            let header = Header::parse(&bytes).unwrap();
            assert_eq!((header.length, bytes.len()), (78, 78));
            assert_eq!((header.producer_id, header.producer_epoch, header.count), (7, 3, 1));
            assert!(header.is_control() && header.is_transactional());
            assert_eq!(header.checksum, crc32c::crc32c(&bytes[CHECKED_FROM..]));
            assert_eq!(outcome(&bytes[HEADER..]), Some(end));
        }
        assert_eq!(outcome(&[]), None);
    }
}
