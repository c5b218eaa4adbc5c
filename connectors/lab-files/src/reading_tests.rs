//! Property tests of `reading.rs`: wherever reading is broken off, it goes on with the very next record.

use std::fs;
use std::path::Path;

use pipette_api::{ConfigMap, Settings, SourceEntry, Value};
use proptest::prelude::*;

use super::{Budget, OpenFile, Opened, Opening, open};
use crate::identity::{FileKey, Look, StoredOffset, partition};
use crate::settings::LabFilesSettings;

fn settings(format: &str) -> LabFilesSettings {
    let pairs = [
        ("input.path", "/in"),
        ("topic", "t"),
        ("cleanup.policy", "NONE"),
        ("format", format),
        ("csv.separator.char", ","),
        ("max.record.bytes", "60"),
        ("csv.quoted.max.lines", "3"),
        ("csv.row.width", "flexible"),
    ];
    let config: ConfigMap = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    LabFilesSettings::read(&Settings::new(config, &crate::CONFIG)).unwrap()
}

fn opened(path: &Path, settings: &LabFilesSettings, stored: Option<&StoredOffset>) -> Option<Box<OpenFile>> {
    let opening = Opening {
        connector: "files",
        key: &FileKey { root: 0, path: "f".into() },
        path: path.to_owned(),
        look: Look::of(&fs::metadata(path).unwrap()),
        settled: true,
        partition: partition("in", "f"),
        stored,
    };
    match open(&opening, settings) {
        Ok(Opened::Reading(open)) => Some(open),
        Ok(Opened::Ended { .. }) => None,
        Err(error) => panic!("{error:?}"),
    }
}

/// What each entry says, with the offset behind it.
fn read(open: &mut OpenFile, records: usize) -> (Vec<(String, StoredOffset)>, bool) {
    let portion = open.read(Budget { records, bytes: 1 << 20 }).unwrap();
    assert!(portion.error.is_none());
    let said = portion.entries.into_iter().map(|entry| match entry {
        SourceEntry::Record(record) => {
            let headers = record.record.headers.0.iter().map(|(name, datum)| format!("{name}={:?} ", datum.value));
            let value = match &record.record.value.value {
                Value::Struct(row) => format!("{:?}", row.values()),
                value => format!("{value:?}"),
            };
            (headers.collect::<String>() + &value, record.position.unwrap())
        }
        SourceEntry::Bad { position, error, .. } => (error.to_string(), position.unwrap()),
        SourceEntry::Position(position) => ("end".to_owned(), position),
        other => panic!("{other:?}"),
    });
    let parsed = said.map(|(said, position)| (said, StoredOffset::parse(&position.render()).unwrap()));
    (parsed.collect(), portion.ended)
}

fn read_all(open: &mut OpenFile) -> Vec<(String, StoredOffset)> {
    let mut all = Vec::new();
    loop {
        let (said, ended) = read(open, 7);
        all.extend(said);
        if ended {
            return all;
        }
    }
}

/// Records and errors, which name record, byte and line. Whether the end comes with the last of them or alone, and
/// whether blank lines before it belong to it, depends on how portions fall.
fn content(said: &[(String, StoredOffset)]) -> Vec<&str> {
    said.iter().map(|(said, _)| said.as_str()).filter(|said| *said != "end").collect()
}

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[a-cµ😀]{0,6}",
        3 => Just(",".to_owned()),
        2 => Just("\n".to_owned()),
        2 => Just("\r\n".to_owned()),
        1 => Just("\"".to_owned()),
        1 => Just("\"q,\n\"".to_owned()),
        1 => Just("x".repeat(70)),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| format!("a,b\n{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn reading_goes_on_with_the_next_record_wherever_it_was_broken_off(text in text(), utf16: bool, lines: bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let raw: Vec<u8> = if utf16 {
            std::iter::once(0xFEFF).chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect()
        } else {
            text.clone().into_bytes()
        };
        fs::write(&path, &raw).unwrap();
        let settings = settings(if lines { "lines" } else { "csv" });
        let all = read_all(&mut opened(&path, &settings, None).unwrap());
        prop_assert_eq!(all.last().unwrap().1.progress.position, raw.len() as u64);
        for (index, (_, stored)) in all.iter().enumerate() {
            let Some(mut again) = opened(&path, &settings, Some(stored)) else {
                prop_assert_eq!(index + 1, all.len(), "only the last offset says that the file has ended");
                continue;
            };
            let rest = read_all(&mut again);
            prop_assert_eq!(content(&rest), content(&all[index + 1..]));
        }
        if lines {
            // What ends a line but for the newline counts as well.
            let fits = |line: &&str| line.len() <= 60;
            let expected = text.split_terminator('\n').filter(fits).count();
            let told = all.iter().filter(|(said, _)| said.contains("String") || said.contains("file.record")).count();
            prop_assert_eq!(told, expected);
        }
    }
}
