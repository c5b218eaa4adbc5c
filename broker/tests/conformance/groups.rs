//! Sharing partitions out in a group.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::TopicPartitionListElem;

use crate::clients::{DEADLINE, Fixture, receive, until};

const TURN: Duration = Duration::from_millis(10);

/// Polls all until each holds as many partitions as said.
fn until_shares(consumers: &[&BaseConsumer], shares: &[usize]) {
    until(&format!("shares of {shares:?}"), || {
        for consumer in consumers {
            let _ = consumer.poll(TURN);
        }
        let held: Vec<usize> = consumers.iter().map(|consumer| consumer.assignment().unwrap().count()).collect();
        held == shares
    });
}

/// Numbers only: librdkafka's list would keep the consumer from ever being dropped.
fn partitions(consumer: &BaseConsumer) -> Vec<i32> {
    let list = consumer.assignment().unwrap();
    list.elements().iter().map(TopicPartitionListElem::partition).collect()
}

fn partitions_move(strategy: &str) {
    let fixture = Fixture::with_topic(4);
    let settings = [("partition.assignment.strategy", strategy)];
    let first = fixture.consumer("g", &settings);
    first.subscribe(&["t"]).unwrap();
    until_shares(&[&first], &[4]);
    let second = fixture.consumer("g", &settings);
    second.subscribe(&["t"]).unwrap();
    until_shares(&[&first, &second], &[2, 2]);
    drop(second);
    until_shares(&[&first], &[4]);
}

#[test]
fn range_members_share_and_take_over() {
    partitions_move("range");
}

#[test]
fn cooperative_sticky_members_share_and_take_over() {
    partitions_move("cooperative-sticky");
}

#[test]
fn a_static_member_that_returns_keeps_its_partitions_without_a_new_round() {
    let fixture = Fixture::with_topic(4);
    let settings = [("session.timeout.ms", "15000")];
    let other = fixture.consumer("g", &[&settings[..], &[("group.instance.id", "other")]].concat());
    let fixed = [&settings[..], &[("group.instance.id", "fixed")]].concat();
    let first = fixture.consumer("g", &fixed);
    other.subscribe(&["t"]).unwrap();
    first.subscribe(&["t"]).unwrap();
    until_shares(&[&first, &other], &[2, 2]);
    let held = partitions(&first);
    drop(first);
    let again = fixture.consumer("g", &fixed);
    again.subscribe(&["t"]).unwrap();
    until_shares(&[&again, &other], &[2, 2]);
    assert_eq!(partitions(&again), held);
}

#[test]
fn a_member_that_dies_is_replaced_after_its_session() {
    let fixture = Fixture::with_topic(2);
    let quick = [("session.timeout.ms", "1000"), ("max.poll.interval.ms", "1000")];
    let first = fixture.consumer("g", &quick);
    first.subscribe(&["t"]).unwrap();
    until_shares(&[&first], &[2]);
    // It no longer polls, so librdkafka leaves the group for it.
    let second = fixture.consumer("g", &[]);
    second.subscribe(&["t"]).unwrap();
    until_shares(&[&second], &[2]);
}

#[test]
fn the_group_survives_a_restart_of_the_broker() {
    let mut fixture = Fixture::with_topic(1);
    fixture.produce("t", 3, &[]);
    let address = fixture.broker.as_ref().unwrap().address();
    let consumer = fixture.consumer("g", &[("reconnect.backoff.max.ms", "200")]);
    consumer.subscribe(&["t"]).unwrap();
    receive(&consumer, 3);
    fixture.restart(|config| config.listen = address);
    fixture.produce("t", 2, &[]);
    receive(&consumer, 2);
}

#[test]
fn admin_clients_see_the_members() {
    let fixture = Fixture::with_topic(1);
    let consumer = fixture.consumer("seen", &[("client.id", "me")]);
    consumer.subscribe(&["t"]).unwrap();
    until_shares(&[&consumer], &[1]);
    let all = consumer.fetch_group_list(None, DEADLINE).unwrap();
    assert_eq!(all.groups().iter().map(rdkafka::groups::GroupInfo::name).collect::<Vec<_>>(), ["seen"]);
    let one = consumer.fetch_group_list(Some("seen"), DEADLINE).unwrap();
    let group = &one.groups()[0];
    assert_eq!((group.state(), group.protocol_type(), group.protocol()), ("Stable", "consumer", "range"));
    let member = &group.members()[0];
    assert_eq!((member.client_id(), member.client_host()), ("me", "/127.0.0.1"));
    assert!(member.assignment().is_some_and(|assignment| !assignment.is_empty()));
}
