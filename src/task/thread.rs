//! One OS thread with a current-thread runtime per task: a plugin that blocks holds up nobody but itself.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use pipette_api::{
    ConnectError, Context, Result, Room, Signal, SinkContext, SourceContext, TaskId, TransformContext, Wish,
};
use tokio::sync::{mpsc, watch};
use tracing::Instrument;

use super::chain::Chain;
use super::codec::Codec;
use super::commits::Commits;
use super::dead_letters::DeadLetters;
use super::door::Door;
use super::flush::Flushing;
use super::guard::Guard;
use super::outbox::Outbox;
use super::patience;
use super::progress::Progress;
use super::pulse::Pulse;
use super::refusals::Refusals;
use super::report::Failure;
use super::sink::SinkLoop;
use super::source::SourceLoop;
use super::spec::{Role, TaskSpec};
use super::stage::collect::Collector;
use super::stage::expand::Expander;
use super::stage::flight::{Carries, Crew};
use super::stage::line::Line;
use super::topics::Topics;
use super::transaction::Transaction;
use super::watchdog::Trouble;
use super::{TaskEnvironment, TaskNews, TaskReport};
use crate::budget::shares::Wants;
use crate::budget::{Meters, Share};
use crate::descriptors;
use crate::kafka::consumer::TaskConsumer;
use crate::kafka::sizes;
use crate::metrics::meters::{ErrorMeters, MemoryMeters, SinkMeters, SourceMeters, TrafficMeters};
use crate::settings::claim_check::Claim;
use crate::store::OwnOffsets;
use crate::telemetry;

/// Says to a task what is wanted. Dropping it gives the task up: it is asked to stop, and whatever it still does commits
/// nothing and runs no hook (Law 3), since another start of it may be at work by then.
#[derive(Debug)]
pub struct TaskHandle {
    wish: watch::Sender<Wish>,
}

impl TaskHandle {
    /// Says what is wanted; the task answers with a report.
    pub fn wish(&self, wish: Wish) {
        self.wish.send_replace(wish);
    }
}

impl Drop for TaskHandle {
    fn drop(&mut self) {
        self.wish.send_replace(Wish::Stop);
    }
}

/// Starts a task on a thread of its own. Returns at once: everything that happens is reported, with `start` in each
/// report. `wish` is how it begins (running or paused). The last report is `Failed` or `Stopped`, after which the
/// thread ends; a plugin that never returns is abandoned by dropping the handle.
pub fn spawn(
    spec: TaskSpec,
    start: u64,
    wish: Wish,
    environment: TaskEnvironment,
    reports: mpsc::UnboundedSender<TaskReport>,
) -> TaskHandle {
    let (sender, receiver) = watch::channel(wish);
    let reporter = Reporter::new(spec.id.clone(), start, reports);
    let name = spec.id.to_string();
    let told = reporter.clone();
    let thread =
        std::thread::Builder::new().name(name).spawn(move || run(spec, Signal::new(receiver), environment, &told));
    if let Err(error) = thread {
        let error = ConnectError::fatal("Cannot start a thread for the task").because(error);
        reporter.failed(&Failure::new("start", error));
    }
    TaskHandle { wish: sender }
}

/// Tells the herder what happens to one start of one task.
#[derive(Debug, Clone)]
pub struct Reporter {
    id: TaskId,
    start: u64,
    reports: mpsc::UnboundedSender<TaskReport>,
}

impl Reporter {
    /// Of one start of one task.
    pub fn new(id: TaskId, start: u64, reports: mpsc::UnboundedSender<TaskReport>) -> Self {
        Self { id, start, reports }
    }

    /// Which task.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// The task polls or puts.
    pub fn running(&self) {
        self.tell(TaskNews::Running);
    }

    /// The task waits.
    pub fn paused(&self) {
        self.tell(TaskNews::Paused);
    }

