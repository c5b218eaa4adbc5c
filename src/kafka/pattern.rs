//! A `topics.regex` written for Java, in the POSIX form that librdkafka hands to the C library.
//!
//! `\d` would otherwise be the letter d there, and a sink would wait for ever for topics that never match. What has no
//! POSIX form is refused by name. Called by `herder/validate.rs` and `herder/spec.rs`.

use std::iter::Peekable;
use std::str::Chars;

use regex::Regex;

/// What has a meaning in POSIX' extended expressions and needs a backslash to stand for itself.
const SPECIAL: &str = ".[]\\(){}*+?|^$";

/// The pattern for librdkafka: matches whole names, as Java does. The error is a sentence about the pattern.
pub fn whole_name(java: &str) -> Result<String, String> {
    let mut translation =
        Translation { rest: java.chars().peekable(), posix: String::new(), depth: 0, repeatable: false };
    while let Some(char) = translation.rest.next() {
        translation.take(char)?;
    }
    if translation.depth > 0 {
        return Err("Unclosed group".into());
    }
    Ok(format!("^({})$", translation.posix))
}

/// Whether a pattern that has a POSIX form matches the whole of a name.
pub fn matches(java: &str, name: &str) -> bool {
    let posix = whole_name(java).ok();
    posix.and_then(|posix| Regex::new(&posix).ok()).is_some_and(|pattern| pattern.is_match(name))
}

struct Translation<'a> {
    rest: Peekable<Chars<'a>>,
    posix: String,
    /// Groups that are open.
    depth: usize,
    /// Whether `*` may stand here.
    repeatable: bool,
}

impl Translation<'_> {
    fn take(&mut self, char: char) -> Result<(), String> {
        let repeatable = std::mem::replace(&mut self.repeatable, !matches!(char, '(' | '|' | '^'));
        match char {
            '\\' => return self.escape(),
            '[' => return self.class(),
            '(' => self.group()?,
            ')' => {
                self.depth = self.depth.checked_sub(1).ok_or("Unmatched closing ')'")?;
                self.posix.push(')');
            }
            '*' | '+' | '?' | '{' if !repeatable => return Err(format!("Dangling meta character '{char}'")),
            '*' | '+' | '?' => {
                self.posix.push(char);
                self.end_of_repetition()?;
            }
            '{' => self.repetition()?,
            other => self.posix.push(other),
        }
        Ok(())
    }

    fn escape(&mut self) -> Result<(), String> {
        let posix = match self.rest.next().ok_or("It ends with a single backslash")? {
            'd' => "[0-9]",
            'D' => "[^0-9]",
            'w' => "[A-Za-z0-9_]",
            'W' => "[^A-Za-z0-9_]",
            's' => "[[:space:]]",
            'S' => "[^[:space:]]",
            other if other.is_ascii_alphanumeric() => return Err(format!("\\{other} is not supported here")),
            other => {
                if SPECIAL.contains(other) {
                    self.posix.push('\\');
                }
                self.posix.push(other);
                return Ok(());
            }
        };
        self.posix.push_str(posix);
        Ok(())
    }

    /// Only whether a name matches counts, not which part of it: groups that capture nothing are plain groups.
    fn group(&mut self) -> Result<(), String> {
        self.depth += 1;
        self.posix.push('(');
        if self.rest.next_if_eq(&'?').is_some() {
            match self.rest.next() {
                Some(':') => {}
                other => return Err(format!("(?{} is not supported here", other.unwrap_or_default())),
            }
        }
        Ok(())
    }

    fn repetition(&mut self) -> Result<(), String> {
        let mut counts = String::new();
        while let Some(char) = self.rest.next_if(|char| char.is_ascii_digit() || *char == ',') {
            counts.push(char);
        }
        if self.rest.next() != Some('}') || !counts.starts_with(|char: char| char.is_ascii_digit()) {
            return Err("Unclosed or illegal repetition {…}".into());
        }
        self.posix.extend(["{", &counts, "}"]);
        self.end_of_repetition()
    }

    /// A reluctant repetition matches the same names; a possessive one does not.
    fn end_of_repetition(&mut self) -> Result<(), String> {
        self.repeatable = false;
        let _ = self.rest.next_if_eq(&'?');
        match self.rest.peek() {
            Some('+') => Err("Possessive repetition is not supported here".into()),
            _ => Ok(()),
        }
    }

    /// In POSIX' brackets a backslash is a backslash, and `]`, `^` and `-` stand for themselves by their place.
    fn class(&mut self) -> Result<(), String> {
        let negated = self.rest.next_if_eq(&'^').is_some();
        let (mut body, mut bracket, mut caret, mut dash) = (String::new(), false, false, false);
        loop {
            match self.rest.next().ok_or("Unclosed character class")? {
                ']' => break,
                '[' => return Err("A class inside of a class is not supported here".into()),
                '&' if self.rest.peek() == Some(&'&') => return Err("&& is not supported here".into()),
                '-' if body.is_empty() || self.rest.peek() == Some(&']') => dash = true,
                '^' => caret = true,
                '\\' => match self.rest.next().ok_or("Unclosed character class")? {
                    'd' => body.push_str("0-9"),
                    'w' => body.push_str("A-Za-z0-9_"),
                    's' => body.push_str("[:space:]"),
                    ']' => bracket = true,
                    '^' => caret = true,
                    '-' => dash = true,
                    other if other.is_ascii_alphanumeric() => {
                        return Err(format!("\\{other} in a class is not supported here"));
                    }
                    other => body.push(other),
                },
                other => body.push(other),
            }
        }
        let text = format!(
            "{}{body}{}{}",
            if bracket { "]" } else { "" },
            if caret { "^" } else { "" },
            if dash { "-" } else { "" }
        );
        match (text.as_str(), negated) {
            ("", _) => return Err("An empty character class".into()),
            // First in brackets it would negate.
            ("^", false) => self.posix.push_str("\\^"),
            ("^-", false) => self.posix.push_str("[-^]"),
            (text, _) => self.posix.extend([if negated { "[^" } else { "[" }, text, "]"]),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::whole_name;

    #[test]
    fn java_means_the_same_in_posix() {
        for (java, posix) in [
            ("lab.*", "^(lab.*)$"),
            (r"lab\.\d+", r"^(lab\.[0-9]+)$"),
            (r"(?:a|b)-\w*?", "^((a|b)-[A-Za-z0-9_]*)$"),
            (r"[\w.\-]{2,5}", "^([A-Za-z0-9_.-]{2,5})$"),
            (r"[^\]a-c]", "^([^]a-c])$"),
            (r"[\^]x[-^]", r"^(\^x[-^])$"),
            (r"a\-b\_c\$", r"^(a-b_c\$)$"),
            ("a|b", "^(a|b)$"),
        ] {
            assert_eq!(whole_name(java).as_deref(), Ok(posix), "{java}");
        }
    }

    #[test]
    fn what_cannot_be_said_is_refused_by_name() {
        for (java, part) in [
            ("(", "Unclosed group"),
            ("a)|(b", "Unmatched closing"),
            ("*", "Dangling meta character '*'"),
            ("a|+", "Dangling meta character '+'"),
            ("[a", "Unclosed character class"),
            ("[]", "empty"),
            ("(?i)lab", "(?i is not supported"),
            (r"\blab", r"\b is not supported"),
            ("a{x}", "repetition"),
            ("a++", "Possessive"),
            ("a\\", "single backslash"),
            ("[a-z&&[^b]]", "&&"),
        ] {
            let error = whole_name(java).unwrap_err();
            assert!(error.contains(part), "{java}: {error}");
        }
    }
}
