//! The stores that references lead to: one client for each bucket that the allowed prefixes name, opened when it is needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pipette_api::Result;

use crate::config::StoreSettings;
use crate::store::Store;
use crate::uri::{Allowed, ObjectUri, Scheme};

/// Opens what is allowed. Every store has the options of the one in the settings.
pub struct Stores {
    settings: StoreSettings,
    allowed: Allowed,
    open: Mutex<HashMap<ObjectUri, Arc<Store>>>,
}

impl Stores {
    /// References under these prefixes are read, others refused.
    pub fn new(settings: StoreSettings, allowed: Allowed) -> Self {
        Self { settings, allowed, open: Mutex::default() }
    }

    /// The same with a store that is open already, as for one in memory.
    #[must_use]
    pub fn with(self, store: Arc<Store>) -> Self {
        self.lock().insert(scope(store.uri()), store);
        self
    }

    /// The store and the key that an address leads to. A data error before any request when it is not allowed; a config error
    /// when the store cannot be opened.
    pub fn find(&self, uri: &str) -> Result<(Arc<Store>, String)> {
        let (uri, prefix) = self.allowed.check(uri)?;
        let scope = scope(prefix);
        let mut open = self.lock();
        if let Some(store) = open.get(&scope) {
            return Ok((Arc::clone(store), uri.key));
        }
        let store = Store::open(&self.settings.moved_to(scope.clone()))?;
        open.insert(scope, Arc::clone(&store));
        Ok((store, uri.key))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectUri, Arc<Store>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client serves a whole bucket; a folder is held inside of itself, whatever links lead out of it.
fn scope(prefix: &ObjectUri) -> ObjectUri {
    match prefix.scheme {
        Scheme::File => prefix.clone(),
        _ => prefix.with_key(""),
    }
}
