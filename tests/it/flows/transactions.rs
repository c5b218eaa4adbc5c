//! Exactly-once: records and offsets together or not at all, and nothing from a start that was overtaken.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use connector_file::SOURCE as FILE_SOURCE;
use pipette::task::TaskNews;
use pipette::task::spec::Until;
use pipette_api::{
    Boundary, ConnectError, Hook, OffsetShape, Partition, Position, SourceBatch, SourceEntry, SourcePlugin,
};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::sources::{entry, plugin, scripted};
use super::stage::{PATIENCE, Stage};
use crate::support::{topic, wait};

/// A time that no test reaches.
pub(super) const LONG: Until = Until::Interval(Duration::from_hours(1));

/// What a `read_committed` reader sees of a topic.
pub(super) fn seen(bootstrap: &str, topic: &str) -> Vec<String> {
    topic::committed(bootstrap, topic).into_iter().map(|record| record.value.unwrap_or_default()).collect()
}

fn wait_for(bootstrap: &str, topic: &str, values: &[&str]) {
    wait::until(topic, PATIENCE, || match seen(bootstrap, topic) {
        found if found == values => Ok(()),
        found => Err(format!("{found:?}")),
    });
}

fn failed(news: &TaskNews) -> bool {
    matches!(news, TaskNews::Failed { .. })
}

/// Waits until the topic holds so much, visible or not.
fn wait_for_size(bootstrap: &str, topic: &str, size: i64) {
    wait::until("records under way", PATIENCE, || match topic::size(bootstrap, topic) {
        found if found >= size => Ok(()),
        found => Err(format!("{found}")),
    });
}

/// Whichever start commits: the first may see the stop and commit before it is given up, or be fenced in time.
#[test]
fn a_task_that_was_left_to_itself_in_mid_transaction_leaves_no_line_twice_and_none_out() {
    let mut stage = Stage::exactly_once(LONG);
    let (file, bootstrap) = (stage.path("in.txt"), stage.bootstrap());
    let config = [("file", file.to_str().unwrap().to_owned()), ("topic", "lines".to_owned())];
    let config: Vec<(&str, &str)> = config.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let lines: Vec<String> = (0..500).map(|line| format!("line {line}")).collect();
    std::fs::write(&file, lines.join("\n") + "\n").unwrap();
    let task = stage.source("lines", &FILE_SOURCE, &config);
    wait_for_size(&bootstrap, "lines", 500);
    assert_eq!(seen(&bootstrap, "lines"), [""; 0], "the transaction is open");
    assert_eq!(stage.stored("lines"), 0);
    drop(task);

    stage.until = Some(Until::Poll);
    let task = stage.source("lines", &FILE_SOURCE, &config);
    wait::until("every line", PATIENCE, || match seen(&bootstrap, "lines") {
        found if found == lines => Ok(()),
        found => Err(format!("{} lines", found.len())),
    });
    assert_eq!(stage.stored("lines"), 1);
    stage.stop("lines", &task);
    assert_eq!(seen(&bootstrap, "lines"), lines);
}

fn count(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::SeqCst);
}

/// Waits until the other side has come so far.
fn gate(gate: &AtomicUsize, at_least: usize) {
    wait::until("the gate", PATIENCE, || match gate.load(Ordering::SeqCst) {
        now if now >= at_least => Ok(()),
        now => Err(now.to_string()),
    });
}

