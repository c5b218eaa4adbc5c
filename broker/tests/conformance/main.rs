//! What a librdkafka client may expect of a Kafka broker, asked of the embedded one. Every wait has a deadline.

#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in tests, but does not see a test's steps as such")]

mod admin;
mod clients;
mod groups;
mod offsets;
mod records;
mod transactions;
