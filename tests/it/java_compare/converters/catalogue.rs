//! Where converters answer otherwise than Java's on purpose. Each is a row of `docs/deviations.md`.

use serde_json::{Value as Json, json};

use super::super::notation::{fold, has_halves, hex, unhex};
use super::super::verdict::{Deviation, same_text};
use super::ours;

pub(crate) static DEVIATIONS: &[Deviation] = &[
    Deviation {
        row: "header text that starts with white space and is no whole list or map, ` [x`",
        applies: |case, java, ours| {
            let text = read(case);
            let blank = |text: &str| text.bytes().all(|byte| byte <= b' ');
            let lost = |answer: &Json| answer["value"][1].as_str().map(blank);
            is(case, "SimpleHeaderConverter")
                && text.first().is_some_and(|byte| *byte <= b' ')
                && lost(java) == Some(true)
                && is_text(ours, &text)
        },
    },
    Deviation { row: "header text with digits of other scripts, `1٣`", applies: of_other_scripts },
    Deviation {
        row: "header bytes that are not UTF-8",
        applies: |case, java, ours| {
            let bytes = read(case);
            is(case, "SimpleHeaderConverter")
                && str::from_utf8(&bytes).is_err()
                && java.get("error").is_none()
                && ours["value"] == json!(["bytes", hex(&bytes)])
        },
    },
    Deviation {
        row: "lists and maps in header text, nested deeper than 100 levels",
        applies: |case, java, ours| {
            let text = read(case);
            let opening = text.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
            is(case, "SimpleHeaderConverter") && opening > 100 && java.get("error").is_none() && is_text(ours, &text)
        },
    },
    Deviation {
        row: "numbers of more than 1,000 digits in header text",
        applies: |case, java, ours| {
            let text = read(case);
            let digits = text.iter().filter(|byte| byte.is_ascii_digit()).count();
            is(case, "SimpleHeaderConverter") && digits > 990 && java.get("error").is_none() && is_text(ours, &text)
        },
    },
    Deviation {
        row: "values nested deeper than 1,000 levels as text",
        applies: |_, java, ours| {
            java.get("bytes").is_some() && says(ours, "nested deeper than 1000 levels has no text")
        },
    },
    Deviation {
        row: "bytes as text in StringConverter",
        applies: |case, java, ours| {
            is(case, "StringConverter")
                && String::from_utf8_lossy(&written(java)).contains("[B@")
                && says(ours, "bytes have no text form")
        },
    },
    Deviation {
        row: "NaN in DoubleConverter",
        applies: |case, java, ours| {
            let number = written(ours).try_into().map(f64::from_be_bytes);
            is(case, "DoubleConverter") && java["bytes"] == "7ff8000000000000" && number.is_ok_and(f64::is_nan)
        },
    },
    Deviation { row: "half of a surrogate pair, `\\ud83d` in JSON", applies: half_of_a_pair },
    Deviation {
        row: "JSON in malformed UTF-8, UTF-16 or UTF-32",
        applies: |_, java, ours| java.get("error").is_none() && says(ours, "is not valid UTF-"),
    },
    Deviation {
        row: "`true`, `false` or `null`, followed by a character beyond ASCII",
        applies: |_, java, ours| {
            java.get("error").is_none()
                && ["E", "C", "D", "F"]
                    .iter()
                    .any(|digit| says(ours, &format!("expected white space or the end, found byte 0x{digit}")))
        },
    },
    Deviation {
        row: "1,001 digits at the end of JSON in UTF-16 or UTF-32",
        applies: |case, java, ours| {
            java.get("error").is_none() && read(case).contains(&0) && says(ours, "a number has more than 1000 digits")
        },
    },
    Deviation {
        row: "a payload of another type as an element that is a required string or bytes",
        applies: |_, java, ours| {
            java.get("error").is_none() && says(ours, "Invalid value: null used for required field")
        },
    },
    Deviation {
        row: "JSON schemas nested deeper than 100 levels",
        applies: |_, java, ours| {
            java.get("error").is_none() && says(ours, "a schema nested deeper than 100 levels is refused")
        },
    },
    Deviation {
        row: "equal keys of bytes in a map",
        applies: |_, java, ours| {
            let once = fold(once(java.clone()));
            java.get("error").is_none() && once != fold(java.clone()) && once == *ours
        },
    },
    Deviation {
        row: "an empty document with `schema.content`",
        applies: |case, java, ours| {
            java.get("error").is_none()
                && read(case).iter().all(|byte| *byte <= b' ' || *byte >= 0xEF)
                && says(ours, "found MISSING")
        },
    },
    Deviation {
        row: "Date, Time and Timestamp under each other's schemas",
        applies: |_, java, ours| {
            let found = ["but was a Date", "but was a Time", "but was a Timestamp"];
            java.get("bytes").is_some() && found.iter().any(|found| says(ours, found))
        },
    },
];

