//! The schema texts met so far. Records of a topic share one `Arc` per text, so that caches keyed by it work downstream.

use std::collections::HashMap;
use std::sync::Arc;

use pipette_api::{Result, Schema};
use pipette_json::{Parser, Reader, Shape};

use super::schema;

/// No more than this many bytes of text are remembered, however many schemas that is.
const MAX_BYTES: usize = 16 << 20;

pub(super) struct KnownSchemas {
    texts: HashMap<Arc<[u8]>, Arc<Schema>>,
    /// A topic usually has one schema: its text is compared before anything is parsed.
    last: Option<(Arc<[u8]>, Arc<Schema>)>,
    bytes: usize,
    capacity: usize,
}

impl KnownSchemas {
    pub(super) fn new(capacity: usize) -> Self {
        Self { texts: HashMap::new(), last: None, bytes: 0, capacity }
    }

    /// The schema that is next in the document; `None` for `null`.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>, parser: &mut Parser) -> Result<Option<Arc<Schema>>> {
        if let Some((text, schema)) = &self.last
            && reader.take(text)
        {
            return Ok(Some(Arc::clone(schema)));
        }
        if reader.shape()? != Shape::Object {
            return schema::read(reader, parser);
        }
        let start = reader.position();
        let mut again = reader.clone();
        reader.skip()?;
        let text = reader.since(start);
        if let Some((text, schema)) = self.texts.get_key_value(text) {
            self.last = Some((Arc::clone(text), Arc::clone(schema)));
            return Ok(Some(Arc::clone(schema)));
        }
        let schema = schema::read(&mut again, parser)?;
        if let Some(schema) = &schema {
            self.remember(text, schema);
        }
        Ok(schema)
    }

    fn remember(&mut self, text: &[u8], schema: &Arc<Schema>) {
        if self.texts.len() >= self.capacity.max(1) || self.bytes + text.len() > MAX_BYTES {
            self.texts.clear();
            self.bytes = 0;
        }
        let text: Arc<[u8]> = text.into();
        self.bytes += text.len();
        self.last = Some((Arc::clone(&text), Arc::clone(schema)));
        self.texts.insert(text, Arc::clone(schema));
    }
}
