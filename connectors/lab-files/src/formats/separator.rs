//! Which character divides the cells of a file.
//!
//! The vote is on evenness per line, not on counts: a decimal comma in every row outnumbers the semicolons, but the
//! header has none. A pure function over the head of the file. Read next: `csv.rs`.

/// In the order in which they win when the vote is even: a comma is most likely to be something else.
const CANDIDATES: [u8; 4] = [b'\t', b';', b'|', b','];
/// So many lines are looked at.
const LINES: usize = 100;

/// The separator that a first line `sep=;` declares.
pub(crate) fn declared(head: &[u8]) -> Option<u8> {
    match head.split(|byte| matches!(byte, b'\n' | b'\r')).next()? {
        [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', separator] if separator.is_ascii() => Some(*separator),
        _ => None,
    }
}

/// The candidate that divides the lines of the head most evenly; `None` when no line has any. `whole` says that the
/// last line is not cut.
pub(crate) fn detect(head: &[u8], quote: Option<u8>, whole: bool) -> Option<u8> {
    let mut lines = count_per_line(head, quote);
    if !whole && lines.len() > 1 {
        lines.pop();
    }
    lines.truncate(LINES);
    let votes = CANDIDATES.iter().enumerate().filter_map(|(index, separator)| {
        let counts: Vec<u32> = lines.iter().map(|counts| counts[index]).collect();
        let (usual, share) = most_common(&counts)?;
        let header_agrees = counts.first() == Some(&usual);
        Some(((share, header_agrees, CANDIDATES.len() - index), *separator))
    });
    votes.max().map(|(_, separator)| separator)
}

/// How evenly a separator divides the lines: true when every line of the head has the same number of it.
pub(crate) fn is_even(head: &[u8], quote: Option<u8>, whole: bool, separator: u8) -> bool {
    let mut lines = count_per_line(head, quote);
    if !whole {
        lines.pop();
    }
    let index = CANDIDATES.iter().position(|candidate| *candidate == separator);
    let mut counts = lines.iter().map(|counts| index.map_or(0, |index| counts[index]));
    let first = counts.next();
    lines.len() > 1 && first.is_some_and(|first| first > 0 && counts.all(|count| count == first))
}

/// The number above zero that most lines share, and how many lines do.
fn most_common(counts: &[u32]) -> Option<(u32, usize)> {
    let with = |count: u32| counts.iter().filter(|other| **other == count).count();
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| (with(*count), *count))
        .max()
        .map(|(share, count)| (count, share))
}

/// Each candidate's count outside of quotes, line by line; blank lines are left out.
fn count_per_line(head: &[u8], quote: Option<u8>) -> Vec<[u32; CANDIDATES.len()]> {
    let mut lines = Vec::new();
    let (mut counts, mut quoted, mut filled, mut cell_start) = ([0; CANDIDATES.len()], false, false, true);
    for byte in head {
        if Some(*byte) == quote && (quoted || cell_start) {
            (quoted, filled) = (!quoted, true);
            continue;
        }
        if quoted {
            continue;
        }
        cell_start = false;
        if matches!(byte, b'\n' | b'\r') {
            if filled {
                lines.push(counts);
            }
            (counts, filled, cell_start) = ([0; CANDIDATES.len()], false, true);
        } else if let Some(index) = CANDIDATES.iter().position(|candidate| candidate == byte) {
            counts[index] += 1;
            (filled, cell_start) = (true, true);
        } else {
            filled = filled || !byte.is_ascii_whitespace();
        }
        if lines.len() > LINES {
            return lines;
        }
    }
    if filled {
        lines.push(counts);
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_most_even_candidate_wins() {
        for (head, expected) in [
            ("a,b,c\n1,2,3\n", Some(b',')),
            ("Zeit;Temp;Druck\n1,5;2,5;3,5\n1,6;2,6;3,6\n", Some(b';')),
            ("a\tb\n1,0\t2,0\n1,0\t2,0\n", Some(b'\t')),
            ("name|note\nx|\"a|b|c\"\ny|d\n", Some(b'|')),
            ("text, with commas\tb\nno\tc\nand, so, on\td\n", Some(b'\t')),
            ("\r\n\r\na;b\r\n\r\n1;2\r\n", Some(b';')),
            ("\"a;b\",c\n\"d\",e\n", Some(b',')),
            ("one column\nonly\n", None),
            ("", None),
        ] {
            assert_eq!(detect(head.as_bytes(), Some(b'"'), true), expected, "{head:?}");
        }
        assert_eq!(declared(b"sep=;\r\na;b"), Some(b';'));
        assert_eq!(declared(b"separate\n"), None);
    }

    proptest! {
        /// A table of plain words is always recognised, also when the sample cuts its last line anywhere.
        #[test]
        fn a_plain_table_is_recognised(
            separator in prop::sample::select(&CANDIDATES[..]),
            width in 2_usize..6,
            rows in prop::collection::vec(prop::collection::vec("[a-z0-9 .]{0,8}", 6), 3..12),
            cut in 1_usize..20,
        ) {
            let lines: Vec<String> =
                rows.iter().map(|row| format!("x{}", row[..width].join(&char::from(separator).to_string()))).collect();
            let text = lines.join("\r\n");
            prop_assert_eq!(detect(text.as_bytes(), Some(b'"'), true), Some(separator));
            let complete_lines = text.len() - lines[rows.len() - 1].len();
            let cut = (complete_lines + cut).min(text.len());
            prop_assert_eq!(detect(&text.as_bytes()[..cut], Some(b'"'), false), Some(separator));
        }
    }
}
