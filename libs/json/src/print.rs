//! JSON in Java's words without values in between: what `toString` gives for the maps and lists, or structs and lists, that
//! it would become. The worker's JSON converter calls it for what a sink writes as text.

use crate::read::Name;
use crate::tree::digest;
use crate::walk::{Visitor, walk};
use crate::{Reader, Shape, write_f64, write_i64};

/// Appends the words for the value that is next, which is known to be valid. `structs` says what objects are: structs, whose
/// nulls Java leaves out and whose members come once, or maps. False, with `out` as it was, when it takes the values of maps
/// to tell, as for members that come twice.
pub fn print(reader: &mut Reader<'_>, structs: bool, out: &mut Vec<u8>) -> bool {
    let begin = out.len();
    let (bytes, start) = reader.rest();
    let mut quick = Quick::new(structs, out);
    if walk(bytes, start, &mut quick).is_some() {
        let end = out.len() - BETWEEN.len();
        out.truncate(end);
        return true;
    }
    out.truncate(begin);
    let printed = Printer { structs, out, open: Vec::new(), names: Vec::new() }.value(reader).is_some();
    if !printed {
        out.truncate(begin);
    }
    printed
}

/// Prints during a walk. Each part is followed by what stands between two parts, which an end takes back.
struct Quick<'o> {
    structs: bool,
    out: &'o mut Vec<u8>,
    /// Whether a blank follows the comma behind a part here; fields of structs go without.
    spaced: bool,
    /// Where the last name begins.
    named: usize,
    /// The open maps: where their names begin in `names`, and a bit for each name.
    maps: Vec<(usize, u64)>,
    /// Where the names of maps stand in `out`, and their lengths.
    names: Vec<(usize, usize)>,
}

impl<'o> Quick<'o> {
    fn new(structs: bool, out: &'o mut Vec<u8>) -> Self {
        Self { structs, out, spaced: true, named: 0, maps: Vec::new(), names: Vec::new() }
    }

    fn go_into(&mut self, object: bool) {
        self.spaced = !(object && self.structs);
    }

    #[inline]
    fn separate(&mut self) {
        self.out.push(b',');
        if self.spaced {
            self.out.push(b' ');
        }
    }

    /// Appends the beginning of a text, short ones faster than a copy of unknown length can be.
    #[inline]
    fn append(&mut self, from: &[u8], len: usize) {
        match from.first_chunk::<16>() {
            Some(chunk) if len <= chunk.len() => {
                let end = self.out.len() + len;
                self.out.extend_from_slice(chunk);
                self.out.truncate(end);
            }
            _ => self.out.extend_from_slice(&from[..len]),
        }
    }

    /// Remembers the name that was just printed, of a map; `None` when it was there before.
    fn note(&mut self, len: usize) -> Option<()> {
        let start = self.out.len() - len;
        let (out, (first, seen)) = (&*self.out, self.maps.last_mut()?);
        let name = &out[start..];
        let (bit, known) = (1 << digest(name), &self.names[*first..]);
        let met = *seen & bit != 0;
        if met && (known.len() > MANY || known.iter().any(|(at, len)| out[*at..][..*len] == *name)) {
            return None;
        }
        *seen |= bit;
        self.names.push((start, len));
        Some(())
    }
}

impl Visitor for Quick<'_> {
    fn open(&mut self, object: bool) -> Option<()> {
        let bracket: &[u8] = if !object {
            b"["
        } else if self.structs {
            b"Struct{"
        } else {
            self.maps.push((self.names.len(), 0));
            b"{"
        };
        self.out.extend_from_slice(bracket);
        self.go_into(object);
        Some(())
    }

    #[inline]
    fn name(&mut self, from: &[u8], len: usize, new: bool) -> Option<()> {
        self.named = self.out.len();
        self.append(from, len);
        if new && !self.structs {
            self.note(len)?;
        }
        self.out.push(b'=');
        Some(())
    }

    #[inline]
    fn string(&mut self, from: &[u8], len: usize) {
        self.append(from, len);
        self.separate();
    }

    #[inline]
    fn number(&mut self, from: &[u8], printed: usize) -> Option<()> {
        self.append(from, printed);
        self.separate();
        (printed > 0).then_some(())
    }

    #[inline]
    fn word(&mut self, word: &'static [u8]) {
        if !self.spaced && word == b"null" {
            self.out.truncate(self.named);
            return;
        }
        self.out.extend_from_slice(word);
        self.separate();
    }

    fn close(&mut self, object: bool, in_object: bool) {
        // A bracket is what an empty one ends with.
        if matches!(self.out.last(), Some(b',' | b' ')) {
            self.out.truncate(self.out.len() - 1 - usize::from(self.spaced));
        }
        self.out.push(if object { b'}' } else { b']' });
        self.go_into(in_object);
        self.separate();
        if object && let Some((names, _)) = self.maps.pop() {
            self.names.truncate(names);
        }
    }

    fn mark(&self) -> usize {
        self.out.len()
    }

    fn back_to(&mut self, mark: usize) {
        self.out.truncate(mark);
        self.go_into(false);
        if let Some((names, _)) = self.maps.pop() {
            self.names.truncate(names);
        }
    }
}

