//! What a log holds after a restart: walk its batches, check each, stop at the first that is not whole.
//!
//! A crash leaves at most a torn tail. A disk fault can leave worse, so what is cut off is kept beside the log.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::batch::{CHECKED_FROM, HEADER, Header};
use super::marker::{self, Outcome};

const CHUNK: usize = 128 * 1024;

/// Calls `found` with each intact batch and the end of a transaction in it, and returns where the intact part ends.
pub(super) fn walk(file: &File, mut found: impl FnMut(&Header, Option<Outcome>)) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut from: &File = file;
    from.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::with_capacity(CHUNK, from);
    let mut chunk = vec![0; CHUNK];
    let (mut position, mut next_offset) = (0, 0);
    while let Some(header) = next_batch(&mut reader, length - position, &mut chunk)? {
        if header.base_offset != next_offset {
            break;
        }
        // Control batches are small: all of one is in the chunk.
        let body = chunk.get(..header.length - HEADER).filter(|_| header.is_control());
        found(&header, body.and_then(marker::outcome));
        position += header.length as u64;
        next_offset = header.next_offset();
    }
    Ok(position)
}

/// None at the end, or where the bytes are no intact batch. Memory stays at one chunk whatever the header claims.
fn next_batch(reader: &mut impl Read, available: u64, chunk: &mut [u8]) -> io::Result<Option<Header>> {
    if available < HEADER as u64 {
        return Ok(None);
    }
    let mut head = [0; HEADER];
    reader.read_exact(&mut head)?;
    let Some(header) = Header::parse(&head).filter(|header| header.length as u64 <= available) else {
        return Ok(None);
    };
    let mut checksum = crc32c::crc32c(&head[CHECKED_FROM..]);
    let mut left = header.length - HEADER;
    while left > 0 {
        let size = left.min(chunk.len());
        reader.read_exact(&mut chunk[..size])?;
        checksum = crc32c::crc32c_append(checksum, &chunk[..size]);
        left -= size;
    }
    Ok((checksum == header.checksum && header.magic == 2).then_some(header))
}

/// Cuts the file at `end`; the bytes behind it go to a file beside it, whose name is returned.
pub(super) fn cut(path: &Path, file: &File, end: u64) -> io::Result<Option<PathBuf>> {
    if file.metadata()?.len() == end {
        return Ok(None);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".cut-at-{end}"));
    let kept = PathBuf::from(name);
    let mut from: &File = file;
    from.seek(SeekFrom::Start(end))?;
    let mut copy = File::create(&kept)?;
    io::copy(&mut from, &mut copy)?;
    copy.flush()?;
    copy.sync_all()?;
    file.set_len(end)?;
    file.sync_all()?;
    Ok(Some(kept))
}
