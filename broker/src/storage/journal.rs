//! The catalogue's changes, one line each: a checksum, a space, JSON.
//!
//! Rewritten with the fewest events at start and whenever it has grown to several times that. A line that a crash
//! left unfinished is dropped; a damaged one in the middle is refused, because what follows may depend on it.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::catalogue::{Catalogue, Event};

/// A journal smaller than this is not rewritten while the broker runs.
const REWRITE_ABOVE: u64 = 8 * 1024 * 1024;
/// How many times its rewritten size a journal may grow to.
const GROWTH: u64 = 4;

#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: Arc<File>,
    length: u64,
    rewrite_at: u64,
    unsynced: bool,
    /// An fsync is under way, and what it covers is not yet durable.
    syncing: bool,
}

#[derive(Debug)]
pub(crate) struct Opened {
    pub journal: Journal,
    pub catalogue: Catalogue,
    /// Name and id of each topic whose deletion the journal held: a crash may have left their records.
    pub deleted_topics: Vec<(String, Uuid)>,
}

impl Journal {
    /// Replays the journal in `folder`, compacts it, and opens it for more.
    pub(crate) fn open(folder: &Path) -> io::Result<Opened> {
        let path = folder.join("journal");
        let mut catalogue = Catalogue::default();
        let mut deleted_topics = Vec::new();
        if path.exists() {
            replay(&path, |event| {
                if let Event::TopicDeleted { name } = &event
                    && let Some(topic) = catalogue.topics.get(name)
                {
                    deleted_topics.push((name.clone(), topic.id));
                }
                catalogue.apply(event);
            })?;
        }
        let (file, length) = write_whole(&path, &catalogue)?;
        let (file, rewrite_at) = (Arc::new(file), rewrite_at(length));
        let journal = Journal { path, file, length, rewrite_at, unsynced: false, syncing: false };
        Ok(Opened { journal, catalogue, deleted_topics })
    }

    /// Nothing has changed if this fails.
    pub(crate) fn append(&mut self, event: &Event) -> io::Result<()> {
        let line = line(event)?;
        let mut file: &File = &self.file;
        if let Err(error) = file.write_all(&line) {
            // Half a line must not stand before the next one.
            file.set_len(self.length)?;
            return Err(error);
        }
        self.length += line.len() as u64;
        self.unsynced = true;
        Ok(())
    }

    pub(crate) fn compact_if_grown(&mut self, catalogue: &Catalogue) -> io::Result<()> {
        if self.length < self.rewrite_at { Ok(()) } else { self.rewrite(catalogue) }
    }

    /// Puts a new, compacted and durable file in the place of this one.
    pub(crate) fn rewrite(&mut self, catalogue: &Catalogue) -> io::Result<()> {
        let (file, length) = write_whole(&self.path, catalogue)?;
        self.file = Arc::new(file);
        self.length = length;
        self.rewrite_at = rewrite_at(length);
        self.unsynced = false;
        self.syncing = false;
        Ok(())
    }

    /// What to fsync before a change may be answered; None if there is nothing.
    pub(crate) fn unsynced(&mut self) -> Option<Arc<File>> {
        self.syncing |= self.unsynced;
        std::mem::take(&mut self.unsynced).then(|| Arc::clone(&self.file))
    }

    /// The fsync that `unsynced` asked for has worked.
    pub(crate) fn synced(&mut self) {
        self.syncing = false;
    }

    pub(crate) fn has_unsynced(&self) -> bool {
        self.unsynced || self.syncing
    }
}

fn rewrite_at(length: u64) -> u64 {
    REWRITE_ABOVE.max(length * GROWTH)
}

fn line(event: &Event) -> io::Result<Vec<u8>> {
    let json = serde_json::to_string(event)?;
    Ok(format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes())).into_bytes())
}

fn parse(line: &[u8]) -> Option<Event> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (checksum, json) = line.split_once(' ')?;
    let intact = u32::from_str_radix(checksum, 16).ok()? == crc32c::crc32c(json.as_bytes());
    if intact { serde_json::from_str(json).ok() } else { None }
}

