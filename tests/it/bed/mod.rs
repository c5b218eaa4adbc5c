//! A herder with REST on a free port and stores in memory. Tasks only report and need no Kafka, except in `Bed::live`.

pub(crate) mod plugins;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use pipette::budget::Budget;
use pipette::herder::{Deadlines, Parts, SinkOffsets, TaskDoor, TaskStarter, real_tasks};
use pipette::kafka::properties::ClientProperties;
use pipette::metrics::WorkerMetrics;
use pipette::plugins::Plugins;
use pipette::rest::{self, Door, Rest};
use pipette::settings::worker::WorkerConfig;
use pipette::store::files::folders::PluginFolders;
use pipette::store::stores::OffsetStores;
use pipette::store::{ConnectorStore, OffsetEntry, OffsetStore, StoredConnector};
use pipette::task::report::Trace;
use pipette::task::spec::TaskSpec;
use pipette::task::used::UsedTopics;
use pipette::task::watchdog::Watchdog;
use pipette::task::{TaskEnvironment, TaskNews, TaskReport};
use pipette_api::{ConfigMap, OffsetMap, Offsets, Partition, Result, TaskId, TopicPartition, Wish, async_trait};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

/// How long a test waits for something to become true.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a request may take whatever plugins do. Generous, because test machines are busy.
pub(crate) const PROMPT: Duration = Duration::from_millis(100);
/// `task.hung.after.ms`.
pub(crate) const HUNG_AFTER: Duration = Duration::from_millis(300);

pub(crate) struct Bed {
    pub(crate) address: SocketAddr,
    pub(crate) store: Arc<Memory>,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) folders: Arc<PluginFolders>,
    _runtime: tokio::runtime::Runtime,
    _state: tempfile::TempDir,
}

