//! A stretch of a topic: read once from somewhere to where the topic ended at the beginning, outside of any group's
//! membership. Where the next one begins can be kept as a group's offsets.
//!
//! `task/replay/` reads dead letters with it, `claimcheck/topics.rs` whole topics. Every call blocks, so it belongs on a thread of its own.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use pipette_api::{ConnectError, RawRecord, Result, TopicPartition};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::metadata::{MetadataPartition, MetadataTopic};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::asking::ask;
use super::batch::copy_out;
use super::compacted::Events;
use super::events::ClientEvents;
use super::properties::ClientProperties;
use super::sys::{FetchQueue, Fetched};

/// How long Kafka may be silent.
const SILENCE: Duration = Duration::from_secs(10);
/// What one look for records waits.
const LOOK: Duration = Duration::from_millis(100);
/// Records taken at a time.
const AT_ONCE: usize = 100;

/// Where a stretch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start<'a> {
    /// At the oldest record.
    Oldest,
    /// Where each partition was read to; at the oldest record of those that are new.
    Each(&'a BTreeMap<i32, i64>),
    /// At this offset of each partition, or the oldest record behind it.
    At(i64),
    /// Where the last one that was remembered ended.
    Remembered,
}

/// A stretch of a topic. The fields are in the order in which they may go.
pub struct Stretch {
    fetched: Fetched,
    queue: FetchQueue,
    consumer: BaseConsumer<Events>,
    topic: String,
    /// Partitions not read to their end, and the end.
    open: BTreeMap<i32, i64>,
    /// Every partition, and its end.
    ends: BTreeMap<i32, i64>,
    ready: VecDeque<RawRecord>,
}

impl Stretch {
    /// The stretch of a topic from `start` to its present end. `properties` are a consumer's; its `group.id` is where it
    /// is remembered.
    pub fn open(properties: &ClientProperties, topic: &str, start: Start<'_>) -> Result<Self> {
        let mut config = ClientConfig::new();
        config.extend(properties.clone());
        config.set("auto.offset.reset", "earliest").set("enable.partition.eof", "true");
        config.set("queued.max.messages.kbytes", "4096");
        let consumer: BaseConsumer<Events> = config
            .create_with_context(Events(ClientEvents::new(properties)))
            .map_err(|error| ConnectError::config(format!("Kafka refuses the consumer's settings: {error}")))?;
        let queue = FetchQueue::new(consumer.client().native_ptr());
        let (topic, fetched) = (topic.to_owned(), Fetched::default());
        let (open, ends, ready) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        let mut stretch = Self { fetched, queue, consumer, topic, open, ends, ready };
        stretch.begin(start)?;
        Ok(stretch)
    }

    fn begin(&mut self, start: Start<'_>) -> Result<()> {
        let away = |error: KafkaError| unread(&self.topic, &error);
        let asked = ask(&self.consumer, SILENCE, |wait| self.consumer.fetch_metadata(Some(&self.topic), wait));
        let metadata = asked.map_err(|reason| unread(&self.topic, &reason))?;
        let partitions: Vec<i32> =
            metadata.topics().iter().flat_map(MetadataTopic::partitions).map(MetadataPartition::id).collect();
        if partitions.is_empty() {
            return Err(ConnectError::config(format!("There is no topic {} (yet)", self.topic)));
        }
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            let (_, end) = self.consumer.fetch_watermarks(&self.topic, partition, SILENCE).map_err(away)?;
            self.open.insert(partition, end);
            self.ends.insert(partition, end);
            list.add_partition(&self.topic, partition);
        }
        let list = match start {
            Start::Remembered => self.consumer.committed_offsets(list, SILENCE).map_err(away)?,
            Start::Oldest | Start::Each(_) | Start::At(_) => list,
        };
        let mut from = TopicPartitionList::new();
        for element in list.elements() {
            let at = match (start, element.offset()) {
                (Start::At(offset), _) | (Start::Remembered, Offset::Offset(offset)) => Offset::Offset(offset),
                (Start::Each(ends), _) => {
                    ends.get(&element.partition()).map_or(Offset::Beginning, |end| Offset::Offset(*end))
                }
                _ => Offset::Beginning,
            };
            if matches!(at, Offset::Offset(at) if at >= self.open[&element.partition()]) {
                self.open.remove(&element.partition());
            } else {
                from.add_partition_offset(&self.topic, element.partition(), at).map_err(away)?;
            }
        }
        // Before anything is fetched: what has come into the client's own queue would be missed.
        for partition in self.open.keys() {
            let tp = TopicPartition::new(self.topic.as_str(), *partition);
            if !self.queue.gather(self.consumer.client().native_ptr(), &tp) {
                return Err(unread(&self.topic, &KafkaError::Subscription(tp.to_string())));
            }
        }
        self.consumer.assign(&from).map_err(away)
    }

    /// Every partition, and where it ended when this was opened.
    pub fn ends(&self) -> &BTreeMap<i32, i64> {
        &self.ends
    }

    /// The next record; `None` at the end. Kafka that is silent for too long is a retriable error.
    pub fn read(&mut self) -> Result<Option<RawRecord>> {
        let began = Instant::now();
        while self.ready.is_empty() && !self.open.is_empty() {
            let mut trouble = match self.consumer.poll(Duration::ZERO) {
                Some(Ok(_)) => return Err(unread(&self.topic, &"a record came past the queue")),
                polled => polled.and_then(std::result::Result::err),
            };
            self.queue.take(&mut self.fetched, AT_ONCE, LOOK);
            for message in self.fetched.iter() {
                match message.error() {
                    Some(RDKafkaErrorCode::PartitionEOF) => drop(self.open.remove(&message.partition())),
                    Some(code) => trouble = Some(KafkaError::MessageConsumption(code)),
                    None => {}
                }
            }
            let records = copy_out(&self.fetched);
            self.fetched.clear();
            self.take(records?);
            if self.ready.is_empty() && !self.open.is_empty() && began.elapsed() > SILENCE {
                let trouble = trouble.map_or_else(|| "no answer".to_owned(), |error| error.to_string());
                return Err(unread(&self.topic, &trouble));
            }
        }
        Ok(self.ready.pop_front())
    }

    /// What lies before the end, and which partitions have come there.
    fn take(&mut self, records: Vec<RawRecord>) {
        for record in records {
            let Some(end) = self.open.get(&record.tp.partition).copied() else { continue };
            if record.offset + 1 >= end {
                self.open.remove(&record.tp.partition);
            }
            if record.offset < end {
                self.ready.push_back(record);
            }
        }
    }

    /// Keeps where the next one is to begin.
    pub fn remember(&self, next: &BTreeMap<i32, i64>) -> Result<()> {
        let mut list = TopicPartitionList::with_capacity(next.len());
        for (partition, offset) in next {
            let _ = list.add_partition(&self.topic, *partition).set_offset(Offset::Offset(*offset));
        }
        self.consumer.commit(&list, CommitMode::Sync).map_err(|error| {
            ConnectError::retriable(format!("Kafka does not keep how far topic {} was read: {error}", self.topic))
        })
    }
}

fn unread(topic: &str, error: &dyn std::fmt::Display) -> ConnectError {
    ConnectError::retriable(format!("Topic {topic} cannot be read to its end: {error}"))
}
