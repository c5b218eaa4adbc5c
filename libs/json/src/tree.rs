//! Schemaless values from tokens: integers are 64 bits wide, other numbers doubles, objects maps.

use std::borrow::Cow;
use std::collections::HashMap;
use std::mem::discriminant;
use std::sync::Arc;

use pipette_api::data::Span;
use pipette_api::{Blob, ConnectError, Keys, Map, Result, Value};

use crate::encoding::Document;
use crate::layouts::{Guess, Layouts, Seams, Spot};
use crate::place::{Place, Step};
use crate::read::{Mark, Reader, Shape, SyntaxError};
use crate::track::Passer;
use crate::write::write;

/// Builds values. Keep one per task: it remembers its stack, so that each array and object is allocated once in its size,
/// and the members of earlier objects, which later ones share (`layouts.rs`).
#[derive(Debug, Default)]
pub struct Parser {
    /// Elements of the arrays and values of the objects being read, outermost first.
    values: Stack,
    frames: Vec<Frame>,
    layouts: Layouts,
    /// Keys of the objects being read that are like none before, and what stood around them.
    names: Vec<Value>,
    seams: Seams,
    /// The record being passed.
    copy: Vec<u8>,
    /// Where an error is, on its way out, and whether it is about a name instead of a value.
    place: Place,
    naming: bool,
}

/// An error that matters only if its member does not come again, and where it is.
#[derive(Debug)]
pub struct Aside(Box<(ConnectError, Place)>);

/// An object or array being read.
#[derive(Debug, Clone, Copy)]
struct Frame {
    /// Where its parts begin on the stack.
    start: usize,
    /// Where it is; of an array, where the objects inside are.
    spot: Spot,
    object: bool,
    /// What an object is like so far.
    guess: Guess,
    /// Where the keys of an object begin on the stack of names when the guess is none.
    names: usize,
}

/// Above this many parts the stacks are given back after the document: a giant must not stay for ever.
const KEEP: usize = 4096;
/// Transformations add a few fields to the outermost object: room for them costs less than moving it.
const ROOM: usize = 4;

/// The value of a whole document; a data error when anything but white space follows it.
pub fn parse(bytes: &Blob) -> Result<Value> {
    let document = Document::new(bytes)?;
    let mut reader = document.reader();
    let mut parser = Parser::default();
    let value = parser.value(&mut reader).map_err(|error| parser.locate(error))?;
    if reader.at_end() { Ok(value) } else { Err(reader.fail("the end of the document")) }
}

impl Parser {
    /// The next value of the reader.
    pub fn value(&mut self, reader: &mut Reader<'_>) -> Result<Value> {
        let value = self.build(reader);
        if value.is_err() {
            self.note_open();
        }
        self.values.clear();
        self.frames.clear();
        self.names.clear();
        self.seams.clear();
        self.names.shrink_to(KEEP);
        self.layouts.tidy();
        value
    }

    /// The members of the object that is next, if it is like an earlier one and all is well with them: its keys, and where
    /// each value is, left in `spans`. Otherwise `None`, and the reader stays where it is: [`Parser::value`] reads the
    /// object, or tells what is wrong.
    pub fn outline(&mut self, reader: &mut Reader<'_>, spans: &mut Vec<Span>) -> Option<Arc<Keys>> {
        let start = reader.mark();
        let keys = self.follow(reader, spans);
        if keys.is_none() {
            reader.back_to(start);
        }
        self.layouts.tidy();
        keys
    }

    #[inline]
    fn follow(&mut self, reader: &mut Reader<'_>, spans: &mut Vec<Span>) -> Option<Arc<Keys>> {
        spans.clear();
        let mut guess = self.layouts.guess(Spot::ROOT);
        if guess == Guess::NONE || reader.open_object().is_err() {
            return None;
        }
        let mut passer = Passer::new(reader.rest().0, &mut self.copy);
        loop {
            let end = passer.members(self.layouts.steps(guess), reader.here(), spans);
            reader.go_on_at(end);
            self.layouts.grow(std::mem::take(&mut passer.learnt));
            let known = self.layouts.seam(guess, spans.len()).is_some_and(|seam| reader.take_here(seam));
            if !known {
                let Some(name) = reader.member(spans.is_empty()).ok()? else {
                    return self.layouts.keys(Spot::ROOT, guess, spans.len());
                };
                reader.position();
                guess = self.layouts.other(Spot::ROOT, guess, spans.len(), Some(reader.bytes_of(&name)))?;
            }
            spans.push(reader.span()?);
        }
    }

