//! The producer of a source task: librdkafka's `BaseProducer` with the ledger's number as opaque, and one thread that
//! serves deliveries.
//!
//! Used by `task/outbox.rs` and `task/dead_letters.rs`; `transactions.rs` has the calls of a transactional one. One future
//! per record would cost three times the CPU (docs/decisions).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pipette_api::{Blob, ConnectError, KafkaHeaders, Result, async_trait};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::Notify;

use super::admin::NAMES;
use super::compacted::Place;
use super::contact::{Contact, NOTE};
use super::events::ClientEvents;
use super::oauth;
use super::properties::ClientProperties;
use super::sizes;
use super::sys::flush;
use super::traffic::Beside;

/// How long one poll of the delivery thread lasts: bounds only how late it notices that it should end.
const POLL: Duration = Duration::from_millis(100);

/// How long records may be outstanding without an acknowledgement of any, besides their linger, before it is told.
const PATIENCE: Duration = Duration::from_secs(3);

/// What librdkafka's own `linger.ms` is at least. While an idempotent request is in flight and the next batch has
/// lingered long enough, librdkafka's thread looks at its clock and its sockets without a pause: half of a source's CPU
/// time. So it waits for full batches, and the task says when the rest should go (docs/decisions).
const LONG: Duration = Duration::from_secs(1);
/// How long librdkafka is told to wait for no batch: long enough for its thread to wake up, short enough to burn little.
const NUDGE: Duration = Duration::from_millis(1);

/// A producer of a task. Dropping it gives up what is in flight.
pub struct TaskProducer {
    /// How long records may wait for a batch to fill: `linger.ms`.
    pub linger: Duration,
    /// Whether Kafka acknowledges what it is sent.
    pub contact: Arc<Contact>,
    pub(super) wire: Box<dyn Wire>,
}

/// What a producer does with Kafka. A test seam: production uses librdkafka, the simulator a model of both.
#[async_trait]
pub trait Wire: Send + Sync {
    /// See [`TaskProducer::nudge`].
    fn nudge(&self);
    /// See [`TaskProducer::send`].
    fn send(&self, record: &Outgoing<'_>, number: u64) -> Result<Sent>;
    /// What came back.
    fn deliveries(&self) -> &Deliveries;
    /// See [`TaskProducer::fatal`].
    fn fatal(&self) -> Option<ConnectError>;
    /// See [`TaskProducer::init_transactions`].
    async fn init_transactions(&self) -> Result<()>;
    /// See [`TaskProducer::begin_transaction`].
    fn begin_transaction(&self) -> Result<()>;
    /// See [`TaskProducer::commit_transaction`].
    async fn commit_transaction(&self) -> Result<()>;
    /// See [`TaskProducer::abort_transaction`].
    async fn abort_transaction(&self) -> Result<()>;
}

/// librdkafka's producer with its delivery thread.
pub(super) struct Librdkafka {
    pub(super) producer: Arc<BaseProducer<Deliveries>>,
    pub(super) transactional_id: Option<String>,
    /// The largest record that it takes.
    largest: u64,
    nudged: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// One record in Kafka's form, borrowed: librdkafka copies it.
pub struct Outgoing<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition, or the partitioner's choice.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: &'a KafkaHeaders,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
}

impl Outgoing<'_> {
    /// Memory of key, value and headers.
    pub fn size(&self) -> u64 {
        (bytes_of(self.key, self.value) + sizes::of_headers(self.headers)) as u64
    }
}

/// What became of a send.
pub enum Sent {
    /// librdkafka has it; its delivery will be told.
    Queued,
    /// The queue is full: wait for deliveries and send it again.
    Full,
}

/// Deliveries not yet looked at.
#[derive(Debug, Default)]
pub struct Delivered {
    /// Numbers that are in Kafka.
    pub done: Vec<u64>,
    /// What will never be.
    pub failed: Vec<Refused>,
    /// Where rows stand that were sent with numbers from [`ROWS`] on, by how far they are behind it.
    pub rows: Vec<(usize, Place)>,
}

/// A record that Kafka will never have.
#[derive(Debug)]
pub struct Refused {
    /// The number it was sent with.
    pub number: u64,
    /// Why.
    pub error: ConnectError,
    /// The record, when the reason is its own.
    pub record: Option<Box<Undelivered>>,
}

/// One record in Kafka's form, owned.
#[derive(Debug)]
pub struct Undelivered {
    /// The topic.
    pub topic: Arc<str>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value.
    pub value: Option<Vec<u8>>,
    /// The headers.
    pub headers: KafkaHeaders,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
}

/// How often librdkafka says what it has sent and received: for metrics only.
const TRAFFIC: Duration = Duration::from_secs(5);

/// Rows of the offsets topic are sent with numbers from here on: where they come to stand is told.
pub const ROWS: u64 = 1 << 63;

