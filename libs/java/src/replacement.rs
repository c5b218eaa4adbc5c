//! Java's replacement texts: `$1`, `${name}`, and a backslash that takes the meaning from the next character.

use ::regex::{Captures, Regex};

/// A replacement whose groups are known to exist.
pub struct Replacement(Vec<Part>);

enum Part {
    Text(String),
    Group(usize),
}

impl Replacement {
    /// Reads a replacement for a pattern; the error is the reason in Java's words.
    pub fn parse(java: &str, regex: &Regex) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = java;
        while let Some(at) = rest.find(['\\', '$']) {
            text.push_str(&rest[..at]);
            let special = &rest[at..];
            if let Some(after) = special.strip_prefix('\\') {
                let escaped = after.chars().next().ok_or("character to be escaped is missing")?;
                text.push(escaped);
                rest = &after[escaped.len_utf8()..];
            } else {
                let (group, after) = group(&special[1..], regex)?;
                parts.push(Part::Text(std::mem::take(&mut text)));
                parts.push(Part::Group(group));
                rest = after;
            }
        }
        text.push_str(rest);
        parts.push(Part::Text(text));
        Ok(Self(parts))
    }

    /// Writes the replacement for a match; a group that took no part is empty.
    pub fn expand(&self, captures: &Captures<'_>, to: &mut String) {
        for part in &self.0 {
            match part {
                Part::Text(text) => to.push_str(text),
                Part::Group(group) => to.push_str(captures.get(*group).map_or("", |matched| matched.as_str())),
            }
        }
    }
}

/// The group that the text behind a `$` names, and the text behind it.
fn group<'a>(text: &'a str, regex: &Regex) -> Result<(usize, &'a str), String> {
    match text.chars().next() {
        None => Err("Illegal group reference: group index is missing".into()),
        Some('{') => named_group(&text[1..], regex),
        Some('0'..='9') => numbered_group(text, regex),
        Some(_) => Err("Illegal group reference".into()),
    }
}

fn named_group<'a>(text: &'a str, regex: &Regex) -> Result<(usize, &'a str), String> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    let Some(after) = after.strip_prefix('}').filter(|_| !name.is_empty()) else {
        return Err("named capturing group is missing trailing '}'".into());
    };
    match regex.capture_names().position(|known| known == Some(name)) {
        Some(group) => Ok((group, after)),
        None => Err(format!("No group with name {{{name}}}")),
    }
}

/// More digits belong to the number only as long as such a group exists: `$10` of one group is group 1 and a 0.
fn numbered_group<'a>(text: &'a str, regex: &Regex) -> Result<(usize, &'a str), String> {
    let groups = regex.captures_len();
    let mut group = 0;
    let mut length = 0;
    for digit in text.bytes().take_while(u8::is_ascii_digit) {
        let longer = group * 10 + usize::from(digit - b'0');
        if length > 0 && longer >= groups {
            break;
        }
        group = longer;
        length += 1;
    }
    if group >= groups {
        return Err(format!("No group {group}"));
    }
    Ok((group, &text[length..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(replacement: &str) -> Result<String, String> {
        let regex = Regex::new(r"(?<env>[a-z]+)-(x)?").unwrap();
        let replacement = Replacement::parse(replacement, &regex)?;
        let mut text = String::new();
        replacement.expand(&regex.captures("prod-").unwrap(), &mut text);
        Ok(text)
    }

    #[test]
    fn reads_javas_syntax() {
        let cases = [
            ("plain", Ok("plain")),
            ("$1.$0", Ok("prod.prod-")),
            ("${env}!", Ok("prod!")),
            ("[$2]", Ok("[]")),
            ("$10", Ok("prod0")),
            ("$01", Ok("prod")),
            (r"\$1\\\a", Ok(r"$1\a")),
            ("é$1é", Ok("éprodé")),
            ("$3", Err("No group 3")),
            ("a$", Err("Illegal group reference: group index is missing")),
            ("$a", Err("Illegal group reference")),
            (r"a\", Err("character to be escaped is missing")),
            ("${z}", Err("No group with name {z}")),
            ("${env", Err("named capturing group is missing trailing '}'")),
            ("${}", Err("named capturing group is missing trailing '}'")),
        ];
        for (java, expected) in cases {
            assert_eq!(replaced(java), expected.map(str::to_owned).map_err(str::to_owned), "{java}");
        }
    }
}
