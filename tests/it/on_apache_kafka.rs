//! Proofs on Apache Kafka 4.3.1. `./test --quick` leaves this module out by its name.

mod holes;
mod large;
mod secured;
mod swap;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use pipette::kafka::loop_bench::{TopicSize, bare_consumer_loop, bare_producer_loop};
use pipette::kafka::producer::{Outgoing, Sent, TaskProducer};
use pipette_api::ErrorKind;
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use crate::support::kafka::ApacheKafka;
use crate::support::worker::Worker;
use crate::support::{topic, wait};

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

const ROWS: usize = 200_000;

fn is_bad(row: usize) -> bool {
    row % 100 == 42
}

/// One percent of poison while the worker is killed: every bad record has its letter, every good one is in the file, and
/// no letter is of a good one.
#[test]
fn a_worker_that_is_killed_loses_no_dead_letter() {
    let kafka = ApacheKafka::shared();
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", kafka.bootstrap())
        .set("linger.ms", "20")
        .set("queue.buffering.max.messages", "1000000")
        .create()
        .expect("a producer");
    for row in 0..ROWS {
        let value = if is_bad(row) { format!("{{\"row\":{row}") } else { row.to_string() };
        producer
            .send(BaseRecord::<str, str>::to("poisoned").key(&row.to_string()).payload(&value))
            .expect("it is taken");
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_secs(30)).expect("all are delivered");

    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.txt");
    let session = [("consumer.session.timeout.ms", "2000"), ("consumer.heartbeat.interval.ms", "500")];
    let mut worker = Worker::prepare(folder.path(), &kafka.bootstrap(), &session);
    worker.start();
    let config = json!({"connector.class": "FileStreamSink", "topics": "poisoned", "file": out,
        "value.converter": "JsonConverter", "value.converter.schemas.enable": "false", "errors.tolerance": "all",
        "errors.deadletterqueue.topic.name": "poisoned-dead",
        "errors.deadletterqueue.context.headers.enable": "true"});
    assert_eq!(worker.rest().put("/connectors/poison/config", &config).expect("an answer").status, 201);
    let good = (0..ROWS).filter(|row| !is_bad(*row)).count();
    let group = topic::Group::watch(&kafka.bootstrap(), "connect-poison", "poisoned");
    for part in 1..=3 {
        until_lines(&out, good * part / 4);
        worker.kill();
        println!("killed at offset {} of {ROWS}", group.committed());
        worker.start();
    }
    until_lines(&out, good);
    wait::until("the last commit", Duration::from_mins(1), || match group.committed() {
        committed if committed == ROWS as u64 => Ok(()),
        committed => Err(format!("{committed}")),
    });
    let status = worker.rest().get("/connectors/poison/status").expect("an answer").body;
    assert_eq!(status["tasks"][0]["state"], "RUNNING", "{status}");
    assert!(worker.stop().success());

    let letters = topic::records(&kafka.bootstrap(), "poisoned-dead");
    let rows: BTreeSet<usize> = letters.iter().map(|letter| letter.key.as_ref().unwrap().parse().unwrap()).collect();
    assert!(rows.iter().copied().eq((0..ROWS).filter(|row| is_bad(*row))), "{} letters", rows.len());
    // Those of Apache's worker (tests/java/recorded), in its order.
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java/recorded/dlq-record.json");
    let recorded: Value = serde_json::from_str(&std::fs::read_to_string(recorded).expect("it is there")).expect("JSON");
    let javas: Vec<_> = recorded["headers"].as_array().unwrap()[2..].iter().map(|header| header[0].clone()).collect();
    assert!(letters.iter().all(|letter| letter.headers.iter().map(|(name, _)| name).eq(&javas)), "{:?}", letters[0]);
    println!("{} letters for {} bad records", letters.len(), rows.len());
}

fn until_lines(path: &Path, count: usize) {
    wait::until("the good rows", Duration::from_mins(1), || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let found = text.lines().collect::<BTreeSet<_>>().len();
        if found >= count { Ok(()) } else { Err(format!("{found}")) }
    });
}

/// Transactions of a worker that dies in the middle of them: what its next start finds is Apache's doing.
#[test]
fn a_worker_that_is_killed_in_mid_transaction_delivers_every_line_once() {
    let folder = tempfile::tempdir().expect("a folder");
    crate::offsets_topic::every_line_once(folder.path(), &ApacheKafka::shared().bootstrap());
}

/// Kafka still ends the transaction before when the next one begins: an abort must not overtake that.
#[test]
fn a_transaction_may_be_dropped_right_behind_another() {
    let config = [("bootstrap.servers", ApacheKafka::shared().bootstrap()), ("transactional.id", "dropped".to_owned())];
    let producer = TaskProducer::start(&config.map(|(key, value)| (key.to_owned(), value)).into()).expect("a producer");
    let send = |value: &str| {
        producer.begin_transaction().expect("it begins");
        let record = Outgoing {
            topic: "dropped",
            partition: None,
            key: None,
            value: Some(value.as_bytes()),
            headers: &Vec::new(),
            timestamp: None,
        };
        assert!(matches!(producer.send(&record, 1), Ok(Sent::Queued)));
        producer.nudge();
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        // A broker that has just started asks to be called again.
        let mut calls = 0;
        while let Err(error) = producer.init_transactions().await {
            calls += 1;
            assert!(error.kind() == ErrorKind::Retriable && calls < 30, "{error}");
        }
        for _ in 0..20 {
            send("kept");
            producer.commit_transaction().await.expect("it is committed");
            send("dropped");
            producer.abort_transaction().await.expect("it is dropped");
        }
    });
    let kept = topic::committed(&ApacheKafka::shared().bootstrap(), "dropped");
    assert_eq!(kept.iter().filter_map(|record| record.value.as_deref()).collect::<Vec<_>>(), ["kept"; 20]);
}
