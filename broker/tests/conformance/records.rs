//! Producing and consuming.

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, Timestamp};
use rdkafka::producer::{BaseRecord, Producer};
use rdkafka::topic_partition_list::Offset;

use crate::clients::{DEADLINE, Fixture, assign, hears_something, place, receive};

#[test]
fn what_is_produced_is_consumed_in_order() {
    let fixture = Fixture::with_topic(2);
    fixture.produce("t", 5, &[("acks", "all")]);
    let messages = fixture.read("t", 5, &[]);
    for (i, message) in messages.iter().enumerate() {
        assert_eq!(message.offset(), i64::try_from(i).unwrap());
        assert_eq!(message.payload(), Some(format!("v{i}").as_bytes()));
        assert_eq!(message.key(), Some(format!("k{i}").as_bytes()));
    }
}

#[test]
fn every_compression_arrives() {
    let fixture = Fixture::start();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        fixture.create(codec, 1);
        fixture.produce(codec, 50, &[("compression.codec", codec), ("linger.ms", "20")]);
        let messages = fixture.read(codec, 50, &[]);
        assert_eq!(messages[49].payload(), Some(&b"v49"[..]), "{codec}");
    }
}

#[test]
fn headers_tombstones_and_timestamps_arrive_as_they_were() {
    let fixture = Fixture::with_topic(1);
    let header = |key, value| Header { key, value };
    let headers = OwnedHeaders::new()
        .insert(header("a", Some(&b"1"[..])))
        .insert(header("a", Some(&b"2"[..])))
        .insert(header("null", None))
        .insert(header("binary", Some(&[0, 255, 3][..])));
    let record = BaseRecord::<str, str>::to("t").partition(0).key("k").headers(headers.clone());
    let producer = fixture.producer(&[]);
    producer.send(record.timestamp(1_700_000_000_123)).map_err(|(e, _)| e).unwrap();
    producer.flush(DEADLINE).unwrap();
    let message = fixture.read("t", 1, &[]).remove(0);
    assert_eq!(message.payload(), None);
    assert_eq!(message.timestamp(), Timestamp::CreateTime(1_700_000_000_123));
    let received: Vec<_> = message.headers().unwrap().iter().collect();
    assert_eq!(received, headers.iter().collect::<Vec<_>>());
}

#[test]
fn an_idempotent_producer_keeps_its_order_across_a_restart_of_the_broker() {
    let mut fixture = Fixture::with_topic(1);
    fixture.produce("t", 20, &[("enable.idempotence", "true")]);
    fixture.restart(|_| {});
    fixture.produce("t", 20, &[("enable.idempotence", "true")]);
    let messages = fixture.read("t", 40, &[]);
    assert_eq!(messages[39].offset(), 39);
    assert_eq!(messages[20].payload(), Some(&b"v0"[..]));
}

#[test]
fn a_batch_over_the_topics_limit_is_refused_and_the_topic_goes_on() {
    let fixture = Fixture::with_topic(1);
    let producer = fixture.producer(&[("message.max.bytes", "20000000")]);
    let large = vec![7; 1_500_000];
    producer.send(BaseRecord::<str, [u8]>::to("t").partition(0).payload(&large)).map_err(|(e, _)| e).unwrap();
    producer.flush(DEADLINE).unwrap();
    fixture.produce("t", 1, &[]);
    let messages = fixture.read("t", 1, &[]);
    assert_eq!(messages[0].payload(), Some(&b"v0"[..]));
}

#[test]
fn reading_only_committed_records_reads_everything() {
    let fixture = Fixture::with_topic(1);
    fixture.produce("t", 3, &[]);
    assert_eq!(fixture.read("t", 3, &[("isolation.level", "read_committed")]).len(), 3);
}

#[test]
fn pausing_seeking_and_resuming_work() {
    let fixture = Fixture::with_topic(1);
    fixture.produce("t", 5, &[]);
    let consumer = fixture.consumer("g", &[]);
    assign(&consumer, "t", 0, Offset::Beginning);
    receive(&consumer, 3);
    let partition = place("t", 0, Offset::Invalid);
    consumer.pause(&partition).unwrap();
    assert!(!hears_something(&consumer));
    consumer.seek("t", 0, Offset::Offset(1), DEADLINE).unwrap();
    consumer.resume(&partition).unwrap();
    assert_eq!(receive(&consumer, 1)[0].offset(), 1);
}

