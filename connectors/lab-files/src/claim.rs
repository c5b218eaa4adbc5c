//! Files on their way into an object store, with `output.mode=claim-check`. A part of `source.rs`' [`Run`].
//!
//! `fill.rs` begins uploads instead of reading, and hands over the references of those that have ended. A file has no position
//! before its object is durable, and is cleared away only after its reference is stored in Kafka: a crash in between uploads
//! it again, under the same name. Read next: `claim/config.rs`.

pub(crate) mod config;

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use pipette_api::{ConnectError, ErrorKind, Result, SourceEntry};
use pipette_store::{Origin, Reference, Stored, Uploader};
use tokio::task::JoinSet;

use crate::fill::Filling;
use crate::identity::{FileKey, Look};
use crate::ledger::Outcome;
use crate::payload::FilePayload;
use crate::reading::OpenFile;
use crate::source::Run;

type Uploaded = (FileKey, Result<Stored>);

/// The uploads of a task.
pub(crate) struct Claims {
    uploader: Uploader,
    most: usize,
    /// Files that are being uploaded.
    open: HashMap<FileKey, Box<OpenFile>>,
    running: JoinSet<Uploaded>,
    /// Ended while the task rested.
    ended: Vec<Uploaded>,
}

impl Claims {
    /// Takes away what a crash has left.
    pub(crate) async fn start(uploader: Uploader, most: usize) -> Result<Self> {
        let left = uploader.recover().await?;
        if left > 0 {
            tracing::info!(left, store = ?uploader.store(), "Took away uploads that an earlier run left");
        }
        Ok(Self { uploader, most, open: HashMap::new(), running: JoinSet::new(), ended: Vec::new() })
    }

    pub(crate) fn is_full(&self) -> bool {
        self.open.len() >= self.most
    }

    /// Resolves when an upload has ended; never when there is none.
    pub(crate) async fn progress(&mut self) {
        match self.running.join_next().await {
            Some(Ok(ended)) => self.ended.push(ended),
            // One that panicked is missed by `take`.
            Some(Err(_)) => {}
            None => std::future::pending().await,
        }
    }

    fn take(&mut self) -> Result<Vec<Uploaded>> {
        let mut ended = std::mem::take(&mut self.ended);
        while let Some(next) = self.running.try_join_next() {
            ended.extend(next.ok());
        }
        if self.open.len() == self.running.len() + ended.len() {
            return Ok(ended);
        }
        Err(ConnectError::fatal("An upload broke down"))
    }

    /// Gives up what is running.
    pub(crate) async fn stop(mut self) {
        self.running.shutdown().await;
        if let Err(error) = self.uploader.stop(Uploader::PATIENCE).await {
            tracing::warn!(error = error.chain(), "An upload in parts is left in the store");
        }
    }
}

impl Run {
    /// Begins the upload of an open file.
    pub(crate) fn claim(&mut self, key: &FileKey, open: Box<OpenFile>, payload: FilePayload) {
        let root = Arc::clone(&self.settings.roots[key.root].id);
        let (topic, connector) = (Arc::clone(&self.settings.topic), Arc::clone(&self.context.id.connector));
        let Some(claims) = &mut self.claims else { return };
        let (uploader, id, file) = (claims.uploader.clone(), open.id().to_owned(), key.clone());
        let name = key.name();
        claims.running.spawn(async move {
            let origin = Origin {
                topic: &topic,
                connector: &connector,
                partition: &root,
                offset: &id,
                ordinal: Some(0),
                field: "",
                name: Some(&name),
            };
            let stored = uploader.upload(&payload, &origin).await;
            (file, stored)
        });
        claims.open.insert(key.clone(), open);
        self.board.state(&self.board_path(key), "READING", None);
    }

    /// Hands over the references of files that are in the store.
    pub(crate) fn take_claims(&mut self, filling: &mut Filling) {
        let Some(claims) = &mut self.claims else { return };
        let ended = match claims.take() {
            Ok(ended) => ended,
            Err(error) => {
                self.broken = Some(error);
                return;
            }
        };
        for (key, stored) in ended {
            let open = self.claims.as_mut().and_then(|claims| claims.open.remove(&key));
            let Some(open) = open else { continue };
            // What was uploaded may be a mixture of what was there and what is.
            if !self.is_settled(&key) {
                self.settle_again(&key, None);
                continue;
            }
            match stored {
                Ok(stored) => self.claimed(&key, open, &stored, filling),
                Err(error) => self.not_claimed(&key, &open, error, filling),
            }
        }
    }

    fn claimed(&mut self, key: &FileKey, mut open: Box<OpenFile>, stored: &Stored, filling: &mut Filling) {
        let name = key.name();
        let reference = Reference {
            content_type: Some(crate::payload::content_type(&name).to_owned()),
            name: Some(name),
            ..stored.reference()
        };
        match open.referred(&reference) {
            Ok(entry) => {
                tracing::debug!(
                    path = key.shown_path(),
                    uri = stored.uri,
                    found = stored.found,
                    "A file is in the store"
                );
                self.hand_over(key, &open, entry, stored.size, filling);
            }
            Err(error) => self.broken = Some(error),
        }
    }

    fn hand_over(&mut self, key: &FileKey, open: &OpenFile, entry: SourceEntry, size: u64, filling: &mut Filling) {
        let portion = crate::reading::Portion { entries: vec![entry], bytes: size, ended: true, ..Default::default() };
        self.count(key, &portion, open.progress());
        filling.entries.extend(portion.entries);
        self.ledger.drained(key, Outcome::Done, open.fingerprint().head8());
        filling.drained.push(key.clone());
    }

    fn not_claimed(&mut self, key: &FileKey, open: &OpenFile, error: ConnectError, filling: &mut Filling) {
        match error.kind() {
            ErrorKind::Retriable => {
                let attempts = self.ledger.try_again(key, None, self.now());
                self.next_look = std::time::Duration::ZERO;
                let reason = format!("it cannot be uploaded for now: {}", error.chain());
                tracing::warn!(
                    path = key.shown_path(),
                    error = error.chain(),
                    attempts,
                    "A file cannot be uploaded for now"
                );
                self.board.state(&self.board_path(key), "SETTLING", Some(reason));
            }
            ErrorKind::Data => {
                let reason = format!("cannot be uploaded: {}", error.chain());
                self.failed(key, &reason, open.fingerprint().clone(), filling);
            }
            ErrorKind::Config | ErrorKind::Fatal => {
                self.broken = Some(error.within(format!("{}", self.path_of(key).display())));
            }
        }
    }

    /// True when a file is still the one that was opened.
    fn is_settled(&self, key: &FileKey) -> bool {
        let path = self.path_of(key);
        let metadata = if self.settings.follow { fs::metadata(path) } else { fs::symlink_metadata(path) };
        let now = metadata.ok().filter(fs::Metadata::is_file).map(|metadata| Look::of(&metadata));
        let settled = self.ledger.entry(key).map(|entry| entry.look);
        now.zip(settled).is_some_and(|(now, settled)| now.same_content(&settled))
    }
}
