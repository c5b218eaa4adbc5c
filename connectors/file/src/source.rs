//! The source task: reads what was appended to a file and hands its lines over, a buffer at a time.
//!
//! Settings, task, then the private steps. The splitting is in `lines.rs`, standard input in `stdin.rs`.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pipette_api::config::Importance;
use pipette_api::config::checks::not_empty;
use pipette_api::{
    Blob, ConnectError, Datum, Key, Kind, OffsetShape, Partition, Position, Reach, Record, Result, Schema, Settings,
    Signal, SourceBatch, SourceContext, SourceEntry, SourceRecord, SourceTask, Text, Value, async_trait,
};
use tokio::time::{Instant, sleep};

use crate::io::failed;
use crate::lines::{Found, LINE_LIMIT, Lines};
use crate::plan;
use crate::stdin::Feed;

pub(crate) static FILE: Key<String> =
    Key::new("file", "The file to read lines from. Without it, or with an empty value, standard input is read.")
        .optional()
        .path()
        .importance(Importance::High);
pub(crate) static TOPIC: Key<String> =
    Key::new("topic", "The topic the records go to.").importance(Importance::High).check(not_empty);
pub(crate) static BATCH_SIZE: Key<i32> =
    Key::new("batch.size", "The most records handed over at a time.").default("2000").importance(Importance::Low);

/// Members of Java's source partition and offset.
pub(crate) const FILENAME: &str = "filename";
pub(crate) const POSITION: &str = "position";

/// Bytes per read: about as many lines as one batch takes, and small enough to stay in the processor's cache.
const CHUNK: usize = 1 << 20;
/// Bytes of a read that tell whether there is more to read.
const FIRST: usize = 512;
/// How soon a file is looked at again when there is nothing new, and how late when there was nothing for a while: a
/// thousand files that nobody writes would keep two processors busy.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const LOOK_SELDOM: Duration = Duration::from_millis(200);
/// So long is a while.
const STILL: Duration = Duration::from_secs(5);
/// How long a file that was replaced must be quiet before its successor is read: who writes it may not have noticed yet.
const GRACE: Duration = Duration::from_secs(1);
/// How long a poll waits for data before it returns empty, as Java does.
const WAIT: Duration = Duration::from_secs(1);

/// What a task is made with.
pub(crate) struct SourceSettings {
    file: Option<PathBuf>,
    reach: Reach,
    topic: Arc<str>,
    batch_size: usize,
}

impl SourceSettings {
    pub(crate) fn read(settings: &Settings) -> Result<Self> {
        Ok(Self {
            file: plan::file(settings, &FILE)?,
            reach: settings.reach().clone(),
            topic: settings.get(&TOPIC)?.into(),
            // Java looks at the size after it has added a record, so nothing below one makes a difference.
            batch_size: usize::try_from(settings.get(&BATCH_SIZE)?).unwrap_or(1).max(1),
        })
    }
}

/// Follows one file, or reads standard input.
pub(crate) struct FileStreamSource {
    topic: Arc<str>,
    batch_size: usize,
    input: Input,
    lines: Lines,
    signal: Option<Signal>,
    /// Since when there is nothing new.
    still_since: Option<Instant>,
}

enum Input {
    Followed(Followed),
    Stream(Feed),
}

/// A file that is read to its end and then watched.
struct Followed {
    path: PathBuf,
    reach: Reach,
    handle: Option<File>,
    partition: Arc<Partition>,
    shape: Arc<OffsetShape>,
    /// Since when another file stands under the name and the open one has not grown.
    quiet_since: Option<Instant>,
}

/// What a look at a file brought.
#[derive(PartialEq, Eq)]
enum Look {
    Nothing,
    Bytes,
    /// Another file stands under the name, and the old one is read to its end.
    Replaced,
    /// The file is shorter than what was read of it.
    Truncated,
}

impl FileStreamSource {
    pub(crate) fn new(settings: SourceSettings) -> Self {
        let input = match settings.file {
            Some(path) => Input::Followed(Followed::new(path, settings.reach)),
            None => Input::Stream(Feed::stdin()),
        };
        let SourceSettings { topic, batch_size, .. } = settings;
        Self { topic, batch_size, input, lines: Lines::from(0), signal: None, still_since: None }
    }

    #[cfg(test)]
    pub(crate) fn of_stream(topic: &str, feed: Feed) -> Self {
        let (topic, input) = (Arc::from(topic), Input::Stream(feed));
        Self { topic, batch_size: 2000, input, lines: Lines::from(0), signal: None, still_since: None }
    }

