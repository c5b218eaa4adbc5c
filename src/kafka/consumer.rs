//! The consumer of a sink task: one thread that owns librdkafka's consumer and talks through two channels.
//!
//! It sends a closed enum of events; everything to it, answers to its events included, is one command channel, so it
//! waits in one place only. Used by `task/sink.rs` alone. Rebalances and commits are in `conversation.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::{Duration, Instant};

use pipette_api::{Assigned, Blob, Body, ConnectError, Offsets, RawRecord, Result, Seeks, Signal, TopicPartition};
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use tokio::sync::{mpsc, oneshot};

use crate::budget::{Asked, Lease, Share};
use crate::settings::fetch::DirectFetch;

use super::batch::copy_out;
use super::contact::{Contact, STATISTICS};
use super::conversation::{Conversation, lock, pause_all, refused};
use super::direct::{Brought, Direct};
use super::events::ClientEvents;
use super::membership::Membership;
use super::properties::ClientProperties;
use super::sizes;
use super::sys::{FetchQueue, Fetched, Message};

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
    Records(Batch),
    /// Partitions are taken away: answer with [`ConsumerCommand::Closed`].
    Revoked(Vec<TopicPartition>),
    /// Partitions are gone already; nothing can be committed for them.
    Lost(Vec<TopicPartition>),
    /// The consumer cannot go on.
    Failed(ConnectError),
}

/// Records with the memory that was leased for them.
#[derive(Debug)]
pub struct Batch {
    /// The records, in order per partition.
    pub records: Vec<RawRecord>,
    /// Where partitions are behind their records here, when offsets follow which hold none: compaction has taken them, or
    /// they end a transaction.
    pub ends: Offsets,
    /// Dropped when they are.
    pub lease: Lease,
    /// How often partitions had been sent back when it was handed over: what is older of one that was is stale.
    pub generation: u64,
}

impl Batch {
    /// Leaves out what is of these partitions.
    pub fn leave_out(&mut self, gone: &[TopicPartition]) {
        self.records.retain(|record| !gone.contains(&record.tp));
        self.ends.retain(|tp, _| !gone.contains(tp));
    }

    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.ends.is_empty()
    }
}

/// From the sink loop to the consumer thread.
#[derive(Debug)]
pub enum ConsumerCommand {
    /// The sink has opened its partitions and wants to read on here.
    Opened(Seeks),
    /// The sink has closed its partitions and this is safe to commit.
    Closed(Offsets),
    /// Commit; the metadata goes with each offset, as that of an intent which begins there.
    Commit(Offsets, Option<Arc<str>>, oneshot::Sender<Result<()>>),
    /// These texts stand beside these offsets whenever they are committed.
    Note(BTreeMap<TopicPartition, (i64, Arc<str>)>),
    /// Read these partitions again from here on; what is handed over from then on is of this generation.
    Rewind(Offsets, u64),
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
    /// Whether Kafka answers.
    pub contact: Arc<Contact>,
    /// Tells nothing; it closes when the thread is through.
    ended: std_mpsc::Receiver<()>,
}

/// The way to the consumer thread; cheap to clone.
pub type ConsumerCommands = std_mpsc::Sender<ConsumerCommand>;

/// Batches that may wait in the channel.
const BATCHES_AHEAD: usize = 4;
/// Records in a batch: Java's default for `max.poll.records`.
const MAX_RECORDS: usize = 500;
/// Bytes that a batch should not exceed although it has fewer records. How large the next ones are is known only once
/// they are taken: librdkafka's own bound (`queued.max.messages.kbytes`) is what holds then.
const MAX_BYTES: u64 = 1 << 20;
/// Consumed bytes are there twice: as they came, and as the values that were made of them.
const COPIES: u64 = 2;
/// How long one idle poll lasts: bounds how late a command or a rebalance is seen.
const POLL: Duration = Duration::from_millis(20);
/// How long leaving the group is waited for. A broker that is away, or a join that the broker holds back until a dead
/// member times out, would make it 5 s; the thread then goes on leaving alone.
const LEAVE: Duration = Duration::from_secs(1);

