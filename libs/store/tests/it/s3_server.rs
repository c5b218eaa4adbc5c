//! The server of `lake.rs` behind a proxy that has a hand on every request: it can refuse, delay, lose the answer, say
//! nothing, or break off in the middle of either body.
//!
//! `conformance.rs` puts the same proxy before another server.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use pipette_store::{Store, StoreSettings};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

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
    /// It waits before it is done: something between both, another time for each.
    Delay(Duration, Duration),
    /// It breaks off after so many bytes of its body.
    CutRequest(usize),
    /// The answer breaks off after so many bytes of its body.
    CutBody(usize),
}

/// The next so many requests of a method whose address holds a text.
#[derive(Debug, Clone)]
struct Rule {
    /// Any when empty.
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
    /// The fault of the next request, and how many came before it.
    fn fault(&self, method: &str, uri: &str) -> (Option<Fault>, usize) {
        let before = {
            let mut seen = self.seen.lock().unwrap();
            seen.push(format!("{method} {uri}"));
            seen.len()
        };
        let mut rules = self.rules.lock().unwrap();
        let fits = |rule: &&mut Rule| rule.left > 0 && method.starts_with(rule.method) && uri.contains(rule.holds);
        let fault = rules.iter_mut().find(fits).map(|rule| {
            rule.left -= 1;
            rule.fault.clone()
        });
        (fault, before)
    }
}

pub(crate) struct S3Server {
    /// Of a server in this process.
    folder: Option<tempfile::TempDir>,
    desk: Arc<Desk>,
    port: u16,
    accepting: Vec<JoinHandle<()>>,
}

impl S3Server {
    /// With one bucket, `lake`.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let service = lake::service(folder.path());
        let (listener, port) = listen().await;
        let serving = tokio::spawn(lake::serve(listener, move |request| {
            let service = service.clone();
            async move { lake::work(&service, request).await }
        }));
        let mut server = Self::before(port).await;
        server.accepting.push(serving);
        server.folder = Some(folder);
        server
    }

    /// The proxy alone, before a server that is there.
    pub(crate) async fn before(server: u16) -> Self {
        let (listener, port) = listen().await;
        let desk = Arc::<Desk>::default();
        let accepting = vec![tokio::spawn(stand_before(server, listener, Arc::clone(&desk)))];
        Self { folder: None, desk, port, accepting }
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

    pub(crate) fn port(&self) -> u16 {
        self.port
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
        let path = self.folder.as_ref().unwrap().path().join("lake").join(key);
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
        self.files(".upload-")
    }

    /// How many parts there are, of all uploads.
    pub(crate) fn parts(&self) -> usize {
        self.files(".upload_id-").len()
    }

    fn files(&self, start: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.folder.as_ref().unwrap().path()).unwrap();
        let named = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(start);
        entries.map(|entry| entry.unwrap().path()).filter(named).collect()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.accepting.iter().for_each(JoinHandle::abort);
    }
}

pub(crate) async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

pub(crate) type Body = BoxBody<Bytes, Failed>;

async fn stand_before(server: u16, listener: TcpListener, desk: Arc<Desk>) {
    let mut open = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let desk = Arc::clone(&desk);
        open.spawn(async move {
            let serve = service_fn(|request| answer(server, Arc::clone(&desk), request));
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), serve).await;
        });
    }
}

async fn answer(server: u16, desk: Arc<Desk>, request: Request<Incoming>) -> Result<Response<Body>, Failed> {
    let (fault, before) = desk.fault(request.method().as_str(), &request.uri().to_string());
    let request = request.map(|body| body.map_err(Failed::from).boxed());
    match fault {
        Some(Fault::Refuse(status, code)) => {
            request.into_body().collect().await?;
            let body = format!("<Error><Code>{code}</Code><Message>{SECRET}</Message></Error>");
            let body = Full::from(body).map_err(|never| match never {}).boxed();
            Ok(Response::builder().status(StatusCode::from_u16(status)?).body(body)?)
        }
        Some(Fault::Silence) => std::future::pending().await,
        Some(Fault::Held(until)) => {
            let _permit = until.acquire().await?;
            forward(server, request).await
        }
        Some(Fault::Delay(least, most)) => {
            // Chance that is the same in every run.
            let chance = (before as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
            let per_mille = u32::try_from(chance % 1000)?;
            let more = most.saturating_sub(least) * per_mille / 1000;
            let _ = tokio::time::timeout(least + more, std::future::pending::<()>()).await;
            forward(server, request).await
        }
        Some(Fault::LoseAnswer) => {
            forward(server, request).await?.into_body().collect().await?;
            Err("lost".into())
        }
        Some(Fault::CutRequest(at)) => {
            let (head, body) = request.into_parts();
            let bytes = body.collect().await?.to_bytes();
            forward(server, Request::from_parts(head, cut(&bytes, at))).await
        }
        Some(Fault::CutBody(at)) => {
            let (head, body) = forward(server, request).await?.into_parts();
            let bytes = body.collect().await?.to_bytes();
            Ok(Response::from_parts(head, cut(&bytes, at)))
        }
        None => forward(server, request).await,
    }
}

/// The first bytes, and then a connection that breaks.
fn cut(bytes: &Bytes, at: usize) -> Body {
    let frames = [Ok(Frame::data(bytes.slice(..at.min(bytes.len())))), Err(Failed::from("cut"))];
    BodyExt::boxed(StreamBody::new(stream::iter(frames)))
}

pub(crate) async fn forward(server: u16, request: Request<Body>) -> Result<Response<Body>, Failed> {
    let socket = TcpStream::connect(("127.0.0.1", server)).await?;
    socket.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    // Lives as long as the body that comes through it.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    Ok(answer.map(|body| body.map_err(Failed::from).boxed()))
}
