//! The sink task: records out, offsets only behind the broker's acknowledgement.
//!
//! Messages are published in order and up to `mqtt.max.in.flight` at a time wait for PUBACK or PUBCOMP, across batches.
//! What waits is kept as a place in its batch: when a connection ends, everything from the first unacknowledged message on
//! is published again. Read next: `outgoing.rs`, `session.rs`.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use pipette_api::{ConnectError, Offsets, Result, SinkBatch, SinkContext, SinkTask, TopicPartition, async_trait};

use crate::board::{Board, SinkNumbers};
use crate::budget::{Budget, Held, Overflow};
use crate::client::{Fault, Receipt, Refused, Welcome};
use crate::outgoing::outgoing;
use crate::session::Session;
use crate::settings::SinkSettings;

/// How long a flush waits for a broker that is there and does not acknowledge; then less is committed.
const FLUSH: Duration = Duration::from_secs(5);

pub(crate) struct MqttSink {
    settings: Arc<SinkSettings>,
    /// From `start` on.
    run: Option<Run>,
}

impl MqttSink {
    pub(crate) fn new(settings: SinkSettings) -> Self {
        Self { settings: Arc::new(settings), run: None }
    }

    fn running(&mut self) -> Result<&mut Run> {
        self.run.as_mut().ok_or_else(|| ConnectError::fatal("the task was given records before it was started"))
    }
}

#[async_trait]
impl SinkTask for MqttSink {
    async fn start(&mut self, context: SinkContext) -> Result<()> {
        let run = match &mut self.run {
            Some(run) => run,
            None => self.run.insert(Run::begin(Arc::clone(&self.settings), context)?),
        };
        // A broker that is away shows in the status of a task that starts.
        run.connect().await
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        self.running()?.put(batch).await
    }

    async fn flush(&mut self, upto: &Offsets) -> Result<Offsets> {
        self.running()?.flush(upto).await
    }

    async fn close(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        let run = self.running()?;
        run.taken = None;
        run.waiting.retain(|message| !partitions.contains(message.tp()));
        run.sent = run.waiting.iter().take_while(|message| message.receipt.is_some()).count();
        Ok(())
    }

    async fn stop(&mut self) -> Result<()> {
        if let Some(mut run) = self.run.take() {
            run.session.close().await;
            run.board.forget(run.session.client_id());
            run.numbers.connected.set(0);
        }
        Ok(())
    }
}

struct Run {
    settings: Arc<SinkSettings>,
    context: SinkContext,
    session: Session,
    welcome: Option<Welcome>,
    /// In order: first those that wait for their acknowledgement, then those that are not sent.
    waiting: VecDeque<Waiting>,
    /// How many of them are sent.
    sent: usize,
    /// The batch whose records wait although its `put` failed. Held, so that no other batch can look the same.
    taken: Option<Arc<SinkBatch>>,
    numbers: SinkNumbers,
    board: Arc<Board>,
}

/// A record on its way.
struct Waiting {
    batch: Arc<SinkBatch>,
    index: usize,
    receipt: Option<Receipt>,
}

impl Waiting {
    fn tp(&self) -> &TopicPartition {
        &self.batch.records[self.index].origin.tp
    }
}

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goal {
    Sent,
    Acknowledged,
}

impl Run {
    fn begin(settings: Arc<SinkSettings>, context: SinkContext) -> Result<Self> {
        let id = &context.id;
        let client_id = settings.broker.client_id.clone();
        let client_id = client_id.unwrap_or_else(|| format!("{}-sink-{}", id.connector, id.task));
        // Nothing is received; the budget is the pump's.
        let budget = Arc::new(Budget::new(Held { bytes: 1024 * 1024, records: 1000 }, Overflow::Block));
        Ok(Self {
            session: Session::new(settings.broker.clone(), settings.dial(client_id)?, budget),
            welcome: None,
            waiting: VecDeque::new(),
            sent: 0,
            taken: None,
            numbers: SinkNumbers::register(&context.common.metrics, context.id.task),
            board: context.common.shared.get::<Board>(),
            settings,
            context,
        })
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        if self.taken.take().is_none_or(|taken| !Arc::ptr_eq(&taken, &batch)) {
            // What an earlier batch left goes first: memory stays within one batch, however long the broker is away.
            self.drive(Goal::Sent).await?;
            let records =
                (0..batch.records.len()).map(|index| Waiting { batch: Arc::clone(&batch), index, receipt: None });
            self.waiting.extend(records);
        }
        let outcome = self.drive(Goal::Sent).await;
        outcome.inspect_err(|_| self.taken = Some(batch))
    }

    async fn flush(&mut self, upto: &Offsets) -> Result<Offsets> {
        if let Ok(outcome) = tokio::time::timeout(FLUSH, self.drive(Goal::Acknowledged)).await {
            outcome?;
        }
        let mut safe = upto.clone();
        for message in &self.waiting {
            let origin = &message.batch.records[message.index].origin;
            if let Some(offset) = safe.get_mut(&origin.tp) {
                *offset = origin.offset.min(*offset);
            }
        }
        Ok(safe)
    }

