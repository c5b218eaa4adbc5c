//! Templates: how topics and keys are made of other topics, keys, headers and fields.
//!
//! Pure; parsed once when settings are read. The source fills them from an MQTT topic, the sink from a Kafka record: both
//! through [`Parts`]. Read next: `mapping.rs` (source), `outgoing.rs` (sink).

use std::borrow::Cow;
use std::fmt;

/// The longest name of a Kafka topic.
const LONGEST: usize = 249;
/// Topics in which Kafka, and workers by their example files, keep what they live on. What is in `connect-configs` is run.
const INTERNAL: [&str; 8] = [
    "__consumer_offsets",
    "__transaction_state",
    "__share_group_state",
    "__cluster_metadata",
    "__remote_log_metadata",
    "connect-configs",
    "connect-offsets",
    "connect-status",
];

/// A text with places to be filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Place(Place),
}

/// What can be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The whole topic.
    Topic,
    /// The whole topic as Lenses names Kafka topics: without its first slash, with underscores for the others.
    Lenses,
    /// One level of the topic, from 0; counted from the end when negative.
    Level(i32),
    /// Levels of the topic, the last one excluded.
    Levels(i32, i32),
    /// The connector's name.
    Connector,
    /// The key of a record.
    Key,
    /// The partition of a record.
    Partition,
    /// A header of a record.
    Header(String),
    /// A field of a record's value, nested ones behind dots.
    Field(String),
}

/// Where the places of a template are filled from.
pub(crate) trait Parts {
    /// The text of a place; an error that names what is missing.
    fn part(&self, place: &Place) -> Result<Cow<'_, str>, String>;
}

impl Template {
    /// The template of a text such as `lab.${topic[1]}`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(begin) = rest.find("${") {
            if begin > 0 {
                pieces.push(Piece::Text(rest[..begin].to_owned()));
            }
            let place = &rest[begin + 2..];
            let Some(end) = place.find('}') else {
                return Err(format!("the ${{ in '{text}' has no }} behind it"));
            };
            pieces.push(Piece::Place(Place::parse(&place[..end])?));
            rest = &place[end + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    /// The places, in order.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Place(place) => Some(place),
            Piece::Text(_) => None,
        })
    }

    /// The text in front of the first place.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Place(_) => None,
        })
    }

    /// The text with its places filled.
    pub(crate) fn fill(&self, parts: &impl Parts) -> Result<String, String> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Place(place) => out.push_str(&parts.part(place)?),
            }
        }
        Ok(out)
    }
}

impl Place {
    fn parse(text: &str) -> Result<Self, String> {
        let unknown = || {
            format!(
                "${{{text}}} is no place of a template: known are topic, topic[1], topic[-1], topic[1:3], topic:lenses, \
                 connector, key, partition, header:NAME and field:NAME"
            )
        };
        match text {
            "topic" => return Ok(Self::Topic),
            "topic:lenses" => return Ok(Self::Lenses),
            "connector" => return Ok(Self::Connector),
            "key" => return Ok(Self::Key),
            "partition" => return Ok(Self::Partition),
            _ => {}
        }
        if let Some(name) = text.strip_prefix("header:").filter(|name| !name.is_empty()) {
            return Ok(Self::Header(name.to_owned()));
        }
        if let Some(name) = text.strip_prefix("field:").filter(|name| !name.is_empty()) {
            return Ok(Self::Field(name.to_owned()));
        }
        let index = text.strip_prefix("topic[").and_then(|rest| rest.strip_suffix(']')).ok_or_else(unknown)?;
        let number = |text: &str| text.trim().parse::<i32>().map_err(|_| unknown());
        match index.split_once(':') {
            None => Ok(Self::Level(number(index)?)),
            Some((from, "")) => Ok(Self::Levels(number(from)?, i32::MAX)),
            Some((from, to)) => Ok(Self::Levels(number(from)?, number(to)?)),
        }
    }
}

