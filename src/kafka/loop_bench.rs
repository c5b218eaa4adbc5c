//! The yardsticks of `pipette bench`: the shortest loops that hand lines to librdkafka and take records from it, and a look
//! at a topic's size.
//!
//! Called by `src/bench/` only. It lives here because only this folder names rdkafka.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use pipette_api::TopicPartition;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use super::sys::{FetchQueue, Fetched};

/// How often delivery reports are collected: often enough that they do not pile up, seldom enough to cost nothing.
const RECORDS_PER_POLL: usize = 1_000;

/// As many as a sink task takes at once.
const RECORDS_PER_BATCH: usize = 500;

/// Short, because rdkafka's own `flush` sleeps in slices of 100 ms.
const DRAIN: Duration = Duration::from_millis(1);

#[derive(Default)]
struct Reports {
    failed: AtomicU64,
}

/// Counts what was not delivered.
struct Counting(Arc<Reports>);

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Sends every line as the value of a record and returns when all are acknowledged.
///
/// # Errors
/// When the client cannot be made, or any record was not delivered.
pub fn bare_producer_loop<'a>(
    properties: &BTreeMap<String, String>,
    topic: &str,
    lines: impl Iterator<Item = &'a [u8]>,
) -> Result<()> {
    let reports = Arc::new(Reports::default());
    let config: ClientConfig = properties.clone().into_iter().collect();
    let producer: BaseProducer<Counting> = config
        .create_with_context(Counting(Arc::clone(&reports)))
        .context("librdkafka refuses the producer settings")?;
    for (sent, line) in lines.enumerate() {
        let mut record = BaseRecord::<(), [u8]>::to(topic).payload(line);
        while let Err((error, back)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error).context(format!("topic {topic} does not take the record of line {}", sent + 1));
            }
            record = back;
            producer.poll(DRAIN);
        }
        if sent % RECORDS_PER_POLL == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    while producer.in_flight_count() > 0 {
        producer.poll(DRAIN);
    }
    match reports.failed.load(Ordering::Relaxed) {
        0 => Ok(()),
        failed => bail!("{failed} records were not delivered to topic {topic}"),
    }
}

/// How long the broker may be silent in the middle of a topic.
const SILENCE: Duration = Duration::from_secs(20);

/// Reads so many records of partition 0 from its beginning, by the batch, looks at each value's length, and tells how long
/// it took from the first to the last.
///
/// # Errors
/// When the client cannot be made, reports an error, or waits for a record in vain.
pub fn bare_consumer_loop(properties: &BTreeMap<String, String>, topic: &str, records: u64) -> Result<Duration> {
    let config: ClientConfig = properties.clone().into_iter().collect();
    let consumer: BaseConsumer = config.create().context("librdkafka refuses the consumer settings")?;
    let client = consumer.client().native_ptr();
    let queue = FetchQueue::new(client);
    ensure!(queue.gather(client, &TopicPartition::new(topic, 0)), "librdkafka does not know {topic}-0");
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(topic, 0, Offset::Beginning).context("no position to start at")?;
    consumer.assign(&from).with_context(|| format!("{topic}-0 cannot be read"))?;
    let (mut began, mut bytes, mut read) = (None, 0, 0);
    let mut fetched = Fetched::default();
    while read < records {
        if let Some(Err(error)) = consumer.poll(Duration::ZERO) {
            return Err(error).with_context(|| format!("{topic} cannot be read"));
        }
        queue.take(&mut fetched, RECORDS_PER_BATCH, SILENCE);
        ensure!(fetched.len() > 0, "{topic}: nothing came after {read} records");
        for message in fetched.iter() {
            if let Some(error) = message.error() {
                return Err(KafkaError::MessageConsumption(error)).with_context(|| format!("{topic} cannot be read"));
            }
            bytes += message.value().map_or(0, <[u8]>::len);
            read += 1;
        }
        began.get_or_insert_with(Instant::now);
    }
    fetched.clear();
    ensure!(bytes > 0, "{topic} holds no values");
    began.map(|began| began.elapsed()).with_context(|| format!("{topic} is empty"))
}

/// Watches how many records a topic holds.
pub struct TopicSize {
    consumer: BaseConsumer,
    topic: String,
}

impl TopicSize {
    /// # Errors
    /// When librdkafka refuses the address.
    pub fn watch(bootstrap: &str, topic: &str) -> Result<Self> {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .create()
            .with_context(|| format!("no client for {bootstrap}"))?;
        Ok(Self { consumer, topic: topic.into() })
    }

    /// Records in all partitions; zero when the topic does not exist yet.
    ///
    /// # Errors
    /// When the broker does not answer within ten seconds.
    pub fn records(&self) -> Result<u64> {
        let patience = Duration::from_secs(10);
        let metadata =
            self.consumer.fetch_metadata(Some(&self.topic), patience).context("the broker does not answer")?;
        let mut records = 0;
        for partition in metadata.topics().iter().flat_map(rdkafka::metadata::MetadataTopic::partitions) {
            let (low, high) = self
                .consumer
                .fetch_watermarks(&self.topic, partition.id(), patience)
                .with_context(|| format!("no offsets of {}-{}", self.topic, partition.id()))?;
            records += u64::try_from(high - low).unwrap_or_default();
        }
        Ok(records)
    }
}
