//! The keys of dead letter topics: Java's for sinks, here for sources as well.
//!
//! `connector.rs` lists them among the keys of every connector.

use pipette_api::config::key::Width;
use pipette_api::{Key, Result, Settings};

/// `errors.deadletterqueue.topic.name`.
pub static NAME: Key<String> =
    Key::new("errors.deadletterqueue.topic.name", "The topic that takes records which were bad; empty for none.")
        .default("")
        .group("Error Handling")
        .width(Width::Medium)
        .display("Dead Letter Queue Topic Name");
/// `errors.deadletterqueue.topic.replication.factor`.
pub static COPIES: Key<i16> = Key::new(
    "errors.deadletterqueue.topic.replication.factor",
    "The replication factor of that topic, should it have to be created.",
)
.default("3")
.group("Error Handling")
.width(Width::Medium)
.display("Dead Letter Queue Topic Replication Factor");
/// `errors.deadletterqueue.context.headers.enable`.
pub static CONTEXT: Key<bool> = Key::new(
    "errors.deadletterqueue.context.headers.enable",
    "Whether headers tell what went wrong; their names begin with `__connect.errors.`.",
)
.default("false")
.group("Error Handling")
.width(Width::Medium)
.display("Enable Error Context Headers");

/// `errors.deadletterqueue.*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterTopic {
    /// Its name.
    pub name: String,
    /// The replication factor it is made with; `None` when nobody wrote one.
    pub replication_factor: Option<i16>,
    /// Whether headers tell what went wrong; `None` when nobody said.
    pub context: Option<bool>,
}

impl DeadLetterTopic {
    /// What a connector says about it; `None` when it names no topic.
    pub fn read(settings: &Settings) -> Result<Option<Self>> {
        let name = settings.get(&NAME)?.trim().to_owned();
        if name.is_empty() {
            return Ok(None);
        }
        let copies = settings.get(&COPIES)?;
        let context = settings.get(&CONTEXT)?;
        Ok(Some(Self {
            name,
            replication_factor: settings.raw(COPIES.info.name).map(|_| copies),
            context: settings.raw(CONTEXT.info.name).map(|_| context),
        }))
    }
}
