//! Parts of a map or struct that are still text, because nobody has asked for their values yet.
//!
//! A converter that has found a record's text valid may leave its parts unread ([`Unread`]): a sink that throws records
//! away, filters or writes them as text then never pays for values. [`super::Map`] and [`super::Struct`] read all parts
//! when the first one is asked for; nobody else sees a difference.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::blob::Text;
use super::schema::Schema;
use super::value::Value;

/// Reads parts of a text. Whoever leaves parts unread has found them valid, so nothing here can fail.
pub trait Notation: fmt::Debug + Send + Sync {
    /// Puts the values that begin at these places into their slots, which hold nulls; with the schema of each, if there
    /// is one.
    fn read(&self, text: &Text, slots: &mut dyn Iterator<Item = (usize, Option<&Arc<Schema>>, &mut Value)>);

    /// Appends what Java's `toString` gives for the value that begins at that place.
    fn print(&self, text: &Text, start: usize, out: &mut Vec<u8>);
}

/// Where a part stands in its text, and what it is.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    start: u32,
    /// The length, or which value; the two highest bits tell what it is.
    rest: u32,
}

const WORD: u32 = 0;
const STRING: u32 = 1 << 30;
const OTHER: u32 = 2 << 30;
const READY: u32 = 3 << 30;
const REST: u32 = STRING - 1;

impl Span {
    /// A number, `true`, `false` or `null` that Java would print as it stands. `None` beyond the first GiB.
    #[inline]
    pub fn word(start: usize, len: usize) -> Option<Self> {
        Self::of(WORD, start, len)
    }

    /// A string that stands in its quotes as it is: where the first quote is, and the length between them. `None` beyond
    /// the first GiB.
    #[inline]
    pub fn string(start: usize, len: usize) -> Option<Self> {
        Self::of(STRING, start, len)
    }

    /// Anything else. `None` beyond the first GiB.
    #[inline]
    pub fn other(start: usize) -> Option<Self> {
        Self::of(OTHER, start, 0)
    }

    #[inline]
    fn of(sort: u32, start: usize, rest: usize) -> Option<Self> {
        let small = |number: usize| u32::try_from(number).ok().filter(|number| *number <= REST);
        Some(Self { start: small(start)?, rest: small(rest)? | sort })
    }
}

/// A part as it is at hand.
#[derive(Debug)]
pub enum Part<'a> {
    /// Its value.
    Value(&'a Value),
    /// Its text in Java's words.
    Text(&'a [u8]),
    /// Ask [`Unread::print`].
    Unread(&'a Unread, usize),
}

impl Part<'_> {
    /// About how many bytes of memory it holds; a part that begins inside of a text, up to the end of which it may reach,
    /// counts nothing.
    pub(super) fn held(&self) -> u64 {
        match self {
            Self::Value(value) => value.held(),
            Self::Text(text) => text.len() as u64,
            Self::Unread(..) => 0,
        }
    }
}

/// The parts of a map or struct, in order, as spans of a text.
#[derive(Debug, Clone)]
pub struct Unread {
    text: Text,
    spans: Vec<Span>,
    /// Values that were put among them.
    ready: Vec<Value>,
    notation: Arc<dyn Notation>,
}

static NULL: Value = Value::Null;

impl Unread {
    /// Parts of a text that are known to be valid. `room` is for those that will be put behind them.
    pub fn new(text: Text, spans: &[Span], room: usize, notation: Arc<dyn Notation>) -> Self {
        let mut own = Vec::with_capacity(spans.len() + room);
        own.extend_from_slice(spans);
        Self { text, spans: own, ready: Vec::new(), notation }
    }

    /// Appends what Java's `toString` gives for the part that begins there.
    pub fn print(&self, start: usize, out: &mut Vec<u8>) {
        self.notation.print(&self.text, start, out);
    }

    #[inline]
    fn part(&self, span: Span) -> Part<'_> {
        let (start, rest) = (span.start as usize, (span.rest & REST) as usize);
        match span.rest & !REST {
            READY => Part::Value(&self.ready[rest]),
            OTHER => Part::Unread(self, start),
            STRING => Part::Text(&self.text.as_bytes()[start + 1..][..rest]),
            _ => match &self.text.as_bytes()[start..][..rest] {
                // Of the words that stand as they are, no other begins like it.
                [b'n', ..] => Part::Value(&NULL),
                word => Part::Text(word),
            },
        }
    }

    fn read(&self, schema: Option<&Schema>) -> Vec<Value> {
        let mut values = nulls(self.spans.len());
        for (span, value) in self.spans.iter().zip(&mut values) {
            if let Part::Value(ready) = self.part(*span) {
                value.clone_from(ready);
            }
        }
        let slots = self.spans.iter().zip(&mut values).enumerate();
        let mut slots = slots.filter(|(_, (span, _))| span.rest & !REST != READY).map(|(index, (span, value))| {
            let field = schema.and_then(|schema| schema.fields().get(index));
            (span.start as usize, field.map(|field| &field.schema), value)
        });
        self.notation.read(&self.text, &mut slots);
        values
    }

    /// Puts a value in the place of a part, or behind all of them where there is none.
    pub fn put(&mut self, index: usize, value: Value) {
        let ready = u32::try_from(self.ready.len()).ok().filter(|number| *number <= REST);
        let rest = ready.unwrap_or_else(|| unreachable!("fewer values than a GiB of text has members")) | READY;
        self.ready.push(value);
        let span = Span { start: 0, rest };
        match self.spans.get_mut(index) {
            Some(place) => *place = span,
            None => self.spans.push(span),
        }
    }
}

