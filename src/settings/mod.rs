//! What users write down: worker files, connector files, and the keys every connector has.
//!
//! `worker.rs`, `group.rs` and `rest.rs` are read once at start, `connector.rs` with `dead_letters.rs` and `restarts.rs` for each connector
//! and task, `clients.rs` knows the keys of Java's clients, `fetch.rs` how sinks read, `properties.rs` is Java's
//! file format, `stores.rs` its key stores, `servers.rs` Kafka's addresses, `providers.rs` what `${…}` stands for,
//! `logins.rs` who may use REST, `jaas.rs` Java's form of saying so. `java_keys.rs` and `protection.rs` list the
//! other keys of Apache's worker, `overrides.rs` is the policy for client keys, and `unused.rs` tells what is said in vain, `parts.rs`
//! below converters and transformations.

pub mod claim_check;
pub mod clients;
pub mod connector;
pub mod dead_letters;
pub mod fetch;
pub mod file;
pub mod group;
pub(crate) mod jaas;
mod large;
pub mod java_keys;
pub mod logins;
pub mod metrics;
pub mod nearest;
pub mod overrides;
pub mod parts;
pub mod properties;
pub mod protection;
pub mod providers;
pub mod rest;
pub mod reach;
pub mod restarts;
pub mod secrets;
pub mod servers;
pub mod stores;
pub mod unused;
pub mod worker;
