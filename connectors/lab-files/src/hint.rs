//! File events, as a hint that brings the next scan forward. The only room that names `notify`.
//!
//! Events are lost silently in fresh folders and never come from other machines on a share, so nothing is concluded from
//! them but "look soon". `source.rs` adds each folder before it is listed. Read next: `scan.rs`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use crate::settings::{Root, WatchMode};

/// Folders watched at most: beyond, the clock alone brings the next scan.
const MAX_WATCHES: usize = 8192;

/// Magic numbers of network and user-space file systems (Linux `statfs`), where events are not to be had.
const REMOTE: [u64; 6] = [0x6969, 0x517B, 0xFF53_4D42, 0xFE53_4D42, 0x6573_5546, 0x0102_1997];

/// Resolves when something may have happened.
pub(crate) struct Hints {
    watcher: Option<RecommendedWatcher>,
    watched: HashSet<PathBuf>,
    wake: Arc<Notify>,
}

impl Hints {
    /// Hints for these folders, or none: by setting, on shares, or when the system refuses.
    pub(crate) fn new(mode: WatchMode, roots: &[Root]) -> Self {
        let wake = Arc::new(Notify::new());
        let wanted = match mode {
            WatchMode::Poll => false,
            WatchMode::Events => true,
            WatchMode::Auto => !roots.iter().any(|root| is_remote(&root.path)),
        };
        let watcher = wanted.then(|| {
            let wake = Arc::clone(&wake);
            notify::recommended_watcher(move |_| wake.notify_one())
        });
        let watcher = watcher.and_then(|watcher| {
            watcher
                .inspect_err(|error| tracing::warn!(%error, "No file events; folders are scanned by the clock alone"))
                .ok()
        });
        Self { watcher, watched: HashSet::new(), wake }
    }

    /// Watches a folder; call before listing it, so that nothing falls between.
    pub(crate) fn watch(&mut self, folder: &Path) {
        let Some(watcher) = &mut self.watcher else { return };
        if self.watched.len() < MAX_WATCHES && !self.watched.contains(folder) {
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.insert(folder.to_owned());
                }
                Err(error) => tracing::debug!(folder = %folder.display(), %error, "No file events for this folder"),
            }
        }
    }

    pub(crate) async fn next(&self) {
        self.wake.notified().await;
    }
}

/// True on shares, and where it cannot be told.
pub(crate) fn is_remote(path: &Path) -> bool {
    match rustix::fs::statfs(path) {
        Ok(stat) => u64::try_from(stat.f_type).is_ok_and(|kind| REMOTE.contains(&(kind & 0xFFFF_FFFF))),
        Err(_) => true,
    }
}
