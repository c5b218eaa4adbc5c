//! Objects that are there already: what the source hands over are their addresses. Whoever fills the source has written them,
//! so nothing is asked of a store before an address is found under an allowed prefix. `outside.rs` calls it.

use std::sync::Arc;

use pipette_api::{ConnectError, Result, Value};
use pipette_store::{Allowed, Integrity, Limits, Reference, Store, StoreSettings, StoredPayload, Stores};

/// Finds them.
pub(super) struct Existing {
    stores: Stores,
    limits: Limits,
}

/// One that was found.
pub(super) struct Object {
    pub(super) store: Arc<Store>,
    pub(super) key: String,
    pub(super) payload: StoredPayload,
}

impl Existing {
    pub(super) fn new(settings: StoreSettings, allowed: Allowed, max_payload: u64) -> Self {
        Self { stores: Stores::new(settings, allowed), limits: Limits { max_bytes: max_payload } }
    }

    /// Asks what is there. A data error when the address may not be used, when there is nothing, and when it is too large.
    pub(super) async fn find(&self, address: &str) -> Result<Object> {
        let (store, key) = self.stores.find(address)?;
        let uri = store.uri_of(&key);
        let Some(object) = store.head(&key).await? else {
            return Err(ConnectError::data(format!("Cannot read {uri}: the object is missing or forbidden")));
        };
        let reference = Reference {
            size: Some(object.size),
            etag: object.etag,
            version_id: object.version,
            created_at: Some(object.modified),
            ..Reference::to(uri)
        };
        let payload =
            StoredPayload::new(Arc::clone(&store), key.clone(), reference, self.limits, Integrity::IfPresent)?;
        Ok(Object { store, key, payload })
    }
}

/// The address that a value is.
pub(super) fn address(value: &Value) -> Result<&str> {
    let text = match value {
        Value::String(text) => Some(text.as_str()),
        Value::Bytes(bytes) => std::str::from_utf8(bytes.as_bytes()).ok(),
        _ => None,
    };
    text.ok_or_else(|| {
        ConnectError::data(format!(
            "with store.mode=reference or copy it is the address of an object, and this is no text but of type {}",
            value.type_name()
        ))
    })
}
