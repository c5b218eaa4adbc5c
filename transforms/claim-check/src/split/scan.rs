//! Finds where the elements of delimited data begin and end, in a window that moves over it. Pure.
//!
//! Called by `split.rs` with what is left of the data so far; each scanner keeps how far it has looked, so that no byte is
//! looked at twice.

use pipette_api::{ConnectError, Result};

/// What a scanner found, in bytes from the beginning of the window.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// An element; the window goes on at `next`.
    Element { from: usize, to: usize, next: usize },
    /// So many bytes are of no element.
    Skip(usize),
    /// The window ends too early.
    More,
    /// There are no elements any more.
    End,
}

/// One kind of data.
pub(super) trait Scan: Send {
    /// The next element. `ended`: nothing follows the window.
    fn step(&mut self, window: &[u8], ended: bool) -> Result<Step>;
}

/// Lines, without their ends; rows of CSV, which may hold line ends in quotes. Empty ones are none.
pub(super) struct Lines {
    pub(super) quotes: bool,
    quoted: bool,
    at: usize,
}

impl Lines {
    pub(super) fn new(quotes: bool) -> Self {
        Self { quotes, quoted: false, at: 0 }
    }
}

impl Scan for Lines {
    fn step(&mut self, window: &[u8], ended: bool) -> Result<Step> {
        let mut end = None;
        while let Some(byte) = window.get(self.at) {
            match byte {
                b'"' if self.quotes => self.quoted = !self.quoted,
                b'\n' if !self.quoted => {
                    end = Some(self.at);
                    break;
                }
                _ => {}
            }
            self.at += 1;
        }
        let (to, next) = match end {
            Some(end) => (end, end + 1),
            None if !ended => return Ok(Step::More),
            None if self.quoted => return Err(unfinished("the data ends inside of quotes")),
            None if window.is_empty() => return Ok(Step::End),
            None => (window.len(), window.len()),
        };
        self.at = 0;
        let line = &window[..to];
        let to = if line.ends_with(b"\r") { to - 1 } else { to };
        Ok(if line.trim_ascii().is_empty() { Step::Skip(next) } else { Step::Element { from: 0, to, next } })
    }
}

/// Elements of one JSON array.
#[derive(Default)]
pub(super) struct Json {
    place: Place,
    at: usize,
    depth: usize,
    quoted: bool,
    escaped: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    Before,
    First,
    Later,
    Behind,
}

impl Scan for Json {
    fn step(&mut self, window: &[u8], ended: bool) -> Result<Step> {
        match self.place {
            Place::Before => match window.iter().position(|byte| !byte.is_ascii_whitespace()) {
                Some(at) if window[at] == b'[' => {
                    self.place = Place::First;
                    Ok(Step::Skip(at + 1))
                }
                None if !ended => Ok(Step::More),
                _ => Err(ConnectError::data("the value is no JSON array: format=json-array needs one")),
            },
            Place::Behind if window.trim_ascii().is_empty() => Ok(if ended { Step::End } else { Step::More }),
            Place::Behind => Err(ConnectError::data("something follows the JSON array")),
            Place::First | Place::Later => self.element(window, ended),
        }
    }
}

impl Json {
    fn element(&mut self, window: &[u8], ended: bool) -> Result<Step> {
        while let Some(byte) = window.get(self.at) {
            match (self.quoted, byte) {
                (true, _) if self.escaped => self.escaped = false,
                (true, b'\\') => self.escaped = true,
                (_, b'"') => self.quoted = !self.quoted,
                (false, b'[' | b'{') => self.depth += 1,
                (false, b',' | b']') if self.depth == 0 => return self.found(window, *byte),
                (false, b']' | b'}') => {
                    self.depth =
                        self.depth.checked_sub(1).ok_or_else(|| unfinished("a brace is closed that was not open"))?;
                }
                _ => {}
            }
            self.at += 1;
        }
        if ended { Err(unfinished("the JSON array has no end")) } else { Ok(Step::More) }
    }

