//! The sink loop with records that wait for something outside: those of one batch wait together, and are put in order.
//!
//! Meanwhile the task stays in its group: partitions that are taken away take their records with them.

use pipette_api::{ConnectError, Position, Record, SinkRecord, SinkTask, TopicPartition, Wish};

use super::flight::{Carries, Fate, Passenger};
use crate::kafka::consumer::{ConsumerCommand, ConsumerEvent};
use crate::task::report::Failure;
use crate::task::sink::SinkLoop;

/// Batches that may gather meanwhile before the consumer is told to hold.
const BACKLOG: usize = 2;

impl Carries for SinkRecord {
    fn record_at(&mut self) -> Option<(&mut Record, Option<&Position>)> {
        Some((&mut self.record, None))
    }

    fn held(&self) -> u64 {
        self.record.held()
    }
}

/// A batch while its records wait.
#[derive(Default)]
pub struct Waiting {
    /// What has come through, in order.
    pub records: Vec<SinkRecord>,
    /// Partitions that were taken away or sent back meanwhile.
    pub gone: Vec<TopicPartition>,
    held: bool,
}

impl Waiting {
    /// Room for a batch of so many.
    pub fn of(records: usize) -> Self {
        Self { records: Vec::with_capacity(records), ..Self::default() }
    }
}

impl SinkLoop {
    /// A record that cannot go straight on.
    pub(in crate::task) async fn board(
        &mut self,
        task: &mut dyn SinkTask,
        waiting: &mut Waiting,
        record: SinkRecord,
        at: usize,
    ) -> Result<(), Failure> {
        self.line.enter(Passenger { load: record, at, fate: Fate::Going });
        self.let_out(waiting).await?;
        while self.line.is_full() && !self.is_recalled() {
            self.await_landing(task, waiting).await?;
        }
        Ok(())
    }

    /// Waits for all of them.
    pub(in crate::task) async fn gather(
        &mut self,
        task: &mut dyn SinkTask,
        waiting: &mut Waiting,
    ) -> Result<(), Failure> {
        while !self.line.is_empty() && !self.is_recalled() {
            self.await_landing(task, waiting).await?;
        }
        if waiting.held {
            self.go_on();
        }
        if !waiting.gone.is_empty() {
            waiting.records.retain(|record| !waiting.gone.contains(&record.origin.tp));
        }
        Ok(())
    }

    /// Whether the batch under way is given up: it is read again next time.
    pub(in crate::task) fn is_recalled(&self) -> bool {
        self.signal.wish() == Wish::Stop || self.line.is_closed()
    }

    async fn await_landing(&mut self, task: &mut dyn SinkTask, waiting: &mut Waiting) -> Result<(), Failure> {
        tokio::select! {
            () = self.line.landed() => self.let_out(waiting).await?,
            () = self.signal.until(|wish| wish == Wish::Stop) => {}
            event = self.consumer.events.recv() => match event {
                Some(ConsumerEvent::Records(batch)) => {
                    self.backlog.push_back(batch);
                    if self.backlog.len() >= BACKLOG && !std::mem::replace(&mut waiting.held, true) {
                        self.tell(ConsumerCommand::Hold);
                    }
                }
                Some(event) => {
                    let gone = self.rebalance(task, event).await?;
                    self.leave_out(&gone);
                    waiting.gone.extend(gone);
                }
                None => return Err(Failure::new("consume", ConnectError::fatal("The consumer thread has ended"))),
            },
        }
        Ok(())
    }

    async fn let_out(&mut self, waiting: &mut Waiting) -> Result<(), Failure> {
        while let Some(passenger) = self.line.next(&mut self.chain, &self.guard, &self.signal).await {
            let Passenger { load, at, fate } = passenger;
            match fate {
                Fate::Going => waiting.records.push(load),
                Fate::Dropped => {}
                Fate::Recalled => self.line.close(),
                Fate::Failed(_) if waiting.gone.contains(&load.origin.tp) => {}
                Fate::Failed(error) => {
                    let (stage, class) = (self.chain.stage(at), self.chain.class(at));
                    Box::pin(self.bad(stage, class, &load.origin, error)).await?;
                }
            }
        }
        Ok(())
    }
}
