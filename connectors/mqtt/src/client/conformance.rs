//! What any client behind this door must do, on a real Mosquitto, for both versions of the protocol.
#![allow(clippy::unwrap_used)] // clippy takes only `#[test]` functions for tests

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::budget::{Held, Overflow};
use crate::mosquitto::{DEADLINE, Mosquitto};

const OPTIONS: SubscribeOptions =
    SubscribeOptions { retained: Retained::Once, no_local: false, retain_as_published: true };

/// Runs a test once for each client.
fn each(test: &impl AsyncFn(&mut Mosquitto, Dial)) {
    for version in [Version::V3, Version::V5] {
        let mut broker = Mosquitto::start();
        let dial = Dial {
            server: Server::parse(&broker.uri()).unwrap(),
            version,
            client_id: "client".into(),
            clean: false,
            expiry_seconds: 3600,
            keep_alive_seconds: 60,
            timeout: Duration::from_secs(10),
            receive_maximum: 10,
            maximum_packet: 1024 * 1024,
            in_flight: 10,
            read_at_once: 8,
            username: None,
            password: None,
            tls: None,
            will: None,
            user_properties: Vec::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ended = async { tokio::time::timeout(DEADLINE, test(&mut broker, dial)).await };
        assert!(runtime.block_on(ended).is_ok(), "{version}: not done within {DEADLINE:?}");
    }
}

fn budget() -> Arc<Budget> {
    Arc::new(Budget::new(Held { bytes: 100_000_000, records: 100_000 }, Overflow::Block))
}

async fn dialled(dial: &Dial) -> Link {
    connect(dial, budget()).await.unwrap()
}

/// Connected and subscribed to everything.
async fn subscribed(dial: &Dial, qos: Qos) -> Link {
    let mut link = dialled(dial).await;
    link.subscribe(&[Subscription { filter: "lab/#".into(), qos }], OPTIONS).unwrap();
    loop {
        if let Event::Subscribed(granted) = link.next().await.unwrap() {
            assert_eq!(granted, [Ok(qos)]);
            return link;
        }
    }
}

async fn message(link: &mut Link) -> Message {
    loop {
        if let Event::Message(message) = link.next().await.unwrap() {
            return message;
        }
    }
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("m{number:03}")).collect()
}

fn text(message: &Message) -> String {
    String::from_utf8(message.payload.to_vec()).unwrap()
}

/// A client that asks what the session still holds: how many messages come before a mark.
async fn left(broker: &Mosquitto, dial: &Dial) -> usize {
    let mut link = dialled(dial).await;
    assert!(link.welcome.session_present);
    broker.publish("lab/mark", 1, &["mark".into()]);
    let mut count = 0;
    loop {
        let message = message(&mut link).await;
        link.ack(message.packet).unwrap();
        if text(&message) == "mark" {
            link.close().await;
            return count;
        }
        count += 1;
    }
}

#[test]
fn what_is_not_acknowledged_comes_again_and_what_is_does_not() {
    each(&async |broker, dial| {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let dial = Dial { client_id: format!("client-{}", qos.level()), ..dial.clone() };
            let mut link = subscribed(&dial, qos).await;
            broker.publish("lab/a", 2, &texts(50));
            for expected in &texts(5) {
                let message = message(&mut link).await;
                assert_eq!((&text(&message), message.dup), (expected, false));
                link.ack(message.packet).unwrap();
            }
            link.close().await;
            // Five were acknowledged before the farewell; a cut acknowledges nothing.
            for _ in 0..2 {
                let mut link = dialled(&dial).await;
                assert!(link.welcome.session_present);
                assert_eq!(text(&message(&mut link).await), "m005");
                drop(link);
            }
            let mut link = dialled(&dial).await;
            let mut came = Vec::new();
            while came.len() < 45 {
                let message = message(&mut link).await;
                link.ack(message.packet).unwrap();
                came.push(text(&message));
            }
            assert_eq!(came, texts(50)[5..]);
            link.close().await;
            assert_eq!(left(broker, &dial).await, 0);
        }
    });
}

