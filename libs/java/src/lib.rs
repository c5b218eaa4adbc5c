//! What Apache's plugins take from Java and users see: the text of values, the type of a text, dates and their patterns,
//! regular expressions and replacements, numbers in text.
//!
//! Converters, transformations and the file sink stand on it. One room per matter; each says which Java class it follows.
//! Time is always UTC, the language always English of the United States, as in the containers Connect runs in.

pub mod calendar;
mod dates;
pub mod number;
pub mod regex;
pub mod replacement;
mod text;
pub mod values;

pub use dates::DateFormat;
pub use regex::JavaRegex;
pub use replacement::Replacement;
pub use text::{OfBytes, append_plain, append_text, class, kind, millis, parts};