struct Printer<'o> {
    structs: bool,
    out: &'o mut Vec<u8>,
    open: Vec<Level>,
    /// Start and length of the names of the members of all open objects.
    names: Vec<(u32, u32)>,
}

/// An object or array whose end has not come.
struct Level {
    object: bool,
    /// Nothing was read of it yet, and nothing was written.
    unread: bool,
    blank: bool,
    /// Where its names begin, and a bit for each of them.
    names: usize,
    seen: u64,
}

impl Printer<'_> {
    fn value(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        loop {
            match reader.shape().ok()? {
                Shape::String => self.string(reader)?,
                Shape::Number => self.number(reader)?,
                Shape::Boolean => self.out.extend_from_slice(if reader.boolean().ok()? { b"true" } else { b"false" }),
                Shape::Null => {
                    reader.null().ok()?;
                    self.out.extend_from_slice(b"null");
                }
                Shape::Object => {
                    reader.open_object().ok()?;
                    self.out.extend_from_slice(if self.structs { b"Struct{" } else { b"{" });
                    self.open(true);
                }
                Shape::Array => {
                    reader.open_array().ok()?;
                    self.out.push(b'[');
                    self.open(false);
                }
            }
            loop {
                let Some(level) = self.open.last_mut() else { return Some(()) };
                let first = std::mem::take(&mut level.unread);
                let object = level.object;
                if if object { self.member(reader, first)? } else { self.element(reader, first)? } {
                    break;
                }
                self.out.push(if object { b'}' } else { b']' });
                if let Some(level) = self.open.pop() {
                    self.names.truncate(level.names);
                }
            }
        }
    }

    fn open(&mut self, object: bool) {
        self.open.push(Level { object, unread: true, blank: true, names: self.names.len(), seen: 0 });
    }

    /// Goes to the next element; false at the end.
    fn element(&mut self, reader: &mut Reader<'_>, first: bool) -> Option<bool> {
        let more = reader.element(first).ok()?;
        if more && !first {
            self.out.extend_from_slice(b", ");
        }
        Some(more)
    }

    /// Goes to the next member that is written; false at the end.
    fn member(&mut self, reader: &mut Reader<'_>, mut first: bool) -> Option<bool> {
        loop {
            let Some(name) = reader.member(first).ok()? else { return Some(false) };
            first = false;
            if !self.structs {
                self.note(reader, &name)?;
            } else if reader.shape().ok()? == Shape::Null {
                reader.null().ok()?;
                continue;
            }
            let between: &[u8] = if self.structs { b"," } else { b", " };
            let level = self.open.last_mut()?;
            if !std::mem::take(&mut level.blank) {
                self.out.extend_from_slice(between);
            }
            self.out.extend_from_slice(reader.bytes_of(&name));
            self.out.push(b'=');
            return Some(true);
        }
    }

    /// Remembers a name; `None` when it was there before.
    fn note(&mut self, reader: &Reader<'_>, name: &Name) -> Option<()> {
        let Name::Span(start, len) = name else { return None };
        let level = self.open.last_mut()?;
        let bytes = reader.bytes_of(name);
        let bit = 1 << digest(bytes);
        let known = &self.names[level.names..];
        if level.seen & bit != 0 {
            let same = |known: &(u32, u32)| known.1 == *len && reader.bytes_of(&Name::Span(known.0, known.1)) == bytes;
            if known.len() > MANY || known.iter().any(same) {
                return None;
            }
        }
        level.seen |= bit;
        self.names.push((*start, *len));
        Some(())
    }

    fn string(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        if let Some((start, len)) = reader.plain_string() {
            self.out.extend_from_slice(reader.bytes_of(&Name::Span(start, len)));
        } else {
            self.out.extend_from_slice(reader.string().ok()?.as_bytes());
        }
        Some(())
    }

    fn number(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let start = reader.mark();
        let position = reader.here();
        if let Some(number) = reader.take_short_number().filter(|number| number.printed > 0) {
            self.out.extend_from_slice(&reader.since(position)[..number.printed]);
            return Some(());
        }
        reader.back_to(start);
        let number = reader.number().ok()?;
        if number.is_integer() {
            write_i64(number.as_i64(), self.out);
        } else {
            write_f64(number.as_f64(), self.out);
        }
        Some(())
    }
}

/// What stands between two elements, or two entries of a map.
const BETWEEN: &[u8] = b", ";
/// Objects with more members are not looked through for names.
const MANY: usize = 64;