    /// The plugin cannot start yet and is asked again.
    pub fn waiting(&self, error: &ConnectError) {
        let error = descriptors::explained(error.chain());
        self.tell(TaskNews::Waiting { trace: format!("Cannot start yet; trying again: {error}") });
    }

    fn failed(&self, failure: &Failure) {
        let trace = failure.trace(&self.id);
        tracing::error!(error = %trace.first_line(), "Task failed");
        self.tell(TaskNews::Failed { trace });
    }

    /// What keeps the task from its work.
    pub fn trouble(&self, trouble: Option<Trouble>) {
        self.tell(TaskNews::Trouble(trouble));
    }

    fn tell(&self, news: TaskNews) {
        // A worker that is shutting down listens no longer.
        let _ = self.reports.send(TaskReport { id: self.id.clone(), start: self.start, news });
    }
}

fn run(spec: TaskSpec, signal: Signal, environment: TaskEnvironment, reporter: &Reporter) {
    let span = tracing::error_span!("task", connector = %spec.id.connector, task = spec.id.task);
    let _entered = span.enter();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = ConnectError::fatal("Cannot start a runtime for the task").because(error);
            return reporter.failed(&Failure::new("start", error));
        }
    };
    let pulse = Arc::new(Pulse::default());
    environment.watchdog.watch(&pulse, reporter.clone(), &environment.metrics.connector(&spec.id.connector));
    let task = start(spec, signal, environment, reporter.clone(), Arc::clone(&pulse)).in_current_span();
    let task = pulse.of_thread(task);
    // A panic of a plugin fails its task only (Law 7).
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(task)));
    match ended {
        Ok(Ok(())) => reporter.tell(TaskNews::Stopped),
        Ok(Err(failure)) => reporter.failed(&failure),
        Err(panic) => {
            let place = telemetry::panic_place().map(|place| format!(" at {place}")).unwrap_or_default();
            let error = ConnectError::fatal(format!("the plugin panicked{place}: {}", panic_text(&*panic)));
            reporter.failed(&Failure::new("its plugin", error));
        }
    }
    // What the plugin left behind on the runtime is not waited for.
    runtime.shutdown_background();
}

pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Makes the parts and runs the loop of the task's direction.
async fn start(
    spec: TaskSpec,
    signal: Signal,
    environment: TaskEnvironment,
    reporter: Reporter,
    pulse: Arc<Pulse>,
) -> Result<(), Failure> {
    // A task that begins paused does nothing at all until it is resumed, not even `start` (as in Java).
    if signal.wish() == Wish::Pause {
        reporter.paused();
        signal.until(|wish| wish != Wish::Pause).await;
    }
    if signal.wish() == Wish::Stop {
        return Ok(());
    }
    let common = Context {
        connector: Arc::clone(&spec.id.connector),
        io: environment.io.clone(),
        signal: signal.clone(),
        shared: spec.shared.clone(),
        metrics: environment.metrics.connector(&spec.id.connector),
        folder: environment.folders.of(&spec.id.connector).within(format!("task-{}", spec.id.task)),
    };
    let parts = Parts { spec, signal, environment, reporter, common, pulse };
    match parts.spec.role.clone() {
        Role::Source { .. } => parts.run_source().await,
        Role::Sink { .. } => parts.run_sink().await,
    }
}

struct Parts {
    spec: TaskSpec,
    signal: Signal,
    environment: TaskEnvironment,
    reporter: Reporter,
    common: Context,
    pulse: Arc<Pulse>,
}

/// What a record goes through.
struct Pipeline<T> {
    chain: Chain,
    line: Line<T>,
    codec: Codec,
    guard: Guard,
}

fn at_start(error: ConnectError) -> Failure {
    Failure::new("start", error)
}

