//! Transactions: the node's part in them. Who owns a transactional id, what a transaction has touched, how it ends.
//!
//! An end takes three steps, so that a crash between any two of them changes nothing about the outcome: the decision is
//! in the journal (`end_transaction` and the others that decide), then the markers are in the logs (`write_markers`),
//! then the journal says that it has ended and the offsets are committed (`finish`). `crate::server` walks through the
//! steps and waits for the disk between them. The rules are in `crate::transaction`, requests in `crate::api::transactions`.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kafka_protocol::ResponseError;

use crate::node::Node;
use crate::storage::Refused;
use crate::storage::batch::Header;
use crate::storage::catalogue::{Event, Offsets};
use crate::storage::log::Receipt;
use crate::storage::marker::Outcome;
use crate::storage::transactions::{Identity, Pending, State, Transaction};
use crate::transaction::{self, End, Start};

/// In bytes: with the number of ids this bounds the memory for them.
const LONGEST_ID: usize = 1_000;

/// A transaction whose markers are written, and what has to be durable before it may be said to have ended.
#[derive(Debug)]
pub(crate) struct Marked {
    id: String,
    receipts: Vec<(String, i32, Receipt)>,
}

impl Node {
    /// Makes a producer the one and only of its transactional id; None if it has to ask again when the transaction that
    /// is now ending has ended.
    pub(crate) fn start_transactions(
        &mut self,
        id: &str,
        timeout_ms: i32,
        claims: Option<Identity>,
    ) -> Result<Option<Identity>, Refused> {
        self.check_start(id, timeout_ms)?;
        let fenced = |code| Refused::new(code, format!("the transactional id {id} has a newer producer"));
        let (owner, before) = match transaction::start(self.transaction(id), claims).map_err(fenced)? {
            Start::Again(owner) => return Ok(Some(owner)),
            Start::Wait => return Ok(None),
            Start::Abort { epoch } => {
                tracing::info!(transactional_id = id, "Aborting what the previous producer had open");
                self.decide(id, epoch, Outcome::Aborted)?;
                return Ok(None);
            }
            Start::NewId { before } => (Identity { producer_id: self.take_producer_id()?, epoch: 0 }, before),
            Start::Owner { owner, before } => (owner, before),
        };
        let (id, used_ms) = (id.to_owned(), now_ms());
        self.change(Event::TransactionalId { id, owner, before, timeout_ms, used_ms, ended: None })?;
        Ok(Some(owner))
    }

    fn check_start(&self, id: &str, timeout_ms: i32) -> Result<(), Refused> {
        if id.is_empty() {
            return Err(Refused::new(ResponseError::InvalidRequest, "the transactional id is empty"));
        }
        if id.len() > LONGEST_ID {
            let why = format!("a transactional id of {} bytes; at most {LONGEST_ID} are possible", id.len());
            return Err(Refused::new(ResponseError::InvalidRequest, why));
        }
        let longest = self.config.max_transaction_timeout;
        let asked = u64::try_from(timeout_ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis);
        if asked.is_none_or(|asked| asked > longest) {
            let why = format!("transaction.timeout.ms={timeout_ms}: 1 to {} are possible", longest.as_millis());
            return Err(Refused::new(ResponseError::InvalidTransactionTimeout, why));
        }
        let limit = self.config.max_transactional_ids;
        if self.catalogue.transactions.len() >= limit && self.transaction(id).is_none() {
            let why =
                format!("{limit} transactional ids are known, which is the most; unused ones are forgotten in time");
            return Err(Refused::new(ResponseError::PolicyViolation, why));
        }
        Ok(())
    }

    fn transaction(&self, id: &str) -> Option<&Transaction> {
        self.catalogue.transactions.get(id)
    }

    /// Lets the producer's transaction reach to these partitions, which must exist; begins it if need be.
    pub(crate) fn add_partitions(
        &mut self,
        id: &str,
        who: Identity,
        mut partitions: Vec<(String, i32)>,
    ) -> Result<(), ResponseError> {
        let work = transaction::may_grow(self.transaction(id), who)?;
        if let Some(work) = work {
            partitions.retain(|partition| !work.partitions.contains(partition));
            if partitions.is_empty() {
                return Ok(());
            }
        }
        self.grow(id, partitions, Vec::new())
    }

    /// Begins the producer's transaction if need be: offsets are about to be added to it.
    pub(crate) fn expect_offsets(&mut self, id: &str, who: Identity) -> Result<(), ResponseError> {
        match transaction::may_grow(self.transaction(id), who)? {
            Some(_) => Ok(()),
            None => self.grow(id, Vec::new(), Vec::new()),
        }
    }

