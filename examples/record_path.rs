//! Nanoseconds per record on the way of JSON through a sink task, in batches as the task has them: converter,
//! ReplaceField, InsertField, then FileStreamSink into /dev/null, JSON text, or nothing.
//!
//! `cargo build --profile perf --example record_path`, then the binary; an argument picks measurements by a part of their
//! name.
#![allow(clippy::print_stdout, clippy::expect_used)]

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use pipette_api::{
    Blob, Body, ConfigMap, Converter, Plugin, RawRecord, Record, Settings, Side, SinkBatch, SinkRecord, SinkTask,
    TimestampType, TopicPartition, Transform,
};

const BATCH: usize = 500;
const RECORD_BYTES: usize = 720;

/// What the fields of an envelope's schema are called and which types they have.
const SCHEMA: &str = concat!(
    r#"{"type":"struct","fields":[{"type":"string","optional":false,"field":"sample_id"},"#,
    r#"{"type":"string","optional":false,"field":"instrument"},{"type":"string","optional":true,"field":"operator"},"#,
    r#"{"type":"string","optional":false,"field":"method"},{"type":"string","optional":false,"field":"started_at"},"#,
    r#"{"type":"string","optional":true,"field":"finished_at"},{"type":"double","optional":false,"field":"injection_ul"},"#,
    r#"{"type":"double","optional":false,"field":"column_c"},{"type":"int64","optional":false,"field":"peak_area"},"#,
    r#"{"type":"int32","optional":false,"field":"cycles"},{"type":"boolean","optional":false,"field":"passed"},"#,
    r#"{"type":"string","optional":true,"field":"approved_by"},{"type":"array","items":{"type":"struct","fields":["#,
    r#"{"type":"string","optional":false,"field":"name"},{"type":"double","optional":false,"field":"minute"},"#,
    r#"{"type":"int64","optional":false,"field":"area"},{"type":"boolean","optional":false,"field":"ok"}],"#,
    r#""optional":false},"optional":false,"field":"peaks"},{"type":"string","optional":true,"field":"checksum"},"#,
    r#"{"type":"string","optional":true,"field":"comment"}],"optional":false,"name":"lab.Result","version":1}"#,
);

/// A record of 720 bytes: 15 members, one an array of six objects, some text beyond ASCII.
fn record(n: usize) -> String {
    let mut seed = u64::try_from(n).expect("small").wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let peaks: Vec<String> = ["void", "theobromine", "caffeine", "paraxanthine", "IS", "tailing"]
        .iter()
        .map(|name| {
            let (minute, area, ok) = (next(90_000), next(9_000_000), next(10) > 0);
            format!(
                r#"{{"name":"{name}","minute":{}.{:04},"area":{area},"ok":{ok}}}"#,
                minute / 10_000,
                (minute % 10_000) | 1
            )
        })
        .collect();
    let (day, second) = (next(28) + 1, next(60));
    let mut text = format!(
        concat!(
            r#"{{"sample_id":"LAB-2024-{:06}-A","instrument":"hplc-1290-02","operator":"Zoë Müller","#,
            r#""method":"caffeine_v7","started_at":"2024-03-{:02}T09:41:{:02}.318Z","#,
            r#""finished_at":"2024-03-{:02}T10:02:{:02}.004Z","injection_ul":{}.25,"column_c":40.0,"#,
            r#""peak_area":{},"cycles":{},"passed":{},"approved_by":null,"peaks":[{}],"checksum":"{:016x}","comment":""#
        ),
        n,
        day,
        second,
        day,
        second,
        next(9) + 1,
        next(9_000_000),
        next(40),
        next(10) > 1,
        peaks.join(","),
        next(u64::MAX) << 31 | next(u64::MAX),
    );
    let comment = "2 µL, Säule neu; the baseline drifted before the peak, limits set by hand and reviewed by the lead";
    for character in comment.chars().chain(std::iter::repeat('.')) {
        if text.len() + character.len_utf8() + 2 > RECORD_BYTES {
            break;
        }
        text.push(character);
    }
    while text.len() + 2 < RECORD_BYTES {
        text.push('.');
    }
    text.push_str("\"}");
    text
}

fn batch(envelope: bool) -> Vec<RawRecord> {
    let texts = (0..BATCH).map(record);
    let texts: Vec<String> = if envelope {
        texts.map(|text| format!(r#"{{"schema":{SCHEMA},"payload":{text}}}"#)).collect()
    } else {
        texts.collect()
    };
    assert!(envelope || texts.iter().all(|text| text.len() == RECORD_BYTES), "{}", texts[0]);
    let buffer = Blob::whole(texts.concat()).expect("small");
    let (topic, mut start): (Arc<str>, u32) = ("lab-results".into(), 0);
    let raw = |(offset, text): (i64, &String)| {
        let len = u32::try_from(text.len()).expect("small");
        start += len;
        RawRecord {
            tp: TopicPartition { topic: Arc::clone(&topic), partition: 0 },
            offset,
            key: None,
            value: Some(Body::Bytes(buffer.slice(start - len, len))),
            headers: Vec::new(),
            timestamp: Some(1_700_000_000_000 + offset),
            timestamp_type: TimestampType::CreateTime,
        }
    };
    (0..).zip(&texts).map(raw).collect()
}

/// The parts of a sink task that touch the record.
struct Path {
    converter: Box<dyn Converter>,
    chain: Vec<Box<dyn Transform>>,
    sink: Box<dyn SinkTask>,
    buffer: Vec<u8>,
}

fn settings(plugin: &Plugin, pairs: &[(&str, &str)]) -> Settings {
    let config: ConfigMap = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Settings::new(config, plugin.info().config)
}

fn plugin<'a>(plugins: &'a [Plugin], kind: &str, alias: &str) -> &'a Plugin {
    let named = |plugin: &&Plugin| plugin.kind() == kind && plugin.info().aliases.contains(&alias);
    plugins.iter().find(named).expect("it is built in")
}

