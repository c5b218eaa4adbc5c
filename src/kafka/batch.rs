//! Makes one buffer of many messages: one copy from librdkafka, then spans (decisions: one buffer per batch).

use std::ffi::CStr;
use std::sync::Arc;

use pipette_api::{Blob, Body, KafkaHeaders, RawRecord, Result, TopicPartition};

use super::sys::{Fetched, HeaderList, Message};

/// The records among these, as spans of one buffer; errors are left out.
pub(super) fn copy_out(fetched: &Fetched) -> Result<Vec<RawRecord>> {
    let messages = || fetched.iter().filter(|message| message.error().is_none());
    let headers: Vec<_> = messages().map(Message::headers).collect();
    if headers.is_empty() {
        return Ok(Vec::new());
    }
    let size = messages().flat_map(parts).map(<[u8]>::len).sum();
    let mut bytes = Vec::with_capacity(size);
    for (message, headers) in messages().zip(&headers) {
        let values = headers.iter().flat_map(|headers| headers.iter()).filter_map(|(_, value)| value);
        parts(message).chain(values).for_each(|part| bytes.extend_from_slice(part));
    }
    let mut cut = Cutter { buffer: Blob::whole(bytes)?, at: 0 };
    let mut records: Vec<RawRecord> = Vec::with_capacity(headers.len());
    let mut before = None;
    for (message, headers) in messages().zip(headers) {
        let last = records.last();
        let topic = match (last, before) {
            (Some(last), Some(before)) if message.is_of_topic_of(before) => Arc::clone(&last.tp.topic),
            // Made anew for each batch: threads that count on one name at once make each other wait.
            _ => Arc::from(message.topic()),
        };
        before = Some(message);
        let key = message.key().map(|key| cut.next(key));
        let value = message.value().map(|value| Body::Bytes(cut.next(value)));
        let headers = headers.map_or_else(Vec::new, |headers| cut.headers(headers, last));
        let (timestamp, timestamp_type) = message.timestamp();
        let tp = TopicPartition { topic, partition: message.partition() };
        records.push(RawRecord { tp, offset: message.offset(), key, value, headers, timestamp, timestamp_type });
    }
    Ok(records)
}

fn parts(message: Message<'_>) -> impl Iterator<Item = &[u8]> {
    [message.key(), message.value()].into_iter().flatten()
}

/// Cuts the buffer into spans, in the order in which it was filled.
struct Cutter {
    buffer: Blob,
    at: u32,
}

impl Cutter {
    fn next(&mut self, part: &[u8]) -> Blob {
        let len = u32::try_from(part.len()).unwrap_or_else(|_| unreachable!("a part of a buffer below 4 GiB"));
        let span = self.buffer.slice(self.at, len);
        self.at += len;
        span
    }

    /// Neighbours usually have the same header names, which are then shared.
    fn headers(&mut self, headers: HeaderList<'_>, before: Option<&RawRecord>) -> KafkaHeaders {
        let named = |(index, (name, value)): (usize, (&CStr, Option<&[u8]>))| {
            let name = match before.and_then(|before| before.headers.get(index)) {
                Some((known, _)) if known.as_bytes() == name.to_bytes() => Arc::clone(known),
                _ => Arc::from(name.to_string_lossy()),
            };
            (name, value.map(|value| self.next(value)))
        };
        headers.iter().enumerate().map(named).collect()
    }
}