/// An empty list for that many values and some more: adding a field or two is what transformations do most, and to move a
/// full list for it costs more than the whole step.
fn roomy(len: usize) -> Vec<Value> {
    const ROOM: usize = 2;
    Vec::with_capacity(len + ROOM)
}

/// That many nulls, with room for some more values.
pub(super) fn nulls(len: usize) -> Vec<Value> {
    let mut values = roomy(len);
    values.resize(len, Value::Null);
    values
}

/// Takes out what stands in these places, which ascend. Where few go, the others are moved at once and not asked one by one:
/// what a step costs that drops a field does not grow with the record.
fn take_out<T>(list: &mut Vec<T>, places: &[usize]) {
    const FEW: usize = 4;
    if places.len() <= FEW {
        places.iter().rev().for_each(|place| drop(list.remove(*place)));
        return;
    }
    let (mut places, mut at) = (places.iter().copied().peekable(), 0..);
    list.retain(|_| places.next_if(|place| Some(*place) == at.next()).is_none());
}

/// The values of a map or struct, read or not.
#[derive(Debug)]
pub(super) struct Parts {
    values: OnceLock<Vec<Value>>,
    /// Where they come from, until one of them may have been changed.
    unread: Option<Box<Unread>>,
}

impl Parts {
    #[inline]
    pub(super) fn unread(unread: Unread) -> Self {
        Self { values: OnceLock::new(), unread: Some(Box::new(unread)) }
    }

    /// The values, read now if they were not yet. The schema is that of the struct they are in.
    #[inline]
    pub(super) fn values(&self, schema: Option<&Schema>) -> &Vec<Value> {
        self.values.get_or_init(|| self.unread.as_ref().map_or_else(Vec::new, |unread| unread.read(schema)))
    }

    pub(super) fn values_mut(&mut self, schema: Option<&Schema>) -> &mut Vec<Value> {
        self.values(schema);
        self.unread = None;
        self.values.get_mut().unwrap_or_else(|| unreachable!("read just now"))
    }

    pub(super) fn into_values(mut self, schema: Option<&Schema>) -> Vec<Value> {
        std::mem::take(self.values_mut(schema))
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.unread.as_ref().map_or_else(|| self.values(None).len(), |unread| unread.spans.len())
    }

    /// A part as it is at hand. Panics when there is none of that number.
    #[inline]
    pub(super) fn part(&self, index: usize) -> Part<'_> {
        match &self.unread {
            Some(unread) => unread.part(unread.spans[index]),
            None => Part::Value(&self.values(None)[index]),
        }
    }

    /// Takes out those in these places, which ascend, read or not.
    #[inline]
    pub(super) fn take_out(&mut self, places: &[usize]) {
        match self.still_unread() {
            Some(unread) => take_out(&mut unread.spans, places),
            None => take_out(self.values_mut(None), places),
        }
    }

    /// Puts values in their places, or at the end where there is none.
    #[inline]
    pub(super) fn put(&mut self, more: usize, values: impl Iterator<Item = (usize, Value)>) {
        if let Some(unread) = self.still_unread() {
            unread.ready.reserve(more);
            values.for_each(|(index, value)| unread.put(index, value));
            return;
        }
        let all = self.values_mut(None);
        all.reserve_exact(more);
        for (index, value) in values {
            match all.get_mut(index) {
                Some(place) => *place = value,
                None => all.push(value),
            }
        }
    }

    /// The parts, to change them before anybody has read them.
    #[inline]
    fn still_unread(&mut self) -> Option<&mut Unread> {
        if self.values.get().is_some() {
            self.unread = None;
        }
        self.unread.as_deref_mut()
    }
}

/// With room for more values, as [`roomy`] has it: records are cloned to be changed.
impl Clone for Parts {
    fn clone(&self) -> Self {
        let with_room = |values: &Vec<Value>| {
            let mut own = roomy(values.len());
            own.extend_from_slice(values);
            OnceLock::from(own)
        };
        let values = self.values.get().map_or_else(OnceLock::new, with_room);
        Self { values, unread: self.unread.clone() }
    }
}

impl From<Vec<Value>> for Parts {
    #[inline]
    fn from(values: Vec<Value>) -> Self {
        Self { values: OnceLock::from(values), unread: None }
    }
}