    /// Keeps offsets until the producer's transaction, which must be open, commits.
    pub(crate) fn hold_offsets(&mut self, id: &str, who: Identity, offsets: Vec<Pending>) -> Result<(), ResponseError> {
        transaction::must_be_open(self.transaction(id), who)?;
        if offsets.is_empty() {
            return Ok(());
        }
        self.grow(id, Vec::new(), offsets)
    }

    fn grow(&mut self, id: &str, partitions: Vec<(String, i32)>, offsets: Vec<Pending>) -> Result<(), ResponseError> {
        let grew = Event::TransactionGrew { id: id.to_owned(), since_ms: now_ms(), partitions, offsets };
        // A code that every client tries again.
        self.change(grew).map_err(|_| ResponseError::CoordinatorNotAvailable)
    }

    /// Whether a producer's batch may go into the partition: what is transactional belongs to an open transaction that
    /// was told of the partition, so that no late request can leave a record behind that nothing ends.
    pub(crate) fn check_part(
        &self,
        id: Option<&str>,
        header: &Header,
        topic: &str,
        partition: i32,
    ) -> Result<(), Refused> {
        let refuse = |why: String| Err(Refused::new(ResponseError::InvalidTxnState, why));
        let id = match id {
            None if header.is_transactional() => {
                return refuse("a transactional batch without a transactional id".into());
            }
            None => return Ok(()),
            Some(_) if !header.is_transactional() => {
                return refuse("a transactional producer sent a batch that is in no transaction".into());
            }
            Some(id) => id,
        };
        let who = Identity { producer_id: header.producer_id, epoch: header.producer_epoch };
        let work = transaction::must_be_open(self.transaction(id), who).map_err(|code| match code {
            // Produce has no other code for it.
            ResponseError::ProducerFenced => Refused::new(
                ResponseError::InvalidProducerEpoch,
                format!("the transactional id {id} has a newer producer"),
            ),
            code => Refused::new(code, format!("this producer has no open transaction as {id}")),
        })?;
        if work.partitions.contains(&(topic.to_owned(), partition)) {
            return Ok(());
        }
        refuse(format!("{topic}-{partition} was not added to the transaction of {id}"))
    }

    /// Decides how the producer's transaction ends. When this works, wait until `is_ending` says no.
    pub(crate) fn end_transaction(&mut self, id: &str, who: Identity, outcome: Outcome) -> Result<(), ResponseError> {
        match transaction::end(self.transaction(id), who, outcome)? {
            End::Wait | End::Done => Ok(()),
            End::Decide => self.decide(id, who.epoch, outcome).map_err(|_| ResponseError::CoordinatorNotAvailable),
        }
    }

    fn decide(&mut self, id: &str, epoch: i16, outcome: Outcome) -> Result<(), Refused> {
        self.change(Event::TransactionEnding { id: id.to_owned(), epoch, outcome })
    }

    pub(crate) fn is_ending(&self, id: &str) -> bool {
        self.transaction(id).is_some_and(|transaction| matches!(transaction.state, State::Ending(..)))
    }

    /// The transactions that are decided. Their markers may be written once the journal is durable up to here.
    pub(crate) fn ending(&self) -> Vec<String> {
        self.catalogue.transactions.keys().filter(|id| self.is_ending(id)).cloned().collect()
    }

    /// Writes the markers that are missing; what a full disk leaves out stays for the next time.
    pub(crate) fn write_markers(&mut self, ids: Vec<String>) -> Vec<Marked> {
        ids.into_iter().filter_map(|id| self.mark(id)).collect()
    }

    fn mark(&mut self, id: String) -> Option<Marked> {
        let Transaction { owner, state: State::Ending(work, outcome), .. } = self.transaction(&id)? else {
            return None;
        };
        let (owner, outcome, now_ms) = (*owner, *outcome, now_ms());
        let partitions: Vec<(String, i32)> = work.partitions.iter().cloned().collect();
        let mut receipts = Vec::new();
        for (topic, partition) in partitions {
            // A topic that is gone needs no marker.
            let Ok(log) = self.log_mut(&topic, partition) else { continue };
            match log.end_transaction(owner.producer_id, owner.epoch, outcome, now_ms) {
                Ok(receipt) => receipts.extend(receipt.map(|receipt| (topic, partition, receipt))),
                Err(refused) => {
                    tracing::error!(
                        transactional_id = id,
                        topic,
                        partition,
                        why = refused.why,
                        "Cannot write the end of a transaction yet"
                    );
                    return None;
                }
            }
        }
        Some(Marked { id, receipts })
    }

