//! A huge payload costs no memory. Alone in its process, because the whole process is measured.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what cannot be measured has failed

#[allow(dead_code)] // needs a part of it only
#[path = "it/outbox.rs"]
mod outbox;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use connector_lab_files::SINK;
use outbox::{Outbox, Stream, partition};
use pipette_api::Settings;
use pipette_kit::{Bench, RecordingRuntime, build};

/// What a slow disk needs to write the file; only a test that fails waits so long.
const LONG: Duration = Duration::from_mins(5);

/// The most memory this process has had, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_payload_of_3_gigabytes_takes_no_memory() {
    let outbox = Outbox::new(&[("file.name", "large.bin")]);
    let (bench, len) = (Bench::new().unwrap(), 3_000_000_001);
    let mut task = (SINK.task)(Settings::new(outbox.config.clone(), SINK.info.config)).unwrap();
    bench.run("start", task.start(bench.sink(0, Arc::new(RecordingRuntime::default())))).unwrap().unwrap();
    let before = peak();
    let batch = build::sink_batch(&partition(), 0, [Stream::of(len).value()]);
    bench.run_within(LONG, "put", task.put(batch)).unwrap().unwrap();
    bench.run_within(LONG, "flush", task.flush(&[(partition(), 1)].into())).unwrap().unwrap();
    assert!(peak() < before + 8 * 1024, "{} KiB, before {before}", peak());
    assert_eq!(fs::metadata(outbox.path("large.bin")).unwrap().len(), len);
}
