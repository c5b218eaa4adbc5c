//! Paths to fields inside of fields: `a.b`, and `` a.`b.c` `` where a name has a dot.

use pipette_api::data::Field;
use pipette_api::{ConnectError, Kind, Map, Result, Schema, Struct, Value};

use crate::fields::java_class;

/// The indexes of the fields on the way, and the last field itself.
pub(crate) type Way<'s> = (Box<[usize]>, &'s Field);

/// The names on the way to a field, at least one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FieldPath {
    text: String,
    steps: Vec<String>,
}

const PURPOSE: &str = "nested field access";

impl FieldPath {
    /// A path of one name, whatever stands in it.
    pub(crate) fn name(text: &str) -> Self {
        Self { text: text.to_owned(), steps: vec![text.to_owned()] }
    }

    /// A path of names, at least one.
    pub(crate) fn of(steps: Vec<String>) -> Self {
        Self { text: steps.join("."), steps }
    }

    /// Dots part names, backticks hold a name with dots together; the error is the reason.
    pub(crate) fn nested(text: &str) -> std::result::Result<Self, String> {
        let mut steps = Vec::new();
        let mut rest = Some(text);
        while let Some(left) = rest {
            let at = text.len() - left.len();
            let (step, behind) = match left.strip_prefix('`') {
                None => match left.split_once('.') {
                    Some((step, behind)) => (step.to_owned(), Some(behind)),
                    None => (left.to_owned(), None),
                },
                Some(inside) => closed(inside).ok_or_else(|| {
                    format!(
                        "Incomplete backtick pair in path: [{text}], consider adding a backslash before backtick at \
                         position {at} to escape it"
                    )
                })?,
            };
            steps.push(step);
            rest = behind;
        }
        if text.is_empty() {
            return Err("a path without a name".into());
        }
        Ok(Self { text: text.to_owned(), steps })
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The indexes of the fields on the way and the last one; `None` when there is no such field.
    pub(crate) fn in_schema<'s>(&self, schema: &'s Schema) -> Result<Option<Way<'s>>> {
        let mut places = Vec::with_capacity(self.steps.len());
        let mut inner = schema;
        let mut last = None;
        for step in &self.steps {
            if inner.kind() != Kind::Struct {
                return Err(ConnectError::data(format!(
                    "Cannot look up fields on non-struct type: {} in the path {}",
                    inner.kind().name(),
                    self.text
                )));
            }
            let Some(place) = inner.field(step) else { return Ok(None) };
            let field = &inner.fields()[place];
            places.push(place);
            inner = &field.schema;
            last = Some(field);
        }
        Ok(last.map(|field| (places.into(), field)))
    }

    /// What stands at the end of the path, in structs or maps, if it is there and not null.
    pub(crate) fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        let found = self.steps.iter().try_fold(value, |value, step| match value {
            Value::Struct(record) => record.get(step),
            Value::Map(map) => map.get(step),
            _ => None,
        });
        found.filter(|value| !value.is_null())
    }

    /// What stands at the end of the path; null where something on the way is null or missing.
    pub(crate) fn in_map<'m>(&self, map: &'m Map) -> Result<&'m Value> {
        let mut found: Option<&'m Value> = None;
        for step in &self.steps {
            let map: &'m Map = match found {
                None => map,
                Some(Value::Map(map)) => map,
                Some(Value::Null) => return Ok(&Value::Null),
                Some(other) => {
                    return Err(ConnectError::data(format!(
                        "Only Map objects supported in absence of schema for [{PURPOSE}], found: {} (path {})",
                        java_class(other),
                        self.text
                    )));
                }
            };
            found = Some(map.get(step).unwrap_or(&Value::Null));
        }
        Ok(found.unwrap_or(&Value::Null))
    }
}

/// What stands at the end of a way by index; `None` where something on the way is null.
pub(crate) fn follow<'s>(record: &'s Struct, places: &[usize]) -> Option<&'s Value> {
    let (first, rest) = places.split_first()?;
    rest.iter().try_fold(record.values().get(*first)?, |value, place| match value {
        Value::Struct(inner) => inner.values().get(*place),
        _ => None,
    })
}

/// The name up to the backtick that closes it, and what follows the dot behind. Such a backtick is the last character or
/// stands before a dot, and has no backslash before it.
fn closed(inside: &str) -> Option<(String, Option<&str>)> {
    let mut name = String::new();
    let mut start = 0;
    for (at, _) in inside.match_indices('`') {
        let escaped = inside[..at].ends_with('\\');
        let behind = &inside[at + 1..];
        if behind.is_empty() {
            name.push_str(&inside[start..at]);
            return (!escaped).then_some((name, None));
        }
        let Some(behind) = behind.strip_prefix('.') else { continue };
        if escaped {
            name.push_str(&inside[start..at - 1]);
            name.push('`');
            start = at + 1;
        } else {
            name.push_str(&inside[start..at]);
            return Some((name, Some(behind)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_java_reads_them() {
        for (text, expected) in [
            ("foo.bar.baz", Ok(vec!["foo", "bar", "baz"])),
            ("foo.`bar.baz`", Ok(vec!["foo", "bar.baz"])),
            ("foo.ba`r.baz", Ok(vec!["foo", "ba`r", "baz"])),
            ("foo.``bar.baz`", Ok(vec!["foo", "`bar.baz"])),
            (r"foo.`bar\`.baz`", Ok(vec!["foo", "bar`.baz"])),
            ("..", Ok(vec!["", "", ""])),
            ("`a`.", Ok(vec!["a", ""])),
            ("`a`b`", Ok(vec!["a`b"])),
            ("``", Ok(vec![""])),
            ("a.`b", Err(2)),
            (r"`a\`", Err(0)),
            ("`", Err(0)),
        ] {
            let found = FieldPath::nested(text);
            match expected {
                Ok(steps) => assert_eq!(found.unwrap().steps, steps, "{text}"),
                Err(at) => {
                    let error = found.unwrap_err();
                    assert!(
                        error.contains(&format!("[{text}]")) && error.contains(&format!("position {at} ")),
                        "{error}"
                    );
                }
            }
        }
    }
}
