//! Reading requests and writing answers: content types, sizes, queries, bodies.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Query;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::LengthLimitError;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::ApiError;
use crate::herder::preview::{Records, Sample};
use crate::herder::validate::Draft;

/// The largest body taken; the largest configurations seen are some hundred KiB.
const BODY_LIMIT: usize = 10 * 1024 * 1024;
/// How long a client may take to send its body.
const BODY_TIME: Duration = Duration::from_secs(30);

/// A request, read.
pub(super) struct Parts {
    pub(super) method: Method,
    /// `host:port` as the client knows this worker.
    pub(super) host: String,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    query: Vec<(String, String)>,
    body: Bytes,
}

/// The body of `POST /connectors`.
pub(super) struct NewConnector {
    pub(super) name: Option<String>,
    pub(super) initial_state: Option<String>,
    pub(super) config: Draft,
}

/// The body of `POST /transforms/preview`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPreview {
    config: Box<RawValue>,
    #[serde(default)]
    records: Option<Vec<Sample>>,
    #[serde(default)]
    live: Option<usize>,
}

impl Parts {
    pub(super) async fn read(request: Request<Body>, method: Method, is_https: bool) -> Result<Self, ApiError> {
        let (head, body) = request.into_parts();
        let body = match tokio::time::timeout(BODY_TIME, to_bytes(body, BODY_LIMIT)).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => return Err(unread(&*error.into_inner())),
            Err(_) => return Err(ApiError::plain(StatusCode::REQUEST_TIMEOUT)),
        };
        if !(body.is_empty() && method == Method::GET) {
            check_content_type(&head.headers, &body)?;
        }
        let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
        let query = Query::try_from_uri(&head.uri).map(|Query(query)| query).unwrap_or_default();
        let scheme = if is_https { "https" } else { "http" };
        Ok(Self { method, host, scheme, query, body })
    }

    /// The values of a query parameter.
    pub(super) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A boolean query parameter: only `true`, in any case, is true; an empty one is none.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.values(name).next().filter(|value| !value.is_empty()).map(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The query as a map, the last of equal names.
    pub(super) fn query(&self) -> BTreeMap<String, String> {
        self.query.iter().cloned().collect()
    }

    /// The body as a configuration: text, numbers and booleans as they are written, null as null.
    pub(super) fn draft(&self) -> Result<Draft, ApiError> {
        draft(self.json::<BTreeMap<String, Box<RawValue>>>()?)
    }

    /// The body of `POST /connectors` and its configuration.
    pub(super) fn new_connector(&self) -> Result<NewConnector, ApiError> {
        // Of equal members the last one counts, as everywhere in Java's API.
        let mut members = self.json::<BTreeMap<String, Box<RawValue>>>()?;
        let config = members.remove("config").filter(|config| config.get() != "null");
        if let Some(other) = members.keys().find(|name| !["name", "initial_state"].contains(&name.as_str())) {
            return Err(ApiError::bad(format!(
                "The body has a member \"{other}\"; it may have name, config and initial_state. The connector's keys go into \
                 config: {{\"name\": …, \"config\": {{…}}}}"
            )));
        }
        let mut rest = draft(members)?;
        let mut take = |name: &str| rest.remove(name).flatten();
        let (name, initial_state) = (take("name"), take("initial_state"));
        let config =
            config.ok_or_else(|| ApiError::bad("The body has no \"config\": send {\"name\": …, \"config\": {…}}"))?;
        Ok(NewConnector { name, initial_state, config: draft(self::config(&config)?)? })
    }

    /// The body, whatever it is.
    pub(super) fn document(&self) -> Result<serde_json::Value, ApiError> {
        self.json()
    }

    /// No body, or one that says that there is none.
    pub(super) fn has_no_body(&self) -> bool {
        matches!(self.body.trim_ascii(), b"" | b"null")
    }

    /// The body; no body is a value's default.
    pub(super) fn json_or_nothing<'a, T: Deserialize<'a> + Default>(&'a self) -> Result<T, ApiError> {
        if self.body.is_empty() { Ok(T::default()) } else { self.json() }
    }

    /// The body of `POST /transforms/preview`: a configuration and where its records come from.
    pub(super) fn preview(&self) -> Result<(Draft, Records), ApiError> {
        let new: NewPreview = self.json()?;
        let records = match (new.records, new.live) {
            (Some(samples), None) => Records::Samples(samples),
            (None, Some(count)) => Records::Live(count),
            _ => return Err(ApiError::bad("The body needs either \"records\", a list, or \"live\", a number")),
        };
        Ok((draft(config(&new.config)?)?, records))
    }

    fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ApiError> {
        if self.body.is_empty() {
            return Err(ApiError::bad("The request needs a body in JSON, and has none"));
        }
        // Jackson passes over a byte order mark too.
        object("The body", self.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.body))
    }
}

