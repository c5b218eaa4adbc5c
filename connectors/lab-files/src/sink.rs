//! The sink: each record becomes a file.
//!
//! A file is whole and synced before it has its name, and an offset is promised only when its folder is synced too. The
//! same record written again finds its own content and changes nothing. Payloads are written piece by piece. Reading
//! order: `sink/config.rs` (the keys), this file, then `sink/template.rs` and `sink/name.rs` (names), `sink/tree.rs` (the
//! folder).

mod config;
mod failure;
mod name;
mod template;
mod tree;

use std::borrow::Cow;
use std::sync::Arc;

use pipette_api::config::ConfigMap;
use pipette_api::plugin::BoxFuture;
use pipette_api::{
    ConnectError, Connector, ErrorKind, Metric, MetricInfo, Metrics, Offsets, Payload, Result, Settings, SinkBatch,
    SinkContext, SinkRecord, SinkTask, TopicPartition, Value, Wish, async_trait,
};
use xxhash_rust::xxh3::xxh3_64;

use crate::board::counter;
use crate::connector::writable;
use config::{OUTPUT_PATH, SinkSettings};
use name::Name;
use tree::{Draft, Placed, Tree};

pub use config::SINK_CONFIG;

/// The metrics, in the order in which [`Numbers`] has them.
pub(crate) static METRICS: [MetricInfo; 3] = [
    counter("lab_files_written_total", "Files written by the sink."),
    counter("lab_files_written_bytes_total", "Bytes of content in files written by the sink."),
    counter("lab_files_repeated_total", "Records whose file was there already with the same content."),
];

struct Numbers {
    written: Metric,
    bytes: Metric,
    repeated: Metric,
}

impl Numbers {
    fn register(metrics: &Metrics) -> Self {
        let [written, bytes, repeated] = METRICS.each_ref().map(|info| metrics.register(info, &[]));
        Self { written, bytes, repeated }
    }
}

/// Plans the sink: partitions are divided among tasks by Kafka.
pub(crate) struct LabFilesSinkConnector;

#[async_trait]
impl Connector for LabFilesSinkConnector {
    async fn task_configs(&mut self, max: usize) -> Result<Vec<ConfigMap>> {
        Ok(vec![ConfigMap::new(); max.max(1)])
    }
}

/// The live check at validate: the folder is there and can be written to.
pub(crate) fn probe(settings: Settings) -> BoxFuture<Vec<(&'static str, String)>> {
    Box::pin(async move {
        let folder = SinkSettings::read(&settings).map(|settings| settings.output);
        let wrong = folder.ok().and_then(|folder| writable(&folder).err());
        wrong.into_iter().map(|reason| (OUTPUT_PATH.info.name, reason)).collect()
    })
}

/// Writes files.
pub(crate) struct LabFilesSinkTask {
    settings: SinkSettings,
    raw: Settings,
    running: Option<Running>,
    /// The batch that could not be put as a whole, and how many of its records are done. Held, so that no other batch
    /// can look the same.
    halted: Option<(Arc<SinkBatch>, usize)>,
}

/// What a started task has.
struct Running {
    tree: Tree,
    context: SinkContext,
    numbers: Numbers,
}

impl LabFilesSinkTask {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let read = SinkSettings::read(settings)?;
        Ok(Self { settings: read, raw: settings.clone(), running: None, halted: None })
    }

    fn running(running: &mut Option<Running>) -> &mut Running {
        running.as_mut().unwrap_or_else(|| unreachable!("start comes first"))
    }

    /// Puts one record's file where it belongs. A data error is about this record alone.
    async fn write(&mut self, record: &SinkRecord) -> Result<()> {
        let settings = &self.settings;
        let Some(content) = settings.content(&record.record.value.value)? else { return Ok(()) };
        let text = settings.name.fill(record).map_err(|reason| ConnectError::data(format!("file.name: {reason}")))?;
        let name = Name::of(&text).map_err(|reason| ConnectError::data(format!("file.name: {reason}")))?;
        let Running { tree, context, numbers } = Self::running(&mut self.running);
        let mut draft = tree.draft()?;
        let bytes = match content {
            Content::Bytes(bytes) => {
                draft.write(&bytes)?;
                bytes.len() as u64
            }
            Content::Payload(payload) => copy(&*payload, &mut draft, context, &name).await?,
        };
        if context.common.signal.is_given_up() {
            return Err(ConnectError::fatal("The task was given up while it wrote; nothing it writes now counts"));
        }
        let origin = &record.origin;
        let mark = format!("-{}-{}", origin.tp, origin.offset);
        match tree.place(draft, &name, settings.collision, &mark)? {
            Placed::New => {
                numbers.written.add(1);
                numbers.bytes.add(i64::try_from(bytes).unwrap_or(i64::MAX));
            }
            Placed::Already => numbers.repeated.add(1),
        }
        Ok(())
    }
}

