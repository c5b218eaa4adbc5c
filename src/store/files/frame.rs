//! The bytes of `offsets.log`.
//!
//! ```text
//! file  = first line (names the format), frame*
//! frame = marker, length of the entries, checksum of both; entry*        one commit, all or nothing
//! entry = length of the body, checksum of length and body; body          one offset
//! body  = length of the key, key, value                                  no value: the offset is taken away
//! ```
//!
//! Numbers are little-endian u32, checksums CRC-32C. A frame is written only after the one before it was synced, so a
//! crash can damage the last frame only; damage with a whole frame behind it is the disk's doing and is reported.

use std::io::{self, Read, Seek, SeekFrom};

/// The first line of the file.
pub(super) const HEADER: &[u8] = b"pipette offsets, format 1\n";
/// The format this version writes.
pub(super) const FORMAT: u64 = 1;
/// What stands before [`FORMAT`] in the first line.
pub(super) const HEADER_START: &str = "pipette offsets, format ";
/// Begins with a byte that UTF-8 never uses, so that keys and values cannot look like a frame.
const MARKER: [u8; 4] = [0xF5, b'P', b'F', b'R'];
const FRAME_HEAD: usize = 12;
const ENTRY_HEAD: usize = 8;

/// One offset, as JSON bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// See `offset_json::encode_key`.
    pub(super) key: Vec<u8>,
    /// See `offset_json::encode_offset`; `None` takes the offset away.
    pub(super) value: Option<Vec<u8>>,
}

impl Entry {
    /// Its size in a frame.
    pub(super) fn size(&self) -> usize {
        ENTRY_HEAD + 4 + self.key.len() + self.value.as_ref().map_or(0, Vec::len)
    }
}

/// Where an entry stands in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The first byte of the entry.
    pub(super) at: u64,
    /// Its size.
    pub(super) size: u32,
}

/// A frame being filled.
#[derive(Debug)]
pub(super) struct Frame(Vec<u8>);

impl Frame {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self(vec![0; FRAME_HEAD])
    }

    /// Its size so far.
    pub(super) fn size(&self) -> usize {
        self.0.len()
    }

    /// Adds an entry; returns where it stands from the beginning of the frame.
    pub(super) fn push(&mut self, entry: &Entry) -> Place {
        let at = self.0.len();
        let body = entry.size() - ENTRY_HEAD;
        self.0.extend_from_slice(&length(body));
        self.0.extend_from_slice(&[0; 4]);
        self.0.extend_from_slice(&length(entry.key.len()));
        self.0.extend_from_slice(&entry.key);
        self.0.extend_from_slice(entry.value.as_deref().unwrap_or_default());
        let checksum = entry_checksum(&self.0[at..]);
        self.0[at + 4..at + ENTRY_HEAD].copy_from_slice(&checksum);
        Place { at: at as u64, size: u32::from_le_bytes(length(entry.size())) }
    }

    /// The bytes to write.
    pub(super) fn seal(mut self) -> Vec<u8> {
        let entries = length(self.0.len() - FRAME_HEAD);
        self.0[..FRAME_HEAD].copy_from_slice(&frame_head(entries));
        self.0
    }
}

/// Callers keep frames under 64 MiB.
fn length(size: usize) -> [u8; 4] {
    u32::try_from(size).unwrap_or_else(|_| unreachable!("frames are capped far below 4 GiB")).to_le_bytes()
}

fn frame_head(entries: [u8; 4]) -> [u8; FRAME_HEAD] {
    let mut head = [0; FRAME_HEAD];
    head[..4].copy_from_slice(&MARKER);
    head[4..8].copy_from_slice(&entries);
    let checksum = crc32c::crc32c(&head[..8]);
    head[8..].copy_from_slice(&checksum.to_le_bytes());
    head
}

fn entry_checksum(entry: &[u8]) -> [u8; 4] {
    crc32c::crc32c_append(crc32c::crc32c(&entry[..4]), &entry[ENTRY_HEAD..]).to_le_bytes()
}

/// The size of the entries that a frame head announces, if it is one.
fn announced(head: &[u8]) -> Option<u64> {
    let entries: [u8; 4] = head.get(4..8)?.try_into().ok()?;
    (head == frame_head(entries)).then(|| u64::from(u32::from_le_bytes(entries)))
}

/// Takes the first entry off; `None` if its checksum or a length does not hold.
pub(super) fn split_entry(bytes: &[u8]) -> Option<(Entry, &[u8])> {
    let body = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let (entry, rest) = bytes.split_at_checked(ENTRY_HEAD.checked_add(body)?)?;
    if entry[4..ENTRY_HEAD] != entry_checksum(entry) {
        return None;
    }
    let body = &entry[ENTRY_HEAD..];
    let key = u32::from_le_bytes(body.get(..4)?.try_into().ok()?) as usize;
    let (key, value) = body[4..].split_at_checked(key)?;
    let value = (!value.is_empty()).then(|| value.to_vec());
    Some((Entry { key: key.to_vec(), value }, rest))
}

/// How a log ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a whole frame.
    Whole,
    /// With a frame that was being written when the worker died; the log is good up to here.
    Torn(u64),
    /// Not here: a frame at this position is damaged and whole ones follow.
    Damaged(u64),
}

/// Reads every entry of a log of `size` bytes, from behind its first line.
pub(super) fn scan<F: Read + Seek>(log: &mut F, size: u64, mut each: impl FnMut(Entry, Place)) -> io::Result<End> {
    let mut at = HEADER.len() as u64;
    let mut head = [0; FRAME_HEAD];
    let mut entries = Vec::new();
    while at < size {
        if size - at < FRAME_HEAD as u64 {
            return Ok(End::Torn(at));
        }
        log.read_exact(&mut head)?;
        let Some(announced) = announced(&head) else {
            let another = find_frame(log, at + 1, size)?;
            return Ok(if another { End::Damaged(at) } else { End::Torn(at) });
        };
        let first = at + FRAME_HEAD as u64;
        let end = first + announced;
        if end > size {
            return Ok(End::Torn(at));
        }
        entries.clear();
        log.by_ref().take(announced).read_to_end(&mut entries)?;
        let Some(parsed) = split_frame(&entries, first) else {
            return Ok(if end == size { End::Torn(at) } else { End::Damaged(at) });
        };
        for (entry, place) in parsed {
            each(entry, place);
        }
        at = end;
    }
    Ok(End::Whole)
}

fn split_frame(mut entries: &[u8], mut at: u64) -> Option<Vec<(Entry, Place)>> {
    let mut parsed = Vec::new();
    while !entries.is_empty() {
        let (entry, rest) = split_entry(entries)?;
        let size = entries.len() - rest.len();
        parsed.push((entry, Place { at, size: u32::from_le_bytes(length(size)) }));
        at += size as u64;
        entries = rest;
    }
    Some(parsed)
}

/// True if a frame begins anywhere between the two positions.
fn find_frame<F: Read + Seek>(log: &mut F, from: u64, size: u64) -> io::Result<bool> {
    log.seek(SeekFrom::Start(from))?;
    let mut rest = log.by_ref().take(size - from);
    let mut window = Vec::new();
    loop {
        let read = rest.by_ref().take(64 * 1024).read_to_end(&mut window)?;
        if window.windows(FRAME_HEAD).any(|head| head[0] == MARKER[0] && announced(head).is_some()) {
            return Ok(true);
        }
        if read == 0 {
            return Ok(false);
        }
        // A head may straddle two windows.
        window.drain(..window.len().saturating_sub(FRAME_HEAD - 1));
    }
}
