//! Schemaless values from tokens: integers are 64 bits wide, other numbers doubles, objects maps.

use std::borrow::Cow;
use std::collections::HashMap;
use std::mem::discriminant;

use pipette_api::{Blob, Map, Result, Value};

use crate::encoding::Document;
use crate::read::{Reader, Shape};
use crate::write::write;

/// Builds values. Keep one per task: it remembers its stacks, so that each array and object is one allocation.
#[derive(Debug, Default)]
pub struct Parser {
    /// Members of the objects being read, outermost first; the last one of each waits for its value.
    members: Vec<(Value, Value)>,
    /// Elements of the arrays being read.
    elements: Vec<Value>,
    frames: Vec<Frame>,
}

/// An object or array being read, and where its parts begin on the stack.
#[derive(Debug, Clone, Copy)]
enum Frame {
    Object(usize),
    Array(usize),
}

/// Above this many parts the stacks are given back after the document: a giant must not stay for ever.
const KEEP: usize = 4096;

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
        self.members.clear();
        self.elements.clear();
        self.frames.clear();
        self.members.shrink_to(KEEP);
        self.elements.shrink_to(KEEP);
        value
    }

    fn build(&mut self, reader: &mut Reader<'_>) -> Result<Value> {
        loop {
            let mut value = match reader.shape()? {
                Shape::String => Value::String(reader.string()?),
                Shape::Number => reader.number()?.value(),
                Shape::Object => {
                    reader.open_object()?;
                    self.frames.push(Frame::Object(self.members.len()));
                    if self.member(reader, true)? {
                        continue;
                    }
                    self.close()
                }
                Shape::Array => {
                    reader.open_array()?;
                    self.frames.push(Frame::Array(self.elements.len()));
                    if reader.element(true)? {
                        continue;
                    }
                    self.close()
                }
                Shape::Boolean => Value::Bool(reader.boolean()?),
                Shape::Null => {
                    reader.null()?;
                    Value::Null
                }
            };
            loop {
                let more = match self.frames.last() {
                    None => return Ok(value),
                    Some(Frame::Object(_)) => {
                        if let Some((_, place)) = self.members.last_mut() {
                            *place = value;
                        }
                        self.member(reader, false)?
                    }
                    Some(Frame::Array(_)) => {
                        self.elements.push(value);
                        reader.element(false)?
                    }
                };
                if more {
                    break;
                }
                value = self.close();
            }
        }
    }

    fn member(&mut self, reader: &mut Reader<'_>, first: bool) -> Result<bool> {
        let Some(name) = reader.member(first)? else { return Ok(false) };
        self.members.push((Value::String(reader.to_text(name)), Value::Null));
        Ok(true)
    }

    /// The innermost object or array, complete.
    fn close(&mut self) -> Value {
        match self.frames.pop() {
            Some(Frame::Object(start)) => Value::Map(Box::new(unique(self.members.drain(start..).collect()))),
            Some(Frame::Array(start)) => Value::Array(self.elements.drain(start..).collect()),
            None => unreachable!("called with an open frame"),
        }
    }
}

/// Up to this many members, names are compared with each other; above, they are hashed.
const FEW: usize = 32;

/// The map of entries in the order they were read. Of equal keys the last value wins and takes the place of the first,
/// as in Java.
pub fn unique(mut entries: Vec<(Value, Value)>) -> Map {
    let again = if entries.len() <= FEW { few_again(&entries) } else { many_again(&entries) };
    for (index, first) in &again {
        entries[*first].1 = std::mem::replace(&mut entries[*index].1, Value::Null);
    }
    if !again.is_empty() {
        let mut again = again.iter().map(|(index, _)| *index).peekable();
        let mut index = 0;
        entries.retain(|_| {
            let drop = again.next_if_eq(&index).is_some();
            index += 1;
            !drop
        });
    }
    Map(entries)
}

/// The entries whose key was there before, each with the index of the first one.
fn few_again(entries: &[(Value, Value)]) -> Vec<(usize, usize)> {
    let mut again = Vec::new();
    // One bit per key: most documents pass without a single comparison.
    let mut seen = 0u64;
    for (index, (key, _)) in entries.iter().enumerate() {
        let bit = match key {
            Value::String(name) => 1 << digest(name.as_bytes()),
            _ => u64::MAX,
        };
        if seen & bit != 0
            && let Some(first) = entries[..index].iter().position(|(other, _)| other == key)
        {
            again.push((index, first));
        }
        seen |= bit;
    }
    again
}

/// The same with hashing: equal texts of one type mean equal keys.
fn many_again(entries: &[(Value, Value)]) -> Vec<(usize, usize)> {
    let mut places = HashMap::with_capacity(entries.len());
    let mut again = Vec::new();
    for (index, (key, _)) in entries.iter().enumerate() {
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
fn digest(name: &[u8]) -> u32 {
    let (first, last) = (name.first().copied().unwrap_or(0), name.last().copied().unwrap_or(0));
    let middle = name.get(name.len() / 2).copied().unwrap_or(0);
    let mixed = u32::from_le_bytes([first, middle, last, name.len().to_le_bytes()[0]]);
    mixed.wrapping_mul(0x9E37_79B1) >> 26
}
