//! The log: one line per event on standard error. Called once, by the command line, before anything can go wrong.
//!
//! Levels can change while the worker runs (`PUT /admin/loggers/…`); a logger is a module path such as
//! `pipette::herder`, and `root` is all of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use pipette_api::{ConnectError, Result};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::secrets::hide_known;

/// What the level of everything else is called.
pub const ROOT: &str = "root";

/// A level by Java's name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Level {
    Off,
    Fatal,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
    All,
}

impl Level {
    const EVERY: [Self; 8] =
        [Self::Off, Self::Fatal, Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace, Self::All];

    /// By its name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::EVERY.into_iter().find(|level| level.name().eq_ignore_ascii_case(name))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "OFF",
            Self::Fatal => "FATAL",
            Self::Error => "ERROR",
            Self::Warn => "WARN",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
            Self::Trace => "TRACE",
            Self::All => "ALL",
        }
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Off => LevelFilter::OFF,
            Self::Fatal | Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace | Self::All => LevelFilter::TRACE,
        }
    }
}

/// What is set for a logger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its level.
    pub level: Level,
    /// When it was last changed while the worker ran.
    pub modified: Option<SystemTime>,
}

/// The levels in force. Cheap to clone.
#[derive(Clone)]
pub struct Levels {
    levels: Arc<Mutex<BTreeMap<String, Setting>>>,
    apply: Arc<dyn Fn(Targets) -> bool + Send + Sync>,
}

impl Levels {
    /// Reads `info` or `info,pipette::herder=debug`.
    fn parse(text: &str) -> Result<BTreeMap<String, Setting>> {
        let at_start = |level| Setting { level, modified: None };
        let mut levels = BTreeMap::from([(ROOT.to_owned(), at_start(Level::Info))]);
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (logger, name) = part.split_once('=').unwrap_or((ROOT, part));
            let level = Level::named(name).ok_or_else(|| {
                ConnectError::config(format!("\"{name}\" is no log level: use error, warn, info, debug, trace or off"))
            })?;
            levels.insert(logger.to_owned(), at_start(level));
        }
        Ok(levels)
    }

    /// Every logger whose level was set, `root` among them.
    pub fn all(&self) -> BTreeMap<String, Setting> {
        self.lock().clone()
    }

    /// One of them.
    pub fn of(&self, logger: &str) -> Option<Setting> {
        self.lock().get(canonical(logger)).copied()
    }

    /// Sets the level of a logger and of all below it; answers those that had another.
    pub fn set(&self, logger: &str, level: Level) -> Vec<String> {
        let logger = canonical(logger);
        let mut levels = self.lock();
        if !levels.contains_key(logger) {
            let above = levels.iter().filter(|(name, _)| is_below(logger, name)).max_by_key(|(name, _)| reach(name));
            let level = above.map_or(Level::Info, |(_, setting)| setting.level);
            levels.insert(logger.to_owned(), Setting { level, modified: None });
        }
        let mut changed = Vec::new();
        for (name, setting) in levels.iter_mut().filter(|(name, _)| *name == logger || is_below(name, logger)) {
            if setting.level != level {
                *setting = Setting { level, modified: Some(SystemTime::now()) };
                changed.push(name.clone());
            }
        }
        (self.apply)(targets(&levels));
        changed
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Setting>> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `root` in any case is the root.
fn canonical(logger: &str) -> &str {
    if logger.eq_ignore_ascii_case(ROOT) { ROOT } else { logger }
}

/// Whether a logger is below another: Java parts names by dots, we by colons.
fn is_below(name: &str, above: &str) -> bool {
    let rest = name.strip_prefix(above);
    name != ROOT && (above == ROOT || rest.is_some_and(|rest| rest.starts_with('.') || rest.starts_with("::")))
}

/// The nearest of those above has the longest name; the root is above all.
fn reach(name: &str) -> usize {
    if name == ROOT { 0 } else { name.len() }
}

fn targets(levels: &BTreeMap<String, Setting>) -> Targets {
    let root = levels.get(ROOT).map_or(LevelFilter::INFO, |setting| setting.level.filter());
    let others = levels.iter().filter(|(name, _)| *name != ROOT);
    Targets::new().with_default(root).with_targets(others.map(|(name, set)| (name.as_str(), set.level.filter())))
}

/// The levels of the log that was started first; without one, levels that change nothing.
pub fn levels() -> Levels {
    let nothing =
        || Levels { levels: Arc::new(Mutex::new(Levels::parse("").unwrap_or_default())), apply: Arc::new(|_| false) };
    STARTED.get().cloned().unwrap_or_else(nothing)
}

static STARTED: OnceLock<Levels> = OnceLock::new();

/// Starts the log at those levels. A second start, as in tests, leaves the first in place.
pub fn start(levels: &str) -> Result<()> {
    let levels = Levels::parse(levels)?;
    let (filter, handle) = reload::Layer::new(targets(&levels));
    let _ = tracing_subscriber::registry().with(lines().with_filter(filter)).try_init();
    let apply = Arc::new(move |targets| handle.reload(targets).is_ok());
    STARTED.get_or_init(|| Levels { levels: Arc::new(Mutex::new(levels)), apply });
    Ok(())
}

thread_local! {
    /// Where this thread panicked last.
    static PANIC_PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics go to the log like everything else, with the connector and task of their thread. For the program only: a test
/// tells its panics itself.
pub fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("no text");
        tracing::error!(place, text, "Panic");
        PANIC_PLACE.with_borrow_mut(|last| *last = Some(place));
    }));
}

