//! Plugins for tests: the keys of Apache's file connectors and some of its plugins, and connectors that hang.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

use pipette_api::config::Width;
use pipette_api::config::checks::not_empty;
use pipette_api::config::key::Importance::{High, Low};
use pipette_api::{
    ConfigDef, ConfigMap, ConnectError, Connector, ConnectorContext, ConverterPlugin, HeaderConverterPlugin, Info, Key,
    Plugin, PredicatePlugin, Question, Result, Settings, Signal, SinkPlugin, SourceBatch, SourceContext, SourcePlugin,
    SourceTask, TransformPlugin, async_trait,
};

static FILE: Key<String> = Key::new("file", "The file.").optional().importance(High);
static TOPIC: Key<String> = Key::new("topic", "The topic.").importance(High).check(not_empty);
static BATCH: Key<i32> = Key::new("batch.size", "Lines per poll.").default("2000").importance(Low);
static SECRET: Key<pipette_api::config::Password> = Key::new("secret", "A password.").optional();
static NO_KEYS: ConfigDef = ConfigDef::new(&[]);
static SOURCE: ConfigDef = ConfigDef::new(&[&FILE.info, &TOPIC.info, &BATCH.info]);
static SINK: ConfigDef = ConfigDef::new(&[&FILE.info]);
static TOY: ConfigDef = ConfigDef::new(&[&TOPIC.info, &SECRET.info]);
static HANGING_RULE: ConfigDef = ConfigDef::new(&[&TOPIC.info]).rule(|_| hang());

static TYPE: Key<String> = Key::new("converter.type", "Key, value or header.").importance(Low);
static ENCODING: Key<String> = Key::new("converter.encoding", "The character set.")
    .default("UTF-8")
    .importance(High)
    .width(Width::Medium)
    .display("Encoding");
static STRING: ConfigDef = ConfigDef::new(&[&TYPE.info, &ENCODING.info]);
static ENABLE: Key<bool> = schemas(Key::new("schemas.enable", "").default("true"), "Enable Schemas");
static CACHE: Key<i32> = Key::new("schemas.cache.size", "")
    .default("1000")
    .importance(High)
    .group("Schemas")
    .width(Width::Medium)
    .display("Schema Cache Size");
static CONTENT: Key<String> = Key::new("schema.content", "")
    .optional()
    .importance(High)
    .group("Schemas")
    .width(Width::Medium)
    .display("Schema Content");
static DECIMAL: Key<String> = Key::new("decimal.format", "")
    .default("BASE64")
    .importance(Low)
    .group("Serialization")
    .width(Width::Medium)
    .display("Decimal Format");
static REPLACE: Key<bool> = Key::new("replace.null.with.default", "")
    .default("true")
    .importance(Low)
    .group("Serialization")
    .width(Width::Medium)
    .display("Replace null with default");
static JSON: ConfigDef =
    ConfigDef::new(&[&TYPE.info, &ENABLE.info, &CACHE.info, &CONTENT.info, &DECIMAL.info, &REPLACE.info]);

const fn schemas(key: Key<bool>, display: &'static str) -> Key<bool> {
    key.importance(High).group("Schemas").width(Width::Medium).display(display)
}

static TOPIC_FIELD: Key<String> = Key::new("topic.field", "").optional();
static PARTITION_FIELD: Key<String> = Key::new("partition.field", "").optional();
static OFFSET_FIELD: Key<String> = Key::new("offset.field", "").optional();
static TIMESTAMP_FIELD: Key<String> = Key::new("timestamp.field", "").optional();
static STATIC_FIELD: Key<String> = Key::new("static.field", "").optional();
static STATIC_VALUE: Key<String> = Key::new("static.value", "").optional();
static REPLACE_NULL: Key<bool> = Key::new("replace.null.with.default", "").default("true");
static INSERT: ConfigDef = ConfigDef::new(&[
    &TOPIC_FIELD.info,
    &PARTITION_FIELD.info,
    &OFFSET_FIELD.info,
    &TIMESTAMP_FIELD.info,
    &STATIC_FIELD.info,
    &STATIC_VALUE.info,
    &REPLACE_NULL.info,
]);
static PATTERN: Key<String> = Key::new("pattern", "A pattern.");
static MATCHES: ConfigDef = ConfigDef::new(&[&PATTERN.info]);

