//! CSV and its relatives: rows of cells, some of them quoted, quoted cells with line ends inside.
//!
//! `csv-core` finds the cells; around it stand the limits it does not have (bytes per row, lines per quoted cell) and
//! the way back: a quote that is never closed costs the line it opens on, not the rest of the file. Read next:
//! `reading.rs`.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use pipette_api::Blob;

use super::{Cells, Item, eat_line_end, raw};
use crate::window::{ReadError, Window};

/// So much is handed to the parser at once, so that limits are noticed early.
const PIECE: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct CsvReader {
    parser: Reader,
    max_record: usize,
    quoted_lines: usize,
    /// How many cells a row must have.
    pub(crate) width: Option<usize>,
    /// Behind a bad beginning: reading on to the end of the line, what is wrong, and the beginning of the line.
    discarding: Option<(String, Option<Blob>)>,
}

/// What the parser made of the text at the beginning of the window.
enum Parsed {
    /// A row, in so many bytes.
    Row(usize),
    /// No row, and why.
    Broken(String),
}

impl CsvReader {
    pub(crate) fn new(separator: u8, quote: Option<u8>, max_record: usize, quoted_lines: usize) -> Self {
        let mut builder = ReaderBuilder::new();
        builder.delimiter(separator);
        match quote {
            Some(quote) => builder.quote(quote),
            None => builder.quoting(false),
        };
        Self { parser: builder.build(), max_record, quoted_lines, width: None, discarding: None }
    }

    /// The next row that is not blank; `lines` counts those behind us.
    pub(crate) fn next(&mut self, window: &mut Window, cells: &mut Cells, lines: &mut u64) -> Result<Item, ReadError> {
        if self.discarding.is_some() {
            return self.discard(window, lines);
        }
        // At most one block of blank lines at a time, so that a file full of them does not hold the task.
        if window.text().is_empty() && !window.fill()? {
            return Ok(Item::End);
        }
        if eat_line_end(window)? {
            *lines += 1;
            return Ok(Item::Again);
        }
        match self.parse(window, cells)? {
            Parsed::Broken(reason) => {
                self.discarding = Some((reason, None));
                Ok(Item::Again)
            }
            Parsed::Row(len) => {
                let row = &window.text()[..len];
                let item = match self.width {
                    Some(width) if width > 1 && cells.is_blank() => Item::Again,
                    Some(width) if width != cells.count => Item::Bad {
                        reason: format!("the row has {} cells, the header has {width}", cells.count),
                        raw: raw(row),
                    },
                    _ => Item::Record,
                };
                *lines += line_ends(row);
                window.consume(len);
                if eat_line_end(window)? {
                    *lines += 1;
                }
                Ok(item)
            }
        }
    }

    fn parse(&mut self, window: &mut Window, cells: &mut Cells) -> Result<Parsed, ReadError> {
        self.parser.reset();
        let (mut read, mut written, mut ended) = (0, 0, 0);
        let mut quoted_lines = 0;
        loop {
            if read == window.text().len() && !window.fill()? {
                // A line end that is not there: if it ends the row, the row was complete.
                let (result, _, text, ends) =
                    self.parser.read_record(b"\n", &mut cells.text[written..], &mut cells.ends[ended..]);
                (written, ended) = (written + text, ended + ends);
                match result {
                    ReadRecordResult::Record => break,
                    ReadRecordResult::OutputEndsFull => cells.ends.resize(cells.ends.len() * 2, 0),
                    ReadRecordResult::OutputFull => cells.text.resize(cells.text.len() * 2, 0),
                    _ => return Ok(Parsed::Broken("a quoted cell opens on this line and is never closed".into())),
                }
                continue;
            }
            let text = window.text();
            let piece = &text[read..text.len().min(read + PIECE)];
            let (result, taken, text, ends) =
                self.parser.read_record(piece, &mut cells.text[written..], &mut cells.ends[ended..]);
            let done = matches!(result, ReadRecordResult::Record);
            // The line end of the row itself is no line inside it.
            quoted_lines += line_ends(&piece[..taken - usize::from(done)]);
            (read, written, ended) = (read + taken, written + text, ended + ends);
            if quoted_lines > self.quoted_lines as u64 {
                return Ok(Parsed::Broken(format!(
                    "a quoted cell opens on this line and holds more than csv.quoted.max.lines ({}) lines",
                    self.quoted_lines
                )));
            }
            if read > self.max_record {
                return Ok(Parsed::Broken(format!("the row is longer than max.record.bytes ({})", self.max_record)));
            }
            match result {
                ReadRecordResult::Record => {
                    read -= 1;
                    break;
                }
                ReadRecordResult::OutputFull => cells.text.resize(cells.text.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => cells.ends.resize(cells.ends.len() * 2, 0),
                ReadRecordResult::InputEmpty | ReadRecordResult::End => {}
            }
        }
        cells.count = ended;
        Ok(Parsed::Row(read))
    }

    /// Reads on to the end of the line that is broken, and then tells of it.
    fn discard(&mut self, window: &mut Window, lines: &mut u64) -> Result<Item, ReadError> {
        if let Some((_, kept)) = &mut self.discarding
            && kept.is_none()
        {
            let text = window.text();
            let len = text.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(text.len());
            *kept = raw(&text[..len]);
        }
        if !super::eat_line(window)? {
            return Ok(Item::Again);
        }
        eat_line_end(window)?;
        *lines += 1;
        let Some((reason, raw)) = self.discarding.take() else { return Ok(Item::Again) };
        Ok(Item::Bad { reason, raw })
    }
}

/// Line ends in a piece of text; CR LF counts once, by its LF.
fn line_ends(text: &[u8]) -> u64 {
    let mut count = 0;
    for (index, byte) in text.iter().enumerate() {
        count += u64::from(*byte == b'\n' || (*byte == b'\r' && text.get(index + 1) != Some(&b'\n')));
    }
    count
}
