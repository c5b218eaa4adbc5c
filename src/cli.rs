//! The command line: what can be asked for, and what each answer is worth as an exit code.
//!
//! Called by `main.rs`. `run` takes what Apache's `connect-standalone` takes, and its exit codes are Java's: see
//! [`Failure`].

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use pipette_api::{ConfigMap, ConnectError, Result};
use pipette_broker::{Broker, BrokerConfig};

use crate::bench;
use crate::console::{Failure, say, warn};
use crate::descriptors;
use crate::herder::part_keys;
use crate::herder::preview::{self, MOST, Records, Sample};
use crate::herder::probe::validate_live;
use crate::herder::validate::Draft;
use crate::kafka::{properties, sizes};
use crate::plugins::Plugins;
use crate::quickstart::{self, Quickstart};
use crate::settings::file;
use crate::settings::worker::WorkerConfig;
use crate::telemetry;
use crate::worker::{self, Worker};

/// The log levels when `--log` is not given.
const LOG_VARIABLE: &str = "PIPETTE_LOG";

/// The quick start shows progress instead; that its topic is made by the first row is no news.
const QUICKSTART_LOG: &str = "warn,pipette::kafka::consumer=error";

type Outcome = std::result::Result<(), Failure>;

/// Runs a command line; the program's `main`.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    descriptors::raise_limit();
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print();
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(u8::from(!asked));
        }
    };
    match dispatch(&matches) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, error }) => {
            let _ = writeln!(io::stderr(), "pipette: {}", error.chain());
            ExitCode::from(code)
        }
    }
}

fn dispatch(matches: &ArgMatches) -> Outcome {
    let (name, matches) = matches.subcommand().unwrap_or_else(|| unreachable!("clap asks for one"));
    let given = matches.get_one::<String>("log").cloned();
    let levels = given.or_else(|| std::env::var(LOG_VARIABLE).ok());
    let usage = |error| Failure { code: 1, error };
    match name {
        "run" => run(matches, &levels.unwrap_or_default()),
        "quickstart" => quickstart(matches, levels.as_deref().unwrap_or(QUICKSTART_LOG)),
        "broker" => broker(matches, &levels.unwrap_or_default()),
        "plugins" => plugins().map_err(usage),
        "validate" => validate_file(matches).map_err(usage),
        "preview" => preview_file(matches).map_err(usage),
        "health" => health(matches).map_err(usage),
        "dlq" => dlq::run(matches).map_err(usage),
        "claimcheck" => claimcheck::run(matches, levels.as_deref().unwrap_or("warn")),
        "bench" => bench(matches).map_err(usage),
        other => unreachable!("{other} is not declared"),
    }
}

/// The worker, until it is told to stop.
fn run(matches: &ArgMatches, levels: &str) -> Outcome {
    telemetry::start(levels).map_err(|error| Failure { code: 1, error })?;
    let config = worker_config(path(matches, "WORKER")).map_err(Failure::setup)?;
    let files = matches.get_many::<PathBuf>("CONNECTOR").unwrap_or_default();
    let connectors: Vec<_> = files.map(|path| file::connector(path)).collect::<Result<_>>().map_err(Failure::start)?;
    let broker =
        matches.get_flag("embedded").then(|| worker::embedded_broker(&config)).transpose().map_err(Failure::setup)?;
    let mut plugins = Plugins::built_in();
    if matches.get_flag("bench-plugins") {
        plugins = plugins.and(bench::discard::PLUGINS);
        #[cfg(feature = "connector-file")]
        {
            plugins = plugins.and(bench::troubled::PLUGINS);
        }
    }
    let worker = Worker::start(config, plugins)?;
    let signals = worker.signals().map_err(Failure::start)?;
    // Whoever sends signals has gone only with the worker itself.
    let ended = worker.create(connectors).and_then(|()| signals.recv().unwrap_or(Ok(())));
    worker.stop();
    drop(broker);
    ended.map_err(Failure::start)
}

/// The error names the file: a key that is missing is missing there.
fn worker_config(path: &Path) -> Result<WorkerConfig> {
    WorkerConfig::read(file::worker(path)?).map_err(|error| error.within(path.display()))
}

fn quickstart(matches: &ArgMatches, levels: &str) -> Outcome {
    telemetry::start(levels).map_err(|error| Failure { code: 1, error })?;
    let with = |what| matches.get_many::<String>("with").is_some_and(|mut all| all.any(|one| one == what));
    let asked = Quickstart {
        dir: path(matches, "dir").to_owned(),
        listen: matches.get_one::<String>("listen").cloned(),
        once: matches.get_flag("once"),
        mqtt: with("mqtt"),
        images: with("images"),
    };
    quickstart::run(&asked)
}

