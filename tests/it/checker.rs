//! What the crash rigs believe in: rows that prove themselves, and the count of what came of them.
//!
//! A row names its file, which is its source partition, and its number in it. `crash.rs` and `proofs/` write the rows and
//! ask for the verdict; the tests below prove that a lost, torn, foreign, doubled or reordered row is seen.

use std::fmt;
use std::ops::Range;

/// Which rows were handed in: `rows[f]` rows in file `f`.
#[derive(Debug, Clone)]
pub(crate) struct Handed {
    pub(crate) rows: Vec<usize>,
}

/// What became of the rows, as read from one place.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Different rows that arrived whole.
    pub(crate) arrived: usize,
    /// Rows that never arrived: the first ten by name.
    pub(crate) lost: Vec<String>,
    /// How many never arrived.
    pub(crate) lost_count: usize,
    /// Rows that came more than once.
    pub(crate) duplicates: usize,
    /// Rows that came for the first time before their predecessor in the file had come.
    pub(crate) early: usize,
    /// Where a file was begun again behind a row that had come before: what each repetition repeated.
    pub(crate) returns: Vec<Return>,
    /// Lines that are no row as it was written: torn, merged or foreign.
    pub(crate) damaged: Vec<String>,
}

/// A step back in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Return {
    pub(crate) file: usize,
    /// The row that had come last.
    pub(crate) from: usize,
    /// The row that came next.
    pub(crate) to: usize,
    /// How many rows had come before, of all files.
    pub(crate) at: usize,
}

impl Return {
    /// Rows that came twice because of it.
    pub(crate) fn length(&self) -> usize {
        self.from + 1 - self.to
    }
}

/// Looks at lines as they come.
pub(crate) struct Watch<'a> {
    handed: &'a Handed,
    seen: Vec<Vec<bool>>,
    last: Vec<Option<usize>>,
    verdict: Verdict,
}

/// The text of a row: its name, and a filling that only this row has, so that half a row is not taken for one.
pub(crate) fn row(file: usize, row: usize) -> String {
    let seed = (file as u64) << 32 | row as u64;
    let filling: Vec<String> =
        (1..=4u64).map(|n| format!("{:016x}", seed.wrapping_add(n).wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    format!("f{file:04}-r{row:08},{}", filling.join(","))
}

impl Handed {
    pub(crate) fn total(&self) -> usize {
        self.rows.iter().sum()
    }

    /// The content of a file.
    pub(crate) fn file(&self, file: usize) -> String {
        (0..self.rows[file]).map(|n| row(file, n) + "\n").collect()
    }

    /// The same, but only the rows of some files.
    pub(crate) fn only(&self, files: Range<usize>) -> Self {
        let rows = self.rows.iter().enumerate();
        Self { rows: rows.map(|(file, rows)| if files.contains(&file) { *rows } else { 0 }).collect() }
    }

    /// Counts what arrived. The order of lines is the order of arrival.
    pub(crate) fn check<'a>(&self, lines: impl IntoIterator<Item = &'a str>) -> Verdict {
        let mut watch = self.watch();
        for line in lines {
            watch.see(line);
        }
        watch.verdict()
    }

    /// For lines that come one by one.
    pub(crate) fn watch(&self) -> Watch<'_> {
        Watch {
            handed: self,
            seen: self.rows.iter().map(|rows| vec![false; *rows]).collect(),
            last: vec![None; self.rows.len()],
            verdict: Verdict::default(),
        }
    }

    /// Which row a line is, when it is one to the last byte.
    fn identify(&self, line: &str) -> Option<(usize, usize)> {
        let (name, _) = line.split_once(',')?;
        let (file, n) = name.strip_prefix('f')?.split_once("-r")?;
        let (file, n) = (file.parse().ok()?, n.parse().ok()?);
        (*self.rows.get(file)? > n && row(file, n) == line).then_some((file, n))
    }
}

