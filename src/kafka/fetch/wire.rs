//! The two questions that are asked here, and their answers, as bytes: which versions a broker speaks (ApiVersions 0), and
//! what is in its partitions (Fetch 11: Kafka 2.3 and later). Pure; called by `link.rs`.
//!
//! Shapes: Kafka's protocol guide, <https://kafka.apache.org/protocol>.

use bytes::{BufMut, Bytes};
use pipette_api::TopicPartition;

use super::cursor::Cursor;

const FETCH: i16 = 1;
const FETCH_VERSION: i16 = 11;
const API_VERSIONS: i16 = 18;
/// No session, and none wanted (KIP-227).
const NO_SESSION: (i32, i32) = (0, -1);
/// Whoever asks is no broker; it knows no epoch of the leader; it has no log of its own.
const CONSUMER: i32 = -1;
const NO_EPOCH: i32 = -1;
const NO_LOG: i64 = -1;

/// What every request for records says.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub client_id: String,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    pub max_bytes: i32,
    pub partition_max_bytes: i32,
}

/// A partition, and the first offset that is wanted of it.
pub(super) type Wanted = (TopicPartition, i64);

/// What a broker says of one partition.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub tp: TopicPartition,
    /// Kafka's number of an error; 0 without.
    pub error: i16,
    /// The first offset that is not replicated yet.
    pub high: i64,
    pub records: Bytes,
}

/// What a broker answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// For how long it wants to be left alone.
    pub throttle_ms: i32,
    pub error: i16,
    pub parts: Vec<Part>,
}

/// A request with its length in front.
fn request(key: i16, version: i16, number: i32, client_id: &str, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![0; 4];
    out.put_i16(key);
    out.put_i16(version);
    out.put_i32(number);
    string(&mut out, client_id);
    body(&mut out);
    let len = u32::try_from(out.len() - 4).unwrap_or_else(|_| unreachable!("a request of some partitions"));
    out[..4].copy_from_slice(&len.to_be_bytes());
    out
}

/// No name in Kafka is longer than that: topics have 249 characters at most, and whatever else is cut.
fn string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let len = i16::try_from(bytes.len()).unwrap_or(i16::MAX);
    out.put_i16(len);
    out.extend(bytes.iter().take(usize::from(len.unsigned_abs())));
}

fn count(out: &mut Vec<u8>, count: usize) {
    out.put_i32(i32::try_from(count).unwrap_or_else(|_| unreachable!("so many partitions")));
}

/// Asks for versions.
pub(super) fn ask_versions(number: i32, client_id: &str) -> Vec<u8> {
    request(API_VERSIONS, 0, number, client_id, |_| {})
}

/// Whether a broker that answers this speaks what is spoken here. `None`: the answer cannot be read.
pub(super) fn speaks_fetch(answer: &[u8]) -> Option<bool> {
    let mut cursor = Cursor::new(answer, 4);
    let error = cursor.i16()?;
    let count = cursor.i32()?;
    let mut speaks = false;
    for _ in 0..count {
        let (key, oldest, newest) = (cursor.i16()?, cursor.i16()?, cursor.i16()?);
        speaks |= key == FETCH && (oldest..=newest).contains(&FETCH_VERSION);
    }
    Some(speaks && error == 0)
}

/// Asks for records. Partitions of one topic stand together.
pub(super) fn ask_records(number: i32, terms: &Terms, wanted: &[Wanted]) -> Vec<u8> {
    request(FETCH, FETCH_VERSION, number, &terms.client_id, |out| {
        out.put_i32(CONSUMER);
        out.put_i32(terms.max_wait_ms);
        out.put_i32(terms.min_bytes);
        out.put_i32(terms.max_bytes);
        // Uncommitted records too.
        out.put_i8(0);
        out.put_i32(NO_SESSION.0);
        out.put_i32(NO_SESSION.1);
        let topics: Vec<&[Wanted]> = wanted.chunk_by(|(a, _), (b, _)| a.topic == b.topic).collect();
        count(out, topics.len());
        for topic in topics {
            string(out, &topic[0].0.topic);
            count(out, topic.len());
            for (tp, offset) in topic {
                out.put_i32(tp.partition);
                out.put_i32(NO_EPOCH);
                out.put_i64(*offset);
                out.put_i64(NO_LOG);
                out.put_i32(terms.partition_max_bytes);
            }
        }
        // Nothing forgotten, no rack.
        count(out, 0);
        string(out, "");
    })
}

/// The number of the request that this answers.
pub(super) fn number(answer: &[u8]) -> Option<i32> {
    Cursor::new(answer, 0).i32()
}

/// Reads an answer to [`ask_records`]. `None`: it cannot be read.
pub(super) fn answer(bytes: &Bytes) -> Option<Answer> {
    let mut cursor = Cursor::new(bytes, 4);
    let (throttle_ms, error) = (cursor.i32()?, cursor.i16()?);
    cursor.i32()?;
    let mut parts = Vec::new();
    for _ in 0..cursor.i32()? {
        let topic = std::str::from_utf8(cursor.string()?).ok()?;
        for _ in 0..cursor.i32()? {
            let tp = TopicPartition::new(topic, cursor.i32()?);
            parts.push(part(&mut cursor, bytes, tp)?);
        }
    }
    Some(Answer { throttle_ms, error, parts })
}

fn part(cursor: &mut Cursor<'_>, bytes: &Bytes, tp: TopicPartition) -> Option<Part> {
    let (error, high) = (cursor.i16()?, cursor.i64()?);
    // The last stable offset, where the log begins; aborted transactions; a replica that would be nearer.
    cursor.take(8 + 8)?;
    let aborted = usize::try_from(cursor.i32()?).unwrap_or(0);
    cursor.take(aborted.checked_mul(8 + 8)?)?;
    cursor.i32()?;
    let len = usize::try_from(cursor.i32()?).unwrap_or(0);
    let start = cursor.at();
    cursor.take(len)?;
    Some(Part { tp, error, high, records: bytes.slice(start..start + len) })
}
