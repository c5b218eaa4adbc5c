//! What the reader accepts, refuses and writes back, against Java's recorded behaviour and a second parser.

use pipette_api::{Blob, ErrorKind, Map, Value};
use proptest::prelude::*;

use crate::{Document, MAX_DEPTH, Parser, parse, unique, write};

fn blob(text: impl Into<Vec<u8>>) -> Blob {
    Blob::whole(text.into()).unwrap()
}

fn read(text: &str) -> Value {
    parse(&blob(text)).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refusal(text: &str) -> String {
    let error = parse(&blob(text)).expect_err(text);
    assert_eq!(error.kind(), ErrorKind::Data);
    error.to_string()
}

fn written(value: &Value) -> String {
    let mut out = Vec::new();
    write(value, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn values_have_connects_types() {
    assert_eq!(read("007"), Value::I64(7));
    assert_eq!(read("18446744073709551617"), Value::I64(1));
    assert_eq!(read("1e400"), Value::F64(f64::INFINITY));
    assert_eq!(read("-0.0"), Value::F64(0.0));
    assert_eq!(read(" [true, false ,null,[ ],{ }] "), {
        let empty = Value::Map(Box::default());
        Value::Array(Box::new([Value::Bool(true), Value::Bool(false), Value::Null, Value::Array(Box::new([])), empty]))
    });
}

#[test]
fn long_strings_are_spans_unless_they_have_escapes() {
    let source =
        blob(r#"{"plain":"é text that is long enough","short":"a","made":"\u0041\ud83d\ude00\n\/","lone":"\ud800x"}"#);
    let Value::Map(map) = parse(&source).unwrap() else { panic!("a map") };
    let inside = |value: &Value| {
        let Value::String(text) = value else { panic!("text") };
        source.as_bytes().as_ptr_range().contains(&text.as_bytes().as_ptr())
    };
    assert!(inside(&map.values()[0]));
    assert_eq!(map.get("short").unwrap().as_str(), Some("a"));
    assert_eq!(map.get("made").unwrap().as_str(), Some("A😀\n/"));
    assert_eq!(map.get("lone").unwrap().as_str(), Some("\u{FFFD}x"));
}

#[test]
fn of_equal_names_the_last_value_wins_in_the_first_place() {
    assert_eq!(written(&read(r#"{"a":1,"b":2,"\u0061":3,"b":4,"a":5}"#)), r#"{"a":5,"b":4}"#);
    let many: Vec<String> = (0..200).map(|number| format!("\"k{}\":{number}", number % 100)).collect();
    let Value::Map(map) = read(&format!("{{{}}}", many.join(","))) else { panic!("a map") };
    assert_eq!(map.len(), 100);
    assert_eq!((map.keys().position("k7"), map.get("k7")), (Some(7), Some(&Value::I64(107))));
    let mixed = (0..40).flat_map(|at| [(Value::I8(at), Value::Null), (Value::text(at.to_string()), Value::Null)]);
    assert_eq!(unique(mixed.collect()).len(), 80);
}

#[test]
fn errors_name_the_byte() {
    for (text, expected) in [
        ("", "invalid JSON at byte 0: the text ends where a value should be"),
        ("[1,]", "[1]: invalid JSON at byte 3: expected a value, found ]"),
        ("[1 2]", "[1]: invalid JSON at byte 3: expected a comma or ], found 2"),
        ("{a:1}", "invalid JSON at byte 1: expected a member name in double quotes, found a"),
        ("{\"a\" 1}", "invalid JSON at byte 5: expected a colon, found 1"),
        ("{\"a\":1,}", "a: invalid JSON at byte 7: expected a member name in double quotes, found }"),
        ("nul", "invalid JSON at byte 0: expected a value, found n"),
        ("NaN", "invalid JSON at byte 0: expected a value, found N"),
        ("-", "invalid JSON at byte 1: the text ends where a digit should be"),
        ("1.x", "invalid JSON at byte 2: expected a digit, found x"),
        (".5", "invalid JSON at byte 0: expected a value, found ."),
        ("\"a\u{1}\"", "invalid JSON at byte 2: control characters inside strings must be escaped"),
        (
            "\"\\x\"",
            "invalid JSON at byte 2: expected one of the escapes \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u, found x",
        ),
        ("\"\\u12g4\"", "invalid JSON at byte 1: \\u must be followed by four hexadecimal digits"),
        ("\"abc", "invalid JSON at byte 4: the text ends where the closing quote of a string should be"),
        ("5 6", "invalid JSON at byte 2: expected the end of the document, found 6"),
        ("1e2147483648", "invalid JSON at byte 0: the exponent of a number leaves 32 bits"),
        ("[0.1e-2147483647]", "[0]: invalid JSON at byte 1: the exponent of a number leaves 32 bits"),
        ("\u{c}1", "invalid JSON at byte 0: expected a value, found byte 0x0C"),
    ] {
        assert_eq!(refusal(text), expected, "{text}");
    }
}

#[test]
fn javas_leniency_at_the_end() {
    for (text, accepted) in [
        ("5 6", true),
        ("5x", false),
        ("true]", true),
        ("null\"", true),
        ("truex", false),
        ("true_", false),
        ("trueé", false),
        ("5]", false),
        ("\"a\"b", true),
        ("[1]]", true),
        ("{}x", true),
        ("null\n{", true),
    ] {
        let document = Document::new(&blob(text)).unwrap();
        let mut reader = document.reader();
        let shape = reader.shape().unwrap();
        Parser::default().value(&mut reader).unwrap();
        assert_eq!(reader.finish_leniently(shape).is_ok(), accepted, "{text}");
    }
}

#[test]
fn limits_hold_on_a_small_stack() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let deep = read(&nested(MAX_DEPTH));
    assert_eq!(written(&deep), nested(MAX_DEPTH));
    assert!(refusal(&nested(MAX_DEPTH + 1)).ends_with("nested deeper than 1000 levels"));
    assert!(refusal(&"[{\"a\":".repeat(1_000_000)).contains("nested deeper"));
    let document = Document::new(&blob("{\"a\":[".repeat(1_000_000))).unwrap();
    assert!(document.reader().skip().unwrap_err().to_string().contains("nested deeper"));
    let deeper = Value::Array(Box::new([deep]));
    assert!(write(&deeper, &mut Vec::new()).is_err());
    assert_eq!(read(&"1".repeat(1000)), Value::I64(ones(1000)));
    assert!(refusal(&"1".repeat(1001)).contains("more than 1000 digits"));
    assert!(refusal(&"1".repeat(2_000_000)).contains("more than 1000 digits"));
    let (zeros, ones) = ("0".repeat(1200), "1".repeat(998));
    assert_eq!(read(&format!("-{zeros}7")), Value::I64(-7));
    assert_eq!(read(&format!("{zeros}.{ones}e0")), Value::F64(1.0 / 9.0));
    assert!(refusal(&format!("{zeros}.{ones}e00")).contains("more than 1000 digits"));
    assert!(refusal(&format!("{{\"{}\":1}}", "n".repeat(50_001))).contains("50001 characters is longer than 50000"));
}

fn ones(count: usize) -> i64 {
    (0..count).fold(0i64, |number, _| number.wrapping_mul(10).wrapping_add(1))
}

#[test]
fn text_is_written_as_java_writes_it() {
    let text = "a\"b\\c/\n\r\t\u{8}\u{c}\u{1}\u{1f}\u{7f}\u{85}\u{2028}é中😀 and a longer tail after it";
    let expected =
        "\"a\\\"b\\\\c/\\n\\r\\t\\b\\f\\u0001\\u001F\u{7f}\u{85}\u{2028}é中\\uD83D\\uDE00 and a longer tail after it\"";
    assert_eq!(written(&Value::text(text)), expected);
    assert_eq!(written(&Value::F64(f64::NAN)), "\"NaN\"");
    assert_eq!(written(&Value::F32(f32::NEG_INFINITY)), "\"-Infinity\"");
    assert_eq!(written(&Value::Bytes(blob([0, 156]))), "\"AJw=\"");
    let pairs = Map::from(vec![(Value::I32(1), Value::I32(12)), (Value::I32(2), Value::I32(15))]);
    assert_eq!(written(&Value::Map(Box::new(pairs))), "[[1,12],[2,15]]");
}

/// Values that JSON carries without loss.
fn values() -> impl Strategy<Value = Value> {
    let finite = any::<f64>()
        .prop_filter("JSON has neither NaN nor a negative zero", |x| x.is_finite() && x.to_bits() != 1 << 63);
    let text = prop_oneof!["\\PC{0,20}", any::<String>(), "[a-z]{0,3}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::I64),
        finite.prop_map(Value::F64),
        text.clone().prop_map(Value::text),
    ];
    leaf.prop_recursive(5, 60, 40, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(|values| Value::Array(values.into())),
            proptest::collection::btree_map(text.clone(), inner, 0..40).prop_map(|map| {
                Value::Map(Box::new(map.into_iter().map(|(name, value)| (Value::text(name), value)).collect()))
            }),
        ]
    })
}

/// Pieces of JSON in any order: nearly valid documents.
fn nearly_json() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(vec![
        "{", "}", "[", "]", ":", ",", "\"", "\"a\"", "\"b\\n\"", "\\u00e9", "1", "-2.5e3", "0", "true", "null", " ",
        "é", "\u{1}", ".",
    ]);
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_is_written_reads_back(value in values()) {
        prop_assert_eq!(&read(&written(&value)), &value);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&written(&value)).is_ok());
    }

    #[test]
    fn garbage_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = parse(&blob(bytes));
    }

    #[test]
    fn both_parsers_agree_on_what_is_json(text in nearly_json()) {
        let ours = parse(&blob(text.clone()));
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        // Leading zeros are allowed here, as in Java; they refuse them.
        prop_assert!(ours.is_ok() >= theirs.is_ok(), "{text}");
        let zeros = text.contains("01") || text.contains("00") || text.contains("0-") || text.contains("0t");
        prop_assert!(ours.is_err() || theirs.is_ok() || zeros, "{text}");
        let document = Document::new(&blob(text)).unwrap();
        let mut reader = document.reader();
        let skipped = reader.skip().is_ok() && reader.at_end();
        prop_assert_eq!(skipped, ours.is_ok());
    }

    #[test]
    fn short_numbers_are_the_nearest_doubles(digits in 0u64..1_000_000_000_000_000, places in 1usize..14, minus in any::<bool>()) {
        let digits = format!("{digits:0>width$}", width = places + 1);
        let (whole, fraction) = digits.split_at(digits.len() - places);
        let text = format!("{}{whole}.{fraction}", if minus { "-" } else { "" });
        let nearest = text.parse::<f64>().unwrap() + 0.0;
        prop_assert_eq!(read(&text), Value::F64(nearest), "{}", text);
    }

    #[test]
    fn what_was_read_before_changes_nothing(documents in proptest::collection::vec(alike(), 1..40)) {
        let mut parser = Parser::default();
        for text in documents {
            let document = Document::new(&blob(text.clone())).unwrap();
            let value = parser.value(&mut document.reader()).unwrap();
            // Also in the order of the members.
            prop_assert_eq!(written(&value), written(&read(&text)), "{}", text);
        }
    }
}

