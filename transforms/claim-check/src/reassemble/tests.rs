use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use pipette_api::{Blob, Body, Collect, EncodedRecord, ErrorKind, RawRecord};
use pipette_store::chunk::Chunk;
use proptest::prelude::*;

use super::PLUGIN;
use crate::trial::{Trial, at, bytes, collector, consumed, errors, expander, header, noise, read, record, tp, value};

/// Pieces of a value of so many bytes, 1,024 in each.
fn pieces(seed: u64, len: usize) -> Vec<EncodedRecord> {
    cut(seed, len, &[])
}

fn cut(seed: u64, len: usize, more: &[(&str, &str)]) -> Vec<EncodedRecord> {
    let config = [&[("chunk.bytes", "1024")], more].concat();
    let mut chunk = expander(&crate::chunk::PLUGIN, &config);
    let like = EncodedRecord {
        headers: vec![("name".into(), Some(Blob::whole(seed.to_string()).unwrap()))],
        ..record(bytes(noise(len, seed)))
    };
    chunk.all(like, Some(&at("file", i64::try_from(seed).unwrap()))).unwrap()
}

fn plain(text: &str) -> EncodedRecord {
    record(bytes(text))
}

/// A log that is read from an offset on.
struct Sink {
    trial: Trial<dyn Collect>,
    next: i64,
}

impl Sink {
    fn new(config: &[(&str, &str)]) -> Self {
        Self::from(config, 0, None)
    }

    fn from(config: &[(&str, &str)], next: i64, note: Option<&str>) -> Self {
        let mut trial = collector(&PLUGIN, config);
        trial.step.assigned(&tp(), note).unwrap();
        Self { trial, next }
    }

    fn take(&mut self, piece: &EncodedRecord) -> pipette_api::Result<Option<RawRecord>> {
        self.next += 1;
        self.trial.step.collect(consumed(self.next - 1, piece))
    }

    /// What comes out of several records.
    fn all(&mut self, pieces: &[EncodedRecord]) -> Vec<RawRecord> {
        pieces.iter().filter_map(|piece| self.take(piece).unwrap()).collect()
    }

    fn floor(&self) -> Option<i64> {
        self.trial.step.floor(&tp(), self.next).map(|(offset, _)| offset)
    }

    fn number(&self, name: &str) -> i64 {
        let info = PLUGIN.metrics.iter().find(|info| info.name.ends_with(name)).unwrap();
        self.trial.bench.numbers.get(info.name, &[]).unwrap()
    }

    /// What is given up, in time.
    fn overdue(&mut self) -> (RawRecord, pipette_api::ConnectError) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(overdue) = self.trial.step.overdue() {
                return overdue;
            }
            assert!(Instant::now() < deadline, "nothing is given up");
            std::thread::yield_now();
        }
    }
}

fn folder() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn pieces_of_several_values_become_whole_among_other_records() {
    let (a, b) = (pieces(1, 3_000), pieces(2, 2_000));
    let mut sink = Sink::new(&[("inline.max.bytes", "2500")]);
    let log = [&a[0], &b[0], &plain("x"), &b[1], &a[1], &a[1], &a[2]].map(Clone::clone);
    let [x, whole_b, whole_a] = &sink.all(&log)[..] else { panic!("three records") };
    assert_eq!(value(x.value.as_ref()), b"x");
    assert!(matches!(whole_b.value, Some(Body::Bytes(_))), "small enough for the converter");
    assert!(matches!(whole_a.value, Some(Body::Payload(_))));
    for (seed, len, offset, whole) in [(1, 3_000, 6, whole_a), (2, 2_000, 3, whole_b)] {
        assert_eq!(value(whole.value.as_ref()), noise(len, seed));
        let names: Vec<_> = whole.headers.iter().map(|(name, _)| &**name).collect();
        assert_eq!((names, &whole.key, whole.offset), (vec!["name"], &None, offset));
    }
    assert_eq!((sink.number("values_total"), sink.number("bytes_total")), (2, 5_000));
    assert_eq!((sink.number("repeated_pieces_total"), sink.number("open_values")), (1, 0));
    assert_eq!(sink.number("memory_bytes"), 3_000, "as long as the sink holds it");
}

