//! Reads a topic to its present end, and a group's progress, with a consumer of its own: never through the worker under
//! test.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::metadata::MetadataPartition;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::Offset;
use rdkafka::{ClientConfig, TopicPartitionList};

use super::wait;

/// A record as it lies in a topic. Texts, since tests write nothing else.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) headers: Vec<(String, Option<String>)>,
    pub(crate) timestamp: Option<i64>,
}

impl Record {
    fn of(message: &impl Message) -> Self {
        let text = |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        Self {
            key: text(message.key()),
            value: text(message.payload()),
            headers: headers.map(|header| (header.key.to_owned(), text(header.value))).collect(),
            timestamp: message.timestamp().to_millis(),
        }
    }

    /// The last header of that name; empty when there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().rev().find(|(own, _)| own == name);
        found.and_then(|(_, value)| value.as_deref()).unwrap_or_default()
    }
}

/// Every value of the topic in offset order, partition after partition; a null value is an empty text.
pub(crate) fn values(bootstrap: &str, topic: &str) -> Vec<String> {
    records(bootstrap, topic).into_iter().map(|record| record.value.unwrap_or_default()).collect()
}

/// Every record of the topic in offset order, partition after partition.
pub(crate) fn records(bootstrap: &str, topic: &str) -> Vec<Record> {
    let mut read: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
    visit(bootstrap, topic, UNCOMMITTED, |message| {
        read.entry(message.partition()).or_default().push(Record::of(message));
    });
    read.into_values().flatten().collect()
}

/// Of a reader that sees all that stands in a topic.
pub(crate) const UNCOMMITTED: &str = "read_uncommitted";
/// Of a reader that sees what a transaction committed and what was written without one.
pub(crate) const COMMITTED: &str = "read_committed";

/// Shows `each` the records up to the topic's present end: partitions as they come, each in offset order. Nothing when
/// there is no such topic. For a reader of what is committed an open transaction hides what stands behind its beginning.
pub(crate) fn visit(bootstrap: &str, topic: &str, isolation: &str, mut each: impl FnMut(&BorrowedMessage<'_>)) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "reader-of-tests")
        .set("enable.auto.commit", "false")
        .set("isolation.level", isolation)
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "10")
        .create()
        .expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).expect("metadata of the topic");
    let mut open: Vec<i32> = metadata.topics()[0].partitions().iter().map(MetadataPartition::id).collect();
    let mut list = TopicPartitionList::new();
    for partition in &open {
        list.add_partition_offset(topic, *partition, Offset::Beginning).expect("a position");
    }
    consumer.assign(&list).expect("an assignment");
    while !open.is_empty() {
        wait::until("the next record", Duration::from_secs(30), || {
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => each(&message),
                Some(Err(KafkaError::PartitionEOF(partition))) => open.retain(|other| *other != partition),
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err(format!("partitions {open:?} of {topic} have not ended")),
            }
            Ok(())
        });
    }
}

/// How much stands in the topic, open transactions and the marks of ended ones included.
pub(crate) fn size(bootstrap: &str, topic: &str) -> i64 {
    up_to(bootstrap, topic, "read_uncommitted")
}

/// How much of it a `read_committed` reader gets past: up to where the first open transaction begins.
pub(crate) fn readable(bootstrap: &str, topic: &str) -> i64 {
    up_to(bootstrap, topic, "read_committed")
}

fn up_to(bootstrap: &str, topic: &str, isolation: &str) -> i64 {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("isolation.level", isolation);
    let consumer: BaseConsumer = config.create().expect("a consumer");
    ends(&consumer, topic).values().sum()
}

/// The same, zero as long as there is no such topic.
pub(crate) fn size_if_any(bootstrap: &str, topic: &str) -> i64 {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("a client");
    let metadata = client.fetch_metadata(None, Duration::from_secs(10)).expect("metadata");
    if metadata.topics().iter().any(|known| known.name() == topic) { size(bootstrap, topic) } else { 0 }
}

/// A record as it stands in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) partition: i32,
    pub(crate) key: String,
    /// `None` is a tombstone.
    pub(crate) value: Option<String>,
}

/// What a `read_committed` reader finds in the topic now, in offset order, partition after partition.
pub(crate) fn committed(bootstrap: &str, topic: &str) -> Vec<Stored> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut read: BTreeMap<i32, Vec<Stored>> = BTreeMap::new();
    visit(bootstrap, topic, COMMITTED, |message| {
        read.entry(message.partition()).or_default().push(Stored {
            partition: message.partition(),
            key: text(message.key().unwrap_or_default()),
            value: message.payload().map(text),
        });
    });
    read.into_values().flatten().collect()
}

