//! Kills between upload, produce and commit: files of many sizes, some of one content, go through ClaimCheck into S3 or a
//! folder while the worker is killed again and again. Each reference in Kafka leads to an object with what it promises, each
//! content is one object, each file is told of, and nothing half uploaded is left once a restart has caught up.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pipette_kit::Dice;
use pipette_store::Digest;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::frame::{Proof, Round};
use super::pieces::put;
use super::place::{Place, TOPIC, Told, digest};
use super::tally::Tally;
use crate::support::bucket::Bucket;
use crate::support::death::{Lives, count};
use crate::support::worker::Worker;
use crate::support::{embedded, topic, wait};

const PROOF: Proof = Proof { name: "claim_kills", rounds: 6 };
const PATIENCE: Duration = Duration::from_mins(2);
/// So that most of the larger files go in parts.
const PART: &str = "5242880";

struct Plan {
    kills: usize,
    bucket: bool,
    /// Of the files that come before each kill.
    files: u64,
}

#[test]
#[ignore = "five minutes; the command stands in docs/proofs/README.md"]
fn long() {
    // The last round goes into a folder.
    PROOF.long(|round| play(round, &Plan { kills: 10, bucket: round.number + 1 < PROOF.rounds, files: 6 }));
}

#[test]
fn short() {
    PROOF.short(|round| {
        let mut tally = play(round, &Plan { kills: 3, bucket: true, files: 3 });
        tally.append(&play(round, &Plan { kills: 1, bucket: false, files: 3 }));
        tally
    });
}

fn play(round: &mut Round, plan: &Plan) -> Tally {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let mut lab = Lab::open(folder.path());
    let place = if plan.bucket {
        Place::Bucket(Bucket::start(&folder.path().join("s3")))
    } else {
        Place::folder(&folder.path().join("store"))
    };
    let broker = embedded::broker(folder.path());
    let bootstrap = broker.address().to_string();
    topic::create(&bootstrap, TOPIC, 1, &[]);
    let reader: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &bootstrap).create().expect("a client");
    let stored = || reader.fetch_watermarks(TOPIC, 0, PATIENCE).map_or(0, |(_, end)| u64::try_from(end).unwrap_or(0));
    let inbox = folder.path().join("inbox");

    let mut worker = Worker::prepare(folder.path(), &bootstrap, &[]);
    worker.start();
    let keys = [("threshold.bytes", "1000"), ("part.size.bytes", PART)];
    put(&worker, "in", &place.source(folder.path(), &keys));
    let lives = Lives { blind: Duration::from_millis(1500), longest: Duration::from_secs(5) };
    let (traces, objects, left) = (|| place.traces(), || place.objects().len() as u64, || count(&inbox) as u64);
    let mut open_when_killed = 0;
    for _ in 0..plan.kills {
        for _ in 0..=round.dice.below(plan.files) {
            lab.drop_in(&mut round.dice);
        }
        lives.await_death(&mut worker, &mut round.dice, &[&traces, &traces, &objects, &stored, &left]);
        worker.kill();
        open_when_killed += place.open();
        worker.start();
        // Else the next kill meets a worker that clears away what the last one left.
        if round.dice.below(4) > 0 {
            catch_up(&mut worker, &inbox, &place);
        }
    }
    catch_up(&mut worker, &inbox, &place);
    assert!(worker.stop().success(), "SIGTERM must end the worker with exit code 0");
    assert!(!worker.log().contains("panicked"), "the worker panicked");
    let mut tally = Tally::default();
    let name = if plan.bucket { "kills of the worker before S3" } else { "kills of the worker before a folder" };
    tally.add(name, plan.kills);
    tally.add("uploads open when killed", open_when_killed);
    judge(&lab, &place, &bootstrap, &mut tally);
    tally
}

