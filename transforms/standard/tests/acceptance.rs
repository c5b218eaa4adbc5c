//! The laws, plugin by plugin. Golden cases: `cases/*.json`.

use pipette_kit::config_laws::{self, Pairs};
use pipette_kit::transform_laws::{self, Cases};
use transform_standard::PLUGINS;

fn cases() -> Cases {
    Cases::read(PLUGINS, concat!(env!("CARGO_MANIFEST_DIR"), "/cases"))
}

#[test]
fn t1_configurations() {
    let smallest: &[(&str, Pairs<'_>)] = &[
        ("Cast$Key", &[("spec", "int8")]),
        ("Cast$Value", &[("spec", "int8")]),
        ("DropHeaders", &[("headers", "h")]),
        ("ExtractField$Key", &[("field", "a")]),
        ("ExtractField$Value", &[("field", "a")]),
        ("Filter", &[]),
        ("Flatten$Key", &[]),
        ("Flatten$Value", &[]),
        ("HeaderFrom$Key", &[("fields", "a"), ("headers", "h"), ("operation", "copy")]),
        ("HeaderFrom$Value", &[("fields", "a"), ("headers", "h"), ("operation", "copy")]),
        ("HoistField$Key", &[("field", "a")]),
        ("HoistField$Value", &[("field", "a")]),
        ("InsertField$Key", &[("topic.field", "t")]),
        ("InsertField$Value", &[("static.field", "s"), ("static.value", "x")]),
        ("InsertHeader", &[("header", "h"), ("value.literal", "x")]),
        ("MaskField$Key", &[("fields", "a")]),
        ("MaskField$Value", &[("fields", "a")]),
        ("RegexRouter", &[("regex", "a"), ("replacement", "b")]),
        ("ReplaceField$Key", &[]),
        ("ReplaceField$Value", &[]),
        ("SetSchemaMetadata$Key", &[("schema.name", "n")]),
        ("SetSchemaMetadata$Value", &[("schema.name", "n")]),
        ("TimestampConverter$Key", &[("target.type", "unix")]),
        ("TimestampConverter$Value", &[("target.type", "unix")]),
        ("TimestampRouter", &[]),
        ("ValueToKey", &[("fields", "a")]),
        ("HasHeaderKey", &[("name", "h")]),
        ("RecordIsTombstone", &[]),
        ("TopicNameMatches", &[("pattern", "t")]),
        ("Coalesce$Key", &[("fields", "a"), ("target.field", "b")]),
        ("Coalesce$Value", &[("fields", "a"), ("target.field", "b")]),
        ("ExtractTopic$Key", &[("field", "a")]),
        ("ExtractTopic$Value", &[("field", "a")]),
        ("HashField$Key", &[("fields", "a"), ("secret", "0123456789abcdef")]),
        ("HashField$Value", &[("fields", "a"), ("secret", "0123456789abcdef")]),
        ("JsonToStruct$Key", &[]),
        ("JsonToStruct$Value", &[]),
        ("RenameByRegex$Key", &[("regex", "a")]),
        ("RenameByRegex$Value", &[("regex", "a")]),
        ("StructToJson$Key", &[]),
        ("StructToJson$Value", &[]),
        ("FieldMatches$Key", &[("field", "a"), ("value", "1")]),
        ("FieldMatches$Value", &[("field", "a"), ("value", "1")]),
        ("Filter$Key", &[("filter.condition", "$.a"), ("filter.type", "include")]),
        ("Filter$Value", &[("filter.condition", "$.a"), ("filter.type", "include")]),
    ];
    assert_eq!(PLUGINS.len(), smallest.len(), "every plugin stands here");
    for (plugin, (alias, smallest)) in PLUGINS.iter().zip(smallest) {
        assert!(plugin.info().answers_to(alias), "{} is {alias}", plugin.info().class);
        config_laws::hold(plugin.info(), smallest);
    }
}

#[test]
fn t2_golden_cases() {
    transform_laws::t2_golden_cases(&cases());
}

#[test]
fn t3_error_leaves_the_record_unchanged() {
    transform_laws::t3_error_leaves_the_record_unchanged(&cases());
}

#[test]
fn t4_odd_records_are_answered() {
    transform_laws::t4_odd_records_are_answered(&cases());
}

#[test]
fn t5_schemaless_agrees() {
    transform_laws::t5_schemaless_agrees(&cases());
}

#[test]
fn t6_same_schema_in_same_schema_out() {
    transform_laws::t6_same_schema_in_same_schema_out(&cases());
}

#[test]
fn t7_drop_is_drop() {
    transform_laws::t7_drop_is_drop(&cases());
}
