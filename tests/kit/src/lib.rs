//! The laws every plugin must keep, with the fakes and builders to test them without a worker.
//!
//! * [`fakes`] and [`bench`] stand in for the worker: offsets, metrics, a sink's runtime, contexts with a signal.
//! * [`build`] makes records and batches.
//! * [`SourceHarness`] and [`SinkHarness`] drive one task as the worker does: start, poll or put, settle, stop, again.
//! * [`source_laws`] and [`sink_laws`] hold the laws; a connector's `tests/acceptance.rs` implements a driver that talks
//!   to the outside system directly and calls `check`.
//! * [`config_laws`] and [`transform_laws`] hold those of definitions and transformations.
//! * [`simulation`] runs a world through thousands of seeds; [`dice`] is its chance.
//!
//! Read next: `connectors/file/tests/acceptance.rs`, the shortest complete example.

pub mod bench;
pub mod build;
pub mod config_laws;
pub mod dice;
pub mod fakes;
pub mod law;
pub mod simulation;
pub mod sink_harness;
pub mod sink_laws;
pub mod source_harness;
pub mod source_laws;
pub mod transform_laws;

pub use bench::Bench;
pub use dice::Dice;
pub use fakes::{MapOffsets, Numbers, RecordingRuntime};
pub use law::{Broken, Capability, Ruling};
pub use simulation::{Run, Simulation};
pub use sink_harness::SinkHarness;
pub use sink_laws::{Redelivery, SinkDriver, SinkTraits};
pub use source_harness::SourceHarness;
pub use source_laws::{SourceDriver, SourceTraits};
