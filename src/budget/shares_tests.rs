//! What the shares promise, one by one and with random sequences.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

const MIB: u64 = 1 << 20;
const USUAL: Wants = Wants { least: MIB, most: 12 * MIB };

fn id(connector: &str, task: usize) -> TaskId {
    TaskId { connector: Arc::from(connector), task }
}

fn share(shares: &Shares, member: Member) -> u64 {
    shares.holding(member).unwrap().clients
}

#[test]
fn many_tasks_fit_although_the_first_ones_got_more() {
    let mut shares = Shares::new(112 * MIB);
    let members: Vec<Member> = (0..25).map(|task| shares.enter(id("c", task), None, USUAL)).collect();
    assert_eq!(share(&shares, members[0]), 12 * MIB);
    let last = share(&shares, members[24]);
    assert!((MIB..2 * MIB).contains(&last), "{last}");
    assert!(shares.owned() <= shares.room() * 21 / 20, "{}", shares.owned());
}

#[test]
fn a_task_is_never_refused_its_least() {
    let mut shares = Shares::new(4 * MIB);
    let members: Vec<Member> = (0..6).map(|task| shares.enter(id("c", task), None, USUAL)).collect();
    assert!(members.iter().all(|member| share(&shares, *member) >= MIB));
    assert!(shares.owned() > shares.room(), "which is to be seen");
}

#[test]
fn own_room_is_granted_whoever_waits_and_the_pool_goes_by_turns() {
    let mut shares = Shares::new(17 * MIB + MIB / 2);
    let wants = Wants { least: 4 * MIB, most: 4 * MIB };
    let [greedy, next, last] = ["greedy", "next", "last"].map(|name| shares.enter(id(name, 0), None, wants));
    let own = shares.holding(next).unwrap().own;
    assert_eq!(shares.ask(greedy, own + 4 * MIB), None, "the whole pool");
    let more = shares.ask(greedy, MIB).expect("there is no more");
    let large = shares.ask(next, 3 * MIB).expect("it waits for the pool");
    assert_eq!(shares.ask(last, own), None, "its own room");
    let small = shares.ask(last, MIB).expect("behind the others");
    shares.withdraw(greedy, more, MIB);
    shares.give_back(greedy, 2 * MIB);
    assert!(!shares.collect(large) && !shares.collect(small), "too little for the first, and not the second's turn");
    shares.give_back(greedy, 2 * MIB);
    assert!(shares.collect(large) && shares.collect(small));
}

#[test]
fn a_batch_larger_than_everything_is_granted_alone() {
    let mut shares = Shares::new(8 * MIB);
    let wants = Wants { least: 2 * MIB, most: 2 * MIB };
    let [one, two] = ["one", "two"].map(|name| shares.enter(id(name, 0), None, wants));
    assert_eq!(shares.ask(one, MIB), None);
    let huge = shares.ask(two, 100 * MIB).expect("somebody uses the pool");
    shares.give_back(one, MIB);
    assert!(shares.collect(huge));
    let after = shares.ask(one, MIB).expect("nobody beside it");
    shares.give_back(two, 100 * MIB);
    assert!(shares.collect(after));
}

#[test]
fn a_cap_holds_up_its_connector_only() {
    let mut shares = Shares::new(64 * MIB);
    let wants = Wants { least: MIB, most: 2 * MIB };
    let capped = shares.enter(id("capped", 0), Some(8 * MIB), wants);
    let second = shares.enter(id("capped", 1), Some(8 * MIB), wants);
    let free = shares.enter(id("free", 0), None, wants);
    assert_eq!(shares.ask(capped, 4 * MIB), None);
    let ticket = shares.ask(second, 2 * MIB).expect("the connector has enough");
    assert_eq!(shares.ask(free, 30 * MIB), None, "others do not wait for it");
    let total: u64 = shares.holdings().filter(|one| &*one.id.connector == "capped").map(Holding::total).sum();
    assert!(total <= 9 * MIB, "its own room is beside the cap: {total}");
    shares.give_back(capped, 4 * MIB);
    assert!(shares.collect(ticket));
    shares.give_back(second, 2 * MIB);
    shares.give_back(free, 30 * MIB);
    assert_eq!(shares.ask(second, 40 * MIB), None, "a batch larger than the cap is granted alone");
}

