//! Topics that the worker makes, before the first record of a source.

use std::collections::BTreeMap;
use std::time::Duration;

use pipette::kafka::admin::{Admin, Made, NewTopics, make_missing};
use pipette::kafka::properties::ClientProperties;
use pipette::task::TaskNews;
use pipette::task::topics::Rules;
use pipette_api::{ConfigMap, SourceBatch, SourceEntry, SourcePlugin};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::sources::{entry, plugin, scripted};
use super::stage::{PATIENCE, Stage, pairs};
use crate::support::{topic, wait};

fn to(topic: &str, mark: i64) -> SourceEntry {
    let SourceEntry::Record(mut record) = entry(topic, mark) else { unreachable!("a record") };
    record.record.topic = topic.into();
    SourceEntry::Record(record)
}

fn rules(keys: &[(&str, &str)]) -> Option<Rules> {
    let keys = keys.iter().map(|(key, value)| (format!("topic.creation.{key}"), (*value).to_owned()));
    Rules::read(&keys.collect::<ConfigMap>()).unwrap()
}

/// The partitions of each topic.
fn partitions(bootstrap: &str) -> BTreeMap<String, usize> {
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    let metadata = client.fetch_metadata(None, Duration::from_secs(10)).unwrap();
    metadata.topics().iter().map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect()
}

fn client(stage: &Stage) -> ClientProperties {
    pairs(&[("bootstrap.servers", &stage.bootstrap())])
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn topics_are_made_as_their_group_says_and_those_that_are_there_are_left_alone() {
    static PLUGIN: SourcePlugin = plugin(|_| {
        scripted(|poll| {
            let topics = ["raw.a", "state", "other", "raw.there"];
            let entries = topics.iter().zip(1..).map(|(topic, mark)| to(topic, mark)).collect();
            Ok(if poll == 1 { SourceBatch::of(entries) } else { SourceBatch::empty() })
        })
    });
    let mut stage = Stage::new();
    let bootstrap = stage.bootstrap();
    topic::create(&bootstrap, "raw.there", 2, &[]);
    stage.topics = rules(&[
        ("default.partitions", "5"),
        ("default.replication.factor", "1"),
        ("groups", "raw,state"),
        ("raw.include", r"raw\..*"),
        ("raw.partitions", "3"),
        ("state.include", "state"),
        ("state.cleanup.policy", "compact"),
    ]);
    let task = stage.source("maker", &PLUGIN, &[]);
    wait::until("the records", PATIENCE, || match topic::size_if_any(&bootstrap, "raw.there") {
        1 => Ok(()),
        found => Err(found.to_string()),
    });
    stage.stop("maker", &task);
    let made = partitions(&bootstrap);
    let expected = [("raw.a", 3), ("state", 5), ("other", 5), ("raw.there", 2)];
    for (name, count) in expected {
        assert_eq!((made[name], topic::size(&bootstrap, name)), (count, 1), "{name}");
    }
    let admin = Admin::new(&client(&stage)).unwrap();
    let policy = |topic: &str| runtime().block_on(admin.topic_setting(topic, "cleanup.policy")).unwrap().unwrap();
    assert_eq!((policy("state"), policy("other")), ("compact".to_owned(), "delete".to_owned()));
}

#[test]
fn a_topic_that_cannot_be_made_fails_the_task_and_names_its_group() {
    static PLUGIN: SourcePlugin = plugin(|_| scripted(|_| Ok(SourceBatch::of(vec![to("raw.a", 1)]))));
    let mut stage = Stage::new();
    stage.topics = rules(&[
        ("default.partitions", "1"),
        ("default.replication.factor", "1"),
        ("groups", "raw"),
        ("raw.include", "raw.*"),
        ("raw.replication.factor", "3"),
    ]);
    let _task = stage.source("maker", &PLUGIN, &[]);
    let trace = stage.hear("maker", |news| matches!(news, TaskNews::Failed { .. }));
    let start = "Task maker-0 failed in topic creation: Kafka refuses to create topic raw.a (partitions 1, replication factor 3)";
    assert!(trace.starts_with(start) && trace.contains("Change topic.creation.raw.*"), "{trace}");
    assert_eq!(stage.stored("maker"), 0);
}

#[test]
fn of_those_who_make_a_topic_at_once_one_does_and_none_fails() {
    let stage = Stage::new();
    let client = client(&stage);
    let how = NewTopics { partitions: 2, replication_factor: None, config: BTreeMap::new() };
    for round in 0..5 {
        let name = format!("race-{round}");
        let one = || runtime().block_on(make_missing(&client, &name, &how, "keys")).unwrap();
        let made: Vec<Made> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(made.iter().filter(|made| **made == Made::Created).count(), 1, "{made:?}");
    }
    assert_eq!(partitions(&stage.bootstrap())["race-0"], 2);
}