    fn position(&self, end: u64) -> Option<Position> {
        let Input::Followed(file) = &self.input else { return None };
        let (partition, shape) = (Arc::clone(&file.partition), Arc::clone(&file.shape));
        Some(Position { partition, shape, marks: [i64::try_from(end).unwrap_or(i64::MAX), 0] })
    }

    fn name(&self) -> String {
        match &self.input {
            Input::Followed(file) => file.path.display().to_string(),
            Input::Stream(_) => "standard input".to_owned(),
        }
    }

    /// Up to a batch of the lines that are ready.
    fn take(&mut self) -> Vec<SourceEntry> {
        let (schema, now) = (Schema::of(Kind::String), now());
        let mut entries = Vec::with_capacity(self.lines.estimate().min(self.batch_size));
        while entries.len() < self.batch_size {
            let Some(found) = self.lines.next() else { break };
            entries.push(match found {
                Found::Line(line, end) => self.record(&line, &schema, now, end),
                Found::TooLong(begin, end) => self.too_long(begin, end),
            });
        }
        entries
    }

    fn record(&self, line: &Blob, schema: &Arc<Schema>, now: i64, end: u64) -> SourceEntry {
        let text = Text::new(line.clone()).unwrap_or_else(|_| repaired(line));
        let value = Datum::new(Arc::clone(schema), Value::String(text));
        let record = Record { timestamp: Some(now), ..Record::new(Arc::clone(&self.topic), value) };
        SourceEntry::Record(SourceRecord { record, position: self.position(end) })
    }

    fn too_long(&self, begin: u64, end: u64) -> SourceEntry {
        let error = ConnectError::data(format!(
            "A line of {} is {} bytes long, from byte {begin} to byte {end}; the longest line taken is {LINE_LIMIT} bytes. \
             It is not kept in memory: read it from the file, or check that the file is text.",
            self.name(),
            end - begin
        ));
        SourceEntry::Bad { position: self.position(end), raw: None, error }
    }

    /// Begins a file anew. What stands behind the last line end of a file that went away is a line: nobody will
    /// finish it. Its position is the begin of the new file, which is where a restart has to go on.
    fn begin_anew(&mut self, look: &Look) -> Result<Vec<SourceEntry>> {
        let unfinished = if *look == Look::Replaced { self.lines.unfinished()? } else { None };
        self.lines = Lines::from(0);
        Ok(unfinished.map(|line| self.record(&line, &Schema::of(Kind::String), now(), 0)).into_iter().collect())
    }
}

#[async_trait]
impl SourceTask for FileStreamSource {
    async fn start(&mut self, context: SourceContext) -> Result<()> {
        if let Input::Followed(file) = &self.input {
            self.lines = Lines::from(committed(&context, file).await?);
        }
        self.signal = Some(context.common.signal);
        Ok(())
    }

    async fn poll(&mut self) -> Result<SourceBatch> {
        let signal = self.signal.clone().ok_or_else(|| ConnectError::fatal("the task is polled before its start"))?;
        let enough = Instant::now() + WAIT;
        loop {
            let entries = self.take();
            if !entries.is_empty() {
                return Ok(SourceBatch::of(entries));
            }
            match &mut self.input {
                Input::Followed(file) => match file.look(&mut self.lines)? {
                    Look::Bytes => {
                        self.still_since = None;
                        self.lines.appended()?;
                    }
                    Look::Nothing if Instant::now() >= enough => return Ok(SourceBatch::empty()),
                    Look::Nothing => {
                        self.lines.idle();
                        let still = self.still_since.get_or_insert_with(Instant::now).elapsed();
                        tokio::select! {
                            () = signal.recalled() => return Ok(SourceBatch::empty()),
                            () = sleep(rest(still)) => {}
                        }
                    }
                    anew => return self.begin_anew(&anew).map(SourceBatch::of),
                },
                Input::Stream(feed) => tokio::select! {
                    () = signal.recalled() => return Ok(SourceBatch::empty()),
                    bytes = feed.next() => {
                        self.lines.buffer().extend_from_slice(&bytes);
                        self.lines.appended()?;
                    }
                },
            }
        }
    }

    async fn stop(&mut self) -> Result<()> {
        if let Input::Followed(file) = &mut self.input {
            file.handle = None;
        }
        Ok(())
    }
}

