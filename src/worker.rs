//! Assembles the parts of a worker: what starts after what, and what stops before what.
//!
//! Called by the command line and the quick start. Three kinds of threads: *front* (REST and herder, never plugin
//! code), *io* (clients that tasks share), and each task's own (`task/thread.rs`).

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::pin;
use std::process;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use pipette_api::config::Row;
use pipette_api::{
    ConfigMap, ConnectError, ErrorKind, Offsets, Plugin, Result, Settings, Side, TopicPartition, async_trait,
};
use pipette_broker::{Broker, BrokerConfig};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::allocator;
use crate::budget::Budget;
use crate::console::Failure;
use crate::herder::handle::HerderHandle;
use crate::herder::{self, Deadlines, KafkaState, Parts, SinkOffsets, part_keys, version};
use crate::kafka::properties::ClientProperties;
use crate::kafka::{admin, properties};
use crate::metrics::dialect::Dialect;
use crate::metrics::{WorkerMetrics, table};
use crate::plugins::{Family, Plugins};
use crate::rest::doors::{Doors, Served};
use crate::rest::{Door, Rest};
use crate::settings::file::ConnectorFile;
use crate::settings::parts;
use crate::settings::worker::WorkerConfig;
use crate::store::TargetState;
use crate::store::configs::TopicConnectors;
use crate::store::files::FileStore;
use crate::store::statuses::TopicStatuses;
use crate::store::stores::OffsetStores;
use crate::task::TaskEnvironment;
use crate::task::used::UsedTopics;
use crate::task::watchdog::Watchdog;
use crate::telemetry;

/// Threads for calls that block: disk syncs and plugin checks are short and few.
const BLOCKING_THREADS: usize = 8;
/// How long a broker is asked for the cluster's id, and how long until the next time.
const CLUSTER_WAIT: Duration = Duration::from_secs(5);
/// How long a start waits for the offsets topic.
const TOPIC_WAIT: Duration = Duration::from_secs(10);
/// What answers under way may take once everything has stopped.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
/// What a shell reports of a program that Ctrl-C has ended.
const INTERRUPTED: i32 = 130;

/// A running worker.
pub struct Worker {
    address: SocketAddr,
    herder: HerderHandle,
    rest: Served,
    front: Runtime,
    io: Runtime,
    store: FileStore,
}

impl Worker {
    /// Store, then herder, then REST. Kafka is not waited for: connectors report what they cannot reach.
    pub fn start(config: WorkerConfig, plugins: Plugins) -> std::result::Result<Self, Failure> {
        allocator::give_large_blocks_back();
        check_converters(&config, &plugins).map_err(Failure::setup)?;
        let front = runtime("front").map_err(Failure::start)?;
        let io = runtime("io").map_err(Failure::start)?;
        let store = front.block_on(open_store(&config)).map_err(Failure::setup)?;
        let (kafka_state, is_ready) = front.block_on(open_state(&config, &store)).map_err(Failure::setup)?;
        let offsets = front.block_on(open_offsets(&config, &store, is_ready)).map_err(Failure::setup)?;
        let doors = Doors::open(&config).map_err(Failure::setup)?;
        let (address, advertised) = (doors.address(0), doors.address(config.advertised_listener()));
        let below = parts::of_worker(&config.values, &part_keys::of_worker(&plugins, &config));
        config.warnings.iter().chain(&below).for_each(|warning| tracing::warn!("{warning}"));
        let admin = client_properties(&config).map_err(Failure::setup)?;
        let stores = Stores { files: &store, kafka: kafka_state, offsets };
        let parts = parts(config, plugins, advertised, stores, io.handle().clone());
        let metrics = Arc::clone(&parts.metrics);
        let entered = front.enter();
        let herder = herder::start(parts);
        let noted = Arc::clone(&metrics);
        front.spawn(async move {
            loop {
                noted.note();
                tokio::time::sleep(noted.note_every()).await;
            }
        });
        let rest = doors.serve(&Rest {
            herder: herder.clone(),
            metrics,
            cluster_id: ask_cluster_id(admin),
            levels: telemetry::levels(),
            door: Door::Main,
            is_https: false,
        });
        drop(entered);
        tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "Worker started");
        Ok(Self { address, herder, rest, front, io, store })
    }

    /// Creates the connectors of the command line, or updates those that exist.
    pub fn create(&self, connectors: Vec<ConnectorFile>) -> Result<()> {
        self.front.block_on(async {
            for ConnectorFile { name, config, initial_state } in connectors {
                let named = |error: String| ConnectError::config(format!("Connector {name}: {error}"));
                let target = initial_state.as_deref().map_or(Ok(TargetState::Started), herder::initial_state);
                let target = target.map_err(named)?;
                let draft = config.into_iter().map(|(key, value)| (key, Some(value))).collect();
                let made = match self.herder.connector(&name).await {
                    Ok(_) => self.herder.put(&name, draft).await.map(drop),
                    Err(_) => self.herder.create(&name, draft, target).await.map(drop),
                };
                made.map_err(|error| named(error.to_string()))?;
            }
            Ok(())
        })
    }

    /// Where REST listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// One message for the first SIGINT or SIGTERM, or an error when the worker is of no use any more. A second signal
    /// ends the process at once.
    pub fn signals(&self) -> Result<mpsc::Receiver<Result<()>>> {
        let _entered = self.front.enter();
        let (mut interrupt, mut terminate) = signals()?;
        let (sender, receiver) = mpsc::channel();
        let herder = self.herder.clone();
        self.front.spawn(async move {
            let end = tokio::select! {
                _ = interrupt.recv() => Ok(()),
                _ = terminate.recv() => Ok(()),
                why = herder.broken() => Err(ConnectError::fatal(&*why)),
            };
            if end.is_ok() {
                tracing::info!("Stopping; a second signal stops at once");
            }
            let _ = sender.send(end);
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            process::exit(INTERRUPTED);
        });
        Ok(receiver)
    }

    /// REST takes no more requests; tasks stop and commit, or are abandoned by the herder; then the store closes.
    pub fn stop(self) {
        self.rest.close();
        self.front.block_on(async {
            if let Err(error) = self.herder.close().await {
                tracing::warn!(%error, "Not every connector has stopped");
            }
            if let Some(kafka) = self.herder.parts().kafka.clone() {
                // The next worker need not wait until this one is taken for dead.
                let _ = tokio::task::spawn_blocking(move || kafka.connectors.leave()).await;
            }
            // Requests under way are answered by now; a client that keeps its connection open is not waited for.
            self.rest.closed(LAST_ANSWERS).await;
        });
        self.io.shutdown_background();
        self.front.shutdown_background();
        drop(self.store);
        tracing::info!("Worker stopped");
    }
}

