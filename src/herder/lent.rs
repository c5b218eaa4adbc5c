//! A map whose copies share what they hold until one of them changes. `state.rs` keeps what it knows in such maps, because
//! readers get a copy of all of it after each event, and with a thousand connectors there are many events.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Copied whole by the first change behind [`Clone::clone`].
#[derive(Debug, Clone)]
pub(super) struct Lent<K, V>(Arc<BTreeMap<K, V>>);

impl<K, V> Default for Lent<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K, V> Deref for Lent<K, V> {
    type Target = BTreeMap<K, V>;

    fn deref(&self) -> &BTreeMap<K, V> {
        &self.0
    }
}

impl<K: Clone + Ord, V: Clone> DerefMut for Lent<K, V> {
    fn deref_mut(&mut self) -> &mut BTreeMap<K, V> {
        Arc::make_mut(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_stays_as_it_was_and_shares_until_then() {
        let mut own = Lent::default();
        own.insert(1, "a");
        let copy = own.clone();
        assert!(Arc::ptr_eq(&own.0, &copy.0));
        own.insert(2, "b");
        assert_eq!((own.len(), copy.len()), (2, 1));
    }
}
