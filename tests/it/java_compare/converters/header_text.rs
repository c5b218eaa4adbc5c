//! Header texts: pieces of everything that the parser of `SimpleHeaderConverter` recognises.

use super::super::chance::Chance;

const PIECES: [&str; 58] = [
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"",
    "\\",
    " ",
    "1",
    "127",
    "128",
    "32768",
    "2147483648",
    "9223372036854775808",
    "1.5",
    "1e3",
    "1e39",
    "1e400",
    "1e-400",
    "1e2147483647",
    "1e2147483648",
    "-0.0",
    "007",
    "+5",
    ".5",
    "5.",
    "null",
    "true",
    "false",
    "a",
    "\"a\"",
    "\"b\":",
    "{\"a\":1}",
    "[1,2]",
    "2020-01-02",
    "2020-13-45",
    "0000-00-00",
    "1582-10-10",
    "-001-01-01",
    "T03:04:05.678Z",
    "03:04:05.678Z",
    "23:59:59.999Z",
    "25:61:61.000Z",
    "03\\:04\\:05.678Z",
    "12:30",
    "1L",
    "0x10",
    "1_0",
    "NaN",
    "é",
    "😀",
    "\u{a0}",
    "\t",
    "\u{0}",
    "\"\\u00e9\"",
    "\\n",
    "-",
];

/// Digits of other scripts, which Java takes for digits.
const FOREIGN: [&str; 4] = ["\u{661}\u{662}", "1\u{663}", "\u{ff11}", "\u{1d7ce}"];

pub(crate) fn any(chance: &mut Chance) -> Vec<u8> {
    let text = match chance.below(12) {
        0..=3 => collection(chance, 2),
        4 => deep(chance),
        5 => chance.pick(&["", "-", "+"]).to_owned() + &chance.digits(),
        6 => format!("{}{}", chance.digits(), chance.pick(&["e5", "E-3", "e400", ".5", ".25e-10", " ", ",1", "x"])),
        _ => pieces(chance),
    };
    let mut bytes = text.into_bytes();
    if chance.one_in(30) {
        let at = chance.below(bytes.len() + 1);
        bytes.insert(at, chance.pick(&[0x80, 0xC0, 0xED, 0xFF]));
    }
    bytes
}

fn pieces(chance: &mut Chance) -> String {
    let mut text = String::new();
    for _ in 0..=chance.below(6) {
        match chance.below(40) {
            0..=4 => text.push_str(&chance.text()),
            5 => text.push_str(chance.pick(&FOREIGN)),
            _ => text.push_str(chance.pick(&PIECES)),
        }
    }
    if chance.one_in(3) { format!("{}[{text}]", chance.pick(&["", "", " "])) } else { text }
}

/// A list or map of values, whose types the parser makes one.
fn collection(chance: &mut Chance, depth: usize) -> String {
    let is_map = chance.one_in(3);
    let count = if chance.one_in(50) { 40 } else { chance.below(4) };
    let parts: Vec<String> = (0..count)
        .map(|_| {
            let value = element(chance, depth);
            if is_map { format!("{}:{value}", element(chance, 0)) } else { value }
        })
        .collect();
    let comma = chance.pick(&[",", ",", ",", " , "]);
    if is_map { format!("{{{}}}", parts.join(comma)) } else { format!("[{}]", parts.join(comma)) }
}

fn element(chance: &mut Chance, depth: usize) -> String {
    match chance.below(if depth == 0 { 5 } else { 6 }) {
        0 => chance.pick(&["2020-01-02", "2020-01-02T03:04:05.678Z", "03:04:05.678Z", "null", "true"]).to_owned(),
        1 => chance.pick(&["\"a\"", "\"03:04:05.678Z\"", "\"2020-01-02\"", "1.5", "1e39", "\"b\""]).to_owned(),
        2 => chance.pick(&["9223372036854775808", "16777217", "1.0", "1e400", "{}", "[]"]).to_owned(),
        3 | 4 => chance.bits().to_string(),
        _ => collection(chance, depth - 1),
    }
}

/// Brackets, around the level from which on ours stay text.
fn deep(chance: &mut Chance) -> String {
    let depth = if chance.one_in(2) { 90 + chance.below(20) } else { chance.below(90) };
    if chance.one_in(2) {
        format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
    } else {
        format!("{}1{}", "{\"k\":".repeat(depth), "}".repeat(depth))
    }
}
