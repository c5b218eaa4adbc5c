//! The keys of the watched-folder source, with the check of each.
//!
//! The names are those of the spool-dir connector family where it has the idea. Read next: `settings.rs`, which reads
//! them and knows the rules between them.

use std::time::Duration;

use pipette_api::ConfigDef;
use pipette_api::config::checks::{at_least, in_range, not_empty, one_of};
use pipette_api::config::{Importance, Key};
use pipette_store::{ALLOW_HTTP, CONNECT_TIMEOUT, REQUEST_TIMEOUT};

use crate::claim::config as claim;
use crate::decode::CharsetChoice;
use crate::filter;
use crate::settings::{KeyChoice, character, rule};

const WATCH_MODES: &[&str] = &["auto", "events", "poll"];
const OUTPUT_MODES: &[&str] = &["records", "whole", "chunks", "claim-check", "metadata"];
const DIGESTS: &[&str] = &["sha256", "none"];
const FILE_ERRORS: &[&str] = &["fail", "skip", "quarantine"];
const CLEANUPS: &[&str] = &["NONE", "MOVE", "DELETE"];
const FORMATS: &[&str] = &["auto", "csv", "lines"];
const ROW_WIDTHS: &[&str] = &["strict", "pad", "flexible"];

pub(crate) static INPUT_PATH: Key<Vec<String>> = Key::new(
    "input.path",
    "Folders to watch, separated by commas. They must exist; a share that is not mounted is waited for.",
)
.path()
.importance(Importance::High)
.group("Input")
.check(not_empty);
pub(crate) static INPUT_ID: Key<String> = Key::new(
    "input.id",
    "Name under which the progress of a single `input.path` is kept; the path itself when not given. With it a share \
     can move to another mount point without being read again. Changing it reads everything again.",
)
.optional()
.group("Input")
.check(id);
pub(crate) static FILE_PATTERN: Key<String> = Key::new(
    "input.file.pattern",
    "Regular expression that the whole file name must match. Look-around is not supported.",
)
.default(".*")
.importance(Importance::High)
.group("Input")
.check(pattern);
pub(crate) static INCLUDE: Key<Vec<String>> = Key::new(
    "input.path.include",
    "Globs over the path relative to the folder; a file must match one of them. `?` stands for one byte and `[…]` for \
         one of ASCII: for other letters use `*`.",
)
.default("**")
.group("Input")
.check(globs);
pub(crate) static EXCLUDE: Key<Vec<String>> = Key::new(
    "input.path.exclude",
    "Globs over the path relative to the folder, or over the file name when the glob has no slash; wins over \
     `input.path.include`. The default leaves out what writers and file servers use while a file is not complete, and \
     hidden files.",
)
.default(
    ".*,*.tmp,*.part,*.partial,*.filepart,*.crdownload,~$*,.~lock.*,.nfs*,.smbdelete*,Thumbs.db,desktop.ini,.DS_Store",
)
.group("Input")
.check(globs);
pub(crate) static RECURSIVE: Key<bool> =
    Key::new("input.path.walk.recursively", "Whether folders inside the watched folder are watched too.")
        .default("false")
        .group("Input");
pub(crate) static MAX_DEPTH: Key<u32> = Key::new(
    "input.path.max.depth",
    "How deep folders inside the watched folder are followed; the log says when there are deeper ones.",
)
.default("64")
.group("Input")
.check(in_range::<1, 1024>);
pub(crate) static FOLLOW: Key<bool> = Key::new(
    "input.path.follow.symlinks",
    "Whether symbolic links to files and folders inside the watched folder are followed. Links that lead out of it \
     never are.",
)
.default("false")
.group("Input");
pub(crate) static WATCH_MODE: Key<String> = Key::new(
    "watch.mode",
    "`events` lets the operating system's file events bring the next scan forward, `poll` scans by the clock alone, \
     `auto` uses events on local disks and polls network shares. Events are a hint; the scan decides.",
)
.default("auto")
.group("Input")
.recommended(WATCH_MODES)
.check(|text| one_of(text, WATCH_MODES));
pub(crate) static POLL_INTERVAL: Key<Duration> = Key::new("poll.interval.ms", "Time between two scans of the folders.")
    .default("5000")
    .group("Input")
    .check(at_least::<100>);
