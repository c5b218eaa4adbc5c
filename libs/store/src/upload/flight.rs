//! Uploads of one key at one time become one: the first does it, the others wait for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use pipette_api::Result;

use super::Stored;

type Slot = tokio::sync::Mutex<Option<Stored>>;

/// Who is on the way where.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<String, Weak<Slot>>>);

impl Flights {
    /// Does the work unless somebody does it right now. When that one fails or is given up, the next does it; so it does when
    /// the key does not tell the content (`told`), and finds there what it has to compare.
    pub(crate) async fn join(
        &self,
        key: &str,
        told: bool,
        work: impl Future<Output = Result<Stored>>,
    ) -> Result<Stored> {
        let slot = self.slot(key);
        let mut landed = slot.lock().await;
        if let Some(stored) = landed.as_ref().filter(|_| told) {
            return Ok(Stored { found: true, ..stored.clone() });
        }
        let stored = work.await?;
        *landed = Some(stored.clone());
        Ok(stored)
    }

    fn slot(&self, key: &str) -> Arc<Slot> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(key).and_then(Weak::upgrade) {
            return slot;
        }
        slots.retain(|_, slot| slot.strong_count() > 0);
        let slot = Arc::new(Slot::default());
        slots.insert(key.to_owned(), Arc::downgrade(&slot));
        slot
    }
}
