//! Java's recorded answers, both ways, and the laws of converters (C1, C2, C3, C5).

use pipette_api::data::{Decimal, logical};
use pipette_api::{ConfigMap, ErrorKind, Kind, Map, SchemaBuilder, Struct};
use proptest::prelude::*;

use super::*;

mod members;
mod unread;

fn converter(config: &[(&str, &str)]) -> JsonConverter {
    let config: ConfigMap = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    JsonConverter::new(&Settings::new(config, &CONFIG)).unwrap()
}

fn plain() -> JsonConverter {
    converter(&[("schemas.enable", "false")])
}

fn text(converter: &mut JsonConverter, datum: &Datum) -> String {
    let mut buffer = b"left over".to_vec();
    let bytes = converter.write(datum, &mut buffer).unwrap().expect("bytes").to_vec();
    String::from_utf8(bytes).unwrap()
}

fn blob(text: impl Into<Vec<u8>>) -> Blob {
    Blob::whole(text.into()).unwrap()
}

fn read(text: &str) -> Result<Datum> {
    converter(&[]).read(Some(&blob(text)))
}

/// The payload read with the schema, both as JSON.
fn payload(schema: &str, payload: &str) -> Result<Value> {
    read(&format!("{{\"schema\":{schema},\"payload\":{payload}}}")).map(|datum| datum.value)
}

fn refusal(schema: &str, payload_text: &str) -> String {
    let error = payload(schema, payload_text).expect_err(payload_text);
    assert_eq!(error.kind(), ErrorKind::Data);
    error.to_string()
}

fn write_error(datum: &Datum) -> String {
    converter(&[]).write(datum, &mut Vec::new()).unwrap_err().to_string()
}

fn decimal(unscaled: i64, scale: i32) -> Value {
    Value::Decimal(Box::new(Decimal::new(unscaled, scale)))
}

fn sample() -> Arc<Schema> {
    SchemaBuilder::record()
        .name("com.x.Y")
        .version(2)
        .doc("d")
        .field("f1", Schema::of(Kind::Boolean))
        .field("f2", Schema::optional(Kind::String))
        .field("f3", SchemaBuilder::new(Kind::Int32).doc("dd").optional().default(Value::I32(7)).build().unwrap())
        .build()
        .unwrap()
}

