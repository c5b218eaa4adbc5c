//! Sizes, forgotten notes, sleeps in tests, links.

use std::path::{Component, Path, PathBuf};

use super::assert_none;
use super::source::{Source, compact, is_word, tree};

const MAX_LINES: usize = 500;
const MAX_README_LINES: usize = 150;

/// Where tests may sleep: `wait.rs` between two looks at a condition, `wire.rs` and the proxy before S3 because slowness is
/// what they make, the simulator because its time is simulated.
const MAY_SLEEP: &[&str] =
    &["tests/it/support/wait.rs", "tests/it/support/wire.rs", "libs/store/tests/it/s3_server.rs", "src/tests/sim/"];

/// Spelled in two halves, or this file would complain about itself.
const NOTES: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME")];

fn size_complaints(file: &Source) -> Vec<String> {
    let limit = match file.path.as_str() {
        "README.md" => MAX_README_LINES,
        _ if file.is_rust() => MAX_LINES,
        _ => return Vec::new(),
    };
    let lines = file.text.lines().count();
    if lines > limit { vec![format!("{}: {lines} lines, at most {limit}", file.path)] } else { Vec::new() }
}

fn note_complaints(file: &Source) -> Vec<String> {
    file.text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.split(|c: char| !is_word(c)).any(|word| NOTES.contains(&word)))
        .map(|(n, line)| format!("{}:{}: {}", file.path, n + 1, line.trim()))
        .collect()
}

fn sleep_complaints(file: &Source) -> Vec<String> {
    let may = MAY_SLEEP.iter().any(|place| file.path.starts_with(place)) || !file.is_rust() || !file.is_test();
    let code = if may { String::new() } else { compact(&file.code()) };
    if !["sleep(", "sleep_until("].iter().any(|call| code.contains(call)) {
        return Vec::new();
    }
    vec![format!("{}: sleeps; wait on a condition instead (support::wait::until)", file.path)]
}

fn link_complaints(file: &Source, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let folder = Path::new(&file.path).parent().unwrap_or(Path::new(""));
    links(&file.text)
        .into_iter()
        .filter(|(_, target)| !exists(&resolved(folder, target)))
        .map(|(line, target)| format!("{}:{line}: {target} does not exist", file.path))
        .collect()
}

/// Targets of inline links that are files here, without their `#…`; fenced and inline code is not read.
fn links(markdown: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (n, line) in markdown.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let prose: String = line.split('`').step_by(2).collect();
            for part in prose.split("](").skip(1) {
                let target = part.split([')', ' ', '#']).next().unwrap_or_default();
                let outside = target.contains("://") || target.starts_with("mailto:");
                if !target.is_empty() && !outside {
                    found.push((n + 1, target.to_owned()));
                }
            }
        }
    }
    found
}

fn resolved(folder: &Path, target: &str) -> PathBuf {
    let mut path = PathBuf::new();
    for component in folder.join(target).components() {
        match component {
            Component::ParentDir => drop(path.pop()),
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path
}

#[test]
fn files_are_short() {
    let mut rust: Vec<(usize, &str)> =
        tree().iter().filter(|file| file.is_rust()).map(|file| (file.text.lines().count(), &*file.path)).collect();
    rust.sort_unstable_by(|a, b| b.cmp(a));
    println!("the ten longest files:");
    for (lines, path) in rust.iter().take(10) {
        println!("{lines:5} {path}");
    }
    assert_none("sizes", &tree().iter().flat_map(size_complaints).collect::<Vec<_>>());
}

#[test]
fn no_note_is_left_behind() {
    assert_none("finish it or open an issue", &tree().iter().flat_map(note_complaints).collect::<Vec<_>>());
}

#[test]
fn no_test_sleeps() {
    assert_none("sleeps", &tree().iter().flat_map(sleep_complaints).collect::<Vec<_>>());
}

#[test]
fn every_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = tree().iter().filter(|file| file.is("md"));
    let complaints: Vec<String> =
        pages.flat_map(|page| link_complaints(page, |path| root.join(path).exists())).collect();
    assert_none("links", &complaints);
}

#[test]
fn a_long_file_is_seen() {
    let of = |path: &str, lines: usize| size_complaints(&Source::new(path, &"\n".repeat(lines))).len();
    assert_eq!((of("src/a.rs", 500), of("src/a.rs", 501)), (0, 1));
    assert_eq!((of("README.md", 150), of("README.md", 151), of("docs/long.md", 900)), (0, 1, 0));
}

#[test]
fn a_note_is_seen() {
    for note in NOTES {
        assert_eq!(note_complaints(&Source::new("src/a.rs", &format!("fn a() {{}} // {note}: later"))).len(), 1);
        assert_eq!(note_complaints(&Source::new("src/a.rs", &format!("// {note}S are words too"))).len(), 0);
    }
}

#[test]
fn a_sleep_in_a_test_is_seen() {
    let of = |path: &str, text: &str| sleep_complaints(&Source::new(path, text)).len();
    assert_eq!(of("connectors/mqtt/tests/acceptance.rs", "tokio::time::sleep(SECOND).await;"), 1);
    assert_eq!(of("tests/it/crash.rs", "std::thread::sleep (SECOND);"), 1);
    assert_eq!(of("tests/it/crash.rs", "// sleep(x) is banned\nlet text = \"sleep(1)\";"), 0);
    assert_eq!(of("src/task/tests/outbox.rs", "tokio::time::sleep_until(then).await;"), 1);
    assert_eq!(of(MAY_SLEEP[0], "std::thread::sleep(SECOND);") + of("src/task/source.rs", "sleep(SECOND)"), 0);
    assert_eq!(of("src/tests/sim/life.rs", "tokio::time::sleep(time).await;"), 0);
}

#[test]
fn a_dead_link_is_seen() {
    let page = "[a](a.md#top) [b](../b.md) [c](https://c) [d](#d) `[e](e.md)`\n```\n[f](f.md)\n```\n![g](g.png \"G\")";
    let complaints = link_complaints(&Source::new("docs/page.md", page), |path| path == Path::new("b.md"));
    assert_eq!(complaints, ["docs/page.md:1: a.md does not exist", "docs/page.md:5: g.png does not exist"]);
}
