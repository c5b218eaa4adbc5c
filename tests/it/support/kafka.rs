//! Apache Kafka 4.3.1 on free loopback ports: one KRaft node from the jars that `./test --fetch` brings.
//!
//! A small shell stands between us and Java. It holds a pipe to this process and kills the broker when that pipe
//! closes, so no broker outlives the tests, even one that lives in a static or whose tests were killed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::{free_ports, lines_of, tail, wait};

/// "pipette-proofs-1" in Kafka's spelling of 16 bytes.
const CLUSTER_ID: &str = "cGlwZXR0ZS1wcm9vZnMtMQ";

/// `$1` log, `$2` folder, then the command. Signals of a terminal are for the tests; the pipe's end is for us.
const WARDEN: &str = r#"
trap '' INT TERM HUP
log=$1 folder=$2; shift 2
"$@" >>"$log" 2>&1 </dev/null &
echo $!; exec >/dev/null 2>&1
cat >/dev/null
kill -KILL $!; wait $!
rm -rf -- "$folder"
"#;

/// A running broker. It and its folder are gone when this is dropped, or when the test process ends.
pub(crate) struct ApacheKafka {
    /// One for each life of the broker, the last is the present one's.
    wardens: Vec<Child>,
    folder: PathBuf,
    pid: u32,
    port: u16,
    log: PathBuf,
}

impl ApacheKafka {
    /// The one broker that the tests of this binary share: use topic names of your own.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<ApacheKafka> = OnceLock::new();
        SHARED.get_or_init(|| {
            let folder = tempfile::Builder::new().prefix("apache-kafka-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
            let folder = folder.expect("a folder for the broker");
            let kafka = Self::start(folder.path(), &[]);
            // From here on the warden takes it away: a static is never dropped.
            let _ = folder.keep();
            kafka
        })
    }

    /// Starts a broker whose data and log live in `folder`, which goes with it; `overrides` win over the settings here.
    pub(crate) fn start(folder: &Path, overrides: &[(&str, &str)]) -> Self {
        let [port, controller] = free_ports();
        fs::create_dir_all(folder).expect("the broker's folder");
        let settings = folder.join("server.properties");
        fs::write(&settings, server_properties(folder, port, controller, overrides)).expect("the broker's settings");
        format_storage(&settings);

        let log = folder.join("broker.log");
        let mut kafka = Self { wardens: Vec::new(), folder: folder.to_owned(), pid: 0, port, log };
        kafka.launch();
        kafka
    }

    fn launch(&mut self) {
        let mut warden = Command::new("sh")
            .args(["-c", WARDEN, "warden"])
            .args([&self.log, &self.folder])
            .arg("java")
            .args(["-Xms128m", "-Xmx512m", &logging(), "-cp", &class_path(), "kafka.Kafka"])
            .arg(self.folder.join("server.properties"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let mut line = String::new();
        BufReader::new(warden.stdout.take().expect("a pipe")).read_line(&mut line).expect("the broker's pid");
        self.pid = line.trim().parse().expect("a pid");
        self.wardens.push(warden);
        self.await_answer();
    }

    /// SIGKILL, and a new start on the same folder and port once `meanwhile` returns.
    pub(crate) fn crash(&mut self, meanwhile: impl FnOnce()) {
        let killed = Command::new("kill").args(["-KILL", &self.pid.to_string()]).status().expect("kill runs");
        assert!(killed.success(), "the broker cannot be killed");
        wait::until("the broker's end", Duration::from_secs(10), || {
            if self.lives() { Err(String::new()) } else { Ok(()) }
        });
        meanwhile();
        self.launch();
    }

    /// `host:port`.
    pub(crate) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn await_answer(&self) {
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.bootstrap()).create().expect("a client");
        wait::until("Apache Kafka to answer", Duration::from_secs(90), || {
            assert!(self.lives(), "Apache Kafka ended:\n{}", tail(&self.log, 40));
            match client.fetch_metadata(None, Duration::from_secs(2)) {
                Ok(metadata) if !metadata.brokers().is_empty() => Ok(()),
                Ok(_) => Err("no broker in its own metadata".to_owned()),
                Err(error) => Err(format!("{error}; its log:\n{}", tail(&self.log, 10))),
            }
        });
    }

    /// A dead child of the warden stays a zombie until the pipe closes.
    fn lives(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
    }
}

impl Drop for ApacheKafka {
    fn drop(&mut self) {
        for mut warden in self.wardens.drain(..).rev() {
            drop(warden.stdin.take());
            // The warden ends only after the broker has: the ports are free again.
            let _ = warden.wait();
        }
    }
}

fn server_properties(folder: &Path, port: u16, controller: u16, overrides: &[(&str, &str)]) -> String {
    let text = format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=100
log.cleaner.backoff.ms=1000
",
        folder.join("data").display()
    );
    text + &lines_of(overrides)
}

fn format_storage(settings: &Path) {
    let run = Command::new("java")
        .args(["-XX:TieredStopAtLevel=1", "-Xmx256m", &logging(), "-cp", &class_path()])
        .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
        .arg(settings)
        .output();
    let output = run.unwrap_or_else(|error| {
        panic!("java does not start ({error}): run ./test --fetch, or apt-get install default-jre-headless")
    });
    assert!(output.status.success(), "Kafka's storage cannot be formatted: {output:?}");
}

fn logging() -> String {
    format!("-Dlog4j2.configurationFile={}/tests/java/log4j2.xml", env!("CARGO_MANIFEST_DIR"))
}

/// The jars, or a failure that says how to get them. They are whole when `./test --fetch` left the pom beside them.
pub(crate) fn class_path() -> String {
    let home = std::env::var_os("PIPETTE_APACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/pipette/apache-kafka"),
        PathBuf::from,
    );
    let wanted = include_str!("../../java/pom.xml");
    let fetched = fs::read_to_string(home.join("complete")).unwrap_or_default();
    assert!(
        fetched == wanted,
        "Apache Kafka's jars in {} are missing or of another version: run ./test --fetch (it needs Maven and Java 17)",
        home.display()
    );
    format!("{}/libs/*", home.display())
}