impl Watch<'_> {
    /// Which row came: its file and number, if it is one.
    pub(crate) fn see(&mut self, line: &str) -> Option<(usize, usize)> {
        let Some((file, n)) = self.handed.identify(line) else {
            self.verdict.damaged.push(line.to_owned());
            return None;
        };
        let at = self.verdict.arrived + self.verdict.duplicates;
        if std::mem::replace(&mut self.seen[file][n], true) {
            self.verdict.duplicates += 1;
        } else {
            self.verdict.arrived += 1;
            self.verdict.early += usize::from(n > 0 && !self.seen[file][n - 1]);
        }
        if let Some(from) = self.last[file].replace(n).filter(|last| n <= *last) {
            self.verdict.returns.push(Return { file, from, to: n, at });
        }
        Some((file, n))
    }

    /// How many different rows have come.
    pub(crate) fn arrived(&self) -> usize {
        self.verdict.arrived
    }

    /// What has come until now.
    pub(crate) fn verdict(mut self) -> Verdict {
        for (file, rows) in self.seen.iter().enumerate() {
            for (n, _) in rows.iter().enumerate().filter(|(_, came)| !**came) {
                self.verdict.lost_count += 1;
                if self.verdict.lost.len() < 10 {
                    self.verdict.lost.push(format!("f{file:04}-r{n:08}"));
                }
            }
        }
        self.verdict
    }
}

impl Verdict {
    /// Nothing lost, every row once, and the order kept.
    pub(crate) fn assert_exact(&self, place: &str) {
        self.assert_kept(place);
        let clean = self.duplicates == 0 && self.damaged.is_empty();
        let some = self.damaged.iter().take(3).collect::<Vec<_>>();
        assert!(clean, "{place}: {self}; first repeated: {:?}; first damaged: {some:?}", self.returns.first());
    }

    /// Nothing lost and the order kept. Duplicates are allowed, they are what at-least-once means.
    pub(crate) fn assert_kept(&self, place: &str) {
        assert!(self.lost_count == 0 && self.early == 0, "{place}: {self}; first lost: {:?}", self.lost);
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} rows arrived, {} lost, {} out of order, {} duplicates, {} damaged lines",
            self.arrived,
            self.lost_count,
            self.early,
            self.duplicates,
            self.damaged.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed() -> Handed {
        Handed { rows: vec![3, 2] }
    }

    fn lines() -> Vec<String> {
        vec![row(0, 0), row(1, 0), row(0, 1), row(0, 2), row(1, 1)]
    }

    fn verdict(lines: &[String]) -> Verdict {
        handed().check(lines.iter().map(String::as_str))
    }

    #[test]
    fn all_rows_once_is_a_clean_verdict() {
        let verdict = verdict(&lines());
        assert_eq!(verdict, Verdict { arrived: 5, ..Verdict::default() });
        verdict.assert_exact("the topic");
    }

    #[test]
    #[should_panic(expected = "1 lost")]
    fn a_lost_row_fails_the_proof() {
        let mut lines = lines();
        lines.remove(3);
        let verdict = verdict(&lines);
        assert_eq!(verdict.lost, ["f0000-r00000002"]);
        verdict.assert_kept("the topic");
    }

    #[test]
    fn a_doubled_row_is_counted_and_allowed() {
        let mut lines = lines();
        lines.extend([row(0, 1), row(0, 2)]);
        let verdict = verdict(&lines);
        assert_eq!((verdict.arrived, verdict.duplicates), (5, 2));
        assert_eq!(verdict.returns, [Return { file: 0, from: 2, to: 1, at: 5 }]);
        assert_eq!(verdict.returns[0].length(), 2);
        verdict.assert_kept("the topic");
    }

    #[test]
    #[should_panic(expected = "first repeated: Some(Return { file: 1, from: 1, to: 1, at: 5 })")]
    fn a_doubled_row_fails_the_proof_of_exactly_once() {
        let mut lines = lines();
        lines.push(row(1, 1));
        verdict(&lines).assert_exact("the topic");
    }

    #[test]
    #[should_panic(expected = "1 out of order")]
    fn a_row_before_its_predecessor_fails_the_proof() {
        let mut lines = lines();
        lines.swap(2, 3);
        verdict(&lines).assert_kept("the topic");
    }

    #[test]
    fn a_torn_merged_or_foreign_line_is_no_row() {
        let torn = row(0, 2)[..60].to_owned();
        let merged = format!("{}{}", &row(1, 1)[..20], row(0, 2));
        for damaged in [torn, merged, row(0, 7), row(9, 0), "hello".to_owned(), String::new()] {
            let mut lines = lines();
            lines[3].clone_from(&damaged);
            let verdict = verdict(&lines);
            assert_eq!(verdict.lost, ["f0000-r00000002"], "{damaged}");
            assert_eq!(verdict.damaged, [damaged]);
        }
    }
}