pub(crate) static ORDER_WINDOW: Key<u32> = Key::new(
    "order.window",
    "How many files are kept in memory at a time, the first by path of those that wait. Order by path is exact within \
     this window and best effort beyond.",
)
.default("10000")
.group("Input")
.check(in_range::<1, 1_000_000>);
pub(crate) static MIN_AGE: Key<Duration> = Key::new(
    "file.minimum.age.ms",
    "A file is left alone until this long after it was first seen, by our own clock (not by its time stamp).",
)
.default("0")
.group("Readiness");
pub(crate) static SETTLE_CHECKS: Key<u32> = Key::new(
    "settle.checks",
    "How many looks in a row must find size and time stamp unchanged before a file is read; 0 reads at first sight.",
)
.default("2")
.group("Readiness")
.check(in_range::<0, 1000>);
pub(crate) static SETTLE_INTERVAL: Key<String> = Key::new(
    "settle.interval.ms",
    "Time between two such looks in milliseconds; `auto` is 2,000 on local disks and 10,000 on network shares, whose \
     clients cache sizes and time stamps.",
)
.default("auto")
.group("Readiness")
.check(settle_interval);
pub(crate) static TOPIC: Key<String> =
    Key::new("topic", "Topic the records go to.").importance(Importance::High).group("Output").check(topic);
pub(crate) static OUTPUT_MODE: Key<String> = Key::new(
    "output.mode",
    "`records` parses files as `format` says. `whole` hands over each file as one value of any size, read only when it is \
     needed (by ClaimCheck, say). `chunks` sends it in pieces of `chunk.bytes`, which Reassemble puts together. \
     `claim-check` puts it into an object store and sends a reference. `metadata` sends what is known of it, and no content.",
)
.default("records")
.importance(Importance::High)
.group("Output")
.recommended(OUTPUT_MODES)
.check(|text| one_of(text, OUTPUT_MODES));
pub(crate) static CHUNK_BYTES: Key<u32> = Key::new(
    "chunk.bytes",
    "With `output.mode=chunks`: how large a piece is. Key, headers and 8 KiB more must fit into the producer's largest \
     request. Changing it begins files anew that are half read.",
)
.default("800000")
.group("Output")
.check(in_range::<1024, 1_073_741_824>);
pub(crate) static METADATA_DIGEST: Key<String> = Key::new(
    "metadata.digest",
    "With `output.mode=metadata`: `sha256` reads each file once for its digest, `none` does not read it at all.",
)
.default("sha256")
.group("Output")
.recommended(DIGESTS)
.check(|text| one_of(text, DIGESTS));
pub(crate) static KEY: Key<String> = Key::new(
    "key",
    "The key of each record: `none`, `path` (relative to the folder), `name`, or `field:NAME` (a column). Pieces of a file \
     (`output.mode=chunks`) must reach one partition: with `none` their key is the id they share.",
)
.default("none")
.group("Output")
.check(key);
pub(crate) static HEADERS: Key<Vec<String>> =
    Key::new("headers.include", "Which facts about the file go into record headers; empty for none. A name is shown as it is; of one that is not UTF-8, \
     each byte that is no text and `%` are shown as `%` and two digits (as in `file.name`, also in keys and metadata).")
        .default("file.name,file.relative.path,file.length,file.last.modified,file.id,file.record,file.offset")
        .group("Output")
        .recommended(crate::emit::HEADER_NAMES)
        .check(headers);
pub(crate) static BATCH_SIZE: Key<u32> = Key::new("batch.size", "Most records handed over at once.")
    .default("1000")
    .group("Output")
    .check(in_range::<1, 1_000_000>);
pub(crate) static BATCH_BYTES: Key<u32> =
    Key::new("batch.max.bytes", "Most bytes of file content handed over at once.")
        .default("8388608")
        .group("Output")
        .check(in_range::<1024, 1_073_741_824>);
pub(crate) static MAX_RECORD: Key<u32> = Key::new(
    "max.record.bytes",
    "Longest line or row, in bytes of the file. A longer one is bad input (see `errors.tolerance`), told with file and \
     line; it never sits in memory.",
)
.default("983040")
.group("Output")
.check(in_range::<16, 268_435_456>);
pub(crate) static FILE_ERROR: Key<String> = Key::new(
    "file.error.action",
    "What happens to a file that cannot be read as a whole (no text, no header, not readable): `fail` stops the task, \
     `skip` leaves it where it is, `quarantine` moves it to `error.path` with the reason beside it. When not given: \
     `quarantine` if `error.path` is given, else `fail`.",
)
.optional()
.group("Errors")
.recommended(FILE_ERRORS)
.check(|text| one_of(text, FILE_ERRORS));
pub(crate) static ERROR_PATH: Key<String> =
    Key::new("error.path", "Folder that files in error are moved to. It must exist.")
        .optional()
        .path()
        .group("Errors")
        .check(not_empty);
