//! What a connector may hold in memory: keys that Apache's worker does not have.
//!
//! `connector.rs` lists them with the keys of every connector, `herder/size_checks.rs` holds them against each other.

use pipette_api::config::checks::{at_least, in_range};
use pipette_api::config::key::Width;
use pipette_api::{ConfigDef, Key};

/// `memory.max.bytes`.
pub static MEMORY_CAP: Key<u64> = Key::new(
    "memory.max.bytes",
    "The most of the worker's memory budget that all tasks of the connector may hold together.",
)
.optional()
.group("Common")
.width(Width::Medium)
.display("Memory of the connector")
.check(|text| text.map_or(Ok(()), |text| at_least::<1_048_576>(Some(text))));

/// `payload.inline.max.bytes`.
pub static INLINE: Key<u64> = Key::new(
    "payload.inline.max.bytes",
    "The largest payload (a whole file, for instance) that may become a Kafka value; the worker's own when left out. One \
     that is larger is a bad record. Beyond 1 MB producer, topic and memory have to allow it too, which is checked.",
)
.optional()
.group("Common")
.width(Width::Medium)
.display("Largest payload in Kafka")
.check(|text| text.map_or(Ok(()), |text| inline(Some(text))));

/// At most what fits into a record: Kafka's own lengths end at 2 GiB, clients want some of it for themselves.
pub(super) fn inline(text: Option<&str>) -> std::result::Result<(), String> {
    in_range::<1, 1_000_000_000>(text)
}

/// Keys that Apache's worker does not have: REST lists them only where they are used, because clients know how many keys
/// an answer to validate has.
pub static ADDED: ConfigDef = ConfigDef::new(&[&MEMORY_CAP.info, &INLINE.info]);
