//! The file sink in a real task: what is in the folder is what is committed, also on a disk that was full.

use std::path::PathBuf;

use connector_lab_files::SINK;
use pipette_api::{Offsets, TopicPartition};

use super::sinks::fill;
use super::stage::{PATIENCE, Stage};
use crate::support::small_disk::SmallDisk;
use crate::support::wait;

/// What a folder has, by name.
fn contents(folder: &PathBuf) -> Vec<String> {
    let files = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.is_file()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

#[test]
fn files_are_committed_and_a_full_disk_is_waited_for() {
    let mut stage = Stage::new();
    fill(&mut stage, "rows", "one\ntwo\nthree\n");
    let folder = stage.path("disk");
    let disk = SmallDisk::mount(&folder, 1);
    let filling = disk.as_ref().map(SmallDisk::fill);
    let config = [("output.path", folder.to_str().unwrap()), ("file.name", "new/${offset}.txt"), ("topics", "rows")];
    let task = stage.sink("files", &SINK, &config);
    if let Some(filling) = filling {
        wait::until("an attempt to write", PATIENCE, || {
            let told = stage.metrics();
            let line = told.lines().find(|line| line.starts_with("kafka_connect_sink_task_put_batch_max_time_ms"));
            if line.is_some_and(|line| !line.ends_with("NaN")) { Ok(()) } else { Err(format!("{line:?}")) }
        });
        assert_eq!(contents(&folder.join("new")), [""; 0]);
        std::fs::remove_file(filling).unwrap();
    }
    wait::until("the files", PATIENCE, || match contents(&folder.join("new")) {
        found if found.len() == 3 => Ok(()),
        found => Err(format!("{found:?}")),
    });
    stage.stop("files", &task);
    assert_eq!(contents(&folder.join("new")), ["one", "two", "three"]);
    assert_eq!(contents(&folder.join(".pipette")), [""; 0], "nothing is left aside");
    assert_eq!(stage.committed("files"), Offsets::from([(TopicPartition::new("rows", 0), 3)]));
}
