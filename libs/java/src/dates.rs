//! Java's `SimpleDateFormat`: patterns such as `yyyy-MM-dd HH:mm:ss.SSS`, for writing and for reading, lenient, in UTC.
//!
//! TimestampConverter and TimestampRouter stand on it. `pattern.rs` reads a pattern, `print.rs` writes by it, `read.rs`
//! reads by it and leaves the fields to `fields.rs`, which makes a time of them.

mod fields;
mod names;
mod pattern;
mod print;
mod read;

use std::time::{SystemTime, UNIX_EPOCH};

use self::pattern::Part;
use crate::calendar::{DAY_MILLIS, Moment, days};

/// A pattern that was understood.
pub struct DateFormat {
    parts: Vec<Part>,
    /// Where the century of two-digit years begins: eighty years before the format was made.
    century: Century,
}

/// A moment and its year.
#[derive(Clone, Copy)]
struct Century {
    millis: i64,
    year: i32,
}

impl DateFormat {
    /// Reads a pattern; the error is the reason in Java's words.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::at(pattern, i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
    }

    /// As made at a time, which says what two-digit years mean.
    pub fn at(pattern: &str, now: i64) -> Result<Self, String> {
        let moment = Moment::of(now);
        let millis = days(moment.year - 80, moment.month, moment.day) * DAY_MILLIS + moment.millis;
        let year = i32::try_from(moment.year - 80).unwrap_or(i32::MAX);
        Ok(Self { parts: pattern::read(pattern)?, century: Century { millis, year } })
    }

    /// Appends the text of a time, in milliseconds since 1970.
    pub fn format(&self, millis: i64, out: &mut String) {
        print::print(&self.parts, millis, out);
    }

    /// The time that a text begins with, in milliseconds since 1970; what follows it is ignored, as in Java.
    pub fn parse(&self, text: &str) -> Option<i64> {
        read::read(&self.parts, self.century, text)
    }
}

#[cfg(test)]
mod tests;
