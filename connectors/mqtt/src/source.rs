//! The source task: messages in, acknowledgements out once Kafka has them.
//!
//! A batch's `acked` hook sends its numbers back to the task, which reads them in its next poll and in `stop`: an
//! acknowledgement is written by the connection its message came by, in the order of receipt, or not at all. What the
//! broker sends again is then known by `window.rs`. Read next: `source/entering.rs`, `window.rs`, `session.rs`,
//! `mapping.rs`, `source/handover.rs`.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use pipette_api::{
    ConnectError, OffsetMap, OffsetShape, Partition, Position, Primitive, Result, SourceBatch, SourceContext,
    SourceEntry, SourceTask, Wish, async_trait,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::board::{Board, SourceNumbers};
use crate::budget::{Budget, Held};
use crate::client::{Event, Fault, FaultKind, Message, Qos, Welcome};
use crate::drain::Drain;
use crate::filter::Subscription;
use crate::mapping::Mapping;
use crate::plan::hash;
use crate::session::Session;
use crate::settings::SourceSettings;
use crate::window::{Settled, Window};

mod entering;
mod handover;

use self::entering::Filling;
use self::handover::{moment, shape};

/// Messages of one batch.
const BATCH_RECORDS: usize = 2000;
/// Bytes of one batch, the last message not counted.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// The members of the offset.
const SESSION: &str = "session";
const FILTERS: &str = "filters";
/// Where the last message came from, if it was bad: its dead letter has no other place for that.
const TOPIC: &str = "topic";
const MARKS: [Option<&str>; 2] = [Some("connections"), Some("received")];

pub(crate) struct MqttSource {
    settings: Arc<SourceSettings>,
    /// From `start` on: sessions of tasks that are gone, which are emptied one by one, and the task's own.
    runs: VecDeque<Run>,
}

impl MqttSource {
    pub(crate) fn new(settings: SourceSettings) -> Self {
        Self { settings: Arc::new(settings), runs: VecDeque::new() }
    }
}

#[async_trait]
impl SourceTask for MqttSource {
    async fn start(&mut self, context: SourceContext) -> Result<()> {
        if self.runs.is_empty() {
            for client_id in &self.settings.drained {
                let settings = Arc::new(self.settings.of_drained(client_id));
                let drain = Some(Drain::new(settings.drain_idle));
                self.runs.push_back(Run::begin(settings, context.clone(), drain).await?);
            }
            self.runs.push_back(Run::begin(Arc::clone(&self.settings), context, None).await?);
        }
        if self.runs.len() > 1
            && let Some(own) = self.runs.back_mut()
        {
            own.keep_a_place().await?;
        }
        // A broker that is away shows in the status of a task that starts.
        match self.runs.front_mut() {
            Some(run) => run.connect().await.map(drop),
            None => Ok(()),
        }
    }

    async fn poll(&mut self) -> Result<SourceBatch> {
        let run = self.runs.front_mut();
        let run = run.ok_or_else(|| ConnectError::fatal("the task was polled before it was started"))?;
        let batch = run.poll().await?;
        if run.is_over {
            self.runs.pop_front();
        }
        Ok(batch)
    }

    /// The broker keeps what comes in the meantime.
    async fn pause(&mut self) {
        if let Some(run) = self.runs.front_mut() {
            run.leave().await;
        }
    }

    async fn stop(&mut self) -> Result<()> {
        if let Some(mut run) = self.runs.pop_front() {
            run.leave().await;
        }
        self.runs.clear();
        Ok(())
    }
}