const fn info(class: &'static str, config: &'static ConfigDef) -> Info {
    Info { class, aliases: &[], version: "4.3.1", about: "", readme: "", config }
}

fn no<T>(_: Settings) -> Result<T> {
    Err(ConnectError::fatal("not made in tests"))
}

const HANG: Question = Question { path: "hang", about: "Never answers.", answer: |_, _| hang() };

const fn source(
    class: &'static str,
    config: &'static ConfigDef,
    make: fn(Settings) -> Result<Box<dyn Connector>>,
) -> Plugin {
    let mut plugin = SourcePlugin::new(info(class, config), make, no);
    plugin.questions = &[
        Question { path: "echo", about: "Answers the query.", answer: |_, query| Ok(format!("{:?}", query["q"])) },
        HANG,
    ];
    Plugin::Source(plugin)
}

const fn converter(class: &'static str, config: &'static ConfigDef) -> Plugin {
    Plugin::Converter(ConverterPlugin { info: info(class, config), make: |settings, _| no(settings) })
}

pub(crate) static PLUGINS: &[Plugin] = &[
    source("org.apache.kafka.connect.file.FileStreamSourceConnector", &SOURCE, |settings| Ok(Box::new(Toy(settings)))),
    Plugin::Sink(SinkPlugin::new(
        info("org.apache.kafka.connect.file.FileStreamSinkConnector", &SINK),
        |settings| Ok(Box::new(Toy(settings))),
        no,
    )),
    source("test.ToySourceConnector", &TOY, |settings| Ok(Box::new(Toy(settings)))),
    source("test.HangsInStartConnector", &TOY, |_| Ok(Box::new(Hangs))),
    source("test.FailsInStartConnector", &TOY, |_| Ok(Box::new(Fails))),
    source("test.FailsOnceConnector", &TOY, |_| Ok(Box::new(FailsOnce))),
    // Without the hook of panics, whose backtrace takes longer than a connector may.
    source("test.PanicsConnector", &TOY, |_| std::panic::resume_unwind(Box::new("on purpose"))),
    source("test.HangsInMakeConnector", &TOY, |_| hang()),
    source("test.HangsInPlanConnector", &TOY, |_| Ok(Box::new(HangsInPlan))),
    source("test.HangsInStopConnector", &TOY, |settings| Ok(Box::new(HangsInStop(Toy(settings))))),
    HANGS_IN_PROBE,
    source("test.HangingRuleConnector", &HANGING_RULE, |settings| Ok(Box::new(Toy(settings)))),
    converter("org.apache.kafka.connect.json.JsonConverter", &JSON),
    converter("org.apache.kafka.connect.storage.StringConverter", &STRING),
    Plugin::HeaderConverter(HeaderConverterPlugin {
        info: info("org.apache.kafka.connect.storage.SimpleHeaderConverter", &NO_KEYS),
        make: no,
    }),
    Plugin::Transform(TransformPlugin {
        info: info("org.apache.kafka.connect.transforms.InsertField$Value", &INSERT),
        make: no,
    }),
    Plugin::Transform(TransformPlugin { info: info("org.apache.kafka.connect.transforms.Filter", &NO_KEYS), make: no }),
    Plugin::Predicate(PredicatePlugin {
        info: info("org.apache.kafka.connect.transforms.predicates.TopicNameMatches", &MATCHES),
        make: no,
    }),
];

const HANGS_IN_PROBE: Plugin = {
    let make = |settings| -> Result<Box<dyn Connector>> { Ok(Box::new(Toy(settings))) };
    let mut plugin = SourcePlugin::new(info("test.HangsInProbeConnector", &TOY), make, no);
    plugin.questions = &[HANG];
    plugin.probe = Some(|_| Box::pin(async { hang() }));
    Plugin::Source(plugin)
};

