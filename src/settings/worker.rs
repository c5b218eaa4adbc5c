//! The worker's own configuration.
//!
//! Read once at start by the command line. A key we do not know is a warning, as in Apache's worker; a key that
//! protects and that we cannot honour stops the worker.

use std::path::PathBuf;
use std::time::Duration;

use pipette_api::config::Row;
use pipette_api::config::checks::{at_least, not_empty};
use pipette_api::config::key::{ClassName, Importance};
use pipette_api::{ConfigDef, ConfigMap, ConnectError, Key, Reach, Result, Settings};

use super::fetch::{self, DirectFetch};
use super::group::{self, OffsetsTopic, StateTopics};
use super::metrics::{self, Sampling};
use super::overrides::{self, Overrides};
use super::providers::Providers;
use super::rest::{self, RestConfig};
use super::{large, protection, reach, servers, unused};

static BOOTSTRAP: Key<Vec<String>> =
    Key::new("bootstrap.servers", "Brokers to start from, `host:port`, separated by commas.")
        .importance(Importance::High)
        .check(|text| servers::read(text.unwrap_or_default()).map(drop));
static LISTENERS: Key<Vec<String>> = Key::new(
    "listeners",
    "Where REST listens, separated by commas: `http://host:port`, or `https://host:port` with the keys `listeners.https.ssl.…` or `ssl.…`. \
     Loopback unless said otherwise; an empty host means every interface, port 0 any free port.",
)
.default("http://127.0.0.1:8083")
.importance(Importance::Low);
static ADVERTISED_HOST: Key<String> =
    Key::new("rest.advertised.host.name", "The host others reach this worker by; part of `worker_id`.")
        .optional()
        .importance(Importance::Low);
static ADVERTISED_PORT: Key<u16> =
    Key::new("rest.advertised.port", "The port others reach this worker by; part of `worker_id`.")
        .optional()
        .importance(Importance::Low);
static KEY_CONVERTER: Key<ClassName> =
    Key::new("key.converter", "Converter of record keys; its settings follow as `key.converter.…`.")
        .importance(Importance::High);
static VALUE_CONVERTER: Key<ClassName> =
    Key::new("value.converter", "Converter of record values; its settings follow as `value.converter.…`.")
        .importance(Importance::High);
static HEADER_CONVERTER: Key<ClassName> =
    Key::new("header.converter", "Converter of header values; its settings follow as `header.converter.…`.")
        .default("org.apache.kafka.connect.storage.SimpleHeaderConverter")
        .importance(Importance::Low);
static KEY_CONVERTER_VERSION: Key<String> = version("key.converter.plugin.version");
static VALUE_CONVERTER_VERSION: Key<String> = version("value.converter.plugin.version");
static HEADER_CONVERTER_VERSION: Key<String> = version("header.converter.plugin.version");

const fn version(name: &'static str) -> Key<String> {
    Key::new(name, "The version it must have: one version, a range such as `[1.0,2.0)`, or `latest`.")
        .optional()
        .importance(Importance::Low)
}

static FLUSH_INTERVAL: Key<Duration> =
    Key::new("offset.flush.interval.ms", "How often offsets are committed, in milliseconds.")
        .default("60000")
        .importance(Importance::Low);
static FLUSH_TIMEOUT: Key<Duration> =
    Key::new("offset.flush.timeout.ms", "How long one commit of offsets may take, in milliseconds.")
        .default("5000")
        .importance(Importance::Low);
static GRACE: Key<Duration> = Key::new(
    "task.shutdown.graceful.timeout.ms",
    "How long a connector or task that is asked to stop may take, in milliseconds. Then it is abandoned and commits \
     nothing more.",
)
.default("5000")
.importance(Importance::Low);
static HUNG_AFTER: Key<Duration> = Key::new(
    "task.hung.after.ms",
    "How long a plugin may keep a task's thread, or take for any call but `poll`, before the task is shown as hung, in \
     milliseconds; 0 for never.",
)
.default("60000")
.check(at_least::<0>);
static STATE_DIR: Key<String> = Key::new(
    "state.dir",
    "The folder in which connectors, their states and source offsets are kept. One worker per folder.",
)
.default("pipette-state")
.check(not_empty);
static OFFSETS_FILE: Key<String> = Key::new(
    "offset.storage.file.filename",
    "Apache's offsets file. If it exists and `state.dir` has no offsets yet, it is read once at start.",
)
.optional()
.importance(Importance::High);
static TOPIC_CREATION: Key<bool> =
    Key::new("topic.creation.enable", "Whether sources may create topics by their `topic.creation.*` keys.")
        .default("true")
        .importance(Importance::Low);
