//! Azure's blobs on loopback with one container, `lake`, in this process: the requests that `object_store` makes, as Microsoft
//! describes them. `azurite.rs` starts Microsoft's own emulator, against which the same tests run by a command of their own:
//! it is too large to be fetched for every run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED, RANGE,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use pipette_store::StoreSettings;
use tokio::task::JoinHandle;

use crate::gcs::{refuse, tell};
use crate::lake::{self, Failed};
use crate::s3_server::listen;
use crate::support::{Asked, uri};

pub(crate) const ACCOUNT: &str = "devstoreaccount1";
/// Of Microsoft's emulator, and known to everybody.
pub(crate) const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const LAST: &str = "Thu, 26 Nov 2026 07:15:00 GMT";

/// What a user writes for a store on the proxy at this port.
pub(crate) fn settings(port: u16) -> StoreSettings {
    let mut settings = StoreSettings::at(uri("az://lake/inbox"));
    settings.allow_http = true;
    for (name, value) in [
        ("azure_storage_endpoint", format!("http://127.0.0.1:{port}/{ACCOUNT}")),
        ("azure_storage_account_name", ACCOUNT.into()),
        ("azure_storage_account_key", KEY.into()),
    ] {
        settings.options.insert(name.into(), value);
    }
    settings
}

pub(crate) struct Azure {
    serving: JoinHandle<()>,
    port: u16,
}

impl Azure {
    pub(crate) async fn start() -> Self {
        let (listener, port) = listen().await;
        let container = Arc::<Mutex<Container>>::default();
        let serving = tokio::spawn(lake::serve(listener, move |request| answer(Arc::clone(&container), request)));
        Self { serving, port }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Azure {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

#[derive(Default)]
struct Container {
    blobs: BTreeMap<String, Blob>,
    /// Of blobs that are or are not there yet.
    blocks: BTreeMap<String, BTreeMap<String, Bytes>>,
    puts: u64,
}

struct Blob {
    bytes: Bytes,
    etag: String,
    kind: String,
}

type Answer = Response<Full<Bytes>>;

async fn answer(container: Arc<Mutex<Container>>, request: Request<Incoming>) -> Result<Answer, Failed> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let asked = Asked::read(&head.uri);
    let signed = head.headers.get(AUTHORIZATION).is_some_and(|header| is_signed(header.to_str().unwrap_or_default()));
    let container = &mut *container.lock().unwrap();
    let Some(key) = key_in(&asked.path) else { return refuse(404, "ContainerNotFound") };
    match (&head.method, asked.query.get("comp").map(String::as_str)) {
        _ if !signed => refuse(403, "AuthenticationFailed"),
        (&Method::GET, Some("list")) => container.list(asked.query.get("prefix").map_or("", String::as_str)),
        (&Method::POST, Some("batch")) => container.delete(&String::from_utf8(body.to_vec())?),
        (&Method::PUT, Some("block")) => {
            container.blocks.entry(key.to_owned()).or_default().insert(asked.query["blockid"].clone(), body);
            tell(201, "")
        }
        (&Method::PUT, Some("blocklist")) => container.commit(key, &head, &String::from_utf8(body.to_vec())?),
        (&Method::PUT, None) => {
            let only_first = head.headers.get(IF_NONE_MATCH).is_some_and(|header| header == "*");
            if only_first && container.blobs.contains_key(key) {
                return refuse(409, "BlobAlreadyExists");
            }
            container.put(key, header(&head, "x-ms-blob-content-type", CONTENT_TYPE.as_str()), body)
        }
        (&Method::GET | &Method::HEAD, None) => container.get(key, &head),
        _ => refuse(400, "UnsupportedQueryParameter"),
    }
}

fn is_signed(header: &str) -> bool {
    header.strip_prefix(&format!("SharedKey {ACCOUNT}:")).is_some_and(|signature| signature.len() == 44)
}

fn key_in(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(&format!("/{ACCOUNT}/lake"))?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('/') }
}

fn header<'a>(head: &'a Parts, first: &str, second: &str) -> &'a str {
    let header = head.headers.get(first).or_else(|| head.headers.get(second));
    header.map_or("application/octet-stream", |header| header.to_str().unwrap())
}

