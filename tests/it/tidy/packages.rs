//! What `cargo metadata` tells: our crates and their dependencies, licences, packages that must not come twice or at all.

use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

use super::assert_none;

/// A crate of ours.
pub(crate) struct Package {
    pub(crate) name: String,
    /// Relative to the root; empty for the worker.
    pub(crate) folder: String,
    /// Names, and whether only tests need it. Build dependencies count as ordinary ones.
    pub(crate) dependencies: Vec<(String, bool)>,
}

impl Package {
    /// The part of the tree the dependency law speaks about.
    pub(crate) fn place(&self) -> &str {
        match self.folder.as_str() {
            "" => "worker",
            "tests/kit" => "kit",
            folder => folder.split('/').next().unwrap_or_default(),
        }
    }
}

/// Licences we ship under Apache-2.0 without asking. `deny.toml` has the same list for users of cargo-deny.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "MIT",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MPL-2.0",
    "Zlib",
    "Unicode-3.0",
    "CC0-1.0",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "bzip2-1.0.6",
    "OpenSSL",
];

/// An exception only adds permissions, but each is read before it is listed.
const EXCEPTIONS: &[&str] = &["LLVM-exception"];

/// One TLS provider for Rust code (`ring`); librdkafka's OpenSSL comes as `openssl-sys` alone.
const REFUSED: &[&str] = &["aws-lc-rs", "aws-lc-sys", "native-tls", "openssl", "boring"];

/// Two versions of these would not understand each other's types, or cost minutes of compile time.
const SINGLE: &[&str] = &["arrow", "arrow-array", "parquet", "object_store", "rustls", "rdkafka", "axum", "tokio"];

fn metadata() -> &'static Value {
    static METADATA: OnceLock<Value> = OnceLock::new();
    METADATA.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--locked", "--all-features"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
    })
}

fn packages() -> impl Iterator<Item = &'static Value> {
    metadata()["packages"].as_array().expect("a list of packages").iter()
}

/// The crates of this workspace.
pub(crate) fn ours() -> Vec<Package> {
    packages().filter(|package| package["source"].is_null()).map(read_package).collect()
}

fn read_package(package: &Value) -> Package {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let manifest = text(&package["manifest_path"]);
    let folder = manifest.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("a crate inside of the tree");
    let dependencies = package["dependencies"].as_array().expect("a list of dependencies");
    Package {
        name: text(&package["name"]),
        folder: folder.trim_end_matches("Cargo.toml").trim_matches('/').to_owned(),
        dependencies: dependencies.iter().map(|it| (text(&it["name"]), it["kind"] == "dev")).collect(),
    }
}

/// Whether an SPDX expression lets us use the package; `/` is the old way to write OR.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    any_of(&mut words) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words) -> bool {
    let mut allowed = all_of(words);
    while words.next_if_eq(&"OR").is_some() {
        // Not `||`: the rest must be read in any case.
        allowed |= all_of(words);
    }
    allowed
}

fn all_of(words: &mut Words) -> bool {
    let mut allowed = one(words);
    while words.next_if_eq(&"AND").is_some() {
        allowed &= one(words);
    }
    allowed
}

fn one(words: &mut Words) -> bool {
    match words.next() {
        Some("(") => {
            let allowed = any_of(words);
            words.next() == Some(")") && allowed
        }
        Some(licence) => {
            let excepted =
                words.next_if_eq(&"WITH").is_none_or(|_| words.next().is_some_and(|e| EXCEPTIONS.contains(&e)));
            LICENCES.contains(&licence) && excepted
        }
        None => false,
    }
}

/// Names and versions of everything in the graph.
fn graph_complaints(graph: &[(&str, &str)]) -> Vec<String> {
    let versions = |name: &str| graph.iter().filter(|(it, _)| *it == name).map(|(_, version)| *version).collect();
    let refused = REFUSED.iter().filter(|name| graph.iter().any(|(it, _)| it == *name));
    let refused = refused.map(|name| format!("{name} came in: cargo tree -i {name} shows by which feature"));
    let doubled =
        SINGLE.iter().map(|name| (name, versions(name))).filter(|(_, versions): &(_, Vec<&str>)| versions.len() > 1);
    refused.chain(doubled.map(|(name, versions)| format!("{name} comes as {versions:?}: one version only"))).collect()
}

#[test]
fn every_licence_is_on_the_list() {
    let complaints: Vec<String> = packages()
        .filter(|package| !package["license"].as_str().is_some_and(is_allowed))
        .map(|package| format!("{} {}: licence {}", package["name"], package["version"], package["license"]))
        .collect();
    assert_none("licences of dependencies (LICENCES in tests/it/tidy/packages.rs)", &complaints);
}

#[test]
fn one_tls_provider_and_one_version_of_the_heavy_packages() {
    let text = |value: &'static Value| value.as_str().unwrap_or_default();
    let graph: Vec<_> = packages().map(|package| (text(&package["name"]), text(&package["version"]))).collect();
    assert!(graph.len() > 50, "cargo metadata shows only {} packages", graph.len());
    assert_none("packages", &graph_complaints(&graph));
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    for allowed in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "(MIT OR GPL-2.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        "MIT AND (BSD-3-Clause OR AGPL-3.0)",
    ] {
        assert!(is_allowed(allowed), "{allowed}");
    }
    for refused in [
        "",
        "GPL-3.0-only",
        "MIT AND GPL-2.0",
        "GPL-2.0 OR AGPL-3.0 AND MIT",
        "(MIT OR Apache-2.0) AND SSPL-1.0",
        "MIT WITH Unknown-exception",
        "(MIT",
        "MIT MIT",
    ] {
        assert!(!is_allowed(refused), "{refused}");
    }
}

#[test]
fn a_second_provider_or_version_is_seen() {
    assert!(graph_complaints(&[("ring", "0.17.0"), ("arrow", "58.4.1")]).is_empty());
    assert_eq!(graph_complaints(&[("aws-lc-rs", "1.0.0")]).len(), 1);
    assert_eq!(graph_complaints(&[("object_store", "0.12.0"), ("object_store", "0.14.2")]).len(), 1);
}
