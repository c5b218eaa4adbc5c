//! Our converters beside Apache's: the same values and bytes through both.
//!
//! The ordinary run replays `tests/java/recorded/converters/`, answers that Apache's classes gave. The live run makes
//! cases, asks Java (a JDK of 17 or newer, the jars of `./test --fetch`) and compares; case n is always the same:
//!
//! `PIPETTE_JAVA_CASES=100000 cargo test -p pipette --test it -- java_compare --ignored --nocapture`
//!
//! `PIPETTE_JAVA_FROM=250000` goes on from there; `PIPETTE_JAVA_RECORD=1` writes the answers of the run's cases into the
//! recorded files. Read next: `java_compare/generate.rs`, `java_compare/notation.rs`, `java_compare/verdict.rs`.

mod generate;
mod notation;
mod ours;
mod verdict;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};

use self::verdict::{DEVIATIONS, Verdict};
use crate::support::kafka::class_path;

/// Cases that go to one run of Java; a run that is stopped goes on after the last of these that it reported.
const PORTION: u64 = 20_000;

/// `class`, `settings`, and `encode` or `decode`.
struct Case(Json);

impl Case {
    fn class(&self) -> &str {
        self.0["class"].as_str().unwrap()
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java/recorded/converters")
}

/// How often each deviation was met, and the differences that no deviation explains.
#[derive(Default)]
struct Tally {
    met: BTreeMap<&'static str, usize>,
    same: usize,
    different: Vec<String>,
}

impl Tally {
    fn add(&mut self, label: &str, case: &Case, java: &Json) {
        match verdict::judge(case, java) {
            Verdict::Same => self.same += 1,
            Verdict::Known(name) => *self.met.entry(name).or_default() += 1,
            Verdict::Different(ours) => {
                self.different.push(format!("{label}\n  case {}\n  java {java}\n  ours {ours}", case.0));
            }
        }
    }

    fn check(&self) {
        let shown = self.different.iter().take(12).cloned().collect::<Vec<_>>().join("\n");
        assert!(self.different.is_empty(), "{} cases differ from Apache's:\n{shown}", self.different.len());
    }
}

#[test]
fn recorded_answers_of_apache_are_ours() {
    let mut tally = Tally::default();
    for class in generate::CLASSES {
        let name = class.rsplit('.').next().unwrap();
        let text = fs::read_to_string(folder().join(format!("{name}.jsonl"))).unwrap();
        assert!(text.lines().count() >= 30, "{name}: a record of a few lines proves nothing");
        for (index, line) in text.lines().enumerate() {
            let mut line: Json = serde_json::from_str(line).unwrap();
            tally.add(&format!("{name}.jsonl:{}", index + 1), &Case(line["case"].take()), &line["java"]);
        }
    }
    tally.check();
    let never: Vec<_> = DEVIATIONS.iter().filter(|row| !tally.met.contains_key(row.name)).map(|row| row.name).collect();
    assert!(never.is_empty(), "rows of the table that no recorded case needs: {never:?}");
}

/// Each known difference is one that users can read about.
#[test]
fn known_differences_are_on_the_page() {
    let page = include_str!("../../docs/deviations.md");
    for row in DEVIATIONS {
        assert!(page.contains(row.page), "docs/deviations.md has no row with: {}", row.page);
    }
}

#[test]
#[ignore = "needs a JDK and Apache's jars; the command stands in the module's head"]
fn live() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let from = number("PIPETTE_JAVA_FROM").unwrap_or(0);
    let end = from + number("PIPETTE_JAVA_CASES").unwrap_or(10_000);
    let record = number("PIPETTE_JAVA_RECORD").is_some();
    let mut tally = Tally::default();
    let mut recorded: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for start in (from..end).step_by(usize::try_from(PORTION).unwrap()) {
        let numbers = start..end.min(start + PORTION);
        let cases: Vec<Case> = numbers.clone().map(generate::case).collect();
        for ((number, case), java) in numbers.clone().zip(&cases).zip(ask(&cases)) {
            tally.add(&format!("case {number}"), case, &java);
            let name = case.class().rsplit('.').next().unwrap().to_owned();
            recorded.entry(name).or_default().push(json!({"case": case.0, "java": java}).to_string());
        }
        let (same, met, different) = (tally.same, &tally.met, tally.different.len());
        println!("{from}..{}: {same} same, known differences {met:?}, {different} others", numbers.end);
    }
    for (name, lines) in recorded.iter().filter(|_| record) {
        fs::write(folder().join(format!("{name}.jsonl")), lines.join("\n") + "\n").unwrap();
    }
    tally.check();
}

/// Apache's answers to the cases, in order.
fn ask(cases: &[Case]) -> Vec<Json> {
    let mut java = Command::new("java")
        .args(["-Duser.timezone=UTC", "-cp", &class_path()])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java/src/Converters.java"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("java is there");
    let mut input = java.stdin.take().unwrap();
    let lines: Vec<String> = cases.iter().map(|case| case.0.to_string()).collect();
    let writer = std::thread::spawn(move || input.write_all(lines.join("\n").as_bytes()));
    let output = java.wait_with_output().unwrap();
    assert!(output.status.success(), "Java ended with {}", output.status);
    writer.join().unwrap().unwrap();
    let answers: Vec<Json> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), cases.len());
    answers
}
