//! kafka

pub mod loop_bench;
