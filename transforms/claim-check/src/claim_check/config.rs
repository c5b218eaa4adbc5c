//! The keys of ClaimCheck, what is allowed together, and what they say.
//!
//! What cannot be honoured is refused here with a reason, so that nobody relies on it.

use std::time::Duration;

use pipette_api::config::Importance;
use pipette_api::config::checks::{at_least, distinct, in_range, one_of};
use pipette_api::transform::{MAX_IN_FLIGHT, MAX_IN_FLIGHT_BYTES};
use pipette_api::{ConfigDef, ConnectError, Key, Result, Settings, Side};
use pipette_store::foreign::Form;
use pipette_store::{
    ALLOW_HTTP, Allowed, CONNECT_TIMEOUT, Compression, HEADER, Naming, ObjectUri, REQUEST_TIMEOUT, StoreSettings,
    Strategy, URI,
};

use crate::fields::FieldPath;
use crate::metadata::Wanted;
use crate::patience::{RETRY_TIMEOUT, retry_timeout};
use crate::restore::are_prefixes;

type Checked = std::result::Result<(), String>;

static TARGET: Key<String> = Key::new(
    "target",
    "What is kept elsewhere: `value`: the whole value, bytes or text; `field`: the fields in `fields`; `key`: the whole key, \
     which needs `allow.key=true`.",
)
.default("value")
.importance(Importance::High)
.recommended(&["value", "field", "key"])
.check(|text| one_of(text, &["value", "field", "key"]));
static ALLOW_KEY: Key<bool> = Key::new(
    "allow.key",
    "Allows `target=key`. Partitions and compaction then go by the reference, which is another one each day.",
)
.default("false")
.importance(Importance::Low);
static FIELDS: Key<Vec<String>> = Key::new(
    "fields",
    "With `target=field`: the fields that are kept elsewhere when they are large, nested ones behind dots. Bytes or text, in \
     structs, or in maps without a schema.",
)
.default("")
.importance(Importance::High)
.check(distinct);
static FIELD_TEXT: Key<String> = Key::new(
    "field.text",
    "What text in a field is: `plain`: it is stored as it is; `base64`: its bytes are stored, a third less, and come back as \
     the same text. Text that is no base64 in its usual form is stored as it is.",
)
.default("plain")
.recommended(&["plain", "base64"])
.check(|text| one_of(text, &["plain", "base64"]));
static THRESHOLD: Key<u64> = Key::new(
    "threshold.bytes",
    "A value or field of at least so many bytes is kept elsewhere; below, the record is not touched. 0: always.",
)
.default("524288")
.importance(Importance::High)
.check(at_least::<0>);
static RECORD_MAX: Key<u64> = Key::new(
    "record.max.bytes",
    "What a record may take in Kafka. With `target=field`, further fields of the list are kept elsewhere, the largest first, \
     until it fits; one that never fits is a bad record.",
)
.default("1000000")
.check(at_least::<1>);
static MAX_PAYLOAD: Key<u64> = Key::new("max.payload.bytes", "A larger payload makes the record a bad one.")
    .default("5497558138880")
    .check(at_least::<1>);
static FORMAT: Key<String> = Key::new(
    "reference.format",
    "What stands in the place of the value: `native`, or the form of another tool that reads it. `bakdata-flag` marks every \
     value, those that stay in Kafka included, and needs `value.converter=ByteArrayConverter`. Headers are text: \
     `bakdata-header` needs the default `header.converter` or `StringConverter`.",
)
.default("native")
.recommended(FORMATS)
.check(|text| one_of(text, FORMATS));
const FORMATS: &[&str] = &["native", "bakdata-header", "bakdata-flag", "sqs", "smt-toolkit", "kaf-s3"];
static FIELD_MODE: Key<String> = Key::new(
    "field.mode",
    "How a field refers to its payload: `replace`: the reference takes its place; `sibling`: it becomes null, or empty when \
     it is required, and the reference stands beside it as `NAME_ref`; `uri`: its address alone takes its place.",
)
.default("replace")
.recommended(&["replace", "sibling", "uri"])
.check(|text| one_of(text, &["replace", "sibling", "uri"]));
static VALUE_MODE: Key<String> = Key::new(
    "value.mode",
    "What a whole value becomes: `reference`: the reference; `header-only`: no bytes at all, never null, and the reference \
     stands in the header alone.",
)
.default("reference")
.recommended(&["reference", "header-only"])
.check(|text| one_of(text, &["reference", "header-only"]));
/// Shared with ClaimCheckRestore.
pub(crate) static HEADER_NAME: Key<String> =
    Key::new("header.name", "The header with all references of a record, as a JSON array. Empty: none.")
        .default(HEADER);
