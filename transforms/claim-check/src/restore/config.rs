//! The keys of ClaimCheckRestore, what is allowed together, and what they say.

use std::path::PathBuf;
use std::time::Duration;

use pipette_api::config::Importance;
use pipette_api::config::checks::{at_least, distinct, not_empty, one_of};
use pipette_api::transform::{MAX_IN_FLIGHT, MAX_IN_FLIGHT_BYTES};
use pipette_api::{ConfigDef, ConnectError, Key, Result, Settings};
use pipette_store::foreign::Form;
use pipette_store::{ALLOW_HTTP, Allowed, CONNECT_TIMEOUT, Integrity, Limits, REQUEST_TIMEOUT, StoreSettings, URI};

use super::cache::CachePlan;
use crate::claim_check::HEADER_NAME;
use crate::patience::{RETRY_TIMEOUT, retry_timeout};

const NATIVE: &str = "native";

static PREFIXES: Key<Vec<String>> = Key::new(
    "allowed.uri.prefixes",
    "Which addresses in references are read, with the options of `store.uri`: what begins with one of these, by whole parts of \
     the key. Empty: what is under `store.uri`; `https://` needs `http.enable`. Whoever writes to the topic chooses among them.",
)
.default("")
.importance(Importance::High)
.check(|text| read_prefixes(text, Allowed::read_with_web));
static FORMATS: Key<Vec<String>> = Key::new(
    "reference.formats",
    "Which references are looked for, the first that is there counts: `native`, `cloudevents`, `bakdata-header`, \
     `bakdata-flag`, `sqs`, `smt-toolkit`, `kaf-s3`. All but `native` and `kaf-s3` have no digest and need \
     `integrity=if-present`.",
)
.default("native,cloudevents")
.check(|text| {
    distinct(text)?;
    let names: Vec<&str> = text.unwrap_or_default().split(',').map(str::trim).collect();
    match names.into_iter().find(|name| *name != NATIVE && Form::named(name).is_none()) {
        Some("") => Err("nothing would be looked for".into()),
        Some(name) => Err(format!("{name} is none of native, {}", KNOWN.join(", "))),
        None => Ok(()),
    }
});
const KNOWN: &[&str] = &["cloudevents", "bakdata-header", "bakdata-flag", "sqs", "smt-toolkit", "kaf-s3"];
static MODE: Key<String> = Key::new(
    "mode",
    "`lazy`: the sink gets a handle and reads when it writes, in bounded memory, if it can (files); `eager`: the bytes are \
     read here. Text is always read here.",
)
.default("lazy")
.importance(Importance::High)
.recommended(&["lazy", "eager"])
.check(|text| one_of(text, &["lazy", "eager"]));
static INTEGRITY: Key<String> = Key::new(
    "integrity",
    "`require`: a reference without a digest is refused; `if-present`: a digest is verified where there is one; `off`: \
     neither size nor digest is verified.",
)
.default("require")
.recommended(&["require", "if-present", "off"])
.check(|text| one_of(text, &["require", "if-present", "off"]));
static MAX_PAYLOAD: Key<u64> = Key::new(
    "max.payload.bytes",
    "A larger payload, decompressed, makes the record a bad one. Without it 1 GiB for handles, and 64 MiB for what is read \
     into memory.",
)
.optional()
.check(|text| text.map_or(Ok(()), |text| at_least::<1>(Some(text))));
static ON_MISSING: Key<String> = Key::new(
    "on.missing",
    "When there is no such object: `fail` ends the task whatever `errors.tolerance` says; `dlq` makes the record a bad one, \
     which `errors.*` decide on; `pass-reference` leaves the reference to the sink; `null` makes the value or field null.",
)
.default("fail")
.recommended(&["fail", "dlq", "pass-reference"])
.check(|text| one_of(text, &["fail", "dlq", "pass-reference", "null"]));
static ALLOW_NULL: Key<bool> =
    Key::new("allow.null", "Allows `on.missing=null`, with which sinks may delete what they have.").default("false");
static ON_UNRECOGNISED: Key<String> = Key::new(
    "on.unrecognised",
    "A record without a reference: `pass` lets it go on as it is; `fail` makes it a bad one.",
)
.default("pass")
.recommended(&["pass", "fail"])
.check(|text| one_of(text, &["pass", "fail"]));
static HEADERS: Key<String> =
    Key::new("headers", "What becomes of the headers of a reference once its value is back: `remove` or `keep`.")
        .default("remove")
        .recommended(&["remove", "keep"])
        .check(|text| one_of(text, &["remove", "keep"]));
