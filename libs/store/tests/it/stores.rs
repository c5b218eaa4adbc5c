//! Upload into a folder and into memory, and back: what both must do alike.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Made, folder, keys, memory, options, read, stores};
use pipette_api::{ErrorKind, Payload};
use pipette_store::{
    Compression, Digest, Integrity, LargeContent, Limits, Origin, Reference, Store, Stored, StoredPayload, Strategy,
    UploadOptions, Uploader,
};

const MIB: u64 = 1 << 20;
const LIMITS: Limits = Limits { max_bytes: 1 << 30 };

fn origin() -> Origin<'static> {
    Origin { topic: "images", connector: "lab", partition: "p", offset: "1", ordinal: Some(0), ..Origin::default() }
}

/// The store, and what keeps its folder.
fn both() -> Vec<(Arc<Store>, Option<tempfile::TempDir>)> {
    let place = tempfile::tempdir().unwrap();
    vec![(memory(), None), (folder(&place.path().join("store")), Some(place))]
}

async fn upload(store: &Arc<Store>, options: UploadOptions, payload: &Made) -> pipette_api::Result<Stored> {
    Uploader::new(Arc::clone(store), options, None).upload(payload, &origin()).await
}

fn back(store: &Arc<Store>, reference: Reference) -> StoredPayload {
    let (store, key) = stores(store).find(&reference.uri).unwrap();
    StoredPayload::new(store, key, reference, LIMITS, Integrity::Require).unwrap()
}

#[tokio::test]
async fn what_goes_in_comes_out_whatever_its_size_name_and_form() {
    for (store, _place) in both() {
        for strategy in [Strategy::Content, Strategy::Uuid, Strategy::Position] {
            for (n, size) in [0, 1, 100_000, 5 * MIB, 5 * MIB + 1, 10 * MIB].into_iter().enumerate() {
                let payload = if n % 2 == 0 { Made::new(size) } else { Made::unknown(size) };
                goes_through(&store, &options(strategy.clone()), &payload).await;
            }
        }
        for compression in [Some(Compression::Gzip), Some(Compression::Zstd)] {
            for payload in [Made::new(0), Made::unknown(100_000), Made::new(6 * MIB)] {
                let options = UploadOptions { compression, ..options(Strategy::Content) };
                goes_through(&store, &options, &payload).await;
            }
        }
    }
}

/// A worker has few threads that may block, and files are read on them too.
#[test]
fn more_uploads_than_threads_that_may_block_come_to_their_end() {
    let place = tempfile::tempdir().unwrap();
    let store = folder(&place.path().join("store"));
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).max_blocking_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let uploader = Uploader::new(store, options(Strategy::Content), None);
        let mut running = tokio::task::JoinSet::new();
        for seed in 0..8 {
            let (uploader, payload) = (uploader.clone(), Made { seed, blocks: true, ..Made::new(MIB) });
            running.spawn(async move { uploader.upload(&payload, &origin()).await.unwrap().found });
        }
        let all = tokio::time::timeout(std::time::Duration::from_mins(1), running.join_all()).await;
        assert_eq!(all.expect("an end"), [false; 8]);
    });
    runtime.shutdown_background();
}

async fn goes_through(store: &Arc<Store>, options: &UploadOptions, payload: &Made) {
    let uploader = Uploader::new(Arc::clone(store), options.clone(), None);
    let place = Origin { offset: &payload.size.to_string(), ..origin() };
    let stored = uploader.upload(payload, &place).await.unwrap();
    assert_eq!((stored.size, stored.found), (payload.size, false), "{options:?}");
    assert_eq!(stored.digest, Some(Digest::of(&payload.bytes())));
    let again = back(store, stored.reference());
    assert_eq!(again.len(), Some(payload.size));
    assert!(read(&again, 0, None).await.unwrap() == payload.bytes(), "{options:?} {}", payload.size);
}