static EMIT_CLOUDEVENTS: Key<bool> =
    Key::new("emit.cloudevents", "Whether the address goes into the header `ce_dataref` as well.").default("false");
static CE_SOURCE: Key<String> = Key::new(
    "cloudevents.source",
    "`ce_source` of records that are no CloudEvents yet. Without it and `cloudevents.type` they must be.",
)
.optional();
static CE_TYPE: Key<String> =
    Key::new("cloudevents.type", "`ce_type` of records that are no CloudEvents yet.").optional();
static KEY_STRATEGY: Key<String> = Key::new(
    "key.strategy",
    "How objects are named: `content`: by date and SHA-256, the same content once a day; `position`: by date and where the \
     source has read the record, the same after a crash, and nothing is read twice; a source that says no position cannot \
     have it; `uuid`: each one new, an orphan for each repeat; `template`: by `key.template`.",
)
.default("content")
.recommended(STRATEGIES)
.check(|text| one_of(text, STRATEGIES));
const STRATEGIES: &[&str] = &["content", "position", "uuid", "template"];
static KEY_TEMPLATE: Key<String> = Key::new(
    "key.template",
    "With `key.strategy=template`: a name with `${topic}`, `${connector}`, `${date}`, `${field}`, `${name}` (the header \
     `file.name`), and at least one of `${sha256}`, `${uuid}` and `${position}`.",
)
.optional();
static KEY_PREFIX: Key<String> = Key::new(
    "key.prefix",
    "In front of every name, below the prefix in `store.uri`: `${topic}`, `${connector}`, text.",
)
.default("${topic}")
.check(|text| Naming::new(text.unwrap_or_default(), Strategy::Uuid).map(drop).map_err(|e| e.to_string()));
static DIGEST: Key<String> = Key::new(
    "digest",
    "The digest in references, which readers verify: `sha256`; `none`: references have none, and readers need \
     `integrity=if-present`. Names that are made of the content need it.",
)
.default("sha256")
.importance(Importance::Low)
.recommended(&["sha256", "none"])
.check(|text| one_of(text, &["sha256", "none"]));
static COMPRESSION: Key<String> = Key::new(
    "compression",
    "How objects are stored: `none`, `gzip`, `zstd`. What is compressed by its type (JPEG, PNG, video, archives) is not \
     compressed again.",
)
.default("none")
.recommended(&["none", "gzip", "zstd"])
.check(|text| one_of(text, &["none", "gzip", "zstd"]));
static STORE_MODE: Key<String> = Key::new(
    "store.mode",
    "What the value, or each of `fields`, is: `upload`: the payload; `reference`: the address of an object that is there \
     already, as text, of which a reference is made without moving it; `copy`: the same, and the object is stored once more, \
     under a name as every payload has. Both whatever its size, with the options of `store.uri`, under \
     `allowed.uri.prefixes` only.",
)
.default("upload")
.recommended(&["upload", "reference", "copy"])
.check(|text| one_of(text, &["upload", "reference", "copy"]));
static PREFIXES: Key<Vec<String>> = Key::new(
    "allowed.uri.prefixes",
    "With `store.mode=reference` or `copy`: which addresses are used: what begins with one of these, by whole parts of the key. \
     Whoever fills the source chooses among them, so there is no default.",
)
.default("")
.check(are_prefixes);
static PART_SIZE: Key<u64> =
    Key::new("part.size.bytes", "A payload up to this size is one request, a larger one goes in parts of this size.")
        .default("16777216")
        .check(in_range::<5_242_880, 5_368_709_120>);
