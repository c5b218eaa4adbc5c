//! How far a live run has come. It is kept outside of the tree and holds for one state of the sources: what was compared
//! before a change is compared again.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

/// What the answers of every comparison depend on.
const SOURCES: [&str; 7] = [
    "tests/it/java_compare.rs",
    "tests/it/java_compare",
    "tests/java/src",
    "tests/java/settings",
    "libs/java/src",
    "libs/json/src",
    "api/src/data",
];

#[derive(Default)]
pub(crate) struct Progress {
    /// The case that is next.
    pub(crate) next: u64,
    /// How many cases of each member were compared.
    pub(crate) compared: BTreeMap<String, u64>,
    /// How often each deviation was met.
    pub(crate) known: BTreeMap<String, u64>,
}

impl Progress {
    /// What a run of the comparison left behind, if the sources are still the same.
    pub(crate) fn load(comparison: &str, more: &[&str]) -> Self {
        let text = fs::read(file(comparison)).unwrap_or_default();
        let Ok(json) = serde_json::from_slice::<Json>(&text) else { return Self::default() };
        if json["sources"] != json!(sources(more)) {
            return Self::default();
        }
        let counts = |name: &str| serde_json::from_value(json[name].clone()).unwrap();
        Self { next: json["next"].as_u64().unwrap(), compared: counts("compared"), known: counts("known") }
    }

    pub(crate) fn save(&self, comparison: &str, more: &[&str]) {
        let file = file(comparison);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let json = json!({"sources": sources(more), "next": self.next, "compared": self.compared, "known": self.known});
        fs::write(file, json.to_string()).unwrap();
    }
}

fn file(comparison: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("java_compare/{comparison}.json"))
}

/// A digest of the sources.
fn sources(more: &[&str]) -> u64 {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut digest = DefaultHasher::new();
    for source in SOURCES.iter().chain(more) {
        add(&root.join(source), &mut digest);
    }
    digest.finish()
}

fn add(path: &Path, digest: &mut DefaultHasher) {
    if path.is_dir() {
        let mut inside: Vec<PathBuf> = path.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        inside.sort();
        for path in &inside {
            add(path, digest);
        }
    } else {
        fs::read(path).unwrap().hash(digest);
    }
}
