//! Two hundred times SIGKILL for a worker that moves more than 20,000 records/s: file that grows → topic, whole files →
//! topic, both topics → sink file.
//!
//! What is committed is read from the dead worker's state and from Kafka, never from the worker. So each repetition can be
//! held against the commit before it: nothing from before a commit comes again. One round in ten runs with the usual
//! commit interval of a minute, and its first life is long enough for a commit.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pipette::store::files::FileStore;
use pipette_api::Primitive;
use serde_json::json;

use super::frame::{Proof, Round};
use super::replay::{Life, Repeat, Row, repeats};
use super::tally::Tally;
use crate::checker::{Handed, Verdict, row};
use crate::support::death::{Lives, count, last_change, size};
use crate::support::feeder::{self, Feed, Feeder, name};
use crate::support::kafka::ApacheKafka;
use crate::support::topic::Group;
use crate::support::worker::{DIRECT, Worker};
use crate::support::{topic, wait};

const PROOF: Proof = Proof { name: "kills", rounds: 20 };
const LIVES: Lives = Lives { blind: Duration::from_secs(2), longest: Duration::from_secs(6) };
/// Whatever makes no progress for so long will not: what is missing is lost.
const REST: Duration = Duration::from_secs(30);

#[test]
#[ignore = "a quarter of an hour; the command stands in the module's head"]
fn long() {
    PROOF.long(|round| play(round, &Plan { kills: 10, rate: 11_000, rare_commits: round.number % 10 == 1 }));
}

#[test]
fn short() {
    PROOF.short(|round| play(round, &Plan { kills: 5, rate: 2_500, rare_commits: false }));
}

struct Plan {
    kills: usize,
    /// Rows/s of each of the two sources.
    rate: usize,
    /// The usual commit interval.
    rare_commits: bool,
}

/// What was known when the worker was dead.
struct Death {
    sink_file: usize,
    /// Of the sink's group, by topic.
    committed: [usize; 2],
    /// How long each topic was.
    ends: [usize; 2],
    /// The row each file goes on with.
    rows: BTreeMap<usize, usize>,
}

/// Folders and names of a round.
struct Site {
    bootstrap: String,
    folder: PathBuf,
    /// Of the file that grows, of the whole files.
    topics: [String; 2],
    groups: [Group; 2],
    sink: String,
}

fn play(round: &mut Round, plan: &Plan) -> Tally {
    let kafka = ApacheKafka::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let site = Site::lay_out(folder.path(), &kafka.bootstrap(), round.number);
    let interval = if plan.rare_commits { "60000" } else { "200" };
    let keys = [DIRECT, ("offset.flush.interval.ms", interval)];
    let mut worker = Worker::prepare(folder.path(), &site.bootstrap, &keys);
    worker.start();
    site.create_connectors(&worker);
    let feeder = Feeder::start(Feed {
        growing: vec![site.at("grows.txt")],
        inbox: Some(site.at("inbox")),
        rate: plan.rate,
        per_file: plan.rate / 4,
    });
    let (mut deaths, mut tally) = (Vec::new(), Tally::default());
    for number in 0..plan.kills {
        if plan.rare_commits && number == 0 {
            site.await_a_commit(&mut worker);
        }
        site.await_death(&mut worker, round);
        worker.kill();
        deaths.push(site.look_at_death());
        worker.spawn();
    }
    let fed = feeder.finish();
    site.await_every_row(&mut worker, &fed.handed);
    site.assert_calm(&worker, &fed.handed);
    assert!(worker.stop().success(), "SIGTERM must end the worker with exit code 0");

    tally.add("kills", plan.kills);
    tally.add("rows", fed.handed.total());
    tally.least("rows/s handed over", fed.rows_per_second);
    let rows = [0, 1].map(|place| site.judge_topic(place, &fed.handed, &deaths, plan, &mut tally));
    site.judge_sink(&rows, &fed.handed, &deaths, plan, &mut tally);
    topic::delete(&site.bootstrap, &site.topics.each_ref().map(String::as_str));
    tally
}

