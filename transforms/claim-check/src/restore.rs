//! ClaimCheckRestore: puts values back in the place of their references.
//!
//! The worker calls it between converter and sink, for several records at a time. References are untrusted: an address is
//! compared with the list of allowed prefixes before anything is asked of a store, size and digest are verified, and what is
//! read into memory has a limit. Reading order: this file, `restore/config.rs`, `restore/find.rs`,
//! `restore/cache.rs`.

mod cache;
mod config;
mod find;

use std::sync::Arc;

use pipette_api::{
    AsyncTransform, AsyncTransformPlugin, ConnectError, Datum, Direction, Info, Kind, Metric, MetricInfo, MetricKind,
    Payload, Record, Result, Schema, Settings, Side, TransformContext, Value, Verdict, async_trait,
};
use pipette_store::foreign::Form;
use pipette_store::{Integrity, Reference, Store, StoredPayload, Stores};

use self::cache::{Cache, Cached};
pub(crate) use self::config::are_prefixes;
use self::config::{CONFIG, OnMissing, Plan};
use self::find::{Claim, Claims, Finder, Place};
use crate::fields::{Edit, Editor};
use crate::original;
use crate::patience::Patience;

static RESTORED: MetricInfo = MetricInfo {
    name: "claim_check_restored_total",
    kind: MetricKind::Counter,
    help: "References that were replaced by their payloads, or by handles to them.",
    labels: &[],
};
static MISSING: MetricInfo = MetricInfo {
    name: "claim_check_missing_total",
    kind: MetricKind::Counter,
    help: "References whose object was not there.",
    labels: &[],
};

/// The plugin.
pub(crate) const PLUGIN: AsyncTransformPlugin = AsyncTransformPlugin {
    info: Info {
        class: "io.pipette.transforms.ClaimCheckRestore$Value",
        aliases: &["ClaimCheckRestore$Value", "ClaimCheckRestore"],
        version: env!("CARGO_PKG_VERSION"),
        about: "Puts values back in the place of the references that ClaimCheck has written, as handles or as bytes.",
        readme: "",
        config: &CONFIG,
    },
    direction: Direction::OutOfKafka,
    metrics: &[RESTORED, MISSING, cache::HITS, cache::MISSES, cache::MEMORY, cache::DISK],
    make: |settings, context| Ok(Box::new(Restore::new(&settings, &context)?)),
};

struct Restore {
    plan: Plan,
    stores: Stores,
    cache: Option<Arc<Cache>>,
    finder: Finder,
    editor: Editor,
    patience: Patience,
    schemas: original::Schemas,
    restored: Metric,
    missing: Metric,
}

impl Restore {
    fn new(settings: &Settings, context: &TransformContext) -> Result<Self> {
        let plan = Plan::read(settings)?;
        plan.warn();
        Ok(Self {
            patience: Patience::new(plan.retry_timeout, context),
            stores: Stores::new(plan.store.clone().remembered(&context.common.folder), plan.allowed.clone()),
            cache: Cache::new(&plan.cache, context)?,
            plan,
            finder: Finder::default(),
            editor: Editor::default(),
            schemas: original::Schemas::default(),
            restored: context.common.metrics.register(&RESTORED, &[]),
            missing: context.common.metrics.register(&MISSING, &[]),
        })
    }

    /// The value of a reference; `None` when its object is not there.
    async fn value(&self, reference: &Reference, form: original::Form, of_key: bool) -> Result<Option<Value>> {
        let (store, key) = self.stores.find(&reference.uri)?;
        let lazy = self.plan.lazy && form == original::Form::Bytes && !of_key;
        let limits = if lazy { self.plan.limits } else { self.plan.memory_limits };
        let payload =
            StoredPayload::new(Arc::clone(&store), key.clone(), reference.clone(), limits, self.plan.integrity)?;
        let cached = self.cache.as_ref().filter(|_| self.plan.integrity != Integrity::Off);
        let cached = cached.and_then(|cache| Cached::new(cache, payload.clone(), limits.max_bytes));
        let asked = || async {
            let mut cached = cached.clone();
            let _turn = match &cached {
                Some(cached) if !lazy => Some(cached.turn().await),
                _ => None,
            };
            if !cached.as_mut().is_some_and(Cached::pin) {
                let Some(size) = self.size(&store, &key, reference).await? else { return Ok(None) };
                if let Some(cached) = cached.as_mut().filter(|_| reference.content_encoding.is_none()) {
                    cached.learn_size(size);
                }
            }
            let payload: Arc<dyn Payload> = match cached {
                Some(cached) => Arc::new(cached),
                None => Arc::new(payload.clone()),
            };
            if lazy {
                return Ok(Some(Value::Payload(payload)));
            }
            original::value(form, read(&*payload).await?).map(Some)
        };
        self.patience.outlast(asked).await
    }

    /// The size of an object as stored, `None` when there is none: asked for before a sink begins with a file that it could
    /// not end.
    async fn size(&self, store: &Store, key: &str, reference: &Reference) -> Result<Option<u64>> {
        let Some(object) = store.head(key).await? else { return Ok(None) };
        let verified = self.plan.integrity != Integrity::Off && reference.content_encoding.is_none();
        match reference.size.filter(|size| verified && *size != object.size) {
            None => Ok(Some(object.size)),
            Some(size) => Err(ConnectError::data(format!(
                "{} is not what its reference tells of: it has {} bytes, the reference says {size}",
                reference.uri, object.size
            ))),
        }
    }