static CONCURRENCY: Key<u32> = Key::new(
    "upload.concurrency",
    "How many parts are in memory and on their way at a time, of all payloads together.",
)
.default("4")
.check(in_range::<1, 64>);
static ON_STORE_FAILURE: Key<String> = Key::new(
    "on.store.failure",
    "When the store is still away after `retry.timeout.ms`: `fail` fails the task; `inline` sends the payload \
     through Kafka, if it fits into `record.max.bytes`.",
)
.default("fail")
.recommended(&["fail", "inline"])
.check(|text| one_of(text, &["fail", "inline"]));
static OBJECT_RETENTION: Key<u64> = Key::new(
    "object.retention.ms",
    "After which time the store takes objects away, if a rule of the bucket says so. Before the first record of each topic \
     it is compared with how long records can be read (`retention.ms` + `segment.ms`, for ever on a compacted topic); \
     `preflight` says what follows.",
)
.optional()
.check(|text| text.map_or(Ok(()), |text| at_least::<1>(Some(text))));
static PREFLIGHT: Key<String> = Key::new(
    "preflight",
    "Before the first upload the store is asked for a listing, and before the first record of a topic its retention is \
     compared with `object.retention.ms`. `warn` tells in the log what is wrong, `strict` fails the task, `off` does not look.",
)
.default("warn")
.recommended(PREFLIGHTS)
.check(|text| one_of(text, PREFLIGHTS));
const PREFLIGHTS: &[&str] = &["off", "warn", "strict"];
static PRESIGN: Key<u64> = Key::new(
    "presign.ttl.ms",
    "Adds an address with a signature to references, as `url`: by it whoever reads the topic reads the object, without \
     credentials, for so long. Records outlive it. Up to 604800000, a week; 0: none.",
)
.default("0")
.importance(Importance::Low)
.check(|text| match text {
    Some("0") | None => Ok(()),
    text => in_range::<1_000, 604_800_000>(text),
});
static METADATA: Key<Vec<String>> = Key::new(
    "metadata.extract",
    "What references tell of payloads, as ExtractMetadata does: `off`, or a list of `basic`, `exif`, `tiff`, `dicom`. No tag \
     that identifies a person.",
)
.default("basic")
.recommended(&["off", "basic", "basic,exif,tiff,dicom"])
.check(|text| match text {
    Some("off") => Ok(()),
    text => Wanted::parse(&list(text), &[]).map(drop),
});
static THUMBNAIL: Key<u32> = Key::new("thumbnail.max.px", "Would add small pictures, which is not built: 0.")
    .default("0")
    .importance(Importance::Low)
    .check(|text| only_zero(text, "small pictures are not built"));
/// The definition.
pub(super) static CONFIG: ConfigDef = ConfigDef::new(&[
    &URI.info,
    &TARGET.info,
    &ALLOW_KEY.info,
    &FIELDS.info,
    &FIELD_TEXT.info,
    &THRESHOLD.info,
    &RECORD_MAX.info,
    &MAX_PAYLOAD.info,
    &FORMAT.info,
    &FIELD_MODE.info,
    &VALUE_MODE.info,
    &HEADER_NAME.info,
    &EMIT_CLOUDEVENTS.info,
    &CE_SOURCE.info,
    &CE_TYPE.info,
    &KEY_STRATEGY.info,
    &KEY_TEMPLATE.info,
    &KEY_PREFIX.info,
    &DIGEST.info,
    &COMPRESSION.info,
    &STORE_MODE.info,
    &PREFIXES.info,
    &PART_SIZE.info,
    &CONCURRENCY.info,
    &MAX_IN_FLIGHT.info,
    &MAX_IN_FLIGHT_BYTES.info,
    &RETRY_TIMEOUT.info,
    &ON_STORE_FAILURE.info,
    &OBJECT_RETENTION.info,
    &PREFLIGHT.info,
    &PRESIGN.info,
    &METADATA.info,
    &THUMBNAIL.info,
    &ALLOW_HTTP.info,
    &CONNECT_TIMEOUT.info,
    &REQUEST_TIMEOUT.info,
])
.rule(|settings| rules(settings).unwrap_or_default());

fn only_zero(text: Option<&str>, why: &str) -> Checked {
    match text {
        Some("0") | None => Ok(()),
        Some(_) => Err(format!("{why} yet: leave it at 0")),
    }
}

fn list(text: Option<&str>) -> Vec<String> {
    text.unwrap_or_default().split(',').map(|level| level.trim().to_owned()).filter(|level| !level.is_empty()).collect()
}

