//! The simulator: the pure cores, and the loops around them, in worlds of chance with crashes, delays, lost and doubled
//! messages. A seed that fails is told with its shortest list of steps, and becomes a test.
//!
//! `pipette_kit::simulation` runs the seeds. `herder.rs` has the herder's world (a part of the herder, whose inner parts
//! it moves), `source.rs` those of source tasks, `sink.rs` that of sink tasks (its sink is in `bucket.rs`). What is known of it by figures:
//! docs/proofs/simulator.md.

use std::future::Future;

mod bucket;
mod folder;
mod kafka;
mod life;
mod offsets;
pub(crate) mod plugin;
mod sink;
mod source;

/// Lives a world on one thread whose clock moves only when everything waits.
pub(crate) fn in_simulated_time<T>(world: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(world)
}