impl Site {
    fn lay_out(folder: &Path, bootstrap: &str, round: usize) -> Self {
        let topics = ["grows", "files"].map(|kind| format!("kills-{round}-{kind}"));
        let sink = format!("kills-{round}-sink");
        let groups = topics.each_ref().map(|topic| Group::watch(bootstrap, &format!("connect-{sink}"), topic));
        let site = Self { bootstrap: bootstrap.to_owned(), folder: folder.to_owned(), topics, groups, sink };
        for folder in ["inbox", "finished", "failed"] {
            fs::create_dir(site.at(folder)).expect("a folder");
        }
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn create_connectors(&self, worker: &Worker) {
        let grows =
            json!({"connector.class": "FileStreamSource", "topic": self.topics[0], "file": self.at("grows.txt")});
        let files = json!({
            "connector.class": "LabFilesSource",
            "topic": self.topics[1],
            "input.path": self.at("inbox"),
            "finished.path": self.at("finished"),
            "error.path": self.at("failed"),
            "cleanup.policy": "MOVE",
            "format": "lines",
            "settle.checks": "2",
            "settle.interval.ms": "50",
            "poll.interval.ms": "100",
        });
        let sink = json!({
            "connector.class": "FileStreamSink",
            "topics": self.topics.join(","),
            "file": self.at("sink.txt"),
            // A killed consumer stays a member until its session ends, and its successor waits that long.
            "consumer.override.session.timeout.ms": "1000",
            "consumer.override.heartbeat.interval.ms": "300",
        });
        for (name, config) in [(&self.topics[0], grows), (&self.topics[1], files), (&self.sink, sink)] {
            let answer = worker.rest().put(&format!("/connectors/{name}/config"), &config).expect("REST answers");
            assert_eq!(answer.status, 201, "{name}: {}", answer.body);
        }
    }

    /// Some time under load, and then a moment that means something.
    fn await_death(&self, worker: &mut Worker, round: &mut Round) {
        wait::moment(Duration::from_millis(round.dice.below(2_500)));
        let signs: [&dyn Fn() -> u64; 4] = [
            &|| size(&self.at("sink.txt")),
            &|| count(&self.at("finished")) as u64,
            &|| self.groups.iter().map(Group::committed).sum(),
            &|| last_change(&self.at("state")),
        ];
        LIVES.await_death(worker, &mut round.dice, &signs);
    }

    /// Of both sources and of the sink.
    fn await_a_commit(&self, worker: &mut Worker) {
        wait::until("a commit", Duration::from_secs(90), || {
            worker.assert_lives();
            let committed = self.groups.each_ref().map(Group::committed);
            let sources = self.rows_in_state().len();
            if committed.contains(&0) || sources < 2 { Err(format!("{committed:?}, {sources} files")) } else { Ok(()) }
        });
    }

    fn look_at_death(&self) -> Death {
        Death {
            sink_file: usize::try_from(size(&self.at("sink.txt"))).expect("a file of this machine"),
            committed: self.groups.each_ref().map(|group| usize::try_from(group.committed()).expect("an offset")),
            ends: self
                .topics
                .each_ref()
                .map(|topic| usize::try_from(topic::size_if_any(&self.bootstrap, topic)).expect("a length")),
            rows: self.rows_in_state(),
        }
    }

    /// Read from a copy: the worker must find its state as it left it.
    fn rows_in_state(&self) -> BTreeMap<usize, usize> {
        let copy = tempfile::tempdir_in(&self.folder).expect("a folder for the copy");
        fs::copy(self.at("state/offsets.log"), copy.path().join("offsets.log")).expect("the offsets are copied");
        let store = FileStore::open(copy.path()).expect("offsets that can be read");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let number = |value: Option<&Primitive>| match value {
            Some(Primitive::Int(number)) => usize::try_from(*number).expect("a place in a file"),
            other => panic!("no number: {other:?}"),
        };
        let stored = |connector: &str| runtime.block_on(store.offset_store().scan(connector)).expect("its offsets");
        let grows = stored(&self.topics[0]).into_iter().map(|(_, offset)| {
            let position = number(offset.get("position"));
            (0, position / (row(0, 0).len() + 1))
        });
        let files = stored(&self.topics[1]).into_iter().map(|(partition, offset)| {
            let Some(Primitive::Text(path)) = partition.0.get("path") else { panic!("no path: {partition:?}") };
            (feeder::number(path).expect("one of our names"), number(offset.get("records")))
        });
        grows.chain(files).collect()
    }

    /// Counts rows in the sink's file until all are there.
    fn await_every_row(&self, worker: &mut Worker, handed: &Handed) {
        let (mut begin, mut watch) = (0, handed.watch());
        wait::until_rest("every row in the sink file", REST, || {
            worker.assert_lives();
            let bytes = fs::read(self.at("sink.txt")).unwrap_or_default();
            let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(begin, |last| last + 1).max(begin);
            for line in String::from_utf8_lossy(&bytes[begin..end]).lines() {
                watch.see(line);
            }
            begin = end;
            if watch.arrived() == handed.total() { Ok(()) } else { Err(begin as u64) }
        });
        wait::until_rest("every file in finished", REST, || match count(&self.at("finished")) {
            finished if finished + 1 == handed.rows.len() => Ok(()),
            finished => Err(finished as u64),
        });
    }

    /// Every file under its own name with its own content, and no task has failed.
    fn assert_calm(&self, worker: &Worker, handed: &Handed) {
        for file in 1..handed.rows.len() {
            let kept = fs::read_to_string(self.at("finished").join(name(file))).unwrap_or_default();
            assert!(kept == handed.file(file), "{} in finished is not the file that was handed in", name(file));
        }
        assert_eq!((count(&self.at("inbox")), count(&self.at("failed"))), (0, 0), "files are left or have failed");
        let status = worker.rest().get("/connectors?expand=status").expect("REST answers").body.to_string();
        assert!(!status.contains("FAILED"), "{status}");
    }

    /// Nothing lost, and what was repeated begins where the state of the dead worker says. The rows, by offset.
    fn judge_topic(&self, place: usize, handed: &Handed, deaths: &[Death], plan: &Plan, tally: &mut Tally) -> Vec<Row> {
        let handed = handed.only(if place == 0 { 0..1 } else { 1..handed.rows.len() });
        let (mut watch, mut rows) = (handed.watch(), Vec::new());
        topic::visit(&self.bootstrap, &self.topics[place], topic::UNCOMMITTED, |message| {
            use rdkafka::message::Message;
            rows.extend(watch.see(&String::from_utf8_lossy(message.payload().unwrap_or_default())));
        });
        let verdict = watch.verdict();
        verdict.assert_kept(&self.topics[place]);
        assert!(verdict.damaged.is_empty(), "lines that nobody wrote are in the topic: {:?}", verdict.damaged);
        let mut repeats = vec![Repeat::default(); deaths.len()];
        for back in &verdict.returns {
            let death = deaths.iter().rposition(|death| death.ends[place] <= back.at).expect("a death before it");
            let committed = deaths[death].rows.get(&back.file).copied().unwrap_or_default();
            assert!(back.to >= committed, "{back:?} goes back behind row {committed}, committed at death {death}");
            repeats[death].add(back.length(), back.from + 1 - committed);
        }
        note(tally, "the topics", &verdict, &repeats, plan);
        rows
    }

    fn judge_sink(&self, topics: &[Vec<Row>; 2], handed: &Handed, deaths: &[Death], plan: &Plan, tally: &mut Tally) {
        let bytes = fs::read(self.at("sink.txt")).expect("the sink's file");
        let ends = deaths.iter().map(|death| death.sink_file).chain([bytes.len()]);
        let committed = [[0, 0]].into_iter().chain(deaths.iter().map(|death| death.committed));
        let mut lives = [Vec::new(), Vec::new()];
        let (mut watch, mut begin) = (handed.watch(), 0);
        for (end, committed) in ends.zip(committed) {
            let text = String::from_utf8_lossy(&bytes[begin..end]);
            let rows: Vec<Row> =
                text.lines().filter(|line| !line.is_empty()).filter_map(|line| watch.see(line)).collect();
            for place in 0..2 {
                let own = rows.iter().copied().filter(|(file, _)| usize::from(*file > 0) == place).collect();
                lives[place].push(Life { committed: committed[place], rows: own });
            }
            begin = end;
        }
        let verdict = watch.verdict();
        verdict.assert_kept("the sink file");
        assert!(verdict.damaged.len() <= plan.kills, "more torn lines than kills: {:?}", verdict.damaged);
        let mut sum = vec![Repeat::default(); deaths.len()];
        for place in 0..2 {
            let repeats = repeats(&topics[place], &lives[place])
                .unwrap_or_else(|error| panic!("{} in the sink file: {error}", self.topics[place]));
            sum.iter_mut().zip(&repeats[1..]).for_each(|(sum, one)| sum.add(one.repeated, one.uncommitted));
        }
        tally.add("torn lines in the sink file", verdict.damaged.len());
        note(tally, "the sink file", &verdict, &sum, plan);
    }
}

fn note(tally: &mut Tally, place: &str, verdict: &Verdict, repeats: &[Repeat], plan: &Plan) {
    tally.add(&format!("lost in {place}"), verdict.lost_count);
    tally.add(&format!("out of order in {place}"), verdict.early);
    let commits = if plan.rare_commits { "commits every 60 s" } else { "commits every 0.2 s" };
    let uncommitted = repeats.iter().map(|repeat| repeat.uncommitted).sum();
    let most = repeats.iter().map(|repeat| repeat.repeated).max().unwrap_or_default();
    tally.add(&format!("uncommitted in {place} when killed ({commits})"), uncommitted);
    tally.add(&format!("again in {place} ({commits})"), repeats.iter().map(|repeat| repeat.repeated).sum());
    tally.most(&format!("again in {place} after one kill ({commits})"), most);
}
