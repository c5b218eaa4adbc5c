//! Everything that knows librdkafka; the rest of the worker sees bytes, numbers and closed enums.
//!
//! `producer.rs` and `consumer.rs` are used by the two task loops, `admin.rs` by topics and REST, `properties.rs` turns
//! Java's client keys into librdkafka's.

pub mod admin;
mod batch;
pub mod consumer;
mod events;
pub mod producer;
pub mod properties;
mod sys;