/// Collects deliveries. Lives in the client; a task reaches it through [`TaskProducer`].
pub struct Deliveries {
    inbox: Mutex<Delivered>,
    /// How often the inbox was emptied.
    emptied: AtomicU64,
    news: Notify,
    events: Arc<ClientEvents>,
}

impl TaskProducer {
    /// Connects in the background; a broker that is away is no error here.
    pub fn start(properties: &ClientProperties) -> Result<Self> {
        let linger = milliseconds(properties.get("linger.ms")).unwrap_or(LONG);
        let deliveries = Deliveries::new(properties);
        let contact = deliveries.contact(linger);
        let wire = Box::new(Librdkafka::start(properties, linger, deliveries, Arc::clone(&contact))?);
        Ok(Self { linger, contact, wire })
    }

    /// A producer on another wire.
    #[cfg(test)]
    pub fn on(wire: Box<dyn Wire>, linger: Duration) -> Self {
        let contact = wire.deliveries().contact(linger);
        Self { linger, contact, wire }
    }

    /// Has librdkafka send what waits for a batch to fill. What waits behind a request in flight is not reached by it:
    /// call it again until everything is delivered.
    pub fn nudge(&self) {
        self.wire.nudge();
    }

    /// Hands a record to librdkafka, with the number its delivery is told by.
    pub fn send(&self, record: &Outgoing<'_>, number: u64) -> Result<Sent> {
        self.wire.send(record, number)
    }

    /// Resolves when there are deliveries to take.
    pub async fn delivered(&self) {
        self.wire.deliveries().news.notified().await;
    }

    /// Takes the deliveries; `into` is swapped in empty, so that no allocation is made per batch.
    pub fn take(&self, into: &mut Delivered) {
        into.done.clear();
        into.failed.clear();
        into.rows.clear();
        let deliveries = self.wire.deliveries();
        std::mem::swap(into, &mut *deliveries.lock());
        deliveries.emptied.fetch_add(u64::from(!into.done.is_empty()), Ordering::Relaxed);
    }

    /// The last complaint of librdkafka, for a status that explains itself.
    pub fn last_error(&self) -> Option<String> {
        self.wire.deliveries().events.last_error()
    }
}

impl Librdkafka {
    fn start(
        properties: &ClientProperties,
        linger: Duration,
        deliveries: Deliveries,
        contact: Arc<Contact>,
    ) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.extend(properties.clone());
        config.set_log_level(RDKafkaLogLevel::Info);
        config.set("statistics.interval.ms", TRAFFIC.as_millis().to_string());
        if linger < LONG {
            config.set("linger.ms", LONG.as_millis().to_string());
        }
        let producer: BaseProducer<Deliveries> = config
            .create_with_context(deliveries)
            .map_err(|error| ConnectError::config(format!("Kafka refuses the producer's settings: {error}")))?;
        let producer = Arc::new(producer);
        let stop = Arc::new(AtomicBool::new(false));
        let (served, until, noted) = (Arc::clone(&producer), Arc::clone(&stop), contact);
        let thread = std::thread::Builder::new()
            .name("deliveries".into())
            .spawn(move || {
                let mut note_at = Instant::now();
                while !until.load(Ordering::Relaxed) {
                    served.poll(POLL);
                    if note_at.elapsed() >= NOTE {
                        note_at = Instant::now();
                        noted.note(served.in_flight_count() > 0, served.context().mark());
                    }
                }
            })
            .map_err(|error| ConnectError::fatal("Cannot start the delivery thread").because(error))?;
        let transactional_id = properties.get("transactional.id").cloned();
        let largest = sizes::largest_record(properties);
        Ok(Self { producer, transactional_id, largest, nudged: Arc::default(), stop, thread: Some(thread) })
    }

    pub(super) fn nudge(&self) {
        if self.nudged.swap(true, Ordering::AcqRel) {
            return;
        }
        let (producer, nudged) = (Arc::clone(&self.producer), Arc::clone(&self.nudged));
        tokio::task::spawn_blocking(move || {
            flush(producer.client().native_ptr(), NUDGE);
            nudged.store(false, Ordering::Release);
        });
    }

    pub(super) fn send(&self, record: &Outgoing<'_>, number: u64) -> Result<Sent> {
        let Ok(opaque) = usize::try_from(number) else { unreachable!("64-bit machines only") };
        let mut message: BaseRecord<'_, [u8], [u8], usize> = BaseRecord::with_opaque_to(record.topic, opaque);
        message.partition = record.partition;
        message.key = record.key;
        message.payload = record.value;
        message.timestamp = record.timestamp;
        if !record.headers.is_empty() {
            message.headers = Some(owned_headers(record.headers));
        }
        match self.producer.send(message) {
            Ok(()) => Ok(Sent::Queued),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => Ok(Sent::Full),
            Err((error, _)) => Err(self.explain(&error, record)),
        }
    }

    fn explain(&self, error: &KafkaError, record: &Outgoing<'_>) -> ConnectError {
        let code = error.rdkafka_error_code();
        let advice = match code {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                sizes::above_the_producers(bytes_of(record.key, record.value), self.largest)
            }
            _ => advice(code),
        };
        let text = format!("Kafka refuses a record for topic {}: {error}{advice}", record.topic);
        if let Some(fatal) = self.fatal() {
            return fatal.within(text);
        }
        match code {
            Some(code) if is_about_the_record(code) => ConnectError::data(text),
            _ => ConnectError::fatal(text),
        }
    }
}

