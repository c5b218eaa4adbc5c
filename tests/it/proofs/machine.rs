//! What a recorded figure says of its circumstances: day, commit, machine and build.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The row of a proof's page above a line of figures, without its command.
pub(super) fn circumstances() -> String {
    format!("{} | {} | {} | {}", said(&["date", "+%F"]), commit(), machine(), build())
}

/// What a command of the system answers; empty when there is no such command.
fn said(command: &[&str]) -> String {
    let run = Command::new(command[0]).args(&command[1..]).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    run.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn commit() -> String {
    let changed = !said(&["git", "status", "--porcelain", "--untracked-files=no"]).is_empty();
    said(&["git", "rev-parse", "--short", "HEAD"]) + if changed { " with changes" } else { "" }
}

/// CPU, cores, memory, the file system of what the proof writes, and how busy the machine was.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kib: u64 = field(&read("/proc/meminfo"), "MemTotal").trim_end_matches(" kB").parse().unwrap_or_default();
    let disk = said(&["stat", "-f", "-c", "%T", env!("CARGO_TARGET_TMPDIR")]);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let cpu = field(&read("/proc/cpuinfo"), "model name");
    format!("{cpu}, {cores} cores, {} GiB, {disk}, load {load} at the end", kib >> 20)
}

/// The profile this binary was built with: the name of its folder.
fn build() -> String {
    let own = std::env::current_exe().unwrap_or_default();
    let folder = own.ancestors().nth(2).and_then(Path::file_name).unwrap_or_default();
    match folder.to_string_lossy().as_ref() {
        "debug" => "dev".to_owned(),
        profile => profile.to_owned(),
    }
}

#[test]
fn circumstances_are_a_row_of_a_table() {
    let row = circumstances();
    assert_eq!(row.split(" | ").filter(|cell| !cell.is_empty()).count(), 4, "{row}");
    assert!(row.contains(" cores, ") && !row.contains(" 0 GiB"), "{row}");
}