/// Where this thread panicked: file and line. Known once panics are told to the log; answered once.
pub fn panic_place() -> Option<String> {
    PANIC_PLACE.with_borrow_mut(Option::take)
}

/// Time, level, message, fields; colours only for people.
fn lines<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    fmt::layer()
        .compact()
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(|| Discreet(io::stderr()))
}

/// Writes lines without the secrets that configurations were given, whoever wrote them.
struct Discreet<W>(W);

impl<W: Write> Write for Discreet<W> {
    /// A line is written in one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(hide_known(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_and_changed() {
        let applied = Arc::new(Mutex::new(Targets::new()));
        let seen = Arc::clone(&applied);
        let apply = Arc::new(move |targets| {
            *seen.lock().unwrap() = targets;
            true
        });
        let parsed = Levels::parse("warn, pipette::herder=DEBUG,pipette::herder::state=off").unwrap();
        let levels = Levels { levels: Arc::new(Mutex::new(parsed)), apply };
        assert_eq!(levels.of("pipette::herder").unwrap(), Setting { level: Level::Debug, modified: None });
        assert_eq!(levels.set("pipette::herder", Level::Error), ["pipette::herder", "pipette::herder::state"]);
        assert_eq!(levels.set("pipette::herder", Level::Error), [""; 0], "nothing is new");
        assert!(levels.of("pipette::herder::state").unwrap().modified.is_some());
        let shown = |target, level| applied.lock().unwrap().would_enable(target, &level);
        assert!(!shown("pipette::herder::state", tracing::Level::WARN));
        assert!(shown("pipette::task", tracing::Level::WARN));
        assert!(!shown("pipette::task", tracing::Level::INFO));
        assert_eq!(levels.set("a.logger", Level::Warn), [""; 0], "it had that level from the root");
        assert_eq!(levels.set("ROOT", Level::All).len(), 4);
        assert!(shown("pipette::herder::state", tracing::Level::TRACE));
    }

    #[test]
    fn a_wrong_level_is_told_with_the_right_ones() {
        let error = Levels::parse("loud").unwrap_err().to_string();
        assert_eq!(error, "\"loud\" is no log level: use error, warn, info, debug, trace or off");
        assert_eq!(Levels::parse("").unwrap()[ROOT].level, Level::Info);
        assert_eq!(Level::named("fatal").unwrap().filter(), LevelFilter::ERROR);
    }
}
