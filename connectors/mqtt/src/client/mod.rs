//! The MQTT client as the connector needs it: one connection, from its CONNACK to its end.
//!
//! [`connect`] dials; a [`Link`] never reconnects by itself, so that an acknowledgement can never reach another connection
//! than the one its message came by. `session.rs` dials again. Only `v3.rs`, `v5.rs` and `alike.rs` name the client library;
//! what any client must do stands in `conformance.rs`. Read next: `pump.rs`.

mod alike;
#[cfg(test)]
mod conformance;
mod pump;
mod queue;
mod socket;
mod tls;
mod v3;
mod v5;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pipette_api::config::key::Password;

use crate::budget::Budget;
use crate::filter::Subscription;
use crate::uri::Server;

pub(crate) use pump::Link;

/// How sure a delivery is, in the protocol's words.
#[allow(clippy::enum_variant_names)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Qos {
    AtMostOnce,
    AtLeastOnce,
    ExactlyOnce,
}

impl Qos {
    pub(crate) fn from_level(level: u8) -> Option<Self> {
        [Self::AtMostOnce, Self::AtLeastOnce, Self::ExactlyOnce].get(usize::from(level)).copied()
    }

    pub(crate) fn level(self) -> u8 {
        self as u8
    }
}

/// The version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V3,
    V5,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V3 => "MQTT 3.1.1",
            Self::V5 => "MQTT 5",
        })
    }
}

/// What identifies a message on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Packet {
    /// 0 for messages that are not acknowledged.
    pub(crate) id: u16,
    pub(crate) qos: Qos,
}

/// A message that arrived.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) packet: Packet,
    pub(crate) topic: Bytes,
    pub(crate) payload: Bytes,
    pub(crate) dup: bool,
    pub(crate) retained: bool,
    /// What MQTT 5 adds; `None` when there is nothing.
    pub(crate) properties: Option<Box<Properties>>,
}

/// What a message costs besides its bytes.
const OVERHEAD: usize = 200;

impl Message {
    /// What it is counted as in the budget.
    pub(crate) fn size(&self) -> usize {
        OVERHEAD + self.topic.len() + self.payload.len()
    }
}

/// The properties of a message in MQTT 5.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Properties {
    /// True when the payload is said to be UTF-8.
    pub(crate) text: Option<bool>,
    pub(crate) expiry: Option<u32>,
    pub(crate) content_type: Option<String>,
    pub(crate) response_topic: Option<String>,
    pub(crate) correlation: Option<Bytes>,
    pub(crate) subscriptions: Vec<usize>,
    pub(crate) user: Vec<(String, String)>,
}

/// A message to send.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) properties: Option<Box<Properties>>,
}

/// When a broker sends retained messages on a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retained {
    /// Each time it is subscribed.
    Emit,
    /// When the subscription is new. MQTT 3.1.1 cannot say so and sends them each time.
    Once,
    Skip,
}

/// What is asked for with a subscription besides filter and QoS. MQTT 5 only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SubscribeOptions {
    pub(crate) retained: Retained,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
}

/// What happened on a connection.
#[derive(Debug)]
pub(crate) enum Event {
    Message(Message),
    /// What the broker granted, filter by filter: a QoS or a refusal.
    Subscribed(Vec<Result<Qos, String>>),
    Unsubscribed,
}

/// What a CONNACK said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Welcome {
    pub(crate) version: Version,
    pub(crate) session_present: bool,
    /// How many messages the broker takes unacknowledged.
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_qos: Qos,
    pub(crate) retain_available: bool,
    pub(crate) maximum_packet: Option<u32>,
}

/// How a connection is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Dial {
    pub(crate) server: Server,
    pub(crate) version: Version,
    pub(crate) client_id: String,
    pub(crate) clean: bool,
    /// How long the broker keeps the session once the connection has ended. MQTT 5 only.
    pub(crate) expiry_seconds: u32,
    pub(crate) keep_alive_seconds: u16,
    pub(crate) timeout: Duration,
    pub(crate) receive_maximum: u16,
    pub(crate) maximum_packet: u32,
    /// Messages of ours that may wait for their acknowledgement.
    pub(crate) in_flight: u16,
    /// Packets of one reading from the socket, which are held besides the budget.
    pub(crate) read_at_once: usize,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Password>,
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) will: Option<Will>,
    pub(crate) user_properties: Vec<(String, String)>,
}

/// What is trusted and shown in a handshake.
#[derive(Clone)]
pub(crate) struct Tls {
    /// Of the files that are configured; the system's certificates hold when `None`.
    pub(crate) config: Option<Arc<rustls::ClientConfig>>,
    pub(crate) alpn: Vec<String>,
}

/// Shows no key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// What the broker publishes when the client vanishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Will {
    pub(crate) message: String,
    pub(crate) topic: String,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) delay_seconds: u32,
}

/// Why there is no connection, or no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    /// For the log: what happened, without a secret.
    pub(crate) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// It may be there later.
    Away,
    /// The broker does not want this user.
    Credentials,
    /// The broker does not want this client id.
    ClientId,
    /// The broker speaks another version.
    Version,
    /// Another client has connected with the same id.
    TakenOver,
    /// A message of that many bytes is above the limit.
    TooLarge(usize),
    /// The encryption does not come about, and this key is the one to look at.
    Tls(&'static str),
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub(crate) fn away(text: impl Into<String>) -> Self {
        Self::new(FaultKind::Away, text)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What becomes of a published message: the broker has it, or has refused it for good. Pending for ever when the
/// connection ends, which [`Link::next`] tells.
pub(crate) type Receipt = Pin<Box<dyn Future<Output = Result<(), Refused>> + Send>>;

/// Why a message was not published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The broker said no to this message.
    Reason(String),
    /// The connection ended before the broker answered.
    Gone,
}

/// What can be asked on a connection. Nothing waits: requests are queued, the pump writes them.
pub(crate) trait Requests: Send {
    fn subscribe(&self, subscriptions: &[Subscription], options: SubscribeOptions) -> Result<(), Fault>;
    fn unsubscribe(&self, filters: &[String]) -> Result<(), Fault>;
    /// PUBACK or PUBREC. Packets of this connection only, each once, in the order of receipt.
    fn ack(&self, packet: Packet) -> Result<(), Fault>;
    fn publish(&self, message: Outgoing) -> Result<Receipt, Fault>;
    /// Behind everything that was asked before.
    fn disconnect(&self) -> Result<(), Fault>;
}

/// Reads and writes one connection.
pub(crate) trait Wire: Send + 'static {
    /// The next thing that happened; `None` is of no interest.
    fn turn(&mut self) -> impl Future<Output = Result<Option<Event>, Fault>> + Send;
}

/// Connects, and returns once the broker has accepted.
pub(crate) async fn connect(dial: &Dial, budget: Arc<Budget>) -> Result<Link, Fault> {
    match dial.version {
        Version::V3 => v3::connect(dial, budget).await,
        Version::V5 => v5::connect(dial, budget).await,
    }
}
