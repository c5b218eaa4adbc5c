//! The worker's memory as a plugin sees it: room is leased before much is held, and given back when the lease is dropped.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

/// Gives room; the worker's budget, or none in tests.
#[async_trait]
pub trait Landlord: Send + Sync {
    /// Room at once, or not at all. What is answered gives it back when it is dropped.
    fn try_lease(&self, bytes: u64) -> Option<Box<dyn Send + Sync>>;

    /// Room, waited for.
    async fn lease(&self, bytes: u64) -> Box<dyn Send + Sync>;
}

/// The door to the worker's memory (`memory.budget.bytes`), in the name of one task. Without a budget behind it there is
/// always room. Cheap to clone.
#[derive(Clone, Default)]
pub struct Room(Option<Arc<dyn Landlord>>);

impl Room {
    /// What a landlord gives.
    pub fn of(landlord: Arc<dyn Landlord>) -> Self {
        Self(Some(landlord))
    }

    /// Room for so many bytes at once; `None` when there is none now, for those who can do without (and spill to disk).
    pub fn try_lease(&self, bytes: u64) -> Option<RoomLease> {
        match &self.0 {
            None => Some(RoomLease(None)),
            Some(landlord) => landlord.try_lease(bytes).map(|lease| RoomLease(Some(lease))),
        }
    }

    /// Waits for room. Whoever holds a lease and waits for another may wait for ever: ask once, for all of it.
    pub async fn lease(&self, bytes: u64) -> RoomLease {
        match &self.0 {
            None => RoomLease(None),
            Some(landlord) => RoomLease(Some(landlord.lease(bytes).await)),
        }
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Room(limited)" } else { "Room(ample)" })
    }
}

/// Room that is kept until this is dropped.
#[must_use = "dropping it gives the room back"]
pub struct RoomLease(#[allow(dead_code, reason = "held for its drop")] Option<Box<dyn Send + Sync>>);

impl fmt::Debug for RoomLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoomLease")
    }
}
