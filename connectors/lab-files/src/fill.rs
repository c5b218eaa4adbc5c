//! Reading: opens one settled file after another and fills a batch. A part of `source.rs`' [`Run`].
//!
//! Read next: `reading.rs`, then `clear.rs`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pipette_api::{ConnectError, Hook, SourceBatch, SourceEntry};

use crate::board::Seen;
use crate::claim::Claims;
use crate::identity::{FileKey, Fingerprint, Positions, Progress, Stage, StoredOffset};
use crate::ledger::Outcome;
use crate::reading::{self, Budget, OpenError, Opened, Opening, Portion};
use crate::settings::FileError;
use crate::source::{Run, Stored};
use crate::window::ReadError;

/// Most bytes read before the runtime's wish is looked at.
const PIECE: usize = 1024 * 1024;
/// A batch is handed over after this time even when it could be larger.
const LINGER: Duration = Duration::from_millis(200);
/// Files opened for one batch at most: a folder full of empty ones is worked off in turns.
const OPENINGS: usize = 256;
/// A file that may not be read is given up after so many attempts; other trouble is waited out.
const ATTEMPTS: u32 = 5;

/// A batch in the making.
#[derive(Default)]
pub(crate) struct Filling {
    pub(crate) entries: Vec<SourceEntry>,
    pub(crate) drained: Vec<FileKey>,
    bytes: usize,
}

impl Run {
    pub(crate) fn fill(&mut self) -> SourceBatch {
        let mut filling = Filling::default();
        // Thousands of files can go at once; they count as entries like records do.
        let forgotten = self.forget.len().min(self.settings.batch_records);
        let forgotten: Vec<FileKey> = self
            .forget
            .drain(..forgotten)
            .map(|(key, partition)| {
                filling.entries.push(SourceEntry::Forget(partition));
                key
            })
            .collect();
        self.take_claims(&mut filling);
        let (begun, mut openings) = (self.now(), 0);
        while self.broken.is_none() && !self.is_full(&filling) && self.now() < begun + LINGER && !self.recalled() {
            if self.open.is_some() {
                if !self.read_on(&mut filling) {
                    break;
                }
            } else if openings == OPENINGS || self.claims_are_full() || !self.open_next(&mut filling) {
                break;
            } else {
                openings += 1;
            }
        }
        let Filling { entries, drained, .. } = filling;
        let committed = (!drained.is_empty() || !forgotten.is_empty()).then(|| {
            let sender = self.stored.0.clone();
            // The task may be gone by then: what is to be done is found again at its next start.
            Hook::new(move || drop(sender.send(Stored { drained, forgotten })))
        });
        SourceBatch { entries, committed, ..SourceBatch::default() }
    }

    fn is_full(&self, filling: &Filling) -> bool {
        filling.entries.len() >= self.settings.batch_records || filling.bytes >= self.settings.batch_bytes
    }

    /// Reads a piece of the open file; false when it gave nothing for now.
    fn read_on(&mut self, filling: &mut Filling) -> bool {
        let Some((key, mut open)) = self.open.take() else { return false };
        let budget = Budget {
            records: self.settings.batch_records.saturating_sub(filling.entries.len()).max(1),
            bytes: self.settings.batch_bytes.saturating_sub(filling.bytes).clamp(1, PIECE),
        };
        let portion = match open.read(budget) {
            Ok(portion) => portion,
            Err(error) => {
                self.failed(&key, &error.chain(), open.fingerprint().clone(), filling);
                return true;
            }
        };
        let gave = !portion.entries.is_empty() || portion.ended || portion.error.is_some();
        let progress = open.progress();
        self.count(&key, &portion, progress);
        filling.bytes += usize::try_from(portion.bytes).unwrap_or(usize::MAX).min(self.settings.batch_bytes);
        filling.entries.extend(portion.entries);
        let stored =
            || StoredOffset { stage: Stage::Reading, progress, fingerprint: open.fingerprint().clone(), reason: None };
        match portion.error {
            None if portion.ended => {
                if progress.records == 0 {
                    // What a failed export leaves looks like a finished file otherwise.
                    tracing::info!(path = key.shown_path(), "A file held no record");
                }
                self.ledger.drained(&key, Outcome::Done, open.fingerprint().head8());
                filling.drained.push(key);
            }
            None => self.open = Some((key, open)),
            Some(ReadError::Changed) => self.settle_again(&key, Some(stored())),
            Some(ReadError::Io(error)) => {
                self.trouble(&key, &error, Some(stored()), filling);
            }
        }
        gave
    }

    pub(crate) fn claims_are_full(&self) -> bool {
        self.claims.as_ref().is_some_and(Claims::is_full)
    }

