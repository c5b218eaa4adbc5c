//! ClaimCheck: keeps large values and fields in an object store, and sends references through Kafka.
//!
//! The worker calls it between source and converter, for several records at a time. The object is durable before the record
//! goes on: what a crash leaves is an object without a reference, never a reference without an object. Reading order:
//! this file, `claim_check/config.rs`, `claim_check/outside.rs`; the way back is `restore.rs`.

mod config;
mod existing;
mod outside;
mod referring;

use std::sync::{Arc, Mutex, PoisonError};

use pipette_api::{
    AsyncTransform, AsyncTransformPlugin, Blob, ConnectError, Datum, Direction, ErrorKind, Info, Metric, MetricInfo,
    MetricKind, Payload, Position, Record, Result, Schema, Settings, Side, SourcePlace, TransformContext, Value,
    Verdict, async_trait,
};
use pipette_store::Reference;
use pipette_store::foreign::{Form, inline_flag};

use self::config::{CONFIG, Mode, Plan};
use self::existing::address;
use self::outside::{Errand, Kept, Outside, Spot, What};
use crate::fields::{Editor, FieldPath};
use crate::identity::{Ordinals, texts};
use crate::in_memory::InMemory;
use crate::original;

pub(crate) use self::config::HEADER_NAME;
pub(crate) use self::referring::SIBLING;

/// What Debezium writes for a large column that did not change.
const UNAVAILABLE: &[u8] = b"__debezium_unavailable_value";
/// The name of the header with the name of a file.
const FILE_NAME: &str = "file.name";
/// The path of a key, in references and in names of objects. No field can have it.
pub(crate) const KEY: &str = "[key]";
/// What a reference takes in a record, about: smaller fields are not worth one.
const REFERENCE: u64 = 1024;

static KEPT: MetricInfo = MetricInfo {
    name: "claim_check_payloads_total",
    kind: MetricKind::Counter,
    help: "Payloads that were replaced by references.",
    labels: &[],
};
static BYTES: MetricInfo = MetricInfo {
    name: "claim_check_bytes_total",
    kind: MetricKind::Counter,
    help: "Bytes of payloads that were replaced by references, before compression.",
    labels: &[],
};
static FOUND: MetricInfo = MetricInfo {
    name: "claim_check_found_total",
    kind: MetricKind::Counter,
    help: "Payloads whose object was in the store already.",
    labels: &[],
};
static INLINE: MetricInfo = MetricInfo {
    name: "claim_check_inline_total",
    kind: MetricKind::Counter,
    help: "Records that went through Kafka whole because the store was away (on.store.failure=inline).",
    labels: &[],
};

/// The plugin.
pub(crate) const PLUGIN: AsyncTransformPlugin = AsyncTransformPlugin {
    info: Info {
        class: "io.pipette.transforms.ClaimCheck$Value",
        aliases: &["ClaimCheck$Value", "ClaimCheck"],
        version: env!("CARGO_PKG_VERSION"),
        about: "Keeps large values and fields in an object store and sends references through Kafka.",
        readme: "",
        config: &CONFIG,
    },
    direction: Direction::IntoKafka,
    metrics: &[KEPT, BYTES, FOUND, INLINE],
    make: |settings, context| Ok(Box::new(ClaimCheck::new(&settings, &context)?)),
};

struct ClaimCheck {
    plan: Plan,
    outside: Outside,
    editor: Editor,
    /// Of objects that are named by position.
    ordinals: Option<Mutex<Ordinals>>,
    meters: Meters,
}

struct Meters {
    kept: Metric,
    bytes: Metric,
    found: Metric,
    inline: Metric,
}

/// What is kept elsewhere of a record.
struct Target<'a> {
    /// None: the whole value.
    path: Option<&'a FieldPath>,
    value: &'a Value,
    schema: Option<&'a Arc<Schema>>,
}

impl ClaimCheck {
    fn new(settings: &Settings, context: &TransformContext) -> Result<Self> {
        let plan = Plan::read(settings)?;
        let metrics = &context.common.metrics;
        Ok(Self {
            outside: Outside::new(settings, &plan, context)?,
            ordinals: plan.naming.needs_position().then(Mutex::default),
            plan,
            editor: Editor::default(),
            meters: Meters {
                kept: metrics.register(&KEPT, &[]),
                bytes: metrics.register(&BYTES, &[]),
                found: metrics.register(&FOUND, &[]),
                inline: metrics.register(&INLINE, &[]),
            },
        })
    }

