//! Asks S3 which uploads in parts of one key are open. `object_store` cannot, but signs the address to ask.
//!
//! Called after a crash for uploads whose start was not answered any more (`upload/multipart.rs`). GCS is not asked: there
//! such an upload stays until the bucket's own rule ends it. Azure has none that stay.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, StatusCode};
use object_store::aws::AmazonS3;
use object_store::client::{HttpClient, HttpRequestBody};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use pipette_api::{ConnectError, ErrorKind, Result};

/// How long the signature of the address holds.
const HOLDS: Duration = Duration::from_mins(5);

/// Asks one bucket.
pub(crate) struct OpenUploads {
    bucket: Arc<AmazonS3>,
    http: HttpClient,
}

impl OpenUploads {
    pub(crate) fn new(bucket: Arc<AmazonS3>, http: HttpClient) -> Self {
        Self { bucket, http }
    }

    /// What the store calls the open uploads of a key. Retriable when it is away, else fatal: it does not tell.
    pub(crate) async fn of(&self, key: &str) -> Result<Vec<String>> {
        let told =
            |kind, why: &str| ConnectError::new(kind, format!("Cannot list the uploads in parts of {key}: {why}"));
        let options = SignedUrlOptions::default().with_query([("uploads", ""), ("prefix", key)]);
        let url = self.bucket.signed_url_opts(Method::GET, &Path::default(), HOLDS, &options).await;
        let url = url.map_err(|_| told(ErrorKind::Retriable, "there are no credentials to ask with"))?;
        let request = Request::get(url.as_str()).body(HttpRequestBody::empty());
        let request = request.map_err(|_| told(ErrorKind::Fatal, "the address of the store is none"))?;
        // The error's own text may hold the signed address.
        let away = |_| told(ErrorKind::Retriable, "the store is not reached");
        let answer = self.http.execute(request).await.map_err(away)?;
        let status = answer.status();
        if !status.is_success() {
            let passes = matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
                || status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED;
            let kind = if passes { ErrorKind::Retriable } else { ErrorKind::Fatal };
            return Err(told(kind, &format!("the store answers {}", status.as_u16())));
        }
        let body = answer.into_body().bytes().await.map_err(away)?;
        Ok(ids(&String::from_utf8_lossy(&body), key))
    }
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
