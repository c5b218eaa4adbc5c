//! Which names belong to the source: one regular expression over the name, globs over the relative path.
//!
//! `config.rs` compiles the filters, `scan.rs` asks them. Read next: `scan.rs`.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use regex::Regex;

use crate::settings::LabFilesSettings;

/// A pattern that the whole name must match, as Java's `matches()`.
pub(crate) fn whole_name(pattern: &str) -> Result<Regex, String> {
    // Compiled alone first, so that a stray bracket cannot hide in the group that is put around it.
    // A name may hold a line break, and `.*` means every file: one that is never looked at would be lost silently.
    Regex::new(pattern).and_then(|_| Regex::new(&format!("(?s)^(?:{pattern})$"))).map_err(|error| error.to_string())
}

/// Globs in which `*` stays inside one folder and `**` crosses folders. A glob without a slash is about the name, in
/// whatever folder.
pub(crate) fn globs<'a>(patterns: impl Iterator<Item = &'a str>) -> Result<GlobSet, String> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns.filter(|pattern| !pattern.is_empty()) {
        let anywhere = if pattern.contains('/') { pattern.to_owned() } else { format!("**/{pattern}") };
        let glob = GlobBuilder::new(&anywhere).literal_separator(true).build().map_err(|error| error.to_string())?;
        set.add(glob);
    }
    set.build().map_err(|error| error.to_string())
}

/// Whether a file of that name at that relative path is ours; both as people see them.
pub(crate) fn wants_file(settings: &LabFilesSettings, name: &str, relative: &str) -> bool {
    settings.name.is_match(name) && settings.include.is_match(relative) && !settings.exclude.is_match(relative)
}

/// Whether a folder is entered.
pub(crate) fn wants_folder(settings: &LabFilesSettings, relative: &str) -> bool {
    !settings.exclude.is_match(relative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_a_whole_and_broken_patterns_are_refused() {
        let csv = whole_name(r".*\.csv|x").unwrap();
        assert!(csv.is_match("a.csv") && csv.is_match("x") && !csv.is_match("a.csv.bak"));
        assert!(whole_name(".*").unwrap().is_match("two\nlines.csv"));
        assert!(whole_name(")(").is_err());
    }

    #[test]
    fn a_glob_without_slash_is_about_the_name_in_any_folder() {
        let set = globs(["*.tmp", "raw/**", "day?/x.csv"].into_iter()).unwrap();
        for (path, expected) in [
            ("a.tmp", true),
            ("deep/er/a.tmp", true),
            ("raw/one/two.csv", true),
            ("other/raw.csv", false),
            ("day1/x.csv", true),
            ("day1/sub/x.csv", false),
        ] {
            assert_eq!(set.is_match(path), expected, "{path}");
        }
    }
}
