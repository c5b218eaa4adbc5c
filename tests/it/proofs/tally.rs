//! Named figures of rounds, which add up to those of a run.

use std::fmt;

use serde_json::{Value, json};

/// How the figures of two rounds become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Join {
    Sum,
    Most,
    Least,
}

const JOINS: [(Join, &str); 3] = [(Join::Sum, "sum"), (Join::Most, "most"), (Join::Least, "least")];

/// Figures in the order in which they were first named. A name reads well behind its number: `200 kills`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally(Vec<(String, Join, u64)>);

impl Tally {
    /// Counts more of something; nothing more is a figure too.
    pub(crate) fn add(&mut self, name: &str, more: usize) {
        self.join(name, Join::Sum, more as u64);
    }

    /// The largest of what was seen.
    pub(crate) fn most(&mut self, name: &str, seen: usize) {
        self.join(name, Join::Most, seen as u64);
    }

    /// The smallest of what was seen.
    pub(crate) fn least(&mut self, name: &str, seen: usize) {
        self.join(name, Join::Least, seen as u64);
    }

    /// Takes the figures of another.
    pub(crate) fn append(&mut self, other: &Self) {
        for (name, join, number) in &other.0 {
            self.join(name, *join, *number);
        }
    }

    fn join(&mut self, name: &str, join: Join, number: u64) {
        match self.0.iter_mut().find(|(own, as_before, _)| own == name && *as_before == join) {
            Some((.., own)) => {
                *own = match join {
                    Join::Sum => *own + number,
                    Join::Most => number.max(*own),
                    Join::Least => number.min(*own),
                }
            }
            None => self.0.push((name.to_owned(), join, number)),
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let name = |join: Join| JOINS.iter().find(|(own, _)| *own == join).map(|(_, name)| *name);
        self.0.iter().map(|(what, join, number)| json!([what, name(*join), number])).collect()
    }

    pub(crate) fn of_json(json: &Value) -> Option<Self> {
        let figure = |json: &Value| {
            let (join, _) = JOINS.iter().find(|(_, name)| json[1] == *name)?;
            Some((json[0].as_str()?.to_owned(), *join, json[2].as_u64()?))
        };
        json.as_array()?.iter().map(figure).collect::<Option<_>>().map(Self)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (name, join, number)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            let bound = match join {
                Join::Sum => "",
                Join::Most => "at most ",
                Join::Least => "at least ",
            };
            write!(f, "{comma}{bound}{number} {name}")?;
        }
        Ok(())
    }
}

#[test]
fn rounds_add_up() {
    let mut run = Tally::default();
    for (kills, duplicates) in [(10, 300), (5, 700)] {
        let mut round = Tally::default();
        round.add("kills", kills);
        round.add("lost", 0);
        round.most("duplicates after a kill", duplicates);
        round.least("rows/s", duplicates * 10);
        run.append(&round);
    }
    let line = "15 kills, 0 lost, at most 700 duplicates after a kill, at least 3000 rows/s";
    assert_eq!(run.to_string(), line);
    assert_eq!(Tally::of_json(&run.to_json()), Some(run));
}