/// `memory.budget.bytes`.
pub static MEMORY: Key<u64> = Key::new(
    "memory.budget.bytes",
    "The memory of the worker: 20 MiB for the program (half of a small budget), the rest for records, leased to \
     tasks. When it is used up, sources wait and sinks fetch no more.",
)
.default("134217728")
.check(at_least::<16_777_216>);
/// `memory.connector.max.bytes`.
pub static CONNECTOR_MEMORY: Key<u64> = Key::new(
    "memory.connector.max.bytes",
    "The most of it that all tasks of one connector may hold together; `memory.max.bytes` of a connector overrides \
     it. Left out, the only bound is the budget: every task keeps its own share of it, whatever others hold.",
)
.optional()
.check(|text| text.map_or(Ok(()), |text| at_least::<1_048_576>(Some(text))));
static INLINE: Key<u64> = Key::new(
    "payload.inline.max.bytes",
    "The largest payload (a whole file, for instance) that may become a Kafka value; a connector's own key of that name \
     overrides it. Beyond 1 MB producer, topic and memory have to allow it too, which is checked.",
)
.default("1000000")
.check(large::inline);
static STRICT: Key<bool> = Key::new(
    "compat.strict",
    "Whether the worker does and answers only what Apache's does: nothing restarts by itself, keys that Apache's ignores \
     are ignored, statuses have no further members.",
)
.default("false");
static PROVIDERS: Key<Vec<String>> = Key::new(
    "config.providers",
    "Names of config providers, whose settings follow as `config.providers.NAME.class` and `config.providers.NAME.param.…`: \
     FileConfigProvider and DirectoryConfigProvider with `allowed.paths`, EnvVarConfigProvider with `allowlist.pattern`.",
)
.default("").importance(Importance::Low);

/// The keys, in the order of the page.
pub static CONFIG: ConfigDef = ConfigDef::new(&[
    &BOOTSTRAP.info,
    &KEY_CONVERTER.info,
    &KEY_CONVERTER_VERSION.info,
    &VALUE_CONVERTER.info,
    &VALUE_CONVERTER_VERSION.info,
    &HEADER_CONVERTER.info,
    &HEADER_CONVERTER_VERSION.info,
    &LISTENERS.info,
    &ADVERTISED_HOST.info,
    &ADVERTISED_PORT.info,
    &rest::ADVERTISED.info,
    &rest::ADMIN.info,
    &rest::ORIGINS.info,
    &rest::METHODS.info,
    &rest::HEADERS.info,
    &rest::TRACKING.info,
    &rest::RESET.info,
    &STATE_DIR.info,
    &OFFSETS_FILE.info,
    &group::GROUP.info,
    &group::CONFIGS.name.info,
    &group::CONFIGS.replication.info,
    &group::OFFSETS.name.info,
    &group::OFFSET_PARTITIONS.info,
    &group::OFFSETS.replication.info,
    &group::STATUSES.name.info,
    &group::STATUS_PARTITIONS.info,
    &group::STATUSES.replication.info,
    &group::SESSION.info,
    &group::HEARTBEAT.info,
    &group::EXACTLY_ONCE.info,
    &FLUSH_INTERVAL.info,
    &FLUSH_TIMEOUT.info,
    &GRACE.info,
    &HUNG_AFTER.info,
    &TOPIC_CREATION.info,
    &MEMORY.info,
    &CONNECTOR_MEMORY.info,
    &INLINE.info,
    &fetch::DIRECT.info,
    &reach::PATHS.info,
    &reach::HOSTS.info,
    &overrides::POLICY.info,
    &overrides::ALLOWLIST.info,
    &PROVIDERS.info,
    &metrics::WINDOW.info,
    &metrics::SAMPLES.info,
    &metrics::NAMES.info,
    &STRICT.info,
    &rest::EXTENSIONS.info,
    &rest::LOGINS.info,
]);

