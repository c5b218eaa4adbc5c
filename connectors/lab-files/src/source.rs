//! The task: looks around, reads, hands over, and clears away what is stored.
//!
//! One turn of [`Run`] does each of these a little, so that a large file, a large folder or a slow share holds up none of
//! the others and the runtime is answered soon. Read next: `watch.rs`, `fill.rs`, `clear.rs`, the three halves of a turn.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pipette_api::{
    ConnectError, Partition, Result, Settings, SourceBatch, SourceContext, SourceTask, Wish, async_trait,
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use crate::board::{Board, Numbers};
use crate::claim::Claims;
use crate::connector::{allowed, folders};
use crate::hint::{Hints, is_remote};
use crate::identity::{FileKey, decode_path, encode_path};
use crate::ledger::Ledger;
use crate::reading::OpenFile;
use crate::scan::Scan;
use crate::settings::{Cleanup, LabFilesSettings};
use crate::settle::SettleRule;

pub(crate) struct LabFilesTask {
    settings: Arc<LabFilesSettings>,
    /// From `start` on.
    run: Option<Run>,
}

impl LabFilesTask {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        Ok(Self { settings: Arc::new(LabFilesSettings::read(settings)?), run: None })
    }
}

/// What a batch's `committed` hook reports back.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// Files whose end is stored.
    pub(crate) drained: Vec<FileKey>,
    /// Files whose offset is gone.
    pub(crate) forgotten: Vec<FileKey>,
}

/// A task that has been started.
pub(crate) struct Run {
    pub(crate) settings: Arc<LabFilesSettings>,
    pub(crate) context: SourceContext,
    pub(crate) ledger: Ledger,
    pub(crate) board: Arc<Board>,
    pub(crate) numbers: Numbers,
    pub(crate) hints: Hints,
    /// A hint came; the scan is brought forward.
    pub(crate) hinted: bool,
    pub(crate) scan: Option<Scan>,
    pub(crate) next_scan: Duration,
    /// Whether this run has told of folders that are too deep.
    pub(crate) told_depth: bool,
    /// A hint cannot bring a scan forward of this, or a busy folder would be scanned all the time.
    pub(crate) hint_from: Duration,
    /// When a file that settles is to be looked at again; zero when that has to be found out.
    pub(crate) next_look: Duration,
    /// Which watched folders could not be looked at in the last scan, and why.
    pub(crate) down: Vec<Option<String>>,
    /// The device of each watched folder at the start; another one later is a share that was unmounted, whose files are
    /// not gone.
    pub(crate) devices: Vec<Option<u64>>,
    pub(crate) open: Option<(FileKey, Box<OpenFile>)>,
    /// With `output.mode=claim-check`.
    pub(crate) claims: Option<Claims>,
    /// Files that are gone, whose offsets are to go with the next batch.
    pub(crate) forget: Vec<(FileKey, Arc<Partition>)>,
    /// Tells the hooks' news; the receiver is read at the beginning of each turn.
    pub(crate) stored: (UnboundedSender<Stored>, UnboundedReceiver<Stored>),
    /// What fails the task once the batch before it is on its way.
    pub(crate) broken: Option<ConnectError>,
    begun: Instant,
}

#[async_trait]
impl SourceTask for LabFilesTask {
    async fn start(&mut self, context: SourceContext) -> Result<()> {
        allowed(&self.settings)?;
        let wrong = folders(&self.settings);
        let roots_wrong = wrong.iter().filter(|(key, _)| *key == crate::config::INPUT_PATH.info.name).count();
        // One of several shares may be away; the others are read meanwhile.
        if roots_wrong == self.settings.roots.len() || wrong.len() > roots_wrong {
            let reasons: Vec<String> = wrong.into_iter().map(|(key, reason)| format!("{key}: {reason}")).collect();
            return Err(ConnectError::retriable(reasons.join("; ")));
        }
        let mut run = Run::new(Arc::clone(&self.settings), context);
        if let Some(claim) = &self.settings.claim {
            let uploader = claim.uploader(&run.context.id, &run.context.common.folder)?;
            run.claims = Some(Claims::start(uploader, claim.in_flight).await?);
        }
        run.find_gone().await?;
        self.run = Some(run);
        Ok(())
    }