impl TaskConsumer {
    /// Starts the thread; the group is joined in the background, and left at once when `signal` says that the task was
    /// given up.
    pub fn start(
        (properties, direct): (&ClientProperties, DirectFetch),
        subscription: &Subscription,
        name: &str,
        share: Share,
        signal: Signal,
    ) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.extend(properties.clone());
        config.set_log_level(RDKafkaLogLevel::Info);
        let (events, heard) = mpsc::channel(BATCHES_AHEAD);
        let (commands, orders) = std_mpsc::channel();
        config.set("statistics.interval.ms", STATISTICS.as_millis().to_string());
        let complaints = Arc::new(ClientEvents::new(properties));
        let membership = Arc::new(Membership::new(properties));
        let contact = Contact::new("answer", patience_for_answers(properties), Arc::clone(&complaints));
        let contact = Arc::new(contact.of_member(Arc::clone(&membership)));
        let context = Conversation::new(
            (events, orders),
            complaints,
            Arc::clone(&contact),
            membership,
            signal,
            Direct::new(properties, direct),
        );
        let consumer: BaseConsumer<Conversation> = config
            .create_with_context(context)
            .map_err(|error| ConnectError::config(format!("Kafka refuses the consumer's settings: {error}")))?;
        let topics: Vec<&str> = match subscription {
            Subscription::Topics(topics) => topics.iter().map(String::as_str).collect(),
            Subscription::Pattern(pattern) => vec![pattern.as_str()],
        };
        consumer.context().gather_in(Some(FetchQueue::new(consumer.client().native_ptr())));
        let patience = max_poll_interval(properties) / 3;
        let batch = (share.own() / COPIES).min(MAX_BYTES);
        let clients = share.clients();
        let fetched = Fetched::default();
        let reading = Loop {
            fetched,
            consumer,
            patience,
            held: None,
            usual: batch,
            largest: 0,
            limit: 1,
            batch,
            clients,
            share,
            asked: None,
        };
        reading.consumer.subscribe(&topics).map_err(|error| unsubscribed(subscription, &error))?;
        let (end, ended) = std_mpsc::channel();
        let span = tracing::Span::current();
        std::thread::Builder::new()
            .name(format!("consumer {name}"))
            .spawn(move || {
                span.in_scope(|| reading.run());
                drop::<std_mpsc::Sender<()>>(end);
            })
            .map_err(|error| ConnectError::fatal("Cannot start the consumer thread").because(error))?;
        Ok(Self { events: heard, commands, contact, ended })
    }
}

