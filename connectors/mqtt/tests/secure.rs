//! Encrypted connections, certificates of clients, and WebSockets, on a real Mosquitto.
#![allow(clippy::unwrap_used)] // clippy takes only `#[test]` functions for tests

#[allow(dead_code, clippy::expect_used)] // stores in Java's forms are for others
#[path = "../../../tests/it/support/certificates.rs"]
mod certificates;
mod support;

use std::time::{Duration, Instant};

use certificates::Authority;
use connector_mqtt::SOURCE;
use pipette_api::ErrorKind;
use pipette_kit::SourceHarness;
use pipette_kit::source_harness::record;
use support::mosquitto::{Mosquitto, free_port};
use support::{source_config, texts};

const PATIENCE: Duration = Duration::from_secs(15);

fn authority(folder: &std::path::Path) -> Authority {
    let authority = Authority::new(folder);
    authority.sign("localhost", "DNS:localhost", None);
    authority.sign("reader", "DNS:reader", None);
    authority
}

/// A broker with a second door.
fn broker(port: u16, door: &str) -> Mosquitto {
    let broker = Mosquitto::with(&format!("allow_anonymous true\nlistener {port} 127.0.0.1\n{door}"));
    let begun = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < PATIENCE, "{}", broker.log());
        std::thread::yield_now();
    }
    broker
}

fn receives(broker: &Mosquitto, settings: &[(&str, &str)]) {
    let mut harness = SourceHarness::new(&SOURCE, source_config(broker, settings)).unwrap();
    harness.start().unwrap();
    harness.settle_until(|entries| !entries.is_empty()).unwrap();
    let written = texts("s", 20);
    broker.publish("lab/a", 1, &written);
    let entries = harness.settle_until(|entries| entries.iter().filter_map(record).count() == 20).unwrap();
    let seen: Vec<_> = entries.iter().filter_map(record).map(|record| record.value.value.as_str().unwrap()).collect();
    assert_eq!(seen, written);
    harness.stop().unwrap();
}

#[test]
fn certificates_of_both_sides_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority(folder.path());
    for (scheme, protocol) in [("mqtts", "mqtt"), ("wss", "websockets")] {
        let port = free_port();
        let door = format!(
            "protocol {protocol}\ncafile {}\ncertfile {}\nkeyfile {}\nrequire_certificate true\n",
            authority.at("ca.pem"),
            authority.at("localhost.crt"),
            authority.at("localhost.key"),
        );
        let broker = broker(port, &door);
        let uri = format!("{scheme}://localhost:{port}");
        let (ca, cert, key) = (authority.at("ca.pem"), authority.at("reader.pem"), authority.at("reader.key"));
        for version in ["5", "3.1.1"] {
            let id = format!("reader-{}", version.len());
            let settings = [
                ("mqtt.server.uri", uri.as_str()),
                ("mqtt.protocol.version", version),
                ("mqtt.client.id", &id),
                ("mqtt.ssl.ca.path", &ca),
                ("mqtt.ssl.cert.path", &cert),
                ("mqtt.ssl.key.path", &key),
            ];
            receives(&broker, &settings);
        }
        // Without a certificate of its own the client is turned away, and a stranger's is not trusted.
        let elsewhere = tempfile::tempdir().unwrap();
        let stranger = Authority::new(elsewhere.path()).at("ca.pem");
        for (ca, reason) in [(&ca, "the connection"), (&stranger, "mqtt.ssl.ca.path")] {
            let settings = [("mqtt.server.uri", uri.as_str()), ("mqtt.ssl.ca.path", ca)];
            let mut harness = SourceHarness::new(&SOURCE, source_config(&broker, &settings)).unwrap();
            let begun = Instant::now();
            let outcome = harness.start().and_then(|()| harness.poll_until(|_| begun.elapsed() > PATIENCE));
            let error = outcome.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Retriable, "{}", error.chain());
            assert!(error.chain().contains(reason), "{}", error.chain());
            harness.stop().unwrap();
        }
    }
}

#[test]
fn web_sockets_carry_both_versions() {
    let port = free_port();
    let broker = broker(port, "protocol websockets\n");
    let uri = format!("ws://localhost:{port}/mqtt");
    for version in ["5", "3.1.1"] {
        let id = format!("web-{}", version.len());
        let settings = [("mqtt.server.uri", uri.as_str()), ("mqtt.protocol.version", version), ("mqtt.client.id", &id)];
        receives(&broker, &settings);
    }
}
