//! The store as ClaimCheck uses it: opened at the first record that needs it, cleared of what a crash has left, asked again
//! while it is away.

use std::sync::Arc;
use std::time::Duration;

use pipette_api::{ConnectError, ErrorKind, Folder, Payload, Result, Settings, Side, TransformContext};
use pipette_store::{
    Compression, Digest, Journal, Origin, Reference, Scheme, Store, StoreSettings, UploadOptions, Uploader,
};
use tokio::sync::OnceCell;

use super::KEY;
use super::config::{Mode, Plan, Preflight};
use super::existing::Existing;
use crate::metadata::{Limits, Meta, Wanted, extract};
use crate::patience::Patience;

/// What metadata of one payload may cost.
const LOOK: Limits = Limits { bytes: 256 << 10, time: Duration::from_secs(10) };

/// A folder holds so many pieces of a payload between reading and writing, of at most 1 MiB each.
const FOLDER_HOLDS: u64 = 4 << 20;

/// What is stored smaller already, by the beginning of its media type.
const COMPRESSED: &[&str] = &[
    "image/jpeg",
    "image/png",
    "image/gif",
    "image/webp",
    "image/heic",
    "image/avif",
    "image/jp2",
    "video/",
    "audio/mp",
    "audio/aac",
    "audio/ogg",
    "audio/flac",
    "application/zip",
    "application/gzip",
    "application/x-gzip",
    "application/zstd",
    "application/x-7z-compressed",
    "application/x-xz",
    "application/x-bzip2",
    "application/vnd.openxmlformats",
];

/// Where a payload is.
pub(super) enum What<'a> {
    /// Here.
    Payload(&'a dyn Payload),
    /// In a store already, at this address.
    Object(&'a str),
}

/// A payload in a store.
pub(super) struct Kept {
    /// Everything but the path.
    pub(super) reference: Reference,
    pub(super) size: u64,
    /// It was there already.
    pub(super) found: bool,
}

/// One payload and what it is called.
pub(super) struct Errand<'a> {
    pub(super) what: What<'a>,
    pub(super) topic: &'a str,
    /// None: the source says none, or no name needs it.
    pub(super) spot: Option<&'a Spot>,
    pub(super) field: Option<&'a str>,
    pub(super) name: Option<&'a str>,
    pub(super) content_type: Option<&'a str>,
}

/// Where the source has read a record.
pub(super) struct Spot {
    pub(super) partition: String,
    pub(super) offset: String,
    pub(super) ordinal: u64,
}

/// The store.
pub(super) struct Outside {
    store: StoreSettings,
    options: UploadOptions,
    compression: Option<Compression>,
    folder: Folder,
    preflight: Preflight,
    metadata: Option<Wanted>,
    patience: Patience,
    connector: Arc<str>,
    /// Of payloads that are in a store already.
    existing: Option<Existing>,
    /// Whether those are stored once more.
    copies: bool,
    presign: Option<Duration>,
    /// Nothing outside may change.
    rehearsal: bool,
    ready: OnceCell<Ready>,
}

/// Both share a store; what is compressed already goes by the second.
struct Ready {
    packed: Option<Uploader>,
    plain: Uploader,
}

impl Outside {
    pub(super) fn new(settings: &Settings, plan: &Plan, context: &TransformContext) -> Result<Self> {
        let store = StoreSettings::read(settings)?.remembered(&context.common.folder);
        // Two steps of one chain are told apart by what they are for.
        let mut which: Vec<_> = plan.fields.iter().map(ToString::to_string).collect();
        which.extend((plan.side == Side::Key).then(|| KEY.to_owned()));
        let which = Digest::of(format!("{} {}", store.uri, which.join(",")).as_bytes()).hex();
        let options = UploadOptions {
            part_size: plan.part_size,
            concurrency: plan.concurrency,
            max_payload: plan.max_payload,
            digest: plan.digest,
            renames: true,
            ..UploadOptions::new(plan.naming.clone(), format!("{}-{}", context.id, &which[..8]))
        };
        let existing = match &plan.mode {
            Mode::Upload => None,
            Mode::Refer(allowed) | Mode::Copy(allowed) => {
                Some(Existing::new(store.clone(), allowed.clone(), plan.max_payload))
            }
        };
        Ok(Self {
            existing,
            copies: matches!(plan.mode, Mode::Copy(_)),
            presign: plan.presign,
            store,
            options,
            compression: plan.compression,
            folder: context.common.folder.clone(),
            preflight: plan.preflight,
            metadata: plan.metadata.clone(),
            patience: Patience::new(plan.retry_timeout, context),
            connector: Arc::clone(&context.id.connector),
            rehearsal: context.common.shared.is_rehearsal(),
            ready: OnceCell::new(),
        })
    }

    /// How much of a payload is in memory at a time, at most.
    pub(super) fn holds(&self, size: Option<u64>) -> u64 {
        let most = match self.store.uri.scheme {
            Scheme::File => FOLDER_HOLDS,
            _ => self.options.part_size.saturating_mul(u64::from(self.options.concurrency)),
        };
        size.unwrap_or(most).min(most) + self.metadata.as_ref().map_or(0, |_| LOOK.bytes)
    }

    /// Stores a payload, or looks whether it is there.
    pub(super) async fn keep(&self, errand: &Errand<'_>) -> Result<Kept> {
        self.patience.outlast(|| self.try_to_keep(errand)).await
    }

