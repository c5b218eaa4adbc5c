//! Reassemble: puts large values together from their pieces, before the converters of a sink.
//!
//! The worker calls it as the first step of a sink's chain, record by record. A value is handed on once all of its pieces
//! are here, as a payload that the sink reads when it likes. No offset behind the first piece of an open value is
//! committed, so that a restart reads it again. `chunk.rs` is the other end; read next: `reassemble/payloads.rs`; for
//! `assemble.to=store` `reassemble/kept.rs`.

mod kept;
mod lane;
mod note;
mod open;
mod payloads;
mod storage;
mod whole;

use std::path::PathBuf;
use std::time::Duration;

use pipette_api::config::FromText;
use pipette_api::config::checks::{at_least, distinct, in_range, not_empty, one_of};
use pipette_api::transform::{MAX_IN_FLIGHT, MAX_IN_FLIGHT_BYTES};
use pipette_api::{CollectPlugin, ConfigDef, Context, Info, Key, MetricInfo, MetricKind, Result, Settings};
use pipette_store::chunk::Format;
use pipette_store::{ALLOW_HTTP, CONNECT_TIMEOUT, REQUEST_TIMEOUT, StoreSettings};

use kept::Keeping;
use payloads::{Counts, Incomplete, Limits, Reassemble};
use storage::{Held, Storage};

use crate::claim_check::HEADER_NAME;
use crate::nameless;
use crate::patience::RETRY_TIMEOUT;

const FORMATS: &[&str] = &["native", "linkedin"];
const TARGETS: &[&str] = &["handle", "store"];
const POLICIES: &[&str] = &["fail", "dlq", "drop"];

static FORMATS_KEY: Key<Vec<String>> = Key::new(
    "formats",
    "The pieces that are put together: `native`: those of `Chunk`; `linkedin`: those with the header `_lm` of LinkedIn's \
     clients. Every other record goes on as it is.",
)
.default("native")
.recommended(FORMATS)
.check(formats);
static MEMORY: Key<u64> = Key::new(
    "memory.bytes",
    "How much of open values is in memory, in each task. What is more goes to `disk.dir`; without one the value that has \
     waited longest is given up.",
)
.default("67108864")
.check(at_least::<2048>);
static DISK_DIR: Key<String> = Key::new(
    "disk.dir",
    "A folder for pieces that find no place in memory. The files have no names and are gone with the worker, however it ends.",
)
.optional()
.path()
.check(not_empty);
static DISK: Key<u64> =
    Key::new("disk.bytes", "How much each task may put into `disk.dir`. So much has to be free at the start.")
        .default("0");
static TIMEOUT: Key<Duration> = Key::new(
    "timeout.ms",
    "A value to which no piece has come for so long is not complete: by the timestamps of its partition and by the clock, so \
     that a pause is no reason.",
)
.default("900000")
.check(at_least::<1>);
static REMEMBER: Key<Duration> = Key::new(
    "remember.ms",
    "For so long it is remembered, beside the offset too, that a value was delivered or given up: a source that was killed sends \
     its pieces again. It has to be longer than a source may take to start again.",
)
.default("900000")
.check(at_least::<1>);
static MAX_INCOMPLETE: Key<u32> = Key::new(
    "max.incomplete",
    "How many values may be open at a time, in each task; one more, and the one that has waited longest is given up.",
)
.default("1000")
.check(in_range::<1, 1_000_000>);
static MAX_PAYLOAD: Key<u64> = Key::new(
    "max.payload.bytes",
    "A larger value is a bad record, which shows on its first piece where that tells the size.",
)
.default("1073741824")
.check(at_least::<1>);
static INLINE: Key<u64> = Key::new(
    "inline.max.bytes",
    "Up to this size a value is handed to the converter as bytes. A larger one passes the converter by and reaches the sink as \
     a payload, which it can read piece by piece.",
)
.default("1048576")
.check(in_range::<0, 1_073_741_824>);
static ON_INCOMPLETE: Key<String> = Key::new(
    "on.incomplete",
    "What becomes of a value that will never be complete: `fail`: the task fails, whatever `errors.tolerance` says; `dlq`: \
     its first piece is a bad record, which `errors.tolerance=all` skips and puts into the dead letter topic, with the id and \
     how many pieces came; `drop`: it is counted and logged.",
)
.default("fail")
.recommended(POLICIES)
.check(|text| one_of(text, POLICIES));
static ASSEMBLE_TO: Key<String> = Key::new(
    "assemble.to",
    "What the sink gets of a value above `inline.max.bytes`: `handle`: a payload, which is in memory and in `disk.dir`; \
     `store`: once it is complete and its object is durable, a reference to it, as `ClaimCheck` writes them.",
)
.default("handle")
.recommended(TARGETS)
.check(|text| one_of(text, TARGETS));

static CONFIG: ConfigDef = ConfigDef::new(&[
    &FORMATS_KEY.info,
    &MEMORY.info,
    &DISK_DIR.info,
    &DISK.info,
    &TIMEOUT.info,
    &REMEMBER.info,
    &MAX_INCOMPLETE.info,
    &MAX_PAYLOAD.info,
    &INLINE.info,
    &ON_INCOMPLETE.info,
    &ASSEMBLE_TO.info,
    &kept::URI.info,
    &kept::KEY_PREFIX.info,
    &HEADER_NAME.info,
    &kept::PART_SIZE.info,
    &kept::CONCURRENCY.info,
    &MAX_IN_FLIGHT.info,
    &MAX_IN_FLIGHT_BYTES.info,
    &RETRY_TIMEOUT.info,
    &ALLOW_HTTP.info,
    &CONNECT_TIMEOUT.info,
    &REQUEST_TIMEOUT.info,
])
.rule(rule);

