//! InsertField: adds what the record knows of itself, or a fixed text, as fields of its key or value.

use std::convert::Infallible;
use std::sync::Arc;

use pipette_api::data::{SchemaBuilder, Text};
use pipette_api::{
    ConfigDef, ConnectError, Key, KeysCache, Kind, Map, Record, Result, Schema, SchemaCache, Settings, Side, Struct,
    Transform, Value, Verdict,
};

use crate::fields::{self, Defaults, Fields, Members, REPLACE_NULL};
use crate::topic_cache::TopicCache;

pub(crate) const ABOUT: &str = "Adds topic, partition, offset, timestamp or a fixed text of your own as fields.";

static TOPIC: Key<String> = Key::new(
    "topic.field",
    "The field that takes the topic's name. End it in ! to make it required, in ? for optional.",
)
.optional();
static PARTITION: Key<String> = Key::new(
    "partition.field",
    "The field that takes the partition. End it in ! to make it required, in ? for optional.",
)
.optional();
static OFFSET: Key<String> = Key::new(
    "offset.field",
    "The field that takes the offset; for sinks only. End it in ! to make it required, in ? for optional.",
)
.optional();
static TIMESTAMP: Key<String> = Key::new(
    "timestamp.field",
    "The field that takes the record's timestamp. End it in ! to make it required, in ? for optional.",
)
.optional();
static STATIC_FIELD: Key<String> =
    Key::new("static.field", "The field that takes static.value. End it in ! to make it required, in ? for optional.")
        .optional();
static STATIC_VALUE: Key<String> = Key::new("static.value", "The text for static.field.").optional();

pub(crate) static CONFIG: ConfigDef = ConfigDef::new(&[
    &TOPIC.info,
    &PARTITION.info,
    &OFFSET.info,
    &TIMESTAMP.info,
    &STATIC_FIELD.info,
    &STATIC_VALUE.info,
    &REPLACE_NULL.info,
])
.rule(inserts_something);

const PURPOSE: &str = "field insertion";

fn inserts_something(settings: &Settings) -> Vec<(&'static str, String)> {
    let given = |key: &Key<String>| settings.raw(key.info.name);
    match (given(&STATIC_FIELD), given(&STATIC_VALUE)) {
        (Some(field), None) => {
            vec![(STATIC_VALUE.info.name, format!("No value specified for static field: {}", field.trim()))]
        }
        (None, _) if [&TOPIC, &PARTITION, &OFFSET, &TIMESTAMP].into_iter().all(|key| given(key).is_none()) => {
            vec![(TOPIC.info.name, "No field insertion configured".into())]
        }
        _ => vec![],
    }
}

pub(crate) fn make(settings: &Settings, side: Side) -> Result<Box<dyn Transform>> {
    crate::hold_rules(&CONFIG, settings)?;
    let static_value = settings.find(&STATIC_VALUE)?.unwrap_or_default();
    // The order of the fields they add.
    let sources = [
        (&TOPIC, Source::Topic),
        (&PARTITION, Source::Partition),
        (&OFFSET, Source::Offset),
        (&TIMESTAMP, Source::Timestamp),
        (&STATIC_FIELD, Source::Static(static_value.into())),
    ];
    let mut insertions = Vec::new();
    for (key, source) in sources {
        if let Some(name) = settings.find(key)? {
            insertions.push(Insertion::new(&name, source));
        }
    }
    Ok(Box::new(InsertField {
        side,
        names_topic: insertions.iter().any(|insertion| matches!(insertion.source, Source::Topic)),
        topics: TopicCache::new(),
        fields: Insertions {
            list: insertions,
            replace_null: settings.get(&REPLACE_NULL)?,
            schemas: SchemaCache::new(fields::SCHEMAS),
            keys: KeysCache::new(fields::SCHEMAS),
        },
    }))
}

struct InsertField {
    side: Side,
    names_topic: bool,
    topics: TopicCache<Text>,
    fields: Insertions,
}

/// The fields to add.
struct Insertions {
    list: Vec<Insertion>,
    replace_null: bool,
    schemas: SchemaCache<Plan>,
    keys: KeysCache<Members>,
}

/// One field to add.
struct Insertion {
    name: Arc<str>,
    /// The name as the key of a map, to be shared by all of them.
    key: Text,
    optional: bool,
    source: Source,
}

/// Where its value comes from.
enum Source {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Static(Text),
}

/// What is known of an input schema.
struct Plan {
    schema: Arc<Schema>,
    defaults: Defaults,
}

/// What a record knows of itself, held while its key or value is changed.
struct Facts<'a> {
    /// Only when a field is to hold it.
    topic: Option<&'a Text>,
    partition: Option<i32>,
    offset: Option<i64>,
    timestamp: Option<i64>,
}

impl Transform for InsertField {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        if self.side.of(record).value.is_null() {
            return Ok(Verdict::Keep);
        }
        let Self { side, names_topic, topics, fields, .. } = self;
        let facts = Facts {
            topic: names_topic.then(|| topics.get(&record.topic, |topic| Text::from(topic))),
            partition: record.partition,
            offset: record.offset,
            timestamp: record.timestamp,
        };
        match fields::of(side.of_mut(record), PURPOSE)? {
            Fields::Struct(schema, value) => fields.insert_with_schema(schema, value, &facts)?,
            Fields::Map(map) => fields.insert_schemaless(map, &facts)?,
        }
        Ok(Verdict::Keep)
    }
}

