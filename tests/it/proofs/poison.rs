//! One percent of bad records, at random places of three partitions, through a sink.
//!
//! With `errors.tolerance=all` every bad record has one letter, which says where it stood, no good record has one, and the
//! good ones are in the sink's file once and in order. With `none` the task fails once, at a bad record that it names.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::{Headers, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};

use super::frame::{Proof, Round};
use super::tally::Tally;
use crate::checker::{Handed, row};
use crate::support::kafka::ApacheKafka;
use crate::support::worker::{DIRECT, Worker};
use crate::support::{topic, wait};
use pipette_kit::Dice;

const PROOF: Proof = Proof { name: "poison", rounds: 1 };
const PARTITIONS: usize = 3;
/// A sink that makes no progress for so long has stopped.
const REST: Duration = Duration::from_secs(30);

#[test]
#[ignore = "a minute; the command stands in the module's head"]
fn long() {
    PROOF.long(|round| play(round, 1_000_000));
}

#[test]
fn short() {
    PROOF.short(|round| play(round, 60_000));
}

/// What went into the topic: of each partition the offsets of its bad records, and how many good ones it has.
struct Poured {
    topic: String,
    good: Handed,
    bad: Handed,
    bad_offsets: Vec<Vec<usize>>,
}

fn play(round: &mut Round, records: usize) -> Tally {
    let kafka = ApacheKafka::shared();
    let bootstrap = kafka.bootstrap();
    let poured = pour(&bootstrap, &format!("poison-{}-{records}", round.number), records, &mut round.dice);
    let folder = tempfile::tempdir().expect("a folder");
    let mut worker = Worker::prepare(folder.path(), &bootstrap, &[DIRECT]);
    worker.start();
    let mut tally = Tally::default();
    tally.add("records", records);
    tolerated(&poured, &worker, folder.path(), &bootstrap, &mut tally);
    refused(&poured, &worker, folder.path(), &bootstrap, &mut tally);
    assert!(worker.stop().success());
    tally
}

/// Good rows are JSON strings; bad ones lack their end. Files 0 to 2 are the good rows of the partitions, 3 to 5 the bad.
fn pour(bootstrap: &str, topic: &str, records: usize, dice: &mut Dice) -> Poured {
    topic::create(bootstrap, topic, i32::try_from(PARTITIONS).unwrap(), &[]);
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("linger.ms", "20").set("queue.buffering.max.messages", "2000000");
    let producer: BaseProducer = config.set("queue.buffering.max.kbytes", "1000000").create().expect("a producer");
    let mut counts = [0; 2 * PARTITIONS];
    let mut bad_offsets = vec![Vec::new(); PARTITIONS];
    for n in 0..records {
        let partition = n % PARTITIONS;
        let bad = dice.below(100) == 0;
        let file = if bad { PARTITIONS + partition } else { partition };
        let text = row(file, counts[file]);
        if bad {
            bad_offsets[partition].push(counts[partition] + counts[file]);
        }
        counts[file] += 1;
        let value = if bad { format!("\"{text}") } else { format!("\"{text}\"") };
        let record = BaseRecord::<str, str>::to(topic).key("k").payload(&value);
        producer.send(record.partition(i32::try_from(partition).unwrap())).expect("it is taken");
    }
    producer.flush(Duration::from_mins(1)).expect("all are delivered");
    let handed = Handed { rows: counts.to_vec() };
    let (good, bad) = (handed.only(0..PARTITIONS), handed.only(PARTITIONS..2 * PARTITIONS));
    Poured { topic: topic.to_owned(), good, bad, bad_offsets }
}

fn create(worker: &Worker, name: &str, poured: &Poured, file: &Path, tolerance: &str) {
    let config = json!({
        "connector.class": "FileStreamSink", "topics": poured.topic, "file": file, "tasks.max": "1",
        "value.converter": "JsonConverter", "value.converter.schemas.enable": "false",
        "errors.tolerance": tolerance, "errors.deadletterqueue.topic.name": letters(name),
        "errors.deadletterqueue.topic.replication.factor": "1", "errors.deadletterqueue.context.headers.enable": "true",
    });
    let answer = worker.rest().put(&format!("/connectors/{name}/config"), &config).expect("an answer");
    assert_eq!(answer.status, 201, "{}", answer.body);
}

fn letters(connector: &str) -> String {
    format!("{connector}-letters")
}

fn task(worker: &Worker, connector: &str) -> Value {
    worker.rest().get(&format!("/connectors/{connector}/status")).expect("an answer").body["tasks"][0].clone()
}

