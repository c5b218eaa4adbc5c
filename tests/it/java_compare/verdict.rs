//! Whether an answer of ours is Java's, and which known difference it is otherwise. An answer is bytes in hex, any JSON in
//! the notation, or what was thrown instead: `error` for a record, `refused` for settings.

use std::error::Error;
use std::iter::successors;

use pipette_api::{ConnectError, ErrorKind};
use serde_json::{Value as Json, json};

use super::notation::{fold, unhex};

pub(crate) enum Verdict {
    Same,
    /// The name of a [`Deviation`].
    Known(&'static str),
    /// What we answered.
    Different(Json),
}

/// A difference that is meant.
pub(crate) struct Deviation {
    /// The `what` of its row in `docs/deviations.md`.
    pub(crate) row: &'static str,
    /// Whether it explains why a case (first) has this answer of Java's (second) and that of ours.
    pub(crate) applies: fn(&Json, &Json, &Json) -> bool,
}

pub(crate) fn judge(case: &Json, java: &Json, ours: Json, deviations: &[Deviation]) -> Verdict {
    if same(java, &ours) {
        return Verdict::Same;
    }
    match deviations.iter().find(|known| (known.applies)(case, java, &ours)) {
        Some(known) => Verdict::Known(known.row),
        None => Verdict::Different(ours),
    }
}

/// An error of ours as an answer; it must be the record's, never the configuration's.
pub(crate) fn error(error: &ConnectError) -> Json {
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    let causes = successors(error.source(), |cause: &&dyn Error| (*cause).source());
    let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
    json!({"error": "DataException", "text": text})
}

pub(crate) fn refusal(error: &ConnectError) -> Json {
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    json!({"refused": "ConfigException", "text": error.to_string()})
}

/// Java throws other exceptions than `DataException` too; its worker treats all of them alike, but not its `Error`s.
fn same(java: &Json, ours: &Json) -> bool {
    for failure in ["refused", "error"] {
        match (java.get(failure), ours.get(failure)) {
            (Some(java), Some(_)) => return java.as_str().is_some_and(|name| !name.ends_with("Error")),
            (None, None) => {}
            _ => return false,
        }
    }
    if let (Some(java), Some(ours)) = (java["bytes"].as_str(), ours["bytes"].as_str()) {
        return java == ours || same_text(&unhex(java), &unhex(ours));
    }
    let java = fold(java.clone());
    java == *ours || same_text(java.to_string().as_bytes(), ours.to_string().as_bytes())
}

/// The same text but for numbers that another Java would print with other digits: 17 does not print the shortest.
pub(crate) fn same_text(java: &[u8], ours: &[u8]) -> bool {
    let (Ok(java), Ok(ours)) = (str::from_utf8(java), str::from_utf8(ours)) else { return false };
    let (java, ours) = (tokens(java), tokens(ours));
    java.len() == ours.len() && java.iter().zip(ours).all(|(a, b)| *a == b || same_number(a, b))
}

fn tokens(text: &str) -> Vec<&str> {
    let in_number = |char: char| char.is_ascii_digit() || matches!(char, '.' | 'E' | '-');
    text.split_inclusive(|char| !in_number(char))
        .flat_map(|part| {
            let end = part.trim_end_matches(|char| !in_number(char)).len();
            [&part[..end], &part[end..]]
        })
        .collect()
}

/// A fraction in the same layout: with or without an exponent, and the value as a double or, of few digits, as a float.
fn same_number(java: &str, ours: &str) -> bool {
    let fractions = java.contains('.') && ours.contains('.') && java.contains('E') == ours.contains('E');
    let doubles =
        || java.parse::<f64>().ok().zip(ours.parse::<f64>().ok()).is_some_and(|(a, b)| a.to_bits() == b.to_bits());
    let short = |text: &str| text.split('E').next().unwrap().bytes().filter(u8::is_ascii_digit).count() <= 10;
    let floats =
        || java.parse::<f32>().ok().zip(ours.parse::<f32>().ok()).is_some_and(|(a, b)| a.to_bits() == b.to_bits());
    fractions && (doubles() || short(java) && short(ours) && floats())
}
