//! Plays stories to one worker or both, and judges each answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::contender::Contender;
use super::deviations::explain;
use super::table::{Step, Story};
use crate::support::wait;

/// Reads may lag behind what was changed, on Apache's side and on ours.
const LAG: Duration = Duration::from_secs(4);
/// Between two looks at the workers that have to show the same; a fifth of it without Apache's.
const REST: Duration = Duration::from_millis(250);
/// As long as a story has changed nothing.
const CALM: Duration = Duration::from_millis(300);
/// For what has to happen first.
const EVENT: Duration = Duration::from_secs(15);

/// Where Apache's answers come from.
pub(crate) enum Java<'a> {
    Live(&'a Contender),
    /// For each step.
    Recorded(&'a [Json]),
}

/// What came of the stories so far.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) stories: u64,
    /// Answers that differ as rows of the page say, and how often each row is met.
    pub(crate) explained: u64,
    pub(crate) known: BTreeMap<&'static str, u64>,
    pub(crate) different: Vec<String>,
    /// Lines for the record.
    pub(crate) lines: Vec<String>,
}

enum Verdict {
    Same,
    Known(Vec<&'static str>),
    Different,
}

impl Tally {
    /// Plays a story; `number` makes its names unique.
    pub(crate) fn play(&mut self, number: u64, story: &Story, ours: &Contender, java: &Java) {
        for (at, step) in story.steps.iter().enumerate() {
            let patience = match &step.until {
                Some(_) => EVENT,
                None if story.steps[..at].iter().all(Step::is_read) => CALM,
                None => LAG,
            };
            let (of_java, of_ours, verdict) = ask(number, step, patience, ours, java, at);
            self.requests += 1;
            match verdict {
                Verdict::Same => {}
                Verdict::Known(rows) => {
                    for row in rows {
                        *self.known.entry(row).or_default() += 1;
                    }
                    self.explained += 1;
                }
                Verdict::Different => {
                    let mut text = format!("{}: {}\n", story.title, step.line);
                    tell(&mut text, "", &of_java, &of_ours);
                    println!("{text}");
                    self.different.push(text);
                }
            }
            self.lines.push(json!({"story": story.title, "step": step.line, "java": of_java}).to_string());
        }
        self.stories += 1;
        ours.clear(number);
        if let Java::Live(java) = java {
            java.clear(number);
        }
    }

    /// Writes what Apache's worker has answered in the place of what is recorded of the same stories.
    pub(crate) fn record(&self, name: &str) {
        let title =
            |line: &str| serde_json::from_str::<Json>(line).map(|line| line["story"].clone()).unwrap_or_default();
        let played: BTreeSet<String> = self.lines.iter().map(|line| title(line).to_string()).collect();
        let before = fs::read_to_string(record(name)).unwrap_or_default();
        let kept = before.lines().filter(|line| !line.is_empty() && !played.contains(&title(line).to_string()));
        let lines: Vec<&str> = kept.chain(self.lines.iter().map(String::as_str)).collect();
        fs::write(record(name), lines.join("\n") + "\n").expect("a record");
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.stories += other.stories;
        self.explained += other.explained;
        for (row, count) in other.known {
            *self.known.entry(row).or_default() += count;
        }
        self.different.extend(other.different);
    }

    pub(crate) fn check(&self) {
        let Some(first) = self.different.first() else { return };
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rest_compare-different.txt");
        fs::write(&all, self.different.join("\n")).unwrap();
        panic!("{} answers differ from Apache's, all in {}; the first:\n{first}", self.different.len(), all.display());
    }

    /// One line on how far it has come.
    pub(crate) fn show(&self) -> String {
        format!(
            "{} stories, {} requests: {} known differences of {} kinds, {} others",
            self.stories,
            self.requests,
            self.explained,
            self.known.len(),
            self.different.len()
        )
    }
}

/// A read is asked again until both say the same, or time is up; a change that meets a rebalance is made again.
fn ask(
    number: u64,
    step: &Step,
    patience: Duration,
    ours: &Contender,
    java: &Java,
    at: usize,
) -> (Json, Json, Verdict) {
    let of_java = || match java {
        Java::Live(java) => java.ask(number, step),
        Java::Recorded(answers) => answers[at].clone(),
    };
    if !step.is_read() {
        let mut answer = of_java();
        wait::up_to(EVENT, || {
            let busy = is_rebalance(&answer);
            if busy {
                answer = of_java();
            }
            !busy
        });
        let mine = ours.ask(number, step);
        let verdict = judge(step, &answer, &mine);
        return (answer, mine, verdict);
    }
    let (mut last, live) = (None::<(Json, Json, Verdict)>, matches!(java, Java::Live(_)));
    wait::up_to(patience, || {
        let (answer, mine) = (of_java(), ours.ask(number, step));
        let verdict = judge(step, &answer, &mine);
        let wanted = step.until.as_deref();
        let there = wanted.is_none_or(|text| [&answer, &mine].iter().all(|side| side.to_string().contains(text)));
        // Both may be on their way, and agree by chance: what counts is where they have come to rest.
        let rests = last.as_ref().is_some_and(|(before, of_ours, _)| (before, of_ours) == (&answer, &mine));
        let done = there && !matches!(verdict, Verdict::Different) && (rests || patience == CALM);
        if !done && patience != CALM {
            wait::moment(if live { REST } else { REST / 5 });
        }
        last = Some((answer, mine, if there { verdict } else { Verdict::Different }));
        done
    });
    last.expect("asked once at least")
}

fn is_rebalance(answer: &Json) -> bool {
    answer["status"] == 409
        && answer["body"]["message"].as_str().is_some_and(|text| text.starts_with("Cannot complete"))
}

fn judge(step: &Step, java: &Json, ours: &Json) -> Verdict {
    if java == ours {
        return Verdict::Same;
    }
    explain(step, java, ours).map_or(Verdict::Different, Verdict::Known)
}

/// Where two answers differ.
fn tell(text: &mut String, path: &str, java: &Json, ours: &Json) {
    match (java, ours) {
        (Json::Object(left), Json::Object(right)) => {
            let names = left.keys().chain(right.keys().filter(|name| !left.contains_key(*name)));
            for name in names.filter(|name| left.get(*name) != right.get(*name)) {
                tell(text, &format!("{path}/{name}"), &java[name], &ours[name]);
            }
        }
        (Json::Array(left), Json::Array(right)) if left.len() == right.len() => {
            for (at, (java, ours)) in left.iter().zip(right).enumerate().filter(|(_, (java, ours))| java != ours) {
                tell(text, &format!("{path}/{at}"), java, ours);
            }
        }
        _ => {
            let short = |json: &Json| json.to_string().chars().take(1500).collect::<String>();
            writeln!(text, "  {path}\n    java {}\n    ours {}", short(java), short(ours)).expect("room");
        }
    }
}

/// The file of recorded answers.
fn record(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java/recorded/rest").join(format!("{name}.jsonl"))
}

/// Recorded answers by story.
pub(crate) fn recorded(name: &str) -> BTreeMap<String, Vec<(String, Json)>> {
    let mut stories: BTreeMap<String, Vec<(String, Json)>> = BTreeMap::new();
    for line in fs::read_to_string(record(name)).unwrap_or_default().lines() {
        let mut line: Json = serde_json::from_str(line).expect("a recorded line");
        let text = |value: &Json| value.as_str().expect("a text").to_owned();
        stories.entry(text(&line["story"])).or_default().push((text(&line["step"]), line["java"].take()));
    }
    stories
}
