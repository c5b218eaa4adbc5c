//! The bytes that fuzzers found worth keeping, once more and on any compiler. `fuzz/README.md` tells how more are found.

#[allow(unreachable_pub, reason = "the fuzzers have this file as a module of a library")]
mod targets;

use std::fs;
use std::path::Path;

#[test]
fn every_kept_input_keeps_the_promises() {
    for (name, target) in targets::ALL {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 20, "{name}: {} inputs prove nothing", files.len());
        for file in files {
            let bytes = fs::read(&file).unwrap();
            let kept = std::panic::catch_unwind(|| target(&bytes));
            assert!(kept.is_ok(), "{name} breaks its promise on {}", file.display());
        }
    }
}