/// Makes a topic.
pub(crate) fn create(bootstrap: &str, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("a client");
    let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let made = runtime.block_on(admin.create_topics([&topic], &AdminOptions::new()));
    made.expect("an answer")[0].as_ref().expect("the topic is made");
}

/// Takes topics away, and with them what they hold.
pub(crate) fn delete(bootstrap: &str, topics: &[&str]) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("a client");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(admin.delete_topics(topics, &AdminOptions::new())).expect("an answer");
}

/// Takes away what stands in partition 0 in front of this offset.
pub(crate) fn cut(bootstrap: &str, topic: &str, before: i64) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("a client");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(before)).expect("a position");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let taken = runtime.block_on(admin.delete_records(&list, &AdminOptions::new())).expect("an answer");
    taken.elements()[0].error().expect("records are taken away");
}

/// The offset behind partition 0, whatever is left in front of it.
pub(crate) fn end(bootstrap: &str, topic: &str) -> u64 {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("a client");
    let (_, high) = client.fetch_watermarks(topic, 0, Duration::from_secs(10)).expect("its watermarks");
    u64::try_from(high).expect("an offset")
}

/// Writes a record.
pub(crate) fn write(bootstrap: &str, topic: &str, partition: i32, key: &str, value: &str) {
    send(bootstrap, BaseRecord::to(topic).partition(partition).key(key).payload(value));
}

/// Writes a record with headers and no key.
pub(crate) fn write_with(bootstrap: &str, topic: &str, partition: i32, headers: &[(&str, &str)], value: &str) {
    let add = |all: OwnedHeaders, (key, value): &(&str, &str)| all.insert(Header { key, value: Some(*value) });
    let headers = headers.iter().fold(OwnedHeaders::new(), add);
    send(bootstrap, BaseRecord::to(topic).partition(partition).headers(headers).payload(value));
}

/// Writes a tombstone.
pub(crate) fn take_away(bootstrap: &str, topic: &str, partition: i32, key: &str) {
    send(bootstrap, BaseRecord::<str, str>::to(topic).partition(partition).key(key));
}

fn send(bootstrap: &str, record: BaseRecord<'_, str, str>) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("a producer");
    producer.send(record).expect("it is taken");
    producer.flush(Duration::from_secs(30)).expect("it is delivered");
}

/// Records per partition: the topics of tests are neither compacted nor transactional, so every offset is a record.
fn ends(consumer: &BaseConsumer, topic: &str) -> BTreeMap<i32, i64> {
    let patience = Duration::from_secs(10);
    let metadata = consumer.fetch_metadata(Some(topic), patience).expect("metadata of the topic");
    metadata.topics()[0]
        .partitions()
        .iter()
        .map(|partition| {
            let (low, high) = consumer.fetch_watermarks(topic, partition.id(), patience).expect("its watermarks");
            (partition.id(), high - low)
        })
        .collect()
}

/// A consumer group's progress on one topic, looked at from outside of the group.
pub(crate) struct Group {
    member: BaseConsumer,
    topic: String,
}

impl Group {
    pub(crate) fn watch(bootstrap: &str, group: &str, topic: &str) -> Self {
        let member = ClientConfig::new().set("bootstrap.servers", bootstrap).set("group.id", group).create();
        Self { member: member.expect("a consumer"), topic: topic.to_owned() }
    }

    /// The offset committed for partition 0; zero as long as none is known.
    pub(crate) fn committed(&self) -> u64 {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition(&self.topic, 0);
        let answer = self.member.committed_offsets(wanted, Duration::from_secs(5));
        let offset = answer.ok().and_then(|list| list.elements().first()?.offset().to_raw());
        offset.and_then(|offset| u64::try_from(offset).ok()).unwrap_or_default()
    }
}

/// What the broker says of a group, such as `Stable`; empty as long as it knows none.
pub(crate) fn group_state(bootstrap: &str, group: &str) -> String {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().expect("a client");
    let groups = client.fetch_group_list(Some(group), Duration::from_secs(5));
    groups.ok().and_then(|list| Some(list.groups().first()?.state().to_owned())).unwrap_or_default()
}
