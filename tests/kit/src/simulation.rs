//! The seeded simulator: runs a world through thousands of seeds, and turns a seed that fails into the shortest list of
//! steps that still does, with a trace of what happened.
//!
//! A world is a function of a [`Run`]: it is set up by the run's dice, moved by its steps, and panics (`assert!`) when a
//! promise is broken. `PIPETTE_SIM_SEEDS` sets how many seeds each simulation tries, `PIPETTE_SIM_SEED` runs one only.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Once;
use std::time::{Duration, Instant};

use crate::dice::Dice;

/// How long a failing seed is made shorter.
const SHRINKING: Duration = Duration::from_secs(20);
/// How often a failure is looked for that does not come each time.
const AGAIN: usize = 20;
/// The set-up of a world and its steps are different streams of chance: a step that is left out changes no other.
const SETUP: u64 = 0x5E70_FA30_81D0_0D1C;

/// One simulation: a world, and how much of it is tried.
#[derive(Debug, Clone, Copy)]
pub struct Simulation {
    /// Its name in figures and failures.
    pub name: &'static str,
    /// Seeds, unless the environment says otherwise.
    pub seeds: u64,
    /// Steps at most.
    pub steps: u64,
}

/// One life of a world.
#[derive(Debug)]
pub struct Run {
    /// For the set-up, which is the same whatever steps are taken.
    pub dice: Dice,
    steps: std::vec::IntoIter<u64>,
    taken: u64,
    traced: bool,
    trace: Vec<String>,
}

impl Run {
    fn new(seed: u64, steps: Vec<u64>, traced: bool) -> Self {
        let dice = Dice(seed ^ SETUP);
        Self { dice, steps: steps.into_iter(), taken: 0, traced, trace: Vec::new() }
    }

    /// The dice of the next step; `None` at the end of the list.
    pub fn step(&mut self) -> Option<Dice> {
        let step = self.steps.next()?;
        self.taken += 1;
        Some(Dice(step))
    }

    /// Writes down what happened, when this life is told.
    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if self.traced {
            let line = what();
            self.trace.push(format!("{:>4}  {line}", self.taken));
        }
    }
}

struct Failure {
    what: String,
    trace: Vec<String>,
}

thread_local! {
    static SIMULATING: Cell<bool> = const { Cell::new(false) };
    static BROKEN: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Panics of a simulated world are kept for its report instead of being printed, thousands of them while shrinking.
fn listen_to_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if SIMULATING.get() {
                BROKEN.with_borrow_mut(|broken| *broken = Some(info.to_string()));
            } else {
                usual(info);
            }
        }));
    });
}

/// A number of the environment.
fn asked(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name} is \"{text}\", not a whole number: {error}")))
}

impl Simulation {
    /// Tries every seed. Panics with the shortest failure of the first that fails.
    pub fn run(&self, world: impl Fn(&mut Run)) {
        self.record(&self.try_all(world));
    }

    fn try_all(&self, world: impl Fn(&mut Run)) -> String {
        listen_to_panics();
        let seeds = match asked("PIPETTE_SIM_SEED") {
            Some(seed) => seed..seed + 1,
            None => 0..asked("PIPETTE_SIM_SEEDS").unwrap_or(self.seeds),
        };
        let (begun, mut steps) = (Instant::now(), 0);
        for seed in seeds.clone() {
            match life(seed, self.steps_of(seed), false, &world) {
                Ok(taken) => steps += taken,
                Err(failure) => self.tell(seed, failure, &world),
            }
        }
        let (count, seconds) = (seeds.end - seeds.start, begun.elapsed().as_secs_f64());
        format!("{count} seeds, {steps} steps, {seconds:.1} s")
    }

    /// Tries one seed that once failed: a test of its own keeps it from failing again.
    pub fn replay(&self, seed: u64, world: impl Fn(&mut Run)) {
        listen_to_panics();
        if let Err(failure) = life(seed, self.steps_of(seed), false, &world) {
            self.tell(seed, failure, &world);
        }
    }

    fn steps_of(&self, seed: u64) -> Vec<u64> {
        let mut dice = Dice(seed);
        let count = 1 + dice.below(self.steps);
        (0..count).map(|_| dice.bits()).collect()
    }

    fn tell(&self, seed: u64, first: Failure, world: &impl Fn(&mut Run)) -> ! {
        let all = self.steps_of(seed);
        let steps = shortest(seed, &all, world);
        let again = (0..AGAIN).find_map(|_| life(seed, steps.clone(), true, world).err());
        let mut text =
            format!("{}: PIPETTE_SIM_SEED={seed} fails with {} of its {} steps", self.name, steps.len(), all.len());
        // Which of two things that are ready goes first is tokio's choice: a world with a runtime may need luck.
        text += if again.is_some() { ":\n" } else { ", though not each time:\n" };
        let Failure { what, trace } = again.unwrap_or(first);
        let _ = write!(text, "{what}\n\n{}\n", trace.join("\n"));
        panic!("{text}");
    }

    /// Leaves the figures where `./test` shows them at its end.
    fn record(&self, line: &str) {
        let Some(folder) = figures() else { return };
        let name = format!("simulator_{}", self.name);
        // Figures only: a disk that is full fails no simulation.
        let _ = std::fs::create_dir_all(&folder);
        let _ = std::fs::write(folder.join(format!("{name}.txt")), format!("{name}: {line}\n"));
    }
}

/// `target/tmp/figures` of the build this runs from.
fn figures() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    program.ancestors().nth(3).map(|target| target.join("tmp/figures"))
}

fn life(seed: u64, steps: Vec<u64>, traced: bool, world: &impl Fn(&mut Run)) -> Result<u64, Failure> {
    let mut run = Run::new(seed, steps, traced);
    SIMULATING.set(true);
    let lived = catch_unwind(AssertUnwindSafe(|| world(&mut run)));
    SIMULATING.set(false);
    let broken = BROKEN.take();
    match lived {
        Ok(()) => Ok(run.taken),
        Err(_) => Err(Failure { what: broken.unwrap_or_default(), trace: run.trace }),
    }
}

/// Leaves out steps, many at once and then few, as long as what is left still fails.
fn shortest(seed: u64, steps: &[u64], world: &impl Fn(&mut Run)) -> Vec<u64> {
    let deadline = Instant::now() + SHRINKING;
    let mut steps = steps.to_vec();
    let mut size = steps.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < steps.len() {
            if Instant::now() >= deadline {
                return steps;
            }
            let mut fewer = steps.clone();
            fewer.drain(at..(at + size).min(steps.len()));
            if life(seed, fewer.clone(), false, world).is_err() {
                steps = fewer;
            } else {
                at += size;
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: Simulation = Simulation { name: "of_itself", seeds: 200, steps: 60 };

    fn world(run: &mut Run, limit: u64) {
        let mut large = 0;
        while let Some(mut dice) = run.step() {
            let drawn = dice.below(100);
            run.note(|| format!("drew {drawn}"));
            large += u64::from(drawn > 80);
            assert!(large < limit, "too many large numbers");
        }
    }

    #[test]
    fn a_failing_seed_is_told_with_the_steps_that_matter_only() {
        SUM.try_all(|run| world(run, 1000));
        let told = catch_unwind(|| SUM.try_all(|run| world(run, 3))).unwrap_err();
        let told = told.downcast_ref::<String>().unwrap();
        assert!(told.contains("PIPETTE_SIM_SEED=") && told.contains("with 3 of its"), "{told}");
        assert_eq!(told.matches("drew").count(), 3, "{told}");
        assert!(told.contains("too many large numbers"), "{told}");
    }
}
