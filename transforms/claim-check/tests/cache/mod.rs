//! Objects that come again are read from the cache of ClaimCheckRestore: in memory, on disk, the least recently used go.

use std::sync::Arc;

use pipette_api::{AsyncTransform, Blob, Datum, Kind, Record, Schema, Value};

use crate::rig::Rig;

fn content(of: u8) -> Vec<u8> {
    vec![of; 20_000]
}

fn record(of: u8) -> Record {
    let value = Value::Bytes(Blob::whole(content(of)).unwrap());
    Record::new(Arc::from("images"), Datum::new(Schema::of(Kind::Bytes), value))
}

/// Records with references to objects.
fn stored(rig: &Rig, count: u8) -> Vec<Record> {
    (0..count).map(|of| rig.check_in(&[("threshold.bytes", "1000")], &record(of))).collect()
}

fn empty_the_store(rig: &Rig) {
    rig.objects().into_iter().for_each(|object| std::fs::remove_file(object).unwrap());
}

fn restored(rig: &Rig, restore: &dyn AsyncTransform, referring: &Record) -> Option<Vec<u8>> {
    let record = rig.run(restore, referring).ok()?;
    match &record.value.value {
        Value::Bytes(bytes) => Some(bytes.as_bytes().to_vec()),
        Value::Payload(payload) => {
            let read = rig.bench.run("reading", async {
                let (mut reader, mut all) = (payload.open(0, None).await?, Vec::new());
                while let Some(bytes) = reader.next().await? {
                    all.extend_from_slice(&bytes);
                }
                Ok::<_, pipette_api::ConnectError>(all)
            });
            read.unwrap().ok()
        }
        other => panic!("{other:?}"),
    }
}

fn number(rig: &Rig, name: &'static str) -> i64 {
    rig.bench.numbers.get(name, &[]).unwrap()
}

fn comes_again(config: &[(&str, &str)]) {
    for mode in ["lazy", "eager"] {
        let rig = Rig::new();
        let referring = stored(&rig, 1).remove(0);
        let restore = rig.make("ClaimCheckRestore", &[&[("mode", mode)], config].concat());
        assert_eq!(restored(&rig, &*restore, &referring), Some(content(0)));
        empty_the_store(&rig);
        for _ in 0..2 {
            assert_eq!(restored(&rig, &*restore, &referring), Some(content(0)), "{mode}: the store is not asked");
        }
        assert_eq!(number(&rig, "claim_check_cache_misses_total"), 1);
        assert_eq!(number(&rig, "claim_check_cache_hits_total"), 2);
    }
}

#[test]
fn what_is_in_memory_is_not_asked_for_again() {
    comes_again(&[("cache.memory.bytes", "100000")]);
}

#[test]
fn what_is_on_disk_is_not_asked_for_again_and_no_file_shows() {
    let folder = tempfile::tempdir().unwrap();
    let shown = folder.path().display().to_string();
    comes_again(&[("cache.disk.bytes", "1000000"), ("cache.dir", &shown)]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    comes_again(&[("cache.disk.bytes", "1000000"), ("cache.dir", &shown), ("cache.memory.bytes", "100000")]);
}

#[test]
fn the_least_recently_used_goes_first_and_the_limit_holds() {
    let rig = Rig::new();
    let records = stored(&rig, 3);
    let restore = rig.make("ClaimCheckRestore", &[("mode", "eager"), ("cache.memory.bytes", "45000")]);
    for of in [0, 1, 0, 2] {
        assert_eq!(restored(&rig, &*restore, &records[of]), Some(content(u8::try_from(of).unwrap())));
        assert!(number(&rig, "claim_check_cache_memory_bytes") <= 45_000);
    }
    empty_the_store(&rig);
    let left: Vec<_> = (0..3).filter(|of| restored(&rig, &*restore, &records[*of]).is_some()).collect();
    assert_eq!(left, [0, 2]);
}

#[test]
fn an_object_larger_than_the_cache_comes_from_the_store_each_time() {
    let rig = Rig::new();
    let referring = stored(&rig, 1).remove(0);
    let restore = rig.make("ClaimCheckRestore", &[("cache.memory.bytes", "20000")]);
    for _ in 0..2 {
        assert_eq!(restored(&rig, &*restore, &referring), Some(content(0)));
    }
    assert_eq!(number(&rig, "claim_check_cache_misses_total"), 2);
    assert_eq!(number(&rig, "claim_check_cache_memory_bytes"), 0);
}

#[test]
fn records_of_one_object_at_one_time_make_one_request() {
    let rig = Rig::new();
    let referring = stored(&rig, 1).remove(0);
    let restore = rig.make("ClaimCheckRestore", &[("mode", "eager"), ("cache.memory.bytes", "100000")]);
    let mut records = [referring.clone(), referring.clone(), referring];
    let [a, b, c] = &mut records;
    let together = async { tokio::join!(restore.apply(a), restore.apply(b), restore.apply(c)) };
    let (a, b, c) = rig.bench.run("apply", together).unwrap();
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert!(records.iter().all(|record| record.value.value == self::record(0).value.value));
    assert_eq!(number(&rig, "claim_check_cache_misses_total"), 1);
}