/// As it is written.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic => f.write_str("${topic}"),
            Self::Lenses => f.write_str("${topic:lenses}"),
            Self::Level(index) => write!(f, "${{topic[{index}]}}"),
            Self::Levels(from, i32::MAX) => write!(f, "${{topic[{from}:]}}"),
            Self::Levels(from, to) => write!(f, "${{topic[{from}:{to}]}}"),
            Self::Connector => f.write_str("${connector}"),
            Self::Key => f.write_str("${key}"),
            Self::Partition => f.write_str("${partition}"),
            Self::Header(name) => write!(f, "${{header:{name}}}"),
            Self::Field(name) => write!(f, "${{field:{name}}}"),
        }
    }
}

/// The parts of an MQTT topic.
pub(crate) struct TopicParts<'a> {
    pub(crate) topic: &'a str,
    pub(crate) connector: &'a str,
}

impl Parts for TopicParts<'_> {
    fn part(&self, place: &Place) -> Result<Cow<'_, str>, String> {
        match place {
            Place::Topic => Ok(self.topic.into()),
            Place::Lenses => Ok(as_lenses(self.topic).into()),
            Place::Connector => Ok(self.connector.into()),
            Place::Level(index) => level(self.topic, *index)
                .map(Cow::from)
                .ok_or_else(|| format!("the topic '{}' has no level {index} for {place}", self.topic)),
            Place::Levels(from, to) => Ok(levels(self.topic, *from, *to).into()),
            other => Err(format!("{other} is not known of an MQTT message")),
        }
    }
}

/// What Lenses makes of `$`: the first slash goes, wherever it stands, and each run of others is an underscore.
fn as_lenses(topic: &str) -> String {
    let (head, rest) = topic.split_once('/').unwrap_or((topic, ""));
    let mut name = head.to_owned();
    let mut before = None;
    for char in rest.chars() {
        match char {
            '/' if before == Some('/') => {}
            '/' => name.push('_'),
            char => name.push(char),
        }
        before = Some(char);
    }
    name
}

pub(crate) fn level(topic: &str, index: i32) -> Option<&str> {
    let from_end = usize::try_from(index.unsigned_abs()).ok()?;
    match index {
        0.. => topic.split('/').nth(from_end),
        _ => topic.rsplit('/').nth(from_end - 1),
    }
}

/// Levels from one to another, counted from the end when negative, as slices in many languages.
pub(crate) fn levels(topic: &str, from: i32, to: i32) -> String {
    let all: Vec<&str> = topic.split('/').collect();
    let place = |index: i32| {
        let distance = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
        if index < 0 { all.len().saturating_sub(distance) } else { distance.min(all.len()) }
    };
    let (from, to) = (place(from), place(to));
    all.get(from..to.max(from)).unwrap_or_default().join("/")
}

/// A legal name of a Kafka topic that looks like the text: `/` becomes `.`, and what Kafka does not allow `_`. One that is too
/// long is no name, because two that are cut may be the same; nor is one that is not for everybody.
pub(crate) fn kafka_topic(text: &str) -> Result<String, String> {
    let name: String = text.trim_matches('/').chars().map(legal).collect();
    if name.len() > LONGEST {
        return Err(format!(
            "its Kafka topic would have a name of {} characters, and Kafka takes {LONGEST}: have kafka.topic take some levels \
             of the MQTT topic, such as ${{topic[0]}} or ${{topic[1:3]}}",
            name.len()
        ));
    }
    if INTERNAL.contains(&name.as_str()) {
        return Err(format!(
            "its Kafka topic would be {name}, where Kafka or a worker keeps its own state: have kafka.topic begin with \
             something of yours, as in mqtt.${{topic}}"
        ));
    }
    Ok(if matches!(name.as_str(), "" | "." | "..") { "_".to_owned() } else { name })
}

fn legal(char: char) -> char {
    match char {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => char,
        '/' => '.',
        _ => '_',
    }
}

