//! The arithmetic of the memory budget: who is given what, and who waits for whom. Pure: no clock, no lock, no waiting.
//!
//! `mod.rs` puts a lock and the waiting around it. A task has a share that is its own from its start to its end: what its
//! Kafka clients may hold, and room for a batch. Whatever nobody owns is the pool, from which batches beyond a task's own
//! room are leased, first come first served.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pipette_api::TaskId;

/// A task that has come is given this part of what nobody owns yet, so that many later ones find something.
const PART: u64 = 8;
/// What a task's batches own, as a part of what its clients have, and at most.
const BATCHES: u64 = 8;
const MOST_FOR_BATCHES: u64 = 2 << 20;

/// What a task wants for its clients, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wants {
    /// It cannot work with less.
    pub least: u64,
    /// More is of no use to it.
    pub most: u64,
}

/// A task, as the shares know it: a name may come again while an earlier start is not gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member(u64);

/// A place in the queue for the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// What one task has and wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// Which task.
    pub id: TaskId,
    /// What its clients may hold.
    pub clients: u64,
    /// What its batches may hold without asking anybody.
    pub own: u64,
    /// What its batches hold.
    pub batches: u64,
    /// What its plugins keep beyond a batch, such as values of which parts are missing yet.
    pub kept: u64,
    /// What it waits for.
    pub waits_for: u64,
    /// What its connector may hold with all its tasks.
    cap: Option<u64>,
}

impl Holding {
    /// All that is kept from others.
    pub fn total(&self) -> u64 {
        self.clients + self.own.max(self.batches) + self.kept
    }

    /// What it takes from the pool. Nothing that plugins keep is in the task's own room: it may take further batches until
    /// they let go of it.
    fn pooled(&self) -> u64 {
        self.batches.saturating_sub(self.own) + self.kept
    }
}

struct Wait {
    ticket: Ticket,
    member: Member,
    bytes: u64,
}

/// Why a request is not granted yet.
enum Refusal {
    /// The pool has too little.
    Pool,
    /// The connector may not have more.
    Cap,
}

/// The shares of all tasks of a worker.
pub struct Shares {
    room: u64,
    members: BTreeMap<Member, Holding>,
    waiting: VecDeque<Wait>,
    granted: BTreeSet<Ticket>,
    next: u64,
}

impl Shares {
    /// So many bytes for all tasks together.
    pub fn new(room: u64) -> Self {
        Self { room, members: BTreeMap::new(), waiting: VecDeque::new(), granted: BTreeSet::new(), next: 0 }
    }

    /// So many bytes for all tasks together.
    pub fn room(&self) -> u64 {
        self.room
    }

    /// What tasks own.
    pub fn owned(&self) -> u64 {
        self.members.values().map(|holding| holding.clients + holding.own).sum()
    }

    /// What tasks own and hold beyond it.
    pub fn total(&self) -> u64 {
        self.members.values().map(Holding::total).sum()
    }

    /// Everybody's holdings.
    pub fn holdings(&self) -> impl Iterator<Item = &Holding> {
        self.members.values()
    }

    /// What one task has.
    pub fn holding(&self, member: Member) -> Option<&Holding> {
        self.members.get(&member)
    }

    /// A task comes. It is given what it cannot do without in any case: then the shares may be larger than the room.
    pub fn enter(&mut self, id: TaskId, cap: Option<u64>, wants: Wants) -> Member {
        let connector = self.of_connector(&id).map(|holding| holding.clients + holding.own).sum();
        let below_cap = cap.map_or(u64::MAX, |cap| cap.saturating_sub(connector) / 2);
        let clients = (self.room.saturating_sub(self.owned()) / PART).min(below_cap);
        let clients = clients.clamp(wants.least, wants.most.max(wants.least));
        let own = (clients / BATCHES).min(MOST_FOR_BATCHES);
        let member = Member(self.number());
        self.members.insert(member, Holding { id, clients, own, batches: 0, kept: 0, waits_for: 0, cap });
        member
    }

    /// The clients of a task may hold so many bytes more than was known when it came.
    pub fn add(&mut self, member: Member, bytes: u64) {
        if let Some(holding) = self.members.get_mut(&member) {
            holding.clients += bytes;
        }
    }

    /// A batch of the task is as large as this: it owns as much from here on, so that it gets on whatever others hold. Not
    /// more than a part of the room: larger ones have to wait until they are alone in the pool.
    pub fn own(&mut self, member: Member, batch: u64) {
        let most = self.room / PART;
        if let Some(holding) = self.members.get_mut(&member) {
            holding.own = holding.own.max(batch.min(most));
        }
        self.serve();
    }

    /// Asks for room for a batch. `None` when it is granted; else its place in the queue.
    pub fn ask(&mut self, member: Member, bytes: u64) -> Option<Ticket> {
        let queued = !self.fits_own(member, bytes) && self.pool_is_awaited();
        if !queued && self.refusal(member, bytes).is_none() {
            self.grow(member, bytes);
            return None;
        }
        let ticket = Ticket(self.number());
        self.waiting.push_back(Wait { ticket, member, bytes });
        self.note_wait(member, bytes);
        Some(ticket)
    }

