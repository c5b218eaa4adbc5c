//! One start of a task: the real loop with all its parts around any plugin, on the model of Kafka.
//!
//! A life is moved by [`Lives::breathe`] and ends by itself, by a wish, by being given up, or with its worker.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use pipette_api::{
    Context, Folder, Settings, Shared, Signal, SinkContext, SinkTask, SourceContext, SourceTask, TaskId, Wish,
};
use tokio::sync::{mpsc, watch};

use super::kafka::{Cluster, LETTERS};
use crate::budget::Share;
use crate::kafka::consumer::TaskConsumer;
use crate::kafka::properties::ClientProperties;
use crate::metrics::WorkerMetrics;
use crate::metrics::meters::{ErrorMeters, SinkMeters, SourceMeters};
use crate::plugins::Plugins;
use crate::settings::dead_letters::DeadLetterTopic;
use crate::store::stores::Chosen;
use crate::store::{OffsetStore, OwnOffsets};
use crate::task::chain::Chain;
use crate::task::codec::Codec;
use crate::task::commits::Commits;
use crate::task::dead_letters::DeadLetters;
use crate::task::door::Door;
use crate::task::guard::Guard;
use crate::task::outbox::Outbox;
use crate::task::progress::Progress;
use crate::task::refusals::Refusals;
use crate::task::report::Failure;
use crate::task::sink::SinkLoop;
use crate::task::source::SourceLoop;
use crate::task::spec::{Converters, DeadLetterSpec, ErrorPolicy, Transactions, TransformSpec, Until};
use crate::task::stage::flight::Crew;
use crate::task::stage::line::Line;
use crate::task::stage::toys;
use crate::task::thread::Reporter;
use crate::task::topics::Topics;
use crate::task::transaction::Transaction;

/// How a life ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Stopped,
    Failed,
    Panicked,
}

type Living = Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

/// One start.
pub(super) struct Life {
    pub(super) number: usize,
    loops: Option<Living>,
    /// Dropped when it is given up.
    pub(super) wish: Option<watch::Sender<Wish>>,
    /// It hangs: nothing of it moves.
    pub(super) frozen: bool,
    pub(super) ended: Option<End>,
}

/// What all lives of a world have in common.
pub(super) struct Habits {
    pub(super) cluster: Cluster,
    pub(super) tolerate: bool,
    pub(super) letters: bool,
    /// Where transactions end; `None` is at-least-once.
    pub(super) until: Option<Until>,
    pub(super) flush_interval: Duration,
    /// The chains of source tasks.
    pub(super) steps: Vec<TransformSpec>,
    metrics: Arc<WorkerMetrics>,
}

impl Habits {
    pub(super) fn new(cluster: Cluster) -> Self {
        let flush_interval = Duration::from_millis(60);
        let (steps, metrics) = (Vec::new(), WorkerMetrics::new());
        Self { cluster, tolerate: false, letters: false, until: None, flush_interval, steps, metrics }
    }

    /// The signal of a life, and what each has of its own.
    fn parts(&self, number: usize) -> Parts {
        let (wish, wished) = watch::channel(Wish::Run);
        let (signal, id) = (Signal::new(wished), TaskId { connector: "c".into(), task: 0 });
        let metrics = self.metrics.connector("c");
        let meters = ErrorMeters::new(&metrics, 0);
        let letters = self.letters.then(|| {
            let topic = DeadLetterTopic { name: LETTERS.into(), replication_factor: None, context: Some(false) };
            let spec = DeadLetterSpec { topic, producer: ClientProperties::new(), inline: 1_000_000 };
            DeadLetters::new(spec, id.clone(), signal.clone(), &meters).over(self.cluster.producer(number, false))
        });
        let guard = Guard::new(ErrorPolicy { tolerate: self.tolerate, ..ErrorPolicy::default() }, meters);
        let io = tokio::runtime::Handle::current();
        let connector = Arc::clone(&id.connector);
        let common = Context {
            connector,
            io,
            signal: signal.clone(),
            shared: Shared::default(),
            metrics,
            folder: Folder::nowhere(),
        };
        let reporter = Reporter::new(id.clone(), number as u64, mpsc::unbounded_channel().0);
        Parts { wish, signal, id, letters, guard, common, reporter }
    }

    /// A life of a sink task begins, with a consumer at the other ends of these channels.
    pub(super) fn begin_sink(
        &self,
        number: usize,
        consumer: TaskConsumer,
        task: impl FnOnce(Signal) -> Box<dyn SinkTask>,
    ) -> Life {
        let Parts { wish, signal, id, letters, guard, common, reporter } = self.parts(number);
        let (requests, asked) = mpsc::unbounded_channel();
        let door = Door { requests, commands: consumer.commands.clone() };
        let meters = SinkMeters::new(&common.metrics, 0, self.metrics.sampling());
        let sink = SinkLoop {
            chain: Chain::default(),
            line: Line::default(),
            collector: None,
            codec: codec(),
            guard,
            dead_letters: letters,
            consumer,
            requests: asked,
            signal: signal.clone(),
            flush_interval: self.flush_interval,
            flush_timeout: Duration::from_millis(500),
            reporter,
            flush_at: tokio::time::Instant::now(),
            progress: Progress::default(),
            refusals: Refusals::new(0),
            followed: Wish::Run,
            backlog: VecDeque::new(),
            meters,
            pulse: Arc::default(),
            flushing: crate::task::flush::Flushing::default(),
        };
        let context = SinkContext { common, id, runtime: Arc::new(door) };
        let loops: Living = Box::pin(sink.run(task(signal), context));
        Life { number, loops: Some(loops), wish: Some(wish), frozen: false, ended: None }
    }

