//! The same on S3, and what becomes of requests that fail, of answers that are lost and of workers that are killed.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use pipette_api::ErrorKind;
use pipette_store::{
    Digest, Integrity, Journal, LargeContent, Limits, Origin, Reference, Store, StoreSettings, StoredPayload, Strategy,
    UploadOptions, Uploader,
};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lake::SECRET;
use crate::s3_server::{Fault, S3Server};
use crate::support::{Made, keys, options, read, uri, wait_until};

const MIB: u64 = 1 << 20;

fn origin() -> Origin<'static> {
    Origin { topic: "images", connector: "lab", partition: "p", offset: "1", ordinal: Some(0), ..Origin::default() }
}

fn uploader(store: &Arc<Store>, strategy: Strategy) -> Uploader {
    Uploader::new(Arc::clone(store), options(strategy), None)
}

fn back(store: &Arc<Store>, key: &str, reference: Reference) -> StoredPayload {
    let limits = Limits { max_bytes: 1 << 30 };
    StoredPayload::new(Arc::clone(store), key.to_owned(), reference, limits, Integrity::Require).unwrap()
}

#[tokio::test]
async fn payloads_go_in_and_out_in_one_request_or_in_parts() {
    let server = S3Server::start().await;
    let store = server.store();
    store.probe().await.unwrap();
    for (strategy, size) in [
        (Strategy::Content, 1000),
        (Strategy::Content, 12 * MIB),
        (Strategy::Uuid, 10 * MIB),
        (Strategy::Position, 5 * MIB - 1),
    ] {
        for payload in [Made::new(size), Made::unknown(size)] {
            let place = Origin { offset: &size.to_string(), ..origin() };
            let stored = uploader(&store, strategy.clone()).upload(&payload, &place).await.unwrap();
            let object = store.head(&stored.key).await.unwrap().unwrap();
            assert_eq!((object.size, stored.size, stored.digest), (size, size, Some(Digest::of(&payload.bytes()))));
            let again = back(&store, &stored.key, stored.reference());
            assert!(read(&again, 0, None).await.unwrap() == payload.bytes(), "{strategy:?} {size}");
            let tail = usize::try_from(size - 300).unwrap();
            assert!(read(&again, size - 300, None).await.unwrap() == payload.bytes()[tail..]);
        }
    }
    assert_eq!(keys(&store).await.len(), 5, "what is the same by content or position is there once");
    assert_eq!(server.open_uploads(), Vec::<std::path::PathBuf>::new());
}

