//! The three converters of a task: records to bytes for sources, bytes to records for sinks.

use std::sync::Arc;

use pipette_api::{
    Blob, Body, ConnectError, Converter, Datum, HeaderConverter, Headers, KafkaHeaders, RawRecord, Record, Result, Side,
};

use super::guard::Stage;
use super::spec::Converters;
use crate::kafka::producer::Outgoing;

/// The converters with the buffers they write into.
pub struct Codec {
    key: Box<dyn Converter>,
    value: Box<dyn Converter>,
    header: Box<dyn HeaderConverter>,
    key_buffer: Vec<u8>,
    value_buffer: Vec<u8>,
    header_buffer: Vec<u8>,
    headers: KafkaHeaders,
    /// Of key, value and headers.
    classes: [&'static str; 3],
}

/// An error and where it happened.
pub type Staged<T> = std::result::Result<T, (Stage, ConnectError)>;

impl Codec {
    /// Makes the converters.
    pub fn new(converters: &Converters) -> Result<Self> {
        let (key, value, header) = (&converters.key, &converters.value, &converters.header);
        Ok(Self {
            key: (key.0.make)(key.1.clone(), Side::Key).map_err(|error| error.within("key.converter"))?,
            value: (value.0.make)(value.1.clone(), Side::Value).map_err(|error| error.within("value.converter"))?,
            header: (header.0.make)(header.1.clone()).map_err(|error| error.within("header.converter"))?,
            key_buffer: Vec::new(),
            value_buffer: Vec::new(),
            header_buffer: Vec::new(),
            headers: KafkaHeaders::new(),
            classes: [key.0.info.class, value.0.info.class, header.0.info.class],
        })
    }

    /// The class of the converter of a stage, as Java calls it.
    pub fn class(&self, stage: Stage) -> &'static str {
        let [key, value, header] = self.classes;
        match stage {
            Stage::KeyConverter => key,
            Stage::HeaderConverter => header,
            _ => value,
        }
    }

    /// A record in Kafka's form; it borrows the record and this codec's buffers.
    pub fn encode<'a>(&'a mut self, record: &'a Record) -> Staged<Outgoing<'a>> {
        let topic = &*record.topic;
        self.headers.clear();
        for (name, datum) in &record.headers.0 {
            let bytes = self.header.encode(topic, name, datum, &mut self.header_buffer);
            let value = match bytes {
                Ok(None) => Ok(None),
                Ok(Some(bytes)) => Blob::whole(bytes.to_vec()).map(Some),
                Err(error) => Err(error.within(format!("header \"{name}\""))),
            };
            self.headers.push((Arc::clone(name), value.map_err(|error| (Stage::HeaderConverter, error))?));
        }
        let key = self
            .key
            .encode(topic, &mut self.headers, &record.key, &mut self.key_buffer)
            .map_err(|error| (Stage::KeyConverter, error))?;
        let value = self
            .value
            .encode(topic, &mut self.headers, &record.value, &mut self.value_buffer)
            .map_err(|error| (Stage::ValueConverter, error))?;
        Ok(Outgoing {
            topic,
            partition: record.partition,
            key,
            value,
            headers: &self.headers,
            timestamp: record.timestamp,
        })
    }

    /// A record of what was consumed; its strings and bytes are spans of the batch's buffer.
    pub fn decode(&mut self, raw: &RawRecord) -> Staged<Record> {
        let topic = &*raw.tp.topic;
        let key =
            self.key.decode(topic, &raw.headers, raw.key.as_ref()).map_err(|error| (Stage::KeyConverter, error))?;
        let value = match &raw.value {
            None => self.value.decode(topic, &raw.headers, None),
            Some(Body::Bytes(bytes)) => self.value.decode(topic, &raw.headers, Some(bytes)),
            Some(Body::Payload(payload)) => Ok(Datum::schemaless(pipette_api::Value::Payload(Arc::clone(payload)))),
        }
        .map_err(|error| (Stage::ValueConverter, error))?;
        let mut headers = Headers(Vec::with_capacity(raw.headers.len()));
        for (name, value) in &raw.headers {
            let datum = self
                .header
                .decode(topic, name, value.as_ref())
                .map_err(|error| (Stage::HeaderConverter, error.within(format!("header \"{name}\""))))?;
            headers.0.push((Arc::clone(name), datum));
        }
        Ok(Record {
            topic: Arc::clone(&raw.tp.topic),
            partition: Some(raw.tp.partition),
            key,
            value,
            headers,
            timestamp: raw.timestamp,
            offset: Some(raw.offset),
        })
    }
}