struct Run {
    settings: Arc<SourceSettings>,
    context: SourceContext,
    session: Session,
    window: Window,
    budget: Arc<Budget>,
    /// Numbers of messages that are in Kafka.
    stored: (UnboundedSender<RangeInclusive<u64>>, UnboundedReceiver<RangeInclusive<u64>>),
    mapping: Mapping,
    numbers: SourceNumbers,
    board: Arc<Board>,
    partition: Arc<Partition>,
    shape: Arc<OffsetShape>,
    connections: i64,
    /// True when the broker should know the session.
    expected: bool,
    /// Filters of an earlier configuration that the broker may still have, and when it is told to drop them.
    outdated: Vec<String>,
    outdated_until: Option<tokio::time::Instant>,
    /// What happened behind messages that were handed over first.
    next: Option<std::result::Result<Event, Fault>>,
    /// Of a session whose task is gone.
    drain: Option<Drain>,
    is_over: bool,
}

impl Run {
    async fn begin(settings: Arc<SourceSettings>, context: SourceContext, drain: Option<Drain>) -> Result<Self> {
        let connector = Arc::clone(&context.common.connector);
        // The plan gives each task its id; a task that is run without a plan is the first.
        let client_id = settings.broker.client_id.clone().unwrap_or_else(|| format!("{connector}-{}", context.id.task));
        let broker = settings.broker.servers.first().map(ToString::to_string).unwrap_or_default();
        let partition = Partition(OffsetMap::from([
            (Arc::from("broker"), Primitive::from(broker)),
            (Arc::from("client_id"), Primitive::from(client_id.as_str())),
        ]));
        let committed = context.offsets.get(&partition).await?;
        let mark = |name: &str| committed.as_ref().and_then(|offset| offset.get(name)?.as_int()).unwrap_or(0);
        let kept = |name: &str| committed.as_ref().and_then(|offset| offset.get(name)?.as_text());
        let filters: Vec<String> = settings.subscribed().into_iter().map(|subscription| subscription.filter).collect();
        let session = kept(SESSION).map_or_else(|| fresh_session(&client_id), str::to_owned);
        let outdated = kept(FILTERS).unwrap_or_default().split(',').filter(|filter| !filter.is_empty());
        let outdated = outdated.filter(|filter| !filters.iter().any(|new| new == filter)).map(str::to_owned);
        let outdated: Vec<String> = outdated.collect();
        let numbers = SourceNumbers::register(&context.common.metrics, context.id.task);
        let budget = Arc::new(Budget::new(settings.buffer, settings.overflow).shown(numbers.shown()));
        Ok(Self {
            session: Session::new(settings.broker.clone(), settings.dial(client_id.clone())?, Arc::clone(&budget)),
            window: Window::default(),
            stored: unbounded_channel(),
            mapping: Mapping::new(&settings, &connector, &client_id)?,
            numbers,
            board: context.common.shared.get::<Board>(),
            partition: Arc::new(partition),
            shape: shape(&session, filters.iter().chain(&outdated)),
            connections: mark("connections"),
            expected: committed.is_some() && !settings.clean,
            outdated,
            outdated_until: None,
            next: None,
            drain,
            is_over: false,
            budget,
            settings,
            context,
        })
    }

    async fn poll(&mut self) -> Result<SourceBatch> {
        loop {
            while let Ok(numbers) = self.stored.1.try_recv() {
                self.settle(numbers);
            }
            if let Some(event) = self.next.take() {
                if let Some(batch) = self.happened(event)? {
                    return Ok(batch);
                }
                continue;
            }
            let signal = self.context.common.signal.clone();
            if signal.wish() != Wish::Run {
                return Ok(SourceBatch::empty());
            }
            if self.drain.as_ref().is_some_and(Drain::is_empty) && self.window.len() == 0 {
                return self.give_up().await;
            }
            let late = self.mapping.until().map(tokio::time::Instant::from_std);
            let Some(link) = &mut self.session.link else {
                if self.connect().await? {
                    continue;
                }
                return Ok(SourceBatch::empty());
            };
            tokio::select! {
                biased;
                Some(numbers) = self.stored.1.recv() => self.settle(numbers),
                event = link.next() => if let Some(batch) = self.happened(event)? { return Ok(batch) },
                () = signal.recalled() => return Ok(SourceBatch::empty()),
                () = moment(self.outdated_until) => return Ok(self.unsubscribe()),
                () = moment(late) => if let Some(batch) = self.overdue() { return Ok(batch) },
                () = silence(&mut self.drain) => {}
            }
        }
    }