#[test]
fn records_and_offsets_appear_together_where_the_connector_says() {
    static GATE: AtomicUsize = AtomicUsize::new(0);
    static HOOKS: AtomicUsize = AtomicUsize::new(0);
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| {
            gate(&GATE, poll - 1);
            let (text, boundary) = match poll {
                1 => ("one", Boundary::Continue),
                2 => ("two", Boundary::Commit),
                3 => ("dropped", Boundary::Abort),
                4 => ("in vain", Boundary::Continue),
                _ => return Ok(SourceBatch::empty()),
            };
            let hook = || Some(Hook::new(|| count(&HOOKS)));
            let mark = i64::try_from(poll).unwrap();
            Ok(SourceBatch { entries: vec![entry(text, mark)], acked: hook(), committed: hook(), boundary })
        })
    });
    let mut stage = Stage::exactly_once(Until::Connector);
    let bootstrap = stage.bootstrap();
    let task = stage.source("script", &PLUGIN, &[]);
    wait_for_size(&bootstrap, "scripted", 1);
    assert_eq!((seen(&bootstrap, "scripted"), stage.stored("script")), (vec![], 0), "it is open");
    assert_eq!(HOOKS.load(Ordering::SeqCst), 0);

    GATE.store(1, Ordering::SeqCst);
    wait_for(&bootstrap, "offsets", &[r#"{"at":2}"#]);
    assert_eq!(seen(&bootstrap, "scripted"), ["one", "two"], "visible with their offset");
    GATE.store(2, Ordering::SeqCst);
    wait_for(&bootstrap, "offsets", &[r#"{"at":2}"#, r#"{"at":3}"#]);
    assert_eq!(seen(&bootstrap, "scripted"), ["one", "two"], "what was aborted moves the source on and is not seen");
    GATE.store(4, Ordering::SeqCst);
    stage.stop("script", &task);
    assert_eq!(HOOKS.load(Ordering::SeqCst), 6, "of what was committed or dropped");
    assert_eq!(seen(&bootstrap, "scripted"), ["one", "two"], "a transaction that the connector left open is dropped");
    assert_eq!(topic::committed(&bootstrap, "offsets").len(), 2);
}

#[test]
fn a_start_that_was_overtaken_writes_nothing_and_says_so_and_its_successor_runs_on() {
    static GATE: AtomicUsize = AtomicUsize::new(0);
    static ZOMBIE: SourcePlugin = plugin(|_| {
        scripted(|poll| match poll {
            1 => Ok(SourceBatch::of(vec![entry("before", 1)])),
            2 => {
                gate(&GATE, 1);
                Ok(SourceBatch::of(vec![entry("from the grave", 2)]))
            }
            _ => Ok(SourceBatch::empty()),
        })
    });
    static SUCCESSOR: SourcePlugin = plugin(|_| {
        scripted(|poll| match poll {
            1 => Ok(SourceBatch::of(vec![entry("after", 2)])),
            2 => {
                gate(&GATE, 2);
                Ok(SourceBatch::of(vec![entry("and on", 3)]))
            }
            _ => Ok(SourceBatch::empty()),
        })
    });
    let mut stage = Stage::exactly_once(Until::Poll);
    let bootstrap = stage.bootstrap();
    let zombie = stage.source("script", &ZOMBIE, &[]);
    wait_for(&bootstrap, "scripted", &["before"]);
    let successor = stage.source("script", &SUCCESSOR, &[]);
    wait_for(&bootstrap, "scripted", &["before", "after"]);
    GATE.store(1, Ordering::SeqCst);
    let trace = stage.hear("script", failed);
    let first = trace.lines().next().unwrap();
    assert!(first.contains("a newer start of it uses its transactional id lab-script-0"), "{trace}");
    GATE.store(2, Ordering::SeqCst);
    wait_for(&bootstrap, "scripted", &["before", "after", "and on"]);
    assert_eq!(seen(&bootstrap, "offsets"), [r#"{"at":1}"#, r#"{"at":2}"#, r#"{"at":3}"#]);
    stage.hear("script", |news| matches!(news, TaskNews::Running));
    stage.stop("script", &successor);
    drop(zombie);
}

#[test]
fn the_transaction_of_a_task_that_is_no_more_is_ended() {
    static WELL: SourcePlugin = plugin(|_| scripted(|_| Ok(SourceBatch::empty())));
    let mut stage = Stage::exactly_once(Until::Poll);
    let bootstrap = stage.bootstrap();
    let gone: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &bootstrap)
        .set("transactional.id", "lab-script-1")
        .create()
        .unwrap();
    gone.init_transactions(PATIENCE).unwrap();
    gone.begin_transaction().unwrap();
    gone.send(BaseRecord::to("scripted").key("").payload("from the grave")).unwrap();
    gone.flush(PATIENCE).unwrap();
    stage.stale.push("lab-script-1".into());
    let task = stage.source("script", &WELL, &[]);
    stage.hear("script", |news| matches!(news, TaskNews::Running));
    assert!(gone.commit_transaction(PATIENCE).is_err());
    assert_eq!(seen(&bootstrap, "scripted"), [""; 0]);
    stage.stop("script", &task);
}

#[test]
fn offsets_alone_are_a_transaction_and_nothing_is_none() {
    static HOOKS: AtomicUsize = AtomicUsize::new(0);
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| {
            let committed = Some(Hook::new(|| count(&HOOKS)));
            let position = Position {
                partition: Partition::of("script", "one").into(),
                shape: OffsetShape { marks: [Some("at"), None], ..OffsetShape::default() }.into(),
                marks: [7, 0],
            };
            match poll {
                1 => Ok(SourceBatch::of(vec![SourceEntry::Position(position)])),
                2..50 => Ok(SourceBatch { committed, ..SourceBatch::default() }),
                _ => Ok(SourceBatch::empty()),
            }
        })
    });
    let mut stage = Stage::exactly_once(Until::Poll);
    let bootstrap = stage.bootstrap();
    let task = stage.source("script", &PLUGIN, &[]);
    wait::until("the hooks", PATIENCE, || match HOOKS.load(Ordering::SeqCst) {
        48 => Ok(()),
        count => Err(count.to_string()),
    });
    assert_eq!(seen(&bootstrap, "offsets"), [r#"{"at":7}"#]);
    assert_eq!(topic::size(&bootstrap, "offsets"), 2, "the offset and the mark of its one transaction");
    stage.stop("script", &task);
}

#[test]
fn a_connector_with_a_topic_of_its_own_has_its_offsets_there_and_a_copy_in_the_workers() {
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| match poll {
            1 => Ok(SourceBatch::of(vec![entry("one", 1)])),
            2 => Ok(SourceBatch::of(vec![SourceEntry::Forget(Partition::of("script", "one").into())])),
            _ => Ok(SourceBatch::empty()),
        })
    });
    let mut stage = Stage::exactly_once(Until::Poll);
    stage.offsets_topic = Some("own".into());
    let bootstrap = stage.bootstrap();
    let task = stage.source("script", &PLUGIN, &[]);
    for topic in ["own", "offsets"] {
        wait_for(&bootstrap, topic, &[r#"{"at":1}"#, ""]);
    }
    assert_eq!(stage.stored("script"), 0, "it was taken away in both");
    let written = "source_record_write_total{connector=\"script\",task=\"0\"} 1\n";
    wait::until("the count of what was written", PATIENCE, || {
        let metrics = stage.metrics();
        if metrics.contains(written) { Ok(()) } else { Err(metrics) }
    });
    stage.stop("script", &task);
}

#[test]
fn a_task_that_fails_takes_back_what_it_had_open() {
    static FAILS: SourcePlugin = plugin(|_| {
        scripted(|poll| match poll {
            1 => Ok(SourceBatch::of(vec![entry("half", 1)])),
            _ => Err(ConnectError::fatal("the disk is gone")),
        })
    });
    static POLLS: AtomicUsize = AtomicUsize::new(0);
    static WELL: SourcePlugin = plugin(|_| {
        scripted(|poll| {
            POLLS.store(poll, Ordering::SeqCst);
            Ok(if poll == 1 { SourceBatch::of(vec![entry("whole", 1)]) } else { SourceBatch::empty() })
        })
    });
    let mut stage = Stage::exactly_once(LONG);
    let bootstrap = stage.bootstrap();
    let _task = stage.source("script", &FAILS, &[]);
    let trace = stage.hear("script", failed);
    assert!(trace.starts_with("Task script-0 failed in poll: the disk is gone"), "{trace}");
    let task = stage.source("script", &WELL, &[]);
    gate(&POLLS, 2);
    assert_eq!(seen(&bootstrap, "scripted"), [""; 0]);
    stage.stop("script", &task);
    assert_eq!(seen(&bootstrap, "scripted"), ["whole"], "an end that was asked for commits");
}

#[test]
fn a_record_that_kafka_refuses_ends_the_task_whatever_is_tolerated() {
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| match poll {
            1 => Ok(SourceBatch::of(vec![entry("fine", 1), entry(&"x".repeat(2_000_000), 2), entry("after", 3)])),
            _ => Ok(SourceBatch::empty()),
        })
    });
    let mut stage = Stage::exactly_once(Until::Poll);
    stage.errors.tolerate = true;
    let _task = stage.source("script", &PLUGIN, &[]);
    let trace = stage.hear("script", failed);
    assert!(trace.contains("Kafka refuses a record for topic scripted"), "{trace}");
    assert_eq!(seen(&stage.bootstrap(), "scripted"), [""; 0], "all of a transaction or nothing");
    assert_eq!(stage.stored("script"), 0);
}

#[test]
fn the_topic_of_offsets_is_no_topic_for_records() {
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|_| {
            let mut entry = entry("wrong", 1);
            if let SourceEntry::Record(record) = &mut entry {
                record.record.topic = "offsets".into();
            }
            Ok(SourceBatch::of(vec![entry]))
        })
    });
    let mut stage = Stage::exactly_once(Until::Poll);
    let _task = stage.source("script", &PLUGIN, &[]);
    let trace = stage.hear("script", failed);
    assert!(trace.contains("A record for topic offsets is refused"), "{trace}");
}
