//! Upload into a folder: one pass, whatever the name is made of, because a draft has none until its digest is known.
//!
//! Threads that may block are few, and whoever reads the payload needs them as well: no upload keeps one while it waits.

use std::sync::Arc;

use bytes::Bytes;
use pipette_api::{Payload, Result};

use super::mill::{Content, Intake, Mill, Work};
use super::multipart::Going;
use super::{Errand, Shared, Stored};
use crate::local::{Draft, Folder, Kept};
use crate::store::blocking;

pub(super) async fn upload(
    shared: &Shared,
    folder: &Arc<Folder>,
    payload: &dyn Payload,
    errand: &Errand<'_>,
) -> Result<Stored> {
    let options = &shared.options;
    let mut intake = Intake::open(payload, options.max_payload).await?;
    let mut writing = {
        let (folder, owner, work) = (Arc::clone(folder), options.owner.clone(), options.work());
        let going = shared.uploads.go();
        blocking(move || Writing::begin(&folder, &owner, work, going)).await?
    };
    let mut piece = intake.next().await?;
    while let Some(now) = piece {
        // The next one is read while this one is written.
        let (written, next) = tokio::join!(blocking(move || writing.write(now)), intake.next());
        (writing, piece) = (written?, next?);
    }
    let (draft, content, size) = blocking(move || writing.end()).await?;
    let key = shared.store.key_of(&errand.key(content.digest.as_ref(), options.compression)?);
    let kept = {
        let (folder, key) = (Arc::clone(folder), key.clone());
        blocking(move || folder.keep(draft, &key)).await?
    };
    let found = kept == Kept::Present;
    let stored = Stored {
        uri: shared.store.uri_of(&key),
        key,
        size: content.size,
        digest: content.digest,
        compression: options.compression,
        etag: None,
        version: None,
        found,
        taken: false,
    };
    if found {
        return super::remote::verify_found(shared, &stored, size, payload, errand).await;
    }
    Ok(stored)
}

/// A draft that becomes longer; given up in between, it is gone.
struct Writing {
    draft: Draft,
    mill: Mill,
    size: u64,
    /// Until the draft is gone, which may be after the caller.
    _going: Going,
}

impl Writing {
    fn begin(folder: &Folder, owner: &str, work: Work, going: Going) -> Result<Self> {
        Ok(Self { draft: folder.draft(owner)?, mill: Mill::new(work)?, size: 0, _going: going })
    }

    fn write(mut self, piece: Bytes) -> Result<Self> {
        let turned = self.mill.turn(piece)?;
        self.size += turned.len() as u64;
        self.draft.write(&turned)?;
        Ok(self)
    }

    /// What was written, whose it is, and its size as it is stored.
    fn end(mut self) -> Result<(Draft, Content, u64)> {
        let (content, tail) = self.mill.end()?;
        self.draft.write(&tail)?;
        Ok((self.draft, content, self.size + tail.len() as u64))
    }
}
