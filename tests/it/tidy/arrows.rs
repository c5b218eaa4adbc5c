//! The dependency law: which crate may name which, which file may name an outside package, which room of `src/` may use
//! which. ARCHITECTURE.md tells why.

use super::assert_none;
use super::packages::{Package, ours};
use super::source::{Source, compact, is_word, tree, words};

/// A word that only some files may say. Files in a `tests` folder may, when `in_tests` is set.
struct Fence {
    words: &'static [&'static str],
    homes: &'static [&'static str],
    in_tests: bool,
}

const FENCES: &[Fence] = &[
    Fence { words: &["rdkafka", "rdkafka_sys"], homes: &["src/kafka/"], in_tests: true },
    Fence { words: &["axum"], homes: &["src/rest/"], in_tests: true },
    Fence { words: &["object_store"], homes: &["libs/store/"], in_tests: true },
    Fence { words: &["unsafe"], homes: &["src/kafka/sys.rs", "src/allocator.rs"], in_tests: false },
];

/// Who in the worker may touch files. Everybody else asks them.
const FILE_USERS: &[&str] = &[
    "src/store/",
    "src/settings/",
    "src/cli",
    "src/quickstart",
    "src/bench/",
    "src/kafka/tls.rs",
    "src/metrics/process.rs",
];

/// The rooms of `src/`, from those that all may use to those that nothing may use. A room uses lower ones only.
const RANKS: &[(&str, u8)] = &[
    ("settings", 0),
    ("budget", 0),
    ("descriptors", 0),
    ("metrics", 1),
    ("telemetry", 1),
    ("convert", 1),
    ("kafka", 1),
    ("store", 2),
    ("plugins", 2),
    ("task", 3),
    ("herder", 4),
    ("rest", 5),
];

/// What assembles the parts (worker, cli, quickstart, bench) may use everything, and nothing below may use it.
const TOP: u8 = 9;

/// The only packages that the contract stands on.
const API_PACKAGES: &[&str] = &["async-trait", "bytes", "num-bigint", "simdutf8", "tokio"];

fn fence_complaints(file: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for fence in FENCES {
        let at_home = fence.homes.iter().any(|home| file.path.starts_with(home));
        if at_home || (fence.in_tests && file.is_test()) {
            continue;
        }
        let code = if fence.in_tests { file.shipped() } else { file.code() };
        for (line, word) in words(&code).filter(|(_, word)| fence.words.contains(word)) {
            complaints.push(format!("{}:{line}: `{word}` may be said in {:?} only", file.path, fence.homes));
        }
    }
    complaints
}

fn file_access_complaints(file: &Source) -> Vec<String> {
    if !file.path.starts_with("src/") || file.is_test() || FILE_USERS.iter().any(|home| file.path.starts_with(home)) {
        return Vec::new();
    }
    let code = compact(&file.shipped());
    let direct = ["std::fs", "tokio::fs"].iter().any(|path| names(&code, path));
    let grouped = ["std::{", "tokio::{"].iter().any(|open| {
        code.match_indices(open).any(|(at, _)| group(&code[at + open.len()..]).iter().any(|name| name == "fs"))
    });
    if direct || grouped { vec![format!("{}: files are for {FILE_USERS:?} only", file.path)] } else { Vec::new() }
}

fn room_complaints(file: &Source) -> Vec<String> {
    let Some(inside) = file.path.strip_prefix("src/") else { return Vec::new() };
    let room = inside.split(['/', '.']).next().unwrap_or_default();
    let code = compact(&file.shipped());
    crate_uses(&code)
        .into_iter()
        .filter(|used| used != room && rank(room) != TOP && rank(used) >= rank(room))
        .map(|used| format!("{}: `crate::{used}` points back (RANKS in tests/it/tidy/arrows.rs)", file.path))
        .collect()
}

fn rank(room: &str) -> u8 {
    RANKS.iter().find(|(name, _)| *name == room).map_or(TOP, |(_, rank)| *rank)
}

