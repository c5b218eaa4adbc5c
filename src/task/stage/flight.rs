//! One asynchronous step at work: the records that are in it, in the order in which they came.
//!
//! Calls run on the runtime for shared clients, so that they get on whatever the task's own thread does. Records for which
//! there is nothing to do wait in the same order behind those that take their time. `line.rs` moves records from one
//! step to the next.

use std::any::Any;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use pipette_api::{ConnectError, Metrics, Position, Record, Result, Signal, SourcePlace, Verdict, Wish};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tracing::Instrument;

use crate::budget::{Lease, Share};
use crate::metrics::meters::StepMeters;
use crate::task::chain::{Chain, Later, named};
use crate::task::guard::Guard;
use crate::task::patience;
use crate::task::thread::panic_text;

/// Most records in one step, those included that wait behind others.
const MOST_WAITING: usize = 1024;

/// What is carried through the steps.
pub trait Carries: Send + 'static {
    /// The record, and where its source goes on behind it; none when it only keeps its place among the others.
    fn record_at(&mut self) -> Option<(&mut Record, Option<&Position>)>;

    /// The record alone.
    fn record(&mut self) -> Option<&mut Record> {
        self.record_at().map(|(record, _)| record)
    }

    /// About how many bytes of memory it holds.
    fn held(&self) -> u64;
}

/// Something on its way through the chain.
pub struct Passenger<T> {
    /// What it is.
    pub load: T,
    /// The step it stands before.
    pub at: usize,
    /// What became of it so far.
    pub fate: Fate,
}

/// What became of a record so far.
pub enum Fate {
    /// It goes on.
    Going,
    /// It is filtered.
    Dropped,
    /// It failed at the step it stands before, for good.
    Failed(ConnectError),
    /// The task is to stop: nobody knows yet what becomes of it.
    Recalled,
}

/// What every step of a task works with.
#[derive(Clone)]
pub struct Crew {
    /// The runtime for shared clients.
    pub io: Handle,
    /// Decides about retries.
    pub guard: Arc<Guard>,
    /// What is wanted of the task.
    pub signal: Signal,
    /// The task's memory.
    pub share: Share,
    /// Where it is shown what is on its way, and of which task.
    pub metrics: (Metrics, usize),
}

/// One step at work.
pub struct Flight<T> {
    later: Later,
    crew: Crew,
    /// Where it stands in the chain.
    at: usize,
    /// What has come and finds no room yet.
    pub door: Option<Passenger<T>>,
    slots: VecDeque<Slot<T>>,
    flying: usize,
    bytes: u64,
    meters: StepMeters,
}

struct Slot<T> {
    state: State<T>,
    bytes: u64,
    flew: bool,
    _lease: Lease,
}

enum State<T> {
    Flying(JoinHandle<Passenger<T>>),
    Landed(Passenger<T>),
    /// Its runtime has ended.
    Lost,
}

/// What came out of a step.
pub enum Landed<T> {
    /// The oldest of its records.
    Passenger(Passenger<T>),
    /// Its runtime has ended, and the record with it.
    Lost,
}

impl<T: Carries> Flight<T> {
    /// A step of the chain.
    pub fn new(at: usize, later: Later, crew: Crew) -> Self {
        let meters = StepMeters::new(&crew.metrics.0, crew.metrics.1, &later.alias);
        Self { later, crew, at, door: None, slots: VecDeque::new(), flying: 0, bytes: 0, meters }
    }