    fn build(&mut self, reader: &mut Reader<'_>) -> Result<Value> {
        loop {
            if self.opened(reader)? {
                continue;
            }
            loop {
                let more = match self.frames.last() {
                    None => return Ok(self.values.only()),
                    Some(Frame { object: false, .. }) => reader.element(false)?,
                    Some(Frame { start, guess, .. }) => {
                        let seam = self.layouts.seam(*guess, self.values.top - start);
                        seam.is_some_and(|seam| reader.take_here(seam)) || self.named_member(reader)?
                    }
                };
                if more {
                    break;
                }
                self.close();
            }
        }
    }

    /// Notes one more step around the value that an error is about, on the error's way out.
    pub fn inside(&mut self, step: Step<'_>) {
        self.place.push(step);
    }

    /// Puts the path that was noted in front of the error.
    pub fn locate(&mut self, error: ConnectError) -> ConnectError {
        let path = self.place.take();
        if path.is_empty() { error } else { error.within(path) }
    }

    /// Puts an error about a member aside, with the path that was noted, because the member may come again; the reader
    /// goes behind the value. What is wrong with the text itself is final.
    #[cold]
    pub fn set_aside(
        &mut self,
        error: ConnectError,
        at: Step<'_>,
        start: Mark,
        reader: &mut Reader<'_>,
    ) -> Result<Aside> {
        if SyntaxError::is_cause_of(&error) {
            return Err(error);
        }
        let place = std::mem::take(&mut self.place);
        reader.back_to(start);
        if let Err(error) = reader.skip() {
            self.place.push(at);
            return Err(error);
        }
        Ok(Aside(Box::new((error, place))))
    }

    /// The error that matters after all, its path noted again.
    #[cold]
    pub fn take_up(&mut self, aside: Aside) -> ConnectError {
        let (error, place) = *aside.0;
        self.place = place;
        error
    }

    #[cold]
    fn note_open(&mut self) {
        let mut end = self.values.top;
        let naming = std::mem::take(&mut self.naming);
        for (depth, frame) in self.frames.iter().rev().enumerate() {
            let index = end - frame.start;
            end = frame.start;
            if !frame.object {
                self.place.push(Step::Element(index));
                continue;
            }
            let members = if naming && depth == 0 { index } else { index + 1 };
            let name = match frame.guess {
                Guess::NONE => self.names[frame.names..].get(..members).and_then(<[Value]>::last),
                guess => self.layouts.begin(guess, members).last().map(|(key, _)| key),
            };
            if let Some(Value::String(name)) = name {
                self.place.push(Step::Member(name.as_bytes()));
            }
        }
    }

