//! What the proofs stand on: a real Apache Kafka, the real worker process, its REST, and waiting.
//!
//! Read `kafka.rs` first, then `worker.rs`; `wait.rs` is the only place in all tests that may pause a thread.

pub(crate) mod bucket;
pub(crate) mod certificates;
pub(crate) mod clock;
pub(crate) mod connect;
pub(crate) mod death;
pub(crate) mod embedded;
pub(crate) mod feeder;
pub(crate) mod feed;
pub(crate) mod figures;
pub(crate) mod java;
pub(crate) mod kafka;
#[path = "../../../connectors/mqtt/tests/support/mosquitto.rs"]
pub(crate) mod mosquitto;
pub(crate) mod moto;
pub(crate) mod publisher;
pub(crate) mod python;
pub(crate) mod rest;
pub(crate) mod resume;
pub(crate) mod small_disk;
pub(crate) mod token_server;
pub(crate) mod topic;
pub(crate) mod wait;
pub(crate) mod wire;
pub(crate) mod worker;

use std::net::TcpListener;
use std::path::Path;

/// Free loopback ports. All are held until the last is known, so they differ from each other.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").expect("a loopback port"));
    std::array::from_fn(|i| held[i].local_addr().expect("a bound port").port())
}

/// The last `lines` of a file, for error texts; empty when there is no such file.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// `key=value` lines for the end of a properties file, where a later line wins over an earlier one.
pub(crate) fn lines_of(pairs: &[(&str, &str)]) -> String {
    pairs.iter().map(|(key, value)| format!("{key}={value}\n")).collect::<Vec<_>>().concat()
}
