//! Records that stay text until somebody asks: they are what they would be otherwise, to every reader.

use pipette_api::data::Part;

use super::*;
use crate::convert::java;

/// How many parts of a record are still text.
fn unread(datum: &Datum) -> usize {
    let is_text = |part: &Part<'_>| !matches!(part, Part::Value(_));
    match &datum.value {
        Value::Map(map) => map.parts().filter(|(_, part)| is_text(part)).count(),
        Value::Struct(record) => record.parts().filter(is_text).count(),
        _ => 0,
    }
}

/// What Java's `toString` gives for each part, taken as they are and read.
fn printed(datum: &Datum) -> [Vec<String>; 2] {
    let text = |value: &Value| {
        let mut out = Vec::new();
        java::append_text(value, &mut out, |_, _| Ok(())).unwrap();
        String::from_utf8(out).unwrap()
    };
    let as_it_is = |part: Part<'_>| match part {
        Part::Value(value) => text(value),
        Part::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
        Part::Unread(unread, start) => {
            let mut out = Vec::new();
            unread.print(start, &mut out);
            String::from_utf8(out).unwrap()
        }
    };
    match &datum.value {
        Value::Map(map) => {
            [map.parts().map(|(_, part)| as_it_is(part)).collect(), map.values().iter().map(text).collect()]
        }
        Value::Struct(record) => [record.parts().map(as_it_is).collect(), record.values().iter().map(text).collect()],
        other => panic!("{other:?} has no parts"),
    }
}

#[test]
fn a_record_like_the_one_before_stays_text_and_is_the_same() {
    let document = |a: &str| format!("{{\"n\":{a},\"s\":\"häßlich\", \"o\":[{{\"x\":{a},\"y\":null}},{{\"x\":{a}}}]}}");
    let numbers = [
        "7",
        "-7",
        "007",
        "0",
        "-0",
        "0.0",
        "-0.0",
        "1.0",
        "1.50",
        "1.05",
        "0.001",
        "0.0009",
        "0.010",
        "-0.5",
        "9999999.5",
        "12345678.5",
        "123456789012345",
        "99999999999999999999",
        "1e3",
        "12.5E-9",
        "[]",
        "{}",
        "[1,[2,{\"x\":3}]]",
        "\"a\\nb\"",
        "\"\"",
        "true",
        "null",
        "{\"a\":{\"b\":[]},\"c\":\"d\"}",
        "{\"a\":1,\"a\":2}",
        "[ 1 , 2 ]",
        "\"null\"",
    ];
    let mut converter = plain();
    for number in numbers {
        let text = document(number);
        let fresh = plain().read(Some(&blob(&*text))).unwrap();
        assert_eq!(unread(&fresh), 0);
        let learnt = converter.read(Some(&blob(&*text))).unwrap();
        assert!(unread(&learnt) > 0 || number == numbers[0], "{text}");
        let [as_it_is, read] = printed(&learnt);
        assert_eq!(as_it_is, read, "{text}");
        assert_eq!(learnt, fresh, "{text}");
    }
    let wrong = document("1").replace("null", "nul");
    let told = |error: ConnectError| error.chain();
    let first = plain().read(Some(&blob(&*wrong))).map_err(told);
    assert_eq!(converter.read(Some(&blob(&*wrong))).map_err(told), first);
    assert!(first.unwrap_err().contains("o[0].y"));
}

