use proptest::prelude::*;

use super::*;
use crate::trial::{at, bytes, errors, expander, header, record, value};

fn split(pairs: &[(&str, &str)], text: &str) -> Result<Vec<String>> {
    let mut split = expander(&PLUGIN, pairs);
    let parts = split.all(record(bytes(text)), Some(&at("a", 1)))?;
    let ids: std::collections::BTreeSet<_> = parts.iter().map(|part| header(part, "split-id").unwrap()).collect();
    assert!(ids.len() <= 1, "one id");
    for (index, part) in parts.iter().enumerate() {
        assert_eq!(header(part, "split-index"), Some(index.to_string()));
        assert_eq!(header(part, "split-last"), Some((index + 1 == parts.len()).to_string()), "{index}");
    }
    Ok(parts.iter().map(|part| String::from_utf8(value(part.value.as_ref())).unwrap()).collect())
}

#[test]
fn lines_rows_and_elements_become_records() {
    for (config, text, expected) in [
        (&[][..], "a\nb\r\n\n  \nc", &["a", "b", "c"][..]),
        (&[], "\u{feff}{\"a\":1}\n{\"a\":2}\n", &["{\"a\":1}", "{\"a\":2}"]),
        (&[("part.records", "2")], "a\nb\nc\n", &["a\nb", "c"]),
        (&[], "\n\n", &[]),
        (&[("format", "csv")], "h,i\n1,\"x\ny\"\r\n2,\"\"\"\n\"\n", &["h,i\n1,\"x\ny\"", "h,i\n2,\"\"\"\n\""]),
        (&[("format", "csv"), ("part.records", "2")], "h\n1\n2\n3", &["h\n1\n2", "h\n3"]),
        (&[("format", "csv"), ("header", "false")], "1\n2\n", &["1", "2"]),
        (&[("format", "csv")], "h\n", &[]),
        (
            &[("format", "json-array")],
            " [ 1 , {\"a\": [1, \"],[\", \"\\\"\"]} ,\n\"x\\\\\"] \n",
            &["1", "{\"a\": [1, \"],[\", \"\\\"\"]}", "\"x\\\\\""],
        ),
        (&[("format", "json-array"), ("part.records", "2")], "[1,2,3]", &["[1,2]", "[3]"]),
        (&[("format", "json-array")], "[ ]", &[]),
        (
            &[("format", "xml"), ("element", "r")],
            "<?xml version='1.0'?><all><!-- <r> --><r a='>'>1<r/></r><rr/><x><![CDATA[<r>]]><r\n/></x></all>",
            &["<r a='>'>1<r/></r>", "<r\n/>"],
        ),
    ] {
        assert_eq!(split(config, text).unwrap(), expected, "{config:?} {text:?}");
    }
}

#[test]
fn what_is_not_what_it_should_be_is_a_bad_record() {
    let json = &[("format", "json-array")][..];
    let xml = &[("format", "xml"), ("element", "r")][..];
    for (config, text, why) in [
        (json, "{}", "no JSON array"),
        (json, "[1,2", "behind part 1: the value cannot be split to its end: the JSON array has no end"),
        (json, "[1,,2]", "an element of the JSON array is empty"),
        (json, "[1,]", "an element of the JSON array is empty"),
        (json, "[1}]", "a brace is closed"),
        (json, "[1] 2", "something follows"),
        (json, "", "no JSON array"),
        (&[("format", "csv")], "h\n\"1\n", "inside of quotes"),
        (xml, "<a><r><b></a>", "inside of an element"),
        (xml, "<a><r", "inside of an element"),
        (&[("max.part.bytes", "1024")], &"x".repeat(1_025), "part 0 of the value is larger than max.part.bytes (1024)"),
    ] {
        let error = split(config, text).unwrap_err();
        assert!(error.to_string().contains(why), "{text:?}: {error}");
        assert_eq!(error.kind(), pipette_api::ErrorKind::Data);
    }
}

#[test]
fn a_key_can_keep_parts_together() {
    let mut keyed = expander(&PLUGIN, &[("key", "id")]);
    assert!(keyed.step.needs("t", None) && !keyed.step.needs("t", Some(0)));
    let parts = keyed.all(record(bytes("a\nb")), Some(&at("a", 1))).unwrap();
    for part in &parts {
        assert_eq!(part.key.as_ref().unwrap().as_bytes(), header(part, "split-id").unwrap().as_bytes());
    }
    let again = keyed.all(record(bytes("a\nb")), Some(&at("b", 1))).unwrap();
    assert_ne!(again[0].key, parts[0].key);
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    let wrong = |pairs: &[(&str, &str)]| errors(&PLUGIN.info, pairs);
    assert_eq!(wrong(&[]), "");
    assert!(wrong(&[("format", "xml")]).contains("element: format=xml needs the name"));
    assert!(wrong(&[("element", "r")]).contains("element: it belongs to format=xml"));
    assert!(wrong(&[("format", "xml"), ("element", "r"), ("part.records", "2")]).contains("part.records"));
}

/// Steps over data that comes in blocks of a size.
fn scan(mut scan: impl Scan, data: &[u8], block: usize) -> std::result::Result<Vec<Vec<u8>>, String> {
    let (mut window, mut rest, mut found) = (Vec::new(), data, Vec::new());
    loop {
        match scan.step(&window, rest.is_empty()).map_err(|error| error.to_string())? {
            Step::Element { from, to, next } => {
                found.push(window[from..to].to_vec());
                window.drain(..next);
            }
            Step::Skip(bytes) => drop(window.drain(..bytes)),
            Step::More => {
                assert!(!rest.is_empty(), "more is asked for where there is none");
                let (block, behind) = rest.split_at(block.min(rest.len()));
                window.extend_from_slice(block);
                rest = behind;
            }
            Step::End => return Ok(found),
        }
    }
}

proptest! {
    /// However data comes, it is split in the same places, and nothing makes a scanner hang or panic.
    #[test]
    fn blocks_make_no_difference(data in "[ab<>/r!\\-\\[\\]{},\"'\\\\\n ?CDAT]{0,60}", block in 1_usize..9) {
        let data = data.as_bytes();
        prop_assert_eq!(scan(Lines::new(true), data, block), scan(Lines::new(true), data, 99));
        let array = [b"[", data, b"]"].concat();
        prop_assert_eq!(scan(Json::default(), &array, block), scan(Json::default(), &array, 99));
        let xml = [b"<r>", data, b"</r>"].concat();
        prop_assert_eq!(scan(Xml::new("r"), &xml, block), scan(Xml::new("r"), &xml, 99));
    }

    #[test]
    fn rows_come_back(rows in prop::collection::vec("[a-z,]{1,9}", 0..9), block in 1_usize..9) {
        let data = rows.join("\n");
        let found = scan(Lines::new(false), data.as_bytes(), block).unwrap();
        prop_assert_eq!(found, rows.iter().map(|row| row.as_bytes().to_vec()).collect::<Vec<_>>());
    }
}
