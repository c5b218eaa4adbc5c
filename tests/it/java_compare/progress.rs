//! How far a live run has come: `support/resume.rs` keeps it as long as what was compared stays the same.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::resume::Resume;

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
        let Some(json) = resume(comparison, more).load() else { return Self::default() };
        let counts = |name: &str| serde_json::from_value(json[name].clone()).unwrap();
        Self { next: json["next"].as_u64().unwrap(), compared: counts("compared"), known: counts("known") }
    }

    pub(crate) fn save(&self, comparison: &str, more: &[&str]) {
        let json = json!({"next": self.next, "compared": self.compared, "known": self.known});
        resume(comparison, more).save(&json);
    }
}

fn resume(comparison: &str, more: &[&str]) -> Resume {
    let sources: Vec<&str> = SOURCES.iter().chain(more).copied().collect();
    Resume::of(&format!("java_compare/{comparison}"), &sources)
}
