//! The columns of a table: their names, and the schema of its rows.
//!
//! Every column is an optional text. Names are made unique and never empty, so that no cell is ever overwritten or
//! lost. Read next: `csv.rs`.

use std::collections::HashSet;
use std::sync::Arc;

use pipette_api::{Kind, Result, Schema, SchemaBuilder};

#[derive(Debug)]
pub(crate) struct Columns {
    names: Vec<String>,
    schema: Arc<Schema>,
    /// The schema of the last row that was wider.
    wider: Option<Arc<Schema>>,
}

impl Columns {
    /// Columns of those names and at least that many; unnamed ones are `column_N`.
    pub(crate) fn new(names: Vec<String>, width: usize) -> Result<Self> {
        let names = unique(names, width);
        Ok(Self { schema: schema(&names)?, names, wider: None })
    }

    pub(crate) fn width(&self) -> usize {
        self.names.len()
    }

    /// Where the column of that name stands.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|column| column == name)
    }

    /// The schema of a row with that many cells; a narrower row has the schema of all columns.
    pub(crate) fn schema_for(&mut self, width: usize) -> Result<&Arc<Schema>> {
        if width <= self.names.len() {
            return Ok(&self.schema);
        }
        let known = self.wider.take().filter(|schema| schema.fields().len() == width);
        let schema = match known {
            Some(schema) => schema,
            None => schema(&unique(self.names.clone(), width))?,
        };
        Ok(self.wider.insert(schema))
    }
}

fn schema(names: &[String]) -> Result<Arc<Schema>> {
    let text = Schema::optional(Kind::String);
    let record = SchemaBuilder::record();
    names.iter().fold(record, |record, name| record.field(name.as_str(), Arc::clone(&text))).build()
}

/// Trimmed names, `column_N` for those without one and those beyond, `Name_2` for the second `Name`.
fn unique(mut names: Vec<String>, width: usize) -> Vec<String> {
    names.resize(names.len().max(width), String::new());
    let given: HashSet<String> = names.iter().map(|name| name.trim().to_owned()).collect();
    let mut taken = HashSet::with_capacity(names.len());
    for (index, name) in names.iter_mut().enumerate() {
        let wanted = match name.trim() {
            "" => format!("column_{}", index + 1),
            trimmed => trimmed.to_owned(),
        };
        let free = |candidate: &String| *candidate == wanted || !given.contains(candidate);
        let numbered = (2..).map(|number| format!("{wanted}_{number}"));
        let mut candidates = std::iter::once(wanted.clone()).chain(numbered).filter(free);
        *name = candidates
            .find(|candidate| taken.insert(candidate.clone()))
            .unwrap_or_else(|| unreachable!("there is always another number"));
    }
    names
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(header: &[&str], width: usize) -> Vec<String> {
        unique(header.iter().map(|name| (*name).to_owned()).collect(), width)
    }

    #[test]
    fn columns_without_name_and_repeated_names_get_one_of_their_own() {
        assert_eq!(names(&["Well", " OD ", "", "OD"], 5), ["Well", "OD", "column_3", "OD_2", "column_5"]);
        assert_eq!(names(&["OD", "OD", "OD_2"], 3), ["OD", "OD_3", "OD_2"], "a given name stays where it is");
    }

    proptest! {
        #[test]
        fn names_are_unique_and_a_wider_row_keeps_those_before(
            header in prop::collection::vec("(|a|b|a_2|column_2| )", 0..8),
            extra in 0_usize..4,
        ) {
            let mut columns = Columns::new(header.clone(), 1).unwrap();
            let width = columns.width();
            let base: Vec<_> = columns.schema_for(width).unwrap().fields().to_vec();
            let wide = columns.schema_for(width + extra).unwrap();
            prop_assert_eq!(wide.fields().len(), width + extra);
            prop_assert_eq!(&wide.fields()[..width], &base[..]);
        }
    }
}
