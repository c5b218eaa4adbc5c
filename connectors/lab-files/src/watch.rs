//! Looking around: scans, looks at files that settle, and what comes of both. A part of `source.rs`' [`Run`].
//!
//! Read next: `fill.rs`.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pipette_api::{ConnectError, Partition, Result};

use crate::board::Seen;
use crate::config::INPUT_PATH;
use crate::identity::{FileKey, Look, Stage, StoredOffset, partition, shown};
use crate::ledger::{Newcomer, has_ended};
use crate::scan::{Found, Scan};
use crate::settings::FileError;
use crate::source::{Run, device};

/// So much is looked at before others may run.
const STEPS: usize = 256;
/// Hints bring a scan forward up to this after the last one.
const HINT_PAUSE: Duration = Duration::from_millis(200);

impl Run {
    /// Takes the scan and the looks that are due as far as they go without holding up the runtime.
    pub(crate) async fn look_around(&mut self) -> Result<()> {
        let now = self.now();
        if self.scan.is_none() && (now >= self.next_scan || (self.hinted && now >= self.hint_from)) {
            self.hinted = false;
            self.scan = Some(Scan::begin(&self.settings, self.ledger.room()));
            self.down.fill(None);
            self.hint_from = now;
        }
        if let Some(mut scan) = self.scan.take() {
            if !self.walk(&mut scan).await? {
                self.scan = Some(scan);
                return Ok(());
            }
            self.scan_ended(scan).await?;
        }
        self.look_again().await;
        Ok(())
    }

    /// False when the runtime wants the task back before the walk has ended.
    async fn walk(&mut self, scan: &mut Scan) -> Result<bool> {
        loop {
            for _ in 0..STEPS {
                match scan.next() {
                    None => return Ok(true),
                    Some(Found::Folder(path)) => self.hints.watch(&path),
                    Some(Found::File(key, look)) => self.found(scan, key, look).await?,
                    Some(Found::TooDeep(path)) => self.too_deep(&path),
                    Some(Found::Trouble(path, error)) => {
                        tracing::warn!(path = %path.display(), %error, "Part of a watched folder cannot be looked at");
                    }
                    Some(Found::RootTrouble(root, error)) => self.root_down(root, &error),
                }
            }
            tokio::task::yield_now().await;
            if self.recalled() {
                return Ok(false);
            }
        }
    }

    /// Told once in a run: folders can be many, and the depth may be meant.
    fn too_deep(&mut self, path: &Path) {
        if !std::mem::replace(&mut self.told_depth, true) {
            let most = self.settings.max_depth;
            tracing::warn!(
                path = shown(path),
                "Folders deeper than input.path.max.depth ({most}) are not looked at; set it higher to read their files"
            );
        }
    }

    async fn found(&mut self, scan: &mut Scan, key: FileKey, look: Look) -> Result<()> {
        if !self.ledger.is_new(&key, &look) {
            return Ok(());
        }
        // Where files stay for good, most of what a first scan finds is done: it must not fill the window.
        // One that took the place of a file of this run can be told from it by its content alone.
        let may_stay = !self.clears() || self.settings.file_error == FileError::Skip;
        if may_stay && !self.ledger.is_replaced(&key) {
            let (_, stored) = self.stored_of(&key).await?;
            if let Some(stored) = stored.filter(|stored| has_ended(stored, &look) && self.leaves(stored.stage)) {
                self.ledger.stay(&key, &look);
                tracing::trace!(path = key.shown_path(), state = ?stored.stage, "Known from an earlier run");
                return Ok(());
            }
        }
        scan.candidates.offer(key, look);
        Ok(())
    }

    /// True when a file that ended so stays where it is.
    pub(crate) fn leaves(&self, stage: Stage) -> bool {
        match stage {
            Stage::Failed => self.settings.file_error != FileError::Quarantine,
            Stage::Done | Stage::Reading => !self.clears(),
        }
    }