fn replay(path: &Path, mut apply: impl FnMut(Event)) -> io::Result<()> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    let mut damaged = None;
    for number in 1.. {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        match (parse(&line), damaged) {
            (Some(event), None) => apply(event),
            (None, None) => damaged = Some(number),
            (None, Some(_)) => {}
            (Some(_), Some(bad)) => {
                let why = format!(
                    "{} is damaged in line {bad}, and intact lines follow. Remove that line to go on without its \
                     change, or restore the file from a backup.",
                    path.display()
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
        }
    }
    if let Some(number) = damaged {
        tracing::warn!(journal = %path.display(), line = number, "Dropped the unfinished end of the journal");
    }
    Ok(())
}

/// Writes a new journal beside the old one and puts it in its place; a crash leaves either the old or the new.
fn write_whole(path: &Path, catalogue: &Catalogue) -> io::Result<(File, u64)> {
    let fresh = path.with_extension("new");
    let mut file = File::options().create(true).write(true).truncate(true).open(&fresh)?;
    let mut length = 0;
    let mut buffer = io::BufWriter::new(&file);
    for event in catalogue.events() {
        let line = line(&event)?;
        length += line.len() as u64;
        buffer.write_all(&line)?;
    }
    buffer.flush()?;
    drop(buffer);
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_folder(path.parent().unwrap_or(path))?;
    // Appending: after a failed write the file is cut, and the next write must go to its new end.
    file = File::options().append(true).open(path)?;
    Ok((file, length))
}

/// Makes names in a folder durable, as far as the platform can.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tempfile::TempDir;

    use super::super::catalogue::Committed;
    use super::super::marker::Outcome;
    use super::super::transactions::{Identity, State};
    use super::*;

    fn topic(name: &str, id: u128) -> Event {
        Event::Topic { name: name.into(), id: Uuid::from_u128(id), partitions: 2, configs: BTreeMap::new() }
    }

    fn commit(topic: &str, offset: i64) -> Event {
        let at = Committed { offset, metadata: "m".into() };
        Event::OffsetsCommitted { group: "g".into(), offsets: vec![(topic.into(), 0, at)] }
    }

    fn history() -> Vec<Event> {
        vec![
            Event::Cluster { id: Uuid::from_u128(9) },
            topic("a", 1),
            topic("b", 2),
            Event::RecordsDeleted { topic: "a".into(), partition: 1, before: 5 },
            commit("a", 3),
            commit("b", 4),
            commit("a", 7),
            Event::TopicDeleted { name: "b".into() },
            Event::ProducerIds { below: 1_000 },
        ]
    }

    fn transactional(id: &str, epoch: i16) -> Event {
        let before = Some(Identity { producer_id: 3, epoch: 9 });
        let (owner, id) = (Identity { producer_id: 4, epoch }, id.to_owned());
        Event::TransactionalId { id, owner, before, timeout_ms: 60_000, used_ms: 1, ended: None }
    }

    fn grew(id: &str, topic: &str) -> Event {
        let offsets = vec![("g".into(), topic.into(), 1, Committed { offset: 50, metadata: String::new() })];
        Event::TransactionGrew { id: id.into(), since_ms: 2, partitions: vec![(topic.into(), 0)], offsets }
    }

    fn written(folder: &TempDir, events: &[Event]) -> Catalogue {
        let Opened { mut journal, mut catalogue, .. } = Journal::open(folder.path()).unwrap();
        for event in events {
            journal.append(event).unwrap();
            catalogue.apply(event.clone());
        }
        catalogue
    }

    #[test]
    fn a_restart_finds_what_was_there_and_compacts_it() {
        let folder = TempDir::new().unwrap();
        let before = written(&folder, &history());
        let grown = fs::metadata(folder.path().join("journal")).unwrap().len();
        let Opened { journal, catalogue: after, deleted_topics } = Journal::open(folder.path()).unwrap();
        assert_eq!(after, before);
        assert_eq!(after.offsets["g"][&("a".to_owned(), 0)].offset, 7);
        assert_eq!(deleted_topics, vec![("b".to_owned(), Uuid::from_u128(2))]);
        assert!(journal.length < grown);
        let again = Journal::open(folder.path()).unwrap();
        assert_eq!((again.catalogue, again.deleted_topics), (before, vec![]));
    }

    #[test]
    fn a_restart_finds_every_transaction_as_far_as_it_was() {
        let folder = TempDir::new().unwrap();
        let ending = |id: &str, outcome| Event::TransactionEnding { id: id.into(), epoch: 6, outcome };
        let ended = |id: &str| Event::TransactionEnded { id: id.into(), at_ms: 7 };
        let mut events = vec![topic("a", 1), topic("b", 2)];
        for id in ["idle", "open", "ending", "committed", "aborted", "forgotten"] {
            events.extend([transactional(id, 5), grew(id, "a"), grew(id, "b")]);
        }
        events.extend([transactional("idle", 6), ending("ending", Outcome::Committed)]);
        events.extend([ending("aborted", Outcome::Aborted), ended("aborted")]);
        let mut before = written(&folder, &events);
        assert!(!before.offsets.contains_key("g"));
        for event in [
            ending("committed", Outcome::Committed),
            ended("committed"),
            Event::TransactionalIdForgotten { id: "forgotten".into() },
            Event::TopicDeleted { name: "b".into() },
        ] {
            before.apply(event.clone());
            events.push(event);
        }
        let folder = TempDir::new().unwrap();
        written(&folder, &events);
        for _ in 0..2 {
            let Opened { catalogue: after, .. } = Journal::open(folder.path()).unwrap();
            assert_eq!(after, before);
            assert_eq!(after.offsets["g"].keys().collect::<Vec<_>>(), [&("a".to_owned(), 1)]);
            assert_eq!(after.transactions["committed"].state, State::Ended(Outcome::Committed));
            assert_eq!(after.transactions["ending"].owner.epoch, 6);
            let open = after.transactions["open"].work().unwrap();
            assert_eq!(open.partitions.iter().collect::<Vec<_>>(), [&("a".to_owned(), 0)]);
            assert_eq!(open.offsets["g"].len(), 1);
        }
    }

    #[test]
    fn a_journal_torn_at_any_byte_loses_only_the_torn_change() {
        let folder = TempDir::new().unwrap();
        written(&folder, &[topic("a", 1), topic("b", 2)]);
        let path = folder.path().join("journal");
        let whole = fs::read(&path).unwrap();
        let last = line(&topic("b", 2)).unwrap().len();
        for length in whole.len() - last..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let Opened { catalogue, .. } = Journal::open(folder.path()).unwrap();
            assert_eq!(catalogue.topics.keys().collect::<Vec<_>>(), ["a"], "cut at byte {length}");
        }
    }

    #[test]
    fn damage_in_the_middle_is_refused_with_its_line() {
        let folder = TempDir::new().unwrap();
        written(&folder, &[topic("a", 1), topic("b", 2)]);
        let path = folder.path().join("journal");
        let text = fs::read_to_string(&path).unwrap().replace("\"a\"", "\"x\"");
        fs::write(&path, text).unwrap();
        let error = Journal::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("damaged in line 2"), "{error}");
    }

    #[test]
    fn a_change_counts_as_not_durable_until_its_fsync_has_worked() {
        let folder = TempDir::new().unwrap();
        let Opened { mut journal, .. } = Journal::open(folder.path()).unwrap();
        journal.append(&topic("a", 1)).unwrap();
        assert!(journal.unsynced().is_some());
        assert!(journal.has_unsynced());
        journal.synced();
        assert!(!journal.has_unsynced());
    }

    #[test]
    fn a_grown_journal_is_rewritten_while_the_broker_runs() {
        let folder = TempDir::new().unwrap();
        let Opened { mut journal, mut catalogue, .. } = Journal::open(folder.path()).unwrap();
        journal.rewrite_at = 2_000;
        for offset in 0..100 {
            journal.append(&commit("a", offset)).unwrap();
            catalogue.apply(commit("a", offset));
        }
        journal.compact_if_grown(&catalogue).unwrap();
        assert!(journal.length < 1_000);
        journal.append(&commit("a", 100)).unwrap();
        let Opened { catalogue: after, .. } = Journal::open(folder.path()).unwrap();
        assert_eq!(after.offsets["g"][&("a".to_owned(), 0)].offset, 100);
    }
}