#[test]
fn a_payload_is_read_in_ranges_from_memory_and_from_disk() {
    let (_folder, path) = folder();
    let config = [("inline.max.bytes", "0"), ("memory.bytes", "2048"), ("disk.dir", &path), ("disk.bytes", "1000000")];
    let mut sink = Sink::new(&config);
    let all = pieces(1, 10_000);
    let whole = sink.all(&all).remove(0);
    assert_eq!((sink.number("disk_bytes"), std::fs::read_dir(&path).unwrap().count()), (10_000, 0), "no name is left");
    let Some(Body::Payload(payload)) = &whole.value else { panic!("a payload") };
    let expected = noise(10_000, 1);
    for (start, len) in
        [(0, None), (0, Some(10_000)), (1_023, Some(2)), (1_024, Some(1)), (5_000, None), (10_000, None)]
    {
        let end = len.map_or(10_000, |len| start + len);
        let found = sink.trial.bench.run("read", read(&**payload, start, len)).unwrap().unwrap();
        assert!(found == expected[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()], "{start} {len:?}");
    }
    for (start, len) in [(10_001, None), (9_999, Some(2)), (1, Some(u64::MAX))] {
        let error = sink.trial.bench.run("read", read(&**payload, start, len)).unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
    }
    drop(whole);
    assert_eq!((sink.number("disk_bytes"), sink.number("memory_bytes")), (0, 0));
}

#[test]
fn what_finds_no_place_is_given_up_the_longest_waiting_first() {
    let config = [("memory.bytes", "3000"), ("on.incomplete", "dlq")];
    let mut sink = Sink::new(&config);
    let (a, b) = (pieces(1, 3_000), pieces(2, 3_000));
    sink.all(&[a[0].clone(), b[0].clone(), b[1].clone()]);
    let (raw, error) = sink.overdue();
    assert_eq!((raw.offset, value(raw.value.as_ref())), (0, noise(3_000, 1)[..1024].to_vec()));
    let id = header(&a[0], "chunk-id").unwrap();
    let text = error.to_string();
    assert!(text.contains(&format!("value {id} of t-0 is not complete: 1 of 3 pieces came")), "{text}");
    assert!(text.contains("memory.bytes and disk.bytes had no place"), "{text}");
    assert_eq!(sink.all(&[a[1].clone(), a[2].clone()]).len(), 0, "the rest of it is not wanted");
    assert_eq!(sink.all(&[b[2].clone()]).len(), 1);
    // Larger than what there is.
    sink.all(&pieces(3, 4_000));
    let (raw, error) = sink.overdue();
    assert!(
        raw.offset == 6 && error.to_string().contains("2 of 4") && error.to_string().contains("does not fit"),
        "{error}"
    );
    assert_eq!((sink.number("incomplete_total"), sink.number("open_values")), (2, 0));
}

#[test]
fn too_many_open_values_make_place() {
    let mut sink = Sink::new(&[("max.incomplete", "2"), ("on.incomplete", "fail")]);
    let all: Vec<_> = (1..4).map(|seed| pieces(seed, 2_000)).collect();
    sink.all(&[all[0][0].clone(), all[1][0].clone(), all[2][0].clone()]);
    let (raw, error) = sink.overdue();
    assert_eq!((raw.offset, error.kind()), (0, ErrorKind::Fatal), "whatever errors.tolerance says");
    assert!(error.to_string().contains("max.incomplete") && error.to_string().contains("set on.incomplete"), "{error}");
    assert_eq!(sink.floor(), Some(1), "told, so the worker holds its place");
    assert_eq!(sink.all(&[all[1][1].clone(), all[2][1].clone()]).len(), 2);
}

