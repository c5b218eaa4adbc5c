//! The tables of settings in `tests/java/settings/`, which explain themselves.

use serde_json::{Map, Value as Json};

use super::chance::Chance;

/// The sets of one class.
#[derive(Default)]
pub(crate) struct Sets {
    pub(crate) accepted: Vec<Json>,
    pub(crate) refused: Vec<Json>,
}

impl Sets {
    /// The sets under `[section]` of a table.
    pub(crate) fn of(table: &str, section: &str) -> Self {
        let heading = format!("[{section}]");
        let lines = table.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with('['));
        let mut sets = Self::default();
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            match line.strip_prefix("! ") {
                Some(line) => sets.refused.push(set(line)),
                None => sets.accepted.push(set(line)),
            }
        }
        assert!(!sets.accepted.is_empty(), "the table has no settings of {section}");
        sets
    }

    pub(crate) fn pick(&self, chance: &mut Chance) -> Json {
        let from = if chance.one_in(100) && !self.refused.is_empty() { &self.refused } else { &self.accepted };
        from[chance.below(from.len())].clone()
    }
}

fn set(line: &str) -> Json {
    let pairs = line.split("; ").filter(|pair| *pair != "-").map(|pair| pair.split_once('=').expect("key=value"));
    Json::Object(pairs.map(|(key, value)| (key.to_owned(), Json::from(value))).collect::<Map<_, _>>())
}
