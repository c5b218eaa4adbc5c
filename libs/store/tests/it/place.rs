//! The servers that `conformance.rs` asks, each behind the proxy of `s3_server.rs`, and how they are looked into.

use std::sync::Arc;
use std::time::Duration;

use pipette_store::{Scheme, Store, StoreSettings};

use crate::azure::{self, Azure};
use crate::azurite::Azurite;
use crate::gcs::{self, Gcs};
use crate::lake::SECRET;
use crate::moto::Moto;
use crate::s3_server::S3Server;
use crate::support::keys;

const MIB: u64 = 1 << 20;

/// A server with an empty bucket, `lake`.
pub(crate) struct Place {
    pub(crate) server: S3Server,
    behind: Behind,
}

enum Behind {
    S3s,
    Moto(Moto),
    Gcs(Gcs),
    Azure(#[expect(dead_code, reason = "it ends with this")] Azure),
    Azurite(#[expect(dead_code, reason = "it ends with this")] Azurite),
}

impl Place {
    pub(crate) async fn s3s() -> Self {
        Self { server: S3Server::start().await, behind: Behind::S3s }
    }

    pub(crate) async fn moto() -> Self {
        let moto = Moto::start();
        Self { server: S3Server::before(moto.port()).await, behind: Behind::Moto(moto) }
    }

    pub(crate) async fn gcs() -> Self {
        let gcs = Gcs::start().await;
        Self { server: S3Server::before(gcs.port()).await, behind: Behind::Gcs(gcs) }
    }

    pub(crate) async fn azure() -> Self {
        let azure = Azure::start().await;
        Self { server: S3Server::before(azure.port()).await, behind: Behind::Azure(azure) }
    }

    pub(crate) async fn azurite() -> Self {
        let azurite = Azurite::start().await;
        Self { server: S3Server::before(azurite.port()).await, behind: Behind::Azurite(azurite) }
    }

    pub(crate) fn settings(&self) -> StoreSettings {
        let settings = match &self.behind {
            Behind::S3s | Behind::Moto(_) => self.server.settings(),
            Behind::Gcs(_) => gcs::settings(self.server.port()),
            Behind::Azure(_) | Behind::Azurite(_) => azure::settings(self.server.port()),
        };
        // A store that says nothing is given up soon.
        StoreSettings { request_timeout: Duration::from_secs(5), ..settings }
    }

    pub(crate) fn store(&self) -> Arc<Store> {
        Store::open(&self.settings()).unwrap()
    }

    fn scheme(&self) -> Scheme {
        self.settings().uri.scheme
    }

    pub(crate) fn secret(&self) -> &'static str {
        if self.scheme() == Scheme::Azure { azure::KEY } else { SECRET }
    }

    /// What the server calls a bucket that is not there.
    pub(crate) fn no_bucket(&self) -> &'static str {
        if self.scheme() == Scheme::Azure { "ContainerNotFound" } else { "NoSuchBucket" }
    }

    /// False where a bucket comes into being when something is put into it.
    pub(crate) fn misses_buckets(&self) -> bool {
        !matches!(self.behind, Behind::S3s)
    }

    /// What is asked for while an object of so many bytes goes in, and how to recognise it.
    pub(crate) fn requests(&self) -> &'static [(u64, &'static str, &'static str)] {
        match self.scheme() {
            Scheme::Azure => &[(1000, "PUT", "inbox"), (12 * MIB, "PUT", "blockid"), (12 * MIB, "PUT", "blocklist")],
            _ => &[
                (1000, "PUT", "inbox"),
                (12 * MIB, "POST", "uploads"),
                (12 * MIB, "PUT", "partNumber=2"),
                (12 * MIB, "POST", "uploadId"),
            ],
        }
    }

    /// The requests of an upload in parts that is gone, and the answer to each.
    pub(crate) fn aborted(&self) -> &'static [(&'static str, &'static str, u16, &'static str)] {
        match self.scheme() {
            Scheme::Azure => &[("PUT", "blocklist", 400, "InvalidBlockList")],
            _ => &[("PUT", "partNumber=2", 404, "NoSuchUpload"), ("POST", "uploadId", 404, "NoSuchUpload")],
        }
    }

    /// Whether the client repeats such a request of which it does not know what became of it. It does not put an object a
    /// second time that must not be there, except into S3.
    pub(crate) fn repeats(&self, request: (u64, &str, &str)) -> bool {
        self.scheme() == Scheme::S3 || request.2 != "inbox"
    }

    /// Whether an upload in parts that nobody ends stays.
    pub(crate) fn keeps_uploads(&self) -> bool {
        self.scheme() != Scheme::Azure
    }

    /// Uploads in parts that have neither ended nor been aborted. Azure has none that stay.
    pub(crate) fn open_uploads(&self) -> usize {
        match &self.behind {
            Behind::Moto(moto) => moto.ask("GET", "/lake?uploads").unwrap().matches("<UploadId>").count(),
            Behind::S3s => self.server.open_uploads().len(),
            Behind::Gcs(gcs) => gcs.open_uploads(),
            Behind::Azure(_) | Behind::Azurite(_) => 0,
        }
    }

    /// An empty bucket and a sound network.
    pub(crate) async fn clean(&mut self) {
        self.server.heal();
        match &self.behind {
            Behind::Moto(moto) => {
                moto.ask("POST", "/moto-api/reset").unwrap();
                moto.ask("PUT", "/lake").unwrap();
            }
            Behind::S3s => self.server = S3Server::start().await,
            Behind::Gcs(_) | Behind::Azure(_) | Behind::Azurite(_) => {
                let store = self.store();
                for key in keys(&store).await {
                    store.delete(&key).await.unwrap();
                }
            }
        }
        self.server.forget();
    }
}
