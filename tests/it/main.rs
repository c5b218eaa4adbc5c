//! The one integration binary: the worker as its users meet it, on a real Apache Kafka, and the guards of the tree.
//!
//! `support/` starts the real things, `crash.rs` and `proofs/` kill them, `tidy.rs` reads the sources. `./test --quick` leaves
//! out `on_apache_kafka`, `crash_short` and `proofs` by their names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and speaks on standard output"
)]

mod bed;
mod beside_java;
mod checker;
mod claimcheck;
mod crash;
mod docs;
mod examples;
mod flows;
mod fuzzed;
mod hanging;
mod hostile;
mod java_compare;
mod listeners;
mod offsets;
mod memory;
mod mqtt;
mod offsets_topic;
mod on_apache_kafka;
mod openapi;
mod proofs;
mod preview;
mod quickstart;
mod reach;
mod replay;
mod rest;
mod rest_compare;
mod restart;
mod secrets;
mod state_topics;
mod stores;
mod support;
mod tidy;
mod validate;
mod worker_keys;
