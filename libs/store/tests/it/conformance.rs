//! What holds on every server that speaks S3, with and without a network that misbehaves: each upload and each download ends
//! right or in one readable error, an object is there once, and no upload in parts is left over.
//!
//! Two servers that share no code are asked: s3s-fs in this process, and moto. The proxy before both is `s3_server.rs`.

use std::sync::Arc;
use std::time::Duration;

use pipette_api::{ConnectError, ErrorKind, Payload, Result};
use pipette_store::{
    Digest, Integrity, Limits, Origin, Reference, Store, StoreSettings, Stored, StoredPayload, Strategy, Uploader,
};

use crate::lake::SECRET;
use crate::moto::Moto;
use crate::s3_server::{Fault, S3Server};
use crate::support::{Made, keys, options, read};

const MIB: u64 = 1 << 20;
const EVER: usize = usize::MAX;

/// A server, and how it is looked into.
struct Place {
    server: S3Server,
    moto: Option<Moto>,
}

impl Place {
    fn store(&self) -> Arc<Store> {
        // A store that says nothing is given up soon.
        let settings = StoreSettings { request_timeout: Duration::from_secs(5), ..self.server.settings() };
        Store::open(&settings).unwrap()
    }

    /// Uploads in parts that have neither ended nor been aborted.
    fn open_uploads(&self) -> usize {
        match &self.moto {
            Some(moto) => moto.ask("GET", "/lake?uploads").unwrap().matches("<UploadId>").count(),
            None => self.server.open_uploads().len(),
        }
    }

    /// An empty bucket and a sound network.
    async fn clean(&mut self) {
        self.server.heal();
        match &self.moto {
            Some(moto) => {
                moto.ask("POST", "/moto-api/reset").unwrap();
                moto.ask("PUT", "/lake").unwrap();
            }
            None => self.server = S3Server::start().await,
        }
        self.server.forget();
    }
}

async fn s3s() -> Place {
    Place { server: S3Server::start().await, moto: None }
}

async fn moto() -> Place {
    let moto = Moto::start();
    Place { server: S3Server::before(moto.port()).await, moto: Some(moto) }
}

fn origin() -> Origin<'static> {
    Origin { topic: "images", connector: "lab", partition: "p", offset: "1", ordinal: Some(0), ..Origin::default() }
}

fn back(store: &Arc<Store>, stored: &Stored) -> StoredPayload {
    let limits = Limits { max_bytes: 1 << 30 };
    let reference: Reference = stored.reference();
    StoredPayload::new(Arc::clone(store), stored.key.clone(), reference, limits, Integrity::Require).unwrap()
}

/// One line for a person: what failed, where, and no secret.
fn readable(error: &ConnectError, what: &str) {
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Retriable, "{what}: {text}");
    assert!(text.contains("s3://lake/inbox/images"), "{what}: {text}");
    assert!(text.len() < 300 && !text.contains('\n'), "{what}: {text}");
    assert!(!error.chain().contains(SECRET), "{what}: {}", error.chain());
}

#[tokio::test]
async fn everything_comes_back_from_s3s() {
    everything_comes_back(s3s().await).await;
}

#[tokio::test]
async fn everything_comes_back_from_moto() {
    everything_comes_back(moto().await).await;
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
            let uploader = Uploader::new(Arc::clone(&store), options(strategy.clone()), None);
            let stored = uploader.upload(&payload, &Origin { offset: &offset, ..origin() }).await.unwrap();
            let object = store.head(&stored.key).await.unwrap().unwrap();
            assert_eq!((object.size, stored.size, stored.digest), (size, size, Some(Digest::of(&payload.bytes()))));
            let again = back(&store, &stored);
            assert!(read(&again, 0, None).await.unwrap() == payload.bytes(), "{strategy:?} {size}");
            let from = size.saturating_sub(300);
            let tail = usize::try_from(from).unwrap();
            assert!(read(&again, from, None).await.unwrap() == payload.bytes()[tail..]);
        }
    }
    assert_eq!(keys(&store).await.len(), 7, "what is the same by content or position is there once");
    assert_eq!(place.open_uploads(), 0);
    let key = keys(&store).await.remove(0);
    store.delete(&key).await.unwrap();
    assert!(store.head(&key).await.unwrap().is_none());
    assert_eq!(keys(&store).await.len(), 6);
}

