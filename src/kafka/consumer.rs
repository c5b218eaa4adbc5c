//! The consumer of a sink task: one thread that owns librdkafka's consumer and talks through two channels.
//!
//! It sends a closed enum of events; everything to it, answers to its events included, is one command channel, so it
//! waits in one place only. Used by `task/sink.rs` alone.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pipette_api::{Assigned, ConnectError, Offsets, RawRecord, Result, Seeks, TopicPartition};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol};
use rdkafka::error::KafkaError;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};

use super::batch::BatchBuilder;
use super::events::ClientEvents;
use super::properties::ClientProperties;

/// What a sink reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subscription {
    /// `topics`.
    Topics(Vec<String>),
    /// `topics.regex`, in librdkafka's form (begins with `^`).
    Pattern(String),
}

/// From the consumer thread to the sink loop.
#[derive(Debug)]
pub enum ConsumerEvent {
    /// Partitions are given to this task: answer with [`ConsumerCommand::Opened`].
    Assigned(Vec<Assigned>),
    /// Records, in order per partition.
    Records(Vec<RawRecord>),
    /// Partitions are taken away: answer with [`ConsumerCommand::Closed`].
    Revoked(Vec<TopicPartition>),
    /// Partitions are gone already; nothing can be committed for them.
    Lost(Vec<TopicPartition>),
    /// The consumer cannot go on.
    Failed(ConnectError),
}

/// From the sink loop to the consumer thread.
#[derive(Debug)]
pub enum ConsumerCommand {
    /// The sink has opened its partitions and wants to read on here.
    Opened(Seeks),
    /// The sink has closed its partitions and this is safe to commit.
    Closed(Offsets),
    /// Commit; the metadata goes with each offset.
    Commit(Offsets, Option<Arc<str>>, oneshot::Sender<Result<()>>),
    /// Take no more of these.
    Pause(Vec<TopicPartition>),
    /// Take these again.
    Resume(Vec<TopicPartition>),
    /// Leave the group and end.
    Stop,
}

/// The consumer thread as the sink loop holds it. Dropping it asks the thread to end.
pub struct TaskConsumer {
    /// What the thread has to say. The channel holds few batches: a slow sink makes the thread wait.
    pub events: mpsc::Receiver<ConsumerEvent>,
    /// What is said to it.
    pub commands: ConsumerCommands,
    /// Tells nothing; it closes when the thread is through.
    ended: std_mpsc::Receiver<()>,
}

/// The way to the consumer thread; cheap to clone.
pub type ConsumerCommands = std_mpsc::Sender<ConsumerCommand>;

/// Batches that may wait in the channel.
const BATCHES_AHEAD: usize = 4;
/// How long one idle poll lasts: bounds how late a command is seen.
const POLL: Duration = Duration::from_millis(20);
/// How long leaving the group is waited for. A broker that is away, or a join that the broker holds back until a dead
/// member times out, would make it 5 s; the thread then goes on leaving alone.
const LEAVE: Duration = Duration::from_secs(1);
/// How long a committed offset may take to look up before the rebalance is given up.
const LOOK_UP: Duration = Duration::from_secs(30);

impl TaskConsumer {
    /// Starts the thread; the group is joined in the background.
    pub fn start(properties: &ClientProperties, subscription: &Subscription, name: &str) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.extend(properties.clone());
        let (events, heard) = mpsc::channel(BATCHES_AHEAD);
        let (commands, orders) = std_mpsc::channel();
        let context = Conversation {
            events,
            orders: Mutex::new(orders),
            complaints: ClientEvents::new(properties),
            paused: Mutex::default(),
            stopping: AtomicBool::new(false),
        };
        let consumer: BaseConsumer<Conversation> = config
            .create_with_context(context)
            .map_err(|error| ConnectError::config(format!("Kafka refuses the consumer's settings: {error}")))?;
        let topics: Vec<&str> = match subscription {
            Subscription::Topics(topics) => topics.iter().map(String::as_str).collect(),
            Subscription::Pattern(pattern) => vec![pattern.as_str()],
        };
        consumer.subscribe(&topics).map_err(|error| unsubscribed(subscription, &error))?;
        let third = max_poll_interval(properties) / 3;
        let (end, ended) = std_mpsc::channel();
        std::thread::Builder::new()
            .name(format!("consumer {name}"))
            .spawn(move || {
                Loop { consumer, patience: third, held: None }.run();
                drop::<std_mpsc::Sender<()>>(end);
            })
            .map_err(|error| ConnectError::fatal("Cannot start the consumer thread").because(error))?;
        Ok(Self { events: heard, commands, ended })
    }
}