/// A converter that does not exist, or a value of its keys that is wrong, would fail every connector that leaves the
/// choice to the worker.
pub fn check_converters(config: &WorkerConfig, plugins: &Plugins) -> Result<()> {
    let named = [
        (Family::Converter, "key", &config.key_converter),
        (Family::Converter, "value", &config.value_converter),
        (Family::HeaderConverter, "header", &config.header_converter),
    ];
    for (family, side, class) in named {
        let key = format!("{side}.converter");
        let Some(plugin) = plugins.find(family, class) else {
            return plugins.refusal(family, &key, class).map_or(Ok(()), |error| Err(ConnectError::config(error)));
        };
        let version = format!("{key}.plugin.version");
        let wanted = config.values.get(&version);
        let misfit = wanted.map_or(Ok(None), |wanted| version::misfit(plugin.info(), wanted));
        if let Ok(Some(error)) | Err(error) = misfit {
            return Err(ConnectError::config(format!("{version}: {error}")));
        }
        configure(plugin, side, config.values.clone())?;
    }
    Ok(())
}

/// Makes a converter of the worker and drops it again: what is wrong with its keys is told now and not by each task.
fn configure(plugin: &Plugin, side: &str, mut values: ConfigMap) -> Result<()> {
    let key = format!("{side}.converter");
    values.insert(format!("{key}.converter.type"), side.into());
    let config = plugin.info().config;
    let rows = config.keys().iter().map(|own| Row { name: format!("{key}.{}", own.name), ..Row::new(**own) });
    if let Some(error) = rows.flat_map(|row| row.check(&values).errors).next() {
        return Err(ConnectError::config(error));
    }
    let settings = Settings::new(Settings::new(values, config).below(&format!("{key}.")), config);
    let made = match plugin {
        Plugin::Converter(plugin) if side == "key" => (plugin.make)(settings, Side::Key).map(drop),
        Plugin::Converter(plugin) => (plugin.make)(settings, Side::Value).map(drop),
        Plugin::HeaderConverter(plugin) => (plugin.make)(settings).map(drop),
        _ => Ok(()),
    };
    made.map_err(|error| error.within(key))
}

/// The admin client's properties. What the worker says of producers and consumers is looked at as well: a key that
/// cannot be honoured is told now and not by each task.
fn client_properties(config: &WorkerConfig) -> Result<ClientProperties> {
    let nothing = ConfigMap::new();
    properties::producer(&config.values, &nothing, "")?;
    properties::consumer(&config.values, &nothing, "", "")?;
    properties::admin(&config.values)
}

/// Where things are kept.
struct Stores<'a> {
    files: &'a FileStore,
    kafka: Option<KafkaState>,
    offsets: Arc<OffsetStores>,
}

