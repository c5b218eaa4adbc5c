//! A compacted topic as a table of bytes: made when it is missing, read to its end, written with every write awaited.
//!
//! `store/topic.rs` keeps source offsets in one, `store/configs.rs` connectors, `store/statuses.rs` statuses. With a
//! transactional id each write is a transaction, and nobody who had the id before can write any more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pipette_api::{ConnectError, ErrorKind, Result};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::producer::Producer;
use rdkafka::producer::future_producer::{FutureProducer, FutureRecord, OwnedDeliveryResult};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext, Message, Offset, TopicPartitionList};

use super::admin::{Admin, NewTopics, make_missing, reach};
use super::asking::ask;
use super::events::ClientEvents;
use super::oauth;
use super::properties::ClientProperties;

/// How long a write may take. What waits for it is a task between two polls, which is to stop within its grace.
const WRITE: Duration = Duration::from_secs(3);
/// How long a read may stand still.
const READ: Duration = Duration::from_secs(10);
/// What one look for the next record waits.
const LOOK: Duration = Duration::from_millis(100);
/// How long one call about a transaction may block.
const STEP: Duration = Duration::from_secs(1);
/// How often a transaction begins anew that suffers from the one before.
const AGAIN: u32 = 3;

/// A compacted topic.
pub struct CompactedTopic {
    name: Arc<str>,
    properties: ClientProperties,
    how: NewTopics,
    producer: Arc<FutureProducer<Events>>,
    transactions: Option<Transactions>,
    reader: Arc<Mutex<Reader>>,
}

struct Transactions {
    id: String,
    /// How the last one is to end, as long as Kafka has not said that it has.
    ending: Mutex<Option<Ending>>,
}

#[derive(Clone, Copy)]
enum Ending {
    Commit,
    Abort,
}

/// Where a row stands in the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The partition.
    pub partition: i32,
    /// The offset there.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
}

impl Place {
    /// Of a record that was read or delivered.
    pub(super) fn of(message: &impl Message) -> Self {
        let timestamp = message.timestamp().to_millis().unwrap_or_default();
        Self { partition: message.partition(), offset: message.offset(), timestamp }
    }

    /// Whether this was written later. Partitions have no common order but the clock.
    pub fn is_newer_than(self, other: Self) -> bool {
        if self.partition == other.partition { self.offset > other.offset } else { self.timestamp > other.timestamp }
    }
}

/// A row as it is written: the key, and the value or a tombstone.
pub type Row = (Vec<u8>, Option<Vec<u8>>);

/// Complaints of a client that reads to the end.
pub(super) struct Events(pub(super) ClientEvents);

impl CompactedTopic {
    /// A topic reached with these properties; `how` says how it is made. Nothing connects before the first call.
    pub fn new(name: &str, properties: &ClientProperties, how: NewTopics) -> Result<Self> {
        Self::of(name, properties, how, None)
    }

    /// The same, written in transactions of this id. [`Self::take_over`] has to come first.
    pub fn transactional(name: &str, properties: &ClientProperties, how: NewTopics, id: String) -> Result<Self> {
        Self::of(name, properties, how, Some(id))
    }