impl Drop for TaskConsumer {
    fn drop(&mut self) {
        let _ = self.commands.send(ConsumerCommand::Stop);
        self.events.close();
        // Whatever is still in the channel would keep the thread waiting for room.
        while self.events.try_recv().is_ok() {}
        let _ = self.ended.recv_timeout(LEAVE);
    }
}

fn unsubscribed(subscription: &Subscription, error: &KafkaError) -> ConnectError {
    ConnectError::config(match subscription {
        Subscription::Topics(topics) => format!("Cannot subscribe to topics={}: {error}", topics.join(",")),
        Subscription::Pattern(pattern) => {
            format!("Cannot subscribe: topics.regex is no valid regular expression (tried as {pattern}): {error}")
        }
    })
}

fn max_poll_interval(properties: &ClientProperties) -> Duration {
    let given = properties.get("max.poll.interval.ms").and_then(|text| text.parse().ok());
    Duration::from_millis(given.unwrap_or(300_000))
}

struct Loop {
    consumer: BaseConsumer<Conversation>,
    /// How long a full channel is waited on before partitions are paused and polling goes on.
    patience: Duration,
    /// A batch for which the channel had no room, and since when.
    held: Option<(Vec<RawRecord>, Instant)>,
}

impl Loop {
    fn run(mut self) {
        loop {
            if !self.obey() {
                break;
            }
            if self.held.is_some() {
                self.wait_for_room();
            } else if let Err(error) = self.poll_batch() {
                let _ = self.context().events.blocking_send(ConsumerEvent::Failed(error));
                break;
            }
            if self.context().events.is_closed() {
                break;
            }
        }
        self.context().stopping.store(true, Ordering::Relaxed);
    }

    fn context(&self) -> &Conversation {
        self.consumer.context()
    }

    /// Carries out what was asked; false when it is time to end.
    fn obey(&self) -> bool {
        loop {
            let order = self.context().orders().try_recv();
            match order {
                Ok(ConsumerCommand::Stop) | Err(std_mpsc::TryRecvError::Disconnected) => return false,
                Ok(command) => self.context().serve(&self.consumer, command),
                Err(std_mpsc::TryRecvError::Empty) => return true,
            }
        }
    }

    /// One batch, if there is one within a poll.
    fn poll_batch(&mut self) -> Result<()> {
        let mut batch = BatchBuilder::default();
        let mut wait = POLL;
        while !batch.is_full() {
            match self.consumer.poll(wait) {
                Some(Ok(message)) => batch.push(&message),
                Some(Err(error)) => self.judge(&error)?,
                None => break,
            }
            wait = Duration::ZERO;
        }
        let records = batch.finish()?;
        if !records.is_empty() {
            self.hand_over(records, Instant::now());
        }
        Ok(())
    }

    /// Gives the batch to the sink loop, or holds it until there is room.
    fn hand_over(&mut self, records: Vec<RawRecord>, since: Instant) {
        match self.context().events.try_send(ConsumerEvent::Records(records)) {
            Err(mpsc::error::TrySendError::Full(ConsumerEvent::Records(records))) => {
                self.held = Some((records, since));
            }
            _ => self.held = None,
        }
    }

