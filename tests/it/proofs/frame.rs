//! A long proof as rounds that stand alone: what a round finds is kept before the next begins, so a run may stop anywhere.
//!
//! * Each round has a seed of its own, made from the run's: `PIPETTE_PROOF_SEED` repeats a run.
//! * `PIPETTE_PROOF_ROUNDS=2` tries two rounds: nothing is kept and nothing goes into the pages.
//! * What was kept holds for one state of the sources (`support/resume.rs`).

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::machine::circumstances;
use super::tally::Tally;
use crate::support::figures;
use crate::support::resume::Resume;
use pipette_kit::Dice;

/// What the figures of every proof depend on.
const SOURCES: [&str; 9] = [
    "Cargo.lock",
    "api/src",
    "connectors",
    "libs",
    "src",
    "tests/it/checker.rs",
    "tests/it/proofs",
    "tests/it/support",
    "transforms",
];

/// A proof by its name, which is that of its module and of its page.
pub(crate) struct Proof {
    pub(crate) name: &'static str,
    /// Of the long form.
    pub(crate) rounds: usize,
}

/// One round, as the proof plays it.
pub(crate) struct Round {
    /// Counted from 0.
    pub(crate) number: usize,
    pub(crate) dice: Dice,
}

impl Proof {
    /// All rounds that have not been played yet. A round fails by panicking, and is then played again by the next run.
    pub(crate) fn long(&self, play: impl FnMut(&mut Round) -> Tally) {
        let resume = Resume::of(&format!("proofs/{}", self.name), &SOURCES);
        if let Some(rounds) = number("PIPETTE_PROOF_ROUNDS") {
            let rounds = usize::try_from(rounds).expect("a small number");
            let figures = self.play(rounds, Played::nothing(), play, |_| {});
            println!("{}: a trial of {rounds} rounds, not recorded: {figures}", self.name);
        } else {
            let played = resume.load().and_then(|saved| Played::of_json(&saved)).unwrap_or_else(Played::nothing);
            let figures = self.play(self.rounds, played, play, |played| resume.save(&played.to_json()));
            self.append(&figures);
            resume.forget();
        }
    }

    /// The shortened form: one round, with a number that the long form does not have.
    pub(crate) fn short(&self, play: impl FnMut(&mut Round) -> Tally) {
        let played = Played { rounds: self.rounds, ..Played::nothing() };
        let figures = self.play(self.rounds + 1, played, play, |_| {});
        figures::record(&format!("{}_short", self.name), &figures);
    }

    fn play(
        &self,
        rounds: usize,
        mut played: Played,
        mut play: impl FnMut(&mut Round) -> Tally,
        keep: impl Fn(&Played),
    ) -> String {
        let first = played.rounds;
        println!("{}: PIPETTE_PROOF_SEED={}, {} rounds to play", self.name, played.seed, rounds - first);
        for number in first..rounds {
            let seed = Dice(played.seed.wrapping_add(number as u64)).bits();
            let started = Instant::now();
            let tally = play(&mut Round { number, dice: Dice(seed) });
            played.rounds += 1;
            played.seconds += started.elapsed().as_secs_f64();
            played.tally.append(&tally);
            keep(&played);
            println!(
                "{}: round {} of {rounds}: {tally}, {:.0} s",
                self.name,
                number + 1,
                started.elapsed().as_secs_f64()
            );
        }
        format!("seed {}, {}, {:.0} s", played.seed, played.tally, played.seconds)
    }

    /// The page grows: old lines show the trend.
    fn append(&self, figures: &str) {
        figures::record(self.name, figures);
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/proofs/{}.md", self.name));
        let command =
            format!("cargo test --profile perf -p pipette --test it -- proofs::{} --ignored --nocapture", self.name);
        let head = if page.exists() { String::new() } else { format!("# {}\n", self.name) };
        let text = format!(
            "{head}\n| date | commit | machine | build | command |\n|---|---|---|---|---|\n| {} | `{command}` |\n\n```\n{}: \
             {figures}\n```\n",
            circumstances(),
            self.name,
        );
        let mut page = File::options().create(true).append(true).open(&page).expect("the proof's page");
        page.write_all(text.as_bytes()).expect("the figures are in the page");
    }
}

/// What is kept between two runs.
struct Played {
    seed: u64,
    rounds: usize,
    seconds: f64,
    tally: Tally,
}

impl Played {
    fn nothing() -> Self {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_secs();
        let seed = number("PIPETTE_PROOF_SEED").unwrap_or_else(now);
        Self { seed, rounds: 0, seconds: 0.0, tally: Tally::default() }
    }

    fn to_json(&self) -> Value {
        json!({"seed": self.seed, "rounds": self.rounds, "seconds": self.seconds, "tally": self.tally.to_json()})
    }

    fn of_json(json: &Value) -> Option<Self> {
        let rounds = usize::try_from(json["rounds"].as_u64()?).ok()?;
        let (seed, seconds) = (json["seed"].as_u64()?, json["seconds"].as_f64()?);
        Some(Self { seed, rounds, seconds, tally: Tally::of_json(&json["tally"])? })
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a whole number")))
}

#[test]
fn a_run_that_stops_goes_on_with_what_it_had() {
    let proof = Proof { name: "frame", rounds: 3 };
    let kept = std::cell::RefCell::new(Value::Null);
    let play = |fails_at: usize| {
        move |round: &mut Round| {
            assert!(round.number != fails_at, "a round that fails");
            let mut tally = Tally::default();
            tally.add("rounds", 1);
            tally.most("as dice", usize::try_from(round.dice.below(1_000_000)).unwrap());
            tally
        }
    };
    let keep = |played: &Played| *kept.borrow_mut() = played.to_json();
    let start = || Played { seed: 7, ..Played::nothing() };
    let whole = proof.play(3, start(), play(9), |_| {});
    let stopped = std::panic::AssertUnwindSafe(|| proof.play(3, start(), play(2), keep));
    assert!(std::panic::catch_unwind(stopped).is_err());
    let rest = Played::of_json(&kept.borrow()).unwrap();
    assert_eq!(rest.rounds, 2);
    assert_eq!(proof.play(3, rest, play(0), |_| {}), whole, "the first two rounds are not played again");
    assert!(whole.starts_with("seed 7, 3 rounds, at most "), "{whole}");
}