#[test]
fn an_envelope_like_the_one_before_stays_text_and_is_the_same() {
    let schema = concat!(
        r#"{"type":"struct","optional":false,"fields":[{"field":"s","type":"string","optional":true},"#,
        r#"{"field":"i","type":"int32"},{"field":"l","type":"int64"},{"field":"d","type":"double"},{"field":"b","type":"boolean"},"#,
        r#"{"field":"t","type":"int64","name":"org.apache.kafka.connect.data.Timestamp","version":1},"#,
        r#"{"field":"w","type":"string","optional":true,"default":"w"},"#,
        r#"{"field":"o","type":"array","items":{"type":"struct","fields":[{"field":"x","type":"string","optional":true},"#,
        r#"{"field":"y","type":"double"}]}}]}"#
    );
    let envelope = |payload: &str| blob(format!("{{\"schema\":{schema},\"payload\":{payload}}}"));
    let usual = r#"{"s":"a","i":1,"l":2,"d":0.5,"b":true,"t":5,"w":"v","o":[{"x":null,"y":1.5},{"x":"z","y":2.5}]}"#;
    let mut converter = converter(&[]);
    converter.read(Some(&envelope(usual))).unwrap();
    let mut check = |payload: &str, stays: bool| {
        let told = |error: ConnectError| error.chain();
        let fresh = super::converter(&[]).read(Some(&envelope(payload))).map_err(told);
        let learnt = converter.read(Some(&envelope(payload))).map_err(told);
        if let Ok(learnt) = &learnt {
            assert_eq!(unread(learnt) > 0, stays, "{payload}");
            let [as_it_is, read] = printed(learnt);
            assert_eq!(as_it_is, read, "{payload}");
        }
        assert_eq!(learnt, fresh, "{payload}");
    };
    check(usual, true);
    for (from, to, stays) in [
        ("\"a\"", "null", true),
        ("\"a\"", "\"a\\tb\"", true),
        ("\"a\"", "7", true),
        ("\"i\":1", "\"i\":1.9", true),
        ("\"i\":1", "\"i\":12345678901", true),
        ("\"i\":1", "\"i\":\"1\"", true),
        ("\"i\":1", "\"i\":007", true),
        ("\"l\":2", "\"l\":99999999999999999999", true),
        ("0.5", "5", true),
        ("0.5", "5.00", true),
        ("0.5", "1.5e300", true),
        ("true", "\"x\"", true),
        ("\"v\"", "null", true),
        ("1.5", "15", true),
        (",\"i\":1", "", false),
        ("\"s\":\"a\",\"i\":1", "\"i\":1,\"s\":\"a\"", false),
        ("\"b\":true", "\"b\": true", true),
        ("\"b\":true", "\"b\" :true", false),
        ("}]}", "}]} ", true),
        ("}]}", "}],\"z\":1}", false),
        ("\"i\":1", "\"i\":null", false),
        ("\"t\":5", "\"t\":0.5", false),
        ("1.5", "null", false),
        ("}]}", "}", false),
    ] {
        check(&usual.replace(from, to), stays);
    }
}

#[test]
fn what_is_put_into_an_unread_record_or_taken_out_of_it_is_seen_by_all() {
    let mut converter = plain();
    let text = "{\"a\":1,\"b\":\"x\",\"c\":[1.5]}";
    converter.read(Some(&blob(text))).unwrap();
    let Value::Map(mut map) = converter.read(Some(&blob(text))).unwrap().value else { panic!("a map") };
    let keys = |names: &[&str]| {
        Arc::new(pipette_api::Keys::from(names.iter().map(|name| Value::text(*name)).collect::<Vec<_>>()))
    };
    map.take_out(keys(&["b", "c"]), &[0]);
    map.put(keys(&["b", "c", "d"]), [(0, Value::Bool(true)), (2, Value::Null)].into_iter());
    let datum = Datum::schemaless(Value::Map(map));
    assert_eq!(unread(&datum), 1);
    assert_eq!(printed(&datum)[0], ["true", "[1.5]", "null"]);
    let copy = datum.clone();
    let Value::Map(mut map) = datum.value else { unreachable!("made so") };
    assert_eq!(map.values(), [Value::Bool(true), Value::Array(Box::new([Value::F64(1.5)])), Value::Null]);
    map.take_out(keys(&["c"]), &[0, 2]);
    map.set("c", Value::I8(1));
    assert_eq!((map.len(), map.get("c")), (1, Some(&Value::I8(1))));
    assert_eq!(text_of(&copy), "{\"b\":true,\"c\":[1.5],\"d\":null}");
}

fn text_of(datum: &Datum) -> String {
    text(&mut plain(), datum)
}

#[test]
fn records_that_are_read_anyway_are_soon_read_at_once() {
    let mut converter = plain();
    let mut was_unread = true;
    for number in 0..10_000 {
        let datum = converter.read(Some(&blob(format!("{{\"a\":{number}}}")))).unwrap();
        was_unread = unread(&datum) > 0;
        let Value::Map(map) = datum.value else { panic!("a map") };
        assert_eq!(map.get("a"), Some(&Value::I64(number)));
    }
    assert!(!was_unread);
}