    /// A life of a source task begins.
    pub(super) fn begin(
        &self,
        number: usize,
        offsets: &Offsets,
        task: impl FnOnce(Signal) -> Box<dyn SourceTask>,
    ) -> Life {
        let Parts { wish, signal, id, letters, guard, common, reporter } = self.parts(number);
        let connector = Arc::clone(&id.connector);
        let store = offsets.store(&signal);
        let transaction = self.until.zip(offsets.chosen()).map(|(until, chosen)| {
            let how = Transactions { until, stale: Vec::new() };
            Transaction::new(how, Arc::clone(&connector), chosen, signal.clone())
        });
        let reader = OwnOffsets { connector: Arc::clone(&connector), store: Arc::clone(&store) };
        let commits = Commits::new(Arc::clone(&connector), store, self.flush_interval);
        let producer = self.cluster.producer(number, transaction.is_some());
        let outbox = Outbox::new(
            ClientProperties::new(),
            commits,
            signal.clone(),
            SourceMeters::new(&common.metrics, 0, self.metrics.sampling()),
        )
        .with(letters)
        .with_transactions(transaction)
        .over(producer);
        let chain = Chain::new(&self.steps, &toys::context(signal.clone(), &common.shared)).unwrap();
        let (io, share) = (common.io.clone(), Share::ample("c"));
        let crew = Crew {
            io,
            guard: Arc::new(guard.clone()),
            signal: signal.clone(),
            share: share.clone(),
            metrics: (common.metrics.clone(), 0),
        };
        let line = Line::new(&chain, &crew);
        let source = SourceLoop {
            chain,
            line,
            expander: None,
            codec: codec(),
            guard,
            topics: Topics::new(None, ClientProperties::new(), None),
            outbox,
            signal: signal.clone(),
            drain_timeout: Duration::from_millis(500),
            pulse: Arc::default(),
            reporter,
            share,
            batch_bytes: 0,
            inline: 1_000_000,
        };
        let context = SourceContext { common, id, offsets: Arc::new(reader) };
        let loops: Living = Box::pin(source.run(task(signal), context));
        Life { number, loops: Some(loops), wish: Some(wish), frozen: false, ended: None }
    }
}

/// What a life of either direction is made of.
struct Parts {
    wish: watch::Sender<Wish>,
    signal: Signal,
    id: TaskId,
    letters: Option<DeadLetters>,
    guard: Guard,
    common: Context,
    reporter: Reporter,
}

/// Where offsets are kept: a store that the world watches, or a topic.
pub(super) enum Offsets {
    Store(Box<dyn Fn(Signal) -> Arc<dyn OffsetStore>>),
    Topic(Chosen),
}

impl Offsets {
    fn store(&self, signal: &Signal) -> Arc<dyn OffsetStore> {
        match self {
            Self::Store(make) => make(signal.clone()),
            Self::Topic(chosen) => Arc::new(chosen.clone()),
        }
    }

    fn chosen(&self) -> Option<Chosen> {
        match self {
            Self::Store(_) => None,
            Self::Topic(chosen) => Some(chosen.clone()),
        }
    }
}

/// Strings, as lines of files become.
fn codec() -> Codec {
    let plugins = Plugins::built_in();
    let text = plugins.converter("StringConverter").unwrap();
    let header = plugins.header_converter("SimpleHeaderConverter").unwrap();
    let settings = |info: &pipette_api::Info| Settings::new(pipette_api::ConfigMap::new(), info.config);
    let converter = || (text, settings(&text.info));
    Codec::new(&Converters { key: converter(), value: converter(), header: (header, settings(&header.info)) }).unwrap()
}

impl Life {
    /// False when the task was left to itself: whatever it still does counts for nothing.
    pub(super) fn counts(&self) -> bool {
        self.wish.is_some()
    }

    pub(super) fn lives(&self) -> bool {
        self.ended.is_none()
    }

    /// As the herder says it: a stop is the last word.
    pub(super) fn wish(&self, wish: Wish) {
        if let Some(sender) = self.wish.as_ref().filter(|_| self.is_wanted()) {
            sender.send_replace(wish);
        }
    }

    fn is_wanted(&self) -> bool {
        self.wish.as_ref().is_some_and(|wish| *wish.borrow() != Wish::Stop)
    }

    fn turn(&mut self, context: &mut std::task::Context<'_>) {
        let Some(loops) = self.loops.as_mut().filter(|_| !self.frozen) else { return };
        let end = match catch_unwind(AssertUnwindSafe(|| loops.as_mut().poll(context))) {
            Ok(Poll::Pending) => return,
            Ok(Poll::Ready(Ok(()))) => {
                assert!(!self.is_wanted(), "a task ended without being asked to");
                End::Stopped
            }
            Ok(Poll::Ready(Err(_))) => End::Failed,
            Err(panic) if panic.is::<Planned>() => End::Panicked,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        self.ended = Some(end);
        self.loops = None;
    }
}

/// A panic of a plugin that the world wanted.
pub(super) struct Planned;

/// Every life of a world.
#[derive(Default)]
pub(super) struct Lives(pub(super) Vec<Life>);

impl Lives {
    /// Lets them live for a while.
    pub(super) async fn breathe(&mut self, time: Duration) {
        let mut rest = std::pin::pin!(tokio::time::sleep(time));
        poll_fn(|context| {
            self.0.iter_mut().for_each(|life| life.turn(context));
            rest.as_mut().poll(context)
        })
        .await;
    }

    /// The one that counts.
    pub(super) fn current(&mut self) -> Option<&mut Life> {
        self.0.iter_mut().rev().find(|life| life.lives() && life.counts())
    }
}
