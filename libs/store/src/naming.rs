//! Keys of objects: `<prefix>/<date>/<name>`.
//!
//! The date is that of the upload, not of the record. It is there because of expiry: an object that is named by its content
//! and used again on day 29 would be removed on day 30 by a rule of 30 days, under a record that lives on.

mod shape;

use chrono::DateTime;
use pipette_api::{ConnectError, Result};
use uuid::Uuid;

use crate::digest::{Digest, Hasher, hex};

/// What S3 takes.
const LONGEST_KEY: usize = 1024;
/// What file systems take, with room for the name of a temporary file.
const LONGEST_PART: usize = 200;
const LONGEST_PREFIX: usize = 512;
/// Placeholders that make a name one object's.
const UNIQUE: &[&str] = &["sha256", "uuid", "position"];

/// What gives an object its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// Its SHA-256: what is the same is stored once a day.
    Content,
    /// Where the source read it. The same record has the same object after a restart; the source must count records that
    /// share an offset ([`Origin::ordinal`]).
    Position,
    /// A new UUID in the order of time. A record that is sent again leaves an orphan.
    Uuid,
    /// A pattern in place of date and name, with `${topic}`, `${connector}`, `${date}`, `${field}`, `${name}`, and at least
    /// one of `${sha256}`, `${uuid}`, `${position}`, which make it unique.
    Template(String),
}

/// How objects are named.
#[derive(Debug, Clone)]
pub struct Naming {
    prefix: String,
    strategy: Strategy,
}

/// What a name may be made of.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin<'a> {
    /// The topic of the record.
    pub topic: &'a str,
    /// The connector.
    pub connector: &'a str,
    /// The source partition, as text that tells partitions apart.
    pub partition: &'a str,
    /// The source offset likewise.
    pub offset: &'a str,
    /// Counts the records that share an offset; `None` when the source does not promise that it counts them.
    pub ordinal: Option<u64>,
    /// The field the value stands in; empty for a whole value.
    pub field: &'a str,
    /// The name of the file it came from, if any.
    pub name: Option<&'a str>,
}

impl Naming {
    /// Checks prefix and pattern: a config error names `key.prefix` or `key.template`. The prefix may hold `${topic}` and
    /// `${connector}`.
    pub fn new(prefix: &str, strategy: Strategy) -> Result<Self> {
        check_pattern("key.prefix", prefix, &["topic", "connector"])?;
        if prefix.len() > LONGEST_PREFIX {
            return Err(ConnectError::config(format!("key.prefix is longer than {LONGEST_PREFIX} characters")));
        }
        if let Strategy::Template(pattern) = &strategy {
            let known = ["topic", "connector", "date", "field", "name"];
            check_pattern("key.template", pattern, &[UNIQUE, &known].concat())?;
            if !UNIQUE.iter().any(|word| pattern.contains(&format!("${{{word}}}"))) {
                return Err(ConnectError::config(
                    "key.template needs one of ${sha256}, ${uuid}, ${position}: objects would overwrite each other",
                ));
            }
        }
        Ok(Self { prefix: prefix.trim_end_matches('/').to_owned(), strategy })
    }

    /// The folder that all names of an origin are in, below the prefix of the store; empty when they are in none.
    pub fn folder(&self, origin: &Origin) -> Result<String> {
        expand(&self.prefix, origin, None, 0)
    }

    /// Whether a key below [`Naming::folder`] can be one that was made here for this topic and connector. Other files may be
    /// beside. Unless there is a pattern, every strategy counts: it may have been another one once.
    pub fn may_have_made(&self, origin: &Origin, key: &str) -> bool {
        let patterns: &[&str] = match &self.strategy {
            Strategy::Template(pattern) => &[pattern.as_str()],
            _ => &["${date}/${sha256}", "${date}/${uuid}", "${date}/${position}"],
        };
        patterns.iter().any(|pattern| shape::fits(pattern, origin, key))
    }

    /// Whether a record of another day may come to refer to an object that is there: its name has no date, and the same
    /// content or position has the same name again.
    pub fn is_used_again(&self) -> bool {
        matches!(&self.strategy, Strategy::Template(pattern)
            if !pattern.contains("${date}") && !pattern.contains("${uuid}"))
    }

    /// True when a name needs the content's digest, which is then taken before the upload.
    pub fn needs_digest(&self) -> bool {
        match &self.strategy {
            Strategy::Content => true,
            Strategy::Template(pattern) => pattern.contains("${sha256}"),
            Strategy::Position | Strategy::Uuid => false,
        }
    }

