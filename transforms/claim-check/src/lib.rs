//! Transformations for payloads of any size.
//!
//! `extract_metadata.rs` is the transformation `ExtractMetadata`: it tells what a payload is. What it knows comes from
//! `metadata.rs`, which others who hold a payload call as [`extract`]. The worker lists [`PLUGINS`] in `src/plugins.rs`.

mod extract_metadata;
mod in_memory;
mod metadata;

pub use in_memory::InMemory;
pub use metadata::{Limits, Meta, Wanted, extract};

use pipette_api::Plugin;

/// The plugins of this crate.
pub static PLUGINS: &[Plugin] = &[Plugin::AsyncTransform(extract_metadata::PLUGIN)];