/// The embedded broker alone, until it is told to stop.
fn broker(matches: &ArgMatches, levels: &str) -> Outcome {
    telemetry::start(levels).map_err(|error| Failure { code: 1, error })?;
    let mut config = BrokerConfig::new(path(matches, "dir"));
    config.listen = *matches.get_one::<SocketAddr>("listen").unwrap_or(&config.listen);
    config.allow_remote = matches.get_flag("allow-remote");
    let failed = |error| Failure::setup(ConnectError::fatal("The broker does not start").because(error));
    let broker = Broker::start(config).map_err(failed)?;
    say(&format!("Kafka protocol on {}; Ctrl-C stops it\n", broker.address())).map_err(Failure::start)?;
    worker::wait_for_signal().map_err(Failure::start)?;
    broker.stop();
    Ok(())
}

/// Where the broker listens: on IPv4 where a name, such as `localhost`, stands for both.
fn address(text: &str) -> std::result::Result<SocketAddr, String> {
    let wrong = |reason: &str| format!("{reason}; write HOST:PORT, such as 127.0.0.1:9092");
    let mut found = text.to_socket_addrs().map_err(|error| wrong(&error.to_string()))?.collect::<Vec<_>>();
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(|| wrong("it has no address"))
}

fn plugins() -> Result<()> {
    let mut text = String::new();
    for plugin in Plugins::built_in().all() {
        let info = plugin.info();
        let _ = writeln!(text, "{:<16} {} ({})", plugin.kind(), info.class, info.version);
        let _ = writeln!(text, "{:<16}   {}", "", info.about);
    }
    say(&text)
}

/// Says what is wrong with a connector file, key by key; nothing connects unless the connector's keys ask for it.
fn validate_file(matches: &ArgMatches) -> Result<()> {
    let path = path(matches, "FILE");
    let connector = file::connector(path)?;
    let worker = any_or(matches.get_one::<PathBuf>("worker"))?;
    tell_warnings(&worker, &connector.config);
    let errors = errors_of(&worker, connector.config).map_err(|error| error.within(path.display()))?;
    if errors.is_empty() {
        return say(&format!("{}: connector {} is valid\n", path.display(), connector.name));
    }
    let count = errors.len();
    let noun = if count == 1 { "error" } else { "errors" };
    Err(ConnectError::config(format!("{}: {count} {noun}\n  {}", path.display(), errors.join("\n  "))))
}

/// What the worker's log would say when the connector starts, such as that nobody reads a key.
fn tell_warnings(worker: &WorkerConfig, config: &ConfigMap) {
    for warning in part_keys::warnings_of(&Plugins::built_in(), worker, config) {
        warn(&warning);
    }
}

/// What the chain of a connector file makes of records; nothing connects.
fn preview_file(matches: &ArgMatches) -> Result<()> {
    let connector = file::connector(path(matches, "CONFIG"))?;
    let samples = match (matches.get_one::<PathBuf>("record"), matches.get_one::<PathBuf>("input")) {
        (Some(record), _) => samples_of(record)?,
        (None, Some(input)) => file::text(input)?.lines().take(MOST).map(Sample::line).collect::<Result<_>>()?,
        (None, None) => unreachable!("clap asks for one"),
    };
    let worker = any_or(matches.get_one::<PathBuf>("worker"))?;
    tell_warnings(&worker, &connector.config);
    let (trails, _) = preview::run(&Plugins::built_in(), &worker, &connector.config, Records::Samples(samples))?;
    say(&crate::preview::text(&trails))
}

/// One record in JSON, a list of them, or one in each line.
fn samples_of(path: &Path) -> Result<Vec<Sample>> {
    let text = file::text(path)?;
    let wrong = |error: serde_json::Error| ConnectError::config(format!("{}: no records: {error}", path.display()));
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(&text).map_err(wrong);
    }
    serde_json::Deserializer::from_str(&text).into_iter().collect::<std::result::Result<_, _>>().map_err(wrong)
}

fn any_or(worker: Option<&PathBuf>) -> Result<WorkerConfig> {
    match worker {
        Some(path) => {
            let worker = worker_config(path)?;
            let checked = worker::check_converters(&worker, &Plugins::built_in());
            checked.map(|()| worker).map_err(|error| error.within(path.display()))
        }
        None => WorkerConfig::read(any_worker()),
    }
}