#[test]
fn what_does_not_become_whole_in_time_is_given_up_by_name() {
    for (policy, kind) in [("fail", Some(ErrorKind::Fatal)), ("dlq", Some(ErrorKind::Data)), ("drop", None)] {
        let mut sink = Sink::new(&[("timeout.ms", "20"), ("on.incomplete", policy)]);
        let all = pieces(1, 3_000);
        sink.all(&[all[0].clone(), all[2].clone()]);
        assert_eq!(sink.floor(), Some(0));
        std::thread::sleep(Duration::from_millis(30));
        assert!(sink.trial.step.overdue().is_none(), "a pause is no reason: the partition's clock stands still");
        assert_eq!(sink.all(&[plain("later")]).len(), 1);
        if let Some(kind) = kind {
            let (raw, error) = sink.overdue();
            assert_eq!((raw.offset, error.kind()), (0, kind));
            assert!(error.to_string().contains("2 of 3 pieces came, the first at offset 0, the last at 1"), "{error}");
        } else {
            let deadline = Instant::now() + Duration::from_secs(10);
            while sink.number("incomplete_total") == 0 {
                assert!(sink.trial.step.overdue().is_none() && Instant::now() < deadline);
            }
        }
        assert_ne!(sink.floor(), Some(0), "{policy}");
        assert_eq!(sink.all(&[all[1].clone()]).len(), 0, "too late");
        assert_eq!(sink.all(&all).len(), 1, "its source sends it anew");
    }
}

#[test]
fn damaged_pieces_and_those_that_contradict_are_bad_records_once() {
    let all = pieces(1, 3_000);
    let other = cut(1, 2_900, &[]);
    let changed = |piece: &EncodedRecord, name: &str, text: &str| {
        let mut piece = piece.clone();
        piece.headers.iter_mut().filter(|(it, _)| &**it == name).for_each(|(_, value)| {
            *value = Some(Blob::whole(text.to_owned()).unwrap());
        });
        piece
    };
    let digest = format!("sha256:{}", "0".repeat(64));
    for (bad, why) in [
        (EncodedRecord { value: Some(bytes(noise(1_024, 9))), ..all[1].clone() }, "its bytes are damaged"),
        (EncodedRecord { value: None, ..all[1].clone() }, "has no bytes"),
        (changed(&all[1], "chunk-offset", "1025"), "does not begin where the one before it ends"),
        (other[2].clone(), "tells another size"),
        (changed(&all[1], "chunk-total", "2000000000"), "larger than max.payload.bytes"),
        (changed(&all[2], "chunk-digest", &digest), "SHA-256"),
    ] {
        let mut sink = Sink::new(&[]);
        let at: usize = header(&bad, "chunk-index").unwrap().parse().unwrap();
        let log: Vec<_> = (0..3).map(|index| if index == at { bad.clone() } else { all[index].clone() }).collect();
        let outcomes: Vec<_> = log.iter().map(|piece| sink.take(piece)).collect();
        let bad: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
        let [error] = bad[..] else { panic!("{why}: one bad record, not {bad:?}") };
        assert!(error.kind() == ErrorKind::Data && error.to_string().contains(why), "{error}");
        let whole = outcomes.iter().any(|outcome| matches!(outcome, Ok(Some(_))));
        assert!(!whole && sink.number("open_values") == 0, "{why}");
        assert_eq!(sink.all(&all).len(), 1, "{why}: its source sends it anew");
    }
    let mut sink = Sink::new(&[]);
    let error = sink.take(&changed(&all[0], "chunk-index", "x")).unwrap_err();
    assert!(error.to_string().contains("chunk-index cannot be read"), "{error}");
}

#[test]
fn a_value_that_is_cut_anew_after_a_restart_replaces_its_beginning() {
    let (first, again) = (pieces(1, 3_000), cut(1, 3_000, &[("chunk.bytes", "1500")]));
    let mut sink = Sink::new(&[]);
    assert!(sink.all(&first[..2]).is_empty());
    assert_eq!(value(sink.all(&again)[0].value.as_ref()), noise(3_000, 1));
    assert_eq!(sink.all(&again).len(), 0, "it was delivered");
    assert_eq!(sink.all(&cut(1, 2_000, &[])).len(), 1, "the same place, and another value");
}

#[test]
fn a_reader_that_starts_in_the_middle_leaves_out_what_began_before() {
    let all = pieces(1, 4_000);
    let mut sink = Sink::from(&[], 100, None);
    assert_eq!(sink.all(&all[2..]).len(), 0);
    assert_eq!((sink.number("headless_pieces_total"), sink.floor()), (2, None), "nothing is held up");
    assert_eq!(sink.all(&all).len(), 1);
    // A beginning that could have been seen is waited for.
    let all = pieces(2, 2_000);
    assert_eq!(sink.all(&all[1..]).len(), 0);
    assert_eq!(sink.all(&all[..1]).len(), 1);
}

