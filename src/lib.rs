//! The Pipette worker. Modules in reading order; ARCHITECTURE.md has the map.
//!
//! Arrows inside: `rest → herder → task → {convert, kafka, store}`; `settings` and `metrics` serve all; nothing points
//! back (`tests/it/tidy.rs` checks it).

pub mod bench;
pub mod convert;
pub mod herder;
pub mod kafka;
pub mod metrics;
pub mod plugins;
pub mod rest;
pub mod settings;
pub mod store;
pub mod task;