    /// Takes room that lasts beyond a batch; false when there is none now. Nobody is overtaken who waits for the pool.
    pub fn keep(&mut self, member: Member, bytes: u64) -> bool {
        if self.pool_is_awaited() || self.refusal_of(member, bytes, false).is_some() {
            return false;
        }
        if let Some(holding) = self.members.get_mut(&member) {
            holding.kept += bytes;
        }
        true
    }

    /// Nothing of this is kept any more.
    pub fn let_go(&mut self, member: Member, bytes: u64) {
        if let Some(holding) = self.members.get_mut(&member) {
            holding.kept = holding.kept.saturating_sub(bytes);
        }
        self.serve();
    }

    /// True, once, when the request of this ticket has been granted.
    pub fn collect(&mut self, ticket: Ticket) -> bool {
        self.granted.remove(&ticket)
    }

    /// True when the request of this ticket is granted and not collected.
    pub fn is_granted(&self, ticket: Ticket) -> bool {
        self.granted.contains(&ticket)
    }

    /// Nobody waits for this any more.
    pub fn withdraw(&mut self, member: Member, ticket: Ticket, bytes: u64) {
        if self.granted.remove(&ticket) {
            self.give_back(member, bytes);
        } else {
            self.waiting.retain(|wait| wait.ticket != ticket);
            self.note_wait(member, 0);
            self.serve();
        }
    }

    /// A batch turned out larger: what is there is counted, whether there was room for it or not.
    pub fn grow(&mut self, member: Member, bytes: u64) {
        if let Some(holding) = self.members.get_mut(&member) {
            holding.batches += bytes;
        }
    }

    /// Memory of batches is free again.
    pub fn give_back(&mut self, member: Member, bytes: u64) {
        if let Some(holding) = self.members.get_mut(&member) {
            holding.batches = holding.batches.saturating_sub(bytes);
        }
        self.serve();
    }

    /// A task is gone, with all it had.
    pub fn leave(&mut self, member: Member) {
        self.members.remove(&member);
        self.waiting.retain(|wait| wait.member != member);
        self.serve();
    }

    /// Grants what can be granted. Who waits for the pool holds up those behind: else a large batch would wait for ever.
    /// Who waits for its own connector holds up nobody, and what fits into a task's own room waits for nobody.
    fn serve(&mut self) {
        let (mut at, mut held_up) = (0, false);
        while let Some(&Wait { ticket, member, bytes }) = self.waiting.get(at) {
            let refusal = self.refusal(member, bytes);
            if refusal.is_none() && (!held_up || self.fits_own(member, bytes)) {
                self.waiting.remove(at);
                self.grow(member, bytes);
                self.note_wait(member, 0);
                self.granted.insert(ticket);
            } else {
                held_up |= matches!(refusal, Some(Refusal::Pool));
                at += 1;
            }
        }
    }

    fn pool_is_awaited(&self) -> bool {
        let lacks_pool = |wait: &Wait| matches!(self.refusal(wait.member, wait.bytes), Some(Refusal::Pool));
        self.waiting.iter().any(lacks_pool)
    }

    fn fits_own(&self, member: Member, bytes: u64) -> bool {
        self.members.get(&member).is_none_or(|holding| holding.batches + bytes <= holding.own)
    }

    /// A task without any batch is granted the largest one as soon as it would be alone with it: there is nothing more to
    /// wait for.
    fn refusal(&self, member: Member, bytes: u64) -> Option<Refusal> {
        if self.fits_own(member, bytes) {
            return None;
        }
        let holding = self.members.get(&member)?;
        let beyond_own = |batches: u64| batches.saturating_sub(holding.own);
        let extra = beyond_own(holding.batches + bytes) - beyond_own(holding.batches);
        self.refusal_of(member, extra, holding.batches == 0)
    }

    /// Whether the pool, or the task's connector, lacks this much. To a task without a batch all is enough that others leave:
    /// what its own plugins keep may be waiting for just that batch.
    fn refusal_of(&self, member: Member, mut extra: u64, has_none: bool) -> Option<Refusal> {
        let holding = self.members.get(&member)?;
        let connector = || self.of_connector(&holding.id);
        if let Some(cap) = holding.cap {
            let most = cap.saturating_sub(connector().map(|one| one.clients + one.own).sum());
            let wanted = if has_none { extra.min(most) } else { extra };
            let own = if has_none { holding.kept } else { 0 };
            if connector().map(Holding::pooled).sum::<u64>() - own + wanted > most {
                return Some(Refusal::Cap);
            }
        }
        let pool = self.room.saturating_sub(self.owned());
        let mut taken: u64 = self.members.values().map(Holding::pooled).sum();
        if has_none {
            extra = extra.min(pool);
            taken -= holding.kept;
        }
        (taken + extra > pool).then_some(Refusal::Pool)
    }

    fn of_connector<'a>(&'a self, id: &'a TaskId) -> impl Iterator<Item = &'a Holding> {
        self.members.values().filter(|holding| holding.id.connector == id.connector)
    }

    fn note_wait(&mut self, member: Member, bytes: u64) {
        if let Some(holding) = self.members.get_mut(&member) {
            holding.waits_for = bytes;
        }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

#[cfg(test)]
#[path = "shares_tests.rs"]
mod tests;
