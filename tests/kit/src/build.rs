//! Builders for configurations, records and batches: what a test would otherwise spell out field by field.

use std::sync::Arc;

use pipette_api::config::ConfigMap;
use pipette_api::{
    Body, Datum, Kind, RawRecord, Record, Schema, SinkBatch, SinkRecord, Text, TimestampType, TopicPartition, Value,
};

/// A configuration from pairs.
pub fn config(pairs: &[(&str, &str)]) -> ConfigMap {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Text with Connect's required string schema.
pub fn text(text: &str) -> Datum {
    Datum::new(Schema::of(Kind::String), Value::text(text))
}

/// A schemaless map with string keys.
pub fn map(pairs: &[(&str, Value)]) -> Datum {
    let pairs = pairs.iter().map(|(key, value)| (Value::text(*key), value.clone()));
    Datum::schemaless(Value::Map(Box::new(pairs.collect())))
}

/// A record as a sink gets it: key null, timestamp the offset, consumed from there.
pub fn sink_record(tp: &TopicPartition, offset: i64, value: Datum) -> SinkRecord {
    let raw = value.value.as_str().map(|text| Body::Bytes(Text::from(text).to_blob()));
    let record = Record {
        partition: Some(tp.partition),
        timestamp: Some(offset),
        offset: Some(offset),
        ..Record::new(Arc::clone(&tp.topic), value)
    };
    let origin = RawRecord {
        tp: tp.clone(),
        offset,
        key: None,
        value: raw,
        headers: Vec::new(),
        timestamp: Some(offset),
        timestamp_type: TimestampType::CreateTime,
    };
    SinkRecord { record, origin }
}

/// A batch of one partition, counted up from an offset.
pub fn sink_batch(tp: &TopicPartition, first: i64, values: impl IntoIterator<Item = Datum>) -> Arc<SinkBatch> {
    let records = values.into_iter().zip(first..).map(|(value, offset)| sink_record(tp, offset, value)).collect();
    Arc::new(SinkBatch { records })
}
