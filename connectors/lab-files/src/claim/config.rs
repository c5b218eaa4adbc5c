//! The keys of `output.mode=claim-check`: the store of all plugins, and what ClaimCheck has for uploads, behind `store.`.

use std::path::PathBuf;

use pipette_api::config::checks::{at_least, in_range, one_of};
use pipette_api::{Folder, Key, Result, Settings, TaskId};
use pipette_store::{Compression, Journal, Naming, Scheme, Store, StoreSettings, Strategy, UploadOptions, Uploader};

use crate::settings::Root;

const GROUP: &str = "Store";
const STRATEGIES: &[&str] = &["position", "content", "uuid", "template"];
const PREFLIGHTS: &[&str] = &["off", "warn", "strict"];
const COMPRESSIONS: &[&str] = &["none", "gzip", "zstd"];

pub(crate) static URI: Key<String> = Key::new(
    "store.uri",
    "With `output.mode=claim-check`: where files are put: `s3://bucket/prefix`, `gs://bucket/prefix`, \
     `az://container/prefix` or `file:///folder`. Options of the store follow `store.options.`, as for ClaimCheck.",
)
.optional()
.group(GROUP)
.check(|text| text.map_or(Ok(()), |text| pipette_store::ObjectUri::read(text).map(drop)));
pub(crate) static STRATEGY: Key<String> = Key::new(
    "store.key.strategy",
    "How objects are named: `position`: by date, folder, path and generation of the file, the same after a crash, and each \
     file is read once; `content`: by date and SHA-256, the same content once a day, and files above `store.part.size.bytes` \
     are read twice; `uuid`: each one new; `template`: by `store.key.template`.",
)
.default("position")
.group(GROUP)
.recommended(STRATEGIES)
.check(|text| one_of(text, STRATEGIES));
pub(crate) static TEMPLATE: Key<String> = Key::new(
    "store.key.template",
    "With `store.key.strategy=template`: a name with `${topic}`, `${connector}`, `${date}`, `${name}` (of the file), and at \
     least one of `${sha256}`, `${uuid}` and `${position}`.",
)
.optional()
.group(GROUP);
pub(crate) static PREFIX: Key<String> = Key::new(
    "store.key.prefix",
    "In front of every name, below the prefix in `store.uri`: `${topic}`, `${connector}`, text.",
)
.default("${topic}")
.group(GROUP)
.check(|text| Naming::new(text.unwrap_or_default(), Strategy::Uuid).map(drop).map_err(|error| error.to_string()));
pub(crate) static COMPRESSION: Key<String> =
    Key::new("store.compression", "How objects are stored: `none`, `gzip`, `zstd`.")
        .default("none")
        .group(GROUP)
        .recommended(COMPRESSIONS)
        .check(|text| one_of(text, COMPRESSIONS));
pub(crate) static PART_SIZE: Key<u64> = Key::new(
    "store.part.size.bytes",
    "A file up to this size is one request, a larger one goes in parts of this size.",
)
.default("16777216")
.group(GROUP)
.check(in_range::<5_242_880, 5_368_709_120>);
pub(crate) static CONCURRENCY: Key<u32> = Key::new(
    "store.upload.concurrency",
    "How many parts are in memory and on their way at a time, of all files together.",
)
.default("4")
.group(GROUP)
.check(in_range::<1, 64>);
pub(crate) static IN_FLIGHT: Key<u32> = Key::new(
    "store.max.in.flight",
    "How many files are uploaded at a time. Their records come in the order in which uploads end, so that a large file does \
     not hold up small ones; 1 keeps the order of the paths.",
)
.default("16")
.group(GROUP)
.check(in_range::<1, 1024>);
pub(crate) static MAX_PAYLOAD: Key<u64> =
    Key::new("store.max.payload.bytes", "A larger file is a file in error: see `file.error.action`.")
        .default("5497558138880")
        .group(GROUP)
        .check(at_least::<1>);