/// A JSON object. What is none is told by what it is, not in the words of a parser.
fn object<'a, T: Deserialize<'a>>(what: &str, json: &'a [u8]) -> Result<T, ApiError> {
    let first = json.iter().find(|byte| !byte.is_ascii_whitespace()).copied().unwrap_or_default();
    let not_as_expected = |error: serde_json::Error| {
        let error = error.to_string().replace("recursion limit exceeded", "nested deeper than 127 levels");
        ApiError::bad(format!("{what} is not as expected: {error}"))
    };
    if first != b'{' {
        serde_json::from_slice::<IgnoredAny>(json).map_err(not_as_expected)?;
        let kind = match first {
            b'[' => "a list",
            b'"' => "text",
            b'n' => "null",
            b't' | b'f' => "true or false",
            _ => "a number",
        };
        return Err(ApiError::bad(format!("{what} must be a JSON object, {{…}}, and is {kind}")));
    }
    serde_json::from_slice(json).map_err(not_as_expected)
}

/// The member `config` of a body.
fn config(raw: &RawValue) -> Result<BTreeMap<String, Box<RawValue>>, ApiError> {
    object("\"config\"", raw.get().as_bytes())
}

fn draft(raw: BTreeMap<String, Box<RawValue>>) -> Result<Draft, ApiError> {
    let text = |(key, value): (String, Box<RawValue>)| {
        let raw = value.get();
        let value = match raw.as_bytes().first() {
            Some(b'"') => Some(serde_json::from_str(raw).map_err(|error| ApiError::bad(format!("{key}: {error}")))?),
            Some(b'n') => None,
            Some(b'{' | b'[') => {
                return Err(ApiError::bad(format!("The value of {key} must be text, a number or a boolean")));
            }
            _ => Some(raw.to_owned()),
        };
        Ok((key, value))
    };
    raw.into_iter().map(text).collect()
}

/// Why there is no body.
fn unread(error: &(dyn std::error::Error + 'static)) -> ApiError {
    if error.is::<LengthLimitError>() {
        let text = format!("The body is longer than {BODY_LIMIT} bytes");
        return ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, text);
    }
    ApiError::bad("The body ends early, or is not as its headers say")
}

/// A body must say that it is JSON. Some clients put the type of forms on requests without body; that is let through.
fn check_content_type(headers: &HeaderMap, body: &Bytes) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or_default());
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    match kind.as_deref() {
        Some("application/json") => Ok(()),
        None | Some("application/x-www-form-urlencoded") if body.is_empty() => Ok(()),
        _ => Err(ApiError::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE)),
    }
}

/// The client must take JSON.
pub(super) fn check_accept(headers: &HeaderMap) -> Result<(), ApiError> {
    let mut accepted = headers.get_all(header::ACCEPT).iter().peekable();
    let takes_json = |range: &str| {
        let range = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        ["*/*", "application/*", "application/json"].contains(&range.as_str())
    };
    let fits = accepted.peek().is_none()
        || accepted.any(|value| value.to_str().unwrap_or_default().split(',').any(takes_json));
    if fits { Ok(()) } else { Err(ApiError::plain(StatusCode::NOT_ACCEPTABLE)) }
}

/// `application/json` with the parameters that the client asked for: Java's worker says it back.
pub(super) fn json_as_asked(headers: &HeaderMap) -> Option<HeaderValue> {
    let accepted = headers.get(header::ACCEPT)?.to_str().ok()?;
    let is_json = |range: &&str| range.to_ascii_lowercase().starts_with("application/json;");
    let range = accepted.split(',').map(str::trim).find(is_json).filter(|range| !range.contains(";q="))?;
    HeaderValue::from_str(range).ok()
}

/// The answer to OPTIONS: the methods, in text if the client takes that.
pub(super) fn options(headers: &HeaderMap, allowed: &[&str]) -> Response {
    let kind = kind_of_options(headers);
    let body = if kind == "text/plain" { allowed.join(", ") } else { String::new() };
    ([(header::ALLOW, allowed.join(",")), (header::CONTENT_TYPE, kind.to_owned())], body).into_response()
}

/// The first that the client takes.
fn kind_of_options(headers: &HeaderMap) -> &str {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    match accepted.split([',', ';']).next().unwrap_or_default().trim() {
        "*/*" | "text/*" => "text/plain",
        other => other,
    }
}

/// The answer to a method that the resource does not have. HTTP asks for the list, which Java leaves out.
pub(super) fn not_allowed(allowed: &[&str], strict: bool) -> Response {
    let mut refusal = ApiError::plain(StatusCode::METHOD_NOT_ALLOWED).into_response();
    if let (false, Ok(list)) = (strict, HeaderValue::from_str(&allowed.join(","))) {
        refusal.headers_mut().insert(header::ALLOW, list);
    }
    refusal
}

/// What a client says of itself.
pub(super) fn authorization(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes)
}

/// The answer to whoever may not use REST: Java's, text under the type of the resource.
pub(super) fn not_admitted(method: &Method, headers: &HeaderMap) -> Response {
    let kind = if method == Method::OPTIONS { kind_of_options(headers) } else { "application/json" };
    (StatusCode::UNAUTHORIZED, [(header::CONTENT_TYPE, kind.to_owned())], "User cannot access the resource.")
        .into_response()
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => text(status, body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string().into_bytes()),
    }
}

/// An answer that is JSON already.
pub(super) fn text(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