    /// False when the task is wanted back before.
    async fn connect(&mut self) -> Result<bool> {
        let signal = self.context.common.signal.clone();
        let welcome = tokio::select! {
            welcome = self.session.connect() => welcome,
            () = signal.recalled() => return Ok(false),
        };
        let welcome = welcome.map_err(|error| self.told(error))?;
        self.welcomed(welcome);
        Ok(true)
    }

    /// Nothing waits in this session any more, and nobody else will ask for it.
    async fn give_up(&mut self) -> Result<SourceBatch> {
        let signal = self.context.common.signal.clone();
        tokio::select! {
            given_up = self.session.give_up() => given_up?,
            () = signal.recalled() => return Ok(SourceBatch::empty()),
        }
        self.is_over = true;
        self.board.forget(self.session.client_id());
        tracing::info!(
            client_id = self.session.client_id(),
            "The session of a task that is gone is empty and given up"
        );
        Ok(SourceBatch::of(vec![SourceEntry::Forget(Arc::clone(&self.partition))]))
    }

    fn happened(&mut self, event: std::result::Result<Event, Fault>) -> Result<Option<SourceBatch>> {
        match event {
            Ok(Event::Message(message)) => Ok(self.batch(message)),
            Ok(Event::Subscribed(granted)) => self.subscribed(&granted).map(Some),
            Ok(Event::Unsubscribed) => Ok(None),
            Err(fault) => Err(self.lost(&fault)),
        }
    }

    /// A connection stands: everything is subscribed again, whatever the broker says it remembers.
    fn welcomed(&mut self, welcome: Welcome) {
        self.connections += 1;
        self.numbers.connects.add(1);
        if !welcome.session_present {
            let freed = self.window.forgotten();
            self.free(freed);
            if self.expected {
                self.numbers.lost.add(1);
                tracing::warn!(
                    client_id = self.session.client_id(),
                    server = self.session.server(),
                    "The broker has lost the session: messages that came while the task was away may be missing"
                );
            }
        }
        self.expected = !self.settings.clean;
        let server = self.session.server();
        self.board.change(self.session.client_id(), |seen| {
            (seen.server, seen.version) = (server, welcome.version.to_string());
            (seen.connected, seen.resumed) = (true, welcome.session_present);
        });
        self.numbers.connected.set(1);
        if let Some(drain) = &mut self.drain {
            drain.connected(welcome.session_present);
        }
        let Some(link) = &self.session.link else { return };
        let filters = self.settings.subscribed();
        let asked = if filters.is_empty() { Ok(()) } else { link.subscribe(&filters, self.settings.options()) };
        self.next = asked.err().map(Err);
        self.outdated_until = self.grace(welcome.session_present);
    }

    /// The answer to the subscription. From here on the offset tells that there is a session.
    fn subscribed(&mut self, granted: &[std::result::Result<Qos, String>]) -> Result<SourceBatch> {
        let asked = self.settings.subscribed();
        for (Subscription { filter, qos }, answer) in asked.iter().zip(granted) {
            match answer {
                Err(reason) => {
                    let error = ConnectError::config(format!(
                        "{} refuses the subscription to {filter}: {reason}. Correct mqtt.topics, or what the broker allows \
                         the user.",
                        self.session.server()
                    ));
                    return Err(self.told(error));
                }
                Ok(level) if level < qos => tracing::warn!(
                    filter,
                    asked = qos.level(),
                    granted = level.level(),
                    "The broker grants a lower quality of service than was asked for"
                ),
                Ok(_) => {}
            }
        }
        self.session.works();
        let shown = asked
            .iter()
            .zip(granted)
            .filter_map(|(asked, answer)| Some(format!("{}@{}", asked.filter, answer.as_ref().ok()?.level())));
        let shown: Vec<String> = shown.collect();
        self.numbers.subscriptions.set(i64::try_from(shown.len()).unwrap_or(i64::MAX));
        self.board.change(self.session.client_id(), |seen| {
            (seen.granted, seen.last_fault) = (shown, None);
        });
        Ok(SourceBatch::of(vec![SourceEntry::Position(self.position())]))
    }

