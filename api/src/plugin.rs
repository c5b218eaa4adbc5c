//! Descriptors: what a plugin crate exports as `pub static PLUGINS: &[Plugin]`, listed in the worker's `src/plugins.rs`.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use crate::config::{ConfigDef, Settings};
use crate::connector::Connector;
use crate::context::{MetricInfo, Shared};
use crate::converter::{Converter, HeaderConverter};
use crate::error::Result;
use crate::pieces::{Collect, Expand};
use crate::sink::SinkTask;
use crate::source::SourceTask;
use crate::transform::{AsyncTransform, Predicate, Transform, TransformContext};

/// One plugin.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub enum Plugin {
    Source(SourcePlugin),
    Sink(SinkPlugin),
    Transform(TransformPlugin),
    AsyncTransform(AsyncTransformPlugin),
    Expand(ExpandPlugin),
    Collect(CollectPlugin),
    Predicate(PredicatePlugin),
    Converter(ConverterPlugin),
    HeaderConverter(HeaderConverterPlugin),
}

impl Plugin {
    /// What all plugins have.
    pub fn info(&self) -> &Info {
        match self {
            Self::Source(plugin) => &plugin.info,
            Self::Sink(plugin) => &plugin.info,
            Self::Transform(plugin) => &plugin.info,
            Self::AsyncTransform(plugin) => &plugin.info,
            Self::Expand(plugin) => &plugin.info,
            Self::Collect(plugin) => &plugin.info,
            Self::Predicate(plugin) => &plugin.info,
            Self::Converter(plugin) => &plugin.info,
            Self::HeaderConverter(plugin) => &plugin.info,
        }
    }

    /// The type in `GET /connector-plugins`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Source(_) => "source",
            Self::Sink(_) => "sink",
            Self::Transform(_) | Self::AsyncTransform(_) | Self::Expand(_) | Self::Collect(_) => "transformation",
            Self::Predicate(_) => "predicate",
            Self::Converter(_) => "converter",
            Self::HeaderConverter(_) => "header_converter",
        }
    }
}

/// What all plugins have.
#[derive(Debug, Clone, Copy)]
pub struct Info {
    /// The class users write: Java's name for what Java has, `io.pipette.…` for what is ours.
    pub class: &'static str,
    /// Other names for it, compared exactly.
    pub aliases: &'static [&'static str],
    /// The version REST reports.
    pub version: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// The crate's README, the head of the generated page; empty for plugins that share a page.
    pub readme: &'static str,
    /// The keys.
    pub config: &'static ConfigDef,
}

impl Info {
    /// True for the class and each alias.
    pub fn answers_to(&self, name: &str) -> bool {
        self.class == name || self.aliases.contains(&name)
    }
}

/// Whether a source can take part in Kafka transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExactlyOnce {
    /// Its positions name exactly what was read.
    Supported,
    /// It cannot, and why, for the user who required it.
    Unsupported(String),
}

/// A future that is not tied to anything.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A live check at validate time: answers (key, reason) for each setting that does not work out there. Runs on a thread
/// of its own with a deadline.
pub type Probe = fn(Settings) -> BoxFuture<Vec<(&'static str, String)>>;

/// A read-only question about a connector that the worker mounts as `/connectors/{name}/{path}`. The answer comes from
/// what connector and tasks put into [`Shared`], so it never waits for either.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// The path below the connector.
    pub path: &'static str,
    /// One sentence, for the API description.
    pub about: &'static str,
    /// JSON text, from the shared values and the query.
    pub answer: fn(&Shared, &BTreeMap<String, String>) -> Result<String>,
}

/// A source connector.
#[derive(Debug, Clone, Copy)]
pub struct SourcePlugin {
    /// What all plugins have.
    pub info: Info,
    /// Whether this configuration can be exactly-once.
    pub exactly_once: fn(&Settings) -> ExactlyOnce,
    /// Whether it defines transaction boundaries itself (`transaction.boundary=connector`).
    pub own_boundaries: fn(&Settings) -> bool,
    /// The live check at validate.
    pub probe: Option<Probe>,
    /// The metrics it publishes.
    pub metrics: &'static [MetricInfo],
    /// The questions it answers.
    pub questions: &'static [Question],
    /// Makes the connector; nothing connects here.
    pub connector: fn(Settings) -> Result<Box<dyn Connector>>,
    /// Makes a task from its task configuration; nothing connects here.
    pub task: fn(Settings) -> Result<Box<dyn SourceTask>>,
}

impl SourcePlugin {
    /// A source at-least-once, without probe, metrics or questions.
    pub const fn new(
        info: Info,
        connector: fn(Settings) -> Result<Box<dyn Connector>>,
        task: fn(Settings) -> Result<Box<dyn SourceTask>>,
    ) -> Self {
        Self {
            info,
            exactly_once: |_| ExactlyOnce::Unsupported("the connector does not support exactly-once delivery".into()),
            own_boundaries: |_| false,
            probe: None,
            metrics: &[],
            questions: &[],
            connector,
            task,
        }
    }
}

