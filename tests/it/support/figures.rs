//! Figures that a proof measured: printed, and left in a file that `./test` shows at its end.

use std::path::Path;

/// Records one line of figures under the proof's name; a later run of the same proof replaces it.
pub(crate) fn record(proof: &str, line: &str) {
    println!("{proof}: {line}");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("figures");
    std::fs::create_dir_all(&folder).expect("a folder for figures");
    std::fs::write(folder.join(format!("{proof}.txt")), format!("{proof}: {line}\n")).expect("figures are kept");
}
