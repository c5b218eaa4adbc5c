//! Schemaless values from tokens: integers are 64 bits wide, other numbers doubles, objects maps.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use pipette_api::{Blob, Keys, Map, Result, Text, Value};

use crate::encoding::Document;
use crate::layouts::{Guess, Layouts, Place, Seams};
use crate::read::{Name, Reader, Shape};
use crate::write::write;

/// Builds values. Keep one per task: it remembers its stack, so that each array and object is allocated once in its size,
/// and the members of earlier objects, which later ones share (`layouts.rs`).
#[derive(Debug, Default)]
pub struct Parser {
    /// Elements of the arrays and values of the objects being read, outermost first.
    values: Vec<Value>,
    frames: Vec<Frame>,
    layouts: Layouts,
    /// Keys of the objects being read that are like none before, and what stood around them.
    names: Vec<Value>,
    seams: Seams,
}

/// An object or array being read.
#[derive(Debug, Clone, Copy)]
struct Frame {
    /// Where its parts begin on the stack.
    start: usize,
    /// Its place; of an array, that of the objects inside.
    place: Place,
    /// `None` in an array.
    object: Option<Members>,
}

/// How the keys of an object are known.
#[derive(Debug, Clone, Copy)]
enum Members {
    /// As those of an earlier one, so far.
    Guessed(Guess),
    /// By their names, which begin there on the stack of names.
    Named(usize),
}

/// Above this many parts the stacks are given back after the document: a giant must not stay for ever.
const KEEP: usize = 4096;
/// Transformations add a few fields to the outermost object: room for them costs less than moving it.
const ROOM: usize = 4;

/// The value of a whole document; a data error when anything but white space follows it.
pub fn parse(bytes: &Blob) -> Result<Value> {
    let document = Document::new(bytes)?;
    let mut reader = document.reader();
    let value = Parser::default().value(&mut reader)?;
    if reader.at_end() { Ok(value) } else { Err(reader.fail("the end of the document")) }
}

impl Parser {
    /// The next value of the reader.
    pub fn value(&mut self, reader: &mut Reader<'_>) -> Result<Value> {
        let value = self.build(reader);
        self.values.clear();
        self.frames.clear();
        self.names.clear();
        self.seams.clear();
        self.values.shrink_to(KEEP);
        self.names.shrink_to(KEEP);
        self.layouts.tidy();
        value
    }

    fn build(&mut self, reader: &mut Reader<'_>) -> Result<Value> {
        loop {
            if self.opened(reader)? {
                continue;
            }
            loop {
                let Some(frame) = self.frames.last().copied() else {
                    return Ok(self.values.pop().unwrap_or_else(|| unreachable!("a value was just pushed")));
                };
                let more = if frame.object.is_some() { self.member(frame, reader)? } else { reader.element(false)? };
                if more {
                    break;
                }
                self.close();
            }
        }
    }

    /// Takes the next value, or goes into it when it has parts; true then. Each arm pushes for itself: a value that is put
    /// together in one place and copied to another costs several times what making it costs.
    #[inline]
    fn opened(&mut self, reader: &mut Reader<'_>) -> Result<bool> {
        match reader.shape()? {
            Shape::String => match reader.text_token()? {
                Name::Span(start, len) => reader.text().cut(start, len, |text| self.values.push(Value::String(text))),
                Name::Made(text) => self.values.push(Value::String(Text::from(text))),
            },
            Shape::Number => {
                let number = reader.number()?;
                if number.is_integer() {
                    self.values.push(Value::I64(number.as_i64()));
                } else {
                    self.values.push(Value::F64(number.as_f64()));
                }
            }
            Shape::Object => {
                reader.open_object()?;
                let frame = self.open(true);
                if self.member(frame, reader)? {
                    return Ok(true);
                }
                self.close();
            }
            Shape::Array => {
                reader.open_array()?;
                self.open(false);
                if reader.element(true)? {
                    return Ok(true);
                }
                self.close();
            }
            Shape::Boolean => {
                let value = reader.boolean()?;
                self.values.push(Value::Bool(value));
            }
            Shape::Null => {
                reader.null()?;
                self.values.push(Value::Null);
            }
        }
        Ok(false)
    }

    fn open(&mut self, object: bool) -> Frame {
        let place = match self.frames.last() {
            None => Place::ROOT,
            Some(Frame { start, object: Some(Members::Guessed(guess)), .. }) => {
                self.layouts.below(*guess, self.values.len() - start)
            }
            Some(Frame { object: Some(Members::Named(_)), .. }) => Place::UNKNOWN,
            Some(Frame { place, .. }) => *place,
        };
        let members = || match self.layouts.guess(place) {
            Guess::NONE => Members::Named(self.names.len()),
            guess => Members::Guessed(guess),
        };
        let frame = Frame { start: self.values.len(), place, object: object.then(members) };
        self.frames.push(frame);
        frame
    }

    /// Goes to the next member of the innermost object, whose frame it is; false at its end.
    #[inline]
    fn member(&mut self, frame: Frame, reader: &mut Reader<'_>) -> Result<bool> {
        if let Some(Members::Guessed(guess)) = frame.object
            && let Some(seam) = self.layouts.seam(guess, self.values.len() - frame.start)
            && reader.take_here(seam)
        {
            return Ok(true);
        }
        self.named_member(frame, reader)
    }

