//! Each law catches the transformation that breaks it.

use pipette_api::{ConfigDef, ConnectError, Info, Kind, Schema, SchemaBuilder, Struct, TransformPlugin};

use super::*;

type Toy = fn(&mut Record) -> Result<Verdict>;

struct Calls(Toy);

impl Transform for Calls {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        (self.0)(record)
    }
}

static NOTHING: ConfigDef = ConfigDef::new(&[]);

macro_rules! plugin {
    ($toy:expr) => {{
        static PLUGINS: [Plugin; 1] = [Plugin::Transform(TransformPlugin {
            info: Info { class: "Toy", aliases: &[], version: "1", about: "", readme: "", config: &NOTHING },
            make: |_| Ok(Box::new(Calls($toy))),
        })];
        &PLUGINS
    }};
}

const UNCHANGED: &str = r#"[{"name": "one", "plugin": "Toy", "config": {},
    "input": {"key": {"value": 1}, "value": {"schema": {"type": "struct", "fields": [{"field": "a", "type": "int8"}]},
    "value": {"a": 1}}}, "output": {}}]"#;

fn unchanged(plugins: &'static [Plugin]) -> Cases {
    Cases::parse(plugins, UNCHANGED)
}

#[test]
fn a_good_transformation_passes() {
    let cases = unchanged(plugin!(|_| Ok(Verdict::Keep)));
    t2_golden_cases(&cases);
    t3_error_leaves_the_record_unchanged(&cases);
    t4_odd_records_are_answered(&cases);
    t5_schemaless_agrees(&cases);
    t6_same_schema_in_same_schema_out(&cases);
    t7_drop_is_drop(&cases);
}

#[test]
#[should_panic(expected = "T2: text: one")]
fn t2_fails_for_another_output() {
    t2_golden_cases(&unchanged(plugin!(|record| {
        record.topic = "other".into();
        Ok(Verdict::Keep)
    })));
}

#[test]
#[should_panic(expected = "T2: Toy has no golden case")]
fn t2_fails_without_cases() {
    t2_golden_cases(&Cases::parse(plugin!(|_| Ok(Verdict::Keep)), "[]"));
}

#[test]
#[should_panic(expected = "T3: text: one: late")]
fn t3_fails_for_a_change_before_the_error() {
    t3_error_leaves_the_record_unchanged(&unchanged(plugin!(|record| {
        record.timestamp = Some(5);
        Err(ConnectError::data("late"))
    })));
}

#[test]
#[should_panic(expected = "T4: text: one: panicked")]
fn t4_fails_for_a_panic() {
    t4_odd_records_are_answered(&unchanged(plugin!(|record| {
        assert!(!record.value.is_null(), "not expected");
        Ok(Verdict::Keep)
    })));
}

#[test]
#[should_panic(expected = "T4: text: one: a struct does not stand under its schema")]
fn t4_fails_for_a_forgotten_schema() {
    t4_odd_records_are_answered(&unchanged(plugin!(|record| {
        if let Value::Struct(value) = &mut record.value.value {
            **value = Struct::new(SchemaBuilder::record().field("b", Schema::of(Kind::Int8)).build()?);
        }
        Ok(Verdict::Keep)
    })));
}

#[test]
#[should_panic(expected = "T5: text: one")]
fn t5_fails_when_maps_are_treated_otherwise() {
    t5_schemaless_agrees(&unchanged(plugin!(|record| {
        if let Value::Map(map) = &mut record.value.value {
            **map = pipette_api::Map::default();
        }
        Ok(Verdict::Keep)
    })));
}

#[test]
#[should_panic(expected = "declares a difference that is none")]
fn t5_fails_for_a_stale_declaration() {
    let text = UNCHANGED.replace(r#""output": {}"#, r#""output": {}, "schemaless": "it was so""#);
    t5_schemaless_agrees(&Cases::parse(plugin!(|_| Ok(Verdict::Keep)), &text));
}

#[test]
#[should_panic(expected = "T6: text: one")]
fn t6_fails_for_a_schema_per_record() {
    t6_same_schema_in_same_schema_out(&unchanged(plugin!(|record| {
        record.value.schema = Some(SchemaBuilder::record().build()?);
        Ok(Verdict::Keep)
    })));
}

#[test]
#[should_panic(expected = "T7: text: one: emptied")]
fn t7_fails_for_an_emptied_record() {
    t7_drop_is_drop(&unchanged(plugin!(|record| {
        (record.key, record.value) = (Datum::NULL, Datum::NULL);
        Ok(Verdict::Keep)
    })));
}

#[test]
#[should_panic(expected = "outptu is none of")]
fn a_key_written_wrong_is_refused() {
    Cases::parse(plugin!(|_| Ok(Verdict::Keep)), &UNCHANGED.replace("output", "outptu"));
}
