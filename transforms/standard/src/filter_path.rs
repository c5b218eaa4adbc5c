//! The JSON paths of Confluent's Filter: `$.a.b`, `$['a']`, `$[?(@.a > 1 && (@.b == 'x' || !@.c))]`.
//!
//! What lies before the brackets leads into the value; the paths inside go on from there.

use pipette_java::JavaRegex;

use crate::condition::{Condition, Literal, Operator};
use crate::path::FieldPath;

/// Deeper nested parentheses are refused.
const MAX_DEPTH: usize = 50;

pub(crate) fn read(text: &str) -> Result<Condition, String> {
    let mut reader = Reader { rest: text.trim(), prefix: Vec::new(), depth: 0 };
    if !reader.takes("$") {
        return Err("a JSON path begins with $".into());
    }
    let steps = reader.steps()?;
    if !reader.takes("[?(") {
        reader.end()?;
        if steps.is_empty() {
            return Err("$ alone is no condition: name a field".into());
        }
        return Ok(Condition::Exists(FieldPath::of(steps)));
    }
    reader.prefix = steps;
    let condition = reader.any()?;
    if !reader.takes(")") || !reader.takes("]") {
        return Err(reader.unexpected("`)]`"));
    }
    reader.end()?;
    Ok(condition)
}

struct Reader<'a> {
    rest: &'a str,
    prefix: Vec<String>,
    depth: usize,
}

impl Reader<'_> {
    fn any(&mut self) -> Result<Condition, String> {
        let mut parts = vec![self.all()?];
        while self.takes("||") {
            parts.push(self.all()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::Any(parts) })
    }

    fn all(&mut self) -> Result<Condition, String> {
        let mut parts = vec![self.one()?];
        while self.takes("&&") {
            parts.push(self.one()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::All(parts) })
    }

    fn one(&mut self) -> Result<Condition, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("a condition nested deeper than {MAX_DEPTH} levels"));
        }
        let condition = if self.takes("(") {
            let inner = self.any()?;
            if !self.takes(")") {
                return Err(self.unexpected("`)`"));
            }
            inner
        } else if !self.rest.trim_start().starts_with("!=") && self.takes("!") {
            Condition::Not(Box::new(self.one()?))
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(condition)
    }

    fn comparison(&mut self) -> Result<Condition, String> {
        if !self.takes("@") {
            return Err(self.unexpected("a path that begins with `@`"));
        }
        let steps = [self.prefix.clone(), self.steps()?].concat();
        if steps.is_empty() {
            return Err("@ alone cannot be compared: name a field".into());
        }
        let path = FieldPath::of(steps);
        if self.takes("=~") {
            return self.pattern(path);
        }
        for (sign, operator) in Operator::SIGNS {
            if self.takes(sign) {
                return Ok(Condition::Compare(path, operator, self.literal()?));
            }
        }
        if self.takes("in") {
            return Ok(Condition::OneOf(path, self.list()?));
        }
        Ok(Condition::Exists(path))
    }

    fn pattern(&mut self, path: FieldPath) -> Result<Condition, String> {
        let body = self.rest.trim_start().strip_prefix('/').ok_or_else(|| self.unexpected("`/pattern/`"))?;
        let end = body
            .char_indices()
            .find(|(at, character)| *character == '/' && !body[..*at].ends_with('\\'))
            .map(|(at, _)| at)
            .ok_or("a pattern ends with /")?;
        self.rest = &body[end + 1..];
        let flags = if self.rest.starts_with('i') { "(?i)" } else { "" };
        self.rest = self.rest.strip_prefix('i').unwrap_or(self.rest);
        Ok(Condition::Matches(path, JavaRegex::new(&format!("{flags}{}", body[..end].replace("\\/", "/")))?))
    }

    fn list(&mut self) -> Result<Vec<Literal>, String> {
        if !self.takes("[") {
            return Err(self.unexpected("`[`"));
        }
        let mut literals = vec![self.literal()?];
        while self.takes(",") {
            literals.push(self.literal()?);
        }
        if self.takes("]") { Ok(literals) } else { Err(self.unexpected("`]`")) }
    }

    /// A text in quotes, or a word or number up to what cannot be part of one.
    fn literal(&mut self) -> Result<Literal, String> {
        let rest = self.rest.trim_start();
        if rest.starts_with(['\'', '"']) {
            self.rest = rest;
            return self.quoted().map(|text| Literal::new(&text));
        }
        let end = rest
            .find(|character: char| character.is_whitespace() || matches!(character, ')' | ']' | ',' | '&' | '|'))
            .unwrap_or(rest.len());
        if end == 0 {
            return Err(self.unexpected("a text or number"));
        }
        self.rest = &rest[end..];
        Ok(Literal::new(&rest[..end]))
    }

    /// Text in quotes; a backslash takes the meaning from the next character.
    fn quoted(&mut self) -> Result<String, String> {
        let mut characters = self.rest.char_indices();
        let quote = characters.next().map(|(_, quote)| quote);
        let mut text = String::new();
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => text.extend(characters.next().map(|(_, escaped)| escaped)),
                _ if Some(character) == quote => {
                    self.rest = &self.rest[at + character.len_utf8()..];
                    return Ok(text);
                }
                _ => text.push(character),
            }
        }
        Err("a text in quotes has no end".into())
    }

    /// `.a.b` and `['a']`.
    fn steps(&mut self) -> Result<Vec<String>, String> {
        let mut steps = Vec::new();
        loop {
            if let Some(rest) = self.rest.strip_prefix("['").or_else(|| self.rest.strip_prefix("[\"")) {
                self.rest = &self.rest[self.rest.len() - rest.len() - 1..];
                steps.push(self.quoted()?);
                self.rest = self.rest.strip_prefix(']').ok_or("a name in brackets ends with ]")?;
            } else if let Some(rest) = self.rest.strip_prefix('.') {
                let end = rest
                    .find(|character: char| !(character.is_alphanumeric() || matches!(character, '_' | '-' | '$')))
                    .unwrap_or(rest.len());
                if end == 0 {
                    return Err("a name stands behind each dot; .. and .* are not supported".into());
                }
                steps.push(rest[..end].to_owned());
                self.rest = &rest[end..];
            } else {
                return Ok(steps);
            }
        }
    }

    fn takes(&mut self, sign: &str) -> bool {
        let rest = self.rest.trim_start();
        let found = rest.strip_prefix(sign);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn end(&self) -> Result<(), String> {
        if self.rest.trim().is_empty() { Ok(()) } else { Err(self.unexpected("the end")) }
    }

    fn unexpected(&self, wanted: &str) -> String {
        let found: String = self.rest.trim_start().chars().take(20).collect();
        format!("{wanted} was expected before `{found}`")
    }
}