pub(crate) static CLEANUP: Key<String> = Key::new(
    "cleanup.policy",
    "What happens to a file once its last record is in Kafka and its offset is stored: `NONE` leaves it, `MOVE` moves \
     it to `finished.path`, `DELETE` removes it.",
)
.importance(Importance::High)
.group("Clean-up")
.recommended(CLEANUPS)
.check(|text| one_of(text, CLEANUPS));
pub(crate) static FINISHED_PATH: Key<String> = Key::new(
    "finished.path",
    "Folder that finished files are moved to. It must exist, and is best on the same device. A file that is there \
     already is never replaced.",
)
.optional()
.path()
.group("Clean-up")
.check(not_empty);
pub(crate) static KEEP_RELATIVE: Key<bool> = Key::new(
    "cleanup.policy.maintain.relative.path",
    "Whether moved files keep their folders below `finished.path` and `error.path`.",
)
.default("true")
.group("Clean-up");
pub(crate) static FORMAT: Key<String> = Key::new(
    "format",
    "How files become records: `csv` (one struct of texts per row), `lines` (one text per line), `auto` (by extension, \
     then by content).",
)
.default("auto")
.importance(Importance::High)
.group("Format")
.recommended(FORMATS)
.check(|text| one_of(text, FORMATS));
pub(crate) static CHARSET: Key<String> = Key::new(
    "file.charset",
    "`auto`: by byte order mark (UTF-8, UTF-16), else UTF-8, else `file.charset.fallback`. Or a fixed one: `utf-8`, \
     `utf-16le`, `utf-16be`, or an 8-bit code page such as `windows-1252`.",
)
.default("auto")
.group("Format")
.check(charset);
pub(crate) static CHARSET_FALLBACK: Key<String> = Key::new(
    "file.charset.fallback",
    "The 8-bit code page of text that is not UTF-8, with `file.charset=auto`; `none` makes such a row bad input.",
)
.default("windows-1252")
.group("Format")
.check(fallback);
pub(crate) static SEPARATOR: Key<String> = Key::new(
    "csv.separator.char",
    "The character between cells, as itself, as its code (`59`) or as `\\t`; `auto` finds out which of comma, \
     semicolon, tab and bar divides the lines most evenly. A first line `sep=;` is honoured.",
)
.default("auto")
.group("Format")
.check(separator);
pub(crate) static QUOTE: Key<String> =
    Key::new("csv.quote.char", "The character around cells, as itself or as its code; `none` when there is none.")
        .default("34")
        .group("Format")
        .check(quote);
pub(crate) static QUOTED_LINES: Key<u32> = Key::new(
    "csv.quoted.max.lines",
    "Most lines inside one quoted cell. A cell that swallows more has lost its closing quote: the line it opens on is \
     bad input, the next line is read normally.",
)
.default("64")
.group("Format")
.check(in_range::<1, 1_000_000>);
pub(crate) static HEADER_ROW: Key<bool> =
    Key::new("csv.first.row.as.header", "Whether the first row names the columns.").default("true").group("Format");
pub(crate) static SKIP_LINES: Key<u32> =
    Key::new("csv.skip.lines", "Lines to skip before the header or the first row.").default("0").group("Format");
pub(crate) static COLUMN_NAMES: Key<Vec<String>> = Key::new(
    "column.names",
    "Names of the columns when the first row is no header; `column_N` by position beyond them.",
)
.default("")
.group("Format");
pub(crate) static ROW_WIDTH: Key<String> = Key::new(
    "csv.row.width",
    "A row with more or fewer cells than the header: `strict` makes it bad input, `pad` fills missing cells with null, \
     `flexible` also keeps extra cells as `column_N`.",
)
.default("strict")
.group("Format")
.recommended(ROW_WIDTHS)
.check(|text| one_of(text, ROW_WIDTHS));

