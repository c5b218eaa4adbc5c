//! The consumer of a sink task: one thread that owns librdkafka's consumer and talks through two channels.
//!
//! It sends a closed enum of events; everything to it, answers to its events included, is one command channel, so it
//! waits in one place only. Used by `task/sink.rs` alone. Rebalances and commits are in `conversation.rs`.

use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use pipette_api::{Assigned, ConnectError, Offsets, RawRecord, Result, Seeks, Signal, TopicPartition};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use tokio::sync::{mpsc, oneshot};

use super::batch::BatchBuilder;
use super::conversation::{Conversation, pause_all, refused};
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
    /// Hand nothing over until told to go on: the task is paused, or its sink is away.
    Hold,
    /// Hand records over again.
    GoOn,
    /// The plugin wants no more of these.
    Pause(Vec<TopicPartition>),
    /// The plugin wants these again.
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

impl TaskConsumer {
    /// Starts the thread; the group is joined in the background, and left at once when `signal` says that the task was
    /// given up.
    pub fn start(
        properties: &ClientProperties,
        subscription: &Subscription,
        name: &str,
        signal: Signal,
    ) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.extend(properties.clone());
        let (events, heard) = mpsc::channel(BATCHES_AHEAD);
        let (commands, orders) = std_mpsc::channel();
        let context = Conversation::new(events, orders, ClientEvents::new(properties), signal);
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
        while self.context().obey(&self.consumer) {
            let polled = if self.held.is_some() { self.wait_for_room() } else { self.poll_batch() };
            if let Err(error) = polled {
                self.context().tell(&self.consumer, ConsumerEvent::Failed(error));
                break;
            }
        }
        self.context().end();
    }

    fn context(&self) -> &Conversation {
        self.consumer.context()
    }

    /// One batch, if there is one within a poll.
    fn poll_batch(&mut self) -> Result<()> {
        let mut batch = BatchBuilder::default();
        let mut wait = POLL;
        while !batch.is_full() && self.poll_into(&mut batch, wait)? {
            wait = Duration::ZERO;
        }
        let records = batch.finish()?;
        if !records.is_empty() {
            self.hand_over(records, Instant::now());
        }
        Ok(())
    }

    /// One poll; false when it brought nothing. A rebalance inside of it may take partitions away, and what was read of
    /// them before goes too: somebody else reads it, and the sink has closed them.
    fn poll_into(&mut self, batch: &mut BatchBuilder, wait: Duration) -> Result<bool> {
        let polled = self.consumer.poll(wait);
        let gone = self.consumer.context().take_gone();
        if !gone.is_empty() {
            batch.drop_partitions(&gone);
            if let Some((held, _)) = &mut self.held {
                held.retain(|record| !gone.contains(&record.tp));
            }
        }
        match polled {
            Some(Ok(message)) => batch.push(&message),
            Some(Err(error)) => match refused(&error) {
                Some(failure) => return Err(failure),
                // Brokers that are away, topics that do not exist yet: librdkafka goes on trying.
                None => self.consumer.context().complain(&error, "while reading"),
            },
            None => return Ok(false),
        }
        Ok(true)
    }

    /// Gives the batch to the sink loop, or holds it until there is room.
    fn hand_over(&mut self, records: Vec<RawRecord>, since: Instant) {
        self.held = match self.context().offer(ConsumerEvent::Records(records)) {
            Some(ConsumerEvent::Records(records)) => Some((records, since)),
            _ => None,
        };
    }

    /// The sink is slow. Waiting is free while the group allows it; then partitions pause, so that polling can go on.
    fn wait_for_room(&mut self) -> Result<()> {
        let Some(since) = self.held.as_ref().map(|(_, since)| *since) else { return Ok(()) };
        let impatient = since.elapsed() >= self.patience;
        if impatient {
            self.poll_paused()?;
        } else {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        if let Some((records, since)) = self.held.take()
            && !records.is_empty()
        {
            self.hand_over(records, since);
        }
        if self.held.is_none() && impatient {
            self.context().resume_all(&self.consumer);
        }
        Ok(())
    }

    /// Serves rebalances and the group's clock. Partitions that a rebalance brings are not paused yet, so that even
    /// this poll may bring a record, which waits with the others.
    fn poll_paused(&mut self) -> Result<()> {
        pause_all(&self.consumer);
        let mut batch = BatchBuilder::default();
        self.poll_into(&mut batch, POLL)?;
        let more = batch.finish()?;
        if let Some((held, _)) = &mut self.held {
            held.extend(more);
        }
        Ok(())
    }
}
