//! The source loop with records that wait for something outside: they leave in the order in which they came, across
//! batches, and everything else that a batch holds keeps its place among them.

use std::time::Duration;

use pipette_api::{Boundary, ConnectError, Position, Record, SourceEntry, SourceRecord, Wish};
use tokio::time::Instant;

use super::flight::{Carries, Fate, Passenger};
use crate::task::chain::Went;
use crate::task::outbox::Unsent;
use crate::task::pulse::Call;
use crate::task::raw_input::Input;
use crate::task::report::Failure;
use crate::task::source::{BESIDE, Due, SourceLoop, due};

/// What a source sends through the steps that wait.
pub enum Load {
    /// A record, and its batch.
    Record(u64, SourceRecord),
    /// Something else of a batch.
    Entry(u64, SourceEntry),
    /// The end of a batch; an empty one has no number.
    End(Option<u64>, Boundary),
}

impl Carries for Load {
    fn record_at(&mut self) -> Option<(&mut Record, Option<&Position>)> {
        match self {
            Self::Record(_, source) => Some((&mut source.record, source.position.as_ref())),
            Self::Entry(..) | Self::End(..) => None,
        }
    }

    fn held(&self) -> u64 {
        match self {
            Self::Record(_, source) => source.record.held(),
            Self::Entry(_, SourceEntry::Encoded(record, _)) => {
                let value = match &record.value {
                    Some(pipette_api::Body::Bytes(bytes)) => bytes.len() as u64,
                    Some(pipette_api::Body::Payload(_)) | None => 0,
                };
                BESIDE + value
            }
            Self::Entry(..) | Self::End(..) => BESIDE,
        }
    }
}

impl SourceLoop {
    /// A record that cannot go straight on: a step that waits comes next, or something that came before is in one.
    pub(in crate::task) async fn board_record(
        &mut self,
        batch: u64,
        source: SourceRecord,
        at: usize,
        went: Result<Went, ConnectError>,
    ) -> Result<(), Unsent> {
        let waits = matches!(went, Ok(Went::Waits));
        let fate = match went {
            Ok(Went::Through | Went::Waits) => Fate::Going,
            Ok(Went::Dropped) => Fate::Dropped,
            Err(error) => Fate::Failed(error),
        };
        let passenger = Passenger { load: Load::Record(batch, source), at, fate };
        if waits || !self.line.is_empty() { self.enter(passenger).await } else { self.arrived(passenger).await }
    }

    /// Something that keeps its place behind what came before.
    pub(in crate::task) async fn board(&mut self, load: Load) -> Result<(), Unsent> {
        self.enter(Passenger { load, at: 0, fate: Fate::Going }).await
    }

    /// Waits until there is room; what has landed meanwhile is let out.
    async fn enter(&mut self, passenger: Passenger<Load>) -> Result<(), Unsent> {
        self.batch_bytes += passenger.load.held();
        self.line.enter(passenger);
        loop {
            self.let_out().await?;
            if !self.line.is_full() {
                return Ok(());
            }
            let due = tokio::select! {
                due = due(&self.outbox, &mut self.line) => due,
                () = self.signal.until(|wish| wish == Wish::Stop) => return Err(Unsent::Recalled),
            };
            self.tend(due).await?;
            if self.line.is_closed() {
                return Err(Unsent::Recalled);
            }
        }
    }

    /// Sends on what has come through. After an error nothing follows: what is behind is read again.
    pub(in crate::task) async fn let_out(&mut self) -> Result<(), Unsent> {
        while let Some(passenger) = self.line.next(&mut self.chain, &self.guard, &self.signal).await {
            if let Err(unsent) = self.arrived(passenger).await {
                self.line.close();
                return Err(unsent);
            }
        }
        if self.line.is_closed() { Err(Unsent::Recalled) } else { Ok(()) }
    }

    async fn arrived(&mut self, passenger: Passenger<Load>) -> Result<(), Unsent> {
        let Passenger { load, at, fate } = passenger;
        match (load, fate) {
            (_, Fate::Recalled) => Err(Unsent::Recalled),
            (Load::Record(batch, source), Fate::Going) => self.deliver(batch, source.record, source.position).await,
            (Load::Record(batch, source), Fate::Dropped) => {
                self.outbox.settled(batch, source.position.into());
                Ok(())
            }
            (Load::Record(batch, source), Fate::Failed(error)) => {
                let bad = (self.chain.stage(at), self.chain.class(at), error);
                Box::pin(self.bad(batch, source.position.into(), bad, &Input::Record(&source.record))).await
            }
            (Load::Entry(batch, entry), _) => self.entry(batch, entry).await,
            (Load::End(batch, boundary), _) => {
                if let Some(batch) = batch {
                    self.outbox.close(batch);
                }
                Ok(self.outbox.batch_ends(boundary).await?)
            }
        }
    }

    /// Waits for what is on its way, for `time` at most and as long as the same is wanted of the task.
    pub(in crate::task) async fn fly_out(&mut self, time: Duration) -> Result<(), Failure> {
        let (until, wish) = (Instant::now() + time, self.signal.wish());
        while !self.line.is_empty() && !self.line.is_closed() {
            match self.let_out().await {
                Ok(()) if self.line.is_empty() => return Ok(()),
                Ok(()) => {}
                Err(Unsent::Recalled) => return Ok(()),
                Err(Unsent::Failed(failure)) => return Err(failure),
            }
            let due = tokio::select! {
                due = due(&self.outbox, &mut self.line) => due,
                () = self.signal.until(|now| now != wish) => return Ok(()),
                () = tokio::time::sleep_until(until) => return Ok(()),
            };
            match due {
                // A transaction is committed as a whole, by whoever drains the outbox next; asking again at once would
                // keep the thread busy, because what is wanted back commits none whose dead letters are on their way.
                Due::Commit if self.outbox.is_transactional() => self.line_only(until, wish).await,
                due => self.tend(due).await?,
            }
        }
        Ok(())
    }

    /// Waits for something to land and for nothing else but the end of the wait and of the wish.
    async fn line_only(&mut self, until: Instant, wish: Wish) {
        tokio::select! {
            () = self.line.landed() => {}
            () = self.signal.until(|now| now != wish) => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }

    /// The end of polling: what is on its way is waited for, unless the task has failed; the rest is dropped, and read
    /// again by the next start.
    pub(in crate::task) async fn land(&mut self, ended: Result<(), Failure>) -> Result<(), Failure> {
        let ended = match ended {
            Ok(()) if !self.outbox.is_given_up() => Box::pin(self.fly_out(self.drain_timeout / 2)).await,
            ended => ended,
        };
        if self.line.has_steps() {
            let (pulse, time) = (std::sync::Arc::clone(&self.pulse), self.drain_timeout / 4);
            pulse.during(Call::Stop, self.line.end(time)).await;
        }
        ended
    }
}