/// What a server answers to somebody without credentials.
async fn asked(url: &str) -> String {
    let (host, rest) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).unwrap();
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let request = format!("GET /{rest} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn whoever_has_a_signed_address_reads_that_object() {
    let server = S3Server::start().await;
    let store = server.store();
    let payload = Made::new(1000);
    let stored = uploader(&store, Strategy::Uuid).upload(&payload, &origin()).await.unwrap();
    let url = store.signed_url(&stored.key, Duration::from_mins(1)).await.unwrap();
    assert!(!url.contains(SECRET), "{url}");
    let answer = asked(&url).await;
    let body = String::from_utf8_lossy(&payload.bytes()).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(&body), "{answer}");
    let (bare, signed) = url.split_once('?').unwrap();
    assert!(asked(bare).await.starts_with("HTTP/1.1 403 "));
    let another = format!("{bare}0?{signed}");
    assert!(asked(&another).await.starts_with("HTTP/1.1 403 "));
    let error = crate::support::memory().signed_url("a", Duration::from_mins(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}

#[tokio::test]
async fn a_lost_answer_is_no_lost_object_and_no_second_one() {
    let server = S3Server::start().await;
    let store = server.store();
    for (size, method, holds) in
        [(1000, "PUT", "inbox"), (12 * MIB, "POST", "uploadId"), (12 * MIB + 1, "PUT", "partNumber=2")]
    {
        server.fail(1, method, holds, Fault::LoseAnswer);
        let payload = Made::new(size);
        let stored = uploader(&store, Strategy::Content).upload(&payload, &origin()).await.unwrap();
        assert!(read(&back(&store, &stored.key, stored.reference()), 0, None).await.unwrap() == payload.bytes());
    }
    assert_eq!((keys(&store).await.len(), server.open_uploads().len()), (3, 0));
}

#[tokio::test]
async fn an_outage_is_retriable_and_leaves_nothing_open() {
    let server = S3Server::start().await;
    let store = server.store();
    for (size, method, holds) in
        [(1000, "PUT", "inbox"), (12 * MIB, "PUT", "partNumber=3"), (12 * MIB, "POST", "uploadId")]
    {
        server.fail(usize::MAX, method, holds, Fault::Refuse(503, "SlowDown"));
        let error = uploader(&store, Strategy::Content).upload(&Made::new(size), &origin()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Retriable, "{error}");
        assert!(error.to_string().contains("SlowDown"), "{error}");
        assert_eq!(server.seen(method, holds), 3, "two tries more, by one layer");
        server.heal();
        assert_eq!((keys(&store).await.len(), server.open_uploads().len()), (0, 0), "{holds}");
        server.forget();
    }
    uploader(&store, Strategy::Content).upload(&Made::new(12 * MIB), &origin()).await.unwrap();
}

#[tokio::test]
async fn refusals_fail_at_once_and_tell_no_secret() {
    let server = S3Server::start().await;
    let payload = Made::new(1000);
    let mut wrong_secret = server.settings();
    wrong_secret.options.insert("aws_secret_access_key".into(), "another-secret".into());
    let told = |error: &pipette_api::ConnectError| format!("{} {error:?}", error.chain());
    let store = Store::open(&wrong_secret).unwrap();
    let upload = uploader(&store, Strategy::Content).upload(&payload, &origin()).await.unwrap_err();
    for error in [upload, store.probe().await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Fatal, "{error}");
        assert!(told(&error).contains("forbidden") && !told(&error).contains("another-secret"), "{error:?}");
    }
    let store = server.store();
    for (status, code, kind) in [
        (401, "Unauthorized", ErrorKind::Fatal),
        (403, "AccessDenied", ErrorKind::Fatal),
        (404, "NoSuchBucket", ErrorKind::Fatal),
        (400, "InvalidArgument", ErrorKind::Fatal),
        (400, "RequestTimeout", ErrorKind::Retriable),
        (429, "TooManyRequests", ErrorKind::Retriable),
        (500, "InternalError", ErrorKind::Retriable),
    ] {
        server.fail(usize::MAX, "PUT", "inbox", Fault::Refuse(status, code));
        let error = uploader(&store, Strategy::Content).upload(&payload, &origin()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{status}: {error}");
        assert!(!told(&error).contains(SECRET), "{error:?}");
        server.heal();
    }
}

#[tokio::test]
async fn a_store_that_says_nothing_is_given_up_after_the_timeout() {
    let server = S3Server::start().await;
    let store =
        Store::open(&StoreSettings { request_timeout: Duration::from_millis(200), ..server.settings() }).unwrap();
    server.fail(usize::MAX, "PUT", "inbox", Fault::Silence);
    let error = uploader(&store, Strategy::Content).upload(&Made::new(1000), &origin()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retriable);
    let gone = { S3Server::start().await.settings() };
    let store = Store::open(&gone).unwrap();
    let error = uploader(&store, Strategy::Content).upload(&Made::new(1000), &origin()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retriable, "{error}");
    assert!(error.to_string().contains("not reached"), "{error}");
}

#[tokio::test]
async fn a_download_goes_on_where_it_broke_off() {
    let server = S3Server::start().await;
    let store = server.store();
    let payload = Made::new(3 * MIB);
    let stored = uploader(&store, Strategy::Content).upload(&payload, &origin()).await.unwrap();
    let again = back(&store, &stored.key, stored.reference());
    server.fail(2, "GET", "inbox", Fault::CutBody(700_000));
    assert!(read(&again, 0, None).await.unwrap() == payload.bytes());
    assert_eq!(server.seen("GET", "inbox/images"), 3, "taken up twice");
    server.fail(usize::MAX, "GET", "inbox", Fault::CutBody(0));
    assert_eq!(read(&again, 0, None).await.unwrap_err().kind(), ErrorKind::Retriable, "but not for ever");
}

#[tokio::test]
async fn an_object_that_was_overwritten_or_deleted_is_one_bad_record() {
    let server = S3Server::start().await;
    let store = server.store();
    let stored = uploader(&store, Strategy::Content).upload(&Made::new(1000), &origin()).await.unwrap();
    let again = back(&store, &stored.key, stored.reference());
    let other = Reference { etag: Some("\"other\"".into()), ..stored.reference() };
    let error = read(&back(&store, &stored.key, other), 0, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().contains("overwritten"), "{error}");
    store.delete(&stored.key).await.unwrap();
    let error = read(&again, 0, None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().contains("missing or forbidden"), "{error}");
}

/// A future that is dropped while parts are on their way: what a task that stops does.
#[tokio::test]
async fn an_upload_that_is_given_up_is_aborted() {
    let server = S3Server::start().await;
    let store = server.store();
    let uploads = uploader(&store, Strategy::Uuid);
    server.fail(usize::MAX, "PUT", "partNumber=2", Fault::Silence);
    let (payload, place) = (Made::new(12 * MIB), origin());
    {
        let mut upload = Box::pin(uploads.upload(&payload, &place));
        tokio::select! {
            done = &mut upload => panic!("{done:?}"),
            () = wait_until("the second part", || server.seen("PUT", "partNumber=2") > 0) => {}
        }
        assert!(!server.open_uploads().is_empty());
    }
    uploads.stop(Uploader::PATIENCE).await.unwrap();
    assert_eq!(server.open_uploads(), Vec::<std::path::PathBuf>::new());
}

/// The abort of an upload that was dropped runs by itself: whoever stops waits for it, but not for ever.
#[tokio::test]
async fn the_end_waits_for_aborts_that_are_under_way() {
    let server = S3Server::start().await;
    let store = server.store();
    let uploads = uploader(&store, Strategy::Uuid);
    let held = Arc::new(tokio::sync::Semaphore::new(0));
    server.fail(usize::MAX, "PUT", "partNumber=2", Fault::Silence);
    server.fail(usize::MAX, "DELETE", "uploadId", Fault::Held(Arc::clone(&held)));
    let (payload, place) = (Made::new(12 * MIB), origin());
    {
        let mut upload = Box::pin(uploads.upload(&payload, &place));
        tokio::select! {
            done = &mut upload => panic!("{done:?}"),
            () = wait_until("the second part", || server.seen("PUT", "partNumber=2") > 0) => {}
        }
    }
    wait_until("the abort", || server.seen("DELETE", "uploadId") > 0).await;
    uploads.stop(Duration::from_millis(20)).await.unwrap();
    assert!(!server.open_uploads().is_empty(), "it has not waited for ever");
    let mut stop = Box::pin(uploads.stop(Duration::from_secs(30)));
    assert!(futures_util::poll!(&mut stop).is_pending(), "the abort is not answered yet");
    held.add_permits(1);
    stop.await.unwrap();
    assert_eq!(server.open_uploads(), Vec::<std::path::PathBuf>::new());
}

/// Killed after the store has begun an upload and before its answer came: nobody knows what the store calls it.
#[tokio::test]
async fn an_upload_whose_start_was_not_answered_any_more_is_found_by_its_key() {
    let server = S3Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("uploads");
    let uploads = || Uploader::new(server.store(), options(Strategy::Content), Some(Journal::open(&path).unwrap()));
    server.fail(usize::MAX, "POST", "uploads", Fault::LoseAnswer);
    let error = uploads().upload(&Made::new(12 * MIB), &origin()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retriable, "{error}");
    server.heal();
    assert_ne!(server.open_uploads(), Vec::<std::path::PathBuf>::new());
    server.fail(usize::MAX, "GET", "uploads", Fault::Refuse(503, "SlowDown"));
    assert_eq!(uploads().recover().await.unwrap_err().kind(), ErrorKind::Retriable, "not forgotten meanwhile");
    server.heal();
    // Somebody else's, with a key that begins alike.
    let other = Made { seed: 1, ..Made::new(12 * MIB) };
    server.fail(usize::MAX, "PUT", "partNumber=2", Fault::Silence);
    let theirs = Uploader::new(server.store(), options(Strategy::Content), None);
    let place = origin();
    let mut running = Box::pin(theirs.upload(&other, &place));
    tokio::select! {
        done = &mut running => panic!("{done:?}"),
        () = wait_until("their second part", || server.seen("PUT", "partNumber=2") > 0) => {}
    }
    assert_eq!(uploads().recover().await.unwrap(), 3, "each try had begun one");
    assert_eq!(server.open_uploads().len(), 1, "theirs goes on");
    assert_eq!(Journal::open(&path).unwrap().left(), []);
}

/// Two connectors with one folder and the same content have the same key.
#[tokio::test]
async fn recovery_lets_an_upload_of_the_same_content_by_another_connector_go_on() {
    let server = S3Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("uploads");
    let ours = || Uploader::new(server.store(), options(Strategy::Content), Some(Journal::open(&path).unwrap()));
    server.fail(usize::MAX, "POST", "uploads", Fault::LoseAnswer);
    ours().upload(&Made::new(12 * MIB), &origin()).await.unwrap_err();
    server.heal();
    let held = Arc::new(tokio::sync::Semaphore::new(0));
    server.fail(usize::MAX, "PUT", "partNumber=2", Fault::Held(Arc::clone(&held)));
    let (theirs, payload, place) = (uploader(&server.store(), Strategy::Content), Made::new(12 * MIB), origin());
    let mut running = Box::pin(theirs.upload(&payload, &place));
    tokio::select! {
        done = &mut running => panic!("{done:?}"),
        () = wait_until("their first part", || server.parts() > 0) => {}
    }
    assert_eq!(ours().recover().await.unwrap(), 3, "ours");
    held.add_permits(10);
    let stored = running.await.unwrap();
    assert!(read(&back(&server.store(), &stored.key, stored.reference()), 0, None).await.unwrap() == payload.bytes());
    assert_eq!(server.open_uploads(), Vec::<std::path::PathBuf>::new());
}

/// A task that never starts again would be worse than an upload that is left.
#[tokio::test]
async fn a_store_that_does_not_tell_of_uploads_keeps_nobody_from_starting() {
    let server = S3Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("uploads");
    std::fs::write(&path, "pipette uploads 1\n+{\"uri\":\"s3://lake/inbox/a\",\"id\":\"\"}\n").unwrap();
    server.fail(usize::MAX, "GET", "uploads", Fault::Refuse(501, "NotImplemented"));
    let uploads = Uploader::new(server.store(), options(Strategy::Uuid), Some(Journal::open(&path).unwrap()));
    assert_eq!(uploads.recover().await.unwrap(), 0);
    assert_eq!(Journal::open(&path).unwrap().left(), []);
}

#[tokio::test]
async fn a_payload_that_changes_between_both_reads_is_not_stored() {
    let server = S3Server::start().await;
    let store = server.store();
    let payload = Made { changes: true, ..Made::new(12 * MIB) };
    let error = uploader(&store, Strategy::Content).upload(&payload, &origin()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retriable);
    assert_eq!((keys(&store).await.len(), server.open_uploads().len()), (0, 0));
    let broken = Made { breaks: Some((11 * MIB, Arc::new(AtomicUsize::new(1)))), ..Made::unknown(12 * MIB) };
    let once = UploadOptions { large_content: LargeContent::ByUuid, ..options(Strategy::Content) };
    let uploads = Uploader::new(Arc::clone(&store), once, None);
    uploads.upload(&broken, &origin()).await.unwrap_err();
    assert_eq!((keys(&store).await.len(), server.open_uploads().len()), (0, 0));
    assert_eq!(uploads.upload(&broken, &origin()).await.unwrap().size, 12 * MIB);
}

#[tokio::test]
async fn what_the_worker_does_not_allow_is_not_spoken_to() {
    struct Closed;
    impl pipette_api::Gate for Closed {
        fn path(&self, _: &std::path::Path) -> Result<(), String> {
            Err("not there".into())
        }
        fn opened(&self, _: std::os::fd::BorrowedFd<'_>) -> Result<(), String> {
            Err("not that".into())
        }
        fn address(&self, address: &str) -> Result<(), String> {
            Err(format!("not {address}"))
        }
    }
    let server = S3Server::start().await;
    let reach = pipette_api::Reach::through(Arc::new(Closed));
    let refused = |settings: StoreSettings| {
        let error = Store::open(&StoreSettings { reach: reach.clone(), ..settings }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        error.to_string()
    };
    assert!(refused(server.settings()).contains("not http://127.0.0.1"));
    let amazon = StoreSettings::at(uri("s3://lake/inbox"));
    assert!(refused(amazon).contains("not https://lake.s3.us-east-1.amazonaws.com"));
    assert!(refused(StoreSettings::at(uri("gs://lake/inbox"))).contains("not https://storage.googleapis.com"));
    assert!(refused(StoreSettings::at(uri("file:///data"))).contains("not there"));
    let with = |address: &str, options: &[(&str, &str)]| {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        StoreSettings { options: options.collect(), allow_http: true, ..StoreSettings::at(uri(address)) }
    };
    // Addresses that do not look like options that are one.
    let account = r#""disable_oauth":true,"client_email":"","private_key":"","private_key_id":"""#;
    let account = format!("{{\"gcs_base_url\":\"http://10.0.0.1\",{account}}}");
    let named = with("gs://lake/inbox", &[("google_service_account_key", &account)]);
    assert!(refused(named.clone()).contains("not http://10.0.0.1"));
    assert!(refused(StoreSettings { allow_http: false, ..named }).contains("store.allow.http"));
    let emulator = with("az://lake/inbox", &[("azure_storage_use_emulator", "1")]);
    assert!(refused(emulator.clone()).contains("not http://127.0.0.1:10000"));
    assert!(refused(StoreSettings { allow_http: false, ..emulator }).contains("store.allow.http"));
    let own = with("az://lake/inbox", &[("azure_storage_account_name", "acme")]);
    assert!(refused(own).contains("not https://acme.blob.core.windows.net"));
    let plain = StoreSettings { allow_http: false, ..server.settings() };
    let error = Store::open(&plain).unwrap_err();
    assert!(error.to_string().contains("store.allow.http"), "{error}");
    for (name, value) in [("aws_bucket", "other"), ("nonsense", "1"), ("timeout", "1s")] {
        let mut settings = server.settings();
        settings.options.insert(name.into(), value.into());
        let error = Store::open(&settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!(server.seen("", ""), 0);
}

/// A task that never starts again would be worse than what it leaves in a bucket.
#[tokio::test]
async fn uploads_that_are_gone_or_elsewhere_keep_nobody_from_starting() {
    let server = S3Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("uploads");
    let id = "00000000-0000-0000-0000-000000000000";
    let lines = ["s3://lake/inbox/gone", "s3://elsewhere/a", "gs://lake/inbox/a"]
        .map(|uri| format!("+{{\"uri\":\"{uri}\",\"id\":\"{id}\"}}\n"))
        .concat();
    std::fs::write(&path, format!("pipette uploads 1\n{lines}")).unwrap();
    let uploads = Uploader::new(server.store(), options(Strategy::Uuid), Some(Journal::open(&path).unwrap()));
    server.fail(usize::MAX, "DELETE", "uploadId", Fault::Refuse(503, "SlowDown"));
    assert_eq!(uploads.recover().await.unwrap_err().kind(), ErrorKind::Retriable);
    server.heal();
    assert_eq!(uploads.recover().await.unwrap(), 3);
    assert_eq!(Journal::open(&path).unwrap().left(), []);
}

#[tokio::test]
async fn a_damaged_object_under_the_name_of_its_content_is_told() {
    let server = S3Server::start().await;
    let store = server.store();
    let stored = uploader(&store, Strategy::Content).upload(&Made::new(1000), &origin()).await.unwrap();
    server.cut_short(&stored.key);
    let error = uploader(&store, Strategy::Content).upload(&Made::new(1000), &origin()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fatal);
    assert!(error.to_string().contains("Delete it"), "{error}");
}
