//! A hundred kills and fifty zombies of workers that write in transactions: three files that grow, one for each kind of
//! boundary, each row once and in order for a `read_committed` reader.
//!
//! Two workers share a group, an offsets topic and the connectors; one of them is live. It is killed, and the same or the
//! other one starts. Or it is frozen, some for longer than its transactions may be open, the other one takes over, and then
//! it thaws: it must write nothing and say why. The source with its own boundaries also takes drafts back, which must never
//! be seen.

use std::path::PathBuf;
use std::time::Duration;

use rdkafka::message::Message;
use serde_json::{Value, json};

use super::frame::{Proof, Round};
use super::tally::Tally;
use crate::checker::{Handed, row};
use crate::support::death::Lives;
use crate::support::feeder::{Feed, Feeder};
use crate::support::kafka::ApacheKafka;
use crate::support::worker::Worker;
use crate::support::{topic, wait};

const PROOF: Proof = Proof { name: "exactly_once", rounds: 10 };
const LIVES: Lives = Lives { blind: Duration::from_millis(2_500), longest: Duration::from_secs(6) };
const PATIENCE: Duration = Duration::from_mins(1);
const BOUNDARIES: [&str; 3] = ["poll", "interval", "connector"];
/// How long Kafka lets a transaction be open; a busy machine must not need it.
const TRANSACTION: Duration = Duration::from_secs(5);

#[test]
#[ignore = "ten minutes; the command stands in the module's head"]
fn long() {
    PROOF.long(|round| play(round, &Plan { kills: 10, zombies: 5, rate: 3_000 }));
}

#[test]
fn short() {
    PROOF.short(|round| play(round, &Plan { kills: 4, zombies: 2, rate: 1_000 }));
}

struct Plan {
    kills: usize,
    zombies: usize,
    /// Rows/s of each file.
    rate: usize,
}

/// Two workers of one group, and which of them is live.
struct Pair {
    workers: [Worker; 2],
    live: usize,
}

struct Site {
    bootstrap: String,
    folder: PathBuf,
    /// Of the round's topics, connectors and group.
    prefix: String,
}

fn play(round: &mut Round, plan: &Plan) -> Tally {
    let kafka = ApacheKafka::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let site = Site {
        bootstrap: kafka.bootstrap(),
        folder: folder.path().to_owned(),
        prefix: format!("once-{}-{}", round.number, plan.rate),
    };
    let mut pair = Pair { workers: ["first", "second"].map(|name| site.worker(name)), live: 0 };
    let feeder = Feeder::start(Feed {
        growing: (0..3).map(|file| site.file(file)).collect(),
        inbox: None,
        rate: plan.rate,
        per_file: 1,
    });
    pair.start(&site);
    let mut tally = Tally::default();
    let mut deaths: Vec<bool> = (0..plan.kills + plan.zombies).map(|n| n < plan.zombies).collect();
    shuffle(&mut deaths, round);
    let mut zombies = 0;
    for zombie in deaths {
        site.await_death(pair.live(), round);
        if zombie {
            // One in five for longer than its transactions may be open.
            let long = zombies % 5 == 1;
            zombies += 1;
            pair.freeze(&site, long);
        } else {
            pair.live().kill();
            pair.live = if round.dice.below(2) == 0 { pair.live } else { 1 - pair.live };
            pair.start(&site);
        }
    }
    let fed = feeder.finish();
    site.await_every_offset(pair.live(), &fed.handed);
    assert!(pair.live().stop().success(), "SIGTERM must end the worker with exit code 0");
    tally.add("kills", plan.kills);
    tally.add("zombies", plan.zombies);
    tally.add("tasks of zombies that said they were overtaken", plan.zombies * BOUNDARIES.len());
    tally.least("rows/s", fed.rows_per_second);
    site.judge(&fed.handed, &mut tally);
    tally
}

fn shuffle(deaths: &mut [bool], round: &mut Round) {
    for n in (1..deaths.len()).rev() {
        deaths.swap(n, usize::try_from(round.dice.below(n as u64 + 1)).expect("a place"));
    }
}

impl Pair {
    fn live(&mut self) -> &mut Worker {
        &mut self.workers[self.live]
    }

    /// The connectors are in the state of a worker that ran before.
    fn start(&mut self, site: &Site) {
        let worker = self.live();
        worker.start();
        for number in 0..BOUNDARIES.len() {
            let path = format!("/connectors/{}/config", site.name(number));
            let answer = worker.rest().put(&path, &site.config(number)).expect("REST answers");
            assert!([200, 201].contains(&answer.status), "{}: {}", site.name(number), answer.body);
        }
    }

