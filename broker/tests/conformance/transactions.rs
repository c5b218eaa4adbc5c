//! Transactions as librdkafka's producers and consumers see them.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::Offset;

use crate::clients::{DEADLINE, Fixture, assign, hears_something, place, receive, until};

const COMMITTED: [(&str, &str); 1] = [("isolation.level", "read_committed")];
const UNCOMMITTED: [(&str, &str); 1] = [("isolation.level", "read_uncommitted")];

fn transactional(fixture: &Fixture, id: &str, settings: &[(&str, &str)]) -> BaseProducer {
    let producer = fixture.producer(&[&[("transactional.id", id), ("linger.ms", "0")][..], settings].concat());
    producer.init_transactions(DEADLINE).unwrap();
    producer
}

/// Stores the values in partition 0 of "t", and returns when all are acknowledged.
fn send(producer: &BaseProducer, values: &[&str]) {
    for value in values {
        producer.send(BaseRecord::<str, str>::to("t").partition(0).payload(value)).map_err(|(e, _)| e).unwrap();
    }
    producer.flush(DEADLINE).unwrap();
}

fn values(fixture: &Fixture, count: usize, settings: &[(&str, &str)]) -> Vec<String> {
    let text =
        |message: &rdkafka::message::OwnedMessage| String::from_utf8(message.payload().unwrap().to_vec()).unwrap();
    fixture.read("t", count, settings).iter().map(text).collect()
}

fn reader(fixture: &Fixture, settings: &[(&str, &str)]) -> BaseConsumer {
    let consumer = fixture.consumer("reader", settings);
    assign(&consumer, "t", 0, Offset::Beginning);
    consumer
}

fn committed(consumer: &BaseConsumer) -> Offset {
    let found = consumer.committed_offsets(place("t", 0, Offset::Invalid), DEADLINE).unwrap();
    found.elements()[0].offset()
}

fn is_fenced(error: &KafkaError) -> bool {
    let fatal = match error {
        KafkaError::Transaction(error) => error.is_fatal(),
        _ => false,
    };
    fatal && error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fenced)
}

#[test]
fn committed_records_are_read_once_and_in_order() {
    let fixture = Fixture::with_topic(1);
    let producer = transactional(&fixture, "x", &[]);
    for round in [["a", "b"], ["c", "d"], ["e", "f"]] {
        producer.begin_transaction().unwrap();
        send(&producer, &round);
        producer.commit_transaction(DEADLINE).unwrap();
    }
    let consumer = reader(&fixture, &COMMITTED);
    let messages = receive(&consumer, 6);
    let offsets: Vec<i64> = messages.iter().map(Message::offset).collect();
    // Each commit takes one offset for its marker.
    assert_eq!(offsets, [0, 1, 3, 4, 6, 7]);
    assert!(!hears_something(&consumer));
    assert_eq!(consumer.fetch_watermarks("t", 0, DEADLINE).unwrap(), (0, 9));
}

#[test]
fn aborted_records_are_hidden_from_who_reads_committed_ones() {
    let fixture = Fixture::with_topic(1);
    let producer = transactional(&fixture, "x", &[]);
    producer.begin_transaction().unwrap();
    send(&producer, &["gone-1", "gone-2"]);
    producer.abort_transaction(DEADLINE).unwrap();
    producer.begin_transaction().unwrap();
    send(&producer, &["kept"]);
    producer.commit_transaction(DEADLINE).unwrap();
    assert_eq!(values(&fixture, 1, &COMMITTED), ["kept"]);
    assert_eq!(values(&fixture, 3, &UNCOMMITTED), ["gone-1", "gone-2", "kept"]);
}

