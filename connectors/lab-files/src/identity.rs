//! Which file is which: the key of a path, one look at a file, the fingerprint of a generation, and the offset that is
//! stored for it.
//!
//! The partition is `{"root", "path"}`, one per path; device, inode and mount point never take part, because they
//! change when a share is mounted again. The generation (a new file under an old name) is told by size, time stamp and
//! the hash of the head. Read next: `ledger.rs`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pipette_api::{OffsetMap, OffsetShape, Partition, Position, Primitive};
use xxhash_rust::xxh3::xxh3_128;

/// How much of a file's beginning its fingerprint covers.
const HEAD_BYTES: u64 = 64 * 1024;

/// A file of a task: the watched folder by index, and the path in it as [`encode_path`] writes it. Ordered as files are
/// read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FileKey {
    pub(crate) root: usize,
    pub(crate) path: Arc<str>,
}

impl FileKey {
    /// The path in the watched folder as people see it: see [`shown`].
    pub(crate) fn shown_path(&self) -> String {
        shown(decode_path(&self.path))
    }

    /// The file name as people see it: see [`shown`].
    pub(crate) fn name(&self) -> String {
        shown(decode_path(&self.path).file_name().unwrap_or_default())
    }

    /// A number that stands for the key where millions are remembered.
    pub(crate) fn digest(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64_with_seed(self.path.as_bytes(), self.root as u64)
    }
}

/// A relative path as text: what is not UTF-8, and `%`, percent-encoded; nothing else is changed.
pub(crate) fn encode_path(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        text.push_str(&chunk.valid().replace('%', "%25"));
        for byte in chunk.invalid() {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The path that [`encode_path`] wrote. Text that it cannot have written is taken as it is.
pub(crate) fn decode_path(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = code.and_then(|hex| u8::from_str_radix(hex, 16).ok()).filter(|_| *first == b'%');
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &tail[2..] } else { tail };
    }
    OsString::from_vec(bytes).into()
}

/// A path or name as records, headers and answers have it: as it is when it is UTF-8; else as [`encode_path`] writes it,
/// because something has to stand for the bytes that are no text. Nobody decodes this: files are found again by the
/// encoded path alone.
pub(crate) fn shown(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    path.to_str().map_or_else(|| encode_path(path), str::to_owned)
}

/// What one look at a file shows. The inode and change time take part while a file settles, but are never stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Look {
    pub(crate) size: u64,
    pub(crate) mtime_ns: i64,
    pub(crate) ctime_ns: i64,
    pub(crate) inode: u64,
}

impl Look {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            size: metadata.len(),
            mtime_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// True when the content cannot have been written since: the change time is left out, because our own rename
    /// touches it.
    pub(crate) fn same_content(&self, other: &Self) -> bool {
        (self.size, self.mtime_ns, self.inode) == (other.size, other.mtime_ns, other.inode)
    }
}

/// The generation of a file, as far as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) size: u64,
    pub(crate) mtime_ns: i64,
    /// Hash of the first `head_len` bytes, hexadecimal.
    pub(crate) head: Arc<str>,
    pub(crate) head_len: u64,
}

impl Fingerprint {
    /// Reads the head of an open file and leaves it at its beginning.
    pub(crate) fn take(file: &mut File, look: &Look) -> io::Result<Self> {
        let head_len = look.size.min(HEAD_BYTES);
        Ok(Self { size: look.size, mtime_ns: look.mtime_ns, head: head_hash(file, head_len)?.into(), head_len })
    }

    /// Of a file whose content may not be read.
    pub(crate) fn without_content(look: &Look) -> Self {
        Self { size: look.size, mtime_ns: look.mtime_ns, head: format!("{:032x}", xxh3_128(&[])).into(), head_len: 0 }
    }

    /// The first eight digits, for names of moved files.
    pub(crate) fn head8(&self) -> &str {
        &self.head[..8.min(self.head.len())]
    }
}

fn head_hash(file: &mut File, len: u64) -> io::Result<String> {
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.by_ref().take(len).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(format!("{:032x}", xxh3_128(&head)))
}

/// The durable states of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Reading,
    Done,
    Failed,
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Reading => "READING",
            Self::Done => "DONE",
            Self::Failed => "FAILED",
        }
    }
}

/// Where reading goes on: behind the last record handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// Byte in the stored file.
    pub(crate) position: u64,
    /// Records before it, bad ones included.
    pub(crate) records: u64,
    /// Lines before it.
    pub(crate) lines: u64,
}

/// What is stored for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredOffset {
    pub(crate) stage: Stage,
    pub(crate) progress: Progress,
    pub(crate) fingerprint: Fingerprint,
    /// Why, for a failed file.
    pub(crate) reason: Option<Arc<str>>,
}

impl StoredOffset {
    /// `None` when it is not one of ours in a version we know, which means the file is read from its beginning.
    pub(crate) fn parse(map: &OffsetMap) -> Option<Self> {
        let number = |name: &str| map.get(name).and_then(Primitive::as_int);
        let natural = |name: &str| number(name).and_then(|value| u64::try_from(value).ok());
        let text = |name: &str| map.get(name).and_then(Primitive::as_text);
        if number("v") != Some(1) {
            return None;
        }
        let stage =
            [Stage::Reading, Stage::Done, Stage::Failed].into_iter().find(|s| Some(s.name()) == text("state"))?;
        let records = natural("records")?;
        Some(Self {
            stage,
            progress: Progress {
                position: natural("position")?,
                records,
                lines: records.saturating_add_signed(number("line_gap").unwrap_or(0)),
            },
            fingerprint: Fingerprint {
                size: natural("size")?,
                mtime_ns: number("mtime_ns")?,
                head: text("head")?.into(),
                head_len: natural("head_len")?,
            },
            reason: text("reason").map(Arc::from),
        })
    }