/// The worker's configuration, read.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Everything that was given; clients and converters take their parts from it.
    pub values: ConfigMap,
    /// Where REST listens.
    pub listeners: Vec<Listener>,
    /// What else the file says about REST.
    pub rest: RestConfig,
    /// The host and port that others reach this worker by, if given.
    pub advertised: (Option<String>, Option<u16>),
    /// `key.converter`.
    pub key_converter: String,
    /// `value.converter`.
    pub value_converter: String,
    /// `header.converter`.
    pub header_converter: String,
    /// `offset.flush.interval.ms`.
    pub flush_interval: Duration,
    /// `offset.flush.timeout.ms`.
    pub flush_timeout: Duration,
    /// `task.shutdown.graceful.timeout.ms`.
    pub grace: Duration,
    /// `task.hung.after.ms`.
    pub hung_after: Duration,
    /// `state.dir`.
    pub state_dir: PathBuf,
    /// `offset.storage.file.filename`.
    pub offsets_file: Option<PathBuf>,
    /// Where source offsets are kept if not in files.
    pub offsets_topic: Option<OffsetsTopic>,
    /// Where connectors and statuses are kept if not in files.
    pub state_topics: Option<StateTopics>,
    /// `topic.creation.enable`.
    pub topic_creation: bool,
    /// Which client settings connectors may override.
    pub overrides: Overrides,
    /// `compat.strict`.
    pub strict: bool,
    /// `memory.budget.bytes`.
    pub memory: u64,
    /// `memory.connector.max.bytes`.
    pub connector_memory: Option<u64>,
    /// `payload.inline.max.bytes`.
    pub inline: u64,
    /// `fetch.direct`.
    pub direct: DirectFetch,
    /// `config.providers`.
    pub providers: Providers,
    /// `file.allowed.paths` and `url.allowed.hosts`: what connectors may touch.
    pub reach: Reach,
    /// `metrics.prometheus.dialects`.
    pub metric_names: Vec<String>,
    /// What averages and the like cover.
    pub sampling: Sampling,
    /// What the user should know about keys without effect; logged at start.
    pub warnings: Vec<String>,
}

/// One entry of `listeners`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// A host name or address; `0.0.0.0` for every interface.
    pub host: String,
    /// The port; 0 for any free one.
    pub port: u16,
    /// Whether it speaks TLS.
    pub https: bool,
}

impl WorkerConfig {
    /// Reads a worker's configuration. The error names the key to mend.
    pub fn read(mut values: ConfigMap) -> Result<Self> {
        let mut providers = Providers::read(&values)?;
        let resolved = providers.resolve(&values)?;
        let unresolved = providers.unresolved(&values, &resolved);
        values = resolved;
        let settings = Settings::new(values, &CONFIG);
        let servers = settings.get(&BOOTSTRAP)?;
        let listeners: Vec<Listener> =
            settings.get(&LISTENERS)?.iter().map(|text| Listener::read(text)).collect::<Result<_>>()?;
        if listeners.is_empty() {
            return Err(ConnectError::config("listeners must name at least one `http://host:port`"));
        }
        check_the_rest(settings.values())?;
        let strict = settings.get(&STRICT)?;
        let (reach, folders) = reach::read(&settings, &listeners, servers, strict)?;
        let rest = RestConfig::read(&settings)?;
        let mut warnings = warnings(settings.values());
        warnings.extend(unresolved.into_iter().chain(rest::warning(&rest)));
        if listeners.iter().any(|listener| !listener.is_loopback()) {
            warnings.extend(providers.unbounded(folders.is_some()));
        }
        providers.keep_to(folders.as_deref());
        Ok(Self {
            listeners,
            advertised: (settings.find(&ADVERTISED_HOST)?, settings.find(&ADVERTISED_PORT)?),
            key_converter: settings.get(&KEY_CONVERTER)?.0,
            value_converter: settings.get(&VALUE_CONVERTER)?.0,
            header_converter: settings.get(&HEADER_CONVERTER)?.0,
            flush_interval: settings.get(&FLUSH_INTERVAL)?,
            flush_timeout: settings.get(&FLUSH_TIMEOUT)?,
            grace: settings.get(&GRACE)?,
            hung_after: settings.get(&HUNG_AFTER)?,
            state_dir: settings.get(&STATE_DIR)?.into(),
            offsets_file: settings.find(&OFFSETS_FILE)?.map(PathBuf::from),
            offsets_topic: OffsetsTopic::read(&settings)?,
            state_topics: StateTopics::read(&settings)?,
            topic_creation: settings.get(&TOPIC_CREATION)?,
            overrides: Overrides::read(&settings)?,
            strict,
            memory: settings.get(&MEMORY)?,
            connector_memory: settings.find(&CONNECTOR_MEMORY)?,
            inline: settings.get(&INLINE)?,
            direct: DirectFetch::read(&settings)?,
            providers,
            reach,
            metric_names: settings.get(&metrics::NAMES)?,
            sampling: Sampling::read(&settings)?,
            warnings,
            rest,
            values: settings.values().clone(),
        })
    }

