//! What a transformation worked out once for a schema, or for the keys of maps.

use std::sync::Arc;

use super::map::Keys;
use super::schema::Schema;

/// A small cache keyed by the schema.
pub type SchemaCache<T> = ArcCache<Schema, T>;

/// A small cache keyed by the keys of maps.
pub type KeysCache<T> = ArcCache<Keys, T>;

/// A small cache keyed by an `Arc`, which it keeps alive so that a pointer never means two things.
/// The last one used is found first: a topic usually has one schema.
#[derive(Debug)]
pub struct ArcCache<K, T> {
    entries: Vec<(Arc<K>, T)>,
    capacity: usize,
}

impl<K, T> ArcCache<K, T> {
    /// A cache for that many; the one not used for longest makes room.
    pub fn new(capacity: usize) -> Self {
        Self { entries: Vec::new(), capacity: capacity.max(1) }
    }

    /// What is cached for the key, worked out by `work_out` the first time. An error is not cached.
    pub fn get_or_try<E>(
        &mut self,
        key: &Arc<K>,
        work_out: impl FnOnce(&Arc<K>) -> std::result::Result<T, E>,
    ) -> std::result::Result<&T, E> {
        match self.entries.iter().position(|(known, _)| Arc::ptr_eq(known, key)) {
            Some(0) => {}
            Some(index) => self.entries[..=index].rotate_right(1),
            None => {
                let made = work_out(key)?;
                self.entries.truncate(self.capacity - 1);
                self.entries.insert(0, (Arc::clone(key), made));
            }
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
