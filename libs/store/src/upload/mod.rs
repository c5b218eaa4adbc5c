//! Puts payloads into a store: streaming, hashed on the way, in bounded memory, and nothing half done left behind.
//!
//! * A folder: one pass into a draft, which is synced and named (`folder.rs`).
//! * Others: one request when it fits into a part, else parts side by side (`remote.rs`, `multipart.rs`).
//! * What is named by its content is stored once; uploads of one key at one time become one (`flight.rs`).
//! * An upload that fails or is given up is aborted; what a crash leaves is aborted by [`Uploader::recover`], which the
//!   journal tells what there is.
//!
//! Called by the claim check and by sinks, once per large value.

mod flight;
mod folder;
mod mill;
mod multipart;
mod remote;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pipette_api::{ConnectError, Payload, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::compression::Compression;
use crate::digest::Digest;
use crate::journal::Journal;
use crate::naming::{Naming, Origin};
use crate::reference::Reference;
use crate::store::{Backend, Store};

/// File systems take names of up to 255 bytes, and something follows this one.
const LONGEST_OWNER: usize = 150;

/// What to do with a payload of more than one part whose name needs its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LargeContent {
    /// It is read twice: once for its digest, once for the upload. Right for files at hand.
    #[default]
    ReadTwice,
    /// It is read once and named by a UUID. Right for what comes over a network; the same content is stored again.
    ByUuid,
}

/// How payloads are uploaded.
#[derive(Debug, Clone)]
pub struct UploadOptions {
    /// How objects are named.
    pub naming: Naming,
    /// Up to this many bytes a payload is one request, above that it goes in parts of this size, all alike.
    pub part_size: u64,
    /// How many parts are in memory and on their way at a time, of all uploads together.
    pub concurrency: u32,
    /// A payload of more bytes is a data error.
    pub max_payload: u64,
    /// Compresses what is stored.
    pub compression: Option<Compression>,
    /// Whether the digest of a payload is taken. It is all the same when its name is made of it.
    pub digest: bool,
    /// What is done when a name that does not come from the content holds another payload already: `true` stores this one by
    /// UUID, `false` is a fatal error. Neither payload is lost.
    pub renames: bool,
    /// What to do with large payloads that are named by content.
    pub large_content: LargeContent,
    /// Whose uploads these are, such as `connector-0`: no two that run at the same time may share it.
    pub owner: String,
}

impl UploadOptions {
    /// The defaults of the claim check: parts of 16 MiB, four at a time, up to 5 TiB.
    pub fn new(naming: Naming, owner: impl Into<String>) -> Self {
        Self {
            naming,
            part_size: 16 << 20,
            concurrency: 4,
            max_payload: 5 << 40,
            compression: None,
            digest: true,
            renames: false,
            large_content: LargeContent::default(),
            owner: file_name(&owner.into()),
        }
    }

    fn work(&self) -> mill::Work {
        mill::Work { compression: self.compression, digest: self.digest || self.naming.needs_digest() }
    }
}

/// An owner as a part of file names: no two owners have the same.
fn file_name(owner: &str) -> String {
    let mut name = String::new();
    for byte in owner.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => name.push(char::from(byte)),
            _ => _ = write!(name, "%{byte:02X}"),
        }
    }
    if name.len() <= LONGEST_OWNER {
        return name;
    }
    format!("{}%{}", &name[..LONGEST_OWNER - 65], Digest::of(owner.as_bytes()).hex())
}

/// An object that holds a payload, durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its address.
    pub uri: String,
    /// Its whole key.
    pub key: String,
    /// The size of the payload, before compression.
    pub size: u64,
    /// The digest of the payload, before compression; `None` when it was not taken.
    pub digest: Option<Digest>,
    /// How it is stored.
    pub compression: Option<Compression>,
    /// Its entity tag, where there is one.
    pub etag: Option<String>,
    /// Its version, where there is one.
    pub version: Option<String>,
    /// True when it was there already, or another upload at the same time brought it.
    pub found: bool,
    /// Another payload has the name.
    taken: bool,
}

impl Stored {
    /// What is sent through Kafka instead. Content type, name and path are the caller's to add.
    pub fn reference(&self) -> Reference {
        Reference {
            size: Some(self.size),
            digest: self.digest,
            content_encoding: self.compression,
            etag: self.etag.clone(),
            version_id: self.version.clone(),
            created_at: Some(now()),
            ..Reference::to(self.uri.clone())
        }
    }
}

/// Uploads into one store. One for each task; its methods run side by side.
#[derive(Clone)]
pub struct Uploader(Arc<Shared>);

struct Shared {
    store: Arc<Store>,
    options: UploadOptions,
    /// In KiB of buffers.
    memory: Arc<Semaphore>,
    capacity: u32,
    flights: flight::Flights,
    uploads: multipart::Open,
}

