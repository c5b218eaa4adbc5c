//! Chunk in a real task: pieces do not go where they would be forgotten.

use pipette::plugins::{Family, Plugins};
use pipette::task::TaskNews;
use pipette::task::spec::{StepPlugin, TransformSpec};
use pipette_api::{Plugin, Settings, SourceBatch, SourcePlugin};

use super::sources::{entry, plugin, scripted};
use super::stage::{PATIENCE, Stage, pairs};
use crate::support::{topic, wait};

static SOURCE: SourcePlugin = plugin(|_| {
    scripted(|poll| {
        let large = "x".repeat(2_500);
        let entries = vec![entry("small", 1), entry(&large, 2)];
        Ok(if poll == 1 { SourceBatch::of(entries) } else { SourceBatch::empty() })
    })
});

fn chunk(more: &[(&str, &str)]) -> Vec<TransformSpec> {
    let Some(Plugin::Expand(plugin)) = Plugins::built_in().find(Family::Transform, "Chunk") else { panic!("built in") };
    let settings = Settings::new(pairs(&[&[("chunk.bytes", "1024")], more].concat()), plugin.info.config);
    vec![TransformSpec { alias: "chunk".into(), plugin: StepPlugin::Expand(plugin), settings, predicate: None }]
}

#[test]
fn a_compacted_topic_is_no_place_for_pieces() {
    let mut stage = Stage::new();
    topic::create(&stage.bootstrap(), "scripted", 1, &[("cleanup.policy", "compact")]);
    stage.transforms = chunk(&[]);
    let _task = stage.source("large", &SOURCE, &[]);
    let trace = stage.hear("large", |news| matches!(news, TaskNews::Failed { .. }));
    assert!(trace.contains("transformation \"chunk\": Topic scripted has cleanup.policy=compact"), "{trace}");
    assert!(topic::values(&stage.bootstrap(), "scripted").len() <= 1, "no piece was sent");
    stage.transforms = chunk(&[("allow.compacted", "true")]);
    let _task = stage.source("bold", &SOURCE, &[]);
    wait::until("the pieces", PATIENCE, || match topic::values(&stage.bootstrap(), "scripted").len() {
        0..=3 => Err("not all".into()),
        _ => Ok(()),
    });
}
