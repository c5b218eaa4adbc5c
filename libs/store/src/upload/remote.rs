//! Upload into a bucket: the choice between one request and parts, and what it means that an object is there already.

use std::sync::Arc;

use bytes::Bytes;
use object_store::{Attribute, Attributes, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload};
use pipette_api::{Payload, Result};
use tokio::sync::OwnedSemaphorePermit;

use super::mill::{Content, Feed, Part, Work, changed};
use super::{Errand, LargeContent, Shared, Stored, damaged, multipart};
use crate::digest::Digest;
use crate::download::{Integrity, Limits, StoredPayload};
use crate::fault::Act;
use crate::reference::Reference;
use crate::remote::Remote;
use crate::store::Backend;
use crate::uri::Scheme;

/// S3 takes 10,000 parts; known lengths leave some room for compression that makes larger.
const PARTS: u64 = 9_500;

pub(super) fn client(shared: &Shared) -> &Arc<dyn Remote> {
    match &shared.store.backend {
        Backend::Remote(remote) => remote,
        Backend::Folder(_) | Backend::Web(_) => unreachable!("folders have their own way, and the web has none"),
    }
}

pub(super) async fn upload(shared: &Arc<Shared>, payload: &dyn Payload, errand: &Errand<'_>) -> Result<Stored> {
    let options = &shared.options;
    let part_size = part_size(options.part_size, payload.len());
    let mut feed = Feed::open(payload, options.max_payload, options.work()).await?;
    // Room for what is known to come; a part, when nothing is known.
    let permit = shared.room(payload.len().map_or(part_size, |len| len.min(part_size))).await;
    let mut over = Bytes::new();
    let first = feed.part(part_size, &mut over).await?;
    if first.size < part_size {
        let stored = small(shared, first, feed.content(), payload, errand).await;
        drop(permit);
        return stored;
    }
    let started = Started { feed, part_size, first, over };
    match (errand.naming.needs_digest(), options.large_content) {
        (true, LargeContent::ReadTwice) => {
            let Started { mut feed, first, .. } = started;
            drop(first);
            drop(permit);
            let content = feed.drain().await?;
            large_content(shared, payload, content, part_size, errand).await
        }
        (needs_digest, _) => {
            let compression = options.compression;
            let key = if needs_digest { errand.one_time_key(compression)? } else { errand.key(None, compression)? };
            let key = shared.store.key_of(&key);
            shared.flights.join(&key, false, by_name(shared, &key, (started, permit), payload, errand)).await
        }
    }
}

/// Parts overwrite what is there, so that it is looked for first. A name by content is not used here.
async fn by_name(
    shared: &Arc<Shared>,
    key: &str,
    (mut started, permit): (Started, OwnedSemaphorePermit),
    payload: &dyn Payload,
    errand: &Errand<'_>,
) -> Result<Stored> {
    let Some(object) = shared.store.glance(key).await? else {
        return multipart::upload(shared, key, started, permit, errand, None).await;
    };
    drop((started.first, permit));
    let content = started.feed.drain().await?;
    let stored = Stored { found: true, ..describe(shared, key, content) };
    verify_found(shared, &stored, object.size, payload, errand).await
}

/// A payload whose first part has been read.
pub(super) struct Started {
    pub(super) feed: Feed,
    pub(super) part_size: u64,
    pub(super) first: Part,
    pub(super) over: Bytes,
}

/// All parts alike, because some stores want them so: large enough that their number suffices.
fn part_size(configured: u64, len: Option<u64>) -> u64 {
    let needed = len.map_or(0, |len| len.div_ceil(PARTS).next_multiple_of(1 << 20));
    configured.max(needed).max(1)
}

/// One request, which does nothing when the object is there.
async fn small(
    shared: &Shared,
    part: Part,
    content: Content,
    payload: &dyn Payload,
    errand: &Errand<'_>,
) -> Result<Stored> {
    let compression = shared.options.compression;
    let key = shared.store.key_of(&errand.key(content.digest.as_ref(), compression)?);
    let mut stored = describe(shared, &key, content);
    let size = part.size;
    let put = async {
        let (path, body) = (shared.store.path(&key)?, PutPayload::from_iter(part.pieces));
        let options = PutOptions { mode: PutMode::Create, attributes: attributes(errand), ..PutOptions::default() };
        match client(shared).put_opts(&path, body, options).await {
            Ok(put) => {
                (stored.etag, stored.version) = (put.e_tag, put.version);
                Ok(stored)
            }
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                stored.found = true;
                verify_found(shared, &stored, size, payload, errand).await
            }
            Err(error) => Err(shared.store.fault(Act::Write, &key, &error)),
        }
    };
    shared.flights.join(&key, errand.naming.is_content(), put).await
}