    pub(crate) fn count(&self, key: &FileKey, portion: &Portion, progress: Progress) {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let records = portion.entries.iter().filter(|entry| matches!(entry, SourceEntry::Record(_))).count();
        self.numbers.records.add(number(records as u64));
        self.numbers.bad.add(number(portion.bad as u64));
        self.numbers.bytes.add(number(portion.bytes));
        let size = self.ledger.entry(key).map_or(0, |entry| entry.look.size);
        let state = if portion.ended { "DRAINED" } else { "READING" };
        let Progress { position, records, .. } = progress;
        let bad_row = portion.entries.iter().rev().find_map(|entry| match entry {
            SourceEntry::Bad { error, .. } => Some(error.chain()),
            _ => None,
        });
        let bad = portion.bad as u64;
        self.board.read(&self.board_path(key), Seen { state, size, position, records, bad, bad_row, reason: None });
    }

    /// Opens the next file that is ready; false when there is none.
    fn open_next(&mut self, filling: &mut Filling) -> bool {
        let Some(key) = self.ledger.take_ready() else { return false };
        let path = self.path_of(&key);
        let Some(entry) = self.ledger.entry(&key) else { return true };
        let opening = Opening {
            connector: &self.context.id.connector,
            key: &key,
            path,
            look: entry.look,
            settled: entry.settled,
            partition: Arc::clone(&entry.partition),
            stored: entry.stored.as_ref(),
        };
        match reading::open(&opening, &self.settings) {
            Ok(Opened::Reading(open)) => {
                tracing::debug!(path = key.shown_path(), position = open.progress().position, "Reading a file");
                match open.payload().filter(|_| self.claims.is_some()) {
                    Some(payload) => self.claim(&key, open, payload),
                    None => self.open = Some((key, open)),
                }
            }
            Ok(Opened::Ended { stage, fingerprint, reason }) => {
                let outcome = match stage {
                    Stage::Failed => Outcome::Failed(reason.unwrap_or_else(|| "it failed in an earlier run".into())),
                    Stage::Done | Stage::Reading => Outcome::Done,
                };
                self.ledger.drained(&key, outcome, fingerprint.head8());
                self.ledger.committed(&key, self.leaves(stage));
            }
            Err(OpenError::Changed) => self.settle_again(&key, None),
            Err(OpenError::Bad { reason, fingerprint }) => self.failed(&key, &reason, fingerprint, filling),
            Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                self.ledger.drop_file(&key);
                self.board.forget(&self.board_path(&key));
            }
            Err(OpenError::Io(error)) => self.trouble(&key, &error, None, filling),
        }
        true
    }

    pub(crate) fn settle_again(&mut self, key: &FileKey, stored: Option<StoredOffset>) {
        self.board.state(&self.board_path(key), "SETTLING", Some("it was written to when it was to be read".into()));
        self.ledger.settle_again(key, stored, self.now());
        self.next_look = Duration::ZERO;
    }

    /// A file that cannot be read for now: later again. What is not allowed is given up at last.
    fn trouble(&mut self, key: &FileKey, error: &io::Error, stored: Option<StoredOffset>, filling: &mut Filling) {
        let attempts = self.ledger.try_again(key, stored, self.now());
        self.next_look = Duration::ZERO;
        // A link where a file had settled counts as not allowed too (ELOOP).
        let hopeless = matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput)
            || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        tracing::warn!(path = key.shown_path(), %error, attempts, "A file cannot be read for now");
        self.board.state(&self.board_path(key), "SETTLING", Some(format!("it cannot be read for now: {error}")));
        if hopeless && attempts >= ATTEMPTS {
            let look = self.ledger.entry(key).map(|entry| entry.look).unwrap_or_default();
            self.failed(key, &format!("cannot be read: {error}"), Fingerprint::without_content(&look), filling);
        }
    }

    /// A file that can never be read as a whole.
    pub(crate) fn failed(&mut self, key: &FileKey, reason: &str, fingerprint: Fingerprint, filling: &mut Filling) {
        let path = self.path_of(key);
        self.numbers.failed.add(1);
        self.board.state(&self.board_path(key), "FAILED", Some(reason.to_owned()));
        if self.settings.file_error == FileError::Fail {
            self.broken = Some(ConnectError::fatal(format!(
                "{} {reason}. It was left in place: correct or remove it and restart the task, or set \
                 file.error.action=quarantine and error.path to have such files moved aside",
                path.display()
            )));
            return;
        }
        tracing::warn!(path = %path.display(), reason, "A file cannot be read and is set aside");
        let Some(entry) = self.ledger.entry(key) else { return };
        let head8 = fingerprint.head8().to_owned();
        let positions = Positions::new(Arc::clone(&entry.partition), fingerprint);
        let position = positions.ended(Stage::Failed, Progress::default(), Some(reason));
        filling.entries.push(SourceEntry::Position(position));
        self.ledger.drained(key, Outcome::Failed(reason.into()), &head8);
        filling.drained.push(key.clone());
    }
}
