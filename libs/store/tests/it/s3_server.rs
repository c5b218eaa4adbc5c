//! The server of `lake.rs` with a hand on every request: it can refuse, lose the answer, say nothing, or break off in the
//! middle.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::{Request, Response, StatusCode};
use pipette_store::{Store, StoreSettings};
use s3s::service::S3Service;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::lake::{self, Failed, KEY, SECRET};
use crate::support::uri;

/// What happens to a request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It is refused with this status and S3 code, unseen.
    Refuse(u16, &'static str),
    /// It is done, and the connection breaks before the answer.
    LoseAnswer,
    /// It is never answered.
    Silence,
    /// It is done once this has a permit.
    Held(Arc<Semaphore>),
    /// The answer breaks off after so many bytes of its body.
    CutBody(usize),
}

/// The next so many requests of a method whose address holds a text.
#[derive(Debug, Clone)]
struct Rule {
    method: &'static str,
    holds: &'static str,
    left: usize,
    fault: Fault,
}

#[derive(Default)]
struct Desk {
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<String>>,
}

impl Desk {
    fn fault(&self, method: &str, uri: &str) -> Option<Fault> {
        self.seen.lock().unwrap().push(format!("{method} {uri}"));
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|rule| rule.left > 0 && rule.method == method && uri.contains(rule.holds))?;
        rule.left -= 1;
        Some(rule.fault.clone())
    }
}

pub(crate) struct S3Server {
    folder: tempfile::TempDir,
    desk: Arc<Desk>,
    port: u16,
    accepting: tokio::task::JoinHandle<()>,
}

impl S3Server {
    /// With one bucket, `lake`.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (service, desk) = (lake::service(folder.path()), Arc::new(Desk::default()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let desk_of_it = Arc::clone(&desk);
        let accepting = tokio::spawn(lake::serve(listener, move |request| {
            answer(service.clone(), Arc::clone(&desk_of_it), request)
        }));
        Self { folder, desk, port, accepting }
    }

    pub(crate) fn settings(&self) -> StoreSettings {
        let mut settings = StoreSettings::at(uri("s3://lake/inbox"));
        settings.allow_http = true;
        for (name, value) in [
            ("aws_endpoint", format!("http://127.0.0.1:{}", self.port)),
            ("aws_region", "us-east-1".into()),
            ("aws_access_key_id", KEY.into()),
            ("aws_secret_access_key", SECRET.into()),
        ] {
            settings.options.insert(name.into(), value);
        }
        settings
    }

    pub(crate) fn store(&self) -> Arc<Store> {
        Store::open(&self.settings()).unwrap()
    }

    /// The next `times` requests of a method whose address holds a text fail so.
    pub(crate) fn fail(&self, times: usize, method: &'static str, holds: &'static str, fault: Fault) {
        self.desk.rules.lock().unwrap().push(Rule { method, holds, left: times, fault });
    }

    /// Halves an object behind everybody's back.
    pub(crate) fn cut_short(&self, key: &str) {
        let path = self.folder.path().join("lake").join(key);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    }

    pub(crate) fn heal(&self) {
        self.desk.rules.lock().unwrap().clear();
    }

    /// Counts requests from here on.
    pub(crate) fn forget(&self) {
        self.desk.seen.lock().unwrap().clear();
    }

    /// How many requests of a method there were whose address holds a text.
    pub(crate) fn seen(&self, method: &str, holds: &str) -> usize {
        let seen = self.desk.seen.lock().unwrap();
        seen.iter().filter(|line| line.starts_with(method) && line.contains(holds)).count()
    }

    /// Uploads in parts that have neither ended nor been aborted: the server keeps a file for each. A part that was on its way
    /// may come behind the abort.
    pub(crate) fn open_uploads(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let named = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(".upload-");
        entries.map(|entry| entry.unwrap().path()).filter(named).collect()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn answer(
    service: S3Service,
    desk: Arc<Desk>,
    request: Request<hyper::body::Incoming>,
) -> Result<Response<s3s::Body>, Failed> {
    let fault = desk.fault(request.method().as_str(), &request.uri().to_string());
    match fault {
        Some(Fault::Refuse(status, code)) => {
            request.into_body().collect().await?;
            let body = format!("<Error><Code>{code}</Code><Message>{SECRET}</Message></Error>");
            Ok(Response::builder().status(StatusCode::from_u16(status)?).body(s3s::Body::from(body))?)
        }
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::Held(until)) => {
            let _permit = until.acquire().await?;
            service.call(request.map(s3s::Body::from)).await.map_err(|error| format!("{error:?}").into())
        }
        Some(Fault::LoseAnswer) => {
            lake::work(&service, request).await?.into_body().collect().await?;
            Err("lost".into())
        }
        Some(Fault::CutBody(at)) => {
            let (head, body) = lake::work(&service, request).await?.into_parts();
            let bytes: Bytes = body.collect().await?.to_bytes();
            let frames = [Ok(Frame::data(bytes.slice(..at.min(bytes.len())))), Err(Failed::from("cut"))];
            Ok(Response::from_parts(head, s3s::Body::http_body(StreamBody::new(stream::iter(frames)))))
        }
        None => lake::work(&service, request).await,
    }
}
