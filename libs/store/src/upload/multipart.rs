//! Uploads in parts, and what becomes of those that do not come to their end.
//!
//! An upload in parts that nobody ends or aborts stays in a bucket for ever, unseen and paid for, and S3 does not abort it
//! when its client goes away. So each is known before it exists: here, and in the journal. Of one whose start was not answered
//! any more only the key is known, and the store is asked what there is under it. Somebody else may upload under the same key
//! at that time, when content gives the name: what holds a part already is theirs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{PutMultipartOptions, PutPayload};
use pipette_api::{ConnectError, ErrorKind, Result};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;

use super::mill::{Content, Part, changed};
use super::remote::{Started, client, describe, multipart_options};
use super::{Errand, Shared, Stored};
use crate::fault::{self, Act};
use crate::journal::{Journal, OpenUpload};
use crate::store::Store;

/// What S3 takes.
const MOST_PARTS: usize = 10_000;

/// Something goes on outside until this is dropped.
pub(super) type Going = watch::Receiver<()>;

/// Uploads that were given up and are still to be aborted.
pub(super) struct Open {
    journal: Option<Arc<Journal>>,
    left: Mutex<Vec<OpenUpload>>,
    /// Heard by whatever changes something outside and may outlive its caller.
    going: watch::Sender<()>,
}

impl Open {
    pub(super) fn new(journal: Option<Journal>) -> Self {
        Self { journal: journal.map(Arc::new), left: Mutex::default(), going: watch::Sender::new(()) }
    }

    /// To be held while something outside is changed that the end has to wait for.
    pub(super) fn go(&self) -> Going {
        self.going.subscribe()
    }

    /// Waits for everything that goes on without a caller; false when that takes too long.
    pub(super) async fn ended(&self, most: Duration) -> bool {
        tokio::time::timeout(most, self.going.closed()).await.is_ok()
    }

    async fn note(&self, upload: &OpenUpload) -> Result<()> {
        let upload = upload.clone();
        self.journaled(move |journal| journal.note(&upload)).await
    }

    async fn name(&self, meant: &OpenUpload, upload: &OpenUpload) -> Result<()> {
        let (meant, upload) = (meant.clone(), upload.clone());
        self.journaled(move |journal| journal.name(&meant, &upload)).await
    }

    async fn clear(&self, upload: &OpenUpload) -> Result<()> {
        let upload = upload.clone();
        self.journaled(move |journal| journal.clear(&upload)).await
    }

    async fn journaled(&self, act: impl FnOnce(&Journal) -> Result<()> + Send + 'static) -> Result<()> {
        let Some(journal) = self.journal.as_ref().map(Arc::clone) else { return Ok(()) };
        let going = self.go();
        crate::store::blocking(move || {
            let done = act(&journal);
            drop(going);
            done
        })
        .await
    }

    fn take(&self, which: impl Fn(&OpenUpload) -> bool) -> Vec<OpenUpload> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).extract_if(.., |upload| which(upload)).collect()
    }

    fn leave(&self, upload: OpenUpload) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if !left.contains(&upload) {
            left.push(upload);
        }
    }
}

/// How often the store is asked to begin an upload, and how long before the second time.
const STARTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// An upload between its first request and its last. Dropped in between, it is aborted.
struct Running {
    shared: Arc<Shared>,
    upload: Option<OpenUpload>,
    /// Beside it, what earlier requests may have begun that were not answered.
    stray: Option<OpenUpload>,
    going: Option<Going>,
}

impl Running {
    /// In a task of its own: when the caller goes away in the middle of the request, somebody still learns the upload's id.
    async fn begin(shared: &Arc<Shared>, key: &str, options: PutMultipartOptions) -> Result<Self> {
        let (shared, key, path) = (Arc::clone(shared), key.to_owned(), shared.store.path(key)?);
        let going = Some(shared.uploads.go());
        let begun = tokio::spawn(async move {
            let meant = OpenUpload::meant(shared.store.uri_of(&key));
            shared.uploads.note(&meant).await?;
            let mut running = Self { upload: Some(meant.clone()), stray: None, shared: Arc::clone(&shared), going };
            // Not left to the client, which would not say that it had asked more than once.
            let starter = shared.store.starter().unwrap_or_else(|| client(&shared));
            let mut asked = 1;
            loop {
                let error = match starter.create_multipart_opts(&path, options.clone()).await {
                    Ok(id) => {
                        running.named(meant, id, asked > 1).await?;
                        return Ok(running);
                    }
                    Err(error) => shared.store.fault(Act::Write, &key, &error),
                };
                // A refusal is an answer: there is no such upload.
                if error.kind() != ErrorKind::Retriable && asked == 1 {
                    running.settle().await?;
                    return Err(error);
                }
                if error.kind() != ErrorKind::Retriable || asked == STARTS {
                    return Err(error);
                }
                tokio::time::sleep(PAUSE * asked).await;
                asked += 1;
            }
        });
        begun.await.unwrap_or_else(|error| Err(ConnectError::fatal("the start of an upload panicked").because(error)))
    }

