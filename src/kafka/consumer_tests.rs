//! The consumer's thread against an embedded broker, with a sink loop that is played by the test.

use std::path::Path;

use pipette_api::{ConfigMap, Wish};
use pipette_broker::{Broker, BrokerConfig};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::watch;

use super::super::properties;
use super::*;

/// How long anything here may take.
const LONG: Duration = Duration::from_secs(20);
const EARLIEST: [(&str, &str); 1] = [("auto.offset.reset", "earliest")];

/// A consumer of the topic `t`, which has so many records.
fn consume(folder: &Path, reset: &str, count: usize) -> (Broker, watch::Sender<Wish>, ClientProperties, TaskConsumer) {
    consume_by(DirectFetch::Auto, folder, &[("auto.offset.reset", reset)], count)
}

/// The same, with partitions read from their leaders or not, and what is to be overridden.
fn consume_by(
    direct: DirectFetch,
    folder: &Path,
    overridden: &[(&str, &str)],
    count: usize,
) -> (Broker, watch::Sender<Wish>, ClientProperties, TaskConsumer) {
    let broker = Broker::start(BrokerConfig::on_any_port(folder.join("broker"))).unwrap();
    let worker = ConfigMap::from([("bootstrap.servers".to_owned(), broker.address().to_string())]);
    send(&broker, count);
    let overridden = overridden.iter().map(|(key, value)| (format!("consumer.override.{key}"), (*value).to_owned()));
    let connector: ConfigMap = overridden.collect();
    let properties = properties::consumer(&worker, &connector, "c", "connect-c").unwrap();
    let (wish, wished) = watch::channel(Wish::Run);
    let topics = Subscription::Topics(vec!["t".into()]);
    let consumer =
        TaskConsumer::start((&properties, direct), &topics, "c-0", Share::ample("c"), Signal::new(wished)).unwrap();
    (broker, wish, properties, consumer)
}

fn client(broker: &Broker) -> ClientConfig {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", broker.address().to_string()).set("batch.num.messages", "100");
    client
}

