//! Lines: one record per line, without its end.
//!
//! Lines end in LF or CR LF; in a file whose head has CR alone (old instruments), in CR. Read next: `reading.rs`.

use pipette_api::Blob;

use super::{Cells, Item, raw};
use crate::window::{ReadError, Window};

#[derive(Debug)]
pub(crate) struct LinesReader {
    max_record: usize,
    /// The byte that ends lines.
    end: u8,
    /// Inside a line that is too long.
    discarding: bool,
    /// Its beginning, for the report.
    kept: Option<Blob>,
}

impl LinesReader {
    /// A reader for a file with that head.
    pub(crate) fn new(head: &[u8], max_record: usize) -> Self {
        let only_cr = head.contains(&b'\r') && !head.contains(&b'\n');
        Self { max_record, end: if only_cr { b'\r' } else { b'\n' }, discarding: false, kept: None }
    }

    /// The next line; `lines` counts those behind us.
    pub(crate) fn next(&mut self, window: &mut Window, cells: &mut Cells, lines: &mut u64) -> Result<Item, ReadError> {
        if self.discarding {
            return self.discard(window, lines);
        }
        let mut searched = 0;
        let (len, terminated) = loop {
            let text = window.text();
            if let Some(found) = text[searched..].iter().position(|byte| *byte == self.end) {
                break (searched + found, true);
            }
            searched = text.len();
            if searched > self.max_record {
                break (searched, false);
            }
            if !window.fill()? {
                break (searched, false);
            }
        };
        if len > self.max_record {
            (self.discarding, self.kept) = (true, raw(window.text()));
            return Ok(Item::Again);
        }
        if len == 0 && !terminated {
            return Ok(Item::End);
        }
        let line = &window.text()[..len];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        cells.text.clear();
        cells.text.extend_from_slice(line);
        (cells.ends[0], cells.count) = (line.len(), 1);
        window.consume(len + usize::from(terminated));
        *lines += 1;
        Ok(Item::Record)
    }

    /// Reads on to the end of a line that is too long, and then tells of it.
    fn discard(&mut self, window: &mut Window, lines: &mut u64) -> Result<Item, ReadError> {
        let found = window.text().iter().position(|byte| *byte == self.end);
        window.consume(found.map_or(window.text().len(), |at| at + 1));
        if found.is_none() && window.fill()? {
            return Ok(Item::Again);
        }
        *lines += 1;
        self.discarding = false;
        let reason = format!("the line is longer than max.record.bytes ({})", self.max_record);
        Ok(Item::Bad { reason, raw: self.kept.take() })
    }
}