static CACHE_MEMORY: Key<u64> = Key::new(
    "cache.memory.bytes",
    "How many bytes of objects that were read whole and verified each task keeps in memory, for references that come again; \
     those that were not asked for longest go first. It comes on top of the worker's memory budget. 0: none.",
)
.default("0");
static CACHE_DISK: Key<u64> = Key::new(
    "cache.disk.bytes",
    "The same in `cache.dir`, in blocks of 64 KiB. A disk that is full or fails is no error: the store is asked. 0: none.",
)
.default("0");
static CACHE_DIR: Key<String> = Key::new(
    "cache.dir",
    "The folder for `cache.disk.bytes`. Each task has one file there, without a name, which is gone with the worker, however \
     it ends.",
)
.optional()
.path()
.check(not_empty);
static HTTP: Key<bool> = Key::new(
    "http.enable",
    "Whether references to the web are read: only `https://` addresses under a prefix in `allowed.uri.prefixes`, without \
     credentials, without following redirects or asking proxies. A name that leads into a network (10.0.0.1, 127.0.0.1, \
     169.254.169.254 …) is refused; an address that stands in the prefix itself is not.",
)
.default("false");

/// The definition.
pub(super) static CONFIG: ConfigDef = ConfigDef::new(&[
    &URI.info,
    &PREFIXES.info,
    &FORMATS.info,
    &MODE.info,
    &INTEGRITY.info,
    &MAX_PAYLOAD.info,
    &ON_MISSING.info,
    &ALLOW_NULL.info,
    &ON_UNRECOGNISED.info,
    &MAX_IN_FLIGHT.info,
    &MAX_IN_FLIGHT_BYTES.info,
    &RETRY_TIMEOUT.info,
    &CACHE_MEMORY.info,
    &CACHE_DISK.info,
    &CACHE_DIR.info,
    &HEADERS.info,
    &HEADER_NAME.info,
    &HTTP.info,
    &ALLOW_HTTP.info,
    &CONNECT_TIMEOUT.info,
    &REQUEST_TIMEOUT.info,
])
.rule(|settings| rules(settings).unwrap_or_default());

/// Shared with ClaimCheck.
pub(crate) fn are_prefixes(text: Option<&str>) -> std::result::Result<(), String> {
    read_prefixes(text, Allowed::read)
}

fn read_prefixes(text: Option<&str>, read: fn(&str, &[String]) -> Result<Allowed>) -> std::result::Result<(), String> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(()) };
    let prefixes: Vec<String> = text.split(',').map(|prefix| prefix.trim().to_owned()).collect();
    read("allowed.uri.prefixes", &prefixes).map(drop).map_err(|error| error.to_string())
}

fn rules(settings: &Settings) -> Result<Vec<(&'static str, String)>> {
    let mut wrong = Vec::new();
    if settings.get(&ON_MISSING)? == "null" && !settings.get(&ALLOW_NULL)? {
        wrong.push(("on.missing", "null needs allow.null=true: sinks may delete what they have".to_owned()));
    }
    match (settings.find(&CACHE_DIR)?, settings.get(&CACHE_DISK)?) {
        (Some(_), 0) => {
            wrong.push((CACHE_DISK.info.name, "it must be more than 0 where there is a cache.dir".to_owned()));
        }
        (None, 1..) => wrong.push((CACHE_DIR.info.name, "cache.disk.bytes needs a folder".to_owned())),
        _ => {}
    }
    wrong.extend(web_rule(settings)?);
    let formats = settings.get(&FORMATS)?;
    let has = |name: &str| formats.iter().any(|known| known == name);
    let by_value = ["native", "bakdata-header", "sqs", "kaf-s3"];
    if has("bakdata-flag") && by_value.iter().any(|name| has(name)) {
        let why = "bakdata-flag explains the first byte of every value: no other form can stand in values as well";
        wrong.push(("reference.formats", why.to_owned()));
    }
    // Beside `native`, whose header ClaimCheck writes with other forms as well, one without a digest may be of use.
    let bare = formats.iter().find(|name| name.as_str() != "kaf-s3");
    if let Some(bare) = bare.filter(|_| settings.get(&INTEGRITY).is_ok_and(|text| text == "require") && !has(NATIVE)) {
        let why =
            format!("every reference of the form {bare} would be refused, for it has no digest: set it to if-present");
        wrong.push((INTEGRITY.info.name, why));
    }
    wrong.extend(StoreSettings::wrong(settings));
    Ok(wrong)
}

