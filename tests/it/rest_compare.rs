//! Our REST beside that of Apache's worker: the same requests to both.
//!
//! The ordinary run replays `tests/java/recorded/rest/`, answers that Apache's worker gave, on the embedded broker. The
//! live run starts Apache Kafka, Apache's worker (Java 17 or newer, the jars of `./test --fetch`) and ours, plays the
//! table and then generated stories; story n is always the same:
//!
//! `PIPETTE_REST_STORIES=200 cargo test -p pipette --test it -- rest_compare::live --ignored --nocapture`
//!
//! It goes on with the story at which the last run stopped, until sources that matter change; `PIPETTE_REST_FROM=500`
//! starts elsewhere, and `PIPETTE_REST_ONLY=restarts` leaves out stories without that in their title.
//! `PIPETTE_REST_RECORD=1` writes Apache's answers into the tree. What real clients say of both is played alone with
//! `PIPETTE_REST_FROM=0 PIPETTE_REST_STORIES=0 PIPETTE_REST_ONLY=client`.
//!
//! Read `table.rs`, then `comparison.rs`; `clients.rs` has real clients in the place of requests, `generated.rs` makes stories up, `answer.rs` says what is compared, and
//! `deviations.rs` which differences are meant. `wire.rs` and `contender.rs` talk to the workers.

mod answer;
mod clients;
mod comparison;
mod contender;
mod deviations;
mod generated;
mod table;
mod wire;

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use self::comparison::{Java, Tally, recorded};
use self::contender::Contender;
use self::table::{Stage, Story};
use crate::support::embedded;
use crate::support::figures;
use crate::support::kafka::ApacheKafka;
use crate::support::resume::Resume;

const STAGES: [Stage; 4] = [Stage::Plain, Stage::Cors, Stage::Quiet, Stage::Locked];
/// How many generated stories are played if nobody says; as many are recorded.
const RECORDED: u64 = 60;
/// Stories of the table have numbers from here on.
const OF_TABLE: u64 = 100_000;
/// Stories of clients have numbers from here on.
const OF_CLIENTS: u64 = 200_000;
/// The names of the records of generated stories and of clients.
const GENERATED: &str = "generated";
const CLIENTS: &str = "clients";

/// What a live run depends on.
const SOURCES: [&str; 6] =
    ["tests/it/rest_compare.rs", "tests/it/rest_compare", "tests/java/rest", "src/rest", "src/herder", "src/settings"];

#[test]
fn recorded_answers_of_apaches_worker_are_ours() {
    let mut tally = Tally::default();
    for stage in STAGES {
        let mut stories: Vec<(u64, Story)> = (OF_TABLE..).zip(table::stories()).collect();
        stories.retain(|(_, story)| story.stage == stage);
        replay(&mut tally, stage, stage.name(), &stories);
    }
    let numbers = recorded(GENERATED).into_keys().filter_map(|title| title.strip_prefix("story ")?.parse().ok());
    let stories: Vec<(u64, Story)> = numbers.map(|number| (number, generated::story(number))).collect();
    assert!(stories.len() >= 50, "a record of a few stories proves nothing");
    replay(&mut tally, Stage::Plain, GENERATED, &stories);
    println!("{}", tally.show());
    tally.check();
    let needed: BTreeSet<&str> = tally.known.keys().copied().collect();
    let rows = deviations::DEVIATIONS.iter().map(|known| known.row);
    let never: BTreeSet<&str> =
        rows.filter(|row| !needed.contains(row) && !deviations::ONLY_LIVE.contains(row)).collect();
    assert!(never.is_empty(), "deviations that no recorded answer needs: {never:?}");
}

/// What people's clients say when they speak to ours is what they said when they spoke to Apache's.
#[test]
fn clients_say_of_ours_what_they_say_of_apaches() {
    let mut tally = Tally::default();
    let stories: Vec<(u64, Story)> = (OF_CLIENTS..).zip(clients::stories()).collect();
    replay(&mut tally, Stage::Plain, CLIENTS, &stories);
    figures::record("clients", &tally.show());
    tally.check();
}

/// Each known difference is one that users can read about.
#[test]
fn known_differences_are_rows_of_the_page() {
    let rows = deviations::DEVIATIONS.iter().map(|known| known.row);
    crate::java_compare::same_rows("REST", rows.chain(deviations::NOT_COMPARED.iter().copied()).collect());
}

/// Plays recorded stories to a worker of ours on the embedded broker.
fn replay(tally: &mut Tally, stage: Stage, name: &str, stories: &[(u64, Story)]) {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = embedded::broker(folder.path());
    let ours = Contender::ours(folder.path(), &broker.address().to_string(), stage);
    let answers = recorded(name);
    for (number, story) in stories {
        let (steps, java): (Vec<String>, Vec<Json>) =
            answers.get(&story.title).cloned().unwrap_or_default().into_iter().unzip();
        let lines: Vec<&str> = story.steps.iter().map(|step| step.line.as_str()).collect();
        assert_eq!(steps, lines, "{}: the record is older than the table; record again", story.title);
        tally.play(*number, story, &ours, &Java::Recorded(&java));
    }
}

#[test]
#[ignore = "needs Java and Apache's jars; the command stands in the module's head"]
fn live() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (count, from) = (number("PIPETTE_REST_STORIES").unwrap_or(RECORDED), number("PIPETTE_REST_FROM"));
    let recording = std::env::var_os("PIPETTE_REST_RECORD").is_some();
    let only = std::env::var("PIPETTE_REST_ONLY").unwrap_or_default();
    let progress = Resume::of("rest_compare", &SOURCES);
    let saved = progress.load().filter(|_| from.is_none() && !recording);
    let mut next = from.or_else(|| saved?["next"].as_u64()).unwrap_or(0);
    let folder = tempfile::Builder::new().prefix("rest-compare-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
    let folder = folder.expect("a folder");
    let kafka = ApacheKafka::start(&folder.path().join("kafka"), &[]);
    let mut all = Tally::default();
    for stage in STAGES {
        let place = folder.path().join(stage.name());
        let ours = Contender::ours(&place, &kafka.bootstrap(), stage);
        let java = Contender::java(&place, &kafka.bootstrap(), stage);
        let mut play = |name: &str, stories: Vec<(u64, Story)>| {
            let mut tally = Tally::default();
            for (number, story) in stories.iter().filter(|(_, story)| story.title.contains(&only)) {
                tally.play(*number, story, &ours, &Java::Live(&java));
                println!("{}: {}", story.title, tally.show());
            }
            if recording {
                tally.record(name);
            }
            all.add(tally);
        };
        // Clients list all connectors, and the table leaves some that clients cannot name.
        if stage == Stage::Plain && (next == 0 || from.is_some()) {
            play(CLIENTS, (OF_CLIENTS..).zip(clients::stories()).collect());
        }
        // A run that goes on has played the table before.
        if next == 0 || from.is_some() {
            let stories = (OF_TABLE..).zip(table::stories());
            play(stage.name(), stories.filter(|(_, story)| story.stage == stage).collect());
        }
        if stage == Stage::Plain {
            let end = next + count;
            play(GENERATED, (next..end).map(|number| (number, generated::story(number))).collect());
            next = end;
        }
    }
    figures::record("rest_compare", &all.show());
    all.check();
    if from.is_none() && !recording && only.is_empty() {
        progress.save(&json!({"next": next}));
    }
}
