//! Clients that ask Kafka one thing and are polled by nobody: they wait no longer than it can help, and say why there is
//! no answer.
//!
//! `admin.rs`, `compacted.rs` and `stretch.rs` ask through this. librdkafka only says "timed out" to whoever asks; why, and
//! whether a token is wanted, it tells to whoever polls.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::client::Client;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};

use super::compacted::Events;
use super::events::ClientEvents;
use super::oauth;
use super::properties::ClientProperties;
use super::sys;

/// How long is waited for the first attempt's answer; doubled for each further one.
const FIRST: Duration = Duration::from_secs(1);
/// Complaints that are taken in at once.
const COMPLAINTS: usize = 200;

/// A client with properties that say how to reach Kafka and nothing else, ready to ask.
pub(super) fn client(properties: impl IntoIterator<Item = (String, String)>) -> Result<BaseConsumer<Events>, String> {
    let properties: ClientProperties = properties.into_iter().collect();
    let mut config = ClientConfig::new();
    config.extend(properties.clone());
    let events = Events(ClientEvents::silent(&properties));
    let client: BaseConsumer<Events> = config.create_with_context(events).map_err(|error| error.to_string())?;
    give_token(client.client(), &properties)?;
    Ok(client)
}

/// Gives a client that logs in with tokens its first one. Blocks while it is fetched.
pub(super) fn give_token<C: ClientContext>(client: &Client<C>, properties: &ClientProperties) -> Result<(), String> {
    let Some(config) = properties.get("sasl.oauthbearer.config") else { return Ok(()) };
    let token = oauth::token(Some(config)).map_err(|error| error.to_string())?;
    sys::set_token(client.native_ptr(), &token)
}

/// Asks again and again for at most `wait`, unless the broker refuses the login or its certificate is refused: then the
/// answer would be the same.
pub(super) fn ask<T>(
    client: &BaseConsumer<Events>,
    wait: Duration,
    question: impl Fn(Duration) -> KafkaResult<T>,
) -> Result<T, String> {
    let until = Instant::now() + wait;
    let mut patience = FIRST;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let error = match question(patience.min(left)) {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        take_complaints(client);
        let events = &client.context().0;
        if left <= patience || events.is_refused() {
            return Err(why(events, &error));
        }
        patience *= 2;
    }
}

/// The reason, if librdkafka has said one.
fn why(events: &ClientEvents, error: &KafkaError) -> String {
    events.last_error().unwrap_or_else(|| error.to_string())
}

/// Nothing is assigned to the client: there are no records among what it is polled for.
fn take_complaints<C: ConsumerContext>(client: &BaseConsumer<C>) {
    for _ in 0..COMPLAINTS {
        // Log lines are taken in too, and show as nothing.
        drop(client.poll(Duration::ZERO));
    }
}
