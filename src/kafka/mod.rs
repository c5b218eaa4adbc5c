//! Everything that knows librdkafka; the rest of the worker sees bytes, numbers and closed enums.
//!
//! `producer.rs` and `consumer.rs` are used by the two task loops, `admin.rs` by topics and REST, `compacted.rs` by the
//! offset store, `last.rs` by the preview, `properties.rs` turns
//! Java's client keys into librdkafka's, `pattern.rs` its
//! regular expressions; `loop_bench.rs` is what `pipette bench` compares with.

pub mod producer;
pub mod consumer;
pub mod admin;
pub mod compacted;
pub mod last;
pub mod properties;
pub mod loop_bench;
mod batch;
mod conversation;
mod events;
pub mod pattern;
mod sys;
pub mod transactions;
