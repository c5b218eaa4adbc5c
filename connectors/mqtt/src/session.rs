//! The connections of one task to its broker, one after the other: dialling, waiting, judging why one ended.
//!
//! Source and sink each have one. A fault becomes an error that says what to do, of the kind that says whether waiting
//! helps. Read next: `source.rs`.

use std::sync::Arc;
use std::time::Duration;

use pipette_api::{ConnectError, Result};
use tokio::time::Instant;

use crate::budget::Budget;
use crate::client::{self, Dial, Fault, FaultKind, Link, Version, Welcome};
use crate::patience::{Backoff, Flapping};
use crate::plan::{blamed, hash};
use crate::settings::BrokerSettings;

/// See the head of this module.
pub(crate) struct Session {
    broker: BrokerSettings,
    dial: Dial,
    budget: Arc<Budget>,
    pub(crate) link: Option<Link>,
    /// The server to begin with.
    server: usize,
    begun: Instant,
    accepted: Option<Instant>,
    /// Since when no broker has accepted us.
    away: Instant,
    backoff: Backoff,
    flapping: Flapping,
    /// The size of a message that ended a connection.
    too_large: Option<usize>,
}

impl Session {
    pub(crate) fn new(broker: BrokerSettings, dial: Dial, budget: Arc<Budget>) -> Self {
        let now = Instant::now();
        // Two tasks that start together have different ids, and so different chances.
        let seed = hash(dial.client_id.as_bytes()) ^ u64::from(std::process::id());
        Self {
            backoff: Backoff::new(broker.backoff.0, broker.backoff.1, seed),
            broker,
            dial,
            budget,
            link: None,
            server: 0,
            begun: now,
            accepted: None,
            away: now,
            flapping: Flapping::default(),
            too_large: None,
        }
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.dial.client_id
    }

    /// The server in use, or the last that was tried.
    pub(crate) fn server(&self) -> String {
        self.dial.server.to_string()
    }

    /// Tries each server once. May be dropped at any await.
    pub(crate) async fn connect(&mut self) -> Result<Welcome> {
        let mut last = None;
        for turn in 0..self.broker.servers.len() {
            let index = (self.server + turn) % self.broker.servers.len();
            self.dial.server = self.broker.servers[index].clone();
            match self.dial_once().await {
                Ok(link) => {
                    self.server = index;
                    self.accepted = Some(Instant::now());
                    let welcome = link.welcome;
                    self.link = Some(link);
                    return Ok(welcome);
                }
                Err(fault) if is_final(&fault) => return Err(self.refused(&fault)),
                Err(fault) => last = Some(fault),
            }
        }
        self.flapping.refused();
        Err(self.refused(&last.unwrap_or_else(|| Fault::away("mqtt.server.uri names no broker"))))
    }

    async fn dial_once(&mut self) -> std::result::Result<Link, Fault> {
        let outcome = self.dialled().await;
        match &outcome {
            Err(fault) if fault.kind == FaultKind::Version && self.takes_other_version() => {
                self.dial.version = Version::V3;
                self.dialled().await
            }
            _ => outcome,
        }
    }

    fn takes_other_version(&self) -> bool {
        self.broker.version.is_none() && self.dial.version == Version::V5
    }

    async fn dialled(&mut self) -> std::result::Result<Link, Fault> {
        let timeout = self.dial.timeout;
        let dialled = tokio::time::timeout(timeout, client::connect(&self.dial, Arc::clone(&self.budget))).await;
        dialled.unwrap_or_else(|_| {
            Err(Fault::away(format!("{} has not accepted the connection within {timeout:?}", self.dial.server)))
        })
    }

    /// What is between two ends of a line works again: the next failure waits shortly.
    pub(crate) fn works(&mut self) {
        self.backoff.succeeded();
        self.too_large = None;
    }

    /// The connection ended by itself.
    pub(crate) fn lost(&mut self, fault: &Fault) -> ConnectError {
        self.link = None;
        let now = Instant::now();
        let lived = self.accepted.take().map(|accepted| now - accepted);
        self.away = now;
        let early = match fault.kind {
            FaultKind::TakenOver => Some(Duration::ZERO),
            FaultKind::Away => lived,
            _ => None,
        };
        if let Some(lived) = early
            && self.flapping.ended(now - self.begun, lived)
        {
            return ConnectError::config(format!(
                "The broker has accepted and ended this connection 5 times in a row ({fault}): another client uses the \
                 client id {}. Give each its own mqtt.client.id, stop the other one, then restart the task.",
                self.dial.client_id
            ));
        }
        self.refused(fault)
    }

    fn refused(&mut self, fault: &Fault) -> ConnectError {
        let key = blamed(fault);
        match fault.kind {
            FaultKind::Credentials => ConnectError::config(format!(
                "{fault}. Correct mqtt.username and mqtt.password, or what the broker allows this user."
            )),
            FaultKind::ClientId => {
                ConnectError::config(format!("{fault}. Choose another {key} than {}.", self.dial.client_id))
            }
            FaultKind::Version => ConnectError::config(format!("{fault}. Set {key} to what the broker knows.")),
            FaultKind::TooLarge(size) if self.too_large.replace(size) == Some(size) => ConnectError::config(format!(
                "{fault} again and again, and {key} is {}: set it to at least {}.",
                self.dial.maximum_packet,
                size.next_power_of_two()
            )),
            FaultKind::Away | FaultKind::TakenOver | FaultKind::Tls(_) | FaultKind::TooLarge(_) => self.patient(fault),
        }
    }

    /// Worth another try, unless that has gone on for too long.
    fn patient(&mut self, fault: &Fault) -> ConnectError {
        if self.broker.retry_time.is_some_and(|limit| self.away.elapsed() > limit) {
            return ConnectError::fatal(format!(
                "{fault}. No broker was reached for {} ms (mqtt.connect.max.retry.time.ms); the next restart of the task goes \
                 on from there.",
                self.away.elapsed().as_millis()
            ));
        }
        ConnectError::retriable(fault.text.clone()).retry_after(self.backoff.next())
    }

    /// Has the broker forget the session.
    pub(crate) async fn give_up(&mut self) -> Result<()> {
        self.close().await;
        (self.dial.clean, self.dial.expiry_seconds) = (true, 0);
        self.connect().await?;
        self.close().await;
        Ok(())
    }

    /// Writes what was asked for, and leaves in peace.
    pub(crate) async fn close(&mut self) {
        self.accepted = None;
        if let Some(link) = self.link.take() {
            link.close().await;
        }
    }
}

/// No other server will say otherwise.
fn is_final(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::Credentials | FaultKind::ClientId | FaultKind::Version)
}
