//! A complaint that comes again and again while its cause lasts: which of them the log is told.
//!
//! `sink.rs` commits several times a second, and while Kafka refuses, every attempt would be a line.

use std::time::{Duration, Instant};

/// The same cause is told once in this time.
const QUIET: Duration = Duration::from_secs(10);

/// What was told last.
#[derive(Debug, Default)]
pub struct Repeats {
    told: Option<(String, Instant)>,
    untold: u64,
}

impl Repeats {
    /// It happened because of `cause`. When that is to be told: how often it has happened since it was told last.
    pub fn hear(&mut self, cause: &str, now: Instant) -> Option<u64> {
        self.untold += 1;
        if self.told.as_ref().is_some_and(|(told, at)| told == cause && now.duration_since(*at) < QUIET) {
            return None;
        }
        self.told = Some((cause.to_owned(), now));
        Some(std::mem::take(&mut self.untold))
    }

    /// It is over: the next time is told at once.
    pub fn end(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_in_ten_seconds_with_how_often_it_came() {
        let start = Instant::now();
        let mut repeats = Repeats::default();
        let mut hear = |cause, second| repeats.hear(cause, start + Duration::from_secs(second));
        assert_eq!(hear("refused", 0), Some(1));
        assert_eq!([hear("refused", 1), hear("refused", 9)], [None, None]);
        assert_eq!(hear("refused", 10), Some(3));
        assert_eq!(hear("refused", 11), None);
        assert_eq!(hear("no answer", 12), Some(2), "another cause is news");
        repeats.end();
        assert_eq!(repeats.hear("no answer", start + Duration::from_secs(13)), Some(1), "it was over meanwhile");
    }
}