    /// Takes the next value, or goes into it when it has parts; true then.
    #[inline]
    fn opened(&mut self, reader: &mut Reader<'_>) -> Result<bool> {
        match reader.shape()? {
            Shape::String => {
                if let Err(error) = reader.string_into(self.values.slot()) {
                    self.values.top -= 1;
                    return Err(error);
                }
            }
            Shape::Number => {
                let number = reader.number()?;
                if number.is_integer() {
                    let number = number.as_i64();
                    self.values.slot().put(Value::I64(number));
                } else {
                    let number = number.as_f64();
                    self.values.slot().put(Value::F64(number));
                }
            }
            Shape::Object => {
                reader.open_object()?;
                let guess = self.open(true);
                let seam = self.layouts.seam(guess, 0);
                if seam.is_some_and(|seam| reader.take_here(seam)) || self.named_member(reader)? {
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
                self.values.slot().put(Value::Bool(value));
            }
            Shape::Null => {
                reader.null()?;
                self.values.slot();
            }
        }
        Ok(false)
    }

    /// Begins an object or array; answers what an object will be like.
    fn open(&mut self, object: bool) -> Guess {
        let spot = match self.frames.last() {
            None => Spot::ROOT,
            Some(Frame { object: true, start, guess, .. }) => self.layouts.below(*guess, self.values.top - start),
            Some(Frame { spot, .. }) => *spot,
        };
        let guess = if object { self.layouts.guess(spot) } else { Guess::NONE };
        self.frames.push(Frame { start: self.values.top, spot, object, guess, names: self.names.len() });
        guess
    }

    /// Goes to the next member of the innermost object by its name; false at its end.
    fn named_member(&mut self, reader: &mut Reader<'_>) -> Result<bool> {
        let Some(Frame { start, spot, guess, .. }) = self.frames.last().copied() else {
            unreachable!("called inside of an object")
        };
        let (index, from) = (self.values.top - start, reader.here());
        let name = match reader.member(index == 0) {
            Ok(Some(name)) => name,
            Ok(None) => return Ok(false),
            Err(error) => {
                self.naming = true;
                return Err(error);
            }
        };
        let seam = from..reader.position();
        if guess != Guess::NONE {
            let other = self.layouts.other(spot, guess, index, Some(reader.bytes_of(&name)));
            if other.is_none() {
                self.begin_as(guess, index);
            }
            if let Some(frame) = self.frames.last_mut() {
                frame.guess = other.unwrap_or(Guess::NONE);
            }
            if other.is_some() {
                return Ok(true);
            }
        }
        self.names.push(Value::String(reader.to_text(name)));
        self.seams.push(reader.between(seam));
        Ok(true)
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
        match self.closed(frame) {
            Closed::Array(elements) => self.values.slot().put(Value::Array(elements)),
            Closed::Map(map) => self.values.slot().put(Value::Map(map)),
        }
    }

    fn closed(&mut self, frame: Frame) -> Closed {
        if !frame.object {
            return Closed::Array(self.values.take(frame.start, 0).into());
        }
        let (count, room) = (self.values.top - frame.start, if frame.start == 0 { ROOM } else { 0 });
        if frame.guess != Guess::NONE {
            if let Some(keys) = self.layouts.keys(frame.spot, frame.guess, count) {
                return Closed::Map(Box::new(Map::new(keys, self.values.take(frame.start, room))));
            }
            self.begin_as(frame.guess, count);
        }
        let first = frame.names;
        let (keys, seams) = (self.names.split_off(first), self.seams.split_off(first));
        let values = self.values.take(frame.start, room);
        let again = again(&keys);
        if !again.is_empty() {
            return Closed::Map(Box::new(without(&again, keys, values)));
        }
        let keys = self.layouts.learn(frame.spot, keys, seams);
        Closed::Map(Box::new(Map::new(keys, values)))
    }
}

/// Values in the order they were read. Nulls stand above them, to be overwritten: a value that waits while a vector may
/// have to grow is put together elsewhere and copied, at several times what making it costs.
#[derive(Debug, Default)]
struct Stack {
    slots: Vec<Value>,
    top: usize,
}

impl Stack {
    /// A place for the next value, null until it is filled.
    #[inline]
    fn slot(&mut self) -> &mut Value {
        if self.top == self.slots.len() {
            self.grow();
        }
        self.top += 1;
        &mut self.slots[self.top - 1]
    }

    #[cold]
    fn grow(&mut self) {
        self.slots.resize_with((2 * self.top).max(64), || Value::Null);
    }

    /// The values from `start` on, with room for more of them.
    #[inline]
    fn take(&mut self, start: usize, room: usize) -> Vec<Value> {
        let parts = &mut self.slots[start..self.top];
        let mut taken = Vec::with_capacity(parts.len() + room);
        taken.extend(parts.iter_mut().map(|part| std::mem::replace(part, Value::Null)));
        self.top = start;
        taken
    }

    /// The last value there is.
    fn only(&mut self) -> Value {
        self.top = 0;
        self.slots.first_mut().map_or(Value::Null, |value| std::mem::replace(value, Value::Null))
    }

    /// Empty again, also after an error.
    fn clear(&mut self) {
        self.slots[..self.top].fill_with(|| Value::Null);
        self.top = 0;
        self.slots.truncate(KEEP);
        self.slots.shrink_to(KEEP);
    }
}

/// What an object or array became.
enum Closed {
    Array(Box<[Value]>),
    Map(Box<Map>),
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

/// The same with hashing: equal texts of one type mean equal keys.
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
        let first = *places.entry((discriminant(key), text)).or_insert(index);
        if first != index {
            again.push((index, first));
        }
    }
    again
}

/// A number below 64 that few names of an object share.
pub(crate) fn digest(name: &[u8]) -> u32 {
    let (first, last) = (name.first().copied().unwrap_or(0), name.last().copied().unwrap_or(0));
    let middle = name.get(name.len() / 2).copied().unwrap_or(0);
    let mixed = u32::from_le_bytes([first, middle, last, name.len().to_le_bytes()[0]]);
    mixed.wrapping_mul(0x9E37_79B1) >> 26
}
