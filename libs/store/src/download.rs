//! A reference as a payload: nothing is read before somebody asks, any range can be, and what is read whole is verified.
//!
//! A broken connection is taken up where it broke, on the same version of the object. A mismatch comes in the place of the
//! end, so that a sink which has written everything but not closed its file learns of it in time.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use pipette_api::{ConnectError, ErrorKind, Payload, PayloadReader, Result};

use crate::compression::Decoder;
use crate::digest::Hasher;
use crate::reference::Reference;
use crate::store::{Cut, Object, Store};

/// How often a broken connection is taken up without a byte in between.
const RESUMES: u32 = 3;

/// Whether a payload's digest is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Integrity {
    /// A reference without a digest is refused.
    #[default]
    Require,
    /// Verified when the reference has one.
    IfPresent,
    /// Not verified, size included.
    Off,
}

/// How much may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of the object as stored, and of the payload as decompressed.
    pub max_bytes: u64,
}

/// A payload in a store.
#[derive(Debug, Clone)]
pub struct StoredPayload {
    store: Arc<Store>,
    key: String,
    reference: Arc<Reference>,
    limits: Limits,
    integrity: Integrity,
}

impl StoredPayload {
    /// What the reference tells of, in the store it leads to ([`crate::Stores::find`]). A data error when it tells of too much,
    /// or of no digest where one is required. Nothing is asked of the store yet.
    pub fn new(
        store: Arc<Store>,
        key: String,
        reference: Reference,
        limits: Limits,
        integrity: Integrity,
    ) -> Result<Self> {
        if let Some(size) = reference.size
            && size > limits.max_bytes
        {
            return Err(too_large(&reference.uri, limits));
        }
        if integrity == Integrity::Require && reference.digest.is_none() {
            return Err(ConnectError::data(format!(
                "the reference to {} has no digest, and integrity=require asks for one",
                reference.uri
            )));
        }
        Ok(Self { store, key, reference: Arc::new(reference), limits, integrity })
    }

    /// What it was made from.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// Opens the stored form, and holds what the store says against what the reference says.
    async fn fetch(&self, start: u64, len: Option<u64>) -> Result<Fetch> {
        let cut = Cut { start, len, etag: self.reference.etag.clone(), version: self.reference.version_id.clone() };
        let (object, reader) = self.store.read(&self.key, &cut).await?;
        if object.size > self.limits.max_bytes {
            return Err(too_large(&self.reference.uri, self.limits));
        }
        self.hold_tag(self.reference.etag.as_deref(), &object)?;
        if self.integrity != Integrity::Off
            && self.reference.content_encoding.is_none()
            && let Some(size) = self.reference.size
            && size != object.size
        {
            return Err(self.mismatch(&format!("it has {} bytes, the reference says {size}", object.size)));
        }
        if start > object.size {
            return Err(self.outside(start));
        }
        let end = len.map_or(object.size, |len| object.size.min(start.saturating_add(len)));
        Ok(Fetch { payload: self.clone(), object, reader, at: start, end, resumes: 0 })
    }

    /// The request asked for this object only, but not every store that speaks S3 listens. Quotes come and go on the way.
    fn hold_tag(&self, expected: Option<&str>, object: &Object) -> Result<()> {
        let bare = |tag: &str| tag.trim_start_matches("W/").trim_matches('"').to_owned();
        match (expected, &object.etag) {
            (Some(expected), Some(found)) if bare(expected) != bare(found) => {
                Err(self.mismatch("the object was overwritten or deleted since its reference was written"))
            }
            _ => Ok(()),
        }
    }

    fn mismatch(&self, how: &str) -> ConnectError {
        ConnectError::data(format!("{} is not what its reference tells of: {how}", self.reference.uri))
    }

    fn outside(&self, start: u64) -> ConnectError {
        ConnectError::data(format!("byte {start} is outside of {}", self.reference.uri))
    }
}

fn too_large(uri: &str, limits: Limits) -> ConnectError {
    ConnectError::data(format!("{uri} is larger than max.payload.bytes ({})", limits.max_bytes))
}

#[async_trait]
impl Payload for StoredPayload {
    fn len(&self) -> Option<u64> {
        self.reference.size
    }

    fn content_type(&self) -> Option<&str> {
        self.reference.content_type.as_deref()
    }

