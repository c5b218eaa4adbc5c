//! Reads busy partitions straight from their leaders, for a consumer whose group, offsets and troubles stay librdkafka's.
//!
//! librdkafka reads a message at a time: each costs it an object, a queue, a search for headers and a copy, half of what a
//! record costs a sink altogether. Here an answer of a broker is one buffer, and its records are spans of it. A partition
//! comes here when librdkafka has read it for a while without trouble (`direct.rs` decides), and goes back, with the offset
//! that is next, as soon as anything is not plain: an error, another leader, a broker that is silent, compressed batches,
//! nothing to read for a while. So there is one place that knows what to do about those.
//!
//! `link.rs` is a connection, `wire.rs` the protocol, `records.rs` cuts batches into records. Runs on the consumer's thread.

mod cursor;
#[cfg(test)]
mod holes;
mod link;
mod records;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pipette_api::{Offsets, RawRecord, TopicPartition};
use tokio::runtime::{Builder, Runtime};

use self::link::Link;
use self::records::Run;
use self::wire::{Answer, Part, Terms, Wanted};
use super::properties::ClientProperties;

/// A broker's host and port.
pub(super) type Address = (String, u16);

/// A partition that brings less than this in this time, and has no more to read, goes back: it needs no speed, and a
/// connection of its own costs more than it saves.
const IDLE: Duration = Duration::from_secs(10);
const LITTLE: usize = 1 << 20;

/// Who has not listened for so long does not know whether a broker is late.
const INATTENTION: Duration = Duration::from_secs(1);

/// Answers of a leader that has another log than the one which was read: records were deleted, or the topic was and has
/// come again.
const OTHER_LOG: [i16; 2] = [1, 3];

/// Reads partitions from their leaders.
pub(super) struct Fetcher {
    /// `None` before the first partition: most consumers never need it, and where settings are refused a consumer goes
    /// inside of another runtime, which forbids that.
    runtime: Option<Runtime>,
    terms: Terms,
    /// Whether checksums are compared; they are unless somebody says otherwise, as in Java.
    check: bool,
    /// In the order of their partitions: those of one topic are asked for together.
    lanes: Vec<Lane>,
    links: Vec<Link>,
    idle: Duration,
    /// When answers were waited for last. While records are handed out nobody listens, and no broker can be late.
    listened: Instant,
    /// Bytes received and sent over connections that are closed.
    past: [u64; 2],
}

/// One partition.
struct Lane {
    tp: TopicPartition,
    leader: Address,
    run: Option<Run>,
    /// The offset to ask for next, behind what is here.
    ask: i64,
    /// Behind the last record that was handed out, or behind what was said to hold none.
    told: i64,
    /// The first offset that is not replicated yet, as last heard.
    high: i64,
    /// The leader's epoch, as the last batch says; -1 before.
    epoch: i32,
    /// When there was much to read last, and the bytes that have come since.
    busy: Instant,
    since: usize,
    /// Why it goes back, once what is here is handed out.
    ends: Option<String>,
}

/// A partition that goes back to librdkafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Returned {
    pub tp: TopicPartition,
    /// The offset that is next.
    pub next: i64,
    /// The epoch of the last record's batch, so that librdkafka can tell whether it is still there; -1 when not known.
    pub epoch: i32,
    /// What is not plain; `None` when it goes for other reasons.
    pub trouble: Option<String>,
}

impl Lane {
    /// The offset that is next for the sink.
    fn next(&self) -> i64 {
        self.run.as_ref().map_or(self.ask, Run::next)
    }

    fn returned(self) -> Returned {
        Returned { next: self.next(), tp: self.tp, epoch: self.epoch, trouble: self.ends }
    }

    /// Takes what a broker says.
    fn take(&mut self, part: Part, check: bool) {
        self.high = part.high;
        if part.error != 0 {
            self.ends = Some(format!("the broker answers with error {}", part.error));
            if OTHER_LOG.contains(&part.error) {
                // librdkafka would take a new log for the old one cut off, and go on at the end of what is new.
                self.epoch = -1;
            }
            return;
        }
        let len = part.records.len();
        let (run, survey) = Run::new(part.records, self.ask, check);
        self.ends = survey.unusual.map(str::to_owned);
        self.ask = survey.next;
        self.since += len;
        if self.since >= LITTLE || self.ask < self.high {
            self.is_busy();
        }
        if !run.is_through() {
            self.run = Some(run);
        }
    }