    /// The sink is slow. Waiting is free while the group allows it; then partitions pause, so that polling can go on.
    fn wait_for_room(&mut self) {
        let Some((records, since)) = self.held.take() else { return };
        if since.elapsed() < self.patience {
            std::thread::park_timeout(Duration::from_millis(1));
        } else {
            self.poll_paused();
        }
        self.hand_over(records, since);
        if self.held.is_none() && since.elapsed() >= self.patience {
            self.context().resume_all(&self.consumer);
        }
    }

    fn poll_paused(&self) {
        if let Ok(assignment) = self.consumer.assignment() {
            let _ = self.consumer.pause(&assignment);
        }
        // Everything is paused: this serves rebalances and the group's clock, and can bring no message.
        let _ = self.consumer.poll(POLL);
    }

    fn judge(&self, error: &KafkaError) -> Result<()> {
        match error {
            KafkaError::MessageConsumptionFatal(_) => {
                Err(ConnectError::fatal(format!("The Kafka consumer failed: {error}")))
            }
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed,
            ) => Err(ConnectError::fatal(format!(
                "Kafka does not allow reading: {error}. Check the ACLs of topic and group"
            ))),
            // Brokers that are away, topics that do not exist yet: librdkafka goes on trying.
            _ => {
                self.context().complaints.error(error, "while reading");
                Ok(())
            }
        }
    }
}

/// librdkafka's side of the conversation; its callbacks run inside of `poll`, on the consumer's thread.
struct Conversation {
    events: mpsc::Sender<ConsumerEvent>,
    orders: Mutex<std_mpsc::Receiver<ConsumerCommand>>,
    complaints: ClientEvents,
    /// What the sink or the user paused: stays paused when the thread resumes what it paused itself.
    paused: Mutex<BTreeSet<TopicPartition>>,
    stopping: AtomicBool,
}

