//! The consumer's thread against an embedded broker, with a sink loop that is played by the test.

use std::net::SocketAddr;
use std::path::Path;

use pipette_api::{ConfigMap, Wish};
use pipette_broker::{Broker, BrokerConfig};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tokio::sync::watch;

use super::super::properties;
use super::*;

/// A consumer of the topic `t`, which has so many records.
fn consume(folder: &Path, reset: &str, count: usize) -> (Broker, watch::Sender<Wish>, ClientProperties, TaskConsumer) {
    let mut config = BrokerConfig::new(folder.join("broker"));
    config.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let broker = Broker::start(config).unwrap();
    let worker = ConfigMap::from([("bootstrap.servers".to_owned(), broker.address().to_string())]);
    let mut client = ClientConfig::new();
    client.extend(worker.clone());
    let producer: BaseProducer = client.create().unwrap();
    for _ in 0..count {
        producer.send(BaseRecord::<str, str>::to("t").payload("v").partition(0)).unwrap();
    }
    producer.flush(Duration::from_secs(10)).unwrap();
    let connector = ConfigMap::from([("consumer.override.auto.offset.reset".to_owned(), reset.to_owned())]);
    let properties = properties::consumer(&worker, &connector, "c", "connect-c").unwrap();
    let (wish, wished) = watch::channel(Wish::Run);
    let topics = Subscription::Topics(vec!["t".into()]);
    let consumer = TaskConsumer::start(&properties, &topics, "c-0", Share::ample("c"), Signal::new(wished)).unwrap();
    (broker, wish, properties, consumer)
}

/// Opens what it is given until this event comes.
async fn until<T>(consumer: &mut TaskConsumer, wanted: impl Fn(ConsumerEvent) -> Option<T>) -> T {
    let events = async {
        loop {
            match consumer.events.recv().await {
                Some(ConsumerEvent::Assigned(_)) => {
                    consumer.commands.send(ConsumerCommand::Opened(Seeks::new())).unwrap();
                }
                Some(event) => {
                    if let Some(found) = wanted(event) {
                        return found;
                    }
                }
                None => panic!("the thread has ended"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), events).await.expect("the event")
}

#[tokio::test]
async fn without_a_committed_offset_and_with_no_reset_the_task_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, _wish, _, mut consumer) = consume(folder.path(), "none", 1);
    let failed = until(&mut consumer, |event| match event {
        ConsumerEvent::Failed(error) => Some(error.to_string()),
        other => panic!("{other:?}"),
    });
    let error = failed.await;
    assert!(error.contains("auto.offset.reset"), "{error}");
}

/// Kafka itself would take it from any member.
#[tokio::test]
async fn nothing_is_committed_for_partitions_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, _wish, properties, mut consumer) = consume(folder.path(), "earliest", 1);
    until(&mut consumer, |event| matches!(event, ConsumerEvent::Records(_)).then_some(())).await;
    let (own, other) = (TopicPartition::new("t", 0), TopicPartition::new("elsewhere", 3));
    let commit = async |offsets: Offsets| {
        let (reply, answer) = oneshot::channel();
        consumer.commands.send(ConsumerCommand::Commit(offsets, None, reply)).unwrap();
        answer.await.unwrap()
    };
    commit(Offsets::from([(own.clone(), 1), (other.clone(), 7)])).await.unwrap();
    let error = commit(Offsets::from([(other, 8)])).await.unwrap_err().to_string();
    assert!(error.contains("elsewhere-3 is no longer a partition of this task"), "{error}");
    assert_eq!(super::super::admin::committed(&properties).unwrap(), Offsets::from([(own, 1)]));
}

/// The channel is full, and the thread holds what has no room in it.
#[tokio::test]
async fn what_was_read_before_partitions_are_sent_back_is_of_the_generation_before() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, _wish, _, mut consumer) = consume(folder.path(), "earliest", 10 * MAX_RECORDS);
    let records = |event| if let ConsumerEvent::Records(batch) = event { Some(batch) } else { None };
    until(&mut consumer, records).await;
    let tp = TopicPartition::new("t", 0);
    // Full for so long that one more is read, and held.
    let full = async {
        let mut looks = 0;
        while looks < 10 {
            looks = if consumer.events.len() == BATCHES_AHEAD { looks + 1 } else { 0 };
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), full).await.expect("a full channel");
    consumer.commands.send(ConsumerCommand::Rewind(Offsets::from([(tp.clone(), 7)]), 1)).unwrap();
    let (reply, answer) = oneshot::channel();
    consumer.commands.send(ConsumerCommand::Commit(Offsets::from([(tp, 7)]), None, reply)).unwrap();
    answer.await.unwrap().expect("a commit behind it");
    for _ in 0..BATCHES_AHEAD {
        assert_eq!(until(&mut consumer, records).await.generation, 0);
    }
    let mut next = 7;
    while next < i64::try_from(10 * MAX_RECORDS).unwrap() {
        let batch = until(&mut consumer, records).await;
        assert_eq!((batch.generation, batch.records[0].offset), (1, next));
        next = batch.records.last().unwrap().offset + 1;
    }
}