pub(crate) static JOURNAL: Key<String> = Key::new(
    "store.journal.dir",
    "A folder of this machine in which uploads in parts are noted while they run, so that one which a crash has left is \
     aborted at the next start. Without it only a rule of the bucket takes such parts away (`pipette claimcheck lifecycle`).",
)
.optional()
.path()
.group(GROUP);

pub(crate) static OBJECT_RETENTION: Key<u64> = Key::new(
    "store.object.retention.ms",
    "After which time the store takes objects away, if a rule of the bucket says so. Compared with how long records of the \
     topic can be read, before the first record.",
)
.optional()
.group(GROUP);
pub(crate) static PREFLIGHT: Key<String> = Key::new(
    "store.preflight",
    "When objects would be gone before their records: `warn` tells it in the log, `strict` fails the task, `off` does not look.",
)
.default("warn")
.group(GROUP)
.recommended(PREFLIGHTS)
.check(|text| one_of(text, PREFLIGHTS));

/// What uploads need.
#[derive(Debug, Clone)]
pub(crate) struct ClaimSettings {
    store: StoreSettings,
    naming: Naming,
    compression: Option<Compression>,
    part_size: u64,
    concurrency: u32,
    max_payload: u64,
    journal: Option<PathBuf>,
    /// Files at a time.
    pub(crate) in_flight: usize,
}

impl ClaimSettings {
    pub(crate) fn read(settings: &Settings) -> Result<Self> {
        let strategy = match settings.get(&STRATEGY)?.as_str() {
            "content" => Strategy::Content,
            "uuid" => Strategy::Uuid,
            "template" => Strategy::Template(settings.find(&TEMPLATE)?.unwrap_or_default()),
            _ => Strategy::Position,
        };
        Ok(Self {
            store: StoreSettings::read(settings)?,
            naming: Naming::new(&settings.get(&PREFIX)?, strategy)?,
            compression: Compression::read(&settings.get(&COMPRESSION)?)?,
            part_size: settings.get(&PART_SIZE)?,
            concurrency: settings.get(&CONCURRENCY)?,
            max_payload: settings.get(&MAX_PAYLOAD)?,
            journal: settings.find(&JOURNAL)?.map(PathBuf::from),
            in_flight: settings.get(&IN_FLIGHT)? as usize,
        })
    }

    /// Connects to nobody yet.
    pub(crate) fn uploader(&self, id: &TaskId, folder: &Folder) -> Result<Uploader> {
        let options = UploadOptions {
            part_size: self.part_size,
            concurrency: self.concurrency,
            max_payload: self.max_payload,
            compression: self.compression,
            ..UploadOptions::new(self.naming.clone(), format!("{id}-files"))
        };
        let journal = match &self.journal {
            Some(folder) => {
                self.store.reach.path(folder).map_err(|error| error.within(JOURNAL.info.name))?;
                let opened = Journal::below(folder, &options.owner);
                Some(opened.map_err(|error| error.within(JOURNAL.info.name))?)
            }
            None => None,
        };
        Ok(Uploader::new(Store::open(&self.store.clone().remembered(folder))?, options, journal))
    }
}

/// What these keys say against each other and the others.
pub(crate) fn rule(settings: &Settings, roots: &[Root]) -> Option<(&'static str, String)> {
    if settings.raw(URI.info.name).is_none() {
        return Some((URI.info.name, "output.mode=claim-check needs the store to put files into".into()));
    }
    let read = match ClaimSettings::read(settings) {
        Ok(read) => read,
        // The other keys have a check of their own.
        Err(error) => return Some((TEMPLATE.info.name, error.to_string())),
    };
    let folder = PathBuf::from(format!("/{}", read.store.uri.key));
    if read.store.uri.scheme == Scheme::File && roots.iter().any(|root| folder.starts_with(&root.path)) {
        return Some((URI.info.name, "must not be inside of a watched folder: objects would be found as files".into()));
    }
    StoreSettings::wrong(settings)
}
