//! The window against a broker that sends again what was not acknowledged, under random losses.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::budget::Held;

fn message(id: u16, qos: Qos, dup: bool, content: u64) -> Arrived {
    Arrived { packet: Packet { id, qos }, dup, content, bytes: 10 }
}

fn first(id: u16) -> Arrived {
    message(id, Qos::AtLeastOnce, false, u64::from(id))
}

fn again(id: u16) -> Arrived {
    message(id, Qos::AtLeastOnce, true, u64::from(id))
}

fn ids(settled: &Settled) -> Vec<u16> {
    settled.acks.iter().map(|packet| packet.id).collect()
}

#[test]
fn only_the_settled_front_is_acknowledged() {
    let mut window = Window::default();
    for id in [7, 3, 5] {
        assert!(window.arrived(first(id)).number.is_some());
    }
    assert_eq!(ids(&window.settled(1..=2)), [0; 0], "3 and 5 wait for 7");
    let settled = window.settled(0..=0);
    assert_eq!(ids(&settled), [7, 3, 5]);
    assert_eq!(settled.freed, Held { bytes: 30, records: 3 });
    assert_eq!(window.settled(0..=2), Settled::default(), "twice is nothing");
}

#[test]
fn messages_without_acknowledgement_take_their_turn_silently() {
    let mut window = Window::default();
    window.arrived(message(0, Qos::AtMostOnce, false, 1));
    window.arrived(first(4));
    let settled = window.settled(0..=1);
    assert_eq!((ids(&settled), settled.freed.records), (vec![4], 2));
}

#[test]
fn a_message_that_comes_again_is_known_by_its_packet() {
    let mut window = Window::default();
    window.arrived(first(1));
    window.arrived(first(2));
    assert_eq!(window.disconnected(), Held::default());
    assert_eq!(window.settled(1..=1).freed, Held { bytes: 10, records: 1 }, "Kafka has 2 while the link is away");
    let known = window.arrived(again(1));
    assert_eq!(known, Arrival { number: None, freed: Held { bytes: 10, records: 1 } });
    assert_eq!(window.arrived(again(2)).number, None);
    assert_eq!(ids(&window.ready()), [0; 0]);
    assert_eq!(ids(&window.settled(0..=0)), [1, 2]);
}

#[test]
fn what_may_have_been_acknowledged_is_handed_over_again() {
    let mut window = Window::default();
    window.arrived(first(1));
    assert_eq!(ids(&window.settled(0..=0)), [1], "the acknowledgement may be lost on the wire");
    window.disconnected();
    assert_eq!(window.arrived(again(1)).number, Some(1), "whether it came through nobody knows");
}

#[test]
fn the_dup_flag_alone_says_nothing() {
    let mut window = Window::default();
    assert_eq!(window.arrived(again(9)).number, Some(0), "never seen by this process");
    window.disconnected();
    let other = window.arrived(message(9, Qos::AtLeastOnce, true, 77));
    assert_eq!(other.number, Some(1), "another message under the same packet id");
    assert_eq!(other.freed, Held { bytes: 10, records: 1 });
    window.disconnected();
    assert_eq!(window.arrived(first(9)).number, Some(2), "a new message: the id is in use again");
}

#[test]
fn a_lost_session_forgets_what_was_to_come_again() {
    let mut window = Window::default();
    window.arrived(first(1));
    window.disconnected();
    assert_eq!(window.forgotten(), Held { bytes: 10, records: 1 });
    assert_eq!(window.settled(0..=0), Settled::default());
    assert_eq!(window.arrived(again(1)).number, Some(1));
}

/// A broker with one session: it keeps what is not acknowledged, sends it again in order, and uses each id once at a time.
#[derive(Default)]
struct Broker {
    unacked: VecDeque<(u16, u64)>,
    next_id: u16,
    sent: u64,
}

