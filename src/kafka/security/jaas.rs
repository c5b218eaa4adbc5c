//! The one line of `sasl.jaas.config`: a login module, its options, a semicolon. Pure.
//!
//! Words and quotes are those of Java's `StreamTokenizer`, which reads the key in Apache's clients. No error here ever
//! holds a value.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// A login module and its options.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Login {
    /// The class, with its package.
    pub(super) module: String,
    /// The options.
    pub(super) options: BTreeMap<String, String>,
}

impl Login {
    /// The class without its package.
    pub(super) fn class(&self) -> &str {
        self.module.rsplit('.').next().unwrap_or_default()
    }

    /// Reads the line.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Tokens(text.chars().peekable());
        let module = match tokens.next()? {
            Some(Token::Word(module)) => module,
            None => return Err("it is empty".into()),
            _ => return Err("it must begin with the class of a login module".into()),
        };
        match tokens.next()? {
            Some(Token::Word(flag))
                if ["required", "requisite", "sufficient", "optional"]
                    .iter()
                    .any(|it| flag.eq_ignore_ascii_case(it)) => {}
            _ => return Err(format!("`required` must follow {module}")),
        }
        let mut options = BTreeMap::new();
        loop {
            let name = match tokens.next()? {
                Some(Token::Sign(';')) => break,
                Some(Token::Word(name) | Token::Quoted(name)) => name,
                // What stands there may be half of a password.
                Some(Token::Sign(_)) => {
                    return Err(format!(
                        "there is a sign where {} should stand. Put values in quotes",
                        after(&options)
                    ));
                }
                None => return Err("the semicolon at its end is missing".into()),
            };
            let Some(Token::Sign('=')) = tokens.next()? else {
                return Err(format!("there is no `=` where {} should stand. Put values in quotes", after(&options)));
            };
            match tokens.next()? {
                Some(Token::Word(value) | Token::Quoted(value)) => options.insert(name, value),
                _ => return Err(format!("{} has no value. Put values in quotes", after(&options))),
            };
        }
        match tokens.next()? {
            None => Ok(Self { module, options }),
            Some(_) => Err("more than one login module stands in it, or something behind the semicolon".into()),
        }
    }
}

/// Options by number: their names may be something else in a line that went wrong.
fn after(options: &BTreeMap<String, String>) -> String {
    format!("option {}", options.len() + 1)
}

enum Token {
    Word(String),
    Quoted(String),
    Sign(char),
}

struct Tokens<'a>(Peekable<Chars<'a>>);

impl Tokens<'_> {
    fn next(&mut self) -> Result<Option<Token>, String> {
        loop {
            let Some(first) = self.0.next() else { return Ok(None) };
            match first {
                c if c <= ' ' => {}
                '"' | '\'' => return self.quoted(first).map(|text| Some(Token::Quoted(text))),
                '/' if matches!(self.0.peek(), Some('/' | '*')) => self.comment(),
                c if is_word(c) => {
                    let mut word = String::from(c);
                    while let Some(next) = self.0.next_if(|next| is_word(*next)) {
                        word.push(next);
                    }
                    return Ok(Some(Token::Word(word)));
                }
                sign => return Ok(Some(Token::Sign(sign))),
            }
        }
    }

    fn comment(&mut self) {
        if self.0.next() == Some('/') {
            while self.0.next_if(|c| !matches!(c, '\n' | '\r')).is_some() {}
            return;
        }
        let mut last = ' ';
        for c in self.0.by_ref() {
            if last == '*' && c == '/' {
                return;
            }
            last = c;
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        loop {
            match self.0.next() {
                Some(c) if c == quote => return Ok(text),
                None | Some('\n' | '\r') => return Err("a quote in it does not end".into()),
                Some('\\') => match self.0.next() {
                    None => return Err("a quote in it does not end".into()),
                    Some(digit @ '0'..='7') => text.push(self.octal(digit)),
                    Some('a') => text.push('\u{7}'),
                    Some('b') => text.push('\u{8}'),
                    Some('f') => text.push('\u{c}'),
                    Some('n') => text.push('\n'),
                    Some('r') => text.push('\r'),
                    Some('t') => text.push('\t'),
                    Some('v') => text.push('\u{b}'),
                    Some(other) => text.push(other),
                },
                Some(c) => text.push(c),
            }
        }
    }

    /// Up to three octal digits; three only below 256.
    fn octal(&mut self, first: char) -> char {
        let mut value = first.to_digit(8).unwrap_or_default();
        let most = if first <= '3' { 2 } else { 1 };
        for _ in 0..most {
            let Some(digit) = self.0.peek().and_then(|c| c.to_digit(8)) else { break };
            self.0.next();
            value = value * 8 + digit;
        }
        char::from_u32(value).unwrap_or_default()
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '$') || c >= '\u{a0}'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn options(text: &str) -> Vec<(String, String)> {
        let line = format!("org.apache.kafka.common.security.plain.PlainLoginModule required {text};");
        Login::parse(&line).unwrap().options.into_iter().collect()
    }

    #[test]
    fn lines_are_read_as_java_reads_them() {
        let read = |text: &str| {
            options(text).into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(read(r#"username="alice" password="al=i;ce // x""#), "password=al=i;ce // x username=alice");
        assert_eq!(read(r#"username='a"b' "password"="a\"b\\c\n\101""#), "password=a\"b\\c\nA username=a\"b");
        assert_eq!(read("\n\tusername=alice-1_$.é /* who */ password = x // end\n"), "password=x username=alice-1_$.é");
        assert_eq!(read(""), "");
        let login = Login::parse("a.b.ScramLoginModule REQUIRED tokenauth=true ;").unwrap();
        assert_eq!((login.class(), &*login.options["tokenauth"]), ("ScramLoginModule", "true"));
    }

    #[test]
    fn errors_say_where_and_never_what() {
        let error = |text: &str| Login::parse(text).err().unwrap();
        for (text, part) in [
            ("", "empty"),
            ("= x", "class of a login module"),
            ("M username=a;", "`required` must follow M"),
            ("M required username=s3cret", "semicolon"),
            ("M required username=a password=\"s3cret;", "quote"),
            ("M required username=a password=s3c!ret;", "Put values in quotes"),
            ("M required username a;", "`=` where option 1"),
            ("M required username=;", "option 1 has no value"),
            ("M required =s3cret;", "option 1"),
            ("M required; N required;", "more than one"),
        ] {
            let error = error(text);
            assert!(error.contains(part) && !error.contains("s3c"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_quoted_comes_back(value in "[^\r\n]{0,40}", other in any::<String>()) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            prop_assert_eq!(&options(&format!("password=\"{escaped}\""))[0].1, &value);
            let _ = Login::parse(&other);
        }
    }
}
