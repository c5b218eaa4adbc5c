//! Records whose members stay text until somebody asks for one.
//!
//! Most records are like the one before, and nothing is wrong with them. Such a record is looked through once, so that
//! every error is told where it always was, and only where its members are is remembered. A sink that throws it away or
//! writes it as text never needs more. Where sinks and transformations do look at values, this would be work for nothing,
//! so that is watched, and values are made at once then.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pipette_api::data::{Notation, Span, Unread};
use pipette_api::{Blob, Datum, Map, Schema, SchemaCache, Struct, Text, Value};
use pipette_json::{Fit, Parser, Reader, print};

use super::decode::Decoder;
use crate::convert::java;

/// After so many records it is asked how many of them were left unread and stayed so.
const SAMPLE: u32 = 2048;
/// How many records are read at once when most of a sample were not.
const PENANCE: u32 = 100 * SAMPLE;
/// Transformations add a few fields.
const ROOM: usize = 4;
/// A larger schema is not looked for at the beginning of each record.
const MAX_HEAD: usize = 64 << 10;

/// Leaves records unread.
pub(super) struct Outlines {
    maps: Arc<Json>,
    structs: Arc<Json>,
    spans: Vec<Span>,
    replace_null: bool,
    fits: SchemaCache<Fit>,
    /// How the last envelope began, up to its payload, and the schema that this says.
    head: Option<(Box<[u8]>, Arc<Schema>)>,
    /// Records in this sample, how many of them were left unread, and how many to read at once before the next one.
    tried: u32,
    left: u32,
    owed: u32,
}

impl Outlines {
    pub(super) fn new(replace_null: bool) -> Self {
        Self {
            maps: Arc::new(Json::new(false, replace_null)),
            structs: Arc::new(Json::new(true, replace_null)),
            spans: Vec::new(),
            replace_null,
            fits: SchemaCache::new(8),
            head: None,
            tried: 0,
            left: 0,
            owed: 0,
        }
    }

    /// False while leaving records unread is mostly for nothing.
    fn are_worth_it(&mut self) -> bool {
        if self.owed > 0 {
            self.owed -= 1;
            return false;
        }
        self.tried += 1;
        if self.tried == SAMPLE {
            let read = [&self.maps, &self.structs].into_iter().map(|json| json.read.swap(0, Ordering::Relaxed));
            // Those that could not be left unread were looked at for nothing too.
            if read.sum::<u32>() + self.tried - self.left > SAMPLE / 2 {
                self.owed = PENANCE;
            }
            (self.tried, self.left) = (0, 0);
        }
        true
    }

    /// A document that is an object like an earlier one, if all is well with it.
    #[inline]
    pub(super) fn map(&mut self, bytes: &Blob, parser: &mut Parser) -> Option<Value> {
        // No other encoding begins so, and no mark.
        if !matches!(bytes.as_bytes(), [b'{' | b' ' | b'\t' | b'\n' | b'\r', 1..=255, ..]) || !self.are_worth_it() {
            return None;
        }
        let text = Text::new(bytes.clone()).ok()?;
        let keys = parser.outline(&mut Reader::at(&text, 0), &mut self.spans)?;
        self.left += 1;
        let json: Arc<dyn Notation> = Arc::clone(&self.maps) as _;
        Some(Value::Map(Box::new(Map::unread(keys, Unread::new(text, &self.spans, ROOM, json)))))
    }

    /// An envelope that begins as the last one did, if its payload fits the schema to the letter and nothing follows.
    #[inline]
    pub(super) fn envelope(&mut self, bytes: &Blob, decoder: &mut Decoder<'_>) -> Option<Datum> {
        let (head, schema) = self.head.as_ref()?;
        let rest = bytes.as_bytes().strip_prefix(&**head)?.len();
        let schema = Arc::clone(schema);
        if !self.are_worth_it() {
            return None;
        }
        let rest = u32::try_from(rest).ok()?;
        // What comes before is part of the head, which was text as well.
        let text = Text::new(bytes.slice(u32::try_from(bytes.len()).ok()? - rest, rest)).ok()?;
        let replace_null = self.replace_null;
        let fit = self.fits.get_or_try(&schema, |schema| Ok::<_, ()>(Fit::new(schema, replace_null))).ok()?;
        let mut reader = Reader::at(&text, 0);
        let mut odd = Vec::new();
        let fits = fit.outline(&mut reader, &mut self.spans, |index, reader| {
            let field = &schema.fields()[index].schema;
            // What is wrong is found again, and told, by whoever reads the whole record.
            let value = decoder.value(Some(field), reader).map_err(|error| decoder.parser.locate(error));
            let value = value.ok().filter(|value| !value.is_null() || field.is_optional());
            value.map(|value| odd.push((index, value))).is_some()
        });
        if !fits || reader.peek() != Some(b'}') {
            return None;
        }
        self.left += 1;
        let json: Arc<dyn Notation> = Arc::clone(&self.structs) as _;
        let mut unread = Unread::new(text.clone(), &self.spans, ROOM, json);
        for (index, value) in odd {
            unread.put(index, value);
        }
        let value = Value::Struct(Box::new(Struct::unread(Arc::clone(&schema), unread)));
        Some(Datum::new(schema, value))
    }

    /// Remembers how an envelope began: all that stands before its payload.
    pub(super) fn remember(&mut self, head: &[u8], schema: &Arc<Schema>) {
        let known = self.head.as_ref().is_some_and(|(known, of)| **known == *head && Arc::ptr_eq(of, schema));
        if !known && head.len() <= MAX_HEAD && schema.kind() == pipette_api::Kind::Struct {
            self.head = Some((head.into(), Arc::clone(schema)));
        }
    }
}

/// The JSON of records that were found valid.
#[derive(Debug)]
struct Json {
    structs: bool,
    replace_null: bool,
    parser: Mutex<Parser>,
    /// How many records were read after all.
    read: AtomicU32,
}

impl Json {
    fn new(structs: bool, replace_null: bool) -> Self {
        Self { structs, replace_null, parser: Mutex::default(), read: AtomicU32::new(0) }
    }

    fn value(&self, schema: Option<&Arc<Schema>>, reader: &mut Reader<'_>, parser: &mut Parser) -> Value {
        let mut decoder = Decoder { parser, last_array: &mut 0, replace_null: self.replace_null };
        decoder.value(schema, reader).unwrap_or_else(|error| unreachable!("found valid before, and now: {error}"))
    }
}

impl Notation for Json {
    fn read(&self, text: &Text, slots: &mut dyn Iterator<Item = (usize, Option<&Arc<Schema>>, &mut Value)>) {
        self.read.fetch_add(1, Ordering::Relaxed);
        let mut parser = self.parser.lock().unwrap_or_else(PoisonError::into_inner);
        for (start, schema, slot) in slots {
            slot.put(self.value(schema, &mut Reader::at(text, start), &mut parser));
        }
    }

    fn print(&self, text: &Text, start: usize, out: &mut Vec<u8>) {
        if print(&mut Reader::at(text, start), self.structs, out) {
            return;
        }
        let mut parser = self.parser.lock().unwrap_or_else(PoisonError::into_inner);
        let value = self.value(None, &mut Reader::at(text, start), &mut parser);
        let printed = java::append_text(&value, out, |_, _| Ok(()));
        debug_assert!(printed.is_ok(), "JSON has no payloads");
    }
}
