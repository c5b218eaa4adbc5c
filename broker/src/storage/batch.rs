//! The header of a record batch (message format v2), read in place.
//!
//! The broker never looks at records: it stores the client's batch as it came and only fills in the base offset and
//! the leader epoch, which lie outside the checksum. The one exception is a look-up by time in an uncompressed batch.
//! The batches it writes itself, which end transactions, are in `marker`.

use bytes::Buf;
use kafka_protocol::ResponseError;

use super::Refused;

/// Bytes before the first record.
pub(crate) const HEADER: usize = 61;
/// Base offset and length: what the length field does not count.
const UNCOUNTED: usize = 12;
/// The checksum covers everything from here on.
pub(super) const CHECKED_FROM: usize = 21;

const COMPRESSION: i16 = 0x07;
pub(super) const TRANSACTIONAL: i16 = 0x10;
pub(super) const CONTROL: i16 = 0x20;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Header {
    pub base_offset: i64,
    /// The whole batch, header included.
    pub length: usize,
    pub magic: i8,
    pub checksum: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub count: i32,
}

impl Header {
    /// None if there are too few bytes for a header, or its length cannot be one.
    pub(crate) fn parse(mut bytes: &[u8]) -> Option<Header> {
        if bytes.len() < HEADER {
            return None;
        }
        let base_offset = bytes.get_i64();
        let length = usize::try_from(bytes.get_i32()).ok()? + UNCOUNTED;
        let _leader_epoch = bytes.get_i32();
        let header = Header {
            base_offset,
            length,
            magic: bytes.get_i8(),
            checksum: bytes.get_u32(),
            attributes: bytes.get_i16(),
            last_offset_delta: bytes.get_i32(),
            base_timestamp: bytes.get_i64(),
            max_timestamp: bytes.get_i64(),
            producer_id: bytes.get_i64(),
            producer_epoch: bytes.get_i16(),
            base_sequence: bytes.get_i32(),
            count: bytes.get_i32(),
        };
        (length >= HEADER && header.last_offset_delta >= 0).then_some(header)
    }

    pub(crate) fn next_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta) + 1
    }

    /// The sequence number of the last record; sequence numbers start again at 0 after `i32::MAX`.
    pub(crate) fn last_sequence(&self) -> i32 {
        self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX
    }

    pub(crate) fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    pub(super) fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    fn is_compressed(&self) -> bool {
        self.attributes & COMPRESSION != 0
    }
}

/// Checks what a producer sent for one partition: exactly one whole, intact batch of plain records.
pub(crate) fn check_produced(bytes: &[u8], max_bytes: usize) -> Result<Header, Refused> {
    // The magic byte has the same place in every format, and an old one deserves its own answer.
    if bytes.get(16).is_some_and(|magic| *magic != 2) {
        let why = format!("record format v{} is not supported; only v2 (Kafka 0.11 and later) is", bytes[16]);
        return Err(Refused::new(ResponseError::UnsupportedForMessageFormat, why));
    }
    let Some(header) = Header::parse(bytes).filter(|header| header.length <= bytes.len()) else {
        return Err(Refused::new(ResponseError::CorruptMessage, "the record batch is cut short"));
    };
    if header.length < bytes.len() {
        return Err(Refused::new(ResponseError::InvalidRecord, "more than one record batch for one partition"));
    }
    if header.length > max_bytes {
        let why = format!("a batch of {} bytes is over the topic's max.message.bytes={max_bytes}", header.length);
        return Err(Refused::new(ResponseError::MessageTooLarge, why));
    }
    if crc32c::crc32c(&bytes[CHECKED_FROM..]) != header.checksum {
        return Err(Refused::new(ResponseError::CorruptMessage, "the record batch's checksum does not match"));
    }
    if header.count <= 0 || header.last_offset_delta != header.count - 1 {
        let why = format!("{} records with a last offset delta of {}", header.count, header.last_offset_delta);
        return Err(Refused::new(ResponseError::InvalidRecord, why));
    }
    if header.is_control() {
        return Err(Refused::new(ResponseError::InvalidRecord, "clients may not write control batches"));
    }
    let is_idempotent = header.producer_id >= 0;
    if is_idempotent && (header.producer_epoch < 0 || header.base_sequence < 0) {
        let why = format!("producer {} sent a batch without an epoch or a sequence number", header.producer_id);
        return Err(Refused::new(ResponseError::InvalidRecord, why));
    }
    if header.is_transactional() && !is_idempotent {
        return Err(Refused::new(ResponseError::InvalidRecord, "a transactional batch without a producer id"));
    }
    Ok(header)
}

/// Puts the batch at its place in the log. Outside the checksum, so the client's bytes stay as they are.
pub(crate) fn stamp(batch: &mut [u8], base_offset: i64) {
    const LEADER_EPOCH: [u8; 4] = [0; 4];
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&LEADER_EPOCH);
}

/// The first record of the batch that is not older than `timestamp`, as (offset, timestamp).
///
/// A compressed batch answers with its first record: earlier than asked for, so that nothing is missed.
pub(crate) fn first_record_since(batch: &[u8], timestamp: i64) -> Option<(i64, i64)> {
    let header = Header::parse(batch)?;
    if header.max_timestamp < timestamp {
        return None;
    }
    if header.is_compressed() {
        return Some((header.base_offset, header.base_timestamp));
    }
    let mut records = batch.get(HEADER..header.length)?;
    for _ in 0..header.count {
        let length = usize::try_from(zigzag(&mut records)?).ok()?;
        let mut record = records.get(..length)?;
        records.advance(length);
        record.try_get_u8().ok()?;
        let found = header.base_timestamp.wrapping_add(zigzag(&mut record)?);
        let offset = header.base_offset + zigzag(&mut record)?;
        if found >= timestamp {
            return Some((offset, found));
        }
    }
    None
}

