//! What a transformation worked out once for a schema.

use std::sync::Arc;

use super::schema::Schema;

/// A small cache keyed by the schema's `Arc`, which it keeps alive so that a pointer never means two schemas.
/// The last one used is found first: a topic usually has one schema.
#[derive(Debug)]
pub struct SchemaCache<T> {
    entries: Vec<(Arc<Schema>, T)>,
    capacity: usize,
}

impl<T> SchemaCache<T> {
    /// A cache for that many schemas; the one not used for longest makes room.
    pub fn new(capacity: usize) -> Self {
        Self { entries: Vec::new(), capacity: capacity.max(1) }
    }

    /// What is cached for the schema, worked out by `work_out` the first time. An error is not cached.
    pub fn get_or_try<E>(
        &mut self,
        schema: &Arc<Schema>,
        work_out: impl FnOnce(&Arc<Schema>) -> std::result::Result<T, E>,
    ) -> std::result::Result<&T, E> {
        if let Some(index) = self.entries.iter().position(|(known, _)| Arc::ptr_eq(known, schema)) {
            self.entries[..=index].rotate_right(1);
        } else {
            let made = work_out(schema)?;
            self.entries.truncate(self.capacity - 1);
            self.entries.insert(0, (Arc::clone(schema), made));
        }
        Ok(&self.entries[0].1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::schema::Kind;
    use super::*;

    #[test]
    fn works_out_once_and_forgets_the_one_unused_for_longest() {
        let mut made = 0;
        let mut cache = SchemaCache::new(2);
        let (a, b, c) = (Schema::of(Kind::Int8), Schema::of(Kind::Int16), Schema::of(Kind::Int32));
        for schema in [&a, &b, &a, &c, &a, &b] {
            cache
                .get_or_try(schema, |_| {
                    made += 1;
                    Ok::<_, ()>(made)
                })
                .unwrap();
        }
        assert_eq!(made, 4, "b was forgotten for c and worked out again");
    }
}
