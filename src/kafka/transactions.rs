//! Transactions of a task's producer. Each call into librdkafka blocks for a second at most, on a thread of the pool,
//! and is called again while it says that this helps: so a task that is wanted back notices in time.
//!
//! `task/transaction.rs` decides when; `producer.rs` sends.

use std::sync::Arc;
use std::time::Duration;

use pipette_api::{ConnectError, ErrorKind, Result, async_trait};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::types::RDKafkaErrorCode;

use super::producer::{Deliveries, Librdkafka, Outgoing, Sent, TaskProducer, Wire};
use super::properties::ClientProperties;
use super::sys::flush;

/// How long one call may take.
const STEP: Duration = Duration::from_secs(1);
/// Attempts to abort: what is not aborted is when its time is over, or when the next start of the task fences it.
const ABORTS: u32 = 3;

type Client = BaseProducer<Deliveries>;

impl TaskProducer {
    /// Makes this the one producer of its transactional id: earlier ones can write no more, and what they left open is
    /// ended. A retriable error asks to be called again.
    pub async fn init_transactions(&self) -> Result<()> {
        self.wire.init_transactions().await
    }

    /// What is sent from here on becomes visible together. Kafka is not asked.
    pub fn begin_transaction(&self) -> Result<()> {
        self.wire.begin_transaction()
    }

    /// Sends what waits and commits. A retriable error asks to be called again; after any other nothing was committed.
    pub async fn commit_transaction(&self) -> Result<()> {
        self.wire.commit_transaction().await
    }

    /// Drops everything since the transaction began.
    pub async fn abort_transaction(&self) -> Result<()> {
        self.wire.abort_transaction().await
    }

    /// Why this producer is of no use any more, if it is not.
    pub fn fatal(&self) -> Option<ConnectError> {
        self.wire.fatal()
    }
}

#[async_trait]
impl Wire for Librdkafka {
    fn nudge(&self) {
        Self::nudge(self);
    }

    fn send(&self, record: &Outgoing<'_>, number: u64) -> Result<Sent> {
        Self::send(self, record, number)
    }

    fn deliveries(&self) -> &Deliveries {
        self.producer.context()
    }

    fn fatal(&self) -> Option<ConnectError> {
        Self::fatal(self)
    }

    async fn init_transactions(&self) -> Result<()> {
        self.call("start transactions", |client| client.init_transactions(STEP)).await
    }

    fn begin_transaction(&self) -> Result<()> {
        self.producer.begin_transaction().map_err(|error| self.unfinished("begin a transaction", &error))
    }

    async fn commit_transaction(&self) -> Result<()> {
        self.call("commit a transaction", |client| {
            // rdkafka's own flush looks ten times a second only.
            flush(client.client().native_ptr(), STEP);
            client.commit_transaction(STEP)
        })
        .await
    }

    async fn abort_transaction(&self) -> Result<()> {
        // What is delivered belongs to the transaction for Kafka too. Without, the abort may come while Kafka still ends the
        // transaction before, and has not taken the partitions of this one: it refuses that, and librdkafka gives up.
        let mut attempt = 1;
        while attempt < ABORTS && self.call("deliver what is to be dropped", deliver).await.is_err() {
            attempt += 1;
        }
        loop {
            match self.call("abort a transaction", |client| client.abort_transaction(STEP)).await {
                Err(error) if error.kind() == ErrorKind::Retriable && attempt < ABORTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }
}

impl Librdkafka {
    async fn call(&self, what: &str, call: fn(&Client) -> KafkaResult<()>) -> Result<()> {
        let client = Arc::clone(&self.producer);
        match tokio::task::spawn_blocking(move || call(&client)).await {
            Ok(called) => called.map_err(|error| self.unfinished(what, &error)),
            Err(error) => Err(ConnectError::fatal(format!("Cannot {what}: it was cut short")).because(error)),
        }
    }

    fn unfinished(&self, what: &str, error: &KafkaError) -> ConnectError {
        let id = self.transactional_id.as_deref().unwrap_or_default();
        let text = format!("Cannot {what} of {id}: {error}");
        match error {
            KafkaError::Flush(_) => ConnectError::retriable(text),
            KafkaError::Transaction(cause) if cause.is_retriable() => ConnectError::retriable(text),
            _ => fenced(error.rdkafka_error_code(), id).unwrap_or_else(|| ConnectError::fatal(text)),
        }
    }

    pub(super) fn fatal(&self) -> Option<ConnectError> {
        let id = self.transactional_id.as_deref().unwrap_or_default();
        let (code, reason) = self.producer.client().fatal_error()?;
        Some(fenced(Some(code), id).unwrap_or_else(|| ConnectError::fatal(reason)))
    }
}

/// Ends whatever the last producer of these properties' transactional id has open, and lets it write no more.
pub async fn fence(properties: &ClientProperties) -> Result<()> {
    TaskProducer::start(properties)?.init_transactions().await
}

fn deliver(client: &Client) -> KafkaResult<()> {
    flush(client.client().native_ptr(), STEP);
    match client.in_flight_count() {
        0 => Ok(()),
        _ => Err(KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut)),
    }
}

fn fenced(code: Option<RDKafkaErrorCode>, id: &str) -> Option<ConnectError> {
    let code = code.filter(|code| {
        matches!(
            code,
            RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch
        )
    })?;
    Some(ConnectError::fatal(format!(
        "Kafka takes nothing more from this task ({code}): a newer start of it uses its transactional id {id}, or its \
         transaction was open for longer than transaction.timeout.ms. Nothing of the open transaction counts. If the \
         task does not run elsewhere, restart it; two workers must not share a group.id"
    )))
}
