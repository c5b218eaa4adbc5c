use std::sync::Arc;

use pipette_api::data::Span;
use pipette_api::{Blob, Keys, Value};
use proptest::prelude::*;

use super::*;
use crate::{Document, Parser};

/// Where the values are and where the object ends, found without anything known of earlier ones.
fn by_names(document: &Document) -> Option<(Vec<Vec<u8>>, Vec<Span>, usize)> {
    let mut reader = document.reader();
    let (mut names, mut spans) = (Vec::new(), Vec::new());
    reader.open_object().ok()?;
    while let Some(name) = reader.member(spans.is_empty()).ok()? {
        names.push(reader.bytes_of(&name).to_vec());
        reader.position();
        spans.push(reader.span()?);
    }
    Some((names, spans, reader.here()))
}

fn names(keys: &Arc<Keys>) -> Vec<Vec<u8>> {
    let name = |key: &Value| match key {
        Value::String(name) => name.as_bytes().to_vec(),
        other => panic!("{other:?}"),
    };
    keys.iter().map(name).collect()
}

/// Looks at a document in both ways, and reads it as a value if it is not passed. True when it is, or is no object.
fn hold_beside(parser: &mut Parser, text: &[u8]) -> bool {
    let Ok(document) = Document::new(&Blob::whole(text.to_vec()).unwrap()) else { return true };
    let shown = String::from_utf8_lossy(text);
    let (mut reader, mut spans) = (document.reader(), Vec::new());
    let Some(keys) = parser.outline(&mut reader, &mut spans) else {
        assert_eq!(reader.here(), document.reader().here(), "a reader that moved: {shown}");
        let _ = parser.value(&mut reader).map_err(|error| parser.locate(error));
        return by_names(&document).is_none();
    };
    let (expected, places, end) = by_names(&document).unwrap_or_else(|| panic!("passed: {shown}"));
    // Numbers at the end of a document are short ones only where more follows.
    let longer = [document.text().as_bytes(), &[b' '; 16]].concat();
    let (_, other_places, _) = by_names(&Document::new(&Blob::whole(longer).unwrap()).unwrap()).expect("as before");
    assert_eq!((names(&keys), spans.len()), (expected, places.len()), "{shown}");
    for (span, places) in spans.iter().zip(places.iter().zip(&other_places)) {
        let [span, one, other] = [span, places.0, places.1].map(|span| format!("{span:?}"));
        assert!(span == one || span == other, "{span}, not {one} or {other}: {shown}");
    }
    assert_eq!(reader.here(), end, "{shown}");
    assert!(Parser::default().value(&mut document.reader()).is_ok(), "{shown}");
    true
}

const NAMES: [&str; 6] = [
    "a",
    "instrument",
    "of 12 bytes.",
    "a name of 30 bytes, or nearly..",
    "a name of more than 31 bytes, in fact",
    "é",
];

/// Numbers of every form, and what only looks like one.
const NUMBERS: [&str; 48] = [
    "0",
    "-0",
    "00",
    "01",
    "-",
    "--1",
    "1-2",
    "1.",
    ".5",
    "-.5",
    "1..2",
    "1.2.3",
    "1e",
    "1e5",
    "1.5E-3",
    "1e+",
    "+1",
    "/1",
    "1e2147483648",
    "1e99999999999",
    "NaN",
    "-Infinity",
    "0.0",
    "-0.0",
    "0.0001",
    "1.50",
    "12345678.5",
    "1 ",
    " 1",
    "123456789012345",
    "12345678901234",
    "1.23456789012",
    "1.234567890123",
    "1:2",
    "0x1",
    "12",
    "7",
    "-7",
    "-3.5",
    "10.5",
    "20.25",
    "20.20",
    "87654321.5",
    "1234567.5",
    "5.-",
    "9.9",
    "0.9",
    "007",
];

fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (0u64..20_000_000, 0usize..6).prop_map(|(number, places)| {
            let text = format!("{number:0>width$}", width = places + 1);
            let (whole, fraction) = text.split_at(text.len() - places);
            if places == 0 { whole.to_owned() } else { format!("{whole}.{fraction}") }
        }),
        2 => any::<i64>().prop_map(|number| number.to_string()),
        1 => any::<f64>().prop_map(|number| number.to_string()),
        2 => proptest::sample::select(&NUMBERS[..]).prop_map(str::to_owned),
    ]
}

fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-z ]{0,40}",
        1 => "[a-zäµ😀]{0,12}",
        2 => ("[a-z]{0,20}", proptest::sample::select(vec!["\\n", "\\u00e9", "\\x", "\n", "\t", "\u{1}", "\\", "\\\"", "\u{7f}", "\""]), "[a-z]{0,20}")
            .prop_map(|(before, odd, after)| format!("{before}{odd}{after}")),
    ]
    .prop_map(|text| format!("\"{text}\""))
}

fn scalar() -> impl Strategy<Value = String> {
    let word = proptest::sample::select(vec!["true", "false", "null", "tru", "truE", "falsy", "nul", "nulls", ""]);
    prop_oneof![4 => number(), 4 => string(), 1 => word.prop_map(str::to_owned)]
}

