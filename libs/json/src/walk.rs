//! Objects and arrays in the usual form, without white space, passed in one walk. `read/skip.rs` walks to find where a value
//! ends, `print.rs` to print it. Other forms, escapes, long numbers, deep nesting, and whatever is wrong, are left to
//! [`crate::Reader`].
//!
//! How fast a walk is depends on how far each step waits for the one before. The objects of an array have the same names:
//! those of the first one are compared with what follows, which waits for nothing, instead of being searched for their ends.

use crate::scan;

/// Up to this length, and only in this form, names and strings are passed here.
const MAX_PLAIN: usize = 50_000;
/// Members of the objects of an array that are remembered.
const MEMBERS: usize = 16;

/// Sees what a walk passes. An answer of `None` ends the walk.
pub(crate) trait Visitor {
    /// Begins an object or array.
    fn open(&mut self, object: bool) -> Option<()>;
    /// A member's name. Texts begin their slice, which may go on behind them. `new` unless the object before had the same
    /// names so far.
    fn name(&mut self, from: &[u8], len: usize, new: bool) -> Option<()>;
    /// A plain string, without its quotes.
    fn string(&mut self, from: &[u8], len: usize);
    /// A number, of which Java prints so many characters, or others when there are none.
    fn number(&mut self, from: &[u8], printed: usize) -> Option<()>;
    /// `true`, `false` or `null`.
    fn word(&mut self, word: &'static [u8]);
    /// Ends an object or array, which stands in an object or not.
    fn close(&mut self, object: bool, in_object: bool);
    /// This place, to come back to.
    fn mark(&self) -> usize;
    /// Forgets everything since then, within an object that is given up.
    fn back_to(&mut self, mark: usize);
}

/// Sees nothing.
pub(crate) struct Blind;

impl Visitor for Blind {
    fn open(&mut self, _object: bool) -> Option<()> {
        Some(())
    }
    fn name(&mut self, _from: &[u8], _len: usize, _new: bool) -> Option<()> {
        Some(())
    }
    fn string(&mut self, _from: &[u8], _len: usize) {}
    fn number(&mut self, _from: &[u8], _printed: usize) -> Option<()> {
        Some(())
    }
    fn word(&mut self, _word: &'static [u8]) {}
    fn close(&mut self, _object: bool, _in_object: bool) {}
    fn mark(&self) -> usize {
        0
    }
    fn back_to(&mut self, _mark: usize) {}
}

/// Walks over the object or array that begins there; where it ends.
#[inline]
pub(crate) fn walk(bytes: &[u8], start: usize, visitor: &mut impl Visitor) -> Option<usize> {
    let (mut at, mut levels, mut known) = (start, Levels::default(), Known::default());
    loop {
        let byte = *bytes.get(at)?;
        if byte == b'{'
            && levels.in_array()
            && let Some(end) = known.object(bytes, at, visitor)
        {
            at = end;
        } else if matches!(byte, b'{' | b'[') {
            levels.push(byte == b'{')?;
            visitor.open(byte == b'{')?;
            at += 1;
            // The brackets stand two apart, and an empty one ends below.
            if *bytes.get(at)? != byte + 2 {
                if byte == b'{' {
                    at = name(bytes, at, visitor)?;
                }
                continue;
            }
        } else {
            at = scalar(bytes, at, visitor)?;
        }
        loop {
            let byte = *bytes.get(at)?;
            at += 1;
            let object = levels.object();
            if byte == b',' {
                if object {
                    at = name(bytes, at, visitor)?;
                }
                break;
            }
            if byte != if object { b'}' } else { b']' } {
                return None;
            }
            let last = levels.pop();
            visitor.close(object, !last && levels.object());
            if last {
                return Some(at);
            }
        }
    }
}

/// A value without parts; where it ends.
#[inline]
pub(crate) fn scalar(bytes: &[u8], at: usize, visitor: &mut impl Visitor) -> Option<usize> {
    let rest = &bytes[at..];
    match *rest.first()? {
        b'"' => {
            let end = string_end(bytes, at)?;
            visitor.string(&rest[1..], end - at - 2);
            Some(end)
        }
        b't' => word(b"true", rest, visitor).map(|len| at + len),
        b'f' => word(b"false", rest, visitor).map(|len| at + len),
        b'n' => word(b"null", rest, visitor).map(|len| at + len),
        _ => {
            let number = scan::short_number(rest)?;
            visitor.number(rest, number.printed)?;
            Some(at + number.len)
        }
    }
}

#[inline]
fn word<const N: usize>(word: &'static [u8; N], rest: &[u8], visitor: &mut impl Visitor) -> Option<usize> {
    visitor.word(word);
    (rest.first_chunk() == Some(word)).then_some(N)
}

/// A member's name and colon; where its value begins.
#[inline]
pub(crate) fn name(bytes: &[u8], at: usize, visitor: &mut impl Visitor) -> Option<usize> {
    if *bytes.get(at)? != b'"' {
        return None;
    }
    let end = string_end(bytes, at)?;
    visitor.name(&bytes[at + 1..], end - at - 2, true)?;
    (*bytes.get(end)? == b':').then_some(end + 1)
}

/// Behind the closing quote of a plain string that begins here.
#[inline]
pub(crate) fn string_end(bytes: &[u8], start: usize) -> Option<usize> {
    let end = scan::read_run(bytes, start + 1);
    (bytes.get(end) == Some(&b'"') && end - start <= MAX_PLAIN).then_some(end + 1)
}

/// The members of the last object that had no parts inside: where each comma, name and colon stood.
#[derive(Default)]
struct Known {
    seams: [(usize, usize); MEMBERS],
    count: usize,
    /// Objects of another kind were met: looking at more of them would be for nothing.
    hopeless: bool,
}

impl Known {
    /// An object without parts inside; where it ends. `None`, and nothing was seen, when it is another one.
    #[inline]
    fn object(&mut self, bytes: &[u8], at: usize, visitor: &mut impl Visitor) -> Option<usize> {
        if self.hopeless {
            return None;
        }
        let mark = visitor.mark();
        if self.count > 0 {
            if let Some(end) = self.again(bytes, at, visitor) {
                return Some(end);
            }
            visitor.back_to(mark);
        }
        let end = self.learn(bytes, at, visitor);
        if end.is_none() {
            self.hopeless = true;
            visitor.back_to(mark);
        }
        end
    }

