//! Java's character classes. Java has unions and intersections as the crate has, but neither `--` nor `~~` nor
//! `[:alpha:]`, and its own rule for a `-` that is no range.

use super::Translator;
use super::escape::Escape;

/// How deep classes may stand in each other.
const DEPTH: usize = 50;

impl Translator {
    /// Behind a `[`.
    pub(super) fn class(&mut self, depth: usize) -> Result<(), String> {
        if depth == DEPTH {
            return Err(format!("more than {DEPTH} character classes inside of each other"));
        }
        self.out.push('[');
        if self.takes('^') {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            match self.next().ok_or("Unclosed character class")? {
                ']' if !first => {
                    self.out.push(']');
                    return Ok(());
                }
                '[' => self.class(depth + 1)?,
                '&' if self.takes('&') => {
                    if first || matches!(self.peek(), Some(']' | '&')) {
                        return Err("&& in a character class needs something on both sides".into());
                    }
                    self.out.push_str("&&");
                }
                c => self.member(c)?,
            }
            first = false;
        }
    }

    /// A character, a range or a set.
    fn member(&mut self, c: char) -> Result<(), String> {
        let low = match self.class_char(c)? {
            Escape::Char(low) => low,
            Escape::Set(set) => {
                self.out.push_str(&set);
                return Ok(());
            }
            Escape::Place(_) => return Err("Illegal/unsupported escape sequence in a character class".into()),
        };
        self.literal(low);
        let is_range = self.peek() == Some('-') && !matches!(self.java.get(self.at + 1), None | Some('[' | ']'));
        if is_range {
            self.at += 1;
            let c = self.next().ok_or("Unclosed character class")?;
            match self.class_char(c)? {
                Escape::Char(high) if low <= high => {
                    self.out.push('-');
                    self.literal(high);
                }
                _ => return Err("Illegal character range".into()),
            }
        }
        Ok(())
    }

    fn class_char(&mut self, c: char) -> Result<Escape, String> {
        if c == '\\' { self.escape() } else { Ok(Escape::Char(c)) }
    }
}