    /// With `exactly.once.source.support=enabled`: what transactional ids begin with.
    pub fn transactional_group(&self) -> Option<&str> {
        self.offsets_topic.as_ref().filter(|topic| topic.exactly_once).map(|topic| topic.group.as_str())
    }

    /// Which of `listeners` others reach this worker by.
    pub fn advertised_listener(&self) -> usize {
        let https = self.rest.advertises_https.unwrap_or(self.listeners.iter().all(|listener| listener.https));
        self.listeners.iter().position(|listener| listener.https == https).unwrap_or(0)
    }

    /// `host:port` as statuses show it, given the address that the advertised listener was bound to.
    pub fn worker_id(&self, bound: std::net::SocketAddr) -> String {
        let host = self.advertised.0.clone().unwrap_or_else(|| match self.listeners.get(self.advertised_listener()) {
            Some(listener) if listener.host != "0.0.0.0" => listener.host.clone(),
            _ => bound.ip().to_string(),
        });
        format!("{host}:{}", self.advertised.1.unwrap_or(bound.port()))
    }
}

impl Listener {
    /// Whether only this machine reaches it.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    }

    pub(super) fn read(text: &str) -> Result<Self> {
        let refuse = |reason: &str| Err(ConnectError::config(format!("listeners: \"{text}\" {reason}")));
        let Some((scheme, address)) = text.split_once("://") else {
            return refuse("is not `http://host:port`");
        };
        let https = scheme.eq_ignore_ascii_case("https");
        let Some((host, port)) = address.trim_end_matches('/').rsplit_once(':') else {
            return refuse("has no port");
        };
        let Ok(port) = port.parse() else {
            return refuse("has a port that is no number from 0 to 65535");
        };
        if !https && !scheme.eq_ignore_ascii_case("http") {
            return refuse("is neither `http://host:port` nor `https://host:port`");
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self { host: if host.is_empty() { "0.0.0.0".into() } else { host.to_owned() }, port, https })
    }
}

/// What is wrong with a key that nobody reads: Apache's worker does not start with it either.
fn check_the_rest(values: &ConfigMap) -> Result<()> {
    let wrong = unused::all_rows().filter(|key| values.contains_key(key.name));
    let wrong = wrong.flat_map(|key| Row::new(*key).check(values).errors).next();
    wrong.map_or_else(|| protection::check_prefixed(values), |error| Err(ConnectError::config(error)))
}

fn warnings(values: &ConfigMap) -> Vec<String> {
    let mut warnings = unused::of_worker(values);
    warnings.extend(unsecured(values));
    let (configs, statuses) = (&group::CONFIGS.name, &group::STATUSES.name);
    let pairs = [
        (&group::GROUP, &group::OFFSETS.name, "offsets are"),
        (&group::OFFSETS.name, &group::GROUP, "offsets are"),
        (configs, &group::GROUP, "connectors are"),
        (statuses, configs, "nothing is read from it, and connectors are"),
    ];
    for (key, needed, kept) in pairs {
        let (key, needed) = (key.info.name, needed.info.name);
        if values.contains_key(key) && !values.contains_key(needed) {
            warnings.push(format!("{key} has no effect without {needed}: {kept} kept in files under state.dir"));
        }
    }
    warnings
}

