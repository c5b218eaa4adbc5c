//! Committed offsets.

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::clients::{DEADLINE, Fixture, place, receive};

fn committed(consumer: &BaseConsumer, topic: &str) -> (Offset, String) {
    let asked = place(topic, 0, Offset::Invalid);
    let found = consumer.committed_offsets(asked, DEADLINE).unwrap();
    let element = &found.elements()[0];
    (element.offset(), element.metadata().to_owned())
}

#[test]
fn a_group_goes_on_where_it_committed_even_after_a_restart() {
    let mut fixture = Fixture::with_topic(1);
    fixture.produce("t", 5, &[]);
    let consumer = fixture.consumer("g", &[]);
    consumer.subscribe(&["t"]).unwrap();
    receive(&consumer, 5);
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition("t", 0);
    element.set_offset(Offset::Offset(3)).unwrap();
    element.set_metadata("note");
    consumer.commit(&list, CommitMode::Sync).unwrap();
    assert_eq!(committed(&consumer, "t"), (Offset::Offset(3), "note".to_owned()));
    drop(consumer);
    fixture.restart(|_| {});
    let consumer = fixture.consumer("g", &[]);
    assert_eq!(committed(&consumer, "t"), (Offset::Offset(3), "note".to_owned()));
    consumer.subscribe(&["t"]).unwrap();
    assert_eq!(receive(&consumer, 1)[0].offset(), 3);
}

#[test]
fn offsets_can_be_altered_without_joining_while_nobody_is_in_the_group() {
    let fixture = Fixture::with_topic(1);
    fixture.produce("t", 5, &[]);
    let outsider = fixture.consumer("g", &[]);
    outsider.commit(&place("t", 0, Offset::Offset(4)), CommitMode::Sync).unwrap();
    assert_eq!(committed(&outsider, "t").0, Offset::Offset(4));
    let member = fixture.consumer("g", &[]);
    member.subscribe(&["t"]).unwrap();
    receive(&member, 1);
    let refused = outsider.commit(&place("t", 0, Offset::Offset(0)), CommitMode::Sync);
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(committed(&outsider, "t").0, Offset::Offset(4));
}

#[test]
fn a_commit_for_a_topic_that_does_not_exist_is_refused() {
    let fixture = Fixture::start();
    let consumer = fixture.consumer("g", &[]);
    let refused = consumer.commit(&place("nowhere", 0, Offset::Offset(1)), CommitMode::Sync);
    assert!(refused.is_err(), "{refused:?}");
}
