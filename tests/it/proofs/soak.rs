//! Half an hour of everything, slowly: what a worker holds must stay what it was.
//!
//! Two sources and two sinks work under a small load, one of the sinks with bad records for a dead letter topic; every few
//! seconds something happens: a connector is created and deleted, paused, restarted, a consumer joins the sink's group and
//! leaves, every connection is reset. Memory, threads and descriptors of the last third must be those of the middle one.
//! `PIPETTE_SOAK_MINUTES` is the length. Figures are written every minute.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use pipette::bench::process::{cpu_seconds, resident_mib};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;

use super::edge::Lab;
use super::frame::Proof;
use super::site::{SINK, SOURCE, Site, TOPIC};
use super::tally::Tally;
use crate::checker::{Handed, row};
use crate::support::feed::Feed;
use crate::support::wire::Fault;
use crate::support::{figures, topic, wait};

const PROOF: Proof = Proof { name: "soak", rounds: 1 };

/// Of the long form, unless `PIPETTE_SOAK_MINUTES` says another.
const LENGTH: Duration = Duration::from_mins(30);
/// Rows a second in each of the two loads.
const LOAD: u64 = 200;
const TICK: Duration = Duration::from_millis(100);
/// Of the file that a lab server puts into its folder at each step.
const FILE_ROWS: usize = 100;
/// Every so many records of the second load one is bad.
const POISON: usize = 50;
const POISONED: &str = "soak-json";
const LETTERS: &str = "soak-dead";
const POISON_SINK: &str = "soak-json-sink";
/// Things that happen, before the first happens again.
const TURN: usize = 10;
/// Between two looks at what the worker holds.
const GLANCE: Duration = Duration::from_millis(500);
/// After the load's end, and of each single step.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long, how often something happens, and how much more the last third may have than the middle one.
struct Extent {
    length: Duration,
    step: Duration,
    growth: f64,
}

#[test]
#[ignore = "half an hour; the command is in docs/proofs/README.md"]
fn soak() {
    let minutes =
        std::env::var("PIPETTE_SOAK_MINUTES").map(|text| text.parse().expect("PIPETTE_SOAK_MINUTES is a number"));
    let length = minutes.map_or(LENGTH, Duration::from_mins);
    PROOF.long(|_| play(&Extent { length, step: Duration::from_secs(3), growth: 0.05 }));
}

/// Too short for a leak to show unless it is a large one: what is proven is that all of it works side by side.
#[test]
fn soak_short() {
    PROOF.short(|_| play(&Extent { length: Duration::from_secs(20), step: Duration::from_secs(1), growth: 0.5 }));
}