impl Insertions {
    fn insert_with_schema(&mut self, schema: &mut Arc<Schema>, value: &mut Struct, facts: &Facts<'_>) -> Result<()> {
        let (insertions, replace_null) = (&self.list, self.replace_null);
        let plan = self.schemas.get_or_try(value.schema(), |schema| Plan::new(schema, insertions, replace_null))?;
        refuse_missing_offset(insertions, facts)?;
        plan.defaults.fill_in(value);
        let values = insertions.iter().map(|insertion| match insertion.source.value(facts) {
            Value::I64(time) if matches!(insertion.source, Source::Timestamp) => Value::Timestamp(time),
            value => value,
        });
        value.append(Arc::clone(&plan.schema), values);
        *schema = Arc::clone(&plan.schema);
        Ok(())
    }

    fn insert_schemaless(&mut self, map: &mut Map, facts: &Facts<'_>) -> Result<()> {
        refuse_missing_offset(&self.list, facts)?;
        let said = |insertion: &&Insertion| !insertion.source.says_nothing(facts);
        if !self.list.iter().all(|insertion| said(&insertion)) {
            // A record without partition or timestamp says nothing, so what stands there stays.
            for insertion in self.list.iter().filter(said) {
                map.set(&insertion.name, insertion.source.value(facts));
            }
            return Ok(());
        }
        let insertions = &self.list;
        let Ok(members) = self.keys.get_or_try(map.keys(), |keys| {
            Ok::<_, Infallible>(Members::new(keys, insertions.iter().map(|insertion| &insertion.key)))
        });
        members.put(map, insertions.iter().map(|insertion| insertion.source.value(facts)));
        Ok(())
    }
}

/// Looked at before anything is changed, so that an error leaves the record as it was.
fn refuse_missing_offset(insertions: &[Insertion], facts: &Facts<'_>) -> Result<()> {
    let wants = |insertion: &Insertion| matches!(insertion.source, Source::Offset);
    if facts.offset.is_none() && insertions.iter().any(wants) {
        return Err(ConnectError::data(format!(
            "Only SinkRecord supported for [{PURPOSE}], found: org.apache.kafka.connect.source.SourceRecord \
             (offset.field: a record has an offset only behind a sink's topic; remove the key)"
        )));
    }
    Ok(())
}

impl Plan {
    fn new(schema: &Schema, insertions: &[Insertion], replace_null: bool) -> Result<Self> {
        let mut builder = fields::rebuild(schema);
        for field in schema.fields() {
            builder = builder.field(Arc::clone(&field.name), Arc::clone(&field.schema));
        }
        for insertion in insertions {
            builder = builder.field(Arc::clone(&insertion.name), insertion.schema()?);
        }
        let defaults = if replace_null { Defaults::of(schema) } else { Defaults::none() };
        Ok(Self { schema: builder.build()?, defaults })
    }
}

impl Insertion {
    /// Takes the mark at the end of the name, one at most.
    fn new(text: &str, source: Source) -> Self {
        let (name, optional) = match text.strip_suffix('!') {
            Some(name) => (name, false),
            None => (text.strip_suffix('?').unwrap_or(text), true),
        };
        Self { name: name.into(), key: name.into(), optional, source }
    }

    fn schema(&self) -> Result<Arc<Schema>> {
        let kind = match self.source {
            Source::Timestamp => return SchemaBuilder::timestamp().nullable(self.optional).build(),
            Source::Topic | Source::Static(_) => Kind::String,
            Source::Partition => Kind::Int32,
            Source::Offset => Kind::Int64,
        };
        Ok(if self.optional { Schema::optional(kind) } else { Schema::of(kind) })
    }
}

impl Source {
    fn says_nothing(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Partition => facts.partition.is_none(),
            Self::Timestamp => facts.timestamp.is_none(),
            Self::Topic | Self::Offset | Self::Static(_) => false,
        }
    }

    fn value(&self, facts: &Facts<'_>) -> Value {
        match self {
            Self::Topic => facts.topic.map_or(Value::Null, |topic| Value::String(topic.clone())),
            Self::Partition => facts.partition.map_or(Value::Null, Value::I32),
            Self::Offset => facts.offset.map_or(Value::Null, Value::I64),
            Self::Timestamp => facts.timestamp.map_or(Value::Null, Value::I64),
            Self::Static(text) => Value::String(text.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use pipette_api::{ConfigMap, Datum};

    use super::*;

    #[test]
    fn records_share_what_is_inserted() {
        let field = "the name of the topic it came from".to_owned();
        let config = ConfigMap::from([("topic.field".to_owned(), field)]);
        let mut insert = make(&Settings::new(config, &CONFIG), Side::Value).unwrap();
        let mut texts = |topic: &str| {
            let mut record = Record::new(topic.into(), Datum::schemaless(Value::Map(Box::default())));
            insert.apply(&mut record).unwrap();
            let Value::Map(map) = record.value.value else { panic!("still a map") };
            let Some((Value::String(key), Value::String(value))) = map.iter().next() else { panic!("empty: {map:?}") };
            (key.as_bytes().as_ptr(), value.as_bytes().as_ptr(), value.as_str().to_owned())
        };
        let (first, other, second) =
            (texts("labs.results.of.all.instruments"), texts("other"), texts("labs.results.of.all.instruments"));
        assert_eq!(first, second, "no text of its own per record");
        assert_eq!((first.2.as_str(), other.2.as_str()), ("labs.results.of.all.instruments", "other"));
    }
}