macro_rules! metric {
    ($static:ident, $kind:ident, $name:literal, $help:literal) => {
        static $static: MetricInfo =
            MetricInfo { name: concat!("reassemble_", $name), kind: MetricKind::$kind, help: $help, labels: &[] };
    };
}
metric!(WHOLE, Counter, "values_total", "Large values that were put together.");
metric!(BYTES, Counter, "bytes_total", "Bytes of large values that were put together.");
metric!(AGAIN, Counter, "repeated_pieces_total", "Pieces that had come before, and were left out.");
metric!(
    HEADLESS,
    Counter,
    "headless_pieces_total",
    "Pieces of values that began before what is read, which are left out."
);
metric!(INCOMPLETE, Counter, "incomplete_total", "Large values that were given up because pieces were missing.");
metric!(STORED, Counter, "stored_total", "Large values that went into the object store (assemble.to=store).");
metric!(OPEN, Gauge, "open_values", "Large values of which pieces are missing.");
metric!(IN_MEMORY, Gauge, "memory_bytes", "Bytes of pieces in memory.");
metric!(ON_DISK, Gauge, "disk_bytes", "Bytes of pieces on disk.");

/// The plugin.
pub(crate) const PLUGIN: CollectPlugin = CollectPlugin {
    info: Info {
        class: "io.pipette.transforms.Reassemble",
        aliases: &["Reassemble"],
        version: env!("CARGO_PKG_VERSION"),
        about: "Puts large values together from the pieces that Chunk made of them; the first transformation of a sink.",
        readme: "",
        config: &CONFIG,
    },
    metrics: &[WHOLE, BYTES, AGAIN, HEADLESS, INCOMPLETE, STORED, OPEN, IN_MEMORY, ON_DISK],
    make: |settings, context| {
        let counts = counts(&context.common);
        let metric = |info| context.common.metrics.register(info, &[]);
        let held = Held::shown(metric(&IN_MEMORY), metric(&ON_DISK));
        let storage = Storage::new(held, context.room, settings.get(&MEMORY)?, disk(&settings)?)?;
        Ok(Box::new(Reassemble::new(limits(&settings)?, storage, counts)))
    },
    then: Some(|settings, context| {
        if !is_kept(settings)? {
            return Ok(None);
        }
        Ok(Some(Box::new(Keeping::new(settings, context, settings.get(&MAX_PAYLOAD)?, &STORED)?)))
    }),
};

fn is_kept(settings: &Settings) -> Result<bool> {
    Ok(settings.get(&ASSEMBLE_TO)? == "store")
}

fn counts(common: &Context) -> Counts {
    let metric = |info| common.metrics.register(info, &[]);
    Counts {
        whole: metric(&WHOLE),
        bytes: metric(&BYTES),
        again: metric(&AGAIN),
        headless: metric(&HEADLESS),
        incomplete: metric(&INCOMPLETE),
        open: metric(&OPEN),
    }
}

fn limits(settings: &Settings) -> Result<Limits> {
    let formats = settings.get(&FORMATS_KEY)?;
    Ok(Limits {
        formats: formats
            .iter()
            .map(|name| if name == "linkedin" { Format::LinkedIn } else { Format::Native })
            .collect(),
        timeout: settings.get(&TIMEOUT)?,
        remember: settings.get(&REMEMBER)?,
        open: settings.get(&MAX_INCOMPLETE)?,
        payload: settings.get(&MAX_PAYLOAD)?,
        inline: settings.get(&INLINE)?,
        incomplete: match settings.get(&ON_INCOMPLETE)?.as_str() {
            "dlq" => Incomplete::Letter,
            "drop" => Incomplete::Drop,
            _ => Incomplete::Fail,
        },
    })
}

fn disk(settings: &Settings) -> Result<Option<(PathBuf, u64, pipette_api::Reach)>> {
    let Some(folder) = settings.find(&DISK_DIR)? else { return Ok(None) };
    let folder = PathBuf::from(folder);
    nameless::check_folder(DISK_DIR.info.name, &folder, settings.reach())?;
    Ok(Some((folder, settings.get(&DISK)?, settings.reach().clone())))
}

fn formats(text: Option<&str>) -> std::result::Result<(), String> {
    distinct(text)?;
    let formats = Vec::<String>::from_text(text.unwrap_or_default())?;
    if formats.is_empty() {
        return Err(format!("it needs at least one of {}", FORMATS.join(", ")));
    }
    formats.iter().try_for_each(|format| one_of(Some(format), FORMATS))
}

fn rule(settings: &Settings) -> Vec<(&'static str, String)> {
    let (Ok(folder), Ok(bytes)) = (settings.find(&DISK_DIR), settings.get(&DISK)) else { return Vec::new() };
    let mut wrong = match (folder, bytes) {
        (Some(_), 0) => vec![(DISK.info.name, "it must be more than 0 where there is a disk.dir".to_owned())],
        (None, 1..) => vec![(DISK_DIR.info.name, "disk.bytes needs a folder".to_owned())],
        _ => Vec::new(),
    };
    match (is_kept(settings), settings.find(&kept::URI)) {
        (Ok(true), Ok(None)) => wrong.push((kept::URI.info.name, "assemble.to=store needs it".to_owned())),
        (Ok(false), Ok(Some(_))) => {
            wrong.push((ASSEMBLE_TO.info.name, "store.uri belongs to assemble.to=store".to_owned()));
        }
        (Ok(true), Ok(Some(_))) => wrong.extend(StoreSettings::wrong(settings)),
        _ => {}
    }
    wrong
}

#[cfg(test)]
mod tests;
