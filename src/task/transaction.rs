//! The transactions of a source task: records, and the offsets they lead to, become visible together or not at all.
//!
//! `outbox.rs` sends and asks here when to commit. A task that was fenced, or whose transaction failed, ends: nothing of
//! what it had open counts, and its next start goes on from the last committed offsets.

use std::sync::Arc;
use std::time::Duration;

use pipette_api::{Boundary, ConnectError, ErrorKind, Result, Signal, Wish};
use tokio::time::Instant;

use super::spec::{Transactions, Until};
use crate::kafka::producer::{Delivered, Outgoing, ROWS, Sent, TaskProducer};
use crate::kafka::transactions::fence;
use crate::store::OffsetEntry;
use crate::store::stores::Chosen;

/// A time that no clock of a task reaches.
const NEVER: Duration = Duration::from_hours(24 * 365);
/// How long a full queue is left alone.
const FULL: Duration = Duration::from_millis(5);
/// How long a commit may go on once the task is wanted back.
const LAST_CHANCE: Duration = Duration::from_secs(2);

/// What a transaction is at a moment, and how it goes on.
pub struct Transaction {
    how: Transactions,
    connector: Arc<str>,
    offsets: Chosen,
    signal: Signal,
    open: bool,
    due: Instant,
}

/// What is to be done behind a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: the transaction goes on.
    GoOn,
    /// It is committed.
    Commit,
    /// Its records are dropped; the offsets are stored, so that the source moves on.
    Drop,
}

impl Transaction {
    /// Of a task of this connector; nothing is open.
    pub fn new(how: Transactions, connector: Arc<str>, offsets: Chosen, signal: Signal) -> Self {
        let due = Instant::now() + how.until.interval().unwrap_or(NEVER);
        Self { how, connector, offsets, signal, open: false, due }
    }

    /// Takes over from earlier starts, which write no more from here on, and learns what they have committed.
    pub async fn take_over(&mut self, producer: &TaskProducer) -> Result<()> {
        producer.init_transactions().await?;
        while let Some(stale) = self.how.stale.last() {
            fence(stale).await?;
            self.how.stale.pop();
        }
        self.offsets.main.refresh().await
    }

    /// When a commit is due by time.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// True when the connector says where transactions end, and nobody else.
    pub fn is_the_connectors(&self) -> bool {
        self.how.until == Until::Connector
    }

    /// What is to be done behind a batch that ends like this.
    pub fn behind(&self, boundary: Boundary) -> Verdict {
        match (&self.how.until, boundary) {
            (Until::Poll, _) | (Until::Connector, Boundary::Commit) => Verdict::Commit,
            (Until::Interval(_), _) if Instant::now() >= self.due => Verdict::Commit,
            (Until::Connector, Boundary::Abort) => Verdict::Drop,
            (Until::Interval(_), _) | (Until::Connector, Boundary::Continue) => Verdict::GoOn,
        }
    }

    /// What is sent to the topic from here on belongs to the transaction, which begins unless it is open.
    pub fn include(&mut self, producer: &TaskProducer, topic: &str) -> Result<()> {
        if topic == self.offsets.main.name() {
            return Err(ConnectError::config(format!(
                "A record for topic {topic} is refused: the offsets of exactly-once sources are kept there. Change the \
                 connector's topic, or offset.storage.topic of the worker"
            )));
        }
        self.begin(producer)
    }

    fn begin(&mut self, producer: &TaskProducer) -> Result<()> {
        if !self.open {
            producer.begin_transaction()?;
            self.open = true;
        }
        Ok(())
    }

    /// Commits what is open together with the offsets. False when the task was wanted back before Kafka had confirmed:
    /// then nobody knows, and the next start finds out. Without records and offsets there is no transaction.
    /// What was delivered is in `delivered`.
    pub async fn commit(
        &mut self,
        producer: &TaskProducer,
        offsets: Vec<OffsetEntry>,
        delivered: &mut Delivered,
    ) -> Result<bool> {
        if let Some(interval) = self.how.until.interval() {
            self.due = Instant::now() + interval;
        }
        if offsets.is_empty() && !self.open {
            return Ok(true);
        }
        self.offsets.before(&self.connector, &offsets).await?;
        self.begin(producer)?;
        let rows = self.offsets.main.rows(&self.connector, &offsets);
        for ((_, (key, value)), number) in rows.iter().zip(ROWS..) {
            let record = Outgoing {
                topic: self.offsets.main.name(),
                partition: None,
                key: Some(key),
                value: value.as_deref(),
                headers: &Vec::new(),
                timestamp: None,
            };
            while let Sent::Full = producer.send(&record, number)? {
                producer.nudge();
                tokio::time::sleep(FULL).await;
                if self.signal.is_given_up() {
                    return Ok(false);
                }
            }
        }
        let confirmed = self.confirmed(producer).await?;
        self.open = false;
        if !confirmed {
            return Ok(false);
        }
        producer.take(delivered);
        // Kafka has them all; the thread that says where may be a little behind.
        let said = async {
            while delivered.rows.len() < rows.len() {
                producer.delivered().await;
                let mut more = Delivered::default();
                producer.take(&mut more);
                delivered.done.append(&mut more.done);
                delivered.rows.append(&mut more.rows);
            }
        };
        if tokio::time::timeout(LAST_CHANCE, said).await.is_err() {
            self.offsets.main.refresh().await?;
        } else {
            delivered.rows.sort_unstable_by_key(|(row, _)| *row);
            let places: Vec<_> = delivered.rows.iter().map(|(_, place)| *place).collect();
            self.offsets.main.note(&self.connector, &offsets, &rows, &places);
        }
        self.offsets.after(&self.connector, &offsets).await;
        Ok(true)
    }

    async fn confirmed(&self, producer: &TaskProducer) -> Result<bool> {
        let mut last_chance = None;
        loop {
            match producer.commit_transaction().await {
                Ok(()) => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Retriable => {
                    let reason = producer.last_error();
                    tracing::warn!(error = error.chain(), reason, "A transaction is not committed yet; trying again");
                }
                Err(error) => return Err(caused(producer, error)),
            }
            if self.signal.wish() == Wish::Stop {
                let end = *last_chance.get_or_insert_with(|| Instant::now() + LAST_CHANCE);
                if self.signal.is_given_up() || Instant::now() >= end {
                    tracing::warn!("Stopped before Kafka had confirmed the last transaction; the next start finds out");
                    return Ok(false);
                }
            }
        }
    }

    /// Drops the records of the open transaction, if there is one.
    pub async fn abort(&mut self, producer: &TaskProducer) -> Result<()> {
        if std::mem::take(&mut self.open) {
            producer.abort_transaction().await?;
            // What was still on its way counts as failed; it was to be dropped.
            producer.take(&mut Delivered::default());
        }
        Ok(())
    }
}

/// A transaction fails with one of its records, which knows better why.
fn caused(producer: &TaskProducer, error: ConnectError) -> ConnectError {
    let mut delivered = Delivered::default();
    producer.take(&mut delivered);
    match delivered.failed.into_iter().next() {
        Some(refused) if producer.fatal().is_none() => error.because(refused.error),
        _ => error,
    }
}