    async fn try_to_keep(&self, errand: &Errand<'_>) -> Result<Kept> {
        let object = match (&errand.what, &self.existing) {
            (What::Payload(payload), _) => return self.upload(*payload, errand).await,
            (What::Object(address), Some(existing)) => existing.find(address).await?,
            (What::Object(_), None) => unreachable!("an address is looked for by store.mode only"),
        };
        // A preview copies nothing: it would have to hold all of it.
        if self.copies && !self.rehearsal {
            return self.upload(&object.payload, errand).await;
        }
        let plain = object.payload.reference().clone();
        let plain = Reference { url: self.signed(&object.store, &object.key).await?, ..plain };
        let reference = self.described(&object.payload, errand, plain).await?;
        Ok(Kept { size: reference.size.unwrap_or_default(), reference, found: true })
    }

    async fn upload(&self, payload: &dyn Payload, errand: &Errand<'_>) -> Result<Kept> {
        let ready = self.ready.get_or_try_init(|| self.get_ready()).await?;
        let described = self.described(payload, errand, Reference::to("")).await?;
        let kind = described.content_type.as_deref();
        let compressed = kind.is_some_and(|kind| COMPRESSED.iter().any(|start| kind.starts_with(start)));
        let uploader = ready.packed.as_ref().filter(|_| !compressed).unwrap_or(&ready.plain);
        let stored = uploader.upload(payload, &self.origin(errand)?).await?;
        let Reference { content_type, name, meta, .. } = described;
        let url = self.signed(ready.plain.store(), &stored.key).await?;
        let reference = Reference { content_type, name, meta, url, ..stored.reference() };
        Ok(Kept { reference, size: stored.size, found: stored.found })
    }

    /// An address with a signature, where one is asked for. A preview shows none.
    async fn signed(&self, store: &Store, key: &str) -> Result<Option<String>> {
        match self.presign.filter(|_| !self.rehearsal) {
            Some(valid) => store.signed_url(key, valid).await.map(Some),
            None => Ok(None),
        }
    }

    /// The reference with what the payload tells of itself.
    async fn described(&self, payload: &dyn Payload, errand: &Errand<'_>, plain: Reference) -> Result<Reference> {
        let meta = match &self.metadata {
            Some(wanted) => extract(payload, wanted, LOOK).await?,
            None => Meta::default(),
        };
        let kind = meta.content_type().or(errand.content_type).or(payload.content_type());
        // What the reference has a field for is not told twice.
        let told = |(name, _): &(&str, &str)| !matches!(*name, "content.type" | "content.length");
        Ok(Reference {
            content_type: kind.map(str::to_owned),
            name: errand.name.map(str::to_owned),
            meta: meta.entries().filter(told).map(|(name, text)| (name.to_owned(), text.to_owned())).collect(),
            ..plain
        })
    }

    /// What the object is named by.
    fn origin<'a>(&'a self, errand: &Errand<'a>) -> Result<Origin<'a>> {
        let origin = Origin {
            topic: errand.topic,
            connector: &self.connector,
            field: errand.field.unwrap_or_default(),
            name: errand.name,
            ..Origin::default()
        };
        match errand.spot {
            Some(spot) => {
                let (partition, offset) = (spot.partition.as_str(), spot.offset.as_str());
                Ok(Origin { partition, offset, ordinal: Some(spot.ordinal), ..origin })
            }
            // A preview has no source.
            None if self.rehearsal => Ok(Origin { ordinal: Some(0), ..origin }),
            None if self.options.naming.needs_position() => Err(ConnectError::config(
                "objects are to be named by position, and the source says none for this record: set key.strategy to \
                 content or uuid, or use ${sha256} or ${uuid} in key.template",
            )),
            None => Ok(origin),
        }
    }

    async fn get_ready(&self) -> Result<Ready> {
        let store = if self.rehearsal { Store::stand_in(&self.store)? } else { Store::open(&self.store)? };
        if self.preflight != Preflight::Off
            && let Err(error) = store.probe().await
        {
            if self.preflight == Preflight::Strict {
                return Err(error.within("preflight=strict: the store could not be listed"));
            }
            tracing::warn!(
                store = self.store.uri.to_string(),
                error = error.chain(),
                "The store could not be listed (preflight); uploads are tried all the same"
            );
        }
        let plain = self.uploader(&store, None)?;
        let packed = self.compression.map(|compression| self.uploader(&store, Some(compression))).transpose()?;
        for uploader in [Some(&plain), packed.as_ref()].into_iter().flatten() {
            let left = uploader.recover().await?;
            if left > 0 {
                tracing::info!(left, store = self.store.uri.to_string(), "Took away uploads that an earlier run left");
            }
        }
        Ok(Ready { packed, plain })
    }

    fn uploader(&self, store: &Arc<Store>, compression: Option<Compression>) -> Result<Uploader> {
        let mut options = UploadOptions { compression, ..self.options.clone() };
        if let Some(compression) = compression {
            options.owner = format!("{}-{}", options.owner, compression.name());
        }
        // A preview has no folder, and nothing to go on with.
        let journal =
            self.folder.path()?.map(|folder| Journal::open(folder.join(format!("{}.uploads", options.owner))));
        Ok(Uploader::new(Arc::clone(store), options, journal.transpose()?))
    }

    /// Aborts what was given up.
    pub(super) async fn stop(&self) {
        let Some(ready) = self.ready.get() else { return };
        for uploader in [Some(&ready.plain), ready.packed.as_ref()].into_iter().flatten() {
            if let Err(error) = uploader.stop(Uploader::PATIENCE).await {
                let told =
                    if error.kind() == ErrorKind::Retriable { "the next start takes it away" } else { "look there" };
                tracing::warn!(error = error.chain(), "An upload in parts is left in the store: {told}");
            }
        }
    }
}
