//! Requests to a worker's REST, for the commands that speak to one.

use std::time::Duration;

use pipette_api::{ConnectError, Result};
use ureq::tls::TlsConfig;

/// A worker that takes longer is not well.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whoever speaks to a worker.
pub(crate) struct Client(ureq::Agent);

/// Who trusts what everybody trusts.
impl Default for Client {
    fn default() -> Self {
        Self::with(TlsConfig::builder().build())
    }
}

impl Client {
    /// With certificates of its own. Answers are read whatever their status: the body says what is wrong.
    pub(crate) fn with(tls: TlsConfig) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
        Self(config.tls_config(tls).build().into())
    }

    /// The body of the answer to a GET.
    pub(crate) fn get(&self, url: &str) -> Result<String> {
        answer(url, self.0.get(url).call())
    }

    /// The body of the answer to a PUT of JSON.
    pub(crate) fn put(&self, url: &str, json: &str) -> Result<String> {
        answer(url, self.0.put(url).content_type("application/json").send(json))
    }

    /// The body of the answer to a POST of JSON.
    pub(crate) fn post(&self, url: &str, json: &str) -> Result<String> {
        answer(url, self.0.post(url).content_type("application/json").send(json))
    }
}

const LOGIN: &str = ": a name and a password go into the URL, http://NAME:PASSWORD@HOST:PORT";

fn answer(url: &str, response: std::result::Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<String> {
    let url = without_login(url);
    let failed = |error: ureq::Error| {
        let text = if error.to_string().to_lowercase().contains("certificate") {
            format!(
                "{url} and this command do not trust each other: --ca-file says whom to trust, --cert-file what to show"
            )
        } else if url.starts_with("http://") || url.starts_with("https://") {
            format!("No worker answers at {url}: is it running?")
        } else {
            format!("{url} is no address of a worker: write http://HOST:PORT or https://HOST:PORT")
        };
        ConnectError::fatal(text).because(error)
    };
    let mut response = response.map_err(failed)?;
    let body = response.body_mut().read_to_string().map_err(failed)?;
    if response.status().is_success() {
        return Ok(body);
    }
    let login = if response.status() == 401 { LOGIN } else { "" };
    Err(ConnectError::fatal(format!("{url} answers {}: {body}{login}", response.status())))
}

/// A URL as it may be shown: what stands before `@` is a name and a password.
fn without_login(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..host].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    fn one_answer(text: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/health", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
        });
        url
    }

    #[test]
    fn a_refusal_shows_what_the_worker_says() {
        let get = |url: &str| Client::default().get(url);
        let url = one_answer("HTTP/1.1 500 x\r\nContent-Length: 7\r\n\r\nbad day");
        let error = get(&url).unwrap_err().to_string();
        assert!(error.ends_with("/health answers 500 Internal Server Error: bad day"), "{error}");
        let url = one_answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup");
        assert_eq!(get(&url).unwrap(), "up");
        let url = one_answer("HTTP/1.1 401 x\r\nContent-Length: 2\r\n\r\nno");
        let error = get(&url).unwrap_err().to_string();
        assert!(error.ends_with(&format!(" answers 401 Unauthorized: no{LOGIN}")), "{error}");
        for other in ["127.0.0.1:8083/health", "ftp://worker/health"] {
            let error = get(other).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{other} is no address of a worker: write http://HOST:PORT")),
                "{error}"
            );
        }
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = get(&format!("http://ann:s3cret@{gone}/x@y")).unwrap_err().to_string();
        assert!(error.contains(&format!("http://{gone}/x@y: is it running?")) && !error.contains("s3cret"), "{error}");
    }
}
