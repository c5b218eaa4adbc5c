//! Java's regular expressions for names (topics, headers), run by the `regex` crate in linear time.
//!
//! RegexRouter and TopicNameMatches read their patterns with it. The two languages agree on most; what is written
//! differently is translated, what linear time cannot do (lookaround, back references, possessive quantifiers, atomic
//! groups) is refused with the reason. Names have no line breaks, so the rules about those are left to the crate.
//! One difference stays: a group that is repeated and can match nothing, `(a*?)+`, may have held something else in its
//! last round (7 of 7,548 random patterns gave another name than Java, all of that kind).
//! Classes, with their own grammar, are in `regex/class.rs`, escapes in `regex/escape.rs`.

mod class;
mod escape;

use std::fmt::Write;

use ::regex::Regex;

use escape::Escape;

/// A pattern that compiled.
pub struct JavaRegex {
    whole: Regex,
    anywhere: Regex,
}

impl JavaRegex {
    /// Reads a Java pattern; the error is the reason, without the pattern.
    pub fn new(java: &str) -> Result<Self, String> {
        let pattern = translate(java).map_err(|reason| format!("Invalid regex: {reason}"))?;
        Ok(Self { whole: compile(&format!(r"\A(?:{pattern})\z"))?, anywhere: compile(&pattern)? })
    }

    /// True when it matches the whole text.
    pub fn matches(&self, text: &str) -> bool {
        self.whole.is_match(text)
    }

    /// The pattern, to search for it.
    pub fn anywhere(&self) -> &Regex {
        &self.anywhere
    }
}

/// The check of a key whose value is a Java pattern.
pub fn valid(text: Option<&str>) -> Result<(), String> {
    text.map_or(Ok(()), |java| JavaRegex::new(java).map(drop))
}

fn compile(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|error| {
        // The crate draws the place in the translated pattern, which nobody wrote; its last line has the reason.
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default();
        format!("Invalid regex: {}", reason.trim_start_matches("error: "))
    })
}

fn translate(java: &str) -> Result<String, String> {
    let mut translator = Translator { java: escape::unquote(java), at: 0, out: String::new() };
    translator.pattern()?;
    Ok(translator.out)
}

/// Walks through a Java pattern and writes the crate's.
struct Translator {
    java: Vec<char>,
    at: usize,
    out: String,
}

impl Translator {
    fn pattern(&mut self) -> Result<(), String> {
        let mut depth = 0_usize;
        let mut repeatable = false;
        while let Some(c) = self.next() {
            repeatable = match c {
                '*' | '+' | '?' | '{' => {
                    self.quantifier(c, repeatable)?;
                    false
                }
                '(' => {
                    depth += usize::from(self.group()?);
                    false
                }
                ')' => {
                    depth = depth.checked_sub(1).ok_or("Unmatched closing ')'")?;
                    self.out.push(')');
                    true
                }
                '|' => {
                    self.out.push('|');
                    false
                }
                '[' => {
                    self.class(0)?;
                    true
                }
                '\\' => {
                    self.escaped()?;
                    true
                }
                '^' | '$' | '.' => {
                    self.out.push(c);
                    true
                }
                _ => {
                    self.literal(c);
                    true
                }
            };
        }
        if depth > 0 {
            return Err("Unclosed group".into());
        }
        Ok(())
    }

    fn escaped(&mut self) -> Result<(), String> {
        match self.escape()? {
            Escape::Char(c) => self.literal(c),
            Escape::Set(set) => self.out.push_str(&set),
            Escape::Place(place) => self.out.push_str(place),
        }
        Ok(())
    }

    fn quantifier(&mut self, c: char, repeatable: bool) -> Result<(), String> {
        if c == '{' {
            let bounds = self.bounds().filter(|_| repeatable).ok_or("Illegal repetition")?;
            self.out.push_str(&bounds);
        } else if repeatable {
            self.out.push(c);
        } else {
            return Err(format!("Dangling meta character '{c}'"));
        }
        if self.takes('+') {
            return Err("possessive quantifiers (*+, ++, ?+, {n}+) are not supported; leave the second + away".into());
        }
        if self.takes('?') {
            self.out.push('?');
        }
        Ok(())
    }

    /// The rest of `{n}`, `{n,}` or `{n,m}`.
    fn bounds(&mut self) -> Option<String> {
        let length = self.java[self.at..].iter().position(|c| *c == '}')?;
        let inner: String = self.java[self.at..][..length].iter().collect();
        let (low, high) = inner.split_once(',').unwrap_or((&inner, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let sound = !low.is_empty() && digits(low) && digits(high);
        self.at += length + 1;
        sound.then(|| format!("{{{inner}}}"))
    }

    /// Behind a `(`. True when the group has an end of its own, which `(?i)` has not.
    fn group(&mut self) -> Result<bool, String> {
        if !self.takes('?') {
            self.out.push('(');
            return Ok(true);
        }
        match self.next() {
            Some(':') => self.out.push_str("(?:"),
            Some('=' | '!') => return Err("lookahead, (?= and (?!, is not supported".into()),
            Some('>') => return Err("atomic groups, (?>, are not supported; write (?: instead".into()),
            Some('<') if matches!(self.peek(), Some('=' | '!')) => {
                return Err("lookbehind, (?<= and (?<!, is not supported".into());
            }
            Some('<') => self.group_name()?,
            _ => {
                self.at -= 1;
                return self.flags();
            }
        }
        Ok(true)
    }

    fn group_name(&mut self) -> Result<(), String> {
        let mut name = String::new();
        while let Some(c) = self.next() {
            match c {
                'a'..='z' | 'A'..='Z' => name.push(c),
                '0'..='9' if !name.is_empty() => name.push(c),
                '>' if !name.is_empty() => {
                    let _ = write!(self.out, "(?<{name}>");
                    return Ok(());
                }
                _ => break,
            }
        }
        Err("named capturing group is missing trailing '>' or has a name other than letters and digits".into())
    }

    /// `(?i)` and `(?i:`. Java's d and u say what is so here anyway.
    fn flags(&mut self) -> Result<bool, String> {
        let (mut on, mut off, mut minus) = (String::new(), String::new(), false);
        loop {
            match self.next() {
                Some('-') if !minus => minus = true,
                Some('d' | 'u') => {}
                Some(flag @ ('i' | 'm' | 's')) => {
                    let flags = if minus { &mut off } else { &mut on };
                    if !flags.contains(flag) {
                        flags.push(flag);
                    }
                }
                Some(flag @ ('x' | 'U')) => return Err(format!("the flag {flag} in (?{flag}) is not supported")),
                Some(end @ (':' | ')')) => {
                    let minus = if off.is_empty() { "" } else { "-" };
                    match (end, on.is_empty() && off.is_empty()) {
                        (')', true) => {}
                        _ => drop(write!(self.out, "(?{on}{minus}{off}{end}")),
                    }
                    return Ok(end == ':');
                }
                _ => return Err("Unknown inline modifier".into()),
            }
        }
    }

    /// A character that means itself; written so that the crate cannot see anything else in it.
    fn literal(&mut self, c: char) {
        if c.is_ascii_alphanumeric() {
            self.out.push(c);
        } else {
            let _ = write!(self.out, "\\x{{{:X}}}", u32::from(c));
        }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn peek(&self) -> Option<char> {
        self.java.get(self.at).copied()
    }

    fn takes(&mut self, c: char) -> bool {
        let there = self.peek() == Some(c);
        self.at += usize::from(there);
        there
    }
}

#[cfg(test)]
mod tests;