#[test]
fn what_was_delivered_is_known_in_another_task_longer_than_a_value_may_be_open() {
    let config = [("timeout.ms", "1")];
    let mut sink = Sink::new(&config);
    assert_eq!(sink.all(&pieces(1, 3_000)).len(), 1);
    let (next, (_, note)) = (sink.next, sink.trial.step.floor(&tp(), sink.next).unwrap());
    let mut successor = Sink::from(&config, next, Some(&note));
    successor.all(&[plain("the source starts again")]);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(5) {
        std::thread::yield_now();
    }
    assert_eq!(successor.all(&pieces(1, 3_000)).len(), 0, "it was delivered");
    assert_eq!(successor.all(&pieces(2, 3_000)).len(), 1);
}

#[test]
fn linkedins_pieces_are_read_when_they_are_asked_for() {
    let all = cut(1, 3_000, &[("format", "linkedin")]);
    assert_eq!(Sink::new(&[]).all(&all).len(), 3, "records like any other");
    let mut sink = Sink::new(&[("formats", "native,linkedin")]);
    let whole = sink.all(&all).remove(0);
    assert_eq!((value(whole.value.as_ref()), &whole.key), (noise(3_000, 1), &None));
    let whole = sink.all(&pieces(2, 3_000)).remove(0);
    assert_eq!(value(whole.value.as_ref()), noise(3_000, 2));
}

#[test]
fn partitions_that_are_gone_leave_nothing() {
    let (_folder, path) = folder();
    let config = [("memory.bytes", "2048"), ("disk.dir", &path), ("disk.bytes", "100000"), ("max.incomplete", "1")];
    let mut sink = Sink::new(&config);
    sink.all(&pieces(1, 10_000)[..9]);
    sink.all(&pieces(2, 10_000)[..9]);
    assert_ne!(sink.number("disk_bytes"), 0);
    sink.trial.step.revoked(&[tp()]);
    for name in ["disk_bytes", "memory_bytes", "open_values"] {
        assert_eq!(sink.number(name), 0, "{name}");
    }
    assert!(sink.trial.step.overdue().is_none(), "the new owner reads it again");
    assert_eq!(sink.trial.step.floor(&tp(), 99), None);
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    let wrong = |pairs: &[(&str, &str)]| errors(&PLUGIN.info, pairs);
    assert_eq!(wrong(&[]), "");
    assert!(wrong(&[("disk.dir", "/tmp")]).contains("disk.bytes: it must be more than 0"));
    assert!(wrong(&[("disk.bytes", "1")]).contains("disk.dir: disk.bytes needs a folder"));
    assert!(wrong(&[("assemble.to", "store")]).contains("assemble.to=store needs it"));
    assert_eq!(wrong(&[("assemble.to", "store"), ("store.uri", "s3://b/p")]), "");
    assert!(wrong(&[("store.uri", "s3://b/p")]).contains("store.uri belongs to assemble.to=store"));
    assert!(wrong(&[("formats", "")]).contains("at least one of native, linkedin"));
    assert!(wrong(&[("formats", "native,zip")]).contains("formats"));
    let make = |dir: &str, bytes: &str| {
        let bench = pipette_kit::Bench::new().unwrap();
        let config = [("disk.dir", dir), ("disk.bytes", bytes)].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let settings = pipette_api::Settings::new(pipette_api::ConfigMap::from(config), PLUGIN.info.config);
        (PLUGIN.make)(settings, bench.transform()).err().unwrap().to_string()
    };
    assert!(make("/nowhere/at/all", "1").contains("/nowhere/at/all is no folder"));
    assert!(make("/proc", "1").contains("nothing can be written into /proc"));
    let (_kept, path) = folder();
    assert!(make(&path, "9000000000000000000").contains("bytes free, less than"));
}

