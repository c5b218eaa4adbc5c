//! JSON documents: values of any shape, schemas that are right or nearly so, payloads that fit or contradict, and damage.

use super::chance::Chance;

const STRINGS: [&str; 22] = [
    "",
    "a",
    "b",
    "12",
    "true",
    "NaN",
    "Infinity",
    "AJw=",
    "/w",
    "!!",
    "grüße",
    "😀",
    "日本",
    "\\u0041",
    "\\ud83d\\ude00",
    "\\ud83d",
    "\\uDE00x",
    "\\ud83d\\u0041",
    "\\n\\t\\/\\\\\\\"",
    "\\u0000",
    "\u{7f}\u{2028}",
    "x\\ud83d\\ud83d\\ude00",
];

const TYPES: [&str; 18] = [
    "int8", "int16", "int32", "int64", "float", "double", "boolean", "string", "bytes", "array", "map", "struct",
    "array", "map", "struct", "struct", "float32", "strange",
];

const LOGICAL: [(&str, &str); 4] = [("Decimal", "bytes"), ("Date", "int32"), ("Time", "int32"), ("Timestamp", "int64")];

pub(crate) fn string(chance: &mut Chance) -> String {
    let parts = 1 + chance.below(2);
    let text: String = (0..parts).map(|_| chance.pick(&STRINGS)).collect();
    format!("\"{text}\"")
}

/// Numbers of every layout, of up to a thousand digits and a little more, with exponents up to and beyond what Java reads.
pub(crate) fn number(chance: &mut Chance) -> String {
    let sign = chance.pick(&["", "", "", "-"]);
    let whole = match chance.below(4) {
        0 => chance.digits(),
        1 => chance.bits().unsigned_abs().to_string(),
        2 => chance.pick(&["0", "1", "127", "128", "300", "32768", "2147483648", "9223372036854775808", "007"]).into(),
        _ => chance.below(1000).to_string(),
    };
    let fraction = if chance.one_in(3) { format!(".{}", chance.digits()) } else { String::new() };
    let exponent = match chance.below(12) {
        0 => chance
            .pick(&["e5", "E+10", "e-3", "e38", "e39", "e308", "e309", "e-324", "e-400", "e1000000000"])
            .to_owned(),
        1 => format!("e{}", chance.bits()),
        2 => chance.pick(&["e2147483647", "e2147483648", "e-2147483646", "e-2147483648", "e00000000007"]).to_owned(),
        _ => String::new(),
    };
    format!("{sign}{whole}{fraction}{exponent}")
}

fn blank(chance: &mut Chance) -> &'static str {
    if chance.one_in(12) { chance.pick(&[" ", "\n", "\t", "\r\n", "\u{c}", "\u{a0}"]) } else { "" }
}

pub(crate) fn value(chance: &mut Chance, depth: usize) -> String {
    let kinds = if depth == 0 { 6 } else { 9 };
    let text = match chance.below(kinds) {
        0 | 1 => number(chance),
        2 | 3 => string(chance),
        4 => chance.pick(&["true", "false"]).to_owned(),
        5 => chance.pick(&["null", "null", "null", "NaN", "nul", "True", "'a'"]).to_owned(),
        6 => array(&(0..chance.below(4)).map(|_| value(chance, depth - 1)).collect::<Vec<_>>()),
        _ => object(chance, depth),
    };
    format!("{}{text}{}", blank(chance), blank(chance))
}

fn array(elements: &[String]) -> String {
    format!("[{}]", elements.join(","))
}

/// Names are few, so that some come twice.
fn object(chance: &mut Chance, depth: usize) -> String {
    let members: Vec<String> = (0..chance.below(5))
        .map(|_| {
            let name = chance.pick(&["a", "b", "\\u0061", "schema", "payload", "", "ü"]);
            format!("\"{name}\":{}", value(chance, depth - 1))
        })
        .collect();
    format!("{{{}}}", members.join(","))
}

/// A schema and a payload for it. The schema may be wrong, the payload may contradict it.
pub(crate) fn typed(chance: &mut Chance, depth: usize) -> (String, String) {
    let (mut members, payload) = if chance.one_in(4) { logical(chance) } else { of_type(chance, depth) };
    let optional = chance.one_in(2);
    if optional || chance.one_in(2) {
        members.push(format!("\"optional\":{optional}"));
    }
    attributes(chance, &mut members, &payload);
    if chance.one_in(25) {
        let at = chance.below(members.len());
        let member = chance.pick(&["type", "items", "fields", "optional", "name", "version", "parameters", "default"]);
        members.insert(at, format!("\"{member}\":{}", value(chance, 1)));
    }
    if chance.one_in(40) {
        let at = chance.below(members.len());
        members.remove(at);
    }
    if chance.one_in(6) {
        members.reverse();
    }
    let payload = match chance.below(16) {
        0 | 1 => "null".to_owned(),
        2 | 3 => value(chance, 2),
        _ => payload,
    };
    (format!("{{{}}}", members.join(",")), payload)
}