/// Why the fixed parts of a template can be in no name of a Kafka topic.
pub(crate) fn check_kafka(template: &Template) -> Result<(), String> {
    if let Some(text) = template.texts().find(|text| text.chars().any(|char| char != '/' && legal(char) != char)) {
        return Err(format!("'{text}' cannot be in the name of a Kafka topic: allowed are letters, digits, . _ -"));
    }
    // What does not depend on a message is known now; of the rest its fixed part may be too long already.
    match template.texts().collect::<String>() {
        fixed if template.places().next().is_none() || fixed.len() > LONGEST => kafka_topic(&fixed).map(drop),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fill(template: &str, topic: &str) -> Result<String, String> {
        Template::parse(template)?.fill(&TopicParts { topic, connector: "plant" })
    }

    #[test]
    fn places_are_filled_from_the_topic() {
        for (template, expected) in [
            ("lab", "lab"),
            ("${topic}", "site/a/temp"),
            ("${connector}-${topic[0]}", "plant-site"),
            ("${topic[-1]}.x", "temp.x"),
            ("${topic[1:3]}", "a/temp"),
            ("${topic[1:]}", "a/temp"),
            ("${topic[-2:-1]}", "a"),
            ("${topic[2:1]}", ""),
            ("${topic[9:12]}", ""),
        ] {
            assert_eq!(fill(template, "site/a/temp").as_deref(), Ok(expected), "{template}");
        }
        assert!(fill("${topic[7]}", "a/b").unwrap_err().contains("has no level 7"));
        assert!(fill("${key}", "a/b").is_err());
    }

    #[test]
    fn a_name_of_lenses_is_that_of_its_connector() {
        for (topic, expected) in [("/lab/a/temp", "lab_a_temp"), ("lab/a/b", "laba_b"), ("/a//b/", "a_b_"), ("a", "a")]
        {
            assert_eq!(fill("${topic:lenses}", topic).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn bad_templates_are_refused_with_the_reason() {
        for (template, reason) in [
            ("a${topic", "has no }"),
            ("${tpoic}", "no place of a template"),
            ("${topic[x]}", "no place of a template"),
        ] {
            assert!(Template::parse(template).unwrap_err().contains(reason), "{template}");
        }
        assert!(check_kafka(&Template::parse("lab+${topic}").unwrap()).unwrap_err().contains("'lab+'"));
        assert!(check_kafka(&Template::parse("lab.${topic}").unwrap()).is_ok());
    }

    #[test]
    fn names_of_kafka_topics_are_legal() {
        for (text, expected) in [
            ("site/a b/temp", "site.a_b.temp"),
            ("/site/", "site"),
            ("$SYS/broker", "_SYS.broker"),
            ("//", "_"),
            ("..", "_"),
            ("Maß", "Ma_"),
        ] {
            assert_eq!(kafka_topic(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_name_that_is_too_long_or_not_for_everybody_is_none() {
        assert!(kafka_topic(&format!("a/{}", "x".repeat(247))).is_ok_and(|name| name.len() == LONGEST));
        let error = kafka_topic(&format!("a/{}", "x".repeat(248))).unwrap_err();
        assert!(error.contains("250 characters, and Kafka takes 249: have kafka.topic"), "{error}");
        for text in ["connect-configs", "/connect-status", "__consumer_offsets"] {
            assert!(kafka_topic(text).unwrap_err().contains("keeps its own state"), "{text}");
        }
        assert!(kafka_topic("plant/connect-configs").is_ok());
        let check = |text: &str| check_kafka(&Template::parse(text).unwrap());
        assert!(check("connect-configs").unwrap_err().contains("keeps its own state"));
        assert!(check(&format!("{}${{topic}}", "x".repeat(250))).unwrap_err().contains("Kafka takes 249"));
        assert!(check("connect-${topic}").is_ok(), "which one is known with the message");
    }

    proptest! {
        #[test]
        fn a_topic_has_a_legal_name(topic in ".{0,249}") {
            let name = kafka_topic(&topic).unwrap();
            prop_assert!(!name.is_empty() && name.len() <= LONGEST && name != "." && name != "..");
            prop_assert!(name.chars().all(|char| char.is_ascii_alphanumeric() || "._-".contains(char)));
        }

        #[test]
        fn slices_never_panic(topic in "[a/]{0,9}", from in any::<i32>(), to in any::<i32>()) {
            let part = levels(&topic, from, to);
            prop_assert!(topic.contains(&part));
            let _ = level(&topic, from);
        }
    }
}
