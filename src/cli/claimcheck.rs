//! `pipette claimcheck`: rules for stores, and what is left in them.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use pipette_api::{ConfigMap, ConnectError, Result};
use pipette_store::Object;

use super::{Outcome, file_argument, path, worker_config};
use crate::claimcheck::Place;
use crate::claimcheck::gc::{self, Errand, Report, Voice};
use crate::claimcheck::lifecycle::{self, Kept};
use crate::console::{Failure, say};
use crate::kafka::admin::Admin;
use crate::kafka::lifetime::Lifetime;
use crate::kafka::properties;
use crate::settings::file;
use crate::settings::worker::WorkerConfig;
use crate::telemetry;

pub(super) fn command() -> Command {
    Command::new("claimcheck")
        .about("Look after what connectors have put into object stores")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([lifecycle_command(), gc_command()])
}

fn common(command: Command) -> Command {
    command
        .arg(
            file_argument("CONFIG", "Connector file with ClaimCheck or output.mode=claim-check, JSON or properties")
                .required(true),
        )
        .arg(
            file_argument("worker", "Worker file: which Kafka, and how to reach it")
                .long("worker")
                .value_name("WORKER")
                .required(true),
        )
        .arg(
            Arg::new("topic")
                .long("topic")
                .value_name("NAME")
                .action(ArgAction::Append)
                .help("A topic with records of the connector, once for each [default: the connector's `topic`]"),
        )
        .arg(flag(
            "all-topics-given",
            "No topics but these refer to the folder; asked for when key.prefix has no ${topic}",
        ))
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn span_argument(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("TIME").value_parser(value_parser!(Span)).help(help)
}

fn lifecycle_command() -> Command {
    common(Command::new("lifecycle"))
        .about("Print the rules by which a bucket takes objects away once no record refers to them")
        .arg(span_argument("margin", "How much longer than their records objects live").default_value("7d"))
        .arg(span_argument("retention", "How long records can be read, instead of asking Kafka"))
        .after_help(
            "\
Examples:
  pipette claimcheck lifecycle images.json --worker worker.properties > rules.json
  pipette claimcheck lifecycle images.json --worker worker.properties --margin 30d

The rules are JSON for S3 and its like, Google Cloud Storage or Azure, as store.uri says; for a folder, a command. They
also abort uploads in parts that nobody has ended. What to do with them is told beside (on stderr).

An object lives for retention.ms + segment.ms of its topic (Kafka deletes whole segments), a day in which other records
may come to refer to it, and the margin: as long as the longest upload, and as records may be late. Topics that keep
records for ever get no expiry.",
        )
}

fn gc_command() -> Command {
    common(Command::new("gc"))
        .about("Find the objects that no record refers to any more, and take them away if told to")
        .arg(flag("delete", "Delete them; without it nothing is changed"))
        .arg(span_argument("grace", "Leave younger objects alone").default_value("7d"))
        .arg(
            Arg::new("topic-deleted")
                .long("topic-deleted")
                .value_name("NAME")
                .action(ArgAction::Append)
                .help("A topic that is gone for good: all its objects are orphans"),
        )
        .arg(flag("stopped", "No connector writes to the store now; asked for when key.template has no ${date}"))
        .arg(flag("even-all", "Go on although no record refers to any object"))
        .after_help(
            "\
Examples:
  pipette claimcheck gc images.json --worker worker.properties
  pipette claimcheck gc images.json --worker worker.properties --delete
  pipette claimcheck gc images.json --worker worker.properties --topic images --topic images.copy
  pipette claimcheck gc images.json --worker worker.properties --topic-deleted old.images --delete

Prints a line for each orphan (address and bytes), then a summary; progress is on stderr. All records of the topics are
read. A record refers to an object wherever the digits of its name stand in it. Files that the connector cannot have put
there are left alone. Nothing is deleted when a topic is missing or cannot be read to its end, a reference cannot be read,
or no record refers to any object.

Name every topic that holds its records, also dead letters, and what a transformation behind ClaimCheck or a mirror made.
--grace must be longer than any upload, and than a record may wait for Kafka: 25h and retry.timeout.ms at least.

Exits with 0 if all went well, else with 1.",
        )
}

pub(super) fn run(matches: &ArgMatches, levels: &str) -> Outcome {
    let usage = |error| Failure { code: 1, error };
    telemetry::start(levels).map_err(usage)?;
    match matches.subcommand() {
        Some(("lifecycle", matches)) => print_rules(matches).map_err(usage),
        Some(("gc", matches)) => collect(matches).map_err(usage),
        _ => unreachable!("clap asks for one of both"),
    }
}

fn names(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches.get_many::<String>(name).unwrap_or_default().cloned().collect()
}

fn span(matches: &ArgMatches, name: &str) -> Option<Duration> {
    matches.get_one::<Span>(name).map(|span| span.0)
}

fn places(matches: &ArgMatches, worker: &WorkerConfig, gone: &[String]) -> Result<Vec<Place>> {
    let path = path(matches, "CONFIG");
    let connector = file::connector(path)?;
    let config = worker.providers.resolve(&connector.config)?;
    let topics = names(matches, "topic");
    Place::all(&connector.name, &config, &topics, gone, &worker.reach).map_err(|error| error.within(path.display()))
}

fn print_rules(matches: &ArgMatches) -> Result<()> {
    let worker = worker_config(path(matches, "worker"))?;
    let places = places(matches, &worker, &[])?;
    let mut kept = Vec::new();
    for place in &places {
        let records = match span(matches, "retention") {
            Some(retention) => Some(retention),
            None => lifetime(&worker, &place.topic)?.longest(),
        };
        kept.push(Kept { place, records });
    }
    if let Some(place) = places.iter().find(|place| place.shared && !matches.get_flag("all-topics-given")) {
        return Err(ConnectError::config(format!(
            "{} may hold objects of several topics (key.prefix does not tell them apart by ${{topic}}): name all of them with \
             --topic, and add --all-topics-given. The rules would take away objects of a topic that is left out",
            place.uri()
        )));
    }
    let margin = span(matches, "margin").unwrap_or_default();
    for stores in kept.chunk_by(|one, other| {
        let (one, other) = (&one.place.store.uri, &other.place.store.uri);
        (one.scheme, &one.bucket) == (other.scheme, &other.bucket)
    }) {
        let advice = lifecycle::rules(stores, margin)?;
        for note in advice.notes {
            tell(&note);
        }
        say(&format!("{}\n", advice.rules))?;
    }
    Ok(())
}

/// Beside what is printed, so that the one can go into a file.
fn tell(note: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{note}");
}

fn lifetime(worker: &WorkerConfig, topic: &str) -> Result<Lifetime> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ConnectError::fatal("No runtime can be made").because(error))?;
    let properties = properties::admin(&worker.values)?;
    let found = runtime.block_on(async { Lifetime::of(&Admin::new(&properties)?, topic).await })?;
    found.ok_or_else(|| {
        ConnectError::config(format!(
            "There is no topic {topic}, or Kafka does not tell its settings: create it, or give its lifetime with --retention"
        ))
    })
}