fn play(extent: &Extent) -> Tally {
    let folder = tempfile::Builder::new().prefix("soak-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let folder = folder.expect("a folder for the round");
    let mut site = Site::build(folder.path(), &[]);
    let mut lab = Lab::lay_out(&folder.path().join("lab"));
    let feed = Feed::lines(&site.input, LOAD, TICK, |n| row(0, n));
    let poison = poison(&site);
    site.create_source();
    site.create_sink();
    lab.create_source(&site);
    site.create(POISON_SINK, &poison_sink(folder.path()));

    let (held, steps) = live(&mut site, &mut lab, extent);
    let rows = feed.end();
    let poisoned = poison.end();
    let mut tally = Tally::default();
    tally.add("minutes", usize::try_from(extent.length.as_secs() / 60).expect("minutes"));
    tally.add("steps", steps);
    let thirds: Vec<Held> = held.chunks(held.len().div_ceil(3)).map(Held::middle).collect();
    thirds[2].tell("in the last third", &mut tally);
    thirds[1].tell("in the middle third", &mut tally);
    await_letters(&site, folder.path(), poisoned);
    tally.add("dead letters", letters(&site, poisoned));
    tally.append(&site.judge(&Handed { rows: [vec![rows], lab.files].concat() }, PATIENCE));
    site.assert_all_run();
    assert!(site.worker.stop().success(), "SIGTERM must end the worker with exit code 0");
    for (what, last, middle) in thirds[2].beside(&thirds[1]) {
        assert!(last <= middle * (1.0 + extent.growth), "{what} grew from {middle:.1} to {last:.1}: {tally}");
    }
    tally
}

/// Records that are numbers, and every now and then none.
fn poison(site: &Site) -> Feed {
    topic::create(&site.kafka.bootstrap(), POISONED, 1, &[]);
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", site.kafka.bootstrap()).create().expect("a producer");
    Feed::start(LOAD, TICK, move |items| {
        for item in items {
            let value = if item % POISON == 0 { format!("{{\"row\":{item}") } else { item.to_string() };
            producer.send(BaseRecord::<(), str>::to(POISONED).partition(0).payload(&value)).expect("it is taken");
        }
        producer.flush(PATIENCE).expect("they are delivered");
    })
}

fn poison_sink(folder: &Path) -> serde_json::Value {
    json!({
        "connector.class": "FileStreamSink",
        "topics": POISONED,
        "file": folder.join("numbers.txt"),
        "value.converter": "JsonConverter",
        "value.converter.schemas.enable": "false",
        "errors.tolerance": "all",
        "errors.deadletterqueue.topic.name": LETTERS,
    })
}

/// Waits until every good record is in the file.
fn await_letters(site: &Site, folder: &Path, poisoned: usize) {
    let bad = poisoned.div_ceil(POISON);
    wait::until("the good records and the letters", PATIENCE, || {
        let text = fs::read_to_string(folder.join("numbers.txt")).unwrap_or_default();
        let numbers: std::collections::BTreeSet<&str> = text.lines().collect();
        let letters = topic::size_if_any(&site.kafka.bootstrap(), LETTERS);
        if numbers.len() == poisoned - bad && letters >= i64::try_from(bad).expect("a small number") {
            return Ok(());
        }
        Err(format!("{} of {} numbers, {letters} of {bad} letters", numbers.len(), poisoned - bad))
    });
}

/// How many different bad records have a letter: all, and no good one has.
fn letters(site: &Site, poisoned: usize) -> usize {
    let found: std::collections::BTreeSet<String> =
        topic::values(&site.kafka.bootstrap(), LETTERS).into_iter().collect();
    let bad = (0..poisoned).filter(|item| item % POISON == 0).map(|item| format!("{{\"row\":{item}")).collect();
    assert_eq!(found, bad, "the letters are not those of the bad records");
    found.len()
}

/// Does one thing after the other, and looks at the worker meanwhile: what it held, and how many things were done.
fn live(site: &mut Site, lab: &mut Lab, extent: &Extent) -> (Vec<Held>, usize) {
    let (began, mut held, mut steps, mut minute) = (Instant::now(), Vec::new(), 0, 0);
    let mut guest: Option<BaseConsumer> = None;
    // Whole turns: at their end nothing is paused, cut or passing.
    while began.elapsed() < extent.length || steps % TURN != 0 {
        step(steps, site, &mut guest);
        lab.drop_in(FILE_ROWS);
        steps += 1;
        let next = began + extent.step * u32::try_from(steps).expect("a small number");
        wait::up_to(next.saturating_duration_since(Instant::now()), || {
            site.worker.assert_lives();
            // It gets rows of the sink's partition, and commits none.
            while guest.as_ref().is_some_and(|guest| guest.poll(Duration::ZERO).is_some()) {}
            held.push(Held::by(&site.worker.pid().to_string()));
            wait::moment(GLANCE);
            false
        });
        if began.elapsed().as_secs() / 60 > minute {
            minute = began.elapsed().as_secs() / 60;
            let now = held.last().copied().unwrap_or_default();
            figures::record("soak_minute", &format!("minute {minute}, {steps} steps, {}", now.show()));
        }
    }
    (held, steps)
}

/// One of the things that happen. Each begins where the last one may still be under way.
fn step(number: usize, site: &Site, guest: &mut Option<BaseConsumer>) {
    let send = |method: &str, path: &str| {
        let answer = site.worker.rest().send(method, path, None).expect("REST answers");
        assert!(answer.status < 300 || answer.status == 409, "{method} {path}: {answer:?}");
    };
    let passing = format!("/connectors/soak-passing-{}", number / TURN);
    match number % TURN {
        0 => {
            let file = site.input.with_file_name("passing.txt");
            let config = json!({"connector.class": "FileStreamSink", "file": file, "topics": TOPIC,
                "consumer.override.auto.offset.reset": "latest"});
            let answer = site.worker.rest().put(&format!("{passing}/config"), &config).expect("REST answers");
            assert_eq!(answer.status, 201, "{}", answer.body);
        }
        1 => *guest = Some(join(site)),
        2 => send("PUT", &format!("/connectors/{SOURCE}/pause")),
        3 => send("PUT", &format!("/connectors/{SOURCE}/resume")),
        4 => *guest = None,
        5 => send("POST", &format!("/connectors/{SINK}/restart?includeTasks=true")),
        6 => site.wire.set(Fault::Reset),
        7 => site.wire.set(Fault::None),
        8 => send("POST", &format!("/connectors/{POISON_SINK}/tasks/0/restart")),
        _ => send("DELETE", &passing),
    }
}

/// A member of the sink's group that takes its partition away, and gives it back when it goes.
fn join(site: &Site) -> BaseConsumer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", site.kafka.bootstrap())
        .set("group.id", format!("connect-{SINK}"))
        // The first by name gets the one partition.
        .set("client.id", "a-guest")
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    consumer.subscribe(&[TOPIC]).expect("a subscription");
    consumer
}

/// What a process held at a moment.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    memory: f64,
    threads: f64,
    descriptors: f64,
    cpu: f64,
}

impl Held {
    fn by(pid: &str) -> Self {
        let count = |of: &str| fs::read_dir(format!("/proc/{pid}/{of}")).map_or(0, Iterator::count);
        #[expect(clippy::cast_precision_loss, reason = "small counts")]
        let [threads, descriptors] = ["task", "fd"].map(|of| count(of) as f64);
        Self {
            memory: resident_mib(pid).expect("its memory"),
            threads,
            descriptors,
            cpu: cpu_seconds(pid).expect("its CPU time"),
        }
    }

    /// The mean of each: what happens in turns is in every third equally often.
    fn middle(held: &[Self]) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "small counts")]
        let mean = |of: fn(&Self) -> f64| held.iter().map(of).sum::<f64>() / held.len() as f64;
        Self {
            memory: mean(|held| held.memory),
            threads: mean(|held| held.threads),
            descriptors: mean(|held| held.descriptors),
            cpu: mean(|held| held.cpu),
        }
    }

    fn show(&self) -> String {
        let Self { memory, threads, descriptors, cpu } = self;
        format!("{memory:.1} MiB, {threads:.0} threads, {descriptors:.0} descriptors, {cpu:.1} s of CPU")
    }

    fn beside(&self, other: &Self) -> [(&'static str, f64, f64); 3] {
        [
            ("memory in MiB", self.memory, other.memory),
            ("threads", self.threads, other.threads),
            ("descriptors", self.descriptors, other.descriptors),
        ]
    }

    fn tell(&self, when: &str, tally: &mut Tally) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
        let whole = |figure: f64| figure.round() as usize;
        tally.most(&format!("KiB {when}"), whole(self.memory * 1024.0));
        tally.most(&format!("threads {when}"), whole(self.threads));
        tally.most(&format!("descriptors {when}"), whole(self.descriptors));
    }
}
