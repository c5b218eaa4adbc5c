//! The settings of the source as plain data, and the rules between keys.
//!
//! `connector.rs` uses them at validate time, `source.rs` reads them once when a task is made. Read next:
//! `connector.rs`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use globset::GlobSet;
use pipette_api::{ConnectError, Reach, Result, Settings};
use regex::Regex;

use crate::claim::config::ClaimSettings;
#[allow(clippy::wildcard_imports)] // the keys, each used once right here
use crate::config::*;
use crate::decode::CharsetChoice;
use crate::filter;

/// A watched folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    /// The name its progress is kept under.
    pub(crate) id: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WatchMode {
    Auto,
    Events,
    Poll,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cleanup {
    Leave,
    Move,
    Delete,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileError {
    Fail,
    Skip,
    Quarantine,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Auto,
    Csv,
    Lines,
}

/// What becomes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Records,
    /// One payload, which others read.
    Whole,
    /// Pieces of so many bytes.
    Chunks(u32),
    /// An upload, and a reference to it.
    ClaimCheck,
    /// What is known of it; with its digest, when true.
    Metadata(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowWidth {
    Strict,
    Pad,
    Flexible,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum KeyChoice {
    None,
    Path,
    Name,
    Field(String),
}

impl KeyChoice {
    pub(crate) fn read(text: &str) -> std::result::Result<Self, String> {
        match (text, text.strip_prefix("field:")) {
            ("none", _) => Ok(Self::None),
            ("path", _) => Ok(Self::Path),
            ("name", _) => Ok(Self::Name),
            (_, Some(name)) if !name.is_empty() => Ok(Self::Field(name.to_owned())),
            _ => Err("must be none, path, name or field:NAME".into()),
        }
    }
}

/// The settings as the task uses them.
#[derive(Debug, Clone)]
pub(crate) struct LabFilesSettings {
    /// Which folders may be used at all.
    pub(crate) reach: Reach,
    pub(crate) roots: Vec<Root>,
    pub(crate) name: Regex,
    pub(crate) include: GlobSet,
    pub(crate) exclude: GlobSet,
    /// 1 when only the folder itself is watched.
    pub(crate) max_depth: usize,
    pub(crate) follow: bool,
    pub(crate) watch: WatchMode,
    pub(crate) poll_interval: Duration,
    pub(crate) window: usize,
    pub(crate) min_age: Duration,
    pub(crate) settle_checks: u32,
    /// `None`: by the kind of file system.
    pub(crate) settle_interval: Option<Duration>,
    pub(crate) topic: Arc<str>,
    pub(crate) key: KeyChoice,
    pub(crate) headers: Vec<String>,
    pub(crate) batch_records: usize,
    pub(crate) batch_bytes: usize,
    pub(crate) max_record: usize,
    pub(crate) file_error: FileError,
    pub(crate) error: Option<PathBuf>,
    pub(crate) cleanup: Cleanup,
    pub(crate) finished: Option<PathBuf>,
    pub(crate) keep_relative: bool,
    pub(crate) output: Output,
    /// With `output.mode=claim-check`.
    pub(crate) claim: Option<ClaimSettings>,
    pub(crate) format: Format,
    pub(crate) charset: CharsetChoice,
    pub(crate) separator: Option<u8>,
    pub(crate) quote: Option<u8>,
    pub(crate) quoted_lines: usize,
    pub(crate) header_row: bool,
    pub(crate) skip_lines: u32,
    pub(crate) column_names: Vec<String>,
    pub(crate) row_width: RowWidth,
}

impl LabFilesSettings {
    pub(crate) fn read(settings: &Settings) -> Result<Self> {
        let error = settings.find(&ERROR_PATH)?.map(PathBuf::from);
        Ok(Self {
            reach: settings.reach().clone(),
            roots: roots(settings)?,
            name: filter::whole_name(&settings.get(&FILE_PATTERN)?).map_err(ConnectError::config)?,
            include: filter::globs(settings.get(&INCLUDE)?.iter().map(String::as_str)).map_err(ConnectError::config)?,
            exclude: filter::globs(settings.get(&EXCLUDE)?.iter().map(String::as_str)).map_err(ConnectError::config)?,
            max_depth: if settings.get(&RECURSIVE)? { settings.get(&MAX_DEPTH)? as usize } else { 1 },
            follow: settings.get(&FOLLOW)?,
            watch: watch(settings)?,
            poll_interval: settings.get(&POLL_INTERVAL)?,
            window: settings.get(&ORDER_WINDOW)? as usize,
            min_age: settings.get(&MIN_AGE)?,
            settle_checks: settings.get(&SETTLE_CHECKS)?,
            settle_interval: settings.get(&SETTLE_INTERVAL)?.parse().ok().map(Duration::from_millis),
            topic: settings.get(&TOPIC)?.into(),
            key: KeyChoice::read(&settings.get(&KEY)?).map_err(ConnectError::config)?,
            headers: settings.get(&HEADERS)?.into_iter().filter(|name| !name.is_empty()).collect(),
            batch_records: settings.get(&BATCH_SIZE)? as usize,
            batch_bytes: settings.get(&BATCH_BYTES)? as usize,
            max_record: settings.get(&MAX_RECORD)? as usize,
            file_error: match settings.find(&FILE_ERROR)?.as_deref() {
                Some("skip") => FileError::Skip,
                Some("quarantine") => FileError::Quarantine,
                None if error.is_some() => FileError::Quarantine,
                _ => FileError::Fail,
            },
            error,
            cleanup: match settings.get(&CLEANUP)?.as_str() {
                "MOVE" => Cleanup::Move,
                "DELETE" => Cleanup::Delete,
                _ => Cleanup::Leave,
            },
            finished: settings.find(&FINISHED_PATH)?.map(PathBuf::from),
            keep_relative: settings.get(&KEEP_RELATIVE)?,
            output: output(settings)?,
            claim: claim(settings)?,
            format: match settings.get(&FORMAT)?.as_str() {
                "csv" => Format::Csv,
                "lines" => Format::Lines,
                _ => Format::Auto,
            },
            charset: CharsetChoice::read(&settings.get(&CHARSET)?, &settings.get(&CHARSET_FALLBACK)?)
                .map_err(ConnectError::config)?,
            separator: character(&settings.get(&SEPARATOR)?).ok(),
            quote: character(&settings.get(&QUOTE)?).ok(),
            quoted_lines: settings.get(&QUOTED_LINES)? as usize,
            header_row: settings.get(&HEADER_ROW)?,
            skip_lines: settings.get(&SKIP_LINES)?,
            column_names: settings.get(&COLUMN_NAMES)?,
            row_width: match settings.get(&ROW_WIDTH)?.as_str() {
                "pad" => RowWidth::Pad,
                "flexible" => RowWidth::Flexible,
                _ => RowWidth::Strict,
            },
        })
    }
}

fn watch(settings: &Settings) -> Result<WatchMode> {
    Ok(match settings.get(&WATCH_MODE)?.as_str() {
        "events" => WatchMode::Events,
        "poll" => WatchMode::Poll,
        _ => WatchMode::Auto,
    })
}

fn claim(settings: &Settings) -> Result<Option<ClaimSettings>> {
    Ok(match output(settings)? {
        Output::ClaimCheck if settings.raw(crate::claim::config::URI.info.name).is_some() => {
            ClaimSettings::read(settings).ok()
        }
        _ => None,
    })
}

fn output(settings: &Settings) -> Result<Output> {
    Ok(match settings.get(&OUTPUT_MODE)?.as_str() {
        "whole" => Output::Whole,
        "chunks" => Output::Chunks(settings.get(&CHUNK_BYTES)?),
        "claim-check" => Output::ClaimCheck,
        "metadata" => Output::Metadata(settings.get(&METADATA_DIGEST)? == "sha256"),
        _ => Output::Records,
    })
}

fn roots(settings: &Settings) -> Result<Vec<Root>> {
    let id = settings.find(&INPUT_ID)?;
    let paths = settings.get(&INPUT_PATH)?.into_iter().filter(|path| !path.is_empty());
    Ok(paths.map(|path| Root { id: id.clone().unwrap_or_else(|| path.clone()).into(), path: path.into() }).collect())
}

/// One ASCII character: itself, `\t`, or its code. A single digit is itself no separator, so it is read as a code.
pub(crate) fn character(text: &str) -> std::result::Result<u8, String> {
    let byte = match (text, text.as_bytes()) {
        ("\\t", _) => b'\t',
        (_, [one]) if !one.is_ascii_digit() => *one,
        _ => text.parse::<u8>().map_err(|_| "must be one ASCII character or its code".to_owned())?,
    };
    match byte {
        b'\n' | b'\r' | 0 => Err("a line end cannot divide cells".into()),
        byte if byte.is_ascii() => Ok(byte),
        _ => Err("must be one ASCII character or its code".into()),
    }
}

pub(crate) fn rule(settings: &Settings) -> Vec<(&'static str, String)> {
    let mut broken = Vec::new();
    if let Ok(read) = LabFilesSettings::read(settings) {
        if read.cleanup == Cleanup::Move && read.finished.is_none() {
            broken.push((FINISHED_PATH.info.name, "cleanup.policy=MOVE needs the folder to move to".into()));
        }
        if read.file_error == FileError::Quarantine && read.error.is_none() {
            broken.push((ERROR_PATH.info.name, "file.error.action=quarantine needs the folder to move to".into()));
        }
        for (name, folder) in [(FINISHED_PATH.info.name, &read.finished), (ERROR_PATH.info.name, &read.error)] {
            if folder.as_ref().is_some_and(|folder| read.roots.iter().any(|root| root.path == *folder)) {
                broken.push((name, "must not be the watched folder itself: moved files would be found again".into()));
            }
        }
        if read.roots.len() > 1 && settings.raw(INPUT_ID.info.name).is_some() {
            broken.push((INPUT_ID.info.name, "names one folder, but input.path lists several".into()));
        }
        let has_columns = read.output == Output::Records && read.format != Format::Lines;
        if matches!(read.key, KeyChoice::Field(_)) && !has_columns {
            broken.push((KEY.info.name, "field:NAME needs columns, which only format=csv has".into()));
        }
        if read.quote.is_some() && read.quote == read.separator {
            broken.push((QUOTE.info.name, "must differ from csv.separator.char".into()));
        }
        match read.output {
            Output::Chunks(_) => broken.extend(changed_by_converters(settings)),
            Output::ClaimCheck => broken.extend(crate::claim::config::rule(settings, &read.roots)),
            Output::Records | Output::Whole | Output::Metadata(_) => {}
        }
    }
    broken
}

/// Pieces and their headers must reach Kafka as they are, or nobody can put them together.
fn changed_by_converters(settings: &Settings) -> Option<(&'static str, String)> {
    let class = |key: &str| settings.raw(key).map(|class| class.rsplit('.').next().unwrap_or_default().to_owned());
    let values = class("value.converter").is_none_or(|class| class != "ByteArrayConverter");
    let headers = class("header.converter").is_some_and(|class| class == "JsonConverter");
    let wanted = if values {
        "value.converter=org.apache.kafka.connect.converters.ByteArrayConverter in this connector"
    } else if headers {
        "a header.converter that leaves text as it is, such as the default"
    } else {
        return None;
    };
    Some((OUTPUT_MODE.info.name, format!("chunks needs {wanted}: pieces must stay the bytes that they are")))
}
