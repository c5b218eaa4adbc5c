//! S3 and its like, GCS, Azure and memory, behind the two traits of `object_store`.

use std::path::Path;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{HttpClient, HttpConnector, ReqwestConnector};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use object_store::signer::Signer;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use pipette_api::{ConnectError, Result};
use std::time::Duration;

use crate::config::StoreSettings;
use crate::open_uploads::{Bucket, OpenUploads};
use crate::uri::Scheme;

/// A store with uploads in parts.
pub(crate) trait Remote: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Remote for T {}

/// Options that say what another key says.
const TAKEN: &[(&str, &str)] = &[
    ("bucket", "store.uri"),
    ("bucket_name", "store.uri"),
    ("container", "store.uri"),
    ("container_name", "store.uri"),
    ("timeout", "store.request.timeout.ms"),
    ("connect_timeout", "store.connect.timeout.ms"),
];

/// Options that name files, by their ends.
const FILES: &[&str] = &["_file", "_path", "service_account", "application_credentials"];

/// Where the emulator of Azure's own options is, unless the environment says otherwise.
const AZURITE: &str = "http://127.0.0.1:10000";

/// A client and what it can do beside.
pub(crate) struct Built {
    pub(crate) remote: Arc<dyn Remote>,
    /// One that asks only once for an upload in parts, where the other may ask several times.
    pub(crate) starter: Option<Arc<dyn Remote>>,
    /// Who tells of uploads in parts where they stay open.
    pub(crate) uploads: Option<OpenUploads>,
    /// Who signs addresses.
    pub(crate) signer: Option<Arc<dyn Signer>>,
}

impl Built {
    pub(crate) fn plain(remote: Arc<dyn Remote>) -> Self {
        Self { remote, starter: None, uploads: None, signer: None }
    }

    fn signing<T: Remote + Signer>(client: Arc<T>) -> Self {
        Self { signer: Some(Arc::clone(&client) as Arc<dyn Signer>), ..Self::plain(client) }
    }
}

/// Builds the client, which connects to nobody yet.
pub(crate) fn build(settings: &StoreSettings) -> Result<Built> {
    check_options(settings)?;
    install_tls();
    match settings.uri.scheme {
        Scheme::S3 => s3(settings),
        Scheme::Gcs => gcs(settings),
        Scheme::Azure => azure(settings),
        Scheme::Memory => Ok(Built::plain(in_memory())),
        Scheme::File | Scheme::Https => unreachable!("folders are in local.rs, the web is in web.rs"),
    }
}

/// An empty store that is gone with its last user.
pub(crate) fn in_memory() -> Arc<dyn Remote> {
    Arc::new(InMemory::new())
}

/// What [`build`] would refuse of the options, as far as they tell alone: no client is made.
pub(crate) fn check(settings: &StoreSettings) -> Result<()> {
    check_options(settings)?;
    match settings.uri.scheme {
        Scheme::S3 => s3_builder(settings).map(drop),
        Scheme::Gcs => gcs_builder(settings).map(drop),
        Scheme::Azure => azure_builder(settings).map(drop),
        Scheme::Https | Scheme::Memory | Scheme::File => Ok(()),
    }
}

/// Asks for every address and file that an option names, whatever it is for.
fn check_options(settings: &StoreSettings) -> Result<()> {
    for (name, value) in &settings.options {
        let bare = name.split_once('_').map_or(name.as_str(), |(provider, bare)| match provider {
            "aws" | "azure" | "google" => bare,
            _ => name,
        });
        if let Some((_, key)) = TAKEN.iter().find(|(taken, _)| *taken == bare) {
            return Err(ConnectError::config(format!("store.options.{name}: say it with {key} instead")));
        }
        let within = |error: ConnectError| error.within(format!("store.options.{name}"));
        if value.starts_with("http://") || value.starts_with("https://") {
            settings.reach.address(value).map_err(within)?;
        } else if FILES.iter().any(|end| name.ends_with(end)) {
            settings.reach.path(Path::new(value)).map_err(within)?;
        }
    }
    Ok(())
}

/// The client asks for a provider of the whole process; whoever was first has chosen the only one there is.
pub(crate) fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// One silent request is given up after the timeout, however long a large object takes.
fn client_options(settings: &StoreSettings) -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(settings.allow_http)
        .with_connect_timeout(settings.connect_timeout)
        .with_read_timeout(settings.request_timeout)
        .with_timeout_disabled()
}

/// Little, because whoever uses the store tries again as well: times would multiply.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig { init_backoff: Duration::from_millis(100), ..BackoffConfig::default() },
        max_retries: 2,
        retry_timeout: Duration::from_secs(10),
    }
}

fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..retries() }
}

fn unknown(name: &str) -> ConnectError {
    ConnectError::config(format!("store.options.{name} is no option of such a store"))
}

fn unusable(settings: &StoreSettings) -> impl Fn(object_store::Error) -> ConnectError + '_ {
    // The cause is left out: it may repeat an option, which may be a secret.
    |_| {
        ConnectError::config(format!(
            "Cannot use the store {}: its options do not fit together (store.options.*: {:?})",
            settings.uri,
            settings.options.keys().collect::<Vec<_>>()
        ))
    }
}

/// The address that will be spoken to, and whether it may be.
fn check_address(settings: &StoreSettings, address: &str) -> Result<()> {
    let http = ["allow_http", "aws_allow_http", "azure_allow_http", "google_allow_http"];
    let allowed = settings.allow_http
        || http.iter().any(|name| settings.options.get(*name).is_some_and(|value| value.eq_ignore_ascii_case("true")));
    if address.starts_with("http://") && !allowed {
        return Err(ConnectError::config(
            "the store's endpoint is http://, which sends values unencrypted: use https:// or set store.allow.http=true",
        ));
    }
    settings.reach.address(address).map_err(|error| error.within(format!("the store {}", settings.uri)))
}