    /// True when the file is the one this offset tells of. A file that was being read may have grown at its end since.
    pub(crate) fn is_of(&self, file: &mut File, look: &Look) -> io::Result<bool> {
        let stored = &self.fingerprint;
        let size_fits = match self.stage {
            Stage::Reading => look.size >= self.progress.position && look.size >= stored.head_len,
            Stage::Done | Stage::Failed => (look.size, look.mtime_ns) == (stored.size, stored.mtime_ns),
        };
        Ok(size_fits && head_hash(file, stored.head_len)? == *stored.head)
    }
}

/// Makes the positions of one generation of one file. The count of lines rides in the shape as its distance to the
/// count of records, which hardly ever changes, so that a position stays two numbers.
#[derive(Debug)]
pub(crate) struct Positions {
    pub(crate) partition: Arc<Partition>,
    fingerprint: Fingerprint,
    reading: Option<(i64, Arc<OffsetShape>)>,
}

impl Positions {
    pub(crate) fn new(partition: Arc<Partition>, fingerprint: Fingerprint) -> Self {
        Self { partition, fingerprint, reading: None }
    }

    pub(crate) fn reading(&mut self, progress: Progress) -> Position {
        let gap = line_gap(progress);
        let shape = match &self.reading {
            Some((known, shape)) if *known == gap => Arc::clone(shape),
            _ => {
                let shape = self.shape(Stage::Reading, gap, None);
                self.reading = Some((gap, Arc::clone(&shape)));
                shape
            }
        };
        self.at(shape, progress)
    }

    pub(crate) fn ended(&self, stage: Stage, progress: Progress, reason: Option<&str>) -> Position {
        self.at(self.shape(stage, line_gap(progress), reason), progress)
    }

    fn at(&self, shape: Arc<OffsetShape>, progress: Progress) -> Position {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let marks = [number(progress.position), number(progress.records)];
        Position { partition: Arc::clone(&self.partition), shape, marks }
    }

    fn shape(&self, stage: Stage, gap: i64, reason: Option<&str>) -> Arc<OffsetShape> {
        let number = |value: u64| Primitive::Int(i64::try_from(value).unwrap_or(i64::MAX));
        let mut fixed: OffsetMap = BTreeMap::from([
            ("v".into(), Primitive::Int(1)),
            ("state".into(), stage.name().into()),
            ("skip".into(), Primitive::Int(0)),
            ("line_gap".into(), Primitive::Int(gap)),
            ("size".into(), number(self.fingerprint.size)),
            ("mtime_ns".into(), Primitive::Int(self.fingerprint.mtime_ns)),
            ("head".into(), Primitive::Text(Arc::clone(&self.fingerprint.head))),
            ("head_len".into(), number(self.fingerprint.head_len)),
        ]);
        if let Some(reason) = reason {
            fixed.insert("reason".into(), reason.into());
        }
        Arc::new(OffsetShape { fixed, marks: [Some("position"), Some("records")] })
    }
}

fn line_gap(progress: Progress) -> i64 {
    i64::try_from(i128::from(progress.lines) - i128::from(progress.records)).unwrap_or(0)
}

/// The partition of a file.
pub(crate) fn partition(root: &str, path: &str) -> Arc<Partition> {
    Arc::new(Partition(BTreeMap::from([("root".into(), root.into()), ("path".into(), path.into())])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_path_survives_encoding(bytes in prop::collection::vec(1_u8.., 0..40)) {
            let path = PathBuf::from(OsString::from_vec(bytes));
            prop_assert_eq!(decode_path(&encode_path(&path)), path);
        }

        #[test]
        fn an_offset_survives_the_store(
            position in 0..i64::MAX as u64,
            records in 0_u64..1 << 40,
            lines in 0_u64..1 << 40,
            size in 0..i64::MAX as u64,
            mtime_ns: i64,
            failed: bool,
        ) {
            let fingerprint = Fingerprint { size, mtime_ns, head: "00ff".into(), head_len: size.min(65_536) };
            let progress = Progress { position, records, lines };
            let mut positions = Positions::new(partition("in", "a/b.csv"), fingerprint.clone());
            let reading = StoredOffset::parse(&positions.reading(progress).render()).unwrap();
            prop_assert_eq!(
                reading,
                StoredOffset { stage: Stage::Reading, progress, fingerprint: fingerprint.clone(), reason: None }
            );
            let (stage, reason) = if failed { (Stage::Failed, Some("why")) } else { (Stage::Done, None) };
            let ended = StoredOffset::parse(&positions.ended(stage, progress, reason).render()).unwrap();
            prop_assert_eq!(ended, StoredOffset { stage, progress, fingerprint, reason: reason.map(Arc::from) });
        }
    }

    #[test]
    fn an_offset_of_another_version_is_no_offset() {
        let positions =
            Positions::new(partition("in", "a"), Fingerprint { size: 1, mtime_ns: 1, head: "00".into(), head_len: 1 });
        let mut map = positions.ended(Stage::Done, Progress::default(), None).render();
        map.insert("v".into(), Primitive::Int(2));
        assert_eq!(StoredOffset::parse(&map), None);
    }
}
