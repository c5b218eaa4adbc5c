//! The Pipette worker. Modules in reading order; ARCHITECTURE.md has the map.
//!
//! Arrows inside: `rest → herder → task → {convert, kafka, store}`; `settings` and `metrics` serve all; nothing points
//! back (`tests/it/tidy.rs` checks it).

pub mod allocator;
pub mod descriptors;
pub mod cli;
pub mod claimcheck;
pub mod preview;
pub mod quickstart;
pub mod bench;
pub mod console;
pub mod worker;
pub mod settings;
pub mod plugins;
pub mod rest;
pub mod herder;
pub mod task;
pub mod budget;
pub mod convert;
pub mod kafka;
pub mod store;
pub mod metrics;
pub mod telemetry;
#[cfg(test)]
#[path = "tests/sim/mod.rs"]
mod sim;
