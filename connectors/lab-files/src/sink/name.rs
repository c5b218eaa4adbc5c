//! Names of files that come from data: whatever a record says, the file is below the output folder, can be seen, and can
//! be copied to any system.
//!
//! Pure. `template.rs` fills the text, `tree.rs` writes under the name.

use xxhash_rust::xxh3::xxh3_64;

/// The longest part of a path in bytes: what file systems allow, less what a temporary or numbered name adds.
const LONGEST: usize = 240;
/// Folders on the way to a file.
const DEEPEST: usize = 32;
/// The names of devices on Windows, with any extension.
const DEVICES: &[&str] = &["con", "prn", "aux", "nul", "com", "lpt"];

/// Where a file is put: folders and a name, each a safe part of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) folders: Vec<String>,
    pub(crate) file: String,
}

impl Name {
    /// The name for a text; the error is the reason. Slashes part folders, empty parts are none.
    pub(crate) fn of(text: &str) -> Result<Self, String> {
        if text.ends_with('/') {
            return Err(format!("'{}' ends in a slash and so names no file", shown(text)));
        }
        let mut folders: Vec<String> = text.split('/').filter(|part| !part.is_empty()).map(safe).collect();
        let file = folders.pop().ok_or_else(|| "it is empty".to_owned())?;
        if folders.len() > DEEPEST {
            return Err(format!("'{}' has more than {DEEPEST} folders", shown(text)));
        }
        Ok(Self { folders, file })
    }

    /// The same name with something put before the extension.
    pub(crate) fn with(&self, mark: &str) -> Self {
        let (stem, extension) = split(&self.file);
        Self { folders: self.folders.clone(), file: safe(&format!("{stem}{mark}{extension}")) }
    }
}

/// The path below the output folder.
impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.folders.iter().try_for_each(|folder| write!(f, "{folder}/"))?;
        f.write_str(&self.file)
    }
}

/// Characters that Windows does not allow, and those that nobody sees.
pub(crate) fn is_replaced(char: char) -> bool {
    char.is_control() || matches!(char, '<' | '>' | ':' | '"' | '\\' | '|' | '?' | '*')
}

/// A part of a path that means nothing to any system but a name.
fn safe(part: &str) -> String {
    let mut safe: String = part.chars().map(|char| if is_replaced(char) { '_' } else { char }).collect();
    // Hidden names, `.` and `..` among them.
    if safe.starts_with('.') {
        safe.replace_range(..1, "_");
    }
    // Windows drops these at the end, so that two names would be one.
    if safe.ends_with(['.', ' ']) {
        safe.pop();
        safe.push('_');
    }
    let stem = safe.split('.').next().unwrap_or_default().to_ascii_lowercase();
    if DEVICES.contains(&stem.trim_end_matches(|char: char| char.is_ascii_digit())) {
        safe.insert(0, '_');
    }
    if safe.len() > LONGEST { shortened(&safe, part) } else { safe }
}

/// As long as may be, with a hash of the whole, so that two long names stay two. The extension stays.
fn shortened(safe: &str, whole: &str) -> String {
    let (stem, extension) = split(safe);
    let extension = if extension.len() <= 32 { extension } else { "" };
    let mark = format!("~{:016x}", xxh3_64(whole.as_bytes()));
    let kept = stem.floor_char_boundary(LONGEST - mark.len() - extension.len());
    format!("{}{mark}{extension}", &stem[..kept])
}

/// A name before its last dot, and from there on.
fn split(name: &str) -> (&str, &str) {
    name.rfind('.').map_or((name, ""), |dot| name.split_at(dot))
}

fn shown(text: &str) -> String {
    text.chars().take(80).map(|char| if char.is_control() { '_' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_means_something_to_a_system_becomes_a_plain_name() {
        for (text, expected) in [
            ("a/b.csv", "a/b.csv"),
            ("/etc/passwd", "etc/passwd"),
            ("../../etc/passwd", "__/__/etc/passwd"),
            ("a//./b", "a/_/b"),
            (".ssh/authorized_keys", "_ssh/authorized_keys"),
            ("a\u{0}b\n.txt", "a_b_.txt"),
            ("C:\\x\\y.txt", "C__x_y.txt"),
            ("2026-01-01T10:00:00.csv", "2026-01-01T10_00_00.csv"),
            ("nul.txt", "_nul.txt"),
            ("COM1", "_COM1"),
            ("common", "common"),
            ("name. ", "name._"),
            ("Größe µ.csv", "Größe µ.csv"),
        ] {
            assert_eq!(Name::of(text).unwrap().to_string(), expected, "{text:?}");
        }
        assert!(Name::of("a/").unwrap_err().contains("names no file"));
        assert!(Name::of("").unwrap_err().contains("is empty"));
        assert!(Name::of(&format!("{}a", "b/".repeat(DEEPEST + 1))).unwrap_err().contains("more than 32 folders"));
    }

    #[test]
    fn long_names_keep_their_extension_and_stay_apart() {
        let long = |end: &str| Name::of(&format!("{}{end}.csv", "ä".repeat(200))).unwrap().file;
        let (one, two) = (long("1"), long("2"));
        assert!(one.len() <= LONGEST && split(&one).1 == ".csv" && one != two, "{one} {two}");
    }

    #[test]
    fn a_mark_stands_before_the_extension() {
        let name = Name::of("x/a.tar.gz").unwrap();
        assert_eq!(name.with("-1").to_string(), "x/a.tar-1.gz");
        assert_eq!(Name::of("plain").unwrap().with("-1").file, "plain-1");
    }

    proptest! {
        #[test]
        fn no_text_leads_out(text in "[a./\\\\ :\u{0}-\u{1f}ä~]{0,300}") {
            if let Ok(name) = Name::of(&text) {
                for part in name.folders.iter().chain([&name.file]) {
                    prop_assert!(!part.is_empty() && part.len() <= LONGEST + 1, "{part:?}");
                    prop_assert!(!part.starts_with('.') && !part.contains('/') && !part.chars().any(is_replaced));
                }
            }
        }
    }
}
