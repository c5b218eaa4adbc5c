//! A token server over HTTPS for OAUTHBEARER: one client, whose tokens are unsigned, which Kafka takes when it is told so.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The address, and how many tokens were given.
pub(crate) struct TokenServer {
    pub(crate) url: String,
    given: Arc<AtomicUsize>,
}

impl TokenServer {
    /// With the key and certificates of a PEM file, and the one login that it knows. It ends with the test.
    pub(crate) fn start(pem: &str, client: &str, secret: &str, scope: &str, life: Duration) -> Self {
        let text = std::fs::read(pem).expect("the server's key and certificate");
        let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().expect("certificates");
        let key = PrivateKeyDer::from_pem_slice(&text).expect("a key");
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
        let config = Arc::new(builder.with_single_cert(chain, key).expect("a server"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("https://localhost:{}/token", listener.local_addr().expect("its address").port());
        let authorization = format!("Basic {}", STANDARD.encode(format!("{client}:{secret}")));
        let (given, scope) = (Arc::new(AtomicUsize::new(0)), format!("scope={scope}"));
        let counted = Arc::clone(&given);
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let session = ServerConnection::new(Arc::clone(&config)).expect("a session");
                let knows = |request: &str| {
                    let lower = request.to_lowercase();
                    let asked = lower.contains("grant_type=client_credentials") && request.contains(&scope);
                    asked && request.contains(&authorization)
                };
                counted.fetch_add(usize::from(answer(session, socket, knows, life)), Ordering::Relaxed);
            }
        });
        Self { url, given }
    }

    pub(crate) fn given(&self) -> usize {
        self.given.load(Ordering::Relaxed)
    }
}

/// One request on one connection. True when a token was given.
fn answer(session: ServerConnection, socket: TcpStream, knows: impl Fn(&str) -> bool, life: Duration) -> bool {
    let _ = socket.set_read_timeout(Some(Duration::from_secs(5)));
    let mut stream = StreamOwned::new(session, socket);
    let Some(request) = request(&mut stream) else { return false };
    let granted = knows(&request);
    let (status, body) = if granted {
        ("200 OK", format!(r#"{{"access_token":"{}","token_type":"Bearer"}}"#, token(life)))
    } else {
        // What a bad server would say: the request with its secret.
        let told = request.lines().find_map(|line| line.split_once("Basic ")).unwrap_or_default().1.to_owned();
        let told = String::from_utf8(STANDARD.decode(told.trim()).unwrap_or_default()).unwrap_or_default();
        ("401 Unauthorized", format!(r#"{{"error":"invalid_client","error_description":"no such login: {told}"}}"#))
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n", body.len());
    let _ = write!(stream, "{head}Connection: close\r\n\r\n{body}");
    stream.conn.send_close_notify();
    let _ = stream.flush();
    granted
}

/// Head and body, as far as they come.
fn request(stream: &mut impl Read) -> Option<String> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        if length.map_or_else(|| body.ends_with("0\r\n\r\n"), |length| body.len() >= length) {
            return Some(text);
        }
    }
}

fn token(life: Duration) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let part = |json: String| URL_SAFE_NO_PAD.encode(json);
    let claims =
        format!(r#"{{"sub":"worker","iat":{},"exp":{},"scope":["kafka"]}}"#, now.as_secs(), (now + life).as_secs());
    format!("{}.{}.", part(r#"{"alg":"none"}"#.to_owned()), part(claims))
}