fn collect(matches: &ArgMatches) -> Result<()> {
    let worker = worker_config(path(matches, "worker"))?;
    let deleted_topics = names(matches, "topic-deleted");
    let places = places(matches, &worker, &deleted_topics)?;
    let group = "pipette-claimcheck";
    let mut kafka = properties::consumer(&worker.values, &ConfigMap::new(), group, group)?;
    // What an open transaction refers to is referred to.
    kafka.insert("isolation.level".into(), "read_uncommitted".into());
    let errand = Errand {
        places,
        grace: span(matches, "grace").unwrap_or_default(),
        delete: matches.get_flag("delete"),
        deleted_topics,
        complete: matches.get_flag("all-topics-given"),
        stopped: matches.get_flag("stopped"),
        even_all: matches.get_flag("even-all"),
    };
    let mut told = |text: &str| tell(text);
    let show = &mut |uri: &str, object: &Object| say(&format!("{uri} {}\n", object.size));
    let report = gc::run(&errand, &kafka, &mut Voice::new(&mut told), show)?;
    say(&summary(&report, errand.delete))
}

fn summary(report: &Report, delete: bool) -> String {
    let Report { records, references, objects, young, foreign, orphans, bytes, deleted } = report;
    let done = if delete { format!("{deleted} deleted") } else { "nothing was deleted, --delete does".to_owned() };
    format!(
        "{records} records read, {references} refer to objects that are there; of {objects} objects ({young} more are too \
         young, {foreign} are not the connector's) {orphans} are orphans with {bytes} bytes; {done}\n"
    )
}

/// A time as people write it: `7d`, `48h`, `30m`, `10s`, or milliseconds.
#[derive(Debug, Clone, Copy)]
struct Span(Duration);

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let millis: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err("it is a number with d, h, m, s or ms, such as 7d".into()),
        };
        let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(millis));
        number.map(|all| Self(Duration::from_millis(all))).ok_or_else(|| "it is no time, such as 7d or 48h".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let read = |text: &str| text.parse::<Span>().ok().map(|span| span.0.as_millis());
        assert_eq!(
            (read("7d"), read("25h"), read("90ms"), read("2m")),
            (Some(604_800_000), Some(90_000_000), Some(90), Some(120_000))
        );
        assert_eq!((read("d"), read("7w"), read(""), read("-1")), (None, None, None, None));
        assert_eq!(read("7"), None, "who leaves the unit out means days");
    }
}
