//! FileStreamSource and FileStreamSink with trouble built in, for the proofs of `tests/it/proofs`: both panic as long as a
//! file of the user's choice exists, and the source says itself where its transactions end.
//!
//! Known only to a worker that is started with `pipette run --bench-plugins`.

use std::path::PathBuf;
use std::sync::Arc;

use pipette_api::{
    Assigned, Boundary, Datum, Info, Offsets, Plugin, Record, Result, Seeks, Settings, SinkBatch, SinkContext,
    SinkPlugin, SinkTask, SourceBatch, SourceContext, SourceEntry, SourcePlugin, SourceRecord, SourceTask,
    TopicPartition, Value, async_trait,
};

/// The key that names the file.
const PANICS_WHILE: &str = "panics.while";
/// The value of records that must never be seen.
const DRAFT: &str = "a draft, taken back";
/// After so many batches a transaction ends.
const BATCHES: usize = 3;

const fn info(class: &'static str, of: &Info) -> Info {
    Info {
        class,
        aliases: &[],
        version: env!("CARGO_PKG_VERSION"),
        about: "Panics while a file exists; for tests.",
        readme: "",
        config: of.config,
    }
}

/// The two plugins.
pub static PLUGINS: &[Plugin] = &[
    Plugin::Source(SourcePlugin {
        info: info("io.pipette.bench.TroubledFileSourceConnector", &connector_file::SOURCE.info),
        own_boundaries: |_| true,
        task: |settings| {
            let trouble = Trouble::new(&settings);
            let task = (connector_file::SOURCE.task)(settings.clone())?;
            let drafts = settings.raw("transaction.boundary") == Some("connector");
            Ok(Box::new(TroubledSource { task, trouble, drafts, batches: 0, held: None }))
        },
        ..connector_file::SOURCE
    }),
    Plugin::Sink(SinkPlugin {
        info: info("io.pipette.bench.TroubledFileSinkConnector", &connector_file::SINK.info),
        task: |settings| {
            let trouble = Trouble::new(&settings);
            Ok(Box::new(TroubledSink { task: (connector_file::SINK.task)(settings)?, trouble }))
        },
        ..connector_file::SINK
    }),
];

struct Trouble(Option<PathBuf>);

impl Trouble {
    fn new(settings: &Settings) -> Self {
        Self(settings.raw(PANICS_WHILE).map(PathBuf::from))
    }

    fn strike(&self) {
        assert!(!self.0.as_ref().is_some_and(|file| file.exists()), "a bug in this plugin, made for tests");
    }
}

/// Each transaction is three batches. Every second one is preceded by an aborted one of drafts.
struct TroubledSource {
    task: Box<dyn SourceTask>,
    trouble: Trouble,
    /// Whether they can be taken back.
    drafts: bool,
    /// Handed over since the start.
    batches: usize,
    /// What comes behind the drafts.
    held: Option<Vec<SourceEntry>>,
}

#[async_trait]
impl SourceTask for TroubledSource {
    async fn start(&mut self, context: SourceContext) -> Result<()> {
        self.task.start(context).await
    }

    async fn poll(&mut self) -> Result<SourceBatch> {
        self.trouble.strike();
        let entries = if let Some(held) = self.held.take() {
            held
        } else {
            let entries = self.task.poll().await?.entries;
            if self.drafts && self.batches.is_multiple_of(2 * BATCHES) && !entries.is_empty() {
                let drafts = entries.iter().filter_map(draft).collect();
                self.held = Some(entries);
                return Ok(SourceBatch { boundary: Boundary::Abort, ..SourceBatch::of(drafts) });
            }
            entries
        };
        // Nobody waits for the end of a transaction that nothing is added to.
        let ends = entries.is_empty() || (self.batches + 1).is_multiple_of(BATCHES);
        self.batches = if entries.is_empty() { 0 } else { self.batches + 1 };
        let boundary = if ends { Boundary::Commit } else { Boundary::Continue };
        Ok(SourceBatch { boundary, ..SourceBatch::of(entries) })
    }

    async fn stop(&mut self) -> Result<()> {
        self.task.stop().await
    }
}

/// A record for the same topic, without a position: taking it back moves nothing.
fn draft(entry: &SourceEntry) -> Option<SourceEntry> {
    let SourceEntry::Record(SourceRecord { record, .. }) = entry else { return None };
    let value = Datum::new(Arc::clone(record.value.schema.as_ref()?), Value::text(DRAFT));
    let record = Record { value, ..record.clone() };
    Some(SourceEntry::Record(SourceRecord { record, position: None }))
}

struct TroubledSink {
    task: Box<dyn SinkTask>,
    trouble: Trouble,
}

#[async_trait]
impl SinkTask for TroubledSink {
    async fn start(&mut self, context: SinkContext) -> Result<()> {
        self.task.start(context).await
    }

    async fn open(&mut self, assigned: &[Assigned]) -> Result<Seeks> {
        self.task.open(assigned).await
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        self.trouble.strike();
        self.task.put(batch).await
    }

    async fn flush(&mut self, upto: &Offsets) -> Result<Offsets> {
        self.task.flush(upto).await
    }

    async fn close(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.task.close(partitions).await
    }

    async fn stop(&mut self) -> Result<()> {
        self.task.stop().await
    }
}
