//! The protocol itself, spoken over a plain socket: every API at every version, and what is no request at all.

mod every_version;
mod garbage;
mod socket;