    /// Connects, sends and collects acknowledgements until the goal is reached. May be dropped at any await.
    async fn drive(&mut self, goal: Goal) -> Result<()> {
        loop {
            let done = match goal {
                Goal::Sent => self.sent == self.waiting.len(),
                Goal::Acknowledged => self.waiting.is_empty(),
            };
            if done && (self.session.link.is_some() || self.waiting.is_empty()) {
                return Ok(());
            }
            let Some(welcome) = self.welcome.filter(|_| self.session.link.is_some()) else {
                self.connect().await?;
                continue;
            };
            self.send(&welcome)?;
            self.numbers.in_flight.set(i64::try_from(self.sent).unwrap_or(i64::MAX));
            if goal == Goal::Sent && self.sent == self.waiting.len() {
                continue;
            }
            let Some(link) = &mut self.session.link else { continue };
            let receipt = async {
                match self.waiting.front_mut().and_then(|message| message.receipt.as_mut()) {
                    Some(receipt) => match receipt.await {
                        // The link says why, and that in a moment.
                        Err(Refused::Gone) => pending().await,
                        Err(Refused::Reason(reason)) => Err(reason),
                        Ok(()) => Ok(()),
                    },
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                answer = receipt => self.answered(answer),
                event = link.next() => if let Err(fault) = event { return Err(self.lost(&fault)) },
            }
        }
    }

    async fn connect(&mut self) -> Result<()> {
        let outcome = self.session.connect().await;
        let server = self.session.server();
        match outcome {
            Ok(welcome) => {
                self.board.change(self.session.client_id(), |seen| {
                    (seen.server, seen.version, seen.connected) = (server, welcome.version.to_string(), true);
                    seen.last_fault = None;
                });
                self.numbers.connected.set(1);
                self.numbers.connects.add(1);
                self.welcome = Some(welcome);
                self.fits(&welcome)
            }
            Err(error) => {
                self.board.change(self.session.client_id(), |seen| {
                    (seen.server, seen.last_fault) = (server, Some(error.chain()));
                });
                Err(error)
            }
        }
    }

    /// What the broker cannot do at all is said before anything is sent.
    fn fits(&self, welcome: &Welcome) -> Result<()> {
        if self.settings.qos > welcome.maximum_qos {
            return Err(ConnectError::config(format!(
                "The broker takes messages up to quality of service {}, and mqtt.qos is {}",
                welcome.maximum_qos.level(),
                self.settings.qos.level()
            )));
        }
        if self.settings.retain && !welcome.retain_available {
            return Err(ConnectError::config("The broker keeps no messages: set mqtt.retain=false"));
        }
        Ok(())
    }

    /// Publishes what may be in flight.
    fn send(&mut self, welcome: &Welcome) -> Result<()> {
        let limit = usize::from(self.settings.in_flight.min(welcome.receive_maximum));
        while self.sent < limit
            && let Some(message) = self.waiting.get_mut(self.sent)
        {
            let record = &message.batch.records[message.index].record;
            match outgoing(&self.settings, welcome, record) {
                Ok(Some(outgoing)) => {
                    let Some(link) = &self.session.link else { return Ok(()) };
                    match link.publish(outgoing) {
                        Ok(receipt) => message.receipt = Some(receipt),
                        Err(fault) => return Err(self.lost(&fault)),
                    }
                    self.sent += 1;
                }
                // In its turn: what stands before it is not done.
                Ok(None) => drop(self.waiting.remove(self.sent)),
                Err(error) => {
                    self.numbers.refused.add(1);
                    self.context.runtime.report(&message.batch, message.index, error);
                    self.waiting.remove(self.sent);
                }
            }
        }
        Ok(())
    }

    /// The broker has the first message, or does not want it.
    fn answered(&mut self, answer: std::result::Result<(), String>) {
        let Some(message) = self.waiting.pop_front() else { return };
        self.sent = self.sent.saturating_sub(1);
        self.session.works();
        match answer {
            Ok(()) => self.numbers.published.add(1),
            Err(reason) => {
                self.numbers.refused.add(1);
                let error = ConnectError::data(format!("The broker refuses the message: {reason}"));
                self.context.runtime.report(&message.batch, message.index, error);
            }
        }
    }

    /// The connection ended by itself: what was not acknowledged goes again.
    fn lost(&mut self, fault: &Fault) -> ConnectError {
        self.sent = 0;
        for message in &mut self.waiting {
            message.receipt = None;
        }
        self.numbers.connected.set(0);
        let error = self.session.lost(fault);
        self.board.change(self.session.client_id(), |seen| {
            (seen.connected, seen.last_fault) = (false, Some(error.chain()));
        });
        error
    }
}