    /// True when a name is made of the source's position, which [`Origin::partition`], `offset` and `ordinal` must tell then.
    pub fn needs_position(&self) -> bool {
        match &self.strategy {
            Strategy::Position => true,
            Strategy::Template(pattern) => pattern.contains("${position}"),
            Strategy::Content | Strategy::Uuid => false,
        }
    }

    /// True when two objects of one name have one content by what the name is made of.
    pub(crate) fn is_content(&self) -> bool {
        self.needs_digest()
    }

    /// The key, below the prefix of the store. `now` is in milliseconds since 1970.
    pub fn key(&self, origin: &Origin, digest: Option<&Digest>, now: i64) -> Result<String> {
        let digest = digest.map(Digest::hex);
        let pattern = match &self.strategy {
            Strategy::Content => "${date}/${sha256}",
            Strategy::Position => "${date}/${position}",
            Strategy::Uuid => "${date}/${uuid}",
            Strategy::Template(pattern) => pattern,
        };
        let prefix = expand(&self.prefix, origin, None, now)?;
        let tail = expand(pattern, origin, digest.as_deref(), now)?;
        let key = if prefix.is_empty() { tail } else { format!("{prefix}/{tail}") };
        if key.len() > LONGEST_KEY {
            return Err(ConnectError::data(format!("the key of an object would be longer than {LONGEST_KEY} bytes")));
        }
        Ok(key)
    }

    /// Names by UUID in the same place, for what is too large to be read twice and for what finds its name taken.
    pub(crate) fn one_time(&self) -> Self {
        Self { prefix: self.prefix.clone(), strategy: Strategy::Uuid }
    }
}

fn check_pattern(key: &str, pattern: &str, known: &[&str]) -> Result<()> {
    let wrong = |what: String| Err(ConnectError::config(format!("{key}: {what}")));
    if pattern.starts_with('/') || pattern.contains("//") || pattern.contains('\\') {
        return wrong("it begins with a slash, or holds two in a row or a backslash".into());
    }
    if pattern.chars().any(char::is_control) || pattern.split('/').any(|part| matches!(part, "." | "..")) {
        return wrong("it holds control characters or dot segments".into());
    }
    for (_, rest) in pattern.match_indices("${").map(|(at, _)| pattern.split_at(at + 2)) {
        let word = rest.split_once('}').map_or("", |(word, _)| word);
        if !known.contains(&word) {
            let (unique, others): (Vec<&str>, Vec<&str>) =
                known.iter().copied().partition(|word| UNIQUE.contains(word));
            let named = |words: &[&str]| words.iter().map(|word| format!("${{{word}}}")).collect::<Vec<_>>().join(", ");
            let besides = match &unique[..] {
                [] => String::new(),
                unique => format!(", and one of {} at least", named(unique)),
            };
            return wrong(format!("${{{word}}} is nothing that it can hold: it can hold {}{besides}", named(&others)));
        }
    }
    Ok(())
}

fn expand(pattern: &str, origin: &Origin, digest: Option<&str>, now: i64) -> Result<String> {
    let mut out = String::with_capacity(pattern.len() + 64);
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once("${") {
        let (word, behind) =
            after.split_once('}').unwrap_or_else(|| unreachable!("patterns are checked when they are made"));
        out.push_str(before);
        match word {
            "topic" => out.push_str(&clean(origin.topic)),
            "connector" => out.push_str(&clean(origin.connector)),
            "field" => out.push_str(&clean(origin.field)),
            "name" => out.push_str(&clean(origin.name.unwrap_or("unnamed"))),
            "date" => out.push_str(&date(now)?),
            "uuid" => out.push_str(&Uuid::now_v7().to_string()),
            "position" => out.push_str(&position(origin)?),
            _ => out.push_str(digest.unwrap_or_else(|| unreachable!("needs_digest says when one is needed"))),
        }
        rest = behind;
    }
    out.push_str(rest);
    Ok(out)
}

/// One part of a key from text of others: what stores, shells and file systems all take as it is.
fn clean(text: &str) -> String {
    let fine = |c: char| if c.is_ascii_alphanumeric() || "._-=".contains(c) { c } else { '_' };
    let mut part: String = text.chars().take(LONGEST_PART).map(fine).collect();
    if part.is_empty() || part.bytes().all(|byte| byte == b'.') {
        part = "_".into();
    }
    part
}