    fn found(&mut self, window: &[u8], closing: u8) -> Result<Step> {
        let (end, next) = (self.at, self.at + 1);
        self.at = 0;
        let first = std::mem::replace(&mut self.place, if closing == b']' { Place::Behind } else { Place::Later });
        let blank = |byte: &u8| !byte.is_ascii_whitespace();
        let Some(from) = window[..end].iter().position(blank) else {
            return if first == Place::First && closing == b']' {
                Ok(Step::Skip(next))
            } else {
                Err(ConnectError::data("an element of the JSON array is empty"))
            };
        };
        let to = from + window[from..end].trim_ascii_end().len();
        Ok(Step::Element { from, to, next })
    }
}

/// Elements of one name, wherever they are; those inside of one another count as one.
pub(super) struct Xml {
    name: Vec<u8>,
    at: usize,
    from: usize,
    depth: usize,
}

impl Xml {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.as_bytes().to_vec(), at: 0, from: 0, depth: 0 }
    }

    /// The end of what begins with `<` at the front of a text; `None` when the window ends before.
    fn markup(text: &[u8]) -> Option<usize> {
        let until = |end: &[u8]| Some(find(text, end)? + end.len());
        if b"<![CDATA[".starts_with(&text[..text.len().min(9)]) {
            return until(b"]]>").filter(|_| text.len() >= 9);
        }
        match text {
            [b'<', b'!', b'-', b'-', ..] => Some(find(text.get(4..)?, b"-->")? + 7),
            [b'<', b'?', ..] => until(b"?>"),
            _ => {
                let mut quote = None;
                for (at, byte) in text.iter().enumerate() {
                    match (quote, byte) {
                        (None, b'>') => return Some(at + 1),
                        (None, b'"' | b'\'') => quote = Some(*byte),
                        (Some(open), byte) if open == *byte => quote = None,
                        _ => {}
                    }
                }
                None
            }
        }
    }

    /// Looks at markup that is whole; true when it ends an element.
    fn look(&mut self, tag: &[u8], start: usize) -> bool {
        let is_close = tag.starts_with(b"</");
        let inner = &tag[if is_close { 2 } else { 1 }..tag.len() - 1];
        let end = inner.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'/').unwrap_or(inner.len());
        if inner[..end] != self.name[..] {
            return false;
        }
        if is_close {
            self.depth = self.depth.saturating_sub(1);
            return self.depth == 0;
        }
        if self.depth == 0 {
            self.from = start;
        }
        let alone = inner.ends_with(b"/");
        if !alone {
            self.depth += 1;
        }
        alone && self.depth == 0
    }
}

impl Scan for Xml {
    fn step(&mut self, window: &[u8], ended: bool) -> Result<Step> {
        while let Some(start) = window[self.at..].iter().position(|byte| *byte == b'<').map(|found| self.at + found) {
            self.at = start;
            let Some(len) = Self::markup(&window[start..]) else { break };
            self.at = start + len;
            let was_open = self.depth > 0;
            if self.look(&window[start..self.at], start) && (was_open || self.from == start) {
                let (from, next) = (self.from, std::mem::take(&mut self.at));
                return Ok(Step::Element { from, to: next, next });
            }
        }
        let nothing_left = !window[self.at..].contains(&b'<');
        if nothing_left {
            self.at = window.len();
        }
        match (self.depth, ended) {
            (0, true) if nothing_left => Ok(Step::End),
            (_, true) => Err(unfinished("the data ends inside of an element")),
            (0, false) if self.at > 0 => Ok(Step::Skip(std::mem::take(&mut self.at))),
            (_, false) => Ok(Step::More),
        }
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

fn unfinished(how: &str) -> ConnectError {
    ConnectError::data(format!("the value cannot be split to its end: {how}"))
}
