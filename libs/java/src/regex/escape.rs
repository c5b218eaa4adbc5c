//! What a backslash means in a Java pattern.

use super::Translator;

/// The meaning of one escape.
pub(super) enum Escape {
    /// One character.
    Char(char),
    /// Any character of a set, as the crate writes it, brackets included.
    Set(String),
    /// A place between characters, or something else that no class can hold.
    Place(&'static str),
}

/// Turns `\Q…\E` into single escapes, as Java does before anything else.
pub(super) fn unquote(java: &str) -> Vec<char> {
    let mut out = Vec::with_capacity(java.len());
    let mut chars = java.chars().peekable();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some('E')) if quoted => {
                chars.next();
                quoted = false;
            }
            ('\\', Some('Q')) if !quoted => {
                chars.next();
                quoted = true;
            }
            ('\\', Some(_)) if !quoted => {
                out.push(c);
                out.extend(chars.next());
            }
            _ if quoted && c.is_ascii() && !c.is_ascii_alphanumeric() => out.extend(['\\', c]),
            // A digit would lengthen an escape in front of the quote.
            _ if quoted && c.is_ascii_digit() => out.extend(['\\', 'x', '3', c]),
            _ => out.push(c),
        }
    }
    out
}

impl Translator {
    /// Behind a `\`.
    pub(super) fn escape(&mut self) -> Result<Escape, String> {
        let c = self.next().ok_or("a backslash at the end")?;
        Ok(match c {
            'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'h' | 'H' | 'v' | 'V' => Escape::Set(ascii_set(c)),
            'p' | 'P' => Escape::Set(self.property(c == 'P')?),
            'R' => Escape::Place(r"(?:\r\n|[\n\x0B\f\r\x{85}\x{2028}\x{2029}])"),
            'b' if self.peek() == Some('{') => return Err(r"\b{g} is not supported".into()),
            'b' => Escape::Place(r"\b"),
            'B' => Escape::Place(r"\B"),
            'A' => Escape::Place(r"\A"),
            'Z' | 'z' => Escape::Place(r"\z"),
            '1'..='9' | 'k' => return Err(r"back references, \1 and \k<name>, are not supported".into()),
            't' => Escape::Char('\t'),
            'n' => Escape::Char('\n'),
            'r' => Escape::Char('\r'),
            'f' => Escape::Char('\x0C'),
            'a' => Escape::Char('\x07'),
            'e' => Escape::Char('\x1B'),
            'c' => Escape::Char(self.control()?),
            '0' => Escape::Char(self.octal()?),
            'x' if self.takes('{') => Escape::Char(self.hex_in_braces()?),
            'x' => Escape::Char(char::from_u32(self.hex(2)?).ok_or("Illegal hexadecimal escape sequence")?),
            'u' => Escape::Char(self.utf16()?),
            'G' | 'X' | 'N' => return Err(format!("\\{c} is not supported")),
            _ if c.is_ascii_alphabetic() => return Err(format!("Illegal/unsupported escape sequence \\{c}")),
            _ => Escape::Char(c),
        })
    }

    fn control(&mut self) -> Result<char, String> {
        let c = self.next().ok_or("Illegal control escape sequence")?;
        char::from_u32(u32::from(c) ^ 64).ok_or_else(|| "Illegal control escape sequence".into())
    }

    /// One to three octal digits, the value at most 0377.
    fn octal(&mut self) -> Result<char, String> {
        let mut value: Option<u8> = None;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(8)) {
            let longer = u32::from(value.unwrap_or(0)) * 8 + digit;
            let Ok(longer) = u8::try_from(longer) else { break };
            value = Some(longer);
            self.at += 1;
        }
        value.map(char::from).ok_or_else(|| "Illegal octal escape sequence".into())
    }

    fn hex(&mut self, digits: usize) -> Result<u32, String> {
        let mut value = 0;
        for _ in 0..digits {
            let digit = self.next().and_then(|c| c.to_digit(16));
            value = value * 16 + digit.ok_or("Illegal hexadecimal escape sequence")?;
        }
        Ok(value)
    }

    fn hex_in_braces(&mut self) -> Result<char, String> {
        let mut value = 0_u32;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(16)) {
            value = value.checked_mul(16).ok_or("Hexadecimal codepoint is too big")? + digit;
            self.at += 1;
        }
        match char::from_u32(value) {
            Some(c) if self.takes('}') => Ok(c),
            _ => Err("Illegal hexadecimal escape sequence".into()),
        }
    }

    /// `\uhhhh`, or two of them for a character outside of the basic plane.
    fn utf16(&mut self) -> Result<char, String> {
        let unit = self.hex(4)?;
        let value = if (0xD800..0xDC00).contains(&unit) && self.takes('\\') && self.takes('u') {
            0x1_0000 + ((unit - 0xD800) << 10) + self.hex(4)?.wrapping_sub(0xDC00)
        } else {
            unit
        };
        char::from_u32(value).ok_or_else(|| "half a surrogate pair is not supported".into())
    }

    /// `\pL`, `\p{Lower}`, `\p{IsGreek}`, `\p{sc=Greek}`.
    fn property(&mut self, negated: bool) -> Result<String, String> {
        let mut name = String::new();
        match self.next().ok_or("Unclosed character family")? {
            '{' => loop {
                match self.next().ok_or("Unclosed character family")? {
                    '}' => break,
                    c => name.push(c),
                }
            },
            c => name.push(c),
        }
        if let Some(set) = posix_set(&name) {
            return Ok(bracketed(set, negated));
        }
        let lower = name.to_ascii_lowercase();
        let sound = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_= -".contains(&byte));
        if !sound || name.starts_with("In") || lower.starts_with("java") || lower.starts_with("bl") {
            return Err(format!("the character property {{{name}}} is not supported"));
        }
        let name = name.strip_prefix("Is").unwrap_or(&name);
        Ok(format!("\\{}{{{name}}}", if negated { 'P' } else { 'p' }))
    }
}

fn bracketed(set: &str, negated: bool) -> String {
    format!("[{}{set}]", if negated { "^" } else { "" })
}

/// Java's short classes are ASCII, the crate's are not. The big letter is everything else.
fn ascii_set(letter: char) -> String {
    let set = match letter.to_ascii_lowercase() {
        'd' => "0-9",
        'w' => "a-zA-Z_0-9",
        's' => r" \t\n\x0B\f\r",
        'h' => r" \t\x{A0}\x{1680}\x{180E}\x{2000}-\x{200A}\x{202F}\x{205F}\x{3000}",
        'v' => r"\n\x0B\f\r\x{85}\x{2028}\x{2029}",
        _ => unreachable!("called for these letters only"),
    };
    bracketed(set, letter.is_ascii_uppercase())
}

/// Java's POSIX names, ASCII as well.
fn posix_set(name: &str) -> Option<&'static str> {
    Some(match name {
        "Lower" => "a-z",
        "Upper" => "A-Z",
        "ASCII" => r"\x00-\x7F",
        "Alpha" => "a-zA-Z",
        "Digit" => "0-9",
        "Alnum" => "a-zA-Z0-9",
        "Punct" => r"!-/:-@\[-`{-~\\",
        "Graph" => "!-~",
        "Print" => " -~",
        "Blank" => r" \t",
        "Cntrl" => r"\x00-\x1F\x7F",
        "XDigit" => "0-9a-fA-F",
        "Space" => r" \t\n\x0B\f\r",
        _ => return None,
    })
}
