//! Large values in object stores: what the claim check, chunking, sources and sinks have in common.
//!
//! * [`StoreSettings`] reads `store.uri` and its neighbours, [`Store`] speaks to S3 and its like, GCS, Azure, a folder or
//!   memory, and reads hosts of the web, [`Stores`] opens what a list of allowed prefixes ([`Allowed`]) lets through.
//! * [`Uploader`] puts a [`pipette_api::Payload`] there, streaming and hashed on the way, under a name that
//!   [`Naming`] gives it; [`Journal`] remembers what a crash may leave half done.
//! * [`StoredPayload`] is a payload again: lazy, in ranges, verified.
//! * [`Reference`] is what travels through Kafka instead, in the one native form and in those of others ([`foreign`]).
//! * [`chunk`] is the form of payloads that travel through Kafka in pieces.
//!
//! No type of `object_store` shows outside. Read next: `store.rs`, then `upload/mod.rs`.

pub mod chunk;
mod compression;
mod config;
mod digest;
mod download;
mod fault;
pub mod foreign;
mod journal;
mod local;
mod naming;
mod open_uploads;
mod reference;
mod remote;
mod store;
mod stores;
mod upload;
mod uri;
mod web;

pub use compression::Compression;
pub use config::{ALLOW_HTTP, CONNECT_TIMEOUT, OPTIONS_DOC, OPTIONS_PREFIX, REQUEST_TIMEOUT, StoreSettings, URI};
pub use digest::{Digest, Hasher};
pub use download::{Integrity, Limits, StoredPayload};
pub use journal::{Journal, OpenUpload};
pub use naming::{Naming, Origin, Strategy};
pub use reference::{HEADER, Reference, SCHEMA_NAME};
pub use store::{Listing, Object, Store};
pub use stores::Stores;
pub use upload::{LargeContent, Stored, UploadOptions, Uploader};
pub use uri::{Allowed, ObjectUri, Scheme};
