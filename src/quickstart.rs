//! `pipette quickstart`: a broker, a worker, a watched folder and a file that grows, in one command.
//!
//! Called by the command line. It speaks to its own worker by REST only, so whatever it does a user can repeat with
//! curl. Everything it makes is below one folder; a second start goes on where the first stopped.

pub(crate) mod http;
mod images;
mod plant;
mod progress;
mod samples;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pipette_api::{ConfigMap, ConnectError, Result};
use pipette_broker::error::BrokerError;
use pipette_broker::{Broker, BrokerConfig};
use serde_json::json;

use crate::console::{Failure, say};
use crate::plugins::Plugins;
use crate::settings::worker::{Listener, WorkerConfig};
use crate::worker::Worker;

use self::http::Client;
use self::images::Images;
use self::plant::Plant;
use self::progress::{Lines, Progress};

const REST_PORT: u16 = 8083;
const KAFKA_PORT: u16 = 9092;
const SOURCE: &str = "lab-files";
const SINK: &str = "rows-to-file";
const TOPIC: &str = "lab.readings";
const PLANT_SOURCE: &str = "plant";
const PLANT_SINK: &str = "readings-to-file";
const PLANT_TOPIC: &str = "plant.readings";
/// How often the folders are looked at for the progress line.
const LOOK: Duration = Duration::from_millis(200);
/// `--once` gives up after this long; the samples take seconds.
const ONCE_WITHIN: Duration = Duration::from_mins(2);

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Quickstart {
    /// The folder for everything.
    pub dir: PathBuf,
    /// Where REST listens, `http://host:port`; a port that is free when not said.
    pub listen: Option<String>,
    /// Stop when the samples have arrived.
    pub once: bool,
    /// An MQTT broker and a simulated plant as well.
    pub mqtt: bool,
    /// Images on all four ways for large payloads as well.
    pub images: bool,
}

/// The folders and files below `--dir`.
#[derive(Debug)]
struct Places {
    inbox: PathBuf,
    finished: PathBuf,
    errors: PathBuf,
    rows: PathBuf,
    readings: PathBuf,
    state: PathBuf,
    kafka: PathBuf,
    mqtt: PathBuf,
    images: PathBuf,
}

/// Runs until Ctrl-C, or with `once` until the samples have arrived.
pub fn run(asked: &Quickstart) -> std::result::Result<(), Failure> {
    let plugins = Plugins::built_in();
    for (wanted, what, class, feature) in [
        (asked.mqtt, "MQTT connectors", "MqttSource", "connector-mqtt"),
        (asked.images, "claim check", "ClaimCheck", "transform-claim-check"),
    ] {
        if wanted && plugins.find_any(class).is_none() {
            let message = format!("This build has no {what}: build with --features {feature}, or start without --with");
            return Err(Failure::setup(ConnectError::config(message)));
        }
    }
    let places = Places::make(&asked.dir).map_err(Failure::setup)?;
    let mut plant = asked.mqtt.then(|| Plant::start(&places.mqtt)).transpose().map_err(Failure::setup)?;
    let images =
        asked.images.then(|| Images::place(&places.images, &places.kafka)).transpose().map_err(Failure::setup)?;
    let broker = start_broker(&places.kafka, KAFKA_PORT).map_err(Failure::setup)?;
    let listen = match &asked.listen {
        Some(listen) => listen.clone(),
        None => free_listener(REST_PORT).map_err(Failure::setup)?,
    };
    let hosts = plant.as_ref().map(Plant::address);
    let config = worker_config(&places, broker.address(), &listen, hosts).map_err(Failure::setup)?;
    let worker = Worker::start(config, plugins)?;
    let ended = demonstrate(asked, &places, &worker, plant.as_mut(), images).map_err(Failure::start);
    worker.stop();
    drop(plant);
    broker.stop();
    ended
}

