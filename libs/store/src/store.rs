//! One bucket or folder: its objects, by key.
//!
//! Keys are whole keys of the bucket (whole paths for a folder), with the prefix of `store.uri`: those that [`ObjectUri`]
//! holds. Uploads are in `upload/`, reading is in `download.rs`.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStoreExt};
use pipette_api::{ConnectError, ErrorKind, PayloadReader, Result};

use crate::config::StoreSettings;
use crate::fault::{self, Act};
use crate::local::{Folder, read_at};
use crate::open_uploads::OpenUploads;
use crate::remote::{self, Built, Remote};
use crate::uri::{ObjectUri, Scheme};
use crate::web::Web;

/// How much of a file is read at a time.
const PIECE: u64 = 1 << 20;

/// How many objects a listing gives at a time.
const PAGE: usize = 1000;

/// An object as a store describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Its size in bytes, as stored.
    pub size: u64,
    /// Its entity tag; never a digest of the content.
    pub etag: Option<String>,
    /// Its version, where the store keeps several.
    pub version: Option<String>,
    /// When it was last written, in milliseconds since 1970.
    pub modified: i64,
}

impl Object {
    fn of(meta: ObjectMeta) -> Self {
        Self {
            key: meta.location.to_string(),
            size: meta.size,
            etag: meta.e_tag,
            version: meta.version,
            modified: meta.last_modified.timestamp_millis(),
        }
    }
}

/// A bucket or folder. Shared by tasks behind an `Arc`; nothing is connected before the first request.
pub struct Store {
    uri: ObjectUri,
    pub(crate) backend: Backend,
    /// Begins uploads in parts and tries no second time by itself; the same as the other where that one does not either.
    starter: Option<Arc<dyn Remote>>,
    uploads: Option<OpenUploads>,
    signer: Option<Arc<dyn Signer>>,
}

#[derive(Clone)]
pub(crate) enum Backend {
    Folder(Arc<Folder>),
    Remote(Arc<dyn Remote>),
    /// Read only.
    Web(Arc<Web>),
}

impl Store {
    /// Builds a client and connects to nobody yet. A config error when an option is unknown or contradicts another, or when
    /// the worker does not let connectors go there.
    pub fn open(settings: &StoreSettings) -> Result<Arc<Self>> {
        let backend = match settings.uri.scheme {
            Scheme::File => Backend::Folder(Arc::new(Folder::at(settings)?)),
            Scheme::Https => Backend::Web(Arc::new(Web::open(settings)?)),
            _ => {
                let Built { remote, starter, uploads, signer } = remote::build(settings)?;
                let (uri, backend) = (settings.uri.clone(), Backend::Remote(remote));
                return Ok(Arc::new(Self { uri, backend, starter, uploads, signer }));
            }
        };
        Ok(Self::over(settings.uri.clone(), backend))
    }

    /// A store that is nothing but a backend.
    pub(crate) fn over(uri: ObjectUri, backend: Backend) -> Arc<Self> {
        Arc::new(Self { uri, backend, starter: None, uploads: None, signer: None })
    }

    /// A stand-in that is empty, keeps objects in memory, and has the address of the real one: for previews. Options are
    /// checked as [`Store::open`] does.
    pub fn stand_in(settings: &StoreSettings) -> Result<Arc<Self>> {
        Self::open(settings)?;
        Ok(Self::over(settings.uri.clone(), Backend::Remote(remote::in_memory())))
    }

    /// What the web is not for.
    pub(crate) fn read_only(&self) -> ConnectError {
        ConnectError::config(format!("{} can only be read: addresses of the web are no store", self.uri))
    }

    /// The bucket or folder with the prefix that uploads are put under.
    pub fn uri(&self) -> &ObjectUri {
        &self.uri
    }

    /// The address of a key.
    pub fn uri_of(&self, key: &str) -> String {
        self.uri.with_key(key).to_string()
    }

    /// The whole key of what has this name under the store's prefix.
    pub(crate) fn key_of(&self, name: &str) -> String {
        if self.uri.key.is_empty() { name.to_owned() } else { format!("{}/{name}", self.uri.key) }
    }

    /// Asks for one page of objects, so that a wrong bucket or credential is known at the start: fatal then, retriable
    /// when nobody answers.
    pub async fn probe(&self) -> Result<()> {
        match &self.backend {
            Backend::Folder(folder) => {
                let folder = Arc::clone(folder);
                blocking(move || folder.probe()).await
            }
            Backend::Remote(_) => self.list(&self.uri.key).next().await.map(drop),
            Backend::Web(_) => Err(self.read_only()),
        }
    }