#[test]
fn a_session_of_an_earlier_process_can_be_subscribed_again() {
    each(&async |broker, dial| {
        drop(subscribed(&dial, Qos::AtLeastOnce).await);
        broker.publish("lab/a", 1, &texts(3));
        let link = dialled(&dial).await;
        assert!(link.welcome.session_present);
        drop(link);
        let link = subscribed(&dial, Qos::ExactlyOnce).await;
        link.close().await;
        broker.stop();
        broker.run();
        let mut link = dialled(&dial).await;
        assert!(link.welcome.session_present, "a farewell keeps the session, also over a restart of the broker");
        assert_eq!(text(&message(&mut link).await), "m000", "what nobody acknowledged");
    });
}

#[test]
fn a_handshake_that_was_cut_is_no_trap() {
    each(&async |broker, dial| {
        let mut link = subscribed(&dial, Qos::ExactlyOnce).await;
        broker.publish("lab/a", 2, &texts(20));
        // PUBREC goes out, and the line is cut somewhere before PUBCOMP, again and again.
        for turn in 0..20 {
            let packet = message(&mut link).await.packet;
            link.ack(packet).unwrap();
            if turn % 2 == 0 {
                tokio::task::yield_now().await;
            }
            drop(link);
            link = dialled(&dial).await;
        }
        link.close().await;
        left(broker, &dial).await;
        assert_eq!(left(broker, &dial).await, 0, "the session works and is empty");
    });
}

#[test]
fn what_is_published_is_told_when_the_broker_has_it() {
    each(&async |broker, dial| {
        let mut listener = broker.listen("#");
        let link = dialled(&Dial { clean: true, ..dial }).await;
        let mut receipts = Vec::new();
        for (number, qos) in
            [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce].into_iter().cycle().take(60).enumerate()
        {
            let payload = Bytes::from(format!("p{number:02}"));
            let message = Outgoing { topic: "out".into(), payload, qos, retain: false, properties: None };
            receipts.push(link.publish(message).unwrap());
        }
        for receipt in receipts {
            assert_eq!(receipt.await, Ok(()));
        }
        assert_eq!(listener.messages(60).len(), 60);
        link.close().await;
    });
}

#[test]
fn the_end_of_a_connection_is_told() {
    each(&async |broker, dial| {
        let mut link = subscribed(&dial, Qos::AtLeastOnce).await;
        broker.kill();
        let fault = loop {
            if let Err(fault) = link.next().await {
                break fault;
            }
        };
        assert_eq!(fault.kind, FaultKind::Away, "{fault}");
        assert!(fault.text.contains(&dial.server.to_string()), "{fault}");
        let fault = connect(&dial, budget()).await.err().unwrap();
        assert_eq!(fault.kind, FaultKind::Away, "{fault}");
    });
}

#[test]
fn no_more_is_read_than_there_is_room_for() {
    each(&async |broker, dial| {
        drop(subscribed(&dial, Qos::AtLeastOnce).await);
        broker.publish("lab/a", 1, &vec!["x".repeat(10_000); 200]);
        let small = Arc::new(Budget::new(Held { bytes: 50_000, records: 1000 }, Overflow::Block));
        let mut link = connect(&Dial { receive_maximum: 1000, ..dial }, Arc::clone(&small)).await.unwrap();
        let mut packets = Vec::new();
        for _ in 0..200 {
            let message = message(&mut link).await;
            packets.push((message.packet, message.size()));
            assert!(small.held().bytes <= 50_000 + message.size(), "{:?} held", small.held());
            if packets.len() >= 4 {
                for (packet, bytes) in packets.drain(..) {
                    small.give_back(Held { bytes, records: 1 });
                    link.ack(packet).unwrap();
                }
            }
        }
        link.close().await;
    });
}

#[test]
fn a_rival_with_the_same_id_ends_the_connection() {
    each(&async |_, dial| {
        let mut link = subscribed(&dial, Qos::AtLeastOnce).await;
        let rival = dialled(&dial).await;
        let fault = link.next().await.err().unwrap();
        assert!(matches!(fault.kind, FaultKind::Away | FaultKind::TakenOver), "{fault}");
        drop(rival);
    });
}
