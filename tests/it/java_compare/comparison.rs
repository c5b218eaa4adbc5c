//! One comparison of ours with a Java program: replayed from recorded answers, or live.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};

use super::process::Java;
use super::progress::Progress;
use super::verdict::{Deviation, Verdict, judge};
use crate::support::figures;

/// Cases that go to Java at once; a run that is stopped goes on after the last of these.
const PORTION: u64 = 5000;

/// How many cases of a member are recorded, and the longest line of one.
const RECORDED: usize = 220;
const LONGEST: usize = 4000;

/// How many cases of a deviation are recorded besides, and the longest line of one.
const EXAMPLES: usize = 2;
const LONGEST_EXAMPLE: usize = 60_000;

/// Who takes part, and what for: the Java program reads the task.
pub(crate) struct Case {
    pub(crate) member: String,
    pub(crate) task: Json,
}

pub(crate) struct Comparison {
    /// The folder of its recorded answers in `tests/java/recorded/`.
    pub(crate) name: &'static str,
    /// The class in `tests/java/src/`.
    pub(crate) main: &'static str,
    /// The n-th case, always the same for the same n.
    pub(crate) case: fn(u64) -> Case,
    pub(crate) ours: fn(&Json) -> Json,
    /// The differences between Java's answers and ours. All others are faults.
    pub(crate) deviations: &'static [Deviation],
    /// The sources that our answers depend on, besides those of the comparison itself.
    pub(crate) sources: &'static [&'static str],
}

/// What came of the cases so far.
#[derive(Default)]
struct Tally {
    known: BTreeMap<&'static str, u64>,
    different: Vec<String>,
}

impl Tally {
    fn add(&mut self, comparison: &Comparison, label: &str, task: &Json, java: &Json) -> Option<&'static str> {
        match judge(task, java, (comparison.ours)(task), comparison.deviations) {
            Verdict::Same => None,
            Verdict::Known(row) => {
                *self.known.entry(row).or_default() += 1;
                Some(row)
            }
            Verdict::Different(ours) => {
                self.different.push(format!("{label}\n  case {task}\n  java {java}\n  ours {ours}"));
                None
            }
        }
    }

    fn check(&self) {
        if self.different.is_empty() {
            return;
        }
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("java_compare-different.txt");
        fs::write(&all, self.different.join("\n")).unwrap();
        let shown: String = self.different.iter().take(3).flat_map(|text| text.chars().take(2000)).collect();
        panic!("{} cases differ from Apache's, see {}; the first:\n{shown}", self.different.len(), all.display());
    }
}

impl Comparison {
    fn folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java/recorded").join(self.name)
    }

    /// Every member has a file of recorded answers, and every deviation is met in one.
    pub(crate) fn replay(&self, members: &[&str]) {
        let mut tally = Tally::default();
        for member in members {
            let text = fs::read_to_string(self.folder().join(format!("{member}.jsonl"))).unwrap();
            assert!(text.lines().count() >= 100, "{member}: a record of a few lines proves nothing");
            for (index, line) in text.lines().enumerate() {
                let line: Json = serde_json::from_str(line).unwrap();
                tally.add(self, &format!("{member}.jsonl:{}", index + 1), &line["case"], &line["java"]);
            }
        }
        tally.check();
        let rows = self.deviations.iter().map(|known| known.row);
        let never: Vec<_> = rows.filter(|row| !tally.known.contains_key(row)).collect();
        assert!(never.is_empty(), "deviations that no recorded case needs: {never:?}");
    }

    /// Compares `count` cases from where the last run stopped, or from `from`.
    pub(crate) fn live(&self, from: Option<u64>, count: u64, record: bool) {
        let mut progress = Progress { next: from.unwrap_or(0), ..Progress::default() };
        if from.is_none() && !record {
            progress = Progress::load(self.name, self.sources);
        }
        let (mut tally, mut records) = (Tally::default(), Records::default());
        let mut java = Java::start(self.main);
        let end = progress.next + count;
        while progress.next < end {
            let numbers = progress.next..end.min(progress.next + PORTION);
            progress.next = numbers.end;
            let cases: Vec<Case> = numbers.clone().map(self.case).collect();
            let answers = java.ask(cases.iter().map(|case| &case.task));
            for ((number, case), answer) in numbers.zip(&cases).zip(answers) {
                let known = tally.add(self, &format!("case {number}"), &case.task, &answer);
                if record {
                    records.offer(case, known, json!({"case": case.task, "java": answer}).to_string());
                }
                *progress.compared.entry(case.member.clone()).or_default() += 1;
                *progress.known.entry(known.unwrap_or("none").to_owned()).or_default() += 1;
            }
            println!("{} compared, {} unexplained", progress.next, tally.different.len());
            if tally.different.is_empty() && from.is_none() && !record {
                progress.save(self.name, self.sources);
            }
        }
        tally.check();
        if record {
            records.write(&self.folder());
        }
        self.report(&progress);
    }

    fn report(&self, progress: &Progress) {
        let counts: Vec<String> = progress.compared.iter().map(|(member, count)| format!("{member} {count}")).collect();
        let same = progress.known.get("none").copied().unwrap_or_default();
        let known = progress.compared.values().sum::<u64>() - same;
        let (cases, rows) = (same + known, progress.known.len() - 1);
        figures::record(
            &format!("java_compare_{}", self.name),
            &format!(
                "{cases} cases, {same} the same, {known} of {rows} known differences, 0 others; {}",
                counts.join(", ")
            ),
        );
        for (row, count) in progress.known.iter().filter(|(row, _)| *row != "none") {
            println!("  {count} {row}");
        }
    }
}

/// What a run will leave in the tree.
#[derive(Default)]
struct Records {
    lines: BTreeMap<String, Vec<String>>,
    examples: BTreeMap<&'static str, usize>,
}

impl Records {
    fn offer(&mut self, case: &Case, known: Option<&'static str>, line: String) {
        let lines = self.lines.entry(case.member.clone()).or_default();
        let mut wanted = lines.len() < RECORDED && line.len() < LONGEST;
        if let Some(row) = known {
            let examples = self.examples.entry(row).or_default();
            wanted |= *examples < EXAMPLES && line.len() < LONGEST_EXAMPLE;
            *examples += usize::from(wanted);
        }
        if wanted {
            lines.push(line);
        }
    }

    fn write(self, folder: &Path) {
        for (member, lines) in self.lines {
            fs::write(folder.join(format!("{member}.jsonl")), lines.join("\n") + "\n").unwrap();
        }
    }
}
