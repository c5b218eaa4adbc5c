//! `offsets.log`: source offsets, appended by one thread that commits whatever has gathered with a single sync.
//!
//! Memory holds where each offset stands, not the offset: 32 bytes for each, however long keys and values are. Read
//! `frame.rs` for the bytes and for which damage a crash can do.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc};
use std::thread::{self, JoinHandle};

use pipette_api::{ConnectError, OffsetMap, Partition, Result, async_trait};
use tokio::sync::oneshot;
use tokio::task;

use super::super::{OffsetEntry, OffsetStore, offset_json};
use super::frame::{self, End, Entry, Frame, Place};
use super::{atomic, damaged, failed, newer, temporary};

/// Entries that have gathered are written together up to this many bytes.
const GROUP_BYTES: usize = 4 << 20;
/// One call may not store more: a commit is one frame.
const PUT_BYTES: usize = 32 << 20;
/// Below this size a rewrite is not worth the sync.
const COMPACT_BYTES: u64 = 1 << 20;

const REMEDY: &str = "Restore it from a copy of state.dir. Without one, move the file away: sources then begin at the \
                      start again and send records that were sent before";

/// Offsets in a log file.
#[derive(Debug)]
pub struct FileOffsets {
    view: Arc<View>,
    puts: Option<mpsc::Sender<Put>>,
    writer: Option<JoinHandle<()>>,
}

/// What is committed, for readers.
#[derive(Debug)]
struct View {
    path: PathBuf,
    hashers: [RandomState; 2],
    state: RwLock<Committed>,
}

#[derive(Debug)]
struct Committed {
    file: Arc<File>,
    connectors: HashMap<Arc<str>, HashMap<u128, Place>>,
    /// Bytes of entries that still count.
    live: u64,
}

/// One call of `put`.
struct Put {
    connector: Arc<str>,
    entries: Vec<Entry>,
    done: oneshot::Sender<Result<()>>,
}

impl FileOffsets {
    /// Reads the log, cuts a torn tail off and starts the writer.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let path = dir.join("offsets.log");
        // What a rewrite left behind when it was killed; the log itself is whole.
        let _ = fs::remove_file(temporary(&path));
        if !path.exists() {
            atomic::replace(&path, frame::HEADER).map_err(|error| failed(&path, "write", error))?;
        }
        let file = OpenOptions::new().read(true).write(true).open(&path);
        let file = file.map_err(|error| failed(&path, "open", error))?;
        let state = Committed { file: Arc::new(file), connectors: HashMap::new(), live: 0 };
        let view =
            Arc::new(View { path, hashers: [RandomState::new(), RandomState::new()], state: RwLock::new(state) });
        let size = view.load()?;
        let (puts, waiting) = mpsc::channel();
        let mut log = Log { view: Arc::clone(&view), size, suspect: false };
        let writer = thread::Builder::new().name("offsets-log".into()).spawn(move || log.run(&waiting));
        let writer = writer.map_err(|error| ConnectError::fatal("Cannot start the offsets writer").because(error))?;
        Ok(Self { view, puts: Some(puts), writer: Some(writer) })
    }

    #[cfg(test)]
    pub(super) fn swap_file(&self, file: File) {
        self.view.write().file = Arc::new(file);
    }

    /// True if no offset is stored.
    pub fn is_empty(&self) -> bool {
        self.view.read().connectors.is_empty()
    }
}

