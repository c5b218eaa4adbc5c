//! Members that come again, null keys and limits, as a wide comparison with Java's classes found them.

use std::error::Error;

use super::*;

#[test]
fn of_members_that_come_again_only_the_last_has_to_fit() {
    let strict = "{\"type\":\"struct\",\"fields\":[{\"type\":\"int8\",\"field\":\"a\"}]}";
    let Value::Struct(record) = payload(strict, "{\"a\":null,\"a\":1}").unwrap() else { panic!("a struct") };
    assert_eq!(record.values(), [Value::I8(1)]);
    assert!(refusal(strict, "{\"a\":1,\"a\":null}").contains("payload.a: "));
    let map = "{\"type\":\"map\",\"keys\":{\"type\":\"string\"},\"values\":{\"type\":\"int8\"}}";
    let Value::Map(entries) = payload(map, "{\"a\":null,\"b\":2,\"a\":1}").unwrap() else { panic!("a map") };
    assert_eq!(*entries, Map::from(vec![(Value::text("a"), Value::I8(1)), (Value::text("b"), Value::I8(2))]));
    assert!(refusal(map, "{\"a\":1,\"b\":2,\"b\":null}").contains("Invalid null value"));
    let list = "{\"type\":\"array\",\"items\":{\"type\":\"int8\"}}";
    assert_eq!(payload(list, "{\"a\":null,\"a\":1}").unwrap(), Value::Array(Box::new([Value::I8(1)])));
    let with_default =
        "{\"type\":\"struct\",\"fields\":[{\"type\":\"string\",\"optional\":true,\"default\":\"d\",\"field\":\"a\"}]}";
    for (document, expected) in
        [("{}", Value::text("d")), ("{\"a\":null}", Value::text("d")), ("{\"a\":1}", Value::Null)]
    {
        let Value::Struct(record) = payload(with_default, document).unwrap() else { panic!("a struct") };
        assert_eq!(record.values(), [expected], "{document}");
    }
    let params = "{\"type\":\"int8\",\"parameters\":{\"p\":1,\"p\":\"x\"}}";
    assert!(payload(params, "1").is_ok());
    let documents = [
        "{\"schema\":{\"type\":\"int8\"},\"payload\":null,\"payload\":5}",
        "{\"schema\":{\"type\":\"strange\"},\"payload\":5,\"schema\":{\"type\":\"int8\"}}",
    ];
    for document in documents {
        assert_eq!(read(document).unwrap().value, Value::I8(5), "{document}");
    }
}

#[test]
fn null_keys_have_a_name_and_the_last_of_a_name_counts() {
    let map = |key: SchemaBuilder, replace: &str| {
        let schema = SchemaBuilder::map(key.build().unwrap(), Schema::of(Kind::Int8)).build().unwrap();
        let entries = [(Value::text("a"), 1), (Value::Null, 2), (Value::text("null"), 3)];
        let map: Map = entries.into_iter().map(|(key, number)| (key, Value::I8(number))).collect();
        let mut converter = converter(&[("schemas.enable", "false"), ("replace.null.with.default", replace)]);
        let mut buffer = Vec::new();
        let datum = Datum::new(schema, Value::Map(Box::new(map)));
        converter.write(&datum, &mut buffer).map(|bytes| String::from_utf8(bytes.unwrap().to_vec()).unwrap())
    };
    let text_key = || SchemaBuilder::new(Kind::String);
    assert_eq!(map(text_key().optional(), "true").unwrap(), "{\"a\":1,\"null\":3}");
    assert_eq!(map(text_key().default(Value::text("a")), "true").unwrap(), "{\"a\":2,\"null\":3}");
    assert!(map(text_key().default(Value::text("a")), "false").is_err());
}

#[test]
fn limits_are_those_of_what_is_written_and_read() {
    let nested = |levels: usize| (0..levels).fold(Value::Null, |inner, _| Value::Array(Box::new([inner])));
    let fits = |converter: &mut JsonConverter, levels| {
        converter.write(&Datum::schemaless(nested(levels)), &mut Vec::new()).is_ok()
    };
    assert!(fits(&mut plain(), 1000) && !fits(&mut plain(), 1001));
    assert!(fits(&mut converter(&[]), 999) && !fits(&mut converter(&[]), 1000), "the envelope is a level");
    for (millis, fits) in [(-1, false), (0, true), (86_400_000, true), (86_400_001, false)] {
        let time = Datum::new(SchemaBuilder::time().build().unwrap(), Value::Time(millis));
        assert_eq!(plain().write(&time, &mut Vec::new()).is_ok(), fits, "{millis}");
    }
}

#[test]
fn an_error_that_is_overtaken_leaves_nothing_of_its_place() {
    let inner = "{\"type\":\"struct\",\"fields\":[{\"type\":\"int8\",\"field\":\"c\"}]";
    let schema = format!(
        "{{\"type\":\"struct\",\"fields\":[{inner},\"field\":\"a\"}},{inner},\"field\":\"b\"}},\
         {{\"type\":\"map\",\"keys\":{{\"type\":\"string\"}},\"values\":{inner}}},\"field\":\"m\"}}]}}"
    );
    for (document, begin) in [
        (r#"{"a":{"c":null},"b":{"c":null},"a":{"c":1}}"#, "payload.b.c: Invalid null"),
        (r#"{"a":{"c":null},"b":{"c":null}}"#, "payload.a.c: Invalid null"),
        (r#"{"a":{"c":null},"a":{"c":1},"b":{"c":2}}"#, "payload.m: Invalid null"),
        (r#"{"a":{"c":1},"m":{"x":{"c":null},"y":{},"x":{"c":1}},"b":7}"#, "payload.m.y.c: Invalid null"),
        (r#"{"a":{"c":null,"d":[tru]},"b":{"c":1}}"#, "payload.a: invalid JSON at byte"),
        (r#"{"a":{"c":1},"b":{"c":x}}"#, "payload.b.c: invalid JSON at byte"),
    ] {
        let error = payload(&schema, document).expect_err(document);
        let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        assert!(text.contains(begin), "{document}: {text}");
    }
}
