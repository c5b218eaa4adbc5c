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
        ("InsertField$Key", &[("topic.field", "t")]),
        ("InsertField$Value", &[("static.field", "s"), ("static.value", "x")]),
        ("RegexRouter", &[("regex", "a"), ("replacement", "b")]),
        ("ReplaceField$Key", &[]),
        ("ReplaceField$Value", &[]),
        ("HasHeaderKey", &[("name", "h")]),
        ("RecordIsTombstone", &[]),
        ("TopicNameMatches", &[("pattern", "t")]),
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
