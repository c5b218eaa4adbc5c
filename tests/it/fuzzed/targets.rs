//! What must hold for any bytes whatever. `fuzz/` runs these functions under libFuzzer, `tests/it/fuzzed.rs` on the bytes
//! that were worth keeping.
//!
//! Each panics when its promise is broken, and returns otherwise.

use pipette::plugins::Plugins;
use pipette_api::data::Part;
use pipette_api::{
    Blob, ConfigMap, ConnectError, Datum, ErrorKind, HeaderConverter, Record, Result, Settings, Transform, Value,
};
use pipette_json::{Document, Parser, parse, write};
use transform_claim_check::{InMemory, Limits, Wanted, extract};

pub type Target = fn(&[u8]);

/// By name, which is also that of the corpus.
pub static ALL: [(&str, Target); 9] = [
    ("json", json),
    ("envelope", envelope),
    ("header", header),
    ("pattern", pattern),
    ("field_path", field_path),
    ("date_pattern", date_pattern),
    ("filter_path", filter_path),
    ("sparkplug", sparkplug),
    ("metadata", metadata),
];

/// What is JSON is written, is JSON again and the same value; what is skipped unseen would have been read, and the other
/// way round.
pub fn json(bytes: &[u8]) {
    let blob = Blob::whole(bytes.to_vec()).unwrap();
    if let Ok(document) = Document::new(&blob) {
        let read = Parser::default().value(&mut document.reader()).map(drop);
        let skipped = document.reader().skip();
        assert_eq!(read.map_err(|e| e.to_string()), skipped.map_err(|e| e.to_string()));
    }
    // As a member of a record like an earlier one, which stays text until somebody asks.
    let settings = [("schemas.enable", "false")];
    let (mut learnt, mut fresh) = (converter("JsonConverter", &settings), converter("JsonConverter", &settings));
    read(&mut learnt, b"{\"a\":0,\"b\":[]}").unwrap();
    let record = [b"{\"a\":", bytes, b",\"b\":[", bytes, b"]}"].concat();
    same(&read(&mut learnt, &record), &read(&mut fresh, &record), &record);
    let Some(value) = good(parse(&blob)).filter(is_plain) else { return };
    let text = written(&value);
    let again = parse(&Blob::whole(text.clone()).unwrap()).unwrap();
    assert_eq!(again, value);
    assert_eq!(written(&again), text);
}

/// In Java too, a number that is too large for a double is read as infinity, which is written as a string, and one that
/// is too small as a zero, whose minus is written but never read.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::F32(number) => number.is_finite() && number.to_bits() != (-0.0f32).to_bits(),
        Value::F64(number) => number.is_finite() && number.to_bits() != (-0.0f64).to_bits(),
        Value::Array(elements) => elements.iter().all(is_plain),
        Value::Map(map) => map.iter().all(|(key, value)| is_plain(key) && is_plain(value)),
        Value::Struct(record) => record.values().iter().all(is_plain),
        _ => true,
    }
}

fn written(value: &Value) -> Vec<u8> {
    let mut text = Vec::new();
    write(value, &mut text).unwrap();
    text
}

/// What JsonConverter reads, it writes, unless the value is one that Java does not write either; read again, it is the
/// same. The first byte chooses the settings.
pub fn envelope(bytes: &[u8]) {
    let [choice, bytes @ ..] = bytes else { return };
    let on = |bit: u8| if choice & bit > 0 { "true" } else { "false" };
    let decimals = if choice & 4 > 0 { "NUMERIC" } else { "BASE64" };
    let settings = [("schemas.enable", on(1)), ("replace.null.with.default", on(2)), ("decimal.format", decimals)];
    let mut converter = converter("JsonConverter", &settings);
    let first = read(&mut converter, bytes);
    same(&read(&mut converter, bytes), &first, bytes);
    let Some(datum) = good(first).filter(|datum| is_plain(&datum.value)) else { return };
    let mut buffer = Vec::new();
    match converter.encode("t", "h", &datum, &mut buffer) {
        Ok(None) => assert!(datum.is_null()),
        Ok(Some(text)) => {
            let text = text.to_vec();
            let again = read(&mut converter, &text).unwrap();
            // What did not fit an optional field was read as null, which is written as the field's default.
            assert!(again == datum || on(2) == "true", "{} instead of {datum:?}", shown(&text));
            let mut buffer = Vec::new();
            assert_eq!(converter.encode("t", "h", &again, &mut buffer).unwrap(), Some(&text[..]), "{}", shown(&text));
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Data);
            let text = error.to_string();
            assert!(UNWRITTEN.iter().any(|known| text.contains(known)), "{text}");
        }
    }
}

