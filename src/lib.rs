//! The Pipette worker.

pub mod convert;
