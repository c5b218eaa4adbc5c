//! The splitter: bytes in as they are read, lines out as spans of one shared buffer. Pure; `source.rs` does the reading.
//!
//! A line ends at `\n`, `\r\n` or `\r`, as in Java. A `\r` at the very end waits for the byte behind it. What stands
//! behind the last line end waits for its own, within [`LINE_LIMIT`].

use bytes::Bytes;
use memchr::{memchr2, memrchr2};
use pipette_api::{Blob, Result};

use crate::buffers::Buffers;

/// The longest line that becomes a record. Far above what a Kafka broker takes; without a limit a file that is not
/// text would be read into memory as one line.
pub(crate) const LINE_LIMIT: usize = 16 << 20;

/// One thing found in the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// A line without its end, and the position behind that end.
    Line(Blob, u64),
    /// A line above the limit: where it begins, and the position behind its end.
    TooLong(u64, u64),
}

/// Lines that are complete, and the bytes behind them.
pub(crate) struct Lines {
    /// Complete lines not taken yet.
    ready: Blob,
    at: u32,
    /// The position of `ready[at]`.
    position: u64,
    /// Bytes behind the last line end; the next read appends to them.
    tail: Vec<u8>,
    /// How much of the tail is known to hold no complete line end.
    searched: usize,
    over_long: OverLong,
    limit: usize,
    buffers: Buffers,
}

/// A line above the limit is thrown away as it comes in.
#[derive(Clone, Copy)]
enum OverLong {
    No,
    Inside { begin: u64 },
    Ended { begin: u64 },
}

impl Lines {
    /// Nothing read yet, the next byte is at that position.
    pub(crate) fn from(position: u64) -> Self {
        let (ready, tail) = (Blob::from(&b""[..]), Vec::new());
        Self {
            ready,
            at: 0,
            position,
            tail,
            searched: 0,
            over_long: OverLong::No,
            limit: LINE_LIMIT,
            buffers: Buffers::default(),
        }
    }

    /// Where the next byte is read.
    pub(crate) fn read_position(&self) -> u64 {
        self.position + (self.ready.len() as u64 - u64::from(self.at)) + self.tail.len() as u64
    }

    /// About how many lines are ready, judged by the first of them.
    pub(crate) fn estimate(&self) -> usize {
        let rest = &self.ready.as_bytes()[self.at as usize..];
        memchr2(b'\n', b'\r', rest).map_or(1, |length| rest.len() / (length + 1) + 1)
    }

    /// The buffer to append to, once there are no complete lines left. Follow with [`Lines::appended`].
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.tail.capacity() == 0 {
            self.tail = self.buffers.take();
        }
        &mut self.tail
    }

    /// There is nothing to read: gives memory back to the system.
    pub(crate) fn idle(&mut self) {
        self.ready = Blob::from(&b""[..]);
        self.at = 0;
        self.tail.shrink_to_fit();
        self.buffers.release();
    }

    /// Looks at what was appended and makes complete lines ready to be taken.
    pub(crate) fn appended(&mut self) -> Result<()> {
        debug_assert!(self.at as usize == self.ready.len(), "lines are taken before more is read");
        if let OverLong::Inside { begin } = self.over_long {
            let end = first_end(&self.tail);
            self.drop_front(end.unwrap_or_else(|| without_open_end(&self.tail)));
            if end.is_none() {
                return Ok(());
            }
            self.over_long = OverLong::Ended { begin };
        }
        let Some(end) = last_end(&self.tail[self.searched..]) else {
            self.searched = without_open_end(&self.tail);
            if self.searched > self.limit && matches!(self.over_long, OverLong::No) {
                self.over_long = OverLong::Inside { begin: self.position };
                self.drop_front(self.searched);
            }
            return Ok(());
        };
        self.ready = Blob::whole(self.take_front(self.searched + end))?;
        self.searched = without_open_end(&self.tail);
        self.at = 0;
        Ok(())
    }

    /// The first bytes of the tail, as a buffer to share.
    fn take_front(&mut self, count: usize) -> Bytes {
        // Few bytes of a large buffer are copied: a line in flight must not keep a mebibyte alive.
        if count < self.tail.capacity() / 4 {
            let front = Bytes::copy_from_slice(&self.tail[..count]);
            self.tail.drain(..count);
            return front;
        }
        let mut rest = self.buffers.take();
        rest.extend_from_slice(&self.tail[count..]);
        let mut front = std::mem::replace(&mut self.tail, rest);
        front.truncate(count);
        self.buffers.share(front)
    }

    /// Throws away bytes of an over-long line.
    fn drop_front(&mut self, count: usize) {
        self.tail.drain(..count);
        self.position += count as u64;
        self.searched = 0;
    }

    /// The next line, as long as there are complete ones.
    pub(crate) fn next(&mut self) -> Option<Found> {
        if let OverLong::Ended { begin } = self.over_long {
            self.over_long = OverLong::No;
            return Some(Found::TooLong(begin, self.position));
        }
        let rest = &self.ready.as_bytes()[self.at as usize..];
        let length = memchr2(b'\n', b'\r', rest)?;
        let end = length + end_length(&rest[length..]);
        let (begin, start) = (self.position, self.at);
        self.position += end as u64;
        self.at += to_u32(end);
        if length > self.limit {
            return Some(Found::TooLong(begin, self.position));
        }
        Some(Found::Line(self.ready.slice(start, to_u32(length)), self.position))
    }

    /// What stands behind the last line end of a file that will not grow any more; `None` when nothing does, or only
    /// the rest of an over-long line.
    pub(crate) fn unfinished(&mut self) -> Result<Option<Blob>> {
        let mut tail = std::mem::take(&mut self.tail);
        if tail.is_empty() || matches!(self.over_long, OverLong::Inside { .. }) {
            return Ok(None);
        }
        tail.truncate(without_open_end(&tail));
        Blob::whole(Bytes::from(tail)).map(Some)
    }
}

