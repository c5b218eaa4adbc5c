//! Maps: a list of keys that many maps share, and values of their own in the same order.
//!
//! Objects read from one topic have the same members again and again. Their reader hands out one list of keys for all of
//! them, so that a map costs its values only, and what was worked out for a list of keys ([`super::KeysCache`]) holds for
//! all maps that have it, as with schemas.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use super::unread::{Part, Parts, Unread};
use super::value::Value;

/// A map in the order it was made; keys are unique by contract of whoever makes it.
#[derive(Clone)]
pub struct Map {
    keys: Arc<Keys>,
    parts: Parts,
}

/// The keys of maps, in order.
#[derive(Debug, Default)]
pub struct Keys {
    list: Box<[Value]>,
    text: bool,
}

impl Keys {
    /// True when every key is a string.
    pub fn are_text(&self) -> bool {
        self.text
    }

    /// Where a string key stands.
    pub fn position(&self, name: &str) -> Option<usize> {
        let is_name = |key: &Value| matches!(key, Value::String(text) if text.len() == name.len() && text.as_bytes() == name.as_bytes());
        self.list.iter().position(is_name)
    }
}

impl From<Vec<Value>> for Keys {
    fn from(list: Vec<Value>) -> Self {
        let text = list.iter().all(|key| matches!(key, Value::String(_)));
        Self { list: list.into(), text }
    }
}

impl Deref for Keys {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.list
    }
}

static NO_KEYS: LazyLock<Arc<Keys>> = LazyLock::new(|| Arc::new(Keys::from(Vec::new())));

impl Map {
    /// A map of shared keys. Panics when there is not one value for each.
    #[inline]
    pub fn new(keys: Arc<Keys>, values: Vec<Value>) -> Self {
        assert_eq!(keys.len(), values.len(), "one value per key");
        Self { keys, parts: Parts::from(values) }
    }

    /// A map of shared keys whose values are read when one is asked for. Panics when there is not one for each.
    #[inline]
    pub fn unread(keys: Arc<Keys>, unread: Unread) -> Self {
        let parts = Parts::unread(unread);
        assert_eq!(keys.len(), parts.len(), "one value per key");
        Self { keys, parts }
    }

    /// The keys, in order.
    #[inline]
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// The values in the order of the keys.
    #[inline]
    pub fn values(&self) -> &[Value] {
        self.parts.values(None)
    }

    /// The values in the order of the keys, to change them.
    pub fn values_mut(&mut self) -> &mut [Value] {
        self.parts.values_mut(None)
    }

    /// Keys with their values.
    #[inline]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Value, &Value)> + Clone {
        self.keys.iter().zip(self.values())
    }

    /// Keys with their parts as they are at hand: for those who write text and can do without values.
    #[inline]
    pub fn parts(&self) -> impl Iterator<Item = (&Value, Part<'_>)> {
        self.keys.iter().enumerate().map(|(index, key)| (key, self.parts.part(index)))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True without entries.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The value under a string key.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.keys.position(name).map(|index| &self.values()[index])
    }

    /// Sets the value of a string key, in place when the key is there, at the end otherwise. The latter copies the keys:
    /// [`Map::put`] is for those who do it to each record.
    pub fn set(&mut self, name: &str, value: Value) {
        if let Some(index) = self.keys.position(name) {
            self.values_mut()[index] = value;
            return;
        }
        let keys = self.keys.iter().cloned().chain([Value::text(name)]);
        self.keys = Arc::new(Keys::from(keys.collect::<Vec<_>>()));
        self.parts.values_mut(None).push(value);
    }

    /// Gives it other keys and takes the values in these places out, which ascend. Panics when there is not one for each key
    /// then.
    #[inline]
    pub fn take_out(&mut self, keys: Arc<Keys>, places: &[usize]) {
        self.parts.take_out(places);
        self.take_keys(keys);
    }

    /// Gives it other keys and puts values in their places, or at the end, where there is none. Panics when there is not
    /// one for each key then.
    #[inline]
    pub fn put(&mut self, keys: Arc<Keys>, values: impl Iterator<Item = (usize, Value)>) {
        self.parts.put(keys.len().saturating_sub(self.keys.len()), values);
        self.take_keys(keys);
    }

    /// Gives it other keys: `change` turns its values into those of the new keys. Panics when there is not one value for
    /// each key then. [`Map::take_out`] and [`Map::put`] do not read values that nobody has asked for.
    #[inline]
    pub fn reshape(&mut self, keys: Arc<Keys>, change: impl FnOnce(&mut Vec<Value>)) {
        change(self.parts.values_mut(None));
        self.take_keys(keys);
    }

    /// Gives it other keys in the place of these. Panics when there are not as many.
    #[inline]
    pub fn take_keys(&mut self, keys: Arc<Keys>) {
        assert_eq!(keys.len(), self.parts.len(), "one value per key");
        self.keys = keys;
    }
}

impl Default for Map {
    fn default() -> Self {
        Self { keys: Arc::clone(&NO_KEYS), parts: Parts::from(Vec::new()) }
    }
}

/// With keys of its own.
impl FromIterator<(Value, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (Value, Value)>>(entries: I) -> Self {
        let (keys, values): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
        Self { keys: Arc::new(Keys::from(keys)), parts: Parts::from(values) }
    }
}

/// With keys of its own.
impl From<Vec<(Value, Value)>> for Map {
    fn from(entries: Vec<(Value, Value)>) -> Self {
        entries.into_iter().collect()
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// As in Java: order does not matter.
impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        if Arc::ptr_eq(&self.keys, &other.keys) {
            return self.values() == other.values();
        }
        self.len() == other.len() && self.iter().all(|(key, value)| other.iter().any(|(k, v)| k == key && v == value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_is_javas() {
        let pair = |a: &str, b: &str| Map::from(vec![(Value::text(a), Value::I32(1)), (Value::text(b), Value::I32(1))]);
        assert_eq!(pair("a", "b"), pair("b", "a"));
        assert_ne!(pair("a", "b"), pair("a", "c"));
        let mut other = pair("a", "b");
        other.set("b", Value::Null);
        assert_ne!(pair("a", "b"), other);
    }

    #[test]
    fn a_change_to_one_map_leaves_those_that_share_its_keys() {
        let first = Map::from(vec![(Value::text("a"), Value::I32(1))]);
        let mut second = Map::new(Arc::clone(first.keys()), vec![Value::I32(2)]);
        second.set("b", Value::I32(3));
        assert_eq!((first.get("b"), first.len()), (None, 1));
        assert_eq!((second.get("a"), second.get("b")), (Some(&Value::I32(2)), Some(&Value::I32(3))));
        second.take_out(Arc::clone(first.keys()), &[1]);
        assert_eq!(second.iter().next(), Some((&Value::text("a"), &Value::I32(2))));
        assert_ne!(first, second);
    }

    #[test]
    #[should_panic(expected = "one value per key")]
    fn keys_and_values_stay_together() {
        Map::from(vec![(Value::text("a"), Value::Null)]).take_keys(Arc::default());
    }
}
