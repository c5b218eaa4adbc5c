//! Clearing away: what happens once a file's end is stored. A part of `source.rs`' [`Run`].
//!
//! Nothing here can cause a file to be read again, and no failure here stops other files. Read next: `finish.rs`.

use std::io;
use std::path::Path;

use crate::finish::{self, Departing, Finished};
use crate::identity::{FileKey, Stage, StoredOffset, decode_path};
use crate::ledger::{Entry, Outcome, has_ended};
use crate::settings::{Cleanup, Output};
use crate::source::{Run, Stored};

/// Files cleared away before others may run.
const TURN: usize = 256;

impl Run {
    /// Takes what the hooks have reported since the last turn.
    pub(crate) fn take_stored(&mut self) {
        while let Ok(stored) = self.stored.1.try_recv() {
            self.take(stored);
        }
    }

    pub(crate) fn take(&mut self, stored: Stored) {
        for key in stored.forgotten {
            self.ledger.drop_file(&key);
        }
        for key in stored.drained {
            let Some(entry) = self.ledger.entry(&key) else { continue };
            let (stage, reason) = match &entry.outcome {
                Outcome::Done => (Stage::Done, None),
                Outcome::Failed(reason) => (Stage::Failed, Some(reason.to_string())),
            };
            if stage == Stage::Done {
                self.numbers.completed.add(1);
            }
            let leave = self.leaves(stage);
            if leave && self.settings.output == Output::Whole {
                // The next scan sees by its offset whether it is done.
                self.ledger.drop_file(&key);
            } else {
                self.ledger.committed(&key, leave);
            }
            if leave {
                self.board.finish(&self.board_path(&key), if reason.is_some() { "FAILED" } else { "DONE" }, reason);
            } else {
                self.board.state(&self.board_path(&key), "CLEANING", reason);
            }
        }
    }

    /// Clears away what is due.
    pub(crate) async fn clear(&mut self) {
        for key in self.ledger.cleaning_due(self.now(), TURN) {
            let Some(entry) = self.ledger.entry(&key).cloned() else { continue };
            let path = self.path_of(&key);
            if self.settings.output == Output::Whole && !self.is_done(&key, &entry).await {
                self.ledger.drop_file(&key);
                self.board.forget(&self.board_path(&key));
                self.next_scan = self.now();
                continue;
            }
            match self.clear_one(&path, &key, &entry).await {
                Ok(Finished::Away(target)) => self.cleared(&key, &path, target.as_deref(), &entry),
                Ok(Finished::Changed) => {
                    tracing::info!(path = %path.display(), "Another file took the name of one that is done");
                    self.ledger.drop_file(&key);
                    self.next_scan = self.now();
                }
                Ok(Finished::Recalled) => break,
                // Somebody else was faster.
                Err(_) if self.is_gone(&key) => self.cleared(&key, &path, None, &entry),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "A file that is done cannot be cleared away yet");
                    let reason = format!("it is in Kafka, but cannot be cleared away: {error}");
                    self.board.state(&self.board_path(&key), "CLEANING", Some(reason));
                    self.ledger.clean_later(&key, self.now());
                }
            }
        }
        self.numbers.cleanup.set(i64::try_from(self.ledger.cleaning_count()).unwrap_or(i64::MAX));
    }

    /// Whether the offset that says so is stored. A payload that could not be read leaves none: the worker drops its record,
    /// and what is in its place now is read by nobody yet. In doubt it is not done.
    async fn is_done(&self, key: &FileKey, entry: &Entry) -> bool {
        let stored = self.stored_of(key).await;
        stored.is_ok_and(|(_, stored)| stored.is_some_and(|stored| has_ended(&stored, &entry.look)))
    }

    /// After a crash; an earlier run had the offset stored.
    pub(crate) fn finish_deleting(&self, key: &FileKey, stored: &StoredOffset) {
        if stored.stage != Stage::Done || self.settings.cleanup != Cleanup::Delete {
            return;
        }
        let path = self.path_of(key);
        let allowed = self.settings.reach.path(&path).map_err(|error| finish::refused(&error));
        if let Err(error) = allowed.and_then(|()| finish::finish_deleting(&path, &stored.fingerprint)) {
            tracing::warn!(path = %path.display(), %error, "What a crash has left of a deleted file stays in its folder");
        }
    }

    async fn clear_one(&self, path: &Path, key: &FileKey, entry: &Entry) -> io::Result<Finished> {
        self.settings.reach.path(path).map_err(|error| finish::refused(&error))?;
        let departing = Departing { path, look: entry.look, head8: &entry.head8 };
        let target = match (&entry.outcome, self.settings.cleanup) {
            (Outcome::Failed(_), _) => &self.settings.error,
            (Outcome::Done, Cleanup::Move) => &self.settings.finished,
            (Outcome::Done, _) => return finish::delete(departing),
        };
        // The rule between keys sees to it that the folder is given.
        let Some(folder) = target else { return Ok(Finished::Changed) };
        let relative = decode_path(&key.path);
        let relative = match relative.file_name() {
            Some(name) if !self.settings.keep_relative => Path::new(name),
            _ => relative.as_path(),
        };
        self.settings.reach.path(&folder.join(relative)).map_err(|error| finish::refused(&error))?;
        let signal = &self.context.common.signal;
        finish::move_to(departing, folder, relative, &|| signal.wish() != pipette_api::Wish::Run).await
    }

    fn cleared(&mut self, key: &FileKey, path: &Path, target: Option<&Path>, entry: &Entry) {
        let (mut state, mut reason) = ("DONE", None);
        if let Outcome::Failed(why) = &entry.outcome {
            (state, reason) = ("FAILED", Some(why.to_string()));
            if let Some(target) = target
                && let Err(error) = finish::explain(target, path, why)
            {
                tracing::warn!(path = %target.display(), %error, "The reason beside a bad file cannot be written");
            }
        }
        self.board.finish(&self.board_path(key), state, reason);
        if let Some(partition) = self.ledger.gone(key) {
            self.forget.push((key.clone(), partition));
        }
    }
}
