//! An open file on its way into records.
//!
//! `source.rs` opens one file after another and calls [`OpenFile::read`] until the file has ended; each call is bounded
//! in records and bytes. Read next: `source.rs`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use pipette_api::{Blob, ConnectError, Partition, Position, Result, SourceEntry, SourceRecord, Text, Value};

use crate::decode::{Charset, detect};
use crate::emit::{Emitter, FileFacts, Place, file_id};
use crate::finish;
use crate::formats::columns::Columns;
use crate::formats::csv::CsvReader;
use crate::formats::lines::LinesReader;
use crate::formats::{Cells, Item, separator, skip_lines};
use crate::identity::{FileKey, Fingerprint, Look, Positions, Progress, Stage, StoredOffset};
use crate::payload::FilePayload;
use crate::settings::{Format, KeyChoice, LabFilesSettings, Output, RowWidth};
use crate::window::{ReadError, Window};

mod raw;

use self::raw::Raw;

/// How much of a file is looked at to find out what it is.
const SAMPLE: usize = 64 * 1024;
/// Steps without a record (blank lines, parts of a line that is too long) before others may run.
const IDLE_STEPS: usize = 4096;

/// Which file is to be opened, and what is known of it.
pub(crate) struct Opening<'a> {
    /// The connector that reads it.
    pub(crate) connector: &'a str,
    pub(crate) key: &'a FileKey,
    pub(crate) path: PathBuf,
    /// The settled look.
    pub(crate) look: Look,
    /// False when nothing but its stored offset says that it need not settle.
    pub(crate) settled: bool,
    pub(crate) partition: Arc<Partition>,
    pub(crate) stored: Option<&'a StoredOffset>,
}

/// What opening led to.
pub(crate) enum Opened {
    /// Records follow.
    Reading(Box<OpenFile>),
    /// Its end is stored already; what is left is to clear it away.
    Ended { stage: Stage, fingerprint: Fingerprint, reason: Option<Arc<str>> },
}

/// Why a file cannot be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// It may get better.
    Io(io::Error),
    /// It is not the file that had settled.
    Changed,
    /// It can never be read, and why.
    Bad { reason: String, fingerprint: Fingerprint },
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => Self::Io(error),
            ReadError::Changed => Self::Changed,
        }
    }
}

#[derive(Debug)]
enum Reader {
    Csv {
        reader: Box<CsvReader>,
        columns: Columns,
    },
    Lines(LinesReader),
    Whole(FilePayload),
    /// Its bytes as they are: in pieces, or for the digest alone.
    Raw(Box<Raw>),
    /// Not even a header.
    Empty,
}

#[derive(Debug)]
pub(crate) struct OpenFile {
    /// Folder and path, for error texts.
    name: String,
    positions: Positions,
    progress: Progress,
    fingerprint: Fingerprint,
    window: Window,
    reader: Reader,
    emitter: Emitter,
    cells: Cells,
    /// The same for this generation of the file, and for no other.
    id: String,
}

/// How far one call may go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

/// What one call has read.
#[derive(Debug, Default)]
pub(crate) struct Portion {
    pub(crate) entries: Vec<SourceEntry>,
    pub(crate) bytes: u64,
    pub(crate) bad: usize,
    pub(crate) ended: bool,
    /// Why reading stopped early; the entries are good all the same.
    pub(crate) error: Option<ReadError>,
}

/// A record before its text is in its final place.
struct Draft {
    place: Place,
    position: Position,
    content: Content,
}

enum Content {
    /// Cells by index into the ends of the portion's text.
    Cells(Range<usize>),
    Bad {
        reason: String,
        raw: Option<Blob>,
        line: u64,
    },
}

/// The text of all records of a portion: their values are spans of it.
#[derive(Default)]
struct Arena {
    text: Vec<u8>,
    ends: Vec<usize>,
}

