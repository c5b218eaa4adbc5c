//! Tasks in this process on the embedded broker: both loops with small plugins made to misbehave.
//!
//! `stage.rs` is what every flow stands on; `sources.rs` and `sinks.rs` hold the flows.

mod sinks;
mod sources;
mod stage;