impl Parts {
    fn pipeline<T: Carries>(&self, meters: ErrorMeters, share: &Share) -> Result<Pipeline<T>, Failure> {
        let context = self.step_context(share);
        let chain = Chain::new(&self.spec.transforms, &context).map_err(at_start)?;
        let codec = Codec::new(&self.spec.converters).map_err(at_start)?;
        let guard = Guard::new(self.spec.errors.clone(), meters);
        let crew = Crew {
            io: self.environment.io.clone(),
            guard: Arc::new(guard.clone()),
            signal: self.signal.clone(),
            share: share.clone(),
            metrics: (self.common.metrics.clone(), self.spec.id.task),
        };
        let line = Line::new(&chain, &crew);
        Ok(Pipeline { chain, line, codec, guard })
    }

    fn step_context(&self, share: &Share) -> TransformContext {
        let room = Room::of(Arc::new(share.clone()));
        let outage = self.pulse.outside().clone();
        TransformContext { common: self.common.clone(), id: self.spec.id.clone(), room, outage }
    }

    /// The task's part of the worker's memory.
    fn share(&self, wants: Wants, keys: &str) -> Share {
        let meters = MemoryMeters::new(&self.common.metrics, self.spec.id.task);
        let meters = Meters { held: meters.held, waits: meters.waits };
        self.environment.budget.enter(self.spec.id.clone(), self.spec.memory_cap, wants, keys, meters)
    }

    /// The dead letters with their topic made. `Err(None)` when the task is wanted back first.
    async fn dead_letters(&self, share: &Share, meters: &ErrorMeters) -> Result<Option<DeadLetters>, Option<Failure>> {
        let Some(spec) = self.spec.dead_letters.clone() else { return Ok(None) };
        let dead_letters = DeadLetters::new(spec, self.spec.id.clone(), self.signal.clone(), meters)
            .within(share.clone())
            .watched(&self.pulse);
        match patience::started(&self.signal, &self.reporter, async || dead_letters.prepare().await).await {
            Ok(true) => Ok(Some(dead_letters)),
            Ok(false) => Err(None),
            Err(failure) => Err(Some(failure)),
        }
    }

    async fn run_source(self) -> Result<(), Failure> {
        let Role::Source { plugin, mut producer, transactions, offsets_topic, topics, kept } = self.spec.role.clone()
        else {
            unreachable!("a source")
        };
        let share = self.share(sizes::producer_wants(&producer), sizes::PRODUCER_KEYS);
        sizes::fit_producer(&mut producer, share.clients());
        let meters = ErrorMeters::new(&self.common.metrics, self.spec.id.task);
        let dead_letters = match self.dead_letters(&share, &meters).await {
            Ok(dead_letters) => dead_letters,
            Err(ended) => return ended.map_or(Ok(()), Err),
        };
        let Pipeline { chain, line, codec, guard } = self.pipeline(meters, &share)?;
        let expander = Expander::new(&self.spec.transforms, &self.step_context(&share)).map_err(at_start)?;
        let named = offsets_topic.as_deref();
        let offsets = self.environment.offsets.of(named).map_err(at_start)?;
        let (connector, sampling) = (Arc::clone(&self.spec.id.connector), self.environment.metrics.sampling());
        let reader = OwnOffsets { connector: Arc::clone(&connector), store: Arc::clone(&offsets) };
        let meters = SourceMeters::new(&self.common.metrics, self.spec.id.task, sampling);
        let meters = match &transactions {
            Some(_) => meters.with_transactions(&self.common.metrics, self.spec.id.task, sampling),
            None => meters,
        };
        let (metrics, client) = (&self.common.metrics, producer.get("client.id").map_or("", String::as_str));
        let traffic = TrafficMeters::producer(metrics, self.spec.id.task, client);
        let meters = SourceMeters { traffic: Some(traffic), ..meters };
        let context = SourceContext { common: self.common, id: self.spec.id.clone(), offsets: Arc::new(reader) };
        let chosen = self.environment.offsets.topic_of(named).map_err(at_start)?;
        let transaction = transactions
            .zip(chosen)
            .map(|(how, offsets)| Transaction::new(how, Arc::clone(&connector), offsets, self.signal.clone()));
        let used = self.environment.used.notes(self.spec.id.clone());
        let commits = Commits::new(connector, offsets, self.spec.flush_interval);
        let dead_topic = self.spec.dead_letters.as_ref().map(|dead| dead.topic.name.clone());
        let claims = Claim::all(self.spec.settings.values()).map_err(at_start)?;
        let task = (plugin.task)(self.spec.settings.clone()).map_err(at_start)?;
        let mut outbox = Outbox::new(producer.clone(), commits, self.signal.clone(), meters)
            .with(dead_letters)
            .with_transactions(transaction);
        outbox.pulse = Arc::clone(&self.pulse);
        let source = SourceLoop {
            chain,
            line,
            expander,
            codec,
            guard,
            topics: Topics::new(topics, producer, dead_topic).noting(used).keeping_out_of(kept).comparing(claims),
            outbox,
            signal: self.signal,
            drain_timeout: self.spec.flush_timeout,
            reporter: self.reporter,
            pulse: self.pulse,
            share,
            batch_bytes: 0,
            inline: self.spec.inline,
        };
        source.run(task, context).await
    }

