//! Every key of Apache's workers is known here: as it is there, or with a difference that is listed.

use std::collections::BTreeMap;

use pipette::settings::{java_keys, protection, worker};
use pipette_api::config::key::KeyInfo;
use pipette_api::config::{Importance, Presence};

/// Keys whose type, default or need is not Apache's, each with the reason.
const OTHERWISE: &[(&str, &str)] = &[
    ("listeners", "loopback, unless the file says otherwise"),
    ("group.id", "without it connectors, states and offsets are kept in files"),
    ("offset.storage.topic", "without it offsets are kept in files"),
    ("offset.storage.replication.factor", "as many as there are brokers, up to 3, when nobody says"),
    ("config.storage.topic", "without it connectors are kept in files"),
    ("config.storage.replication.factor", "as many as there are brokers, up to 3, when nobody says"),
    ("status.storage.topic", "without it states are kept in files"),
    ("status.storage.replication.factor", "as many as there are brokers, up to 3, when nobody says"),
    ("session.timeout.ms", "a wait of any length, as other waits"),
    ("heartbeat.interval.ms", "a wait of any length, as other waits"),
    ("offset.storage.file.filename", "it is read once, if it is there"),
];

fn ours() -> BTreeMap<&'static str, KeyInfo> {
    let groups = [java_keys::OWN_CLIENTS, java_keys::WITHOUT_EFFECT, protection::TLS, protection::LOGIN];
    let mut all = BTreeMap::new();
    for row in groups.into_iter().flatten().chain(worker::CONFIG.keys().iter().copied()) {
        assert!(all.insert(row.name, *row).is_none(), "{} has two rows", row.name);
    }
    all
}

/// As the record has it.
fn line(key: &KeyInfo) -> String {
    let (need, default) = match key.presence {
        Presence::Required => ("!", "-"),
        Presence::Optional => ("", "-"),
        Presence::Default("") => ("", "\"\""),
        Presence::Default(text) => ("", text),
    };
    format!("{} {}{need} {} {default}", key.name, key.kind.name(), key.importance.name())
}

#[test]
fn every_key_of_apaches_worker_has_a_row() {
    let recorded = include_str!("../java/recorded/worker-keys.txt").lines().filter(|line| !line.starts_with('#'));
    let ours = ours();
    let (mut complaints, mut differ) = (Vec::new(), Vec::new());
    for java in recorded {
        let name = java.split(' ').next().expect("a name");
        match ours.get(name) {
            None => complaints.push(format!("{name} is a key of Apache's worker and has no row")),
            Some(key) if line(key) == java => {}
            Some(_) if OTHERWISE.iter().any(|(known, _)| *known == name) => differ.push(name),
            Some(key) => complaints.push(format!("{}   in Apache's worker: {java}", line(key))),
        }
    }
    assert_eq!(complaints, [""; 0]);
    let idle: Vec<_> = OTHERWISE.iter().map(|(name, _)| *name).filter(|name| !differ.contains(name)).collect();
    assert_eq!(idle, [""; 0], "these are as in Apache's worker");
}

#[test]
fn a_key_without_effect_has_its_reason_and_no_key_is_there_twice() {
    for row in java_keys::WITHOUT_EFFECT {
        assert!(row.doc.len() > 20 && !row.doc.ends_with('.') && row.importance <= Importance::Low, "{}", row.name);
    }
}