/// Keys that do not go together, each with the one to blame.
fn rules(settings: &Settings) -> Result<Vec<(&'static str, String)>> {
    let mut wrong = Vec::new();
    let mut hold = |holds: bool, key: &'static str, why: &str| {
        if !holds {
            wrong.push((key, why.to_owned()));
        }
    };
    let target = settings.get(&TARGET)?;
    let (of_value, of_field) = (target == "value", target == "field");
    let native = settings.get(&FORMAT)? == "native";
    let why =
        "partitions and compaction go by keys, and references to one key differ from day to day: needs allow.key=true";
    hold(target != "key" || settings.get(&ALLOW_KEY)?, "target", why);
    let (in_value, fields) = (settings.get(&VALUE_MODE)? == "reference", settings.get(&FIELDS)?);
    hold(of_field != fields.is_empty(), "fields", "target=field needs fields, and other targets have none");
    let paths = fields.iter().map(|text| FieldPath::parse(text)).collect::<std::result::Result<Vec<_>, _>>();
    match paths {
        Ok(paths) => hold(
            !paths.iter().enumerate().any(|(n, path)| paths.iter().skip(n + 1).any(|other| path.overlaps(other))),
            "fields",
            "one is inside of another",
        ),
        Err(reason) => hold(false, "fields", &reason),
    }
    hold(of_value || native, "reference.format", "other forms refer to whole values: another target is native");
    hold(in_value || of_value, "value.mode", "header-only is for target=value");
    hold(in_value || native, "value.mode", "header-only is for reference.format=native");
    let nameless = settings.get(&HEADER_NAME)?.is_empty();
    hold(!nameless || in_value, "header.name", "value.mode=header-only has the reference nowhere else");
    let uris = settings.get(&FIELD_MODE)? == "uri" && of_field;
    hold(!nameless || !uris, "header.name", "field.mode=uri has size and digest nowhere else");
    let (source, kind) = (settings.find(&CE_SOURCE)?.is_some(), settings.find(&CE_TYPE)?.is_some());
    hold(source == kind, "cloudevents.type", "cloudevents.source and cloudevents.type belong together");
    let emits = settings.get(&EMIT_CLOUDEVENTS)?;
    hold(!emits || of_value, "emit.cloudevents", "the data of an event is the whole value: needs target=value");
    let (threshold, most) = (settings.get(&THRESHOLD)?, settings.get(&MAX_PAYLOAD)?);
    hold(most > threshold, "max.payload.bytes", "it is not above threshold.bytes");
    let parts = settings.get(&PART_SIZE)?.saturating_mul(u64::from(settings.get(&CONCURRENCY)?));
    let memory = settings.get(&MAX_IN_FLIGHT_BYTES)?;
    hold(memory >= parts, "max.in.flight.bytes", "it is less than part.size.bytes times upload.concurrency");
    let digest = settings.get(&DIGEST)? == "sha256";
    let refers = settings.get(&STORE_MODE)? == "reference";
    match naming(settings) {
        Ok(naming) => hold(
            digest || refers || !naming.needs_digest(),
            "digest",
            "objects are named by their SHA-256: none needs key.strategy=position or uuid, or a key.template without ${sha256}",
        ),
        Err(error) => hold(false, "key.template", &error.to_string()),
    }
    hold(digest || settings.get(&FORMAT)? != "kaf-s3", "digest", "readers of reference.format=kaf-s3 need it");
    for (holds, key, why) in of_mode(settings)? {
        hold(holds, key, why);
    }
    wrong.extend(StoreSettings::wrong(settings));
    Ok(wrong)
}

/// What `store.mode` asks of others.
fn of_mode(settings: &Settings) -> Result<[(bool, &'static str, &'static str); 7]> {
    let mode = settings.get(&STORE_MODE)?;
    let (uploads, refers) = (mode == "upload", mode == "reference");
    let unsigned = settings.get(&PRESIGN)? == 0;
    let signs = if refers {
        allowed(settings).is_ok_and(|allowed| allowed.all_sign())
    } else {
        ObjectUri::read(&settings.get(&URI)?).is_ok_and(|uri| uri.scheme.signs())
    };
    let unread = "nobody reads an object of store.mode=reference to take its SHA-256: set digest=none";
    Ok([
        (
            uploads == settings.get(&PREFIXES)?.is_empty(),
            "allowed.uri.prefixes",
            "store.mode=reference and copy need it, because whoever fills the source could refer to any object; upload has none",
        ),
        (!refers || settings.get(&DIGEST)? == "none", "digest", unread),
        (!refers || settings.get(&COMPRESSION)? == "none", "compression", "store.mode=reference stores nothing"),
        (uploads || settings.get(&ON_STORE_FAILURE)? == "fail", "on.store.failure", "only the store has the payload"),
        (uploads || settings.get(&FIELD_TEXT)? == "plain", "field.text", "an address is plain text"),
        (unsigned || signs, "presign.ttl.ms", "only S3, GCS and Azure sign addresses"),
        (
            unsigned || settings.get(&TARGET)? != "key",
            "presign.ttl.ms",
            "a key would be another one each time: signatures differ",
        ),
    ])
}

fn allowed(settings: &Settings) -> Result<Allowed> {
    Allowed::read(PREFIXES.info.name, &settings.get(&PREFIXES)?)
}

fn naming(settings: &Settings) -> Result<Naming> {
    let template = settings.find(&KEY_TEMPLATE)?;
    let strategy = match (settings.get(&KEY_STRATEGY)?.as_str(), template) {
        ("template", None) => return Err(ConnectError::config("key.strategy=template needs it")),
        ("template", Some(template)) => Strategy::Template(template),
        (_, Some(_)) => return Err(ConnectError::config("only key.strategy=template has one")),
        ("position", None) => Strategy::Position,
        ("uuid", None) => Strategy::Uuid,
        _ => Strategy::Content,
    };
    Naming::new(&settings.get(&KEY_PREFIX)?, strategy)
}