#[test]
fn an_open_transaction_holds_back_who_reads_committed_records_until_it_ends() {
    let fixture = Fixture::with_topic(1);
    let producer = transactional(&fixture, "x", &[]);
    producer.begin_transaction().unwrap();
    send(&producer, &["first"]);
    fixture.produce("t", 1, &[]);
    let waiting = reader(&fixture, &COMMITTED);
    assert!(!hears_something(&waiting));
    assert_eq!(receive(&reader(&fixture, &UNCOMMITTED), 2).len(), 2);
    producer.commit_transaction(DEADLINE).unwrap();
    let payloads: Vec<_> = receive(&waiting, 2).iter().map(|message| message.payload().unwrap().to_vec()).collect();
    assert_eq!(payloads, [b"first".to_vec(), b"v0".to_vec()]);
}

#[test]
fn a_waiting_reader_of_committed_records_is_woken_by_the_commit() {
    let fixture = Fixture::with_topic(1);
    fixture.produce("t", 1, &[]);
    let producer = transactional(&fixture, "x", &[]);
    producer.begin_transaction().unwrap();
    send(&producer, &["first"]);
    let waiting = reader(&fixture, &[COMMITTED[0], ("fetch.wait.max.ms", "9000")]);
    // From here on its requests wait at the broker.
    receive(&waiting, 1);
    assert!(!hears_something(&waiting));
    let started = Instant::now();
    producer.commit_transaction(DEADLINE).unwrap();
    receive(&waiting, 1);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn the_end_of_a_partition_is_where_the_reader_can_get_to() {
    let fixture = Fixture::with_topic(1);
    fixture.produce("t", 2, &[]);
    let producer = transactional(&fixture, "x", &[]);
    producer.begin_transaction().unwrap();
    send(&producer, &["open"]);
    let end = |settings| reader(&fixture, settings).fetch_watermarks("t", 0, DEADLINE).unwrap().1;
    assert_eq!((end(&COMMITTED), end(&UNCOMMITTED)), (2, 3));
    producer.abort_transaction(DEADLINE).unwrap();
    assert_eq!((end(&COMMITTED), end(&UNCOMMITTED)), (4, 4));
}

#[test]
fn offsets_sent_to_a_transaction_are_committed_with_it() {
    let mut fixture = Fixture::with_topic(1);
    fixture.produce("t", 3, &[]);
    let consumer = fixture.consumer("g", &[]);
    consumer.subscribe(&["t"]).unwrap();
    receive(&consumer, 3);
    let producer = transactional(&fixture, "x", &[]);
    producer.begin_transaction().unwrap();
    let metadata = consumer.group_metadata().unwrap();
    producer.send_offsets_to_transaction(&place("t", 0, Offset::Offset(2)), &metadata, DEADLINE).unwrap();
    // Who does not ask for stable offsets sees what is committed so far: nothing.
    assert_eq!(committed(&fixture.consumer("g", &UNCOMMITTED)), Offset::Invalid);
    producer.commit_transaction(DEADLINE).unwrap();
    assert_eq!(committed(&consumer), Offset::Offset(2));
    drop((consumer, producer));
    fixture.restart(|_| {});
    assert_eq!(committed(&fixture.consumer("g", &[])), Offset::Offset(2));
}

#[test]
fn offsets_of_an_aborted_transaction_vanish() {
    let fixture = Fixture::with_topic(1);
    fixture.produce("t", 3, &[]);
    let consumer = fixture.consumer("g", &[]);
    consumer.commit(&place("t", 0, Offset::Offset(1)), CommitMode::Sync).unwrap();
    let producer = transactional(&fixture, "x", &[]);
    producer.begin_transaction().unwrap();
    let metadata = consumer.group_metadata().unwrap();
    producer.send_offsets_to_transaction(&place("t", 0, Offset::Offset(3)), &metadata, DEADLINE).unwrap();
    producer.abort_transaction(DEADLINE).unwrap();
    assert_eq!(committed(&consumer), Offset::Offset(1));
}

#[test]
fn who_reads_committed_offsets_waits_for_the_transaction_that_changes_them() {
    let fixture = Fixture::with_topic(1);
    let producer = transactional(&fixture, "x", &[]);
    producer.begin_transaction().unwrap();
    let consumer = fixture.consumer("g", &COMMITTED);
    let metadata = consumer.group_metadata().unwrap();
    producer.send_offsets_to_transaction(&place("t", 0, Offset::Offset(3)), &metadata, DEADLINE).unwrap();
    let asked = place("t", 0, Offset::Invalid);
    let early = consumer.committed_offsets(asked, Duration::from_millis(300)).unwrap_err();
    assert!(
        matches!(
            early.rdkafka_error_code(),
            Some(RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::UnstableOffsetCommit)
        ),
        "{early}"
    );
    producer.commit_transaction(DEADLINE).unwrap();
    assert_eq!(committed(&consumer), Offset::Offset(3));
}

#[test]
fn a_second_producer_of_the_same_id_fences_the_first_and_aborts_what_it_had_open() {
    let fixture = Fixture::with_topic(1);
    let zombie = transactional(&fixture, "x", &[]);
    zombie.begin_transaction().unwrap();
    send(&zombie, &["zombie"]);
    let heir = transactional(&fixture, "x", &[]);
    let error = zombie.commit_transaction(DEADLINE).unwrap_err();
    assert!(is_fenced(&error), "{error:?}");
    heir.begin_transaction().unwrap();
    send(&heir, &["heir"]);
    heir.commit_transaction(DEADLINE).unwrap();
    assert_eq!(values(&fixture, 1, &COMMITTED), ["heir"]);
}

#[test]
fn a_fenced_producer_cannot_write_another_record() {
    let fixture = Fixture::with_topic(1);
    let zombie = transactional(&fixture, "x", &[]);
    zombie.begin_transaction().unwrap();
    send(&zombie, &["before"]);
    let _heir = transactional(&fixture, "x", &[]);
    zombie.send(BaseRecord::<str, str>::to("t").partition(0).payload("after")).map_err(|(e, _)| e).unwrap();
    until("the zombie to notice", || {
        zombie.poll(Duration::from_millis(10));
        zombie.client().fatal_error().is_some()
    });
    let (code, _) = zombie.client().fatal_error().unwrap();
    assert_eq!(code, RDKafkaErrorCode::Fenced);
    assert_eq!(values(&fixture, 1, &UNCOMMITTED), ["before"]);
    // The zombie's record, the marker of its end.
    assert_eq!(reader(&fixture, &UNCOMMITTED).fetch_watermarks("t", 0, DEADLINE).unwrap().1, 2);
}

#[test]
fn a_dead_producers_transaction_is_aborted_after_its_timeout() {
    let fixture = Fixture::with_topic(1);
    let short = [("transaction.timeout.ms", "1000"), ("socket.timeout.ms", "1000"), ("message.timeout.ms", "1000")];
    let dead = transactional(&fixture, "x", &short);
    dead.begin_transaction().unwrap();
    send(&dead, &["dead"]);
    fixture.produce("t", 1, &[]);
    let started = Instant::now();
    assert_eq!(values(&fixture, 1, &COMMITTED), ["v0"]);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let error = dead.commit_transaction(DEADLINE).unwrap_err();
    assert!(is_fenced(&error), "{error:?}");
}

#[test]
fn a_transaction_timeout_beyond_the_brokers_is_refused_at_once() {
    let mut fixture = Fixture::with_topic(1);
    fixture.restart(|config| config.max_transaction_timeout = Duration::from_secs(5));
    let producer = fixture.producer(&[("transactional.id", "x"), ("transaction.timeout.ms", "20000")]);
    let error = producer.init_transactions(DEADLINE).unwrap_err();
    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::InvalidTransactionTimeout), "{error}");
}

