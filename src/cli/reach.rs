//! How commands reach a worker: the certificates of HTTPS, as options that `health` and `dlq` share.

use std::path::PathBuf;

use clap::{Arg, ArgMatches};
use pipette_api::Result;

use super::file_argument;
use crate::kafka::https;
use crate::quickstart::http::Client;
use crate::settings::stores::{self, Identity, SslKeys, invalid};

const CA: &str = "ca-file";
const CERTIFICATE: &str = "cert-file";

/// The options, behind those of the command itself.
pub(super) fn arguments() -> [Arg; 2] {
    let file = |name: &'static str, help: &'static str| {
        file_argument(name, help).long(name).value_name("FILE").display_order(90)
    };
    [
        file(
            CA,
            "Trust a worker on HTTPS whose certificate rests on these, PEM or PKCS12 [default: public authorities]",
        ),
        file(CERTIFICATE, "Show this certificate with its key, PEM: for a worker with ssl.client.auth=required"),
    ]
}

/// Whoever speaks to the worker.
pub(super) fn client(matches: &ArgMatches) -> Result<Client> {
    let given = |name: &str| matches.get_one::<PathBuf>(name).map(|path| path.display().to_string());
    let files = Files { ca: given(CA), certificate: given(CERTIFICATE) };
    let (trusted, identity) = (stores::trusted(&files)?, stores::identity(&files)?);
    let identity = identity.as_ref().map(|Identity { key, chain }| (chain.as_str(), key.as_str()));
    let tls = https::tls(trusted.as_deref(), identity);
    Ok(Client::with(tls.map_err(|reason| invalid(&files, KEY_STORE, &reason))?))
}

const TRUST_STORE: &str = "ssl.truststore.location";
const KEY_STORE: &str = "ssl.keystore.location";

/// The options in the place of Kafka's keys.
struct Files {
    ca: Option<String>,
    certificate: Option<String>,
}

impl SslKeys for Files {
    fn value(&self, name: &str) -> Option<&str> {
        match name {
            TRUST_STORE => self.ca.as_deref(),
            KEY_STORE => self.certificate.as_deref(),
            _ => None,
        }
    }

    fn written(&self, name: &str) -> String {
        match name {
            TRUST_STORE => format!("--{CA}"),
            KEY_STORE => format!("--{CERTIFICATE}"),
            other => other.to_owned(),
        }
    }
}