/// Whoever sets `security.protocol` alone believes that the connectors' clients have it too, as everybody once does.
fn unsecured(values: &ConfigMap) -> Option<String> {
    const KEY: &str = "security.protocol";
    let own = values.get(KEY).filter(|protocol| !protocol.trim().eq_ignore_ascii_case("PLAINTEXT"))?;
    let missing = ["producer.", "consumer."].map(|prefix| format!("{prefix}{KEY}"));
    let missing: Vec<String> = missing.into_iter().filter(|key| !values.contains_key(key)).collect();
    (!missing.is_empty()).then(|| {
        format!(
            "{KEY}={own} is for the worker's own clients, as in Apache's worker. {} is not set: the clients of connectors \
             connect without it, unless the connectors say so themselves",
            missing.join(" and ")
        )
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::settings) fn read(pairs: &[(&str, &str)]) -> Result<WorkerConfig> {
        let least = [("bootstrap.servers", "b:9092"), ("key.converter", "K"), ("value.converter", "V")];
        let pairs = least.iter().chain(pairs);
        WorkerConfig::read(pairs.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn the_smallest_file_listens_on_loopback() {
        let worker = read(&[]).unwrap();
        assert_eq!(worker.listeners, [Listener { host: "127.0.0.1".into(), port: 8083, https: false }]);
        assert_eq!(worker.header_converter, "org.apache.kafka.connect.storage.SimpleHeaderConverter");
        assert_eq!(worker.warnings, [""; 0]);
        assert_eq!(worker.worker_id("127.0.0.1:1234".parse().unwrap()), "127.0.0.1:1234");
        let error = WorkerConfig::read(ConfigMap::new()).unwrap_err().to_string();
        assert_eq!(error, "Missing required configuration \"bootstrap.servers\" which has no default value.");
    }

    #[test]
    fn values_that_would_do_harm_later_are_refused_at_once() {
        let refused = |key, value| read(&[(key, value)]).unwrap_err().to_string();
        assert_eq!(refused("state.dir", " "), "Invalid value  for configuration state.dir: String must be non-empty");
        let negative = "Invalid value -5 for configuration offset.flush.interval.ms: Value must be at least 0";
        assert_eq!(refused("offset.flush.interval.ms", "-5"), negative);
    }

    #[test]
    fn listeners_are_read_as_java_reads_them() {
        let check = |text| read(&[("listeners", text)]).map(|worker| worker.listeners[0].clone());
        assert_eq!(check("HTTP://:80").unwrap(), Listener { host: "0.0.0.0".into(), port: 80, https: false });
        assert!(check("https://:1").unwrap().https);
        assert_eq!(check("http://[::1]:0").unwrap(), Listener { host: "::1".into(), port: 0, https: false });
        let two = read(&[("listeners", "https://a:1,http://b:2")]).unwrap();
        let bound = "127.0.0.1:2".parse().unwrap();
        assert_eq!((two.advertised_listener(), two.worker_id(bound).as_str()), (1, "b:2"));
        let secure = read(&[("listeners", "http://b:2,https://a:1"), ("rest.advertised.listener", "HTTPS")]).unwrap();
        assert_eq!(secure.advertised_listener(), 1);
        for (text, part) in [("x", "not `http"), ("ftp://:1", "neither"), ("http://a", "port"), ("http://a:b", "port")]
        {
            assert!(check(text).unwrap_err().to_string().contains(part), "{text}");
        }
    }

    #[test]
    fn what_protects_and_cannot_be_honoured_stops_the_worker() {
        for (key, value, part) in [
            ("rest.extension.classes", "org.x.Auth", "org.x.Auth"),
            ("listeners.https.ssl.truststore.locaton", "/x", "Did you mean listeners.https.ssl.truststore.location?"),
            ("admin.listeners.https.basic.auth", "x", "nothing is started"),
        ] {
            let error = read(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(key), "{error}");
        }
    }

    #[test]
    fn values_of_keys_without_effect_are_checked_as_java_checks_them() {
        for (key, value, part) in [
            ("scheduled.rebalance.max.delay.ms", "soon", "Not a number of type INT"),
            ("scheduled.rebalance.max.delay.ms", "-1", "Value must be at least 0"),
            ("connect.protocol", "lazy", "String must be one of (case insensitive): eager, compatible, sessioned"),
            ("metrics.num.samples", "0", "Value must be at least 1"),
            (
                "security.protocol",
                "TLS",
                "String must be one of (case insensitive): PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL",
            ),
            ("retry.backoff.ms", "-1", "Value must be at least 0"),
            ("status.storage.partitions", "0", "Number must be positive, or -1"),
            ("rest.port", "http", "Not a number of type INT"),
        ] {
            let error = read(&[(key, value)]).unwrap_err().to_string();
            assert_eq!(error, format!("Invalid value {value} for configuration {key}: {part}"), "{key}");
        }
    }

    #[test]
    fn security_of_the_worker_alone_is_a_warning() {
        let warnings = |pairs: &[(&str, &str)]| read(pairs).unwrap().warnings;
        let [warning] =
            warnings(&[("security.protocol", "SSL"), ("producer.security.protocol", "SSL")]).try_into().unwrap();
        assert!(
            warning.contains("consumer.security.protocol is not set") && !warning.contains("producer."),
            "{warning}"
        );
        let both = [("producer.security.protocol", "SSL"), ("consumer.security.protocol", "PLAINTEXT")];
        assert_eq!(warnings(&[&both[..], &[("security.protocol", "SSL")]].concat()), [""; 0]);
        assert_eq!(warnings(&[("security.protocol", "plaintext")]), [""; 0]);
    }
}
