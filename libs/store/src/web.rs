//! Hosts of the web, for references that others have written: read only, without credentials, and no further than asked.
//!
//! Whoever writes to a topic chooses among the allowed prefixes, so a host must not lead anywhere else: no redirect is
//! followed, no proxy is asked, and a name that leads to an address inside of a network is refused where the connection is
//! made ([`inside.rs`](self::inside)). An address that stands in the prefix itself, digit by digit, is meant. `store.rs` asks
//! here for what lies under `https://`.

pub(crate) mod inside;

use std::error::Error as _;

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use pipette_api::{ConnectError, PayloadReader, Result};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_MATCH, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};

use self::inside::{Outside, Refused};
use crate::config::StoreSettings;
use crate::remote::install_tls;
use crate::store::{Cut, Object};
use crate::uri::ObjectUri;

/// One host.
pub(crate) struct Web {
    client: Client,
    host: ObjectUri,
    scheme: &'static str,
}

impl Web {
    /// Builds a client and connects to nobody yet. A config error when the worker does not let connectors go there.
    pub(crate) fn open(settings: &StoreSettings) -> Result<Self> {
        settings.reach.address(&settings.uri.to_string()).map_err(|error| error.within("allowed.uri.prefixes"))?;
        Self::speaking("https", settings)
    }

    fn speaking(scheme: &'static str, settings: &StoreSettings) -> Result<Self> {
        install_tls();
        let client = Client::builder()
            .https_only(scheme == "https")
            .redirect(Policy::none())
            .no_proxy()
            .dns_resolver(Outside)
            .connect_timeout(settings.connect_timeout)
            .read_timeout(settings.request_timeout)
            .user_agent(concat!("pipette/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| {
                ConnectError::config("the client for addresses of the web cannot be made").because(error)
            })?;
        Ok(Self { client, host: settings.uri.with_key(""), scheme })
    }

    fn what(&self, key: &str) -> String {
        self.host.with_key(key).to_string()
    }

    fn request(&self, method: Method, key: &str) -> RequestBuilder {
        let url = self.what(key).replacen("https", self.scheme, 1);
        self.client.request(method, url).header(ACCEPT_ENCODING, "identity")
    }

    async fn send(&self, request: RequestBuilder, key: &str) -> Result<Response> {
        request.send().await.map_err(|error| fault(&self.what(key), error))
    }

    /// An answer with content; `None` for what is missing or forbidden.
    fn judged(&self, response: Response, key: &str) -> Result<Option<Response>> {
        let status = response.status();
        let say = |reason: &str| format!("Cannot read {}: {reason}", self.what(key));
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::GONE => {
                return Ok(None);
            }
            StatusCode::PRECONDITION_FAILED => {
                return Err(ConnectError::data(say("it was overwritten since its reference was written")));
            }
            _ if status.is_redirection() => {
                let reason = format!("the host answers {status} and leads elsewhere, which is not followed");
                return Err(ConnectError::data(say(&reason)));
            }
            _ if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) => {
                return Err(ConnectError::retriable(say(&format!("the host answers {status} for now"))));
            }
            _ => return Err(ConnectError::data(say(&format!("the host answers {status}")))),
        }
        if let Some(encoding) = text(&response, &CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
            let shown: String = encoding.chars().take(40).collect();
            return Err(ConnectError::data(say(&format!("the host sends it as {shown:?}, which was not asked for"))));
        }
        Ok(Some(response))
    }

    /// Describes what is there; `None` when nothing is, or it is forbidden.
    pub(crate) async fn head(&self, key: &str) -> Result<Option<Object>> {
        let mut response = self.send(self.request(Method::HEAD, key), key).await?;
        if matches!(response.status(), StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED) {
            // Not every host knows this question; the other one is given up behind its headers.
            response = self.send(self.request(Method::GET, key), key).await?;
        }
        self.judged(response, key)?.map(|response| self.object(&response, key)).transpose()
    }

    /// Opens it at a place. A host that knows no ranges sends all of it, of which the front is left out.
    pub(crate) async fn read(&self, key: &str, cut: &Cut) -> Result<(Object, Box<dyn PayloadReader>)> {
        let mut request = self.request(Method::GET, key);
        if cut.start > 0 || cut.len.is_some() {
            let end = cut.len.map(|len| cut.start.saturating_add(len).saturating_sub(1).to_string());
            request = request.header(RANGE, format!("bytes={}-{}", cut.start, end.unwrap_or_default()));
        }
        // A weak tag never matches here; what the answer has is compared in any case.
        if let Some(tag) = cut.etag.as_deref().filter(|tag| tag.starts_with('"')) {
            request = request.header(IF_MATCH, tag);
        }
        let missing = || ConnectError::data(format!("Cannot read {}: it is missing or forbidden", self.what(key)));
        let response = self.judged(self.send(request, key).await?, key)?.ok_or_else(missing)?;
        let object = self.object(&response, key)?;
        let skip = match response.status() {
            StatusCode::PARTIAL_CONTENT if range(&response).is_none_or(|(start, _)| start != cut.start) => {
                return Err(ConnectError::data(format!(
                    "Cannot read {}: the host sends another range than it was asked for",
                    self.what(key)
                )));
            }
            StatusCode::PARTIAL_CONTENT => 0,
            _ => cut.start,
        };
        let left = cut.len.unwrap_or(u64::MAX);
        Ok((object, Box::new(WebReader { response, skip, left, what: self.what(key) })))
    }

    fn object(&self, response: &Response, key: &str) -> Result<Object> {
        let size = match response.status() {
            StatusCode::PARTIAL_CONTENT => range(response).map(|(_, size)| size),
            _ => text(response, &CONTENT_LENGTH).and_then(|size| size.parse().ok()),
        };
        let size = size.ok_or_else(|| {
            ConnectError::data(format!("Cannot read {}: the host does not tell how large it is", self.what(key)))
        })?;
        let etag = text(response, &ETAG).map(str::to_owned);
        Ok(Object { key: key.to_owned(), size, etag, version: None, modified: 0 })
    }
}

/// A refusal is the record's fault; everything else may pass.
fn fault(what: &str, error: reqwest::Error) -> ConnectError {
    let error = error.without_url();
    let mut cause = error.source();
    while let Some(found) = cause {
        if let Some(refused) = found.downcast_ref::<Refused>() {
            return ConnectError::data(format!("Cannot read {what}: {refused}"));
        }
        cause = found.source();
    }
    if error.is_builder() {
        return ConnectError::data(format!("Cannot read {what}: it cannot be asked for")).because(error);
    }
    ConnectError::retriable(format!("Cannot read {what}: the host does not answer")).because(error)
}

fn text<'r>(response: &'r Response, name: &reqwest::header::HeaderName) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

/// Where the bytes of an answer begin, and how many there are in all.
fn range(response: &Response) -> Option<(u64, u64)> {
    let (range, size) = text(response, &CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, size.parse().ok()?))
}

struct WebReader {
    response: Response,
    skip: u64,
    left: u64,
    what: String,
}

#[async_trait]
impl PayloadReader for WebReader {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.left > 0 {
            let Some(mut bytes) = self.response.chunk().await.map_err(|error| fault(&self.what, error))? else {
                return Ok(None);
            };
            let skipped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            bytes.advance(skipped);
            self.skip -= skipped as u64;
            bytes.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= bytes.len() as u64;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
#[path = "web_tests.rs"]
mod tests;