/// So many records more.
fn send(broker: &Broker, count: usize) {
    let producer: BaseProducer = client(broker).create().unwrap();
    for _ in 0..count {
        producer.send(BaseRecord::<str, str>::to("t").payload("v").partition(0)).unwrap();
    }
    producer.flush(Duration::from_secs(10)).unwrap();
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
    tokio::time::timeout(LONG, events).await.expect("the event")
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

#[tokio::test]
async fn settings_that_the_client_refuses_are_a_clear_error() {
    let refused = [("max.poll.interval.ms", "1000"), ("session.timeout.ms", "45000"), ("group.id", "c")];
    let properties = refused.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect();
    let topics = Subscription::Topics(vec!["t".into()]);
    let (_wish, wished) = watch::channel(Wish::Run);
    for direct in [DirectFetch::Never, DirectFetch::Auto] {
        let share = Share::ample("c");
        let started = TaskConsumer::start((&properties, direct), &topics, "c-0", share, Signal::new(wished.clone()));
        let error = started.err().expect("refused").to_string();
        assert!(error.contains("max.poll.interval.ms"), "{error}");
    }
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
    for direct in [DirectFetch::Never, DirectFetch::Always] {
        generations(direct).await;
    }
}

async fn generations(direct: DirectFetch) {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, _wish, _, mut consumer) = consume_by(direct, folder.path(), &EARLIEST, 10 * MAX_RECORDS);
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
    tokio::time::timeout(LONG, full).await.expect("a full channel");
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

/// The offsets of the next records, until so many have come; nothing else may happen.
async fn offsets(consumer: &mut TaskConsumer, count: usize) -> Vec<i64> {
    let mut offsets = Vec::new();
    while offsets.len() < count {
        let batch = until(consumer, |event| match event {
            ConsumerEvent::Records(batch) => Some(batch),
            other => panic!("{other:?}"),
        });
        offsets.extend(batch.await.records.iter().map(|record| record.offset));
    }
    offsets
}

/// How many connections statistics tell of, once they have stayed the same for a while.
async fn connections(consumer: &TaskConsumer) -> i64 {
    let (told, heard) = std_mpsc::channel();
    consumer.contact.tell(Some(Box::new(move |[_, _, connections, _]| {
        let _ = told.send(connections);
    })));
    let steady = move || {
        let statistics: Vec<i64> = std::iter::from_fn(|| heard.recv_timeout(LONG).ok()).take(4).collect();
        assert!(statistics.len() == 4 && statistics[2] == statistics[3], "{statistics:?}");
        statistics[3]
    };
    tokio::task::spawn_blocking(steady).await.unwrap()
}

#[tokio::test]
async fn busy_partitions_are_read_over_a_connection_of_their_own() {
    let mut found = Vec::new();
    for direct in [DirectFetch::Never, DirectFetch::Auto, DirectFetch::Always] {
        let folder = tempfile::tempdir().unwrap();
        let count = if direct == DirectFetch::Always { 10 } else { 20 * MAX_RECORDS };
        let (_broker, _wish, _, mut consumer) = consume_by(direct, folder.path(), &EARLIEST, count);
        let seen = offsets(&mut consumer, count).await;
        assert!(seen.iter().copied().eq(0..i64::try_from(count).unwrap()), "{direct:?}");
        found.push(connections(&consumer).await);
    }
    assert_eq!(found, [found[0], found[0] + 1, found[0] + 1]);
}

/// What waits in the channel comes, and then nothing more.
async fn drain(consumer: &mut TaskConsumer, seen: &mut Vec<i64>) {
    let rest = async {
        loop {
            seen.extend(offsets(consumer, 1).await);
        }
    };
    assert!(tokio::time::timeout(Duration::from_millis(500), rest).await.is_err());
}

#[tokio::test]
async fn who_is_paused_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let count = 40 * MAX_RECORDS;
    let (_broker, _wish, _, mut consumer) = consume_by(DirectFetch::Always, folder.path(), &EARLIEST, count);
    let tp = vec![TopicPartition::new("t", 0)];
    let mut seen = Vec::new();
    let pauses = [
        (ConsumerCommand::Hold, ConsumerCommand::GoOn),
        (ConsumerCommand::Pause(tp.clone()), ConsumerCommand::Resume(tp)),
    ];
    for (pause, go_on) in pauses {
        seen.extend(offsets(&mut consumer, 6 * MAX_RECORDS).await);
        consumer.commands.send(pause).unwrap();
        drain(&mut consumer, &mut seen).await;
        assert!(seen.len() < count, "it is paused");
        consumer.commands.send(go_on).unwrap();
    }
    seen.extend(offsets(&mut consumer, count - seen.len()).await);
    assert!(seen.into_iter().eq(0..i64::try_from(count).unwrap()));
}

#[tokio::test]
async fn a_partition_that_is_added_is_read_when_metadata_is_as_old_as_it_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [("metadata.max.age.ms", "200")];
    let (broker, _wish, _, mut consumer) = consume_by(DirectFetch::Auto, folder.path(), &keys, 1);
    assert_eq!(offsets(&mut consumer, 1).await, [0]);
    let admin: AdminClient<DefaultClientContext> = client(&broker).create().unwrap();
    admin.create_partitions(&[NewPartitions::new("t", 2)], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    let producer: BaseProducer = client(&broker).create().unwrap();
    producer.send(BaseRecord::<str, str>::to("t").payload("v").partition(1)).unwrap();
    producer.flush(Duration::from_secs(10)).unwrap();
    let commands = consumer.commands.clone();
    until(&mut consumer, |event| match event {
        ConsumerEvent::Records(batch) => batch.records.iter().any(|record| record.tp.partition == 1).then_some(()),
        ConsumerEvent::Revoked(_) => {
            commands.send(ConsumerCommand::Closed(Offsets::new())).unwrap();
            None
        }
        other => panic!("{other:?}"),
    })
    .await;
}

