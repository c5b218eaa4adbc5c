//! Header text in tokens: delimiters by themselves, everything between them in one piece.

/// Walks the tokens of a text. A delimiter behind a backslash is part of its token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens<'a> {
    text: &'a str,
    pos: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, pos: 0 }
    }

    pub(super) fn at_end(&self) -> bool {
        self.pos == self.text.len()
    }

    /// The next token; empty at the end.
    pub(super) fn next(&mut self) -> &'a str {
        let rest = &self.text[self.pos..];
        let mut escaped = false;
        let mut end = rest.len();
        for (index, byte) in rest.bytes().enumerate() {
            match byte {
                b'\\' => escaped = !escaped,
                b':' | b',' | b'{' | b'}' | b'[' | b']' | b'"' if !escaped => {
                    end = index.max(1);
                    break;
                }
                _ => escaped = false,
            }
        }
        self.pos += end;
        &rest[..end]
    }

    /// Takes the next token if it is this one. Blank tokens before it are dropped, blanks around it ignored.
    pub(super) fn take(&mut self, expected: &str) -> bool {
        if self.at_end() {
            return false;
        }
        let mut ahead = *self;
        let mut token = ahead.next();
        while trim(token).is_empty() && !ahead.at_end() {
            *self = ahead;
            token = ahead.next();
        }
        let same = trim(token) == expected;
        if same {
            *self = ahead;
        }
        same
    }

    /// Takes the next token if it is exactly this one.
    pub(super) fn take_exactly(&mut self, expected: &str) -> bool {
        let mut ahead = *self;
        let same = ahead.next() == expected;
        if same {
            *self = ahead;
        }
        same
    }

    /// The text of the next `count` tokens; `None` when there are fewer.
    pub(super) fn next_of(&mut self, count: usize) -> Option<&'a str> {
        let start = self.pos;
        for _ in 0..count {
            if self.at_end() {
                return None;
            }
            self.next();
        }
        Some(&self.text[start..self.pos])
    }
}

/// Java's `trim`: everything up to the blank.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(|character| character <= ' ')
}