#[derive(Debug, Clone)]
enum Step {
    Send,
    SettleOldest,
    SettleNewest,
    Cut { acks_lost: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => Just(Step::Send),
        3 => Just(Step::SettleOldest),
        1 => Just(Step::SettleNewest),
        1 => any::<bool>().prop_map(|acks_lost| Step::Cut { acks_lost }),
    ]
}

/// The window with all that is around it.
#[derive(Default)]
struct World {
    window: Window,
    broker: Broker,
    held: Held,
    /// Handed over and not settled: number and content.
    flying: BTreeMap<u64, u64>,
    stored: BTreeSet<u64>,
    /// Ids in the order of receipt on this connection, which are not acknowledged.
    line: VecDeque<u16>,
    /// Acknowledgements on the wire.
    wire: Vec<u16>,
}

impl World {
    fn receive(&mut self, id: u16, content: u64, dup: bool) {
        self.held += Held { bytes: 10, records: 1 };
        let arrival = self.window.arrived(message(id, Qos::AtLeastOnce, dup, content));
        self.free(arrival.freed);
        self.line.push_back(id);
        if let Some(number) = arrival.number {
            assert!(self.flying.insert(number, content).is_none());
        } else {
            assert!(self.stored.contains(&content) || self.flying.values().any(|flying| *flying == content));
            let ready = self.window.ready();
            self.acknowledge(ready);
        }
    }

    fn settle(&mut self, number: Option<u64>) {
        let Some(number) = number else { return };
        let content = self.flying.remove(&number).expect("a number that flies");
        self.stored.insert(content);
        let settled = self.window.settled(number..=number);
        self.acknowledge(settled);
    }

    fn acknowledge(&mut self, settled: Settled) {
        self.free(settled.freed);
        for packet in settled.acks {
            assert_eq!(self.line.pop_front(), Some(packet.id), "in the order of receipt");
            let content = self.broker.unacked.iter().find(|(id, _)| *id == packet.id).expect("an id in use").1;
            assert!(self.stored.contains(&content), "acknowledged before it was in Kafka");
            self.wire.push(packet.id);
        }
    }

    fn free(&mut self, freed: Held) {
        self.held.bytes -= freed.bytes;
        self.held.records -= freed.records;
    }

    fn deliver_acks(&mut self) {
        for id in self.wire.drain(..) {
            self.broker.unacked.retain(|(unacked, _)| *unacked != id);
        }
    }

    fn cut(&mut self, acks_lost: bool) {
        if acks_lost {
            self.wire.clear();
        } else {
            self.deliver_acks();
        }
        let freed = self.window.disconnected();
        self.free(freed);
        self.line.clear();
        for (id, content) in self.broker.unacked.clone() {
            self.receive(id, content, true);
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Send => {
                self.deliver_acks();
                if self.broker.unacked.len() == usize::from(u16::MAX) {
                    return;
                }
                loop {
                    self.broker.next_id = self.broker.next_id % 6 + 1;
                    if self.broker.unacked.len() >= 6 {
                        return;
                    }
                    if !self.broker.unacked.iter().any(|(id, _)| *id == self.broker.next_id) {
                        break;
                    }
                }
                let (id, content) = (self.broker.next_id, self.broker.sent);
                self.broker.sent += 1;
                self.broker.unacked.push_back((id, content));
                self.receive(id, content, false);
            }
            Step::SettleOldest => self.settle(self.flying.keys().next().copied()),
            Step::SettleNewest => self.settle(self.flying.keys().next_back().copied()),
            Step::Cut { acks_lost } => self.cut(*acks_lost),
        }
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_and_memory_comes_back(steps in proptest::collection::vec(step(), 0..120)) {
        let mut world = World::default();
        for step in &steps {
            world.take(step);
        }
        while let Some(number) = world.flying.keys().next().copied() {
            world.settle(Some(number));
        }
        world.deliver_acks();
        prop_assert_eq!(world.stored.len() as u64, world.broker.sent, "each message is in Kafka");
        prop_assert!(world.broker.unacked.is_empty(), "each message is acknowledged");
        prop_assert_eq!(world.held, Held::default());
    }
}