    /// Hands out what is here.
    fn read(&mut self, out: &mut Vec<RawRecord>, limit: usize, room: &mut usize) {
        let Some(run) = &mut self.run else { return };
        let before = out.len();
        let read = run.read(out, &self.tp, limit, room);
        self.told = out[before..].last().map_or(self.told, |last| last.offset + 1);
        self.epoch = run.epoch;
        if let Err(reason) = read {
            (self.ask, self.ends, self.run) = (run.next(), Some(reason.to_owned()), None);
        } else if run.is_through() {
            self.run = None;
        } else {
            // However slowly it is read.
            self.is_busy();
        }
    }

    fn is_busy(&mut self) {
        (self.busy, self.since) = (Instant::now(), 0);
    }
}

impl Fetcher {
    /// For a consumer with these properties; `None` when they ask for something that is librdkafka's alone.
    pub(super) fn new(properties: &ClientProperties) -> Option<Self> {
        let terms = terms(properties)?;
        let check = properties.get("check.crcs").is_none_or(|text| text != "false");
        let (lanes, links) = (Vec::new(), Vec::new());
        let (idle, listened, past) = (IDLE, Instant::now(), [0; 2]);
        Some(Self { runtime: None, terms, check, lanes, links, idle, listened, past })
    }

    /// Reads a partition from this offset on, from this leader. Connects at once when it has to; an error changes nothing.
    pub(super) fn take(&mut self, tp: TopicPartition, next: i64, leader: Address) -> Result<(), String> {
        if !self.links.iter().any(|link| link.address == leader) {
            let runtime = match self.runtime.take() {
                Some(runtime) => runtime,
                None => Builder::new_current_thread().enable_io().enable_time().build().map_err(|e| e.to_string())?,
            };
            let runtime = self.runtime.insert(runtime);
            let link = runtime.block_on(Link::open(leader.clone(), self.terms.clone()))?;
            self.links.push(link);
        }
        let (high, epoch, busy, since) = (-1, -1, Instant::now(), 0);
        let lane = Lane { tp, leader, run: None, ask: next, told: next, high, epoch, busy, since, ends: None };
        self.lanes.push(lane);
        self.lanes.sort_by(|a, b| a.tp.cmp(&b.tp));
        Ok(())
    }

    /// How many partitions are read here.
    pub(super) fn count(&self) -> usize {
        self.lanes.len()
    }

    /// Whether this partition is read here.
    pub(super) fn holds(&self, tp: &TopicPartition) -> bool {
        self.lanes.binary_search_by(|lane| lane.tp.cmp(tp)).is_ok()
    }

    /// Partitions that are read here.
    pub(super) fn partitions(&self) -> BTreeSet<TopicPartition> {
        self.lanes.iter().map(|lane| lane.tp.clone()).collect()
    }

    /// How many records it is behind, where that is most.
    pub(super) fn lag(&self) -> Option<i64> {
        self.lanes.iter().filter(|lane| lane.high >= 0).map(|lane| (lane.high - lane.next()).max(0)).max()
    }

    /// Bytes received and sent, and open connections.
    pub(super) fn traffic(&self) -> [u64; 3] {
        let sum = |count: fn(&Link) -> u64| self.links.iter().map(count).sum::<u64>();
        [self.past[0] + sum(|link| link.received), self.past[1] + sum(|link| link.sent), self.links.len() as u64]
    }

    /// Stops reading these partitions, and says where they are.
    pub(super) fn release(&mut self, wanted: impl Fn(&TopicPartition) -> bool) -> Vec<Returned> {
        self.let_go(|lane| wanted(&lane.tp))
    }

    /// Partitions that can be read here no longer, or need not be.
    pub(super) fn returned(&mut self) -> Vec<Returned> {
        let idle = self.idle;
        self.let_go(|lane| lane.run.is_none() && (lane.ends.is_some() || lane.busy.elapsed() > idle))
    }

    fn let_go(&mut self, wanted: impl Fn(&Lane) -> bool) -> Vec<Returned> {
        let gone: Vec<Returned> = self.lanes.extract_if(.., |lane| wanted(lane)).map(Lane::returned).collect();
        if !gone.is_empty() {
            self.close_what_nobody_uses();
        }
        gone
    }

    /// Up to `limit` records, and no more once they are `room` bytes; waits for the first of them only.
    pub(super) fn read(&mut self, limit: usize, mut room: usize, wait: Duration) -> Vec<RawRecord> {
        if self.lanes.iter().all(|lane| lane.run.is_none()) {
            self.await_answer(wait);
        }
        let mut out = Vec::new();
        for lane in self.lanes.iter_mut().filter(|lane| lane.run.is_some()) {
            if out.len() >= limit || room == 0 {
                break;
            }
            out.reserve(limit - out.len());
            lane.read(&mut out, limit, &mut room);
        }
        out
    }