/// What the herder is made of.
fn parts(config: WorkerConfig, plugins: Plugins, address: SocketAddr, stores: Stores<'_>, io: Handle) -> Parts {
    let Stores { files, kafka, offsets } = stores;
    let metrics = metrics(&config, address);
    metrics.of_worker(&table::MEMORY_BUDGET, &[]).set(i64::try_from(config.memory).unwrap_or(i64::MAX));
    let used = Arc::new(UsedTopics::default());
    let environment = TaskEnvironment {
        io: io.clone(),
        offsets: Arc::clone(&offsets),
        metrics: Arc::clone(&metrics),
        watchdog: Watchdog::start(config.hung_after),
        budget: Budget::new(config.memory),
        used: Arc::clone(&used),
        folders: Arc::clone(&files.folders),
    };
    Parts {
        worker_id: config.worker_id(address).into(),
        worker: Arc::new(config),
        plugins,
        connectors: match &kafka {
            Some(kafka) => Arc::<TopicConnectors>::clone(&kafka.connectors),
            None => files.connector_store(),
        },
        kafka,
        offsets,
        sink_offsets: Arc::new(GroupOffsets),
        used,
        folders: Arc::clone(&files.folders),
        tasks: herder::real_tasks(environment),
        metrics,
        io,
        deadlines: Deadlines::default(),
    }
}

/// The registry, with what it shows of the worker from the start on.
fn metrics(config: &WorkerConfig, address: SocketAddr) -> Arc<WorkerMetrics> {
    let dialects = config.metric_names.iter().filter_map(|name| Dialect::named(name)).collect();
    let metrics = WorkerMetrics::with(config.sampling, dialects);
    let id = config.worker_id(address);
    metrics.show_start(&id);
    metrics.show_text(&table::APP_VERSION, &[("clientid", &id)], crate::rest::KAFKA_VERSION);
    if config.values.contains_key("group.id") {
        let scheme = if config.listeners.get(config.advertised_listener()).is_some_and(|listener| listener.https) {
            "https"
        } else {
            "http"
        };
        metrics.show_text(&table::LEADER, &[], &format!("{scheme}://{id}/"));
        metrics.of_worker(&table::REBALANCING, &[]);
        metrics.of_worker(&table::REBALANCES, &[]);
    }
    metrics
}

/// Asks the broker, which may block, on a thread made for it.
struct GroupOffsets;

#[async_trait]
impl SinkOffsets for GroupOffsets {
    async fn committed(&self, consumer: ClientProperties) -> Result<Offsets> {
        blocking(move || admin::committed(&consumer)).await
    }

    async fn alter(&self, consumer: ClientProperties, offsets: BTreeMap<TopicPartition, Option<i64>>) -> Result<()> {
        blocking(move || admin::alter_offsets(&consumer, &offsets)).await
    }

    async fn reset(&self, consumer: ClientProperties) -> Result<()> {
        admin::delete_group(&consumer).await
    }
}

async fn blocking<T: Send + 'static>(code: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let asked = tokio::task::spawn_blocking(code).await;
    asked.unwrap_or_else(|error| Err(ConnectError::fatal("The work on offsets was cut short").because(error)))
}

/// Asks for the cluster's id until a broker answers; nothing waits for it.
fn ask_cluster_id(properties: ClientProperties) -> Arc<OnceLock<String>> {
    let known = Arc::new(OnceLock::new());
    let answer = Arc::clone(&known);
    tokio::spawn(async move {
        while answer.get().is_none() {
            let properties = properties.clone();
            let asked = tokio::task::spawn_blocking(move || admin::cluster_id(&properties, CLUSTER_WAIT)).await;
            match asked {
                Ok(Some(id)) => drop(answer.set(id)),
                _ => tokio::time::sleep(CLUSTER_WAIT).await,
            }
        }
    });
    known
}

/// Opens `state.dir` and takes over what Apache's worker left, once.
async fn open_store(config: &WorkerConfig) -> Result<FileStore> {
    let store = FileStore::open(&config.state_dir)?;
    if let (Some(java), None) = (&config.offsets_file, &config.offsets_topic) {
        let imported = store.import_java(java).await?;
        if imported > 0 {
            tracing::info!(file = %java.display(), offsets = imported, "Took over the offsets of Apache's worker");
        }
    }
    Ok(store)
}

