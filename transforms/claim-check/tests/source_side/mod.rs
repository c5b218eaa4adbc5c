//! What a source's side may choose: names by position, references without a digest, keys, objects that are there already,
//! and addresses with a signature.

use std::sync::Arc;

use pipette_api::{
    Datum, ErrorKind, Kind, OffsetShape, Partition, Position, Record, Result, Schema, SchemaBuilder, Struct,
};
use pipette_store::Reference;

use crate::rig::{Rig, bytes};

const ALWAYS: (&str, &str) = ("threshold.bytes", "1");

fn record(text: &str) -> Record {
    Record::new("images".into(), Datum::new(Schema::of(Kind::Bytes), bytes(text)))
}

fn at(file: &str, mark: i64) -> Position {
    Position {
        partition: Arc::new(Partition::of("file", file)),
        shape: Arc::new(OffsetShape { marks: [Some("at"), None], ..OffsetShape::default() }),
        marks: [mark, 0],
    }
}

/// The reference that has taken the place of a value.
fn reference(record: &Record) -> Reference {
    Reference::of_value(&record.value.value).unwrap().unwrap()
}

/// A run of a source: the address of each record's object.
fn sent(rig: &Rig, config: &[(&str, &str)], records: &[(&str, Position)]) -> Result<Vec<String>> {
    let transform = rig.make("ClaimCheck", config);
    let one = |(text, position): &(&str, Position)| rig.run_at(&*transform, &record(text), Some(position));
    records.iter().map(|each| one(each).map(|away| reference(&away).uri)).collect()
}

#[test]
fn what_a_source_sends_again_meets_the_same_object() {
    for strategy in
        [&[("key.strategy", "position")][..], &[("key.strategy", "template"), ("key.template", "${position}")]]
    {
        let rig = Rig::new();
        let config = [&[ALWAYS], strategy].concat();
        // One position for three records, two of which are alike; the same mark in another file.
        let records = [("x", at("a", 1)), ("x", at("a", 1)), ("y", at("b", 1)), ("z", at("a", 1)), ("w", at("a", 2))];
        let first = sent(&rig, &config, &records).unwrap();
        assert_eq!(rig.objects().len(), 5, "{first:?}");
        assert_eq!(sent(&rig, &config, &records).unwrap(), first, "after a restart");
        assert_eq!(rig.objects().len(), 5);
        assert_eq!(rig.bench.numbers.get("claim_check_found_total", &[]), Some(5));
        let other = sent(&rig, &config, &[("v", at("a", 2))]).unwrap_err();
        assert_eq!(other.kind(), ErrorKind::Fatal, "neither of two payloads is lost");
        assert!(other.to_string().contains("holds another payload already"), "{other}");
    }
}

#[test]
fn fields_of_one_record_have_objects_of_their_own() {
    let rig = Rig::new();
    let schema = SchemaBuilder::record().field("a", Schema::of(Kind::Bytes)).field("b", Schema::of(Kind::Bytes));
    let schema = schema.build().unwrap();
    let row = Struct::from_parts(Arc::clone(&schema), [bytes("one"), bytes("two")]);
    let before = Record::new("rows".into(), Datum::new(schema, pipette_api::Value::Struct(Box::new(row))));
    let config = [ALWAYS, ("key.strategy", "position"), ("target", "field"), ("fields", "a,b")];
    let away = rig.run_at(&*rig.make("ClaimCheck", &config), &before, Some(&at("t", 7))).unwrap();
    assert_eq!(rig.objects().len(), 2);
    assert_eq!(rig.restore(&[], &away), before);
}

#[test]
fn a_source_without_positions_is_told_what_to_choose() {
    let rig = Rig::new();
    let transform = rig.make("ClaimCheck", &[ALWAYS, ("key.strategy", "position")]);
    let error = rig.run(&*transform, &record("x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "no record is dropped for it");
    assert!(error.to_string().contains("set key.strategy to content or uuid"), "{error}");
    assert!(rig.objects().is_empty());
    // Nobody asks where a record is from when no name tells it.
    rig.run(&*rig.make("ClaimCheck", &[ALWAYS, ("key.strategy", "uuid")]), &record("x")).unwrap();
}
