//! Date patterns: letters are fields, everything else stands for itself; quotes take the meaning from letters.

/// A part of a pattern.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Text that is written as it is, and must be there when reading.
    Literal(String),
    /// A field.
    Field(Field),
}

/// A field: its letter and how often it stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) letter: char,
    pub(super) count: usize,
}

const LETTERS: &str = "GyMdkHmsSEDFwWahKzZYuXL";

pub(super) fn read(pattern: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut characters = pattern.chars().peekable();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        if character == '\'' {
            if characters.next_if_eq(&'\'').is_some() {
                literal.push('\'');
            } else {
                quoted = !quoted;
                // An empty text between quotes parts two fields of one letter all the same.
            }
        } else if !quoted && character.is_ascii_alphabetic() {
            if !LETTERS.contains(character) {
                return Err(format!("Illegal pattern character '{character}'"));
            }
            let mut count = 1;
            while characters.next_if_eq(&character).is_some() {
                count += 1;
            }
            if character == 'X' && count > 3 {
                return Err(format!("invalid ISO 8601 format: length={count}"));
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::Field(Field { letter: character, count }));
        } else {
            literal.push(character);
        }
    }
    if quoted {
        return Err("Unterminated quote".into());
    }
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}