    /// What is large of a record, and what else must go so that it fits.
    fn targets<'r>(&'r self, record: &'r Record) -> Vec<Target<'r>> {
        if self.plan.fields.is_empty() {
            let Datum { schema, value } = self.plan.side.of(record);
            let large = self.goes(value) && self.is_large(size(value), self.plan.record_max);
            let whole = Target { path: None, value, schema: schema.as_ref() };
            return large.then_some(whole).into_iter().collect();
        }
        let found = self.plan.fields.iter().filter_map(|path| {
            let value = path.find(&record.value).filter(|value| self.goes(value))?;
            Some(Target { path: Some(path), value, schema: path.schema(&record.value) })
        });
        let (mut large, mut rest): (Vec<_>, Vec<_>) =
            found.partition(|target| self.is_large(size(target.value), u64::MAX));
        let held = |targets: &[Target<'_>]| targets.iter().map(|target| target.value.held()).sum::<u64>();
        let mut left = record.held().saturating_sub(held(&large)) + REFERENCE * large.len() as u64;
        rest.sort_by_key(|target| target.value.held());
        while left > self.plan.record_max
            && let Some(next) = rest.pop().filter(|target| target.value.held() > REFERENCE)
        {
            left = left - next.value.held() + REFERENCE;
            large.push(next);
        }
        large
    }

    fn is_address(&self) -> bool {
        !matches!(self.plan.mode, Mode::Upload)
    }

    /// Whether a value can go. What holds no address has no object.
    fn goes(&self, value: &Value) -> bool {
        movable(value) && !(self.is_address() && size(value) == Some(0))
    }

    fn is_large(&self, size: Option<u64>, most: u64) -> bool {
        self.is_address() || size.is_none_or(|size| size >= self.plan.threshold || size > most)
    }

    /// A payload that does not tell its size is read until it is known to be large.
    async fn turns_out_small(&self, value: &Value) -> Result<bool> {
        let Value::Payload(payload) = value else { return Ok(false) };
        if payload.len().is_some() {
            return Ok(false);
        }
        let least = self.plan.threshold.min(self.plan.record_max.saturating_add(1));
        let (mut reader, mut size) = (payload.open(0, None).await?, 0);
        while size < least {
            match reader.next().await? {
                Some(piece) => size += piece.len() as u64,
                None => return Ok(true),
            }
        }
        Ok(false)
    }

    async fn keep(&self, record: &Record, target: &Target<'_>, spot: Option<&Spot>) -> Result<Reference> {
        let here = if self.is_address() { None } else { Some(self.payload(target)?) };
        let what = match &here {
            Some((_, payload)) => What::Payload(&**payload),
            None => What::Object(address(target.value)?),
        };
        let of_key = (self.plan.side == Side::Key).then(|| KEY.to_owned());
        let path = target.path.map(ToString::to_string).or(of_key);
        let name = record.headers.last(FILE_NAME).and_then(|header| header.value.as_str());
        let form = here.as_ref().map_or(original::Form::Bytes, |(form, _)| *form);
        let errand = Errand {
            what,
            topic: &record.topic,
            spot,
            field: path.as_deref(),
            name,
            content_type: (form == original::Form::Text).then_some("text/plain"),
        };
        let kept = self.outside.keep(&errand).await;
        let Kept { mut reference, size, found } = kept.map_err(|error| match &path {
            Some(path) => error.within(format!("field {path}")),
            None => error,
        })?;
        // An address is what the source had, not what comes back.
        let schema = target.schema.filter(|_| here.is_some());
        original::note(form, schema.map(|schema| &**schema), &mut reference.meta);
        if self.plan.side == Side::Key {
            // One key has one reference, as long as its object is the same.
            (reference.created_at, reference.name) = (None, None);
        }
        reference.path = path;
        self.meters.kept.add(1);
        self.meters.bytes.add(i64::try_from(size).unwrap_or(i64::MAX));
        self.meters.found.add(i64::from(found));
        Ok(reference)
    }

    fn payload(&self, target: &Target<'_>) -> Result<(original::Form, Arc<dyn Payload>)> {
        Ok(match target.value {
            Value::Payload(payload) => (original::Form::Bytes, Arc::clone(payload)),
            Value::Bytes(bytes) => (original::Form::Bytes, Arc::new(InMemory(bytes.clone()))),
            Value::String(text) => {
                let decoded = original::bytes_of_base64(text).filter(|_| self.plan.base64 && target.path.is_some());
                match decoded {
                    Some(bytes) => (original::Form::Base64, Arc::new(InMemory(Blob::whole(bytes)?))),
                    None => (original::Form::Text, Arc::new(InMemory(text.to_blob()))),
                }
            }
            other => {
                return Err(ConnectError::data(format!(
                    "a value of type {} cannot be kept elsewhere as a whole: name its large fields (target=field, fields)",
                    other.type_name()
                )));
            }
        })
    }

    /// Readers of this form look for its mark in every value.
    async fn marked(&self, value: &Datum) -> Result<Option<Datum>> {
        let bytes = match &value.value {
            _ if self.plan.form != Some(Form::BakdataFlag) => return Ok(None),
            Value::Bytes(bytes) => inline_flag(bytes.as_bytes())?,
            Value::Payload(payload) => inline_flag(&read_whole(&**payload, self.plan.threshold).await?)?,
            Value::Null => return Ok(None),
            other => {
                return Err(ConnectError::data(format!(
                    "reference.format=bakdata-flag marks bytes, and this value is of type {}",
                    other.type_name()
                )));
            }
        };
        Ok(Some(Datum { schema: value.schema.clone(), value: Value::Bytes(bytes) }))
    }

    /// Whether a record may go as it is because the store is away.
    fn goes_inline(&self, record: &Record, error: &ConnectError, targets: &[Target<'_>]) -> bool {
        let payloads = || targets.iter().filter(|target| matches!(target.value, Value::Payload(_)));
        let elsewhere = payloads().map(|target| size(target.value).unwrap_or(u64::MAX)).fold(0, u64::saturating_add);
        self.plan.inline
            && error.kind() == ErrorKind::Retriable
            && record.held().saturating_add(elsewhere) <= self.plan.record_max
    }

    fn hold_size(&self, record: &Record) -> Result<()> {
        let held = record.held();
        if self.plan.fields.is_empty() || held <= self.plan.record_max {
            return Ok(());
        }
        Err(ConnectError::data(format!(
            "the record still takes about {held} bytes without its large fields, and record.max.bytes is {}: add the fields \
             that make it large to 'fields'",
            self.plan.record_max
        )))
    }
}

#[async_trait]
impl AsyncTransform for ClaimCheck {
    fn needs(&self, record: &Record) -> bool {
        let value = &self.plan.side.of(record).value;
        if value.is_null() {
            return false;
        }
        if self.plan.fields.is_empty() {
            let flagged = self.plan.form == Some(Form::BakdataFlag);
            return flagged || (self.goes(value) && self.is_large(size(value), self.plan.record_max));
        }
        let large = |path: &FieldPath| {
            let found = path.find(&record.value).filter(|value| self.goes(value));
            found.is_some_and(|value| self.is_large(size(value), u64::MAX))
        };
        self.plan.fields.iter().any(large) || record.held() > self.plan.record_max
    }

    fn holds(&self, record: &Record) -> u64 {
        let moved = |target: &Target<'_>| match target.value {
            // Its bytes are in memory once more.
            Value::String(text) if self.plan.base64 => self.outside.holds(size(target.value)) + text.len() as u64,
            _ if self.is_address() => self.outside.holds(None),
            value => self.outside.holds(size(value)),
        };
        // One after the other.
        record.held() + self.targets(record).iter().map(moved).max().unwrap_or_default()
    }

    async fn apply(&self, record: &mut Record) -> Result<Verdict> {
        self.apply_at(record, None).await
    }

    fn ordinal(&self, position: &Position) -> u64 {
        let counted =
            |ordinals: &Mutex<Ordinals>| ordinals.lock().unwrap_or_else(PoisonError::into_inner).next(position);
        self.ordinals.as_ref().map_or(0, counted)
    }

    async fn apply_at(&self, record: &mut Record, place: Option<SourcePlace<'_>>) -> Result<Verdict> {
        let spot = place.filter(|_| self.ordinals.is_some()).map(|place| {
            let (partition, offset) = texts(place.position);
            Spot { partition, offset, ordinal: place.ordinal }
        });
        let targets = self.targets(record);
        let mut references = Vec::with_capacity(targets.len());
        for target in &targets {
            if self.turns_out_small(target.value).await? {
                continue;
            }
            match self.keep(record, target, spot.as_ref()).await {
                Ok(reference) => references.push(reference),
                Err(error) if self.goes_inline(record, &error, &targets) => {
                    tracing::warn!(error = error.chain(), "The store is away: a payload goes through Kafka");
                    self.meters.inline.add(1);
                    references.clear();
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if references.is_empty() {
            if let Some(marked) = self.marked(&record.value).await? {
                record.value = marked;
            }
        } else {
            let changed = self.referring(record, &references)?;
            self.hold_size(&changed)?;
            *record = changed;
            return Ok(Verdict::Keep);
        }
        self.hold_size(record)?;
        Ok(Verdict::Keep)
    }

    async fn stop(&self) {
        self.outside.stop().await;
    }
}

/// Bytes and text, but for what says that there are none. Other values are told of when they are large.
fn movable(value: &Value) -> bool {
    match value {
        Value::Bytes(bytes) => bytes.as_bytes() != UNAVAILABLE,
        Value::String(text) => text.as_bytes() != UNAVAILABLE,
        Value::Payload(_) | Value::Struct(_) | Value::Map(_) | Value::Array(_) => true,
        _ => false,
    }
}

/// The bytes of a value, when they are known.
fn size(value: &Value) -> Option<u64> {
    match value {
        Value::Payload(payload) => payload.len(),
        value => Some(value.held()),
    }
}

/// All bytes of a payload that is known to be small.
async fn read_whole(payload: &dyn Payload, most: u64) -> Result<Vec<u8>> {
    let (mut reader, mut bytes) = (payload.open(0, None).await?, Vec::new());
    while let Some(piece) = reader.next().await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > most {
            return Err(ConnectError::retriable("the payload changed while it was read: it became larger"));
        }
    }
    Ok(bytes)
}
