//! Whether Java and Pipette wrote the same lines.

use std::fs;
use std::path::Path;

/// How two outputs compare.
#[derive(Debug, PartialEq)]
pub(super) enum Sameness {
    Bytes,
    /// Java's maps have no order, so a line may name its members in any.
    ButForOrder,
    /// The first line that differs.
    Different(String),
}

impl Sameness {
    /// Of two files.
    pub(super) fn of(java: &Path, ours: &Path) -> Self {
        let read = |path: &Path| fs::read_to_string(path).expect("an output");
        Self::of_text(&read(java), &read(ours))
    }

    fn of_text(java: &str, ours: &str) -> Self {
        if java == ours {
            return Self::Bytes;
        }
        let differing =
            java.lines().zip(ours.lines()).position(|(java, ours)| java != ours && parts(java) != parts(ours));
        let (java_lines, our_lines) = (java.lines().count(), ours.lines().count());
        match differing {
            None if java_lines == our_lines => Self::ButForOrder,
            None => Self::Different(format!("{java_lines} lines of Java, {our_lines} of Pipette")),
            Some(at) => {
                let line = |text: &str| text.lines().nth(at).unwrap_or_default().to_owned();
                Self::Different(format!("line {}\n  Java    {}\n  Pipette {}", at + 1, line(java), line(ours)))
            }
        }
    }

    pub(super) fn show(&self) -> String {
        match self {
            Self::Bytes => "it wrote what Pipette writes, byte for byte".into(),
            Self::ButForOrder => "it wrote what Pipette writes, members in another order".into(),
            Self::Different(how) => format!("it and Pipette DIFFER: {how}"),
        }
    }
}

/// The members of a map's text, sorted, wherever they are nested.
fn parts(line: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = line.split(['{', '}', '[', ']', ',']).map(str::trim).collect();
    parts.sort_unstable();
    parts
}

#[test]
fn order_is_no_difference_but_a_value_is() {
    let check = |java, ours| Sameness::of_text(java, ours);
    assert_eq!(check("{a=1, b=[{c=2, d=3}]}\n", "{a=1, b=[{c=2, d=3}]}\n"), Sameness::Bytes);
    assert_eq!(check("{a=1, b=[{c=2, d=3}]}\n", "{b=[{d=3, c=2}], a=1}\n"), Sameness::ButForOrder);
    assert!(
        matches!(check("x\n{a=1, b=2}\n", "x\n{a=1, b=3}\n"), Sameness::Different(how) if how.starts_with("line 2"))
    );
    assert!(matches!(check("x\n", "x\nx\n"), Sameness::Different(_)));
}