#[tokio::test]
async fn any_range_can_be_read_and_none_outside() {
    for (store, _place) in both() {
        for compression in [None, Some(Compression::Zstd)] {
            let payload = Made::new(3 * MIB);
            let stored =
                upload(&store, UploadOptions { compression, ..options(Strategy::Content) }, &payload).await.unwrap();
            let again = back(&store, stored.reference());
            let bytes = payload.bytes();
            for (start, len) in [
                (0, Some(10)),
                (1, None),
                (MIB + 7, Some(MIB)),
                (3 * MIB - 1, Some(1)),
                (3 * MIB, None),
                (5, Some(0)),
                (0, Some(3 * MIB)),
            ] {
                let end = len.map_or(3 * MIB, |len| start + len);
                let expected = &bytes[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()];
                assert!(read(&again, start, len).await.unwrap() == expected, "{start} {len:?} {compression:?}");
            }
            for (start, len) in [(3 * MIB + 1, None), (3 * MIB, Some(1)), (u64::MAX, Some(2))] {
                let error = read(&again, start, len).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Data, "{start} {len:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_same_content_is_stored_once() {
    for (store, _place) in both() {
        for size in [1000, 12 * MIB] {
            let first = upload(&store, options(Strategy::Content), &Made::new(size)).await.unwrap();
            let second = upload(&store, options(Strategy::Content), &Made::new(size)).await.unwrap();
            assert_eq!((first.found, second.found), (false, true), "{size}");
            assert_eq!(first.uri, second.uri);
        }
        assert_eq!(keys(&store).await.len(), 2);
    }
}

#[tokio::test]
async fn uploads_of_one_content_at_one_time_become_one() {
    for (store, _place) in both() {
        let uploader = Uploader::new(Arc::clone(&store), options(Strategy::Content), None);
        let payload = Made::new(12 * MIB);
        let origin = origin();
        let uploads = (0..4).map(|_| uploader.upload(&payload, &origin));
        let stored = futures_util::future::try_join_all(uploads).await.unwrap();
        assert_eq!(stored.iter().filter(|stored| !stored.found).count(), 1);
        assert_eq!(keys(&store).await.len(), 1);
    }
}

#[tokio::test]
async fn a_position_that_is_used_twice_loses_nothing() {
    for (store, _place) in both() {
        for size in [1000, 12 * MIB] {
            let place = Origin { offset: &size.to_string(), ..origin() };
            let uploader = Uploader::new(Arc::clone(&store), options(Strategy::Position), None);
            let first = uploader.upload(&Made::new(size), &place).await.unwrap();
            let again = uploader.upload(&Made::new(size), &place).await.unwrap();
            assert_eq!((first.found, again.found), (false, true), "the record of before, sent again");
            let other = Made { seed: 99, ..Made::new(size) };
            let error = uploader.upload(&other, &place).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Fatal, "{error}");
            assert!(read(&back(&store, first.reference()), 0, None).await.unwrap() == Made::new(size).bytes());
            let renaming = UploadOptions { renames: true, ..options(Strategy::Position) };
            let beside = Uploader::new(Arc::clone(&store), renaming, None).upload(&other, &place).await.unwrap();
            assert!(beside.uri != first.uri && !beside.found);
            assert!(read(&back(&store, beside.reference()), 0, None).await.unwrap() == other.bytes());
        }
    }
}

#[tokio::test]
async fn two_payloads_of_one_position_at_one_time_are_told_apart() {
    for (store, _place) in both() {
        for size in [1000, 12 * MIB] {
            let place = Origin { offset: &size.to_string(), ..origin() };
            let renaming = UploadOptions { renames: true, ..options(Strategy::Position) };
            let uploader = Uploader::new(Arc::clone(&store), renaming, None);
            let payloads: Vec<Made> = (0..3).map(|seed| Made { seed, ..Made::new(size) }).collect();
            let uploads = payloads.iter().map(|payload| uploader.upload(payload, &place));
            let stored = futures_util::future::try_join_all(uploads).await.unwrap();
            for (stored, payload) in stored.iter().zip(&payloads) {
                assert!(read(&back(&store, stored.reference()), 0, None).await.unwrap() == payload.bytes(), "{size}");
            }
        }
    }
}

#[tokio::test]
async fn without_a_digest_what_is_there_already_is_compared_all_the_same() {
    for (store, _place) in both() {
        for size in [1000, 12 * MIB] {
            let place = Origin { offset: &size.to_string(), ..origin() };
            let plain = UploadOptions { digest: false, ..options(Strategy::Position) };
            let uploader = Uploader::new(Arc::clone(&store), plain, None);
            let first = uploader.upload(&Made::new(size), &place).await.unwrap();
            assert_eq!((first.digest, first.reference().digest, first.found), (None, None, false));
            assert!(uploader.upload(&Made::new(size), &place).await.unwrap().found);
            let other = Made { seed: 99, ..Made::new(size) };
            assert_eq!(uploader.upload(&other, &place).await.unwrap_err().kind(), ErrorKind::Fatal);
        }
        let named =
            upload(&store, UploadOptions { digest: false, ..options(Strategy::Content) }, &Made::new(MIB)).await;
        assert_eq!(named.unwrap().digest, Some(Digest::of(&Made::new(MIB).bytes())), "its name needs it");
    }
}

#[tokio::test]
async fn a_source_that_breaks_off_or_changes_leaves_nothing() {
    for (store, place) in both() {
        for strategy in [Strategy::Content, Strategy::Uuid] {
            for at in [10, 6 * MIB] {
                let left = Arc::new(AtomicUsize::new(1));
                let payload = Made { breaks: Some((at, Arc::clone(&left))), ..Made::new(12 * MIB) };
                let error = upload(&store, options(strategy.clone()), &payload).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Retriable, "{error}");
                assert_eq!(left.load(Ordering::SeqCst), 0);
            }
            let short = Made { known: true, size: 12 * MIB, ..Made::new(12 * MIB) };
            let short = Short(short);
            let uploader = Uploader::new(Arc::clone(&store), options(strategy.clone()), None);
            assert_eq!(uploader.upload(&short, &origin()).await.unwrap_err().kind(), ErrorKind::Retriable);
        }
        assert_eq!(keys(&store).await, Vec::<String>::new());
        if let Some(place) = place {
            assert_eq!(std::fs::read_dir(place.path().join("store/.uploads")).unwrap().count(), 0, "no draft is left");
        }
    }
}

/// Says it is longer than it is.
#[derive(Debug)]
struct Short(Made);

#[async_trait::async_trait]
impl Payload for Short {
    fn len(&self) -> Option<u64> {
        Some(self.0.size + 1)
    }

    async fn open(&self, start: u64, len: Option<u64>) -> pipette_api::Result<Box<dyn pipette_api::PayloadReader>> {
        self.0.open(start, len).await
    }
}

#[tokio::test]
async fn a_large_payload_that_is_read_twice_must_be_the_same() {
    let store = memory();
    let payload = Made { changes: true, ..Made::new(12 * MIB) };
    let error = upload(&store, options(Strategy::Content), &payload).await.unwrap_err();
    assert_eq!((error.kind(), keys(&store).await.len()), (ErrorKind::Retriable, 0), "{error}");
    let payload = Made { changes: true, ..Made::unknown(12 * MIB) };
    let once = UploadOptions { large_content: LargeContent::ByUuid, ..options(Strategy::Content) };
    let stored = upload(&store, once, &payload).await.unwrap();
    assert!(!stored.key.contains(&stored.digest.unwrap().hex()));
    assert!(read(&back(&store, stored.reference()), 0, None).await.is_ok());
}

#[tokio::test]
async fn too_much_is_refused_on_the_way_in_and_on_the_way_out() {
    for (store, _place) in both() {
        for payload in [Made::new(2 * MIB), Made::unknown(2 * MIB)] {
            let options = UploadOptions { max_payload: 2 * MIB - 1, ..options(Strategy::Content) };
            let error = upload(&store, options, &payload).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data);
            assert!(error.to_string().contains("max.payload.bytes"), "{error}");
        }
        for compression in [None, Some(Compression::Gzip), Some(Compression::Zstd)] {
            let options = UploadOptions { compression, ..options(Strategy::Content) };
            let stored = upload(&store, options, &Made::new(2 * MIB)).await.unwrap();
            let key = stored.key.clone();
            let open = |reference, integrity| {
                StoredPayload::new(Arc::clone(&store), key.clone(), reference, Limits { max_bytes: MIB }, integrity)
            };
            assert_eq!(open(stored.reference(), Integrity::Require).unwrap_err().kind(), ErrorKind::Data);
            let silent = Reference { size: None, ..stored.reference() };
            let payload = open(silent, Integrity::Require).unwrap();
            let error = read(&payload, 0, None).await.unwrap_err();
            assert!(error.to_string().contains("max.payload.bytes"), "{compression:?} {error}");
        }
    }
}

#[tokio::test]
async fn a_wrong_object_is_noticed_before_the_end() {
    for (store, _place) in both() {
        let stored = upload(&store, options(Strategy::Uuid), &Made::new(MIB)).await.unwrap();
        let right = stored.reference();
        let wrong_digest = Reference { digest: Some(Digest::of(b"other")), ..right.clone() };
        let wrong_size = Reference { size: Some(MIB - 1), ..right.clone() };
        let wrong_form = Reference { content_encoding: Some(Compression::Gzip), ..right.clone() };
        for reference in [wrong_digest, wrong_size, wrong_form] {
            let error = read(&back(&store, reference), 0, None).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data);
            assert!(error.to_string().contains("is not what its reference tells of"), "{error}");
        }
        let silent = Reference { digest: None, ..right.clone() };
        assert!(
            StoredPayload::new(Arc::clone(&store), stored.key.clone(), silent, LIMITS, Integrity::Require).is_err()
        );
        store.delete(&stored.key).await.unwrap();
        store.delete(&stored.key).await.unwrap();
        let error = read(&back(&store, right), 0, None).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data);
        assert!(error.to_string().contains("missing or forbidden"), "{error}");
    }
}
