//! A group's member: what it said when it joined, and the answers it waits for.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot;

#[derive(Debug)]
pub(crate) struct Member {
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub assignment: Bytes,
    pub(super) session: Duration,
    pub(super) rebalance: Duration,
    pub(super) protocols: Vec<(String, Bytes)>,
    pub(super) last_seen: Instant,
    pub(super) joining: Option<oneshot::Sender<JoinAnswer>>,
    pub(super) syncing: Option<oneshot::Sender<SyncAnswer>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Join {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session: Duration,
    pub rebalance: Duration,
    pub protocol_type: String,
    pub protocols: Vec<(String, Bytes)>,
    /// Newer clients first fetch an id, so that one that vanishes in between leaves no member behind.
    pub fetches_id_first: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Joined {
    pub generation: i32,
    pub protocol_type: String,
    pub protocol: String,
    pub leader: String,
    pub member_id: String,
    /// Everybody with their metadata for the leader, nobody for the others.
    pub members: Vec<(String, Option<String>, Bytes)>,
}

/// A refusal carries the member id to use from now on, or the one that was sent.
pub(crate) type JoinAnswer = Result<Joined, (ResponseError, String)>;
pub(crate) type SyncAnswer = Result<Bytes, ResponseError>;

/// An answer now, or when the others are there.
#[derive(Debug)]
pub(crate) enum Reply<T> {
    Now(T),
    Later(oneshot::Receiver<T>),
}

impl Member {
    pub(super) fn new(join: Join, joining: oneshot::Sender<JoinAnswer>, now: Instant) -> Member {
        Member {
            instance_id: join.instance_id,
            client_id: join.client_id,
            client_host: join.client_host,
            assignment: Bytes::new(),
            session: join.session,
            rebalance: join.rebalance,
            protocols: join.protocols,
            last_seen: now,
            joining: Some(joining),
            syncing: None,
        }
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }

    /// What the member said under this protocol, such as the topics it subscribes to.
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        let mut protocols = self.protocols.iter();
        protocols.find(|(name, _)| name == protocol).map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    /// One that waits for an answer of ours is not expected to say anything meanwhile.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        let waits = self.joining.is_some() || self.syncing.is_some();
        !waits && now.saturating_duration_since(self.last_seen) > self.session
    }

    pub(super) fn release(&mut self, refusal: (ResponseError, String)) {
        if let Some(waiting) = self.syncing.take() {
            let _ = waiting.send(Err(refusal.0));
        }
        if let Some(waiting) = self.joining.take() {
            let _ = waiting.send(Err(refusal));
        }
    }
}