/// An answer of REST.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn message(&self) -> String {
        let json = self.json();
        assert_eq!(json["error_code"], self.status, "{self:?}");
        json["message"].as_str().unwrap().to_owned()
    }
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::on(Arc::new(Memory::default()))
    }

    /// A worker on a store that may hold connectors already.
    pub(crate) fn on(store: Arc<Memory>) -> Self {
        Self::with(store, Plugins::of(&[plugins::PLUGINS]))
    }

    /// A worker with the plugins it ships with.
    pub(crate) fn shipped() -> Self {
        Self::with(Arc::default(), Plugins::built_in())
    }

    fn with(store: Arc<Memory>, plugins: Plugins) -> Self {
        Self::build(store, plugins, worker_config("127.0.0.1:1"), |tasks, _| tasks.starter())
    }

    /// The same, with these keys in the worker's file.
    pub(crate) fn shipped_with(keys: &[(&str, &str)]) -> Self {
        Self::shipped_on(Arc::default(), keys)
    }

    /// The same, on a store that may hold connectors already.
    pub(crate) fn shipped_on(store: Arc<Memory>, keys: &[(&str, &str)]) -> Self {
        let mut worker = worker_config("127.0.0.1:1");
        worker.extend(keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        Self::build(store, Plugins::built_in(), worker, |tasks, _| tasks.starter())
    }

    /// A worker whose tasks are real, on a Kafka that answers there. Knows Apache's file connectors, all
    /// transformations, `BlocksInPoll` and `Gated`.
    pub(crate) fn live(bootstrap: &str) -> Self {
        let plugins = Plugins::of(&[
            plugins::LIVE,
            connector_file::PLUGINS,
            pipette::convert::PLUGINS,
            transform_standard::PLUGINS,
            transform_claim_check::PLUGINS,
        ]);
        Self::build(Arc::default(), plugins, worker_config(bootstrap), |_, environment| real_tasks(environment))
    }

    fn build(
        store: Arc<Memory>,
        plugins: Plugins,
        worker: ConfigMap,
        starter: impl FnOnce(&Arc<Tasks>, TaskEnvironment) -> TaskStarter,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = Arc::new(Tasks::default());
        let metrics = WorkerMetrics::new();
        let offsets = Arc::new(OffsetStores::one(Arc::clone(&store) as _));
        let used = Arc::new(UsedTopics::default());
        let state = tempfile::tempdir().unwrap();
        let folders = PluginFolders::new(state.path());
        let environment = TaskEnvironment {
            io: runtime.handle().clone(),
            offsets: Arc::clone(&offsets),
            metrics: Arc::clone(&metrics),
            watchdog: Watchdog::start(HUNG_AFTER),
            budget: Budget::new(128 << 20),
            used: Arc::clone(&used),
            folders: Arc::clone(&folders),
        };
        let parts = Parts {
            worker: Arc::new(WorkerConfig::read(worker).unwrap()),
            worker_id: "127.0.0.1:8083".into(),
            plugins,
            connectors: Arc::clone(&store) as _,
            kafka: None,
            offsets,
            sink_offsets: Arc::new(Group),
            used,
            folders: Arc::clone(&folders),
            tasks: starter(&tasks, environment),
            metrics: Arc::clone(&metrics),
            io: runtime.handle().clone(),
            deadlines: Deadlines { aside: Duration::from_millis(700), call: Duration::from_millis(700) },
        };
        let _entered = runtime.enter();
        let rest = Rest {
            herder: pipette::herder::start(parts),
            metrics,
            cluster_id: Arc::new(OnceLock::new()),
            levels: pipette::telemetry::levels(),
            door: Door::Main,
            is_https: false,
        };
        runtime.spawn(rest::serve(listener, None, rest, std::future::pending()));
        Self { address, store, tasks, folders, _runtime: runtime, _state: state }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    pub(crate) fn put(&self, path: &str, body: &str) -> Answer {
        self.send("PUT", path, &[], body)
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, &[], body)
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], "")
    }

    /// Sends a request by hand, so that each header is the test's own.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let kind = "Content-Type: application/json";
        let mut lines = vec![format!("{method} {path} HTTP/1.1"), "Host: worker:1".into(), "Connection: close".into()];
        lines.push(format!("Content-Length: {}", body.len()));
        lines.extend(headers.iter().map(|line| (*line).to_owned()));
        if !body.is_empty() && !headers.iter().any(|line| line.starts_with("Content-Type")) {
            lines.push(kind.into());
        }
        stream.write_all(format!("{}\r\n\r\n{body}", lines.join("\r\n")).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head[9..12].parse().unwrap();
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    /// Creates a connector that must be accepted.
    pub(crate) fn create(&self, name: &str, class: &str, more: &[(&str, &str)]) {
        let mut config = BTreeMap::from([("connector.class", class), ("topic", "t")]);
        config.extend(more.iter().copied());
        let body = serde_json::json!({ "name": name, "config": config }).to_string();
        let answer = self.post("/connectors", &body);
        assert_eq!(answer.status, 201, "{answer:?}");
    }

    /// The states of a connector and its tasks.
    pub(crate) fn states(&self, name: &str) -> Vec<String> {
        let status = self.get(&format!("/connectors/{name}/status")).json();
        let tasks = status["tasks"].as_array().cloned().unwrap_or_default();
        let parts = std::iter::once(&status["connector"]).chain(&tasks);
        parts.map(|part| part["state"].as_str().unwrap_or_default().to_owned()).collect()
    }

    pub(crate) fn wait_for_states(&self, name: &str, states: &[&str]) {
        wait_until(|| self.states(name), |found| found == states);
    }

    /// Every request answers promptly, whatever plugins do.
    pub(crate) fn assert_prompt(&self) {
        for path in ["/", "/health", "/connectors", "/connectors?expand=status", "/connector-plugins"] {
            // The best of a few: a busy machine may pause a test, a worker that waits for a plugin is never quick.
            let time = (0..5).map(|_| self.timed(path)).min().unwrap();
            assert!(time < PROMPT, "GET {path} took {time:?}");
        }
    }

    fn timed(&self, path: &str) -> Duration {
        let begun = Instant::now();
        assert_eq!(self.get(path).status, 200, "{path}");
        begun.elapsed()
    }
}