#[cfg(test)]
mod tests {
    use pipette_api::{Datum, Map, Value};

    use super::*;

    fn holds(path: &str) -> Result<bool, String> {
        let inner = Map::from(vec![(Value::text("b c"), Value::text("x/y"))]);
        let map = Map::from(vec![
            (Value::text("amount"), Value::F64(150.5)),
            (Value::text("state"), Value::text("it's open")),
            (Value::text("a"), Value::Map(Box::new(inner))),
        ]);
        Ok(read(path)?.holds(&Datum::schemaless(Value::Map(Box::new(map)))))
    }

    #[test]
    fn paths_hold_or_not() {
        for (path, expected) in [
            ("$.amount", true),
            ("$.nothing", false),
            ("$['a']['b c']", true),
            ("$[?(@.amount > 100)]", true),
            ("$[?(@.amount>100&&@.amount<=150)]", false),
            ("$[?(@.amount < 100 || @.state == 'it\\'s open')]", true),
            ("$[?(!(@.amount < 100) && !@.nothing)]", true),
            ("$.a[?(@['b c'] =~ /X\\/.*/i)]", true),
            ("$[?(@.amount in [1, 150.50])]", true),
            ("$[?(@.state != 'x')]", true),
        ] {
            assert_eq!(holds(path), Ok(expected), "{path}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_the_place() {
        for path in [
            "",
            "amount",
            "$",
            "$..a",
            "$[?(@.a > )]",
            "$[?(@.a > 1]",
            "$[?(@.a =~ x)]",
            "$[?(@ > 1)]",
            "$[?(@.a == 'x)]",
            "$.a b",
            "$[?(@.a =~ /(/)]",
        ] {
            assert!(holds(path).is_err(), "{path}");
        }
        assert!(holds(&format!("$[?({}", "(".repeat(100_000))).unwrap_err().contains("nested deeper"));
        assert!(holds(&format!("$[?({}", "!".repeat(100_000))).unwrap_err().contains("nested deeper"));
    }
}