/// Connectors, samples, and then looking on.
fn demonstrate(
    asked: &Quickstart,
    places: &Places,
    worker: &Worker,
    plant: Option<&mut Plant>,
    images: Option<Images>,
) -> Result<()> {
    let signals = worker.signals()?;
    let url = format!("http://{}", worker.address());
    put_connector(&url, SOURCE, &places.source())?;
    put_connector(&url, SINK, &lines_of(TOPIC, &places.rows))?;
    let samples = samples::drop_into(&places.inbox, &places.finished)?;
    let (mut wanted, mut files) = (vec![samples], vec![Lines::of(&places.rows)]);
    say(&welcome(places, &url, asked.once))?;
    if let Some(plant) = plant {
        let mut before = Lines::of(&places.readings);
        wanted.push(before.count()? + plant::FIRST);
        files.push(before);
        put_connector(&url, PLANT_SOURCE, &measured_by(plant))?;
        put_connector(&url, PLANT_SINK, &lines_of(PLANT_TOPIC, &places.readings))?;
        await_subscription(&url)?;
        plant.publish();
        say(&told_of_the_plant(places, plant, &url, asked.once))?;
    }
    if let Some(images) = &images {
        for (name, config) in images.connectors() {
            put_connector(&url, &name, &config)?;
        }
        images.drop_samples()?;
        say(&images.introduced(&url, asked.once))?;
    }
    let progress = Progress::new(places.inbox.clone(), places.finished.clone(), files);
    let mut show = Show { progress, wanted, images };
    let began = std::time::Instant::now();
    while signals.recv_timeout(LOOK).is_err() {
        let missing = show.look()?;
        if asked.once && missing.is_none() {
            return show.progress.tell(&format!("All {samples} sample rows are in {}\n", places.rows.display()));
        }
        if let Some(missing) = missing.filter(|_| asked.once && began.elapsed() > ONCE_WITHIN) {
            let status =
                Client::default().get(&format!("{url}/connectors?expand=status")).unwrap_or_else(|error| error.chain());
            return Err(ConnectError::fatal(format!(
                "Only {missing} arrived within {} s; the connectors say: {status}",
                ONCE_WITHIN.as_secs()
            )));
        }
    }
    show.progress.tell("Stopping; the next start goes on here\n")
}

/// What is looked at, and what is to arrive.
struct Show {
    progress: Progress,
    /// Rows in each file.
    wanted: Vec<usize>,
    images: Option<Images>,
}

impl Show {
    /// Shows how far everything is; what there is so far, as long as something of the samples is missing.
    fn look(&mut self) -> Result<Option<String>> {
        let images = self.images.as_mut().map(Images::look).transpose()?.unwrap_or_default();
        let arrived = self.progress.look(&images)?;
        if let Some(told) = self.images.as_mut().map(Images::compared).transpose()?.flatten() {
            self.progress.tell(&told)?;
        }
        let rows = arrived.iter().zip(&self.wanted).all(|(arrived, wanted)| arrived >= wanted);
        let missing = !rows || self.images.as_ref().is_some_and(|images| !images.is_compared());
        Ok(missing.then(|| format!("{arrived:?} of {:?} rows{images}", self.wanted)))
    }
}

/// What is published before anybody subscribes is lost.
fn await_subscription(url: &str) -> Result<()> {
    let began = std::time::Instant::now();
    loop {
        // The path is the connector's, which is there once its task has started.
        let sessions = Client::default().get(&format!("{url}/connectors/{PLANT_SOURCE}/sessions")).unwrap_or_default();
        let sessions: serde_json::Value = serde_json::from_str(&sessions).unwrap_or_default();
        if sessions["sessions"][0]["subscriptions"][0].is_string() {
            return Ok(());
        }
        if began.elapsed() > ONCE_WITHIN {
            return Err(ConnectError::fatal(format!("{PLANT_SOURCE} does not subscribe: {sessions}")));
        }
        std::thread::park_timeout(LOOK);
    }
}

