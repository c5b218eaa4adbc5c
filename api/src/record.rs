//! Records on their way through the worker: Connect's data on one side of a converter, Kafka's bytes on the other.

use std::sync::Arc;

use crate::data::{Blob, Datum, Payload};
use crate::error::ConnectError;
use crate::position::{Partition, Position};

/// A record between converter and connector. One type for both directions.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The Kafka topic.
    pub topic: Arc<str>,
    /// The Kafka partition; `None` lets the partitioner choose.
    pub partition: Option<i32>,
    /// The key, [`Datum::NULL`] when there is none.
    pub key: Datum,
    /// The value, [`Datum::NULL`] for a tombstone.
    pub value: Datum,
    /// The headers, in order; names may repeat.
    pub headers: Headers,
    /// Milliseconds since 1970; `None` lets the producer choose.
    pub timestamp: Option<i64>,
    /// The Kafka offset; `Some` on the sink side only, which is what `InsertField`'s `offset.field` checks.
    pub offset: Option<i64>,
}

impl Record {
    /// A record for a topic with a value and nothing else.
    pub fn new(topic: Arc<str>, value: Datum) -> Self {
        Self {
            topic,
            partition: None,
            key: Datum::NULL,
            value,
            headers: Headers::default(),
            timestamp: None,
            offset: None,
        }
    }

    /// About how many bytes of memory it holds. A payload, which is elsewhere, counts next to nothing.
    pub fn held(&self) -> u64 {
        let headers: u64 = self.headers.0.iter().map(|(name, datum)| name.len() as u64 + datum.value.held()).sum();
        size_of::<Self>() as u64 + self.key.value.held() + self.value.value.held() + headers
    }
}

/// Connect headers: named data, in order, names may repeat.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Headers(pub Vec<(Arc<str>, Datum)>);

impl Headers {
    /// Adds a header at the end.
    pub fn add(&mut self, name: impl Into<Arc<str>>, datum: Datum) {
        self.0.push((name.into(), datum));
    }

    /// The last header of that name, as Kafka's `lastHeader`.
    pub fn last(&self, name: &str) -> Option<&Datum> {
        self.0.iter().rev().find(|(key, _)| &**key == name).map(|(_, datum)| datum)
    }
}

/// Headers as Kafka carries them.
pub type KafkaHeaders = Vec<(Arc<str>, Option<Blob>)>;

/// The value of a record in Kafka's form, or a payload on its way there.
#[derive(Debug, Clone)]
pub enum Body {
    /// Bytes in memory.
    Bytes(Blob),
    /// A lazily read source of bytes, of any size.
    Payload(Arc<dyn Payload>),
}

/// A record in Kafka's form on its way out.
#[derive(Debug, Clone)]
pub struct EncodedRecord {
    /// The Kafka topic.
    pub topic: Arc<str>,
    /// The Kafka partition; `None` lets the partitioner choose.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Blob>,
    /// The value; `None` is a tombstone.
    pub value: Option<Body>,
    /// The headers.
    pub headers: KafkaHeaders,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
}

/// A record from a source with the position behind it.
#[derive(Debug, Clone)]
pub struct SourceRecord {
    /// The record.
    pub record: Record,
    /// Where the source goes on once this record is durable; `None` for a record that has no place in the source.
    pub position: Option<Position>,
}

/// One thing a source hands over.
#[derive(Debug)]
pub enum SourceEntry {
    /// Through the chain and the converters.
    Record(SourceRecord),
    /// Bytes as they are, past chain and converters: side records such as file events. Same ledger, same transaction.
    Encoded(EncodedRecord, Option<Position>),
    /// An offset without a record.
    Position(Position),
    /// Takes the offset of a partition away (a tombstone in the offset store).
    Forget(Arc<Partition>),
    /// Input that cannot become a record: tolerated and reported, or it fails the task, as `errors.tolerance` says.
    Bad {
        /// Where the source goes on behind the bad input.
        position: Option<Position>,
        /// The input as read, for the dead letter queue of the source.
        raw: Option<Blob>,
        /// What is wrong, naming file and line or id.
        error: ConnectError,
    },
}

/// A topic and a partition of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// A topic partition.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Where the timestamp of a consumed record comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// The record has none.
    #[default]
    NotAvailable,
    /// The producer set it.
    CreateTime,
    /// The broker set it.
    LogAppendTime,
}

/// A record as consumed. Transforms cannot touch it; the dead letter queue needs it.
#[derive(Debug, Clone)]
pub struct RawRecord {
    /// Where it was read.
    pub tp: TopicPartition,
    /// The offset there.
    pub offset: i64,
    /// The key bytes.
    pub key: Option<Blob>,
    /// The value; `None` is a tombstone.
    pub value: Option<Body>,
    /// The headers.
    pub headers: KafkaHeaders,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
    /// Who set the timestamp.
    pub timestamp_type: TimestampType,
}

/// A record for a sink with what it was made from.
#[derive(Debug, Clone)]
pub struct SinkRecord {
    /// The record after the chain.
    pub record: Record,
    /// The record as consumed: offsets are kept by this, whatever a transform did to the topic name.
    pub origin: RawRecord,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Keys, Map, Value};

    #[test]
    fn a_record_holds_what_its_values_hold() {
        let bytes = |len: usize| Value::Bytes(Blob::whole(vec![0; len]).unwrap());
        let bare = Record::new("t".into(), Datum::NULL);
        let with = |value| Record { value: Datum::schemaless(value), ..bare.clone() }.held() - bare.held();
        assert_eq!(with(bytes(1 << 20)), 1 << 20);
        let map = Map::new(Arc::new(Keys::from(vec![Value::text("image")])), vec![bytes(5_000)]);
        assert!((5_000..5_200).contains(&with(Value::Map(Box::new(map)))));
        let list = Value::Array(vec![bytes(300), Value::Null, Value::text("x".repeat(700))].into());
        assert!((1_000..1_200).contains(&with(list)));
        let mut headers = bare.clone();
        headers.headers.add("name", Datum::schemaless(bytes(96)));
        assert_eq!(headers.held() - bare.held(), 100);
    }
}