    pub(crate) async fn stored_of(&self, key: &FileKey) -> Result<(Arc<Partition>, Option<StoredOffset>)> {
        let partition = partition(&self.settings.roots[key.root].id, &key.path);
        let stored = self.context.offsets.get(&partition).await?;
        Ok((partition, stored.as_ref().and_then(StoredOffset::parse)))
    }

    fn root_down(&mut self, root: usize, error: &io::Error) {
        let folder = self.settings.roots[root].path.display();
        let reason = format!("folder {folder} cannot be looked at: {error}. Is it there, and is its share mounted?");
        tracing::warn!(folder = %folder, %error, "A watched folder cannot be looked at; trying again");
        self.down[root] = Some(reason);
    }

    async fn scan_ended(&mut self, mut scan: Scan) -> Result<()> {
        let now = self.now();
        let took = now.saturating_sub(self.hint_from);
        self.hint_from = now + HINT_PAUSE.max(took * 4);
        self.next_scan = now + self.settings.poll_interval;
        // The next scan comes at once for those that there was no room for, once there is.
        if scan.candidates.overflowed {
            self.next_scan = self.hint_from;
        }
        for (key, look) in scan.candidates.take() {
            let (partition, stored) = self.stored_of(&key).await?;
            let seen = Seen { state: "SETTLING", size: look.size, ..Seen::default() };
            self.board.show(&self.board_path(&key), seen);
            self.ledger.admit(key, Newcomer { partition, look, stored }, now);
            self.numbers.discovered.add(1);
            self.next_look = Duration::ZERO;
        }
        self.numbers.live.set(i64::try_from(self.ledger.count()).unwrap_or(i64::MAX));
        let reasons: Vec<&str> = self.down.iter().flatten().map(String::as_str).collect();
        if reasons.len() < self.down.len() {
            return Ok(());
        }
        Err(ConnectError::retriable(format!("{}: {}", INPUT_PATH.info.name, reasons.join("; ")))
            .retry_after(self.settings.poll_interval))
    }

    async fn look_again(&mut self) {
        let now = self.now();
        if now < self.next_look {
            return;
        }
        let (due, _) = self.ledger.looks_due(now);
        for (index, key) in due.into_iter().enumerate() {
            if index % STEPS == STEPS - 1 {
                tokio::task::yield_now().await;
                if self.recalled() {
                    return;
                }
            }
            let path = self.path_of(&key);
            let metadata = if self.settings.follow { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
            let look = metadata.ok().filter(fs::Metadata::is_file).map(|metadata| Look::of(&metadata));
            if look.is_none() {
                self.board.forget(&self.board_path(&key));
            }
            self.ledger.looked(&key, look, self.now());
        }
        self.next_look = self.ledger.looks_due(self.now()).1.unwrap_or(self.next_scan);
    }

    /// Offsets of files that were done and are gone: an earlier run cleared them away and ended before it could tell. What it
    /// was about to delete is deleted.
    pub(crate) async fn find_gone(&mut self) -> Result<()> {
        if !self.clears() {
            return Ok(());
        }
        for (partition, offset) in self.context.offsets.scan().await? {
            let text = |name: &str| partition.0.get(name).and_then(|value| value.as_text());
            let (Some(id), Some(path)) = (text("root"), text("path")) else { continue };
            let Some(root) = self.settings.roots.iter().position(|root| &*root.id == id) else { continue };
            let stored = StoredOffset::parse(&offset).filter(|stored| stored.stage != Stage::Reading);
            let (Some(stored), key) = (stored, FileKey { root, path: path.into() }) else { continue };
            self.finish_deleting(&key, &stored);
            if self.is_gone(&key) {
                let partition = Arc::new(partition);
                self.ledger.admit_gone(key.clone(), Arc::clone(&partition));
                self.forget.push((key, partition));
            }
        }
        Ok(())
    }

    /// True only when the folder is there, is the one it was, and the file is not in it: a share that is not mounted
    /// proves nothing about its files.
    pub(crate) fn is_gone(&self, key: &FileKey) -> bool {
        let device = device(&self.settings.roots[key.root].path);
        device.is_some()
            && device == self.devices[key.root]
            && fs::symlink_metadata(self.path_of(key)).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }
}