/// How long the line end is that begins here.
fn end_length(bytes: &[u8]) -> usize {
    if bytes.starts_with(b"\r\n") { 2 } else { 1 }
}

/// The length without a `\r` at the very end, which may be half of a line end.
fn without_open_end(bytes: &[u8]) -> usize {
    bytes.len() - usize::from(bytes.last() == Some(&b'\r'))
}

/// The index behind the first complete line end.
fn first_end(bytes: &[u8]) -> Option<usize> {
    let at = memchr2(b'\n', b'\r', &bytes[..without_open_end(bytes)])?;
    Some(at + end_length(&bytes[at..]))
}

/// The index behind the last complete line end.
fn last_end(bytes: &[u8]) -> Option<usize> {
    memrchr2(b'\n', b'\r', &bytes[..without_open_end(bytes)]).map(|at| at + 1)
}

fn to_u32(length: usize) -> u32 {
    u32::try_from(length).unwrap_or_else(|_| unreachable!("a span lies in a buffer of less than 4 GiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(lines: &mut Lines, bytes: &[u8], out: &mut Vec<(String, u64)>) {
        lines.buffer().extend_from_slice(bytes);
        lines.appended().unwrap();
        while let Some(found) = lines.next() {
            out.push(match found {
                Found::Line(line, end) => (String::from_utf8(line.as_bytes().to_vec()).unwrap(), end),
                Found::TooLong(begin, end) => (format!("<too long from {begin}>"), end),
            });
        }
    }

    /// However the reads fall, the lines and positions are the same.
    fn check(input: &str, limit: usize, expected: &[(&str, u64)]) {
        for piece in 1..=input.len() {
            let mut lines = Lines { limit, ..Lines::from(100) };
            let mut out = Vec::new();
            for bytes in input.as_bytes().chunks(piece) {
                feed(&mut lines, bytes, &mut out);
            }
            let out: Vec<_> = out.iter().map(|(line, end)| (line.as_str(), end - 100)).collect();
            assert_eq!(out, expected, "{input:?} in pieces of {piece}");
            assert_eq!(lines.read_position(), 100 + input.len() as u64);
        }
    }

    #[test]
    fn lines_end_as_in_java() {
        check("a\nbc\n", 99, &[("a", 2), ("bc", 5)]);
        check("a\r\nb\rc\n", 99, &[("a", 3), ("b", 5), ("c", 7)]);
        check("\n\r\n\r\rx", 99, &[("", 1), ("", 3), ("", 4), ("", 5)]);
        check("open", 99, &[]);
        check("a\nopen\r", 99, &[("a", 2)]);
    }

    #[test]
    fn a_line_above_the_limit_is_named_and_the_rest_goes_on() {
        check("ab\n0123456789\ncd\n", 4, &[("ab", 3), ("<too long from 103>", 14), ("cd", 17)]);
        check("0123456789\r\ncd\r\n", 4, &[("<too long from 100>", 12), ("cd", 16)]);
        check("1234\n12345\n", 4, &[("1234", 5), ("<too long from 105>", 11)]);
    }

    #[test]
    fn an_over_long_line_is_not_kept_in_memory() {
        let (mut lines, mut out) = (Lines { limit: 1000, ..Lines::from(0) }, Vec::new());
        for _ in 0..1000 {
            feed(&mut lines, &[b'x'; 500], &mut out);
            assert!(lines.tail.len() <= 1500, "{} bytes are held", lines.tail.len());
        }
        feed(&mut lines, b"\nnext\n", &mut out);
        assert_eq!(out, [("<too long from 0>".into(), 500_001), ("next".into(), 500_006)]);
    }

    #[test]
    fn a_file_that_nobody_writes_has_no_buffer() {
        let (mut lines, mut out) = (Lines::from(0), Vec::new());
        feed(&mut lines, ("x".repeat(3_000_000) + "\nopen").as_bytes(), &mut out);
        assert_eq!(out.len(), 1);
        lines.idle();
        assert!(lines.tail.capacity() < 100, "{} bytes for an open line", lines.tail.capacity());
        feed(&mut lines, b" end\n", &mut out);
        assert_eq!(out[1].0, "open end");
    }

    #[test]
    fn lines_share_the_buffer_they_were_read_into() {
        let mut lines = Lines::from(0);
        lines.buffer().extend_from_slice(b"one\ntwo\n");
        lines.appended().unwrap();
        let (Some(Found::Line(one, _)), Some(Found::Line(two, _))) = (lines.next(), lines.next()) else { panic!() };
        assert_eq!(two.as_bytes().as_ptr() as usize - one.as_bytes().as_ptr() as usize, 4, "nothing is copied");
    }
}