fn attributes(chance: &mut Chance, members: &mut Vec<String>, payload: &str) {
    if chance.one_in(8) {
        members.push(format!("\"version\":{}", chance.pick(&["1", "0", "-3", "2147483648", "1.0", "\"1\"", "null"])));
    }
    if chance.one_in(8) {
        members.push(format!("\"doc\":{}", string(chance)));
    }
    if chance.one_in(8) {
        let value = if chance.one_in(6) { value(chance, 0) } else { string(chance) };
        members.push(format!("\"parameters\":{{\"allowed\":\"a,b\",{}:{value}}}", string(chance)));
    }
    if chance.one_in(5) {
        let default = if chance.one_in(3) { value(chance, 1) } else { payload.to_owned() };
        members.push(format!("\"default\":{default}"));
    }
}

fn logical(chance: &mut Chance) -> (Vec<String>, String) {
    let (name, kind) = chance.pick(&LOGICAL);
    let kind = if chance.one_in(12) { chance.pick(&TYPES[..9]) } else { kind };
    let mut members =
        vec![format!("\"type\":\"{kind}\""), format!("\"name\":\"org.apache.kafka.connect.data.{name}\"")];
    if name == "Decimal" && !chance.one_in(10) {
        let scale = chance.pick(&["0", "2", "2", "-3", "+2", "400", "2147483647", "2147483648", "x", "", " 1"]);
        members.push(format!("\"parameters\":{{\"scale\":\"{scale}\"}}"));
    }
    let payload = match chance.below(4) {
        0 => number(chance),
        1 if name == "Decimal" => {
            chance.pick(&["\"AJw=\"", "\"AQ\"", "\"\"", "\"/////w==\"", "\"!\"", "\"AJw\"", "\"A Jw=\""]).to_owned()
        }
        _ => {
            chance.pick(&["0", "-1", "86400000", "86399999", "-719529", "2147483647", "-2147483648", "1.0"]).to_owned()
        }
    };
    (members, payload)
}

fn of_type(chance: &mut Chance, depth: usize) -> (Vec<String>, String) {
    let kind = if depth == 0 { chance.pick(&TYPES[..9]) } else { chance.pick(&TYPES) };
    let mut members = vec![format!("\"type\":\"{kind}\"")];
    if chance.one_in(10) {
        members.push(format!("\"name\":{}", string(chance)));
    }
    let payload = match kind {
        "boolean" => chance.pick(&["true", "false"]).to_owned(),
        "string" => string(chance),
        "bytes" => {
            chance.pick(&["\"\"", "\"AJw=\"", "\"AQID\"", "\"AQ\"", "\"A\"", "\"_-8=\"", "\"AJw=\\n\""]).to_owned()
        }
        "array" => {
            let (items, element) = typed(chance, depth - 1);
            members.push(format!("\"items\":{items}"));
            array(&vec![element; chance.below(3)])
        }
        "map" => map(chance, depth, &mut members),
        "struct" => record(chance, depth, &mut members),
        _ => number(chance),
    };
    (members, payload)
}

fn map(chance: &mut Chance, depth: usize, members: &mut Vec<String>) -> String {
    let text_keys = chance.one_in(2);
    let (keys, mut key) =
        if text_keys { ("{\"type\":\"string\"}".to_owned(), string(chance)) } else { typed(chance, (depth - 1) / 2) };
    let (values, value) = typed(chance, depth - 1);
    members.push(format!("\"keys\":{keys}"));
    members.push(format!("\"values\":{values}"));
    let separator = if text_keys { ":" } else { "," };
    let entries: Vec<String> = (0..chance.below(4))
        .map(|_| {
            if text_keys && chance.one_in(2) {
                key = string(chance);
            }
            format!("{key}{separator}{value}")
        })
        .collect();
    if text_keys {
        return format!("{{{}}}", entries.join(","));
    }
    let odd =
        if chance.one_in(12) { chance.pick(&["[]", "[1]", "[1,2,3]", "{}", "1"]).to_owned() } else { String::new() };
    let pairs = entries.iter().map(|entry| format!("[{entry}]"));
    array(&pairs.chain((!odd.is_empty()).then_some(odd)).collect::<Vec<_>>())
}