    async fn poll(&mut self) -> Result<SourceBatch> {
        let Some(run) = &mut self.run else {
            return Err(ConnectError::fatal("The task was polled before it was started"));
        };
        loop {
            run.take_stored();
            if let Some(error) = run.broken.take() {
                return Err(error);
            }
            if run.recalled() {
                return Ok(SourceBatch::empty());
            }
            run.clear().await;
            run.look_around().await?;
            let batch = run.fill();
            if !batch.is_empty() {
                return Ok(batch);
            }
            if run.broken.is_none() {
                run.rest().await;
            }
        }
    }

    async fn pause(&mut self) {
        if let Some(run) = &mut self.run {
            run.take_stored();
            run.clear().await;
        }
    }

    async fn stop(&mut self) -> Result<()> {
        self.pause().await;
        if let Some(claims) = self.run.take().and_then(|run| run.claims) {
            claims.stop().await;
        }
        Ok(())
    }
}

/// The device a folder is on, if it can be looked at.
pub(crate) fn device(folder: &Path) -> Option<u64> {
    std::fs::metadata(folder).ok().map(|metadata| metadata.dev())
}

impl Run {
    fn new(settings: Arc<LabFilesSettings>, context: SourceContext) -> Self {
        let remote = || settings.roots.iter().any(|root| is_remote(&root.path));
        let automatic = || Duration::from_secs(if remote() { 10 } else { 2 });
        let rule = SettleRule {
            checks: settings.settle_checks,
            interval: settings.settle_interval.unwrap_or_else(automatic),
            min_age: settings.min_age,
        };
        Self {
            ledger: Ledger::new(rule, settings.window),
            board: context.common.shared.get(),
            numbers: Numbers::register(&context.common.metrics),
            hints: Hints::new(settings.watch, &settings.roots),
            hinted: false,
            scan: None,
            next_scan: Duration::ZERO,
            told_depth: false,
            hint_from: Duration::ZERO,
            next_look: Duration::ZERO,
            down: vec![None; settings.roots.len()],
            devices: settings.roots.iter().map(|root| device(&root.path)).collect(),
            open: None,
            claims: None,
            forget: Vec::new(),
            stored: unbounded_channel(),
            broken: None,
            begun: Instant::now(),
            settings,
            context,
        }
    }

    /// By a clock that never goes back and has nothing to do with that of the files.
    pub(crate) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    pub(crate) fn recalled(&self) -> bool {
        self.context.common.signal.wish() != Wish::Run
    }

    pub(crate) fn path_of(&self, key: &FileKey) -> std::path::PathBuf {
        self.settings.roots[key.root].path.join(decode_path(&key.path))
    }

    /// The name of a file on the board, encoded, so that no two files share one.
    pub(crate) fn board_path(&self, key: &FileKey) -> String {
        match self.settings.roots.len() {
            1 => key.path.to_string(),
            _ => format!("{}/{}", encode_path(Path::new(&*self.settings.roots[key.root].id)), key.path),
        }
    }

    /// True when files leave the folder once they are done.
    pub(crate) fn clears(&self) -> bool {
        self.settings.cleanup != Cleanup::Leave
    }

    /// Waits for the next thing to do.
    async fn rest(&mut self) {
        let may_open = self.ledger.has_ready() && !self.claims_are_full();
        if self.open.is_some() || may_open || self.next_look == Duration::ZERO {
            tokio::task::yield_now().await;
            return;
        }
        let scan = if self.hinted { self.hint_from.min(self.next_scan) } else { self.next_scan };
        let until = scan.min(self.next_look);
        let until = self.ledger.next_cleaning().map_or(until, |next| next.min(until));
        let signal = self.context.common.signal.clone();
        let uploads = async {
            match &mut self.claims {
                Some(claims) => claims.progress().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = uploads => {}
            () = signal.recalled() => {}
            () = self.hints.next(), if !self.hinted => self.hinted = true,
            Some(stored) = self.stored.1.recv() => self.take(stored),
            () = tokio::time::sleep_until(self.begun + until) => {}
        }
    }
}
