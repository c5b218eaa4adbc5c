//! What a network, an administrator and a slow Kafka do to a source: each ends in its state, with a reason that can be
//! read. `broker.rs` has what brokers and other clients do.
#![allow(clippy::unwrap_used)] // clippy takes only `#[test]` functions for tests

mod support;
#[allow(dead_code, clippy::expect_used)] // not each fault of it
#[path = "../../../tests/it/support/wire.rs"]
mod wire;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use pipette_api::ErrorKind;
use pipette_kit::SourceHarness;
use support::mosquitto::{Mosquitto, free_port};
use support::source::{TOLD, failure, number, poll_until, source, subscribed};
use support::{source_config, texts};
use wire::{Fault, Wire};

/// Lets the connection work while nothing is polled, until the condition holds.
fn unpolled(harness: &SourceHarness, mut enough: impl FnMut(&SourceHarness) -> bool) {
    let waited = async {
        while !enough(harness) {
            tokio::task::yield_now().await;
        }
    };
    harness.bench.run("what comes while nothing is polled", waited).unwrap();
}

#[test]
fn a_refused_filter_fails_the_task_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.json");
    // Anonymous clients may subscribe below lab/open only.
    let text = r#"{
        "defaultACLAccess": {"publishClientSend": true, "publishClientReceive": true, "subscribe": false, "unsubscribe": true},
        "anonymousGroup": "all",
        "groups": [{"groupname": "all", "roles": [{"rolename": "reader"}], "clients": []}],
        "roles": [{"rolename": "reader", "acls": [{"acltype": "subscribePattern", "topic": "lab/open/#", "allow": true}]}],
        "clients": []
    }"#;
    fs::write(&rules, text).unwrap();
    let broker = Mosquitto::with(&format!(
        "allow_anonymous true\nplugin {}\nplugin_opt_config_file {}\n",
        dynamic_security(),
        rules.display()
    ));
    for version in ["5", "3.1.1"] {
        let of = |topics| source_config(&broker, &[("mqtt.protocol.version", version), ("mqtt.topics", topics)]);
        let error = failure(of("lab/open/#,lab/secret/#"));
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = error.chain();
        assert!(text.contains("refuses the subscription to lab/secret/#") && text.contains("mqtt.topics"), "{text}");
        let mut harness = source(of("lab/open/#"));
        poll_until(&mut harness, &mut Vec::new(), subscribed);
        harness.stop().unwrap();
    }
}

/// Where the package has put Mosquitto's plugin.
fn dynamic_security() -> String {
    let folders = fs::read_dir("/usr/lib").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let all = folders.chain(["/usr/lib".into(), "/usr/local/lib".into()]);
    let found = all.map(|folder| folder.join("mosquitto_dynamic_security.so")).find(|path| path.exists());
    found.unwrap().display().to_string()
}

#[test]
fn credentials_that_are_revoked_fail_the_task_within_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let passwords = folder.path().join("passwords");
    set_password(&passwords, "right");
    let broker = Mosquitto::with(&format!("allow_anonymous false\npassword_file {}\n", passwords.display()));
    for version in ["5", "3.1.1"] {
        let login = [("mqtt.username", "reader"), ("mqtt.password", "right"), ("mqtt.protocol.version", version)];
        let mut harness = source(source_config(&broker, &login));
        poll_until(&mut harness, &mut Vec::new(), subscribed);
        set_password(&passwords, "other");
        broker.signal("-HUP");
        let begun = Instant::now();
        let error = loop {
            assert!(begun.elapsed() < TOLD, "no failure within {TOLD:?}");
            match harness.poll() {
                Err(error) if error.kind() != ErrorKind::Retriable => break error,
                _ => {}
            }
        };
        assert_eq!(error.kind(), ErrorKind::Config);
        let text = error.chain();
        assert!(text.contains("Correct mqtt.username and mqtt.password") && !text.contains("right"), "{text}");
        harness.stop().unwrap();
        set_password(&passwords, "right");
        broker.signal("-HUP");
    }
}

fn set_password(file: &Path, password: &str) {
    let made = Command::new("mosquitto_passwd").args(["-b", "-c", file.to_str().unwrap(), "reader", password]).status();
    assert!(made.unwrap().success());
}

