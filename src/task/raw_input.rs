//! What a bad record of a source looked like, in Kafka's form: the body of its dead letter.
//!
//! Built for records that have failed already, so nothing here is fast and nothing here may fail.

use std::sync::Arc;

use pipette_api::{Blob, Body, ConfigMap, Datum, EncodedRecord, KafkaHeaders, Position, Record, Settings, Side, Value};

use super::codec::Codec;
use super::dead_letters::{Letter, Origin};
use crate::kafka::producer::{Outgoing, Undelivered};
use crate::plugins::Plugins;

/// The form in which the input is at hand.
pub enum Input<'a> {
    /// As the source read it.
    Raw(Option<Blob>),
    /// As far as the chain brought it.
    Record(&'a Record),
    /// Past chain and converters.
    Encoded(&'a EncodedRecord),
}

/// The input in Kafka's form.
#[derive(Default)]
pub struct RawInput {
    /// The topic it was for, when that is known.
    pub topic: Option<Arc<str>>,
    key: Option<Blob>,
    value: Option<Blob>,
    headers: KafkaHeaders,
    timestamp: Option<i64>,
}

impl Input<'_> {
    /// The topic it was for, when that is known.
    pub fn topic(&self) -> Option<Arc<str>> {
        match self {
            Self::Raw(_) => None,
            Self::Record(record) => Some(Arc::clone(&record.topic)),
            Self::Encoded(record) => Some(Arc::clone(&record.topic)),
        }
    }

    /// True when its source hands over a newer state of it.
    pub async fn is_superseded(&self) -> bool {
        match self {
            Self::Record(Record { value: Datum { value: Value::Payload(payload), .. }, .. })
            | Self::Encoded(EncodedRecord { value: Some(Body::Payload(payload)), .. }) => payload.is_superseded().await,
            _ => false,
        }
    }
}

impl RawInput {
    /// Of an input. A record is written by the task's converters; when they cannot, as JSON. Payloads are not read:
    /// the position says where they are.
    pub fn new(input: &Input<'_>, codec: &mut Codec) -> Self {
        match input {
            Input::Raw(raw) => Self { value: raw.clone(), ..Self::default() },
            Input::Encoded(record) => Self {
                topic: input.topic(),
                key: record.key.clone(),
                value: record.value.as_ref().and_then(|body| match body {
                    Body::Bytes(bytes) => Some(bytes.clone()),
                    Body::Payload(_) => None,
                }),
                headers: record.headers.clone(),
                timestamp: record.timestamp,
            },
            Input::Record(record) => match codec.encode(record) {
                Ok(outgoing) => Self::outgoing(&outgoing),
                Err(_) => Self {
                    topic: input.topic(),
                    key: bytes_of(&record.key),
                    value: bytes_of(&record.value),
                    // They may be all that says where it came from.
                    headers: record.headers.0.iter().map(|(name, datum)| (Arc::clone(name), bytes_of(datum))).collect(),
                    timestamp: record.timestamp,
                },
            },
        }
    }

    /// Of a record that librdkafka refused at once.
    pub fn outgoing(record: &Outgoing<'_>) -> Self {
        let blob = |bytes: Option<&[u8]>| bytes.and_then(|bytes| Blob::whole(bytes.to_vec()).ok());
        Self {
            topic: Some(Arc::from(record.topic)),
            key: blob(record.key),
            value: blob(record.value),
            headers: record.headers.clone(),
            timestamp: record.timestamp,
        }
    }

    /// Of a record that the broker refused.
    pub fn undelivered(record: Undelivered) -> Self {
        let blob = |bytes: Option<Vec<u8>>| bytes.and_then(|bytes| Blob::whole(bytes).ok());
        Self {
            topic: Some(record.topic),
            key: blob(record.key),
            value: blob(record.value),
            headers: record.headers,
            timestamp: record.timestamp,
        }
    }

    /// Its letter.
    pub fn letter<'a>(&'a self, position: Option<&'a Position>) -> Letter<'a> {
        Letter {
            origin: Origin::Source { topic: self.topic.as_deref(), position },
            key: self.key.as_ref(),
            value: self.value.as_ref(),
            headers: &self.headers,
            timestamp: self.timestamp,
        }
    }
}

fn bytes_of(datum: &Datum) -> Option<Blob> {
    match &datum.value {
        Value::Null | Value::Payload(_) => None,
        Value::Bytes(bytes) => Some(bytes.clone()),
        Value::String(text) => Blob::whole(text.as_bytes().to_vec()).ok(),
        other => json(datum).or_else(|| Blob::whole(format!("{other:?}")).ok()),
    }
}

fn json(datum: &Datum) -> Option<Blob> {
    let plugin = Plugins::built_in().converter("JsonConverter")?;
    let settings = [("schemas.enable", "false"), ("converter.type", "value")];
    let settings: ConfigMap = settings.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    let mut converter = (plugin.make)(Settings::new(settings, plugin.info.config), Side::Value).ok()?;
    let mut buffer = Vec::new();
    let bytes = converter.encode("", &mut KafkaHeaders::new(), datum, &mut buffer).ok()??;
    Blob::whole(bytes.to_vec()).ok()
}