    /// The value of a reference with its schema; `None` when the reference stays.
    async fn datum(&self, reference: &Reference, has_schema: bool, of_key: bool) -> Result<Option<Datum>> {
        let form = original::form(&reference.meta);
        let schema = if has_schema { Some(self.schemas.of(&reference.meta)?) } else { None };
        if let Some(value) = self.value(reference, form, of_key).await? {
            self.restored.add(1);
            return Ok(Some(Datum { schema, value }));
        }
        self.missing.add(1);
        let told = format!("Cannot read {}: the object is missing or forbidden", reference.uri);
        match self.plan.on_missing {
            OnMissing::Fail => Err(ConnectError::fatal(format!("{told} (on.missing=fail)"))),
            OnMissing::DeadLetter => Err(ConnectError::data(format!("{told} (on.missing=dlq)"))),
            OnMissing::PassReference => {
                tracing::warn!("{told}; the reference goes on (on.missing=pass-reference)");
                Ok(None)
            }
            OnMissing::Null => {
                tracing::warn!("{told}; null goes on (on.missing=null)");
                let kind = schema.as_ref().map(|schema| schema.kind());
                let schema = schema.filter(|schema| schema.is_optional()).or_else(|| kind.map(Schema::optional));
                Ok(Some(Datum { schema, value: Value::Null }))
            }
        }
    }

    /// The record with what native references refer to; `None` when all of them stay.
    async fn native(&self, claims: Vec<Claim>, record: &Record) -> Result<Option<Record>> {
        let (mut edits, mut whole) = (Vec::new(), None);
        for Claim { reference, place } in claims {
            let within = |error: ConnectError| match &place {
                Place::Whole => error,
                Place::Key => error.within("the key"),
                Place::Field(path, _) => error.within(format!("field {path}")),
            };
            let of_key = matches!(place, Place::Key);
            let side = if of_key { Side::Key } else { Side::Value };
            let has_schema = side.of(record).schema.is_some();
            let Some(datum) = self.datum(&reference, has_schema, of_key).await.map_err(within)? else { continue };
            match place {
                Place::Field(path, sibling) => {
                    // The field beside it has kept its schema.
                    let kept = path.schema(&record.value).filter(|_| sibling.is_some() && !datum.value.is_null());
                    let datum = Datum { schema: kept.cloned().or(datum.schema), value: datum.value };
                    edits.push(Edit { path, to: Some(datum) });
                    edits.extend(sibling.map(|path| Edit { path, to: None }));
                }
                Place::Whole | Place::Key => {
                    // A tombstone has no schema.
                    let datum = if datum.value.is_null() { Datum::NULL } else { datum };
                    *side.of_mut(whole.get_or_insert_with(|| record.clone())) = datum;
                }
            }
        }
        if !edits.is_empty() {
            whole.get_or_insert_with(|| record.clone()).value = self.editor.edited(&record.value, &edits)?;
        }
        Ok(whole)
    }

    async fn foreign(&self, form: Form, reference: &Reference, record: &Record) -> Result<Option<Datum>> {
        let has_schema = record.value.schema.is_some();
        let datum = self.datum(reference, has_schema, false).await.map_err(|error| error.within(form.name()))?;
        Ok(datum.map(|datum| if datum.value.is_null() { Datum::NULL } else { datum }))
    }

    /// Takes away what told of references that are back.
    fn clear(&self, form: Option<Form>, record: &mut Record) {
        if self.plan.removes_headers {
            record.headers.0.retain(|(name, _)| **name != *self.plan.header);
            // What ClaimCheck has written beside its own reference goes with it.
            for form in form.into_iter().chain([Form::CloudEvents]) {
                form.strip(record);
            }
        }
    }
}

#[async_trait]
impl AsyncTransform for Restore {
    fn needs(&self, record: &Record) -> bool {
        !matches!(self.finder.find(&self.plan, record), Ok(Claims::None))
            || (self.plan.refuses_others && !record.value.value.is_null())
    }

    fn holds(&self, record: &Record) -> u64 {
        let most = self.plan.memory_limits.max_bytes;
        let read = |reference: &Reference, of_value| match original::form(&reference.meta) {
            original::Form::Bytes if self.plan.lazy && of_value => 0,
            _ => reference.size.unwrap_or(most).min(most),
        };
        let read = match self.finder.find(&self.plan, record) {
            Ok(Claims::Native(claims)) => {
                claims.iter().map(|claim| read(&claim.reference, !matches!(claim.place, Place::Key))).sum()
            }
            Ok(Claims::Foreign(_, reference)) => read(&reference, true),
            _ => 0,
        };
        record.held() + read
    }

    async fn apply(&self, record: &mut Record) -> Result<Verdict> {
        let (value, form) = match self.finder.find(&self.plan, record)? {
            Claims::Native(claims) => {
                if let Some(back) = self.native(claims, record).await? {
                    *record = back;
                    self.clear(None, record);
                }
                return Ok(Verdict::Keep);
            }
            Claims::Foreign(form, reference) => (self.foreign(form, &reference, record).await?, Some(form)),
            Claims::Inline(form, None) => (Some(record.value.clone()), Some(form)),
            Claims::Inline(form, Some(bytes)) => {
                let schema = record.value.schema.as_ref().map(|_| Schema::of(Kind::Bytes));
                (Some(Datum { schema, value: Value::Bytes(bytes) }), Some(form))
            }
            Claims::None if self.plan.refuses_others && !record.value.value.is_null() => {
                return Err(ConnectError::data(
                    "the record has no reference to a large value of any form in reference.formats \
                     (on.unrecognised=fail)",
                ));
            }
            Claims::None => (None, None),
        };
        if let Some(value) = value {
            record.value = value;
            self.clear(form, record);
        }
        Ok(Verdict::Keep)
    }
}

/// Reads a payload whole; its own limit holds.
async fn read(payload: &dyn Payload) -> Result<Vec<u8>> {
    let (mut reader, mut bytes) = (payload.open(0, None).await?, Vec::new());
    while let Some(piece) = reader.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}
