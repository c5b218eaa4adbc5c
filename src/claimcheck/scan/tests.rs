use pipette_api::TopicPartition;
use pipette_api::record::TimestampType;

use super::*;

const SHA: &str = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
const UUID: &str = "01939d3c-7a00-7000-8000-0123456789ab";

fn of_day(day: u32) -> String {
    format!("in/images/2026-11-{day}/{SHA}")
}

fn index(keys: &[&str]) -> Index {
    let mut index = Index::default();
    for key in keys {
        assert!(index.add(key, 0), "{key}");
    }
    index.seal();
    index
}

fn record(headers: &[(&str, &[u8])], value: &[u8]) -> RawRecord {
    let blob = |bytes: &[u8]| Blob::whole(bytes.to_vec()).unwrap();
    RawRecord {
        tp: TopicPartition::new("t", 3),
        offset: 17,
        key: None,
        value: Some(Body::Bytes(blob(value))),
        headers: headers.iter().map(|(name, text)| ((*name).into(), Some(blob(text)))).collect(),
        timestamp: None,
        timestamp_type: TimestampType::NotAvailable,
    }
}

/// Which keys nothing refers to once a record with that value was read.
fn orphans<'k>(keys: &[&'k str], value: &[u8]) -> Vec<&'k str> {
    let mut index = index(keys);
    index.read(&record(&[], value), &["claim-check"]).unwrap();
    keys.iter().copied().filter(|key| index.is_orphan(key, 0)).collect()
}

#[test]
fn a_reference_counts_in_any_form_and_whatever_stands_around_it() {
    let key = of_day(26);
    let other = format!("in/images/2026-11-26/{}", SHA.replace('2', "3"));
    let uuid = format!("in/images/2026-11-26/{UUID}.zst");
    let keys = [key.as_str(), &other, &uuid];
    assert_eq!(orphans(&keys, b"nothing"), keys);
    let base = |key: &str| format!("s3://lake/{key}");
    for text in [
        base(&key),
        format!(r#"{{"uri":"{}"}}"#, base(&key)),
        format!(r#"{{"uri":"{}"}}"#, base(&key).replace('/', r"\/")),
        base(&key).replace('/', "%2F"),
        format!(r#"["PayloadS3Pointer",{{"s3BucketName":"lake","s3Key":"{key}"}}]"#),
        format!("\0\u{2}{}", base(&key)),
        format!("{}abcdef", base(&key)),
        base(&key).replace("s3://", "s3a://"),
        SHA.to_uppercase(),
    ] {
        assert_eq!(orphans(&keys, text.as_bytes()), [other.as_str(), &uuid], "{text}");
    }
    for shift in 0..70 {
        let text = format!("{}{}", "-".repeat(shift), base(&uuid));
        assert_eq!(orphans(&keys, text.as_bytes()), [key.as_str(), &other], "{shift}");
    }
    assert_eq!(orphans(&keys, &key.as_bytes()[..key.len() - 1]), keys, "a digit is missing");
}

#[test]
fn headers_and_keys_count_as_values_do() {
    let key = of_day(26);
    for place in 0..3 {
        let mut index = index(&[&key]);
        let mut record = record(&[], b"small");
        match place {
            0 => record.key = Some(Blob::whole(key.as_bytes().to_vec()).unwrap()),
            1 => record.headers.push(("other".into(), Some(Blob::whole(key.as_bytes().to_vec()).unwrap()))),
            _ => {}
        }
        assert_eq!(index.read(&record, &[]).unwrap(), place < 2);
        assert_eq!((index.is_orphan(&key, 0), index.is_referred_to(0)), (place == 2, place < 2));
        assert!(!index.is_referred_to(1));
    }
}

/// The same content is stored anew each day: the old object may go although a record refers to the new one.
#[test]
fn the_date_tells_objects_of_one_content_apart() {
    let (first, second) = (of_day(20), of_day(26));
    let keys = [first.as_str(), second.as_str()];
    let native = format!(r#"{{"uri":"s3://lake/{second}","size":5,"digest":"sha256:{SHA}"}}"#);
    assert_eq!(orphans(&keys, native.as_bytes()), [first.as_str()]);
    assert_eq!(orphans(&keys, SHA.as_bytes()), Vec::<&str>::new(), "in doubt both");
    assert_eq!(orphans(&keys, of_day(21).as_bytes()), keys, "that one is gone already");
    let dateless = format!("raw/{SHA}");
    assert_eq!(
        orphans(&[&dateless, &first], second.as_bytes()),
        [first.as_str()],
        "without a date every mention counts"
    );
}

#[test]
fn a_header_that_is_no_reference_is_an_error_with_its_place() {
    let mut index = index(&[&of_day(26)]);
    let mut read = |header: &[u8]| index.read(&record(&[("claim-check", header)], b""), &["claim-check"]);
    let error = read(b"[{").unwrap_err().to_string();
    assert!(error.starts_with("t-3 offset 17, header claim-check: nothing was deleted: "), "{error}");
    assert!(!read(br#"[{"uri":"s3://other/x","size":1}]"#).unwrap(), "a reference to what is not ours");
    let quoted = format!(r#"{{"schema":null,"payload":"[{{\"uri\":\"s3://lake/{}\"}}]"}}"#, of_day(26));
    assert!(read(quoted.as_bytes()).unwrap(), "what a header converter makes of it");
}

#[test]
fn names_without_a_number_are_not_looked_after() {
    assert!(!Index::default().add("in/images/report.pdf", 0));
}