/// Waits until what is found is as it should be; shows what was found last.
pub(crate) fn wait_until<T: std::fmt::Debug>(mut find: impl FnMut() -> T, is_right: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = find();
        if is_right(&found) {
            return found;
        }
        assert!(Instant::now() < deadline, "still {found:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn worker_config(bootstrap: &str) -> ConfigMap {
    let json = "org.apache.kafka.connect.json.JsonConverter";
    let pairs = [
        ("bootstrap.servers", bootstrap),
        ("key.converter", json),
        ("value.converter", json),
        ("task.shutdown.graceful.timeout.ms", "300"),
    ];
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Tasks that report what they are told, and fail or stay when the test says so.
#[derive(Default)]
pub(crate) struct Tasks {
    /// What runs: its start and how to say something as this task.
    running: Mutex<BTreeMap<TaskId, (u64, UnboundedSender<TaskReport>)>>,
    /// Each start, in order.
    pub(crate) started: Mutex<Vec<(TaskId, u64)>>,
    /// The last specification.
    pub(crate) last: Mutex<Option<TaskSpec>>,
    /// Tasks of these connectors do not stop when asked to.
    pub(crate) stubborn: Mutex<Vec<String>>,
}

impl Tasks {
    fn starter(self: &Arc<Self>) -> TaskStarter {
        let tasks = Arc::clone(self);
        Arc::new(move |spec, start, wish, reports| Arc::clone(&tasks).start(spec, start, wish, reports))
    }

    fn start(
        self: Arc<Self>,
        spec: TaskSpec,
        start: u64,
        wish: Wish,
        reports: UnboundedSender<TaskReport>,
    ) -> TaskDoor {
        let id = spec.id.clone();
        self.started.lock().unwrap().push((id.clone(), start));
        let before = self.running.lock().unwrap().insert(id.clone(), (start, reports.clone()));
        assert!(before.is_none() || self.is_stubborn(&id), "{id} started twice");
        *self.last.lock().unwrap() = Some(spec);
        let say = move |wish| {
            let news = match wish {
                Wish::Run => TaskNews::Running,
                Wish::Pause => TaskNews::Paused,
                Wish::Stop if self.is_stubborn(&id) => return,
                Wish::Stop => {
                    self.running.lock().unwrap().remove(&id);
                    TaskNews::Stopped
                }
            };
            drop(reports.send(TaskReport { id: id.clone(), start, news }));
        };
        say(wish);
        Box::new(say)
    }

    fn is_stubborn(&self, id: &TaskId) -> bool {
        self.stubborn.lock().unwrap().iter().any(|name| **name == *id.connector)
    }

    pub(crate) fn wait(&self, connector: &str, task: usize, trace: &str) {
        let id = TaskId { connector: connector.into(), task };
        let (start, reports) = self.running.lock().unwrap()[&id].clone();
        reports.send(TaskReport { id, start, news: TaskNews::Waiting { trace: trace.into() } }).unwrap();
    }

    pub(crate) fn fail(&self, connector: &str, task: usize, trace: &str) {
        let id = TaskId { connector: connector.into(), task };
        self.fail_with(&id, trace.into());
    }

    /// Ends a task with that failure.
    pub(crate) fn fail_with(&self, id: &TaskId, trace: Trace) {
        let (start, reports) = self.running.lock().unwrap().remove(id).expect("runs");
        reports.send(TaskReport { id: id.clone(), start, news: TaskNews::Failed { trace } }).unwrap();
    }

    pub(crate) fn running(&self) -> Vec<String> {
        self.running.lock().unwrap().keys().map(ToString::to_string).collect()
    }

    pub(crate) fn starts_of(&self, connector: &str) -> usize {
        self.started.lock().unwrap().iter().filter(|(id, _)| *id.connector == *connector).count()
    }
}

/// Stores in memory.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) connectors: Mutex<BTreeMap<Arc<str>, StoredConnector>>,
    pub(crate) offsets: Mutex<Vec<(String, Partition, OffsetMap)>>,
}

#[async_trait]
impl ConnectorStore for Memory {
    async fn load(&self) -> Result<Vec<StoredConnector>> {
        Ok(self.connectors.lock().unwrap().values().cloned().collect())
    }

    async fn put(&self, connector: &StoredConnector) -> Result<()> {
        self.connectors.lock().unwrap().insert(Arc::clone(&connector.name), connector.clone());
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.connectors.lock().unwrap().remove(name);
        Ok(())
    }
}

#[async_trait]
impl OffsetStore for Memory {
    async fn get(&self, _connector: &str, _partition: &Partition) -> Result<Option<OffsetMap>> {
        Ok(None)
    }

    async fn scan(&self, connector: &str) -> Result<Vec<(Partition, OffsetMap)>> {
        let offsets = self.offsets.lock().unwrap();
        let own = offsets.iter().filter(|(name, ..)| name == connector);
        Ok(own.map(|(_, partition, offset)| (partition.clone(), offset.clone())).collect())
    }

    async fn put(&self, _connector: &str, _offsets: Vec<OffsetEntry>) -> Result<()> {
        Ok(())
    }
}

/// A consumer group with one committed offset in a topic named after the group.
struct Group;

#[async_trait]
impl SinkOffsets for Group {
    async fn committed(&self, consumer: ClientProperties) -> Result<Offsets> {
        Ok(Offsets::from([(TopicPartition::new(consumer["group.id"].as_str(), 2), 120)]))
    }

    async fn alter(&self, _: ClientProperties, _: BTreeMap<TopicPartition, Option<i64>>) -> Result<()> {
        Ok(())
    }

    async fn reset(&self, _: ClientProperties) -> Result<()> {
        Ok(())
    }
}