    #[inline]
    fn again(&mut self, bytes: &[u8], at: usize, visitor: &mut impl Visitor) -> Option<usize> {
        let mut at = at + 1;
        visitor.open(true)?;
        for (index, (start, end)) in self.seams.iter().take(self.count).enumerate() {
            let seam = &bytes[*start..*end];
            if !scan::starts_with(&bytes[at..], seam) {
                return None;
            }
            at += seam.len();
            // Without quotes and colon, and without the comma before all but the first.
            let before = 1 + usize::from(index > 0);
            visitor.name(&bytes[*start + before..], seam.len() - before - 2, false)?;
            at = scalar(bytes, at, visitor)?;
        }
        visitor.close(true, false);
        (*bytes.get(at)? == b'}').then_some(at + 1)
    }

    fn learn(&mut self, bytes: &[u8], at: usize, visitor: &mut impl Visitor) -> Option<usize> {
        let mut at = at + 1;
        self.count = 0;
        visitor.open(true)?;
        loop {
            let start = at;
            if self.count > 0 {
                at += usize::from(*bytes.get(at)? == b',');
            }
            at = name(bytes, at, visitor)?;
            *self.seams.get_mut(self.count)? = (start, at);
            self.count += 1;
            at = scalar(bytes, at, visitor)?;
            match *bytes.get(at)? {
                b',' => {}
                b'}' => {
                    visitor.close(true, false);
                    return Some(at + 1);
                }
                _ => return None,
            }
        }
    }
}

/// Which of up to 63 levels are objects: a bit for each, below a one that marks the outside.
struct Levels(u64);

impl Default for Levels {
    fn default() -> Self {
        Self(1)
    }
}

impl Levels {
    #[inline]
    fn push(&mut self, object: bool) -> Option<()> {
        if self.0 >> 63 == 1 {
            return None;
        }
        self.0 = self.0 << 1 | u64::from(object);
        Some(())
    }

    #[inline]
    fn object(&self) -> bool {
        self.0 & 1 == 1
    }

    #[inline]
    fn in_array(&self) -> bool {
        self.0 > 1 && !self.object()
    }

    /// True when the outermost one is closed.
    #[inline]
    fn pop(&mut self) -> bool {
        self.0 >>= 1;
        self.0 == 1
    }
}
