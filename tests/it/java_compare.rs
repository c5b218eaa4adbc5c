//! Ours beside Apache's: the same values and bytes through both.
//!
//! The ordinary run replays `tests/java/recorded/`, answers that Apache's classes gave. The live run makes cases, asks Java
//! (a JDK of 17 or newer, the jars of `./test --fetch`) and compares; case n is always the same:
//!
//! `PIPETTE_JAVA_CASES=100000 cargo test -p pipette --test it -- java_compare::live --ignored --nocapture`
//!
//! That runs the comparisons one after the other; `java_compare::live_transforms`, `live_converters` and `live_dates` are
//! one of them. It goes on where the last run stopped, until sources that matter change; `PIPETTE_JAVA_FROM=250000` starts
//! elsewhere. `PIPETTE_JAVA_RECORD=1` begins at case 0 and writes answers into the recorded files.
//!
//! A comparison is a Java program, a maker of cases, our answers and the differences that are meant: read `comparison.rs`,
//! then `converters.rs`. What all can use: `process.rs` talks to Java, `notation.rs` writes schemas and values,
//! `chance.rs`, `values.rs` and `json_text.rs` make them up, `verdict.rs` judges, `settings.rs` reads tables of settings.

mod chance;
mod comparison;
mod converters;
mod dates;
mod json_text;
mod notation;
mod process;
mod progress;
mod settings;
mod transforms;
mod values;
mod verdict;

use self::comparison::Comparison;
use self::converters::CONVERTERS;
use self::dates::DATES;
use self::transforms::TRANSFORMS;

#[test]
fn recorded_answers_of_apaches_converters_are_ours() {
    CONVERTERS.replay(&converters::MEMBERS);
}

#[test]
fn recorded_answers_of_apaches_transformations_are_ours() {
    TRANSFORMS.replay(&transforms::MEMBERS);
}

#[test]
fn recorded_answers_of_javas_date_formats_are_ours() {
    DATES.replay(&dates::MEMBERS);
}

/// Each known difference is one that users can read about, and each of them that can be compared is.
#[test]
fn known_differences_are_the_rows_of_the_page() {
    let rows = |comparison: &Comparison| comparison.deviations.iter().map(|known| known.row);
    same_rows("Converters", rows(&CONVERTERS).chain(converters::NOT_COMPARED).collect());
    let of_transforms = rows(&TRANSFORMS).chain(rows(&DATES)).chain(transforms::NOT_COMPARED);
    same_rows("Transformations and predicates", of_transforms.collect());
}

pub(crate) fn same_rows(heading: &str, mut known: Vec<&'static str>) {
    let page = include_str!("../../docs/deviations.md");
    let section = page.split(&format!("\n## {heading}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    let what = |row: &&'static str| row.split(" | ").next().unwrap().trim_start_matches("| ");
    known.sort_unstable();
    known.dedup();
    let mut on_page: Vec<&str> = rows.iter().map(what).collect();
    on_page.sort_unstable();
    assert_eq!(known, on_page);
}

fn live(comparison: &Comparison) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let count = number("PIPETTE_JAVA_CASES").unwrap_or(10_000);
    comparison.live(number("PIPETTE_JAVA_FROM"), count, number("PIPETTE_JAVA_RECORD").is_some());
}

#[test]
#[ignore = "needs a JDK and Apache's jars; the command stands in the module's head"]
fn live_converters() {
    live(&CONVERTERS);
}

#[test]
#[ignore = "needs a JDK and Apache's jars; the command stands in the module's head"]
fn live_transforms() {
    live(&TRANSFORMS);
}

#[test]
#[ignore = "needs a JDK; the command stands in the module's head"]
fn live_dates() {
    live(&DATES);
}