/// Rows about what cannot be compared here: other time zones, and what Java does not have.
pub(crate) const NOT_COMPARED: [&str; 4] = [
    "`converter.encoding` of StringConverter",
    "a lone surrogate in UTF-32 text",
    "dates in text",
    "a value that does not fit in memory (payload)",
];

fn is(case: &Json, class: &str) -> bool {
    case["class"].as_str().is_some_and(|name| name.ends_with(class))
}

/// The bytes that were read.
fn read(case: &Json) -> Vec<u8> {
    case["decode"].as_str().map(unhex).unwrap_or_default()
}

fn written(answer: &Json) -> Vec<u8> {
    answer["bytes"].as_str().map(unhex).unwrap_or_default()
}

fn says(answer: &Json, words: &str) -> bool {
    answer["text"].as_str().is_some_and(|text| text.contains(words))
}

fn is_text(answer: &Json, text: &[u8]) -> bool {
    answer["value"] == json!(["string", String::from_utf8_lossy(text)])
}

/// With the last of equal keys only.
fn once(json: Json) -> Json {
    let Json::Array(parts) = json else {
        let Json::Object(members) = json else { return json };
        return members.into_iter().map(|(name, member)| (name, once(member))).collect();
    };
    let mut parts: Vec<Json> = parts.into_iter().map(once).collect();
    if let [tag, Json::Array(entries)] = parts.as_mut_slice()
        && tag == "map"
    {
        let all = entries.clone();
        let mut index = 0;
        entries.retain(|entry| {
            index += 1;
            all[index..].iter().all(|later| later[0] != entry[0])
        });
    }
    Json::Array(parts)
}

/// With those digits replaced, Java's answer is ours.
fn of_other_scripts(case: &Json, java: &Json, _: &Json) -> bool {
    let Ok(text) = String::from_utf8(read(case)) else { return false };
    let digit = |character: char| match u32::from(character) {
        code @ 0x660..=0x669 => char::from_digit(code - 0x660, 10),
        code @ 0xFF10..=0xFF19 => char::from_digit(code - 0xFF10, 10),
        code @ 0x1D7CE..=0x1D7D7 => char::from_digit(code - 0x1D7CE, 10),
        _ => None,
    };
    let replaced: String = text.chars().map(|character| digit(character).unwrap_or(character)).collect();
    let mut other = case.clone();
    other["decode"] = json!(hex(replaced.as_bytes()));
    is(case, "SimpleHeaderConverter") && replaced != text && ours::answer(&other) == fold(java.clone())
}

/// Where Java has half of a pair, or refuses it in a name, we have U+FFFD.
fn half_of_a_pair(case: &Json, java: &Json, ours: &Json) -> bool {
    if case.get("encode").is_some() {
        let (Ok(java), Ok(ours)) = (String::from_utf8(written(java)), String::from_utf8(written(ours))) else {
            return false;
        };
        let asked = |text: &str| text.replace(char::REPLACEMENT_CHARACTER, "?").into_bytes();
        let as_text = || same_text(&asked(&java), &asked(&ours));
        return has_halves(case) && (same_text(mended(&java).as_bytes(), ours.as_bytes()) || as_text());
    }
    // Zeros are half of UTF-16's bytes.
    let bytes: Vec<u8> = read(case).into_iter().filter(|byte| *byte != 0).collect();
    let refused = java.get("error").is_some() && ours.get("error").is_none();
    has_halves(java) && fold(java.clone()) == *ours || refused && is_in_a_name(&String::from_utf8_lossy(&bytes))
}

/// JSON text, U+FFFD where there was an escape of half a pair.
fn mended(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = match (half_at(rest), rest.get(6..).and_then(half_at)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(_), _) => {
                out.push(char::REPLACEMENT_CHARACTER);
                rest = &rest[6..];
                continue;
            }
            (None, _) => rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at),
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out + rest
}

/// The surrogate whose escape the text starts with.
fn half_at(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u32::from_str_radix(digits, 16).ok().filter(|unit| (0xD800..0xE000).contains(unit))
}

/// Whether a string before a colon has such an escape.
fn is_in_a_name(json: &str) -> bool {
    let mut rest = json;
    while let Some(start) = rest.find('"') {
        rest = &rest[start + 1..];
        let mut end = 0;
        while end < rest.len() && !rest[end..].starts_with('"') {
            let width = if rest[end..].starts_with('\\') { 2 } else { 1 };
            end = rest.char_indices().map(|(at, _)| at).find(|at| *at >= end + width).unwrap_or(rest.len());
        }
        let (string, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        if rest.trim_start().starts_with(':') && mended(string) != string {
            return true;
        }
    }
    false
}
