//! Programs from PyPI (clients of REST, a server of S3), as `./test --fetch` leaves them: `tests/python/` lists their packages.

use std::fs;
use std::path::{Path, PathBuf};

/// A program of a set of packages, or a failure that says how to get it. The set is whole when its list lies beside it.
pub(crate) fn program(set: &str, name: &str) -> PathBuf {
    let home = std::env::var_os("PIPETTE_PYTHON_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/pipette/python"),
        PathBuf::from,
    );
    // The tests of other crates take this file too.
    let lists = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|at| at.join(format!("tests/python/{set}.txt")));
    let wanted = lists.into_iter().find_map(|list| fs::read_to_string(list).ok()).expect("a list of packages");
    let fetched = fs::read_to_string(home.join(set).join("complete")).unwrap_or_default();
    assert!(
        fetched == wanted,
        "{set} in {} is missing or of another version: run ./test --fetch (it needs Python 3.11 or newer)",
        home.display()
    );
    home.join(set).join("bin").join(name)
}
