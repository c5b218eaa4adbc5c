//! The crate as its users see it, on every store that can run here. One binary, because linking is what takes the time.
#![allow(clippy::unwrap_used, clippy::expect_used)] // in the functions beside the tests

mod azure;
mod azurite;
mod conformance;
mod folders;
mod gcs;
mod lake;
#[path = "../../../../tests/it/support/moto.rs"]
mod moto;
#[path = "../../../../tests/it/support/python.rs"]
mod python;
mod place;
mod s3;
mod s3_server;
mod stores;
mod support;
