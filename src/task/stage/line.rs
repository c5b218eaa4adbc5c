//! All asynchronous steps of a chain, and the way of records through them: in order, also between the steps.
//!
//! Steps that compute run as a record leaves the asynchronous step before them, so that they see records in order. The
//! loops put records in, wait for something to land, and take out what has come through.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use pipette_api::Signal;

use super::flight::{Carries, Crew, Fate, Flight, Landed, Passenger};
use crate::task::chain::{Chain, Tried, Went};
use crate::task::guard::Guard;

/// The asynchronous steps of a task.
pub struct Line<T> {
    flights: Vec<Flight<T>>,
    /// Nothing comes out any more.
    closed: bool,
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { flights: Vec::new(), closed: false }
    }
}

impl<T: Carries> Line<T> {
    /// The steps of a chain that wait for something outside.
    pub fn new(chain: &Chain, crew: &Crew) -> Self {
        let flights = chain.laters().map(|(at, later)| Flight::new(at, later.clone(), crew.clone())).collect();
        Self { flights, closed: false }
    }

    /// True when there is any such step.
    pub fn has_steps(&self) -> bool {
        !self.flights.is_empty()
    }

    /// True when nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.flights.iter().all(Flight::is_empty)
    }

    /// True when what was put in last has found no room yet.
    pub fn is_full(&self) -> bool {
        self.flights.first().is_some_and(|first| first.door.is_some())
    }

    /// True when what is on its way is given up.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// What is on its way is given up: the next start reads it again.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Puts something in, behind everything else. Not while it is full.
    pub fn enter(&mut self, passenger: Passenger<T>) {
        match self.flights.first_mut() {
            Some(first) => first.door = Some(passenger),
            None => unreachable!("records wait only where a step does"),
        }
    }

    /// Resolves when there is something to move; may be asked again and again.
    pub async fn landed(&mut self) {
        poll_fn(|context| {
            let mut ready = false;
            let mut free = true;
            for flight in self.flights.iter_mut().rev() {
                // Every step is asked, so that each wakes whoever waits.
                ready |= flight.poll_front(context) && free;
                free = flight.door.is_none();
            }
            if ready && !self.closed { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Moves whatever can move, until something comes out; `None` when nothing moves any more.
    pub async fn next(&mut self, chain: &mut Chain, guard: &Guard, signal: &Signal) -> Option<Passenger<T>> {
        let last = self.flights.len().checked_sub(1)?;
        let mut moved = !self.closed;
        while std::mem::take(&mut moved) {
            // The last first: what leaves makes room for what follows.
            for index in (0..=last).rev() {
                let free = index == last || self.flights[index + 1].door.is_none();
                let landed = if free { self.flights[index].take_landed() } else { None };
                match landed {
                    None => {}
                    Some(Landed::Lost) => {
                        self.close();
                        return None;
                    }
                    Some(Landed::Passenger(mut passenger)) => {
                        onward(chain, &mut passenger, guard, signal).await;
                        if index == last {
                            return Some(passenger);
                        }
                        self.flights[index + 1].door = Some(passenger);
                        moved = true;
                    }
                }
                moved |= self.flights[index].admit(chain);
            }
        }
        None
    }

    /// Drops what is on its way, and tells the transformations that nothing follows. What takes longer is left to itself.
    pub async fn end(&mut self, time: Duration) {
        self.close();
        let ended = tokio::time::timeout(time, async {
            for flight in &mut self.flights {
                flight.cancel().await;
            }
            for flight in &mut self.flights {
                flight.stop().await;
            }
        });
        if ended.await.is_err() {
            tracing::warn!("A transformation did not stop in time; what it left outside stays there");
        }
    }
}

/// The steps that compute, up to the next one that waits.
async fn onward<T: Carries>(chain: &mut Chain, passenger: &mut Passenger<T>, guard: &Guard, signal: &Signal) {
    let Passenger { load, at, fate } = passenger;
    let Some(record) = load.record().filter(|_| matches!(fate, Fate::Going)) else { return };
    let went = match chain.apply(record, at) {
        Ok(went) => Tried::Went(went),
        Err(error) => chain.again(record, at, error, guard, signal).await,
    };
    match went {
        Tried::Went(Went::Through | Went::Waits) => {}
        Tried::Went(Went::Dropped) => *fate = Fate::Dropped,
        Tried::Failed(error) => *fate = Fate::Failed(error),
        Tried::Recalled => *fate = Fate::Recalled,
    }
}
