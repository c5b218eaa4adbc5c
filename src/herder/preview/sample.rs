//! Sample records of a preview, in JSON.
//!
//! `{"topic", "partition", "timestamp", "offset", "key", "value", "headers": [{"name", "value"}]}`, everything optional. For a
//! sink keys, values and headers are what Kafka holds: a text is its bytes, anything else its JSON; the connector's
//! converters read them. For a source they are what the connector hands over: JSON without a schema, or with one as
//! `{"schema", "payload"}`.

use std::collections::BTreeMap;
use std::sync::Arc;

use pipette_api::record::{KafkaHeaders, TimestampType, TopicPartition};
use pipette_api::{Blob, Body, ConnectError, Datum, Headers, RawRecord, Record, Result};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::convert;

/// One record.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a record, such as {\"value\": …}")]
pub struct Sample {
    #[serde(default)]
    topic: Option<String>,
    #[serde(default)]
    partition: Option<i32>,
    #[serde(default)]
    timestamp: Option<i64>,
    #[serde(default)]
    offset: Option<i64>,
    #[serde(default)]
    key: Option<Box<RawValue>>,
    #[serde(default)]
    value: Option<Box<RawValue>>,
    #[serde(default)]
    headers: Vec<SampleHeader>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a header, such as {\"name\": …, \"value\": …}")]
struct SampleHeader {
    name: String,
    #[serde(default)]
    value: Option<Box<RawValue>>,
}

const TOPIC: &str = "topic";

impl Sample {
    /// A record whose value is a line of text.
    pub fn line(text: &str) -> Result<Self> {
        let json = serde_json::to_string(text).and_then(RawValue::from_string);
        let value = json.map_err(|error| ConnectError::config("a line of text").because(error))?;
        Ok(Self { value: Some(value), ..Self::default() })
    }

    /// What a sink reads from Kafka.
    pub(super) fn consumed(self, topics: &[String]) -> Result<RawRecord> {
        let topic = self.topic.or_else(|| topics.first().cloned()).unwrap_or_else(|| TOPIC.into());
        let header = |header: SampleHeader| Ok((Arc::from(header.name), bytes(header.value.as_deref())?));
        Ok(RawRecord {
            tp: TopicPartition::new(topic, self.partition.unwrap_or(0)),
            offset: self.offset.unwrap_or(0),
            key: bytes(self.key.as_deref())?,
            value: bytes(self.value.as_deref())?.map(Body::Bytes),
            headers: self.headers.into_iter().map(header).collect::<Result<KafkaHeaders>>()?,
            timestamp: self.timestamp,
            timestamp_type: TimestampType::CreateTime,
        })
    }

    /// What a source hands over.
    pub(super) fn produced(self) -> Result<Record> {
        let mut headers = Headers::default();
        for header in &self.headers {
            headers.add(header.name.as_str(), datum(header.value.as_deref())?);
        }
        Ok(Record {
            topic: self.topic.unwrap_or_else(|| TOPIC.into()).into(),
            partition: self.partition,
            key: datum(self.key.as_deref())?,
            value: datum(self.value.as_deref())?,
            headers,
            timestamp: self.timestamp,
            offset: self.offset,
        })
    }
}

fn given(json: Option<&RawValue>) -> Option<&str> {
    json.map(RawValue::get).filter(|text| *text != "null")
}

fn bytes(json: Option<&RawValue>) -> Result<Option<Blob>> {
    let Some(json) = given(json) else { return Ok(None) };
    let text = if json.starts_with('"') {
        serde_json::from_str(json).map_err(|error| ConnectError::data("a text").because(error))?
    } else {
        json.to_owned()
    };
    Blob::whole(text).map(Some)
}

fn datum(json: Option<&RawValue>) -> Result<Datum> {
    let Some(json) = given(json) else { return Ok(Datum::NULL) };
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap_or_default();
    let envelope = members.len() == 2 && members.contains_key("schema") && members.contains_key("payload");
    convert::json_as_it_is(envelope)?.decode(TOPIC, &KafkaHeaders::new(), Some(&Blob::whole(json.to_owned())?))
}
