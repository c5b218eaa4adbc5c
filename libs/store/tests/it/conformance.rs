//! What holds in every kind of bucket, with and without a network that misbehaves: each upload and each download ends right or
//! in one readable error, an object is there once, and no upload in parts is left over.
//!
//! Servers that share no code are asked, `place.rs` has them: s3s-fs and moto for S3, fake-gcs-server for Google's, one in this
//! process for Azure's and, when it is asked for, Microsoft's own.

use std::sync::Arc;
use std::time::Duration;

use pipette_api::{ConnectError, ErrorKind, Payload, Result};
use pipette_store::{
    Allowed, Digest, Integrity, Journal, Limits, Origin, Reference, Store, StoreSettings, Stored, StoredPayload,
    Stores, Strategy, Uploader,
};

use crate::place::Place;
use crate::s3_server::Fault;
use crate::support::{Made, keys, options, read, uri};

const MIB: u64 = 1 << 20;
const EVER: usize = usize::MAX;

/// The same tests on each server.
macro_rules! on {
    (@test [$($attribute:tt)*] $place:ident $test:ident) => {
        $($attribute)*
        #[tokio::test]
        async fn $test() {
            super::$test(super::Place::$place().await).await;
        }
    };
    (@place $attributes:tt $place:ident: $($test:ident)*) => {
        mod $place {
            $(on!(@test $attributes $place $test);)*
        }
    };
    ($($(#[$attribute:meta])* $place:ident)*) => {
        $(on! {
            @place [$(#[$attribute])*] $place:
            everything_comes_back uploads_end_right_or_in_one_error downloads_end_right_or_in_one_error
            odd_characters_are_one_key_everywhere refusals_tell_what_to_do what_is_missing_or_another_is_one_bad_record
            what_is_overwritten_while_it_is_read_is_not_put_together_of_two
            what_a_crash_leaves_keeps_nobody_from_starting an_upload_that_somebody_aborts_is_made_once_more
        })*
    };
}

on! {
    s3s
    moto
    gcs
    azure
    #[ignore = "./test --azurite fetches it and runs these"]
    azurite
}

fn origin() -> Origin<'static> {
    Origin { topic: "images", connector: "lab", partition: "p", offset: "1", ordinal: Some(0), ..Origin::default() }
}

fn uploader(store: &Arc<Store>, strategy: Strategy) -> Uploader {
    Uploader::new(Arc::clone(store), options(strategy), None)
}

fn payload(store: &Arc<Store>, key: &str, reference: Reference) -> StoredPayload {
    let limits = Limits { max_bytes: 1 << 30 };
    StoredPayload::new(Arc::clone(store), key.to_owned(), reference, limits, Integrity::Require).unwrap()
}

fn back(store: &Arc<Store>, stored: &Stored) -> StoredPayload {
    payload(store, &stored.key, stored.reference())
}

/// One line for a person: what failed, where, and no secret.
fn readable(error: &ConnectError, place: &Place, what: &str) {
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Retriable, "{what}: {text}");
    assert!(text.contains(&format!("{}/images", place.settings().uri)), "{what}: {text}");
    assert!(text.len() < 300 && !text.contains('\n'), "{what}: {text}");
    assert!(!error.chain().contains(place.secret()), "{what}: {}", error.chain());
}

async fn everything_comes_back(place: Place) {
    let store = place.store();
    store.probe().await.unwrap();
    for (strategy, size) in [
        (Strategy::Content, 0),
        (Strategy::Content, 1000),
        (Strategy::Content, 12 * MIB),
        (Strategy::Uuid, 10 * MIB),
        (Strategy::Position, 5 * MIB - 1),
        (Strategy::Position, 11 * MIB),
    ] {
        for payload in [Made::new(size), Made::unknown(size)] {
            let offset = size.to_string();
            let uploader = uploader(&store, strategy.clone());
            let stored = uploader.upload(&payload, &Origin { offset: &offset, ..origin() }).await.unwrap();
            let object = store.head(&stored.key).await.unwrap().unwrap();
            assert_eq!((object.size, stored.size, stored.digest), (size, size, Some(Digest::of(&payload.bytes()))));
            let again = back(&store, &stored);
            assert!(read(&again, 0, None).await.unwrap() == payload.bytes(), "{strategy:?} {size}");
            let from = size.saturating_sub(300);
            let tail = usize::try_from(from).unwrap();
            assert!(read(&again, from, None).await.unwrap() == payload.bytes()[tail..]);
            if size > 300 {
                assert!(read(&again, from, Some(7)).await.unwrap() == payload.bytes()[tail..tail + 7]);
            }
        }
    }
    assert_eq!(keys(&store).await.len(), 7, "what is the same by content or position is there once");
    assert_eq!(place.open_uploads(), 0);
    let key = keys(&store).await.remove(0);
    store.delete(&key).await.unwrap();
    assert!(store.head(&key).await.unwrap().is_none());
    assert_eq!(keys(&store).await.len(), 6);
}

fn faults() -> Vec<Fault> {
    vec![
        Fault::LoseAnswer,
        Fault::Refuse(503, "SlowDown"),
        Fault::Delay(Duration::from_millis(20), Duration::from_millis(60)),
        Fault::CutRequest(700),
        Fault::CutBody(0),
        Fault::CutBody(40),
    ]
}

async fn uploads_end_right_or_in_one_error(mut place: Place) {
    for request in place.requests() {
        for fault in faults() {
            for times in [1, EVER] {
                place.clean().await;
                let what = format!("{times} times {fault:?} of {request:?}");
                place.server.fail(times, request.1, request.2, fault.clone());
                upload_ends(&place, *request, &fault, times, &what).await;
            }
        }
    }
}

async fn upload_ends(
    place: &Place,
    request: (u64, &'static str, &'static str),
    fault: &Fault,
    times: usize,
    what: &str,
) {
    let store = place.store();
    let payload = Made::new(request.0);
    let uploader = uploader(&store, Strategy::Content);
    let outcome: Result<Stored> = uploader.upload(&payload, &origin()).await;
    let passes = match fault {
        Fault::Delay(..) => true,
        Fault::Refuse(..) => times == 1,
        _ => times == 1 && place.repeats(request),
    };
    match &outcome {
        Ok(_) => {}
        Err(error) => {
            assert!(!passes, "{what}: {error}");
            readable(error, place, what);
        }
    }
    place.server.heal();
    assert!(keys(&store).await.len() <= 1, "{what}");
    if outcome.is_ok() {
        assert_eq!(place.open_uploads(), 0, "nothing is left for the end: {what}");
    }
    // Once more, as the task does after an error, or a worker that was killed before it had noted the success.
    let stored = uploader.upload(&payload, &origin()).await.unwrap();
    if let Ok(before) = outcome {
        assert_eq!((before.key.as_str(), stored.found), (stored.key.as_str(), true), "{what}");
    }
    uploader.stop(Duration::from_secs(10)).await.unwrap();
    assert_eq!(keys(&store).await, [stored.key.as_str()], "{what}");
    assert!(read(&back(&store, &stored), 0, None).await.unwrap() == payload.bytes(), "{what}");
    assert_eq!(place.open_uploads(), 0, "{what}");
}

async fn downloads_end_right_or_in_one_error(place: Place) {
    let store = place.store();
    let payload = Made::new(3 * MIB);
    let stored = uploader(&store, Strategy::Content).upload(&payload, &origin()).await.unwrap();
    let again = back(&store, &stored);
    for fault in faults().into_iter().chain([Fault::CutBody(700_000)]) {
        for times in [1, 2, EVER] {
            let what = format!("{times} times {fault:?}");
            place.server.fail(times, "GET", "inbox", fault.clone());
            let read = read(&again as &dyn Payload, 0, None).await;
            // One that goes on where it broke off comes to its end.
            let advances = matches!(fault, Fault::Delay(..) | Fault::CutRequest(_) | Fault::CutBody(40..));
            match read {
                Ok(bytes) => assert!(bytes == payload.bytes(), "{what}"),
                Err(error) => {
                    assert!(times == EVER && !matches!(fault, Fault::Delay(..)), "{what}: {error}");
                    readable(&error, &place, &what);
                    assert!(!advances || matches!(fault, Fault::CutBody(40) | Fault::CutRequest(_)), "{what}: {error}");
                }
            }
            place.server.heal();
        }
    }
}

/// In the prefix, which a user chooses, and so in every address that goes out into records.
async fn odd_characters_are_one_key_everywhere(place: Place) {
    let mut settings = place.settings();
    settings.uri = settings.uri.with_key("in box/100% a+b/ü~(x) & 'y'=;,@:!$*[z]/%41#?");
    let store = Store::open(&settings).unwrap();
    let allowed = Allowed::only(settings.uri.clone());
    let reader = Stores::new(settings, allowed);
    for size in [1000, 6 * MIB] {
        let made = Made::new(size);
        let stored = uploader(&store, Strategy::Content).upload(&made, &origin()).await.unwrap();
        let (elsewhere, key) = reader.find(&stored.uri).unwrap();
        assert_eq!(key, stored.key);
        let again = payload(&elsewhere, &key, stored.reference());
        assert!(read(&again, 0, None).await.unwrap() == made.bytes(), "{}", stored.uri);
        assert_eq!(keys(&store).await, [key.as_str()]);
        let found = uploader(&store, Strategy::Content).upload(&made, &origin()).await.unwrap();
        assert!(found.found, "{}", stored.uri);
        store.delete(&key).await.unwrap();
        assert_eq!(keys(&store).await, [""; 0]);
    }
}

async fn refusals_tell_what_to_do(place: Place) {
    let store = place.store();
    let stored = uploader(&store, Strategy::Content).upload(&Made::new(700), &origin()).await.unwrap();
    for (status, code, kind, says) in [
        (401, "Unauthorized", ErrorKind::Fatal, "store.options"),
        (403, "AccessDenied", ErrorKind::Fatal, "forbidden"),
        (404, place.no_bucket(), ErrorKind::Fatal, "no such bucket"),
        (429, "TooManyRequests", ErrorKind::Retriable, "429"),
        (503, "InternalError", ErrorKind::Retriable, "503"),
    ] {
        place.server.fail(EVER, "", "lake", Fault::Refuse(status, code));
        let again = back(&store, &stored);
        for (act, error) in [
            ("list", store.probe().await.unwrap_err()),
            ("read", read(&again, 0, None).await.unwrap_err()),
            ("delete", store.delete(&stored.key).await.err().unwrap_or_else(|| ConnectError::new(kind, says))),
            ("write", uploader(&store, Strategy::Uuid).upload(&Made::new(1000), &origin()).await.unwrap_err()),
            ("write", uploader(&store, Strategy::Uuid).upload(&Made::new(6 * MIB), &origin()).await.unwrap_err()),
        ] {
            assert_eq!(error.kind(), kind, "{act} {status}: {error}");
            assert!(error.to_string().contains(says), "{act} {status}: {error}");
            assert!(!error.chain().contains(place.secret()), "{act} {status}: {}", error.chain());
        }
        place.server.heal();
    }
    if !place.misses_buckets() {
        return;
    }
    let nowhere = uri(&format!("{}://nowhere/inbox", store.uri().scheme.name()));
    let nowhere = Store::open(&place.settings().moved_to(nowhere)).unwrap();
    for error in [
        nowhere.probe().await.unwrap_err(),
        nowhere.head("inbox/a").await.unwrap_err(),
        uploader(&nowhere, Strategy::Uuid).upload(&Made::new(1000), &origin()).await.unwrap_err(),
        uploader(&nowhere, Strategy::Uuid).upload(&Made::new(6 * MIB), &origin()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Fatal, "{error}");
        assert!(error.to_string().contains("no such bucket"), "{error}");
    }
}

async fn what_is_missing_or_another_is_one_bad_record(place: Place) {
    let store = place.store();
    let stored = uploader(&store, Strategy::Content).upload(&Made::new(1000), &origin()).await.unwrap();
    let other = if stored.version.is_some() {
        Reference { version_id: Some("7".into()), ..stored.reference() }
    } else {
        Reference { etag: Some("\"other\"".into()), ..stored.reference() }
    };
    let error = read(&payload(&store, &stored.key, other), 0, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    store.delete(&stored.key).await.unwrap();
    store.delete(&stored.key).await.unwrap();
    assert_eq!(store.head(&stored.key).await.unwrap(), None);
    let any = Reference { etag: None, version_id: None, ..stored.reference() };
    let error = read(&payload(&store, &stored.key, any), 0, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    assert!(error.to_string().contains("missing or forbidden"), "{error}");
    // Some say of one that is gone that it is another one.
    let error = read(&back(&store, &stored), 0, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
}

/// The answer breaks off, and what is there meanwhile has the same name and size.
async fn what_is_overwritten_while_it_is_read_is_not_put_together_of_two(place: Place) {
    let store = place.store();
    let uploads = uploader(&store, Strategy::Position);
    let stored = uploads.upload(&Made::new(3 * MIB), &origin()).await.unwrap();
    // No digest tells that it is another one.
    let reference = Reference { digest: None, etag: None, version_id: None, ..stored.reference() };
    let limits = Limits { max_bytes: 8 * MIB };
    let whole = StoredPayload::new(Arc::clone(&store), stored.key.clone(), reference, limits, Integrity::IfPresent);
    place.server.fail(1, "GET", "inbox", Fault::CutBody(700_000));
    let mut reader = whole.unwrap().open(0, None).await.unwrap();
    assert!(reader.next().await.unwrap().is_some());
    store.delete(&stored.key).await.unwrap();
    let other = Made { seed: 7, ..Made::new(3 * MIB) };
    assert_eq!(uploads.upload(&other, &origin()).await.unwrap().key, stored.key);
    let error = loop {
        match reader.next().await {
            Ok(piece) => assert!(piece.is_some(), "two objects were put together"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
}

/// The worker is killed while parts are on their way, and starts again.
async fn what_a_crash_leaves_keeps_nobody_from_starting(place: Place) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("uploads");
    let (_, _, part) = place.requests()[place.requests().len() - 2];
    place.server.fail(EVER, "PUT", part, Fault::Silence);
    let (kill, killed) = tokio::sync::oneshot::channel();
    let worker = std::thread::spawn({
        let (settings, path) = (place.settings(), path.clone());
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let journal = Some(Journal::open(&path).unwrap());
                let settings = StoreSettings { request_timeout: Duration::from_mins(5), ..settings };
                let uploads = Uploader::new(Store::open(&settings).unwrap(), options(Strategy::Uuid), journal);
                let (made, place) = (Made::new(12 * MIB), origin());
                tokio::select! {
                    done = uploads.upload(&made, &place) => panic!("{done:?}"),
                    killed = killed => killed.unwrap(),
                }
            });
            // Nothing that was spawned runs on: as when the process is gone.
            runtime.shutdown_background();
        }
    });
    crate::support::wait_until("a part", || place.server.seen("PUT", part) > 0).await;
    let crashed = std::fs::read_to_string(&path).unwrap();
    kill.send(()).unwrap();
    crate::support::wait_until("the end of the thread", || worker.is_finished()).await;
    // What the disk held when the process was killed.
    std::fs::write(&path, crashed).unwrap();
    let left = place.open_uploads();
    assert_eq!(left, usize::from(place.keeps_uploads()));
    let uploads = Uploader::new(place.store(), options(Strategy::Uuid), Some(Journal::open(&path).unwrap()));
    place.server.heal();
    assert_eq!(uploads.recover().await.unwrap(), left);
    assert_eq!(place.open_uploads(), 0);
    assert_eq!(Journal::open(&path).unwrap().left(), []);
    assert_eq!(uploads.upload(&Made::new(12 * MIB), &origin()).await.unwrap().size, 12 * MIB);
}

/// By a rule of the bucket, or another connector that uploads the same content and was faster.
async fn an_upload_that_somebody_aborts_is_made_once_more(place: Place) {
    let store = place.store();
    for (method, request, status, code) in place.aborted() {
        place.server.fail(EVER, method, request, Fault::Refuse(*status, code));
        let error = uploader(&store, Strategy::Uuid).upload(&Made::new(12 * MIB), &origin()).await.unwrap_err();
        readable(&error, &place, request);
        assert!(error.to_string().contains("somebody aborted it"), "{error}");
        place.server.heal();
    }
    uploader(&store, Strategy::Uuid).upload(&Made::new(12 * MIB), &origin()).await.unwrap();
}