impl Uploader {
    /// How long [`Uploader::stop`] is worth waiting for.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// Uploads into a store. With a journal, uploads in parts survive a crash only until [`Uploader::recover`].
    pub fn new(store: Arc<Store>, options: UploadOptions, journal: Option<Journal>) -> Self {
        let room = kib(options.part_size).saturating_mul(options.concurrency.max(1));
        let capacity = room.min(u32::try_from(Semaphore::MAX_PERMITS >> 1).unwrap_or(u32::MAX));
        let journal = journal.filter(|_| store.keeps_uploads());
        Self(Arc::new(Shared {
            store,
            options,
            memory: Arc::new(Semaphore::new(capacity as usize)),
            capacity,
            flights: flight::Flights::default(),
            uploads: multipart::Open::new(journal),
        }))
    }

    /// Where to.
    pub fn store(&self) -> &Arc<Store> {
        &self.0.store
    }

    /// Uploads a payload and returns when it is durable. What is there already under a name made of the content counts as
    /// uploaded; under another name it is compared first, and a different content is what [`UploadOptions::renames`] is about.
    ///
    /// Retriable: the store is away, or the payload changed while it was read. Data: it is too large. Fatal: the store
    /// refuses. On any error, and when the future is dropped, nothing is left but what [`Uploader::stop`] takes away.
    pub async fn upload(&self, payload: &dyn Payload, origin: &Origin<'_>) -> Result<Stored> {
        let options = &self.0.options;
        let stored = self.put(payload, origin, &options.naming).await?;
        if !stored.taken {
            return Ok(stored);
        }
        if !options.renames {
            return Err(collision(&stored.uri));
        }
        tracing::warn!(uri = stored.uri, "An object holds another payload under this name; a UUID names this one");
        self.put(payload, origin, &options.naming.one_time()).await
    }

    async fn put(&self, payload: &dyn Payload, origin: &Origin<'_>, naming: &Naming) -> Result<Stored> {
        let errand = Errand { naming, origin, now: now(), content_type: payload.content_type() };
        match &self.0.store.backend {
            Backend::Folder(folder) => folder::upload(&self.0, folder, payload, &errand).await,
            Backend::Remote(_) => remote::upload(&self.0, payload, &errand).await,
            Backend::Web(_) => Err(self.0.store.read_only()),
        }
    }

    /// Aborts what a crash left, by the journal; drafts in a folder by the owner's name. Says how many there were. To be
    /// called at the start, before any upload of this owner.
    pub async fn recover(&self) -> Result<usize> {
        match &self.0.store.backend {
            Backend::Folder(folder) => {
                let (folder, owner) = (Arc::clone(folder), self.0.options.owner.clone());
                crate::store::blocking(move || folder.clear_drafts(&owner)).await
            }
            Backend::Remote(_) => multipart::recover(&self.0).await,
            Backend::Web(_) => Err(self.0.store.read_only()),
        }
    }

    /// Aborts what uploads that were given up have left, and waits for aborts that are under way already, up to `most`. To
    /// be called at the end, when no upload runs.
    pub async fn stop(&self, most: Duration) -> Result<()> {
        if !self.0.uploads.ended(most).await {
            tracing::warn!(
                store = self.0.store.uri().to_string(),
                "Uploads that were given up are not gone from the store after {} ms: nobody waits for them any longer",
                most.as_millis()
            );
        }
        multipart::sweep(&self.0, |_| true).await
    }
}

impl Shared {
    /// Waits until so many bytes may be in memory. No upload waits for more while it holds some that nobody sends, so that
    /// none waits for ever.
    async fn room(&self, bytes: u64) -> OwnedSemaphorePermit {
        let permits = kib(bytes).clamp(1, self.capacity);
        let permit = Arc::clone(&self.memory).acquire_many_owned(permits).await;
        permit.unwrap_or_else(|_| unreachable!("the semaphore is never closed"))
    }
}

/// One payload on its way.
struct Errand<'a> {
    naming: &'a Naming,
    origin: &'a Origin<'a>,
    now: i64,
    content_type: Option<&'a str>,
}

impl Errand<'_> {
    /// The name below the store's prefix.
    fn key(&self, digest: Option<&Digest>, compression: Option<Compression>) -> Result<String> {
        let key = self.naming.key(self.origin, digest, self.now)?;
        Ok(key + compression.map_or("", Compression::suffix))
    }

    fn one_time_key(&self, compression: Option<Compression>) -> Result<String> {
        let key = self.naming.one_time().key(self.origin, None, self.now)?;
        Ok(key + compression.map_or("", Compression::suffix))
    }
}

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

fn now() -> i64 {
    let age = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis());
    i64::try_from(age).unwrap_or(i64::MAX)
}

/// Two payloads under one name, neither of which may be lost.
fn collision(uri: &str) -> ConnectError {
    ConnectError::fatal(format!(
        "{uri} holds another payload already: two have the same name, because the source uses a position or name twice. \
         Set key.strategy to content or uuid"
    ))
}

/// What is there under a name that is a digest, and cannot have that digest.
fn damaged(uri: &str, size: u64) -> ConnectError {
    ConnectError::fatal(format!(
        "{uri} is named by its content and holds something else ({size} bytes): it was cut short or overwritten. Delete it"
    ))
}
