//! The preview: sample records sent through a connector's chain, with a look at each of them after each step.
//!
//! The worker stores nothing and no connector starts. A step that writes to something outside is told that this is a
//! rehearsal: it writes nothing there, and [`Stop::rehearsed`] says so.
//! `handle.rs` calls it for `POST /transforms/preview`, on a thread of its own, and `src/preview.rs` for the command; both
//! show what [`run`] answers. Read next: `preview/sample.rs`.

mod sample;

use std::sync::Arc;
use std::time::{Duration, Instant};

use pipette_api::{
    ConfigMap, ConnectError, Context, Folder, Outage, Record, Result, Room, Shared, Signal, TaskId, TransformContext,
    Verdict, Wish,
};
use tokio::runtime::Handle;
use tokio::sync::watch;

pub use self::sample::Sample;
use super::spec;
use super::validate::{Draft, validate};
use crate::kafka::last::last_records;
use crate::kafka::properties;
use crate::metrics::WorkerMetrics;
use crate::plugins::{ConnectorPlugin, Plugins};
use crate::settings::connector::{self, ConnectorConfig};
use crate::settings::secrets::Secrets;
use crate::settings::worker::WorkerConfig;
use crate::task::chain::Chain;
use crate::task::codec::Codec;
use crate::task::spec::{StepPlugin, TransformSpec};

/// Most records of one preview.
pub const MOST: usize = 1000;

/// Where the records of a preview come from.
#[derive(Debug)]
pub enum Records {
    /// They are given.
    Samples(Vec<Sample>),
    /// The last so many of a sink's topics.
    Live(usize),
}

/// What became of one record.
#[derive(Debug)]
pub struct Trail {
    /// The record as the chain gets it; an error of the converters instead.
    pub start: Result<Record>,
    /// Each step up to the one that dropped it or failed.
    pub steps: Vec<Stop>,
}

/// A record behind a step.
#[derive(Debug)]
pub struct Stop {
    /// The step's name in `transforms`.
    pub alias: String,
    /// Its class.
    pub class: &'static str,
    /// What it did.
    pub outcome: Outcome,
    /// How long it took, once it knew the record's schema.
    pub took: Duration,
    /// It would have written to something outside, and has not.
    pub rehearsed: bool,
}

/// What a step did.
#[derive(Debug)]
pub enum Outcome {
    /// The record goes on like this.
    Changed(Box<Record>),
    /// The predicate left it out; it goes on as it was.
    Skipped,
    /// The record is filtered.
    Dropped,
    /// It failed, and the record with it.
    Failed(ConnectError),
    /// It works on what stands in Kafka, which a preview does not have; and what that means.
    Unseen(&'static str),
}

/// A step outside of the converters, by whether it is the last: `Chunk`, `Split`; `Reassemble`.
struct Beyond {
    alias: String,
    class: &'static str,
    last: bool,
}

impl Beyond {
    fn of(spec: &TransformSpec) -> Option<Self> {
        let last = match spec.plugin {
            StepPlugin::Expand(_) => true,
            StepPlugin::Collect(_) => false,
            StepPlugin::Now(_) | StepPlugin::Later(_) => return None,
        };
        Some(Self { alias: spec.alias.to_string(), class: spec.plugin.info().class, last })
    }