/// The first name behind each `crate::`, groups opened.
fn crate_uses(code: &str) -> Vec<String> {
    let mut used = Vec::new();
    for (at, path) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| is_word(c) || c == '$') {
            continue;
        }
        let rest = &code[at + path.len()..];
        match rest.strip_prefix('{') {
            Some(group_text) => used.extend(group(group_text)),
            None => used.push(rest.chars().take_while(|c| is_word(*c)).collect()),
        }
    }
    used
}

/// The first names of the paths in a `use` group, whose opening brace has been read.
fn group(text: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let (mut depth, mut in_first) = (0, true);
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(String::new());
                in_first = true;
            }
            c if depth == 0 && in_first && is_word(c) => names.last_mut().expect("one name").push(c),
            _ => in_first = false,
        }
    }
    names
}

/// Whether the compact code says the path as a whole, not as the start of a longer word.
fn names(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(at, _)| {
        !code[at + path.len()..].starts_with(is_word) && !code[..at].ends_with(|c: char| is_word(c) || c == ':')
    })
}

fn arrow_complaints(packages: &[Package]) -> Vec<String> {
    let place_of = |name: &str| packages.iter().find(|package| package.name == name).map(Package::place);
    let mut complaints = Vec::new();
    for package in packages {
        for (dependency, dev) in &package.dependencies {
            let allowed = match place_of(dependency) {
                Some(target) => may_use(package.place(), target, *dev) || LIBS.contains(&(&package.name, dependency)),
                None => may_name(package.place(), dependency, *dev),
            };
            if !allowed {
                let kind = if *dev { "dev-dependency" } else { "dependency" };
                complaints.push(format!("{} must not have {dependency} as a {kind}", package.name));
            }
        }
    }
    complaints
}

/// Who of the libs may name another one: Java's texts of numbers are those of JSON.
const LIBS: &[(&str, &str)] = &[("pipette-java", "pipette-json")];

/// Between crates of ours; a place is the folder a crate lives in.
fn may_use(from: &str, to: &str, dev: bool) -> bool {
    match (from, to) {
        ("broker", _) => false,
        (_, "kit") => dev,
        ("libs" | "kit" | "connectors" | "transforms", "api") | ("connectors" | "transforms", "libs") => true,
        ("worker", to) => to != "worker",
        _ => false,
    }
}

/// Packages of others.
fn may_name(from: &str, package: &str, dev: bool) -> bool {
    match (from, package) {
        ("api", package) => dev || API_PACKAGES.contains(&package),
        ("worker", _) => true,
        ("broker", "rdkafka") | (_, "axum") => dev,
        (_, "rdkafka" | "rdkafka-sys") => false,
        (from, "object_store") => from == "libs",
        _ => true,
    }
}

#[test]
fn outside_packages_and_unsafe_are_named_in_their_room_only() {
    let complaints: Vec<String> = tree().iter().filter(|file| file.is_rust()).flat_map(fence_complaints).collect();
    assert_none("one place knows each outside thing", &complaints);
}

#[test]
fn the_worker_touches_files_in_few_places() {
    let complaints: Vec<String> =
        tree().iter().filter(|file| file.is_rust()).flat_map(file_access_complaints).collect();
    assert_none("files", &complaints);
}

#[test]
fn the_rooms_of_the_worker_point_one_way() {
    let complaints: Vec<String> = tree().iter().filter(|file| file.is_rust()).flat_map(room_complaints).collect();
    assert_none("rest → herder → task → {convert, kafka, store}", &complaints);
}

#[test]
fn the_crates_point_one_way() {
    assert_none("api ← libs ← plugins ← worker, and the broker apart", &arrow_complaints(&ours()));
}

