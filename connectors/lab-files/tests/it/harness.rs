//! The folders of a lab with the task that reads them, which the kit drives as the worker does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use connector_lab_files::SOURCE;
use pipette_api::{ConfigMap, ConnectError, Record, Result, SourceEntry, Value};
use pipette_kit::bench::DEADLINE;
use pipette_kit::source_harness::{bad, record};
use pipette_kit::{MapOffsets, Numbers, SourceHarness, build};

/// The folders of a test and what outlives a task: offsets and metrics.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
    pub(crate) config: ConfigMap,
    pub(crate) offsets: Arc<MapOffsets>,
    numbers: Arc<Numbers>,
}

impl Lab {
    /// Fast settling, MOVE, quarantine; `extra` wins.
    pub(crate) fn new(extra: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["in", "done", "bad"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut config = build::config(&[
            ("input.path", &path("in")),
            ("finished.path", &path("done")),
            ("error.path", &path("bad")),
            ("cleanup.policy", "MOVE"),
            ("topic", "lab"),
            ("poll.interval.ms", "100"),
            ("settle.interval.ms", "20"),
        ]);
        config.extend(build::config(extra));
        config.retain(|_, value| value != "-");
        Self { folder, config, offsets: Arc::default(), numbers: Arc::default() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path("in").join(name), content).unwrap();
    }

    /// The files below a folder, sorted, relative to it.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.path(name)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(self.path(name)).unwrap().display().to_string());
                }
            }
        }
        found.sort();
        found
    }

    pub(crate) fn metric(&self, name: &'static str) -> i64 {
        self.numbers.get(name, &[]).unwrap()
    }

    /// How many files have an offset.
    pub(crate) fn stored(&self) -> usize {
        self.offsets.all().len()
    }

    /// A new task, which goes on at the lab's offsets. Dropped, it has crashed.
    pub(crate) fn start(&self) -> Result<SourceHarness> {
        let mut task = SourceHarness::new(&SOURCE, self.config.clone())?;
        task.offsets = Arc::clone(&self.offsets);
        task.bench.numbers = Arc::clone(&self.numbers);
        task.start()?;
        Ok(task)
    }
}

/// The answer to `GET /connectors/{name}/files`.
pub(crate) fn files(task: &SourceHarness) -> serde_json::Value {
    let answer = (SOURCE.questions[0].answer)(&task.bench.common().shared, &BTreeMap::new()).unwrap();
    serde_json::from_str(&answer).unwrap()
}

/// Polls and settles until the condition holds; the records and errors that came meanwhile.
pub(crate) fn until(task: &mut SourceHarness, enough: impl Fn(&[SourceEntry]) -> bool) -> Vec<SourceEntry> {
    let mut said = task.settle_until(enough).unwrap();
    said.retain(|entry| record(entry).is_some() || bad(entry).is_some());
    said
}

/// Polls and settles until the task fails; what came before that.
pub(crate) fn until_error(task: &mut SourceHarness) -> (Vec<SourceEntry>, ConnectError) {
    let (begun, mut said) = (Instant::now(), Vec::new());
    while begun.elapsed() < DEADLINE {
        match task.poll() {
            Ok(more) => said.extend(more),
            Err(error) => return (said, error),
        }
        task.settle();
    }
    panic!("the task does not fail; it said {said:?}")
}

/// The records among what was said.
pub(crate) fn records(said: &[SourceEntry]) -> Vec<&Record> {
    said.iter().filter_map(record).collect()
}

pub(crate) fn errors(said: &[SourceEntry]) -> Vec<String> {
    said.iter().filter_map(bad).map(ConnectError::chain).collect()
}

/// A row as `name=text` pairs, or a line as it is.
pub(crate) fn show(record: &Record) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| "null".to_owned(), str::to_owned);
    match &record.value.value {
        Value::Struct(row) => {
            let cells = row.schema().fields().iter().zip(row.values());
            cells.map(|(field, value)| format!("{}={}", field.name, text(value))).collect::<Vec<_>>().join(" ")
        }
        value => text(value),
    }
}

pub(crate) fn header(record: &Record, name: &str) -> String {
    match &record.headers.last(name).unwrap_or_else(|| panic!("no header {name}")).value {
        Value::I64(number) | Value::Timestamp(number) => number.to_string(),
        value => value.as_str().unwrap_or_else(|| panic!("{name} is no text")).to_owned(),
    }
}