    /// Describes an object; `None` when there is none. Fatal when it is the bucket that there is none of: who reads would
    /// take every object for missing.
    pub async fn head(&self, key: &str) -> Result<Option<Object>> {
        let found = self.glance(key).await?;
        if found.is_some() || !matches!(self.backend, Backend::Remote(_)) {
            return Ok(found);
        }
        // The answer to a request without a body does not tell what is missing.
        match self.read(key, &Cut::default()).await {
            Ok((object, _)) => Ok(Some(object)),
            Err(error) if error.kind() == ErrorKind::Data => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same in one request, for uploads, which find a missing bucket anyway.
    pub(crate) async fn glance(&self, key: &str) -> Result<Option<Object>> {
        match &self.backend {
            Backend::Folder(folder) => {
                let (folder, key) = (Arc::clone(folder), key.to_owned());
                blocking(move || folder.head(&key)).await
            }
            Backend::Web(web) => web.head(key).await,
            Backend::Remote(remote) => match remote.head(&self.path(key)?).await {
                Ok(meta) => Ok(Some(Object::of(meta))),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(self.fault(Act::Read, key, &error)),
            },
        }
    }

    /// An address with a signature, by which anybody may read an object for so long (whole seconds, a week at most): a secret.
    /// Nobody is asked whether the object is there. A config error where there are no signatures.
    pub async fn signed_url(&self, key: &str, valid: Duration) -> Result<String> {
        let Some(signer) = &self.signer else {
            return Err(ConnectError::config(format!(
                "{} cannot sign addresses: only S3, GCS and Azure can",
                self.uri
            )));
        };
        let url = signer.signed_url(http::Method::GET, &self.path(key)?, valid).await;
        url.map(String::from).map_err(|error| self.fault(Act::Sign, key, &error))
    }

    /// What the store calls the uploads in parts of a key that have begun and hold no part; none where there are none.
    pub(crate) async fn empty_uploads(&self, key: &str) -> Result<Vec<String>> {
        match &self.uploads {
            Some(uploads) => uploads.empty(key).await,
            None => Ok(Vec::new()),
        }
    }

    pub(crate) fn starter(&self) -> Option<&Arc<dyn Remote>> {
        self.starter.as_ref()
    }

    /// Whether uploads in parts that nobody ends stay until somebody aborts them. Azure's go by themselves.
    pub(crate) fn keeps_uploads(&self) -> bool {
        self.uri.scheme != Scheme::Azure
    }

    /// Deletes an object. One that is gone already is no error.
    pub async fn delete(&self, key: &str) -> Result<()> {
        match &self.backend {
            Backend::Folder(folder) => {
                let (folder, key) = (Arc::clone(folder), key.to_owned());
                blocking(move || folder.delete(&key)).await
            }
            Backend::Web(_) => Err(self.read_only()),
            Backend::Remote(remote) => match remote.delete(&self.path(key)?).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(self.fault(Act::Delete, key, &error)),
            },
        }
    }

    /// The objects under a prefix (a whole number of parts of keys), page by page. Drafts are not among them.
    pub fn list(&self, prefix: &str) -> Listing<'_> {
        let source = match &self.backend {
            Backend::Folder(folder) => Pages::Folders(Arc::clone(folder), VecDeque::from([Folder::path_of(prefix)])),
            Backend::Remote(remote) => {
                // Every prefix comes from an address; what is no path is nobody's key.
                let prefix = Path::parse(prefix).unwrap_or_else(|_| Path::from(prefix));
                Pages::Stream(remote.list((!prefix.as_ref().is_empty()).then_some(&prefix)))
            }
            // Nobody lists the web: what asks has been told so by `probe`.
            Backend::Web(_) => Pages::Done,
        };
        Listing { store: self, source }
    }