    async fn open(&self, start: u64, len: Option<u64>) -> Result<Box<dyn PayloadReader>> {
        let known = self.reference.size;
        if let Some(size) = known
            && start.checked_add(len.unwrap_or(0)).is_none_or(|end| end > size)
        {
            return Err(self.outside(start.saturating_add(len.unwrap_or(0))));
        }
        if len == Some(0) || (known == Some(start) && start > 0) {
            return Ok(Box::new(Nothing));
        }
        let whole = start == 0 && len.is_none_or(|len| known == Some(len));
        let verify = (whole && self.integrity != Integrity::Off).then(Hasher::default);
        let Some(compression) = self.reference.content_encoding else {
            let fetch = self.fetch(start, len.filter(|_| !whole)).await?;
            return Ok(Box::new(Checked { fetch, unpack: None, verify, skip: 0, left: len, size: 0 }));
        };
        let decoder = Decoder::new(compression, self.limits.max_bytes)
            .map_err(|error| ConnectError::fatal("the decompression of a payload failed").because(error))?;
        let fetch = self.fetch(0, None).await?;
        let unpack = Some(Unpack { decoder, input: Bytes::new(), ended: false });
        Ok(Box::new(Checked { fetch, unpack, verify, skip: start, left: len, size: 0 }))
    }
}

struct Nothing;

#[async_trait]
impl PayloadReader for Nothing {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }
}

/// The stored form on its way, whole or a range of it.
struct Fetch {
    payload: StoredPayload,
    object: Object,
    reader: Box<dyn PayloadReader>,
    at: u64,
    end: u64,
    resumes: u32,
}

impl Fetch {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.at == self.end {
                return Ok(None);
            }
            let broken = match self.reader.next().await {
                Ok(Some(mut bytes)) => {
                    let room = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
                    bytes.truncate(room);
                    self.at += bytes.len() as u64;
                    self.resumes = 0;
                    return Ok(Some(bytes));
                }
                Ok(None) => ConnectError::retriable(format!(
                    "{} ended after {} of {} bytes",
                    self.payload.reference.uri, self.at, self.end
                )),
                Err(error) if error.kind() == ErrorKind::Retriable => error,
                Err(error) => return Err(error),
            };
            if self.resumes == RESUMES {
                return Err(broken);
            }
            self.resumes += 1;
            self.resume().await?;
        }
    }

    async fn resume(&mut self) -> Result<()> {
        let cut = Cut {
            start: self.at,
            len: Some(self.end - self.at),
            etag: self.object.etag.clone(),
            version: self.object.version.clone(),
        };
        let (object, reader) = self.payload.store.read(&self.payload.key, &cut).await?;
        self.payload.hold_tag(self.object.etag.as_deref(), &object)?;
        if object.size != self.object.size {
            return Err(self.payload.mismatch("it was overwritten while it was read"));
        }
        self.reader = reader;
        Ok(())
    }
}

struct Unpack {
    decoder: Decoder,
    input: Bytes,
    ended: bool,
}

/// What the payload's reader sees: decompressed, cut to the range, counted and verified.
struct Checked {
    fetch: Fetch,
    unpack: Option<Unpack>,
    verify: Option<Hasher>,
    skip: u64,
    left: Option<u64>,
    size: u64,
}

impl Checked {
    /// The next bytes of the payload itself; possibly none yet.
    async fn plain(&mut self) -> Result<Option<Bytes>> {
        let Some(unpack) = &mut self.unpack else { return self.fetch.next().await };
        if unpack.ended {
            return Ok(None);
        }
        if unpack.input.is_empty() {
            match self.fetch.next().await? {
                Some(bytes) => unpack.input = bytes,
                None => unpack.ended = true,
            }
        }
        let out = if unpack.ended { unpack.decoder.end() } else { unpack.decoder.sip(&mut unpack.input) };
        let payload = &self.fetch.payload;
        let out = out.map_err(|error| match error {
            None => too_large(&payload.reference.uri, payload.limits),
            Some(error) => payload.mismatch("it cannot be decompressed").because(error),
        })?;
        Ok(Some(out.into()))
    }

    /// At the end of what was read whole.
    fn verified(&self) -> Result<()> {
        let Some(hasher) = self.verify.clone() else { return Ok(()) };
        let payload = &self.fetch.payload;
        if let Some(size) = payload.reference.size
            && size != self.size
        {
            return Err(payload.mismatch(&format!("it has {} bytes, the reference says {size}", self.size)));
        }
        match payload.reference.digest {
            Some(digest) if digest != hasher.digest() => Err(payload.mismatch("its digest is another one")),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl PayloadReader for Checked {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            // A whole payload is read to its end, which is where its size shows.
            if self.left == Some(0) && self.verify.is_none() {
                return Ok(None);
            }
            let Some(mut bytes) = self.plain().await? else {
                if self.left.is_some_and(|left| left > 0) || self.skip > 0 {
                    return Err(self.fetch.payload.outside(self.size));
                }
                self.verified()?;
                return Ok(None);
            };
            self.size += bytes.len() as u64;
            if let Some(hasher) = &mut self.verify {
                hasher.update(&bytes);
            }
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            bytes.advance(skipped);
            self.skip -= skipped as u64;
            if let Some(left) = &mut self.left {
                bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= bytes.len() as u64;
            }
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }
}
