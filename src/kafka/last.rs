//! The last records of topics, read without a group: what the preview of a sink looks at.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pipette_api::record::{KafkaHeaders, TimestampType, TopicPartition};
use pipette_api::{Blob, Body, ConnectError, RawRecord, Result};
use rdkafka::consumer::Consumer;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, Timestamp, TopicPartitionList};

use super::asking;
use super::properties::ClientProperties;

/// How long Kafka may take for all of it: less than a request waits for an answer.
const PATIENCE: Duration = Duration::from_secs(8);

/// The last `count` records of the topics, an equal share of each partition, in order of their timestamps.
pub fn last_records(properties: &ClientProperties, topics: &[String], count: usize) -> Result<Vec<RawRecord>> {
    let deadline = Instant::now() + PATIENCE;
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let away = |error| ConnectError::retriable("Kafka does not tell the last records").because(error);
    let refused = |reason| ConnectError::retriable(format!("Kafka does not tell the last records: {reason}"));
    let consumer = asking::client(properties.clone()).map_err(refused)?;
    let mut partitions = Vec::new();
    for topic in topics {
        let asked = asking::ask(&consumer, left(), |wait| consumer.fetch_metadata(Some(topic), wait));
        let metadata = asked.map_err(refused)?;
        for found in metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions) {
            partitions.push((topic.as_str(), found.id()));
        }
    }
    let share = i64::try_from(count.div_ceil(partitions.len().max(1))).unwrap_or(i64::MAX);
    let mut wanted = TopicPartitionList::new();
    let mut ends: BTreeMap<(String, i32), i64> = BTreeMap::new();
    for (topic, partition) in partitions {
        let (low, high) = consumer.fetch_watermarks(topic, partition, left()).map_err(away)?;
        if high > low {
            wanted.add_partition_offset(topic, partition, Offset::Offset(low.max(high - share))).map_err(away)?;
            ends.insert((topic.to_owned(), partition), high);
        }
    }
    consumer.assign(&wanted).map_err(away)?;
    let mut records = Vec::new();
    while !ends.is_empty() && Instant::now() < deadline {
        let Some(message) = consumer.poll(left().min(Duration::from_millis(100))) else { continue };
        let message = message.map_err(away)?;
        let place = (message.topic().to_owned(), message.partition());
        if ends.get(&place).is_some_and(|end| message.offset() + 1 >= *end) {
            ends.remove(&place);
        }
        records.push(raw(&message)?);
    }
    records.sort_by_key(|record| record.timestamp);
    records.drain(..records.len().saturating_sub(count));
    Ok(records)
}

fn raw(message: &BorrowedMessage<'_>) -> Result<RawRecord> {
    let blob = |bytes: Option<&[u8]>| bytes.map(|bytes| Blob::whole(bytes.to_vec())).transpose();
    let mut headers = KafkaHeaders::new();
    for header in message.headers().into_iter().flat_map(|headers| headers.iter()) {
        headers.push((header.key.into(), blob(header.value)?));
    }
    let (timestamp, timestamp_type) = match message.timestamp() {
        Timestamp::NotAvailable => (None, TimestampType::NotAvailable),
        Timestamp::CreateTime(time) => (Some(time), TimestampType::CreateTime),
        Timestamp::LogAppendTime(time) => (Some(time), TimestampType::LogAppendTime),
    };
    Ok(RawRecord {
        tp: TopicPartition::new(message.topic(), message.partition()),
        offset: message.offset(),
        key: blob(message.key())?,
        value: blob(message.payload())?.map(Body::Bytes),
        headers,
        timestamp,
        timestamp_type,
    })
}
