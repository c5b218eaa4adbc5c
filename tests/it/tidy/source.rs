//! The files of the tree, and Rust text without what is not code: comments, literals and test modules.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// One text file, its path relative to the root and with forward slashes.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.is("rs")
    }

    pub(crate) fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|it| it == extension)
    }

    /// In a `tests` folder; the kit is a crate for plugin authors and counts as shipped.
    pub(crate) fn is_test(&self) -> bool {
        self.path.starts_with("tests/it/") || self.path.contains("/tests/")
    }

    /// Comments and literals are blanks, lines stay where they are.
    pub(crate) fn code(&self) -> String {
        blank_literals(&self.text)
    }

    /// The code without its `#[cfg(test)]` items.
    pub(crate) fn shipped(&self) -> String {
        blank_tests(&self.code())
    }
}

/// Every text file of the tree that people write: Rust, Markdown, TOML, YAML, properties and scripts.
pub(crate) fn tree() -> &'static [Source] {
    static TREE: OnceLock<Vec<Source>> = OnceLock::new();
    TREE.get_or_init(|| {
        let mut found = Vec::new();
        walk(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut found);
        assert!(found.iter().any(|file| file.path == "src/main.rs"), "the walk went astray");
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    })
}

fn walk(folder: &Path, prefix: &str, found: &mut Vec<Source>) {
    // Build folders mark themselves, whatever they are called.
    if folder.join("CACHEDIR.TAG").exists() {
        return;
    }
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let entry = entry.expect("a readable entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let hidden = name.starts_with('.') && name != ".ci";
        if hidden || name == "target" {
            continue;
        }
        if entry.file_type().expect("a file type").is_dir() {
            walk(&entry.path(), &format!("{path}/"), found);
        } else if let Ok(text) = fs::read_to_string(entry.path())
            && is_written(&name, &text)
        {
            found.push(Source { path, text });
        }
    }
}

fn is_written(name: &str, text: &str) -> bool {
    match name.rsplit_once('.') {
        Some((_, extension)) => matches!(extension, "rs" | "md" | "toml" | "yml" | "yaml" | "properties" | "sh"),
        None => text.starts_with("#!") || name == "Dockerfile",
    }
}

/// Identifiers and keywords with their line numbers.
pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().flat_map(|(line, text)| {
        text.split(|c: char| !is_word(c)).filter(|word| !word.is_empty()).map(move |word| (line + 1, word))
    })
}

/// The code without white space, where two words would not grow together.
pub(crate) fn compact(code: &str) -> String {
    let mut out = String::with_capacity(code.len());
    for part in code.split_whitespace() {
        if out.ends_with(is_word) && part.starts_with(is_word) {
            out.push(' ');
        }
        out.push_str(part);
    }
    out
}

pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn blank_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none begins there.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = |n: usize| chars.get(at + n).copied().unwrap_or('\0');
    let inside_word = at > 0 && is_word(chars[at - 1]);
    match chars[at] {
        '/' if next(1) == '/' => (at..chars.len()).find(|i| chars[*i] == '\n').unwrap_or(chars.len()),
        '/' if next(1) == '*' => block_comment_end(chars, at),
        '"' => quoted_end(chars, at, '"'),
        'r' if !inside_word || chars[at - 1] == 'b' || chars[at - 1] == 'c' => raw_end(chars, at),
        '\'' if next(1) == '\\' || (next(2) == '\'' && next(1) != '\'') => quoted_end(chars, at, '\''),
        _ => at,
    }
}

fn quoted_end(chars: &[char], start: usize, quote: char) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    chars.len().min(at + 1)
}

fn raw_end(chars: &[char], start: usize) -> usize {
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    if chars.get(start + 1 + hashes) != Some(&'"') {
        return start;
    }
    let closing = |at: &usize| chars[*at] == '"' && chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
    (start + 2 + hashes..chars.len()).find(closing).map_or(chars.len(), |at| at + 1 + hashes)
}

fn block_comment_end(chars: &[char], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at + 1 < chars.len() {
        match (chars[at], chars[at + 1]) {
            ('/', '*') => (depth, at) = (depth + 1, at + 2),
            ('*', '/') => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    chars.len()
}

/// Blanks each item that follows `#[cfg(test)]`, up to its closing brace or semicolon.
fn blank_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        out.push_str(&rest[..at]);
        let end = at + item_end(&rest[at..]);
        out.extend(rest[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[end..];
    }
    out + rest
}

fn item_end(item: &str) -> usize {
    let mut depth = 0;
    for (at, c) in item.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

#[test]
fn comments_literals_and_tests_are_no_code() {
    let text = r##"
// unsafe in a comment
/* unsafe /* nested */ unsafe */
let a = "unsafe \" unsafe"; let b = r#"unsafe " unsafe"#; let c = b"unsafe"; let d = '"'; let e = '\'';
fn keep<'a>(x: &'a str) {}
#[cfg(test)]
mod tests { fn f() { unsafe {} } }
fn also_kept() {}
"##;
    let source = Source::new("src/a.rs", text);
    let shipped = source.shipped();
    assert!(!shipped.contains("unsafe"), "{shipped}");
    assert!(shipped.contains("fn keep<'a>(x: &'a str) {}") && shipped.contains("fn also_kept() {}"), "{shipped}");
    assert_eq!(words(&source.code()).filter(|(_, word)| *word == "unsafe").collect::<Vec<_>>(), [(7, "unsafe")]);
}
