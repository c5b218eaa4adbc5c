//! Whether an answer of ours is Java's, and which known difference it is otherwise.

use pipette_api::ErrorKind;
use serde_json::{Value as Json, json};

use super::notation::{datum, fold, hex, shown, unhex};
use super::{Case, ours};

pub(crate) enum Verdict {
    Same,
    /// A row of [`DEVIATIONS`].
    Known(&'static str),
    /// What we answered.
    Different(Json),
}

/// A difference that is meant.
pub(crate) struct Deviation {
    pub(crate) name: &'static str,
    /// A part of its row in `docs/deviations.md`.
    pub(crate) page: &'static str,
    applies: fn(&Case, &Json, &Json) -> bool,
}

/// The differences between Java's answers and ours. All others are faults.
pub(crate) static DEVIATIONS: &[Deviation] = &[
    Deviation {
        name: "text after white space",
        page: "| header text that starts with white space and is no whole list or map,",
        applies: |case, java, ours| {
            let text = case.0["decode"].as_str().map(unhex).unwrap_or_default();
            let lost = |answer: &Json| answer["value"][1].as_str().map(|text| text.trim().is_empty());
            case.class().ends_with(".SimpleHeaderConverter")
                && text.first().is_some_and(u8::is_ascii_whitespace)
                && lost(java) == Some(true)
                && ours["value"] == json!(["string", String::from_utf8_lossy(&text)])
        },
    },
    Deviation {
        name: "bytes have no text",
        page: "| bytes as text in StringConverter |",
        applies: |case, java, ours| {
            let text = java["bytes"].as_str().map(unhex).unwrap_or_default();
            case.class().ends_with(".StringConverter")
                && String::from_utf8_lossy(&text).contains("[B@")
                && ours["text"].as_str().is_some_and(|text| text.starts_with("bytes have no text form"))
        },
    },
];

pub(crate) fn judge(case: &Case, java: &Json) -> Verdict {
    let ours = answer(case);
    if same(java, &ours) {
        return Verdict::Same;
    }
    match DEVIATIONS.iter().find(|row| (row.applies)(case, java, &ours)) {
        Some(row) => Verdict::Known(row.name),
        None => Verdict::Different(ours),
    }
}

fn answer(case: &Case) -> Json {
    let settings = &case.0["settings"];
    let answer = if let Some(written) = case.0.get("encode") {
        ours::encode(case.class(), settings, &datum(written)).map(|bytes| json!({"bytes": bytes.map(|b| hex(&b))}))
    } else {
        ours::decode(case.class(), settings, case.0["decode"].as_str().map(unhex)).map(|datum| shown(&datum))
    };
    answer.unwrap_or_else(|error| {
        assert_eq!(error.kind(), ErrorKind::Data, "{error}: {}", case.0);
        json!({"error": "DataException", "text": error.to_string()})
    })
}

/// Java throws other exceptions than `DataException` too; the worker treats all of them alike.
fn same(java: &Json, ours: &Json) -> bool {
    match (java["bytes"].as_str(), ours["bytes"].as_str()) {
        _ if java.get("error").is_some() => ours.get("error").is_some(),
        _ if ours.get("error").is_some() => false,
        (Some(java), Some(ours)) => java == ours || same_text(&unhex(java), &unhex(ours)),
        _ => fold(java.clone()) == *ours,
    }
}

/// The same text but for numbers that another Java would print with other digits: 17 does not print the shortest.
fn same_text(java: &[u8], ours: &[u8]) -> bool {
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