/// What a converter reads is the same whatever it has read before, and so is the text that a sink writes of each part.
fn same(learnt: &Result<Datum>, fresh: &Result<Datum>, bytes: &[u8]) {
    let print = |value: Value| {
        let mut buffer = Vec::new();
        let mut strings = converter("StringConverter", &[]);
        let datum = Datum::schemaless(value);
        let text = strings.encode("t", "h", &datum, &mut buffer);
        text.ok().map(|text| text.unwrap_or(b"null").to_vec())
    };
    let part_is = |part: Part<'_>, value: &Value| {
        let text = match part {
            Part::Value(value) => print(value.clone()),
            Part::Text(text) => Some(text.to_vec()),
            Part::Unread(unread, start) => {
                let mut text = Vec::new();
                unread.print(start, &mut text);
                Some(text)
            }
        };
        assert_eq!(text.map(|text| shown(&text)), print(value.clone()).map(|text| shown(&text)), "{}", shown(bytes));
    };
    if let (Ok(learnt), Ok(fresh)) = (learnt, fresh) {
        match (&learnt.value, &fresh.value) {
            (Value::Map(learnt), Value::Map(fresh)) => {
                learnt.parts().zip(fresh.values()).for_each(|((_, part), value)| part_is(part, value));
            }
            (Value::Struct(learnt), Value::Struct(fresh)) => {
                learnt.parts().zip(fresh.values()).for_each(|(part, value)| part_is(part, value));
            }
            _ => {}
        }
    }
    let told = |error: &ConnectError| error.chain();
    assert_eq!(learnt.as_ref().map_err(told), fresh.as_ref().map_err(told), "{}", shown(bytes));
}

/// Values that can be read but, in Java as here, not be written.
const UNWRITTEN: [&str; 3] = [
    "Decimal value has mismatching scale",
    "Invalid Decimal schema: no scale parameter",
    // `true` read as required bytes is null.
    "null value for field that is required and has no default value",
];

/// Header text of any kind is a value; numbers and booleans, alone or in lists and maps, come back as they were.
pub fn header(bytes: &[u8]) {
    let mut converter = converter("SimpleHeaderConverter", &[]);
    let datum = read(&mut converter, bytes).unwrap();
    let mut buffer = Vec::new();
    let Some(text) = converter.encode("t", "h", &datum, &mut buffer).unwrap() else { return };
    let text = text.to_vec();
    let again = read(&mut converter, &text).unwrap();
    if comes_back(&datum.value) {
        // The type may be a smaller one: of a key that came twice, only one value was written.
        let mut buffer = Vec::new();
        let twice = converter.encode("t", "h", &again, &mut buffer).unwrap().unwrap();
        assert_eq!(shown(twice), shown(&text));
    }
}

fn comes_back(value: &Value) -> bool {
    match value {
        Value::Bool(_) | Value::I8(_) | Value::I16(_) | Value::I32(_) | Value::I64(_) => true,
        Value::Array(elements) => elements.iter().all(comes_back),
        Value::Map(map) => map.iter().all(|(key, value)| comes_back(key) && comes_back(value)),
        _ => false,
    }
}

/// Java's patterns and replacements, translated or refused: `pattern`, `replacement` and topic are lines of their own.
pub fn pattern(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines = text.splitn(3, '\n');
    let [pattern, replacement, topic] = [(); 3].map(|()| lines.next().unwrap_or_default());
    let Some(mut router) = transform("RegexRouter", &[("regex", pattern), ("replacement", replacement)]) else {
        return;
    };
    let mut record = Record::new(topic.into(), Datum::NULL);
    let _ = good(router.apply(&mut record));
}