fn date(now: i64) -> Result<String> {
    let time = DateTime::from_timestamp_millis(now)
        .ok_or_else(|| ConnectError::fatal("the machine's clock tells no date that a key could hold"))?;
    Ok(time.format("%Y-%m-%d").to_string())
}

/// 128 bits of a digest over parts whose lengths are told, so that no two positions run together.
fn position(origin: &Origin) -> Result<String> {
    let ordinal = origin.ordinal.ok_or_else(|| {
        ConnectError::config(
            "key.strategy: objects cannot be named by position: this source does not count the records of an offset",
        )
    })?;
    let mut hasher = Hasher::default();
    for part in [origin.connector, origin.partition, origin.offset, &ordinal.to_string(), origin.field] {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    Ok(hex(&hasher.digest().0[..16]))
}

#[cfg(test)]
mod tests {
    use pipette_api::ErrorKind;

    use super::*;

    /// 2026-11-26 07:15 UTC.
    const NOW: i64 = 1_795_677_300_000;

    fn key(prefix: &str, strategy: Strategy, origin: &Origin) -> String {
        Naming::new(prefix, strategy).unwrap().key(origin, Some(&Digest::of(b"x")), NOW).unwrap()
    }

    fn origin() -> Origin<'static> {
        Origin { topic: "images", connector: "lab", partition: "p", offset: "7", ordinal: Some(0), ..Origin::default() }
    }

    #[test]
    fn content_has_a_bucket_of_its_day() {
        let name = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
        assert_eq!(key("${topic}", Strategy::Content, &origin()), format!("images/2026-11-26/{name}"));
        assert_eq!(key("", Strategy::Content, &origin()), format!("2026-11-26/{name}"));
        assert_eq!(key("raw/${connector}/", Strategy::Content, &origin()), format!("raw/lab/2026-11-26/{name}"));
    }

    #[test]
    fn positions_are_told_apart() {
        let a = key("", Strategy::Position, &origin());
        assert_eq!(a, key("", Strategy::Position, &origin()), "the same place has the same name");
        for other in [
            Origin { partition: "p7", offset: "", ..origin() },
            Origin { ordinal: Some(1), ..origin() },
            Origin { field: "image", ..origin() },
            Origin { connector: "lab2", ..origin() },
        ] {
            assert_ne!(a, key("", Strategy::Position, &other), "{other:?}");
        }
        let naming = Naming::new("", Strategy::Position).unwrap();
        let uncounted = naming.key(&Origin { ordinal: None, ..origin() }, None, NOW).unwrap_err();
        assert_eq!(uncounted.kind(), ErrorKind::Config);
    }

    #[test]
    fn names_of_others_stay_one_part_of_the_key() {
        let strategy = || Strategy::Template("${date}/${name}-${sha256}".into());
        for (name, part) in [
            ("a b.png", "a_b.png"),
            ("../../etc/passwd", ".._.._etc_passwd"),
            ("..", "_"),
            ("", "_"),
            ("a\0\n\u{202e}ü", "a____"),
            ("C:\\x", "C__x"),
        ] {
            let key = key("${topic}", strategy(), &Origin { name: Some(name), ..origin() });
            assert!(key.starts_with(&format!("images/2026-11-26/{part}-2d71")), "{name:?}: {key}");
            assert_eq!(key.split('/').count(), 3);
        }
        let long = "x".repeat(4000);
        let key = key("", strategy(), &Origin { name: Some(&long), ..origin() });
        assert!(key.split('/').all(|part| part.len() < 300));
    }

    #[test]
    fn uuids_differ_each_time() {
        assert_ne!(key("", Strategy::Uuid, &origin()), key("", Strategy::Uuid, &origin()));
    }

    #[test]
    fn what_could_overwrite_or_escape_is_refused_as_configuration() {
        for (prefix, strategy) in [
            ("/abs", Strategy::Content),
            ("a/../b", Strategy::Content),
            ("a//b", Strategy::Content),
            ("${date}", Strategy::Content),
            ("${topic", Strategy::Content),
            ("a\\b", Strategy::Content),
            ("", Strategy::Template("${date}/${name}".into())),
            ("", Strategy::Template("${nonsense}-${uuid}".into())),
            ("", Strategy::Template("../${uuid}".into())),
        ] {
            let error = Naming::new(prefix, strategy.clone()).expect_err(prefix);
            assert_eq!(error.kind(), ErrorKind::Config, "{prefix} {strategy:?}");
        }
    }
}
