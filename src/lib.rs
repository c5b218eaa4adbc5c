//! The Pipette worker.
