//! Everything that a network and a broker do to a worker, one after the other, while a source and a sink are under load.
//!
//! Each fault must leave nothing lost, no task failed, and both connectors up to date again within ten seconds of its
//! end, without anybody's help. Meanwhile the status of the source says that Kafka does not answer.

use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::groups::{GroupInfo, GroupMemberInfo};

use super::frame::{Proof, Round};
use super::site::{SINK, SOURCE, Site, health};
use super::tally::Tally;
use crate::checker::{Handed, row};
use crate::support::feed::Feed;
use crate::support::wait;
use crate::support::wire::Fault;

const PROOF: Proof = Proof { name: "network", rounds: 10 };

/// Rows a second.
const LOAD: u64 = 2_000;
const TICK: Duration = Duration::from_millis(10);
/// Between two looks.
const GLANCE: Duration = Duration::from_millis(50);
/// Without a fault, between two of them.
const CALM: Duration = Duration::from_secs(1);
/// Rows that may be under way, on a machine that does other things: of the last two seconds.
const FRESH: usize = 4_000;
/// From the end of a fault until all other rows have arrived.
const BACK: Duration = Duration::from_secs(10);
/// From the begin of a fault until the status tells of it.
const TOLD: Duration = Duration::from_secs(5);
/// What the health of the task then says; behind it the seconds, and the cause when it is known.
const WORDS: &str = "no acknowledgement from Kafka for ";
/// From the end of a fault until the health says nothing more.
const FORGOTTEN: Duration = Duration::from_secs(10);
/// A fault whose end shows no effect for so long is a failure of the worker.
const PATIENCE: Duration = Duration::from_mins(2);

/// What is done to the worker.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    Wire(Fault),
    /// SIGKILL, and a new start on the same data.
    Killed,
    /// SIGSTOP, then SIGCONT: connections stand, and nobody is there.
    Stopped,
}

const TROUBLES: [Trouble; 6] = [
    Trouble::Wire(Fault::Reset),
    Trouble::Wire(Fault::BlackHole),
    Trouble::Wire(Fault::Slow),
    Trouble::Wire(Fault::HalfOpen),
    Trouble::Killed,
    Trouble::Stopped,
];

impl Trouble {
    /// Whether a client sees what is wrong: the others are silence, which may have any cause.
    fn is_seen(self) -> bool {
        matches!(self, Self::Wire(Fault::Reset) | Self::Killed)
    }

    /// Whether Kafka's acknowledgements stay away.
    fn silences(self) -> bool {
        !matches!(self, Self::Wire(Fault::Slow))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wire(Fault::Reset) => "a reset",
            Self::Wire(Fault::BlackHole) => "a black hole",
            Self::Wire(Fault::Slow) => "a slow wire",
            Self::Wire(Fault::Uneven) => "an uneven wire",
            Self::Wire(Fault::HalfOpen) => "half-open connections",
            Self::Wire(Fault::None) => "nothing",
            Self::Killed => "a killed broker",
            Self::Stopped => "a stopped broker",
        })
    }
}

#[test]
#[ignore = "twenty minutes; the command is in docs/proofs/README.md"]
fn network() {
    PROOF.long(|round| play(round, 6_000..20_000, BACK));
}

/// Beside other tests.
#[test]
fn network_short() {
    PROOF.short(|round| play(round, 5_500..6_000, Duration::from_mins(1)));
}

/// The sink's session, with heartbeats enough to notice its end in time.
const SESSION: [(&str, &str); 2] =
    [("consumer.session.timeout.ms", "20000"), ("consumer.heartbeat.interval.ms", "1000")];
/// How long its broker is away at least.
const BEYOND_SESSION: Duration = Duration::from_secs(21);