impl Places {
    fn make(dir: &Path) -> Result<Self> {
        let named = |error: io::Error| {
            let message = format!("Cannot create {}: choose another folder with --dir", dir.display());
            ConnectError::config(message).because(error)
        };
        fs::create_dir_all(dir).map_err(named)?;
        let dir = fs::canonicalize(dir).map_err(named)?;
        let places = Self {
            inbox: dir.join("inbox"),
            finished: dir.join("finished"),
            errors: dir.join("errors"),
            rows: dir.join("out").join("rows.jsonl"),
            readings: dir.join("out").join("readings.jsonl"),
            state: dir.join("state"),
            kafka: dir.join("kafka"),
            mqtt: dir.join("mqtt"),
            images: dir.join("images"),
        };
        for folder in [&places.inbox, &places.finished, &places.errors, &dir.join("out")] {
            fs::create_dir_all(folder).map_err(named)?;
        }
        Ok(places)
    }

    /// A watched folder with short waits: files here are complete when they appear.
    fn source(&self) -> ConfigMap {
        config(&[
            ("connector.class", "io.pipette.LabFilesSourceConnector"),
            ("tasks.max", "1"),
            ("topic", TOPIC),
            ("input.path", &text(&self.inbox)),
            ("cleanup.policy", "MOVE"),
            ("finished.path", &text(&self.finished)),
            ("error.path", &text(&self.errors)),
            ("errors.tolerance", "all"),
            ("errors.log.enable", "true"),
            ("poll.interval.ms", "250"),
            ("settle.interval.ms", "250"),
        ])
    }
}

/// The records as they are in Kafka, one JSON text a line.
fn lines_of(topic: &str, file: &Path) -> ConfigMap {
    config(&[
        ("connector.class", "org.apache.kafka.connect.file.FileStreamSinkConnector"),
        ("tasks.max", "1"),
        ("topics", topic),
        ("file", &text(file)),
        ("value.converter", "org.apache.kafka.connect.storage.StringConverter"),
        ("consumer.override.auto.offset.reset", "earliest"),
    ])
}

/// All that the simulated machines measure, acknowledged when Kafka has it.
fn measured_by(plant: &Plant) -> ConfigMap {
    config(&[
        ("connector.class", "io.pipette.MqttSourceConnector"),
        ("tasks.max", "1"),
        ("mqtt.server.uri", &plant.uri()),
        ("mqtt.topics", "plant/#"),
        ("mqtt.value.format", "json"),
        ("kafka.topic", PLANT_TOPIC),
    ])
}

/// `hosts` are those that connectors speak to, besides Kafka.
fn worker_config(places: &Places, kafka: SocketAddr, listen: &str, hosts: Option<String>) -> Result<WorkerConfig> {
    let json = "org.apache.kafka.connect.json.JsonConverter";
    let mut keys = config(&[
        ("bootstrap.servers", &kafka.to_string()),
        ("key.converter", "org.apache.kafka.connect.storage.StringConverter"),
        ("value.converter", json),
        ("value.converter.schemas.enable", "false"),
        ("listeners", listen),
        ("state.dir", &text(&places.state)),
        ("offset.flush.interval.ms", "1000"),
        ("task.shutdown.graceful.timeout.ms", "2000"),
    ]);
    let worker = WorkerConfig::read(keys.clone())?;
    if worker.listeners.iter().all(Listener::is_loopback) {
        return Ok(worker);
    }
    // Others reach it: connectors keep to what the quick start shows.
    keys.insert("file.allowed.paths".into(), text(places.state.parent().unwrap_or(&places.state)));
    keys.extend(hosts.map(|hosts| ("url.allowed.hosts".into(), hosts)));
    WorkerConfig::read(keys)
}

