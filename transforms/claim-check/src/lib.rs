//! Transformations for payloads of any size.
//!
//! `chunk.rs` and `reassemble.rs` send large values in pieces and put them together, `split.rs` makes records of their elements.
//! `extract_metadata.rs` is the transformation `ExtractMetadata`: it tells what a payload is. What it knows comes from
//! `metadata.rs`, which others who hold a payload call as [`extract`]. `claim_check.rs` keeps payloads in a store, and
//! `restore.rs` brings them back. The worker lists [`PLUGINS`] in `src/plugins.rs`.

mod chunk;
mod claim_check;
mod extract_metadata;
mod fields;
mod identity;
mod in_memory;
mod intake;
mod metadata;
mod nameless;
mod original;
mod patience;
mod restore;
mod reassemble;
mod split;
#[cfg(test)]
mod trial;

pub use in_memory::InMemory;
pub use metadata::{Limits, Meta, Wanted, extract};

use pipette_api::Plugin;

/// The plugins of this crate.
pub static PLUGINS: &[Plugin] = &[
    Plugin::AsyncTransform(claim_check::PLUGIN),
    Plugin::AsyncTransform(restore::PLUGIN),
    Plugin::AsyncTransform(extract_metadata::PLUGIN),
    Plugin::Expand(chunk::PLUGIN),
    Plugin::Expand(split::PLUGIN),
    Plugin::Collect(reassemble::PLUGIN),
];