/// What stands in front of this offset is deleted.
async fn cut(broker: &Broker, before: i64) {
    let admin: AdminClient<DefaultClientContext> = client(broker).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset("t", 0, Offset::Offset(before)).unwrap();
    admin.delete_records(&list, &AdminOptions::new()).await.unwrap().elements()[0].error().unwrap();
}

struct Overtaken {
    consumer: TaskConsumer,
    broker: Broker,
    _wish: watch::Sender<Wish>,
    _folder: tempfile::TempDir,
}

/// A consumer that has seen the beginning, is behind or paused, and finds deleted what it would read next; what it has seen.
async fn overtaken(reset: &str, paused: bool) -> (Overtaken, Vec<i64>) {
    let folder = tempfile::tempdir().unwrap();
    let keys = [("auto.offset.reset", reset), ("max.partition.fetch.bytes", "1000")];
    let (broker, wish, _, mut consumer) = consume_by(DirectFetch::Always, folder.path(), &keys, 10_000);
    let given = tokio::time::timeout(LONG, consumer.events.recv()).await.expect("partitions");
    assert!(matches!(given, Some(ConsumerEvent::Assigned(_))), "{given:?}");
    let begin = Seeks::from([(TopicPartition::new("t", 0), 0)]);
    consumer.commands.send(ConsumerCommand::Opened(begin)).unwrap();
    let mut seen = offsets(&mut consumer, 2 * MAX_RECORDS).await;
    if paused {
        consumer.commands.send(ConsumerCommand::Hold).unwrap();
        drain(&mut consumer, &mut seen).await;
    }
    cut(&broker, 9_000).await;
    if paused {
        consumer.commands.send(ConsumerCommand::GoOn).unwrap();
    }
    (Overtaken { consumer, broker, _wish: wish, _folder: folder }, seen)
}

/// That it is in one piece up to some offset, and then from this one on.
fn assert_a_gap_before(from: i64, seen: &[i64]) {
    let gap = seen.iter().zip(0..).take_while(|(offset, expected)| *offset == expected).count();
    assert!((2 * MAX_RECORDS..9_000).contains(&gap), "{gap}: it is overtaken");
    assert!(seen[gap..].iter().copied().eq((from..).take(seen.len() - gap)), "{:?}", &seen[gap..]);
}

#[tokio::test]
async fn who_is_overtaken_by_a_deletion_goes_on_with_what_is_left() {
    for paused in [false, true] {
        let (mut scene, mut seen) = overtaken("earliest", paused).await;
        while seen.last() != Some(&9_999) {
            seen.extend(offsets(&mut scene.consumer, 1).await);
        }
        assert_a_gap_before(9_000, &seen);
    }
}

#[tokio::test]
async fn who_is_overtaken_by_a_deletion_and_wants_the_latest_goes_on_with_what_comes() {
    for paused in [false, true] {
        let (mut scene, mut seen) = overtaken("latest", paused).await;
        let deadline = Instant::now() + LONG;
        while seen.last().is_none_or(|last| *last < 10_000) {
            assert!(Instant::now() < deadline, "{:?}", seen.last());
            send(&scene.broker, 1);
            let next = tokio::time::timeout(Duration::from_millis(100), offsets(&mut scene.consumer, 1));
            seen.extend(next.await.into_iter().flatten());
        }
        let first = seen.iter().copied().find(|offset| *offset >= 9_000).unwrap();
        assert!(first >= 10_000, "{first}");
        assert_a_gap_before(first, &seen);
    }
}

#[tokio::test]
async fn who_is_overtaken_by_a_deletion_and_wants_no_reset_ends() {
    for paused in [false, true] {
        let (mut scene, _) = overtaken("none", paused).await;
        let failed = until(&mut scene.consumer, |event| match event {
            ConsumerEvent::Failed(error) => Some(error.to_string()),
            ConsumerEvent::Records(batch) => {
                assert!(batch.records.iter().all(|record| record.offset < 9_000), "{batch:?}");
                None
            }
            other => panic!("{other:?}"),
        });
        let error = failed.await;
        assert!(error.contains("auto.offset.reset=none"), "{error}");
    }
}