/// Connectors and statuses in topics, if the worker file names them. A Kafka that does not answer is waited for with REST
/// up; what would lose connectors, or another worker of the group, is a reason not to start. False as long as another one
/// may be at work.
async fn open_state(config: &WorkerConfig, files: &FileStore) -> Result<(Option<KafkaState>, bool)> {
    let Some(topics) = &config.state_topics else { return Ok((None, true)) };
    let connectors = Arc::new(TopicConnectors::new(&config.values, topics, &files.identity()?)?);
    let statuses = Arc::new(TopicStatuses::new(&config.values, topics)?);
    let opened = await_state(&connectors, &statuses, TOPIC_WAIT + topics.session).await;
    match &opened {
        Ok(Err(error)) if error.kind() == ErrorKind::Retriable => {
            tracing::warn!(error = error.chain(), "Connectors wait for their topics");
        }
        Err(_) => tracing::warn!(topic = topics.configs.name, "Connectors wait for their topics"),
        Ok(_) => {}
    }
    let is_ready = matches!(opened, Ok(Ok(())));
    if let Ok(Err(error)) = opened
        && error.kind() != ErrorKind::Retriable
    {
        return Err(error);
    }
    if !files.connectors.is_empty() {
        tracing::warn!("Connectors in state.dir are left alone: those of config.storage.topic count");
    }
    Ok((Some(KafkaState { connectors, statuses }), is_ready))
}

/// Opens both, as far as that is done in time.
async fn await_state(
    connectors: &TopicConnectors,
    statuses: &TopicStatuses,
    limit: Duration,
) -> std::result::Result<Result<()>, Elapsed> {
    let mut opening = pin!(async {
        statuses.open().await?;
        connectors.open().await
    });
    let opened = timeout(limit, &mut opening).await;
    // On a machine that is slow, the first topic has taken what is left for the verdict on the other worker.
    if opened.is_err() && connectors.is_kept_out() { timeout(limit, opening).await } else { opened }
}

/// Where source offsets are kept: in a topic, if the worker file names one. A Kafka that does not answer is no reason not to
/// start: sources wait for it, and so does `GET …/offsets`. A topic that would lose offsets is. `now` it is read, or later by
/// the first source, if another worker may still write to it.
async fn open_offsets(config: &WorkerConfig, files: &FileStore, now: bool) -> Result<Arc<OffsetStores>> {
    let Some(wanted) = &config.offsets_topic else { return Ok(Arc::new(OffsetStores::one(files.offset_store()))) };
    let (stores, topic) = OffsetStores::topics(config.values.clone(), wanted.clone())?;
    let named = |error: ConnectError| error.within("offset.storage.topic");
    let opened = async { if now { topic.open().await } else { Ok(()) } };
    match timeout(TOPIC_WAIT, opened).await {
        Ok(Err(error)) if error.kind() == ErrorKind::Config => return Err(named(error)),
        Ok(Err(error)) => tracing::warn!(error = named(error).chain(), "Sources wait for the offsets topic"),
        Err(_) => {
            tracing::warn!(topic = wanted.topic.name, "Sources wait for the offsets topic: Kafka has not answered");
        }
        Ok(Ok(())) => {}
    }
    if !files.offsets.is_empty() {
        tracing::warn!("Offsets in state.dir are left alone: sources go on from offset.storage.topic");
    }
    Ok(Arc::new(stores))
}

fn runtime(name: &str) -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).max_blocking_threads(BLOCKING_THREADS).thread_name(name).enable_all();
    builder.build().map_err(|error| ConnectError::fatal("Cannot start threads").because(error))
}

fn signals() -> Result<(tokio::signal::unix::Signal, tokio::signal::unix::Signal)> {
    let failed = |error| ConnectError::fatal("Cannot listen for signals").because(error);
    let interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok((interrupt, signal(SignalKind::terminate()).map_err(failed)?))
}

/// Waits for SIGINT or SIGTERM, without a worker.
pub fn wait_for_signal() -> Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build();
    let runtime = runtime.map_err(|error| ConnectError::fatal("Cannot listen for signals").because(error))?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = signals()?;
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        Ok(())
    })
}

/// The broker of `--embedded`, at the worker's `bootstrap.servers`. Refused where a Kafka answers already, by
/// the broker itself: records would go there, not here.
pub fn embedded_broker(config: &WorkerConfig) -> Result<Broker> {
    let servers = config.values.get("bootstrap.servers").map(String::as_str).unwrap_or_default();
    let wrong = |why: &str| {
        ConnectError::config(format!(
            "bootstrap.servers is \"{servers}\": {why}; with --embedded it names one free port of this machine, such \
             as localhost:9092"
        ))
    };
    let mut addresses =
        servers.trim().to_socket_addrs().map_err(|error| wrong("not a host and port").because(error))?;
    // The broker listens on IPv4; `localhost` may come as both.
    let listen = addresses.find(SocketAddr::is_ipv4).ok_or_else(|| wrong("no IPv4 address"))?;
    let mut broker = BrokerConfig::new(config.state_dir.join("kafka"));
    broker.listen = listen;
    Broker::start(broker).map_err(|error| ConnectError::config("The embedded broker does not start").because(error))
}