fn s3(settings: &StoreSettings) -> Result<Built> {
    let builder = s3_builder(settings)?;
    let bucket = Arc::new(builder.clone().build().map_err(unusable(settings))?);
    let starter = builder.with_credentials(Arc::clone(bucket.credentials())).with_retry(no_retries()).build();
    let starter = Arc::new(starter.map_err(unusable(settings))?);
    let uploads = OpenUploads::new(Bucket::S3(Arc::clone(&bucket)), http(settings)?);
    Ok(Built { starter: Some(starter), uploads: Some(uploads), ..Built::signing(bucket) })
}

fn s3_builder(settings: &StoreSettings) -> Result<AmazonS3Builder> {
    let mut builder = AmazonS3Builder::from_env().with_client_options(client_options(settings)).with_retry(retries());
    for (name, value) in &settings.options {
        let key: AmazonS3ConfigKey = name.to_ascii_lowercase().parse().map_err(|_| unknown(name))?;
        builder = builder.with_config(key, value);
    }
    let builder = builder.with_bucket_name(&settings.uri.bucket);
    let get = |key| builder.get_config_value(&key);
    let region = get(AmazonS3ConfigKey::Region).unwrap_or_else(|| "us-east-1".into());
    let own = || format!("https://{}.s3.{region}.amazonaws.com", settings.uri.bucket);
    let endpoint = get(AmazonS3ConfigKey::S3Endpoint).or_else(|| get(AmazonS3ConfigKey::Endpoint)).unwrap_or_else(own);
    check_address(settings, &endpoint)?;
    Ok(builder)
}

fn http(settings: &StoreSettings) -> Result<HttpClient> {
    ReqwestConnector::default().connect(&client_options(settings)).map_err(unusable(settings))
}

fn gcs(settings: &StoreSettings) -> Result<Built> {
    let (builder, endpoint) = gcs_builder(settings)?;
    let unsigned = builder.get_config_value(&GoogleConfigKey::SkipSignature).is_some_and(|text| is_true(&text));
    let bucket = Arc::new(builder.clone().build().map_err(unusable(settings))?);
    let starter = builder.with_credentials(Arc::clone(bucket.credentials())).with_retry(no_retries()).build();
    let starter = Arc::new(starter.map_err(unusable(settings))?);
    let credentials = (!unsigned).then(|| Arc::clone(bucket.credentials()));
    let address = format!("{endpoint}/{}", settings.uri.bucket);
    let uploads = OpenUploads::new(Bucket::Gcs { address, credentials }, http(settings)?);
    Ok(Built { starter: Some(starter), uploads: Some(uploads), ..Built::signing(bucket) })
}

/// And where it goes.
fn gcs_builder(settings: &StoreSettings) -> Result<(GoogleCloudStorageBuilder, String)> {
    let mut builder =
        GoogleCloudStorageBuilder::from_env().with_client_options(client_options(settings)).with_retry(retries());
    for (name, value) in &settings.options {
        let key: GoogleConfigKey = name.to_ascii_lowercase().parse().map_err(|_| unknown(name))?;
        builder = builder.with_config(key, value);
    }
    let builder = builder.with_bucket_name(&settings.uri.bucket);
    let get = |key| builder.get_config_value(&key);
    let account = match get(GoogleConfigKey::ServiceAccount) {
        Some(path) => std::fs::read_to_string(path).ok(),
        None => get(GoogleConfigKey::ServiceAccountKey),
    };
    let endpoint = get(GoogleConfigKey::BaseUrl).or_else(|| base_of(&account?));
    let endpoint = endpoint.unwrap_or_else(|| "https://storage.googleapis.com".into());
    check_address(settings, &endpoint)?;
    Ok((builder, endpoint))
}

/// As the client reads it.
fn is_true(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "1" | "true" | "on" | "yes" | "y")
}

/// The address that a service account names beside its key: the client goes there.
fn base_of(account: &str) -> Option<String> {
    let account: serde_json::Value = serde_json::from_str(account).ok()?;
    account.get("gcs_base_url")?.as_str().map(str::to_owned)
}

fn azure(settings: &StoreSettings) -> Result<Built> {
    Ok(Built::signing(Arc::new(azure_builder(settings)?.build().map_err(unusable(settings))?)))
}

fn azure_builder(settings: &StoreSettings) -> Result<MicrosoftAzureBuilder> {
    let mut builder =
        MicrosoftAzureBuilder::from_env().with_client_options(client_options(settings)).with_retry(retries());
    for (name, value) in &settings.options {
        let key: AzureConfigKey = name.to_ascii_lowercase().parse().map_err(|_| unknown(name))?;
        builder = builder.with_config(key, value);
    }
    let builder = builder.with_container_name(&settings.uri.bucket);
    let get = |key| builder.get_config_value(&key);
    let account = get(AzureConfigKey::AccountName).unwrap_or_default();
    // The emulator has an address of its own, whatever the endpoint is.
    let emulated = get(AzureConfigKey::UseEmulator).is_some_and(|text| is_true(&text));
    let endpoint = match get(AzureConfigKey::Endpoint) {
        _ if emulated => std::env::var("AZURITE_BLOB_STORAGE_URL").unwrap_or_else(|_| AZURITE.to_owned()),
        Some(endpoint) => endpoint,
        None => format!("https://{account}.blob.core.windows.net"),
    };
    check_address(settings, &endpoint)?;
    Ok(builder)
}