fn web_rule(settings: &Settings) -> Result<Option<(&'static str, String)>> {
    let prefixes = settings.get(&PREFIXES)?;
    let web = Allowed::read_with_web(PREFIXES.info.name, &prefixes).is_ok_and(|allowed| allowed.has_web());
    Ok(match settings.get(&HTTP)? {
        true if !web => {
            let why = "it needs an https:// prefix in allowed.uri.prefixes: a topic's writers choose among them";
            Some((HTTP.info.name, why.to_owned()))
        }
        false if web => {
            let why = "addresses of the web are not read: only object stores are, unless http.enable=true";
            Some((PREFIXES.info.name, why.to_owned()))
        }
        _ => None,
    })
}

/// What becomes of a record whose object is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnMissing {
    Fail,
    DeadLetter,
    PassReference,
    Null,
}

/// What the keys say.
#[allow(clippy::struct_excessive_bools, reason = "each is a key of its own")]
pub(super) struct Plan {
    pub(super) store: StoreSettings,
    pub(super) allowed: Allowed,
    pub(super) native: bool,
    pub(super) forms: Vec<Form>,
    pub(super) lazy: bool,
    pub(super) integrity: Integrity,
    pub(super) limits: Limits,
    /// For what is read into memory.
    pub(super) memory_limits: Limits,
    pub(super) on_missing: OnMissing,
    pub(super) refuses_others: bool,
    pub(super) removes_headers: bool,
    pub(super) header: String,
    pub(super) retry_timeout: Option<Duration>,
    pub(super) cache: CachePlan,
}

impl Plan {
    pub(super) fn read(settings: &Settings) -> Result<Self> {
        if let Some((key, reason)) = rules(settings)?.into_iter().next() {
            return Err(ConnectError::config(format!("{key}: {reason}")));
        }
        let store = StoreSettings::read(settings)?;
        let prefixes = settings.get(&PREFIXES)?;
        let allowed = if prefixes.is_empty() {
            Allowed::only(store.uri.clone())
        } else {
            Allowed::read_with_web("allowed.uri.prefixes", &prefixes)?
        };
        let formats = settings.get(&FORMATS)?;
        let most = settings.find(&MAX_PAYLOAD)?;
        let lazy = settings.get(&MODE)? == "lazy";
        let memory_limits = Limits { max_bytes: most.unwrap_or(64 << 20) };
        Ok(Self {
            store,
            allowed,
            native: formats.iter().any(|name| name == NATIVE),
            forms: formats.iter().filter_map(|name| Form::named(name)).collect(),
            lazy,
            integrity: match settings.get(&INTEGRITY)?.as_str() {
                "if-present" => Integrity::IfPresent,
                "off" => Integrity::Off,
                _ => Integrity::Require,
            },
            limits: if lazy { Limits { max_bytes: most.unwrap_or(1 << 30) } } else { memory_limits },
            memory_limits,
            on_missing: match settings.get(&ON_MISSING)?.as_str() {
                "dlq" => OnMissing::DeadLetter,
                "pass-reference" => OnMissing::PassReference,
                "null" => OnMissing::Null,
                _ => OnMissing::Fail,
            },
            refuses_others: settings.get(&ON_UNRECOGNISED)? == "fail",
            removes_headers: settings.get(&HEADERS)? == "remove",
            header: settings.get(&HEADER_NAME)?,
            retry_timeout: retry_timeout(settings)?,
            cache: CachePlan {
                memory: settings.get(&CACHE_MEMORY)?,
                disk: match settings.find(&CACHE_DIR)? {
                    Some(folder) => Some((PathBuf::from(folder), settings.get(&CACHE_DISK)?, settings.reach().clone())),
                    None => None,
                },
            },
        })
    }

    /// Says in the log what deserves a second look.
    pub(super) fn warn(&self) {
        for bucket in self.allowed.whole_buckets() {
            tracing::warn!(
                prefix = bucket.to_string(),
                "Whoever writes to the topic can make the sink read any object of this bucket; allow a prefix instead"
            );
        }
        if self.integrity == Integrity::Off {
            tracing::warn!("Payloads are not verified, as configured (integrity=off)");
        }
    }
}
