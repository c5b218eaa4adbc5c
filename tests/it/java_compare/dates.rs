//! Java's `SimpleDateFormat`: any pattern, times written by it, and texts read by it.

use pipette_java::DateFormat;
use serde_json::{Value as Json, json};

use super::chance::Chance;
use super::comparison::{Case, Comparison};
use super::verdict::Deviation;

pub(crate) const MEMBERS: [&str; 2] = ["write", "read"];

pub(crate) static DATES: Comparison =
    Comparison { name: "dates", main: "Dates", case, ours: answer, deviations: DEVIATIONS, sources: &[] };

static DEVIATIONS: &[Deviation] = &[];

const PATTERNS: [&str; 18] = [
    "yyyy-MM-dd",
    "yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    "yyyy-MM-dd HH:mm:ss.SSS z",
    "yyyyMMddHHmmssSSS",
    "yyyyMMdd",
    "dd/MM/yy",
    "d.M.y H:m:s",
    "EEE, d MMM yyyy HH:mm:ss Z",
    "EEEE, MMMM dd, yyyy G hh:mm a",
    "YYYY-'W'ww-u",
    "yyyy-DDD",
    "yyyy MM W u",
    "yyyy MM F E",
    "yyyy ww E",
    "kk:mm K:mm a X",
    "HHmmss",
    "MMMdyy",
    "G y",
];

const LETTERS: &str = "GyMdkHmsSEDFwWahKzZYuXL";

fn case(number: u64) -> Case {
    let mut chance = Chance::of(number);
    let member = MEMBERS[chance.below(2)];
    let pattern = pattern(&mut chance);
    let time = time(&mut chance);
    let task = if member == "write" {
        json!({"pattern": pattern, "write": time.to_string()})
    } else {
        json!({"pattern": pattern, "read": text(&mut chance, &pattern, time)})
    };
    Case { member: member.to_owned(), task }
}

fn pattern(chance: &mut Chance) -> String {
    if chance.one_in(2) {
        return chance.pick(&PATTERNS).to_owned();
    }
    let mut pattern = String::new();
    for _ in 0..=chance.below(6) {
        match chance.below(12) {
            0 => pattern.push_str(chance.pick(&["'T'", "''", "'o''clock'", "'", "b", "'é'", "日"])),
            1..=4 => pattern.push_str(chance.pick(&["-", ":", " ", ".", "/", ", ", "+"])),
            _ => {
                let letter = chance.pick(LETTERS.as_bytes()) as char;
                pattern.extend(std::iter::repeat_n(letter, chance.pick(&[1, 1, 2, 2, 2, 3, 3, 4, 5])));
            }
        }
    }
    pattern
}

pub(crate) fn time(chance: &mut Chance) -> i64 {
    match chance.below(8) {
        0 => chance.bits(),
        1 => chance.pick(&[-12_219_292_800_000, -62_135_596_800_000, 951_782_400_000, 0]) + chance.bits() % 100_000_000,
        2 | 3 => chance.bits() % 100_000_000_000_000,
        _ => chance.bits().rem_euclid(4_000_000_000_000),
    }
}

/// A text that the pattern may have written, often damaged.
pub(crate) fn text(chance: &mut Chance, pattern: &str, time: i64) -> String {
    let mut text = String::new();
    if let Ok(format) = DateFormat::new(pattern) {
        format.format(time, &mut text);
    }
    for _ in 0..chance.pick(&[0, 0, 1, 1, 2, 3]) {
        damage(chance, &mut text);
    }
    text
}

fn damage(chance: &mut Chance, text: &mut String) {
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect();
    let (a, b) = (chance.pick(&places), chance.pick(&places));
    let (start, end) = (a.min(b), a.max(b));
    match chance.below(7) {
        0 => text.truncate(end),
        1 => text.insert_str(start, chance.pick(&[" ", "\t", "-", "+", "0", "٣", "９", "99", "x", "NaN", "E3", "∞"])),
        2 if end - start < 5 => text.replace_range(start..end, ""),
        3 => *text = text.to_uppercase(),
        4 => text.push_str(chance.pick(&[" ", "0", "1", "Z", "+0200", "-07:30", "GMT", "gmt+2:00", "UTC", "tail"])),
        5 => {
            let digit = text[start..].find(|c: char| c.is_ascii_digit()).map(|at| start + at);
            if let Some(at) = digit {
                text.replace_range(at..=at, chance.pick(&["0", "1", "5", "9", "12", "٧"]));
            }
        }
        _ => *text = text.replace("UTC", chance.pick(&["+0100", "GMT", "GMT-3:30", "utc", "Utc", "-2359", "+2400"])),
    }
}

fn answer(task: &Json) -> Json {
    let format = match DateFormat::new(task["pattern"].as_str().unwrap()) {
        Ok(format) => format,
        Err(reason) => return json!({"refused": "IllegalArgumentException", "text": reason}),
    };
    if let Some(time) = task["write"].as_str() {
        let mut text = String::new();
        format.format(time.parse().unwrap(), &mut text);
        return json!({"text": text});
    }
    match format.parse(task["read"].as_str().unwrap()) {
        Some(time) => json!({"time": time.to_string()}),
        None => json!({"error": "ParseException"}),
    }
}
