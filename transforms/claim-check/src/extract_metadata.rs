//! ExtractMetadata: says what a payload is beside it, reading a few of its bytes.
//!
//! The worker calls it between source and converter, or between converter and sink, for several records at a time. What
//! can be known is in `metadata.rs`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pipette_api::config::checks::{distinct, in_range, not_empty, one_of};
use pipette_api::transform::{MAX_IN_FLIGHT, MAX_IN_FLIGHT_BYTES};
use pipette_api::{
    AsyncTransform, AsyncTransformPlugin, ConfigDef, ConnectError, Datum, Direction, Info, Key, Kind, Record, Result,
    Schema, SchemaBuilder, SchemaCache, Settings, Value, Verdict, async_trait,
};

use crate::in_memory::InMemory;
use crate::metadata::{LEVELS, Limits, Meta, Wanted, extract, identifying};

const OUTPUTS: &[&str] = &["header", "headers", "field"];
const ON_ERROR: &[&str] = &["note", "fail"];
/// Schemas of values that are known at a time.
const SCHEMAS: usize = 16;

static EXTRACT: Key<Vec<String>> = Key::new(
    "extract",
    "What to look for. `basic`: the type by the first bytes, width and height. `exif`: tags of photographs. `tiff`: tags of \
     TIFF files and the dimensions in OME-XML. `dicom`: what kind of image it is, and its UIDs. Tags beyond that come out \
     only when they stand in `tags`.",
)
.default("basic,exif,tiff,dicom")
.recommended(LEVELS)
.check(levels);
static TAGS: Key<Vec<String>> = Key::new(
    "tags",
    "Tags that may come out: `exif.NAME`, `tiff.NAME`, `ome.NAME`, `dicom.KEYWORD` or `dicom.` and eight digits. Empty: \
     none, because images carry names, birth dates and places. Whoever lists such a tag puts it into Kafka.",
)
.default("")
.check(distinct);
static FIELD: Key<String> = Key::new(
    "field",
    "The field of the value that holds the payload, nested ones behind dots. Without it the value itself is the payload.",
)
.optional()
.check(not_empty);
static OUTPUT: Key<String> = Key::new(
    "output",
    "Where the metadata goes: `header`: one header with a map from names to texts; `headers`: one header for each name, as \
     in `meta.image.width`; `field`: a field of the value with such a map.",
)
.default("header")
.recommended(OUTPUTS)
.check(|text| one_of(text, OUTPUTS));
static NAME: Key<String> = Key::new(
    "output.name",
    "The name of that header or field, or what the names of headers begin with. A header of that name is replaced.",
)
.default("meta")
.check(not_empty);
static PROBE: Key<u64> = Key::new(
    "probe.bytes",
    "How much of a payload is read and held at most. What lies behind it is not found, which `note` in the metadata says.",
)
.default("262144")
.check(in_range::<1024, 67_108_864>);
static TIMEOUT: Key<Duration> =
    Key::new("timeout.ms", "How long reading a payload may take; what was found until then goes on.")
        .default("10000")
        .check(in_range::<1, 600_000>);
static ON_PARSE_ERROR: Key<String> = Key::new(
    "on.parse.error",
    "A payload that is damaged, or not read to its end: `note` says so under `note` in the metadata, `fail` makes the \
     record bad.",
)
.default("note")
.recommended(ON_ERROR)
.check(|text| one_of(text, ON_ERROR));

static CONFIG: ConfigDef = ConfigDef::new(&[
    &EXTRACT.info,
    &TAGS.info,
    &FIELD.info,
    &OUTPUT.info,
    &NAME.info,
    &PROBE.info,
    &TIMEOUT.info,
    &ON_PARSE_ERROR.info,
    &MAX_IN_FLIGHT.info,
    &MAX_IN_FLIGHT_BYTES.info,
])
.rule(rule);

/// The plugin.
pub(crate) const PLUGIN: AsyncTransformPlugin = AsyncTransformPlugin {
    info: Info {
        class: "io.pipette.transforms.ExtractMetadata",
        aliases: &["ExtractMetadata"],
        version: env!("CARGO_PKG_VERSION"),
        about: "Says what a payload is (type, size in pixels, tags of images) beside it, reading a few of its bytes.",
        readme: "",
        config: &CONFIG,
    },
    direction: Direction::Either,
    metrics: &[],
    make: |settings, _| Ok(Box::new(ExtractMetadata::new(&settings)?)),
};

fn levels(text: Option<&str>) -> std::result::Result<(), String> {
    let levels: Vec<_> = text.unwrap_or_default().split(',').map(|level| level.trim().to_owned()).collect();
    Wanted::parse(&levels, &[]).map(drop)
}

fn rule(settings: &Settings) -> Vec<(&'static str, String)> {
    let wanted = settings.get(&EXTRACT).and_then(|levels| Ok((levels, settings.get(&TAGS)?)));
    let refused = wanted.ok().and_then(|(levels, tags)| Wanted::parse(&levels, &tags).err());
    refused.map(|reason| (TAGS.info.name, reason)).into_iter().collect()
}

enum Output {
    Header,
    Headers,
    Field,
}

