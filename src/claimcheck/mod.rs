//! `pipette claimcheck`: looks after the objects that connectors have put into stores.
//!
//! `lifecycle.rs` makes the rules by which a store takes old objects away, `gc.rs` takes away those that no record refers to,
//! with `scan.rs`, which finds references, and `topics.rs`, which reads them. Called by `cli/claimcheck.rs`; nothing here runs
//! inside a worker.

pub mod gc;
pub mod lifecycle;
mod scan;
mod topics;

use std::collections::BTreeSet;
use std::time::Duration;

use pipette_api::{ConfigDef, ConfigMap, ConnectError, Reach, Result, Settings};
use pipette_store::{
    ALLOW_HTTP, CONNECT_TIMEOUT, Naming, ObjectUri, Origin, REQUEST_TIMEOUT, StoreSettings, Strategy, URI,
};

use crate::settings::claim_check::{Claim, Step, steps};

static STORE: ConfigDef = ConfigDef::new(&[&URI.info, &ALLOW_HTTP.info, &CONNECT_TIMEOUT.info, &REQUEST_TIMEOUT.info]);

/// Steps that leave a record in its topic.
const STAYING: [&str; 4] = ["ClaimCheck", "Chunk", "Split", "ExtractMetadata"];

/// A folder of a store that one topic's records refer to.
#[derive(Debug, Clone)]
pub struct Place {
    /// The store.
    pub store: StoreSettings,
    /// The key that all its objects begin with, without a slash at the end; empty for a whole bucket.
    pub folder: String,
    /// The connector.
    pub connector: String,
    /// The topic.
    pub topic: String,
    /// The header that holds references; empty when there is none.
    pub header: String,
    /// True when objects of other topics may be in the folder too: its name does not tell the topic's.
    pub shared: bool,
    /// How objects are named.
    pub naming: Naming,
    /// How long a record may wait for the store.
    pub retry_timeout: Duration,
}

impl Place {
    /// Where a connector puts large values of these topics, and of those that are `gone`; without topics, of its own. A
    /// config error when it puts none anywhere, when nobody says which topics, and when references could not be found in
    /// records.
    pub fn all(
        connector: &str,
        config: &ConfigMap,
        topics: &[String],
        gone: &[String],
        reach: &Reach,
    ) -> Result<Vec<Self>> {
        let claims: Vec<Claim> = Claim::all(config)?.into_iter().filter(|claim| claim.stores).collect();
        if claims.is_empty() {
            return Err(ConnectError::config(format!(
                "connector {connector} puts nothing into a store: it has no transformation ClaimCheck (but those with \
                 store.mode=reference, whose objects are others') and no output.mode=claim-check"
            )));
        }
        if let Some(claim) = claims.iter().find(|claim| claim.may_hide) {
            return Err(ConnectError::config(format!(
                "{0}header.name is empty and {0}reference.format=bakdata-header writes references as bytes, which a \
                 converter may turn into what nobody finds again: give it a header",
                claim.place
            )));
        }
        let own = if topics.is_empty() { own_topic(connector, config).map(Some) } else { Ok(None) };
        let own = own.or_else(|error| if gone.is_empty() { Err(error) } else { Ok(None) })?;
        let topics: BTreeSet<&String> = topics.iter().chain(gone).chain(&own).collect();
        let pairs = claims.iter().flat_map(|claim| topics.iter().map(move |topic| (claim, topic)));
        pairs.map(|(claim, topic)| Self::of(connector, claim, topic, reach)).collect()
    }

    fn of(connector: &str, claim: &Claim, topic: &str, reach: &Reach) -> Result<Self> {
        let settings = Settings::new(claim.store.clone(), &STORE).within(reach.clone());
        let store = StoreSettings::read(&settings).map_err(|error| error.within(&claim.place))?;
        let strategy = claim.key_template.clone().map_or(Strategy::Content, Strategy::Template);
        let naming = Naming::new(&claim.key_prefix, strategy).map_err(|error| error.within(&claim.place))?;
        let inner = naming.folder(&Origin { topic, connector, ..Origin::default() })?;
        let parts = [store.uri.key.as_str(), inner.as_str()];
        let folder = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        Ok(Self {
            folder,
            connector: connector.to_owned(),
            topic: topic.to_owned(),
            header: claim.header.clone(),
            // The name of a topic is cut where it is too long for a part of a key.
            shared: !claim.key_prefix.contains("${topic}") || !inner.contains(topic),
            naming,
            retry_timeout: claim.retry_timeout,
            store,
        })
    }

    /// The address of the folder.
    pub fn uri(&self) -> ObjectUri {
        self.store.uri.with_key(&self.folder)
    }

    /// Whether the connector can have put that object there.
    pub fn may_hold(&self, key: &str) -> bool {
        let origin = Origin { topic: &self.topic, connector: &self.connector, ..Origin::default() };
        let inner = match self.folder.as_str() {
            "" => Some(key),
            folder => key.strip_prefix(folder).and_then(|key| key.strip_prefix('/')),
        };
        inner.is_some_and(|inner| self.naming.may_have_made(&origin, inner))
    }
}

/// The topic in the connector's `topic`, if no step can send records to another one.
fn own_topic(connector: &str, config: &ConfigMap) -> Result<String> {
    let text = |key: &str| config.get(key).map_or("", |text| text.trim());
    let name_them = "name every topic that its records go to, with --topic NAME for each";
    for Step { alias, class, name } in steps(config) {
        if !STAYING.contains(&name) {
            return Err(ConnectError::config(format!(
                "connector {connector}: the step {alias} ({class}) may send records to another topic: {name_them}"
            )));
        }
    }
    match text("topic") {
        "" => Err(ConnectError::config(format!("connector {connector} has no key `topic`: {name_them}"))),
        topic => Ok(topic.to_owned()),
    }
}
