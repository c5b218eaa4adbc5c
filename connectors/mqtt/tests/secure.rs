//! Encrypted connections, certificates of clients, and WebSockets, on a real Mosquitto.
#![allow(clippy::unwrap_used)] // clippy takes only `#[test]` functions for tests

#[allow(dead_code, clippy::expect_used)] // stores in Java's forms are for others
#[path = "../../../tests/it/support/certificates.rs"]
mod certificates;
mod support;

use std::time::{Duration, Instant};

use certificates::Authority;
use connector_mqtt::{SOURCE, SOURCE_CONFIG};
use pipette_api::{ConfigMap, ErrorKind, Settings};
use pipette_kit::SourceHarness;
use pipette_kit::source_harness::record;
use support::mosquitto::{Mosquitto, free_port};
use support::source::TOLD;
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
        // Without a certificate of its own the client is turned away, a stranger is not trusted, nor is another name.
        let elsewhere = tempfile::tempdir().unwrap();
        let strangers = Authority::new(elsewhere.path());
        strangers.sign("stranger", "DNS:stranger", None);
        let (other_ca, other) = (strangers.at("ca.pem"), [strangers.at("stranger.pem"), strangers.at("stranger.key")]);
        let by_number = uri.replace("localhost", "127.0.0.1");
        for (uri, ca, own, reason) in [
            (&uri, &ca, None, "mqtt.ssl.cert.path"),
            (&uri, &ca, Some(&other), "mqtt.ssl.cert.path"),
            (&uri, &other_ca, None, "signed by nobody who is trusted. Look at mqtt.ssl.ca.path"),
            (&by_number, &ca, None, "and not for 127.0.0.1. Look at mqtt.server.uri"),
        ] {
            let mut settings = vec![("mqtt.server.uri", uri.as_str()), ("mqtt.ssl.ca.path", ca)];
            if let Some([cert, key]) = own {
                settings.extend([("mqtt.ssl.cert.path", cert.as_str()), ("mqtt.ssl.key.path", key)]);
            }
            let text = turned_away(&broker, &settings);
            assert!(text.contains(reason), "{uri} {reason}: {text}");
        }
    }
}

/// What a source says that cannot connect, and goes on trying.
fn turned_away(broker: &Mosquitto, settings: &[(&str, &str)]) -> String {
    let mut harness = SourceHarness::new(&SOURCE, source_config(broker, settings)).unwrap();
    let begun = Instant::now();
    let outcome = harness.start().and_then(|()| harness.poll_until(|_| begun.elapsed() > TOLD));
    let error = outcome.unwrap_err();
    assert!(begun.elapsed() < TOLD);
    assert_eq!(error.kind(), ErrorKind::Retriable, "{}", error.chain());
    harness.stop().unwrap();
    error.chain()
}

#[test]
fn the_wrong_way_to_speak_on_a_port_is_told_with_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority(folder.path());
    let port = free_port();
    let door = format!("certfile {}\nkeyfile {}\n", authority.at("localhost.crt"), authority.at("localhost.key"));
    let broker = broker(port, &door);
    let ca = authority.at("ca.pem");
    let plain = broker.uri();
    let (as_plain, as_tls) = (format!("mqtt://localhost:{port}"), plain.replace("mqtt://", "mqtts://"));
    for version in ["5", "3.1.1"] {
        let version = ("mqtt.protocol.version", version);
        let text = turned_away(&broker, &[("mqtt.server.uri", &as_plain), version]);
        assert!(text.contains(&format!("write mqtts://localhost:{port}")), "{text}");
        let text = turned_away(&broker, &[("mqtt.server.uri", &as_tls), ("mqtt.ssl.ca.path", &ca), version]);
        assert!(text.contains(&format!("write {plain}")), "{text}");
    }
}

#[test]
fn each_file_is_judged_under_its_own_key() {
    let folder = tempfile::tempdir().unwrap();
    let authority = authority(folder.path());
    authority.sign("old", "DNS:old", Some(("20200101000000Z", "20210101000000Z")));
    authority.sign("new", "DNS:new", Some(("20480101000000Z", "20490101000000Z")));
    authority.lock_up("reader");
    let nobody = Mosquitto::start();
    let broken = authority.at("broken.pem");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n").unwrap();
    let no_key = authority.at("no.key");
    std::fs::write(&no_key, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
    let (none, at) = (authority.at("none"), |file: &str| authority.at(file));
    let (ca, cert, key) = ("mqtt.ssl.ca.path", "mqtt.ssl.cert.path", "mqtt.ssl.key.path");
    for (files, blamed, reason) in [
        ([none.clone(), at("reader.pem"), at("reader.key")], ca, "cannot be read"),
        ([at("reader.key"), at("reader.pem"), at("reader.key")], ca, "holds no certificate"),
        ([broken.clone(), at("reader.pem"), at("reader.key")], ca, "broken PEM"),
        ([at("ca.pem"), none.clone(), at("reader.key")], cert, "cannot be read"),
        ([at("ca.pem"), at("reader.key"), at("reader.key")], cert, "holds no certificate"),
        ([at("ca.pem"), at("reader.pem"), none], key, "cannot be read"),
        ([at("ca.pem"), at("reader.pem"), at("reader.pem")], key, "holds no private key"),
        ([at("ca.pem"), at("reader.pem"), at("reader.encrypted.key")], key, "is under a password"),
        ([at("ca.pem"), at("reader.pem"), no_key], key, "no kind that TLS works with"),
        ([at("ca.pem"), at("reader.pem"), at("localhost.key")], key, "is not that of the certificate in"),
        ([at("ca.pem"), at("old.pem"), at("old.key")], cert, "has expired"),
        ([at("ca.pem"), at("new.pem"), at("new.key")], cert, "is not valid yet"),
    ] {
        let seen = looked_at(&files);
        assert!(matches!(&seen[..], [(key, text)] if *key == blamed && text.contains(reason)), "{files:?}: {seen:?}");
        let of_time = files[1].ends_with("old.pem") || files[1].ends_with("new.pem");
        let names = [ca, cert, key].into_iter().zip(files.iter().map(String::as_str));
        let settings: Vec<_> = names.chain([("mqtt.server.uri", "mqtts://localhost:1")]).collect();
        let mut harness = SourceHarness::new(&SOURCE, source_config(&nobody, &settings)).unwrap();
        let error = harness.start().unwrap_err();
        // A machine whose clock is wrong goes on trying.
        let expected = if of_time { ErrorKind::Retriable } else { ErrorKind::Config };
        assert_eq!(error.kind(), expected, "{}", error.chain());
        assert!(of_time || error.chain().contains(blamed), "{}", error.chain());
    }
    assert_eq!(looked_at(&[at("ca.pem"), at("reader.pem"), at("reader.key")]), []);
}

/// What a check of the configuration says of the files.
fn looked_at([ca, cert, key]: &[String; 3]) -> Vec<(&'static str, String)> {
    let pairs = [
        ("mqtt.server.uri", "mqtts://localhost:1"),
        ("mqtt.topics", "lab/#"),
        ("mqtt.ssl.ca.path", ca),
        ("mqtt.ssl.cert.path", cert),
        ("mqtt.ssl.key.path", key),
    ];
    let config: ConfigMap = pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on((SOURCE.probe.unwrap())(Settings::new(config, &SOURCE_CONFIG)))
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
