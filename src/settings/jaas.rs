//! Java's login configurations: a login module, its options, a semicolon. The one line of `sasl.jaas.config`, read for
//! `src/kafka/security/`, and files of named entries with such lines, read for `logins.rs`. Pure.
//!
//! Words and quotes are those of Java's `StreamTokenizer`, which reads both there. No error here ever holds a value.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// A login module and its options.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    /// The class, with its package.
    pub(crate) module: String,
    /// The options.
    pub(crate) options: BTreeMap<String, String>,
}

impl Login {
    /// The class without its package.
    pub(crate) fn class(&self) -> &str {
        self.module.rsplit('.').next().unwrap_or_default()
    }

    /// Reads the line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Tokens(text.chars().peekable());
        let module = match tokens.next()? {
            Some(Token::Word(module)) => module,
            None => return Err("it is empty".into()),
            _ => return Err("it must begin with the class of a login module".into()),
        };
        let login = Self::behind(module, &mut tokens)?;
        match tokens.next()? {
            None => Ok(login),
            Some(_) => Err("more than one login module stands in it, or something behind the semicolon".into()),
        }
    }

    /// What follows the class of a module, up to the semicolon.
    fn behind(module: String, tokens: &mut Tokens<'_>) -> Result<Self, String> {
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
                Some(Token::Sign(';')) => return Ok(Self { module, options }),
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
    }

    /// The modules of an entry in a file of entries, `Name { module required option="value"; };`; `None` without the entry.
    pub(crate) fn entry(text: &str, wanted: &str) -> Result<Option<Vec<Self>>, String> {
        let (mut tokens, mut found) = (Tokens(text.chars().peekable()), None);
        loop {
            let name = match tokens.next()? {
                Some(Token::Word(name) | Token::Quoted(name)) => name,
                None => return Ok(found),
                Some(Token::Sign(_)) => return Err("there is a sign where the name of an entry should stand".into()),
            };
            let Some(Token::Sign('{')) = tokens.next()? else { return Err(format!("`{{` must follow {name}")) };
            let mut logins = Vec::new();
            loop {
                match tokens.next()? {
                    Some(Token::Word(module)) => logins.push(Self::behind(module, &mut tokens)?),
                    Some(Token::Sign('}')) => break,
                    _ => return Err(format!("the entry {name} needs classes of login modules, and a `}}` at its end")),
                }
            }
            let Some(Token::Sign(';')) = tokens.next()? else {
                return Err(format!("a semicolon must follow the `}}` of {name}"));
            };
            if name == wanted && found.is_none() {
                found = Some(logins);
            }
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

    #[test]
    fn an_entry_is_found_among_others() {
        let file =
            "/* all */\nA { x.M optional; };\n\"B\" {\n x.M required file=\"a b\"; y.N sufficient c=d; }; // end";
        let entry = |name: &str| Login::entry(file, name).unwrap();
        let found: Vec<_> = entry("B").unwrap().iter().map(|login| login.class().to_owned()).collect();
        assert_eq!(found, ["M", "N"]);
        assert_eq!(entry("B").unwrap()[0].options["file"], "a b");
        assert!(entry("A").is_some_and(|logins| logins[0].options.is_empty()) && entry("C").is_none());
        for wrong in ["A", "A {", "A { x.M required; }", "A { x.M; };", "{ x.M required; };", "A { = };"] {
            assert!(Login::entry(wrong, "A").is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_quoted_comes_back(value in "[^\r\n]{0,40}", other in any::<String>()) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
            prop_assert_eq!(&options(&format!("password=\"{escaped}\""))[0].1, &value);
            let _ = Login::parse(&other);
            let _ = Login::entry(&other, &value);
        }
    }
}
