//! The log: one line per event on standard error. Called once, by the command line, before anything can go wrong.
//!
//! Levels can change while the worker runs (`PUT /admin/loggers/…`); a logger is a module path such as
//! `pipette::herder`, and `root` is all of them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use pipette_api::{ConnectError, Result};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt;

/// What the level of everything else is called.
pub const ROOT: &str = "root";

/// The levels in force. Cheap to clone.
#[derive(Clone)]
pub struct Levels {
    levels: Arc<Mutex<BTreeMap<String, LevelFilter>>>,
    apply: Arc<dyn Fn(Targets) -> bool + Send + Sync>,
}

impl Levels {
    /// Reads `info` or `info,pipette::herder=debug`.
    fn parse(text: &str) -> Result<BTreeMap<String, LevelFilter>> {
        let mut levels = BTreeMap::from([(ROOT.to_owned(), LevelFilter::INFO)]);
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (logger, level) = part.split_once('=').unwrap_or((ROOT, part));
            levels.insert(logger.to_owned(), Self::level(level)?);
        }
        Ok(levels)
    }

    /// A level by its name, in any case; `fatal` is Java's name for errors only.
    pub fn level(name: &str) -> Result<LevelFilter> {
        let name = if name.eq_ignore_ascii_case("fatal") { "error" } else { name };
        LevelFilter::from_str(name).map_err(|_| {
            ConnectError::config(format!("\"{name}\" is no log level: use error, warn, info, debug, trace or off"))
        })
    }

    /// Every logger whose level was set, `root` among them.
    pub fn all(&self) -> BTreeMap<String, LevelFilter> {
        self.levels.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the level of a logger and of all below it.
    pub fn set(&self, logger: &str, level: LevelFilter) {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let below = format!("{logger}::");
        levels.retain(|name, _| logger != ROOT && !name.starts_with(&below));
        levels.insert(logger.to_owned(), level);
        (self.apply)(targets(&levels));
    }
}

fn targets(levels: &BTreeMap<String, LevelFilter>) -> Targets {
    let root = levels.get(ROOT).copied().unwrap_or(LevelFilter::INFO);
    let others = levels.iter().filter(|(name, _)| *name != ROOT);
    Targets::new().with_default(root).with_targets(others.map(|(name, level)| (name.as_str(), *level)))
}

/// Starts the log at those levels. A second start, as in tests, leaves the first in place.
pub fn start(levels: &str) -> Result<Levels> {
    let levels = Levels::parse(levels)?;
    let (filter, handle) = reload::Layer::new(targets(&levels));
    let _ = tracing_subscriber::registry().with(lines().with_filter(filter)).try_init();
    let apply = Arc::new(move |targets| handle.reload(targets).is_ok());
    Ok(Levels { levels: Arc::new(Mutex::new(levels)), apply })
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
    fmt::layer().compact().with_target(false).with_ansi(io::stderr().is_terminal()).with_writer(io::stderr)
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
        assert_eq!(levels.all()["pipette::herder"], LevelFilter::DEBUG);
        levels.set("pipette::herder", LevelFilter::ERROR);
        assert_eq!(levels.all().len(), 2);
        let shown = |target, level| applied.lock().unwrap().would_enable(target, &level);
        assert!(!shown("pipette::herder::state", tracing::Level::WARN));
        assert!(shown("pipette::task", tracing::Level::WARN));
        assert!(!shown("pipette::task", tracing::Level::INFO));
        levels.set(ROOT, LevelFilter::TRACE);
        assert!(shown("pipette::herder::state", tracing::Level::TRACE));
    }

    #[test]
    fn a_wrong_level_is_told_with_the_right_ones() {
        let error = Levels::parse("loud").unwrap_err().to_string();
        assert_eq!(error, "\"loud\" is no log level: use error, warn, info, debug, trace or off");
        assert_eq!(Levels::parse("").unwrap()[ROOT], LevelFilter::INFO);
        assert_eq!(Levels::level("FATAL").unwrap(), LevelFilter::ERROR);
    }
}
