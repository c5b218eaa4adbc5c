//! The formats: each turns the text of a window into records, one after another.
//!
//! A reader keeps no text of its own and no more than one record in memory. `reading.rs` drives it. Read next: `csv.rs`,
//! `lines.rs`.

pub(crate) mod columns;
pub(crate) mod csv;
pub(crate) mod lines;
pub(crate) mod separator;

use pipette_api::Blob;

use crate::window::{ReadError, Window};

/// How much of bad input is kept for the dead letter queue.
const RAW_BYTES: usize = 4096;

/// What a reader found.
#[derive(Debug)]
pub(crate) enum Item {
    /// A record; its cells are in [`Cells`].
    Record,
    /// Something that is no record, and why. Reading goes on behind it.
    Bad { reason: String, raw: Option<Blob> },
    /// Nothing yet, but text was consumed: the caller may let others run.
    Again,
    /// Nothing more.
    End,
}

/// The cells of one record, as bytes in the file's character set. The buffers keep their size from row to row.
#[derive(Debug)]
pub(crate) struct Cells {
    pub(crate) text: Vec<u8>,
    /// Where each cell ends in the text; the first `count` are of this record.
    pub(crate) ends: Vec<usize>,
    pub(crate) count: usize,
}

impl Default for Cells {
    fn default() -> Self {
        Self { text: vec![0; 4096], ends: vec![0; 64], count: 0 }
    }
}

impl Cells {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.ends[..self.count].iter().scan(0, |start, end| {
            let cell = &self.text[*start..*end];
            *start = *end;
            Some(cell)
        })
    }

    /// True when there is one cell and only blanks in it.
    pub(crate) fn is_blank(&self) -> bool {
        self.count == 1 && self.text[..self.ends[0]].iter().all(u8::is_ascii_whitespace)
    }
}

/// The part of bad input that is kept.
pub(crate) fn raw(text: &[u8]) -> Option<Blob> {
    Blob::whole(text[..text.len().min(RAW_BYTES)].to_vec()).ok()
}

/// Consumes a line end (LF, CR LF or CR) if one is next; true when there was one.
pub(crate) fn eat_line_end(window: &mut Window) -> Result<bool, ReadError> {
    window.sample(1)?;
    let len = match window.text().first() {
        Some(b'\n') => 1,
        Some(b'\r') => {
            window.sample(2)?;
            if window.text().get(1) == Some(&b'\n') { 2 } else { 1 }
        }
        _ => return Ok(false),
    };
    window.consume(len);
    Ok(true)
}

/// Consumes text up to the next line end, but no more than what is in memory; true when it stands before a line end.
pub(crate) fn eat_line(window: &mut Window) -> Result<bool, ReadError> {
    if window.text().is_empty() && !window.fill()? {
        return Ok(true);
    }
    let text = window.text();
    let found = text.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
    window.consume(found.unwrap_or(text.len()));
    Ok(found.is_some())
}

/// Skips whole lines; the number that was there to skip.
pub(crate) fn skip_lines(window: &mut Window, count: u32) -> Result<u64, ReadError> {
    let mut skipped = 0;
    for _ in 0..count {
        while !eat_line(window)? {}
        if !eat_line_end(window)? {
            break;
        }
        skipped += 1;
    }
    Ok(skipped)
}