/// The definition, in the order of forms and pages.
pub static CONFIG: ConfigDef = ConfigDef::new(&[
    &INPUT_PATH.info,
    &INPUT_ID.info,
    &FILE_PATTERN.info,
    &INCLUDE.info,
    &EXCLUDE.info,
    &RECURSIVE.info,
    &MAX_DEPTH.info,
    &FOLLOW.info,
    &WATCH_MODE.info,
    &POLL_INTERVAL.info,
    &ORDER_WINDOW.info,
    &MIN_AGE.info,
    &SETTLE_CHECKS.info,
    &SETTLE_INTERVAL.info,
    &TOPIC.info,
    &OUTPUT_MODE.info,
    &CHUNK_BYTES.info,
    &METADATA_DIGEST.info,
    &KEY.info,
    &HEADERS.info,
    &BATCH_SIZE.info,
    &BATCH_BYTES.info,
    &MAX_RECORD.info,
    &FILE_ERROR.info,
    &ERROR_PATH.info,
    &CLEANUP.info,
    &FINISHED_PATH.info,
    &KEEP_RELATIVE.info,
    &FORMAT.info,
    &CHARSET.info,
    &CHARSET_FALLBACK.info,
    &SEPARATOR.info,
    &QUOTE.info,
    &QUOTED_LINES.info,
    &HEADER_ROW.info,
    &SKIP_LINES.info,
    &COLUMN_NAMES.info,
    &ROW_WIDTH.info,
    &claim::URI.info,
    &ALLOW_HTTP.info,
    &CONNECT_TIMEOUT.info,
    &REQUEST_TIMEOUT.info,
    &claim::STRATEGY.info,
    &claim::TEMPLATE.info,
    &claim::PREFIX.info,
    &claim::COMPRESSION.info,
    &claim::PART_SIZE.info,
    &claim::CONCURRENCY.info,
    &claim::IN_FLIGHT.info,
    &claim::MAX_PAYLOAD.info,
    &claim::JOURNAL.info,
    &claim::OBJECT_RETENTION.info,
    &claim::PREFLIGHT.info,
])
.rule(rule);

fn id(text: Option<&str>) -> Result<(), String> {
    if text.is_none_or(|text| is_name(text, 64)) {
        return Ok(());
    }
    Err("must be 1 to 64 letters, digits, dots, underscores or hyphens".into())
}

fn is_name(text: &str, most: usize) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=most).contains(&text.len()) && text.chars().all(legal)
}

fn pattern(text: Option<&str>) -> Result<(), String> {
    filter::whole_name(text.unwrap_or_default()).map(drop)
}

fn globs(text: Option<&str>) -> Result<(), String> {
    filter::globs(text.unwrap_or_default().split(',').map(str::trim)).map(drop)
}

fn settle_interval(text: Option<&str>) -> Result<(), String> {
    match text {
        None | Some("auto") => Ok(()),
        Some(text) => text.parse::<u64>().map(drop).map_err(|_| "must be `auto` or milliseconds".into()),
    }
}

fn topic(text: Option<&str>) -> Result<(), String> {
    if text.is_none_or(|text| is_name(text, 249) && text != "." && text != "..") {
        return Ok(());
    }
    Err("must be a topic name: 1 to 249 letters, digits, dots, underscores or hyphens".into())
}

fn key(text: Option<&str>) -> Result<(), String> {
    KeyChoice::read(text.unwrap_or("none")).map(drop)
}

fn headers(text: Option<&str>) -> Result<(), String> {
    let names = text.unwrap_or_default().split(',').map(str::trim).filter(|name| !name.is_empty());
    names.into_iter().try_for_each(|name| one_of(Some(name), crate::emit::HEADER_NAMES))
}

fn charset(text: Option<&str>) -> Result<(), String> {
    CharsetChoice::read(text.unwrap_or("auto"), "none").map(drop)
}

fn fallback(text: Option<&str>) -> Result<(), String> {
    CharsetChoice::read("auto", text.unwrap_or("none")).map(drop)
}

fn separator(text: Option<&str>) -> Result<(), String> {
    character_or("auto", text)
}

fn quote(text: Option<&str>) -> Result<(), String> {
    character_or("none", text)
}

fn character_or(word: &str, text: Option<&str>) -> Result<(), String> {
    text.filter(|text| *text != word).map_or(Ok(()), |text| character(text).map(drop))
}
