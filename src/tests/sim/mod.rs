//! The simulator: the pure cores, and the loops around them, in worlds of chance with crashes, delays, lost and doubled
//! messages. A seed that fails is told with its shortest list of steps, and becomes a test.
//!
//! `pipette_kit::simulation` runs the seeds. `herder.rs` has the herder's world (a part of
//! the herder, whose inner parts it moves), `source.rs` those of source tasks,
//! `sink.rs` that of sink tasks. What is known of it by figures: docs/proofs/simulator.md.

mod folder;
mod kafka;
mod life;
mod offsets;
pub(crate) mod plugin;
mod sink;
mod source;