#[test]
fn a_waiting_consumer_is_woken_by_a_record() {
    let fixture = Fixture::with_topic(1);
    let consumer = fixture.consumer("g", &[("fetch.wait.max.ms", "9000")]);
    assign(&consumer, "t", 0, Offset::Beginning);
    assert!(!hears_something(&consumer));
    let started = std::time::Instant::now();
    fixture.produce("t", 1, &[]);
    receive(&consumer, 1);
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}

#[test]
fn offsets_are_found_by_time() {
    let fixture = Fixture::with_topic(1);
    let producer = fixture.producer(&[]);
    for i in 0..10 {
        let record = BaseRecord::<str, str>::to("t").partition(0).payload("x").timestamp(1_000 + i * 10);
        producer.send(record).map_err(|(e, _)| e).unwrap();
    }
    producer.flush(DEADLINE).unwrap();
    let consumer = fixture.consumer("g", &[]);
    assert_eq!(consumer.fetch_watermarks("t", 0, DEADLINE).unwrap(), (0, 10));
    let find = |timestamp| {
        let found = consumer.offsets_for_times(place("t", 0, Offset::Offset(timestamp)), DEADLINE).unwrap();
        found.elements()[0].offset()
    };
    assert_eq!(find(0), Offset::Offset(0));
    assert_eq!(find(1_041), Offset::Offset(5));
    assert_eq!(find(2_000), Offset::End);
}

#[test]
fn an_offset_that_is_not_there_is_said_to_be_out_of_range() {
    let fixture = Fixture::with_topic(1);
    fixture.produce("t", 2, &[]);
    let consumer = fixture.consumer("g", &[("auto.offset.reset", "error")]);
    assign(&consumer, "t", 0, Offset::Offset(99));
    let mut error = None;
    crate::clients::until("the error", || {
        error = consumer.poll(DEADLINE).and_then(Result::err);
        error.is_some()
    });
    let code = error.as_ref().and_then(KafkaError::rdkafka_error_code);
    assert_eq!(code, Some(RDKafkaErrorCode::AutoOffsetReset), "{error:?}");
}

#[test]
fn topics_are_created_when_asked_for_unless_that_is_off() {
    let mut fixture = Fixture::start();
    fixture.produce("made", 2, &[]);
    assert_eq!(fixture.read("made", 2, &[]).len(), 2);
    fixture.restart(|config| config.auto_create_topics = false);
    let producer = fixture.producer(&[("message.timeout.ms", "1000")]);
    let client = producer.client();
    let metadata = client.fetch_metadata(Some("not-made"), DEADLINE).unwrap();
    assert!(metadata.topics()[0].error().is_some());
    let metadata = client.fetch_metadata(None, DEADLINE).unwrap();
    let names: Vec<&str> = metadata.topics().iter().map(rdkafka::metadata::MetadataTopic::name).collect();
    assert_eq!(names, ["made"]);
}

#[test]
fn a_restart_keeps_records_and_topics() {
    let mut fixture = Fixture::with_topic(3);
    fixture.produce("t", 100, &[]);
    let cluster = fixture.admin().inner().fetch_cluster_id(DEADLINE).unwrap();
    fixture.restart(|_| {});
    assert_eq!(fixture.read("t", 100, &[]).len(), 100);
    let metadata = fixture.admin().inner().fetch_metadata(Some("t"), DEADLINE).unwrap();
    assert_eq!(metadata.topics()[0].partitions().len(), 3);
    assert_eq!(fixture.admin().inner().fetch_cluster_id(DEADLINE).unwrap(), cluster);
}

#[test]
fn it_works_without_fsync_too() {
    let mut fixture = Fixture::start();
    fixture.restart(|config| config.fsync = false);
    fixture.produce("t", 10, &[]);
    fixture.restart(|config| config.fsync = false);
    assert_eq!(fixture.read("t", 10, &[]).len(), 10);
}