    /// The live worker freezes, the other one takes over, and the first thaws and is ended when each of its tasks has said
    /// why it writes no more.
    fn freeze(&mut self, site: &Site, long: bool) {
        // A start that is not over would be the newer one when it thaws, and rightly win.
        for number in 0..BOUNDARIES.len() {
            wait::until("the task to run", PATIENCE, || {
                let task = task(self.live(), &site.name(number));
                if task["state"] == "RUNNING" { Ok(()) } else { Err(task.to_string()) }
            });
        }
        self.live().signal("STOP");
        if long {
            wait::moment(TRANSACTION + Duration::from_millis(1_500));
        }
        let frozen = self.live;
        self.live = 1 - frozen;
        self.start(site);
        let seen = site.sizes();
        wait::until("the successor to write", PATIENCE, || {
            self.workers[self.live].assert_lives();
            let now = site.sizes();
            if now.iter().zip(&seen).all(|(now, seen)| now > seen) { Ok(()) } else { Err(format!("{seen:?} {now:?}")) }
        });
        let zombie = &mut self.workers[frozen];
        zombie.signal("CONT");
        for number in 0..BOUNDARIES.len() {
            wait::until("the zombie's task to fail", PATIENCE, || {
                let task = task(zombie, &site.name(number));
                let trace = task["trace"].as_str().unwrap_or_default();
                let overtaken = trace.contains("a newer start of it uses its transactional id");
                assert!(overtaken || task["state"] != "FAILED", "{task}");
                if overtaken { Ok(()) } else { Err(task.to_string()) }
            });
        }
        zombie.kill();
    }
}

fn task(worker: &Worker, connector: &str) -> Value {
    worker.rest().get(&format!("/connectors/{connector}/status")).expect("REST answers").body["tasks"][0].clone()
}

impl Site {
    fn worker(&self, name: &str) -> Worker {
        let own = self.folder.join(name);
        std::fs::create_dir(&own).expect("a folder");
        let offsets = format!("{}-offsets", self.prefix);
        let keys = [
            ("group.id", self.prefix.as_str()),
            ("offset.storage.topic", &offsets),
            ("offset.storage.partitions", "3"),
            ("exactly.once.source.support", "enabled"),
        ];
        Worker::prepare(&own, &self.bootstrap, &keys).with(&["--bench-plugins"])
    }

    /// Of a connector and its topic.
    fn name(&self, number: usize) -> String {
        format!("{}-{}", self.prefix, BOUNDARIES[number])
    }

    fn file(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{}.txt", BOUNDARIES[number]))
    }

    fn config(&self, number: usize) -> Value {
        let class = if BOUNDARIES[number] == "connector" { "TroubledFileSource" } else { "FileStreamSource" };
        json!({
            "connector.class": class, "file": self.file(number), "topic": self.name(number), "batch.size": "200",
            "exactly.once.support": "required", "transaction.boundary": BOUNDARIES[number],
            "transaction.boundary.interval.ms": "300",
            "producer.override.transaction.timeout.ms": TRANSACTION.as_millis().to_string(),
        })
    }

    /// How much stands in each topic, committed or not.
    fn sizes(&self) -> Vec<u64> {
        let size = |number| topic::size_if_any(&self.bootstrap, &self.name(number));
        (0..BOUNDARIES.len()).map(|number| u64::try_from(size(number)).expect("a size")).collect()
    }

    fn await_death(&self, worker: &mut Worker, round: &mut Round) {
        wait::moment(Duration::from_millis(round.dice.below(1_500)));
        let offsets = format!("{}-offsets", self.prefix);
        let size = |topic: &str| u64::try_from(topic::size_if_any(&self.bootstrap, topic)).expect("a size");
        let signs: [&dyn Fn() -> u64; 4] =
            [&|| size(&self.name(0)), &|| size(&self.name(1)), &|| size(&self.name(2)), &|| size(&offsets)];
        LIVES.await_death(worker, &mut round.dice, &signs);
    }

    fn await_every_offset(&self, worker: &mut Worker, handed: &Handed) {
        for number in 0..BOUNDARIES.len() {
            let wanted = u64::try_from(handed.rows[number] * (row(0, 0).len() + 1)).expect("a size");
            wait::until_rest("the offset of everything", Duration::from_secs(30), || {
                worker.assert_lives();
                let answer = worker.rest().get(&format!("/connectors/{}/offsets", self.name(number)));
                let offset = answer.expect("REST answers").body["offsets"][0]["offset"]["position"].as_u64();
                if offset == Some(wanted) { Ok(()) } else { Err(offset.unwrap_or_default()) }
            });
            let task = task(worker, &self.name(number));
            assert_eq!(task["state"], "RUNNING", "{task}");
        }
    }

    fn judge(&self, handed: &Handed, tally: &mut Tally) {
        let mut taken_back = 0;
        let (mut rows, mut lost, mut duplicates, mut early) = (0, 0, 0, 0);
        for number in 0..BOUNDARIES.len() {
            let name = self.name(number);
            let handed = handed.only(number..number + 1);
            let mut watch = handed.watch();
            topic::visit(&self.bootstrap, &name, topic::COMMITTED, |message| {
                watch.see(&String::from_utf8_lossy(message.payload().unwrap_or_default()));
            });
            let verdict = watch.verdict();
            verdict.assert_exact(&name);
            topic::visit(&self.bootstrap, &name, topic::UNCOMMITTED, |_| taken_back += 1);
            rows += verdict.arrived;
            lost += verdict.lost_count;
            duplicates += verdict.duplicates;
            early += verdict.early;
        }
        tally.add("rows", rows);
        tally.add("lost", lost);
        tally.add("duplicates", duplicates);
        tally.add("out of order", early);
        tally.add("records of transactions that did not end, never seen", taken_back - rows);
        let topics: Vec<String> = (0..BOUNDARIES.len()).map(|number| self.name(number)).collect();
        topic::delete(&self.bootstrap, &topics.iter().map(String::as_str).collect::<Vec<_>>());
    }
}
