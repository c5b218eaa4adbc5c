//! The keys of a store, which every plugin with one shares, and what they say.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use pipette_api::config::{Importance, checks};
use pipette_api::{ConnectError, Folder, Key, Reach, Result, Settings};

use crate::remote;
use crate::uri::ObjectUri;

/// Where objects are.
pub static URI: Key<String> = Key::new(
    "store.uri",
    "Where large values are kept: `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix` or \
     `file:///folder`. Without user, password or query; those are options.",
)
.importance(Importance::High)
.group("Store")
.check(is_address);

/// Whether an endpoint may be spoken to without TLS.
pub static ALLOW_HTTP: Key<bool> =
    Key::new("store.allow.http", "Whether the store's endpoint may be `http://`, without encryption.")
        .default("false")
        .group("Store");

/// How long a connection may take.
pub static CONNECT_TIMEOUT: Key<Duration> =
    Key::new("store.connect.timeout.ms", "How long a connection to the store may take to be made.")
        .default("5000")
        .importance(Importance::Low)
        .group("Store")
        .check(checks::at_least::<1>);

/// How long a store may be silent.
pub static REQUEST_TIMEOUT: Key<Duration> = Key::new(
    "store.request.timeout.ms",
    "How long a request may go without an answer, or an answer without its next bytes.",
)
.default("30000")
.importance(Importance::Low)
.group("Store")
.check(checks::at_least::<1>);

/// In front of the options of the store's own client.
pub const OPTIONS_PREFIX: &str = "store.options.";

/// What the pages of plugins with a store say of them.
pub const OPTIONS_DOC: &str = "\
`store.options.NAME` is an option of the store's own client, as the library `object_store` names it. A name that it does not
have is refused, and so is one that has a key here (bucket, timeouts). What is not given comes from the worker's environment
(`AWS_REGION`), as with the tools of each provider. Secrets are better placeholders of a config provider.