/// A log with values of several producers: some begin, break off and are sent again.
fn log(order: &[u8], broken: u8) -> (Vec<EncodedRecord>, BTreeSet<Vec<u8>>) {
    let mut lines: Vec<Vec<EncodedRecord>> = Vec::new();
    let mut whole = BTreeSet::new();
    for seed in 1..=4_u64 {
        let len = 1_500 + usize::try_from(seed).unwrap() * 900;
        let all = pieces(seed, len);
        whole.insert(noise(len, seed));
        let before = match (broken >> (2 * (seed - 1))) & 3 {
            0 => &[][..],
            1 => &all[..1],
            2 => &all[..all.len() - 1],
            _ => &all[..],
        };
        lines.push([before, &all].concat());
    }
    lines.push((0..6).map(|number| plain(&format!("plain {number}"))).collect());
    whole.extend((0..6).map(|number| format!("plain {number}").into_bytes()));
    let mut lines: Vec<_> = lines.into_iter().map(IntoIterator::into_iter).collect();
    let mut log = Vec::new();
    for pick in order.iter().copied().cycle().zip(0_u8..) {
        let index = usize::from(pick.0.wrapping_add(pick.1 / 64)) % lines.len();
        match lines[index].next() {
            Some(record) => log.push(record),
            None => drop(lines.swap_remove(index)),
        }
        if lines.is_empty() || pick.1 == u8::MAX {
            break;
        }
    }
    log.extend(lines.into_iter().flatten());
    (log, whole)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// Whatever the interleaving, the repetitions and the crashes of the sink: every value is whole once in what is
    /// durable, and no other.
    #[test]
    fn every_value_is_whole_once(
        order in prop::collection::vec(any::<u8>(), 1..40),
        broken in any::<u8>(),
        steps in prop::collection::vec((1_i64..7, 0_u8..4), 1..30),
        small in any::<bool>(),
    ) {
        let (folder, path) = folder();
        let (log, whole) = log(&order, broken);
        let mut config = vec![("inline.max.bytes", "3000")];
        if small {
            config.extend([("memory.bytes", "2048"), ("disk.dir", path.as_str()), ("disk.bytes", "1000000")]);
        }
        let mut durable: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        let (mut committed, mut note) = (0, None::<String>);
        let mut sink = Sink::from(&config, 0, None);
        let mut put = Vec::new();
        let end = i64::try_from(log.len()).unwrap();
        let mut flush = |sink: &Sink, put: &mut Vec<Vec<u8>>, committed: &mut i64, note: &mut Option<String>| {
            put.drain(..).for_each(|value| *durable.entry(value).or_default() += 1);
            (*committed, *note) = match sink.trial.step.floor(&tp(), sink.next) {
                Some((offset, text)) => (offset, Some(text)),
                None => (sink.next, None),
            };
        };
        for (records, then) in steps.iter().copied().cycle().take(300).chain([(end, 1)]) {
            for _ in 0..records.min(end - sink.next) {
                let record = &log[usize::try_from(sink.next).unwrap()];
                put.extend(sink.take(record).unwrap().map(|raw| value(raw.value.as_ref())));
            }
            prop_assert!(sink.trial.step.overdue().is_none());
            match then {
                1 => flush(&sink, &mut put, &mut committed, &mut note),
                // What was not flushed is lost.
                2 => {
                    put.clear();
                    sink = Sink::from(&config, committed, note.as_deref());
                }
                // Sent back to what is committed.
                3 => {
                    put.clear();
                    sink.trial.step.revoked(&[tp()]);
                    sink.trial.step.assigned(&tp(), note.as_deref()).unwrap();
                    sink.next = committed;
                }
                _ => {}
            }
        }
        prop_assert_eq!(sink.next, end);
        prop_assert_eq!(committed, end);
        prop_assert!(durable.values().all(|count| *count == 1), "{:?}", durable.values());
        prop_assert_eq!(durable.into_keys().collect::<BTreeSet<_>>(), whole);
        prop_assert_eq!((sink.number("open_values"), sink.number("memory_bytes"), sink.number("disk_bytes")), (0, 0, 0));
        drop(folder);
    }

    /// Headers of others are answered, never a panic.
    #[test]
    fn any_headers_are_answered(fields in prop::collection::vec((0_usize..9, "[0-9a-f:]{0,33}"), 0..12)) {
        let mut sink = Sink::new(&[("formats", "native,linkedin")]);
        let mut piece = plain("x");
        let header = |(name, text): (usize, String)| {
            (pipette_store::chunk::HEADERS[name].into(), Some(Blob::whole(text).unwrap()))
        };
        piece.headers = fields.into_iter().map(header).collect();
        let _ = sink.take(&piece);
        piece.headers.truncate(2);
        let _ = Chunk::read(&piece.headers);
    }
}

#[path = "kept_tests.rs"]
mod kept;