/// Documents of few names, in several manners of writing.
fn alike() -> impl Strategy<Value = String> {
    let names = proptest::sample::subsequence(vec!["a", "b", "a", "long name", "\\u0061", "c"], 0..6);
    let leaf = proptest::sample::select(vec!["1", "\"x\"", "null", "[]", "{}", "-1.5"]).prop_map(str::to_owned);
    let manner = proptest::sample::select(vec![(",", ":"), (", ", ": "), (" ,\n  ", " :")]);
    leaf.prop_recursive(3, 20, 5, move |inner| {
        let members = (names.clone(), proptest::collection::vec(inner.clone(), 6), manner.clone());
        prop_oneof![
            4 => members.prop_map(|(names, values, (comma, colon))| {
                let members: Vec<_> = names.iter().zip(&values).map(|(name, value)| format!("\"{name}\"{colon}{value}")).collect();
                format!("{{{}}}", members.join(comma))
            }),
            1 => proptest::collection::vec(inner, 0..4).prop_map(|values| format!("[{}]", values.join(","))),
        ]
    })
}

#[test]
fn objects_that_are_alike_share_their_keys() {
    let mut parser = Parser::default();
    let mut keys = |text: &str| {
        let document = Document::new(&blob(text)).unwrap();
        match parser.value(&mut document.reader()).unwrap() {
            Value::Map(map) => {
                let inner = match map.get("in") {
                    Some(Value::Array(inner)) => inner
                        .iter()
                        .map(|value| match value {
                            Value::Map(map) => std::sync::Arc::clone(map.keys()),
                            other => panic!("{other:?}"),
                        })
                        .collect(),
                    _ => Vec::new(),
                };
                (std::sync::Arc::clone(map.keys()), inner)
            }
            other => panic!("{other:?}"),
        }
    };
    let same = std::sync::Arc::ptr_eq;
    let (first, _) = keys(r#"{"a":1,"in":[{"b":1},{"b":2}]}"#);
    let (_, inner) = keys(r#"{"a":1,"in":[{"b":1},{"b":2}]}"#);
    let (again, inner_again) = keys(r#"{"a": 1, "in": [{"b":7}, {"b":8}, {"b":9}]}"#);
    assert!(same(&first, &again) && inner_again.iter().all(|keys| same(keys, &inner[0])));
    let (shorter, _) = keys(r#"{"a":1}"#);
    let (longer, _) = keys(r#"{"a":1,"in":[],"z":0}"#);
    for (text, expected) in
        [(r#"{"a":1}"#, &shorter), (r#"{"a":2,"in":3}"#, &first), (r#"{"a":1,"in":2,"z":0}"#, &longer)]
    {
        assert!(same(&keys(text).0, expected), "{text}");
    }
}

#[test]
fn names_that_are_data_do_not_gather() {
    let mut parser = Parser::default();
    for number in 0..20_000 {
        let text = format!(r#"{{"id":1,"of":{{"k{number}":{{"k{number}":1}}}}}}"#);
        let document = Document::new(&blob(text)).unwrap();
        parser.value(&mut document.reader()).unwrap();
    }
    let size = format!("{parser:?}").len();
    assert!(size < 1 << 16, "{size}");
}

#[test]
fn names_that_are_remembered_keep_no_document_alive() {
    let mut parser = Parser::default();
    let document = |number: u32| blob(format!("{{\"a name that is too long to be short\":{number}}}"));
    let (first, second) = (document(1), document(2));
    for source in [&first, &second] {
        let Value::Map(map) = parser.value(&mut Document::new(source).unwrap().reader()).unwrap() else {
            panic!("a map")
        };
        let Value::String(name) = &map.keys()[0] else { panic!("text") };
        assert!(!first.as_bytes().as_ptr_range().contains(&name.as_bytes().as_ptr()), "it holds the first document");
    }
}