/// Until every file is deleted, which is what comes last; and then nothing half uploaded is left.
fn catch_up(worker: &mut Worker, inbox: &Path, place: &Place) {
    wait::until("every file in Kafka", PATIENCE, || {
        worker.assert_lives();
        let told = || worker.rest().get("/connectors/in/files").expect("REST answers").body.to_string();
        if count(inbox) == 0 { Ok(()) } else { Err(format!("{} files are left: {}", count(inbox), told())) }
    });
    assert_eq!(place.open(), 0, "uploads are left after the restart:\n{}", worker.log());
}

fn judge(lab: &Lab, place: &Place, bootstrap: &str, tally: &mut Tally) {
    let contents: BTreeSet<&String> = lab.files.values().collect();
    let found: BTreeMap<PathBuf, String> =
        place.objects().into_iter().map(|path| (path.clone(), format!("sha256:{}", digest(&path).hex()))).collect();
    let mut days = BTreeSet::new();
    for (path, digest) in &found {
        let mut parts = path.iter().rev().map(|part| part.to_string_lossy().into_owned());
        assert_eq!(format!("sha256:{}", parts.next().expect("a name")), *digest, "{} is not its name", path.display());
        days.insert(parts.next().expect("a day"));
        assert!(contents.contains(digest), "nobody handed over {}", path.display());
    }
    // Whoever is killed before midnight and restarted behind it stores a content once more: objects expire by their day.
    assert!(
        found.len() >= contents.len() && found.len() <= contents.len() * days.len(),
        "{} objects of {} contents on {days:?}",
        found.len(),
        contents.len()
    );
    let records = topic::records(bootstrap, TOPIC);
    let mut named = BTreeSet::new();
    for record in &records {
        let name = record.key.as_deref().expect("the name of a file");
        let told = Told::by(record);
        assert_eq!(Some(&told.digest), lab.files.get(name), "the reference for {name}");
        let object = place.object(&told.uri);
        assert_eq!(found.get(&object), Some(&told.digest), "{name} dangles: {}", told.uri);
        assert_eq!(fs::metadata(&object).expect("an object").len(), told.size, "the size of {name}");
        named.insert(name.to_owned());
    }
    assert_eq!(named.len(), lab.files.len(), "files that nobody is told of");
    assert_eq!(count(&lab.folder.join("failed")), 0, "files have failed");
    tally.add("files", lab.files.len());
    tally.add("contents", contents.len());
    tally.add("objects", found.len());
    tally.add("references", records.len());
    tally.add("references that came again", records.len() - named.len());
    tally.add("dangling", 0);
    tally.add("uploads left", place.open());
}

/// A lab server that puts files into a folder.
struct Lab {
    folder: PathBuf,
    /// Digests by name.
    files: BTreeMap<String, String>,
    seeds: Vec<(u64, usize)>,
}

impl Lab {
    fn open(folder: &Path) -> Self {
        for name in ["inbox", "failed"] {
            fs::create_dir(folder.join(name)).expect("a folder");
        }
        Self { folder: folder.to_owned(), files: BTreeMap::new(), seeds: Vec::new() }
    }

    /// One of a kilobyte to 14 MB; each fourth has the content of another.
    fn drop_in(&mut self, dice: &mut Dice) {
        let again = dice.percent(25).then(|| dice.pick(&self.seeds)).flatten();
        let (seed, len) = again.unwrap_or_else(|| {
            let most = if dice.percent(50) { 2_000_000 } else { 14_000_000 };
            (dice.bits(), 1_000 + dice.index(most))
        });
        self.seeds.push((seed, len));
        let mut words = Dice(seed);
        let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| words.bits().to_le_bytes()).collect();
        bytes.truncate(len);
        let name = format!("plate-{:04}.bin", self.files.len());
        let hidden = self.folder.join(".hidden");
        fs::write(&hidden, &bytes).expect("a file");
        fs::rename(&hidden, self.folder.join("inbox").join(&name)).expect("its name");
        self.files.insert(name, format!("sha256:{}", Digest::of(&bytes).hex()));
    }
}