fn tolerated(poured: &Poured, worker: &Worker, folder: &Path, bootstrap: &str, tally: &mut Tally) {
    let name = format!("{}-all", poured.topic);
    let file = folder.join("all.txt");
    create(worker, &name, poured, &file, "all");
    let size = poured.good.total() * (row(0, 0).len() + 1);
    wait::until_rest("the good rows in the sink's file", REST, || {
        let now = fs::metadata(&file).map_or(0, |data| data.len());
        if now >= size as u64 { Ok(()) } else { Err(now) }
    });
    wait::until_rest("the letters", REST, || {
        let now = u64::try_from(topic::size_if_any(bootstrap, &letters(&name))).unwrap();
        if now >= poured.bad.total() as u64 { Ok(()) } else { Err(now) }
    });
    let text = fs::read_to_string(&file).expect("the sink's file");
    let sink = poured.good.check(text.lines());
    sink.assert_exact("the sink file");
    let mut watch = poured.bad.watch();
    topic::visit(bootstrap, &letters(&name), topic::UNCOMMITTED, |letter| {
        let value = String::from_utf8_lossy(letter.payload().unwrap_or_default()).into_owned();
        let Some((file, n)) = watch.see(value.trim_start_matches('"')) else { return };
        assert_context(letter.headers().expect("headers"), poured, file - PARTITIONS, n, &name);
    });
    let bad = watch.verdict();
    bad.assert_exact("the letters");
    let task = task(worker, &name);
    assert_eq!(task["state"], "RUNNING", "{task}");
    tally.add("good rows in the sink", sink.arrived);
    tally.add("letters with their place", bad.arrived);
    tally.add("lost", sink.lost_count + bad.lost_count);
    tally.add("duplicates", sink.duplicates + bad.duplicates);
    tally.add("good rows among the letters", bad.damaged.len());
    tally.add("bad rows in the sink", sink.damaged.len());
}

/// All ten headers, and those that name the place name the right one.
fn assert_context(headers: &impl Headers, poured: &Poured, partition: usize, n: usize, connector: &str) {
    let names: Vec<&str> = headers.iter().map(|header| header.key).collect();
    let wanted = [
        ("topic", poured.topic.clone()),
        ("partition", partition.to_string()),
        ("offset", poured.bad_offsets[partition][n].to_string()),
        ("connector.name", connector.to_owned()),
        ("task.id", "0".to_owned()),
        ("stage", "VALUE_CONVERTER".to_owned()),
        ("class.name", "org.apache.kafka.connect.json.JsonConverter".to_owned()),
        ("exception.class.name", "org.apache.kafka.connect.errors.DataException".to_owned()),
    ];
    assert_eq!(names.len(), 10, "{names:?}");
    for (header, (name, value)) in headers.iter().zip(wanted) {
        assert_eq!(header.key, format!("__connect.errors.{name}"));
        assert_eq!(header.value.map(String::from_utf8_lossy).as_deref(), Some(value.as_str()), "{name}");
    }
    let rest = names[8..].iter().map(|name| name.trim_start_matches("__connect.errors."));
    assert!(rest.eq(["exception.message", "exception.stacktrace"]), "{names:?}");
}

fn refused(poured: &Poured, worker: &Worker, folder: &Path, bootstrap: &str, tally: &mut Tally) {
    let name = format!("{}-none", poured.topic);
    create(worker, &name, poured, &folder.join("none.txt"), "none");
    let trace = wait::until("the task to fail", Duration::from_mins(1), || {
        let task = task(worker, &name);
        match task["state"].as_str() {
            Some("FAILED") => Ok(task["trace"].as_str().unwrap_or_default().to_owned()),
            _ => Err(task.to_string()),
        }
    });
    let mut firsts = poured.bad_offsets.iter().enumerate();
    let named = firsts.any(|(partition, offsets)| {
        trace.contains(&format!("on the record at {}-{partition} offset {}:", poured.topic, offsets[0]))
    });
    assert!(named, "it names none of the first bad records: {trace}");
    let log = fs::read_to_string(folder.join("worker.log")).expect("the worker's log");
    let failures = log.lines().filter(|line| line.contains("ERROR") && line.contains(&name)).count();
    assert_eq!(failures, 1, "one failure, once in the log:\n{log}");
    assert_eq!(topic::values(bootstrap, &letters(&name)).len(), 1, "the record that failed the task has its letter");
    tally.add("failure with tolerance none, which names its record", failures);
}
