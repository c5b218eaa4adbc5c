//! Everything a task is started with, worked out by the herder: plain data, nothing connects here.

use std::sync::Arc;
use std::time::Duration;

use pipette_api::{
    AsyncTransformPlugin, CollectPlugin, ConverterPlugin, ExpandPlugin, HeaderConverterPlugin, Info, PredicatePlugin,
    Settings, Shared, SinkPlugin, SourcePlugin, TaskId, TransformPlugin,
};

use crate::kafka::consumer::Subscription;
use crate::kafka::properties::ClientProperties;
use crate::settings::dead_letters::DeadLetterTopic;
use crate::settings::fetch::DirectFetch;
use crate::task::topics::Rules;

/// One task of one connector.
#[derive(Debug, Clone)]
pub struct TaskSpec {
    /// Which task.
    pub id: TaskId,
    /// The plugin and what only its direction has.
    pub role: Role,
    /// The task's configuration, providers resolved, read by the plugin's definition.
    pub settings: Settings,
    /// Keys, values and headers.
    pub converters: Converters,
    /// The chain, in order.
    pub transforms: Vec<TransformSpec>,
    /// What happens to bad records.
    pub errors: ErrorPolicy,
    /// Where bad records are kept.
    pub dead_letters: Option<DeadLetterSpec>,
    /// How often offsets are committed (`offset.flush.interval.ms`).
    pub flush_interval: Duration,
    /// How long one commit may take (`offset.flush.timeout.ms`).
    pub flush_timeout: Duration,
    /// Values shared by the connector, its tasks and its questions.
    pub shared: Shared,
    /// What all tasks of the connector may hold of the worker's memory together, in bytes.
    pub memory_cap: Option<u64>,
    /// The largest payload that becomes a Kafka value (`payload.inline.max.bytes`).
    pub inline: u64,
}

/// The direction of a task.
#[derive(Debug, Clone)]
pub enum Role {
    /// Into Kafka.
    Source {
        /// The plugin.
        plugin: &'static SourcePlugin,
        /// librdkafka properties of the producer.
        producer: ClientProperties,
        /// How records and offsets are written in transactions; `None` is at-least-once.
        transactions: Option<Transactions>,
        /// The topic for its offsets that the connector names (`offsets.storage.topic`).
        offsets_topic: Option<String>,
        /// How topics that do not exist are made; `None` leaves it to the broker, as `topic.creation.enable=false` does.
        topics: Option<Rules>,
        /// Topics in which the worker keeps something, each with the key that names it: no record goes there.
        kept: Vec<(String, &'static str)>,
    },
    /// Out of Kafka.
    Sink {
        /// The plugin.
        plugin: &'static SinkPlugin,
        /// librdkafka properties of the consumer, `group.id` included.
        consumer: ClientProperties,
        /// What is read.
        subscription: Subscription,
        /// What is read straight from partitions' leaders.
        direct: DirectFetch,
    },
}

/// How a source task writes in transactions. Its transactional id is among the producer's properties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transactions {
    /// Where one ends.
    pub until: Until,
    /// Producers of tasks that are no more: theirs are ended, and they can write no more, before this one starts.
    pub stale: Vec<ClientProperties>,
}

/// `transaction.boundary`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The end of each batch.
    Poll,
    /// The first end of a batch after this time.
    Interval(Duration),
    /// Where the connector says.
    Connector,
}

impl Until {
    /// The interval, if it is one.
    pub fn interval(self) -> Option<Duration> {
        match self {
            Self::Interval(interval) => Some(interval),
            Self::Poll | Self::Connector => None,
        }
    }
}

/// The three converters of a task.
#[derive(Debug, Clone)]
pub struct Converters {
    /// For keys.
    pub key: (&'static ConverterPlugin, Settings),
    /// For values.
    pub value: (&'static ConverterPlugin, Settings),
    /// For header values.
    pub header: (&'static HeaderConverterPlugin, Settings),
}

/// One step of the chain.
#[derive(Debug, Clone)]
pub struct TransformSpec {
    /// The name in `transforms`.
    pub alias: Arc<str>,
    /// The plugin.
    pub plugin: StepPlugin,
    /// Its settings.
    pub settings: Settings,
    /// When it applies; always when `None`.
    pub predicate: Option<PredicateSpec>,
}

/// What a step of the chain may be.
#[derive(Debug, Clone, Copy)]
pub enum StepPlugin {
    /// Computes.
    Now(&'static TransformPlugin),
    /// Waits for something outside.
    Later(&'static AsyncTransformPlugin),
    /// Makes several records of one, behind the converters of a source.
    Expand(&'static ExpandPlugin),
    /// Makes one record of several, before the converters of a sink.
    Collect(&'static CollectPlugin),
}

impl StepPlugin {
    /// What all plugins have.
    pub fn info(self) -> &'static Info {
        match self {
            Self::Now(plugin) => &plugin.info,
            Self::Later(plugin) => &plugin.info,
            Self::Expand(plugin) => &plugin.info,
            Self::Collect(plugin) => &plugin.info,
        }
    }
}

/// When a step applies.
#[derive(Debug, Clone)]
pub struct PredicateSpec {
    /// The plugin.
    pub plugin: &'static PredicatePlugin,
    /// Its settings.
    pub settings: Settings,
    /// Turns the answer round.
    pub negate: bool,
}

/// The dead letter topic of a task, and the producer that writes to it.
#[derive(Debug, Clone)]
pub struct DeadLetterSpec {
    /// `errors.deadletterqueue.*`.
    pub topic: DeadLetterTopic,
    /// librdkafka properties of the producer.
    pub producer: ClientProperties,
    /// The largest payload that becomes a letter.
    pub inline: u64,
}

/// `errors.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorPolicy {
    /// `errors.tolerance=all`.
    pub tolerate: bool,
    /// `errors.refusals.in.a.row.max`; zero for no limit.
    pub refusals_max: usize,
    /// `errors.retry.timeout`; zero does not retry, `None` retries for ever (-1).
    pub retry_timeout: Option<Duration>,
    /// `errors.retry.delay.max.ms`.
    pub retry_delay_max: Duration,
    /// `errors.log.enable`.
    pub log: bool,
    /// `errors.log.include.messages`.
    pub log_messages: bool,
}

impl Default for ErrorPolicy {
    fn default() -> Self {
        Self {
            tolerate: false,
            refusals_max: 100,
            retry_timeout: Some(Duration::ZERO),
            retry_delay_max: Duration::from_mins(1),
            log: false,
            log_messages: false,
        }
    }
}