#[test]
fn a_shared_group_shares_also_after_a_restart() {
    for version in ["5", "3.1.1"] {
        let mut broker = Mosquitto::start();
        broker.publish_with(&["-t", "lab/kept", "-q", "1", "-r", "-m", "kept"], b"");
        let member = |id| {
            let group = [("mqtt.shared.group", "plant"), ("mqtt.protocol.version", version), ("mqtt.client.id", id)];
            source(source_config(&broker, &group))
        };
        let mut members = [member("one"), member("two")];
        let mut seen = [Vec::new(), Vec::new()];
        for (member, seen) in members.iter_mut().zip(&mut seen) {
            poll_until(member, seen, subscribed);
        }
        let mut written = Vec::new();
        for round in 0..2 {
            let some = texts(&format!("g{round}"), 40);
            broker.publish("lab/a", 1, &some);
            written.extend(some);
            let begun = Instant::now();
            while !written.iter().all(|text| seen.iter().any(|seen| seen.contains(text))) {
                assert!(begun.elapsed() < TOLD, "{version}: {seen:?}");
                for (member, seen) in members.iter_mut().zip(&mut seen) {
                    let mut polls = 0;
                    poll_until(member, seen, |_, _| std::mem::replace(&mut polls, 1) == 1);
                }
            }
            if round == 0 {
                broker.stop();
                broker.run();
                // Mosquitto 2.0.11 forgets shared subscriptions when it restarts: each member subscribes again.
                for (member, seen) in members.iter_mut().zip(&mut seen) {
                    poll_until(member, seen, |member, _| connections(member) == 2);
                }
            }
        }
        assert!(seen.iter().all(|seen| !seen.is_empty()), "both take part: {seen:?}");
        let mut all = seen.concat();
        all.sort();
        // What was acknowledged in the last moment before the restart may come again.
        let (_, after) = all.split_at(all.iter().position(|text| text.starts_with("g1")).unwrap());
        assert_eq!(after, &written[40..], "{version}: each once");
        all.dedup();
        assert_eq!(all, written, "{version}: none that the broker had kept");
        for member in &mut members {
            member.stop().unwrap();
        }
    }
}

/// The connection whose subscription was answered last, counted from 1.
fn connections(harness: &SourceHarness) -> i64 {
    let counted = |offset: &pipette_api::OffsetMap| offset.get("connections").and_then(pipette_api::Primitive::as_int);
    harness.offsets.all().values().filter_map(counted).max().unwrap_or(0)
}

#[test]
fn a_network_that_fails_is_named_and_survived() {
    let broker = Mosquitto::start();
    let port = free_port();
    let wire = Wire::lay(port, broker.port);
    let uri = format!("mqtt://127.0.0.1:{port}");
    for (turn, (fault, version)) in
        [Fault::Reset, Fault::BlackHole, Fault::HalfOpen].into_iter().flat_map(|f| [(f, "5"), (f, "3.1.1")]).enumerate()
    {
        let id = format!("reader-{turn}");
        let settings = [
            ("mqtt.server.uri", uri.as_str()),
            ("mqtt.keepalive.interval.seconds", "2"),
            ("mqtt.protocol.version", version),
            ("mqtt.client.id", id.as_str()),
        ];
        let mut harness = source(source_config(&broker, &settings));
        let mut seen = Vec::new();
        poll_until(&mut harness, &mut seen, subscribed);
        wire.set(fault);
        let begun = Instant::now();
        let error = harness.poll_until(|_| begun.elapsed() > TOLD).unwrap_err();
        assert!(begun.elapsed() < TOLD && error.kind() == ErrorKind::Retriable, "{fault:?}: {}", error.chain());
        assert!(error.chain().contains(&uri), "{fault:?}: {}", error.chain());
        broker.publish("lab/a", 1, &texts("n", 5));
        wire.set(Fault::None);
        poll_until(&mut harness, &mut seen, |_, seen| seen.len() >= 5);
        assert_eq!(seen, texts("n", 5), "{fault:?} {version}");
        harness.stop().unwrap();
    }
}

#[test]
fn messages_of_quality_0_give_way_as_the_policy_says() {
    // Of 300 messages of 10,200 bytes each 20 fill the memory.
    for (policy, kept) in [("drop_oldest", 280..300), ("drop_newest", 0..20)] {
        let broker = Mosquitto::start();
        let all: Vec<String> = texts("m", 300).iter().map(|text| format!("{text}{}", "x".repeat(10_000))).collect();
        let settings = [("mqtt.qos", "0"), ("mqtt.buffer.max.bytes", "200000"), ("mqtt.qos0.overflow", policy)];
        let mut harness = source(source_config(&broker, &settings));
        let mut seen = Vec::new();
        poll_until(&mut harness, &mut seen, subscribed);
        broker.publish("lab/a", 0, &all);
        unpolled(&harness, |harness| number(harness, "mqtt_source_dropped_total") == 280);
        assert!(number(&harness, "mqtt_source_held_bytes") < 220_000);
        poll_until(&mut harness, &mut seen, |harness, _| number(harness, "mqtt_source_held_bytes") == 0);
        assert_eq!(seen, all[kept], "{policy}");
        harness.stop().unwrap();
    }
}