    /// Opens an object at a place, to its end or for `len` bytes. With an entity tag or a version it must be that one.
    pub(crate) async fn read(&self, key: &str, cut: &Cut) -> Result<(Object, Box<dyn PayloadReader>)> {
        match &self.backend {
            Backend::Folder(folder) => {
                let (folder, key) = (Arc::clone(folder), key.to_owned());
                let (file, object) = blocking(move || folder.open(&key)).await?;
                let end = cut.len.map_or(object.size, |len| object.size.min(cut.start.saturating_add(len)));
                let what = self.uri_of(&object.key);
                Ok((object, Box::new(FileReader { file: Some(file), at: cut.start, end, what })))
            }
            Backend::Web(web) => web.read(key, cut).await,
            Backend::Remote(remote) => {
                let range = match (cut.start, cut.len) {
                    (0, None) => None,
                    (start, None) => Some(GetRange::Offset(start)),
                    (start, Some(len)) => Some(GetRange::Bounded(start..start.saturating_add(len))),
                };
                let options = GetOptions {
                    range,
                    if_match: cut.etag.clone(),
                    version: cut.version.clone(),
                    ..GetOptions::default()
                };
                let result = remote.get_opts(&self.path(key)?, options).await;
                let result = result.map_err(|error| self.fault(Act::Read, key, &error))?;
                let object = Object::of(result.meta.clone());
                let what = self.uri_of(key);
                Ok((object, Box::new(StreamReader { stream: result.into_stream(), what })))
            }
        }
    }

    pub(crate) fn path(&self, key: &str) -> Result<Path> {
        Path::parse(key)
            .map_err(|_| ConnectError::data(format!("{} has a key that stores do not take", self.uri_of(key))))
    }

    pub(crate) fn fault(&self, act: Act, key: &str, error: &object_store::Error) -> ConnectError {
        fault::of_store(act, &self.uri_of(key), error)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.uri)
    }
}

/// Which part of an object is read, and of which one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cut {
    pub(crate) start: u64,
    pub(crate) len: Option<u64>,
    pub(crate) etag: Option<String>,
    pub(crate) version: Option<String>,
}

/// Objects, page by page.
pub struct Listing<'a> {
    store: &'a Store,
    source: Pages,
}

enum Pages {
    Folders(Arc<Folder>, VecDeque<PathBuf>),
    Stream(BoxStream<'static, object_store::Result<ObjectMeta>>),
    Done,
}

impl Listing<'_> {
    /// The next objects, possibly none of a folder; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Object>>> {
        match &mut self.source {
            Pages::Done => Ok(None),
            Pages::Folders(folder, left) => {
                let Some(next) = left.pop_front() else { return Ok(None) };
                let folder = Arc::clone(folder);
                let (objects, inner) = blocking(move || folder.list(&next)).await?;
                left.extend(inner);
                Ok(Some(objects))
            }
            Pages::Stream(stream) => {
                let mut page = Vec::new();
                while page.len() < PAGE {
                    match stream.next().await {
                        Some(Ok(meta)) => page.push(Object::of(meta)),
                        Some(Err(error)) => return Err(self.store.fault(Act::List, &self.store.uri.key, &error)),
                        None => {
                            self.source = Pages::Done;
                            break;
                        }
                    }
                }
                Ok((!page.is_empty()).then_some(page))
            }
        }
    }
}

/// Runs what blocks where that is allowed.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => {
            Err(ConnectError::fatal("work on a file was cut short by a panic or the end of the task").because(error))
        }
    }
}

struct FileReader {
    file: Option<File>,
    at: u64,
    end: u64,
    what: String,
}

#[async_trait]
impl PayloadReader for FileReader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let (at, most) = (self.at, PIECE.min(self.end.saturating_sub(self.at)));
        if most == 0 {
            return Ok(None);
        }
        let Some(mut file) = self.file.take() else {
            return Err(ConnectError::retriable(format!("Cannot read {}: an earlier read was given up", self.what)));
        };
        let what = self.what.clone();
        let (file, bytes) = blocking(move || {
            let bytes = read_at(&mut file, at, most).map_err(|error| fault::of_file(Act::Read, &what, &error))?;
            Ok((file, bytes))
        })
        .await?;
        self.file = Some(file);
        self.at += bytes.len() as u64;
        if bytes.is_empty() {
            return Err(ConnectError::data(format!("Cannot read {}: it became shorter while it was read", self.what)));
        }
        Ok(Some(bytes))
    }
}

struct StreamReader {
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    what: String,
}

#[async_trait]
impl PayloadReader for StreamReader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.stream.next().await {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => return Ok(Some(bytes)),
                Some(Err(error)) => return Err(fault::of_store(Act::Read, &self.what, &error)),
                None => return Ok(None),
            }
        }
    }
}