impl Drop for Librdkafka {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread ends within one poll; it owns nothing that could panic.
            let _ = thread.join();
        }
    }
}

/// librdkafka takes fractions, and refuses what is no number.
fn milliseconds(text: Option<&String>) -> Option<Duration> {
    let number = text?.parse::<f64>().ok()?;
    Duration::try_from_secs_f64(number / 1_000.0).ok()
}

fn owned_headers(headers: &KafkaHeaders) -> OwnedHeaders {
    headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |all, (key, value)| {
        all.insert(Header { key, value: value.as_ref().map(Blob::as_bytes) })
    })
}

impl Undelivered {
    fn of(message: &impl Message) -> Self {
        let blob = |bytes: &[u8]| Blob::whole(bytes.to_vec()).ok();
        let header = |header: Header<'_, &[u8]>| (Arc::from(header.key), header.value.and_then(blob));
        Self {
            topic: Arc::from(message.topic()),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: message.headers().map(|headers| headers.iter().map(header).collect()).unwrap_or_default(),
            timestamp: message.timestamp().to_millis(),
        }
    }
}

/// What is behind an error and where it is mended, as far as its words do not say it.
fn advice(code: Option<RDKafkaErrorCode>) -> String {
    match code {
        // The last one: a neighbour in the batch was refused for one of the first two.
        Some(
            RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidTimestamp
            | RDKafkaErrorCode::InvalidDifferentRecord,
        ) => ". Is its time too far from Kafka's (compare the clocks), or the topic compacted and the record without a key?"
            .to_owned(),
        Some(RDKafkaErrorCode::InvalidTopic) => {
            format!(": {NAMES}. The name is made of the connector's configuration, or by a transformation")
        }
        _ => String::new(),
    }
}

fn bytes_of(key: Option<&[u8]>, value: Option<&[u8]>) -> usize {
    key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)
}

/// Errors that another record would not have.
fn is_about_the_record(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::InvalidMessageSize
            | RDKafkaErrorCode::InvalidTimestamp
            | RDKafkaErrorCode::InvalidRecord
            | RDKafkaErrorCode::InvalidTopic
            | RDKafkaErrorCode::UnknownPartition
    )
}

impl Deliveries {
    /// Of a client with these properties; nothing came back yet.
    pub(crate) fn new(properties: &ClientProperties) -> Self {
        let events = Arc::new(ClientEvents::new(properties));
        Self { inbox: Mutex::default(), emptied: AtomicU64::new(0), news: Notify::new(), events }
    }

    fn contact(&self, linger: Duration) -> Arc<Contact> {
        Arc::new(Contact::new("acknowledgement", PATIENCE + linger, Arc::clone(&self.events)))
    }

    /// Something came back.
    pub(crate) fn tell(&self, put: impl FnOnce(&mut Delivered)) {
        let mut inbox = self.lock();
        let first = inbox.done.is_empty() && inbox.failed.is_empty();
        put(&mut inbox);
        drop(inbox);
        if first {
            self.news.notify_one();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Delivered> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another number whenever something was acknowledged.
    fn mark(&self) -> u64 {
        (self.emptied.load(Ordering::Relaxed) << 32) | (self.lock().done.len() as u64)
    }
}

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.events.log(level, facility, message);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        if let Ok(json) = std::str::from_utf8(statistics) {
            self.events.traffic.note(json, &Beside::nothing());
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.error(&error, reason);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> oauth::Answer {
        oauth::token(config)
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let number = number as u64;
        self.tell(|inbox| match result {
            Ok(message) if number >= ROWS => {
                let Ok(row) = usize::try_from(number - ROWS) else { unreachable!("64-bit machines only") };
                inbox.rows.push((row, Place::of(message)));
            }
            Ok(_) => inbox.done.push(number),
            Err((error, message)) => {
                let topic = message.topic();
                let code = error.rdkafka_error_code();
                let advice = match code {
                    Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                        sizes::above_the_topics(bytes_of(message.key(), message.payload()), topic)
                    }
                    _ => advice(code),
                };
                let text = format!("Kafka did not take a record for topic {topic}: {error}{advice}");
                let own = error.rdkafka_error_code().is_some_and(is_about_the_record);
                let error = if own { ConnectError::data(text) } else { ConnectError::fatal(text) };
                let record = own.then(|| Box::new(Undelivered::of(message)));
                inbox.failed.push(Refused { number, error, record });
            }
        });
    }
}
