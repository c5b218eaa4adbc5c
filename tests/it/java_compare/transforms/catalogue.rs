//! Where transformations and predicates answer otherwise than Java's on purpose. Each is a row of `docs/deviations.md`.

use serde_json::Value as Json;

use super::super::verdict::Deviation;

pub(crate) static DEVIATIONS: &[Deviation] = &[
    Deviation {
        row: "a configuration that cannot work (InsertField without its pair of keys, RegexRouter's replacement that \
              names no group, a pattern that is none)",
        applies: |_, java, ours| ours.get("refused").is_some() && java.get("refused").is_none(),
    },
    Deviation {
        row: "a struct with a required field that is null",
        applies: |_, java, ours| {
            ours.get("record").is_some() && says(java, "Invalid value: null used for required field")
        },
    },
    Deviation {
        row: "ReplaceField renames `c:a`, `c` is missing, `a` is there",
        applies: |case, java, ours| {
            is(case, "ReplaceField") && ours.get("record").is_some() && says(java, "is not a valid field name")
        },
    },
    Deviation {
        row: "a Date or Time of more than 32 bits in TimestampConverter",
        applies: |case, java, ours| {
            is(case, "TimestampConverter") && java.get("record").is_some() && says(ours, " of 32 bits")
        },
    },
    Deviation {
        row: "a new topic that Kafka does not allow",
        applies: |_, java, ours| java.get("record").is_some() && says(ours, "is no name that Kafka allows for a topic"),
    },
];

/// Rows about what cannot be compared here.
pub(crate) const NOT_COMPARED: [&str; 4] = [
    "regular expressions in RegexRouter and TopicNameMatches",
    "groups that are repeated and can match nothing, `(a*?)+`",
    "ReplaceField, two members of a map get one name",
    "names of time zones in TimestampConverter",
];

fn is(case: &Json, class: &str) -> bool {
    case["class"].as_str().is_some_and(|name| name.contains(class))
}

fn says(answer: &Json, words: &str) -> bool {
    answer["text"].as_str().is_some_and(|text| text.contains(words))
}
