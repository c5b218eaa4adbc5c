//! Apache Kafka 4.3.1 on free loopback ports: one KRaft node from the jars that `./test --fetch` brings.
//!
//! `java.rs` starts the process, and sees to it that no broker outlives the tests.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::java::{JavaProcess, logging};
use super::wire::Wire;
use super::{free_ports, lines_of, tail, wait};

/// "pipette-proofs-1" in Kafka's spelling of 16 bytes.
const CLUSTER_ID: &str = "cGlwZXR0ZS1wcm9vZnMtMQ";

/// A running broker. It and its folder are gone when this is dropped, or when the test process ends.
pub(crate) struct ApacheKafka {
    /// One for each life of the broker; the last is the present one.
    lives: Vec<JavaProcess>,
    folder: PathBuf,
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
        Self::on(folder, port, controller, overrides, &[])
    }

    /// A broker with more doors, each a listener name and its protocol, and their ports. `logins` are SCRAM credentials as
    /// Kafka's storage tool takes them.
    pub(crate) fn with_doors<const N: usize>(
        folder: &Path,
        doors: [(&str, &str); N],
        logins: &[&str],
        overrides: &[(&str, &str)],
    ) -> (Self, [u16; N]) {
        let [direct, controller] = free_ports();
        let ports = free_ports();
        let mut listeners = format!("PLAINTEXT://127.0.0.1:{direct}");
        let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
        for ((name, protocol), port) in doors.iter().zip(ports) {
            // By its name: certificates are for names.
            let _ = write!(listeners, ",{name}://localhost:{port}");
            let _ = write!(protocols, ",{name}:{protocol}");
        }
        let inner = format!("{listeners},CONTROLLER://127.0.0.1:{controller}");
        let mut all = vec![
            ("listeners", inner.as_str()),
            ("advertised.listeners", &listeners),
            ("listener.security.protocol.map", &protocols),
        ];
        all.extend(overrides);
        let logins: Vec<&str> = logins.iter().flat_map(|login| ["--add-scram", login]).collect();
        (Self::on(folder, direct, controller, &all, &logins), ports)
    }

    fn on(folder: &Path, port: u16, controller: u16, overrides: &[(&str, &str)], format: &[&str]) -> Self {
        fs::create_dir_all(folder).expect("the broker's folder");
        let settings = folder.join("server.properties");
        fs::write(&settings, server_properties(folder, port, controller, overrides)).expect("the broker's settings");
        format_storage(&settings, format);

        let log = folder.join("broker.log");
        let mut kafka = Self { lives: Vec::new(), folder: folder.to_owned(), port, log };
        kafka.launch();
        kafka
    }

    /// A broker, and the wire before it with the address of its near end: whoever bootstraps there stays on the wire.
    /// [`Self::bootstrap`] goes past it, since what a proof counts must not depend on the wire.
    pub(crate) fn behind_wire(folder: &Path) -> (Self, Wire, String) {
        let [direct, controller, inner, outer] = free_ports();
        let doors = |wired: u16| format!("PLAINTEXT://127.0.0.1:{direct},WIRED://127.0.0.1:{wired}");
        let overrides = [
            ("listeners", format!("{},CONTROLLER://127.0.0.1:{controller}", doors(inner))),
            ("advertised.listeners", doors(outer)),
            ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,WIRED:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned()),
        ];
        let overrides: Vec<(&str, &str)> = overrides.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let kafka = Self::on(folder, direct, controller, &overrides, &[]);
        (kafka, Wire::lay(outer, inner), format!("127.0.0.1:{outer}"))
    }

    fn launch(&mut self) {
        let settings = self.folder.join("server.properties");
        // Each of its threads keeps a buffer outside of the heap that is as large as the largest record it wrote.
        let memory = ["-Xms128m", "-Xmx512m", "-XX:MaxDirectMemorySize=2g"];
        self.lives.push(JavaProcess::start(&self.folder, &self.log, &memory, &class_path(), "kafka.Kafka", &settings));
        self.await_answer();
    }

    /// SIGKILL, and a new start on the same folder and port once `meanwhile` returns.
    pub(crate) fn crash(&mut self, meanwhile: impl FnOnce()) {
        self.signal("KILL");
        wait::until("the broker's end", Duration::from_secs(10), || {
            if self.process().lives() { Err(String::new()) } else { Ok(()) }
        });
        meanwhile();
        self.launch();
    }

    /// Sends a signal, by its name without SIG.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.process().pid.to_string()]).status();
        assert!(sent.expect("kill runs").success(), "SIG{name} cannot be sent to the broker");
    }

    /// `host:port`.
    pub(crate) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Bytes in the files of the topic's partition 0.
    pub(crate) fn stored(&self, topic: &str) -> u64 {
        let files = fs::read_dir(self.folder.join(format!("data/{topic}-0"))).expect("the partition's folder");
        let logs = files.flatten().filter(|file| file.path().extension().is_some_and(|end| end == "log"));
        logs.map(|file| file.metadata().expect("its length").len()).sum()
    }

    fn await_answer(&self) {
        let client: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.bootstrap()).create().expect("a client");
        wait::until("Apache Kafka to answer", Duration::from_secs(90), || {
            assert!(self.process().lives(), "Apache Kafka ended:\n{}", tail(&self.log, 40));
            match client.fetch_metadata(None, Duration::from_secs(2)) {
                Ok(metadata) if !metadata.brokers().is_empty() => Ok(()),
                Ok(_) => Err("no broker in its own metadata".to_owned()),
                Err(error) => Err(format!("{error}; its log:\n{}", tail(&self.log, 10))),
            }
        });
    }

    fn process(&self) -> &JavaProcess {
        self.lives.last().expect("a broker that was launched")
    }
}

impl Drop for ApacheKafka {
    fn drop(&mut self) {
        // The last one first: it has to be gone before the folder is, which the first one takes away.
        while self.lives.pop().is_some() {}
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
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
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

fn format_storage(settings: &Path, options: &[&str]) {
    let run = Command::new("java")
        .args(["-XX:TieredStopAtLevel=1", "-Xmx256m", &logging(), "-cp", &class_path()])
        .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
        .arg(settings)
        .args(options)
        .output();
    let output = run.unwrap_or_else(|error| {
        panic!("java does not start ({error}): run ./test --fetch, or apt-get install default-jre-headless")
    });
    assert!(output.status.success(), "Kafka's storage cannot be formatted: {output:?}");
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