    /// Where partitions are whose last offsets so far hold no record any more, or the end of a transaction; each is told
    /// once.
    pub(super) fn ends(&mut self) -> Offsets {
        let is_ahead = |lane: &&mut Lane| lane.run.is_none() && lane.ask > lane.told;
        let tell = |lane: &mut Lane| {
            lane.told = lane.ask;
            (lane.tp.clone(), lane.ask)
        };
        self.lanes.iter_mut().filter(is_ahead).map(tell).collect()
    }

    /// Asks whoever can be asked, and takes the first answers.
    fn await_answer(&mut self, wait: Duration) {
        let Self { runtime: Some(runtime), lanes, links, check, listened, .. } = self else { return };
        for link in &mut *links {
            if listened.elapsed() > INATTENTION {
                link.excuse();
            }
            ask(link, lanes);
        }
        runtime.block_on(async {
            let answers = poll_fn(|cx| poll_answers(links, lanes, *check, cx));
            let _ = tokio::time::timeout(wait, answers).await;
        });
        *listened = Instant::now();
    }

    fn close_what_nobody_uses(&mut self) {
        let unused = |link: &mut Link| !self.lanes.iter().any(|lane| lane.leader == link.address);
        for link in self.links.extract_if(.., unused) {
            self.past[0] += link.received;
            self.past[1] += link.sent;
        }
    }
}

/// Asks a broker for whatever it leads, when nothing is asked yet.
fn ask(link: &mut Link, lanes: &mut [Lane]) {
    if !link.is_free() {
        return;
    }
    let wanted = |lane: &&Lane| lane.leader == link.address && lane.ends.is_none();
    let wanted: Vec<Wanted> = lanes.iter().filter(wanted).map(|lane| (lane.tp.clone(), lane.ask)).collect();
    if wanted.is_empty() {
        return;
    }
    if let Err(error) = link.ask(wanted) {
        fail(link, lanes, &error);
    }
}

/// Takes answers that are there, and asks again at once: the next is on its way while these are handed out.
fn poll_answers(links: &mut [Link], lanes: &mut [Lane], check: bool, cx: &mut Context<'_>) -> Poll<()> {
    let mut came = Poll::Pending;
    for link in links {
        match link.poll_answer(cx) {
            Poll::Pending => continue,
            Poll::Ready(Ok((asked, answer))) => {
                take(lanes, &link.address, asked, answer, check);
                ask(link, lanes);
            }
            Poll::Ready(Err(error)) => fail(link, lanes, &error),
        }
        came = Poll::Ready(());
    }
    came
}

fn take(lanes: &mut [Lane], from: &Address, asked: Vec<Wanted>, answer: Answer, check: bool) {
    let mut parts = answer.parts;
    for (tp, offset) in asked {
        let lane = lanes.iter_mut().find(|lane| lane.tp == tp && lane.leader == *from && lane.ask == offset);
        // It may have been released since, and taken again elsewhere.
        let Some(lane) = lane.filter(|lane| lane.run.is_none()) else { continue };
        let part = parts.iter().position(|part| part.tp == tp).map(|at| parts.swap_remove(at));
        match part {
            _ if answer.error != 0 => lane.ends = Some(format!("the broker answers with error {}", answer.error)),
            Some(part) => lane.take(part, check),
            // Whoever is above a quota is told how long to wait, and nothing else.
            None if answer.throttle_ms > 0 => {}
            None => lane.ends = Some("the broker does not answer for it".into()),
        }
    }
}

/// Everything that was read over a connection goes back.
fn fail(link: &Link, lanes: &mut [Lane], error: &io::Error) {
    let (host, port) = &link.address;
    for lane in lanes.iter_mut().filter(|lane| lane.leader == link.address) {
        lane.ends = Some(format!("{host}:{port}: {error}"));
    }
}

/// What requests say; `None` where a consumer of these properties reads otherwise than this can.
fn terms(properties: &ClientProperties) -> Option<Terms> {
    let is = |key: &str, plain: &str| properties.get(key).is_none_or(|text| text.eq_ignore_ascii_case(plain));
    // Encrypted connections, logins, transactions that were aborted, replicas that are nearer.
    if !is("security.protocol", "plaintext") || !is("isolation.level", "read_uncommitted") || !is("client.rack", "") {
        return None;
    }
    let number = |key: &str, default: i32| properties.get(key).map_or(Some(default), |text| text.parse().ok());
    Some(Terms {
        client_id: properties.get("client.id").cloned().unwrap_or_default(),
        max_wait_ms: number("fetch.wait.max.ms", 500)?,
        min_bytes: number("fetch.min.bytes", 1)?,
        max_bytes: number("fetch.max.bytes", 50 << 20)?,
        partition_max_bytes: number("max.partition.fetch.bytes", 1 << 20)?,
    })
}