    fn of(name: &str, properties: &ClientProperties, how: NewTopics, id: Option<String>) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.extend(properties.clone());
        config.set("enable.idempotence", "true").set("acks", "all").set("partitioner", "murmur2");
        config.set("linger.ms", "0").set("message.timeout.ms", WRITE.as_millis().to_string());
        // Whether a row is too large is for the topic to say.
        config.set("message.max.bytes", "100000000");
        if let Some(id) = &id {
            config.set("transactional.id", id);
        }
        let refused =
            |error| ConnectError::config(format!("Kafka refuses the settings of the client of topic {name}: {error}"));
        let producer = config.create_with_context(Events(ClientEvents::new(properties))).map_err(refused)?;
        let transactions = id.map(|id| Transactions { id, ending: Mutex::default() });
        let reader = Reader { consumer: None, next: BTreeMap::new() };
        let reader = Arc::new(Mutex::new(reader));
        let (name, properties, producer) = (name.into(), properties.clone(), Arc::new(producer));
        Ok(Self { name, properties, how, producer, transactions, reader })
    }

    /// The topic's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Makes the topic unless it is there. One that is there has to be compacted: anything else would forget rows by
    /// time. `keys` say how it is made, `holds` is what stands in it: both are for people.
    pub async fn ensure(&self, keys: &str, holds: &str) -> Result<()> {
        reach(&self.properties).await?;
        let admin = Admin::new(&self.properties)?;
        match admin.topic_setting(&self.name, "cleanup.policy").await? {
            None => make_missing(&self.properties, &self.name, &self.how, keys).await.map(drop),
            Some(policy) if policy.trim() == "compact" => Ok(()),
            Some(policy) => Err(ConnectError::config(format!(
                "Topic {} has cleanup.policy={policy}, and the {holds} in it would be forgotten; it must be exactly \
                 `compact`. Change it: kafka-configs --alter --topic {} --add-config cleanup.policy=compact",
                self.name, self.name
            ))),
        }
    }

    /// How many partitions the topic has.
    pub async fn partitions(&self) -> Result<usize> {
        let (properties, name) = (self.properties.clone(), Arc::clone(&self.name));
        let counted = tokio::task::spawn_blocking(move || {
            let consumer = consumer(&properties).map_err(|error| error.to_string())?;
            partitions(&consumer, &name)
        });
        let counted =
            counted.await.map_err(|error| ConnectError::fatal("The look at a topic broke off").because(error))?;
        let unknown =
            |error| ConnectError::retriable(format!("Kafka does not tell the partitions of {}: {error}", self.name));
        counted.map(|found| found.len()).map_err(unknown)
    }

    /// Shows every row between where the last read ended and the present end of the topic, in the order of each
    /// partition. What transactions have not committed is left out.
    pub async fn read(&self, mut each: impl FnMut(Place, &[u8], Option<&[u8]>) + Send + 'static) -> Result<()> {
        let (reader, name, properties) = (Arc::clone(&self.reader), Arc::clone(&self.name), self.properties.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            reader.read(&name, &properties, &mut each)
        });
        let read = reading.await;
        read.unwrap_or_else(|error| Err(ConnectError::fatal("Reading a topic was cut short").because(error)))
    }

    /// Writes the rows; answers where each stands. All are acknowledged by every replica in sync when it returns. After an
    /// error any of them may stand there all the same; with transactions all or none of them.
    pub async fn write(&self, rows: impl Iterator<Item = &Row> + Clone + Send) -> Result<Vec<Place>> {
        let Some(transactions) = &self.transactions else {
            return self.send(rows).await.map_err(|error| self.unwritten(&error));
        };
        let ending = *transactions.ending();
        if let Some(ending) = ending {
            self.end(transactions, ending).await?;
        }
        let mut left = AGAIN;
        loop {
            self.producer.begin_transaction().map_err(|error| self.unfinished(transactions, &error))?;
            let error = match self.send(rows.clone()).await {
                Ok(places) => return self.end(transactions, Ending::Commit).await.map(|()| places),
                Err(error) => error,
            };
            self.end(transactions, Ending::Abort).await?;
            // librdkafka empties its queues when a transaction fails, some of them only when the next one has begun.
            let is_late = error.rdkafka_error_code() == Some(RDKafkaErrorCode::PurgeQueue);
            if !is_late || left == 0 {
                return Err(self.unwritten(&error));
            }
            left -= 1;
        }
    }

    /// Makes this the one writer with its transactional id: earlier ones can write no more, and what they left open is
    /// ended. Nothing to do without transactions.
    pub async fn take_over(&self) -> Result<()> {
        let Some(transactions) = &self.transactions else { return Ok(()) };
        self.call(transactions, |producer| producer.init_transactions(STEP)).await
    }

    /// Ends a transaction, so or so: one that cannot be committed is aborted.
    async fn end(&self, transactions: &Transactions, ending: Ending) -> Result<()> {
        *transactions.ending() = Some(ending);
        let ended = match ending {
            Ending::Commit => self.call(transactions, |producer| producer.commit_transaction(STEP)).await,
            Ending::Abort => self.call(transactions, |producer| producer.abort_transaction(STEP)).await,
        };
        match (ended, ending) {
            (Err(error), Ending::Commit) if error.kind() == ErrorKind::Data => {
                Box::pin(self.end(transactions, Ending::Abort)).await?;
                Err(ConnectError::retriable(error.to_string()))
            }
            (Err(error), _) if error.kind() == ErrorKind::Retriable => Err(error),
            (ended, _) => {
                *transactions.ending() = None;
                ended
            }
        }
    }

    /// Calls until that is of use no more, or for as long as a write may take.
    async fn call(
        &self,
        transactions: &Transactions,
        call: fn(&FutureProducer<Events>) -> KafkaResult<()>,
    ) -> Result<()> {
        let until = Instant::now() + WRITE;
        loop {
            let producer = Arc::clone(&self.producer);
            let called = tokio::task::spawn_blocking(move || call(&producer)).await;
            let called = called.map_err(|error| ConnectError::fatal("A transaction was cut short").because(error))?;
            match called.map_err(|error| self.unfinished(transactions, &error)) {
                Err(error) if error.kind() == ErrorKind::Retriable && Instant::now() < until => {}
                called => return called,
            }
        }
    }

    /// Retriable: the same call may help. Data: it has to be aborted. Fatal: this writer is of no use any more.
    fn unfinished(&self, transactions: &Transactions, error: &KafkaError) -> ConnectError {
        use RDKafkaErrorCode::{Fenced, InvalidProducerEpoch, ProducerFenced};
        let (topic, id) = (&self.name, &transactions.id);
        let text = format!("A transaction of {id} on topic {topic} failed: {error}");
        match (error, error.rdkafka_error_code()) {
            (_, Some(Fenced | InvalidProducerEpoch | ProducerFenced)) => ConnectError::fatal(format!(
                "Another worker writes to topic {topic} with transactional id {id}: it has taken over from this one"
            )),
            (KafkaError::Transaction(cause), _) if cause.is_retriable() => ConnectError::retriable(text),
            (KafkaError::Transaction(cause), _) if cause.txn_requires_abort() => ConnectError::data(text),
            _ => ConnectError::fatal(text),
        }
    }

    async fn send(&self, rows: impl Iterator<Item = &Row> + Send) -> KafkaResult<Vec<Place>> {
        let mut places = Vec::new();
        let mut under_way = VecDeque::new();
        for (key, value) in rows {
            loop {
                let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(&self.name).key(key);
                record.payload = value.as_deref();
                match self.producer.send_result(record) {
                    Ok(delivery) => {
                        under_way.push_back(delivery);
                        break;
                    }
                    Err((error, _)) => match under_way.pop_front() {
                        Some(first) if is_full(&error) => places.push(place(first.await)?),
                        _ => return Err(error),
                    },
                }
            }
        }
        for delivery in under_way {
            places.push(place(delivery.await)?);
        }
        Ok(places)
    }

    fn unwritten(&self, error: &KafkaError) -> ConnectError {
        let (topic, code) = (&self.name, error.rdkafka_error_code());
        if code == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
            return ConnectError::data(format!(
                "A row is larger than topic {topic} takes. Make it smaller, or raise the topic's limit: kafka-configs \
                 --alter --topic {topic} --add-config max.message.bytes=…"
            ));
        }
        ConnectError::retriable(format!("Kafka did not take a row of topic {topic}: {error}"))
    }
}

