//! The written face is true: generated pages are what the program says of itself, JSON in any page is accepted by it,
//! and the Dockerfile knows the tree.
//!
//! `docs/pages.rs` makes the pages. A page that differs is rewritten, so that the second run passes and the change can
//! be looked at before it is committed.

mod pages;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use pipette::herder::validate::{Draft, validate};
use pipette::plugins::Plugins;
use pipette::settings::file;
use pipette::settings::worker::WorkerConfig;
use serde_json::Value;

use crate::tidy::source::{Source, tree};

#[test]
fn generated_pages_are_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = pages::all();
    assert!(pages.len() > 8, "{} pages", pages.len());
    let mut rewritten = Vec::new();
    for (path, text) in &pages {
        let file = root.join(path);
        if fs::read_to_string(&file).is_ok_and(|there| there == *text) {
            continue;
        }
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder for pages");
        fs::write(&file, text).expect("a page");
        rewritten.push(path.clone());
    }
    for path in forgotten(root, &pages) {
        fs::remove_file(root.join(&path)).expect("a page that can be removed");
        rewritten.push(path);
    }
    assert!(
        rewritten.is_empty(),
        "these pages were not what the program says and have been rewritten; look at them and commit them:\n  {}",
        rewritten.join("\n  ")
    );
}

/// Pages in generated folders that nothing generates any more.
fn forgotten(root: &Path, pages: &BTreeMap<String, String>) -> Vec<String> {
    let files = ["docs/connectors", "docs/transforms"].into_iter().flat_map(|folder| {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten();
        entries.map(move |entry| format!("{folder}/{}", entry.expect("a page").file_name().to_string_lossy()))
    });
    files.filter(|path| !pages.contains_key(path)).collect()
}

#[test]
fn json_in_pages_is_accepted() {
    let worker = example_worker();
    let pages = tree().iter().filter(|file| file.is("md"));
    let complaints: Vec<String> = pages.flat_map(|page| json_complaints(page, &worker)).collect();
    assert!(complaints.is_empty(), "JSON in Markdown:\n  {}", complaints.join("\n  "));
}

fn example_worker() -> WorkerConfig {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/connect-standalone.properties");
    WorkerConfig::read(file::worker(&path).expect("a worker file")).expect("a valid worker file")
}

fn json_complaints(page: &Source, worker: &WorkerConfig) -> Vec<String> {
    let blocks = json_blocks(&page.text).into_iter();
    blocks.filter_map(|(line, text)| Some(format!("{}:{line}: {}", page.path, complaint(&text, worker)?))).collect()
}

fn complaint(text: &str, worker: &WorkerConfig) -> Option<String> {
    let json: Value = match serde_json::from_str(text) {
        Ok(json) => json,
        Err(error) => return Some(format!("no JSON: {error}")),
    };
    let config = json.get("config").unwrap_or(&json);
    config.get("connector.class")?;
    let mut draft: Draft = config
        .as_object()?
        .iter()
        .map(|(key, value)| (key.clone(), value.as_str().map_or(Some(value.to_string()), |text| Some(text.to_owned()))))
        .collect();
    draft.entry("name".into()).or_insert_with(|| Some("example".into()));
    match validate(&Plugins::built_in(), worker, &draft) {
        Err(error) => Some(error),
        Ok(validation) => {
            let errors: Vec<&str> = validation.errors().collect();
            (!errors.is_empty()).then(|| errors.join("; "))
        }
    }
}

/// Fenced blocks of JSON, with the line each begins on.
fn json_blocks(markdown: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (n, line) in markdown.lines().enumerate() {
        match &mut open {
            None if line.trim() == "```json" => open = Some((n + 1, String::new())),
            None => {}
            Some(_) if line.trim() == "```" => blocks.extend(open.take()),
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
        }
    }
    blocks
}

/// Folders at the root, by which a name in backticks is known to be a path.
const ROOMS: &[&str] =
    &["api/", "broker/", "config/", "connectors/", "docs/", "libs/", "src/", "tests/", "transforms/"];

#[test]
fn files_that_pages_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = tree().iter().filter(|file| file.is("md"));
    let named = pages.flat_map(|page| named_paths(&page.text).map(move |path| (&page.path, path)));
    let missing: Vec<String> = named
        .filter(|(_, path)| !root.join(path).exists())
        .map(|(page, path)| format!("{page}: {path} does not exist"))
        .collect();
    assert_eq!(missing, [""; 0]);
}

/// Paths in backticks; one that stands for several (`*`) or for a place to fill in (capitals) is not one.
fn named_paths(markdown: &str) -> impl Iterator<Item = &str> {
    let inline = markdown.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let is_path = |text: &&str| {
        ROOMS.iter().any(|room| text.starts_with(room))
            && !text.contains(|c: char| c == '*' || c.is_whitespace())
            && !text.contains("NAME")
    };
    inline.filter(is_path)
}

#[test]
fn a_path_is_told_from_other_code() {
    let named = |text| named_paths(text).collect::<Vec<_>>();
    assert_eq!(
        named("see `src/no.rs` and `tests/it/`, not `src/*.rs`, `ctx.io` or `docs/NAME.md`"),
        ["src/no.rs", "tests/it/"]
    );
    assert_eq!(named("`x` `api/src` `y`\n`z` src/b.rs"), ["api/src"]);
}

/// The image's first layer compiles the dependencies of all manifests; one that is missing there fails the build.
#[test]
fn the_image_is_built_from_every_manifest() {
    let dockerfile = tree().iter().find(|file| file.path == "Dockerfile").expect("a Dockerfile");
    // A workspace of its own is no part of the program.
    let built = tree().iter().filter(|file| !file.text.contains("[workspace]\n"));
    let folders = built.filter_map(|file| file.path.strip_suffix("/Cargo.toml"));
    let missing: Vec<&str> =
        folders.filter(|folder| !dockerfile.text.contains(&format!("COPY {folder}/Cargo.toml {folder}/\n"))).collect();
    assert_eq!(missing, [""; 0], "manifests the Dockerfile does not copy");
}

#[test]
fn a_wrong_example_is_seen() {
    let worker = example_worker();
    let check = |json: &str| {
        let page = format!("text\n```json\n{json}\n```\n```sh\nnot {{ json\n```\n");
        json_complaints(&Source::new("docs/page.md", &page), &worker)
    };
    assert_eq!(check(r#"{"connector.class": "FileStreamSource", "file": "a", "topic": "t"}"#), [""; 0]);
    assert_eq!(check(r#"{"name": "n", "config": {"connector.class": "FileStreamSink", "topics": "t"}}"#), [""; 0]);
    assert_eq!(check(r#"{"any": ["thing"]}"#), [""; 0]);
    let complaints = check(r#"{"connector.class": "FileStreamSource"}"#);
    assert!(complaints[0].starts_with("docs/page.md:2: Missing required configuration \"topic\""), "{complaints:?}");
    assert!(check(r#"{"connector.class": "NoSuchThing"}"#)[0].contains("Failed to find any class"));
    assert!(check(r#"{"a": …}"#)[0].contains("no JSON"));
}