    /// Ends the transactions whose markers are durable. What is not stays for the next time.
    pub(crate) fn finish(&mut self, marked: Vec<Marked>) {
        for Marked { id, receipts } in marked {
            let durable =
                |(topic, partition, receipt): &(String, i32, Receipt)| self.is_durable(topic, *partition, receipt);
            if receipts.iter().all(durable) {
                // Refused by a full disk it has not ended, which is logged; the decision stands and is tried again.
                let _ = self.change(Event::TransactionEnded { id, at_ms: now_ms() });
            }
        }
    }

    /// Aborts transactions that take too long. Their producers are fenced.
    pub(crate) fn abort_overdue(&mut self, now_ms: i64) {
        let overdue: Vec<(String, Identity)> = self
            .catalogue
            .transactions
            .iter()
            .filter(|(_, transaction)| transaction::is_overdue(transaction, now_ms))
            .map(|(id, transaction)| (id.clone(), transaction.owner))
            .collect();
        for (id, owner) in overdue {
            tracing::warn!(
                transactional_id = id,
                "A transaction took longer than its producer's transaction.timeout.ms; \
                aborting it"
            );
            if self.decide(&id, transaction::fencing_epoch(owner), Outcome::Aborted).is_err() {
                return;
            }
        }
    }

    /// Forgets transactional ids that nobody has used for long.
    pub(crate) fn forget_unused_ids(&mut self, now_ms: i64) {
        let silence = i64::try_from(self.config.transactional_id_expiration.as_millis()).unwrap_or(i64::MAX);
        let is_unused = |transaction: &Transaction| {
            transaction.work().is_none() && now_ms.saturating_sub(transaction.used_ms) >= silence
        };
        let unused: Vec<String> = self
            .catalogue
            .transactions
            .iter()
            .filter(|(_, transaction)| is_unused(transaction))
            .map(|(id, _)| id.clone())
            .collect();
        for id in unused {
            if self.change(Event::TransactionalIdForgotten { id }).is_err() {
                return;
            }
        }
    }

    /// Partitions of the group whose committed offset an undecided or unfinished transaction may change.
    pub(crate) fn unstable_offsets(&self, group: &str) -> BTreeSet<(String, i32)> {
        let works = self.catalogue.transactions.values().filter_map(Transaction::work);
        let offsets = works.filter_map(|work| work.offsets.get(group));
        offsets.flat_map(Offsets::keys).cloned().collect()
    }

    /// After a start: a log can hold an open transaction that the journal knows nothing of, if a power cut took the end
    /// of the journal and not that of the log. It can never commit as a whole, so it is aborted as a whole.
    pub(crate) fn abort_orphans(&mut self) -> Result<(), Refused> {
        let by_producer: HashMap<i64, String> =
            self.catalogue.transactions.iter().map(|(id, known)| (known.owner.producer_id, id.clone())).collect();
        for (topic, partition, producer_id) in self.open_in_logs() {
            let id = by_producer.get(&producer_id);
            let known = id.and_then(|id| self.transaction(id).map(|transaction| (id, transaction)));
            let work = known.and_then(|(_, transaction)| transaction.work());
            if work.is_some_and(|work| work.partitions.contains(&(topic.clone(), partition))) {
                continue;
            }
            tracing::warn!(topic, partition, producer_id, "Aborting a transaction that the journal does not know");
            if let Some((id, Transaction { owner, state: State::Open(_), .. })) = known {
                let epoch = transaction::fencing_epoch(*owner);
                self.decide(id, epoch, Outcome::Aborted)?;
            }
            let Ok(log) = self.log_mut(&topic, partition) else { continue };
            let epoch = log.producer_epoch(producer_id).unwrap_or(0);
            log.end_transaction(producer_id, epoch, Outcome::Aborted, now_ms())?;
        }
        Ok(())
    }

    /// Time has passed; whether a transaction is now to be ended.
    pub(crate) fn tick_transactions(&mut self, now: Instant) -> bool {
        /// Transactions that take too long are looked for this often.
        const CHECK: Duration = Duration::from_millis(500);
        /// What is no longer used is forgotten this often.
        const SWEEP: Duration = Duration::from_mins(1);
        if now.saturating_duration_since(self.checked) < CHECK {
            return false;
        }
        self.checked = now;
        self.abort_overdue(now_ms());
        if now.saturating_duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.forget_unused_ids(now_ms());
            self.expire_producers(now);
        }
        self.catalogue.transactions.values().any(|known| matches!(known.state, State::Ending(..)))
    }
}

/// The wall clock, in the protocol's unit.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "coordinator_tests.rs"]
mod tests;