/// Its broker remembers it, for a whole session more: as somebody else it would wait for that long, and begin with what it
/// has written before.
#[test]
fn a_sink_stays_in_its_group_while_its_broker_is_away_for_longer_than_its_session() {
    let folder = tempfile::Builder::new().prefix("session-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let folder = folder.expect("a folder");
    let mut site = Site::build(folder.path(), &SESSION);
    let feed = Feed::lines(&site.input, LOAD, TICK, |n| row(0, n));
    site.create_source();
    site.create_sink();
    await_up_to_date(&mut site, &feed, "before the outage");
    let before = member(&site);
    disturb(&mut site, Trouble::Killed, BEYOND_SESSION);
    let back = await_up_to_date(&mut site, &feed, "after the outage");
    let after = member(&site);
    site.assert_all_run();
    let rows = feed.end();
    let tally = site.judge(&Handed { rows: vec![rows] }, PATIENCE);
    println!("up to date {back:?} after the end of an outage beyond the session: {tally}");
    assert_eq!(before, after, "it has joined as somebody else, and waited for its own former self");
}

/// The id of the sink's only member of its group.
fn member(site: &Site) -> String {
    let client: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", site.kafka.bootstrap()).create().expect("a client");
    wait::until("the sink's member", PATIENCE, || {
        let groups = client.fetch_group_list(Some(&format!("connect-{SINK}")), Duration::from_secs(5));
        let groups = groups.map_err(|error| error.to_string())?;
        let ids: Vec<&str> = groups.groups().iter().flat_map(GroupInfo::members).map(GroupMemberInfo::id).collect();
        if let [id] = ids[..] { Ok(id.to_owned()) } else { Err(format!("{ids:?}")) }
    })
}

/// One round: each trouble once, in an order of chance, each for so many milliseconds.
fn play(round: &mut Round, lengths: std::ops::Range<u64>, limit: Duration) -> Tally {
    let folder = tempfile::Builder::new().prefix("network-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let folder = folder.expect("a folder for the round");
    let mut site = Site::build(folder.path(), &[]);
    let feed = Feed::lines(&site.input, LOAD, TICK, |n| row(0, n));
    site.create_source();
    site.create_sink();
    let mut troubles = TROUBLES.to_vec();
    let (mut tally, mut complaints, mut seen) = (Tally::default(), Vec::new(), false);
    while !troubles.is_empty() {
        let trouble = troubles.swap_remove(usize::try_from(round.dice.below(troubles.len() as u64)).expect("an index"));
        let length = Duration::from_millis(lengths.start + round.dice.below(lengths.end - lengths.start));
        wait::up_to(CALM, || false);
        await_up_to_date(&mut site, &feed, "before a fault");
        let told = disturb(&mut site, trouble, length);
        let back = await_up_to_date(&mut site, &feed, &format!("after {trouble}"));
        println!("{trouble} for {length:?}: {told:?}, up to date {back:?} after its end");
        tally.add("faults", 1);
        tally.most(&format!("ms behind after {trouble}"), millis(back));
        if back > limit {
            complaints.push(format!("{back:?} until up to date after {trouble} of {length:?}"));
        }
        match told.first {
            Some(first) if first <= TOLD && trouble.silences() => tally.most("ms until status told", millis(first)),
            None if !trouble.silences() => {}
            first => complaints.push(format!("the status told of {trouble} of {length:?} after {first:?}")),
        }
        match told.cause {
            Some(cause) => tally.most("ms until status told the cause", millis(cause)),
            // librdkafka does not say the same thing twice in half a minute.
            None if seen || !trouble.is_seen() => {}
            None => complaints.push(format!("the status told no cause of {trouble} of {length:?}")),
        }
        seen |= trouble.is_seen();
        wait::until("a health without complaints", FORGOTTEN, || match site.health(SOURCE).or(site.health(SINK)) {
            None => Ok(()),
            Some(health) => Err(health),
        });
        site.assert_all_run();
    }
    let rows = feed.end();
    tally.append(&site.judge(&Handed { rows: vec![rows] }, PATIENCE));
    assert!(site.worker.stop().success(), "SIGTERM must end the worker with exit code 0");
    assert!(complaints.is_empty(), "{tally}: {complaints:#?}");
    tally
}

fn millis(time: Duration) -> usize {
    usize::try_from(time.as_millis()).expect("a time of minutes")
}

/// When the source's status told what, counted from the begin of the fault.
#[derive(Debug, Default)]
struct Told {
    first: Option<Duration>,
    cause: Option<Duration>,
}

/// Does it, and undoes it after `length`.
fn disturb(site: &mut Site, trouble: Trouble, length: Duration) -> Told {
    let Site { worker, wire, kafka, .. } = site;
    let began = Instant::now();
    let mut told = Told::default();
    let mut watch = || {
        wait::up_to(length.saturating_sub(began.elapsed()), || {
            wait::moment(GLANCE);
            if let Some(said) = health(worker, SOURCE).as_deref().and_then(|health| health.strip_prefix(WORDS)) {
                told.first.get_or_insert(began.elapsed());
                if said.contains(" s: ") {
                    told.cause.get_or_insert(began.elapsed());
                }
            }
            false
        });
    };
    match trouble {
        Trouble::Wire(fault) => {
            wire.set(fault);
            watch();
            wire.set(Fault::None);
        }
        Trouble::Killed => kafka.crash(watch),
        Trouble::Stopped => {
            kafka.signal("STOP");
            watch();
            kafka.signal("CONT");
        }
    }
    told
}

/// Whether all rows are in the topic and in the sink's file, but for the fresh ones.
fn up_to_date(site: &mut Site, feed: &Feed) -> Result<(), String> {
    site.worker.assert_lives();
    let due = feed.given().saturating_sub(FRESH).max(1);
    let (in_topic, in_output) = (site.in_topic(), site.in_output());
    if in_topic.is_some_and(|rows| rows >= due) && in_output >= due {
        return Ok(());
    }
    // The broker and the worker have other things to do than to answer.
    wait::moment(GLANCE);
    Err(format!("{due} are due, {in_topic:?} are in the topic and {in_output} in the file"))
}

/// How long it took.
fn await_up_to_date(site: &mut Site, feed: &Feed, when: &str) -> Duration {
    let began = Instant::now();
    wait::until(&format!("the rows {when}"), PATIENCE, || up_to_date(site, feed));
    began.elapsed()
}