/// What Apache's example worker file says, for configurations that are looked at without a worker.
fn any_worker() -> ConfigMap {
    let json = "org.apache.kafka.connect.json.JsonConverter";
    let keys = [("bootstrap.servers", "localhost:9092"), ("key.converter", json), ("value.converter", json)];
    keys.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// Every error of a connector's configuration, as REST would tell it.
fn errors_of(worker: &WorkerConfig, config: ConfigMap) -> Result<Vec<String>> {
    let draft: Draft = config.into_iter().map(|(key, value)| (key, Some(value))).collect();
    let validation = validate_live(&Plugins::built_in(), worker, &draft).map_err(ConnectError::config)?;
    Ok(validation.errors().map(str::to_owned).collect())
}

/// What the worker costs beside bare loops over librdkafka, with the settings the worker gives its own clients.
fn bench(matches: &ArgMatches) -> Result<()> {
    let (name, nothing) = ("pipette-bench", ConfigMap::new());
    let mut clients = bench::Clients {
        producer: sizes::alone_producer(properties::producer(&nothing, &nothing, name)?),
        consumer: sizes::alone_consumer(properties::consumer(&nothing, &nothing, name, name)?),
    };
    clients.producer.remove("bootstrap.servers");
    clients.consumer.remove("bootstrap.servers");
    bench::run(matches, clients).map_err(|error| ConnectError::fatal(format!("{error:#}")))
}

/// Asks `GET /health` of a worker.
fn health(matches: &ArgMatches) -> Result<()> {
    let url = matches.get_one::<String>("URL").map(String::as_str).unwrap_or_default();
    let answer = reach::client(matches)?.get(&format!("{}/health", url.trim_end_matches('/')))?;
    say(&format!("{answer}\n"))
}

fn path<'a>(matches: &'a ArgMatches, name: &str) -> &'a Path {
    matches.get_one::<PathBuf>(name).unwrap_or_else(|| unreachable!("{name} is required or has a default"))
}

/// What can be asked for.
pub fn command() -> Command {
    Command::new("pipette")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A Kafka Connect-compatible connector worker: one binary, no JVM.")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .arg(
            Arg::new("log")
                .long("log")
                .value_name("LEVELS")
                .global(true)
                .display_order(100)
                .value_parser(NonEmptyStringValueParser::new())
                .help("Log levels, such as `debug` or `info,pipette::herder=debug` [env: PIPETTE_LOG]"),
        )
        .subcommands([
            run_command(),
            quickstart_command(),
            broker_command(),
            plugins_command(),
            validate_command(),
            preview_command(),
            health_command(),
            dlq::command(),
            claimcheck::command(),
            bench::command(),
        ])
}

const EXAMPLES: &str = "\
Examples:
  pipette quickstart                                  Try it: a broker, a worker and a watched folder, nothing to set up
  pipette run worker.properties source.json           Run a worker, as `connect-standalone` would
  pipette run --embedded worker.properties            The same with a Kafka-compatible broker inside
  pipette validate source.json                        What is wrong with a connector's configuration?
  pipette preview sink.json --record order.json       What do its transformations make of a record?

A worker is spoken to by the REST API of Kafka Connect, on http://127.0.0.1:8083 unless `listeners` says otherwise.";

fn run_command() -> Command {
    Command::new("run")
        .visible_aliases(["standalone", "distributed"])
        .about("Run a worker, with the files of Apache's connect-standalone")
        .arg(
            file_argument("WORKER", "Worker file: bootstrap.servers, converters, listeners, state.dir, …")
                .required(true),
        )
        .arg(
            file_argument("CONNECTOR", "Connector files, JSON or properties: created, or updated if they exist")
                .num_args(0..),
        )
        .arg(
            Arg::new("embedded")
                .long("embedded")
                .action(ArgAction::SetTrue)
                .help("Also start the embedded broker at bootstrap.servers; its data is in <state.dir>/kafka"),
        )
        .arg(Arg::new("bench-plugins").long("bench-plugins").action(ArgAction::SetTrue).hide(true))
        .after_help(
            "\
Examples:
  pipette run config/connect-standalone.properties
  pipette run worker.properties config/connectors/lab-files-source.json
  PIPETTE_LOG=debug pipette run worker.properties

SIGINT and SIGTERM stop the worker: tasks end, offsets are committed, then it exits with 0.
Exit codes: 1 wrong arguments; 2 worker file, state.dir, topics or port; 3 a connector file was refused, or another
worker of the group has taken over.",
        )
}