pub(crate) fn open(opening: &Opening<'_>, settings: &LabFilesSettings) -> std::result::Result<Opened, OpenError> {
    let mut file = finish::open_regular(&opening.path, settings.follow, &settings.reach)?;
    if !Look::of(&file.metadata()?).same_content(&opening.look) {
        return Err(OpenError::Changed);
    }
    let fingerprint = Fingerprint::take(&mut file, &opening.look)?;
    let mut resume = None;
    if let Some(stored) = opening.stored
        && stored.is_of(&mut file, &opening.look)?
    {
        if stored.stage != Stage::Reading {
            let (stage, reason) = (stored.stage, stored.reason.clone());
            return Ok(Opened::Ended { stage, fingerprint, reason });
        }
        // Pieces carry the size of the whole: of a file that has grown they are others from the first one on.
        resume =
            Some(stored.progress).filter(|_| settings.output == Output::Records || stored.fingerprint == fingerprint);
    } else if !opening.settled {
        return Err(OpenError::Changed);
    }
    let bad = |reason: String| OpenError::Bad { reason, fingerprint: fingerprint.clone() };
    let (charset, mark) = match settings.output {
        Output::Records => detect(&head(&mut file)?, settings.charset).map_err(bad)?,
        _ => (Charset::Utf8 { fallback: None }, 0),
    };
    let facts = FileFacts {
        key: opening.key,
        path: &opening.path,
        look: &opening.look,
        fingerprint: &fingerprint,
        charset: charset.name(),
    };
    let mut open = OpenFile {
        name: opening.path.display().to_string(),
        emitter: Emitter::new(settings, &facts),
        positions: Positions::new(Arc::clone(&opening.partition), fingerprint.clone()),
        progress: Progress::default(),
        window: Window::open(file, opening.look, charset, mark as u64)?,
        reader: Reader::Empty,
        cells: Cells::default(),
        fingerprint: fingerprint.clone(),
        id: file_id(&settings.roots[opening.key.root].id, &facts),
    };
    open.begin(opening, settings)?.map_err(bad)?;
    open.go_on_at(resume)?;
    Ok(Opened::Reading(Box::new(open)))
}

fn head(file: &mut File) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    file.by_ref().take(SAMPLE as u64).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(head)
}

impl OpenFile {
    pub(crate) fn progress(&self) -> Progress {
        self.progress
    }

    pub(crate) fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Finds out the format and reads what stands before the first record; the inner error says why it is no such file.
    fn begin(
        &mut self,
        opening: &Opening<'_>,
        settings: &LabFilesSettings,
    ) -> std::result::Result<std::result::Result<(), String>, OpenError> {
        if settings.output != Output::Records {
            self.reader = self.unparsed(opening, settings)?;
            return Ok(Ok(()));
        }
        let skipped = if settings.format == Format::Lines { 0 } else { settings.skip_lines };
        self.progress.lines = skip_lines(&mut self.window, skipped)?;
        let whole = self.window.sample(SAMPLE)?;
        let head = self.window.text();
        if settings.format == Format::Lines
            || (settings.format == Format::Auto && !looks_like_table(&opening.key.name(), head, settings, whole))
        {
            self.reader = Reader::Lines(LinesReader::new(head, settings.max_record));
            self.progress.position = self.window.position();
            return Ok(Ok(()));
        }
        self.begin_table(settings, whole)
    }

