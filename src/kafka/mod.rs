//! Everything that knows librdkafka; the rest of the worker sees bytes, numbers and closed enums.
//!
//! `producer.rs` and `consumer.rs` are used by the two task loops, `contact.rs` by their watchdog, `admin.rs` by topics and
//! REST, `compacted.rs` by the stores, `seat.rs` by the store of connectors, `stretch.rs` by the replay of dead letters, `last.rs` by the preview,
//! `properties.rs` turns Java's client keys into librdkafka's, `security/` those that protect; `oauth.rs` fetches tokens with `https.rs`,
//! `asking.rs` asks Kafka one thing, `certificates.rs` says why one is refused, `positions.rs` is where a consumer stands,
//! `direct.rs` says which partitions `fetch/` reads past librdkafka. `sizes.rs` completes properties with a task's
//! share of the memory, `pattern.rs` turns its regular expressions; `loop_bench.rs` is what `pipette bench` compares with.

pub mod producer;
pub mod consumer;
pub mod admin;
pub mod compacted;
pub mod last;
pub mod lifetime;
pub mod properties;
pub mod sizes;
pub mod loop_bench;
mod asking;
mod batch;
mod certificates;
pub mod contact;
mod conversation;
mod direct;
mod events;
mod fetch;
pub(crate) mod intents;
mod membership;
pub mod https;
mod oauth;
pub mod pattern;
mod positions;
pub mod seat;
mod security;
pub mod stretch;
mod sys;
mod traffic;
pub mod transactions;