    /// The store has said what it calls the upload; nothing where it keeps none.
    async fn named(&mut self, meant: OpenUpload, id: String, again: bool) -> Result<()> {
        if id.is_empty() {
            self.upload = None;
            return Ok(());
        }
        let upload = OpenUpload { id, ..meant.clone() };
        self.upload = Some(upload.clone());
        if again {
            self.stray = Some(meant);
            return self.shared.uploads.note(&upload).await;
        }
        self.shared.uploads.name(&meant, &upload).await
    }

    fn id(&self) -> String {
        self.upload.as_ref().map(|upload| upload.id.clone()).unwrap_or_default()
    }

    async fn settle(mut self) -> Result<()> {
        if let Some(upload) = self.upload.take() {
            self.shared.uploads.clear(&upload).await?;
        }
        self.abort().await;
        Ok(())
    }

    async fn abort(mut self) {
        for upload in self.upload.take().into_iter().chain(self.stray.take()) {
            if let Err(error) = abort(&self.shared, &upload).await {
                tracing::warn!(%error, uri = upload.uri, "An upload in parts could not be aborted yet");
                self.shared.uploads.leave(upload);
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let left: Vec<OpenUpload> = self.upload.take().into_iter().chain(self.stray.take()).collect();
        let all_meant = left.iter().all(OpenUpload::is_meant);
        for upload in left {
            self.shared.uploads.leave(upload);
        }
        if all_meant {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (shared, going) = (Arc::clone(&self.shared), self.going.take());
            runtime.spawn(async move {
                if let Err(error) = sweep(&shared, |upload| !upload.is_meant()).await {
                    tracing::warn!(%error, "An upload in parts that was given up could not be aborted yet");
                }
                drop(going);
            });
        }
    }
}

/// Says how many there were.
async fn abort(shared: &Shared, upload: &OpenUpload) -> Result<usize> {
    let store = &shared.store;
    let uri = crate::uri::ObjectUri::read(&upload.uri).ok();
    let here = uri.filter(|uri| uri.bucket == store.uri().bucket && uri.scheme == store.uri().scheme);
    let Some(uri) = here else {
        tracing::warn!(
            uri = upload.uri,
            id = upload.id,
            "An upload in parts is open in a bucket that is no longer used"
        );
        shared.uploads.clear(upload).await?;
        return Ok(1);
    };
    let ids = if upload.is_meant() { begun(store, &uri.key).await? } else { vec![upload.id.clone()] };
    for id in &ids {
        match client(shared).abort_multipart(&store.path(&uri.key)?, id).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            // It may be gone; some stores say 403 then. A task that never starts again would be worse than what it leaves.
            Err(error @ object_store::Error::PermissionDenied { .. }) => {
                let error = store.fault(Act::Delete, &uri.key, &error);
                tracing::warn!(%error, id, "An upload in parts is gone already or may not be aborted");
            }
            Err(error) => return Err(store.fault(Act::Delete, &uri.key, &error)),
        }
    }
    shared.uploads.clear(upload).await?;
    Ok(ids.len())
}

/// The uploads under a key that a lost answer may have kept from being known. Those never got a part. Another one that has
/// none yet begins once more, when it is aborted.
async fn begun(store: &Store, key: &str) -> Result<Vec<String>> {
    match store.empty_uploads(key).await {
        Err(error) if error.kind() != ErrorKind::Retriable => {
            tracing::warn!(%error, "An upload in parts may be left, and the store does not tell");
            Ok(Vec::new())
        }
        told => told,
    }
}

/// Aborts those that are left; what cannot be aborted now stays on the list.
pub(super) async fn sweep(shared: &Shared, which: impl Fn(&OpenUpload) -> bool) -> Result<()> {
    let mut result = Ok(());
    for upload in shared.uploads.take(which) {
        if let Err(error) = abort(shared, &upload).await {
            shared.uploads.leave(upload);
            result = Err(error);
        }
    }
    result
}

/// Aborts what the journal tells of.
pub(super) async fn recover(shared: &Shared) -> Result<usize> {
    let left = shared.uploads.journal.as_ref().map(|journal| journal.left()).unwrap_or_default();
    let mut aborted = 0;
    for upload in &left {
        aborted += abort(shared, upload).await?;
    }
    Ok(aborted)
}

/// Uploads. What was read once already is `known`, and must be the same again.
pub(super) async fn upload(
    shared: &Arc<Shared>,
    key: &str,
    started: Started,
    permit: OwnedSemaphorePermit,
    errand: &Errand<'_>,
    known: Option<Content>,
) -> Result<Stored> {
    let running = Running::begin(shared, key, multipart_options(shared, errand)).await?;
    let path = shared.store.path(key)?;
    let sent = async {
        let (parts, content, size) = send(shared, &path, &running.id(), started, permit).await?;
        if known.is_some_and(|known| known != content) {
            return Err(changed("it was read twice and had two contents"));
        }
        complete(shared, key, &running.id(), parts, size).await.map(|put| (put, content))
    };
    match sent.await {
        Ok(((etag, version), content)) => {
            running.settle().await?;
            Ok(Stored { etag, version, ..describe(shared, key, content) })
        }
        Err(error) => {
            running.abort().await;
            Err(error)
        }
    }
}

/// The parts of an upload that are on their way.
struct Parts<'a> {
    shared: &'a Shared,
    path: &'a Path,
    id: &'a str,
    sending: JoinSet<(usize, object_store::Result<PartId>)>,
    sent: BTreeMap<usize, PartId>,
    count: usize,
}