/// One signed variable-length integer of the record format.
fn zigzag(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let byte = bytes.try_get_u8().ok()?;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}

/// Batches as a producer would send them, for this crate's tests.
#[cfg(test)]
pub(crate) mod sample {
    use bytes::BufMut;

    use super::{CHECKED_FROM, HEADER};

    #[derive(Clone, Copy)]
    pub(crate) struct Sample {
        pub count: i32,
        pub size: usize,
        pub timestamp: i64,
        pub producer_id: i64,
        pub epoch: i16,
        pub sequence: i32,
        pub attributes: i16,
    }

    impl Default for Sample {
        fn default() -> Sample {
            Sample { count: 1, size: 10, timestamp: 1_000, producer_id: -1, epoch: -1, sequence: -1, attributes: 0 }
        }
    }

    impl Sample {
        /// Record i has the timestamp `timestamp + i` and a value of `size` bytes.
        pub(crate) fn bytes(self) -> Vec<u8> {
            let mut batch = Vec::with_capacity(HEADER);
            batch.put_i64(0);
            batch.put_i32(0);
            batch.put_i32(-1);
            batch.put_i8(2);
            batch.put_u32(0);
            batch.put_i16(self.attributes);
            batch.put_i32(self.count - 1);
            batch.put_i64(self.timestamp);
            batch.put_i64(self.timestamp + i64::from(self.count) - 1);
            batch.put_i64(self.producer_id);
            batch.put_i16(self.epoch);
            batch.put_i32(self.sequence);
            batch.put_i32(self.count);
            for i in 0..i64::from(self.count) {
                let mut record = vec![0];
                put_zigzag(&mut record, i);
                put_zigzag(&mut record, i);
                put_zigzag(&mut record, -1);
                put_zigzag(&mut record, i64::try_from(self.size).unwrap());
                record.resize(record.len() + self.size, b'v');
                put_zigzag(&mut record, 0);
                put_zigzag(&mut batch, i64::try_from(record.len()).unwrap());
                batch.extend_from_slice(&record);
            }
            let length = i32::try_from(batch.len() - 12).unwrap();
            batch[8..12].copy_from_slice(&length.to_be_bytes());
            let checksum = crc32c::crc32c(&batch[CHECKED_FROM..]);
            batch[17..21].copy_from_slice(&checksum.to_be_bytes());
            batch
        }
    }

    fn put_zigzag(out: &mut Vec<u8>, value: i64) {
        let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while left >= 0x80 {
            out.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
            left >>= 7;
        }
        out.push(u8::try_from(left).unwrap());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::sample::Sample;
    use super::*;

    const LARGE: usize = 1 << 20;

    fn check(bytes: &[u8], expected: ResponseError) {
        assert_eq!(check_produced(bytes, LARGE).unwrap_err().code, expected);
    }

    #[test]
    fn a_producers_batch_is_taken() {
        let header = check_produced(&Sample { count: 3, ..Sample::default() }.bytes(), LARGE).unwrap();
        assert_eq!((header.count, header.last_offset_delta, header.next_offset()), (3, 2, 3));
    }

    #[test]
    fn what_is_not_one_intact_plain_batch_is_refused_by_name() {
        let good = Sample { count: 3, ..Sample::default() }.bytes();
        check(&[], ResponseError::CorruptMessage);
        check(&good[..good.len() - 1], ResponseError::CorruptMessage);
        check(&[good.clone(), good.clone()].concat(), ResponseError::InvalidRecord);
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        check(&flipped, ResponseError::CorruptMessage);
        let mut old = good;
        old[16] = 1;
        check(&old, ResponseError::UnsupportedForMessageFormat);
        check(&Sample { attributes: CONTROL, ..Sample::default() }.bytes(), ResponseError::InvalidRecord);
        check(&Sample { attributes: TRANSACTIONAL, ..Sample::default() }.bytes(), ResponseError::InvalidRecord);
        check(&Sample { producer_id: 1, epoch: 0, ..Sample::default() }.bytes(), ResponseError::InvalidRecord);
        check(&Sample { producer_id: 1, sequence: 0, ..Sample::default() }.bytes(), ResponseError::InvalidRecord);
        check(&Sample { size: LARGE, ..Sample::default() }.bytes(), ResponseError::MessageTooLarge);
    }

    #[test]
    fn a_look_up_by_time_finds_the_exact_record() {
        let batch = Sample { count: 5, timestamp: 100, ..Sample::default() }.bytes();
        assert_eq!(first_record_since(&batch, 0), Some((0, 100)));
        assert_eq!(first_record_since(&batch, 103), Some((3, 103)));
        assert_eq!(first_record_since(&batch, 105), None);
    }

    #[test]
    fn sequence_numbers_start_again_at_zero() {
        let batch = Sample { count: 2, producer_id: 1, epoch: 0, sequence: i32::MAX, ..Sample::default() }.bytes();
        assert_eq!(Header::parse(&batch).unwrap().last_sequence(), 0);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = check_produced(&bytes, LARGE);
            let _ = first_record_since(&bytes, 0);
        }
    }
}