/// A sink connector.
#[derive(Debug, Clone, Copy)]
pub struct SinkPlugin {
    /// What all plugins have.
    pub info: Info,
    /// The live check at validate.
    pub probe: Option<Probe>,
    /// The metrics it publishes.
    pub metrics: &'static [MetricInfo],
    /// The questions it answers.
    pub questions: &'static [Question],
    /// Makes the connector; nothing connects here.
    pub connector: fn(Settings) -> Result<Box<dyn Connector>>,
    /// Makes a task from its task configuration; nothing connects here.
    pub task: fn(Settings) -> Result<Box<dyn SinkTask>>,
}

impl SinkPlugin {
    /// A sink without probe, metrics or questions.
    pub const fn new(
        info: Info,
        connector: fn(Settings) -> Result<Box<dyn Connector>>,
        task: fn(Settings) -> Result<Box<dyn SinkTask>>,
    ) -> Self {
        Self { info, probe: None, metrics: &[], questions: &[], connector, task }
    }
}

/// A transformation. A `$Key`/`$Value` pair is two of these over one implementation.
#[derive(Debug, Clone, Copy)]
pub struct TransformPlugin {
    /// What all plugins have.
    pub info: Info,
    /// Makes one instance, for one place in one task's chain.
    pub make: fn(Settings) -> Result<Box<dyn Transform>>,
}

/// The connectors a transformation makes sense in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Sources only.
    IntoKafka,
    /// Sinks only.
    OutOfKafka,
    /// Both.
    Either,
}

/// A transformation that waits for something outside. Its definition lists
/// [`MAX_IN_FLIGHT`](crate::transform::MAX_IN_FLIGHT) and
/// [`MAX_IN_FLIGHT_BYTES`](crate::transform::MAX_IN_FLIGHT_BYTES).
#[derive(Debug, Clone, Copy)]
pub struct AsyncTransformPlugin {
    /// What all plugins have.
    pub info: Info,
    /// Where it may stand.
    pub direction: Direction,
    /// The metrics it publishes.
    pub metrics: &'static [MetricInfo],
    /// Makes one instance, for one place in one task's chain; nothing connects here.
    pub make: fn(Settings, TransformContext) -> Result<Box<dyn AsyncTransform>>,
}

/// A step that makes several records of one: the last of a source.
#[derive(Debug, Clone, Copy)]
pub struct ExpandPlugin {
    /// What all plugins have.
    pub info: Info,
    /// The metrics it publishes.
    pub metrics: &'static [MetricInfo],
    /// Makes one instance, for one task; nothing connects here.
    pub make: fn(Settings, TransformContext) -> Result<Box<dyn Expand>>,
}

/// Makes the step behind a [`CollectPlugin`], where the settings ask for one; nothing connects here.
pub type MakeThen = fn(&Settings, &TransformContext) -> Result<Option<Box<dyn AsyncTransform>>>;

/// A step that makes one record of several: the first of a sink.
#[derive(Debug, Clone, Copy)]
pub struct CollectPlugin {
    /// What all plugins have.
    pub info: Info,
    /// The metrics it publishes.
    pub metrics: &'static [MetricInfo],
    /// Makes one instance, for one task; nothing connects here.
    pub make: fn(Settings, TransformContext) -> Result<Box<dyn Collect>>,
    /// What may have to wait for something outside before a record that was made goes on: the first step behind the
    /// converters, where the settings ask for one. Its definition lists [`MAX_IN_FLIGHT`](crate::transform::MAX_IN_FLIGHT)
    /// and [`MAX_IN_FLIGHT_BYTES`](crate::transform::MAX_IN_FLIGHT_BYTES).
    pub then: Option<MakeThen>,
}

/// A predicate.
#[derive(Debug, Clone, Copy)]
pub struct PredicatePlugin {
    /// What all plugins have.
    pub info: Info,
    /// Makes one instance.
    pub make: fn(Settings) -> Result<Box<dyn Predicate>>,
}

/// A converter for keys or values.
#[derive(Debug, Clone, Copy)]
pub struct ConverterPlugin {
    /// What all plugins have.
    pub info: Info,
    /// Makes one instance, for one task and one half of its records.
    pub make: fn(Settings, crate::transform::Side) -> Result<Box<dyn Converter>>,
}

/// A header converter.
#[derive(Debug, Clone, Copy)]
pub struct HeaderConverterPlugin {
    /// What all plugins have.
    pub info: Info,
    /// Makes one instance.
    pub make: fn(Settings) -> Result<Box<dyn HeaderConverter>>,
}