    fn begin_table(
        &mut self,
        settings: &LabFilesSettings,
        whole: bool,
    ) -> std::result::Result<std::result::Result<(), String>, OpenError> {
        let declared = separator::declared(self.window.text());
        if declared.is_some() {
            self.progress.lines += skip_lines(&mut self.window, 1)?;
        }
        let detected = || separator::detect(self.window.text(), settings.quote, whole);
        let separator = settings.separator.or(declared).or_else(detected).unwrap_or(b',');
        let mut reader = CsvReader::new(separator, settings.quote, settings.max_record, settings.quoted_lines);
        let before = (self.window.position(), self.progress.lines);
        let first = loop {
            match reader.next(&mut self.window, &mut self.cells, &mut self.progress.lines)? {
                Item::Record => break self.texts(),
                Item::Again => {}
                Item::End => return Ok(Ok(())),
                Item::Bad { reason, .. } => return Ok(Err(format!("has no readable header: {reason}"))),
            }
        };
        let Some(first) = first else {
            return Ok(Err(format!("has no readable header: it is not valid {}", self.window.charset().name())));
        };
        let (names, width) =
            if settings.header_row { (first, 0) } else { (settings.column_names.clone(), first.len()) };
        if !settings.header_row {
            self.window.seek(before.0)?;
            self.progress.lines = before.1;
        }
        let columns = match Columns::new(names, width) {
            Ok(columns) => columns,
            Err(error) => return Ok(Err(format!("has no usable header: {error}"))),
        };
        if settings.row_width == RowWidth::Strict {
            reader.width = Some(columns.width());
        }
        self.reader = Reader::Csv { reader: Box::new(reader), columns };
        self.progress.position = self.window.position();
        Ok(self.find_key_column(settings))
    }

    fn find_key_column(&mut self, settings: &LabFilesSettings) -> std::result::Result<(), String> {
        let (KeyChoice::Field(name), Reader::Csv { columns, .. }) = (&settings.key, &mut self.reader) else {
            return Ok(());
        };
        let column = columns.position(name);
        self.emitter.key_from(column);
        column.map(drop).ok_or_else(|| format!("has no column {name}, which key=field:{name} names"))
    }

    /// The cells of the current record as texts.
    fn texts(&self) -> Option<Vec<String>> {
        let charset = self.window.charset();
        self.cells.iter().map(|cell| charset.decode(cell).map(std::borrow::Cow::into_owned)).collect()
    }

    fn go_on_at(&mut self, resume: Option<Progress>) -> io::Result<()> {
        if let Reader::Raw(raw) = &self.reader {
            self.progress = resume.filter(|resume| raw.can_go_on_at(*resume)).unwrap_or_default();
        } else if let Some(resume) = resume.filter(|resume| resume.position > self.progress.position) {
            self.window.seek(resume.position)?;
            self.progress = resume;
        }
        Ok(())
    }

    /// The next records. A data error inside is an entry; only reading itself can stop.
    pub(crate) fn read(&mut self, budget: Budget) -> Result<Portion> {
        let mut portion = Portion::default();
        match self.reader {
            Reader::Whole(_) => self.read_whole(&mut portion),
            Reader::Raw(_) => self.read_raw(budget, &mut portion)?,
            Reader::Csv { .. } | Reader::Lines(_) | Reader::Empty => self.read_records(budget, &mut portion)?,
        }
        Ok(portion)
    }

    fn read_records(&mut self, budget: Budget, portion: &mut Portion) -> Result<()> {
        let (mut drafts, mut arena) = (Vec::new(), Arena::default());
        let begin = self.window.position();
        let mut steps = 0;
        while drafts.len() < budget.records && steps < IDLE_STEPS {
            if self.window.position() - begin >= budget.bytes as u64 {
                break;
            }
            match self.step(&mut arena) {
                Ok(Some(Step::Draft(draft))) => drafts.push(draft),
                Ok(Some(Step::Nothing)) => steps += 1,
                Ok(None) => {
                    portion.ended = true;
                    break;
                }
                Err(error) => {
                    portion.error = Some(error);
                    break;
                }
            }
        }
        portion.bytes = self.window.position() - begin;
        if portion.ended {
            self.mark_end(&mut drafts, portion);
        }
        self.finish(drafts, arena, portion)
    }

