//! What a transformation worked out once for a topic: a worker sees few topics and many records.

use std::sync::Arc;

/// A small cache keyed by the topic's name. Compared by pointer first, because the records of a batch share the name.
pub(crate) struct TopicCache<T> {
    entries: Vec<(Arc<str>, T)>,
}

/// More topics than this in turn cost what working out costs, never memory.
const TOPICS: usize = 64;

impl<T> TopicCache<T> {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// What is cached for the topic, worked out by `work_out` the first time.
    pub(crate) fn get(&mut self, topic: &Arc<str>, work_out: impl FnOnce(&str) -> T) -> &T {
        if let Some(index) = self.entries.iter().position(|(known, _)| Arc::ptr_eq(known, topic) || known == topic) {
            self.entries[..=index].rotate_right(1);
        } else {
            let made = work_out(topic);
            self.entries.truncate(TOPICS - 1);
            self.entries.insert(0, (Arc::clone(topic), made));
        }
        &self.entries[0].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn works_out_once_per_name_and_stays_small() {
        let mut made = 0;
        let mut cache = TopicCache::new();
        for name in ["a", "b", "a", "b"] {
            let (topic, expected) = (Arc::from(name), name.to_uppercase());
            let upper = cache.get(&topic, |topic| {
                made += 1;
                topic.to_uppercase()
            });
            assert_eq!(*upper, expected);
        }
        assert_eq!(made, 2, "equal names are one topic, whatever their pointer");
        for number in 0..1000 {
            cache.get(&Arc::from(number.to_string()), str::to_owned);
        }
        assert_eq!(cache.entries.len(), TOPICS);
    }
}