#[test]
fn a_word_outside_of_its_room_is_seen() {
    let check = |path: &str, text: &str| fence_complaints(&Source::new(path, text)).len();
    assert_eq!(check("src/task/source.rs", "use rdkafka::Message;"), 1);
    assert_eq!(check("src/kafka/producer.rs", "use rdkafka::Message;"), 0);
    assert_eq!(check("broker/tests/a.rs", "use rdkafka::Message;"), 0);
    assert_eq!(check("broker/src/lib.rs", "#[cfg(test)]\nmod tests { use rdkafka::Message; }"), 0);
    assert_eq!(check("src/herder/mod.rs", "// axum is elsewhere\nfn f() -> axum::Json {}"), 1);
    assert_eq!(check("src/kafka/admin.rs", "unsafe { f() }"), 1);
    assert_eq!(check("tests/it/crash.rs", "unsafe { f() }"), 1);
    assert_eq!(check("src/kafka/sys.rs", "unsafe { f() }"), 0);
}

#[test]
fn file_access_outside_of_its_rooms_is_seen() {
    let check = |path: &str, text: &str| file_access_complaints(&Source::new(path, text)).len();
    for text in ["use std::fs;", "std::fs::read(p)", "use std::{io, fs::File};", "tokio::fs::read(p)"] {
        assert_eq!(check("src/task/source.rs", text), 1, "{text}");
        assert_eq!(check("src/store/offsets.rs", text), 0, "{text}");
    }
    assert_eq!(check("src/task/source.rs", "use std::{io, fmt::{self, fs}}; let fs = std::fsx;"), 0);
}

#[test]
fn an_arrow_back_is_seen() {
    let check = |path: &str, text: &str| room_complaints(&Source::new(path, text)).len();
    assert_eq!(check("src/task/source.rs", "use crate::herder::Herder;"), 1);
    assert_eq!(check("src/kafka/admin.rs", "fn f(s: &crate::store::Store) {}"), 1);
    assert_eq!(check("src/store/mod.rs", "use crate::{settings::A, rest::{B, herder}};"), 1);
    assert_eq!(check("src/metrics.rs", "use crate::worker::Worker;"), 1);
    assert_eq!(check("src/rest/mod.rs", "use crate::{herder::A, metrics::B, rest::C};"), 0);
    assert_eq!(check("src/worker.rs", "use crate::rest::A; use crate::cli::B;"), 0);
    assert_eq!(check("src/task/mod.rs", "// crate::rest\nuse crate::store::OffsetStore; pub(crate) fn f() {}"), 0);
}

#[test]
fn a_crate_that_points_back_is_seen() {
    let package = |folder: &str, name: &str, dependencies: &[(&str, bool)]| Package {
        name: name.into(),
        folder: folder.into(),
        dependencies: dependencies.iter().map(|(name, dev)| ((*name).to_owned(), *dev)).collect(),
    };
    let check = |folder: &str, dependency: &str, dev: bool| {
        let mut packages: Vec<Package> = [
            ("api", "pipette-api"),
            ("libs/json", "pipette-json"),
            ("broker", "pipette-broker"),
            ("tests/kit", "pipette-kit"),
            ("connectors/file", "connector-file"),
            ("", "pipette"),
        ]
        .map(|(folder, name)| package(folder, name, &[]))
        .into();
        packages.push(package(folder, "subject", &[(dependency, dev)]));
        arrow_complaints(&packages).is_empty()
    };
    for (folder, dependency) in [
        ("api", "pipette-json"),
        ("api", "serde"),
        ("libs/store", "pipette-json"),
        ("broker", "pipette-api"),
        ("broker", "rdkafka"),
        ("connectors/mqtt", "connector-file"),
        ("connectors/mqtt", "pipette"),
        ("connectors/mqtt", "pipette-kit"),
        ("connectors/mqtt", "rdkafka"),
        ("transforms/x", "axum"),
        ("transforms/x", "object_store"),
        ("tests/kit", "pipette-json"),
    ] {
        assert!(!check(folder, dependency, false), "{folder} → {dependency} must be refused");
    }
    for (folder, dependency, dev) in [
        ("api", "bytes", false),
        ("libs/store", "pipette-api", false),
        ("libs/store", "object_store", false),
        ("connectors/mqtt", "pipette-json", false),
        ("connectors/mqtt", "pipette-kit", true),
        ("broker", "rdkafka", true),
    ] {
        assert!(check(folder, dependency, dev), "{folder} → {dependency} must be allowed");
    }
}
