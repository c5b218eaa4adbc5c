//! Values that were put together go into an object store, and references go on: `assemble.to=store`.
//!
//! The worker runs this as a step of its own, behind the converters, so that the task's thread waits for no upload. A value
//! keeps its place in memory or on disk until its object is durable, and its record goes on behind that: no offset is
//! committed before. Objects are named by content, so that pieces which come again make none.

use std::sync::Arc;
use std::time::Duration;

use pipette_api::config::Importance;
use pipette_api::config::checks::in_range;
use pipette_api::{
    AsyncTransform, Datum, ErrorKind, Folder, Key, Kind, Metric, MetricInfo, Payload, Record, Result, Schema, Settings,
    Text, TransformContext, Value, Verdict, async_trait,
};
use pipette_store::{
    Journal, Naming, ObjectUri, Origin, Reference, Scheme, Store, StoreSettings, Strategy, UploadOptions, Uploader,
};
use tokio::sync::OnceCell;

use crate::claim_check::HEADER_NAME;
use crate::metadata::{Limits, Wanted, extract};
use crate::patience::{Patience, retry_timeout};

/// What metadata of one value may cost.
const LOOK: Limits = Limits { bytes: 256 << 10, time: Duration::from_secs(10) };

/// What an upload into a folder holds of a value.
const FOLDER_HOLDS: u64 = 4 << 20;

/// The name of the header with the name of a file.
const FILE_NAME: &str = "file.name";

pub(super) static URI: Key<String> = Key::new(
    "store.uri",
    "With `assemble.to=store`: where values are kept, as in `ClaimCheck`; options are `store.options.*`.",
)
.optional()
.importance(Importance::High)
.group("Store")
.check(|text| text.map_or(Ok(()), |text| ObjectUri::read(text).map(drop)));
pub(super) static KEY_PREFIX: Key<String> = Key::new(
    "key.prefix",
    "With `assemble.to=store`: in front of the date and the SHA-256 that name an object, below the prefix in `store.uri`: \
     `${topic}`, `${connector}`, text.",
)
.default("${topic}")
.check(|text| Naming::new(text.unwrap_or_default(), Strategy::Content).map(drop).map_err(|e| e.to_string()));
pub(super) static PART_SIZE: Key<u64> = Key::new(
    "part.size.bytes",
    "With `assemble.to=store`: a value up to this size is one request, a larger one goes in parts of this size.",
)
.default("16777216")
.check(in_range::<5_242_880, 5_368_709_120>);
pub(super) static CONCURRENCY: Key<u32> = Key::new(
    "upload.concurrency",
    "With `assemble.to=store`: how many parts are in memory and on their way at a time, beside `memory.bytes`.",
)
.default("4")
.check(in_range::<1, 64>);

/// The step.
pub(super) struct Keeping {
    store: StoreSettings,
    options: UploadOptions,
    header: String,
    wanted: Wanted,
    patience: Patience,
    connector: Arc<str>,
    folder: Folder,
    /// Nothing outside may change.
    rehearsal: bool,
    uploader: OnceCell<Uploader>,
    stored: Metric,
}

impl Keeping {
    pub(super) fn new(
        settings: &Settings,
        context: &TransformContext,
        most: u64,
        stored: &'static MetricInfo,
    ) -> Result<Self> {
        let store = StoreSettings::read(settings)?.remembered(&context.common.folder);
        let naming = Naming::new(&settings.get(&KEY_PREFIX)?, Strategy::Content)?;
        let options = UploadOptions {
            part_size: settings.get(&PART_SIZE)?,
            concurrency: settings.get(&CONCURRENCY)?,
            max_payload: most,
            ..UploadOptions::new(naming, format!("{}-reassemble", context.id))
        };
        let basic = Wanted::parse(&["basic".to_owned()], &[]);
        Ok(Self {
            store,
            options,
            header: settings.get(&HEADER_NAME)?,
            wanted: basic.unwrap_or_else(|_| unreachable!("it is one of the levels")),
            patience: Patience::new(retry_timeout(settings)?, context),
            connector: Arc::clone(&context.id.connector),
            folder: context.common.folder.clone(),
            rehearsal: context.common.shared.is_rehearsal(),
            uploader: OnceCell::new(),
            stored: context.common.metrics.register(stored, &[]),
        })
    }

    /// Open, and cleared of what a crash has left.
    async fn uploader(&self) -> Result<&Uploader> {
        let ready = async {
            let store = if self.rehearsal { Store::stand_in(&self.store)? } else { Store::open(&self.store)? };
            let journal = self.folder.path()?;
            let journal = journal.map(|folder| Journal::open(folder.join(format!("{}.uploads", self.options.owner))));
            let uploader = Uploader::new(store, self.options.clone(), journal.transpose()?);
            let left = uploader.recover().await?;
            if left > 0 {
                tracing::info!(left, store = %self.store.uri, "Took away uploads that an earlier run left");
            }
            Ok(uploader)
        };
        self.uploader.get_or_try_init(|| ready).await
    }

    async fn keep(&self, payload: &dyn Payload, record: &Record) -> Result<Reference> {
        let uploader = self.uploader().await?;
        let meta = extract(payload, &self.wanted, LOOK).await?;
        let name = record.headers.last(FILE_NAME).and_then(|header| header.value.as_str());
        let origin = Origin { topic: &record.topic, connector: &self.connector, name, ..Origin::default() };
        let stored = uploader.upload(payload, &origin).await?;
        let told = |(name, _): &(&str, &str)| !matches!(*name, "content.type" | "content.length");
        Ok(Reference {
            content_type: meta.content_type().map(str::to_owned),
            name: name.map(str::to_owned),
            meta: meta.entries().filter(told).map(|(name, text)| (name.to_owned(), text.to_owned())).collect(),
            ..stored.reference()
        })
    }
}

#[async_trait]
impl AsyncTransform for Keeping {
    fn needs(&self, record: &Record) -> bool {
        // Nothing else is a payload before the first transformation of a sink.
        matches!(record.value.value, Value::Payload(_))
    }

    fn holds(&self, record: &Record) -> u64 {
        let most = match self.store.uri.scheme {
            Scheme::File => FOLDER_HOLDS,
            _ => self.options.part_size.saturating_mul(u64::from(self.options.concurrency)),
        };
        let size = match &record.value.value {
            Value::Payload(payload) => payload.len().unwrap_or(most),
            _ => 0,
        };
        record.held() + size.min(most) + LOOK.bytes
    }

    async fn apply(&self, record: &mut Record) -> Result<Verdict> {
        let Value::Payload(payload) = &record.value.value else { return Ok(Verdict::Keep) };
        let reference = self.patience.outlast(|| self.keep(&**payload, record)).await?;
        let value = reference.to_map()?;
        if !self.header.is_empty() {
            let json = Text::new(Reference::to_header(std::slice::from_ref(&reference))?)?;
            record.headers.0.retain(|(known, _)| **known != *self.header);
            record.headers.add(self.header.as_str(), Datum::new(Schema::of(Kind::String), Value::String(json)));
        }
        record.value = value;
        self.stored.add(1);
        Ok(Verdict::Keep)
    }

    async fn stop(&self) {
        let Some(uploader) = self.uploader.get() else { return };
        if let Err(error) = uploader.stop(Uploader::PATIENCE).await {
            let told = if error.kind() == ErrorKind::Retriable { "the next start takes it away" } else { "look there" };
            tracing::warn!(error = error.chain(), "An upload in parts is left in the store: {told}");
        }
    }
}