| store | options, among others |
|---|---|
| `s3://` | `aws_region`, `aws_endpoint` (of another server than Amazon's), `aws_access_key_id`, `aws_secret_access_key`, \
`aws_session_token`, `aws_virtual_hosted_style_request` |
| `gs://` | `google_service_account` (a file), `google_service_account_key` (its content) |
| `az://` | `azure_storage_account_name`, `azure_storage_account_key`, `azure_storage_sas_key`, `azure_storage_endpoint` |
";

fn is_address(text: Option<&str>) -> std::result::Result<(), String> {
    text.map_or(Ok(()), |text| ObjectUri::read(text).map(drop))
}

/// What the keys of a store say. Nothing is opened yet.
#[derive(Clone)]
pub struct StoreSettings {
    /// `store.uri`.
    pub uri: ObjectUri,
    /// `store.options.*` without the prefix, in the words of `object_store`: `aws_region`, `aws_endpoint`,
    /// `google_service_account`, `azure_storage_account_name`… Holds secrets.
    pub options: BTreeMap<String, String>,
    /// `store.allow.http`.
    pub allow_http: bool,
    /// `store.connect.timeout.ms`.
    pub connect_timeout: Duration,
    /// `store.request.timeout.ms`.
    pub request_timeout: Duration,
    /// What of the machine and the network may be touched.
    pub reach: Reach,
    /// Where the worker remembers which folders it has used as stores; nowhere but for [`StoreSettings::remembered`].
    pub memory: Folder,
}

impl StoreSettings {
    /// Reads the keys; the plugin's definition lists them (`URI`, `ALLOW_HTTP`, `CONNECT_TIMEOUT`, `REQUEST_TIMEOUT`).
    pub fn read(settings: &Settings) -> Result<Self> {
        let uri = settings.get(&URI)?;
        Ok(Self {
            uri: ObjectUri::read(&uri).map_err(|reason| ConnectError::config(format!("store.uri: {reason}")))?,
            options: settings.below(OPTIONS_PREFIX).into_iter().collect(),
            allow_http: settings.get(&ALLOW_HTTP)?,
            connect_timeout: settings.get(&CONNECT_TIMEOUT)?,
            request_timeout: settings.get(&REQUEST_TIMEOUT)?,
            reach: settings.reach().clone(),
            memory: Folder::nowhere(),
        })
    }

    /// With the plugin's folder at hand, a folder that this worker has used as a store is known after a restart, too: a share
    /// that is not mounted then is waited for.
    #[must_use]
    pub fn remembered(self, folder: &Folder) -> Self {
        Self { memory: folder.of_worker(), ..self }
    }

    /// What is wrong with the options, with the key to blame, for the rules of a plugin: a name that no such store has, an
    /// endpoint without TLS that nothing allows. Nothing is opened, and what other keys are checked for is not told again.
    pub fn wrong(settings: &Settings) -> Option<(&'static str, String)> {
        let read = Self::read(settings).ok()?;
        remote::check(&read).err().map(|error| (URI.info.name, error.to_string()))
    }

    /// The settings of a store with every default.
    pub fn at(uri: ObjectUri) -> Self {
        Self {
            uri,
            options: BTreeMap::new(),
            allow_http: false,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            reach: Reach::default(),
            memory: Folder::nowhere(),
        }
    }

    /// The same for another bucket or folder.
    #[must_use]
    pub fn moved_to(&self, uri: ObjectUri) -> Self {
        Self { uri, ..self.clone() }
    }
}

/// Shows no value of an option: any may be a secret.
impl fmt::Debug for StoreSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreSettings")
            .field("uri", &self.uri.to_string())
            .field("options", &self.options.keys().collect::<Vec<_>>())
            .field("allow_http", &self.allow_http)
            .field("reach", &self.reach)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use pipette_api::{ConfigDef, ConfigMap};

    use super::*;

    static DEF: ConfigDef =
        ConfigDef::new(&[&URI.info, &ALLOW_HTTP.info, &CONNECT_TIMEOUT.info, &REQUEST_TIMEOUT.info]);

    fn read(pairs: &[(&str, &str)]) -> Result<StoreSettings> {
        let map: ConfigMap = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        StoreSettings::read(&Settings::new(map, &DEF))
    }

    #[test]
    fn the_keys_are_read_and_no_option_is_shown() {
        let settings = read(&[
            ("store.uri", "s3://lake/inbox/"),
            ("store.options.aws_secret_access_key", "hunter2"),
            ("store.request.timeout.ms", "1500"),
        ])
        .unwrap();
        assert_eq!(settings.uri.to_string(), "s3://lake/inbox");
        assert_eq!(settings.options["aws_secret_access_key"], "hunter2");
        assert_eq!((settings.request_timeout, settings.allow_http), (Duration::from_millis(1500), false));
        let shown = format!("{settings:?}");
        assert!(shown.contains("aws_secret_access_key") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn options_that_no_store_takes_are_found_before_it_is_opened() {
        let wrong = |uri: &str, more: &[(&str, &str)]| {
            let pairs = [&[("store.uri", uri)], more].concat();
            let map: ConfigMap = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            StoreSettings::wrong(&Settings::new(map, &DEF)).map(|(key, why)| format!("{key} {why}")).unwrap_or_default()
        };
        let plain = ("store.options.aws_endpoint", "http://127.0.0.1:9000");
        for (uri, more, told) in [
            ("s3://lake", &[("store.options.aws_regon", "x")][..], "store.uri store.options.aws_regon is no option of"),
            ("gs://lake", &[("store.options.aws_region", "x")], "store.uri store.options.aws_region is no option of"),
            ("az://lake", &[("store.options.account", "x")], "store.uri store.options.account is no option of"),
            ("s3://lake", &[("store.options.bucket", "x")], "store.uri store.options.bucket: say it with store.uri"),
            ("s3://lake", &[plain], "store.uri the store's endpoint is http://"),
        ] {
            assert!(wrong(uri, more).starts_with(told), "{}", wrong(uri, more));
        }
        for line in OPTIONS_DOC.lines().filter(|line| line.contains("://")) {
            let mut names = line.split('`').skip(1).step_by(2);
            let uri = format!("{}lake", names.next().unwrap());
            for name in names.map(|name| format!("store.options.{name}")) {
                assert_eq!(wrong(&uri, &[(&name, "x")]), "", "{name}");
            }
        }
        let fine = [plain, ("store.allow.http", "true"), ("store.options.AWS_REGION", "eu-central-1")];
        assert_eq!((wrong("s3://lake", &fine), wrong("file:///lake", &[])), (String::new(), String::new()));
    }

    #[test]
    fn an_address_with_a_password_is_refused_without_showing_it_twice() {
        let error = read(&[("store.uri", "s3://lake/inbox?token=hunter2")]).unwrap_err();
        assert!(error.to_string().contains("it has a query or fragment"), "{error}");
    }
}
