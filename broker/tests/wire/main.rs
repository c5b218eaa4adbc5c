//! The protocol itself, spoken over a plain socket: every API at every version, and what is no request at all.

#![allow(clippy::unwrap_used, reason = "clippy.toml allows it in tests, but does not see a test's steps as such")]

mod every_version;
mod garbage;
mod socket;
mod transactions;