impl Transactions {
    fn ending(&self) -> MutexGuard<'_, Option<Ending>> {
        self.ending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place<E>(answer: std::result::Result<OwnedDeliveryResult, E>) -> KafkaResult<Place> {
    match answer {
        Ok(Ok(delivery)) => Ok(Place {
            partition: delivery.partition,
            offset: delivery.offset,
            timestamp: delivery.timestamp.to_millis().unwrap_or_default(),
        }),
        Ok(Err((error, _))) => Err(error),
        Err(_) => Err(KafkaError::Canceled),
    }
}

fn is_full(error: &KafkaError) -> bool {
    matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull))
}

/// Is shown a row: its place, key and value.
type Shown<'a> = &'a mut dyn FnMut(Place, &[u8], Option<&[u8]>);

/// Reads on from where it was.
struct Reader {
    consumer: Option<BaseConsumer<Events>>,
    next: BTreeMap<i32, i64>,
}

impl Reader {
    fn read(&mut self, name: &str, properties: &ClientProperties, each: Shown<'_>) -> Result<()> {
        let unread = |error: &dyn std::fmt::Display| {
            ConnectError::retriable(format!("Topic {name} cannot be read to its end: {error}"))
        };
        let consumer = match self.consumer.take() {
            Some(consumer) => consumer,
            None => consumer(properties).map_err(|error| unread(&error))?,
        };
        let consumer = self.consumer.insert(consumer);
        let mut moved = Instant::now();
        let mut open = partitions(consumer, name).map_err(|error| unread(&error))?;
        // A topic that was just made is not known to every broker at once.
        while open.is_empty() {
            if moved.elapsed() > READ {
                return Err(unread(&"it has no partitions"));
            }
            drop(consumer.poll(LOOK));
            open = partitions(consumer, name).map_err(|error| unread(&error))?;
        }
        let mut list = TopicPartitionList::with_capacity(open.len());
        for partition in &open {
            let from = self.next.get(partition).map_or(Offset::Beginning, |next| Offset::Offset(*next));
            let _ = list.add_partition(name, *partition).set_offset(from);
        }
        consumer.assign(&list).map_err(|error| unread(&error))?;
        while !open.is_empty() {
            match consumer.poll(LOOK) {
                Some(Ok(message)) => {
                    self.next.insert(message.partition(), message.offset() + 1);
                    let place = Place::of(&message);
                    each(place, message.key().unwrap_or_default(), message.payload());
                    moved = Instant::now();
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
                Some(Err(error)) if moved.elapsed() > READ => return Err(unread(&error)),
                None if moved.elapsed() > READ => return Err(unread(&"no answer")),
                Some(Err(_)) | None => {}
            }
        }
        consumer.unassign().map_err(|error| unread(&error))
    }
}

fn partitions(consumer: &BaseConsumer<Events>, name: &str) -> std::result::Result<BTreeSet<i32>, String> {
    let metadata = ask(consumer, READ, |wait| consumer.fetch_metadata(Some(name), wait))?;
    Ok(metadata.topics().iter().flat_map(MetadataTopic::partitions).map(MetadataPartition::id).collect())
}

fn consumer(properties: &ClientProperties) -> std::result::Result<BaseConsumer<Events>, KafkaError> {
    let mut config = ClientConfig::new();
    config.extend(properties.clone());
    // librdkafka wants a group for its queue; none is joined and nothing is committed to it.
    config.set("group.id", properties.get("client.id").map_or("offsets", String::as_str));
    config.set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
    // The end of a partition is told by an empty answer, which the broker holds back for so long.
    config.set("fetch.wait.max.ms", "10");
    config.create_with_context(Events(ClientEvents::new(properties)))
}

impl ClientContext for Events {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The end of a partition is what a reader asked to be told.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
            self.0.error(&error, reason);
        }
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> oauth::Answer {
        oauth::token(config)
    }
}

impl ConsumerContext for Events {}
