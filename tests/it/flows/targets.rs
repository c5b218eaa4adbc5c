//! What is wrong with a sink's target, told as if it were the records': no topic drains into the dead letters for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pipette::settings::dead_letters::DeadLetterTopic;
use pipette::task::TaskNews;
use pipette::task::spec::ErrorPolicy;
use pipette_api::{
    ConnectError, Offsets, Result, SinkBatch, SinkContext, SinkPlugin, SinkTask, TopicPartition, async_trait,
};

use super::dead_letters::Late;
use super::sinks::{fill, plugin};
use super::stage::{PATIENCE, Stage};
use crate::support::{topic, wait};

const RECORDS: usize = 300;

fn stage(topic: &str, refusals_max: usize) -> Stage {
    let mut stage = Stage::new();
    fill(&mut stage, topic, &"a row\n".repeat(RECORDS));
    stage.errors = ErrorPolicy { tolerate: true, refusals_max, ..ErrorPolicy::default() };
    stage.dead_letters = Some(DeadLetterTopic { name: "dead".into(), replication_factor: None, context: None });
    stage
}

fn at(topic: &str, offset: usize) -> Offsets {
    Offsets::from([(TopicPartition::new(topic, 0), i64::try_from(offset).unwrap())])
}

/// A database without the table: it says so of every row.
struct NoTable {
    mended: &'static AtomicBool,
    rows: &'static AtomicUsize,
}

#[async_trait]
impl SinkTask for NoTable {
    async fn start(&mut self, _: SinkContext) -> Result<()> {
        Ok(())
    }

    async fn put(&mut self, batch: Arc<SinkBatch>) -> Result<()> {
        if !self.mended.load(Ordering::SeqCst) {
            return Err(ConnectError::data("relation \"rows\" does not exist"));
        }
        self.rows.fetch_add(batch.records.len(), Ordering::SeqCst);
        Ok(())
    }
}

fn until_rows(rows: &AtomicUsize, wanted: usize) {
    wait::until("the rows", PATIENCE, || match rows.load(Ordering::SeqCst) {
        found if found == wanted => Ok(()),
        found => Err(found.to_string()),
    });
}

#[test]
fn a_target_that_refuses_everything_fails_the_task_and_every_record_is_put_once_it_is_mended() {
    static MENDED: AtomicBool = AtomicBool::new(false);
    static ROWS: AtomicUsize = AtomicUsize::new(0);
    static PLUGIN: SinkPlugin = plugin(|_| Ok(Box::new(NoTable { mended: &MENDED, rows: &ROWS })));
    let mut stage = stage("rows", 100);
    let _task = stage.sink("rows-out", &PLUGIN, &[("topics", "rows")]);
    let trace = stage.hear("rows-out", |news| matches!(news, TaskNews::Failed { .. }));
    assert!(trace.starts_with("Task rows-out-0 failed in put: The sink has refused "), "{trace}");
    assert!(trace.contains("so it is not the records: relation \"rows\" does not exist. None of"), "{trace}");
    // What came alone, before the first whole batch, could have been bad by itself.
    let letters = topic::records(&stage.bootstrap(), "dead").len();
    assert!(letters < 100, "{letters} letters");
    assert!(stage.committed("rows-out") <= at("rows", letters), "no record is passed without its letter");
    MENDED.store(true, Ordering::SeqCst);
    let task = stage.sink("rows-out", &PLUGIN, &[("topics", "rows")]);
    until_rows(&ROWS, RECORDS - letters);
    stage.stop("rows-out", &task);
    assert_eq!(stage.committed("rows-out"), at("rows", RECORDS));
}

#[test]
fn without_a_limit_every_record_that_is_refused_is_a_letter() {
    static MENDED: AtomicBool = AtomicBool::new(false);
    static ROWS: AtomicUsize = AtomicUsize::new(0);
    static PLUGIN: SinkPlugin = plugin(|_| Ok(Box::new(NoTable { mended: &MENDED, rows: &ROWS })));
    let mut stage = stage("bad", 0);
    let task = stage.sink("bad-out", &PLUGIN, &[("topics", "bad")]);
    let bootstrap = stage.bootstrap();
    wait::until("the letters", PATIENCE, || match topic::size_if_any(&bootstrap, "dead") {
        found if found == i64::try_from(RECORDS).unwrap() => Ok(()),
        found => Err(found.to_string()),
    });
    stage.stop("bad-out", &task);
    assert_eq!(stage.committed("bad-out"), at("bad", RECORDS));
}

#[test]
fn a_target_that_refuses_everything_when_it_is_flushed_fails_the_task_as_well() {
    // A search engine takes documents and says of each when it is flushed that its index is missing.
    static PLUGIN: SinkPlugin = plugin(|_| Ok(Box::new(Late::new(|_| true, || ConnectError::data("no such index")))));
    let mut stage = stage("docs", 100);
    let _task = stage.sink("docs-out", &PLUGIN, &[("topics", "docs")]);
    let trace = stage.hear("docs-out", |news| matches!(news, TaskNews::Failed { .. }));
    assert!(trace.contains("so it is not the records: no such index"), "{trace}");
    let letters = topic::records(&stage.bootstrap(), "dead").len();
    assert!(letters < 100, "{letters} letters");
    assert!(stage.committed("docs-out") <= at("docs", letters), "{:?}", stage.committed("docs-out"));
}
