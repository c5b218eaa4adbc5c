//! Ours beside Apache's: the same values and bytes through both.
//!
//! The ordinary run replays `tests/java/recorded/`, answers that Apache's classes gave. The live run makes cases, asks Java
//! (a JDK of 17 or newer, the jars of `./test --fetch`) and compares; case n is always the same:
//!
//! `PIPETTE_JAVA_CASES=100000 cargo test -p pipette --test it -- java_compare::live --ignored --nocapture`
//!
//! It goes on where the last run stopped, until sources that matter change; `PIPETTE_JAVA_FROM=250000` starts elsewhere.
//! `PIPETTE_JAVA_RECORD=1` begins at case 0 and writes answers into the recorded files.
//!
//! A comparison is a Java program, a maker of cases, our answers and the differences that are meant: read `comparison.rs`,
//! then `converters.rs`. What all can use: `process.rs` talks to Java, `notation.rs` writes schemas and values,
//! `chance.rs`, `values.rs` and `json_text.rs` make them up, `verdict.rs` judges, `settings.rs` reads tables of settings.

mod chance;
mod comparison;
mod converters;
mod json_text;
mod notation;
mod process;
mod progress;
mod settings;
mod values;
mod verdict;

use self::converters::{CONVERTERS, MEMBERS};

#[test]
fn recorded_answers_of_apache_are_ours() {
    CONVERTERS.replay(&MEMBERS);
}

/// Each known difference is one that users can read about, and each of them that can be compared is.
#[test]
fn known_differences_are_the_rows_of_the_page() {
    let page = include_str!("../../docs/deviations.md");
    let section = page.split("\n## Converters\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let what = |row: &&str| row.split(" | ").next().unwrap().trim_start_matches("| ").to_owned();
    let mut known: Vec<String> = CONVERTERS.deviations.iter().map(|known| known.row.to_owned()).collect();
    known.extend(converters::NOT_COMPARED.map(str::to_owned));
    known.sort();
    let mut on_page: Vec<String> = rows.iter().map(what).collect();
    on_page.sort();
    assert_eq!(known, on_page);
}

#[test]
#[ignore = "needs a JDK and Apache's jars; the command stands in the module's head"]
fn live() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let count = number("PIPETTE_JAVA_CASES").unwrap_or(10_000);
    CONVERTERS.live(number("PIPETTE_JAVA_FROM"), count, number("PIPETTE_JAVA_RECORD").is_some());
}
