//! A worker small enough for a test: it starts the task, takes its batches, keeps an offset store, and runs hooks when
//! the test says that Kafka and the store have them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipette_api::{
    ConfigMap, Context, Hook, Metric, MetricInfo, Metrics, OffsetMap, OffsetReader, Partition, Plugin, Record,
    Registry, Result, Settings, Shared, Signal, SourceBatch, SourceContext, SourceEntry, SourcePlugin, SourceTask,
    TaskId, Value, Wish, async_trait,
};
use tokio::sync::watch;

/// Nothing here takes this long; a test that waits longer has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) fn plugin() -> &'static SourcePlugin {
    match &connector_lab_files::PLUGINS[0] {
        Plugin::Source(plugin) => plugin,
        _ => unreachable!("the crate has one source"),
    }
}

/// The folders of a test and what outlives a task: offsets, metrics, shared values.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
    pub(crate) config: ConfigMap,
    pub(crate) offsets: Arc<Offsets>,
    pub(crate) shared: Shared,
    metrics: Arc<Numbers>,
}

impl Lab {
    /// Fast settling, MOVE, quarantine; `extra` wins.
    pub(crate) fn new(extra: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["in", "done", "bad"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut config: ConfigMap = [
            ("input.path", path("in").as_str()),
            ("finished.path", &path("done")),
            ("error.path", &path("bad")),
            ("cleanup.policy", "MOVE"),
            ("topic", "lab"),
            ("poll.interval.ms", "100"),
            ("settle.interval.ms", "20"),
        ]
        .into_iter()
        .chain(extra.iter().copied())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
        config.retain(|_, value| value != "-");
        Self { folder, config, offsets: Arc::default(), shared: Shared::default(), metrics: Arc::default() }
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

    pub(crate) fn metric(&self, name: &str) -> i64 {
        self.metrics.0.lock().unwrap()[name].get()
    }

    /// The answer to `GET /connectors/lab/files`.
    pub(crate) fn files(&self) -> serde_json::Value {
        let answer = (plugin().questions[0].answer)(&self.shared, &BTreeMap::new()).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    pub(crate) async fn start(&self) -> Result<Running> {
        let (wish, signal) = watch::channel(Wish::Run);
        let common = Context {
            connector: "lab".into(),
            io: tokio::runtime::Handle::current(),
            signal: Signal::new(signal),
            shared: self.shared.clone(),
            metrics: Metrics::new(Arc::clone(&self.metrics) as Arc<dyn Registry>),
        };
        let offsets = Arc::clone(&self.offsets);
        let context = SourceContext {
            common,
            id: TaskId { connector: "lab".into(), task: 0 },
            offsets: Arc::clone(&offsets) as Arc<dyn OffsetReader>,
        };
        let settings = Settings::new(self.config.clone(), plugin().info.config);
        let mut task = (plugin().task)(settings)?;
        task.start(context).await?;
        Ok(Running { task, wish, offsets, waiting: VecDeque::new() })
    }
}

/// A task that runs.
pub(crate) struct Running {
    task: Box<dyn SourceTask>,
    wish: watch::Sender<Wish>,
    offsets: Arc<Offsets>,
    /// Batches that are polled but not committed.
    waiting: VecDeque<(Vec<Change>, Option<Hook>)>,
}

enum Change {
    Put(Partition, OffsetMap),
    Forget(Partition),
}

/// What a batch had to say, in order.
#[derive(Debug)]
pub(crate) enum Said {
    Record(Box<Record>),
    Bad(String),
}

impl Running {
    /// One batch; its offsets and hook wait for [`Running::commit`].
    pub(crate) async fn poll(&mut self) -> Result<Vec<Said>> {
        let batch = tokio::time::timeout(DEADLINE, self.task.poll()).await.expect("a batch within the deadline")?;
        Ok(self.take(batch))
    }

    fn take(&mut self, batch: SourceBatch) -> Vec<Said> {
        let (mut said, mut changes) = (Vec::new(), Vec::new());
        for entry in batch.entries {
            let position = match entry {
                SourceEntry::Record(record) => {
                    said.push(Said::Record(Box::new(record.record)));
                    record.position
                }
                SourceEntry::Bad { position, error, .. } => {
                    said.push(Said::Bad(error.chain()));
                    position
                }
                SourceEntry::Position(position) => Some(position),
                SourceEntry::Forget(partition) => {
                    changes.push(Change::Forget((*partition).clone()));
                    None
                }
                SourceEntry::Encoded(..) => unreachable!("no side records yet"),
            };
            changes.extend(position.map(|position| Change::Put((*position.partition).clone(), position.render())));
        }
        self.waiting.push_back((changes, batch.committed));
        said
    }

    /// The offsets of everything polled are stored; hooks run when `hooks` says so, as they would not before a crash.
    pub(crate) fn store(&mut self, hooks: bool) {
        while let Some((changes, hook)) = self.waiting.pop_front() {
            let mut offsets = self.offsets.0.lock().unwrap();
            for change in changes {
                match change {
                    Change::Put(partition, offset) => drop(offsets.insert(partition, offset)),
                    Change::Forget(partition) => drop(offsets.remove(&partition)),
                }
            }
            drop(offsets);
            if let Some(hook) = hook.filter(|_| hooks) {
                hook.run();
            }
        }
    }

    pub(crate) fn commit(&mut self) {
        self.store(true);
    }

    /// Polls and commits until the condition holds; everything said meanwhile.
    pub(crate) async fn until(&mut self, condition: impl Fn(&[Said]) -> bool) -> Vec<Said> {
        let mut all = Vec::new();
        let end = tokio::time::Instant::now() + DEADLINE;
        while !condition(&all) {
            assert!(tokio::time::Instant::now() < end, "the condition was not met in time; said so far: {all:?}");
            all.extend(self.turn().await);
            self.commit();
        }
        all
    }

    /// One batch, or nothing when the task has nothing to say for a moment. A poll is never dropped, so it is called
    /// back as the runtime does for a pause.
    pub(crate) async fn turn(&mut self) -> Vec<Said> {
        let batch = {
            let mut poll = self.task.poll();
            if let Ok(batch) = tokio::time::timeout(Duration::from_millis(50), &mut poll).await {
                batch
            } else {
                self.wish.send(Wish::Pause).unwrap();
                let batch = tokio::time::timeout(DEADLINE, poll).await.expect("an answer to the recall");
                self.wish.send(Wish::Run).unwrap();
                batch
            }
        };
        self.take(batch.unwrap())
    }

    pub(crate) async fn stop(mut self) {
        self.wish.send(Wish::Stop).unwrap();
        self.task.stop().await.unwrap();
    }
}

/// Keeps offsets as the worker's store does.
#[derive(Default)]
pub(crate) struct Offsets(Mutex<HashMap<Partition, OffsetMap>>);

impl Offsets {
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

#[async_trait]
impl OffsetReader for Offsets {
    async fn get(&self, partition: &Partition) -> Result<Option<OffsetMap>> {
        Ok(self.0.lock().unwrap().get(partition).cloned())
    }

    async fn scan(&self) -> Result<Vec<(Partition, OffsetMap)>> {
        Ok(self.0.lock().unwrap().iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

#[derive(Default)]
struct Numbers(Mutex<HashMap<&'static str, Metric>>);

impl Registry for Numbers {
    fn register(&self, info: &'static MetricInfo, _labels: &[&str]) -> Metric {
        self.0.lock().unwrap().entry(info.name).or_default().clone()
    }
}

/// The records among what was said.
pub(crate) fn records(said: &[Said]) -> Vec<&Record> {
    said.iter()
        .filter_map(|said| match said {
            Said::Record(record) => Some(&**record),
            Said::Bad(_) => None,
        })
        .collect()
}

pub(crate) fn errors(said: &[Said]) -> Vec<&str> {
    said.iter()
        .filter_map(|said| match said {
            Said::Bad(error) => Some(error.as_str()),
            Said::Record(_) => None,
        })
        .collect()
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