impl Conversation {
    fn orders(&self) -> std::sync::MutexGuard<'_, std_mpsc::Receiver<ConsumerCommand>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn paused(&self) -> std::sync::MutexGuard<'_, BTreeSet<TopicPartition>> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, consumer: &BaseConsumer<Self>, command: ConsumerCommand) {
        match command {
            ConsumerCommand::Commit(offsets, metadata, reply) => {
                let _ = reply.send(commit(consumer, &offsets, metadata.as_deref()));
            }
            ConsumerCommand::Pause(partitions) => {
                let _ = consumer.pause(&list(&partitions));
                self.paused().extend(partitions);
            }
            ConsumerCommand::Resume(partitions) => {
                self.paused().retain(|tp| !partitions.contains(tp));
                let _ = consumer.resume(&list(&partitions));
            }
            // Answers to a question that is no longer asked, after a rebalance was given up.
            ConsumerCommand::Opened(_) | ConsumerCommand::Closed(_) | ConsumerCommand::Stop => {}
        }
    }

    fn resume_all(&self, consumer: &BaseConsumer<Self>) {
        let Ok(assignment) = consumer.assignment() else { return };
        let paused = self.paused();
        let wanted: Vec<_> = partitions(&assignment).into_iter().filter(|tp| !paused.contains(tp)).collect();
        let _ = consumer.resume(&list(&wanted));
    }

    /// Waits for the answer to an event, serving commits meanwhile: the sink may be inside one at this moment.
    fn answer<T>(&self, consumer: &BaseConsumer<Self>, pick: impl Fn(&mut ConsumerCommand) -> Option<T>) -> Option<T> {
        let orders = self.orders();
        loop {
            match orders.recv() {
                Ok(ConsumerCommand::Stop) | Err(_) => {
                    self.stopping.store(true, Ordering::Relaxed);
                    return None;
                }
                Ok(mut command) => match pick(&mut command) {
                    Some(answer) => return Some(answer),
                    None => self.serve(consumer, command),
                },
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed) || self.events.is_closed()
    }

    fn assigned(&self, consumer: &BaseConsumer<Self>, given: &mut TopicPartitionList) {
        let committed = match consumer.committed_offsets(given.clone(), LOOK_UP) {
            Ok(committed) => committed,
            Err(error) => {
                // Without the committed offset the sink could start in the wrong place; the next rebalance tries again.
                let text = format!("Cannot look up committed offsets: {error}");
                let _ = self.events.blocking_send(ConsumerEvent::Failed(ConnectError::retriable(text)));
                return;
            }
        };
        if self.events.blocking_send(ConsumerEvent::Assigned(assignments(&committed))).is_err() {
            return;
        }
        let opened = self.answer(consumer, |command| match command {
            ConsumerCommand::Opened(seeks) => Some(std::mem::take(seeks)),
            _ => None,
        });
        let Some(seeks) = opened else { return };
        let mut start = committed;
        for (tp, offset) in seeks {
            let _ = start.set_partition_offset(&tp.topic, tp.partition, Offset::Offset(offset));
        }
        let taken = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_assign(&start),
            _ => consumer.assign(&start),
        };
        if let Err(error) = taken {
            self.complaints.error(&error, "while taking partitions");
        }
    }

    fn revoked(&self, consumer: &BaseConsumer<Self>, taken: &TopicPartitionList) {
        let gone = partitions(taken);
        if !gone.is_empty() && !self.is_stopping() {
            self.paused().retain(|tp| !gone.contains(tp));
            if consumer.assignment_lost() {
                let _ = self.events.blocking_send(ConsumerEvent::Lost(gone));
            } else if self.events.blocking_send(ConsumerEvent::Revoked(gone)).is_ok() {
                let closed = self.answer(consumer, |command| match command {
                    ConsumerCommand::Closed(offsets) => Some(std::mem::take(offsets)),
                    _ => None,
                });
                if let Some(offsets) = closed
                    && let Err(error) = commit(consumer, &offsets, None)
                {
                    tracing::warn!(error = %error, "Offsets of revoked partitions are not committed; records come again");
                }
            }
        }
        let given_up = match consumer.rebalance_protocol() {
            RebalanceProtocol::Cooperative => consumer.incremental_unassign(taken),
            _ => consumer.unassign(),
        };
        if let Err(error) = given_up {
            self.complaints.error(&error, "while giving partitions up");
        }
    }
}

impl ClientContext for Conversation {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        ClientEvents::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaints.error(&error, reason);
    }
}

impl ConsumerContext for Conversation {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, list: &mut TopicPartitionList) {
        match err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assigned(consumer, list),
            _ => self.revoked(consumer, list),
        }
    }
}

fn commit(consumer: &BaseConsumer<Conversation>, offsets: &Offsets, metadata: Option<&str>) -> Result<()> {
    if offsets.is_empty() {
        return Ok(());
    }
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for (tp, offset) in offsets {
        let mut element = list.add_partition(&tp.topic, tp.partition);
        let _ = element.set_offset(Offset::Offset(*offset));
        if let Some(metadata) = metadata {
            element.set_metadata(metadata);
        }
    }
    match consumer.commit(&list, CommitMode::Sync) {
        // Nothing new to commit.
        Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()),
        Err(error) => Err(ConnectError::retriable(format!("Kafka did not take the offsets: {error}"))),
    }
}

fn list(partitions: &[TopicPartition]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for tp in partitions {
        list.add_partition(&tp.topic, tp.partition);
    }
    list
}

fn partitions(list: &TopicPartitionList) -> Vec<TopicPartition> {
    list.elements().iter().map(|element| TopicPartition::new(element.topic(), element.partition())).collect()
}

fn assignments(committed: &TopicPartitionList) -> Vec<Assigned> {
    let committed_at = |offset| match offset {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    };
    committed
        .elements()
        .iter()
        .map(|element| Assigned {
            tp: TopicPartition::new(element.topic(), element.partition()),
            committed: committed_at(element.offset()).map(|offset| (offset, Arc::from(element.metadata()))),
        })
        .collect()
}
