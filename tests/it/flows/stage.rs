//! A broker, a store and a way to start tasks, without herder or REST.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pipette::budget::Budget;
use pipette::kafka::consumer::Subscription;
use pipette::kafka::properties::{ClientProperties, transactional};
use pipette::metrics::WorkerMetrics;
use pipette::settings::dead_letters::DeadLetterTopic;
use pipette::settings::fetch::DirectFetch;
use pipette::settings::group::{InternalTopic, OffsetsTopic};
use pipette::store::files::FileStore;
use pipette::store::stores::OffsetStores;
use pipette::task::spec::{
    Converters, DeadLetterSpec, ErrorPolicy, Role, TaskSpec, Transactions, TransformSpec, Until,
};
use pipette::task::thread::{TaskHandle, spawn};
use pipette::task::topics::Rules;
use pipette::task::watchdog::Watchdog;
use pipette::task::{TaskEnvironment, TaskNews, TaskReport};
use pipette_api::{
    Blob, ConfigDef, ConfigMap, Converter, ConverterPlugin, Datum, HeaderConverter, HeaderConverterPlugin, Info,
    KafkaHeaders, OffsetMap, Offsets, Partition, Result, Settings, Shared, SinkPlugin, SourcePlugin, TaskId, Text,
    Value, Wish,
};
use pipette_broker::{Broker, BrokerConfig};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::support::wait;

/// How long anything in these flows may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Broker, store and runtimes of one test.
pub(super) struct Stage {
    pub(super) folder: TempDir,
    broker: Broker,
    /// Another Kafka, which is used instead.
    pub(super) elsewhere: Option<String>,
    environment: TaskEnvironment,
    _store: FileStore,
    _io: tokio::runtime::Runtime,
    reports: mpsc::UnboundedSender<TaskReport>,
    heard: mpsc::UnboundedReceiver<TaskReport>,
    seen: Vec<TaskReport>,
    starts: u64,
    /// `errors.*` of the tasks started next.
    pub(super) errors: ErrorPolicy,
    /// The dead letter topic of the tasks started next.
    pub(super) dead_letters: Option<DeadLetterTopic>,
    /// The chain of the tasks started next.
    pub(super) transforms: Vec<TransformSpec>,
    /// The value converter of the tasks started next.
    pub(super) value: (&'static ConverterPlugin, Settings),
    /// What the producers of the sources started next have besides the defaults, in librdkafka's words.
    pub(super) producer: Vec<(&'static str, &'static str)>,
    /// What the producers of dead letters have besides the defaults, in librdkafka's words.
    pub(super) letters: Vec<(&'static str, &'static str)>,
    /// `offset.flush.interval.ms` of the tasks started next.
    pub(super) flush_interval: Duration,
    /// How the sources started next end their transactions, once the stage is for exactly-once.
    pub(super) until: Option<Until>,
    /// `offsets.storage.topic` of the sources started next.
    pub(super) offsets_topic: Option<String>,
    /// `topic.creation.*` of the sources started next.
    pub(super) topics: Option<Rules>,
    /// Transactional ids that the sources started next take away.
    pub(super) stale: Vec<String>,
    /// What the consumers of the sinks started next have besides the defaults, in librdkafka's words.
    pub(super) consumer: Vec<(&'static str, &'static str)>,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self::with_partitions(1)
    }

    pub(super) fn with_partitions(partitions: i32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = BrokerConfig::on_any_port(folder.path().join("broker"));
        config.fsync = false;
        config.default_partitions = partitions;
        let broker = Broker::start(config).unwrap();
        let store = FileStore::open(&folder.path().join("state")).unwrap();
        let io = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let environment = TaskEnvironment {
            used: Arc::default(),
            io: io.handle().clone(),
            offsets: Arc::new(OffsetStores::one(store.offset_store())),
            metrics: WorkerMetrics::new(),
            watchdog: Watchdog::start(Duration::from_mins(1)),
            budget: Budget::new(128 << 20),
            folders: Arc::clone(&store.folders),
        };
        let (reports, heard) = mpsc::unbounded_channel();
        Self {
            folder,
            broker,
            elsewhere: None,
            environment,
            _store: store,
            _io: io,
            reports,
            heard,
            seen: Vec::new(),
            starts: 0,
            errors: ErrorPolicy::default(),
            dead_letters: None,
            transforms: Vec::new(),
            value: (&TEXT, bare()),
            producer: Vec::new(),
            letters: Vec::new(),
            flush_interval: Duration::from_mins(1),
            until: None,
            offsets_topic: None,
            topics: None,
            stale: Vec::new(),
            consumer: Vec::new(),
        }
    }