    fn named_member(&mut self, frame: Frame, reader: &mut Reader<'_>) -> Result<bool> {
        let (index, from) = (self.values.len() - frame.start, reader.here());
        let Some(name) = reader.member(index == 0)? else { return Ok(false) };
        let seam = from..reader.position();
        if let Some(Members::Guessed(guess)) = frame.object {
            let bytes = reader.bytes_of(&name);
            if let Some(guess) = self.layouts.other(frame.place, guess, index, Some(bytes)) {
                self.follow(Members::Guessed(guess));
                return Ok(true);
            }
            self.follow(Members::Named(self.names.len()));
            self.begin_as(guess, index);
        }
        self.names.push(Value::String(reader.to_text(name)));
        self.seams.push(reader.between(seam));
        Ok(true)
    }

    /// What the innermost object is like, after all.
    fn follow(&mut self, members: Members) {
        if let Some(frame) = self.frames.last_mut() {
            frame.object = Some(members);
        }
    }

    /// The names of an object that began like the guess but is like none before.
    fn begin_as(&mut self, guess: Guess, members: usize) {
        for (key, seam) in self.layouts.begin(guess, members) {
            self.names.push(key.clone());
            self.seams.push(seam);
        }
    }

    /// Puts the innermost object or array, complete, in the place of its parts.
    fn close(&mut self) {
        let Some(frame) = self.frames.pop() else { unreachable!("called with an open frame") };
        let value = self.closed(frame);
        self.values.push(value);
    }

    fn closed(&mut self, frame: Frame) -> Value {
        let Some(members) = frame.object else { return Value::Array(self.take(frame.start, 0).into()) };
        let (count, room) = (self.values.len() - frame.start, if frame.start == 0 { ROOM } else { 0 });
        let first = match members {
            Members::Named(first) => first,
            Members::Guessed(guess) => {
                let right = self.layouts.keys(guess, count).map(Arc::clone);
                let right = right.or_else(|| {
                    let other = self.layouts.other(frame.place, guess, count, None)?;
                    self.layouts.keys(other, count).map(Arc::clone)
                });
                if let Some(keys) = right {
                    return Value::Map(Box::new(Map::new(keys, self.take(frame.start, room))));
                }
                let first = self.names.len();
                self.begin_as(guess, count);
                first
            }
        };
        let (keys, seams) = (self.names.split_off(first), self.seams.split_off(first));
        let values = self.take(frame.start, room);
        let again = again(&keys);
        if !again.is_empty() {
            return Value::Map(Box::new(without(&again, keys, values)));
        }
        let keys = Arc::new(Keys::from(keys));
        self.layouts.learn(frame.place, &keys, seams);
        Value::Map(Box::new(Map::new(keys, values)))
    }

    /// The parts of the innermost object or array.
    #[inline]
    fn take(&mut self, start: usize, room: usize) -> Vec<Value> {
        if start > 0 {
            return self.values.split_off(start);
        }
        // Of the whole stack, splitting would give the stack itself away.
        let mut parts = Vec::with_capacity(self.values.len() + room);
        parts.append(&mut self.values);
        parts
    }
}

/// Up to this many members, names are compared with each other; above, they are hashed.
const FEW: usize = 32;

/// The map of entries in the order they were read. Of equal keys the last value wins and takes the place of the first,
/// as in Java.
pub fn unique(entries: Vec<(Value, Value)>) -> Map {
    let (keys, values): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
    match again(&keys) {
        again if again.is_empty() => Map::new(Arc::new(Keys::from(keys)), values),
        again => without(&again, keys, values),
    }
}

fn without(again: &[(usize, usize)], mut keys: Vec<Value>, mut values: Vec<Value>) -> Map {
    for (index, first) in again {
        values[*first] = std::mem::replace(&mut values[*index], Value::Null);
    }
    for list in [&mut keys, &mut values] {
        let mut again = again.iter().map(|(index, _)| *index).peekable();
        let mut index = 0;
        list.retain(|_| {
            let drop = again.next_if_eq(&index).is_some();
            index += 1;
            !drop
        });
    }
    Map::new(Arc::new(Keys::from(keys)), values)
}

/// The entries whose key was there before, each with the index of the first one.
fn again(keys: &[Value]) -> Vec<(usize, usize)> {
    if keys.len() <= FEW { few_again(keys) } else { many_again(keys) }
}

fn few_again(keys: &[Value]) -> Vec<(usize, usize)> {
    let mut again = Vec::new();
    // One bit per key: most documents pass without a single comparison.
    let mut seen = 0u64;
    for (index, key) in keys.iter().enumerate() {
        let bit = match key {
            Value::String(name) => 1 << digest(name.as_bytes()),
            _ => u64::MAX,
        };
        if seen & bit != 0
            && let Some(first) = keys[..index].iter().position(|other| other == key)
        {
            again.push((index, first));
        }
        seen |= bit;
    }
    again
}

/// The same with hashing. Keys of one map have one type, so that equal texts mean equal keys.
fn many_again(keys: &[Value]) -> Vec<(usize, usize)> {
    let mut places = HashMap::with_capacity(keys.len());
    let mut again = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        let text = match key {
            Value::String(name) => Cow::Borrowed(name.as_bytes()),
            other => {
                let mut text = Vec::new();
                // What cannot be written is no key that was read.
                let _ = write(other, &mut text);
                Cow::Owned(text)
            }
        };
        let first = *places.entry(text).or_insert(index);
        if first != index {
            again.push((index, first));
        }
    }
    again
}

/// A number below 64 that few names of an object share.
fn digest(name: &[u8]) -> u32 {
    let (first, last) = (name.first().copied().unwrap_or(0), name.last().copied().unwrap_or(0));
    let middle = name.get(name.len() / 2).copied().unwrap_or(0);
    let mixed = u32::from_le_bytes([first, middle, last, name.len().to_le_bytes()[0]]);
    mixed.wrapping_mul(0x9E37_79B1) >> 26
}
