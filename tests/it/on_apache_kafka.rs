//! Proofs on Apache Kafka 4.3.1. `./test --quick` leaves this module out by its name.

use std::collections::BTreeMap;
use std::time::Duration;

use pipette::kafka::loop_bench::{TopicSize, bare_consumer_loop, bare_producer_loop};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::support::kafka::ApacheKafka;
use crate::support::topic;

/// The ground the other proofs stand on: what is produced is read back, all of it and in order.
#[test]
fn the_broker_keeps_what_it_is_given() {
    let kafka = ApacheKafka::shared();
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", kafka.bootstrap()).create().expect("a producer");
    let sent: Vec<String> = (0..500).map(|n| format!("record {n}")).collect();
    for value in &sent {
        producer.send(BaseRecord::<(), str>::to("ground").partition(0).payload(value)).expect("it is taken");
    }
    producer.flush(Duration::from_secs(30)).expect("it is delivered");
    assert_eq!(topic::values(&kafka.bootstrap(), "ground"), sent);
}

/// The benchmarks compare with these loops: one must deliver every line once, more of them than librdkafka's queue holds,
/// the other read them all.
#[test]
fn the_bare_loops_of_bench_deliver_and_read_every_line() {
    let kafka = ApacheKafka::shared();
    let lines: Vec<String> = (0..120_000).map(|n| format!("line {n}")).collect();
    let properties = BTreeMap::from(
        [("bootstrap.servers", kafka.bootstrap().as_str()), ("enable.idempotence", "true"), ("linger.ms", "5")]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    let size = TopicSize::watch(&kafka.bootstrap(), "bare-loop").expect("a client");
    assert_eq!(size.records().expect("an answer"), 0, "a topic that is not there yet");
    bare_producer_loop(&properties, "bare-loop", lines.iter().map(String::as_bytes)).expect("all are delivered");
    assert_eq!(size.records().expect("an answer"), 120_000);
    assert_eq!(topic::values(&kafka.bootstrap(), "bare-loop"), lines);
    let properties = BTreeMap::from(
        [("bootstrap.servers", kafka.bootstrap().as_str()), ("group.id", "bare-loop")]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    let reading = bare_consumer_loop(&properties, "bare-loop", 120_000).expect("all are read");
    assert!(reading > Duration::ZERO);
    let error = bare_consumer_loop(&properties, "bare-loop-of-nobody", 1).unwrap_err();
    assert!(format!("{error:#}").contains("bare-loop-of-nobody"), "{error:#}");
}

/// The loop must not report success for what Kafka refused.
#[test]
fn the_bare_loop_of_bench_says_what_was_not_delivered() {
    let kafka = ApacheKafka::shared();
    let properties = BTreeMap::from([
        ("bootstrap.servers".to_owned(), kafka.bootstrap()),
        ("message.max.bytes".to_owned(), "5000000".to_owned()),
    ]);
    // Above the broker's 1 MiB: refused by the broker, not by the client.
    let line = vec![b'x'; 2_000_000];
    let error = bare_producer_loop(&properties, "bare-loop-refused", std::iter::once(line.as_slice())).unwrap_err();
    assert!(error.to_string().contains("1 records were not delivered"), "{error:#}");
}

/// Transactions of a worker that dies in the middle of them: what its next start finds is Apache's doing.
#[test]
fn a_worker_that_is_killed_in_mid_transaction_delivers_every_line_once() {
    let folder = tempfile::tempdir().expect("a folder");
    crate::offsets_topic::every_line_once(folder.path(), &ApacheKafka::shared().bootstrap());
}
