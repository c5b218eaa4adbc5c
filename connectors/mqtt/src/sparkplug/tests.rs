//! Messages of edge nodes become records.

use pipette_api::{ConfigMap, Settings, Struct};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::wire::{write_bytes, write_varint};
use super::*;

fn sparkplug(pairs: &[(&str, &str)]) -> Sparkplug {
    let base = [("mqtt.server.uri", "mqtt://localhost"), ("mqtt.topics", "#")];
    let config: ConfigMap =
        base.iter().chain(pairs).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Sparkplug::new(SparkplugSettings::read(&Settings::new(config, &crate::SOURCE_CONFIG)).unwrap()).unwrap()
}

/// A field of a test's message.
enum F<'a> {
    N(u8, u64),
    B(u8, &'a [u8]),
    Float(f32),
    Double(f64),
}

fn encoded(fields: &[F<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for field in fields {
        match field {
            F::N(number, value) => write_varint(*number, *value, &mut out),
            F::B(number, bytes) => write_bytes(*number, bytes, &mut out),
            F::Float(value) => {
                out.push(12 << 3 | 5);
                out.extend(value.to_le_bytes());
            }
            F::Double(value) => {
                out.push(13 << 3 | 1);
                out.extend(value.to_le_bytes());
            }
        }
    }
    out
}

/// A payload with a sequence number and metrics.
fn payload(seq: Option<u64>, metrics: &[&[F<'_>]]) -> Vec<u8> {
    let mut out = encoded(&[F::N(1, 1_700_000_000_000)]);
    for metric in metrics {
        write_bytes(2, &encoded(metric), &mut out);
    }
    if let Some(seq) = seq {
        write_varint(3, seq, &mut out);
    }
    out
}

fn message(payload: Vec<u8>) -> Message {
    Message {
        packet: Packet { id: 0, qos: Qos::AtMostOnce },
        topic: Bytes::new(),
        payload: payload.into(),
        dup: false,
        retained: false,
        properties: None,
    }
}

fn parts(sparkplug: &mut Sparkplug, topic: &str, payload: Vec<u8>) -> Parts {
    sparkplug.parts(topic, &message(payload), None).unwrap()
}

fn of(datum: &Datum) -> &Struct {
    match &datum.value {
        Value::Struct(record) => record,
        other => panic!("a struct, not {other:?}"),
    }
}

fn value(parts: &Parts, index: usize) -> &Value {
    of(&parts.records[index].1).get("value").unwrap()
}

fn is_text(value: Option<&Value>, text: &str) -> bool {
    value.and_then(Value::as_str) == Some(text)
}

const NBIRTH: &str = "spBv1.0/plant/NBIRTH/press";
const NDATA: &str = "spBv1.0/plant/NDATA/press";

fn birth() -> Vec<u8> {
    let unit = encoded(&[F::B(1, b"unit"), F::B(2, &encoded(&[F::N(1, 12), F::B(8, b"C")]))]);
    payload(
        Some(0),
        &[
            &[F::B(1, b"bdSeq"), F::N(4, 4), F::N(11, 7)],
            &[F::B(1, b"heat"), F::N(2, 1), F::N(4, 10), F::B(9, &unit), F::Double(20.5)],
            &[F::B(1, b"level"), F::N(2, 2), F::N(4, 1), F::N(10, 5)],
        ],
    )
}

#[test]
fn names_and_types_of_data_come_from_the_birth() {
    let mut sparkplug = sparkplug(&[]);
    let born = parts(&mut sparkplug, NBIRTH, birth());
    let state = of(&born.records[0].1);
    assert_eq!((state.get("online"), state.get("bd_seq")), (Some(&Value::Bool(true)), Some(&Value::I64(7))));
    assert_eq!(born.records[0].0.as_ref().unwrap().value.as_str(), Some("plant/press"));
    assert_eq!(born.records.len(), 4);
    let heat = of(&born.records[2].1);
    let Some(Value::Map(properties)) = heat.get("properties") else { panic!("properties") };
    assert_eq!(properties.get("unit"), Some(&Value::text("C")));

    let low = u64::from(u32::MAX) - 4;
    let data: [&[F<'_>]; 3] = [
        &[F::N(2, 1), F::N(3, 99), F::Double(21.5)],
        &[F::N(2, 2), F::N(10, low)],
        &[F::N(2, 2), F::N(7, 1), F::N(5, 1)],
    ];
    let data = parts(&mut sparkplug, NDATA, payload(Some(1), &data));
    let heat = of(&data.records[0].1);
    assert!(is_text(heat.get("metric"), "heat") && is_text(heat.get("type"), "Double"), "{heat:?}");
    assert!(is_text(heat.get("message_type"), "NDATA") && heat.get("device") == Some(&Value::Null));
    assert_eq!((heat.get("timestamp"), heat.get("seq")), (Some(&Value::Timestamp(99)), Some(&Value::I16(1))));
    assert_eq!(data.records[0].0.as_ref().unwrap().value.as_str(), Some("plant/press/heat"));
    assert_eq!((value(&data, 0), value(&data, 1), value(&data, 2)), (&Value::F64(21.5), &Value::I8(-5), &Value::Null));
    let null = of(&data.records[2].1);
    assert_eq!(
        (null.get("historical"), null.get("timestamp")),
        (Some(&Value::Bool(true)), Some(&Value::Timestamp(1_700_000_000_000)))
    );
    let schema = |index: usize| data.records[index].1.schema.clone().unwrap();
    assert!(std::sync::Arc::ptr_eq(&schema(1), &schema(2)), "one schema for all metrics of a type");
    assert_eq!((sparkplug.noted().gaps, sparkplug.noted().unknown), (0, 0));
}

#[test]
fn what_no_birth_has_told_keeps_its_alias_and_is_asked_for() {
    let data = || payload(Some(9), &[&[F::N(2, 17), F::N(10, 5)]]);
    let mut silent = sparkplug(&[]);
    let unknown = parts(&mut silent, NDATA, data());
    let record = of(&unknown.records[0].1);
    assert_eq!((record.get("metric"), record.get("alias")), (Some(&Value::Null), Some(&Value::I64(17))));
    assert!(is_text(record.get("type"), "Unknown") && value(&unknown, 0) == &Value::I64(5));
    assert_eq!(unknown.records[0].0.as_ref().unwrap().value.as_str(), Some("plant/press/alias:17"));
    let noted = silent.noted();
    assert_eq!((noted.unknown, noted.commands.len()), (1, 0), "the plant is not written to unless asked for");

    let mut asking = sparkplug(&[("mqtt.sparkplug.rebirth", "names")]);
    parts(&mut asking, NDATA, data());
    parts(&mut asking, NDATA, payload(Some(10), &[&[F::N(2, 17), F::N(10, 5)]]));
    let commands = asking.noted().commands;
    assert_eq!(commands.len(), 1, "once in the interval");
    assert_eq!((commands[0].topic.as_str(), commands[0].retain), ("spBv1.0/plant/NCMD/press", false));
    let mut reader = sparkplug(&[]);
    let command = parts(&mut reader, &commands[0].topic, commands[0].payload.to_vec());
    assert!(is_text(of(&command.records[0].1).get("metric"), "Node Control/Rebirth"));
    assert_eq!(value(&command, 0), &Value::Bool(true));
}

/// The numbers of what may be made of messages that come one after the other, each on its topic.
fn through(sparkplug: &mut Sparkplug, now: Instant, came: &[(u64, &str, Vec<u8>)]) -> Vec<(u64, bool)> {
    let mut made = Vec::new();
    for (number, topic, payload) in came {
        let message = Message { topic: Bytes::copy_from_slice(topic.as_bytes()), ..message(payload.clone()) };
        let first = sparkplug.waits(Numbered { message, number: *number, has_gap: None }, now);
        let mut next: std::collections::VecDeque<_> = first.into_iter().chain(sparkplug.ready()).collect();
        while let Some(Numbered { message, number, has_gap }) = next.pop_front() {
            let topic = String::from_utf8(message.topic.to_vec()).unwrap();
            let parts = sparkplug.parts(&topic, &message, has_gap).unwrap();
            made.push((number, parts.headers.last(GAP).is_some()));
            next.extend(sparkplug.ready());
        }
    }
    made
}

#[test]
fn data_waits_for_its_birth_in_its_order_and_not_for_ever() {
    const DDATA: &str = "spBv1.0/plant/DDATA/press/arm";
    const DBIRTH: &str = "spBv1.0/plant/DBIRTH/press/arm";
    let buffer = [("mqtt.sparkplug.unknown", "buffer"), ("mqtt.sparkplug.rebirth", "names")];
    let heat = |seq| payload(Some(seq), &[&[F::N(2, 1), F::Double(1.0)]]);
    let arm = |seq| payload(Some(seq), &[&[F::N(2, 9), F::N(10, 1)]]);
    let arm_birth = || payload(Some(1), &[&[F::B(1, b"grip"), F::N(2, 9), F::N(4, 3), F::N(10, 0)]]);
    let now = Instant::now();

    let mut one = sparkplug(&buffer);
    let early = [(0, NDATA, heat(7)), (1, NDATA, heat(9)), (2, "spBv1.0/plant/NDATA/other", payload(Some(1), &[]))];
    assert_eq!(through(&mut one, now, &early), [(2, false)], "another node does not wait");
    assert_eq!(one.noted().commands.len(), 1, "the birth is asked for");
    let born = [(3, NBIRTH, birth()), (4, NDATA, heat(1))];
    let expected = [(3, false), (0, false), (1, true), (4, false)];
    assert_eq!(through(&mut one, now, &born), expected, "a gap is one where it came");
    let devices = [(5, DDATA, arm(2)), (6, NDATA, heat(3)), (7, DBIRTH, arm_birth()), (8, NDATA, heat(2))];
    let numbers = |made: Vec<(u64, bool)>| made.into_iter().map(|(number, _)| number).collect::<Vec<_>>();
    assert_eq!(numbers(through(&mut one, now, &devices)), [7, 5, 6, 8]);
    assert_eq!((one.until(), one.noted().unknown), (None, 0));

    let mut in_vain = sparkplug(&buffer);
    assert_eq!(through(&mut in_vain, now, &early[..2]), []);
    let late = in_vain.until().unwrap();
    assert_eq!((late, in_vain.overdue(now).len()), (now + Duration::from_secs(30), 0));
    assert_eq!(in_vain.overdue(late).iter().map(|waited| waited.number).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(through(&mut in_vain, now, &early[..1]), []);
    let death = [(9, "spBv1.0/plant/NDEATH/press", payload(None, &[]))];
    assert_eq!(numbers(through(&mut in_vain, now, &death)), [0, 9], "what is dead is not born any more");

    let mut full = sparkplug(&[buffer[0], ("mqtt.buffer.max.records", "8")]);
    assert_eq!(through(&mut full, now, &early[..2]), []);
    assert_eq!(numbers(through(&mut full, now, &[(2, NDATA, heat(10))])), [0, 1, 2], "no more than a quarter");
}

#[test]
fn a_gap_is_marked_and_may_ask_for_births() {
    let gap = |parts: &Parts| parts.headers.last(GAP).map(|datum| datum.value.clone());
    let mut sparkplug = sparkplug(&[("mqtt.sparkplug.rebirth", "gaps")]);
    parts(&mut sparkplug, NBIRTH, birth());
    let heat = |seq| payload(Some(seq), &[&[F::N(2, 1), F::Double(1.0)]]);
    assert_eq!(gap(&parts(&mut sparkplug, NDATA, heat(1))), None);
    assert_eq!(gap(&parts(&mut sparkplug, NDATA, heat(3))), Some(Value::Bool(true)));
    assert_eq!(gap(&parts(&mut sparkplug, NDATA, heat(4))), None);
    let noted = sparkplug.noted();
    assert_eq!((noted.gaps, noted.unknown, noted.commands.len()), (1, 0, 1));
    let device = parts(&mut sparkplug, "spBv1.0/plant/DDATA/press/arm", payload(Some(5), &[]));
    let names: Vec<&str> = device.headers.0.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, [GROUP, NODE, DEVICE, KIND, SEQ]);
    assert!(device.records.is_empty());
}

#[test]
fn a_death_tells_of_the_node_and_its_devices() {
    let mut sparkplug = sparkplug(&[]);
    parts(&mut sparkplug, NBIRTH, birth());
    parts(&mut sparkplug, "spBv1.0/plant/DBIRTH/press/arm", payload(Some(1), &[]));
    let death = |number| payload(None, &[&[F::B(1, b"bdSeq"), F::N(4, 4), F::N(11, number)]]);
    let online = |parts: &Parts, index: usize| of(&parts.records[index].1).get("online").cloned();
    let late = parts(&mut sparkplug, "spBv1.0/plant/NDEATH/press", death(6));
    assert_eq!((online(&late, 0), late.records.len()), (Some(Value::Bool(true)), 2), "of an earlier connection");
    let dead = parts(&mut sparkplug, "spBv1.0/plant/NDEATH/press", death(7));
    assert_eq!((online(&dead, 0), online(&dead, 1)), (Some(Value::Bool(false)), Some(Value::Bool(false))));
    assert!(is_text(of(&dead.records[1].1).get("device"), "arm"));
    assert_eq!(dead.records[1].0.as_ref().unwrap().value.as_str(), Some("plant/press/arm"));
    let after = parts(&mut sparkplug, NDATA, payload(Some(1), &[&[F::N(2, 1), F::Double(1.0)]]));
    assert_eq!(of(&after.records[0].1).get("metric"), Some(&Value::Null), "its aliases died with it");
}

#[test]
fn hosts_tell_their_state() {
    let mut sparkplug = sparkplug(&[]);
    let state = parts(&mut sparkplug, "spBv1.0/STATE/scada", br#"{"online": true, "timestamp": 5}"#.to_vec());
    let host = of(&state.records[0].1);
    assert!(is_text(host.get("host"), "scada"));
    assert_eq!((host.get("online"), host.get("timestamp")), (Some(&Value::Bool(true)), Some(&Value::Timestamp(5))));
    let old = parts(&mut sparkplug, "STATE/scada", b"OFFLINE".to_vec());
    assert_eq!(of(&old.records[0].1).get("online"), Some(&Value::Bool(false)));
    for bad in [&b"PERHAPS"[..], b"[1]", b"{}"] {
        assert!(
            sparkplug
                .parts("STATE/scada", &message(bad.to_vec()), None)
                .unwrap_err()
                .to_string()
                .contains("state of a host")
        );
    }
}

#[test]
fn raw_keeps_the_payload_and_refuses_what_is_none() {
    let mut raw = sparkplug(&[("mqtt.sparkplug.mode", "raw")]);
    let sent = birth();
    let kept = parts(&mut raw, NBIRTH, sent.clone());
    assert_eq!(kept.records.len(), 1);
    assert_eq!(kept.records[0].1.value, Value::Bytes(Blob::whole(sent).unwrap()));
    assert!(kept.records[0].0.is_none(), "the key is that of the configuration");
    assert_eq!(kept.headers.last(KIND).unwrap().value.as_str(), Some("NBIRTH"));
    assert!(raw.parts(NBIRTH, &message(b"oops".to_vec()), None).is_err());
}

#[test]
fn every_type_has_its_value() {
    let array = |bytes: &'static [u8], data_type| vec![F::N(4, data_type), F::B(16, bytes)];
    let list = |values: &[Value]| Value::Array(values.to_vec().into());
    let cases = [
        (vec![F::N(4, 1), F::N(10, 0xfb)], Value::I8(-5)),
        (vec![F::N(4, 2), F::N(10, 0xffff_8000)], Value::I16(-32768)),
        (vec![F::N(4, 3), F::N(11, u64::MAX)], Value::I32(-1)),
        (vec![F::N(4, 4), F::N(11, u64::MAX)], Value::I64(-1)),
        (vec![F::N(4, 5), F::N(10, 255)], Value::I16(255)),
        (vec![F::N(4, 6), F::N(10, 65_535)], Value::I32(65_535)),
        (vec![F::N(4, 7), F::N(11, 4_294_967_295)], Value::I64(4_294_967_295)),
        (vec![F::N(4, 8), F::N(11, 5)], Value::I64(5)),
        (vec![F::N(4, 9), F::Float(1.5)], Value::F32(1.5)),
        (vec![F::N(4, 10), F::Float(1.5)], Value::F64(1.5)),
        (vec![F::N(4, 11), F::N(14, 1)], Value::Bool(true)),
        (vec![F::N(4, 12), F::B(15, "é".as_bytes())], Value::text("é")),
        (vec![F::N(4, 13), F::N(11, 12)], Value::Timestamp(12)),
        (vec![F::N(4, 15), F::B(15, b"u-u")], Value::text("u-u")),
        (vec![F::N(4, 18), F::B(16, b"\x00\x01")], Value::Bytes(Blob::from(&b"\x00\x01"[..]))),
        (vec![F::N(4, 99), F::B(15, b"new")], Value::text("new")),
        (array(b"\xff\x01", 22), list(&[Value::I8(-1), Value::I8(1)])),
        (array(b"\xff\xff\x01\x00", 27), list(&[Value::I32(65_535), Value::I32(1)])),
        (array(b"\x00\x00\xc0\x3f", 30), list(&[Value::F32(1.5)])),
        (array(b"\x03\x00\x00\x00\xa0", 32), list(&[Value::Bool(true), Value::Bool(false), Value::Bool(true)])),
        (array(b"a\0\0b\0", 33), list(&[Value::text("a"), Value::text(""), Value::text("b")])),
        (array(b"\0", 33), list(&[Value::text("")])),
        (array(b"", 33), list(&[])),
        (array(b"\x05\0\0\0\0\0\0\0", 34), list(&[Value::Timestamp(5)])),
    ];
    let mut sparkplug = sparkplug(&[]);
    for (mut fields, expected) in cases {
        fields.push(F::B(1, b"m"));
        let made = parts(&mut sparkplug, NDATA, payload(None, &[&fields]));
        assert_eq!(value(&made, 0), &expected);
        let record = of(&made.records[0].1);
        let mut copy = Struct::new(std::sync::Arc::clone(record.schema()));
        copy.set("value", value(&made, 0).clone()).unwrap();
    }
    let large = parts(&mut sparkplug, NDATA, payload(None, &[&[F::B(1, b"m"), F::N(4, 8), F::N(11, u64::MAX)]]));
    let Value::Decimal(number) = value(&large, 0) else { panic!("a decimal") };
    assert_eq!(number.to_string(), "18446744073709551615");
}

#[test]
fn a_whole_payload_is_one_record_whose_values_stand_in_the_field_of_their_kind() {
    let mut sparkplug = sparkplug(&[("mqtt.sparkplug.mode", "payload")]);
    let born = parts(&mut sparkplug, NBIRTH, birth());
    assert_eq!(born.records.len(), 1, "with its births");
    let data: [&[F<'_>]; 6] = [
        &[F::N(2, 1), F::N(3, 99), F::Double(21.5)],
        &[F::N(2, 2), F::N(10, 5)],
        &[F::N(2, 3), F::N(10, 5)],
        &[F::B(1, b"on"), F::N(4, 11), F::N(14, 1)],
        &[F::B(1, b"count"), F::N(4, 8), F::N(11, u64::MAX)],
        &[F::B(1, b"row"), F::N(4, 22), F::B(16, &[1, 2])],
    ];
    let made = parts(&mut sparkplug, NDATA, payload(Some(1), &data));
    let [(key, value)] = &made.records[..] else { panic!("one record") };
    assert_eq!(key.as_ref().unwrap().value.as_str(), Some("plant/press"));
    let whole = of(value);
    assert_eq!((whole.get("seq"), is_text(whole.get("message_type"), "NDATA")), (Some(&Value::I16(1)), true));
    let Some(Value::Array(members)) = whole.get("metrics") else { panic!("metrics") };
    let seen = |index: usize| {
        let Value::Struct(member) = &members[index] else { panic!("a struct") };
        let values = ["long", "double", "boolean", "string", "bytes", "json"].map(|kind| format!("{kind}_value"));
        let given = values.iter().filter(|name| member.get(name) != Some(&Value::Null));
        let given: Vec<_> = given.map(|name| (name.clone(), member.get(name).unwrap().clone())).collect();
        (member.get("metric").and_then(Value::as_str).map(str::to_owned), given)
    };
    let one =
        |name: Option<&str>, field: &str, value: Value| (name.map(str::to_owned), vec![(field.to_owned(), value)]);
    assert_eq!(seen(0), one(Some("heat"), "double_value", Value::F64(21.5)));
    assert_eq!(seen(1), one(Some("level"), "long_value", Value::I64(5)));
    assert_eq!(seen(2), one(None, "long_value", Value::I64(5)));
    assert_eq!(seen(3), one(Some("on"), "boolean_value", Value::Bool(true)));
    assert_eq!(seen(4), one(Some("count"), "json_value", Value::text("18446744073709551615")));
    assert_eq!(seen(5), one(Some("row"), "json_value", Value::text("[1,2]")));
    assert_eq!(sparkplug.noted().unknown, 1);
}

#[test]
fn tables_and_templates_have_a_shape_of_their_own() {
    let cell = |fields: &[F<'_>]| encoded(fields);
    let row = encoded(&[F::B(1, &cell(&[F::N(1, 7)])), F::B(1, &cell(&[F::B(6, b"x")]))]);
    let table = encoded(&[F::N(1, 2), F::B(2, b"id"), F::B(2, b"name"), F::B(3, &[3, 12]), F::B(4, &row)]);
    let member = encoded(&[F::B(1, b"speed"), F::N(4, 9), F::Float(2.5)]);
    let parameter = encoded(&[F::B(1, b"max"), F::N(2, 3), F::N(3, 9)]);
    let template = encoded(&[F::B(1, b"1.0"), F::B(2, &member), F::B(3, &parameter), F::B(4, b"motor")]);
    let metrics: [&[F<'_>]; 2] =
        [&[F::B(1, b"t"), F::N(4, 16), F::B(17, &table)], &[F::B(1, b"m"), F::N(4, 19), F::B(18, &template)]];
    let mut sparkplug = sparkplug(&[]);
    let made = parts(&mut sparkplug, NDATA, payload(None, &metrics));
    let json = |index| {
        let mut out = Vec::new();
        pipette_json::write(value(&made, index), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(json(0), r#"[{"id":7,"name":"x"}]"#);
    assert_eq!(
        json(1),
        r#"{"template":"motor","version":"1.0","definition":false,"parameters":{"max":9},"members":{"speed":2.5}}"#
    );
}

#[test]
fn what_is_no_sparkplug_is_refused_with_the_reason() {
    let deep = |depth: usize| {
        let mut metric = encoded(&[F::B(1, b"m")]);
        for _ in 0..depth {
            metric = encoded(&[F::B(1, b"m"), F::B(18, &encoded(&[F::B(2, &metric)]))]);
        }
        payload(None, &[&[F::B(1, b"m"), F::B(18, &encoded(&[F::B(2, &metric)]))]])
    };
    let twice = encoded(&[F::B(1, b"a"), F::N(4, 3), F::N(10, 1)]);
    let twice = encoded(&[F::B(2, &twice), F::B(2, &twice)]);
    let lonely = encoded(&[F::B(1, b"unit")]);
    let ragged = encoded(&[F::B(2, b"a"), F::N(3, 3), F::B(4, b"")]);
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("site/a", birth(), "the topic is none of Sparkplug B"),
        (NDATA, b"{\"heat\": 1}".to_vec(), "wire type 3"),
        (NDATA, payload(Some(256), &[]), "its sequence number is 256"),
        (NDATA, payload(None, &[&[F::N(4, 3)]]), "a metric has neither name nor alias"),
        (NDATA, payload(None, &[&[F::B(1, b"\xff")]]), "in metric 0 a text is no UTF-8"),
        (NDATA, payload(None, &[&[F::B(1, b"m"), F::N(4, 3), F::B(15, b"x")]]), "in the metric 'm' the type is Int32"),
        (NDATA, payload(None, &[&[F::B(1, b"m"), F::N(4, 1), F::N(10, 300)]]), "300 is no Int8"),
        (NDATA, payload(None, &[&[F::B(1, b"m"), F::N(4, 23), F::B(16, b"abc")]]), "no multiple of 2"),
        (
            NDATA,
            payload(None, &[&[F::B(1, b"m"), F::N(4, 32), F::B(16, b"\xff\xff\xff\xff")]]),
            "an array of 4294967295",
        ),
        (NDATA, payload(None, &[&[F::B(1, b"m"), F::B(9, &lonely)]]), "has 1 names and 0 values"),
        (NDATA, payload(None, &[&[F::B(1, b"m"), F::B(17, &ragged)]]), "a row of a table has 0 cells for 1 columns"),
        (NDATA, payload(None, &[&[F::B(1, b"m"), F::B(18, &twice)]]), "field name duplication a"),
        (NDATA, deep(20), "more than 8 deep"),
        (NDATA, payload(None, &[&[F::N(2, 1)] as &[F<'_>]; 101]), "more than 100 values (mqtt.sparkplug.max.values)"),
    ];
    let mut sparkplug = sparkplug(&[("mqtt.sparkplug.max.values", "100")]);
    for (topic, payload, reason) in cases {
        let error = sparkplug.parts(topic, &message(payload), None).unwrap_err();
        assert_eq!(error.kind(), pipette_api::ErrorKind::Data);
        assert!(error.to_string().contains(reason), "{reason}: {error}");
    }
    assert!(parts(&mut sparkplug, NDATA, deep(6)).records.len() == 1);
}

proptest! {
    #[test]
    fn a_message_that_was_damaged_is_read_or_refused(changes in vec((any::<Index>(), any::<u8>()), 0..6), cut: Index) {
        let mut sparkplug = sparkplug(&[]);
        let mut damaged = birth();
        for (place, byte) in changes {
            let place = place.index(damaged.len());
            damaged[place] = byte;
        }
        damaged.truncate(cut.index(damaged.len()) + 1);
        for topic in [NBIRTH, NDATA, "spBv1.0/plant/NDEATH/press", NDATA] {
            if let Err(error) = sparkplug.parts(topic, &message(damaged.clone()), None) {
                prop_assert_eq!(error.kind(), pipette_api::ErrorKind::Data);
            }
        }
    }
}