fn record(chance: &mut Chance, depth: usize, members: &mut Vec<String>) -> String {
    let (mut fields, mut values) = (Vec::new(), Vec::new());
    for at in 0..chance.below(4) {
        let (schema, value) = typed(chance, depth - 1);
        let name = if chance.one_in(12) {
            chance.pick(&["\"f0\"", "\"\"", "1", "null", "\"\\ud800\""]).to_owned()
        } else {
            format!("\"{}{at}\"", chance.pick(&["f", "ü", "payload"]))
        };
        let body = schema.trim_start_matches('{').trim_end_matches('}');
        let whole = if schema.matches('}').count() == 1 && !body.is_empty() && chance.one_in(4) {
            format!("{{\"field\":{name},{body}}}")
        } else {
            format!("{},\"field\":{name}}}", schema.strip_suffix('}').unwrap())
        };
        fields.push(whole);
        if !chance.one_in(6) && name.starts_with('"') {
            values.push(format!("{name}:{value}"));
        }
    }
    if chance.one_in(8) {
        values.push(format!("{}:{}", string(chance), value(chance, 1)));
    }
    members.push(format!("\"fields\":[{}]", fields.join(",")));
    format!("{{{}}}", values.join(","))
}

/// Brackets, near Java's limit of a thousand levels and elsewhere.
pub(crate) fn deep(chance: &mut Chance) -> String {
    let depth = if chance.one_in(2) { 985 + chance.below(20) } else { chance.below(1200) };
    let (mut open, mut close) = (String::new(), Vec::new());
    for _ in 0..depth {
        let array = chance.one_in(2);
        open.push_str(if array { "[" } else { "{\"k\":" });
        close.push(if array { "]" } else { "}" });
    }
    close.reverse();
    let inner = if chance.one_in(20) { String::new() } else { number(chance) };
    format!("{open}{inner}{}", close.concat())
}

/// A schema of so many levels.
pub(crate) fn deep_schema(chance: &mut Chance, levels: usize) -> (String, String) {
    let (mut schema, mut payload) = ("{\"type\":\"int8\"}".to_owned(), "1".to_owned());
    for _ in 1..levels {
        if chance.one_in(2) {
            schema = format!("{{\"type\":\"array\",\"items\":{schema}}}");
            payload = format!("[{payload}]");
        } else {
            schema = format!("{{\"type\":\"map\",\"keys\":{{\"type\":\"string\"}},\"values\":{schema}}}");
            payload = format!("{{\"k\":{payload}}}");
        }
    }
    (schema, payload)
}

/// A name as long as Java takes, or one character longer.
pub(crate) fn long_name(chance: &mut Chance) -> String {
    format!("{{\"{}\":1}}", "n".repeat(49_999 + chance.below(3)))
}

/// The text in bytes of any encoding that Java recognises, sometimes damaged.
pub(crate) fn encoded(chance: &mut Chance, text: &str) -> Vec<u8> {
    let mut bytes = match chance.below(20) {
        0 => wide(chance, text),
        1 => narrow(chance, text),
        2 => [&b"\xEF\xBB\xBF"[..], text.as_bytes()].concat(),
        _ => text.as_bytes().to_vec(),
    };
    if bytes.is_empty() {
        return bytes;
    }
    let at = chance.below(bytes.len());
    match chance.below(30) {
        0 => bytes[at] = chance.pick(b"0{}[]\",: an"),
        1 => bytes.truncate(at),
        2 => {
            let bad: &[u8] = chance.pick(&[
                &b"\xED\xA0\x80"[..],
                b"\xED\xA0\xBD\xED\xB8\x80",
                b"\xC0\x80",
                b"\xC1\xA1",
                b"\xE0\x80\x80",
                b"\xF0\x80\x80\x80",
                b"\xF4\x90\x80\x80",
                b"\xF8\x88\x80\x80\x80",
                b"\xE2\x82",
                b"\x80",
                b"\xFF",
            ]);
            bytes.splice(at..at, bad.iter().copied());
        }
        3 => bytes.extend_from_slice(chance.pick(&[&b" x"[..], b"x", b" \xFF", b"]", b" {", b"\0", b",1"])),
        _ => {}
    }
    bytes
}

/// UTF-16 of either byte order, with or without a mark, now and then with half a pair in it.
fn wide(chance: &mut Chance, text: &str) -> Vec<u8> {
    let mut units: Vec<u16> = text.encode_utf16().collect();
    if chance.one_in(2) {
        units.insert(0, 0xFEFF);
    }
    if chance.one_in(10) {
        let at = chance.below(units.len() + 1);
        units.insert(at, chance.pick(&[0xD83D, 0xDE00]));
    }
    let big = chance.one_in(2);
    units.iter().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}

/// UTF-32 likewise.
fn narrow(chance: &mut Chance, text: &str) -> Vec<u8> {
    let mut units: Vec<u32> = text.chars().map(u32::from).collect();
    if chance.one_in(2) {
        units.insert(0, 0xFEFF);
    }
    if chance.one_in(10) {
        let at = chance.below(units.len() + 1);
        units.insert(at, chance.pick(&[0xD83D, 0x11_0000, 0xFFFF_FFFF]));
    }
    let big = chance.one_in(2);
    units.iter().flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
}
