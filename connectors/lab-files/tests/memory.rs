//! A huge line costs no memory. Alone in its process, because the whole process is measured.

#![allow(clippy::unwrap_used, clippy::expect_used)] // what cannot be measured has failed

#[allow(dead_code)] // needs a part of it only
#[path = "it/harness.rs"]
mod harness;

use std::fs;
use std::io::Write;

use harness::{Lab, errors, records, show, until};

/// Resident memory of this process, in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_line_of_100_megabytes_takes_no_memory() {
    for format in ["lines", "csv"] {
        let lab = Lab::new(&[("format", format), ("csv.separator.char", ",")]);
        let mut file = fs::File::create(lab.path("in").join("a.txt")).unwrap();
        file.write_all(b"before\n").unwrap();
        let block = vec![b'x'; 1024 * 1024];
        for _ in 0..100 {
            file.write_all(&block).unwrap();
        }
        file.write_all(b"\nafter\n").unwrap();
        drop(file);
        let mut task = lab.start().unwrap();
        let before = resident();
        let said = until(&mut task, |_| lab.list("in").is_empty());
        assert!(resident() < before + 30 * 1024, "{format}: {} KiB, before {before}", resident());
        assert_eq!(errors(&said).len(), 1, "{format}");
        assert_eq!(show(records(&said).last().unwrap()).rsplit('=').next(), Some("after"));
    }
}