impl Container {
    fn put(&mut self, key: &str, kind: &str, bytes: Bytes) -> Result<Answer, Failed> {
        self.puts += 1;
        let etag = format!("\"0x{:X}\"", self.puts);
        self.blocks.remove(key);
        self.blobs.insert(key.to_owned(), Blob { bytes, etag: etag.clone(), kind: kind.to_owned() });
        Ok(Response::builder().status(201).header(ETAG, etag).body(Full::default())?)
    }

    /// Blocks that are not named are gone with those that are.
    fn commit(&mut self, key: &str, head: &Parts, list: &str) -> Result<Answer, Failed> {
        let named = list.split("<Uncommitted>").skip(1).filter_map(|rest| rest.split_once("</")).map(|(id, _)| id);
        let blocks = self.blocks.get(key);
        let whole: Option<Vec<&Bytes>> = named.map(|id| blocks?.get(id)).collect();
        let Some(whole) = whole else { return refuse(400, "InvalidBlockList") };
        let bytes: Vec<u8> = whole.into_iter().flat_map(|block| block.to_vec()).collect();
        self.put(key, header(head, "x-ms-blob-content-type", "x-ms-none"), bytes.into())
    }

    fn get(&self, key: &str, head: &Parts) -> Result<Answer, Failed> {
        let Some(blob) = self.blobs.get(key) else { return refuse(404, "BlobNotFound") };
        if head.headers.get(IF_MATCH).is_some_and(|etag| etag != &blob.etag) {
            return refuse(412, "ConditionNotMet");
        }
        let size = blob.bytes.len();
        let answer = Response::builder()
            .header(ETAG, &blob.etag)
            .header(LAST_MODIFIED, LAST)
            .header(CONTENT_TYPE, &blob.kind)
            .header("x-ms-blob-type", "BlockBlob");
        if head.method == Method::HEAD {
            return Ok(answer.header(CONTENT_LENGTH, size).body(Full::default())?);
        }
        let Some(range) = head.headers.get("x-ms-range").or_else(|| head.headers.get(RANGE)) else {
            return Ok(answer.body(Full::from(blob.bytes.clone()))?);
        };
        let range = range.to_str()?.strip_prefix("bytes=").ok_or("a range")?;
        let (from, to) = range.split_once('-').ok_or("a range")?;
        let from: usize = from.parse()?;
        let to = if to.is_empty() { size } else { size.min(to.parse::<usize>()? + 1) };
        if from >= size {
            return refuse(416, "InvalidRange");
        }
        let answer = answer.status(206).header(CONTENT_RANGE, format!("bytes {from}-{}/{size}", to - 1));
        Ok(answer.body(Full::from(blob.bytes.slice(from..to)))?)
    }

    fn list(&self, prefix: &str) -> Result<Answer, Failed> {
        let blobs = self.blobs.iter().filter(|(key, _)| key.starts_with(prefix));
        let blob = |(key, blob): (&String, &Blob)| {
            let (name, size, etag, kind) = (Asked::escape(key), blob.bytes.len(), &blob.etag, &blob.kind);
            format!(
                "<Blob><Name>{name}</Name><Properties><Last-Modified>{LAST}</Last-Modified><Etag>{etag}</Etag>\
                 <Content-Length>{size}</Content-Length><Content-Type>{kind}</Content-Type></Properties></Blob>"
            )
        };
        let blobs: String = blobs.map(blob).collect();
        tell(200, &format!("<EnumerationResults><Blobs>{blobs}</Blobs><NextMarker /></EnumerationResults>"))
    }

    /// Several requests in one.
    fn delete(&mut self, batch: &str) -> Result<Answer, Failed> {
        let lines = batch.lines().filter_map(|line| line.strip_prefix("DELETE ")?.strip_suffix(" HTTP/1.1"));
        let mut one = |(number, line): (usize, &str)| -> Result<String, Failed> {
            let path = Asked::read(&line.parse()?).path;
            let gone = key_in(&path).and_then(|key| self.blobs.remove(key)).is_some();
            let status = if gone { "202 Accepted" } else { "404 The specified blob does not exist." };
            Ok(format!("--batch\r\nContent-ID: {number}\r\n\r\nHTTP/1.1 {status}\r\nx-ms-none: 1\r\n\r\n\r\n"))
        };
        let body = lines.enumerate().map(&mut one).collect::<Result<String, Failed>>()? + "--batch--\r\n";
        let answer = Response::builder().status(202).header(CONTENT_TYPE, "multipart/mixed; boundary=batch");
        Ok(answer.body(Full::from(body))?)
    }
}