    /// True when nothing is in it or before it.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.door.is_none()
    }

    /// Lets in what stands at the door, if there is room; false when nothing has moved.
    pub fn admit(&mut self, chain: &Chain) -> bool {
        let Some(passenger) = &mut self.door else { return false };
        if self.slots.len() >= MOST_WAITING {
            return false;
        }
        let goes = matches!(passenger.fate, Fate::Going) && passenger.at == self.at;
        let needed = match passenger.load.record().filter(|_| goes) {
            Some(record) if chain.waits_for(self.at, record) => Some(self.later.transform.holds(record)),
            _ => None,
        };
        let bytes = needed.unwrap_or_else(|| passenger.load.held());
        let alone = self.slots.is_empty();
        let fits = self.bytes + bytes <= self.later.most_bytes && (needed.is_none() || self.flying < self.later.most);
        if !alone && !fits {
            return false;
        }
        // Memory for what outlives its batch. The only one in the step always has it, so that the task gets on.
        let lease = match self.crew.share.lease_now(bytes) {
            None if alone => self.crew.share.overdraw(bytes),
            None => return false,
            Some(lease) => lease,
        };
        let Some(mut passenger) = self.door.take() else { return false };
        let flew = needed.is_some();
        let state = if flew {
            self.flying += 1;
            let position = passenger.load.record_at().and_then(|(_, position)| position);
            let ordinal = position.map_or(0, |position| self.later.transform.ordinal(position));
            let call = fly(passenger, ordinal, self.later.clone(), self.crew.clone());
            State::Flying(self.crew.io.spawn(call.in_current_span()))
        } else {
            passenger.at += usize::from(goes);
            State::Landed(passenger)
        };
        self.bytes += bytes;
        self.slots.push_back(Slot { state, bytes, flew, _lease: lease });
        self.meters.show(self.slots.len(), self.bytes);
        true
    }

    /// Whether the oldest has landed.
    pub fn poll_front(&mut self, context: &mut Context<'_>) -> bool {
        let Some(slot) = self.slots.front_mut() else { return false };
        if let State::Flying(call) = &mut slot.state {
            match pin!(call).poll(context) {
                Poll::Pending => return false,
                Poll::Ready(Ok(passenger)) => slot.state = State::Landed(passenger),
                Poll::Ready(Err(_)) => slot.state = State::Lost,
            }
        }
        true
    }

    /// Takes the oldest out once it has landed.
    pub fn take_landed(&mut self) -> Option<Landed<T>> {
        if !self.poll_front(&mut Context::from_waker(std::task::Waker::noop())) {
            return None;
        }
        let slot = self.slots.pop_front()?;
        self.bytes -= slot.bytes;
        self.flying -= usize::from(slot.flew);
        self.meters.show(self.slots.len(), self.bytes);
        match slot.state {
            State::Landed(passenger) => Some(Landed::Passenger(passenger)),
            State::Lost => Some(Landed::Lost),
            State::Flying(_) => unreachable!("it has landed"),
        }
    }

    /// Drops every call, and waits until they are gone.
    pub async fn cancel(&mut self) {
        self.door = None;
        let calls: Vec<_> = std::mem::take(&mut self.slots).into_iter().map(|slot| slot.state).collect();
        (self.flying, self.bytes) = (0, 0);
        self.meters.show(0, 0);
        let calls = calls.into_iter().filter_map(|state| match state {
            State::Flying(call) => Some(call),
            State::Landed(_) | State::Lost => None,
        });
        let calls: Vec<_> = calls.inspect(JoinHandle::abort).collect();
        for call in calls {
            let _ = call.await;
        }
    }

    /// Tells the transformation that no call follows, after they have all ended.
    pub async fn stop(&mut self) {
        let transform = Arc::clone(&self.later.transform);
        let stopping = self.crew.io.spawn(async move { transform.stop().await }.in_current_span());
        if stopping.await.is_err() {
            tracing::warn!(transformation = &*self.later.alias, "The transformation did not stop in order");
        }
    }
}

/// A task that ends without order, by a panic, leaves no call behind.
impl<T> Drop for Flight<T> {
    fn drop(&mut self) {
        for slot in &self.slots {
            if let State::Flying(call) = &slot.state {
                call.abort();
            }
        }
    }
}

/// One record in a step, again and again as `errors.retry.*` say.
async fn fly<T: Carries>(mut passenger: Passenger<T>, ordinal: u64, later: Later, crew: Crew) -> Passenger<T> {
    let (mut attempt, began) = (1, Instant::now());
    passenger.fate = loop {
        let Some((record, position)) = passenger.load.record_at() else { break Fate::Going };
        let place = position.map(|position| SourcePlace { position, ordinal });
        let error = match caught(later.transform.apply_at(record, place)).await {
            Ok(Verdict::Keep) => break Fate::Going,
            Ok(Verdict::Drop) => break Fate::Dropped,
            Err(error) => named(&later.alias, error),
        };
        match crew.guard.retry(&error, attempt, began) {
            None => break Fate::Failed(error),
            Some(_) if crew.signal.wish() == Wish::Stop => break Fate::Recalled,
            Some(wait) => patience::wait(&crew.signal, wait).await,
        }
        attempt += 1;
    };
    if matches!(passenger.fate, Fate::Going) {
        passenger.at += 1;
    }
    passenger
}

/// A panic of the plugin as an error (Law 7): the record it was about is at hand then.
async fn caught(call: impl Future<Output = Result<Verdict>>) -> Result<Verdict> {
    let mut call = pin!(call);
    let panicked = |panic: Box<dyn Any + Send>| {
        Poll::Ready(Err(ConnectError::fatal(format!("the plugin panicked: {}", panic_text(&*panic)))))
    };
    poll_fn(|context| catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context))).unwrap_or_else(panicked)).await
}
