//! Reads a topic to its present end, and a group's progress, with a consumer of its own: never through the worker under
//! test.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
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
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "reader-of-tests")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let ends = ends(&consumer, topic);
    let mut list = TopicPartitionList::new();
    for partition in ends.keys() {
        list.add_partition_offset(topic, *partition, Offset::Beginning).expect("a position");
    }
    consumer.assign(&list).expect("an assignment");

    let mut missing: i64 = ends.values().sum();
    let mut read: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
    while missing > 0 {
        let message =
            wait::until("the next record", Duration::from_secs(30), || match consumer.poll(Duration::from_secs(1)) {
                Some(Ok(message)) => Ok(message),
                Some(Err(error)) => Err(error.to_string()),
                None => Err(format!("{missing} records of {topic} still to come")),
            });
        missing -= 1;
        read.entry(message.partition()).or_default().push(Record::of(&message));
    }
    read.into_values().flatten().collect()
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
    topic: &'static str,
}

impl Group {
    pub(crate) fn watch(bootstrap: &str, group: &str, topic: &'static str) -> Self {
        let member = ClientConfig::new().set("bootstrap.servers", bootstrap).set("group.id", group).create();
        Self { member: member.expect("a consumer"), topic }
    }

    /// The offset committed for partition 0; zero as long as none is known.
    pub(crate) fn committed(&self) -> u64 {
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition(self.topic, 0);
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