#[cfg(test)]
impl TaskConsumer {
    /// A consumer whose thread is played by a test, at the other ends of the channels.
    pub fn over(events: mpsc::Receiver<ConsumerEvent>, commands: ConsumerCommands) -> Self {
        let complaints = Arc::new(ClientEvents::new(&ClientProperties::new()));
        let contact = Arc::new(Contact::new("answer", Duration::from_hours(1), complaints));
        Self { events, commands, contact, ended: std_mpsc::channel().1 }
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

/// A group member that has nothing to read hears from Kafka once in a heartbeat.
fn patience_for_answers(properties: &ClientProperties) -> Duration {
    let heartbeat = properties.get("heartbeat.interval.ms").and_then(|text| text.parse().ok());
    Duration::from_millis(heartbeat.unwrap_or(3_000)) + Duration::from_secs(1)
}

fn max_poll_interval(properties: &ClientProperties) -> Duration {
    let given = properties.get("max.poll.interval.ms").and_then(|text| text.parse().ok());
    Duration::from_millis(given.unwrap_or(300_000))
}

struct Loop {
    /// What was just taken from librdkafka.
    fetched: Fetched,
    consumer: BaseConsumer<Conversation>,
    /// How long a full channel is waited on before partitions are paused and polling goes on.
    patience: Duration,
    /// A batch for which the channel had no room, and since when.
    held: Option<(Batch, Instant)>,
    /// Bytes of a record of the last batch, and the most that this has been.
    usual: u64,
    largest: u64,
    /// Records in the next batch, so many of which make a batch of the right size.
    limit: usize,
    /// Bytes that a batch should have: what the task may hold without asking others, so that it always gets on.
    batch: u64,
    /// What librdkafka may hold, as far as it is counted.
    clients: u64,
    share: Share,
    /// Memory for the next batch that is not granted yet.
    asked: Option<Asked>,
}

impl Drop for Loop {
    /// Queue and messages go before the client that they belong to.
    fn drop(&mut self) {
        self.fetched.clear();
        self.context().gather_in(None);
    }
}

impl Loop {
    fn run(mut self) {
        while self.context().obey(&self.consumer) {
            if let Err(error) = self.turn() {
                self.context().tell(&self.consumer, ConsumerEvent::Failed(error));
                break;
            }
        }
        self.context().end();
    }

    fn context(&self) -> &Conversation {
        self.consumer.context()
    }

    fn turn(&mut self) -> Result<()> {
        self.serve_client()?;
        if self.held.is_some() { self.wait_for_room() } else { self.poll_batch() }
    }

    /// Rebalances, errors of the client, and the group's clock. A rebalance may take partitions away, and what was read
    /// of them before goes too: somebody else reads it, and the sink has closed them. The same when they were sent back.
    fn serve_client(&mut self) -> Result<()> {
        self.context().stay(&self.consumer);
        let polled = self.poll_client();
        let stale = self.context().positions.take_stale();
        if let Some((held, _)) = &mut self.held {
            held.leave_out(&stale);
        }
        polled
    }

    /// Everything that waits: librdkafka hands one thing out at a time, and a rebalance may stand behind the statistics and
    /// complaints of a long outage.
    fn poll_client(&self) -> Result<()> {
        loop {
            let said = self.context().said();
            match self.consumer.poll(Duration::ZERO) {
                Some(Err(error)) => self.judge(&error)?,
                Some(Ok(message)) => {
                    return Err(ConnectError::fatal(format!(
                        "A record of {}-{} at offset {} came past the queue that the task reads",
                        message.topic(),
                        message.partition(),
                        message.offset()
                    )));
                }
                None if self.context().said() == said => return Ok(()),
                None => {}
            }
        }
    }

    /// Brokers that are away, topics that do not exist yet: librdkafka goes on trying.
    fn judge(&self, error: &KafkaError) -> Result<()> {
        refused(error).map_or(Ok(()), Err).inspect(|()| self.context().complain(error, "while reading"))
    }

    /// One batch, if there is memory for it and one comes within a poll. While there is none, what librdkafka has fetched
    /// fills its queue, and then it fetches no more; the group sees a member that polls.
    fn poll_batch(&mut self) -> Result<()> {
        let wanted = COPIES * (self.usual * self.limit as u64).max(1);
        let asked = self.asked.take().unwrap_or_else(|| self.share.ask(wanted));
        let lease = match asked.within(POLL) {
            Ok(lease) => lease,
            Err(asked) => {
                self.asked = Some(asked);
                return Ok(());
            }
        };
        let (records, ends) = self.read(POLL)?;
        let mut batch = Batch { records, ends, lease, generation: 0 };
        if !batch.is_empty() {
            batch.lease.settle(COPIES * bytes(&batch.records));
            self.hand_over(batch, Instant::now());
        }
        Ok(())
    }

    /// A batch of whoever has one: librdkafka, or the partitions that are read past it.
    fn read(&mut self, wait: Duration) -> Result<(Vec<RawRecord>, Offsets)> {
        let (at_work, client_first) = {
            let mut direct = lock(&self.context().direct);
            (direct.is_at_work(), direct.client_is_first())
        };
        if !at_work {
            return Ok((self.read_client(wait)?, Offsets::new()));
        }
        let records = if client_first { self.read_client(Duration::ZERO)? } else { Vec::new() };
        if records.is_empty() { self.read_direct(wait) } else { Ok((records, Offsets::new())) }
    }

    /// What librdkafka has brought.
    fn read_client(&mut self, wait: Duration) -> Result<Vec<RawRecord>> {
        self.consumer.context().fetch(&mut self.fetched, self.limit, wait);
        let mut records = copy_out(&self.fetched)?;
        let errors = self.fetched.iter().filter_map(Message::error);
        errors.map(KafkaError::MessageConsumption).try_for_each(|error| self.judge(&error))?;
        self.fetched.clear();
        let full = records.len() == self.limit;
        {
            let mut direct = lock(&self.consumer.context().direct);
            if direct.is_at_work() {
                // What it had fetched of a partition before that was paused there.
                records.retain(|record| !direct.holds(&record.tp));
            }
            direct.consider(&self.consumer, &records, full);
        }
        self.learn(&records);
        Ok(records)
    }

    /// What came straight from leaders.
    fn read_direct(&mut self, wait: Duration) -> Result<(Vec<RawRecord>, Offsets)> {
        let context = self.consumer.context();
        let room = (self.limit, usize::try_from(self.batch).unwrap_or(usize::MAX));
        let brought = lock(&context.direct).read(&self.consumer, room, wait, context.positions.count())?;
        let Brought { records, ends, returned } = brought;
        if !returned.is_empty() {
            context.resume(&self.consumer, returned);
        }
        self.learn(&records);
        Ok((records, ends))
    }

    /// How large records are.
    fn learn(&mut self, records: &[RawRecord]) {
        let Some(usual) = bytes(records).checked_div(records.len() as u64) else { return };
        self.usual = usual.max(1);
        self.limit = usize::try_from(self.batch / self.usual).unwrap_or(MAX_RECORDS).clamp(1, MAX_RECORDS);
        if self.usual > self.largest {
            self.largest = self.usual;
            self.count_large_records();
        }
    }

    /// Room for one of them is the task's own, and what librdkafka holds of them is counted.
    fn count_large_records(&mut self) {
        self.share.needs(COPIES * self.usual, sizes::CONSUMER_KEYS);
        let beyond = sizes::beyond(self.clients, self.usual);
        if beyond > 0 {
            self.clients += beyond;
            self.share.add_clients(beyond, sizes::CONSUMER_KEYS);
        }
    }

    /// Gives the batch to the sink loop, or holds it until there is room.
    fn hand_over(&mut self, mut batch: Batch, since: Instant) {
        batch.generation = self.context().positions.generation();
        self.held = match self.context().offer(ConsumerEvent::Records(batch)) {
            Some(ConsumerEvent::Records(batch)) => Some((batch, since)),
            _ => None,
        };
    }

    /// The sink is slow. Waiting is free while the group allows it; then partitions pause, so that polling can go on.
    /// Partitions that a rebalance brings are not paused before the next turn, so that there may be records even then,
    /// which wait with the others.
    fn wait_for_room(&mut self) -> Result<()> {
        let Some((mut batch, since)) = self.held.take() else { return Ok(()) };
        let impatient = since.elapsed() >= self.patience;
        if impatient {
            pause_all(&self.consumer);
            batch.records.extend(self.read_client(POLL)?);
            batch.lease.settle(COPIES * bytes(&batch.records));
        } else {
            std::thread::park_timeout(Duration::from_millis(1));
        }
        if !batch.is_empty() {
            self.hand_over(batch, since);
        }
        if self.held.is_none() && impatient {
            self.context().resume_all(&self.consumer);
        }
        Ok(())
    }
}

fn bytes(records: &[RawRecord]) -> u64 {
    records.iter().map(size).sum::<usize>() as u64
}

/// Memory of key, value and headers.
pub(crate) fn size(record: &RawRecord) -> usize {
    let value = match &record.value {
        Some(Body::Bytes(bytes)) => bytes.len(),
        _ => 0,
    };
    record.key.as_ref().map_or(0, Blob::len) + value + sizes::of_headers(&record.headers)
}

#[cfg(test)]
#[path = "consumer_tests.rs"]
mod tests;
