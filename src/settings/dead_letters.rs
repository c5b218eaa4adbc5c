//! The keys of dead letter topics: Java's for sinks, here for sources as well; and of what keeps them from filling up.
//!
//! `connector.rs` lists them among the keys of every connector.

use pipette_api::config::checks::at_least;
use pipette_api::config::key::Width;
use pipette_api::{ConfigDef, Key, Result, Settings};

/// What the keys of Java's begin with.
pub const PREFIX: &str = "errors.deadletterqueue.";
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

/// `errors.refusals.in.a.row.max`.
pub static REFUSALS: Key<i32> = Key::new(
    "errors.refusals.in.a.row.max",
    "With `errors.tolerance=all`: how many records in a row a sink may refuse for one and the same reason, and take none \
     between, before that fails the task: it is the target then, not the records, and a topic must not drain into the \
     dead letters. 0 for no limit.",
)
.default("100")
.group("Error Handling")
.check(at_least::<0>);

/// Keys of sinks that Apache's worker does not have: REST lists them only where they are used.
pub static SINK_ADDED: ConfigDef = ConfigDef::new(&[&REFUSALS.info]);

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
