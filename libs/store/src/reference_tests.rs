use pipette_api::ErrorKind;

use super::*;

fn full() -> Reference {
    Reference {
        size: Some(5_000_000_000),
        digest: Some(Digest::of(b"x")),
        content_type: Some("image/png".into()),
        content_encoding: Some(Compression::Zstd),
        etag: Some("\"abc\"".into()),
        version_id: Some("v1".into()),
        path: Some("image.data".into()),
        name: Some("cell 7.png".into()),
        created_at: Some(1_795_677_300_000),
        meta: vec![("image.width".into(), "4096".into())],
        ..Reference::to("s3://lake/images/2026-11-26/ab")
    }
}

fn bare() -> Reference {
    Reference { size: Some(0), digest: Some(Digest::of(b"")), ..Reference::to("s3://lake/a") }
}

#[test]
fn every_form_is_read_as_it_is_written() {
    for reference in [full(), bare()] {
        let record = reference.to_struct().unwrap();
        assert!(pipette_api::data::record_struct::fits(&record.value, record.schema.as_ref().unwrap()).is_ok());
        assert_eq!(Reference::of_value(&record.value).unwrap(), Some(reference.clone()));
        let map = reference.to_map().unwrap();
        assert_eq!(map.schema, None);
        assert_eq!(Reference::of_value(&map.value).unwrap(), Some(reference.clone()));
        let header = Reference::to_header(std::slice::from_ref(&reference)).unwrap();
        assert_eq!(Reference::of_json(header.as_bytes()).unwrap(), std::slice::from_ref(&reference));
        assert_eq!(Reference::of_header(&Datum::schemaless(Value::Bytes(header))).unwrap(), [reference]);
    }
}

#[test]
fn a_header_is_read_after_a_converter_has_parsed_it() {
    let map = bare().to_map().unwrap().value;
    let read = |value: Value| Reference::of_header(&Datum::schemaless(value)).unwrap();
    assert_eq!(read(Value::Array(Box::new([map.clone(), map.clone()]))), [bare(), bare()]);
    assert_eq!(read(map), [bare()]);
    let text = r#"[{"uri":"s3://lake/a","size":0,"digest":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]"#;
    assert_eq!(read(Value::text(text)), [bare()]);
    let small = Map::from(vec![(Value::text("uri"), Value::text("s3://lake/a")), (Value::text("size"), Value::I8(7))]);
    assert_eq!(read(Value::Map(Box::new(small)))[0].size, Some(7));
    // One that reads JSON has read the backslashes as well.
    let named = Reference { name: Some("a\\nb".into()), ..bare() };
    assert_eq!(read(named.to_map().unwrap().value), [named]);
}

/// As Connect's default header converter reads it.
fn taken_apart(header: &str) -> Datum {
    let datum = pipette_java::values::Types::default().parse(&pipette_api::Text::from(header));
    assert!(matches!(datum.value, Value::Array(_)), "{datum:?}");
    datum
}

#[test]
fn what_the_default_header_converter_takes_apart_comes_back_as_it_was() {
    let odd = |text: &str| Reference {
        name: Some(text.into()),
        path: Some(text.into()),
        etag: Some(format!("\"{text}\"")),
        version_id: Some(text.into()),
        meta: vec![(text.into(), text.into()), ("plain".into(), "x".into())],
        ..full()
    };
    for text in [
        "a",
        "say \"yes\"",
        "C:\\lab\\new",
        "ends in \\",
        "\\\"",
        "{a}[b]:c,d",
        "two\nlines\t\u{1}",
        "µm 細胞",
        "",
        " ",
        "null",
        "17",
        "2026-11-26",
        "2026-13-45",
        "10:20:30.123Z",
        "2026-11-26T10:20:30.123Z",
    ] {
        let references = [odd(text), bare(), full()];
        let header = Reference::to_header(&references).unwrap();
        let header = std::str::from_utf8(header.as_bytes()).unwrap();
        assert_eq!(Reference::of_json(header.as_bytes()).unwrap(), references, "{header}");
        assert_eq!(Reference::of_header(&taken_apart(header)).unwrap(), references, "{header}");
    }
}

#[test]
fn dates_in_headers_of_earlier_versions_are_texts_again() {
    for text in ["2026-11-26", "10:20:30.123Z", "2026-11-26T10:20:30.123Z"] {
        let header = format!(r#"[{{"uri":"s3://lake/a","size":0,"name":"{text}","meta":{{"{text}":"{text}"}}}}]"#);
        let read = Reference::of_header(&taken_apart(&header)).unwrap();
        assert_eq!((read[0].name.as_deref(), &read[0].meta[..]), (Some(text), &[(text.into(), text.into())][..]));
    }
    let error = Reference::of_header(&taken_apart(r#"[{"uri":"s3://lake/a","size":1.5}]"#)).unwrap_err();
    assert!(error.to_string().contains("its size is no integer"), "{error}");
}

#[test]
fn the_header_is_a_json_array_that_others_can_read() {
    let header = Reference::to_header(&[Reference { name: Some("a\"b".into()), ..bare() }]).unwrap();
    let text = std::str::from_utf8(header.as_bytes()).unwrap();
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(text, format!(r#"[{{"uri":"s3://lake/a","size":0,"digest":"{digest}","name":"a\"b"}}]"#));
}

#[test]
fn other_values_are_no_references_and_broken_ones_are_told() {
    let map = |pairs: Vec<(&str, Value)>| -> Value {
        Value::Map(Box::new(pairs.into_iter().map(|(name, value)| (Value::text(name), value)).collect()))
    };
    for value in [Value::Null, Value::text("s3://lake/a"), Value::I32(1), map(vec![("uri", Value::text("x"))])] {
        assert_eq!(Reference::of_value(&value).unwrap(), None, "{value:?}");
    }
    let digest = || ("digest", Value::text(Digest::of(b"").to_string()));
    for value in [
        map(vec![("uri", Value::I32(1)), digest()]),
        map(vec![("uri", Value::text("a")), ("size", Value::I64(-1)), digest()]),
        map(vec![("uri", Value::text("a")), ("size", Value::text("1")), digest()]),
        map(vec![("uri", Value::text("a")), ("digest", Value::text("md5:00"))]),
        map(vec![("uri", Value::text("a")), ("content_encoding", Value::text("br")), digest()]),
        map(vec![("uri", Value::text("a".repeat(5000))), digest()]),
        map(vec![("uri", Value::text("a")), ("meta", Value::text("a")), digest()]),
    ] {
        assert_eq!(Reference::of_value(&value).unwrap_err().kind(), ErrorKind::Data, "{value:?}");
    }
    for text in ["", "[", "[1]", "7", "[{}]", "[{\"uri\":null}]", "[{\"uri\":\"a\",\"size\":1.5}]"] {
        assert_eq!(Reference::of_json(text.as_bytes()).unwrap_err().kind(), ErrorKind::Data, "{text}");
    }
    let many = format!("[{}]", vec!["{\"uri\":\"a\"}"; 1001].join(","));
    assert!(Reference::of_json(many.as_bytes()).is_err());
    assert_eq!(Reference::of_json(b"[]").unwrap(), []);
}

#[test]
fn a_signed_address_is_in_no_log() {
    let reference = Reference { url: Some("https://x/?sig=hunter2".into()), ..full() };
    assert!(!format!("{reference:?}").contains("hunter2"));
}

#[test]
fn a_native_reference_tells_the_size() {
    assert_eq!(Reference::to("s3://lake/a").to_struct().unwrap_err().kind(), ErrorKind::Fatal);
}
