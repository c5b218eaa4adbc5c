//! What a host may answer, and what becomes of it. The server speaks without TLS, everything else is as it is outside.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipette_api::{ErrorKind, Payload};

use super::*;
use crate::store::{Backend, Store};
use crate::{Digest, Integrity, Limits, Reference, StoredPayload};

const CONTENT: &[u8] = b"a large value, more or less";

/// A host on this machine: answers by the first line and the range of a request, and closes.
struct Host {
    port: u16,
    asked: Arc<AtomicUsize>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Host {
    fn new(answer: impl Fn(&str, Option<(usize, usize)>) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = Self { port: listener.local_addr().unwrap().port(), asked: Arc::default(), lines: Arc::default() };
        let (asked, lines) = (Arc::clone(&host.asked), Arc::clone(&host.lines));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(std::result::Result::ok) {
                asked.fetch_add(1, Ordering::SeqCst);
                let Some((line, range)) = request(&stream) else { continue };
                lines.lock().unwrap().push(line.clone());
                let text = answer(&line, range);
                // One that says nothing keeps the connection.
                if text.is_empty() {
                    std::mem::forget(stream);
                } else {
                    let _ = (&stream).write_all(text.as_bytes());
                }
            }
        });
        host
    }

    fn store(&self, name: &str) -> Arc<Store> {
        let uri = ObjectUri::parse(&format!("https://{name}:{}/", self.port), true).unwrap();
        let settings = StoreSettings { request_timeout: Duration::from_millis(500), ..StoreSettings::at(uri.clone()) };
        Store::over(uri, Backend::Web(Arc::new(Web::speaking("http", &settings).unwrap())))
    }

    fn payload(&self, key: &str, reference: Reference, most: u64) -> Result<StoredPayload> {
        let limits = Limits { max_bytes: most };
        StoredPayload::new(self.store("127.0.0.1"), key.to_owned(), reference, limits, Integrity::IfPresent)
    }

    fn read(&self, key: &str, start: u64, len: Option<u64>) -> Result<Vec<u8>> {
        let digest = Some(Digest::of(CONTENT));
        read(&self.payload(key, Reference { digest, ..Reference::to("https://host/a") }, 1000)?, start, len)
    }
}

fn request(stream: &TcpStream) -> Option<(String, Option<(usize, usize)>)> {
    let mut lines = BufReader::new(stream).lines().map_while(std::result::Result::ok);
    let first = lines.next()?;
    let mut range = None;
    for line in lines.take_while(|line| !line.is_empty()) {
        if let Some(asked) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            let (from, to) = asked.split_once('-')?;
            range = Some((from.parse().ok()?, to.parse().map_or(CONTENT.len(), |to: usize| to + 1)));
        }
    }
    Some((first, range))
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn read(payload: &StoredPayload, start: u64, len: Option<u64>) -> Result<Vec<u8>> {
    run(async {
        let (mut reader, mut all) = (payload.open(start, len).await?, Vec::new());
        while let Some(bytes) = reader.next().await? {
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    })
}

fn whole(line: &str, body: &[u8]) -> String {
    let body = std::str::from_utf8(body).unwrap();
    let shown = if line.starts_with("HEAD") { "" } else { body };
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{shown}", body.len())
}

fn with_ranges(line: &str, range: Option<(usize, usize)>) -> String {
    let Some((from, to)) = range else { return whole(line, CONTENT) };
    let body = std::str::from_utf8(&CONTENT[from..to]).unwrap();
    let about = format!("content-range: bytes {from}-{}/{}\r\ncontent-length: {}", to - 1, CONTENT.len(), body.len());
    format!("HTTP/1.1 206 Partial\r\n{about}\r\nconnection: close\r\n\r\n{body}")
}

#[test]
fn content_is_read_whole_and_in_ranges_whether_the_host_knows_them_or_not() {
    for host in [Host::new(with_ranges), Host::new(|line, _| whole(line, CONTENT))] {
        let object = run(host.store("127.0.0.1").head("a b/c")).unwrap().unwrap();
        assert_eq!((object.size, host.asked.load(Ordering::SeqCst)), (CONTENT.len() as u64, 1));
        assert!(host.lines.lock().unwrap()[0].contains(" /a%20b/c "), "{:?}", host.lines);
        assert_eq!(host.read("a", 0, None).unwrap(), CONTENT);
        assert_eq!(host.read("a", 2, Some(5)).unwrap(), b"large");
        assert_eq!(host.read("a", 15, None).unwrap(), b"more or less");
    }
}

#[test]
fn a_broken_connection_is_taken_up_where_it_broke() {
    let host = Host::new(|line, range| match range {
        None => whole(line, CONTENT)[..70].to_owned(),
        range => with_ranges(line, range),
    });
    assert_eq!(host.read("a", 0, None).unwrap(), CONTENT);
}

#[test]
fn what_is_missing_elsewhere_too_large_or_something_else_is_told() {
    let answers =
        |status: &'static str| Host::new(move |_, _| format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"));
    for status in ["404 Not Found", "403 Forbidden", "401 Unauthorized", "410 Gone"] {
        assert!(run(answers(status).store("127.0.0.1").head("a")).unwrap().is_none(), "{status}");
    }
    let get_only = Host::new(|line, _| {
        let no = "HTTP/1.1 405 Not Allowed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        if line.starts_with("HEAD") { no.to_owned() } else { whole(line, CONTENT) }
    });
    assert_eq!(run(get_only.store("127.0.0.1").head("a")).unwrap().unwrap().size, CONTENT.len() as u64);
    for (status, kind) in
        [("503 Away", ErrorKind::Retriable), ("429 Slow", ErrorKind::Retriable), ("400 No", ErrorKind::Data)]
    {
        assert_eq!(run(answers(status).store("127.0.0.1").head("a")).unwrap_err().kind(), kind, "{status}");
    }
    let forged = Host::new(|line, _| whole(line, b"a large value, more or less!").replace("less!", "LESS?"));
    let error = forged.read("a", 0, None).unwrap_err();
    assert!(error.kind() == ErrorKind::Data && error.to_string().contains("digest"), "{error}");
    let host = Host::new(with_ranges);
    let small = host.payload("a", Reference::to("https://host/a"), 10).unwrap();
    let error = read(&small, 0, None).unwrap_err();
    assert!(error.to_string().contains("max.payload.bytes (10)"), "{error}");
    let silent = Host::new(|_, _| "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n".to_owned());
    assert!(silent.read("a", 0, None).unwrap_err().to_string().contains("does not tell how large"));
}

#[test]
fn no_redirect_is_followed() {
    let other = Host::new(with_ranges);
    let to = format!("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{}/a\r\ncontent-length: 0\r\n\r\n", other.port);
    let host = Host::new(move |_, _| to.clone());
    let error = host.read("a", 0, None).unwrap_err();
    assert!(error.kind() == ErrorKind::Data && error.to_string().contains("not followed"), "{error}");
    assert_eq!(other.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn a_name_that_leads_inside_is_refused_before_anybody_is_asked() {
    let host = Host::new(with_ranges);
    let error = run(host.store("localhost").head("a")).unwrap_err();
    assert!(error.kind() == ErrorKind::Data && error.to_string().contains("localhost leads to"), "{}", error.chain());
    assert_eq!(host.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn a_host_that_says_nothing_is_given_up_for_now() {
    let host = Host::new(|_, _| String::new());
    assert_eq!(run(host.store("127.0.0.1").head("a")).unwrap_err().kind(), ErrorKind::Retriable);
}