/// For a bed with real tasks.
pub(crate) static LIVE: &[Plugin] = &[
    Plugin::Source(SourcePlugin::new(
        info("test.BlocksInPollConnector", &TOY),
        |settings| Ok(Box::new(Toy(settings))),
        |_| Ok(Box::new(Blocks)),
    )),
    Plugin::Source(SourcePlugin::new(
        info("test.GatedConnector", &TOY),
        |settings| Ok(Box::new(Toy(settings))),
        |_| Ok(Box::new(Gated(None))),
    )),
];

/// A task that never gives its thread back.
struct Blocks;

#[async_trait]
impl SourceTask for Blocks {
    async fn start(&mut self, _context: SourceContext) -> Result<()> {
        Ok(())
    }

    async fn poll(&mut self) -> Result<SourceBatch> {
        hang()
    }
}

/// Lets the polls of `Gated` go on.
pub(crate) static GATE: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// A task that gives its thread back when the gate opens.
struct Gated(Option<Signal>);

#[async_trait]
impl SourceTask for Gated {
    async fn start(&mut self, context: SourceContext) -> Result<()> {
        self.0 = Some(context.common.signal.clone());
        Ok(())
    }

    async fn poll(&mut self) -> Result<SourceBatch> {
        drop(GATE.1.wait_while(GATE.0.lock().unwrap(), |open| !*open).unwrap());
        self.0.as_ref().unwrap().recalled().await;
        Ok(SourceBatch::empty())
    }
}

/// Blocks its thread for good, as a bad plugin may.
fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

/// Plans as many tasks as it may, or as `tasks` says.
struct Toy(Settings);

#[async_trait]
impl Connector for Toy {
    async fn task_configs(&mut self, max: usize) -> Result<Vec<ConfigMap>> {
        let tasks = self.0.raw("tasks").and_then(|tasks| tasks.parse().ok()).unwrap_or(max);
        Ok((0..tasks).map(|task| ConfigMap::from([("part".into(), task.to_string())])).collect())
    }
}

struct Hangs;

#[async_trait]
impl Connector for Hangs {
    async fn start(&mut self, _context: ConnectorContext) -> Result<()> {
        hang()
    }

    async fn task_configs(&mut self, _max: usize) -> Result<Vec<ConfigMap>> {
        Ok(Vec::new())
    }
}

struct HangsInPlan;

#[async_trait]
impl Connector for HangsInPlan {
    async fn task_configs(&mut self, _max: usize) -> Result<Vec<ConfigMap>> {
        hang()
    }
}

struct HangsInStop(Toy);

#[async_trait]
impl Connector for HangsInStop {
    async fn task_configs(&mut self, max: usize) -> Result<Vec<ConfigMap>> {
        self.0.task_configs(max).await
    }

    async fn stop(&mut self) {
        hang()
    }
}

struct Fails;

#[async_trait]
impl Connector for Fails {
    async fn start(&mut self, _context: ConnectorContext) -> Result<()> {
        Err(ConnectError::config("cannot reach the device").because(std::io::Error::other("cable unplugged")))
    }

    async fn task_configs(&mut self, _max: usize) -> Result<Vec<ConfigMap>> {
        Ok(Vec::new())
    }
}

/// Starts when it is tried a second time.
struct FailsOnce;

/// How often it was tried.
#[derive(Default)]
struct Tries(AtomicUsize);

#[async_trait]
impl Connector for FailsOnce {
    async fn start(&mut self, context: ConnectorContext) -> Result<()> {
        if context.common.shared.get::<Tries>().0.fetch_add(1, Ordering::Relaxed) == 0 {
            return Err(ConnectError::fatal("the device is still starting"));
        }
        Ok(())
    }

    async fn task_configs(&mut self, _max: usize) -> Result<Vec<ConfigMap>> {
        Ok(vec![ConfigMap::new()])
    }
}