/// Commits what waits, then ends the writer.
impl Drop for FileOffsets {
    fn drop(&mut self) {
        self.puts = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl OffsetStore for FileOffsets {
    async fn get(&self, connector: &str, partition: &Partition) -> Result<Option<OffsetMap>> {
        // One short read, nearly always from the page cache: cheaper than a hop to another thread.
        self.view.get(connector, &offset_json::encode_key(connector, partition))
    }

    async fn scan(&self, connector: &str) -> Result<Vec<(Partition, OffsetMap)>> {
        let view = Arc::clone(&self.view);
        let connector = connector.to_owned();
        let read = task::spawn_blocking(move || view.scan(&connector)).await;
        read.unwrap_or_else(|error| Err(ConnectError::fatal("Reading the offsets was cut short").because(error)))
    }

    async fn put(&self, connector: &str, offsets: Vec<OffsetEntry>) -> Result<()> {
        if offsets.is_empty() {
            return Ok(());
        }
        let entries: Vec<Entry> = offsets
            .iter()
            .map(|entry| Entry {
                key: offset_json::encode_key(connector, &entry.partition),
                value: entry.offset.as_ref().map(offset_json::encode_offset),
            })
            .collect();
        let bytes: usize = entries.iter().map(Entry::size).sum();
        if bytes > PUT_BYTES {
            return Err(ConnectError::fatal(format!(
                "Connector {connector} commits {bytes} bytes of offsets at once, the limit is {PUT_BYTES}"
            )));
        }
        let (done, written) = oneshot::channel();
        let put = Put { connector: Arc::from(connector), entries, done };
        let gone = || ConnectError::fatal(format!("The writer of {} has ended", self.view.path.display()));
        self.puts.as_ref().ok_or_else(gone)?.send(put).map_err(|_| gone())?;
        written.await.map_err(|_| gone())?
    }
}

impl View {
    fn read(&self) -> RwLockReadGuard<'_, Committed> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Committed> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// 128 bits under random keys: equal only for equal keys, and nobody can aim at a collision.
    fn hash(&self, key: &[u8]) -> u128 {
        let [high, low] = self.hashers.each_ref().map(|hasher| u128::from(hasher.hash_one(key)));
        high << 64 | low
    }

    fn get(&self, connector: &str, key: &[u8]) -> Result<Option<OffsetMap>> {
        let (file, place) = {
            let state = self.read();
            let place = state.connectors.get(connector).and_then(|places| places.get(&self.hash(key)));
            match place {
                Some(place) => (Arc::clone(&state.file), *place),
                None => return Ok(None),
            }
        };
        let entry = self.entry(&file, place)?;
        self.offset(&entry, place).map(Some)
    }

    fn scan(&self, connector: &str) -> Result<Vec<(Partition, OffsetMap)>> {
        let (file, mut places) = {
            let state = self.read();
            let places = state.connectors.get(connector).map(|places| places.values().copied().collect::<Vec<_>>());
            (Arc::clone(&state.file), places.unwrap_or_default())
        };
        places.sort_unstable_by_key(|place| place.at);
        let read = |place: &Place| {
            let entry = self.entry(&file, *place)?;
            let (_, partition) = offset_json::decode_key(&entry.key)?;
            Ok((partition, self.offset(&entry, *place)?))
        };
        places.iter().map(read).collect()
    }

    /// Reads an entry again and checks it again: the disk may have changed its mind since the start.
    fn entry(&self, file: &File, place: Place) -> Result<Entry> {
        let mut bytes = vec![0; place.size as usize];
        file.read_exact_at(&mut bytes, place.at).map_err(|error| failed(&self.path, "read", error))?;
        match frame::split_entry(&bytes) {
            Some((entry, [])) => Ok(entry),
            _ => Err(damaged(&self.path, &format!("the offset at byte {} fails its checksum", place.at), REMEDY)),
        }
    }

    fn offset(&self, entry: &Entry, place: Place) -> Result<OffsetMap> {
        let missing = || damaged(&self.path, &format!("the offset at byte {} has no value", place.at), REMEDY);
        offset_json::decode_offset(entry.value.as_ref().ok_or_else(missing)?)
    }

    /// Fills the index; returns the size of the log without a torn tail.
    fn load(&self) -> Result<u64> {
        let file = Arc::clone(&self.read().file);
        let io = |error| failed(&self.path, "read", error);
        let size = file.metadata().map_err(io)?.len();
        let mut reader = BufReader::with_capacity(256 << 10, &*file);
        self.check_header(&mut reader)?;
        let mut bad_key = None;
        let mut state = self.write();
        let end = frame::scan(&mut reader, size, |entry, place| match offset_json::decode_key(&entry.key) {
            Ok((connector, _)) => state.note(&connector, self.hash(&entry.key), entry.value.is_some(), place),
            Err(error) => drop(bad_key.get_or_insert((place.at, error))),
        });
        if let Some((at, error)) = bad_key {
            return Err(damaged(&self.path, &format!("the key at byte {at} cannot be read"), REMEDY).because(error));
        }
        match end.map_err(io)? {
            End::Whole => Ok(size),
            End::Torn(good) => {
                let cut = file.set_len(good).and_then(|()| file.sync_all());
                cut.map_err(|error| failed(&self.path, "write", error))?;
                let file = self.path.display();
                tracing::warn!(%file, position = good, bytes = size - good, "Cut off a commit that was never finished");
                Ok(good)
            }
            End::Damaged(at) => {
                let what = format!("the commit at byte {at} fails its checksum, and whole ones follow it");
                Err(damaged(&self.path, &what, REMEDY))
            }
        }
    }

    fn check_header(&self, reader: &mut impl Read) -> Result<()> {
        let mut header = Vec::new();
        let read = reader.take(frame::HEADER.len() as u64).read_to_end(&mut header);
        read.map_err(|error| failed(&self.path, "read", error))?;
        if header == frame::HEADER {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&header);
        let format = text.strip_prefix(frame::HEADER_START).and_then(|rest| rest.split('\n').next()?.parse().ok());
        match format {
            Some(format) if format > frame::FORMAT => Err(newer(&self.path, format, frame::FORMAT)),
            _ => Err(damaged(&self.path, "its first line is not that of an offsets log", REMEDY)),
        }
    }
}

impl Committed {
    fn note(&mut self, connector: &str, hash: u128, kept: bool, place: Place) {
        if kept && !self.connectors.contains_key(connector) {
            self.connectors.insert(Arc::from(connector), HashMap::new());
        }
        let Some(places) = self.connectors.get_mut(connector) else { return };
        let before = if kept { places.insert(hash, place) } else { places.remove(&hash) };
        if places.is_empty() {
            self.connectors.remove(connector);
        }
        self.live += if kept { u64::from(place.size) } else { 0 };
        self.live -= before.map_or(0, |before| u64::from(before.size));
    }
}

/// The writer's side.
struct Log {
    view: Arc<View>,
    size: u64,
    /// A sync has failed: what the kernel still holds of this file is unknown, so it is not written to again but
    /// replaced.
    suspect: bool,
}

impl Log {
    fn run(&mut self, waiting: &mpsc::Receiver<Put>) {
        while let Ok(first) = waiting.recv() {
            let mut frame = Frame::new();
            let mut group = Vec::new();
            let mut next = Some(first);
            while let Some(put) = next {
                let places: Vec<Place> = put.entries.iter().map(|entry| frame.push(entry)).collect();
                group.push((put, places));
                next = if frame.size() < GROUP_BYTES { waiting.try_recv().ok() } else { None };
            }
            match self.commit(&frame.seal()) {
                Ok(start) => self.publish(start, group),
                Err(error) => group.into_iter().for_each(|(put, _)| {
                    let error = io::Error::new(error.kind(), error.to_string());
                    let _ = put.done.send(Err(failed(&self.view.path, "write", error)));
                }),
            }
            if self.size > COMPACT_BYTES && self.view.read().live < self.size / 2 {
                self.try_rewrite();
            }
        }
    }

    /// Appends a frame and syncs it; returns where it begins. After an error the log is as before.
    fn commit(&mut self, frame: &[u8]) -> io::Result<u64> {
        if self.suspect {
            self.rewrite()?;
        }
        let file = Arc::clone(&self.view.read().file);
        if let Err(error) = file.write_all_at(frame, self.size) {
            // Half a frame must not stay in front of the next one.
            self.suspect = file.set_len(self.size).is_err();
            return Err(error);
        }
        file.sync_data().inspect_err(|_| self.suspect = true)?;
        let start = self.size;
        self.size += frame.len() as u64;
        Ok(start)
    }

    fn publish(&self, start: u64, group: Vec<(Put, Vec<Place>)>) {
        let mut state = self.view.write();
        for (put, places) in &group {
            for (entry, place) in put.entries.iter().zip(places) {
                let place = Place { at: start + place.at, size: place.size };
                state.note(&put.connector, self.view.hash(&entry.key), entry.value.is_some(), place);
            }
        }
        drop(state);
        for (put, _) in group {
            // The task that asked may have been abandoned meanwhile.
            let _ = put.done.send(Ok(()));
        }
    }

    /// The old log stays in use when a rewrite fails: it is larger than need be, and whole.
    fn try_rewrite(&mut self) {
        let before = self.size;
        let file = self.view.path.display().to_string();
        match self.rewrite() {
            Ok(()) => tracing::debug!(%file, before, after = self.size, "Rewrote the offsets log"),
            Err(error) => tracing::warn!(%file, %error, "Cannot rewrite the offsets log; it goes on growing"),
        }
    }

    /// Copies what still counts into a new file that takes the log's place.
    fn rewrite(&mut self) -> io::Result<()> {
        let path = &self.view.path;
        let (new, name) = atomic::create(path)?;
        let copied = self.copy_live(&new).and_then(|copied| fs::rename(&name, path).map(|()| copied));
        let copied = copied.inspect_err(|_| drop(fs::remove_file(&name)))?;
        self.size = copied.size;
        *self.view.write() = Committed { file: Arc::new(new), connectors: copied.connectors, live: copied.live };
        // The old log has no name any more: what is appended to it would be gone at the next start. The new one is
        // trusted once its name is durable too.
        self.suspect = true;
        atomic::sync_folder(path)?;
        self.suspect = false;
        Ok(())
    }

    fn copy_live(&self, new: &File) -> io::Result<Copied> {
        let (file, connectors) = {
            let state = self.view.read();
            (Arc::clone(&state.file), state.connectors.clone())
        };
        let mut copied = Copied { size: frame::HEADER.len() as u64, connectors, live: 0 };
        new.write_all_at(frame::HEADER, 0)?;
        let mut places: Vec<&mut Place> = copied.connectors.values_mut().flat_map(HashMap::values_mut).collect();
        places.sort_unstable_by_key(|place| place.at);
        let mut frame = Frame::new();
        for place in places {
            let entry = self.view.entry(&file, *place).map_err(|error| io::Error::other(error.chain()))?;
            copied.live += u64::from(place.size);
            let inside = frame.push(&entry);
            *place = Place { at: copied.size + inside.at, size: inside.size };
            if frame.size() >= GROUP_BYTES {
                copied.size = append(new, copied.size, frame)?;
                frame = Frame::new();
            }
        }
        copied.size = append(new, copied.size, frame)?;
        new.sync_all()?;
        Ok(copied)
    }
}

/// What a rewrite made.
struct Copied {
    size: u64,
    connectors: HashMap<Arc<str>, HashMap<u128, Place>>,
    live: u64,
}

/// Writes a frame at the end of a new file; returns the new end.
fn append(file: &File, at: u64, frame: Frame) -> io::Result<u64> {
    let bytes = frame.seal();
    file.write_all_at(&bytes, at)?;
    Ok(at + bytes.len() as u64)
}