    /// Offsets in the topic `offsets`, and sources that write in transactions.
    pub(super) fn exactly_once(until: Until) -> Self {
        let mut stage = Self::new();
        let topic = InternalTopic {
            name: "offsets".into(),
            partitions: 1,
            replication_factor: None,
            config: BTreeMap::from([("cleanup.policy".into(), "compact".into())]),
        };
        let topic = OffsetsTopic { group: "lab".into(), topic, exactly_once: true };
        let worker = pairs(&[("bootstrap.servers", &stage.bootstrap())]);
        stage.environment.offsets = Arc::new(OffsetStores::topics(worker, topic).unwrap().0);
        stage.until = Some(until);
        stage
    }

    /// `task.hung.after.ms` of the tasks started next.
    pub(super) fn hung_after(&mut self, limit: Duration) {
        self.environment.watchdog = Watchdog::start(limit);
    }

    pub(super) fn bootstrap(&self) -> String {
        self.elsewhere.clone().unwrap_or_else(|| self.broker.address().to_string())
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn source(&mut self, name: &str, plugin: &'static SourcePlugin, config: &[(&str, &str)]) -> TaskHandle {
        let worker = pairs(&[("bootstrap.servers", &self.bootstrap())]);
        let of = |id: &str| transactional(&worker, &ConfigMap::new(), name, id, Duration::ZERO).unwrap();
        let (mut producer, transactions) = match self.until {
            None => (pipette::kafka::properties::producer(&worker, &ConfigMap::new(), name).unwrap(), None),
            Some(until) => {
                let stale = self.stale.iter().map(|id| of(id)).collect();
                (of(&format!("lab-{name}-0")), Some(Transactions { until, stale }))
            }
        };
        producer.extend(self.producer.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let role = Role::Source {
            plugin,
            producer,
            transactions,
            offsets_topic: self.offsets_topic.clone(),
            topics: self.topics.clone(),
            kept: vec![("of-the-worker".to_owned(), "config.storage.topic")],
        };
        self.start(name, role, Settings::new(pairs(config), plugin.info.config))
    }

    pub(super) fn sink(&mut self, name: &str, plugin: &'static SinkPlugin, config: &[(&str, &str)]) -> TaskHandle {
        let config = pairs(config);
        let consumer = self.consumer(name);
        let topics = config["topics"].split(',').map(str::to_owned).collect();
        let (subscription, direct) = (Subscription::Topics(topics), DirectFetch::Always);
        let role = Role::Sink { plugin, consumer, subscription, direct };
        self.start(name, role, Settings::new(config, plugin.info.config))
    }

    fn letters(&self, name: &str) -> ClientProperties {
        let worker = pairs(&[("bootstrap.servers", &self.bootstrap())]);
        let mut properties = pipette::kafka::properties::dead_letters(&worker, &ConfigMap::new(), name).unwrap();
        properties.extend(self.letters.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        properties
    }

    pub(super) fn consumer(&self, name: &str) -> ClientProperties {
        let worker = pairs(&[("bootstrap.servers", &self.bootstrap())]);
        // `name.2` is another member of the group of `name`.
        let group = format!("connect-{}", name.split('.').next().unwrap());
        let mut properties = pipette::kafka::properties::consumer(&worker, &ConfigMap::new(), name, &group).unwrap();
        properties.extend(self.consumer.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        properties
    }

    /// The source partitions of which an offset is stored.
    pub(super) fn stored(&self, name: &str) -> usize {
        self.offsets(name).len()
    }

    fn offsets(&self, name: &str) -> Vec<(Partition, OffsetMap)> {
        let store = self.environment.offsets.of(self.offsets_topic.as_deref()).unwrap();
        self.environment.io.block_on(store.scan(name)).unwrap()
    }

    /// A number of the one offset that is stored.
    pub(super) fn offset(&self, name: &str, member: &str) -> Option<i64> {
        let stored = self.offsets(name);
        assert!(stored.len() < 2, "{stored:?}");
        stored.first()?.1.get(member)?.as_int()
    }

    /// What the group of a sink has committed.
    pub(super) fn committed(&self, name: &str) -> Offsets {
        pipette::kafka::admin::committed(&self.consumer(name)).unwrap()
    }

    fn start(&mut self, name: &str, role: Role, settings: Settings) -> TaskHandle {
        self.starts += 1;
        let spec = TaskSpec {
            id: TaskId { connector: name.into(), task: 0 },
            role,
            settings,
            converters: Converters { key: (&TEXT, bare()), value: self.value.clone(), header: (&HEADER, bare()) },
            transforms: self.transforms.clone(),
            errors: self.errors.clone(),
            dead_letters: self.dead_letters.clone().map(|topic| DeadLetterSpec {
                topic,
                producer: self.letters(name),
                inline: 1_000_000,
            }),
            flush_interval: self.flush_interval,
            flush_timeout: Duration::from_secs(5),
            shared: Shared::default(),
            memory_cap: None,
            inline: 1_000_000,
        };
        spawn(spec, self.starts, Wish::Run, self.environment.clone(), self.reports.clone())
    }

    /// Waits for news of a task; answers the trace of a failure.
    pub(super) fn hear(&mut self, name: &str, wanted: impl Fn(&TaskNews) -> bool) -> String {
        let (heard, seen) = (&mut self.heard, &mut self.seen);
        wait::until(&format!("news of {name}"), PATIENCE, || {
            while let Ok(report) = heard.try_recv() {
                seen.push(report);
            }
            let found = seen.iter().position(|report| &*report.id.connector == name && wanted(&report.news));
            match found.map(|index| seen.remove(index).news) {
                Some(TaskNews::Failed { trace }) => Ok(trace.text.to_string()),
                Some(TaskNews::Waiting { trace }) => Ok(trace),
                Some(_) => Ok(String::new()),
                None => Err(format!("{seen:?}")),
            }
        })
    }

    /// How many such news have come that nobody has asked for.
    pub(super) fn unheard(&mut self, which: impl Fn(&TaskNews) -> bool) -> usize {
        while let Ok(report) = self.heard.try_recv() {
            self.seen.push(report);
        }
        self.seen.iter().filter(|report| which(&report.news)).count()
    }

    /// What `GET /metrics` would answer.
    pub(super) fn metrics(&self) -> String {
        self.environment.metrics.render()
    }

    /// Asks a task to stop and waits until it has.
    pub(super) fn stop(&mut self, name: &str, task: &TaskHandle) {
        task.wish(Wish::Stop);
        self.hear(name, |news| matches!(news, TaskNews::Stopped));
    }
}

fn bare() -> Settings {
    static NONE: ConfigDef = ConfigDef::new(&[]);
    Settings::new(ConfigMap::new(), &NONE)
}

pub(super) fn pairs(pairs: &[(&str, &str)]) -> ConfigMap {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
}

/// Text and bytes as they are: the converters have tests of their own.
struct Plain;

impl Converter for Plain {
    fn encode<'a>(
        &mut self,
        _topic: &str,
        _headers: &mut KafkaHeaders,
        datum: &'a Datum,
        _buffer: &'a mut Vec<u8>,
    ) -> Result<Option<&'a [u8]>> {
        Ok(match &datum.value {
            Value::String(text) => Some(text.as_bytes()),
            Value::Bytes(bytes) => Some(bytes.as_bytes()),
            _ => None,
        })
    }

    fn decode(&mut self, _topic: &str, _headers: &KafkaHeaders, bytes: Option<&Blob>) -> Result<Datum> {
        let text = bytes.map(|bytes| Text::new(bytes.clone())).transpose()?;
        Ok(Datum::schemaless(text.map_or(Value::Null, Value::String)))
    }
}

struct NoHeaders;

impl HeaderConverter for NoHeaders {
    fn encode<'a>(&mut self, _: &str, _: &str, _: &'a Datum, _: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>> {
        Ok(None)
    }

    fn decode(&mut self, _: &str, _: &str, _: Option<&Blob>) -> Result<Datum> {
        Ok(Datum::NULL)
    }
}

const INFO: Info = Info {
    class: "test.Plain",
    aliases: &[],
    version: "1",
    about: "",
    readme: "",
    config: {
        static NONE: ConfigDef = ConfigDef::new(&[]);
        &NONE
    },
};
static TEXT: ConverterPlugin = ConverterPlugin { info: INFO, make: |_, _| Ok(Box::new(Plain)) };
static HEADER: HeaderConverterPlugin = HeaderConverterPlugin { info: INFO, make: |_| Ok(Box::new(NoHeaders)) };