fn object(values: impl Strategy<Value = String>, most: usize) -> impl Strategy<Value = String> {
    (proptest::collection::vec(values, 0..=most), 0usize..8).prop_map(|(values, turned)| {
        // The order of the names changes at times.
        let from = usize::from(turned == 0);
        let members = values.iter().zip(NAMES.iter().cycle().skip(from));
        let members: Vec<_> = members.map(|(value, name)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

fn value() -> impl Strategy<Value = String> {
    scalar().prop_recursive(3, 24, 4, |inner| {
        let list = |of: BoxedStrategy<String>| {
            proptest::collection::vec(of, 0..5).prop_map(|values| format!("[{}]", values.join(",")))
        };
        let flat = object(inner.clone(), 3).boxed();
        prop_oneof![2 => list(flat.clone()), 1 => list(inner.boxed()), 1 => flat]
    })
}

/// Objects of the same names, of which one in three is damaged.
fn documents() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let damage = (
        0u8..12,
        any::<prop::sample::Index>(),
        proptest::sample::select(b"{}[]:,\"\\ \n\x01-+.eE059atfn\xc3\xff\0".to_vec()),
    );
    let document = (object(value(), 6), damage).prop_map(|(text, (how, place, byte))| {
        let mut text = text.into_bytes();
        let place = place.index(text.len());
        match how {
            0 => text.truncate(place),
            1 => text[place] = byte,
            2 => text.insert(place, byte),
            3 => drop(text.remove(place)),
            _ => {}
        }
        text
    });
    proptest::collection::vec(document, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_passed_is_what_a_reader_finds(documents in documents()) {
        let mut parser = Parser::default();
        for text in &documents {
            // The first time it may be learnt, the second time it is like one that was.
            hold_beside(&mut parser, text);
            hold_beside(&mut parser, text);
        }
    }
}

#[test]
fn records_like_earlier_ones_are_passed_to_their_end() {
    let record = |number: usize| {
        format!(
            r#"{{"id":{number},"name":"no. {number}","long":"{0}","part":{1}.5,"ok":{2},"none":null,"of":[{{"n":"{number}","x":{number}}},{{"n":"b","x":0.25}}],"one":{{"two":{{"three":{number}}}}},"list":[1,2,"x"],"last":[{{"y":true}}]}}"#,
            "x".repeat(number % 50),
            number % 1000,
            number.is_multiple_of(3),
        )
    };
    let (mut parser, mut copy) = (Parser::default(), Vec::new());
    for number in 0..10 {
        hold_beside(&mut parser, record(number * 37).as_bytes());
    }
    let seams = [
        "{\"id\":",
        ",\"name\":",
        ",\"long\":",
        ",\"part\":",
        ",\"ok\":",
        ",\"none\":",
        ",\"of\":",
        ",\"one\":",
        ",\"list\":",
        ",\"last\":",
    ];
    let mut steps: Vec<Step> = seams.iter().map(|seam| Step::new(seam.as_bytes())).collect();
    for number in 0..200 {
        let (text, mut spans) = (record(number * 7919), Vec::new());
        let mut passing = Passer::new(text.as_bytes(), &mut copy);
        let end = passing.members(&mut steps, 0, &mut spans);
        assert_eq!((end, spans.len()), (text.len() - 1, seams.len()), "{text}");
        let learnt = passing.learnt;
        // Three levels of objects inside are learnt one after the other.
        assert!(number < 3 || learnt == 0, "{learnt} bytes at {number}");
    }
}

/// Reads each of these values after each other one, as a member and inside of one: every document that is JSON is passed.
fn hold_all_beside(values: &[String]) {
    let text = |value: &str| format!(r#"{{"a":{value},"of":[{{"b":{value}}}],"c":"what stands behind"}}"#);
    for first in values {
        let mut parser = Parser::default();
        hold_beside(&mut parser, text("1").as_bytes());
        for value in values.iter().flat_map(|second| [first, second]) {
            let passed = hold_beside(&mut parser, text(value).as_bytes());
            assert!(passed || value.starts_with(' ') || value.ends_with(' '), "not passed: {value}");
        }
    }
}

#[test]
fn after_any_number_every_other_is_looked_at_anew() {
    hold_all_beside(&NUMBERS.map(str::to_owned));
}

#[test]
fn after_any_string_every_other_is_looked_at_anew() {
    let long = "x".repeat(40);
    let around = |len: usize| {
        ["\"", "\\", "\\\"", "\n", "\u{1}", "é", "x"]
            .map(|odd| format!("\"{}{odd}{}\"", &long[..len], &long[..len % 5]))
    };
    hold_all_beside(&(0..34).step_by(3).flat_map(around).collect::<Vec<_>>());
}

#[test]
fn white_space_before_a_value_is_no_part_of_it() {
    let mut parser = Parser::default();
    for text in ["{\"a\":1}", "{\"a\": 1}", "{\"a\": null}", "{\"a\":\ttrue}", "{\"a\": 1.50 }"] {
        hold_beside(&mut parser, text.as_bytes());
    }
}

#[test]
fn what_is_never_alike_is_not_learnt_for_ever() {
    let (mut parser, mut copy, mut learnt) = (Parser::default(), Vec::new(), 0);
    let mut steps = [Step::new(b"{\"of\":")];
    for number in 0..5000 {
        let text = format!(r#"{{"of":[{{"k{number}":1}}]}}"#);
        let mut passing = Passer::new(text.as_bytes(), &mut copy);
        assert_eq!(passing.members(&mut steps, 0, &mut Vec::new()), text.len() - 1);
        learnt += passing.learnt;
        hold_beside(&mut parser, text.as_bytes());
    }
    assert!(learnt < 20 * size_of::<Step>(), "{learnt}");
    let size = format!("{parser:?}").len();
    assert!(size < 1 << 16, "{size}");
}

#[test]
fn objects_of_another_kind_now_and_then_change_nothing() {
    let (mut copy, mut learnt) = (Vec::new(), 0);
    let mut steps = [Step::new(b"{\"of\":")];
    for number in 0..1000 {
        let of = if number % 2 == 0 { r#"[{"a":1},{"a":2}]"# } else { r#"[{"a":1},{"b":2}]"# };
        let text = format!(r#"{{"of":{of}}}"#);
        let mut passing = Passer::new(text.as_bytes(), &mut copy);
        assert_eq!(passing.members(&mut steps, 0, &mut Vec::new()), text.len() - 1);
        learnt += passing.learnt;
    }
    assert_eq!(learnt, size_of::<Step>(), "the first one is learnt, and nothing else");
}