    fn step(&mut self, arena: &mut Arena) -> std::result::Result<Option<Step>, ReadError> {
        let (line, offset) = (self.progress.lines + 1, self.window.position());
        let lines = &mut self.progress.lines;
        let item = match &mut self.reader {
            Reader::Csv { reader, .. } => reader.next(&mut self.window, &mut self.cells, lines)?,
            Reader::Lines(reader) => reader.next(&mut self.window, &mut self.cells, lines)?,
            Reader::Empty | Reader::Whole(_) | Reader::Raw(_) => Item::End,
        };
        let content = match item {
            Item::End => return Ok(None),
            Item::Again => return Ok(Some(Step::Nothing)),
            Item::Bad { reason, raw } => Content::Bad { reason, raw, line },
            Item::Record => match arena.add(&self.cells, self.window.charset()) {
                Some(cells) => Content::Cells(cells),
                None => Content::Bad {
                    reason: format!("not valid {}", self.window.charset().name()),
                    raw: crate::formats::raw(&self.cells.text[..self.cells.ends[self.cells.count - 1]]),
                    line,
                },
            },
        };
        self.progress.position = self.window.position();
        self.progress.records += 1;
        let place = Place { record: self.progress.records, offset };
        Ok(Some(Step::Draft(Draft { place, position: self.positions.reading(self.progress), content })))
    }

    /// The end is stored with the last record; alone, when this portion has none.
    fn mark_end(&mut self, drafts: &mut [Draft], portion: &mut Portion) {
        self.progress.position = self.window.position();
        let position = self.positions.ended(Stage::Done, self.progress, None);
        match drafts.last_mut() {
            Some(last) => last.position = position,
            None => portion.entries.push(SourceEntry::Position(position)),
        }
    }

    fn finish(&mut self, drafts: Vec<Draft>, arena: Arena, portion: &mut Portion) -> Result<()> {
        let text = Blob::whole(arena.text)?;
        for draft in drafts {
            let position = Some(draft.position);
            let entry = match draft.content {
                Content::Bad { reason, raw, line } => {
                    portion.bad += 1;
                    SourceEntry::Bad {
                        position,
                        raw,
                        error: ConnectError::data(format!("{}:{line}: {reason}", self.name)),
                    }
                }
                Content::Cells(cells) => {
                    let record = match &mut self.reader {
                        Reader::Csv { columns, .. } => {
                            let values = cells.map(|index| span(&text, &arena.ends, index).map(Value::String));
                            self.emitter.row(columns, values.collect::<Result<_>>()?, draft.place)?
                        }
                        _ => self.emitter.line(span(&text, &arena.ends, cells.start)?, draft.place),
                    };
                    SourceEntry::Record(SourceRecord { record, position })
                }
            };
            portion.entries.push(entry);
        }
        Ok(())
    }
}

enum Step {
    Draft(Draft),
    Nothing,
}

impl Arena {
    /// Adds the cells of a record as UTF-8; `None` when they are not text in that character set.
    fn add(&mut self, cells: &Cells, charset: Charset) -> Option<Range<usize>> {
        let (text_before, first) = (self.text.len(), self.ends.len());
        for cell in cells.iter() {
            let Some(text) = charset.decode(cell) else {
                self.text.truncate(text_before);
                self.ends.truncate(first);
                return None;
            };
            self.text.extend_from_slice(text.as_bytes());
            self.ends.push(self.text.len());
        }
        Some(first..self.ends.len())
    }
}

fn span(text: &Blob, ends: &[usize], index: usize) -> Result<Text> {
    let start = if index == 0 { 0 } else { ends[index - 1] };
    let narrow = |at: usize| u32::try_from(at).unwrap_or_else(|_| unreachable!("a blob is smaller than 4 GiB"));
    Text::new(text.slice(narrow(start), narrow(ends[index] - start)))
}

/// Whether `format=auto` reads a file as a table: by extension, then by whether every line divides alike.
fn looks_like_table(name: &str, head: &[u8], settings: &LabFilesSettings, whole: bool) -> bool {
    match name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).as_deref() {
        Some("csv" | "tsv" | "tab") => true,
        Some("log" | "jsonl" | "ndjson" | "json" | "xml") => false,
        _ => {
            let separator = settings.separator.or_else(|| separator::detect(head, settings.quote, whole));
            separator::declared(head).is_some()
                || separator.is_some_and(|separator| separator::is_even(head, settings.quote, whole, separator))
        }
    }
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