#[test]
fn the_envelope_is_javas_byte_for_byte() {
    let mut record = Struct::new(sample());
    record.set("f1", Value::Bool(true)).unwrap();
    let datum = Datum::new(sample(), Value::Struct(Box::new(record)));
    let expected = concat!(
        r#"{"schema":{"type":"struct","fields":[{"type":"boolean","optional":false,"field":"f1"},"#,
        r#"{"type":"string","optional":true,"field":"f2"},"#,
        r#"{"type":"int32","optional":true,"doc":"dd","default":7,"field":"f3"}],"#,
        r#""optional":false,"name":"com.x.Y","version":2,"doc":"d"},"payload":{"f1":true,"f2":null,"f3":7}}"#
    );
    assert_eq!(text(&mut converter(&[]), &datum), expected);
    assert_eq!(text(&mut plain(), &datum), r#"{"f1":true,"f2":null,"f3":7}"#);
    let keep = &[("schemas.enable", "false"), ("replace.null.with.default", "false")];
    assert_eq!(text(&mut converter(keep), &datum), r#"{"f1":true,"f2":null,"f3":null}"#);
    let back = read(expected).unwrap();
    assert_eq!(back.schema.as_deref(), Some(&*sample()));
}

#[test]
fn null_and_tombstone() {
    for mut converter in [converter(&[]), plain()] {
        assert_eq!(converter.write(&Datum::NULL, &mut Vec::new()).unwrap(), None);
        assert_eq!(converter.read(None).unwrap(), Datum::NULL);
    }
    let optional = Datum::new(Schema::optional(Kind::String), Value::Null);
    assert_eq!(text(&mut plain(), &optional), "null");
    let envelope = r#"{"schema":{"type":"string","optional":true},"payload":null}"#;
    assert_eq!(text(&mut converter(&[]), &optional), envelope);
    assert_eq!(read(envelope).unwrap(), optional);
    assert_eq!(text(&mut converter(&[]), &Datum::schemaless(Value::I64(1))), r#"{"schema":null,"payload":1}"#);
    assert_eq!(plain().read(Some(&blob("null"))).unwrap(), Datum::NULL);
    for blank in ["", "  \n"] {
        assert_eq!(plain().read(Some(&blob(blank))).unwrap(), Datum::NULL);
    }
}

#[test]
fn payload_texts() {
    let map = |pairs: Vec<(Value, Value)>| Value::Map(Box::new(Map::from(pairs)));
    for (value, expected) in [
        (Value::F32(12.34), "12.34"),
        (Value::F64(f64::NAN), "\"NaN\""),
        (Value::Bytes(blob([0, 156])), "\"AJw=\""),
        (map(vec![(Value::text("a"), Value::I8(1))]), r#"{"a":1}"#),
        (map(vec![(Value::I32(1), Value::I32(12)), (Value::I32(2), Value::Null)]), "[[1,12],[2,null]]"),
        (map(vec![(Value::text("a"), Value::I8(1)), (Value::Null, Value::I8(2))]), r#"[["a",1],[null,2]]"#),
        (map(vec![]), "{}"),
    ] {
        assert_eq!(text(&mut plain(), &Datum::schemaless(value)), expected);
    }
    let cents = SchemaBuilder::decimal(2).build().unwrap();
    assert_eq!(text(&mut plain(), &Datum::new(Arc::clone(&cents), decimal(156, 2))), "\"AJw=\"");
    let mut numeric = converter(&[("schemas.enable", "false"), ("decimal.format", "numeric")]);
    assert_eq!(text(&mut numeric, &Datum::new(Arc::clone(&cents), decimal(15000, 4))), "1.5000");
    assert_eq!(text(&mut numeric, &Datum::new(cents, decimal(1, -5))), "1E+5");
    let day = Datum::new(SchemaBuilder::date().build().unwrap(), Value::Date(-1));
    assert_eq!(
        text(&mut converter(&[]), &day),
        r#"{"schema":{"type":"int32","optional":false,"name":"org.apache.kafka.connect.data.Date","version":1},"payload":-1}"#
    );
}

#[test]
fn values_that_do_not_fit_their_schema_are_refused_when_written() {
    let cents = SchemaBuilder::decimal(2).build().unwrap();
    for (datum, expected) in [
        (Datum::new(Schema::of(Kind::Boolean), Value::I32(1)), "Invalid type for BOOLEAN: class java.lang.Integer"),
        (
            Datum::new(Schema::of(Kind::Int8), Value::Null),
            "Conversion error: null value for field that is required and has no default value",
        ),
        (
            Datum::schemaless(Value::Timestamp(1)),
            "Java class class java.util.Date does not have corresponding schema type.",
        ),
        (
            Datum::new(cents, decimal(15, 1)),
            "Decimal value has mismatching scale for given Decimal schema. Schema has scale 2, value has scale 1.",
        ),
        (
            Datum::new(SchemaBuilder::timestamp().build().unwrap(), Value::text("x")),
            "Invalid type for Timestamp, expected Date but was class java.lang.String",
        ),
        (
            Datum::new(sample(), Value::Struct(Box::new(Struct::new(SchemaBuilder::record().build().unwrap())))),
            "Mismatching schema.",
        ),
        (
            Datum::new(sample(), Value::Struct(Box::new(Struct::new(sample())))),
            "field \"f1\": Conversion error: null value for field that is required and has no default value",
        ),
    ] {
        assert_eq!(write_error(&datum), expected);
    }
}

#[test]
fn a_payload_handle_is_refused_with_advice() {
    #[derive(Debug)]
    struct Image;
    #[pipette_api::async_trait]
    impl pipette_api::Payload for Image {
        fn len(&self) -> Option<u64> {
            Some(10_000_000_000)
        }
        async fn open(&self, _: u64, _: Option<u64>) -> Result<Box<dyn pipette_api::PayloadReader>> {
            Err(ConnectError::retriable("not in this test"))
        }
    }
    let value = Value::Payload(Arc::new(Image));
    for datum in [Datum::schemaless(value.clone()), Datum::new(Schema::of(Kind::Bytes), value)] {
        let error = write_error(&datum);
        assert!(error.contains("10000000000 bytes") && error.contains("ClaimCheck"), "{error}");
    }
}

#[test]
fn coercions_are_javas() {
    let int32 = r#"{"type":"int32"}"#;
    let with_default = r#"{"type":"int32","optional":true,"default":9}"#;
    let array = r#"{"type":"array","items":{"type":"int8"}}"#;
    for (schema, text, expected) in [
        (r#"{"type":"int8"}"#, "300", Value::I8(44)),
        (array, r#"{"a":1,"b":2}"#, Value::Array(Box::new([Value::I8(1), Value::I8(2)]))),
        (int32, "\"12\"", Value::I32(0)),
        (int32, "1e10", Value::I32(1_410_065_408)),
        (r#"{"type":"int16"}"#, "1e10", Value::I16(-7168)),
        (r#"{"type":"int64"}"#, "1.9", Value::I64(1)),
        (r#"{"type":"int64"}"#, "1e30", Value::I64(5_076_944_270_305_263_616)),
        (r#"{"type":"boolean"}"#, "\"true\"", Value::Bool(false)),
        (r#"{"type":"string"}"#, "12", Value::Null),
        (r#"{"type":"bytes"}"#, "12", Value::Null),
        (r#"{"type":"float"}"#, "1.1", Value::F32(1.1)),
        (r#"{"type":"float"}"#, "1e39", Value::F32(f32::INFINITY)),
        (r#"{"type":"double"}"#, "\"x\"", Value::F64(0.0)),
        (r#"{"type":"double"}"#, "-0.0", Value::F64(0.0)),
        (with_default, "null", Value::I32(9)),
        (array, "5", Value::Array(Box::new([]))),
        (
            r#"{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}}"#,
            "1.5",
            decimal(15, 1),
        ),
        (
            r#"{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}}"#,
            "\"AJw=\"",
            decimal(156, 2),
        ),
        (r#"{"type":"int32","name":"org.apache.kafka.connect.data.Time"}"#, "86400000", Value::Time(86_400_000)),
    ] {
        assert_eq!(payload(schema, text).unwrap(), expected, "{schema} {text}");
    }
    let pairs = r#"{"type":"map","keys":{"type":"int32"},"values":{"type":"int32"}}"#;
    let expected = Map::from(vec![(Value::I32(1), Value::I32(3)), (Value::I32(2), Value::I32(2))]);
    assert_eq!(payload(pairs, "[[1,1],[2,2],[1,3]]").unwrap(), Value::Map(Box::new(expected)));
    let mut keep = converter(&[("replace.null.with.default", "false")]);
    let document = format!("{{\"schema\":{with_default},\"payload\":null}}");
    assert_eq!(keep.read(Some(&blob(document))).unwrap().value, Value::Null);
}

#[test]
fn what_java_refuses_is_refused_in_its_words() {
    let record = r#"{"type":"struct","fields":[{"type":"string","field":"a"}]}"#;
    let date = r#"{"type":"int32","name":"org.apache.kafka.connect.data.Date"}"#;
    let time = r#"{"type":"int32","name":"org.apache.kafka.connect.data.Time"}"#;
    let cents = r#"{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal","parameters":{"scale":"2"}}"#;
    for (schema, text, expected) in [
        (r#"{"type":"int32"}"#, "null", "Invalid null value for required INT32 field"),
        (r#"{"type":"bytes"}"#, "\"!!\"", "Invalid bytes field"),
        (record, "{}", "Invalid null value for required STRING field"),
        (record, "{\"a\":1}", "Invalid value: null used for required field"),
        (record, "[]", "Structs should be encoded as JSON objects, but found ARRAY"),
        (time, "-1", "Time values must use number of milliseconds greater than 0 and less than 86400000"),
        (date, "2147483648", "Invalid type for Date, underlying representation should be integer but was NUMBER"),
        (cents, "\"\"", "Invalid bytes for Decimal field"),
        (r#"{"type":"int99"}"#, "1", "Unknown schema type: int99"),
        ("{}", "1", "Schema must contain 'type' field"),
        ("5", "1", "Schema must contain 'type' field"),
        (r#"{"type":"array"}"#, "[]", "Array schema did not specify the element type"),
        (r#"{"type":"struct","fields":1}"#, "{}", "\"fields\" argument is not an array"),
        (r#"{"type":"struct","fields":[{"type":"int8","field":""}]}"#, "{}", "fieldName cannot be null."),
        (r#"{"type":"struct","fields":[],"default":{}}"#, "{}", "Invalid default value"),
        (r#"{"type":"string","default":5}"#, "\"x\"", "Invalid default value"),
        (r#"{"type":"int8","parameters":{"a":1}}"#, "1", "parameters must have string values"),
    ] {
        let message = refusal(schema, text);
        assert!(message.contains(expected), "{schema} {text}: {message}");
    }
    for document in ["", "null", "5", "{}", r#"{"schema":null}"#, r#"{"schema":null,"payload":1,"x":2}"#] {
        let message = read(document).unwrap_err().to_string();
        assert!(
            message.starts_with("JsonConverter with schemas.enable requires \"schema\" and \"payload\""),
            "{message}"
        );
    }
    let error = plain().read(Some(&blob("{\"a\":"))).unwrap_err();
    let expected =
        "Converting byte[] to Kafka Connect data failed due to serialization error: a: invalid JSON at byte 5";
    assert!(error.chain().starts_with(expected), "{}", error.chain());
}

#[test]
fn an_error_says_where_it_is() {
    let item = r#"{"type":"struct","fields":[{"type":"int32","field":"qty"}]}"#;
    let items = format!("{{\"type\":\"array\",\"items\":{item},\"field\":\"items\"}}");
    let prices = r#"{"type":"map","keys":{"type":"int8"},"values":{"type":"bytes"},"field":"a b"}"#;
    let order = format!("{{\"type\":\"struct\",\"field\":\"order\",\"fields\":[{items},{prices}]}}");
    let schema = format!("{{\"type\":\"struct\",\"fields\":[{order}]}}");
    for (body, expected) in [
        (r#"{"order":{"items":[{"qty":1},{}]}}"#, "payload.order.items[1].qty: Invalid null value for required"),
        (r#"{"order":{"items":[{"qty":1},7]}}"#, "payload.order.items[1]: Structs should be"),
        (
            r#"{"order":{"items":[{"qty":1}],"a b":[[1,"AA=="],[2,"!"]]}}"#,
            "payload.order[\"a b\"][1][1]: Invalid bytes",
        ),
        ("{}", "payload.order: Invalid null value for required STRUCT"),
    ] {
        let message = refusal(&schema, body);
        assert!(message.starts_with(expected), "{message}");
        let reversed = read(&format!("{{\"payload\":{body},\"schema\":{schema}}}")).unwrap_err();
        assert_eq!(reversed.to_string(), message);
    }
    let mut plain = plain();
    for (text, expected) in [
        (
            r#"{"a":1,"order":{"items":[{},[2,{"x":{"y":1},"qty":-}]]}}"#,
            "order.items[1][1].qty: invalid JSON at byte 51",
        ),
        ("[1,{},nul]", "[2]: invalid JSON at byte 6"),
        ("nul", "invalid JSON at byte 0"),
    ] {
        let chain = plain.read(Some(&blob(text))).unwrap_err().chain();
        let expected = format!("Converting byte[] to Kafka Connect data failed due to serialization error: {expected}");
        assert!(chain.starts_with(&expected), "{chain}");
    }
    let bad_schema = refusal(r#"{"type":"struct","fields":[{"type":"int9","field":"a"}]}"#, "{}");
    assert_eq!(bad_schema, "schema: field \"a\": Unknown schema type: int9");
}

#[test]
fn schemas_are_shared_and_read_in_any_order() {
    let schema = r#"{"type":"struct","fields":[{"type":"int64","optional":false,"field":"a"}],"optional":false}"#;
    let mut converter = converter(&[]);
    let mut seen = |text: String| converter.read(Some(&blob(text))).unwrap();
    let first = seen(format!("{{\"schema\":{schema},\"payload\":{{\"a\":1}}}}"));
    let other = seen(r#"{"schema":{"type":"int8"},"payload":1}"#.to_owned());
    let again = seen(format!(" {{ \"schema\" : {schema} , \"payload\" : {{\"x\":[{{}}],\"a\":2}} }} "));
    let reversed = seen(format!("{{\"payload\":{{\"a\":1}},\"schema\":{schema}}}"));
    let (a, b) = (first.schema.as_ref().unwrap(), again.schema.as_ref().unwrap());
    assert!(Arc::ptr_eq(a, b), "law C5");
    assert_eq!(first, reversed);
    assert_eq!(other.value, Value::I8(1));
}

#[test]
fn a_fixed_schema_reads_whole_documents() {
    let schema = r#"{"type":"struct","fields":[{"type":"int8","optional":true,"field":"a"}]}"#;
    let mut fixed = converter(&[("schema.content", schema)]);
    let mut a = |text: &str| match fixed.read(Some(&blob(text))).map(|datum| datum.value) {
        Ok(Value::Struct(record)) => Ok(record.values()[0].clone()),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    };
    assert_eq!(a(r#"{"a":3}"#), Ok(Value::I8(3)));
    assert_eq!(a(r#"{"schema":null,"payload":1}"#), Ok(Value::Null));
    assert!(a("").unwrap_err().ends_with("but found MISSING"));
    for (content, expected) in [
        ("{", "Failed to parse schema in converter config due to serialization error: "),
        ("{}", "schema.content: Schema must"),
    ] {
        let config = ConfigMap::from([("schema.content".into(), content.into())]);
        let error = JsonConverter::new(&Settings::new(config, &CONFIG)).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

#[test]
fn deep_values_and_schemas_are_errors_on_a_small_stack() {
    let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let datum = plain().read(Some(&blob(nested(1000)))).unwrap();
    assert_eq!(text(&mut plain(), &datum), nested(1000));
    let deeper = Datum::schemaless(Value::Array(Box::new([datum.value])));
    assert!(plain().write(&deeper, &mut Vec::new()).is_err());
    let schema = |depth: usize| r#"{"type":"array","items":"#.repeat(depth) + r#"{"type":"int8"}"# + &"}".repeat(depth);
    assert!(payload(&schema(99), &nested(99)).is_ok());
    assert!(refusal(&schema(900), "[]").contains("nested deeper than 100 levels"));
}

fn finite() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("JSON has no sign of zero", |number| number.is_finite() && number.to_bits() != 1 << 63)
}

/// A schema and a strategy for values of it.
fn typed() -> impl Strategy<Value = (Arc<Schema>, Value)> {
    let of = |kind: Kind| move |value: Value| (Schema::of(kind), value);
    let build = |builder: SchemaBuilder| builder.build().unwrap();
    let leaf = prop_oneof![
        any::<i8>().prop_map(Value::I8).prop_map(of(Kind::Int8)),
        any::<i16>().prop_map(Value::I16).prop_map(of(Kind::Int16)),
        any::<i32>().prop_map(Value::I32).prop_map(of(Kind::Int32)),
        any::<i64>().prop_map(Value::I64).prop_map(of(Kind::Int64)),
        any::<f32>()
            .prop_filter("JSON has no sign of zero", |number| number.is_finite() && number.to_bits() != 1 << 31)
            .prop_map(Value::F32)
            .prop_map(of(Kind::Float32)),
        finite().prop_map(Value::F64).prop_map(of(Kind::Float64)),
        any::<bool>().prop_map(Value::Bool).prop_map(of(Kind::Boolean)),
        any::<String>().prop_map(Value::text).prop_map(of(Kind::String)),
        any::<Vec<u8>>().prop_map(|bytes| Value::Bytes(blob(bytes))).prop_map(of(Kind::Bytes)),
        any::<i32>().prop_map(move |days| (build(SchemaBuilder::date()), Value::Date(days))),
        (0..86_400_000).prop_map(move |millis| (build(SchemaBuilder::time()), Value::Time(millis))),
        any::<i64>().prop_map(move |millis| (build(SchemaBuilder::timestamp()), Value::Timestamp(millis))),
        (any::<i64>(), -5..40)
            .prop_map(move |(digits, scale)| { (build(SchemaBuilder::decimal(scale)), decimal(digits, scale)) }),
        Just((Schema::optional(Kind::String), Value::Null)),
        ("\\PC{0,6}", any::<i32>()).prop_map(move |(doc, number)| {
            let builder = SchemaBuilder::new(Kind::Int32).default(Value::I32(number)).doc(doc.as_str()).param("p", doc);
            (build(builder), Value::I32(number))
        }),
    ];
    leaf.prop_recursive(4, 30, 6, move |inner| {
        let names = proptest::collection::btree_set("\\PC{1,5}", 6);
        prop_oneof![
            (inner.clone(), 0usize..4).prop_map(move |((schema, value), count)| {
                (build(SchemaBuilder::array(schema)), Value::Array(vec![value; count].into()))
            }),
            (inner.clone(), any::<String>()).prop_map(move |((schema, value), key)| {
                let entries = Map::from(vec![(Value::text(key), value)]);
                (build(SchemaBuilder::map(Schema::of(Kind::String), schema)), Value::Map(Box::new(entries)))
            }),
            (inner.clone(), any::<i16>()).prop_map(move |((schema, value), key)| {
                let entries = Map::from(vec![(Value::I16(key), value)]);
                (build(SchemaBuilder::map(Schema::of(Kind::Int16), schema)), Value::Map(Box::new(entries)))
            }),
            (proptest::collection::vec(inner, 0..6), names).prop_map(move |(parts, names)| {
                let pairs = names.into_iter().zip(parts);
                let (mut builder, mut values) = (SchemaBuilder::record().name("r").version(3), Vec::new());
                for (name, (schema, value)) in pairs {
                    builder = builder.field(name, schema);
                    values.push(value);
                }
                let schema = build(builder);
                (Arc::clone(&schema), Value::Struct(Box::new(Struct::from_parts(schema, values))))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back((schema, value) in typed(), numeric in any::<bool>()) {
        let datum = Datum::new(schema, value);
        let mut converter = converter(&[("decimal.format", if numeric { "NUMERIC" } else { "BASE64" })]);
        let written = text(&mut converter, &datum);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&written).is_ok(), "{written}");
        prop_assert_eq!(converter.read(Some(&blob(written))).unwrap(), datum);
    }

    #[test]
    fn garbage_is_a_data_error((schema, value) in typed(), cut in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut converter = converter(&[]);
        let mut bytes = text(&mut converter, &Datum::new(schema, value)).into_bytes();
        let at = cut.index(bytes.len());
        bytes[at] = byte;
        for document in [&bytes[..], &bytes[..at]] {
            if let Err(error) = converter.read(Some(&blob(document))) {
                prop_assert_eq!(error.kind(), ErrorKind::Data);
            }
        }
    }
}

#[test]
fn logical_types_are_recognised_by_name_alone() {
    let odd = SchemaBuilder::new(Kind::Int64).name(logical::DATE).build().unwrap();
    let datum = Datum::new(odd, Value::Date(5));
    let written = text(&mut converter(&[]), &datum);
    assert_eq!(read(&written).unwrap(), datum);
}
