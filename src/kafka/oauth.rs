//! Tokens for OAUTHBEARER: fetched from the token server with a client's id and secret, and shared by all clients that
//! log in with the same.
//!
//! `security/sasl.rs` writes a [`TokenServer`] into the clients' properties; librdkafka asks for a token when it needs one,
//! through the contexts of this folder, and `admin.rs` gives one to clients that nobody polls. librdkafka fetches none
//! itself: its build has no curl.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rdkafka::client::OAuthToken;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use ureq::Agent;

use super::https;

/// How long connecting may take, and then the answer, unless the configuration says so.
const CONNECT: u64 = 3_000;
const READ: u64 = 4_000;
/// A failed attempt is not repeated at once, whoever asks.
const AFTER_FAILURE: Duration = Duration::from_secs(3);
/// The largest answer that is read.
const ANSWER: u64 = 1 << 20;

/// What librdkafka is given: a token, or why there is none.
pub(super) type Answer = Result<OAuthToken, Box<dyn Error>>;

/// Where tokens come from. Written as a text into a client's properties, secret and all.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct TokenServer {
    pub(super) endpoint: String,
    pub(super) client: String,
    pub(super) secret: String,
    pub(super) scope: Option<String>,
    /// Whether id and secret are percent-encoded before they are shown.
    pub(super) urlencode: bool,
    /// The claim that names who logs in.
    pub(super) subject: String,
    pub(super) connect_ms: Option<u64>,
    pub(super) read_ms: Option<u64>,
    /// What the server's certificate may rest on, in PEM.
    pub(super) trusted: Option<String>,
    /// Certificates and key that are shown to the server.
    pub(super) identity: Option<(String, String)>,
}

/// A token and what librdkafka wants to know of it.
#[derive(Clone)]
struct Token {
    text: String,
    principal: String,
    issued: SystemTime,
    expires: SystemTime,
}

#[derive(Default)]
struct Slot {
    token: Option<Token>,
    failed: Option<(String, Instant)>,
}

/// One slot for each way to log in: a worker has few.
static SLOTS: Mutex<BTreeMap<String, Arc<Mutex<Slot>>>> = Mutex::new(BTreeMap::new());

/// A token for a client whose properties hold this `sasl.oauthbearer.config`. Blocks while it is fetched; whoever asks for
/// the same meanwhile waits and is given the same.
pub(super) fn token(config: Option<&str>) -> Answer {
    let text = config.ok_or("no token server is configured")?;
    let slot = Arc::clone(SLOTS.lock().unwrap_or_else(PoisonError::into_inner).entry(text.to_owned()).or_default());
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(token) = slot.token.as_ref().filter(|token| token.is_fresh(SystemTime::now())) {
        return Ok(token.give());
    }
    if let Some((reason, _)) = slot.failed.as_ref().filter(|(_, at)| at.elapsed() < AFTER_FAILURE) {
        return Err(reason.clone().into());
    }
    let server: TokenServer = serde_json::from_str(text)?;
    match server.fetch() {
        Ok(token) => {
            let given = token.give();
            *slot = Slot { token: Some(token), failed: None };
            Ok(given)
        }
        Err(reason) => {
            // A secret that a server repeats must not come further.
            let reason = reason.replace(&server.secret, "[hidden]");
            slot.failed = Some((reason.clone(), Instant::now()));
            Err(reason.into())
        }
    }
}

impl Token {
    /// Whether a fifth of its life is left: librdkafka comes for another one then.
    fn is_fresh(&self, now: SystemTime) -> bool {
        let life = self.expires.duration_since(self.issued).unwrap_or_default();
        self.expires.duration_since(now).is_ok_and(|left| left * 4 > life)
    }

    fn give(&self) -> OAuthToken {
        let expires = self.expires.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        OAuthToken {
            token: self.text.clone(),
            principal_name: self.principal.clone(),
            lifetime_ms: i64::try_from(expires).unwrap_or(i64::MAX),
        }
    }
}