#[test]
fn a_task_owns_room_for_a_batch_of_its_records() {
    let mut shares = Shares::new(64 * MIB);
    let [one, two] = ["one", "two"].map(|name| shares.enter(id(name, 0), None, USUAL));
    assert_eq!(shares.ask(one, 60 * MIB), None, "alone with the pool");
    let waits = shares.ask(two, 4 * MIB).expect("more than its own");
    shares.own(two, 4 * MIB);
    assert!(shares.collect(waits));
    shares.own(two, 40 * MIB);
    assert_eq!(shares.holding(two).unwrap().own, 8 * MIB, "not everything can be owned");
}

#[test]
fn what_is_given_up_goes_to_the_next() {
    let mut shares = Shares::new(8 * MIB);
    let wants = Wants { least: 2 * MIB, most: 2 * MIB };
    let [one, two, three] = ["one", "two", "three"].map(|name| shares.enter(id(name, 0), None, wants));
    assert_eq!(shares.ask(one, 2 * MIB), None);
    let [given_up, next] = [two, three].map(|member| shares.ask(member, 2 * MIB).unwrap());
    shares.give_back(one, 2 * MIB);
    assert!(!shares.collect(next), "it is granted to the first");
    shares.withdraw(two, given_up, 2 * MIB);
    assert!(shares.collect(next));
    for member in [one, two, three] {
        shares.leave(member);
    }
    assert_eq!((shares.total(), shares.waiting.len(), shares.granted.len()), (0, 0, 0));
}

/// Whoever waits for a value to be complete gets on, whatever others want: what is missing comes with its next batch.
#[test]
fn what_plugins_keep_takes_nothing_from_the_room_for_batches() {
    let mut shares = Shares::new(32 * MIB);
    let wants = Wants { least: 8 * MIB, most: 8 * MIB };
    let [sink, source] = ["sink", "source"].map(|name| shares.enter(id(name, 0), None, wants));
    let own = shares.holding(sink).unwrap().own;
    assert!(shares.keep(sink, 10 * MIB));
    let large = shares.ask(source, 30 * MIB).expect("the sink keeps a part of the pool");
    assert!(!shares.keep(sink, MIB), "nobody is overtaken");
    assert_eq!(shares.ask(sink, own), None, "its own room");
    shares.give_back(sink, own);
    let larger = shares.ask(sink, own + MIB).expect("behind the source");
    shares.withdraw(sink, larger, own + MIB);
    shares.let_go(sink, 10 * MIB);
    assert!(shares.collect(large));
    assert_eq!(shares.holding(sink).unwrap().total(), 8 * MIB + own);
}