/// Read once already; read again for the upload, unless the object is there.
async fn large_content(
    shared: &Arc<Shared>,
    payload: &dyn Payload,
    content: Content,
    part_size: u64,
    errand: &Errand<'_>,
) -> Result<Stored> {
    let options = &shared.options;
    let key = shared.store.key_of(&errand.key(content.digest.as_ref(), options.compression)?);
    let upload = async {
        if let Some(object) = shared.store.glance(&key).await?
            && (options.compression.is_some() || object.size == content.size)
        {
            let stored = describe(shared, &key, content);
            return Ok(Stored { etag: object.etag, version: object.version, found: true, ..stored });
        }
        let mut feed = Feed::open(payload, options.max_payload, options.work()).await?;
        let permit = shared.room(part_size).await;
        let mut over = Bytes::new();
        let first = feed.part(part_size, &mut over).await?;
        let started = Started { feed, part_size, first, over };
        multipart::upload(shared, &key, started, permit, errand, Some(content)).await
    };
    shared.flights.join(&key, true, upload).await
}

/// What is there under the name of what was to be stored: the same by name, or compared.
pub(super) async fn verify_found(
    shared: &Shared,
    stored: &Stored,
    size: u64,
    payload: &dyn Payload,
    errand: &Errand<'_>,
) -> Result<Stored> {
    let found = shared.store.glance(&stored.key).await?;
    let Some(object) = found else {
        return Err(changed(&format!("{} was there and is gone", stored.uri)));
    };
    let stored = Stored { etag: object.etag.clone(), version: object.version.clone(), ..stored.clone() };
    if errand.naming.is_content() {
        // Another version of a compression makes other bytes of the same content.
        if stored.compression.is_some() || object.size == size {
            return Ok(stored);
        }
        return Err(damaged(&stored.uri, object.size));
    }
    let digest = match stored.digest {
        Some(digest) => digest,
        None => digest_of(payload, shared.options.max_payload).await?,
    };
    let reference = Reference { created_at: None, digest: Some(digest), ..stored.reference() };
    let limits = Limits { max_bytes: stored.size };
    let whole =
        StoredPayload::new(Arc::clone(&shared.store), stored.key.clone(), reference, limits, Integrity::Require)?;
    let mut reader = whole.open(0, None).await?;
    loop {
        match reader.next().await {
            Ok(Some(_)) => {}
            Ok(None) => return Ok(stored),
            Err(error) if error.kind() == pipette_api::ErrorKind::Data => return Ok(Stored { taken: true, ..stored }),
            Err(error) => return Err(error),
        }
    }
}

/// Of a payload that was read without taking its digest: only what is there already is compared.
async fn digest_of(payload: &dyn Payload, limit: u64) -> Result<Digest> {
    let mut feed = Feed::open(payload, limit, Work { compression: None, digest: true }).await?;
    let digest = feed.drain().await?.digest;
    Ok(digest.unwrap_or_else(|| unreachable!("it was asked for")))
}

pub(super) fn describe(shared: &Shared, key: &str, content: Content) -> Stored {
    Stored {
        uri: shared.store.uri_of(key),
        key: key.to_owned(),
        size: content.size,
        digest: content.digest,
        compression: shared.options.compression,
        etag: None,
        version: None,
        found: false,
        taken: false,
    }
}

/// Not the content encoding: GCS would decompress such objects on the way out, and they would be other bytes.
fn attributes(errand: &Errand<'_>) -> Attributes {
    let mut attributes = Attributes::new();
    // A header of a request takes no other characters.
    let plain = |text: &&str| text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && text.len() < 256;
    if let Some(kind) = errand.content_type.filter(plain) {
        attributes.insert(Attribute::ContentType, kind.to_owned().into());
    }
    attributes
}

/// Azure is told of attributes when an upload ends, which the client does not do.
pub(super) fn multipart_options(shared: &Shared, errand: &Errand<'_>) -> PutMultipartOptions {
    let attributes = match shared.store.uri().scheme {
        Scheme::Azure => Attributes::new(),
        _ => attributes(errand),
    };
    PutMultipartOptions { attributes, ..PutMultipartOptions::default() }
}