impl TokenServer {
    /// For `sasl.oauthbearer.config`.
    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| unreachable!("texts, numbers and booleans only"))
    }

    fn fetch(&self) -> Result<Token, String> {
        let server = &self.endpoint;
        let mut form = vec![("grant_type", "client_credentials")];
        form.extend(self.scope.as_deref().map(|scope| ("scope", scope)));
        let asked = self
            .agent()?
            .post(server)
            .header("Authorization", self.authorization())
            .header("Accept", "application/json");
        let mut answer =
            asked.send_form(form).map_err(|error| format!("the token server {server} cannot be asked: {error}"))?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(ANSWER).read_to_string();
        let body: Value = serde_json::from_str(&body.unwrap_or_default()).unwrap_or_default();
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        if status != 200 {
            // Only what the protocol has for this: the rest may be a page of HTML.
            let why = [text("error"), text("error_description")].map(|part| part.chars().take(200).collect::<String>());
            let why = why.iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join(", ");
            let why = if why.is_empty() { String::new() } else { format!(": {why}") };
            return Err(format!("the token server {server} answers {status} to client {}{why}", self.client));
        }
        let token = ["access_token", "id_token"].map(text).into_iter().find(|token| !token.is_empty());
        let token = token.ok_or_else(|| format!("the token server {server} gives no access_token"))?;
        self.read(token, body["expires_in"].as_u64(), SystemTime::now())
    }

    /// What a token says of itself, or its server.
    fn read(&self, token: &str, expires_in: Option<u64>, now: SystemTime) -> Result<Token, String> {
        let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok());
        let claims: Value = claims.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let seconds =
            |name: &str| claims[name].as_f64().map(|it| UNIX_EPOCH + Duration::from_secs_f64(it.clamp(0.0, 1e11)));
        let expires = seconds("exp").or_else(|| expires_in.map(|it| now + Duration::from_secs(it.min(1 << 36))));
        let expires = expires
            .ok_or_else(|| format!("the token server {} does not tell how long its token lasts", self.endpoint))?;
        if expires <= now {
            return Err(format!(
                "the token of {} has expired already: compare its clock with this machine's",
                self.endpoint
            ));
        }
        let principal = claims[&self.subject].as_str().unwrap_or(&self.client).to_owned();
        Ok(Token { text: token.to_owned(), principal, issued: now, expires })
    }

    fn authorization(&self) -> String {
        let part = |text: &str| if self.urlencode { percent_encoded(text) } else { text.to_owned() };
        format!("Basic {}", STANDARD.encode(format!("{}:{}", part(&self.client), part(&self.secret))))
    }

    fn agent(&self) -> Result<Agent, String> {
        let identity = self.identity.as_ref().map(|(chain, key)| (chain.as_str(), key.as_str()));
        let tls = https::tls(self.trusted.as_deref(), identity)?;
        let wait = |given: Option<u64>, usual| Some(Duration::from_millis(given.filter(|it| *it > 0).unwrap_or(usual)));
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(wait(self.connect_ms, CONNECT))
            .timeout_recv_response(wait(self.read_ms, READ))
            .timeout_recv_body(wait(self.read_ms, READ))
            .tls_config(tls);
        Ok(config.build().new_agent())
    }
}

/// Everything but what RFC 3986 leaves as it is.
fn percent_encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> TokenServer {
        TokenServer {
            endpoint: "http://127.0.0.1:1/token".into(),
            client: "me".into(),
            secret: "s3:c ret".into(),
            scope: None,
            urlencode: false,
            subject: "sub".into(),
            connect_ms: None,
            read_ms: None,
            trusted: None,
            identity: None,
        }
    }

    #[test]
    fn a_token_says_itself_whose_it_is_and_how_long_it_lasts() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let token = format!("x.{}.y", URL_SAFE_NO_PAD.encode(r#"{"exp":1100.5,"sub":"worker"}"#));
        let read = server().read(&token, Some(7), now).unwrap();
        assert_eq!((&*read.give().principal_name, read.give().lifetime_ms), ("worker", 1_100_500));
        assert!(read.is_fresh(now + Duration::from_secs(70)) && !read.is_fresh(now + Duration::from_secs(90)));
        let opaque = server().read("opaque", Some(7), now).unwrap().give();
        assert_eq!((&*opaque.principal_name, opaque.lifetime_ms), ("me", 1_007_000));
        assert!(server().read("opaque", None, now).err().unwrap().contains("how long"));
        assert!(server().read(&token, None, now + Duration::from_secs(200)).err().unwrap().contains("expired"));
    }

    #[test]
    fn the_secret_goes_to_the_server_and_into_no_error() {
        let decoded = |server: &TokenServer| {
            let text = server.authorization();
            String::from_utf8(STANDARD.decode(text.strip_prefix("Basic ").unwrap()).unwrap()).unwrap()
        };
        assert_eq!(decoded(&server()), "me:s3:c ret");
        assert_eq!(decoded(&TokenServer { urlencode: true, ..server() }), "me:s3%3Ac%20ret");
        let error = token(Some(&server().to_text())).err().unwrap().to_string();
        assert!(error.contains("http://127.0.0.1:1/token") && !error.contains("s3:c"), "{error}");
        assert!(token(None).is_err());
    }
}
