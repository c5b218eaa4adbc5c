//! Schemaless values from tokens: integers are 64 bits wide, other numbers doubles, objects maps.

use std::collections::HashMap;

use pipette_api::{Blob, Map, Result, Text, Value};

use crate::encoding::Document;
use crate::read::{Reader, Shape};

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
            Some(Frame::Object(start)) => {
                let mut members: Vec<_> = self.members.drain(start..).collect();
                keep_last(&mut members);
                Value::Map(Box::new(Map(members)))
            }
            Some(Frame::Array(start)) => Value::Array(self.elements.drain(start..).collect()),
            None => unreachable!("called with an open frame"),
        }
    }
}

/// Up to this many members, names are compared with each other; above, they are hashed.
const FEW: usize = 32;

/// Of equal names the last value wins and takes the place of the first, as in Java.
fn keep_last(members: &mut Vec<(Value, Value)>) {
    let mut firsts: Vec<(usize, usize)> = Vec::new();
    if members.len() <= FEW {
        // One bit per name: most documents pass without a single comparison.
        let mut seen = 0u64;
        for index in 0..members.len() {
            let name = text(&members[index].0);
            let bit = 1 << (digest(name) & 63);
            if seen & bit != 0
                && let Some(first) = members[..index].iter().position(|(other, _)| text(other) == name)
            {
                firsts.push((index, first));
            }
            seen |= bit;
        }
    } else {
        let mut places = HashMap::with_capacity(members.len());
        for (index, (name, _)) in members.iter().enumerate() {
            let first = *places.entry(text(name)).or_insert(index);
            if first != index {
                firsts.push((index, first));
            }
        }
    }
    if firsts.is_empty() {
        return;
    }
    for (index, first) in &firsts {
        members[*first].1 = std::mem::replace(&mut members[*index].1, Value::Null);
    }
    let mut again = firsts.iter().map(|(index, _)| *index).peekable();
    let mut index = 0;
    members.retain(|_| {
        let drop = again.next_if_eq(&index).is_some();
        index += 1;
        !drop
    });
}

fn text(name: &Value) -> &[u8] {
    match name {
        Value::String(text) => Text::as_bytes(text),
        _ => unreachable!("member names are strings"),
    }
}

fn digest(name: &[u8]) -> u32 {
    let (first, last) = (name.first().copied().unwrap_or(0), name.last().copied().unwrap_or(0));
    let middle = name.get(name.len() / 2).copied().unwrap_or(0);
    let mixed = u32::from_le_bytes([first, middle, last, name.len() as u8]);
    mixed.wrapping_mul(0x9E37_79B1) >> 26
}