impl Parts<'_> {
    fn send(&mut self, part: Part, permit: OwnedSemaphorePermit) -> Result<()> {
        let index = self.count;
        if index == MOST_PARTS {
            return Err(ConnectError::data(format!(
                "the payload has more than {MOST_PARTS} parts of {} bytes and did not say how large it is: \
                 raise part.size.bytes",
                self.shared.options.part_size
            )));
        }
        let (remote, path, id) = (Arc::clone(client(self.shared)), self.path.clone(), self.id.to_owned());
        self.count += 1;
        self.sending.spawn(async move {
            let sent = remote.put_part(&path, &id, index, PutPayload::from_iter(part.pieces)).await;
            drop(permit);
            (index, sent)
        });
        Ok(())
    }

    /// Takes the next part that has arrived; false when none is on its way.
    async fn arrive(&mut self) -> Result<bool> {
        let Some(arrived) = self.sending.join_next().await else { return Ok(false) };
        let (index, part) = arrived.map_err(|error| ConnectError::fatal("sending a part panicked").because(error))?;
        let part = part.map_err(|error| self.fault(&error))?;
        self.sent.insert(index, part);
        Ok(true)
    }

    fn fault(&self, error: &object_store::Error) -> ConnectError {
        if fault::is_gone(error) {
            return aborted(self.shared, self.path.as_ref(), error);
        }
        self.shared.store.fault(Act::Write, self.path.as_ref(), error)
    }

    /// Room for the next part, while those on their way are watched: one that fails ends the upload.
    async fn room(&mut self, size: u64) -> Result<OwnedSemaphorePermit> {
        let shared = self.shared;
        let room = shared.room(size);
        tokio::pin!(room);
        loop {
            tokio::select! {
                permit = &mut room => return Ok(permit),
                arrived = self.arrive(), if !self.sending.is_empty() => arrived.map(drop)?,
            }
        }
    }
}

async fn send(
    shared: &Shared,
    path: &Path,
    id: &str,
    started: Started,
    permit: OwnedSemaphorePermit,
) -> Result<(Vec<PartId>, Content, u64)> {
    let Started { mut feed, part_size, first, mut over } = started;
    let mut parts = Parts { shared, path, id, sending: JoinSet::new(), sent: BTreeMap::new(), count: 0 };
    let (mut part, mut permit, mut size) = (first, permit, 0);
    loop {
        let last = part.size < part_size;
        size += part.size;
        // A payload of whole parts only ends with one that holds nothing.
        if part.size > 0 {
            parts.send(part, permit)?;
        }
        if last {
            break;
        }
        permit = parts.room(part_size).await?;
        part = feed.part(part_size, &mut over).await?;
    }
    while parts.arrive().await? {}
    Ok((parts.sent.into_values().collect(), feed.content(), size))
}

type Tags = (Option<String>, Option<String>);

async fn complete(shared: &Shared, key: &str, id: &str, parts: Vec<PartId>, size: u64) -> Result<Tags> {
    let path = shared.store.path(key)?;
    match client(shared).complete_multipart(&path, &id.to_owned(), parts).await {
        Ok(put) => Ok((put.e_tag, put.version)),
        // The answer to an earlier try may be lost: the upload is gone because it is complete. S3 answers 404 then, some of
        // its like 403.
        Err(error) if fault::is_gone(&error) || matches!(error, object_store::Error::PermissionDenied { .. }) => {
            match shared.store.glance(key).await? {
                Some(object) if object.size == size => Ok((object.etag, object.version)),
                _ => Err(aborted(shared, key, &error)),
            }
        }
        Err(error) => Err(shared.store.fault(Act::Write, key, &error)),
    }
}

fn aborted(shared: &Shared, key: &str, error: &object_store::Error) -> ConnectError {
    let uri = shared.store.uri_of(key);
    ConnectError::retriable(format!("the upload of {uri} is gone before its end: somebody aborted it"))
        .because(shared.store.fault(Act::Write, key, error))
}
