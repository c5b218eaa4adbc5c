//! One image in a larger record: it goes to the store, its link and digest stand in its place or beside it, and the restored
//! record is the one that came, with and without a schema, as bytes and as base64 text.
#![allow(clippy::unwrap_used)] // clippy takes only `#[test]` functions for tests

#[allow(dead_code)] // not all of it is needed here
mod rig;

use std::sync::Arc;

use pipette_api::{Datum, Kind, Map, Record, Schema, SchemaBuilder, Struct, Value};
use pipette_store::{Digest, Reference};
use proptest::prelude::*;

use rig::{Rig, base64, bytes};

const THRESHOLD: usize = 1_000;

/// What a record is made of.
#[derive(Debug, Clone)]
struct Made {
    image: Vec<u8>,
    text: bool,
    schema: bool,
    mode: &'static str,
    compression: &'static str,
    id: i64,
    note: Option<String>,
    labels: Vec<String>,
}

fn made() -> impl Strategy<Value = Made> {
    // On both sides of the threshold, and on it.
    let image = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..THRESHOLD),
        Just(vec![7; THRESHOLD]),
        proptest::collection::vec(any::<u8>(), THRESHOLD..4 * THRESHOLD),
    ];
    let modes = prop::sample::select(vec!["replace", "sibling", "uri"]);
    let forms = prop::sample::select(vec!["none", "gzip", "zstd"]);
    let labels = proptest::collection::vec("[a-zä]{0,20}", 0..4);
    let note = proptest::option::of("[ -~]{0,200}");
    let shape = (any::<bool>(), any::<bool>(), modes, forms);
    (image, shape, any::<i64>(), note, labels).prop_map(
        |(image, (text, schema, mode, compression), id, note, labels)| Made {
            image,
            text,
            schema,
            mode,
            compression,
            id,
            note,
            labels,
        },
    )
}

impl Made {
    fn image(&self) -> Value {
        if self.text { base64(&self.image) } else { bytes(self.image.clone()) }
    }

    /// Of the field as it stands in the record.
    fn size(&self) -> usize {
        if self.text { self.image.len().div_ceil(3) * 4 } else { self.image.len() }
    }

    fn values(&self) -> [Value; 3] {
        let labels = self.labels.iter().map(|label| Value::text(&**label)).collect();
        [Value::I64(self.id), self.note.as_deref().map_or(Value::Null, Value::text), Value::Array(labels)]
    }

    fn record(&self) -> Record {
        let [id, note, labels] = self.values();
        let value = if self.schema {
            let list = SchemaBuilder::array(Schema::of(Kind::String)).build().unwrap();
            let image = if self.text { Kind::String } else { Kind::Bytes };
            let schema = SchemaBuilder::record()
                .name("lab.Plate")
                .field("id", Schema::of(Kind::Int64))
                .field("note", Schema::optional(Kind::String))
                .field("image", Schema::of(image))
                .field("labels", list)
                .build()
                .unwrap();
            let row = Struct::from_parts(Arc::clone(&schema), [id, note, self.image(), labels]);
            Datum::new(schema, Value::Struct(Box::new(row)))
        } else {
            let members = [("id", id), ("note", note), ("image", self.image()), ("labels", labels)];
            let map = members.map(|(name, value)| (Value::text(name), value)).into_iter().collect::<Map>();
            Datum::schemaless(Value::Map(Box::new(map)))
        };
        Record::new(Arc::from("plates"), value)
    }
}

/// A member of a struct or of a map.
fn member(value: &Value, name: &str) -> Option<Value> {
    match value {
        Value::Struct(row) => {
            let at = row.schema().fields().iter().position(|field| &*field.name == name)?;
            Some(row.values()[at].clone())
        }
        Value::Map(map) => map.get(name).cloned(),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_image_in_a_record_goes_and_comes_back(made in made()) {
        let rig = Rig::new();
        let before = made.record();
        let config = [
            ("threshold.bytes", "1000"),
            ("target", "field"),
            ("fields", "image"),
            ("field.text", if made.text { "base64" } else { "plain" }),
            ("field.mode", made.mode),
            ("compression", made.compression),
        ];
        let away = rig.check_in(&config, &before);
        if made.size() < THRESHOLD {
            prop_assert_eq!(&away, &before);
            prop_assert_eq!(rig.objects().len(), 0);
        } else {
            let told = Reference::of_header(away.headers.last("claim-check").unwrap()).unwrap();
            prop_assert_eq!(told.len(), 1);
            prop_assert_eq!(told[0].path.as_deref(), Some("image"));
            prop_assert_eq!(told[0].digest, Some(Digest::of(&made.image)));
            prop_assert_eq!(told[0].size, Some(made.image.len() as u64));
            prop_assert!(member(&away.value.value, "image") != Some(made.image()), "{:?}", away);
            for (name, value) in ["id", "note", "labels"].into_iter().zip(made.values()) {
                prop_assert_eq!(member(&away.value.value, name), Some(value));
            }
            let objects = rig.objects();
            prop_assert_eq!(objects.len(), 1);
            if made.compression == "none" {
                prop_assert_eq!(std::fs::read(&objects[0]).unwrap(), made.image.clone());
                prop_assert!(told[0].uri.ends_with(&*objects[0].file_name().unwrap().to_string_lossy()));
            }
        }
        prop_assert_eq!(rig.restore(&[], &away), before);
    }
}