    fn stop(&self) -> Stop {
        let outcome = Outcome::Unseen(if self.last {
            "it makes several records of one behind the converters, out of the bytes that Kafka gets: they are not shown"
        } else {
            "it puts several records together before the converters, out of the bytes in Kafka: each is shown as it came"
        });
        Stop { alias: self.alias.clone(), class: self.class, outcome, took: Duration::ZERO, rehearsed: false }
    }
}

/// Sends records through the chain of a configuration. A config error for what is wrong with its transformations,
/// predicates and converters, with every key; what else is wrong with it does not matter here. What placeholders stand for
/// may be in the records, and must not be shown to whoever may not see it.
pub fn run(
    plugins: &Plugins,
    worker: &WorkerConfig,
    config: &ConfigMap,
    records: Records,
) -> Result<(Vec<Trail>, Secrets)> {
    refuse_mistakes(plugins, worker, config)?;
    let (config, secrets) = worker.providers.resolve_and_tell(config)?;
    match trails(plugins, worker, &config, records) {
        Ok(trails) => Ok((trails, secrets)),
        Err(error) => {
            let mut text = error.chain();
            secrets.hide_in(&mut text);
            Err(ConnectError::new(error.kind(), text))
        }
    }
}

fn trails(plugins: &Plugins, worker: &WorkerConfig, config: &ConfigMap, records: Records) -> Result<Vec<Trail>> {
    let own = ConnectorConfig::read(config)?;
    let class = config.get(connector::CLASS.info.name).map(String::as_str).unwrap_or_default();
    let is_sink = matches!(plugins.connector(class).map_err(ConnectError::config)?, ConnectorPlugin::Sink(_));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime =
        runtime.map_err(|error| ConnectError::fatal("Cannot start a runtime for the preview").because(error))?;
    let (wish, wished) = watch::channel(Wish::Run);
    let specs = spec::chain(plugins, &own, &worker.reach)?;
    let beyond: Vec<Beyond> = specs.iter().filter_map(Beyond::of).collect();
    let mut chain = Chain::new(&specs, &context(runtime.handle(), wished))?;
    let mut codec = Codec::new(&spec::converters(plugins, worker, &own)?)?;
    let starts: Vec<Result<Record>> = match records {
        Records::Samples(samples) if samples.len() > MOST => {
            return Err(ConnectError::config(format!("{} records: a preview takes {MOST} at most", samples.len())));
        }
        Records::Samples(samples) if is_sink => {
            samples.into_iter().map(|sample| decoded(&mut codec, &sample.consumed(&own.topics)?)).collect()
        }
        Records::Samples(samples) => samples.into_iter().map(Sample::produced).collect(),
        Records::Live(_) if !is_sink => {
            return Err(ConnectError::config(
                "live records are those of a sink's topics, before its chain; for a source, send records",
            ));
        }
        Records::Live(count) => {
            let client = properties::consumer(&worker.values, config, "connector-preview", "connector-preview")?;
            let raws = last_records(&client, &own.topics, count.min(MOST))?;
            raws.iter().map(|raw| decoded(&mut codec, raw)).collect()
        }
    };
    let trails = runtime.block_on(async {
        let mut trails = Vec::with_capacity(starts.len());
        for start in starts {
            trails.push(trail(&mut chain, &beyond, start).await);
        }
        for (_, later) in chain.laters() {
            later.transform.stop().await;
        }
        trails
    });
    drop(wish);
    runtime.shutdown_background();
    Ok(trails)
}

/// What steps that wait for something outside are made with: a task that is none.
fn context(io: &Handle, wished: watch::Receiver<Wish>) -> TransformContext {
    let connector = Arc::from("preview");
    let id = TaskId { connector: Arc::clone(&connector), task: 0 };
    let metrics = WorkerMetrics::new().connector(&connector);
    let (io, signal, shared) = (io.clone(), Signal::new(wished), Shared::rehearsal());
    let common = Context { connector, io, signal, shared, metrics, folder: Folder::nowhere() };
    TransformContext { common, id, room: Room::default(), outage: Outage::default() }
}

fn refuse_mistakes(plugins: &Plugins, worker: &WorkerConfig, config: &ConfigMap) -> Result<()> {
    let draft: Draft = config.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    let validation = validate(plugins, worker, &draft).map_err(ConnectError::config)?;
    let matters = |name: &str| {
        ["transforms", "predicates"].iter().any(|list| name.starts_with(list)) || name.contains("converter")
    };
    let wrong: Vec<&str> = validation
        .entries
        .iter()
        .filter(|entry| matters(&entry.name))
        .flat_map(|entry| entry.errors.iter().map(String::as_str))
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(ConnectError::config(wrong.join("; "))) }
}

fn decoded(codec: &mut Codec, raw: &pipette_api::RawRecord) -> Result<Record> {
    codec.decode(raw).map_err(|(stage, error)| error.within(codec.class(stage)))
}

async fn trail(chain: &mut Chain, beyond: &[Beyond], start: Result<Record>) -> Trail {
    let mut steps = Vec::new();
    let mut record = match &start {
        Ok(record) => record.clone(),
        Err(_) => return Trail { start, steps },
    };
    let unseen = |last: bool| beyond.iter().filter(move |step| step.last == last).map(Beyond::stop);
    steps.extend(unseen(false));
    for step in chain.steps() {
        // The first time a step works out what it knows of a schema, which is not what the next thousand records cost.
        if !step.waits() {
            let _ = step.apply_waiting(&mut record.clone()).await;
        }
        let outside = step.writes_outside(&record);
        let mut changed = record.clone();
        let began = Instant::now();
        let answer = step.apply_waiting(&mut changed).await;
        let took = began.elapsed();
        let (alias, class) = (step.alias().to_owned(), step.class());
        let outcome = match answer {
            Ok(None) => Outcome::Skipped,
            Ok(Some(Verdict::Keep)) => {
                record.clone_from(&changed);
                Outcome::Changed(Box::new(changed))
            }
            Ok(Some(Verdict::Drop)) => Outcome::Dropped,
            Err(error) => Outcome::Failed(error),
        };
        let ended = matches!(outcome, Outcome::Dropped | Outcome::Failed(_));
        let rehearsed = outside && matches!(outcome, Outcome::Changed(_));
        steps.push(Stop { alias, class, outcome, took, rehearsed });
        if ended {
            return Trail { start, steps };
        }
    }
    steps.extend(unseen(true));
    Trail { start, steps }
}