fn config(pairs: &[(&str, &str)]) -> ConfigMap {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Paths of the quick start are given by its user and shown back; one that is no text cannot be in a configuration.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// At the usual port, or at a free one where somebody else listens, who is left alone.
fn start_broker(dir: &Path, usual: u16) -> Result<Broker> {
    let mut config = BrokerConfig::new(dir);
    config.listen.set_port(usual);
    let started = match Broker::start(config.clone()) {
        Err(error @ (BrokerError::KafkaThere { .. } | BrokerError::PortInUse { .. })) => {
            let owner =
                if matches!(error, BrokerError::KafkaThere { .. }) { "a Kafka broker" } else { "another program" };
            let taken = config.listen;
            config.listen.set_port(0);
            let broker = Broker::start(config);
            if let Ok(broker) = &broker {
                let own = broker.address();
                say(&format!(
                    "{taken} belongs to {owner}, which is left alone; the quick start's own broker is at {own}\n"
                ))?;
            }
            broker
        }
        started => started,
    };
    started.map_err(|error| ConnectError::fatal("The embedded broker does not start").because(error))
}

/// Where REST listens when nobody said where: at the usual port if it is free.
fn free_listener(usual: u16) -> Result<String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, usual));
    if TcpListener::bind(address).is_ok() {
        return Ok(format!("http://{address}"));
    }
    say(&format!("{address} belongs to another program; REST takes a free port\n"))?;
    Ok(format!("http://{}:0", Ipv4Addr::LOCALHOST))
}

fn put_connector(url: &str, name: &str, config: &ConfigMap) -> Result<()> {
    Client::default().put(&format!("{url}/connectors/{name}/config"), &json!(config).to_string()).map(drop)
}

fn welcome(places: &Places, url: &str, once: bool) -> String {
    let next = if once {
        String::new()
    } else {
        format!(
            "
Try next:
  curl -s '{url}/connectors?expand=status'
  curl -s {url}/connectors/{SOURCE}/offsets
  curl -s -X PUT {url}/connectors/{SINK}/pause
or copy a CSV file of your own into the inbox. Ctrl-C stops.

"
        )
    };
    format!(
        "\
Lab files dropped into  {inbox}
become rows in topic    {TOPIC}
and lines in            {rows}
{next}",
        inbox = places.inbox.display(),
        rows = places.rows.display(),
    )
}

fn told_of_the_plant(places: &Places, plant: &Plant, url: &str, once: bool) -> String {
    let next = if once { String::new() } else { format!("  curl -s {url}/connectors/{PLANT_SOURCE}/sessions\n\n") };
    format!(
        "\
What machines publish to {broker}, on plant/#,
becomes records in topic {PLANT_TOPIC}
and lines in            {readings}
{next}",
        broker = plant.uri(),
        readings = places.readings.display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::make(&dir.path().join("new/quick")).unwrap();
        fs::write(&places.rows, "kept").unwrap();
        Places::make(&dir.path().join("new/quick")).unwrap();
        assert_eq!(fs::read_to_string(&places.rows).unwrap(), "kept");
        fs::write(dir.path().join("a-file"), "").unwrap();
        let error = Places::make(&dir.path().join("a-file/quick")).unwrap_err().to_string();
        assert!(error.contains("a-file/quick: choose another folder with --dir"), "{error}");
    }

    #[test]
    fn connectors_reach_the_quick_starts_folders_wherever_rest_listens() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places::make(dir.path()).unwrap();
        let kafka = SocketAddr::from((Ipv4Addr::LOCALHOST, 9092));
        for (listen, beyond) in [("http://127.0.0.1:0", true), ("http://0.0.0.0:0", false)] {
            let reach = worker_config(&places, kafka, listen, None).unwrap().reach;
            for own in [&places.inbox, &places.finished, &places.errors, &places.rows] {
                reach.path(own).unwrap();
            }
            assert_eq!(reach.path(Path::new("/etc/passwd")).is_ok(), beyond, "{listen}");
        }
    }

    #[test]
    fn a_busy_port_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let first = start_broker(&dir.path().join("first"), 0).unwrap();
        let busy = first.address().port();
        let second = start_broker(&dir.path().join("second"), busy).unwrap();
        assert_ne!(second.address().port(), busy);
        assert_eq!(free_listener(busy).unwrap(), "http://127.0.0.1:0");
        first.stop();
        assert_eq!(free_listener(busy).unwrap(), format!("http://127.0.0.1:{busy}"));
        let error = start_broker(&dir.path().join("second"), busy).unwrap_err().chain();
        assert!(error.contains("already uses the folder"), "{error}");
    }
}
