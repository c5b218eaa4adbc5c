//! Character sets as Java has them: `text.rs` asks for one by any name Java knows it by.
//!
//! Mapping tables come from `encoding_rs`, corrected where the web's idea of a character set is not Java's. What is malformed
//! becomes U+FFFD as often as in Java, what cannot be written becomes `?`. Reading order: `charset/list.rs` (all of
//! them), `charset/table.rs` (one and two bytes), `charset/pairs.rs` (its corrections), `charset/wide.rs` (UTF-16 and UTF-32).

mod list;
mod pairs;
mod table;
mod wide;

use std::sync::OnceLock;

use self::table::{Rules, Table};
use self::wide::Wide;

/// A character set other than UTF-8.
#[derive(Debug)]
pub(super) struct Charset {
    name: &'static str,
    aliases: &'static [&'static str],
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// At most two bytes a character. The tables take up to 256 KiB and are made for the first who asks.
    Table(Rules, OnceLock<Table>),
    Wide(Wide),
}

const UTF_8: [&str; 3] = ["UTF-8", "UTF8", "unicode-1-1-utf-8"];

/// The character set of that name or alias, in any case; `None` is UTF-8. What is unknown is explained.
pub(super) fn find(name: &str) -> Result<Option<&'static Charset>, String> {
    let same = |other: &&str| other.eq_ignore_ascii_case(name);
    if UTF_8.iter().any(same) {
        return Ok(None);
    }
    let found = list::CHARSETS.iter().find(|set| same(&set.name) || set.aliases.iter().any(same));
    found.map(Some).ok_or_else(|| {
        let names: Vec<&str> = list::CHARSETS.iter().map(|set| set.name).collect();
        format!(
            "{name} is no character set known here. Possible: UTF-8, {}, and Java's other names of these",
            names.join(", ")
        )
    })
}

impl Charset {
    pub(super) fn decode(&self, bytes: &[u8]) -> String {
        match &self.form {
            Form::Table(rules, built) => built.get_or_init(|| Table::new(rules)).decode(bytes),
            Form::Wide(wide) => wide.decode(bytes),
        }
    }

    /// Appends the text.
    pub(super) fn encode(&self, text: &str, out: &mut Vec<u8>) {
        match &self.form {
            Form::Table(rules, built) => built.get_or_init(|| Table::new(rules)).encode(text, out),
            Form::Wide(wide) => wide.encode(text, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CRC-32C of what Java made of each byte, of each pair of bytes before an A, and of each character up to U+10000:
    /// `tests/java/src/Charsets.java` made the file and says how.
    #[test]
    fn every_character_set_is_javas() {
        let recorded = include_str!("../../tests/java/recorded/charsets.txt");
        let ours: Vec<String> = list::CHARSETS.iter().map(line).collect();
        let different: Vec<_> = recorded.lines().zip(&ours).filter(|(java, ours)| java != ours).collect();
        assert!(different.is_empty(), "{different:#?}");
        assert_eq!(recorded.lines().count(), ours.len());
    }

    fn line(set: &Charset) -> String {
        let mut decoded = 0;
        let mut add = |bytes: &[u8]| {
            decoded = crc32c::crc32c_append(decoded, set.decode(bytes).as_bytes());
            decoded = crc32c::crc32c_append(decoded, b"\n");
        };
        for first in 0..=u8::MAX {
            add(&[first]);
            (0..=u8::MAX).for_each(|second| add(&[first, second, b'A']));
        }
        let mut encoded = 0;
        let mut bytes = Vec::new();
        for char in '\0'..='\u{10000}' {
            bytes.clear();
            set.encode(char.encode_utf8(&mut [0; 4]), &mut bytes);
            bytes.push(b'\n');
            encoded = crc32c::crc32c_append(encoded, &bytes);
        }
        let mut aliases = set.aliases.to_vec();
        aliases.sort_unstable();
        format!("{} {decoded:08x} {encoded:08x} {}", set.name, aliases.join(" "))
    }

    #[test]
    fn names_are_javas_in_any_case() {
        assert!(find("utf8").unwrap().is_none());
        assert_eq!(find("LATIN1").unwrap().unwrap().name, "ISO-8859-1");
        assert_eq!(find("ms932").unwrap().unwrap().name, "windows-31j");
        let error = find("ISO-2022-JP").unwrap_err();
        assert!(
            error.starts_with("ISO-2022-JP is no character set known here. Possible: UTF-8, US-ASCII, "),
            "{error}"
        );
    }
}
