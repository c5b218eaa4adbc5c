//! The memory budget of the worker (`memory.budget.bytes`): every task leases from it what its batches hold.
//!
//! `shares.rs` decides; this waits, tells who holds how much, and gives back what is dropped. `task/thread.rs` lets tasks
//! in; the loops of `task/` and the consumer thread of `kafka/` lease per batch. What clients hold is derived from a
//! task's share in `kafka/sizes.rs`.

mod room;
pub mod shares;

use std::fmt::Write as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pipette_api::{Metric, TaskId};
use tokio::sync::Notify;

use self::shares::{Holding, Member, Shares, Ticket, Wants};

/// What the program itself takes, with REST and everything that no task asks for. A small budget leaves half to it.
const PROGRAM: u64 = 20 << 20;
/// A wait that takes so long is told.
const LONG: Duration = Duration::from_secs(10);
/// Nor is it told more often than this.
const SELDOM: Duration = Duration::from_mins(1);
/// How many tasks a log line names.
const NAMED: usize = 4;

/// The memory of a worker. One per worker; cheap to share.
pub struct Budget {
    bytes: u64,
    books: Mutex<Books>,
    /// For tasks.
    granted: Notify,
    /// For threads.
    freed: Condvar,
}

struct Books {
    shares: Shares,
    overdraft: Overdraft,
    told: Option<Instant>,
}

/// What was told of shares that are larger than the room: how large they were, and when.
#[derive(Default)]
struct Overdraft(Option<(u64, Instant)>);

impl Overdraft {
    /// Tasks that come and grow are told of again after a while; at once only when it is far worse than was said. So a
    /// thousand tasks that come at once are a handful of warnings, and one that comes and goes is one in a minute.
    fn is_news(&mut self, owned: u64, now: Instant) -> bool {
        let is_news = self.0.is_none_or(|(said, at)| owned >= said + said / 2 || now.duration_since(at) >= SELDOM);
        if is_news {
            self.0 = Some((owned, now));
        }
        is_news
    }
}

/// What dashboards are told of one task.
#[derive(Debug, Clone, Default)]
pub struct Meters {
    /// What the task keeps from others.
    pub held: Metric,
    /// How often it had to wait.
    pub waits: Metric,
}

/// What a budget leaves to tasks.
pub fn room_of(bytes: u64) -> u64 {
    bytes - PROGRAM.min(bytes / 2)
}

impl Budget {
    /// A budget for the whole program.
    pub fn new(bytes: u64) -> Arc<Self> {
        let books =
            Mutex::new(Books { shares: Shares::new(room_of(bytes)), overdraft: Overdraft::default(), told: None });
        Arc::new(Self { bytes, books, granted: Notify::new(), freed: Condvar::new() })
    }