#[test]
fn a_batch_larger_than_its_own_room_comes_to_whoever_keeps_something() {
    let mut shares = Shares::new(32 * MIB);
    let one = shares.enter(id("one", 0), None, Wants { least: 8 * MIB, most: 8 * MIB });
    assert!(shares.keep(one, 20 * MIB));
    assert_eq!(shares.ask(one, 30 * MIB), None, "nobody else has anything");
    assert!(shares.ask(one, 2 * MIB).is_some(), "one at a time");
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Enter(u8, Option<u64>, u64),
    Ask(usize, u64),
    GiveBack(usize),
    Withdraw(usize),
    Add(usize, u64),
    Leave(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0..64_usize;
    prop_oneof![
        2 => (0..4_u8, proptest::option::of(1..60_u64), 1..20_u64).prop_map(|(name, cap, least)| Step::Enter(name, cap, least)),
        8 => (which.clone(), 1..40_u64).prop_map(|(member, bytes)| Step::Ask(member, bytes)),
        6 => which.clone().prop_map(Step::GiveBack),
        2 => which.clone().prop_map(Step::Withdraw),
        1 => (which.clone(), 1..10_u64).prop_map(|(member, bytes)| Step::Add(member, bytes)),
        1 => which.prop_map(Step::Leave),
    ]
}

/// Shares, and what their users know.
struct World {
    shares: Shares,
    members: Vec<Member>,
    leases: Vec<(Member, u64)>,
    waits: Vec<(Member, Ticket, u64)>,
}

impl World {
    fn take(&mut self, step: Step) {
        let member = |world: &Self, at: usize| world.members.get(at % world.members.len().max(1)).copied();
        match step {
            Step::Enter(name, cap, least) => {
                let wants = Wants { least, most: least * 2 };
                self.members.push(self.shares.enter(id(&format!("c{name}"), self.members.len()), cap, wants));
            }
            Step::Ask(at, bytes) => {
                if let Some(member) = member(self, at) {
                    let held = self.shares.holding(member).unwrap().clone();
                    match self.shares.ask(member, bytes) {
                        None => self.leases.push((member, bytes)),
                        Some(ticket) => {
                            assert!(held.batches + bytes > held.own, "own room was refused: {held:?} {bytes}");
                            self.waits.push((member, ticket, bytes));
                        }
                    }
                }
            }
            Step::GiveBack(at) => {
                if !self.leases.is_empty() {
                    let (member, bytes) = self.leases.swap_remove(at % self.leases.len());
                    self.shares.give_back(member, bytes);
                }
            }
            Step::Withdraw(at) => {
                if !self.waits.is_empty() {
                    let (member, ticket, bytes) = self.waits.swap_remove(at % self.waits.len());
                    self.shares.withdraw(member, ticket, bytes);
                }
            }
            Step::Add(at, bytes) => {
                if let Some(member) = member(self, at) {
                    self.shares.add(member, bytes);
                }
            }
            Step::Leave(at) => {
                if let Some(member) = member(self, at) {
                    self.shares.leave(member);
                    self.members.retain(|one| *one != member);
                    self.leases.retain(|lease| lease.0 != member);
                    self.waits.retain(|wait| wait.0 != member);
                }
            }
        }
        self.collect();
    }

    fn collect(&mut self) {
        let (shares, leases) = (&mut self.shares, &mut self.leases);
        self.waits.retain(|&(member, ticket, bytes)| {
            let granted = shares.collect(ticket);
            if granted {
                leases.push((member, bytes));
            }
            !granted
        });
    }
}

proptest! {
    /// What is held is what was granted; the pool is not given out twice, unless to one task that is alone with it.
    #[test]
    fn nothing_is_given_out_twice(room in 1..200_u64, steps in proptest::collection::vec(step(), 1..80)) {
        let mut world = World { shares: Shares::new(room), members: vec![], leases: vec![], waits: vec![] };
        for step in steps {
            let shrinks = matches!(step, Step::Enter(..) | Step::Add(..));
            let before: u64 = world.shares.holdings().map(Holding::pooled).sum();
            world.take(step);
            for member in &world.members {
                let held: u64 = world.leases.iter().filter(|lease| lease.0 == *member).map(|lease| lease.1).sum();
                prop_assert_eq!(world.shares.holding(*member).unwrap().batches, held);
            }
            let pool = room.saturating_sub(world.shares.owned());
            let pooled: Vec<u64> = world.shares.holdings().map(Holding::pooled).filter(|taken| *taken > 0).collect();
            let taken: u64 = pooled.iter().sum();
            prop_assert!(taken <= pool || pooled.len() == 1 || shrinks || taken <= before, "{:?} of {}", pooled, pool);
        }
    }

    /// Whatever happened before: when batches end, everybody who waits is served.
    #[test]
    fn nobody_waits_for_ever(room in 1..200_u64, steps in proptest::collection::vec(step(), 1..80)) {
        let mut world = World { shares: Shares::new(room), members: vec![], leases: vec![], waits: vec![] };
        for step in steps {
            world.take(step);
        }
        while let Some((member, bytes)) = world.leases.pop() {
            world.shares.give_back(member, bytes);
            world.collect();
        }
        prop_assert!(world.waits.is_empty(), "{:?}", world.shares.holdings().collect::<Vec<_>>());
    }
}
