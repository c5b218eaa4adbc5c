//! Topics a source writes to: made once each, before the first record, when the connector says how.

use std::collections::HashSet;
use std::sync::Arc;

use pipette_api::Result;

use crate::kafka::admin::{Admin, Made, NewTopics};
use crate::kafka::properties::ClientProperties;

/// The topics one task has seen.
pub struct Topics {
    rules: Option<NewTopics>,
    properties: ClientProperties,
    admin: Option<Admin>,
    known: HashSet<Arc<str>>,
    last: Option<Arc<str>>,
}

impl Topics {
    /// Without rules every topic is left to the broker.
    pub fn new(rules: Option<NewTopics>, properties: ClientProperties) -> Self {
        Self { rules, properties, admin: None, known: HashSet::new(), last: None }
    }

    /// True when nothing has to be done before a record for this topic is sent.
    pub fn is_known(&mut self, topic: &Arc<str>) -> bool {
        if self.rules.is_none() || self.last.as_ref().is_some_and(|last| Arc::ptr_eq(last, topic)) {
            return true;
        }
        let known = self.known.contains(topic);
        if known {
            self.last = Some(Arc::clone(topic));
        }
        known
    }

    /// Makes the topic unless it is there.
    pub async fn ensure(&mut self, topic: &Arc<str>) -> Result<()> {
        let Some(rules) = &self.rules else { return Ok(()) };
        let admin = match &self.admin {
            Some(admin) => admin,
            None => self.admin.insert(Admin::new(&self.properties)?),
        };
        if admin.create_topic(topic, rules, "topic.creation.default.*").await? == Made::Created {
            tracing::info!(topic = %topic, partitions = rules.partitions, "Topic created");
        }
        self.known.insert(Arc::clone(topic));
        Ok(())
    }
}