/// What a store that cannot be listed means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preflight {
    Off,
    Warn,
    Strict,
}

/// What is done with what a record has.
pub(super) enum Mode {
    /// It is a payload, which is stored.
    Upload,
    /// It is the address of an object.
    Refer(Allowed),
    /// The same, and the object is stored once more.
    Copy(Allowed),
}

/// What takes the place of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldMode {
    Replace,
    Sibling,
    Uri,
}

/// What the keys say, but for those of the store.
#[allow(clippy::struct_excessive_bools, reason = "each is a key of its own")]
pub(super) struct Plan {
    /// The half of the record that something is taken from.
    pub(super) side: Side,
    /// None: the whole of it.
    pub(super) fields: Vec<FieldPath>,
    pub(super) base64: bool,
    pub(super) threshold: u64,
    pub(super) record_max: u64,
    pub(super) max_payload: u64,
    /// None: native.
    pub(super) form: Option<Form>,
    pub(super) field_mode: FieldMode,
    pub(super) header_only: bool,
    pub(super) header: Option<String>,
    pub(super) emits_cloudevents: bool,
    pub(super) cloudevents: Option<(String, String)>,
    pub(super) mode: Mode,
    pub(super) naming: Naming,
    pub(super) digest: bool,
    pub(super) compression: Option<Compression>,
    pub(super) part_size: u64,
    pub(super) concurrency: u32,
    pub(super) retry_timeout: Option<Duration>,
    pub(super) inline: bool,
    pub(super) preflight: Preflight,
    pub(super) metadata: Option<Wanted>,
    /// How long addresses with a signature are valid; none: there are none.
    pub(super) presign: Option<Duration>,
}

impl Plan {
    pub(super) fn read(settings: &Settings) -> Result<Self> {
        if let Some((key, reason)) = rules(settings)?.into_iter().next() {
            return Err(ConnectError::config(format!("{key}: {reason}")));
        }
        let fields = settings.get(&FIELDS)?;
        let fields = fields.iter().map(|text| FieldPath::parse(text)).collect::<std::result::Result<_, _>>();
        let levels = settings.get(&METADATA)?;
        let metadata = match levels.first().map(String::as_str) {
            None | Some("off") => None,
            _ => Some(Wanted::parse(&levels, &[]).map_err(ConnectError::config)?),
        };
        Ok(Self {
            side: if settings.get(&TARGET)? == "key" { Side::Key } else { Side::Value },
            fields: fields.map_err(ConnectError::config)?,
            base64: settings.get(&FIELD_TEXT)? == "base64",
            threshold: settings.get(&THRESHOLD)?,
            record_max: settings.get(&RECORD_MAX)?,
            max_payload: settings.get(&MAX_PAYLOAD)?,
            form: Form::named(&settings.get(&FORMAT)?),
            field_mode: match settings.get(&FIELD_MODE)?.as_str() {
                "sibling" => FieldMode::Sibling,
                "uri" => FieldMode::Uri,
                _ => FieldMode::Replace,
            },
            header_only: settings.get(&VALUE_MODE)? == "header-only",
            header: Some(settings.get(&HEADER_NAME)?).filter(|name| !name.is_empty()),
            emits_cloudevents: settings.get(&EMIT_CLOUDEVENTS)?,
            cloudevents: settings.find(&CE_SOURCE)?.zip(settings.find(&CE_TYPE)?),
            mode: match settings.get(&STORE_MODE)?.as_str() {
                "reference" => Mode::Refer(allowed(settings)?),
                "copy" => Mode::Copy(allowed(settings)?),
                _ => Mode::Upload,
            },
            naming: naming(settings)?,
            digest: settings.get(&DIGEST)? == "sha256",
            compression: Compression::read(&settings.get(&COMPRESSION)?)?,
            part_size: settings.get(&PART_SIZE)?,
            concurrency: settings.get(&CONCURRENCY)?,
            retry_timeout: retry_timeout(settings)?,
            inline: settings.get(&ON_STORE_FAILURE)? == "inline",
            preflight: match settings.get(&PREFLIGHT)?.as_str() {
                "off" => Preflight::Off,
                "strict" => Preflight::Strict,
                _ => Preflight::Warn,
            },
            metadata,
            presign: Some(settings.get(&PRESIGN)?).filter(|millis| *millis > 0).map(Duration::from_millis),
        })
    }
}