    /// Lets a task in; it keeps its share until the last clone and the last lease are dropped. `keys` are what makes the
    /// share of such a task large.
    pub fn enter(self: &Arc<Self>, id: TaskId, cap: Option<u64>, wants: Wants, keys: &str, meters: Meters) -> Share {
        let mut books = self.books();
        let member = books.shares.enter(id, cap, wants);
        let share = Share(Arc::new(Entered { budget: Arc::clone(self), member, meters }));
        share.0.show(&books);
        self.tell_overdraft(&mut books, keys);
        drop(books);
        share
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When shares that have just grown are larger than the room, and that is news.
    fn tell_overdraft(&self, books: &mut Books, keys: &str) {
        let (owned, room) = (books.shares.owned(), books.shares.room());
        if owned > room && books.overdraft.is_news(owned, Instant::now()) {
            tracing::warn!(
                "The tasks need {} of memory for their queues, and memory.budget.bytes={} leaves {}: {}. Raise it, or \
                 lower what makes queues large ({keys})",
                mib(owned),
                self.bytes,
                mib(room),
                culprits(&books.shares)
            );
        }
    }

    fn tell_long_wait(&self, member: Member) {
        let mut books = self.books();
        if books.told.is_some_and(|told| told.elapsed() < SELDOM) {
            return;
        }
        let Some(one) = books.shares.holding(member) else { return };
        tracing::warn!(
            "{} waits for {} of memory for its next batch. Of {} for all tasks: {}. Memory is free again when slow sinks \
             and brokers go on; else raise memory.budget.bytes, or cap a connector with memory.max.bytes",
            one.id,
            mib(one.waits_for),
            mib(books.shares.room()),
            culprits(&books.shares)
        );
        books.told = Some(Instant::now());
    }

    fn after(&self) {
        self.granted.notify_waiters();
        self.freed.notify_all();
    }
}

/// The largest holdings, for people.
fn culprits(shares: &Shares) -> String {
    let mut all: Vec<&Holding> = shares.holdings().collect();
    all.sort_by_key(|one| std::cmp::Reverse(one.total()));
    let mut text = String::new();
    for one in all.iter().take(NAMED) {
        let comma = if text.is_empty() { "" } else { ", " };
        let batches = mib(one.batches);
        let _ = write!(text, "{comma}{} holds {} (batches {batches})", one.id, mib(one.total()));
    }
    if all.len() > NAMED {
        let _ = write!(text, ", {} more", all.len() - NAMED);
    }
    text
}

fn mib(bytes: u64) -> String {
    let tenths = bytes * 10 / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// A task in the budget.
#[derive(Clone)]
pub struct Share(Arc<Entered>);

struct Entered {
    budget: Arc<Budget>,
    member: Member,
    meters: Meters,
}

impl Entered {
    fn show(&self, books: &Books) {
        let total = books.shares.holding(self.member).map_or(0, Holding::total);
        self.meters.held.set(i64::try_from(total).unwrap_or(i64::MAX));
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut books = self.budget.books();
        books.shares.leave(self.member);
        self.show(&books);
        drop(books);
        self.budget.after();
    }
}

impl Share {
    /// A share of a budget of its own, for tests of what needs one.
    #[cfg(test)]
    pub(crate) fn ample(connector: &str) -> Self {
        let id = TaskId { connector: connector.into(), task: 0 };
        let wants = Wants { least: 16 << 20, most: 16 << 20 };
        Budget::new(128 << 20).enter(id, None, wants, "", Meters::default())
    }

    /// What the clients of the task may hold.
    pub fn clients(&self) -> u64 {
        self.0.budget.books().shares.holding(self.0.member).map_or(0, |one| one.clients)
    }

    /// What batches may hold without asking anybody.
    pub fn own(&self) -> u64 {
        self.0.budget.books().shares.holding(self.0.member).map_or(0, |one| one.own)
    }

    /// Batches of the task are as large as this: it owns room for one, so that it gets on whatever others hold.
    pub fn needs(&self, batch: u64, keys: &str) {
        let mut books = self.0.budget.books();
        if books.shares.holding(self.0.member).is_some_and(|one| one.own >= batch) {
            return;
        }
        books.shares.own(self.0.member, batch);
        self.0.show(&books);
        self.0.budget.tell_overdraft(&mut books, keys);
        drop(books);
        self.0.budget.after();
    }

    /// Clients hold more than was known when the task came, because of these keys.
    pub fn add_clients(&self, bytes: u64, keys: &str) {
        let mut books = self.0.budget.books();
        books.shares.add(self.0.member, bytes);
        self.0.show(&books);
        self.0.budget.tell_overdraft(&mut books, keys);
    }

    /// Room at once, or not at all.
    pub fn lease_now(&self, bytes: u64) -> Option<Lease> {
        let mut books = self.0.budget.books();
        let Some(ticket) = books.shares.ask(self.0.member, bytes) else {
            self.0.show(&books);
            return Some(Lease { entered: Arc::clone(&self.0), bytes });
        };
        books.shares.withdraw(self.0.member, ticket, bytes);
        None
    }

    /// Room at once that lasts beyond a batch, or none. It leaves the task its own room, so that the batches still come
    /// without which what is kept would never be let go.
    pub fn keep(&self, bytes: u64) -> Option<Keep> {
        let mut books = self.0.budget.books();
        let kept = books.shares.keep(self.0.member, bytes);
        self.0.show(&books);
        kept.then(|| Keep { entered: Arc::clone(&self.0), bytes })
    }

    /// Room for what is there already, whoever else holds how much.
    pub fn overdraw(&self, bytes: u64) -> Lease {
        let mut lease = Lease { entered: Arc::clone(&self.0), bytes: 0 };
        lease.settle(bytes);
        lease
    }

    /// Asks for room for a batch. Dropping the request withdraws it.
    pub fn ask(&self, bytes: u64) -> Asked {
        let mut books = self.0.budget.books();
        let ticket = books.shares.ask(self.0.member, bytes);
        self.0.show(&books);
        drop(books);
        if ticket.is_some() {
            self.0.meters.waits.add(1);
        }
        Asked { entered: Arc::clone(&self.0), bytes, ticket, since: None, told: false, leased: false }
    }
}

/// A request for room that may have to wait.
pub struct Asked {
    entered: Arc<Entered>,
    bytes: u64,
    ticket: Option<Ticket>,
    since: Option<Instant>,
    told: bool,
    leased: bool,
}

impl Asked {
    /// Waits until there is room.
    pub async fn granted(mut self) -> Lease {
        let entered = Arc::clone(&self.entered);
        loop {
            let freed = entered.budget.granted.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            match self.look() {
                Ok(lease) => return lease,
                Err(back) => self = back,
            }
            if tokio::time::timeout(LONG, freed).await.is_err() {
                self.complain();
            }
        }
    }

    /// The lease when there is room within that time; the request, which keeps its place, when not. Blocks the thread.
    pub fn within(mut self, wait: Duration) -> Result<Lease, Self> {
        let until = Instant::now() + wait;
        loop {
            match self.look() {
                Ok(lease) => return Ok(lease),
                Err(back) => self = back,
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.complain();
                return Err(self);
            }
            let budget = &self.entered.budget;
            let books = budget.books();
            if self.ticket.is_some_and(|ticket| books.shares.is_granted(ticket)) {
                continue;
            }
            drop(budget.freed.wait_timeout(books, left));
        }
    }

    fn look(mut self) -> Result<Lease, Self> {
        if let Some(ticket) = self.ticket {
            let mut books = self.entered.budget.books();
            if !books.shares.collect(ticket) {
                drop(books);
                self.since.get_or_insert_with(Instant::now);
                return Err(self);
            }
            self.entered.show(&books);
        }
        self.leased = true;
        Ok(Lease { entered: Arc::clone(&self.entered), bytes: self.bytes })
    }

    fn complain(&mut self) {
        if !self.told && self.since.is_some_and(|since| since.elapsed() >= LONG) {
            self.told = true;
            self.entered.budget.tell_long_wait(self.entered.member);
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if self.leased {
            return;
        }
        let mut books = self.entered.budget.books();
        match self.ticket {
            Some(ticket) => books.shares.withdraw(self.entered.member, ticket, self.bytes),
            None => books.shares.give_back(self.entered.member, self.bytes),
        }
        self.entered.show(&books);
        drop(books);
        self.entered.budget.after();
    }
}

/// Room for a batch, until it is dropped.
pub struct Lease {
    entered: Arc<Entered>,
    bytes: u64,
}

impl Lease {
    /// What the batch holds in the end: the rest is given back, or what is more is counted.
    pub fn settle(&mut self, bytes: u64) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        let mut books = self.entered.budget.books();
        if bytes > before {
            books.shares.grow(self.entered.member, bytes - before);
        } else if bytes < before {
            books.shares.give_back(self.entered.member, before - bytes);
        }
        self.entered.show(&books);
        drop(books);
        if bytes < before {
            self.entered.budget.after();
        }
    }

    /// How much it is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.settle(0);
    }
}

/// Room for what a plugin keeps, until it is dropped.
pub struct Keep {
    entered: Arc<Entered>,
    bytes: u64,
}

impl Drop for Keep {
    fn drop(&mut self) {
        let mut books = self.entered.budget.books();
        books.shares.let_go(self.entered.member, self.bytes);
        self.entered.show(&books);
        drop(books);
        self.entered.budget.after();
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lease({})", self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTS: Wants = Wants { least: 8 << 20, most: 8 << 20 };

    fn enter(budget: &Arc<Budget>, name: &str) -> Share {
        budget.enter(TaskId { connector: name.into(), task: 0 }, None, WANTS, "x", Meters::default())
    }

    /// 32 MiB for tasks, half of it shared by two.
    fn two() -> [Share; 2] {
        let budget = Budget::new(52 << 20);
        ["a", "b"].map(|name| enter(&budget, name))
    }

    #[tokio::test]
    async fn a_task_waits_until_another_gives_back() {
        let [a, b] = two();
        let held = a.ask(17 << 20).granted().await;
        let mut waiting = Box::pin(b.ask(2 << 20).granted());
        assert!(tokio::time::timeout(Duration::from_millis(20), &mut waiting).await.is_err());
        drop(held);
        assert_eq!(waiting.await.bytes(), 2 << 20);
        assert_eq!(b.0.meters.waits.get(), 1);
    }

    #[test]
    fn a_thread_waits_and_keeps_its_place() {
        let [a, b] = two();
        let Ok(held) = a.ask(17 << 20).within(Duration::ZERO) else { panic!("there is room") };
        let Err(asked) = b.ask(2 << 20).within(Duration::from_millis(5)) else { panic!("there is none") };
        let freeing = std::thread::spawn(move || drop(held));
        let lease = asked.within(Duration::from_secs(10));
        freeing.join().unwrap();
        assert!(lease.is_ok());
    }

    #[test]
    fn an_overdraft_is_told_again_when_it_is_much_worse_or_later() {
        let (mut overdraft, start) = (Overdraft::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(overdraft.is_news(100, at(0)));
        assert!(!overdraft.is_news(149, at(1)), "a little more");
        assert!(overdraft.is_news(150, at(2)), "half as much again");
        assert!(!overdraft.is_news(150, at(61)));
        assert!(overdraft.is_news(110, at(62)), "other tasks, after a while");
        let told = (1..=1_000).filter(|tasks| overdraft.is_news(110 + tasks, at(63))).count();
        assert!((3..8).contains(&told), "{told} warnings for a thousand tasks");
    }

    #[test]
    fn everything_comes_back() {
        let [a, b] = two();
        let budget = Arc::clone(&a.0.budget);
        let mut lease = a.ask(1 << 20).within(Duration::ZERO).unwrap_or_else(|_| panic!("room"));
        lease.settle(20 << 20);
        assert_eq!(a.0.meters.held.get(), 28 << 20, "what is there is counted");
        let asked = b.ask(5 << 20);
        lease.settle(1 << 20);
        drop(asked);
        assert_eq!(b.0.meters.held.get(), 9 << 20, "a request that nobody collects is withdrawn");
        drop((a, b));
        assert_eq!(budget.books().shares.total(), 9 << 20, "a lease keeps its task's share");
        drop(lease);
        assert_eq!(budget.books().shares.total(), 0);
    }
}