#[test]
fn a_transaction_goes_on_after_a_restart_of_the_broker() {
    let mut fixture = Fixture::with_topic(1);
    let address = fixture.broker.as_ref().unwrap().address();
    let producer = transactional(&fixture, "x", &[("reconnect.backoff.max.ms", "200")]);
    producer.begin_transaction().unwrap();
    send(&producer, &["before"]);
    fixture.restart(|config| config.listen = address);
    assert!(!hears_something(&reader(&fixture, &COMMITTED)));
    send(&producer, &["after"]);
    producer.commit_transaction(DEADLINE).unwrap();
    assert_eq!(values(&fixture, 2, &COMMITTED), ["before", "after"]);
}

#[test]
fn after_a_restart_a_new_producer_aborts_what_its_predecessor_had_open() {
    let mut fixture = Fixture::with_topic(1);
    let lost = transactional(&fixture, "x", &[]);
    lost.begin_transaction().unwrap();
    send(&lost, &["lost"]);
    drop(lost);
    fixture.restart(|_| {});
    let heir = transactional(&fixture, "x", &[]);
    heir.begin_transaction().unwrap();
    send(&heir, &["heir"]);
    heir.commit_transaction(DEADLINE).unwrap();
    assert_eq!(values(&fixture, 1, &COMMITTED), ["heir"]);
}