#[async_trait]
impl SinkTask for LabFilesSinkTask {
    async fn start(&mut self, context: SinkContext) -> Result<()> {
        let connector = format!("{:016x}-", xxh3_64(context.common.connector.as_bytes()));
        let mine = format!("{connector}{}-", context.id.task);
        let tree = Tree::new(self.settings.output.clone(), self.raw.reach().clone(), mine);
        // The first task looks after those that are not planned any more.
        let tasks: usize = self.raw.raw("tasks.max").and_then(|tasks| tasks.trim().parse().ok()).unwrap_or(usize::MAX);
        let is_gone = |file: &str| {
            let number = file.strip_prefix(&connector).and_then(|rest| rest.split('-').next()?.parse::<usize>().ok());
            context.id.task == 0 && number.is_some_and(|number| number >= tasks)
        };
        tree.clean(is_gone)?;
        let numbers = Numbers::register(&context.common.metrics);
        self.running = Some(Running { tree, context, numbers });
        Ok(())
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        let halted = self.halted.take().filter(|(halted, _)| Arc::ptr_eq(halted, &batch));
        for (index, record) in batch.records.iter().enumerate().skip(halted.map_or(0, |(_, done)| done)) {
            match self.write(record).await {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Data => {
                    Self::running(&mut self.running).context.runtime.report(&batch, index, error);
                }
                Err(error) => {
                    self.halted = Some((Arc::clone(&batch), index));
                    return Err(error.within(format!("{}, offset {}", record.origin.tp, record.origin.offset)));
                }
            }
        }
        Ok(())
    }

    async fn flush(&mut self, upto: &Offsets) -> Result<Offsets> {
        Self::running(&mut self.running).tree.sync()?;
        Ok(upto.clone())
    }

    async fn close(&mut self, _partitions: &[TopicPartition]) -> Result<()> {
        // A batch that was halted belonged to these partitions, or it will come again and be taken for a new one.
        self.halted = None;
        Ok(())
    }

    async fn stop(&mut self) -> Result<()> {
        self.running = None;
        Ok(())
    }
}

/// What a file is to hold.
enum Content<'a> {
    Bytes(Cow<'a, [u8]>),
    Payload(Arc<dyn Payload>),
}

impl SinkSettings {
    /// The content in a value; `None` when there is none and that is no error.
    fn content<'a>(&self, value: &'a Value) -> Result<Option<Content<'a>>> {
        let (value, named) = match &self.field {
            Some(path) if !value.is_null() => {
                let found = template::field(value, path).ok_or_else(|| {
                    ConnectError::data(format!("file.value.field: the record's value has no field {path}"))
                })?;
                (found, format!("The field {path}"))
            }
            _ => (value, "The value".to_owned()),
        };
        match value {
            Value::Null if self.ignores_null => Ok(None),
            Value::Null => Err(ConnectError::data(format!("{named} is null, and behavior.on.null.values=fail"))),
            Value::Bytes(bytes) => Ok(Some(Content::Bytes(bytes.as_bytes().into()))),
            Value::String(text) => Ok(Some(Content::Bytes(text.as_bytes().into()))),
            Value::Payload(payload) => Ok(Some(Content::Payload(Arc::clone(payload)))),
            value => {
                let mut plain = Vec::new();
                if pipette_java::append_plain(value, &mut plain) {
                    return Ok(Some(Content::Bytes(plain.into())));
                }
                Err(ConnectError::data(format!(
                    "{named} is of type {}, which is no content of a file: name the field that holds text or bytes in \
                     file.value.field, or make text of it with a converter or the transformation \
                     io.pipette.transforms.StructToJson$Value",
                    value.type_name()
                )))
            }
        }
    }
}

/// Writes a payload piece by piece; answers its length.
async fn copy(payload: &dyn Payload, draft: &mut Draft, context: &SinkContext, name: &Name) -> Result<u64> {
    let mut reader = payload.open(0, None).await.map_err(|error| error.within(name))?;
    let mut written = 0;
    while let Some(piece) = reader.next().await.map_err(|error| error.within(name))? {
        draft.write(&piece)?;
        written += piece.len() as u64;
        if context.common.signal.wish() == Wish::Stop {
            return Err(ConnectError::retriable(format!(
                "{name} was broken off after {written} bytes, because the task is stopped; it is written by its next start"
            )));
        }
    }
    match payload.len() {
        Some(len) if len != written => {
            Err(ConnectError::data(format!("{name}: the payload ended after {written} bytes and should have {len}")))
        }
        _ => Ok(written),
    }
}
