//! Certificates of a client that speaks HTTPS: what the server's may rest on, and what it is shown.
//!
//! Used where tokens are fetched (`oauth.rs`) and by the commands that speak to a worker.

use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

/// From PEM: the authorities that are trusted (left out, the usual ones), and certificates with their key. The error is
/// the reason why the key cannot be used.
pub fn tls(trusted: Option<&str>, identity: Option<(&str, &str)>) -> Result<TlsConfig, String> {
    let mut tls = TlsConfig::builder();
    if let Some(trusted) = trusted {
        tls = tls.root_certs(RootCerts::from(certificates(trusted)));
    }
    if let Some((chain, key)) = identity {
        let key = PrivateKey::from_pem(key.as_bytes()).map_err(|_| "its private key cannot be used".to_owned())?;
        tls = tls.client_cert(Some(ClientCert::new_with_certs(&certificates(chain), key)));
    }
    Ok(tls.build())
}

fn certificates(text: &str) -> Vec<Certificate<'static>> {
    let items = parse_pem(text.as_bytes()).filter_map(Result::ok);
    items.filter_map(|item| if let PemItem::Certificate(one) = item { Some(one) } else { None }).collect()
}
