//! The source as a user meets it, on real folders, driven as the worker drives it.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod flow;
mod harness;
mod scale;
