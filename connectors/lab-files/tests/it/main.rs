//! Source and sink as a user meets them, on real folders, driven as the worker drives it.

// A test that cannot go on has failed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod flow;
mod harness;
mod names;
mod odd;
mod outbox;
mod outputs;
mod replaced;
mod scale;
mod sink;
