//! The laws of configurations and the golden cases (`pieces/*.json`) of what makes several records of one, or one of several.
//! A value is a text, or a text so many times.
#![allow(clippy::unwrap_used)] // clippy takes only `#[test]` functions for tests

use std::sync::Arc;

use pipette_api::{
    Blob, Body, Collect, ConfigMap, EncodedRecord, Expand, KafkaHeaders, OffsetShape, Partition, Plugin, Position,
    RawRecord, Settings, TimestampType, TopicPartition,
};
use pipette_kit::{Bench, config_laws};
use serde_json::Value;
use transform_claim_check::PLUGINS;

fn steps() -> impl Iterator<Item = &'static Plugin> {
    PLUGINS.iter().filter(|plugin| matches!(plugin, Plugin::Expand(_) | Plugin::Collect(_)))
}

fn blob(text: &Value) -> Option<Blob> {
    let text = match text {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        many => many["text"].as_str().unwrap().repeat(usize::try_from(many["times"].as_u64().unwrap()).unwrap()),
    };
    Some(Blob::whole(text).unwrap())
}

/// Key, value and headers.
type Parts = (Option<Blob>, Option<Blob>, KafkaHeaders);

fn parts(record: &Value) -> Parts {
    let headers = record["headers"].as_object().unwrap();
    let headers = headers.iter().map(|(name, text)| (name.as_str().into(), blob(text))).collect();
    (blob(&record["key"]), blob(&record["value"]), headers)
}

fn bytes(body: Option<Body>) -> Blob {
    match body {
        Some(Body::Bytes(bytes)) => bytes,
        other => panic!("no bytes: {other:?}"),
    }
}

fn expanded(mut step: Box<dyn Expand>, bench: &Bench, (key, value, headers): Parts) -> Vec<Parts> {
    let partition = Arc::new(Partition::of("file", "a.tif"));
    let shape = Arc::new(OffsetShape { marks: [Some("at"), None], ..OffsetShape::default() });
    let value = value.map(Body::Bytes);
    let record = EncodedRecord { topic: "t".into(), partition: None, key, value, headers, timestamp: None };
    step.begin(record, Some(&Position { partition, shape, marks: [1, 0] })).unwrap();
    let next = || bench.run("next", step.next()).unwrap().unwrap();
    std::iter::from_fn(next).map(|piece| (piece.key, Some(bytes(piece.value)), piece.headers)).collect()
}

fn collected(mut step: Box<dyn Collect>, records: Vec<Parts>) -> Vec<Parts> {
    let raw = |(offset, (key, value, headers)): (i64, Parts)| RawRecord {
        tp: TopicPartition::new("t", 0),
        offset,
        key,
        value: value.map(Body::Bytes),
        headers,
        timestamp: None,
        timestamp_type: TimestampType::NotAvailable,
    };
    let whole = (0..).zip(records).map(raw).filter_map(|raw| step.collect(raw).unwrap());
    whole.map(|raw| (raw.key, Some(bytes(raw.value)), raw.headers)).collect()
}

#[test]
fn configurations() {
    steps().for_each(|plugin| config_laws::hold(plugin.info(), &[]));
}

#[test]
fn golden_cases() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/pieces");
    let mut tested = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        for case in cases {
            let plugin = steps().find(|plugin| plugin.info().answers_to(case["plugin"].as_str().unwrap())).unwrap();
            let config = case["config"].as_object().unwrap().iter();
            let config: ConfigMap =
                config.map(|(key, text)| (key.clone(), text.as_str().unwrap().to_owned())).collect();
            let settings = Settings::new(config, plugin.info().config);
            let bench = Bench::new().unwrap();
            let mut input: Vec<_> = case["input"]["records"].as_array().unwrap().iter().map(parts).collect();
            let found = match plugin {
                Plugin::Expand(plugin) => {
                    expanded((plugin.make)(settings, bench.transform()).unwrap(), &bench, input.remove(0))
                }
                Plugin::Collect(plugin) => collected((plugin.make)(settings, bench.transform()).unwrap(), input),
                _ => unreachable!("chosen above"),
            };
            let expected: Vec<_> = case["output"]["records"].as_array().unwrap().iter().map(parts).collect();
            assert_eq!(found, expected, "{}", case["name"]);
            tested.push(plugin.info().class);
        }
    }
    assert!(steps().all(|plugin| tested.contains(&plugin.info().class)), "{tested:?}");
}
