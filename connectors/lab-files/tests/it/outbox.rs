//! An output folder with the sink task that writes into it, and payloads of any size and temper.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use connector_lab_files::SINK;
use pipette_api::{ConnectError, Datum, Payload, PayloadReader, Result, SinkBatch, TopicPartition, Value, async_trait};
use pipette_kit::{SinkHarness, build};

/// The output folder of a test; `config` can be changed before a start.
pub(crate) struct Outbox {
    folder: tempfile::TempDir,
    pub(crate) config: pipette_api::ConfigMap,
}

impl Outbox {
    pub(crate) fn new(extra: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out");
        std::fs::create_dir(&output).unwrap();
        let mut config = build::config(&[("output.path", output.to_str().unwrap()), ("tasks.max", "2")]);
        config.extend(build::config(extra));
        Self { folder, config }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("out").join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The files below the folder, sorted; those that are being written too.
    pub(crate) fn list(&self) -> Vec<String> {
        let (mut folders, mut files) = (vec![self.path("")], Vec::new());
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() { &mut folders } else { &mut files }.push(path);
            }
        }
        let mut names: Vec<_> =
            files.iter().map(|file| file.strip_prefix(self.path("")).unwrap().display().to_string()).collect();
        names.sort();
        names
    }

    /// A started task with one partition.
    pub(crate) fn start(&self) -> Result<SinkHarness> {
        let mut task = SinkHarness::new(&SINK, self.config.clone())?;
        task.start()?;
        task.open(&[partition()])?;
        Ok(task)
    }
}

pub(crate) fn partition() -> TopicPartition {
    TopicPartition::new("reads", 0)
}

/// Puts values; panics when the sink does not take them.
pub(crate) fn put(task: &mut SinkHarness, values: &[Datum]) {
    task.put(&partition(), values.to_vec()).unwrap().1.unwrap();
}

/// Puts one record with a header that names its file.
pub(crate) fn put_as(task: &mut SinkHarness, name: &str, offset: i64, value: Datum) -> Result<()> {
    let mut record = build::sink_record(&partition(), offset, value);
    record.record.headers.add("file.name", build::text(name));
    task.put_again(&Arc::new(SinkBatch { records: vec![record] })).unwrap()
}

/// The texts of what was reported.
pub(crate) fn reported(task: &SinkHarness) -> Vec<String> {
    task.runtime.reports().into_iter().map(|report| report.message).collect()
}

/// A payload of equal bytes in pieces of a mebibyte, none of which is kept.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    pub(crate) declared: u64,
    /// Bytes that come before it ends.
    pub(crate) real: u64,
    /// The error it ends with; the first time it is opened, or each time.
    pub(crate) error: Option<fn() -> ConnectError>,
    pub(crate) once: bool,
    pub(crate) opened: AtomicU32,
}

impl Stream {
    pub(crate) fn value(self) -> Datum {
        Datum::schemaless(Value::Payload(Arc::new(self)))
    }

    pub(crate) fn of(len: u64) -> Self {
        Self { declared: len, real: len, ..Self::default() }
    }
}

#[async_trait]
impl Payload for Stream {
    fn len(&self) -> Option<u64> {
        Some(self.declared)
    }

    async fn open(&self, _: u64, _: Option<u64>) -> Result<Box<dyn PayloadReader>> {
        let first = self.opened.fetch_add(1, Ordering::Relaxed) == 0;
        let error = self.error.filter(|_| first || !self.once);
        Ok(Box::new(Pieces { left: self.real, error }))
    }
}

struct Pieces {
    left: u64,
    error: Option<fn() -> ConnectError>,
}

static PIECE: [u8; 1 << 20] = [b'p'; 1 << 20];

#[async_trait]
impl PayloadReader for Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE.len());
        if len == 0 {
            return self.error.take().map_or(Ok(None), |error| Err(error()));
        }
        self.left -= len as u64;
        Ok(Some(Bytes::from_static(&PIECE[..len])))
    }
}