    fn position(&self) -> Position {
        let received = i64::try_from(self.window.received()).unwrap_or(i64::MAX);
        Position {
            partition: Arc::clone(&self.partition),
            shape: Arc::clone(&self.shape),
            marks: [self.connections, received],
        }
    }

    /// This message and those that have arrived behind it; `None` when nothing of them is to be handed over.
    fn batch(&mut self, first: Message) -> Option<SourceBatch> {
        let (mut filling, mut bytes, mut next) = (Filling::default(), 0, Some(first));
        let mut received = 0;
        while let Some(message) = next.take() {
            received += 1;
            bytes += message.size();
            self.enter(message, &mut filling);
            if filling.entries.len() >= BATCH_RECORDS || bytes >= BATCH_BYTES {
                break;
            }
            match self.session.link.as_mut().and_then(crate::client::Link::try_next) {
                Some(Ok(Event::Message(message))) => next = Some(message),
                other => self.next = other,
            }
        }
        self.numbers.received.add(received);
        if let Some(drain) = &mut self.drain {
            drain.heard();
        }
        let ready = self.window.ready();
        self.acknowledge(ready);
        if let Some(noted) = self.mapping.noted() {
            noted.act(&self.numbers, self.session.link.as_ref());
        }
        self.show();
        self.filled(filling)
    }

    /// Messages are in Kafka, filtered or tolerated.
    fn settle(&mut self, numbers: RangeInclusive<u64>) {
        let settled = self.window.settled(numbers);
        self.acknowledge(settled);
        self.show();
    }

    fn acknowledge(&mut self, settled: Settled) {
        self.free(settled.freed);
        let Some(link) = &self.session.link else { return };
        self.numbers.acknowledged.count(settled.acks.len());
        for packet in settled.acks {
            if let Err(fault) = link.ack(packet) {
                self.next.get_or_insert(Err(fault));
                return;
            }
        }
    }

    fn free(&self, freed: Held) {
        self.budget.give_back(freed);
    }

    fn show(&self) {
        self.numbers.messages.set(i64::try_from(self.window.len()).unwrap_or(i64::MAX));
    }

    /// The connection ended by itself.
    fn lost(&mut self, fault: &Fault) -> ConnectError {
        self.gone();
        self.numbers.oversize.count(usize::from(matches!(fault.kind, FaultKind::TooLarge(_))));
        let error = self.session.lost(fault);
        self.told(error)
    }

    fn told(&self, error: ConnectError) -> ConnectError {
        let server = self.session.server();
        self.board.change(self.session.client_id(), |seen| {
            (seen.server, seen.last_fault) = (server, Some(error.chain()));
        });
        error
    }

    fn gone(&mut self) {
        self.numbers.connected.set(0);
        self.numbers.subscriptions.set(0);
        self.board.change(self.session.client_id(), |seen| seen.connected = false);
        let freed = self.window.disconnected();
        self.free(freed);
    }

    /// Acknowledges what Kafka has, and disconnects.
    async fn leave(&mut self) {
        while let Ok(numbers) = self.stored.1.try_recv() {
            self.settle(numbers);
        }
        self.session.close().await;
        self.gone();
    }
}

/// Resolves when a session whose task is gone has been silent for long enough; never for any other.
async fn silence(drain: &mut Option<Drain>) {
    match drain {
        Some(drain) if !drain.is_empty() => drain.silence().await,
        _ => std::future::pending().await,
    }
}

/// A name for a session, to tell it from one that a broker has lost.
fn fresh_session(client_id: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("{:016x}", hash(format!("{client_id} {now}").as_bytes()))
}
