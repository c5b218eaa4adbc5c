//! How often a pass-through asks the allocator: lines of a file into Kafka, strings from Kafka into a file. Counted on
//! the task's own thread, for a second batch that is as large as the first.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use pipette_api::record::TimestampType;
use pipette_api::{
    Blob, Body, ConfigMap, Info, Offsets, RawRecord, Settings, Signal, SinkPlugin, SinkTask, SourcePlugin, SourceTask,
    TaskId, TopicPartition, Wish,
};
use pipette_kit::{Bench, MapOffsets, RecordingRuntime};
use tokio::sync::{mpsc, watch};

use crate::budget::Share;
use crate::kafka::consumer::{Subscription, TaskConsumer};
use crate::kafka::properties::{self, ClientProperties};
use crate::metrics::WorkerMetrics;
use crate::metrics::meters::{ErrorMeters, SinkMeters, SourceMeters};
use crate::plugins::Plugins;
use crate::settings::fetch::DirectFetch;
use crate::store::files::FileStore;
use crate::task::chain::Chain;
use crate::task::codec::Codec;
use crate::task::commits::Commits;
use crate::task::guard::Guard;
use crate::task::outbox::Outbox;
use crate::task::progress::Progress;
use crate::task::refusals::Refusals;
use crate::task::sink::SinkLoop;
use crate::task::source::SourceLoop;
use crate::task::spec::{Converters, ErrorPolicy};
use crate::task::stage::line::Line;
use crate::task::thread::Reporter;
use crate::task::topics::Topics;

const BATCH: usize = 500;
/// What a batch may cost whatever its size: its list of records, its buffer, a timer, a wake-up.
const PER_BATCH: u64 = 10;

/// Nobody listens there: librdkafka takes records and keeps them.
fn worker() -> ConfigMap {
    ConfigMap::from([("bootstrap.servers".into(), "127.0.0.1:1".into())])
}

fn settings(info: &Info, pairs: &[(&str, &str)]) -> Settings {
    let map: ConfigMap = pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    Settings::new(map, info.config)
}

fn codec() -> Codec {
    let plugins = Plugins::built_in();
    let text = plugins.converter("StringConverter").unwrap();
    let header = plugins.header_converter("SimpleHeaderConverter").unwrap();
    let converter = || (text, settings(&text.info, &[]));
    Codec::new(&Converters { key: converter(), value: converter(), header: (header, settings(&header.info, &[])) })
        .unwrap()
}

struct Rig {
    bench: Bench,
    codec: Codec,
    guard: Guard,
    signal: Signal,
    reporter: Reporter,
    metrics: pipette_api::Metrics,
    _wish: watch::Sender<Wish>,
}

fn rig() -> Rig {
    let metrics = WorkerMetrics::new().connector("c");
    let (wish, wished) = watch::channel(Wish::Run);
    let reporter = Reporter::new(TaskId { connector: "c".into(), task: 0 }, 1, mpsc::unbounded_channel().0);
    let guard = Guard::new(ErrorPolicy::default(), ErrorMeters::new(&metrics, 0));
    let (bench, signal) = (Bench::new().unwrap(), Signal::new(wished));
    Rig { bench, codec: codec(), guard, signal, reporter, metrics, _wish: wish }
}

fn source_plugin() -> &'static SourcePlugin {
    match Plugins::built_in().connector("FileStreamSource").unwrap() {
        crate::plugins::ConnectorPlugin::Source(plugin) => plugin,
        crate::plugins::ConnectorPlugin::Sink(_) => unreachable!("a source"),
    }
}

fn sink_plugin() -> &'static SinkPlugin {
    match Plugins::built_in().connector("FileStreamSink").unwrap() {
        crate::plugins::ConnectorPlugin::Sink(plugin) => plugin,
        crate::plugins::ConnectorPlugin::Source(_) => unreachable!("a sink"),
    }
}

/// Lines of 100 bytes, so that both batches fit into one read of the file.
fn line(number: usize) -> String {
    format!("{number:099}\n")
}