impl Followed {
    fn new(path: PathBuf, reach: Reach) -> Self {
        let partition = Arc::new(Partition::of(FILENAME, path.to_string_lossy().into_owned()));
        let shape = Arc::new(OffsetShape { marks: [Some(POSITION), None], ..OffsetShape::default() });
        Self { path, reach, handle: None, partition, shape, quiet_since: None }
    }

    /// Appends what is new to the lines' buffer. A missing file is no error: it is waited for, as Java does.
    fn look(&mut self, lines: &mut Lines) -> Result<Look> {
        if self.handle.is_none() {
            self.handle = self.open(lines.read_position())?;
        }
        let Some(handle) = &mut self.handle else { return Ok(Look::Nothing) };
        // Nearly every look finds nothing, and takes no buffer for that.
        let mut first = [0; FIRST];
        let read = handle.read(&mut first).and_then(|count| {
            let buffer = if count == 0 { return Ok(0) } else { lines.buffer() };
            buffer.reserve(CHUNK);
            buffer.extend_from_slice(&first[..count]);
            handle.by_ref().take((CHUNK - FIRST) as u64).read_to_end(buffer).map(|_| count)
        });
        match read {
            Ok(0) => self.at_the_end(lines.read_position()),
            Ok(_) => {
                self.quiet_since = None;
                Ok(Look::Bytes)
            }
            Err(error) => {
                // The buffer keeps what was read before the error; the next look opens the file behind it.
                self.handle = None;
                Err(failed("read", &self.path, error))
            }
        }
    }

    /// Opens the file at a position; `None` while there is none.
    fn open(&self, position: u64) -> Result<Option<File>> {
        self.reach.path(&self.path)?;
        let opened = open(&self.path, position)?;
        opened.as_ref().map_or(Ok(()), |file| self.reach.opened(file))?;
        Ok(opened)
    }

    /// Nothing new: is it still the same file?
    fn at_the_end(&mut self, position: u64) -> Result<Look> {
        let Some(handle) = &self.handle else { return Ok(Look::Nothing) };
        let ours = handle.metadata().map_err(|error| failed("look at", &self.path, error))?;
        if ours.len() < position {
            self.handle = None;
            return Ok(Look::Truncated);
        }
        // Without a file under the name the open one is all there is, and it may still grow.
        let replaced =
            std::fs::metadata(&self.path).is_ok_and(|named| (named.dev(), named.ino()) != (ours.dev(), ours.ino()));
        if !replaced {
            self.quiet_since = None;
            return Ok(Look::Nothing);
        }
        if self.quiet_since.get_or_insert_with(Instant::now).elapsed() < GRACE {
            return Ok(Look::Nothing);
        }
        (self.handle, self.quiet_since) = (None, None);
        Ok(Look::Replaced)
    }
}

/// Opens a file at a position; `None` while there is no such file.
fn open(path: &Path, position: u64) -> Result<Option<File>> {
    // Looked at first, because opening a pipe waits for its writer, for ever perhaps.
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path, error)),
        Ok(found) if found.is_file() => {}
        Ok(_) => {
            return Err(ConnectError::fatal(format!(
                "Cannot read {}: it is not a regular file. Name a file in 'file', or leave it out to read standard input.",
                path.display()
            )));
        }
    }
    let opened = File::open(path).and_then(|mut file| file.seek(SeekFrom::Start(position)).map(|_| file));
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path, error)),
    }
}

/// Until the next look at a file in which there has been nothing new for so long.
fn rest(still: Duration) -> Duration {
    if still < STILL { LOOK_AGAIN } else { LOOK_SELDOM }
}

/// Where the file goes on.
async fn committed(context: &SourceContext, file: &Followed) -> Result<u64> {
    let Some(offset) = context.offsets.get(&file.partition).await? else { return Ok(0) };
    let Some(position) = offset.get(POSITION) else { return Ok(0) };
    position.as_int().and_then(|position| u64::try_from(position).ok()).ok_or_else(|| {
        ConnectError::fatal(format!(
            "The committed offset of {} is no position: {position:?}. Alter or delete it through REST.",
            file.path.display()
        ))
    })
}

/// Java replaces what is not UTF-8 as well.
fn repaired(line: &Blob) -> Text {
    Text::from(String::from_utf8_lossy(line.as_bytes()).into_owned())
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_looked_at_often_and_seldom_when_nobody_writes_it() {
        assert_eq!(rest(Duration::ZERO), Duration::from_millis(20));
        assert_eq!(rest(Duration::from_millis(4_999)), Duration::from_millis(20));
        assert_eq!(rest(Duration::from_secs(5)), Duration::from_millis(200));
    }
}
