//! What a Connect worker and command-line tools ask of a broker besides records.

use rdkafka::admin::{AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::topic_partition_list::Offset;

use crate::clients::{DEADLINE, Fixture, block_on, options, place, receive};

fn create(fixture: &Fixture, topic: &NewTopic<'_>) -> Result<String, RDKafkaErrorCode> {
    let created = block_on(fixture.admin().create_topics([topic], &options())).unwrap();
    created.into_iter().next().unwrap().map_err(|(_, code)| code)
}

fn config(fixture: &Fixture, topic: &str, name: &str) -> Option<String> {
    let described = block_on(fixture.admin().describe_configs(&[ResourceSpecifier::Topic(topic)], &options())).unwrap();
    described[0].as_ref().unwrap().get(name).and_then(|entry| entry.value.clone())
}

#[test]
fn topics_are_created_once_with_one_replica_and_a_legal_name() {
    let fixture = Fixture::start();
    let new = |name, partitions, replicas| {
        create(&fixture, &NewTopic::new(name, partitions, TopicReplication::Fixed(replicas)))
    };
    assert_eq!(new("t", 2, 1), Ok("t".to_owned()));
    assert_eq!(new("t", 2, 1), Err(RDKafkaErrorCode::TopicAlreadyExists));
    assert_eq!(new("copied", 1, 3), Err(RDKafkaErrorCode::InvalidReplicationFactor));
    assert_eq!(new("a/b", 1, 1), Err(RDKafkaErrorCode::InvalidTopic));
    assert_eq!(new("huge", 100_000, 1), Err(RDKafkaErrorCode::InvalidPartitions));
    let metadata = fixture.admin().inner().fetch_metadata(None, DEADLINE).unwrap();
    let found: Vec<_> = metadata.topics().iter().map(|t| (t.name(), t.partitions().len())).collect();
    assert_eq!(found, [("t", 2)]);
}

#[test]
fn a_topics_configuration_is_kept_and_checked() {
    let mut fixture = Fixture::start();
    let compacted = NewTopic::new("c", 1, TopicReplication::Fixed(1)).set("cleanup.policy", "compact");
    create(&fixture, &compacted).unwrap();
    let nonsense = NewTopic::new("n", 1, TopicReplication::Fixed(1)).set("cleanup.policy", "burn");
    assert_eq!(create(&fixture, &nonsense), Err(RDKafkaErrorCode::InvalidConfig));
    let unknown = NewTopic::new("u", 1, TopicReplication::Fixed(1)).set("no.such.key", "1");
    assert_eq!(create(&fixture, &unknown), Err(RDKafkaErrorCode::InvalidConfig));
    assert_eq!(config(&fixture, "c", "cleanup.policy").as_deref(), Some("compact"));
    assert_eq!(config(&fixture, "c", "min.insync.replicas").as_deref(), Some("1"));
    assert_eq!(config(&fixture, "c", "retention.ms").as_deref(), Some("-1"), "nothing is deleted by age");
    let change = AlterConfig::new(ResourceSpecifier::Topic("c")).set("retention.ms", "1000");
    let altered = block_on(fixture.admin().alter_configs(&[change], &options())).unwrap();
    assert!(altered[0].is_ok(), "{altered:?}");
    fixture.restart(|_| {});
    assert_eq!(config(&fixture, "c", "retention.ms").as_deref(), Some("1000"));
    assert_eq!(config(&fixture, "c", "cleanup.policy").as_deref(), Some("delete"));
}

#[test]
fn max_message_bytes_of_a_topic_is_obeyed() {
    let fixture = Fixture::start();
    let topic = NewTopic::new("big", 1, TopicReplication::Fixed(1)).set("max.message.bytes", "3000000");
    create(&fixture, &topic).unwrap();
    let large = "x".repeat(2_000_000);
    let producer = fixture.producer(&[("message.max.bytes", "4000000")]);
    let record = rdkafka::producer::BaseRecord::<str, str>::to("big").partition(0).payload(&large);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    rdkafka::producer::Producer::flush(&producer, DEADLINE).unwrap();
    assert_eq!(fixture.read("big", 1, &[]).len(), 1);
}

#[test]
fn the_broker_describes_itself() {
    let fixture = Fixture::start();
    let metadata = fixture.admin().inner().fetch_metadata(None, DEADLINE).unwrap();
    let broker = &metadata.brokers()[0];
    assert_eq!(format!("{}:{}", broker.host(), broker.port()), fixture.broker.as_ref().unwrap().address().to_string());
    let resource = ResourceSpecifier::Broker(broker.id());
    let described = block_on(fixture.admin().describe_configs(&[resource], &options())).unwrap();
    let replicas = described[0].as_ref().unwrap().get("default.replication.factor").unwrap().value.clone();
    assert_eq!(replicas.as_deref(), Some("1"));
}

#[test]
fn a_topic_gets_more_partitions_but_never_fewer() {
    let mut fixture = Fixture::with_topic(2);
    fixture.produce("t", 3, &[]);
    let grow = |fixture: &Fixture, count| {
        let done = block_on(fixture.admin().create_partitions(&[NewPartitions::new("t", count)], &options())).unwrap();
        done.into_iter().next().unwrap().map_err(|(_, code)| code)
    };
    assert_eq!(grow(&fixture, 3), Ok("t".to_owned()));
    assert_eq!(grow(&fixture, 2), Err(RDKafkaErrorCode::InvalidPartitions));
    fixture.restart(|_| {});
    let metadata = fixture.admin().inner().fetch_metadata(Some("t"), DEADLINE).unwrap();
    assert_eq!(metadata.topics()[0].partitions().len(), 3);
    assert_eq!(fixture.read("t", 3, &[]).len(), 3);
}

#[test]
fn deleted_records_stay_deleted() {
    let mut fixture = Fixture::with_topic(1);
    fixture.produce("t", 5, &[]);
    let done = block_on(fixture.admin().delete_records(&place("t", 0, Offset::Offset(2)), &options())).unwrap();
    done.elements()[0].error().unwrap();
    for _ in 0..2 {
        let consumer = fixture.consumer("g", &[]);
        assert_eq!(consumer.fetch_watermarks("t", 0, DEADLINE).unwrap(), (2, 5));
        assert_eq!(rdkafka::Message::offset(&fixture.read("t", 3, &[])[0]), 2);
        fixture.restart(|_| {});
    }
}

#[test]
fn a_deleted_topic_is_gone_with_its_records_and_offsets() {
    let mut fixture = Fixture::with_topic(1);
    fixture.produce("t", 5, &[]);
    let consumer = fixture.consumer("g", &[]);
    consumer.commit(&place("t", 0, Offset::Offset(4)), CommitMode::Sync).unwrap();
    let deleted = block_on(fixture.admin().delete_topics(&["t"], &options())).unwrap();
    assert_eq!(deleted[0], Ok("t".to_owned()));
    let again = block_on(fixture.admin().delete_topics(&["t"], &options())).unwrap();
    assert_eq!(again[0].as_ref().unwrap_err().1, RDKafkaErrorCode::UnknownTopicOrPartition);
    fixture.restart(|_| {});
    fixture.create("t", 1);
    let consumer = fixture.consumer("g", &[]);
    assert_eq!(consumer.fetch_watermarks("t", 0, DEADLINE).unwrap(), (0, 0));
    let offsets = consumer.committed_offsets(place("t", 0, Offset::Invalid), DEADLINE).unwrap();
    assert_eq!(offsets.elements()[0].offset(), Offset::Invalid);
}

#[test]
fn a_group_can_be_deleted_once_it_is_empty() {
    let fixture = Fixture::with_topic(1);
    fixture.produce("t", 1, &[]);
    let delete = || {
        let deleted = block_on(fixture.admin().delete_groups(&["g"], &options())).unwrap();
        deleted.into_iter().next().unwrap().map_err(|(_, code)| code)
    };
    assert_eq!(delete(), Err(RDKafkaErrorCode::GroupIdNotFound));
    let consumer = fixture.consumer("g", &[]);
    consumer.subscribe(&["t"]).unwrap();
    receive(&consumer, 1);
    consumer.commit_consumer_state(CommitMode::Sync).unwrap();
    assert_eq!(delete(), Err(RDKafkaErrorCode::NonEmptyGroup));
    drop(consumer);
    assert_eq!(delete(), Ok("g".to_owned()));
    let consumer = fixture.consumer("g", &[]);
    let offsets = consumer.committed_offsets(place("t", 0, Offset::Invalid), DEADLINE).unwrap();
    assert_eq!(offsets.elements()[0].offset(), Offset::Invalid);
}