impl Path {
    fn new(envelope: bool) -> Self {
        let json = plugin(pipette::convert::PLUGINS, "converter", "Json");
        let schemas = if envelope { "true" } else { "false" };
        let Plugin::Converter(made) = json else { unreachable!("asked for") };
        let converter = (made.make)(settings(json, &[("schemas.enable", schemas)]), Side::Value).expect("valid");
        let transform = |alias: &str, pairs: &[(&str, &str)]| {
            let plugin = plugin(transform_standard::PLUGINS, "transformation", alias);
            let Plugin::Transform(made) = plugin else { unreachable!("asked for") };
            (made.make)(settings(plugin, pairs)).expect("valid")
        };
        let chain = vec![
            transform("ReplaceField$Value", &[("exclude", "approved_by,checksum"), ("renames", "cycles:n_cycles")]),
            transform(
                "InsertField$Value",
                &[("topic.field", "topic"), ("timestamp.field", "at"), ("offset.field", "o")],
            ),
        ];
        let file = plugin(connector_file::PLUGINS, "sink", "FileStreamSink");
        let Plugin::Sink(made) = file else { unreachable!("asked for") };
        let sink = (made.task)(settings(file, &[("file", "/dev/null")])).expect("valid");
        Self { converter, chain, sink, buffer: Vec::new() }
    }

    fn decode(&mut self, raw: &RawRecord) -> Record {
        let Some(Body::Bytes(bytes)) = &raw.value else { unreachable!("made so") };
        let value = self.converter.decode(&raw.tp.topic, &raw.headers, Some(bytes)).expect("valid");
        Record {
            partition: Some(raw.tp.partition),
            timestamp: raw.timestamp,
            offset: Some(raw.offset),
            ..Record::new(Arc::clone(&raw.tp.topic), value)
        }
    }

    /// What the task does before `put`.
    fn prepare(&mut self, raw: &[RawRecord], transformed: bool) -> Vec<SinkRecord> {
        let prepared = raw.iter().map(|origin| {
            let mut record = self.decode(origin);
            for transform in self.chain.iter_mut().filter(|_| transformed) {
                transform.apply(&mut record).expect("a map or struct");
            }
            SinkRecord { record, origin: origin.clone() }
        });
        prepared.collect()
    }

    fn put(&mut self, records: Vec<SinkRecord>) {
        let mut put = pin!(self.sink.put(Arc::new(SinkBatch { records })));
        match put.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => done.expect("written"),
            Poll::Pending => unreachable!("the file sink writes in put"),
        }
    }

    fn encode(&mut self, records: &[SinkRecord]) {
        for SinkRecord { record, .. } in records {
            let bytes = self.converter.encode(&record.topic, &mut Vec::new(), &record.value, &mut self.buffer);
            black_box(bytes.expect("it was read"));
        }
    }
}

fn main() {
    let only = std::env::args().nth(1).unwrap_or_default();
    for envelope in [false, true] {
        let raw = batch(envelope);
        let mut path = Path::new(envelope);
        let form = if envelope { "envelope" } else { "schemaless" };
        let bytes = raw[0].value.as_ref().map_or(0, |body| match body {
            Body::Bytes(bytes) => bytes.len(),
            Body::Payload(_) => 0,
        });
        println!("{form}: {bytes} bytes in a record, {BATCH} records in a batch");
        let mut measure = |what: &str, run: &mut dyn FnMut(&mut Path)| {
            let what = format!("{form} {what}");
            if only.is_empty() || what.contains(&only) {
                println!("  {what}: {} ns", best(|| run(&mut path)));
            }
        };
        measure("nothing", &mut |_| drop(black_box(raw.clone())));
        measure("decode, drop", &mut |path| drop(black_box(path.prepare(&raw, false))));
        measure("decode, transform, drop", &mut |path| drop(black_box(path.prepare(&raw, true))));
        measure("decode, transform, text, drop", &mut |path| {
            let records = path.prepare(&raw, true);
            path.put(records);
        });
        let records = Path::new(envelope).prepare(&raw, true);
        measure("json", &mut |path| path.encode(&records));
        measure("text", &mut |path| path.put(records.clone()));
        measure("clone, drop", &mut |_| drop(black_box(records.clone())));
    }
}

/// Nanoseconds per record, the best of many batches: this machine does other things too.
fn best(mut run: impl FnMut()) -> u128 {
    let batch = u128::try_from(BATCH).expect("small");
    let runs = (0..1500).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_nanos() / batch
    });
    runs.min().unwrap_or_default()
}
