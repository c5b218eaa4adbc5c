//! The one seat of a worker's group: who has it runs the connectors.
//!
//! A worker of ours sits in its `group.id` as a consumer of the configuration topic, which has one partition: whoever has
//! that has the seat. Apache's workers form a group of another kind under the same name, and Kafka lets both kinds be in
//! a group one after the other only. `store/configs.rs` looks who is there and takes the seat.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use pipette_api::{ConnectError, Result};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::groups::{GroupInfo, GroupMemberInfo};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::watch;

use super::events::ClientEvents;
use super::properties::ClientProperties;
use super::{asking, oauth};

/// How long Kafka may take to say who is in a group.
const ASK: Duration = Duration::from_secs(10);
/// Bounds only how late the thread notices that it should end.
const LOOK: Duration = Duration::from_millis(100);
/// What Apache's workers are to Kafka.
const APACHE: &str = "connect";

/// Somebody in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sitter {
    /// Its `client.id`.
    pub client: String,
    /// Where it connects from.
    pub host: String,
    /// It is one of Apache's workers.
    pub is_apache: bool,
}

/// Who is in the group that these properties name.
pub async fn sitters(properties: &ClientProperties) -> Result<Vec<Sitter>> {
    let asked = properties.clone();
    let answer = tokio::task::spawn_blocking(move || {
        let group = group(&asked).to_owned();
        let client = asking::client(asked)?;
        let groups = asking::ask(&client, ASK, |wait| client.fetch_group_list(Some(&group), wait))?;
        let found = groups.groups().iter().filter(|found| found.name() == group);
        Ok(found.flat_map(|found| found.members().iter().map(|member| Sitter::of(found, member))).collect())
    });
    let answer = answer.await.map_err(|error| ConnectError::fatal("The look at a group broke off").because(error))?;
    let group = group(properties);
    answer.map_err(|why: String| ConnectError::retriable(format!("Kafka does not tell who is in group {group}: {why}")))
}

impl Sitter {
    fn of(group: &GroupInfo, member: &GroupMemberInfo) -> Self {
        Self {
            client: member.client_id().to_owned(),
            host: member.client_host().trim_start_matches('/').to_owned(),
            is_apache: group.protocol_type() == APACHE,
        }
    }
}

fn group(properties: &ClientProperties) -> &str {
    properties.get("group.id").map(String::as_str).unwrap_or_default()
}

/// The seat while it is held. Dropping it leaves it to the next one at once.
pub struct Seat {
    /// True once Kafka has given it.
    pub given: watch::Receiver<bool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Seat {
    /// Sits down in the group of these properties, in the background: `lost` is told when somebody else has the seat. Kafka
    /// that does not answer takes nobody's seat.
    pub fn take(
        properties: &ClientProperties,
        topic: &str,
        lost: impl FnOnce(String) + Send + 'static,
    ) -> Result<Self> {
        let group = group(properties).to_owned();
        let failed =
            |error| ConnectError::config(format!("Kafka refuses the settings of the client in group {group}: {error}"));
        let mut config = ClientConfig::new();
        config.extend(properties.clone());
        config.set("enable.auto.commit", "false").set("auto.offset.reset", "latest");
        // Whoever comes second gets nothing, even if the first one has to join anew.
        config.set("partition.assignment.strategy", "cooperative-sticky");
        let (give, given) = watch::channel(false);
        let events = ClientEvents::new(properties);
        let sitting = Sitting { events, given: give, is_elsewhere: AtomicBool::new(false) };
        let consumer: BaseConsumer<Sitting> = config.create_with_context(sitting).map_err(failed)?;
        consumer.subscribe(&[topic]).map_err(failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let sit = move || {
            if let Some(why) = sit(&consumer, &group, &until) {
                lost(why);
            }
        };
        let thread = std::thread::Builder::new().name("seat".into()).spawn(sit);
        let thread = thread.map_err(|error| ConnectError::fatal("No thread could be started").because(error))?;
        Ok(Self { given, stop, thread: Some(thread) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It ends within one look and one farewell to the coordinator.
            let _ = thread.join();
        }
    }
}

/// Returns why the seat is lost, or `None` when it is given up.
fn sit(consumer: &BaseConsumer<Sitting>, group: &str, until: &AtomicBool) -> Option<String> {
    while !until.load(Ordering::Relaxed) {
        if let Some(Err(error)) = consumer.poll(LOOK)
            && error.rdkafka_error_code() == Some(RDKafkaErrorCode::InconsistentGroupProtocol)
        {
            return Some(format!("a worker of Apache has joined group {group}"));
        }
        if consumer.context().is_elsewhere.load(Ordering::Relaxed) {
            return Some(format!("another worker has the place in group {group}"));
        }
    }
    None
}

struct Sitting {
    events: ClientEvents,
    given: watch::Sender<bool>,
    is_elsewhere: AtomicBool,
}

impl ConsumerContext for Sitting {
    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(_) = rebalance else { return };
        match consumer.assignment() {
            // It is the seat that counts: nothing is read here.
            Ok(own) if own.count() > 0 => {
                drop(consumer.pause(&own));
                self.given.send_replace(true);
            }
            Ok(_) => self.is_elsewhere.store(true, Ordering::Relaxed),
            Err(error) => self.events.error_of(&error, "looking at the assignment"),
        }
    }
}

impl ClientContext for Sitting {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.events.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.error(&error, reason);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> oauth::Answer {
        oauth::token(config)
    }
}