/// Four producers one after the other, each with up to three transactions; gives the values that were committed.
fn race(name: &str, config: &ClientConfig) -> Vec<String> {
    let mut done = Vec::new();
    for life in 0..4 {
        let producer: BaseProducer = config.create().unwrap();
        if producer.init_transactions(DEADLINE).is_err() {
            continue;
        }
        for round in 0..3 {
            let value = format!("{name}-{life}-{round}");
            let record = BaseRecord::<str, str>::to("t").partition(0).payload(&value);
            let written = producer.begin_transaction().and_then(|()| producer.send(record).map_err(|(error, _)| error));
            if written.and_then(|()| producer.commit_transaction(DEADLINE)).is_err() {
                break;
            }
            done.push(value);
        }
    }
    done
}

#[test]
fn of_two_producers_that_race_for_one_id_every_acknowledged_transaction_is_there_once() {
    let fixture = Fixture::with_topic(1);
    let mut config = fixture.config();
    config.set("transactional.id", "x").set("linger.ms", "0");
    let racers = ["left", "right"].map(|name| {
        let config = config.clone();
        std::thread::spawn(move || race(name, &config))
    });
    let acknowledged: Vec<String> = racers.into_iter().flat_map(|racer| racer.join().unwrap()).collect();
    assert!(!acknowledged.is_empty());
    // The last life of one of them came through, and behind it nothing is open.
    let end = transactional(&fixture, "x", &[]);
    end.begin_transaction().unwrap();
    send(&end, &["end"]);
    end.commit_transaction(DEADLINE).unwrap();
    let consumer = reader(&fixture, &COMMITTED);
    let mut seen = Vec::new();
    until("the last record", || {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(20)) {
            seen.push(String::from_utf8(message.payload().unwrap().to_vec()).unwrap());
        }
        seen.last().is_some_and(|value| value == "end")
    });
    for value in &acknowledged {
        assert_eq!(seen.iter().filter(|seen| *seen == value).count(), 1, "{value} in {seen:?}");
    }
    let mut unique = seen.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), seen.len(), "{seen:?}");
}

#[test]
fn many_aborted_transactions_between_committed_ones_are_all_skipped() {
    let mut fixture = Fixture::with_topic(1);
    let producer = transactional(&fixture, "x", &[]);
    for round in 0..10 {
        producer.begin_transaction().unwrap();
        send(&producer, &["gone"]);
        producer.abort_transaction(DEADLINE).unwrap();
        producer.begin_transaction().unwrap();
        send(&producer, &[&format!("kept-{round}")]);
        producer.commit_transaction(DEADLINE).unwrap();
    }
    let expected: Vec<String> = (0..10).map(|round| format!("kept-{round}")).collect();
    assert_eq!(values(&fixture, 10, &COMMITTED), expected);
    fixture.restart(|_| {});
    assert_eq!(values(&fixture, 10, &[COMMITTED[0], ("fetch.message.max.bytes", "200")]), expected);
}
