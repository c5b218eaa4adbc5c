//! Where a long run left off. Kept outside of the tree, and good for one state of the sources only: what was measured
//! before a change is measured again.
//!
//! `proofs/frame.rs` and `java_compare/progress.rs` say what their figures depend on, and what is to be remembered.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// What is remembered of one run.
pub(crate) struct Resume {
    file: PathBuf,
    sources: u64,
}

impl Resume {
    /// `name` is that of the file, folders included; `sources` are files and folders below the root of the tree.
    pub(crate) fn of(name: &str, sources: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut digest = DefaultHasher::new();
        for source in sources {
            add(&root.join(source), &mut digest);
        }
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
        Self { file, sources: digest.finish() }
    }

    /// What was saved last, if the sources are still the same.
    pub(crate) fn load(&self) -> Option<Value> {
        let mut saved: Value = serde_json::from_slice(&fs::read(&self.file).ok()?).ok()?;
        (saved["sources"] == json!(self.sources)).then(|| saved["progress"].take())
    }

    /// A run that is killed while it saves finds what it saved before.
    pub(crate) fn save(&self, progress: &Value) {
        fs::create_dir_all(self.file.parent().expect("a folder")).expect("a folder for what is remembered");
        let new = self.file.with_extension("new");
        fs::write(&new, json!({"sources": self.sources, "progress": progress}).to_string()).expect("it is saved");
        fs::rename(&new, &self.file).expect("it has its name");
    }

    /// The next run begins anew.
    pub(crate) fn forget(&self) {
        let _ = fs::remove_file(&self.file);
    }
}

fn add(path: &Path, digest: &mut DefaultHasher) {
    if path.is_dir() {
        let inside = path.read_dir().expect("a readable folder").map(|entry| entry.expect("an entry").path());
        let mut inside: Vec<PathBuf> = inside.collect();
        inside.sort();
        for path in &inside {
            add(path, digest);
        }
    } else {
        fs::read(path).expect("a readable source").hash(digest);
    }
}

#[test]
fn what_is_saved_is_found_until_the_sources_change_or_it_is_forgotten() {
    let name = format!("resume-{}", std::process::id());
    let first = Resume::of(&name, &["tests/it/support"]);
    first.save(&json!({"next": 7}));
    assert_eq!(Resume::of(&name, &["tests/it/support"]).load(), Some(json!({"next": 7})));
    assert_eq!(Resume::of(&name, &["tests/it/support", "Cargo.toml"]).load(), None, "other sources");
    first.forget();
    assert_eq!(first.load(), None);
}
