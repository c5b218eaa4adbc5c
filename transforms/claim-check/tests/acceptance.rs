//! The laws of transformations, for one that waits: each call is waited for, as for one record alone. Golden cases:
//! `cases/*.json`.
#![allow(clippy::unwrap_used)] // clippy takes only `#[test]` functions for tests

use pipette_api::{
    AsyncTransform, AsyncTransformPlugin, Plugin, Record, Result, Room, Settings, TaskId, Transform, TransformContext,
    TransformPlugin, Verdict,
};
use pipette_kit::transform_laws::{self, Cases};
use pipette_kit::{Bench, config_laws};
use transform_claim_check::PLUGINS;

const fn async_plugin() -> AsyncTransformPlugin {
    match PLUGINS {
        [Plugin::AsyncTransform(plugin), ..] => *plugin,
        _ => panic!("it is the first"),
    }
}

static WAITED_FOR: &[Plugin] =
    &[Plugin::Transform(TransformPlugin { info: async_plugin().info, make: |settings| Waiting::make(settings) })];

struct Waiting {
    bench: Bench,
    inner: Box<dyn AsyncTransform>,
}

impl Waiting {
    fn make(settings: Settings) -> Result<Box<dyn Transform>> {
        let bench = Bench::new()?;
        let context = TransformContext {
            common: bench.common(),
            id: TaskId { connector: "kit".into(), task: 0 },
            room: Room::default(),
        };
        let inner = (async_plugin().make)(settings, context)?;
        Ok(Box::new(Self { bench, inner }))
    }
}

impl Transform for Waiting {
    fn apply(&mut self, record: &mut Record) -> Result<Verdict> {
        assert!(self.inner.holds(record) >= record.held());
        if self.inner.needs(record) { self.bench.run("apply", self.inner.apply(record))? } else { Ok(Verdict::Keep) }
    }
}

fn cases() -> Cases {
    Cases::read(WAITED_FOR, concat!(env!("CARGO_MANIFEST_DIR"), "/cases"))
}

#[test]
fn t1_configuration() {
    config_laws::hold(PLUGINS[0].info(), &[]);
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
fn a_list_of_tags_is_refused_where_it_is_written() {
    let checked = |levels: &str, tags: &str| {
        let config = pipette_kit::build::config(&[("extract", levels), ("tags", tags)]);
        async_plugin().info.config.check(&config).into_iter().flat_map(|key| key.errors).collect::<Vec<_>>()
    };
    assert_eq!(checked("basic,dicom", "dicom.BodyPartExamined"), [""; 0]);
    assert!(checked("basic", "dicom.Modality")[0].contains("configuration tags: dicom.Modality: needs dicom"));
    assert!(checked("basic,video", "")[0].contains("configuration extract: video is none of basic"));
}
