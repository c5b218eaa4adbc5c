//! Makes one buffer of many messages: one copy from librdkafka, then spans (decisions: one buffer per batch).

use std::sync::Arc;

use pipette_api::{Blob, Body, RawRecord, Result, TimestampType, TopicPartition};
use rdkafka::Timestamp;
use rdkafka::message::{BorrowedMessage, Headers, Message};

/// Records in a batch: Java's default for `max.poll.records`.
const MAX_RECORDS: usize = 500;
/// Bytes after which a batch is handed over although it has fewer records.
const MAX_BYTES: usize = 1 << 20;

/// A batch in the making.
#[derive(Default)]
pub(super) struct BatchBuilder {
    bytes: Vec<u8>,
    drafts: Vec<Draft>,
}

/// A record whose parts are still ranges of the growing buffer.
struct Draft {
    tp: TopicPartition,
    offset: i64,
    key: Option<Range>,
    value: Option<Range>,
    headers: Vec<(Arc<str>, Option<Range>)>,
    timestamp: Option<i64>,
    timestamp_type: TimestampType,
}

#[derive(Clone, Copy)]
struct Range {
    start: u32,
    len: u32,
}

impl BatchBuilder {
    /// True when it should be handed over.
    pub(super) fn is_full(&self) -> bool {
        self.drafts.len() >= MAX_RECORDS || self.bytes.len() >= MAX_BYTES
    }

    /// Copies a message in.
    pub(super) fn push(&mut self, message: &BorrowedMessage<'_>) {
        let topic = match self.drafts.last() {
            Some(last) if &*last.tp.topic == message.topic() => Arc::clone(&last.tp.topic),
            _ => Arc::from(message.topic()),
        };
        let (timestamp, timestamp_type) = match message.timestamp() {
            Timestamp::NotAvailable => (None, TimestampType::NotAvailable),
            Timestamp::CreateTime(at) => (Some(at), TimestampType::CreateTime),
            Timestamp::LogAppendTime(at) => (Some(at), TimestampType::LogAppendTime),
        };
        let key = message.key().map(|key| self.copy(key));
        let value = message.payload().map(|value| self.copy(value));
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers.iter().map(|header| (Arc::from(header.key), header.value.map(|value| self.copy(value)))).collect()
        });
        self.drafts.push(Draft {
            tp: TopicPartition { topic, partition: message.partition() },
            offset: message.offset(),
            key,
            value,
            headers,
            timestamp,
            timestamp_type,
        });
    }

    /// Forgets what was copied in of these partitions.
    pub(super) fn drop_partitions(&mut self, gone: &[TopicPartition]) {
        self.drafts.retain(|draft| !gone.contains(&draft.tp));
    }

    /// The records, as spans of one buffer.
    pub(super) fn finish(self) -> Result<Vec<RawRecord>> {
        if self.drafts.is_empty() {
            return Ok(Vec::new());
        }
        let buffer = Blob::whole(self.bytes)?;
        let span = |range: Range| buffer.slice(range.start, range.len);
        let records = self.drafts.into_iter().map(|draft| RawRecord {
            tp: draft.tp,
            offset: draft.offset,
            key: draft.key.map(span),
            value: draft.value.map(|range| Body::Bytes(span(range))),
            headers: draft.headers.into_iter().map(|(name, value)| (name, value.map(span))).collect(),
            timestamp: draft.timestamp,
            timestamp_type: draft.timestamp_type,
        });
        Ok(records.collect())
    }

    fn copy(&mut self, bytes: &[u8]) -> Range {
        let position = |length: usize| {
            u32::try_from(length)
                .unwrap_or_else(|_| unreachable!("a batch ends at 1 MiB and a Kafka record below 2 GiB"))
        };
        let start = position(self.bytes.len());
        self.bytes.extend_from_slice(bytes);
        Range { start, len: position(bytes.len()) }
    }
}
