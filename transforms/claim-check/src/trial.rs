//! What tests of `chunk.rs`, `split.rs` and `reassemble.rs` have in common: a topic in memory between both ends.

use std::sync::Arc;

use pipette_api::{
    Blob, Body, Collect, CollectPlugin, ConfigMap, EncodedRecord, Expand, ExpandPlugin, OffsetShape, Partition,
    Position, RawRecord, Result, Settings, TimestampType, TopicPartition,
};
use pipette_kit::Bench;

/// A step with the bench it runs on.
pub(crate) struct Trial<T: ?Sized> {
    pub(crate) bench: Bench,
    pub(crate) step: Box<T>,
}

fn config(pairs: &[(&str, &str)]) -> ConfigMap {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn expander(plugin: &ExpandPlugin, pairs: &[(&str, &str)]) -> Trial<dyn Expand> {
    let bench = Bench::new().unwrap();
    let step = (plugin.make)(Settings::new(config(pairs), plugin.info.config), bench.transform()).unwrap();
    Trial { bench, step }
}

pub(crate) fn collector(plugin: &CollectPlugin, pairs: &[(&str, &str)]) -> Trial<dyn Collect> {
    let bench = Bench::new().unwrap();
    let step = (plugin.make)(Settings::new(config(pairs), plugin.info.config), bench.transform()).unwrap();
    Trial { bench, step }
}

/// Everything that is wrong with a configuration.
pub(crate) fn errors(info: &pipette_api::Info, pairs: &[(&str, &str)]) -> String {
    let checked = info.config.check(&config(pairs));
    checked.into_iter().flat_map(|key| key.errors).collect::<Vec<_>>().join("\n")
}

impl Trial<dyn Expand> {
    /// All pieces of a record.
    pub(crate) fn all(&mut self, record: EncodedRecord, position: Option<&Position>) -> Result<Vec<EncodedRecord>> {
        self.step.begin(record, position)?;
        let mut pieces = Vec::new();
        while let Some(piece) = self.bench.run("next", self.step.next())?? {
            pieces.push(piece);
        }
        Ok(pieces)
    }
}

pub(crate) fn record(value: impl Into<Body>) -> EncodedRecord {
    let value = Some(value.into());
    EncodedRecord { topic: "t".into(), partition: None, key: None, value, headers: Vec::new(), timestamp: None }
}

pub(crate) fn bytes(bytes: impl Into<Vec<u8>>) -> Body {
    Body::Bytes(Blob::whole(bytes.into()).unwrap())
}

pub(crate) fn at(file: &str, mark: i64) -> Position {
    Position {
        partition: Arc::new(Partition::of("file", file)),
        shape: Arc::new(OffsetShape { marks: [Some("at"), None], ..OffsetShape::default() }),
        marks: [mark, 0],
    }
}

pub(crate) fn tp() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// A record as consumed, each a second after the one before it.
pub(crate) fn consumed(offset: i64, record: &EncodedRecord) -> RawRecord {
    RawRecord {
        tp: tp(),
        offset,
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record.headers.clone(),
        timestamp: Some(1_000_000 + offset * 1_000),
        timestamp_type: TimestampType::CreateTime,
    }
}

pub(crate) fn value(body: Option<&Body>) -> Vec<u8> {
    let bench = Bench::new().unwrap();
    match body {
        Some(Body::Bytes(bytes)) => bytes.as_bytes().to_vec(),
        Some(Body::Payload(payload)) => bench.run("reading", read(&**payload, 0, None)).unwrap().unwrap(),
        None => panic!("a value"),
    }
}

pub(crate) async fn read(payload: &dyn pipette_api::Payload, start: u64, len: Option<u64>) -> Result<Vec<u8>> {
    let mut reader = payload.open(start, len).await?;
    let mut all = Vec::new();
    while let Some(bytes) = reader.next().await? {
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

/// The text of a header.
pub(crate) fn header(record: &EncodedRecord, name: &str) -> Option<String> {
    let (_, value) = record.headers.iter().find(|(it, _)| &**it == name)?;
    Some(String::from_utf8(value.as_ref()?.as_bytes().to_vec()).unwrap())
}

/// Bytes that are not the same everywhere.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}
