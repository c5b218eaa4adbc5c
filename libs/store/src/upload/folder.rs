//! Upload into a folder: one pass, whatever the name is made of, because a draft has none until its digest is known.

use std::sync::Arc;

use bytes::Bytes;
use pipette_api::{ConnectError, Payload, Result};
use tokio::sync::mpsc;

use super::mill::{Content, Intake, Mill};
use super::{Errand, Shared, Stored};
use crate::compression::Compression;
use crate::local::{Draft, Folder, Kept};
use crate::store::blocking;

/// Pieces that wait for the disk.
const WAITING: usize = 2;

/// `None` marks the end; without it the reader was given up and the draft goes.
type Piece = Option<Bytes>;

pub(super) async fn upload(
    shared: &Shared,
    folder: &Arc<Folder>,
    payload: &dyn Payload,
    errand: &Errand<'_>,
) -> Result<Stored> {
    let options = &shared.options;
    let mut intake = Intake::open(payload, options.max_payload).await?;
    let (send, pieces) = mpsc::channel(WAITING);
    let writer = {
        let (folder, owner, compression) = (Arc::clone(folder), options.owner.clone(), options.compression);
        // The draft goes after its caller has.
        let going = shared.uploads.go();
        tokio::task::spawn_blocking(move || {
            let written = write(&folder, &owner, compression, pieces);
            drop(going);
            written
        })
    };
    let fed = async {
        loop {
            let piece = intake.next().await?;
            let last = piece.is_none();
            // A writer that has failed takes no more, and says why below.
            if send.send(piece).await.is_err() || last {
                return Ok::<_, ConnectError>(());
            }
        }
    }
    .await;
    drop(send);
    let written = writer.await.map_err(|error| ConnectError::fatal("the write of a file panicked").because(error))?;
    fed?;
    let (draft, content, size) = written?;
    let key = shared.store.key_of(&errand.key(Some(&content.digest), options.compression)?);
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
    };
    if found {
        super::remote::verify_found(shared, &stored, size, errand).await?;
    }
    Ok(stored)
}

fn write(
    folder: &Folder,
    owner: &str,
    compression: Option<Compression>,
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<(Draft, Content, u64)> {
    let mut draft = folder.draft(owner)?;
    let mut mill = Mill::new(compression)?;
    let mut size = 0;
    while let Some(piece) = pieces.blocking_recv() {
        let Some(piece) = piece else {
            let (content, tail) = mill.end()?;
            draft.write(&tail)?;
            return Ok((draft, content, size + tail.len() as u64));
        };
        let turned = mill.turn(piece)?;
        size += turned.len() as u64;
        draft.write(&turned)?;
    }
    Err(ConnectError::retriable("the upload was given up before its payload had been read"))
}