#[test]
fn lines_of_a_file_reach_librdkafka_with_one_allocation_each() {
    let rig = rig();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lines.txt");
    std::fs::write(&file, (0..4 * BATCH).map(line).collect::<String>()).unwrap();
    let store = FileStore::open(&folder.path().join("state")).unwrap();
    let producer = properties::producer(&worker(), &ConfigMap::new(), "p").unwrap();
    let commits = Commits::new("c".into(), store.offset_store(), Duration::from_mins(1));
    let mut source = SourceLoop {
        chain: Chain::default(),
        line: Line::default(),
        expander: None,
        codec: rig.codec,
        guard: rig.guard,
        topics: Topics::new(None, ClientProperties::new(), None),
        outbox: Outbox::new(
            producer,
            commits,
            rig.signal.clone(),
            SourceMeters::new(&rig.metrics, 0, crate::settings::metrics::Sampling::default()),
        ),
        signal: rig.signal,
        drain_timeout: Duration::ZERO,
        reporter: rig.reporter,
        pulse: std::sync::Arc::default(),
        share: Share::ample("c"),
        batch_bytes: 0,
        inline: 1_000_000,
    };
    let plugin = source_plugin();
    let config = [("file", file.to_str().unwrap()), ("topic", "t"), ("batch.size", "500")];
    let mut task: Box<dyn SourceTask> = (plugin.task)(settings(&plugin.info, &config)).unwrap();
    let context = rig.bench.source(0, Arc::new(MapOffsets::default()));
    rig.bench.run("start", task.start(context)).unwrap().unwrap();
    let mut round = || {
        let turn = async {
            let batch = task.poll().await.unwrap();
            assert_eq!(batch.entries.len(), BATCH);
            assert!(source.take(batch).await.is_ok(), "sent");
        };
        rig.bench.run("a batch", turn).unwrap();
    };
    round();
    let counted = measure(round).count_total;
    // rdkafka makes a C string of the topic's name for each record.
    assert!(counted <= BATCH as u64 + PER_BATCH, "{counted} allocations for {BATCH} records");
}

#[test]
fn strings_from_kafka_reach_a_file_without_an_allocation_each() {
    let rig = rig();
    let folder = tempfile::tempdir().unwrap();
    let consumer = properties::consumer(&worker(), &ConfigMap::new(), "c", "connect-c").unwrap();
    let topics = Subscription::Topics(vec!["t".into()]);
    let (_requests, asked) = mpsc::unbounded_channel();
    let mut sink = SinkLoop {
        chain: Chain::default(),
        line: Line::default(),
        collector: None,
        codec: rig.codec,
        guard: rig.guard,
        dead_letters: None,
        consumer: TaskConsumer::start(
            (&consumer, DirectFetch::Auto),
            &topics,
            "c-0",
            Share::ample("c"),
            rig.signal.clone(),
        )
        .unwrap(),
        requests: asked,
        signal: rig.signal,
        flush_interval: Duration::from_mins(1),
        flush_timeout: Duration::from_secs(1),
        reporter: rig.reporter,
        pulse: std::sync::Arc::default(),
        flushing: crate::task::flush::Flushing::default(),
        flush_at: tokio::time::Instant::now(),
        progress: Progress::default(),
        refusals: Refusals::new(0),
        followed: Wish::Run,
        backlog: VecDeque::new(),
        meters: SinkMeters::new(&rig.metrics, 0, crate::settings::metrics::Sampling::default()),
    };
    let mut task = file_sink(&rig.bench, &folder.path().join("out.txt"));
    let mut round = |raw| {
        let turn = async { sink.records(&mut *task, raw, Offsets::new()).await.map_err(|_| "failed") };
        rig.bench.run("a batch", turn).unwrap().unwrap();
    };
    round(consumed());
    let second = consumed();
    let counted = measure(|| round(second)).count_total;
    assert!(counted <= PER_BATCH, "{counted} allocations for {BATCH} records");
    let written = std::fs::read_to_string(folder.path().join("out.txt")).unwrap();
    assert_eq!(written.lines().count(), 2 * BATCH);
}

fn file_sink(bench: &Bench, path: &Path) -> Box<dyn SinkTask> {
    let plugin = sink_plugin();
    let mut task = (plugin.task)(settings(&plugin.info, &[("file", path.to_str().unwrap())])).unwrap();
    let context = bench.sink(0, Arc::new(RecordingRuntime::default()));
    bench.run("start", task.start(context)).unwrap().unwrap();
    task
}

/// A batch as `kafka/batch.rs` makes it: one buffer, and spans of it.
fn consumed() -> Vec<RawRecord> {
    let buffer = Blob::whole((0..BATCH).map(line).collect::<String>()).unwrap();
    let tp = TopicPartition::new("t", 0);
    let record = |index: u32| RawRecord {
        tp: tp.clone(),
        offset: i64::from(index),
        key: None,
        value: Some(Body::Bytes(buffer.slice(index * 100, 99))),
        headers: Vec::new(),
        timestamp: Some(0),
        timestamp_type: TimestampType::CreateTime,
    };
    (0..u32::try_from(BATCH).unwrap()).map(record).collect()
}