/// A path to a field is a configuration or refused; one that is, is looked up in a record without a panic, and the same
/// record answers the same again. The first line is the path, the second JSON.
pub fn field_path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (path, json) = text.split_once('\n').unwrap_or((text, r#"{"a":{"b":1}}"#));
    let config = [("field", path), ("field.syntax.version", "V2")];
    let Some(mut extract) = transform("ExtractField$Value", &config) else { return };
    let Some(value) = good(parse(&Blob::whole(json.to_owned()).unwrap())) else { return };
    let record = Record::new("t".into(), Datum::schemaless(value));
    let (mut first, mut second) = (record.clone(), record);
    let answers = (good(extract.apply(&mut first)), good(extract.apply(&mut second)));
    assert!(answers.0 == answers.1 && first == second);
}

/// A date pattern is one or refused; what it writes is text, and what it reads is a time that it can write. The first line
/// is the pattern, the second a text.
pub fn date_pattern(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (pattern, text) = text.split_once('\n').unwrap_or((text, "2020-01-02"));
    let config = |target| [("target.type", target), ("format", pattern)];
    let Some(mut read) = transform("TimestampConverter$Value", &config("Timestamp")) else { return };
    let mut record = Record::new("t".into(), Datum::schemaless(Value::text(text)));
    if good(read.apply(&mut record)).is_none() {
        return;
    }
    let Some(mut write) = transform("TimestampConverter$Value", &config("string")) else { return };
    write.apply(&mut record).unwrap();
    assert!(record.value.value.as_str().is_some());
}

/// A condition of Confluent's Filter is one or refused, and then answers any record. The first line is the condition, the
/// second JSON.
pub fn filter_path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (condition, json) = text.split_once('\n').unwrap_or((text, r#"{"a":{"b":1}}"#));
    let config = [("filter.condition", condition), ("filter.type", "include")];
    let Some(mut filter) = transform("Filter$Value", &config) else { return };
    let Some(value) = good(parse(&Blob::whole(json.to_owned()).unwrap())) else { return };
    let mut record = Record::new("t".into(), Datum::schemaless(value));
    let _ = good(filter.apply(&mut record));
}

/// Messages of Sparkplug B, one after the other: each becomes records that can be written, or is bad input. A message has
/// a byte that chooses its topic, two for its length, and its payload.
pub fn sparkplug(bytes: &[u8]) {
    const TOPICS: [&str; 9] = [
        "spBv1.0/g/NBIRTH/n",
        "spBv1.0/g/NDATA/n",
        "spBv1.0/g/DBIRTH/n/d",
        "spBv1.0/g/DDATA/n/d",
        "spBv1.0/g/NDEATH/n",
        "spBv1.0/g/DDEATH/n/d",
        "spBv1.0/g/NCMD/n",
        "spBv1.0/STATE/h",
        "spBv1.0/g/NDATA/m",
    ];
    let mut reader = connector_mqtt::SparkplugReader::new(1000, 65_536).unwrap();
    let mut writer = converter("JsonConverter", &[("schemas.enable", "true")]);
    let mut rest = bytes;
    while let [kind, low, high, payload @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(payload.len());
        let topic = TOPICS[usize::from(*kind) % TOPICS.len()];
        for value in good(reader.values(topic, &payload[..length])).unwrap_or_default() {
            let mut buffer = Vec::new();
            assert!(writer.encode("t", "h", &value, &mut buffer).unwrap().is_some(), "{value:?}");
        }
        rest = &payload[length..];
    }
}

fn transform(class: &str, config: &[(&str, &str)]) -> Option<Box<dyn Transform>> {
    let plugin = Plugins::built_in().transform(class).unwrap();
    let config: ConfigMap = config.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    good((plugin.make)(Settings::new(config, plugin.info.config)))
}

/// Any answer but a broken promise.
fn good<T>(answer: Result<T>) -> Option<T> {
    answer.map_err(|error| assert!(matches!(error.kind(), ErrorKind::Data | ErrorKind::Config), "{error}")).ok()
}

fn converter(class: &str, settings: &[(&str, &str)]) -> Box<dyn HeaderConverter> {
    let plugin = Plugins::built_in().header_converter(class).unwrap();
    let config: ConfigMap = settings.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    (plugin.make)(Settings::new(config, plugin.info.config)).unwrap()
}

fn read(converter: &mut Box<dyn HeaderConverter>, bytes: &[u8]) -> Result<Datum> {
    converter.decode("t", "h", Some(&Blob::whole(bytes.to_vec()).unwrap()))
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// Whatever a file holds, there is an answer: short texts that can be shown.
pub fn metadata(bytes: &[u8]) {
    let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let tags =
        ["exif.Make", "exif.UserComment", "tiff.XResolution", "ome.Channels", "dicom.PatientName", "dicom.00180050"];
    let wanted = Wanted::parse(&list(&["basic", "exif", "tiff", "dicom"]), &list(&tags)).unwrap();
    let limits = Limits { bytes: 20_000, time: std::time::Duration::from_secs(10) };
    let payload = InMemory(Blob::whole(bytes.to_vec()).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let meta = runtime.block_on(extract(&payload, &wanted, limits)).unwrap();
    for (name, text) in meta.entries() {
        assert!(text.len() <= 1024 && !text.chars().any(char::is_control), "{name}: {text:?}");
    }
}
