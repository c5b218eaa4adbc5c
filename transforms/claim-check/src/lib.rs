//! Transformations for payloads of any size.
//!
//! `extract_metadata.rs` is the transformation `ExtractMetadata`: it tells what a payload is. What it knows comes from
//! `metadata.rs`, which others who hold a payload call as [`extract`]. `claim_check.rs` keeps payloads in a store, and
//! `restore.rs` brings them back. The worker lists [`PLUGINS`] in `src/plugins.rs`.

mod claim_check;
mod extract_metadata;
mod fields;
mod in_memory;
mod metadata;
mod original;
mod patience;
mod restore;

pub use in_memory::InMemory;
pub use metadata::{Limits, Meta, Wanted, extract};

use pipette_api::Plugin;

/// The plugins of this crate.
pub static PLUGINS: &[Plugin] = &[
    Plugin::AsyncTransform(claim_check::PLUGIN),
    Plugin::AsyncTransform(restore::PLUGIN),
    Plugin::AsyncTransform(extract_metadata::PLUGIN),
];