    async fn run_sink(self) -> Result<(), Failure> {
        let Role::Sink { plugin, mut consumer, subscription, direct } = self.spec.role.clone() else {
            unreachable!("a sink")
        };
        let share = self.share(sizes::consumer_wants(&consumer), sizes::CONSUMER_KEYS);
        sizes::fit_consumer(&mut consumer, share.clients());
        let meters = ErrorMeters::new(&self.common.metrics, self.spec.id.task);
        let dead_letters = match self.dead_letters(&share, &meters).await {
            Ok(dead_letters) => dead_letters,
            Err(ended) => return ended.map_or(Ok(()), Err),
        };
        let Pipeline { chain, line, codec, guard } = self.pipeline(meters, &share)?;
        let collector = Collector::new(&self.spec.transforms, &self.step_context(&share)).map_err(at_start)?;
        let task = (plugin.task)(self.spec.settings.clone()).map_err(at_start)?;
        let (name, signal) = (self.spec.id.to_string(), self.signal.clone());
        let client = consumer.get("client.id").cloned().unwrap_or_default();
        let consumer =
            TaskConsumer::start((&consumer, direct), &subscription, &name, share, signal).map_err(at_start)?;
        self.pulse.attach(&consumer.contact);
        let traffic = TrafficMeters::consumer(&self.common.metrics, self.spec.id.task, &client);
        consumer.contact.tell(Some(traffic.listener()));
        // Without tolerance the first refusal ends the task anyway.
        let refusals = Refusals::new(if self.spec.errors.tolerate { self.spec.errors.refusals_max } else { 0 });
        let (requests, asked) = mpsc::unbounded_channel();
        let door = Door { requests, commands: consumer.commands.clone() };
        let used = self.environment.used.notes(self.spec.id.clone());
        let meters = SinkMeters::new(&self.common.metrics, self.spec.id.task, self.environment.metrics.sampling());
        let context = SinkContext { common: self.common, id: self.spec.id.clone(), runtime: Arc::new(door) };
        let sink = SinkLoop {
            chain,
            line,
            collector,
            codec,
            guard,
            dead_letters,
            consumer,
            requests: asked,
            signal: self.signal,
            flush_interval: self.spec.flush_interval,
            flush_timeout: self.spec.flush_timeout,
            reporter: self.reporter,
            flush_at: tokio::time::Instant::now(),
            progress: Progress::noting(used),
            refusals,
            followed: Wish::Run,
            backlog: VecDeque::new(),
            meters,
            pulse: self.pulse,
            flushing: Flushing::default(),
        };
        sink.run(task, context).await
    }
}