/// What is asked for while an object of so many bytes goes in, and how to recognise it.
const REQUESTS: [(u64, &str, &str); 4] = [
    (1000, "PUT", "inbox"),
    (12 * MIB, "POST", "uploads"),
    (12 * MIB, "PUT", "partNumber=2"),
    (12 * MIB, "POST", "uploadId"),
];

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

/// A begun upload whose number nobody heard: whoever gives the bucket a rule for incomplete uploads is rid of it.
fn leaves_one(request: (u64, &str, &str), fault: &Fault) -> bool {
    request.2 == "uploads" && matches!(fault, Fault::LoseAnswer | Fault::CutBody(_))
}

#[tokio::test]
async fn uploads_to_s3s_end_right_or_in_one_error() {
    uploads_end(s3s().await).await;
}

#[tokio::test]
async fn uploads_to_moto_end_right_or_in_one_error() {
    uploads_end(moto().await).await;
}

async fn uploads_end(mut place: Place) {
    for request in REQUESTS {
        for fault in faults() {
            for times in [1, EVER] {
                place.clean().await;
                let what = format!("{times} times {fault:?} of {request:?}");
                place.server.fail(times, request.1, request.2, fault.clone());
                upload_ends(&place, request, &fault, times, &what).await;
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
    let uploader = Uploader::new(Arc::clone(&store), options(Strategy::Content), None);
    let outcome: Result<Stored> = uploader.upload(&payload, &origin()).await;
    let passes = times == 1 || matches!(fault, Fault::Delay(..));
    match &outcome {
        Ok(_) => {}
        Err(error) => {
            assert!(!passes, "{what}: {error}");
            readable(error, what);
        }
    }
    place.server.heal();
    assert!(keys(&store).await.len() <= 1, "{what}");
    // Once more, as the task does after an error, or a worker that was killed before it had noted the success.
    let stored = uploader.upload(&payload, &origin()).await.unwrap();
    if let Ok(before) = outcome {
        assert_eq!(before.key, stored.key, "{what}");
    }
    uploader.stop(std::time::Duration::from_secs(10)).await.unwrap();
    assert_eq!(keys(&store).await, [stored.key.as_str()], "{what}");
    assert!(read(&back(&store, &stored), 0, None).await.unwrap() == payload.bytes(), "{what}");
    if !leaves_one(request, fault) {
        assert_eq!(place.open_uploads(), 0, "{what}");
    }
}

#[tokio::test]
async fn downloads_from_s3s_end_right_or_in_one_error() {
    downloads_end(s3s().await).await;
}

#[tokio::test]
async fn downloads_from_moto_end_right_or_in_one_error() {
    downloads_end(moto().await).await;
}

async fn downloads_end(place: Place) {
    let store = place.store();
    let payload = Made::new(3 * MIB);
    let uploader = Uploader::new(Arc::clone(&store), options(Strategy::Content), None);
    let stored = uploader.upload(&payload, &origin()).await.unwrap();
    let again = back(&store, &stored);
    for fault in faults().into_iter().chain([Fault::CutBody(700_000)]) {
        for times in [1, 2, EVER] {
            let what = format!("{times} times {fault:?}");
            place.server.fail(times, "GET", "inbox/images", fault.clone());
            let read = read(&again as &dyn Payload, 0, None).await;
            // One that goes on where it broke off comes to its end.
            let advances = matches!(fault, Fault::Delay(..) | Fault::CutRequest(_) | Fault::CutBody(40..));
            match read {
                Ok(bytes) => assert!(bytes == payload.bytes(), "{what}"),
                Err(error) => {
                    assert!(times == EVER && !matches!(fault, Fault::Delay(..)), "{what}: {error}");
                    readable(&error, &what);
                    assert!(!advances || matches!(fault, Fault::CutBody(40) | Fault::CutRequest(_)), "{what}: {error}");
                }
            }
            place.server.heal();
        }
    }
}
