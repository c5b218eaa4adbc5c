//! Asks S3 and GCS which uploads in parts of one key are open and hold no part. `object_store` cannot, but signs the address
//! to ask, or has the credentials.
//!
//! Called for uploads whose start was not answered (`upload/multipart.rs`). Azure has none that stay.

use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{Method, Request, StatusCode};
use object_store::aws::AmazonS3;
use object_store::client::{HttpClient, HttpRequestBody};
use object_store::gcp::GcpCredentialProvider;
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use pipette_api::{ConnectError, ErrorKind, Result};

/// How long the signature of the address holds.
const HOLDS: Duration = Duration::from_mins(5);

/// A bucket that tells.
pub(crate) enum Bucket {
    S3(Arc<AmazonS3>),
    Gcs {
        /// With the bucket, without a slash at the end.
        address: String,
        /// None when requests are not signed.
        credentials: Option<GcpCredentialProvider>,
    },
}

/// Asks one bucket.
pub(crate) struct OpenUploads {
    bucket: Bucket,
    http: HttpClient,
}

impl OpenUploads {
    pub(crate) fn new(bucket: Bucket, http: HttpClient) -> Self {
        Self { bucket, http }
    }

    /// What the store calls the open uploads of a key that hold no part. Retriable when it is away, else fatal: it does not
    /// tell.
    pub(crate) async fn empty(&self, key: &str) -> Result<Vec<String>> {
        let page = self.ask(key, "", &[("uploads", ""), ("prefix", key)]).await?;
        let page = page.ok_or_else(|| told(key, ErrorKind::Fatal, "the store answers 404"))?;
        let mut empty = Vec::new();
        for id in ids(&page, key) {
            // One that is gone meanwhile needs nothing.
            let parts = self.ask(key, key, &[("uploadId", &id)]).await?;
            if parts.is_some_and(|page| !page.contains("<Part>")) {
                empty.push(id);
            }
        }
        Ok(empty)
    }

    /// The answer to one question about a path in the bucket; none for a 404.
    async fn ask(&self, key: &str, path: &str, query: &[(&str, &str)]) -> Result<Option<String>> {
        let mut request = Request::get(self.address(key, path, query).await?);
        if let Some(bearer) = self.bearer(key).await? {
            request = request.header(AUTHORIZATION, format!("Bearer {bearer}"));
        }
        let request = request.body(HttpRequestBody::empty());
        let request = request.map_err(|_| told(key, ErrorKind::Fatal, "the address of the store is none"))?;
        // The error's own text may hold the signed address.
        let away = |_| told(key, ErrorKind::Retriable, "the store is not reached");
        let answer = self.http.execute(request).await.map_err(away)?;
        let status = answer.status();
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            let passes = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
                || status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED;
            let kind = if passes { ErrorKind::Retriable } else { ErrorKind::Fatal };
            return Err(told(key, kind, &format!("the store answers {}", status.as_u16())));
        }
        let body = answer.into_body().bytes().await.map_err(away)?;
        Ok(Some(String::from_utf8_lossy(&body).into_owned()))
    }

    async fn address(&self, key: &str, path: &str, query: &[(&str, &str)]) -> Result<String> {
        match &self.bucket {
            Bucket::S3(bucket) => {
                let path = Path::parse(path).map_err(|_| told(key, ErrorKind::Fatal, "it is no key"))?;
                let options = SignedUrlOptions::default().with_query(query.iter().copied());
                let url = bucket.signed_url_opts(Method::GET, &path, HOLDS, &options).await;
                Ok(url.map_err(|_| unsigned(key))?.into())
            }
            Bucket::Gcs { address, .. } => {
                let plain = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
                let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
                let slash = if path.is_empty() { "" } else { "/" };
                Ok(format!("{address}{slash}{}?{}", plain(path), query.join("&")))
            }
        }
    }

    async fn bearer(&self, key: &str) -> Result<Option<String>> {
        let Bucket::Gcs { credentials: Some(credentials), .. } = &self.bucket else { return Ok(None) };
        let credential = credentials.get_credential().await.map_err(|_| unsigned(key))?;
        Ok(Some(credential.bearer.clone()).filter(|bearer| !bearer.is_empty()))
    }
}

fn told(key: &str, kind: ErrorKind, why: &str) -> ConnectError {
    ConnectError::new(kind, format!("Cannot list the uploads in parts of {key}: {why}"))
}

fn unsigned(key: &str) -> ConnectError {
    told(key, ErrorKind::Retriable, "there are no credentials to ask with")
}

/// One page has them all: it holds a thousand.
fn ids(page: &str, key: &str) -> Vec<String> {
    let uploads = page.split("<Upload>").skip(1);
    uploads
        .filter(|one| element(one, "Key").as_deref() == Some(key))
        .filter_map(|one| element(one, "UploadId"))
        .collect()
}

fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once("</")?;
    let marks = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#39;", "'"), ("&amp;", "&")];
    Some(marks.iter().fold(text.to_owned(), |text, (mark, sign)| text.replace(mark, sign)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_tells_the_uploads_of_one_key_and_not_of_longer_ones() {
        let upload = |key: &str, id: &str| format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>");
        let page = ["a&amp;b", "a&amp;b-2", "a&amp;b"].map(|key| upload(key, key.len().to_string().as_str())).concat();
        let page = format!("<ListMultipartUploadsResult><Prefix>a&amp;b</Prefix>{page}</ListMultipartUploadsResult>");
        assert_eq!(ids(&page, "a&b"), ["7", "7"]);
        assert_eq!(ids(&page, "a"), [""; 0]);
        assert_eq!(ids("no XML", "a"), [""; 0]);
    }
}