fn quickstart_command() -> Command {
    Command::new("quickstart")
        .about("Watch a folder of lab files end up in Kafka and in a file, with nothing to set up")
        .arg(
            file_argument("dir", "Folder for everything it makes; a second start goes on where the first stopped")
                .long("dir")
                .value_name("DIR")
                .default_value("pipette-quickstart"),
        )
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("http://HOST:PORT")
                .value_parser(NonEmptyStringValueParser::new())
                .help("Where REST listens [default: http://127.0.0.1:8083, or a free port if that one is taken]"),
        )
        .arg(
            Arg::new("once")
                .long("once")
                .action(ArgAction::SetTrue)
                .help("Exit with 0 when every row of the sample files, and every image, has arrived"),
        )
        .arg(
            Arg::new("with")
                .long("with")
                .value_name("WHAT")
                .action(ArgAction::Append)
                .value_delimiter(',')
                .value_parser(["mqtt", "images"])
                .help(
                    "Show more: mqtt is a simulated plant that publishes to a Mosquitto of its own, if one is installed; \
                     images takes images through Kafka on all four ways that there are for large files",
                ),
        )
        .after_help(
            "\
Examples:
  pipette quickstart
  pipette quickstart --dir /tmp/try --once
  pipette quickstart --with mqtt
  pipette quickstart --with images --once

While it runs, copy a CSV file into DIR/inbox and watch DIR/out/rows.jsonl grow. Ctrl-C stops it; only data stays.",
        )
}

fn broker_command() -> Command {
    Command::new("broker")
        .about("Run the embedded broker alone: one node for one machine, Kafka's protocol")
        .arg(file_argument("dir", "Folder for its data").long("dir").value_name("DIR").required(true))
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("HOST:PORT")
                .value_parser(address)
                .default_value("127.0.0.1:9092")
                .help("Where it listens"),
        )
        .arg(
            Arg::new("allow-remote")
                .long("allow-remote")
                .action(ArgAction::SetTrue)
                .help("Let --listen be an address that other machines reach, although there is no login and no TLS"),
        )
        .after_help(
            "\
Examples:
  pipette broker --dir /var/lib/pipette/kafka
  pipette broker --dir /tmp/kafka --listen 127.0.0.1:9192

There is no replication and no cluster. Beyond one machine, run Apache Kafka.",
        )
}

fn plugins_command() -> Command {
    Command::new("plugins").about("List connectors, transforms, predicates and converters of this binary").after_help(
        "\
Examples:
  pipette plugins
  pipette plugins | grep source",
    )
}

fn validate_command() -> Command {
    Command::new("validate")
        .about("Check a connector's configuration without a worker")
        .arg(file_argument("FILE", "Connector file, JSON or properties").required(true))
        .arg(worker_argument())
        .after_help(
            "\
Examples:
  pipette validate config/connectors/lab-files-source.json
  pipette validate --worker worker.properties source.properties

Exits with 0 if it is valid, else with 1 and one line for each error. Keys that nobody reads are told as warnings.",
        )
}

fn preview_command() -> Command {
    Command::new("preview")
        .about("Show what the transformations of a connector make of records")
        .arg(file_argument("CONFIG", "Connector file, JSON or properties").required(true))
        .arg(
            file_argument(
                "record",
                "Records in JSON: {\"topic\", \"key\", \"value\", \"headers\": [{\"name\", \"value\"}], …}",
            )
            .long("record")
            .value_name("FILE"),
        )
        .arg(
            file_argument("input", "Text of which each line is the value of a record").long("input").value_name("FILE"),
        )
        .group(ArgGroup::new("records").args(["record", "input"]).required(true))
        .arg(worker_argument())
        .after_help(
            "\
Examples:
  pipette preview sink.json --record order.json
  pipette preview config/connectors/file-source.json --input app.log

A record is shown, then for each step the lines it took away (-) and put there (+), and how long it took. Nothing is
written anywhere: ClaimCheck shows the reference that a record would get, and uploads nothing.",
        )
}

fn worker_argument() -> Arg {
    file_argument("worker", "Worker file, for its converters and its policies [default: JSON converters]")
        .long("worker")
        .value_name("WORKER")
}

fn health_command() -> Command {
    Command::new("health")
        .about("Ask a running worker how it is")
        .arg(Arg::new("URL").default_value("http://127.0.0.1:8083").help("The worker"))
        .args(reach::arguments())
        .after_help(
            "\
Examples:
  pipette health
  pipette health http://lab-gateway:8083
  pipette health https://lab-gateway:8443 --ca-file ca.pem

Exits with 0 if the worker is well, else with 1; made for health checks of containers and service managers.",
        )
}

fn file_argument(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).value_parser(value_parser!(PathBuf)).help(help)
}

mod claimcheck;
mod dlq;
mod reach;
#[cfg(test)]
mod tests;
