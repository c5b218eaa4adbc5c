//! `pipette dlq replay`: puts dead letters of a running worker's connector back, and waits for what becomes of them.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use pipette_api::{ConnectError, Result};
use serde_json::{Map, Value};

use super::reach;
use crate::console::say;
use crate::rest::route::encode;

/// How often the worker is asked how it goes.
const LOOK: Duration = Duration::from_millis(200);

pub(super) fn command() -> Command {
    let text = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help);
    let replay = Command::new("replay")
        .about("Put dead letters of a sink back through its converters, its chain and the sink")
        .arg(Arg::new("CONNECTOR").required(true).help("The connector"))
        .arg(text(
            "from",
            "First letter: an offset in the dead letter topic, or a time [default: behind the last replay]",
        ))
        .arg(text("to", "First letter left out: an offset or a time [default: the end of the topic]"))
        .arg(text("max", "Letters at most [default: 1000]").value_parser(value_parser!(u64)))
        .arg(text("dry-run", "Only say what would become of them").action(ArgAction::SetTrue))
        .arg(text("url", "The worker").default_value("http://127.0.0.1:8083"))
        .args(reach::arguments())
        .after_help(
            "\
Examples:
  pipette dlq replay rows-out --dry-run
  pipette dlq replay rows-out
  pipette dlq replay rows-out --from 17 --to 20
  pipette dlq replay rows-out --from 2026-11-25T08:00:00Z

Prints a line for each letter, in JSON. Exits with 0 if none failed again, else with 1. A letter that fails again is in
the topic anew; with --from it stays where it is.",
        );
    Command::new("dlq").about("Dead letters of a running worker").subcommand_required(true).subcommand(replay)
}

pub(super) fn run(matches: &ArgMatches) -> Result<()> {
    let Some(("replay", matches)) = matches.subcommand() else { unreachable!("clap asks for one") };
    let text = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let (url, name) = (text("url").unwrap_or_default(), text("CONNECTOR").unwrap_or_default());
    let url = format!("{}/connectors/{}/dlq/replay", url.trim_end_matches('/'), encode(name));
    let mut asked = Map::new();
    for bound in ["from", "to"] {
        if let Some(text) = text(bound) {
            // What is no number is a time, or is refused by the worker, which says what can stand here.
            let value = text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from);
            asked.insert(bound.into(), value);
        }
    }
    if let Some(max) = matches.get_one::<u64>("max") {
        asked.insert("max".into(), (*max).into());
    }
    asked.insert("dry_run".into(), matches.get_flag("dry-run").into());
    let client = reach::client(matches)?;
    client.post(&url, &Value::Object(asked).to_string())?;
    loop {
        let report = client.get(&url)?;
        let unreadable = |error| ConnectError::fatal(format!("{url} answers what is no report")).because(error);
        let report: Value = serde_json::from_str(&report).map_err(unreadable)?;
        if report["state"] == "RUNNING" {
            std::thread::sleep(LOOK);
            continue;
        }
        return told(&report);
    }
}

fn told(report: &Value) -> Result<()> {
    let letters = report["letters"].as_array().map(Vec::as_slice).unwrap_or_default();
    for letter in letters {
        say(&format!("{letter}\n"))?;
    }
    let count = |word: &str| report[word].as_u64().unwrap_or_default();
    let counts = ["ready", "replayed", "filtered", "skipped", "failed"].map(|word| format!("{} {word}", count(word)));
    say(&format!("{}: {}\n", report["topic"].as_str().unwrap_or_default(), counts.join(", ")))?;
    match (report["error"].as_str(), report["state"].as_str(), count("failed")) {
        (Some(error), ..) => Err(ConnectError::fatal(format!("The replay ended early: {error}"))),
        (None, Some("DONE"), 0) => Ok(()),
        (None, Some("DONE"), failed) => Err(ConnectError::fatal(format!("{failed} letters failed again"))),
        _ => Err(ConnectError::fatal("The replay was stopped before its end")),
    }
}