struct ExtractMetadata {
    wanted: Wanted,
    limits: Limits,
    field: Option<String>,
    output: Output,
    name: Arc<str>,
    fails: bool,
    /// That of the map.
    schema: Arc<Schema>,
    schemas: Mutex<SchemaCache<Arc<Schema>>>,
}

impl ExtractMetadata {
    fn new(settings: &Settings) -> Result<Self> {
        let tags = settings.get(&TAGS)?;
        let wanted = Wanted::parse(&settings.get(&EXTRACT)?, &tags).map_err(ConnectError::config)?;
        let personal: Vec<_> = tags.iter().map(String::as_str).filter(|tag| identifying(tag)).collect();
        if !personal.is_empty() {
            tracing::warn!(
                tags = personal.join(", "),
                "Metadata that may identify persons goes into records, as configured"
            );
        }
        Ok(Self {
            wanted,
            limits: Limits { bytes: settings.get(&PROBE)?, time: settings.get(&TIMEOUT)? },
            field: settings.find(&FIELD)?,
            output: match settings.get(&OUTPUT)?.as_str() {
                "headers" => Output::Headers,
                "field" => Output::Field,
                _ => Output::Header,
            },
            name: settings.get(&NAME)?.into(),
            fails: settings.get(&ON_PARSE_ERROR)? == "fail",
            schema: SchemaBuilder::map(Schema::of(Kind::String), Schema::of(Kind::String)).build()?,
            schemas: Mutex::new(SchemaCache::new(SCHEMAS)),
        })
    }

    /// The value that is looked at; `None` when there is none.
    fn target<'r>(&self, record: &'r Record) -> Option<&'r Value> {
        let steps = self.field.iter().flat_map(|path| path.split('.'));
        let mut value = &record.value.value;
        for step in steps {
            value = match value {
                Value::Struct(row) => row.get(step)?,
                Value::Map(map) => map.get(step)?,
                _ => return None,
            };
        }
        Some(value).filter(|value| !value.is_null())
    }

    async fn look(&self, value: &Value) -> Result<Meta> {
        match value {
            Value::Payload(payload) => extract(&**payload, &self.wanted, self.limits).await,
            Value::Bytes(bytes) => extract(&InMemory(bytes.clone()), &self.wanted, self.limits).await,
            other => Err(ConnectError::data(format!(
                "{} is of type {}, which is no payload: ExtractMetadata looks at bytes; name the field that holds them in \
                 'field'",
                self.field.as_deref().unwrap_or("The value"),
                other.type_name()
            ))),
        }
    }

    fn put(&self, meta: &Meta, record: &mut Record) -> Result<()> {
        match self.output {
            Output::Header => {
                record.headers.0.retain(|(name, _)| *name != self.name);
                record.headers.add(Arc::clone(&self.name), Datum::new(Arc::clone(&self.schema), meta.to_value()));
            }
            Output::Headers => {
                let ours = |name: &str| name.strip_prefix(&*self.name).is_some_and(|rest| rest.starts_with('.'));
                record.headers.0.retain(|(name, _)| !ours(name));
                for (name, text) in meta.entries() {
                    let datum = Datum::new(Schema::of(Kind::String), Value::text(text));
                    record.headers.add(format!("{}.{name}", self.name), datum);
                }
            }
            Output::Field => self.put_into_field(meta, &mut record.value)?,
        }
        Ok(())
    }

    fn put_into_field(&self, meta: &Meta, value: &mut Datum) -> Result<()> {
        match &mut value.value {
            Value::Map(map) => map.set(&self.name, meta.to_value()),
            Value::Struct(row) => {
                let mut schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
                let schema = Arc::clone(schemas.get_or_try(row.schema(), |schema| self.with_field(schema))?);
                row.append(Arc::clone(&schema), std::iter::once(meta.to_value()));
                value.schema = Some(schema);
            }
            other => {
                return Err(ConnectError::data(format!(
                    "output=field needs a value with fields, and this one is of type {}: use output=header",
                    other.type_name()
                )));
            }
        }
        Ok(())
    }

    fn with_field(&self, schema: &Schema) -> Result<Arc<Schema>> {
        let name = &self.name;
        if schema.field(name).is_some() {
            return Err(ConnectError::data(format!("the value has a field {name} already: change output.name")));
        }
        SchemaBuilder::like(schema).field(Arc::clone(name), Arc::clone(&self.schema)).build()
    }
}

#[async_trait]
impl AsyncTransform for ExtractMetadata {
    fn needs(&self, record: &Record) -> bool {
        self.target(record).is_some()
    }

    fn holds(&self, record: &Record) -> u64 {
        record.held() + self.limits.bytes
    }

    async fn apply(&self, record: &mut Record) -> Result<Verdict> {
        let Some(value) = self.target(record).cloned() else { return Ok(Verdict::Keep) };
        let meta = self.look(&value).await?;
        if let Some(note) = meta.note().filter(|_| self.fails) {
            return Err(ConnectError::data(format!(
                "The payload is not as it should be: {note} (on.parse.error=fail)"
            )));
        }
        self.put(&meta, record)?;
        Ok(Verdict::Keep)
    }
}
